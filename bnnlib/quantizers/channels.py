"""Values learned for each channel: where the channels are, and signs that are shifted by such a value."""

import torch
from torch import Tensor

from bnnlib.quantizers import in_one_pass
from bnnlib.quantizers.base import Sign, binary_sign


class ShiftedSign(torch.autograd.Function):
    """A quantizer of ``x + shift`` for each channel; keeps ``x``, not the sum."""

    @staticmethod
    def forward(ctx, x: Tensor, shift: Tensor, quantizer: Sign) -> Tensor:
        ctx.save_for_backward(x, shift)
        ctx.quantizer = quantizer
        signs = in_one_pass.shifted_signs(x, shift, quantizer)
        if signs is None:
            signs = binary_sign(x + over_channels(shift, x, quantizer.channel_axis), quantizer.zero)
        return signs

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        x, shift = ctx.saved_tensors
        quantizer = ctx.quantizer
        if hasattr(quantizer, "shifted_gradient"):
            gradients = quantizer.shifted_gradient(x, shift, upstream)
            if gradients is not None:
                return gradients[0], gradients[1].to(shift.dtype), None
        rule = getattr(quantizer, "gradient_of_shifted", quantizer.gradient)
        inner = rule(x + over_channels(shift, x, quantizer.channel_axis), upstream)
        return inner, sum_over_all_but(inner, channel_axis(x, quantizer.channel_axis)).to(shift.dtype), None


def channel_axis(x: Tensor, from_end: int | None = None) -> int:
    """The axis of the channels: as a layer knows it, counted from the end; else 1, or the last of one or two axes."""
    if from_end is not None:
        return x.dim() + from_end
    return 1 if x.dim() > 2 else x.dim() - 1


def sum_over_all_but(x: Tensor, axis: int) -> Tensor:
    """The sums over all axes but one, shape (x.shape[axis],); x itself where it has no other."""
    others = [i for i in range(x.dim()) if i != axis]
    return x.sum(others) if others else x  # torch takes an empty list of axes for all of them


def over_channels(values: Tensor, x: Tensor, from_end: int | None = None) -> Tensor:
    """(C,) values shaped to broadcast over the channels of ``x`` (see :func:`channel_axis`), in its dtype.

    Raises:
        ValueError: ``x`` has another number of channels.
    """
    axis = channel_axis(x, from_end)
    if x.shape[axis] != len(values):
        raise ValueError(f"expected {len(values)} channels on axis {axis}, received shape {tuple(x.shape)}")
    return values.to(x.dtype).reshape(-1, *(1,) * (x.dim() - axis - 1))
