"""Signs to bits and back: matrices row by row, images pixel by pixel."""

from typing import Literal

import numpy as np

from bnnlib.kernels import _kernels
from bnnlib.kernels.checks import check_columns, check_groups, check_packed, describe, rows_in_place, words_per_row
from bnnlib.kernels.memory import new

__all__ = ["pack", "pack_branches", "pack_images", "unpack", "unpack_images"]

_PACKERS = {
    np.dtype(np.float32): _kernels.pack_f32,
    np.dtype(np.float64): _kernels.pack_f64,
    np.dtype(np.int8): _kernels.pack_i8,
}
_UNPACKERS = {np.dtype(np.int8): _kernels.unpack_i8, np.dtype(np.float32): _kernels.unpack_f32}
Layout = Literal["NCHW", "NHWC"]


def pack(x: np.ndarray) -> np.ndarray:
    """Packs the signs of a real matrix.

    Args:
        x: float32, float64, int8 or bool, shape (M, K). Other dtypes are refused rather than converted. Rows may lie
            any stride apart; other non-contiguous input is copied.

    Returns:
        uint64, shape (M, ceil(K / 64)): bit 1 where ``x >= 0`` (so for +0.0 and -0.0; for bool where it is true), 0
        elsewhere and in the tail.

    Raises:
        TypeError: ``x`` is not an array of one of these dtypes.
        ValueError: ``x`` is not two-dimensional or holds a NaN, which has no sign.
    """
    _check_real(x)
    if x.ndim != 2:
        raise ValueError(f"pack takes a matrix (M, K), received shape {x.shape}; reshape to two dimensions")
    out = new((x.shape[0], words_per_row(x.shape[1])), np.uint64)
    x = rows_in_place(x)
    nans = _kernels.pack_bool(x.view(np.uint8), out) if x.dtype == np.bool_ else _PACKERS[x.dtype](x, out)
    _refuse_nans(nans, x.size)
    return out


def pack_images(x: np.ndarray, layout: Layout = "NCHW", *, groups: int = 1) -> np.ndarray:
    """Packs the signs of images along their channels, so that a convolution can run on the bits.

    Args:
        x: float32, float64, int8 or bool, four-dimensional. With channels first (``"NCHW"``), dtypes other than float32
            are copied to channels last beforehand.
        layout: the order of its axes, ``"NCHW"`` as PyTorch has it, or ``"NHWC"``.
        groups: of a grouped convolution; the channels of each group begin a new word.

    Returns:
        uint64, shape (N, H, W, groups * ceil(C / groups / 64)).

    Raises:
        TypeError, ValueError: as :func:`pack`, for a wrong layout, or where ``groups`` does not divide the channels.
    """
    _check_real(x)
    if layout not in ("NCHW", "NHWC"):
        raise ValueError(f'layout must be "NCHW" or "NHWC", received {layout!r}')
    if x.ndim != 4:
        raise ValueError(f"pack_images takes four dimensions ({layout}), received shape {x.shape}")
    images, height, width, channels = x.shape if layout == "NHWC" else (x.shape[0], *x.shape[2:], x.shape[1])
    groups = check_groups(groups, channels, "channels")
    each = channels // groups
    words = words_per_row(each)
    if layout == "NCHW" and x.dtype == np.float32 and (height * width > 1 or groups > 1):
        out = new((images, height * width, groups, words), np.uint64)
        x = np.ascontiguousarray(x).reshape(images, groups, each, height * width)
        _refuse_nans(_kernels.pack_channels_f32(x, out), x.size)
        return out.reshape(images, height, width, groups * words)
    if layout == "NCHW":
        x = x.transpose(0, 2, 3, 1)
    rows = np.ascontiguousarray(x).reshape(images * height * width * groups, each)
    return pack(rows).reshape(images, height, width, groups * words)


def pack_branches(x: np.ndarray, shifts: np.ndarray, layout: Layout = "NCHW", *, groups: int = 1) -> np.ndarray:
    """Packs the signs of images under K shifts of their channels: the bits of IE-Net's branches, which share weights.

    The branches lie one after the other like more images, so that a single call takes them all:
    ``conv2d(pack_branches(x, shifts), filters).reshape(K, N, OH, OW, O)`` holds the K sums.

    Args:
        x: float32 or float64 images, as for :func:`pack_images`, as are ``layout`` and ``groups``.
        shifts: (K, C), of the dtype of ``x``: each is added to its channel before the sign, rounded once.

    Returns:
        uint64, shape (K * N, H, W, groups * ceil(C / groups / 64)): bit 1 where ``x + shift >= 0``.

    Raises:
        TypeError, ValueError: as :func:`pack_images`; ``shifts`` has another dtype or shape, or a NaN.
    """
    if layout not in ("NCHW", "NHWC"):
        raise ValueError(f'layout must be "NCHW" or "NHWC", received {layout!r}')
    for name, array in (("x", x), ("shifts", shifts)):
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            raise TypeError(f"{name} must be a float32 or float64 NumPy array, received {describe(array)}")
    if x.ndim != 4:
        raise ValueError(f"pack_branches takes four dimensions ({layout}), received shape {x.shape}")
    channels = x.shape[3 if layout == "NHWC" else 1]
    if shifts.dtype != x.dtype or shifts.ndim != 2 or shifts.shape[1] != channels or not len(shifts):
        raise ValueError(
            f"shifts must be {x.dtype}, shape (K, {channels}) with K >= 1, "
            f"received {shifts.dtype}, shape {shifts.shape}"
        )
    over_pixels = shifts if layout == "NHWC" else shifts[:, :, None, None]
    packed = [pack_images(x + shift, layout, groups=groups) for shift in over_pixels]
    return np.concatenate(packed, out=new((len(packed) * len(x), *packed[0].shape[1:]), np.uint64))


def unpack(bits: np.ndarray, columns: int, dtype=np.int8) -> np.ndarray:
    """The signs of a packed matrix: int8 or float32, shape (M, columns), each +1 or -1. The inverse of :func:`pack`.

    Raises:
        TypeError, ValueError: ``bits`` is not a packed matrix of that many columns, or another dtype is requested.
    """
    columns = check_columns(columns)
    bits = np.ascontiguousarray(check_packed("bits", bits, columns))
    unpacker = _UNPACKERS.get(np.dtype(dtype))
    if unpacker is None:
        raise TypeError(f"unpack gives int8 or float32, received dtype {np.dtype(dtype)}")
    out = new((bits.shape[0], columns), dtype)
    unpacker(bits, columns, out)
    return out


def unpack_images(
    bits: np.ndarray, channels: int, layout: Layout = "NCHW", *, groups: int = 1, dtype=np.int8
) -> np.ndarray:
    """The signs of packed images; the inverse of :func:`pack_images`, with the same arguments."""
    if layout not in ("NCHW", "NHWC"):
        raise ValueError(f'layout must be "NCHW" or "NHWC", received {layout!r}')
    groups = check_groups(groups, channels, "channels")
    each = channels // groups
    words = words_per_row(each)
    if not isinstance(bits, np.ndarray) or bits.ndim != 4 or bits.shape[3] != groups * words:
        raise ValueError(
            f"bits must have shape (N, H, W, {groups * words}) for {channels} channels in {groups} groups, "
            f"received {getattr(bits, 'shape', describe(bits))}"
        )
    pixels = bits.shape[0] * bits.shape[1] * bits.shape[2]
    signs = unpack(bits.reshape(pixels * groups, words), each, dtype).reshape(*bits.shape[:3], channels)
    return signs if layout == "NHWC" else np.ascontiguousarray(signs.transpose(0, 3, 1, 2))


def _check_real(x) -> None:
    if not isinstance(x, np.ndarray) or not (x.dtype in _PACKERS or x.dtype == np.bool_):
        remedy = "make a NumPy array of it (of a tensor: x.detach().numpy(), or use bnnlib.torch_ops)"
        if isinstance(x, np.ndarray):
            remedy = "is it packed already?" if x.dtype == np.uint64 else "convert with x.astype(np.float32)"
        raise TypeError(f"packing takes a float32, float64, int8 or bool NumPy array, received {describe(x)}; {remedy}")
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError("packing takes no masked array: a masked value has no sign; fill it first")


def _refuse_nans(nans: int, size: int) -> None:
    if nans:
        raise ValueError(f"packing met {nans} NaN among {size} values: NaN has no sign; remove them before packing")
