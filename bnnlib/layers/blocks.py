"""Parts of a block beside the layer itself: a shortcut around it, and an activation with learned shifts."""

import torch
from torch import Tensor, nn

from bnnlib.quantizers.base import masked
from bnnlib.quantizers.channels import channel_axis, over_channels


class Residual(nn.Module):
    """``body(x) + shortcut(x)``: the real-valued path around a binary layer.

    Source: Bi-Real Net (Liu et al. 2018, arXiv:1808.00278), sec. 3.2, one shortcut for each binary convolution.
    """

    def __init__(self, body: nn.Module, shortcut: nn.Module):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class HardTanh(nn.Module):
    """``clip(x, -1, 1)``; the gradient passes where ``|x| < 1``. As torch's, but it keeps its output, not its input.

    The output is what the next layer keeps too, so the activation costs no memory; torch's in-place form keeps a copy.
    """

    def forward(self, x: Tensor) -> Tensor:
        return _Clip.apply(x)


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        y = x.clamp(-1, 1)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, upstream: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return masked(upstream, y, inclusive=False)


class RPReLU(nn.Module):
    r"""ReActNet's activation: a PReLU with a learned shift on either side, for each channel.

    Forward: :math:`\mathrm{PReLU}_\beta(x + b_1) + b_2` (eq. 2, with :math:`\gamma = -b_1, \zeta = b_2`).

    Args:
        channels: how many.
        channel_axis: where the channels are, counted from the end, so that it holds with and without a batch axis: -1
            after a linear layer, -2 and -3 after a one- or two-dimensional convolution. ``None`` takes axis 1, or the
            last of a one- or two-dimensional input.
        device, dtype: of the parameters, as in torch.

    Parameters: ``slope`` β (initially 0.25), ``before`` :math:`b_1` and ``after`` :math:`b_2` (initially 0), each of
    shape (channels,).

    Raises:
        ValueError: in the forward pass, if the input has another number of channels; ``channel_axis`` is not negative.

    Source: Liu et al. 2020, arXiv:2003.03488, sec. 4.2.
    """

    def __init__(self, channels: int, *, channel_axis: int | None = None, device=None, dtype=None):
        super().__init__()
        if channel_axis is not None and channel_axis >= 0:
            raise ValueError(f"channel_axis is counted from the end, -1 or below, received {channel_axis}")
        self.channel_axis = channel_axis
        like = {"device": device, "dtype": dtype}
        self.slope = nn.Parameter(torch.full((channels,), 0.25, **like))
        self.before = nn.Parameter(torch.zeros(channels, **like))
        self.after = nn.Parameter(torch.zeros(channels, **like))

    def forward(self, x: Tensor) -> Tensor:
        return _ShiftedPReLU.apply(x, self.slope, self.before, self.after, self.channel_axis)

    def extra_repr(self) -> str:
        return str(len(self.slope))


class _ShiftedPReLU(torch.autograd.Function):
    """The formula in one function, which keeps its input only; torch's parts would keep each step of it."""

    @staticmethod
    def forward(ctx, x: Tensor, slope: Tensor, before: Tensor, after: Tensor, from_end: int | None) -> Tensor:
        ctx.save_for_backward(x, slope, before, after)
        ctx.from_end = from_end
        shifted = x + over_channels(before, x, from_end)
        negative = shifted.clamp(max=0).mul_(over_channels(slope, x, from_end))
        return shifted.clamp_(min=0).add_(negative).add_(over_channels(after, x, from_end))

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        x, slope, before, after = ctx.saved_tensors
        axes = [axis for axis in range(x.dim()) if axis != channel_axis(x, ctx.from_end)]
        shifted = x + over_channels(before, x, ctx.from_end)
        positive = shifted.sign().clamp_(min=0)
        of_slope = _over_axes(shifted.clamp_(max=0).mul_(upstream), axes)
        bent = over_channels(slope, x, ctx.from_end)
        of_x = positive.mul_(1 - bent).add_(bent).mul_(upstream)
        of_shifts = (_over_axes(of_x, axes).to(before.dtype), _over_axes(upstream, axes).to(after.dtype))
        return of_x, of_slope.to(slope.dtype), *of_shifts, None


def _over_axes(x: Tensor, axes: list[int]) -> Tensor:
    """The sum over some axes, over none of them if the list is empty: torch would take that for all."""
    return x.sum(axes) if axes else x
