"""Residual networks for small colour images, under every method."""

from typing import Literal

import torch
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.models.blocks import Builder, dropped


class _ResNet(nn.Module):
    """A 3x3 stem, stages of two-layer blocks that halve the image, the mean of all places, a linear layer."""

    def __init__(
        self, method, classes: int, channels: int, widths: tuple[int, ...], blocks: int,
        shortcut: str, projection: str, dropout: float, first_last: str,
    ):  # fmt: skip
        super().__init__()
        if shortcut not in ("block", "layer"):
            raise ValueError(f'shortcut must be "block" or "layer", received {shortcut!r}')
        build = Builder(catalogue.get(method), first_last)
        layers = build.conv(channels, widths[0], place="first")
        inputs = widths[0]
        for stage, width in enumerate(widths):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                if shortcut == "block":
                    layers += build.basic_block(inputs, width, stride=stride, projection=projection)
                else:
                    layers += build.conv(inputs, width, stride=stride, residual=True, projection=projection)
                    layers += build.conv(width, width, residual=True)
                inputs = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), *dropped(dropout))
        self.classifier = nn.Sequential(*build.linear(inputs, classes, place="last"))
        self.to(memory_format=torch.channels_last)  # the faster layout on a processor; inputs follow the weights

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class ResNet18(_ResNet):
    """ResNet-18 for 32x32 images: four stages of two blocks, of ``width``, 2, 4 and 8 times as many channels.

    At width 64 in float 11,173,972 parameters and, for 32x32 pixels, 555 million multiply-accumulates.

    Args:
        method: a name of ``bnnlib.methods`` or a record.
        classes: number of classes.
        channels: of the input.
        width: channels of the first stage.
        shortcut: ``"block"``, one around two convolutions, or ``"layer"``, one around each, as Bi-Real Net has it.
        projection: of a shortcut where channels change: ``"real"``, or ``"method"`` for a quantized one. A stride is an
            average on it.
        dropout: share of the values before the linear layer that are dropped in training, in [0, 1).
        first_last: ``"real"``, or ``"int8"`` for 8 bits in the layers that the method keeps real.

    Shapes: input (N, channels, H, W) float32, output (N, classes) scores.

    Source: He et al. 2016, arXiv:1512.03385, with the stem that is usual for CIFAR-10.
    """

    input_shape = (3, 32, 32)

    def __init__(
        self, method="float", *, classes: int = 10, channels: int = 3, width: int = 64,
        shortcut: Literal["block", "layer"] = "block", projection: Literal["real", "method"] = "real",
        dropout: float = 0.0, first_last: str = "real",
    ):  # fmt: skip
        widths = tuple(width * 2**stage for stage in range(4))
        super().__init__(method, classes, channels, widths, 2, shortcut, projection, dropout, first_last)


class ResNet20(_ResNet):
    """ResNet-20 for 32x32 images: three stages of three blocks, of ``width``, 2 and 4 times as many channels.

    At width 16 in float 272,484 parameters and, for 32x32 pixels, 41 million multiply-accumulates. Its arguments are
    those of :class:`ResNet18`; a shortcut around each layer is the default, as binary networks of this depth have it.

    Source: He et al. 2016, arXiv:1512.03385, sec. 4.2, with projections where channels change.
    """

    input_shape = (3, 32, 32)

    def __init__(
        self, method="float", *, classes: int = 10, channels: int = 3, width: int = 16,
        shortcut: Literal["block", "layer"] = "layer", projection: Literal["real", "method"] = "real",
        dropout: float = 0.0, first_last: str = "real",
    ):  # fmt: skip
        widths = tuple(width * 2**stage for stage in range(3))
        super().__init__(method, classes, channels, widths, 3, shortcut, projection, dropout, first_last)
