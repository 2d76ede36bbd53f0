"""The kernels in plain NumPy: slow, short, and what the compiled ones must equal."""

import numpy as np


def pack(x: np.ndarray) -> np.ndarray:
    """Signs of (M, K) as uint64 (M, ceil(K / 64)); see :func:`bnnlib.kernels.pack`."""
    rows, columns = x.shape
    padded = np.zeros((rows, -(-columns // 64) * 64), np.uint8)
    padded[:, :columns] = x if x.dtype == np.bool_ else x >= 0
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


def compare(sums: np.ndarray, thresholds: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Sums (M, N) as packed bits: ``(sum >= threshold) xor flip``."""
    return pack((sums >= thresholds) != flips)


def matmul_codes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A Bᵀ of integer codes (M, K) and (N, K) as int32 (M, N)."""
    return (a.astype(np.int64) @ b.astype(np.int64).T).astype(np.int32)


def conv2d(x, weights, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1, pad_value=0) -> np.ndarray:
    """Convolution of signs x (N, C, H, W) with weights (O, C / groups, KH, KW), as int32 (N, OH, OW, O)."""
    rows, columns = padding
    x = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (rows, rows), (columns, columns)), constant_values=pad_value)
    weights = weights.astype(np.int64)
    outputs, each, height, width = weights.shape
    size = [(x.shape[2 + i] - dilation[i] * (weights.shape[2 + i] - 1) - 1) // stride[i] + 1 for i in range(2)]
    out = np.zeros((x.shape[0], *size, outputs), np.int64)
    for u in range(height):
        for v in range(width):
            top, left = u * dilation[0], v * dilation[1]
            seen = x[:, :, top : top + (size[0] - 1) * stride[0] + 1 : stride[0],
                     left : left + (size[1] - 1) * stride[1] + 1 : stride[1]]  # fmt: skip
            for g in range(groups):
                of_group = slice(g * outputs // groups, (g + 1) * outputs // groups)
                out[..., of_group] += np.einsum(
                    "nchw,oc->nhwo", seen[:, g * each : (g + 1) * each], weights[of_group, :, u, v]
                )
    return out.astype(np.int32)
