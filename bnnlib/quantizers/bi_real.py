"""Bi-Real Net (Liu et al. 2018, arXiv:1808.00278): a triangular estimator for activations, magnitudes for weights."""

from typing import Literal

from torch import Tensor

from bnnlib.quantizers.base import FilterScaledSign, Sign, filter_mean


class BiRealSign(Sign):
    r"""The sign of activations with the derivative of a piecewise quadratic.

    Forward: :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1` (eq. 3).

    Gradient: :math:`2 + 2x` on [-1, 0), :math:`2 - 2x` on [0, 1), zero elsewhere (eq. 7).

    Parameters: ``zero``, the value of sign(0).

    Source: arXiv:1808.00278, sec. 3.3. The authors' PyTorch code has torch's sign (``zero=0``), their Caffe code
    x > 0 for activations.
    """

    def derivative(self, x: Tensor) -> Tensor:
        return x.abs().mul_(-2).add_(2).clamp_(min=0)


class BiRealWeight(FilterScaledSign):
    r"""The sign of a weight times the mean absolute weight of its filter.

    Forward: :math:`q(W) = \alpha_o\,\mathrm{sign}(W)`, :math:`\alpha_o = \frac1n\sum|W_o|`, a constant for the
    gradient.

    Gradient, by name: ``"code"``, :math:`\partial C/\partial q\cdot 1_{|W| \le 1}` **without** α, as the authors'
    PyTorch code has it; ``"paper"``, with α (magnitude-aware, eq. 9).

    Parameters: ``rule``; ``zero``. No trained parameters. α has shape (O, 1, ...).

    Source: arXiv:1808.00278, sec. 3.3; ``HardBinaryConv`` of liuzechun/Bi-Real-net.
    """

    def __init__(self, rule: Literal["code", "paper"] = "code", *, zero: float = 1.0):
        super().__init__(zero=zero)
        if rule not in ("code", "paper"):
            raise ValueError(f'rule must be "code" or "paper", received {rule!r}')
        self.rule = rule

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        masked = upstream * (x.abs() <= 1)
        return masked if self.rule == "code" else masked.mul_(filter_mean(x.abs()))

    def extra_repr(self) -> str:
        return f"rule={self.rule!r}" + (f", zero={self.zero:g}" if self.zero != 1 else "")
