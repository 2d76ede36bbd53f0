"""ReActNet (Liu et al. 2020, arXiv:2003.03488): signs with a learned threshold for each channel."""

import torch
from torch import Tensor, nn

from bnnlib.quantizers.base import binary_sign
from bnnlib.quantizers.bi_real import BiRealSign
from bnnlib.quantizers.channels import ShiftedSign, over_channels


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
