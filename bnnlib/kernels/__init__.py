"""Kernels on bits: signs packed 64 to a word, and products of packed matrices by xor and popcount.

A matrix of +1 and -1 with K columns is kept as ``uint64`` words, ``ceil(K / 64)`` to a row: bit 1 is +1, the least
significant bit is the first column, and the bits behind column K are 0. Two rows then differ in ``popcount(a xor b)``
places, and their dot product is ``K - 2 * popcount(a xor b)``, an exact integer.

Which instructions do the counting is decided once, when this module loads: the best set that the processor has, or the
one that the environment variable ``BNNLIB_ISA`` names. :func:`info` tells which.

This floor knows NumPy only. ``reference`` holds the same functions in plain NumPy, to read and to test against.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from bnnlib.kernels import _kernels, reference

__all__ = [
    "MAX_COLUMNS", "Panels", "info", "instruction_set", "matmul", "pack", "prepack", "reference", "unpack",
    "words_per_row",
]  # fmt: skip

MAX_COLUMNS = 2**31 - 1  # a dot product of K signs lies in [-K, K] and is returned as int32


def _choose(name: str) -> None:
    known = _kernels.available()
    if name not in known:
        raise ValueError(f"no instruction set {name!r} on this processor; it has {', '.join(known)}")
    _kernels.choose(name)


if forced := os.environ.get("BNNLIB_ISA"):
    _choose(forced)


def info() -> dict[str, object]:
    """Which instruction set the kernels use, and which this processor has: ``{"isa": ..., "available": [...]}``."""
    return {"isa": _kernels.current(), "available": _kernels.available()}


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Inside the context the kernels use that instruction set; for comparing them.

    Raises:
        ValueError: the processor lacks it, or there is no such set; those it has are listed.
    """
    before = _kernels.current()
    _choose(name)
    try:
        yield
    finally:
        _kernels.choose(before)


@dataclass(frozen=True)
class Panels:
    """A packed sign matrix in the layout that products want as their second operand; made by :func:`prepack`.

    Attributes:
        rows, columns: N and K of the matrix.
        values: its words, 32 rows interleaved; uint32, the first value at an address divisible by 64.
    """

    rows: int
    columns: int
    values: np.ndarray


def prepack(b: np.ndarray, columns: int) -> Panels:
    """Prepares a packed sign matrix for many products: weights, which stay while activations come and go.

    Args:
        b: uint64, shape (N, ceil(K / 64)), from :func:`pack`.
        columns: K, the number of signs in a row.

    Raises:
        TypeError, ValueError: an argument has another dtype or shape, or set bits behind column K.
    """
    _check_packed("b", b, columns)
    size = _kernels.panel_values(b.shape[0], columns)
    room = np.empty(size + 16, np.uint32)
    start = -room.ctypes.data % 64 // 4
    panels = room[start : start + size]
    _kernels.to_panels(np.ascontiguousarray(b), columns, panels)
    return Panels(b.shape[0], columns, panels)


def words_per_row(columns: int) -> int:
    """Words of 64 bits that a row of ``columns`` signs takes."""
    return -(-columns // 64)


def pack(x: np.ndarray) -> np.ndarray:
    """Packs the signs of a real matrix.

    Args:
        x: float32, shape (M, K). Other dtypes are refused rather than converted. Non-contiguous input is copied once.

    Returns:
        uint64, shape (M, ceil(K / 64)): bit 1 where ``x >= 0`` (so for +0.0 and -0.0), 0 elsewhere and in the tail.

    Raises:
        TypeError: ``x`` is not a float32 array.
        ValueError: ``x`` is not two-dimensional or holds a NaN, which has no sign.
    """
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        raise TypeError(f"pack takes a float32 NumPy array, received {_describe(x)}; convert with x.astype(np.float32)")
    if x.ndim != 2:
        raise ValueError(f"pack takes a matrix (M, K), received shape {x.shape}; reshape to two dimensions")
    out = np.zeros((x.shape[0], words_per_row(x.shape[1])), np.uint64)
    nans = _kernels.pack_f32(np.ascontiguousarray(x), out)
    if nans:
        raise ValueError(f"pack met {nans} NaN among {x.size} values: NaN has no sign; remove them before packing")
    return out


def unpack(bits: np.ndarray, columns: int) -> np.ndarray:
    """The signs of a packed matrix: int8, shape (M, columns), each +1 or -1. The inverse of :func:`pack`."""
    _check_packed("bits", bits, columns)
    return reference.unpack(bits, columns)


def matmul(a: np.ndarray, b: np.ndarray | Panels, columns: int, *, out: np.ndarray | None = None) -> np.ndarray:
    """The product A Bᵀ of two packed sign matrices.

    Args:
        a: uint64, shape (M, ceil(K / 64)), from :func:`pack`.
        b: uint64, shape (N, ceil(K / 64)), from :func:`pack`; or its :class:`Panels`, which saves their making.
        columns: K, the number of signs in a row.
        out: int32, shape (M, N), contiguous and writable, to write into.

    Returns:
        int32, shape (M, N): each entry is ``K - 2 * popcount(a[m] xor b[n])``, exact, of the parity of K.

    Raises:
        TypeError, ValueError: an argument has another dtype or shape, or set bits behind column K.
    """
    _check_packed("a", a, columns)
    if not isinstance(b, Panels):
        b = prepack(b, columns)
    elif b.columns != columns:
        raise ValueError(f"b was prepacked with {b.columns} columns, but columns is {columns}")
    shape = (a.shape[0], b.rows)
    if out is None:
        out = np.empty(shape, np.int32)
    elif not isinstance(out, np.ndarray) or out.dtype != np.int32:
        raise TypeError(f"out must be an int32 array, received {_describe(out)}")
    elif out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(f"out must be contiguous and writable with shape {shape}, received shape {out.shape}")
    _kernels.matmul(np.ascontiguousarray(a), b.values, columns, out)
    return out


def _check_packed(name: str, bits: np.ndarray, columns: int) -> None:
    if not isinstance(bits, np.ndarray) or bits.dtype != np.uint64:
        raise TypeError(f"{name} must be packed signs (uint64, from bnnlib.kernels.pack), received {_describe(bits)}")
    if not 0 <= columns <= MAX_COLUMNS:
        raise ValueError(f"columns must lie in 0..{MAX_COLUMNS} so that sums fit int32, received {columns}")
    if bits.ndim != 2 or bits.shape[1] != words_per_row(columns):
        raise ValueError(
            f"{name} must have shape (rows, {words_per_row(columns)}) for {columns} columns, received {bits.shape}"
        )
    tail = columns % 64
    if tail and np.any(bits[:, -1] >> np.uint64(tail)):
        raise ValueError(f"{name} has bits set behind column {columns}: it was packed from a wider matrix")


def _describe(x) -> str:
    return f"{x.dtype} array" if isinstance(x, np.ndarray) else type(x).__name__
