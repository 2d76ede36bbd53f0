"""MobileNetV2 for small colour images, under every method."""

import torch
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.models.blocks import Builder, dropped

# expansion, channels, blocks and the stride of the first of them; for 32x32 pixels two strides fewer than for 224x224
STAGES = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class MobileNetV2(nn.Module):
    """MobileNetV2 for 32x32 images: a 3x3 stem, seventeen inverted residuals, a 1x1 convolution and a linear layer.

    Depthwise layers stay real where activations are quantized (:func:`bnnlib.catalogue.why_real`). Activations are
    those of the method, ReLU for float where the paper has ReLU6. At width 1 in float 2,236,692 parameters and, for
    32x32 pixels, 88 million multiply-accumulates.

    Args:
        method: a name of ``bnnlib.methods`` or a record.
        classes: number of classes.
        channels: of the input.
        width: multiplies the channels of every layer, rounded to multiples of 8.
        dropout: share of the values before the linear layer that are dropped in training, in [0, 1).
        first_last: ``"real"``, or ``"int8"`` for 8 bits in the layers that the method keeps real.

    Shapes: input (N, channels, H, W) float32, output (N, classes) scores.

    Source: Sandler et al. 2018, arXiv:1801.04381, table 2.
    """

    input_shape = (3, 32, 32)

    def __init__(
        self, method="float", *, classes: int = 10, channels: int = 3, width: float = 1.0, dropout: float = 0.0,
        first_last: str = "real",
    ):  # fmt: skip
        super().__init__()
        build = Builder(catalogue.get(method), first_last)
        inputs = _eights(32 * width)
        layers = build.conv(channels, inputs, place="first")
        for expansion, outputs, blocks, stride in STAGES:
            outputs = _eights(outputs * width)
            for block in range(blocks):
                layers += build.inverted_residual(inputs, outputs, expansion=expansion, stride=1 if block else stride)
                inputs = outputs
        last = _eights(1280 * max(1.0, width))
        layers += build.conv(inputs, last, 1, padding=0, residual=False)
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), *dropped(dropout))
        self.classifier = nn.Sequential(*build.linear(last, classes, place="last"))
        self.to(memory_format=torch.channels_last)  # the faster layout on a processor; inputs follow the weights

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


def _eights(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and not below nine tenths of what was asked for (as its authors round)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
