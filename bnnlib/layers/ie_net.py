"""IE-Net's layers (Ding et al. 2022, Electronics 11(6):937): branches with shifted inputs and shared weights."""

from typing import Literal

import torch
from torch import Tensor, nn

from bnnlib.layers.base import BinConv1d, BinConv2d, BinLinear, LayerFamily, kept_as_int8
from bnnlib.quantizers.base import per_filter
from bnnlib.quantizers.channels import ShiftedSign


class _Branched:
    r"""A generalised binary product: K branches that share the binary weights.

    :math:`y = \sum_i \lambda_i\,\mathrm{op}(q(x + b_i), q_W(W))`, with :math:`\lambda_1 = 1` fixed. A bias is
    multiplied by the weight quantizer's learned alpha and by the sum of λ, as in the authors' code.

    Args beside those of the plain layer: ``branches`` K, 2 by default, as everywhere in the authors' code; ``mixing``,
    ``"channel"`` for a λ of each output channel or ``"scalar"`` for one of the layer. The branches multiply the work by
    K, not the weights' memory. With a scalar the sum over the branches is taken before the product, which is linear:
    training then costs one product, of :math:`\sum_i \lambda_i q(x + b_i)`, whatever K is.

    Parameters beside torch's: ``shift`` b, shape (K, input channels), initially 0; ``mix``, the further λ, shape
    (K - 1, output channels) or (K - 1, 1), initially uniform on (0, 0.001).

    Raises:
        ValueError: ``branches`` is no whole number of at least 1, or ``mixing`` is unknown.

    Source: Alexrich961210/IE-Net (``IEConv2d``; ResNet-20 has a λ for each output channel, ResNet-18 a scalar). A layer
    without an input quantizer has one branch, without shift. In eval mode each branch is exact before its scale.
    """

    def __init__(self, *args, branches: int = 2, mixing: Literal["channel", "scalar"] = "channel", **kwargs):
        if not isinstance(branches, int) or branches < 1:
            raise ValueError(f"branches must be a whole number of at least 1, received {branches!r}")
        if mixing not in ("channel", "scalar"):
            raise ValueError(f'mixing must be "channel" or "scalar", received {mixing!r}')
        self.branches, self.mixing = branches, mixing
        super().__init__(*args, **kwargs)

    def _own(self, weight_quantizer, input_quantizer) -> None:
        super()._own(weight_quantizer, input_quantizer)
        if self.input_quantizer.bits is None:
            return
        outputs, inputs = self.weight.shape[0], self.weight.shape[1] * getattr(self, "groups", 1)
        like = {"device": self.weight.device, "dtype": self.weight.dtype}
        self.shift = nn.Parameter(torch.zeros(self.branches, inputs, **like))
        factors = outputs if self.mixing == "channel" else 1
        self.mix = nn.Parameter(torch.rand(self.branches - 1, factors, **like) * 0.001)

    def forward(self, x: Tensor) -> Tensor:
        if self.input_quantizer.bits is None:
            return super().forward(x)
        y = self._mixed(x)
        if self.bias is None:
            return y
        alpha = getattr(self.weight_quantizer, "alpha", torch.ones((), dtype=y.dtype, device=y.device))
        return y + (self.bias * alpha).to(y.dtype).reshape(self._out_shape) * (1 + self.mix.sum(0).to(y.dtype)).reshape(
            self._out_shape
        )

    def _mixed(self, x: Tensor) -> Tensor:
        """The sum over the branches. In training λ multiplies the weights, which are fewer than the sums, or, where it
        is one number, the signs."""
        inputs = [ShiftedSign.apply(x, shift, self.input_quantizer) for shift in self.shift]
        if self.training or self.weight_quantizer.bits is None:
            return self._in_training_form(inputs)
        with torch.no_grad():
            codes, scale = self.weight_quantizer.codes(self.weight)
            exact = self._op(inputs[0], codes, None)
            for factor, signs in zip(self.mix, inputs[1:], strict=True):
                exact = exact + factor.to(exact.dtype).reshape(self._out_shape) * self._op(signs, codes, None)
            exact = exact * (scale.reshape(self._out_shape) if scale.dim() else scale)
        if torch.is_grad_enabled():
            estimated = self._in_training_form(inputs)
            exact = exact + (estimated - estimated.detach())
        return exact

    def _in_training_form(self, inputs: list[Tensor]) -> Tensor:
        weight = self.weight_quantizer(self.weight)
        if self.mixing == "scalar" and self.branches > 1:
            further = (factor.to(signs.dtype) * signs for factor, signs in zip(self.mix, inputs[1:], strict=True))
            return self._op(sum(further, start=inputs[0]), weight, None)
        weights = [weight, *(weight * per_filter(factor, weight) for factor in self.mix)]
        parts = []
        for signs, mixed in zip(inputs, weights, strict=True):
            with kept_as_int8(signs):
                parts.append(self._op(signs, mixed, None))
        return sum(parts[1:], start=parts[0])


class BranchedLinear(_Branched, BinLinear):
    __doc__ = _Branched.__doc__


class BranchedConv1d(_Branched, BinConv1d):
    """:class:`~bnnlib.layers.BinConv1d` in branches; see :class:`BranchedLinear`."""


class BranchedConv2d(_Branched, BinConv2d):
    """:class:`~bnnlib.layers.BinConv2d` in branches; see :class:`BranchedLinear`."""


BRANCHED = LayerFamily(BranchedLinear, BranchedConv1d, BranchedConv2d)
