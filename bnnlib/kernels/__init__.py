"""Kernels on bits: signs packed 64 to a word, and products of packed matrices by xor and popcount.

A matrix of +1 and -1 with K columns is kept as ``uint64`` words, ``ceil(K / 64)`` to a row: bit 1 is +1, the least
significant bit is the first column, and the bits behind column K are 0. Two rows then differ in ``popcount(a xor b)``
places, and their dot product is ``K - 2 * popcount(a xor b)``, an exact integer.

This floor knows NumPy only. ``reference`` holds the same functions in plain NumPy, to read and to test against.
"""

import numpy as np

from bnnlib.kernels import _kernels, reference

__all__ = ["MAX_COLUMNS", "matmul", "pack", "reference", "unpack", "words_per_row"]

MAX_COLUMNS = 2**31 - 1  # a dot product of K signs lies in [-K, K] and is returned as int32


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


def matmul(a: np.ndarray, b: np.ndarray, columns: int) -> np.ndarray:
    """The product A Bᵀ of two packed sign matrices.

    Args:
        a: uint64, shape (M, ceil(K / 64)), from :func:`pack`.
        b: uint64, shape (N, ceil(K / 64)), from :func:`pack`.
        columns: K, the number of signs in a row.

    Returns:
        int32, shape (M, N): each entry is ``K - 2 * popcount(a[m] xor b[n])``, exact, of the parity of K.

    Raises:
        TypeError, ValueError: an argument has another dtype or shape, or set bits behind column K.
    """
    _check_packed("a", a, columns)
    _check_packed("b", b, columns)
    out = np.empty((a.shape[0], b.shape[0]), np.int32)
    _kernels.matmul(np.ascontiguousarray(a), np.ascontiguousarray(b), columns, out)
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
