"""How a method's block becomes torch modules: the one place where networks obey block order, norms and real layers."""

from collections.abc import Iterable

from torch import nn

from bnnlib.catalogue import Method
from bnnlib.layers import BinConv2d, BinLinear


class Builder:
    """Builds the layers of one network under one method.

    Args:
        method: the record to obey.
        depth: how many weighted layers the network has, so that the last one is known.
    """

    def __init__(self, method: Method, depth: int):
        self.method = method
        self.depth = depth
        self._built = 0

    def conv(self, in_channels: int, out_channels: int, *, pool: bool = False) -> list[nn.Module]:
        """A 3x3 convolution that keeps the size, halved by max pooling if asked, with its norm and activation."""
        layer = BinConv2d(in_channels, out_channels, 3, padding=1, **self._arguments())
        norm = nn.BatchNorm2d(out_channels)
        return self._block(layer, norm, [nn.MaxPool2d(2)] if pool else [])

    def linear(self, in_features: int, out_features: int) -> list[nn.Module]:
        """A fully connected layer with its norm and, unless it is the last, its activation."""
        return self._block(BinLinear(in_features, out_features, **self._arguments()), nn.BatchNorm1d(out_features), [])

    def _arguments(self) -> dict:
        self._built += 1
        place = {1: "first", self.depth: "last"}.get(self._built)
        real = place in self.method.real_layers
        return {
            "bias": not self.method.batch_norm,  # a batch norm's offset makes a bias superfluous
            "weight_quantizer": None if real else self.method.weight_quantizer(),
            "input_quantizer": None if real else self.method.input_quantizer(),
        }

    def _block(self, layer: nn.Module, norm: nn.Module, pool: Iterable[nn.Module]) -> list[nn.Module]:
        last = self._built == self.depth
        parts = {
            "layer": [layer, *pool],
            "norm": [norm] if self.method.batch_norm else [],
            "relu": [] if last else [nn.ReLU(inplace=True)],
        }
        return [module for name in self.method.block for module in parts[name]]
