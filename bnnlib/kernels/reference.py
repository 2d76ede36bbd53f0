"""The kernels in plain NumPy: slow, short, and what the compiled ones must equal."""

import numpy as np


def pack(x: np.ndarray) -> np.ndarray:
    """Signs of (M, K) as uint64 (M, ceil(K / 64)); see :func:`bnnlib.kernels.pack`."""
    rows, columns = x.shape
    padded = np.zeros((rows, -(-columns // 64) * 64), np.uint8)
    padded[:, :columns] = x >= 0
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def unpack(bits: np.ndarray, columns: int) -> np.ndarray:
    """+1 and -1 as int8 (M, columns) from packed bits (M, ceil(columns / 64))."""
    octets = np.ascontiguousarray(bits, "<u8").view(np.uint8)
    ones = np.unpackbits(octets, axis=1, bitorder="little", count=columns)
    return (2 * ones.astype(np.int8) - 1).astype(np.int8)


def matmul(a: np.ndarray, b: np.ndarray, columns: int) -> np.ndarray:
    """A Bᵀ as int32 (M, N) by ``columns - 2 * popcount(a xor b)``."""
    differing = np.bitwise_count(a[:, None, :] ^ b[None, :, :]).sum(axis=2, dtype=np.int64)
    return (columns - 2 * differing).astype(np.int32)
