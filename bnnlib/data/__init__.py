"""Data sets: where they are found, how they are split, and the built-in samples."""

from bnnlib.data.images import PROFILES, ImageSet, ImageSplits, load
from bnnlib.data.sources import DataCorrupt, DataNotFound, DataUnreadable, fetch, status

__all__ = [
    "PROFILES",
    "DataCorrupt",
    "DataNotFound",
    "DataUnreadable",
    "ImageSet",
    "ImageSplits",
    "fetch",
    "load",
    "status",
]
