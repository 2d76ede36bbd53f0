"""Layers that own a weight quantizer and an input quantizer; otherwise torch's own, ``state_dict`` and all.

In training a layer computes with quantized values, ``op(input_quantizer(x), weight_quantizer(W)) + bias``. In eval mode
it multiplies small-integer codes first and scales afterwards, so that the sums inside are exact integers wherever the
input is integer too.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlib.quantizers import Identity, Quantizer, Sign


class QuantizedLayer(nn.Module):
    """What all layers of the library share; mixed with one of torch's, which gives weight, bias and geometry.

    ``_op(x, weight, bias)`` is the layer's linear operation. A subclass may multiply the product by a scale of its
    input (:meth:`input_scale`) or replace :meth:`product`.
    """

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
        for quantizer in (self.weight_quantizer, self.input_quantizer):
            quantizer.to(self.weight.device, self.weight.dtype)
        self.input_quantizer.channel_axis = 1 - self.weight.dim()  # counted from the end: with or without a batch axis
        self.weight_quantizer.init_latent_(self.weight)
        self.weight_quantizer.fit_to_(self.weight)

    def reset_parameters(self) -> None:
        """torch's initialisation, then the weight quantizer's own if it has one."""
        super().reset_parameters()
        if isinstance(getattr(self, "weight_quantizer", None), Quantizer):
            self.weight_quantizer.init_latent_(self.weight)
            self.weight_quantizer.fit_to_(self.weight)

    @torch.no_grad()
    def take_weights_(self, weight: Tensor, bias: Tensor | None) -> None:
        """Copies a weight and a bias of the same shapes; the quantizer's own parameters are set from the new weight."""
        self.weight.copy_(weight)
        if bias is not None:
            self.bias.copy_(bias)
        self.weight_quantizer.fit_to_(self.weight)

    def input_scale(self, x: Tensor) -> Tensor | None:
        """What the product is multiplied by, from the real input; None for most layers."""
        return None

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.weight_quantizer, Identity) and isinstance(self.input_quantizer, Identity):
            return self._op(x, self.weight, self.bias)  # torch's own layer, to the last bit
        scale = self.input_scale(x)
        y = self.product(x)
        if scale is not None:
            y = y * scale
        return y if self.bias is None else y + self.bias.to(y.dtype).reshape(self._out_shape)

    def product(self, x: Tensor) -> Tensor:
        """The quantized input times the quantized weight, without bias."""
        if self.training or self.weight_quantizer.bits is None:
            x, weight = self.input_quantizer(x), self.weight_quantizer(self.weight)
            if isinstance(self.input_quantizer, Sign):
                with kept_as_int8(x):
                    return self._op(x, weight, None)
            return self._op(x, weight, None)
        exact = self._exact(x)
        if torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
            # exact by value, with the gradient that training would have; under torch.no_grad() it costs nothing more
            estimated = self._op(self.input_quantizer(x), self.weight_quantizer(self.weight), None)
            exact = exact + (estimated - estimated.detach())
        return exact

    @torch.no_grad()
    def _exact(self, x: Tensor) -> Tensor:
        """The product of the codes, scaled afterwards."""
        codes, scale = self.weight_quantizer.codes(self.weight)
        if self.input_quantizer.bits is None:
            x = self.input_quantizer(x)
        else:
            x, input_scale = self.input_quantizer.codes(x)
            scale = scale * input_scale
        return self._op(x, codes, None).mul_(scale.reshape(self._out_shape) if scale.dim() else scale)

    @property
    def _out_shape(self) -> tuple[int, ...]:
        """What (O,) values are reshaped to over the output, with and without a batch axis."""
        return (-1,) + (1,) * (self.weight.dim() - 2)


class BinLinear(QuantizedLayer, nn.Linear):
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
        nn.Linear.__init__(self, in_features, out_features, bias, device=device, dtype=dtype)
        self._own(weight_quantizer, input_quantizer)

    def _op(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)


class _BinConv(QuantizedLayer):
    """What the convolutions share: torch's constructor, and padding with -1, 0 or +1 after the quantizer."""

    _torch: type[nn.Module]

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
        pad_value: float = 0.0,
        weight_quantizer: Quantizer | None = None,
        input_quantizer: Quantizer | None = None,
        device=None,
        dtype=None,
    ):
        if pad_value not in (-1.0, 0.0, 1.0):
            raise ValueError(f"pad_value must be -1, 0 or 1, received {pad_value!r}")
        if pad_value and padding_mode != "zeros":
            raise ValueError(f"pad_value {pad_value:g} and padding_mode {padding_mode!r} exclude each other")
        bits = getattr(input_quantizer, "bits", None)
        if pad_value and bits is not None and (bits > 1 or input_quantizer.unsigned):
            raise ValueError(
                f"pad_value {pad_value:g} keeps a map of signs binary; the input quantizer {input_quantizer!r} has "
                "other codes: leave pad_value at 0"
            )
        self._torch.__init__(
            self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode,
            device=device, dtype=dtype,
        )  # fmt: skip
        self.pad_value = float(pad_value)
        self._own(weight_quantizer, input_quantizer)

    def _op(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not self.pad_value:
            return self._conv_forward(x, weight, bias)
        x = F.pad(x, self._reversed_padding_repeated_twice, value=self.pad_value)
        return self._plain(x, weight, bias, self.stride, 0, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", pad_value={self.pad_value:g}" if self.pad_value else "")


class BinConv1d(_BinConv, nn.Conv1d):
    """``torch.nn.Conv1d`` with quantizers; arguments as :class:`BinConv2d`.

    Shapes: input (N, C, L), weight (O, C / groups, k), output (N, O, L').
    """

    _torch, _plain = nn.Conv1d, staticmethod(F.conv1d)


class BinConv2d(_BinConv, nn.Conv2d):
    """``torch.nn.Conv2d`` with quantizers.

    Args:
        in_channels ... dtype: as in torch.
        pad_value: what surrounds the *quantized* map: 0 (default) adds a third value to a binarised one, as every
            well-known training code does; +1 or -1 keeps it binary, as larq's ``pad_values=1`` does, and is refused
            where the input's codes are not signs.
        weight_quantizer, input_quantizer: :class:`~bnnlib.quantizers.Quantizer` instances; ``None`` leaves real values.

    Shapes: input (N, C, H, W), weight (O, C / groups, kh, kw), output (N, O, H', W').
    """

    _torch, _plain = nn.Conv2d, staticmethod(F.conv2d)


class LayerFamily(NamedTuple):
    """The three kinds of layer that a method builds with."""

    linear: type[nn.Linear]
    conv1d: type[nn.Conv1d]
    conv2d: type[nn.Conv2d]

    def of(self, layer: nn.Module) -> type[nn.Module] | None:
        """The family's layer for one of torch's, or None."""
        kinds = ((nn.Linear, self.linear), (nn.Conv1d, self.conv1d), (nn.Conv2d, self.conv2d))
        return next((ours for torchs, ours in kinds if isinstance(layer, torchs)), None)


PLAIN = LayerFamily(BinLinear, BinConv1d, BinConv2d)


def kept_as_int8(signs: Tensor) -> AbstractContextManager:
    """Inside the context, what autograd keeps of a map of signs for the backward pass is one byte a value, not four."""
    if torch.compiler.is_compiling():
        return nullcontext()
    address, shape = signs.data_ptr(), signs.shape

    def pack(tensor: Tensor):
        whole = tensor.data_ptr() == address and tensor.shape == shape
        return (tensor.to(torch.int8), tensor.dtype) if whole else tensor

    def unpack(kept) -> Tensor:
        return kept[0].to(kept[1]) if isinstance(kept, tuple) else kept

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def quantized_layers(model: nn.Module) -> Iterator[tuple[str, QuantizedLayer]]:
    """The layers of ``model`` whose weights are quantized, to whatever width, with their names, as registered."""
    for name, module in model.named_modules():
        if isinstance(module, QuantizedLayer) and module.weight_quantizer.bits is not None:
            yield name, module


def binary_layers(model: nn.Module) -> Iterator[tuple[str, QuantizedLayer]]:
    """Of the quantized layers those with weights of one or two bits: what methods and their hooks are about."""
    for name, module in quantized_layers(model):
        if module.weight_quantizer.bits <= 2:
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
