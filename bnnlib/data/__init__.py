"""Data sets: where they are found, how they are split, and the built-in samples."""

from bnnlib.data.loaders import CLASSES, LOADERS, PROFILES, Loader, load, options_of
from bnnlib.data.sources import DataCorrupt, DataNotFound, DataUnreadable, fetch, status
from bnnlib.data.splits import Split, Splits, TensorSplit

__all__ = [
    "CLASSES", "LOADERS", "PROFILES", "DataCorrupt", "DataNotFound", "DataUnreadable", "Loader", "Split", "Splits",
    "TensorSplit", "fetch", "load", "options_of", "status",
]  # fmt: skip
