"""Kernels on bits: signs packed 64 to a word, and products and convolutions of packed matrices by xor and popcount.

A matrix of +1 and -1 with K columns is kept as ``uint64`` words, ``ceil(K / 64)`` to a row: bit 1 is +1, the least
significant bit is the first column, and the bits past column K are 0. Two rows then differ in
``popcount(a xor b)`` places, and their dot product is ``K - 2 * popcount(a xor b)``, an exact integer. Images are
packed along their channels, pixel by pixel.

=====================  =============================================================================================
packing                :func:`pack`, :func:`pack_images`, :func:`pack_branches`, :func:`unpack`, :func:`unpack_images`
weights, once          :func:`prepack`, :func:`prepack_filters`
products               :func:`matmul`, :func:`sign_matmul` (packs in the call), :func:`matmul_threshold` (bits to bits)
convolutions           :func:`conv2d`, :func:`conv1d`, :func:`conv2d_threshold`, :func:`conv1d_threshold`
arrays for ``out``     :func:`empty`
8 bits times signs     :func:`int8_matmul`, :func:`int8_matmul_threshold` (int8 to bits)
codes of 2 to 8 bits   :func:`pack_codes`, :func:`matmul_codes`
for plans              :mod:`~bnnlib.kernels.prepared`: calls whose arrays are bound once
to compare with        :func:`naive_matmul`, :func:`loop_matmul`, ``reference`` (the same functions in plain NumPy)
=====================  =============================================================================================

The instruction set is chosen once, when this module loads: the best that the processor has, or the one that the
environment variable ``BNNLIB_ISA`` names. :func:`info` tells which. All calls release the GIL.

This floor knows NumPy only; ``bnnlib.torch_ops`` has the same as operators of PyTorch.
"""

import sys
from importlib import import_module

try:
    import_module("bnnlib.kernels._kernels")
except ImportError as error:  # a source folder in which nothing was built, or built for another Python
    raise ImportError(
        f"bnnlib's compiled kernels can't be loaded by this Python ({sys.executable}): {error}. In a source folder "
        "`make setup` builds them for .venv/bin/python; else install bnnlib with pip"
    ) from error

from bnnlib.kernels import reference
from bnnlib.kernels.checks import MAX_COLUMNS, words_per_row
from bnnlib.kernels.convolution import Filters, conv1d, conv1d_threshold, conv2d, conv2d_threshold, prepack_filters
from bnnlib.kernels.dispatch import info, instruction_set
from bnnlib.kernels.memory import empty
from bnnlib.kernels.packing import pack, pack_branches, pack_images, unpack, unpack_images
from bnnlib.kernels.panels import Panels, prepack
from bnnlib.kernels.products import (
    Codes,
    int8_matmul,
    int8_matmul_threshold,
    loop_matmul,
    matmul,
    matmul_codes,
    matmul_threshold,
    naive_matmul,
    pack_codes,
    sign_matmul,
)  # fmt: skip

__all__ = [
    "MAX_COLUMNS", "Codes", "Filters", "Panels", "conv1d", "conv1d_threshold", "conv2d", "conv2d_threshold", "empty",
    "info", "instruction_set", "int8_matmul", "int8_matmul_threshold", "loop_matmul", "matmul", "matmul_codes",
    "matmul_threshold", "naive_matmul", "pack", "pack_branches", "pack_codes", "pack_images", "prepack",
    "prepack_filters", "reference", "sign_matmul", "unpack", "unpack_images", "words_per_row",
]  # fmt: skip
