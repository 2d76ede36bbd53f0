"""BNN (Courbariaux, Hubara et al. 2016, arXiv:1602.02830): the sign with the clipped straight-through estimator."""

import torch
from torch import Tensor

from bnnlib.quantizers.base import Sign, masked


class SteSign(Sign):
    r"""The sign of weights or activations with the clipped straight-through estimator; larq's ``ste_sign``.

    Forward: :math:`q(x) = +1` if :math:`x \ge 0`, else :math:`-1` (eq. 1).

    Gradient: :math:`\partial C/\partial x := \partial C/\partial q \cdot 1_{|x| \le c}` (eq. 4; the gradient of the
    hard tanh). The mask is *inclusive*: a weight that a clip has put at exactly ±c keeps its gradient and can come
    back.

    Parameters: ``clip`` c > 0, or None for no mask at all.

    Source: arXiv:1602.02830, secs. 1.1 and 1.3; larq ``ste_sign(clip_value)``. torch's hardtanh has a strict mask,
    which would freeze clipped weights for ever. A popular PyTorch version (itayhubara/BinaryNet.pytorch) has an
    unmasked estimator after a hard tanh and never clips its weights.
    """

    def __init__(self, clip: float | None = 1.0, *, zero: float = 1.0):
        super().__init__(zero=zero)
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be positive or None, received {clip}")
        self.clip = clip

    def derivative(self, x: Tensor) -> Tensor:
        return torch.ones_like(x) if self.clip is None else (x.abs() <= self.clip).to(x.dtype)

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return upstream if self.clip is None else masked(upstream, x, self.clip)

    def extra_repr(self) -> str:
        return ", ".join(filter(None, [f"clip={self.clip}", super().extra_repr()]))
