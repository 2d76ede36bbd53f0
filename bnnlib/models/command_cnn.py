"""The networks for spoken words: a small convolutional one, and a depthwise-separable one as its float reference."""

from typing import Literal

import torch
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.layers import QuantizedLayer
from bnnlib.models.blocks import Builder


class CommandCNN(nn.Module):
    """A 5x5 convolution with stride 2 (32 channels), four of 3x3 (32, 64, 128 and 128; pooling after three of
    them) and a linear layer.

    Built under a method, as :class:`~bnnlib.models.CompactCNN`. For log-mel spectrograms of 50 frames and 40 bands and
    ten classes: 257,312 weights and 10.3 million multiply-accumulates a clip.

    Args:
        method: a name of ``bnnlib.methods`` or a record.
        classes: number of classes.
        frames, bands: of the input, at least 16 each.
        first_last: ``"real"``, or ``"int8"`` for 8 bits in the layers that the method keeps real.
        norm_momentum: share of a batch in the running statistics of the batch norms.
        initial: of the weights: ``"uniform"``, within 1 / sqrt(inputs) as torch does it, or ``"he"``, normal with
            deviation sqrt(2 / inputs) (He et al. 2015), 2.4 times as large.

    Shapes: input (N, 1, frames, bands) float32, output (N, classes) scores.

    Raises:
        ValueError: frames or bands below 16, or an unknown ``initial``.
    """

    input_shape = (1, 50, 40)  # of the default network

    def __init__(
        self, method="float", *, classes: int = 10, frames: int = 50, bands: int = 40, first_last: str = "real",
        norm_momentum: float = 0.1, initial: Literal["uniform", "he"] = "uniform",
    ):  # fmt: skip
        super().__init__()
        if initial not in ("uniform", "he"):
            raise ValueError(f'initial must be "uniform" or "he", received {initial!r}')
        if min(frames, bands) < 16:
            raise ValueError(f"frames and bands must be at least 16, for four halvings; received {frames} and {bands}")
        build = Builder(catalogue.get(method), first_last)
        self.features = nn.Sequential(
            *build.conv(1, 32, 5, stride=2, padding=2, place="first"),
            *build.conv(32, 32, pool=True),
            *build.conv(32, 64, pool=True),
            *build.conv(64, 128, pool=True),
            *build.conv(128, 128),
        )
        height, width = ((size + 1) // 16 for size in (frames, bands))
        self.classifier = nn.Sequential(*build.linear(128 * height * width, classes, place="last"))
        for module in self.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.momentum = norm_momentum
            elif initial == "he" and isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if isinstance(module, QuantizedLayer):
                    module.weight_quantizer.fit_to_(module.weight)
        self.to(memory_format=torch.channels_last)  # the faster layout on a processor; inputs follow the weights

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class SeparableCNN(nn.Module):
    """A depthwise-separable network of the size of DS-CNN-S, the kind that small devices run today: a float reference.

    A 5x5 convolution with stride 2, then four pairs of a depthwise 3x3 and a pointwise convolution, the mean over all
    positions, and a linear layer; 64 channels throughout. It builds under any method; what a method leaves real of it
    (depthwise layers, as a rule) :func:`bnnlib.catalogue.why_real` says.

    Args:
        method: a name of ``bnnlib.methods`` or a record.
        classes: number of classes.
        channels: of every layer.
        first_last: ``"real"``, or ``"int8"`` for 8 bits in the layers that the method keeps real.

    Shapes: input (N, 1, frames, bands) float32, output (N, classes) scores.

    Source: Zhang et al. 2017, *Hello Edge*, arXiv:1711.07128 (whose first convolution is 10x4, on MFCC).
    """

    input_shape = (1, 50, 40)  # of the default network

    def __init__(self, method="float", *, classes: int = 10, channels: int = 64, first_last: str = "real"):
        super().__init__()
        build = Builder(catalogue.get(method), first_last)
        layers = build.conv(1, channels, 5, stride=2, padding=2, place="first")
        for _ in range(4):
            layers += build.conv(channels, channels, groups=channels)
            layers += build.conv(channels, channels, 1, padding=0)
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Sequential(*build.linear(channels, classes, place="last"))
        self.to(memory_format=torch.channels_last)  # the faster layout on a processor; inputs follow the weights

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))
