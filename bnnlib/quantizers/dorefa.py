"""DoReFa-Net (Zhou et al. 2016, arXiv:1606.06160): weights and activations of k bits."""

import torch
from torch import Tensor

from bnnlib.quantizers.base import Quantizer, binary_sign, masked_between


class _Round(torch.autograd.Function):
    """round(x), half to even; the gradient passes."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(ctx, upstream: Tensor) -> Tensor:
        return upstream


class DoReFaWeight(Quantizer):
    r"""Weights of k bits on a grid in [-1, 1], one scale for the whole tensor.

    Forward, k ≥ 2: :math:`q(W) = 2\,Q_k\!\left(\frac{\tanh W}{2\max|\tanh W|} + \frac12\right) - 1` with
    :math:`Q_k(r) = \mathrm{round}((2^k-1)\,r)/(2^k-1)` (eqs. 5 and 9). k = 1:
    :math:`\mathrm{sign}(W)\cdot\mathrm{mean}|W|` over the **whole tensor**, not per filter (eq. 7).

    Gradient: straight through the rounding (and, at k = 1, through the scaled sign), differentiated through tanh and
    its maximum.

    Parameters: ``bits`` k, 1 to 16. Codes are odd integers, {-3, -1, 1, 3} at 2 bits with scale 1/3: two XNOR planes
    weighted 2 and 1. No trained parameters.

    Source: arXiv:1606.06160, secs. 2.2 and 2.3. The authors' TensorFlow code (tensorpack) is the same. Zeros at k ≥ 2
    give the upper of the two middle codes or the lower, as rounding half to even has it. An all-zero tensor is refused
    at k ≥ 2 (0/0).
    """

    def __init__(self, bits: int = 2):
        super().__init__()
        if not isinstance(bits, int) or not 1 <= bits <= 16:
            raise ValueError(f"bits must be a whole number from 1 to 16, received {bits!r}")
        self.bits = bits

    def _codes(self, x: Tensor) -> Tensor:
        """The odd-integer codes, differentiable as above (k >= 2)."""
        levels = 2**self.bits - 1
        squashed = torch.tanh(x)
        largest = squashed.abs().max()
        if not torch.compiler.is_compiling() and largest == 0:
            raise ValueError("DoReFa weights of 2 or more bits divide by max |tanh W|, and every weight received is 0")
        return 2 * _Round.apply(levels * (squashed / (2 * largest) + 0.5)) - levels

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach()
        if self.bits == 1:
            return binary_sign(x), x.abs().mean()
        return self._codes(x), x.new_tensor(1 / (2**self.bits - 1))

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return upstream  # k = 1

    def forward(self, x: Tensor) -> Tensor:
        if self.bits == 1:
            return super().forward(x)
        return self._codes(x) * x.new_tensor(1 / (2**self.bits - 1))

    def extra_repr(self) -> str:
        return f"bits={self.bits}"


class DoReFaActivation(Quantizer):
    r"""Activations of k bits in [0, 1], or, signed, in [-1, 1].

    Forward: :math:`q(x) = Q_k(\mathrm{clip}(x, 0, 1))`, :math:`Q_k(r) = \mathrm{round}((2^k-1)\,r)/(2^k-1)` (eqs. 5,
    11). Signed: :math:`q(x) = \mathrm{round}(L\,\mathrm{clip}(x, -1, 1))/L` with :math:`L = 2^{k-1}-1`. Both round
    half to even.

    Gradient: straight through inside [0, 1] or [-1, 1] (the ends included), zero outside.

    Parameters: ``bits`` k, 1 to 16 (signed 2 to 16). Codes {0, ..., 2^k - 1} with scale 1/(2^k - 1); signed
    {-L, ..., L} with scale 1/L: at 2 bits -1, 0 and 1. ``signed`` is for an input that can be negative. No trained
    parameters.

    Source: arXiv:1606.06160, sec. 2.5. The paper's activations come after a function bounded to [0, 1] and have no
    signed form; this one is ours. It gives up one of the 2^k codes, so that zero (padding, most of all) is exact.
    """

    def __init__(self, bits: int = 2, *, signed: bool = False):
        super().__init__()
        least = 2 if signed else 1
        if not isinstance(bits, int) or not least <= bits <= 16:
            kind = " for signed codes" if signed else ""
            raise ValueError(f"bits must be a whole number from {least} to 16{kind}, received {bits!r}")
        self.bits, self.unsigned = bits, not signed
        self.low, self.levels = (-1.0, 2 ** (bits - 1) - 1) if signed else (0.0, 2**bits - 1)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.detach().clamp(self.low, 1).mul_(self.levels).round_(), x.new_tensor(1 / self.levels)

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return masked_between(upstream, x, self.low, 1.0)

    def extra_repr(self) -> str:
        return f"bits={self.bits}" + ("" if self.unsigned else ", signed")
