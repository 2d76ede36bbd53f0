"""Signs of shifted maps and their gradient by compiled loops, sample by sample, where torch takes a pass for each step.

They serve float32 and bfloat16 maps on a processor whose channels lie last in memory, as in the residual networks; for
anything else the functions return None, and the formulas in torch take over, which give the same signs, and the same
gradient up to rounding.
"""

import numpy as np
import torch
from torch import Tensor

from bnnlib.kernels import _kernels
from bnnlib.quantizers.base import Quantizer

__all__ = ["iee_gradient", "shifted_signs"]

_AS_NUMPY = {torch.float32: torch.float32, torch.bfloat16: torch.uint16}


def _channels_last(x: Tensor, quantizer: Quantizer) -> Tensor | None:
    """A view of a batch (samples, ..., channels) in the order of memory, if the loops can take it."""
    if torch.compiler.is_compiling() or x.device.type != "cpu" or x.dtype not in _AS_NUMPY or not x.numel():
        return None
    axis = x.dim() + (quantizer.channel_axis or 0)
    if not 0 < axis < x.dim():
        return None
    view = x.detach().movedim(axis, -1)
    return view if view.is_contiguous() else None


def _array(x: Tensor) -> np.ndarray:
    """The memory of a view (samples, ..., channels) as (samples, pixels, channels)."""
    return x.reshape(len(x), -1, x.shape[-1]).view(_AS_NUMPY[x.dtype]).numpy()


def _shift(shift: Tensor, x: Tensor) -> np.ndarray:
    return shift.detach().to(x.dtype).float().contiguous().numpy()


def shifted_signs(x: Tensor, shift: Tensor, quantizer: Quantizer) -> Tensor | None:
    """1 where ``x + shift >= 0``, -1 elsewhere, with the shape, dtype and strides of ``x``."""
    maps = _channels_last(x, quantizer)
    if maps is None or quantizer.zero != 1:
        return None
    out = torch.empty_like(x)
    into = _channels_last(out, quantizer)
    _kernels.shifted_signs(_array(maps), _shift(shift, x), _array(into), torch.get_num_threads())
    return out


def iee_gradient(
    x: Tensor, shift: Tensor, upstream: Tensor, quantizer: Quantizer, t: float, epsilon: float
) -> tuple[Tensor, Tensor] | None:
    """IE-Net's gradients in training, of ``x`` and of ``shift``, (channels,) float32."""
    maps = _channels_last(x, quantizer)
    if maps is None or upstream.dtype != x.dtype:
        return None
    out = torch.empty_like(x)
    into = _channels_last(out, quantizer)
    above = upstream.movedim(x.dim() + quantizer.channel_axis, -1).contiguous()
    of_shift = torch.empty(len(x), maps.shape[-1])
    _kernels.shifted_gradient(
        _array(maps), _shift(shift, x), t, epsilon, _array(above), _array(into), of_shift.numpy(),
        torch.get_num_threads(),
    )  # fmt: skip
    return out, of_shift.sum(0)
