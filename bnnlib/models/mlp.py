"""The classic multilayer perceptron."""

import torch
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.models.blocks import Builder, dropped


class MLP(nn.Module):
    """784-1024-1024-10 by default, batch norm after each layer, built under a method.

    Args:
        method: a name of ``bnnlib.methods`` or a record.
        classes: number of classes.
        features: values of one input, flattened.
        width, hidden: width and number of the hidden layers.
        dropout: share of hidden activations dropped in training, in [0, 1).
        first_last: ``"real"``, or ``"int8"`` for 8 bits in the layers that the method keeps real.

    Shapes: input (N, ...) with ``features`` values each, float32; output (N, classes) scores.
    """

    input_shape = (1, 28, 28)  # of the default network

    def __init__(
        self,
        method="float",
        *,
        classes: int = 10,
        features: int = 784,
        width: int = 1024,
        hidden: int = 2,
        dropout: float = 0.0,
        first_last: str = "real",
    ):
        super().__init__()
        build = Builder(catalogue.get(method), first_last)
        layers: list[nn.Module] = []
        for inputs, place in [(features, "first")] + [(width, None)] * (hidden - 1):
            layers += build.linear(inputs, width, place=place) + dropped(dropout)
        self.layers = nn.Sequential(*layers, *build.linear(width, classes, place="last"))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(torch.flatten(x, 1))
