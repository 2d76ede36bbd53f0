"""How a method's block becomes torch modules: the one place where networks obey block order, norms and real layers."""

import warnings
from collections.abc import Callable

from torch import nn

from bnnlib.catalogue import FIRST_LAST, Method, eight_bit
from bnnlib.layers import PLAIN, BinLinear, HardTanh, Residual, RPReLU


class Builder:
    """Builds the layers of one network under one method.

    Args:
        method: the record to obey.
        depth: how many weighted layers the network has, so that the last one is known.
        first_last: what a layer that the method keeps real becomes: ``"real"``, or ``"int8"`` (weights and input of 8
            bits by LSQ), with which all of the network's sums are integers.
    """

    def __init__(self, method: Method, depth: int, first_last: str = "real"):
        if first_last not in FIRST_LAST:
            raise ValueError(f"first_last must be one of {', '.join(FIRST_LAST)}, received {first_last!r}")
        self.method = method
        self.depth = depth
        self.first_last = first_last
        self._built = 0

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        padding: int = 1,
        pool: bool = False,
        dimensions: int = 2,
    ) -> list[nn.Module]:
        """A convolution, halved by max pooling if asked, with its norm, activation and shortcut.

        ``dimensions`` is 2 for images, 1 for sequences. A shortcut that the method asks for is built where input and
        output have the same number of channels and, but for the pooling, the same size.
        """
        layers, arguments = self._next(in_channels, out_channels)
        kind, norm, largest, average = (
            (layers.conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d)
            if dimensions == 1
            else (layers.conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d)
        )
        layer = kind(in_channels, out_channels, kernel_size, padding=padding, **arguments)
        around = None
        if in_channels == out_channels and 2 * padding == kernel_size - 1:
            around = average(2) if pool else nn.Identity()
        return self._block(layer, norm, out_channels, [largest(2)] if pool else [], around)

    def linear(self, in_features: int, out_features: int) -> list[nn.Module]:
        """A fully connected layer with its norm and, unless it is the last, its activation."""
        layers, arguments = self._next(in_features, out_features)
        return self._block(
            layers.linear(in_features, out_features, **arguments), nn.BatchNorm1d, out_features, [], None
        )

    def _next(self, inputs: int, outputs: int):
        """The family and the arguments of the next layer."""
        self._built += 1
        place = {1: "first", self.depth: "last"}.get(self._built)
        arguments = {"bias": not self.method.batch_norm}  # a batch norm's offset makes a bias superfluous
        real = place in self.method.real_layers
        if not real and self.method.centring and inputs == 1:
            warnings.warn(
                f"layer {self._built} has one input channel and stays real: {self.method.name} centres its weights "
                "over "
                "the input channels, which would make them all zero",
                stacklevel=4,
            )
            real = True
        if not real:
            return self.method.layers, arguments | self.method.quantizers(inputs, outputs, real_input=place == "first")
        if self.first_last == "int8" and self.method.weight_bits < 32:
            arguments |= eight_bit()
        return PLAIN, arguments

    def _block(
        self, layer: nn.Module, norm: Callable, channels: int, pool: list[nn.Module], around: nn.Module | None
    ) -> list[nn.Module]:
        last = self._built == self.depth
        parts: dict[str, list[nn.Module]] = {
            "layer": [layer],
            "pool": pool,
            "norm": [norm(channels)] if self.method.batch_norm else [],
            "relu": [nn.ReLU(inplace=True)],
            "hardtanh": [HardTanh()],
            "rprelu": [RPReLU(channels)],
        }
        built: list[nn.Module] = []
        for name in self.method.block:
            if name == "shortcut":
                binary = not isinstance(layer, BinLinear) and layer.input_quantizer.bits is not None
                built = [Residual(nn.Sequential(*built), around)] if around is not None and binary else built
            elif not (last and name in ("relu", "hardtanh", "rprelu")):
                built += parts[name]
        return built
