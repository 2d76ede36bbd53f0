"""IR-Net (Qin et al. 2020, arXiv:1909.10788): balanced, standardised weights and an estimator that sharpens."""

import torch
from torch import Tensor

from bnnlib.quantizers.base import Quantizer, Sign, binary_sign, checked_zero, filter_mean
from bnnlib.quantizers.standardisation import standardised, through_standardisation


class _Ede:
    """The error decay estimator's schedule: from nearly the identity to nearly the sign's own derivative.

    With p the progress of training: ``t = t_min * (t_max / t_min)**p`` and ``k = max(1 / t, 1)`` (eqs. 10 and 11).
    """

    t_min: float
    t_max: float
    t: float

    def _schedule(self, t_min: float, t_max: float) -> None:
        if not 0 < t_min <= t_max:
            raise ValueError(f"needs 0 < t_min <= t_max, received {t_min} and {t_max}")
        self.t_min, self.t_max = t_min, t_max
        self.at_progress(0.0)

    def at_progress(self, progress: float) -> None:
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must lie in [0, 1], received {progress}")
        self.t = self.t_min * (self.t_max / self.t_min) ** progress

    @property
    def k(self) -> float:
        return max(1 / self.t, 1.0)


def ede_derivative(x: Tensor, t: float, k: float) -> Tensor:
    """IR-Net's error decay estimator: ``k * t * (1 - tanh(t * x)**2)`` (eq. 9), same shape as ``x``."""
    fading = x.abs().mul_(-2 * t).exp_()  # 1 - tanh(z)^2 = 4 u / (1 + u)^2 with u = exp(-2 |z|), faster and as exact
    return (fading + 1).square_().reciprocal_().mul_(fading).mul_(4 * k * t)


class EdeSign(_Ede, Sign):
    r"""The sign of activations with the error decay estimator.

    Forward: :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.

    Gradient: :math:`k\,t\,(1 - \tanh^2(t x))` (eq. 9), no further mask; t and k follow the schedule of training
    (:meth:`at_progress`), from ``t_min`` to ``t_max``. They are no part of the state dict.

    Parameters: ``t_min``, ``t_max`` (0.1 and 10, the paper's; one of the authors' trainers has 0.001); ``zero``.

    Source: arXiv:1909.10788, sec. 3.3; htqin/IR-Net, where sign(0) = 0. Before its loop sets them, k = 10 and t = 0.1.
    """

    def __init__(self, t_min: float = 0.1, t_max: float = 10.0, *, zero: float = 1.0):
        super().__init__(zero=zero)
        self._schedule(t_min, t_max)

    def derivative(self, x: Tensor) -> Tensor:
        return ede_derivative(x, self.t, self.k)

    def extra_repr(self) -> str:
        return f"t_min={self.t_min:g}, t_max={self.t_max:g}" + (f", zero={self.zero:g}" if self.zero != 1 else "")


class LibraSign(_Ede, Quantizer):
    r"""Libra parameter binarisation: weights balanced and standardised, a power of two as scale.

    Forward: :math:`\hat W = (W - \bar W)/\sigma` for each filter, σ with n - 1;
    :math:`q(W) = 2^{s}\,\mathrm{sign}(\hat W)`, :math:`s = \mathrm{round}(\log_2 \mathrm{mean}|\hat W|)` (eqs. 6 and
    7).

    Gradient: :math:`2^s\,k\,t\,(1-\tanh^2(t\hat W))` times the upstream one, then through the standardisation;
    :math:`2^s` is a constant.

    Parameters: as :class:`EdeSign`. The scale has shape (O, 1, ...).

    Source: arXiv:1909.10788, sec. 3.2; ``IRConv2d`` of htqin/IR-Net. A filter whose weights are all equal has no
    direction: its standardised form is 0/0, refused with an error. So is a filter of a single weight.
    """

    bits = 1

    def __init__(self, t_min: float = 0.1, t_max: float = 10.0, *, zero: float = 1.0):
        super().__init__()
        self.zero = checked_zero(zero)
        self._schedule(t_min, t_max)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if x.dim() < 2 or (len(x) and x[0].numel() < 2):
            raise ValueError(f"Libra binarisation needs filters of two weights or more, received {tuple(x.shape)}")
        normal, deviation = standardised(x)
        if not torch.compiler.is_compiling() and (deviation == 0).any():
            raise ValueError("Libra binarisation standardises each filter, and one received has equal weights only")
        return normal, deviation, torch.exp2(torch.log2(filter_mean(normal.abs())).round_())

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        normal, _, scale = self._parts(x.detach())
        return binary_sign(normal, self.zero), scale

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        normal, deviation, scale = self._parts(x)
        inner = upstream * scale * ede_derivative(normal, self.t, self.k)
        return through_standardisation(inner, normal, deviation)

    def extra_repr(self) -> str:
        return f"t_min={self.t_min:g}, t_max={self.t_max:g}" + (f", zero={self.zero:g}" if self.zero != 1 else "")
