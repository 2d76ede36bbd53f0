"""Lets torchvision be imported beside a torch without CUDA.

PyPI's torchvision wheel links CUDA libraries. Beside a CPU build of torch its extension can't be loaded, the operators
it would declare are missing, and the import ends in "operator torchvision::nms does not exist". Declaring the two
operators that torchvision's Python code registers gradients for is enough: data sets, transforms, models and utils
then work; ``ops.nms`` itself and image decoding do not.
"""

import importlib.abc
import importlib.machinery
import sys
from pathlib import Path

_SCHEMAS = ("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
            "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # fmt: skip
_kept = []  # a torch Library withdraws its declarations when it is collected


def repair() -> bool:
    """Declares torchvision's operators if its extension can't be loaded. True if that was needed."""
    import torch

    spec = importlib.machinery.PathFinder.find_spec("torchvision")
    if spec is None or not spec.origin or _kept or hasattr(torch.ops.torchvision, "nms"):
        return False
    folder = Path(spec.origin).parent
    for extension in sorted(folder.glob("_C*.so")) + sorted(folder.glob("_C*.pyd")):
        try:
            torch.ops.load_library(extension)
            return False
        except OSError:  # it links libraries that are not here
            continue
    library = torch.library.Library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    _kept.append(library)
    return True


class _Before(importlib.abc.MetaPathFinder):
    """Runs the repair when torchvision is about to be imported, then leaves the import to the ordinary finders."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname == "torchvision":
            repair()
        return None


def install() -> None:
    """Puts the import hook in place, once."""
    if not any(isinstance(finder, _Before) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Before())
