"""Data sets: where they are found, how they are split, and the built-in samples."""

from bnnlib.data.images import PROFILES, ImageSet, ImageSplits, load
from bnnlib.data.sources import DataCorrupt, DataNotFound, fetch, status

__all__ = ["PROFILES", "DataCorrupt", "DataNotFound", "ImageSet", "ImageSplits", "fetch", "load", "status"]
