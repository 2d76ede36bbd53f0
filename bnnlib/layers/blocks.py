"""Parts of a block beside the layer itself: a shortcut around it, and an activation with learned shifts."""

import torch
from torch import Tensor, nn

from bnnlib.quantizers.reactnet import channel_axis, over_channels


class Residual(nn.Module):
    """``body(x) + shortcut(x)``: the real-valued path around a binary layer.

    Source: Bi-Real Net (Liu et al. 2018, arXiv:1808.00278), sec. 3.2, one shortcut for each binary convolution.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class RPReLU(nn.Module):
    r"""ReActNet's activation: a PReLU with a learned shift on either side, for each channel.

    Forward: :math:`\mathrm{PReLU}_\beta(x + b_1) + b_2` (eq. 2, with :math:`\gamma = -b_1, \zeta = b_2`).

    Parameters: ``slope`` β (initially 0.25), ``before`` :math:`b_1` and ``after`` :math:`b_2` (initially 0), each of
    shape (channels,).

    Source: Liu et al. 2020, arXiv:2003.03488, sec. 4.2.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.before = nn.Parameter(torch.zeros(channels))
        self.after = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        shifted = x + over_channels(self.before, x)
        if channel_axis(x) == 1:
            bent = torch.nn.functional.prelu(shifted, self.slope.to(x.dtype))
        else:
            bent = torch.where(shifted >= 0, shifted, over_channels(self.slope, x) * shifted)
        return bent + over_channels(self.after, x)

    def extra_repr(self) -> str:
        return str(len(self.slope))
