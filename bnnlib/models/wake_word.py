"""The wake-word network."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.models.blocks import Builder


class WakeWordCNN(nn.Module):
    """Two convolutions (32 and 64 channels, each with pooling) and a linear layer, over 50 x 13 MFCC.

    All layers are binary under every binary method; the first takes real input, unless it has 8 bits. Valid padding,
    batch norm without biases in the layers. With 3x3 kernels 20,128 weights: 79.4 KiB in float32, 3.22 KiB in bits.

    Args:
        method: a name of ``bnnlib.methods`` or a record.
        classes: number of classes.
        kernel_size: 3 or 2.
        first_last: ``"real"``, as above, or ``"int8"`` for a first layer with weights and input of 8 bits, with which
            all sums are integers. The last layer is as the method has it.

    Shapes: input (N, 1, 50, 13) float32 (time, coefficient), output (N, classes) scores.

    Source: the layer report of larq's summary for the wake-word network.
    """

    input_shape = (1, 50, 13)  # of the default network

    def __init__(self, method="float", *, classes: int = 2, kernel_size: int = 3, first_last: str = "real"):
        super().__init__()
        if kernel_size not in (2, 3):
            raise ValueError(f"kernel_size must be 2 or 3, received {kernel_size!r}")
        real_layers = frozenset({"first"} if first_last == "int8" else {})
        build = Builder(replace(catalogue.get(method), real_layers=real_layers), first_last)
        self.features = nn.Sequential(
            *build.conv(1, 32, kernel_size, padding=0, pool=True, place="first"),
            *build.conv(32, 64, kernel_size, padding=0, pool=True),
        )
        height, width = 50, 13
        for _ in range(2):
            height, width = (height - kernel_size + 1) // 2, (width - kernel_size + 1) // 2
        self.classifier = nn.Sequential(*build.linear(64 * height * width, classes, place="last"))
        self.to(memory_format=torch.channels_last)  # the faster layout on a processor; inputs follow the weights

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))
