"""A trained network as bits: what it holds, and what that takes.

:func:`pack` and :func:`bnnlib.summary` read networks of PyTorch; everything else here works without it.
"""

import importlib

# name -> module that defines it, loaded on first use: what reads a packed file must not load PyTorch
_NAMES = {"PackedModel": "runtime", "pack": "compile", "pretrained": "trained"}

__all__ = sorted(_NAMES)


def __getattr__(name: str):
    if name in _NAMES:
        return getattr(importlib.import_module(f"bnnlib.packed.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'bnnlib.packed' has no attribute {name!r}")
