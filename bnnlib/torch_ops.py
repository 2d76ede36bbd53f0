"""The kernels as operators of PyTorch, so that they serve inside a graph: eager, ``torch.compile``, ``torch.export``.

``import bnnlib.torch_ops`` registers them under ``torch.ops.bnnlib``; the functions here are the same operators.
Tensors are on the CPU and shared with the kernels without a copy; the threads are torch's. Packed words are
int64 tensors, the type that PyTorch's graphs know best; their bits are those of :mod:`bnnlib.kernels`.

There is no gradient: these operators serve evaluation. Training multiplies real tensors (``bnnlib.layers``).
"""

import numpy as np
import torch

from bnnlib import kernels

__all__ = ["conv2d", "matmul", "pack", "pack_images", "prepack"]


def _words(bits: torch.Tensor) -> np.ndarray:
    if bits.dtype != torch.int64:
        raise TypeError(f"packed words are int64 tensors (from bnnlib.torch_ops.pack), received {bits.dtype}")
    return bits.numpy().view(np.uint64)


def _tensor(words: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(words.view(np.int64))


@torch.library.custom_op("bnnlib::pack", mutates_args=(), device_types="cpu")
def pack(x: torch.Tensor) -> torch.Tensor:
    """Signs of a real matrix (M, K) as int64 words (M, ceil(K / 64)); see :func:`bnnlib.kernels.pack`."""
    return _tensor(kernels.pack(x.detach().numpy()))


@pack.register_fake
def _(x):
    return x.new_empty((x.shape[0], (x.shape[1] + 63) // 64), dtype=torch.int64)


@torch.library.custom_op("bnnlib::pack_images", mutates_args=(), device_types="cpu")
def pack_images(x: torch.Tensor, groups: int = 1) -> torch.Tensor:
    """Signs of images (N, C, H, W), in either memory format: int64 (N, H, W, groups * ceil(C / groups / 64))."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return _tensor(kernels.pack_images(x.detach().permute(0, 2, 3, 1).numpy(), "NHWC", groups=groups))
    return _tensor(kernels.pack_images(x.detach().numpy(), "NCHW", groups=groups))


@pack_images.register_fake
def _(x, groups=1):
    words = groups * ((x.shape[1] // groups + 63) // 64)
    return x.new_empty((x.shape[0], x.shape[2], x.shape[3], words), dtype=torch.int64)


def prepack(weights: torch.Tensor) -> torch.Tensor:
    """Signs of a weight matrix (N, K) in panels, an int32 tensor for :func:`matmul`."""
    values = kernels.prepack(kernels.pack(weights.detach().numpy()), weights.shape[1]).values
    return torch.from_numpy(values.view(np.int32))


@torch.library.custom_op("bnnlib::matmul", mutates_args=(), device_types="cpu")
def matmul(a: torch.Tensor, panels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """The product of packed signs, int32 (M, rows): see :func:`bnnlib.kernels.matmul`.

    Args:
        a: from :func:`pack`.
        panels: from :func:`prepack`.
        rows, columns: N and K of the weights.

    Raises:
        ValueError: the panels are not those of such weights.
    """
    b = kernels.Panels(rows, columns, panels.numpy().view(np.uint32))
    return torch.from_numpy(kernels.matmul(_words(a), b, columns, threads=torch.get_num_threads()))


@matmul.register_fake
def _(a, panels, rows, columns):
    return a.new_empty((a.shape[0], rows), dtype=torch.int32)


@torch.library.custom_op("bnnlib::conv2d", mutates_args=(), device_types="cpu")
def conv2d(
    x: torch.Tensor, weights: torch.Tensor, stride: list[int], padding: list[int], dilation: list[int], groups: int,
    pad_value: int,
) -> torch.Tensor:  # fmt: skip
    """Convolution of packed images with the signs of real weights, int32 (N, O, OH, OW) in channels-last format.

    Args:
        x: from :func:`pack_images` with the same groups.
        weights: (O, C / groups, KH, KW), packed in the call.
        stride, padding, dilation, groups: as in ``torch.nn.functional.conv2d``.
        pad_value: -1, 0 or 1.
    """
    filters = kernels.prepack_filters(weights.detach().numpy(), groups)
    out = kernels.conv2d(
        _words(x), filters, stride, padding, dilation, pad_value=pad_value,
        threads=torch.get_num_threads(),
    )  # fmt: skip
    return torch.from_numpy(out).permute(0, 3, 1, 2)


@conv2d.register_fake
def _(x, weights, stride, padding, dilation, groups, pad_value):
    size = [
        (x.shape[1 + i] + 2 * padding[i] - dilation[i] * (weights.shape[2 + i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    ]
    return x.new_empty((x.shape[0], *size, weights.shape[0]), dtype=torch.int32).permute(0, 3, 1, 2)
