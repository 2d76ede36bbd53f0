"""bnnlib: binary neural networks, exact and readable. The library behind the course.

Importing the package loads nothing heavy; names are resolved on first use.
"""

import importlib

from bnnlib import _torchvision

__version__ = "0.1.0"

_torchvision.install()

# public name -> module that defines it
_NAMES = {
    "methods": "bnnlib.catalogue",
    "Method": "bnnlib.catalogue",
    "BinConv1d": "bnnlib.layers",
    "BinConv2d": "bnnlib.layers",
    "BinLinear": "bnnlib.layers",
    "weights_as": "bnnlib.layers",
    "binarize": "bnnlib.convert",
    "pack": "bnnlib.packed.compile",
    "pretrained": "bnnlib.packed.trained",
    "summary": "bnnlib.packed.summary",
    "check": "bnnlib.checking",
    "fit": "bnnlib.training",
    "diagnose": "bnnlib.training",
}
_MODULES = {
    "bench",
    "broken_networks",
    "catalogue",
    "checking",
    "convert",
    "data",
    "graph",
    "kernels",
    "layers",
    "losses",
    "models",
    "packed",
    "quantizers",
    "report",
    "studies",
    "torch_ops",
    "training",
}

__all__ = ["__version__", *sorted(_NAMES), *sorted(_MODULES)]


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"bnnlib.{name}")
    raise AttributeError(f"module 'bnnlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
