"""``binarize``: any torch network under any method of the catalogue."""

from bnnlib.convert.network import binarize
from bnnlib.convert.report import Conversion

__all__ = ["Conversion", "binarize"]
