"""ReActNet (Liu et al. 2020, arXiv:2003.03488): signs with a learned threshold for each channel."""

import torch
from torch import Tensor, nn

from bnnlib.quantizers.base import Sign, binary_sign
from bnnlib.quantizers.bi_real import BiRealSign


class RSign(BiRealSign):
    r"""The sign of a shifted activation, one learned shift for each channel.

    Forward: :math:`q(x) = +1` if :math:`x + b_c \ge 0`, else :math:`-1`: the threshold is :math:`-b_c` (eq. 1).

    Gradient: with respect to x as in Bi-Real Net, taken at :math:`x + b_c`; with respect to :math:`b_c` the sum of that
    over the batch and all positions (eq. 6).

    Parameters: ``shift`` b, shape (channels,), learned, initially 0. The channels are where the layer that owns the
    quantizer has them; on its own, axis 1, or the last of a one- or two-dimensional input.

    Source: arXiv:2003.03488, sec. 4.2; ``LearnableBias`` and ``BinaryActivation`` of liuzechun/ReActNet.
    """

    def __init__(self, channels: int, *, zero: float = 1.0):
        super().__init__(zero=zero)
        self.shift = nn.Parameter(torch.zeros(channels))

    def _shifted(self, x: Tensor) -> Tensor:
        return x + over_channels(self.shift, x, self.channel_axis)

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return super().gradient(self._shifted(x), upstream)

    def gradient_of_shifted(self, shifted: Tensor, upstream: Tensor) -> Tensor:
        """The rule for an input that the shift has been added to."""
        return super().gradient(shifted, upstream)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return binary_sign(self._shifted(x.detach()).detach(), self.zero), x.new_ones(())

    def value(self, x: Tensor) -> Tensor:
        return self.codes(x)[0]

    def forward(self, x: Tensor) -> Tensor:
        return ShiftedSign.apply(x, self.shift, self)

    def extra_repr(self) -> str:
        return f"{len(self.shift)}" + (", zero=0" if self.zero == 0 else "")


class ShiftedSign(torch.autograd.Function):
    """A quantizer of ``x + shift`` for each channel; keeps ``x``, not the sum."""

    @staticmethod
    def forward(ctx, x: Tensor, shift: Tensor, quantizer: Sign) -> Tensor:
        ctx.save_for_backward(x, shift)
        ctx.quantizer = quantizer
        return binary_sign(x + over_channels(shift, x, quantizer.channel_axis), quantizer.zero)

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        x, shift = ctx.saved_tensors
        quantizer = ctx.quantizer
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
