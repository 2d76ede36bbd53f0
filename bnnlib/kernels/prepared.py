"""Calls whose arrays are bound once, for a plan that runs again and again, as a network's does.

Each function checks its arrays, lays out what it needs, and returns a call without arguments that writes into ``out``:
no checks and no allocation are left for it to do. Maps have their channels last. What is not bits is float32; whole
numbers up to 2^24 are exact in it, in whatever order they are added.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np

from bnnlib.kernels import _kernels
from bnnlib.kernels.checks import INT32, UINT64, check_threads, check_thresholds, describe
from bnnlib.kernels.convolution import Filters
from bnnlib.kernels.memory import empty
from bnnlib.kernels.panels import panel_rows

__all__ = [
    "Call", "RealFilters", "combine", "compare", "conv2d", "conv2d_real", "max_pool", "or_pool", "pack", "pointwise",
    "prepack_real", "sum_signs",
]  # fmt: skip

Call = Callable[[], object]
Compare = tuple[np.ndarray, np.ndarray]  # thresholds, int32 (of real sums also float32), and flips, bool; (O,) each
Pair = tuple[int, int]
Padding = tuple[int, int, int, int]  # top, bottom, left, right


def conv2d(
    x: np.ndarray, filters: Filters, out: np.ndarray, stride: Pair, padding: Pair, dilation: Pair, *,
    pad_value: int = 0, comparison: Compare | None = None, threads: int = 1,
) -> Call:  # fmt: skip
    """:func:`bnnlib.kernels.conv2d`, or, with a comparison, :func:`~bnnlib.kernels.conv2d_threshold`."""
    shape = (*filters.dimensions, *stride, *dilation, *padding, pad_value)
    compared = (None, None) if comparison is None else check_thresholds(*comparison, filters.filters)
    threads = check_threads(threads, out.size * filters.channels * filters.kernel[0] * filters.kernel[1])
    return _kernels.Convolution(x, shape, filters.panels, filters.tap_sums, *compared, out, threads)


@dataclass(frozen=True, eq=False)
class RealFilters:
    """The weights of a convolution that is not one of bits; made by :func:`prepack_real`.

    Attributes:
        filters: O.
        kernel: height and width.
        panels: int8 codes or float32.
    """

    filters: int
    kernel: Pair
    panels: np.ndarray


def prepack_real(weights: np.ndarray) -> RealFilters:
    """Lays out the weights of a convolution.

    Args:
        weights: shape (O, height, width, C), float32, or whole numbers of any integer dtype, which are kept as int8
            where they fit.
    """
    if not isinstance(weights, np.ndarray) or weights.dtype.kind not in "if" or weights.ndim != 4:
        raise TypeError(f"weights must be numbers of shape (O, height, width, C), received {describe(weights)}")
    small = weights.dtype.kind == "i" and np.abs(weights).max(initial=0) < 128
    outputs, height, width, channels = weights.shape
    rows = np.zeros((panel_rows(outputs), height * width * channels), np.int8 if small else np.float32)
    rows[:outputs] = weights.reshape(outputs, -1)
    panels = empty(rows.size, rows.dtype)
    panels[:] = rows.reshape(-1, panel_rows(1), rows.shape[1]).transpose(0, 2, 1).reshape(-1)
    return RealFilters(outputs, (height, width), panels)


def conv2d_real(
    x: np.ndarray, filters: RealFilters, out: np.ndarray, stride: Pair, padding: Padding, dilation: Pair, *,
    pad_value: float = 0, comparison: Compare | None = None, threads: int = 1,
) -> Call:  # fmt: skip
    """A convolution (cross-correlation) of float32 maps.

    Args:
        x: float32, (N, H, W, C).
        out: float32, (N, OH, OW, O): the sums; with a comparison uint64, (N, OH, OW, ceil(O / 64)): bit o of a pixel is
            1 where the sum is ``>= thresholds[o]``, inverted by flips.
    """
    window = (*filters.kernel, *stride, *dilation, *padding)
    compared = (None, None) if comparison is None else _in_panels(comparison, np.float32)
    threads = check_threads(threads, out.size * filters.panels.size // max(1, panel_rows(filters.filters)))
    return _kernels.RealConvolution(x, window, filters.filters, filters.panels, pad_value, *compared, out, threads)


def _in_panels(comparison: Compare, dtype) -> Compare:
    """Thresholds and flips as strips read them."""
    thresholds, flips = comparison
    outputs = thresholds.shape[-1]
    padded = np.zeros((*thresholds.shape[:-1], panel_rows(outputs)), dtype)
    padded[..., :outputs] = thresholds
    bits = np.zeros(padded.shape[-1], bool)
    bits[:outputs] = flips
    return padded, np.packbits(bits, bitorder="little").view(np.uint32)


def compare(sums: np.ndarray, comparison: Compare, out: np.ndarray) -> Call:
    """int32 sums (N, H, W, O), with thresholds (steps, O), to packed bits (steps * N, H, W, ceil(O / 64))."""
    thresholds, flips = _in_panels(comparison, INT32)
    return _kernels.Comparison(_as_rows(sums), thresholds, flips, _as_planes(out, len(thresholds)))


def sum_signs(
    x: np.ndarray,
    channels: int,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    pad_value: int,
    out: np.ndarray,
) -> Call:
    """The sum of the signs under each window of packed maps (N, H, W, words): int32, (N, OH, OW, 1)."""
    return _kernels.SignSums(x, channels, (*kernel, *stride, *dilation, *padding), pad_value, out)


def combine(
    sums: np.ndarray, codes: np.ndarray, planes: int, weight_planes: int, of_weights: int, stride: int,
    alone: np.ndarray, out: np.ndarray,
) -> Call:  # fmt: skip
    """The products of codes of several bits from those of their sign planes.

    Args:
        sums: int32, (planes * N, H, W, weight_planes * O): of each plane i of the input with each weight plane j.
        codes: int32, (planes * N, H, W, 1): the sums of its signs s_i alone.
        of_weights, stride, alone: the rest of ``(alone + sum_i 2^i (of_weights s_i + sum_j 2^j stride sums_ij)) / 4``.
        out: int32, (N, H, W, O).
    """
    alone, given = np.ascontiguousarray(alone, INT32), (_as_planes(sums, planes), _as_planes(codes, planes)[..., 0])
    return _kernels.Combination(*given, weight_planes, of_weights, stride, alone, _as_rows(out))


def _as_planes(maps: np.ndarray, planes: int) -> np.ndarray:
    return maps.reshape(planes, -1, maps.shape[-1])


def _as_rows(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(-1, maps.shape[-1])


Step = tuple[Literal["multiply", "add", "norm", "bend", "divide", "clip", "round"], tuple]
_KINDS = {"multiply": 0, "add": 1, "norm": 2, "bend": 3, "divide": 4, "clip": 5, "round": 6}
_PERIOD = 128  # values that at least share their numbers: the loops over them are long


def pointwise(x: np.ndarray, steps: Sequence[Step], out: np.ndarray) -> Call:
    """Steps from value to value, each rounded to float32 as PyTorch does.

    Args:
        x: float32 or int32, (N, H, W, C).
        steps: name and numbers: ``multiply`` and ``add`` take one array, ``norm`` two (x * a + b, rounded once),
            ``bend`` the slope below 0; arrays have a number for each channel, for all, or for each value of a map.
            ``divide`` takes a number, ``clip`` two, ``round`` none.
        out: float32, of x's shape.
    """
    if x.shape != out.shape:
        raise ValueError(f"x has shape {x.shape}, out {out.shape}")
    channels, of_map = x.shape[3], x.shape[1] * x.shape[2] * x.shape[3]
    arrays = [np.asarray(each, np.float32) for _, numbers in steps for each in numbers if np.ndim(each)]
    period = of_map if any(array.ndim == 3 for array in arrays) else channels * -(-_PERIOD // channels)

    def tiled(array: np.ndarray) -> np.ndarray:
        flat = np.asarray(array, np.float32).reshape(-1)
        return np.resize(flat, period) if len(flat) in (1, channels, of_map) else flat

    given = []
    for name, numbers in steps:
        low, high = ([float(each) for each in numbers if not np.ndim(each)] + [0.0, 0.0])[:2]
        a, b = ([tiled(each) for each in numbers if np.ndim(each)] + [None, None])[:2]
        given.append((_KINDS[name], a, b, low, high))
    return _kernels.Pointwise(x.reshape(-1), given, period, out.reshape(-1))


def max_pool(x: np.ndarray, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, out: np.ndarray) -> Call:
    """The largest value of each window of float32 maps (N, H, W, C)."""
    return _kernels.MaxPool(x, (*kernel, *stride, *dilation, *padding), out)


def or_pool(
    x: np.ndarray,
    kernel: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    inverted: np.ndarray | None,
    out: np.ndarray,
) -> Call:
    """The OR over each window of packed maps (N, H, W, words), and then an xor with ``inverted``, (words,)."""
    return _kernels.OrPool(x, (*kernel, *stride, *dilation, *padding), inverted, out)


def pack(x: np.ndarray, out: np.ndarray) -> Call:
    """The signs of float32 maps (N, H, W, C) as packed bits (N, H, W, ceil(C / 64)): 1 where a value is ``>= 0``."""
    if x.dtype != np.float32 or out.dtype != UINT64:
        raise TypeError(f"x must be float32 and out uint64, received {describe(x)} and {describe(out)}")
    return partial(_kernels.pack_f32, _as_rows(x), _as_rows(out))
