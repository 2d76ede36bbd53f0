"""Convolution of packed images with packed filters."""

import operator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from bnnlib.kernels import _kernels
from bnnlib.kernels.checks import (
    INT32,
    UINT64,
    check_columns,
    check_groups,
    check_out,
    check_threads,
    check_thresholds,
    describe,
    words_per_row,
)  # fmt: skip
from bnnlib.kernels.memory import new
from bnnlib.kernels.packing import pack
from bnnlib.kernels.panels import HoldsPanels, panel_rows, to_panels

__all__ = ["Filters", "conv1d", "conv1d_threshold", "conv2d", "conv2d_threshold", "prepack_filters"]

Pair = int | tuple[int, int] | list[int]


@dataclass(frozen=True, eq=False)
class Filters(HoldsPanels):
    """The binary filters of a convolution, ready for use; made by :func:`prepack_filters`.

    Attributes:
        filters: number of filters O, over all groups.
        channels: input channels C, over all groups.
        groups: G.
        kernel: height and width; a 1-D filter has height 1.
        spatial: 1 or 2 dimensions.
        panels: the filters of each group in panels; uint32.
        tap_sums: int32, for each group and tap the sum of each filter's weights, for padding with zeros.
    """

    filters: int
    channels: int
    groups: int
    kernel: tuple[int, int]
    spatial: int
    panels: np.ndarray
    tap_sums: np.ndarray

    def __post_init__(self):
        numbers = (self.filters, self.channels, self.groups, *self.kernel, self.spatial)
        if len(numbers) != 6 or any(type(number) is not int or number < 1 for number in numbers):
            raise ValueError(f"filters, channels, groups, kernel and dimensions are positive, received {numbers}")
        check_groups(self.groups, self.filters, "filters")
        check_groups(self.groups, self.channels, "channels")
        groups, each, of_group, height, width = self.dimensions
        check_columns(each * height * width)
        self.settle("panels", groups, of_group, each * height * width, _filter_words(each, height, width))
        self.check("tap_sums", np.int32, (groups * height * width * panel_rows(of_group),))

    @cached_property
    def dimensions(self) -> tuple[int, int, int, int, int]:
        """Groups, channels and filters of a group, height and width."""
        return (self.groups, self.channels // self.groups, self.filters // self.groups, *self.kernel)


def prepack_filters(weights: np.ndarray, groups: int = 1) -> Filters:
    """Packs the signs of a convolution's weights.

    Args:
        weights: float32, float64, int8 or bool (see :func:`pack`), shape (O, C / groups, height, width) or, for one
            dimension, (O, C / groups, length).
        groups: must divide O.

    Each group fills panels of 32 filters. Groups of fewer, and depthwise convolutions most of all, waste the rest: they
    are slower than PyTorch's in float32.

    Raises:
        TypeError, ValueError: another dtype, shape or number of groups, or a NaN.
    """
    if not isinstance(weights, np.ndarray):
        raise TypeError(f"weights must be a NumPy array, received {describe(weights)}")
    if weights.ndim not in (3, 4) or 0 in weights.shape:
        raise ValueError(
            f"weights must have shape (O, C / groups, height, width) or (O, C / groups, length), none of them 0, "
            f"received {weights.shape}"
        )
    spatial = weights.ndim - 2
    if spatial == 1:
        weights = weights[:, :, None]
    outputs, each, height, width = weights.shape
    groups = check_groups(groups, outputs, "filters")
    check_columns(each * height * width)
    taps, words = height * width, words_per_row(each)
    rows = pack(np.ascontiguousarray(weights.transpose(0, 2, 3, 1)).reshape(outputs * taps, each))
    of_groups = rows.reshape(groups, outputs // groups, height, width * words)
    if _paired(each, height):
        of_groups = _in_pairs(of_groups)
    panels = to_panels(of_groups.reshape(groups, outputs // groups, _filter_words(each, height, width)))
    ones = np.empty(outputs * taps, np.int32)
    _kernels.count_rows(rows, ones)
    sums = (2 * ones - each).reshape(groups, outputs // groups, taps).transpose(0, 2, 1)
    tap_sums = np.zeros((groups, taps, panel_rows(outputs // groups)), np.int32)
    tap_sums[..., : outputs // groups] = sums
    return Filters(outputs, each * groups, groups, (height, width), spatial, panels, tap_sums.reshape(-1))


def _paired(channels: int, height: int) -> bool:
    """Whether two rows of a filter share a word: a pixel of so many channels fills half of it (convolution.c)."""
    return channels <= 32 and height > 1


def _filter_words(channels: int, height: int, width: int) -> int:
    """The words of one filter."""
    return (-(-height // 2) if _paired(channels, height) else height) * width * words_per_row(channels)


def _in_pairs(rows: np.ndarray) -> np.ndarray:
    """Rows of filters (..., height, words) in pairs: the lower halves of one row, and above them those of the next."""
    pairs = rows[..., 0::2, :].copy()
    above = rows[..., 1::2, :]
    pairs[..., : above.shape[-2], :] |= above << np.uint64(32)
    return pairs


def conv2d(
    x: np.ndarray,
    filters: Filters,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    *,
    pad_value: int = 0,
    out: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """Two-dimensional convolution (cross-correlation, as in ``torch.nn.functional.conv2d``) of packed images.

    Args:
        x: uint64, shape (N, H, W, words), from :func:`pack_images` with the filters' groups.
        filters: from :func:`prepack_filters`.
        stride, padding, dilation: a number, or one for height and one for width.
        pad_value: the value of the padding: 0 (exact, as in PyTorch), +1 (as larq's ``pad_values=1``) or -1.
        out: int32, shape (N, OH, OW, O), contiguous and writable, to write into; fastest from :func:`empty`. It may
            share memory with no operand.
        threads: as for :func:`matmul`.

    Returns:
        int32, shape (N, OH, OW, O), channels last: the exact sums.

    Raises:
        TypeError, ValueError: an argument has another dtype or shape, or the filter does not fit into the padded image.
    """
    return _convolve(x, filters, 2, stride, padding, dilation, pad_value, None, out, threads)


def conv2d_threshold(
    x: np.ndarray,
    filters: Filters,
    thresholds: np.ndarray,
    flips: np.ndarray | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    *,
    pad_value: int = 0,
    out: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """A convolution whose epilogue compares and packs the sums: see :func:`conv2d` and :func:`matmul_threshold`.

    Returns:
        uint64, shape (N, OH, OW, ceil(O / 64)): packed images for the next layer (of one group).
    """
    compare = thresholds, flips
    return _convolve(x, filters, 2, stride, padding, dilation, pad_value, compare, out, threads)


def conv1d(
    x: np.ndarray,
    filters: Filters,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    *,
    pad_value: int = 0,
    out: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """As :func:`conv2d` in one dimension: uint64 (N, L, words) to int32 (N, OL, O).

    A signal (N, C, L) is packed as an image of height 1: ``pack_images(x[:, :, None])[:, 0]``.
    """
    geometry = _of_signal(stride, padding, dilation)
    return _convolve(x, filters, 1, *geometry, pad_value, None, _as_image(out), threads)[:, 0]


def conv1d_threshold(
    x: np.ndarray,
    filters: Filters,
    thresholds: np.ndarray,
    flips: np.ndarray | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    *,
    pad_value: int = 0,
    out: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """As :func:`conv2d_threshold` in one dimension: uint64 (N, L, words) to (N, OL, ceil(O / 64))."""
    geometry = _of_signal(stride, padding, dilation)
    return _convolve(
        x, filters, 1, *geometry, pad_value, (thresholds, flips), _as_image(out), threads
    )[:, 0]  # fmt: skip


def _convolve(x, filters, spatial, stride, padding, dilation, pad_value, compare, out, threads):
    if not isinstance(filters, Filters):
        raise TypeError(f"filters must be Filters (from bnnlib.kernels.prepack_filters), received {describe(filters)}")
    if filters.spatial != spatial:
        raise ValueError(f"the filters are of a {filters.spatial}-D convolution: use conv{filters.spatial}d")
    images, operands = _images(x, spatial), {"x": x, "filters": filters}
    if compare is not None:
        operands["thresholds"], operands["flips"] = compare
        compare = check_thresholds(*compare, filters.filters)
    if list in (type(stride), type(padding), type(dilation)):  # which cannot be keys of the cache
        stride, padding, dilation = (tuple(v) if type(v) is list else v for v in (stride, padding, dilation))
    dimensions = filters.dimensions
    geometry, of_sums, of_bits, macs = _geometry(images.shape, dimensions, stride, padding, dilation, pad_value)
    groups, each, of_group, _, _ = dimensions
    if each % 64 and _kernels.set_past_end(images.reshape(-1, words_per_row(each)), each):
        raise ValueError(f"x has bits set past channel {each} of a group: it was packed from other images")
    threads = check_threads(threads, macs)
    if compare is None:
        out = check_out(out, of_sums, INT32, operands)
        _kernels.convolve(images, geometry, filters.panels, filters.tap_sums, None, None, out, threads)
        return out
    out = check_out(out, of_bits, UINT64, operands)
    if groups == 1 or of_group % 64 == 0:
        _kernels.convolve(images, geometry, filters.panels, filters.tap_sums, *compare, out, threads)
    else:  # a word holds filters of two groups: packed in a second pass
        sums = new(of_sums, INT32)
        _kernels.convolve(images, geometry, filters.panels, filters.tap_sums, None, None, sums, threads)
        bits = (sums >= compare[0]) != compare[1].astype(bool)
        out[:] = pack(bits.reshape(-1, filters.filters)).reshape(out.shape)
    return out


@lru_cache(maxsize=1024, typed=True)  # a network has few different ones, and repeats them
def _geometry(shape, dimensions, stride, padding, dilation, pad_value):
    """Checks that images and filters match. Returns the geometry for the compiled function, the shapes of sums and of
    thresholded bits, and the number of multiply-accumulates."""
    groups, each, of_group, *kernel = dimensions
    if shape[3] != groups * words_per_row(each):
        raise ValueError(
            f"x must have {groups * words_per_row(each)} words to a pixel ({groups} groups of {each} channels; "
            f"pack_images(..., groups={groups})), received shape {shape}"
        )
    if pad_value not in (-1, 0, 1):
        raise ValueError(f"pad_value must be -1, 0 or 1, received {pad_value!r}")
    stride, dilation = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
    padding = _pair("padding", padding, 0)
    padded = [shape[1 + i] + 2 * padding[i] for i in range(2)]
    covered = [dilation[i] * (kernel[i] - 1) + 1 for i in range(2)]
    if covered[0] > padded[0] or covered[1] > padded[1]:
        raise ValueError(
            f"the filter covers {tuple(covered)} but the padded image is {tuple(padded)}: nothing to compute"
        )
    if 8 * shape[0] * padded[0] * padded[1] * shape[3] >= 2**47:
        raise ValueError(f"{shape[0]} padded images of {tuple(padded)} are more than a process can address")
    size = (shape[0], *((padded[i] - covered[i]) // stride[i] + 1 for i in range(2)))
    outputs = groups * of_group
    macs = size[0] * size[1] * size[2] * outputs * each * kernel[0] * kernel[1]
    arguments = (*dimensions, *stride, *dilation, *padding, int(pad_value))
    return arguments, (*size, outputs), (*size, words_per_row(outputs)), macs


def _as_image(out):
    """An output for signals as one for images of height 1; anything but an array is refused later."""
    return out[:, None] if isinstance(out, np.ndarray) and out.ndim == 3 else out


def _images(x, spatial: int) -> np.ndarray:
    """Packed images in place, or signals as images of height 1."""
    if not isinstance(x, np.ndarray) or x.dtype != UINT64:
        raise TypeError(f"x must be packed (uint64, from bnnlib.kernels.pack_images), received {describe(x)}")
    if x.ndim != spatial + 2:
        wanted = "(N, H, W, words)" if spatial == 2 else "(N, L, words)"
        raise ValueError(f"x must have shape {wanted}, received {x.shape}")
    x = x if spatial == 2 else x[:, None]
    return x if x.flags.c_contiguous and x.flags.aligned else np.array(x, order="C", subok=False)


def _pair(name: str, value: Pair, least: int) -> tuple[int, int]:
    try:
        first, second = value if isinstance(value, tuple | list) else (value, value)
        pair = operator.index(first), operator.index(second)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a whole number or a pair of them, received {value!r}") from None
    if min(pair) < least or max(pair) >= 2**31:
        raise ValueError(f"{name} must lie in {least}..{2**31 - 1}, received {value!r}")
    return pair


def _of_signal(stride: int, padding: int, dilation: int) -> tuple[tuple[int, int], ...]:
    """The geometry of a signal as that of an image of height 1."""

    def pair(name: str, value: int, of_height: int) -> tuple[int, int]:  # which is also the smallest allowed
        if isinstance(value, tuple | list):
            raise TypeError(f"{name} must be a whole number for one dimension, received {value!r}")
        return of_height, _pair(name, value, of_height)[1]

    return pair("stride", stride, 1), pair("padding", padding, 0), pair("dilation", dilation, 1)
