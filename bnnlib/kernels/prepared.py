"""Calls whose arrays are bound once, for a plan that runs again and again, as a network's does.

Each function checks its arrays, lays out what it needs, and returns a call without arguments that writes into ``out``:
no checks are left for it to do. Maps have their channels last: packed bits, codes as bytes, whole sums as int32, or
float32, in which whole numbers up to 2^24 are exact, in whatever order they are added.
"""

import math
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
    "ByteFilters", "Call", "RealFilters", "compare", "conv2d", "conv2d_bytes", "conv2d_real", "max_pool",
    "max_pool_bytes", "or_pool", "pack", "pointwise", "prepack_bytes", "prepack_real", "to_bytes",
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
    of_pixel = filters.filters * filters.channels * filters.kernel[0] * filters.kernel[1]
    threads = check_threads(threads, math.prod(out.shape[:3]) * of_pixel)
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
    threads = check_threads(threads, _macs(out, filters))
    return _kernels.RealConvolution(x, window, filters.filters, filters.panels, pad_value, *compared, out, threads)


def _macs(out: np.ndarray, filters: "RealFilters | ByteFilters") -> int:
    """Multiply-accumulates of a convolution, those with padded panels included."""
    return math.prod(out.shape[:3]) * filters.panels.size


def _in_panels(comparison: Compare, dtype) -> Compare:
    """Thresholds and flips as strips read them."""
    thresholds, flips = comparison
    if dtype == INT32 and thresholds.dtype != INT32:
        raise TypeError(f"thresholds of whole sums must be int32, received {describe(thresholds)}")
    outputs = thresholds.shape[-1]
    padded = np.zeros((*thresholds.shape[:-1], panel_rows(outputs)), dtype)
    padded[..., :outputs] = thresholds
    bits = np.zeros(padded.shape[-1], bool)
    bits[:outputs] = flips
    return padded, np.packbits(bits, bitorder="little").view(np.uint32)


@dataclass(frozen=True, eq=False)
class ByteFilters:
    """The weights of a convolution of bytes; made by :func:`prepack_bytes`.

    Attributes:
        filters, channels: O and C.
        kernel, dilation: height and width.
        panels: int8.
        sums: int32, (O,): of each filter's weights.
    """

    filters: int
    channels: int
    kernel: Pair
    dilation: Pair
    panels: np.ndarray
    sums: np.ndarray


def prepack_bytes(weights: np.ndarray, dilation: Pair = (1, 1)) -> ByteFilters:
    """Lays out the weights of a convolution of bytes.

    Args:
        weights: whole numbers from -128 to 127 of any integer dtype, shape (O, height, width, C).
        dilation: of the convolution.

    Raises:
        ValueError: weights that int8 can't hold, or sums that int32 may not.
    """
    if not isinstance(weights, np.ndarray) or weights.dtype.kind not in "iu" or weights.ndim != 4:
        raise TypeError(f"weights must be integers of shape (O, height, width, C), received {describe(weights)}")
    if weights.min(initial=0) < -128 or weights.max(initial=0) > 127:
        raise ValueError(f"weights must be from -128 to 127, received {weights.min()} to {weights.max()}")
    outputs, height, width, channels = weights.shape
    runs, run = (height, width * channels) if dilation[1] == 1 else (height * width, channels)
    quads = -(-run // 4)
    rows = np.zeros((panel_rows(outputs), runs, 4 * quads), np.int8)
    rows[:outputs, :, :run] = weights.reshape(outputs, runs, run)
    panels = empty(rows.size, np.int8)
    # for each panel and four values of a run: four weights of each of its filters
    panels[:] = rows.reshape(-1, panel_rows(1), runs * quads, 4).transpose(0, 2, 1, 3).reshape(-1)
    sums, largest = (
        each.reshape(outputs, -1).sum(1, dtype=np.int64) for each in (weights, np.abs(rows[:outputs], dtype=np.int64))
    )
    if 255 * largest.max(initial=0) >= 2**31:
        raise ValueError(f"sums of bytes times these weights may reach {255 * largest.max():,}, and int32 ends at 2^31")
    return ByteFilters(outputs, channels, (height, width), dilation, panels, sums)


def conv2d_bytes(
    x: np.ndarray, low: int, filters: ByteFilters, out: np.ndarray, stride: Pair, padding: Padding, *,
    pad_value: int = 0, comparison: Compare | None = None, threads: int = 1,
) -> Call:  # fmt: skip
    """A convolution (cross-correlation) of maps of codes, which are kept as bytes: code = low + byte.

    Args:
        x: uint8, (N, H, W, C).
        pad_value: the code around the maps.
        out: int32, (N, OH, OW, O): the sums. With a comparison uint8, of the same shape: the number of its steps,
            thresholds (steps, O), that a sum reaches, or, where flipped, does not; or, with one step, uint64,
            (N, OH, OW, ceil(O / 64)): as :func:`conv2d_real`.
    """
    if x.shape[-1] != filters.channels:
        raise ValueError(f"filters for {filters.channels} channels, received maps {describe(x)}")
    window = (*filters.kernel, *stride, *filters.dilation, *padding)
    base = np.zeros(panel_rows(filters.filters), INT32)
    base[: filters.filters] = low * filters.sums  # fits, as prepack_bytes has seen
    results = _results(filters.filters, base, comparison, out)
    threads = check_threads(threads, _macs(out, filters))
    return _kernels.ByteConvolution(
        x, window, filters.filters, filters.panels, pad_value - low, results, out, threads
    )  # fmt: skip


def _results(outputs: int, base: np.ndarray | None, comparison: Compare | None, out: np.ndarray) -> object:
    compared = (None, None)
    if comparison is not None:
        thresholds, flips = comparison
        compared = _in_panels((thresholds.reshape(-1, outputs), flips), INT32)
    return _kernels.Results(outputs, base, *compared, out.dtype == UINT64)


def compare(sums: np.ndarray, comparison: Compare, out: np.ndarray) -> Call:
    """int32 sums (N, H, W, O) to codes or packed bits, as :func:`conv2d_bytes` stores its own."""
    return _kernels.Comparison(_as_rows(sums), _results(sums.shape[-1], None, comparison, out), _as_rows(out))


def max_pool_bytes(
    x: np.ndarray, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair, steps: int,
    inverted: np.ndarray | None, out: np.ndarray,
) -> Call:  # fmt: skip
    """The largest value of each window of maps of bytes (N, H, W, C); where ``inverted``, bool, (C,), ``steps`` less
    that."""
    inverted = None if inverted is None else inverted.astype(np.uint8)
    return _kernels.BytePool(x, (*kernel, *stride, *dilation, *padding), steps, inverted, out)


def to_bytes(x: np.ndarray, low: int, out: np.ndarray) -> Call:
    """Whole numbers in float32, from ``low`` to ``low + 255``, as bytes: x - low."""
    return _kernels.ToBytes(x.reshape(-1), low, out.reshape(-1))


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
