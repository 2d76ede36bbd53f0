"""Arrays for the kernels to write into."""

import math
import operator

import numpy as np
from numpy.typing import DTypeLike

__all__ = ["empty"]

LINE = 64  # bytes of a cache line, and of the widest vector
_LARGE = 1 << 20  # bytes; smaller outputs are never written around the caches


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = np.int32) -> np.ndarray:
    """An uninitialised array whose first value has an address divisible by 64: the fastest ``out`` for every kernel.

    The kernels write outputs of 2 MiB and more around the caches, in whole cache lines. ``np.empty`` puts large arrays
    some bytes past such an address; those are written through the caches, with the same values but more slowly.

    Args:
        shape: of the array, or its length.
        dtype: int32 for sums, uint64 for packed signs.

    Returns:
        A C-contiguous, writable array of that shape.

    Raises:
        ValueError: a negative length, or more bytes than a process can address.
    """
    lengths = shape if isinstance(shape, tuple | list) else (shape,)
    shape = tuple(operator.index(length) for length in lengths)
    size = _bytes(shape, dtype, "the array")
    buffer = np.empty(size + LINE, np.uint8)
    start = -buffer.ctypes.data % LINE
    return buffer[start : start + size].view(dtype).reshape(shape)


def new(shape: tuple[int, ...], dtype: DTypeLike, what: str = "the output") -> np.ndarray:
    """An array for a result: aligned as by :func:`empty` where it is large enough for that to matter."""
    size = _bytes(shape, dtype, what)
    return np.empty(shape, dtype) if size < _LARGE else empty(shape, dtype)


def _bytes(shape: tuple[int, ...], dtype: DTypeLike, what: str) -> int:
    if min(shape, default=0) < 0:
        raise ValueError(f"{what} must have lengths of 0 or more, received shape {shape}")
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size >= 2**47:
        raise ValueError(f"{what} would have shape {shape}: {size:.3g} bytes, more than a process can address")
    return size
