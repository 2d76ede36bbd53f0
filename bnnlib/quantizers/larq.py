"""The further sign estimators of larq (Geiger and Plumerai 2020, doi:10.21105/joss.01746)."""

import torch
from torch import Tensor

from bnnlib.quantizers.base import FilterScaledSign, Sign, filter_mean
from bnnlib.quantizers.bi_real import BiRealSign


class ApproxSign(BiRealSign):
    r"""The sign with a triangular derivative, larq's ``approx_sign``: Bi-Real Net's by another name.

    Forward: :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.

    Gradient: :math:`\partial C/\partial x := \partial C/\partial q \cdot \max(2 - 2|x|, 0)`, the slope of the piecewise
    quadratic that approaches the sign.

    Source: Bi-Real Net (Liu et al. 2018, arXiv:1808.00278), eqs. 6 and 7, where it serves activations.
    """


class SwishSign(Sign):
    r"""The sign with the slope of the sign-swish; larq's ``swish_sign``.

    Forward: :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1`.

    Gradient: :math:`\beta \frac{2 - \beta x \tanh(\beta x/2)}{1 + \cosh(\beta x)}`, with a peak of β at zero and
    *negative* tails.

    Parameters: ``beta`` β > 0 (default 5).

    Source: BNN+ (Darabi et al. 2018, arXiv:1812.11800), sec. 3.1; larq ``swish_sign(beta)``.
    """

    def __init__(self, beta: float = 5.0, *, zero: float = 1.0):
        super().__init__(zero=zero)
        if not beta > 0:
            raise ValueError(f"beta must be positive, received {beta}")
        self.beta = beta

    def derivative(self, x: Tensor) -> Tensor:
        scaled = (x * self.beta).clamp_(-100, 100)  # beyond, the slope is zero in float32
        rising, falling = torch.sigmoid(scaled), torch.sigmoid(-scaled)
        # tanh(z/2) = 2 s(z) - 1 and 1/(1 + cosh z) = 2 s(z) s(-z), with s the logistic: stable however far out
        return scaled.mul_(rising * -2 + 1).add_(2).mul_(rising).mul_(falling).mul_(2 * self.beta)

    def extra_repr(self) -> str:
        return ", ".join(filter(None, [f"beta={self.beta:g}", super().extra_repr()]))


class MagnitudeAwareSign(FilterScaledSign):
    r"""The sign of a weight times the mean absolute weight of its filter; larq's ``magnitude_aware_sign``.

    Forward: :math:`q(W) = \alpha_o\,\mathrm{sign}(W)`, :math:`\alpha_o = \frac1n\sum|W_o|` for each output filter.

    Gradient: :math:`\partial C/\partial W := \alpha_o\, \partial C/\partial q \cdot 1_{|W| \le c}`; α is a constant.

    Parameters: ``clip`` c > 0. No trained parameters. α has shape (O, 1, ...).

    Source: Bi-Real Net (arXiv:1808.00278), sec. 3.3; larq ``magnitude_aware_sign(clip_value)``, whose Keras weights
    carry the output channel on the last axis, ours on the first. An all-zero filter gives zeros (a dead filter).
    """

    def __init__(self, clip: float = 1.0):
        super().__init__()
        if not clip > 0:
            raise ValueError(f"clip must be positive, received {clip}")
        self.clip = clip

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return upstream * filter_mean(x.abs()) * (x.abs() <= self.clip)

    def extra_repr(self) -> str:
        return f"clip={self.clip:g}"
