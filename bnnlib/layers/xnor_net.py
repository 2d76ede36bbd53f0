"""XNOR-Net's layers: the paper's input scale K, and the operator that equals its implementations' procedure."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from bnnlib.layers.base import BinConv1d, BinConv2d, BinLinear, LayerFamily
from bnnlib.quantizers.base import binary_sign, filter_mean
from bnnlib.quantizers.xnor_net import CentredSign, centred_clamped, procedure_gradient


class ScaledLinear(BinLinear):
    r"""A linear layer whose product is multiplied by :math:`\beta = \mathrm{mean}|x|` of each sample.

    Source: XNOR-Net (arXiv:1603.05279), eq. 8. β is a constant for the gradient. Neither well-known implementation has
    it.
    """

    def input_scale(self, x: Tensor) -> Tensor | None:
        return None if self.input_quantizer.bits is None else x.detach().abs().mean(-1, keepdim=True)


class _ScaledConv:
    r"""The product is multiplied by the map K of the input's mean absolute values under the kernel.

    :math:`K = A * k` with A the mean of \|I\| over the channels (of a group, where there are groups) and k a kernel of
    equal weights that sum to one, with the layer's stride, padding (and its mode) and dilation; padded zeros count, so
    K shrinks at the borders. K is shared by all output channels and is a constant for the gradient.

    Source: XNOR-Net (arXiv:1603.05279), sec. 3.2 and fig. 2. Neither well-known implementation has it.
    """

    def input_scale(self, x: Tensor) -> Tensor | None:
        if self.input_quantizer.bits is None:
            return None
        sizes, spatial = x.detach().abs(), self.weight.dim() - 2
        if x.dim() == spatial + 1:
            sizes = sizes.unsqueeze(0)
        means = sizes.unflatten(1, (self.groups, -1)).mean(2)
        kernel = means.new_full((self.groups, 1, *self.kernel_size), 1 / math.prod(self.kernel_size))
        padding = self.padding
        if self.padding_mode != "zeros":
            means, padding = F.pad(means, self._reversed_padding_repeated_twice, self.padding_mode), 0
        scale = self._plain(means, kernel, None, self.stride, padding, self.dilation, self.groups)
        if self.groups > 1:
            scale = scale.repeat_interleave(self.out_channels // self.groups, 1)
        return scale if x.dim() > spatial + 1 else scale.squeeze(0)


class ScaledConv1d(_ScaledConv, BinConv1d):
    """:class:`~bnnlib.layers.BinConv1d` times XNOR-Net's K; see :class:`ScaledConv2d`."""


class ScaledConv2d(_ScaledConv, BinConv2d):
    __doc__ = _ScaledConv.__doc__


INPUT_SCALED = LayerFamily(ScaledLinear, ScaledConv1d, ScaledConv2d)


class _Xnor(torch.autograd.Function):
    """The whole binary product of a centred, clamped weight: one function forward, one backward.

    Forward: ``op(q(x), alpha * sign(W))``. Backward: the input's gradient through the binary weight and then the input
    quantizer's rule; the weight's by :func:`~bnnlib.quantizers.xnor_net.procedure_gradient`. It keeps the layer's
    copy of the weight, so that two forward passes before one backward pass are right.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, layer: "_Operator") -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, layer._centred)
        return layer._op(layer.input_quantizer.value(x), _binary(weight, layer.weight_quantizer.zero), None)

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, Tensor, None]:
        x, weight = ctx.saved_tensors
        layer, quantizer = ctx.layer, ctx.layer.weight_quantizer
        binary = _binary(weight, quantizer.zero).to(upstream.dtype)  # autocast may have computed in a narrower type
        inputs = layer.input_quantizer.value(x).to(upstream.dtype)
        of_input, of_weight = layer._op_backward(inputs, binary, upstream, ctx.needs_input_grad[0])
        if of_input is not None:
            of_input = layer.input_quantizer.gradient(x, of_input.to(x.dtype))
        return of_input, procedure_gradient(weight, of_weight.to(weight.dtype), quantizer.rule, quantizer.zero), None


def _binary(weight: Tensor, zero: float) -> Tensor:
    return binary_sign(weight, zero) * filter_mean(weight.abs())


class _Operator:
    """XNOR-Net's procedure inside one autograd function: no hooks, the same trajectory.

    Each training forward pass first centres and clamps the latent weight *in place*, once for every state of it: again
    only after it has changed, as the procedure does once a step. In eval mode a centred copy is used and the weight is
    left alone.

    Takes a :class:`~bnnlib.quantizers.CentredSign` as ``weight_quantizer`` (made if None is given), and as
    ``input_quantizer`` None or one with a gradient rule, such as :class:`~bnnlib.quantizers.StrictSign`.
    """

    _centred: Tensor | None = None  # the weight as last centred: while it is equal, it is not centred again

    def _own(self, weight_quantizer, input_quantizer) -> None:
        weight_quantizer = weight_quantizer or CentredSign()
        if not isinstance(weight_quantizer, CentredSign):
            raise TypeError(f"weight_quantizer of an operator layer must be CentredSign, received {weight_quantizer!r}")
        if getattr(self, "padding_mode", "zeros") != "zeros":
            raise ValueError(f'padding_mode of an operator layer must be "zeros", received {self.padding_mode!r}')
        super()._own(weight_quantizer, input_quantizer)

    def product(self, x: Tensor) -> Tensor:
        if not self.training or not isinstance(self.weight_quantizer, CentredSign):  # weights_as puts others there
            return super().product(x)
        self._centre_()
        return _Xnor.apply(x, self.weight, self)

    @torch.compiler.disable
    @torch.no_grad()
    def _centre_(self) -> None:
        same = self._centred is not None and self._centred.device == self.weight.device
        if not (same and torch.equal(self._centred, self.weight)):
            self.weight.copy_(centred_clamped(self.weight))
            self._centred = self.weight.detach().clone()


class OperatorLinear(_Operator, BinLinear):
    __doc__ = _Operator.__doc__

    def _op_backward(self, x: Tensor, weight: Tensor, upstream: Tensor, need_input: bool):
        rows = upstream.reshape(-1, upstream.shape[-1])
        return upstream @ weight if need_input else None, rows.T @ x.reshape(-1, x.shape[-1])


class _OperatorConv(_Operator):
    def _op_backward(self, x: Tensor, weight: Tensor, upstream: Tensor, need_input: bool):
        spatial = weight.dim() - 2
        batched = x.dim() == spatial + 2
        if not batched:
            x, upstream = x.unsqueeze(0), upstream.unsqueeze(0)
        padding, around = self.padding, None
        if self.pad_value or isinstance(padding, str):
            around = self._reversed_padding_repeated_twice
            x, padding = F.pad(x, around, value=self.pad_value), (0,) * spatial
        of_input, of_weight, _ = torch.ops.aten.convolution_backward(
            upstream, x, weight, None, self.stride, padding, self.dilation, False, (0,) * spatial, self.groups,
            (need_input, True, False),
        )  # fmt: skip
        if of_input is not None:
            if around is not None:
                of_input = F.pad(of_input, [-width for width in around])
            if not batched:
                of_input = of_input.squeeze(0)
        return of_input, of_weight


class OperatorConv1d(_OperatorConv, BinConv1d):
    """:class:`~bnnlib.layers.BinConv1d` as one operator; see :class:`OperatorLinear`."""


class OperatorConv2d(_OperatorConv, BinConv2d):
    """:class:`~bnnlib.layers.BinConv2d` as one operator; see :class:`OperatorLinear`."""


OPERATOR = LayerFamily(OperatorLinear, OperatorConv1d, OperatorConv2d)
