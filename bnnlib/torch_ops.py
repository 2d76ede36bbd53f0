"""The kernels as operators of PyTorch, so that they serve inside a graph: eager, ``torch.compile``, ``torch.export``.

``import bnnlib.torch_ops`` registers them under ``torch.ops.bnnlib``; the functions here are the same operators.
Tensors are on the CPU and shared with the kernels without a copy; the threads are torch's. Packed words are
int64 tensors, the type that PyTorch's graphs know best; their bits are those of :mod:`bnnlib.kernels`.

There is no gradient: these operators serve evaluation, and what they return requires none. Training multiplies real
tensors (``bnnlib.layers``). A packed network of two layers::

    hidden = matmul_threshold(pack(x), prepack(w1), x.shape[1], thresholds, flips)
    sums = matmul(hidden, prepack(w2), rows=w2.shape[0], columns=w1.shape[0])
"""

import functools

import numpy as np
import torch

from bnnlib import kernels
from bnnlib.kernels.checks import check_groups
from bnnlib.kernels.panels import panel_rows

__all__ = [
    "conv2d", "conv2d_threshold", "matmul", "matmul_threshold", "pack", "pack_images", "prepack", "prepack_filters",
]  # fmt: skip


def _operator(function):
    """Registers ``bnnlib::NAME`` and gives a plain function that calls it, with the docstring and the signature."""
    operator = torch.library.custom_op(f"bnnlib::{function.__name__}", function, mutates_args=(), device_types="cpu")

    @functools.wraps(function)
    def call(*arguments, **named):
        for x in (*arguments, *named.values()):
            if isinstance(x, torch.Tensor) and (x.layout != torch.strided or x.device.type not in ("cpu", "meta")):
                raise TypeError(
                    f"{function.__name__} takes dense tensors on the CPU, received {x.layout} on {x.device}"
                )
        return operator(*arguments, **named)

    call.operator, call.register_fake = operator, operator.register_fake
    return call


def _array(name: str, x: torch.Tensor, dtypes: tuple[torch.dtype, ...]) -> np.ndarray:
    """The memory of a tensor as a NumPy array."""
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, received {type(x).__name__}")
    if x.dtype not in dtypes:
        wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
        raise TypeError(f"{name} must be a {wanted} tensor, received {x.dtype}")
    return x.detach().numpy()


_REAL = (torch.float32, torch.float64, torch.int8, torch.bool)


def _words(bits: torch.Tensor) -> np.ndarray:
    return _array("packed words (from bnnlib.torch_ops.pack)", bits, (torch.int64,)).view(np.uint64)


def _int32(name: str, values: torch.Tensor) -> np.ndarray:
    return _array(name, values, (torch.int32,))


def _compare(thresholds: torch.Tensor, flips: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    return _int32("thresholds", thresholds), _array("flips", flips, (torch.bool,))


def _tensor(words: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(words.view(np.int64))


@_operator
def pack(x: torch.Tensor) -> torch.Tensor:
    """Signs of a real matrix (M, K) as int64 words (M, ceil(K / 64)); see :func:`bnnlib.kernels.pack`."""
    return _tensor(kernels.pack(_array("x", x, _REAL)))


@pack.register_fake
def _(x):
    return x.new_empty((x.shape[0], (x.shape[1] + 63) // 64), dtype=torch.int64)


@_operator
def pack_images(x: torch.Tensor, groups: int = 1) -> torch.Tensor:
    """Signs of images (N, C, H, W), in either memory format: int64 (N, H, W, groups * ceil(C / groups / 64))."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return _tensor(kernels.pack_images(_array("x", x.permute(0, 2, 3, 1), _REAL), "NHWC", groups=groups))
    return _tensor(kernels.pack_images(_array("x", x, _REAL), "NCHW", groups=groups))


@pack_images.register_fake
def _(x, groups=1):
    words = groups * ((x.shape[1] // groups + 63) // 64)
    return x.new_empty((x.shape[0], x.shape[2], x.shape[3], words), dtype=torch.int64)


def prepack(weights: torch.Tensor) -> torch.Tensor:
    """Signs of a weight matrix (N, K) in panels, an int32 tensor for :func:`matmul`."""
    values = kernels.prepack(kernels.pack(_array("weights", weights, _REAL)), weights.shape[1]).values
    return torch.from_numpy(values.view(np.int32))


def _panels(panels: torch.Tensor, rows: int, columns: int) -> kernels.Panels:
    return kernels.Panels(rows, columns, _int32("panels", panels).view(np.uint32))


@_operator
def matmul(a: torch.Tensor, panels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The product of packed signs, int32 (M, rows): see :func:`bnnlib.kernels.matmul`.

    Args:
        a: from :func:`pack`.
        panels: from :func:`prepack`.
        rows, columns: N and K of the weights. Panels do not know them; only their size is checked.

    Raises:
        TypeError, ValueError: tensors of another dtype or size.
    """
    b = _panels(panels, rows, columns)
    return torch.from_numpy(kernels.matmul(_words(a), b, columns, threads=torch.get_num_threads()))


@matmul.register_fake
def _(a, panels, rows, columns):
    return a.new_empty((a.shape[0], rows), dtype=torch.int32)


@_operator
def matmul_threshold(
    a: torch.Tensor, panels: torch.Tensor, columns: int, thresholds: torch.Tensor, flips: torch.Tensor
) -> torch.Tensor:
    """The product of packed signs, compared and packed again: int64 words (M, ceil(N / 64)), what the next layer takes.

    Args:
        a, panels, columns: as for :func:`matmul`.
        thresholds, flips: int32 and bool (N,): see :func:`bnnlib.kernels.matmul_threshold`.
    """
    compare = _compare(thresholds, flips)
    b = _panels(panels, thresholds.numel(), columns)
    return _tensor(kernels.matmul_threshold(_words(a), b, columns, *compare, threads=torch.get_num_threads()))


@matmul_threshold.register_fake
def _(a, panels, columns, thresholds, flips):
    return a.new_empty((a.shape[0], (thresholds.shape[0] + 63) // 64))


def prepack_filters(weights: torch.Tensor, groups: int = 1) -> torch.Tensor:
    """Signs of convolution weights (O, C / groups, KH, KW): an int32 tensor for :func:`conv2d`, panels and tap sums."""
    values = _array("weights", weights, _REAL)
    if values.ndim != 4:
        raise ValueError(f"weights must have shape (O, C / groups, KH, KW), received {tuple(values.shape)}")
    filters = kernels.prepack_filters(values, groups)
    return torch.from_numpy(np.concatenate([filters.panels.view(np.int32), filters.tap_sums]))


def _filters(filters: torch.Tensor, shape: list[int], groups: int) -> kernels.Filters:
    if len(shape) != 4:
        raise ValueError(f"shape must be that of the weights, (O, C / groups, KH, KW), received {tuple(shape)}")
    outputs, each, height, width = shape
    check_groups(groups, outputs, "filters")
    values = _int32("filters", filters)
    sums = groups * height * width * panel_rows(outputs // groups)
    panels = values[: max(0, values.size - sums)].view(np.uint32)
    return kernels.Filters(outputs, each * groups, groups, (height, width), 2, panels, values[panels.size :])


@_operator
def conv2d(
    x: torch.Tensor, filters: torch.Tensor, shape: list[int], stride: list[int], padding: list[int],
    dilation: list[int], groups: int, pad_value: int,
) -> torch.Tensor:  # fmt: skip
    """Convolution of packed images with packed filters, int32 (N, O, OH, OW) in channels-last format.

    Args:
        x: from :func:`pack_images` with the same groups.
        filters: from :func:`prepack_filters` with the same groups.
        shape: of the weights, (O, C / groups, KH, KW). The filters do not know it; only their size is checked.
        stride, padding, dilation: lists of two numbers, for height and width.
        groups: as in ``torch.nn.functional.conv2d``.
        pad_value: -1, 0 or 1.

    Raises:
        TypeError, ValueError: tensors of another dtype or size.
    """
    packed, threads = _filters(filters, shape, groups), torch.get_num_threads()
    out = kernels.conv2d(_words(x), packed, stride, padding, dilation, pad_value=pad_value, threads=threads)
    return torch.from_numpy(out).permute(0, 3, 1, 2)


def _size(x, shape, stride, padding, dilation):
    return [(x.shape[1 + i] + 2 * padding[i] - dilation[i] * (shape[2 + i] - 1) - 1) // stride[i] + 1 for i in range(2)]


@conv2d.register_fake
def _(x, filters, shape, stride, padding, dilation, groups, pad_value):
    size = _size(x, shape, stride, padding, dilation)
    return x.new_empty((x.shape[0], *size, shape[0]), dtype=torch.int32).permute(0, 3, 1, 2)


@_operator
def conv2d_threshold(
    x: torch.Tensor, filters: torch.Tensor, shape: list[int], thresholds: torch.Tensor, flips: torch.Tensor,
    stride: list[int], padding: list[int], dilation: list[int], groups: int, pad_value: int,
) -> torch.Tensor:  # fmt: skip
    """A convolution compared and packed again: int64 (N, OH, OW, ceil(O / 64)), packed images for the next layer.

    Args:
        thresholds, flips: int32 and bool (O,): see :func:`bnnlib.kernels.conv2d_threshold`.
        x, filters, shape, stride, padding, dilation, groups, pad_value: as for :func:`conv2d`.
    """
    packed, compare = _filters(filters, shape, groups), _compare(thresholds, flips)
    return _tensor(
        kernels.conv2d_threshold(
            _words(x), packed, *compare, stride, padding, dilation, pad_value=pad_value, threads=torch.get_num_threads()
        )
    )


@conv2d_threshold.register_fake
def _(x, filters, shape, thresholds, flips, stride, padding, dilation, groups, pad_value):
    return x.new_empty((x.shape[0], *_size(x, shape, stride, padding, dilation), (shape[0] + 63) // 64))
