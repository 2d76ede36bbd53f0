"""The all-binary network of the course: every weight and every bias is +1 or -1."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.layers import BinConv1d, BinLinear
from bnnlib.packed.biometrics import LEAST_FRAMES, SHAPES, SignNetwork
from bnnlib.quantizers import Identity, Quantizer, Sign

VARIANTS = ("all-binary", "real-biases", "real-first-layer", "batch-norm")


class _Bias(nn.Module):
    """One value for each channel, quantized like a weight, added to (N, channels, ...)."""

    def __init__(self, channels: int, quantizer: Quantizer):
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(channels))
        self.quantizer = quantizer

    def forward(self, x: Tensor) -> Tensor:
        return x + self.quantizer(self.latent).reshape(-1, *(1,) * (x.dim() - 2))


class BinaryBiometrics(nn.Module):
    """Three convolutions over time, the maximum over time and a linear layer; see :mod:`bnnlib.packed.biometrics`.

    Under a method with signs every sum is divided by a constant before the sign: this changes no sign, and lets the
    sign's estimator see sums of size 1. All that training adds is gone in :meth:`sign_network`. Under ``"float"`` it is
    the real twin: the same layers with real weights, and ``activation`` in the place of the sign.

    Args:
        method: a name of ``bnnlib.methods`` or a record: ``"float"``, or one whose weights and activations are plain
            signs, without scales.
        variant: what is less than all-binary: ``"real-biases"``, ``"real-first-layer"`` or ``"batch-norm"`` (after each
            convolution, with real scales and offsets).
        activation: of the float twin, ``"tanh"`` or ``"relu"``.
        dropout: share of the 128 values after the maximum over time that training drops.
        initial: latent weights begin evenly drawn from -initial..initial.

    Shapes: input (N, 64, t) float32, t >= 57, with NaN where a recording has ended; output (N, 2) scores.

    Raises:
        ValueError: an unknown variant or activation, another method; fewer than 57 frames.
    """

    input_shape = (64, 300)

    def __init__(
        self,
        method="float",
        *,
        variant: Literal["all-binary", "real-biases", "real-first-layer", "batch-norm"] = "all-binary",
        activation: Literal["tanh", "relu"] = "tanh",
        dropout: float = 0.0,
        initial: float = 0.3,
    ):
        super().__init__()
        method = catalogue.get(method)
        for name, value, known in (("variant", variant, VARIANTS), ("activation", activation, ("tanh", "relu"))):
            if value not in known:
                raise ValueError(f"no {name} {value!r}; known: {', '.join(known)}")
        self.binary = method.quantizes
        signs = isinstance(method.weight_quantizer(1), Sign) and isinstance(method.input_quantizer(1), Sign)
        if self.binary and not signs:
            raise ValueError(
                "the network takes float, or a method whose weights and activations are plain signs, such as bnn; "
                f"received {method.name}"
            )
        self.variant = variant
        self.convs, self.biases, self.norms, self.activations = (nn.ModuleList() for _ in range(4))
        for layer, (outputs, inputs, kernel) in enumerate(SHAPES[:3]):
            real = variant == "real-first-layer" and layer == 0
            quantizer = None if real else self._signs(method.weight_quantizer(outputs))
            self.convs.append(BinConv1d(inputs, outputs, kernel, bias=False, weight_quantizer=quantizer))
            self.biases.append(self._bias(method, outputs, real))
            self.norms.append(nn.BatchNorm1d(outputs) if variant == "batch-norm" else nn.Identity())
            twin = nn.Tanh() if activation == "tanh" else nn.ReLU()
            self.activations.append(self._signs(method.input_quantizer(outputs)) if self.binary else twin)
        outputs, inputs = SHAPES[3]
        self.dropout = nn.Dropout(dropout)
        self.last = BinLinear(
            inputs, outputs, bias=False, weight_quantizer=self._signs(method.weight_quantizer(outputs))
        )
        self.biases.append(self._bias(method, outputs, False))
        if self.binary:
            for layer in (*self.convs, self.last):
                nn.init.uniform_(layer.weight, -initial, initial)
            for bias in self.biases:
                if not isinstance(bias.quantizer, Identity):
                    nn.init.uniform_(bias.latent, -initial, initial)

    @staticmethod
    def _signs(quantizer: Quantizer) -> Quantizer:
        """A quantizer whose sign of 0 is -1, as the network's definition has it."""
        if isinstance(quantizer, Sign):
            quantizer.zero = -1.0
        return quantizer

    def _bias(self, method, outputs: int, real: bool) -> _Bias:
        real = real or not self.binary or self.variant == "real-biases"
        return _Bias(outputs, Identity() if real else self._signs(method.weight_quantizer(outputs)))

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 3 or x.shape[1] != SHAPES[0][1]:
            raise ValueError(f"input must have shape (N, {SHAPES[0][1]}, t), received {tuple(x.shape)}")
        lengths = x[:, 0].isfinite().sum(1)
        if not lengths.numel() or int(lengths.min()) < LEAST_FRAMES:
            least = int(lengths.min()) if lengths.numel() else 0
            raise ValueError(f"a recording needs at least {LEAST_FRAMES} frames, received one of {least}")
        ended = int(lengths.min()) < x.shape[2]
        if ended:
            inside = torch.arange(x.shape[2], device=x.device) < lengths[:, None]
            if not torch.equal(x.isfinite(), inside[:, None].expand_as(x)):
                raise ValueError("NaN must stand behind a recording's end in all bands, and nowhere else")
            x = torch.nan_to_num(x)
        for layer, conv in enumerate(self.convs):
            x = self.norms[layer](self.biases[layer](conv(x)) / self._size(conv))
            lengths = lengths - conv.kernel_size[0] + 1
            if ended:  # what a kernel sees beyond a recording's end must not win a maximum
                time = torch.arange(x.shape[2], device=x.device)
                x = x.masked_fill((time >= lengths[:, None])[:, None], -torch.inf)
            if layer < 2:
                x, lengths = F.max_pool1d(x, 2, ceil_mode=True), (lengths + 1) // 2
            else:
                x = x.amax(2)
            x = self.activations[layer](x)
        score = self.biases[3](self.last(self.dropout(x)))
        return torch.cat([-score, score], 1) / (self._size(self.last) if self.binary else 2)

    def _size(self, layer: nn.Module) -> float:
        """What sums of signs are divided by: the square root of the number of their terms."""
        return layer.weight[0].numel() ** 0.5 if self.binary else 1.0

    def sign_network(self) -> SignNetwork:
        """The network as it is at inference: 369,153 numbers of +1 and -1.

        Raises:
            ValueError: it is a variant, or the float twin, which isn't made of signs.
        """
        if not self.binary or self.variant != "all-binary":
            kind = self.variant if self.binary else "the float twin"
            raise ValueError(f"only the all-binary network is a text of signs, this one is {kind}")
        layers = [*self.convs, self.last]
        weights = [layer.weight_quantizer.codes(layer.weight)[0] for layer in layers]
        biases = [bias.quantizer.codes(bias.latent)[0] for bias in self.biases]
        return SignNetwork(
            *(tuple(v.detach().cpu().numpy().astype("int8") for v in each) for each in (weights, biases))
        )
