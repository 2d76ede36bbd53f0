"""BinaryConnect (Courbariaux, Bengio and David 2015, arXiv:1511.00363): binary weights, deterministic or sampled.

Both quantizers share the gradient: straight through, without a mask. The latent weight is kept in [-H, H] by a clip
after each optimiser step, and its updates are enlarged: :mod:`bnnlib.quantizers.latent`.
"""

from typing import Literal

import torch
from torch import Tensor

from bnnlib.quantizers.base import Quantizer, binary_sign


class DeterministicBinaryConnect(Quantizer):
    r"""The sign of the latent weight.

    Forward: :math:`W_b = +H` if :math:`W \ge 0`, else :math:`-H` (eq. 1).

    Gradient: :math:`\partial C / \partial W := \partial C / \partial W_b`, no mask (Algorithm 1).

    Parameters: ``amplitude`` H > 0, a number (default 1, the paper's).

    Source: arXiv:1511.00363, eq. 1. The authors' code (MatthieuCourbariaux/BinaryConnect) writes the sign as
    ``round(hard_sigmoid(W))`` with rounding half to even on some back ends, which sends W = 0 to -1; the paper's
    equation gives +1, and so do we.
    """

    bits = 1

    def __init__(self, amplitude: float = 1.0):
        super().__init__()
        if not amplitude > 0:
            raise ValueError(f"amplitude must be positive, received {amplitude}")
        self.amplitude = float(amplitude)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return binary_sign(x.detach()), x.new_tensor(self.amplitude)

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return upstream

    @torch.no_grad()
    def init_latent_(self, weight: Tensor) -> None:
        """Uniform on (-H, H), as the authors' code does."""
        weight.uniform_(-self.amplitude, self.amplitude)

    def extra_repr(self) -> str:
        return f"amplitude={self.amplitude:g}"


class StochasticBinaryConnect(DeterministicBinaryConnect):
    r"""A coin for every weight: +H with a probability that grows with the latent weight.

    Forward, in training: :math:`W_b = +H` with probability :math:`p`, else :math:`-H` (eq. 2);
    :math:`p = \mathrm{clip}((W/H + 1)/2, 0, 1)`, the *hard* sigmoid (eq. 3). One draw per forward pass and weight,
    reused in the backward pass and by :meth:`codes`. In eval mode: the deterministic sign.

    Gradient: as in :class:`DeterministicBinaryConnect`.

    Parameters: ``amplitude`` H > 0; ``probability``: ``"hard_sigmoid"`` (the paper's) or ``"logistic"``,
    :math:`p = 1/(1+e^{-W/H})`, a common misreading of the paper's symbol σ, kept so that its harm can be measured: it
    never saturates (p = 0.73 at W = H), so a quarter of all weights has the wrong sign for ever.

    Source: arXiv:1511.00363, eqs. 2 and 3. Draws come from torch's global generator, so ``torch.manual_seed`` fixes
    them.
    """

    def __init__(self, amplitude: float = 1.0, probability: Literal["hard_sigmoid", "logistic"] = "hard_sigmoid"):
        super().__init__(amplitude)
        if probability not in ("hard_sigmoid", "logistic"):
            raise ValueError(f'probability must be "hard_sigmoid" or "logistic", received {probability!r}')
        self.probability = probability
        self._draw: Tensor | None = None

    def probability_of_plus_one(self, x: Tensor) -> Tensor:
        """P(W_b = +H) for each latent weight, same shape as ``x``."""
        x = x.detach() / self.amplitude
        return torch.sigmoid(x) if self.probability == "logistic" else (x + 1).mul_(0.5).clamp_(0, 1)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            return super().codes(x)
        if self._draw is None or self._draw.shape != x.shape:
            self._draw = self._coin(x)
        return self._draw, x.new_tensor(self.amplitude)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self._draw = self._coin(x)
        return super().forward(x)

    def sample(self, x: Tensor) -> Tensor:
        return self._coin(x) * self.amplitude

    def _coin(self, x: Tensor) -> Tensor:
        uniform = torch.rand_like(x.detach())
        return uniform.lt_(self.probability_of_plus_one(x)).mul_(2).sub_(1)  # in place: keeps the strides

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, probability={self.probability!r}"
