"""IE-Net (Ding et al. 2022, Electronics 11(6):937): an information-enhanced estimator.

The formulas are read from the authors' code (Alexrich961210/IE-Net). What belongs to a layer, the branches, is in
:mod:`bnnlib.layers.ie_net`.
"""

import math

import torch
from torch import Tensor, nn

from bnnlib.quantizers import in_one_pass
from bnnlib.quantizers.base import Quantizer, Sign, binary_sign, checked_zero, filter_mean, per_filter
from bnnlib.quantizers.standardisation import standardised, through_standardisation

EPS = 1e-5
T_MAX = 10.0  # where the authors' schedule ends


def iee_value(x: Tensor, t: float, k: float) -> Tensor:
    r"""The estimator's curve: :math:`k(-\mathrm{sign}(x)\frac34 t^2x^2 + \sqrt3\,t\,x)`, flat at ±k beyond 2/(√3 t)."""
    inside = k * (math.sqrt(3) * t * x - torch.sign(x) * 0.75 * t**2 * x.square())
    return torch.where(x.abs() < 2 / (math.sqrt(3) * t), inside, k * torch.sign(x))


def iee_derivative(x: Tensor, t: float, k: float) -> Tensor:
    r"""Its slope, :math:`k\max(\sqrt3\,t - \frac32 t^2|x|, 0)`, which stands in for the sign's; same shape as ``x``."""
    return x.abs().mul_(-1.5 * t**2).add_(math.sqrt(3) * t).clamp_(min=0).mul_(k)


class _Iee:
    """The schedule: ``t = 10**(-2 + 3 * p)`` with p the progress of training, but at most ``t_max``."""

    t: float
    t_max: float

    def _scheduled(self, t_max: float) -> None:
        if not 0.01 <= t_max <= T_MAX:
            raise ValueError(f"t_max must lie in [0.01, {T_MAX:g}], the schedule's own ends, received {t_max}")
        self.t_max = t_max
        self.at_progress(0.0)

    def at_progress(self, progress: float) -> None:
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must lie in [0, 1], received {progress}")
        self.t = min(10 ** (-2 + 3 * progress), self.t_max)

    def _schedule_repr(self) -> str:
        return f"t_max={self.t_max:g}" if self.t_max != T_MAX else ""


class IEEActivation(_Iee, Sign):
    r"""The sign of activations with IE-Net's estimator, taken at the standardised activation.

    Forward: :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.

    Gradient: in training through :math:`a_0 = x/\sqrt{\mathrm{var}(x) + 10^{-5}}`, the unbiased variance of each
    *sample* (over channels and positions; not centred, so signs don't change): with D that root, m the values of a
    sample and u the upstream gradient times the slope at :math:`a_0` (k = 1, t at least 1),
    :math:`\left(u - \frac{x - \bar x}{D}\,\frac{\sum u\,a_0}{m-1}\right)/D`. In eval, as in the authors' code, nothing
    is standardised: the upstream gradient times the slope at x itself.

    Parameters: ``zero``; ``t_max``, the largest t. t follows training (:meth:`at_progress`), from 1 to 10, and is no
    part of the state dict.

    Source: ``IEConv2d`` of Alexrich961210/IE-Net; a smaller ``t_max`` is ours.
    """

    def __init__(self, *, zero: float = 1.0, t_max: float = T_MAX):
        super().__init__(zero=zero)
        self._scheduled(t_max)

    def extra_repr(self) -> str:
        return ", ".join(filter(None, (super().extra_repr(), self._schedule_repr())))

    def derivative(self, x: Tensor) -> Tensor:
        return iee_derivative(x, max(self.t, 1.0), 1.0)

    def shifted_gradient(self, x: Tensor, shift: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor] | None:
        """:meth:`gradient` at ``x + shift``, and that of the shift, in compiled loops; None where they don't serve."""
        if not self.training:
            return None
        return in_one_pass.iee_gradient(x, shift, upstream, self, max(self.t, 1.0), EPS)

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        if not self.training:
            return self.derivative(x).mul_(upstream)
        if not x.numel():
            return upstream.clone()
        axes = self.sample_axes(x)
        m = math.prod(x.shape[axis] for axis in axes)
        mean = x.mean(axes, keepdim=True)
        variance = torch.linalg.vector_norm(x - mean, dim=axes, keepdim=True).square_().div_(m - 1)
        deviation = variance.add_(EPS).sqrt_()
        normal = x / deviation
        inner = self.derivative(normal).mul_(upstream)
        factor = normal.mul_(inner).sum(axes, keepdim=True).div_((m - 1) * deviation)
        return inner.addcmul_(x, factor, value=-1).add_(mean * factor).div_(deviation)


class IEEWeight(_Iee, Quantizer):
    r"""The sign of a standardised weight with a learned scale for each filter.

    Forward: :math:`q(W) = \alpha_o\,\mathrm{sign}(w_1)`, :math:`w_1 = (W - \bar W)/\sqrt{\mathrm{var}(W) + 10^{-5}}`,
    mean and unbiased variance of each filter.

    Gradient: :math:`\alpha_o G` times the slope of the estimator at :math:`w_1` (:func:`iee_derivative`,
    :math:`k = \max(1/t, 1)`), then through the standardisation; α by the chain rule.

    Parameters: ``alpha``, shape (O,), learned, initialised with the mean absolute weight of each filter when a layer
    takes the quantizer (and again when its weights are replaced; the authors' code computes it once and doesn't
    refresh it); ``zero``; ``t_max``, the largest t. A learned alpha may become negative.

    Source: ``IEConv2d`` of Alexrich961210/IE-Net; a smaller ``t_max`` is ours. A filter of a single weight is refused.
    """

    bits = 1

    def __init__(self, filters: int, *, zero: float = 1.0, t_max: float = T_MAX):
        super().__init__()
        self.zero = checked_zero(zero)
        self.alpha = nn.Parameter(torch.ones(filters))
        self._scheduled(t_max)

    @property
    def k(self) -> float:
        return max(1 / self.t, 1.0)

    @torch.no_grad()
    def fit_to_(self, weight: Tensor) -> None:
        self.alpha.copy_(filter_mean(weight.detach().abs()).flatten())

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach()
        if len(x) != len(self.alpha) or x.dim() < 2 or x[0].numel() < 2:
            raise ValueError(
                f"expected weights of {len(self.alpha)} filters with two weights or more, received {tuple(x.shape)}"
            )
        return binary_sign(x - filter_mean(x), self.zero), per_filter(self.alpha.detach(), x)

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        """Of the sign alone, at alpha = 1; :meth:`forward` multiplies by alpha outside."""
        normal, deviation = standardised(x, EPS)
        return through_standardisation(upstream * iee_derivative(normal, self.t, self.k), normal, deviation)

    def forward(self, x: Tensor) -> Tensor:
        return _SignByRule.apply(x, self) * per_filter(self.alpha, x)

    def extra_repr(self) -> str:
        zero = "zero=0" if self.zero == 0 else ""
        return ", ".join(filter(None, (f"{len(self.alpha)}", zero, self._schedule_repr())))


class _SignByRule(torch.autograd.Function):
    """The codes alone, with the quantizer's rule; the learned scale multiplies outside."""

    @staticmethod
    def forward(ctx, x: Tensor, quantizer: IEEWeight) -> Tensor:
        ctx.save_for_backward(x)
        ctx.quantizer = quantizer
        return quantizer.codes(x)[0]

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.quantizer.gradient(x, upstream), None
