"""Data sets: where they are found, how they are split, and the built-in samples."""

from bnnlib.data.feature_lists import read_feature_lists
from bnnlib.data.loaders import CLASSES, LOADERS, PROFILES, Loader, load, options_of
from bnnlib.data.sources import DataCorrupt, DataNotFound, DataUnreadable, fetch, status
from bnnlib.data.splits import Split, Splits, TensorSplit

__all__ = [
    "CLASSES", "LOADERS", "PROFILES", "DataCorrupt", "DataNotFound", "DataUnreadable", "Loader", "Split", "Splits",
    "TensorSplit", "fetch", "load", "options_of", "read_feature_lists", "status",
]  # fmt: skip
