"""The network of every Fashion-MNIST study."""

import torch
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.models.blocks import Builder


class CompactCNN(nn.Module):
    """Four 3x3 convolutions (32, 32, 64, 64 channels; pooling after all but the second), linear 256, linear classes.

    Built under a method: its quantizers, block order and real layers. Batch norm after each layer, the last included.
    For 28x28 grey images and ten classes: 215,732 parameters, 214,816 of them weights, and 7.6 million
    multiply-accumulates an image.

    Args:
        method: a name of ``bnnlib.methods`` or a record.
        classes: number of classes.
        channels: channels of the input.
        size: height and width of the input in pixels, at least 8.
        first_last: ``"real"``, or ``"int8"`` for 8 bits in the layers that the method keeps real.

    Shapes: input (N, channels, size, size) float32, output (N, classes) scores.
    """

    input_shape = (1, 28, 28)  # of the default network

    def __init__(
        self, method="float", *, classes: int = 10, channels: int = 1, size: int = 28, first_last: str = "real"
    ):
        super().__init__()
        if size < 8:
            raise ValueError(f"size must be at least 8, for three poolings, received {size}")
        build = Builder(catalogue.get(method), first_last)
        self.features = nn.Sequential(
            *build.conv(channels, 32, pool=True, place="first"),
            *build.conv(32, 32),
            *build.conv(32, 64, pool=True),
            *build.conv(64, 64, pool=True),
        )
        self.classifier = nn.Sequential(
            *build.linear(64 * (size // 8) ** 2, 256), *build.linear(256, classes, place="last")
        )
        self.to(memory_format=torch.channels_last)  # the faster layout on a processor; inputs follow the weights

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))
