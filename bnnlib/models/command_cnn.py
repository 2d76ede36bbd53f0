"""The networks for spoken words: a small convolutional one under any method, and a float reference."""

import torch
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.models.blocks import Builder


class CommandCNN(nn.Module):
    """Five 3x3 convolutions (32, 32, 64, 64, 128 channels; pooling after the first three) and a linear layer.

    Built under a method, as :class:`~bnnlib.models.CompactCNN`. For log-mel spectrograms of 50 frames and 40 bands and
    ten classes: 176,928 weights and 10.8 million multiply-accumulates a clip.

    Args:
        method: a name of ``bnnlib.methods`` or a record.
        classes: number of classes.
        frames, bands: of the input, at least 8 each.
        first_last: ``"real"``, or ``"int8"`` for 8 bits in the layers that the method keeps real.

    Shapes: input (N, 1, frames, bands) float32, output (N, classes) scores.
    """

    input_shape = (1, 50, 40)  # of the default network

    def __init__(
        self, method="float", *, classes: int = 10, frames: int = 50, bands: int = 40, first_last: str = "real"
    ):
        super().__init__()
        if min(frames, bands) < 8:
            raise ValueError(f"frames and bands must be at least 8, for three poolings, received {frames} and {bands}")
        build = Builder(catalogue.get(method), first_last)
        self.features = nn.Sequential(
            *build.conv(1, 32, pool=True, place="first"),
            *build.conv(32, 32, pool=True),
            *build.conv(32, 64, pool=True),
            *build.conv(64, 64),
            *build.conv(64, 128),
        )
        self.classifier = nn.Sequential(*build.linear(128 * (frames // 8) * (bands // 8), classes, place="last"))
        self.to(memory_format=torch.channels_last)  # the faster layout on a processor; inputs follow the weights

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class SeparableCNN(nn.Module):
    """A depthwise-separable network of the size of DS-CNN-S, in float: what small devices run today.

    A convolution of 64 channels, 10x4 with stride 2, then four blocks of a depthwise 3x3 and a pointwise convolution,
    each with batch norm and ReLU, the mean over all positions, and a linear layer.

    Args:
        method: ``"float"``; the network is a reference and has no binary form here.
        classes: number of classes.
        channels: of every layer.

    Shapes: input (N, 1, frames, bands) float32, output (N, classes) scores.

    Source: Zhang et al. 2017, *Hello Edge*, arXiv:1711.07128 (there for MFCC of 49 frames).

    Raises:
        ValueError: another method than float.
    """

    input_shape = (1, 50, 40)  # of the default network

    def __init__(self, method="float", *, classes: int = 10, channels: int = 64):
        super().__init__()
        if catalogue.get(method).quantizes:
            raise ValueError(f"the separable network is a float reference, received method {method!r}")

        def block(inputs: int, kernel: int | tuple[int, int], **options) -> list[nn.Module]:
            conv = nn.Conv2d(inputs, channels, kernel, bias=False, **options)
            return [conv, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]

        layers = block(1, (10, 4), stride=2, padding=(5, 1))
        for _ in range(4):
            layers += block(channels, 3, padding=1, groups=channels) + block(channels, 1)
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).mean((2, 3)))
