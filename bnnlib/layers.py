"""Layers that own a weight quantizer and an input quantizer; otherwise torch's own, ``state_dict`` and all.

In training a layer computes with quantized values, ``op(input_quantizer(x), weight_quantizer(W)) + bias``. In eval mode
it multiplies small-integer codes first and scales afterwards, so that the sums inside are exact integers wherever the
input is integer too.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlib.quantizers import Identity, Quantizer

__all__ = ["BinConv2d", "BinLinear", "binary_layers", "latent_weights", "weights_as"]


class _QuantizedLayer:
    """What BinLinear and BinConv2d share. ``_op(x, weight, bias)`` is the layer's linear operation."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    weight_quantizer: Quantizer
    input_quantizer: Quantizer

    def _own(self, weight_quantizer: Quantizer | None, input_quantizer: Quantizer | None) -> None:
        for name, value in (("weight_quantizer", weight_quantizer), ("input_quantizer", input_quantizer)):
            if value is not None and not isinstance(value, Quantizer):
                raise TypeError(f"{name} must be a bnnlib Quantizer instance or None, received {value!r}")
        self.weight_quantizer = weight_quantizer or Identity()
        self.input_quantizer = input_quantizer or Identity()
        self.weight_quantizer.init_latent_(self.weight)

    def reset_parameters(self) -> None:
        """torch's initialisation, then the weight quantizer's own if it has one."""
        super().reset_parameters()
        if isinstance(getattr(self, "weight_quantizer", None), Quantizer):
            self.weight_quantizer.init_latent_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.weight_quantizer.bits is None:
            return self._op(self.input_quantizer(x), self.weight_quantizer(self.weight), self.bias)
        codes, scale = self.weight_quantizer.codes(self.weight)
        out_axis = (-1,) + (1,) * (self.weight.dim() - 2)  # broadcasts with and without a batch axis
        if self.input_quantizer.bits is None:
            x = self.input_quantizer(x)
        else:
            x, input_scale = self.input_quantizer.codes(x)
            scale = scale * input_scale
        y = self._op(x, codes, None).mul_(scale.reshape(out_axis) if scale.dim() else scale)
        return y if self.bias is None else y + self.bias.reshape(out_axis)


class BinLinear(_QuantizedLayer, nn.Linear):
    """``torch.nn.Linear`` with quantizers.

    Args:
        in_features, out_features, bias, device, dtype: as in torch.
        weight_quantizer, input_quantizer: :class:`~bnnlib.quantizers.Quantizer` instances; ``None`` leaves real values.

    Shapes: input (N, in_features), weight (out_features, in_features), output (N, out_features).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        weight_quantizer: Quantizer | None = None,
        input_quantizer: Quantizer | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self._own(weight_quantizer, input_quantizer)

    def _op(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)


class BinConv2d(_QuantizedLayer, nn.Conv2d):
    """``torch.nn.Conv2d`` with quantizers.

    Args:
        in_channels ... dtype: as in torch. Zero padding adds a third value, 0, to a binarised map, as in every
            well-known training code.
        weight_quantizer, input_quantizer: :class:`~bnnlib.quantizers.Quantizer` instances; ``None`` leaves real values.

    Shapes: input (N, C, H, W), weight (O, C / groups, kh, kw), output (N, O, H', W').
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        weight_quantizer: Quantizer | None = None,
        input_quantizer: Quantizer | None = None,
        device=None,
        dtype=None,
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            device=device, dtype=dtype,
        )  # fmt: skip
        self._own(weight_quantizer, input_quantizer)

    def _op(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return self._conv_forward(x, weight, bias)


def binary_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The layers of ``model`` whose weights are quantized, with their names, in registration order."""
    for name, module in model.named_modules():
        if isinstance(module, _QuantizedLayer) and module.weight_quantizer.bits is not None:
            yield name, module


WeightForm = Literal["binary", "real", "sampled"]


class _Sampled(Quantizer):
    """A new draw of another quantizer in every forward pass, in any mode."""

    def __init__(self, quantizer: Quantizer):
        super().__init__()
        self.quantizer = quantizer

    def forward(self, x: Tensor) -> Tensor:
        return self.quantizer.sample(x)


@contextmanager
def weights_as(model: nn.Module, form: WeightForm) -> Iterator[nn.Module]:
    """Inside the context, ``model`` computes with another form of its weights; on leaving it is as it was.

    Args:
        form: ``"binary"``, what eval mode gives anyway; ``"real"``, the latent weights; ``"sampled"``, a new stochastic
            draw in every forward pass (a deterministic quantizer gives the same each time).

    Raises:
        ValueError: the form is none of these.
    """
    if form not in ("binary", "real", "sampled"):
        raise ValueError(f'weights_as knows the forms "binary", "real" and "sampled", received {form!r}')
    own = [(layer, layer.weight_quantizer) for _, layer in binary_layers(model)]
    try:
        for layer, quantizer in own:
            if form != "binary":
                layer.weight_quantizer = Identity() if form == "real" else _Sampled(quantizer)
        yield model
    finally:
        for layer, quantizer in own:
            layer.weight_quantizer = quantizer.train(layer.training)  # the layer's mode may have changed meanwhile


@torch.no_grad()
def latent_weights(model: nn.Module) -> dict[str, Tensor]:
    """Name -> latent weight (detached, not copied) of each binary layer."""
    return {name: layer.weight.detach() for name, layer in binary_layers(model)}
