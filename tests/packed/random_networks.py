"""Random networks of layers with codes, for Hypothesis: everything that lies between two layers, in any order."""

import torch
from hypothesis import strategies as st
from packed.networks import unsettle
from torch import nn

import bnnlib
from bnnlib.layers import HardTanh, QuantizedLayer, RPReLU
from bnnlib.quantizers import LSQ, BiRealWeight, DoReFaActivation, DoReFaWeight, RSign, SteSign, StrictSign, Ternary

WEIGHTS = [SteSign, BiRealWeight, DoReFaWeight, LSQ, Ternary]


class Whole(nn.Module):
    """Layers in a row; every one of them has codes, so that all sums are whole."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x)


@st.composite
def networks(draw):
    """A network in eval mode, the shape of its input, and inputs with many ties."""
    dimensions = draw(st.sampled_from([1, 2]))
    conv, norm, pool = (
        (bnnlib.BinConv1d, nn.BatchNorm1d, nn.MaxPool1d)
        if dimensions == 1
        else (bnnlib.BinConv2d, nn.BatchNorm2d, nn.MaxPool2d)
    )
    channels, size = draw(st.integers(1, 70)), draw(st.integers(5, 12))
    shape = (channels, *(size,) * dimensions)
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 3))):
        kernel = draw(st.integers(1, min(3, size)))
        padding, stride = draw(st.integers(0, kernel - 1)), draw(st.integers(1, 2))
        dilation = draw(st.integers(1, 2)) if 2 * (kernel - 1) + 1 <= size + 2 * padding else 1
        groups = draw(st.sampled_from([g for g in (1, 2, channels) if channels % g == 0]))
        outputs = groups * draw(st.integers(1, max(1, 70 // groups)))
        layers.append(
            conv(
                channels, outputs, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()),
                weight_quantizer=draw(st.sampled_from(WEIGHTS))(), input_quantizer=draw(codes(channels)),
            )
        )  # fmt: skip
        channels, size = outputs, (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        layers += draw(between(channels, norm, -dimensions - 1))
        if size >= 2 and draw(st.booleans()):
            ceil = draw(st.booleans())
            layers.append(pool(2, ceil_mode=ceil))
            size = -(-size // 2) if ceil else size // 2
            layers += draw(between(channels, norm, -dimensions - 1))
    layers.append(nn.Flatten())
    features = channels * size**dimensions
    layers.append(
        bnnlib.BinLinear(
            features, draw(st.integers(1, 10)), bias=False,
            weight_quantizer=draw(st.sampled_from(WEIGHTS))(), input_quantizer=draw(codes(features)),
        )
    )  # fmt: skip
    seed = draw(st.integers(0, 2**31))
    torch.manual_seed(seed)
    model = Whole(layers)
    for module in model.modules():
        if isinstance(module, QuantizedLayer):
            module.reset_parameters()
    with torch.no_grad():
        model(torch.randn(4, *shape))
    x = torch.randint(-2, 3, (4, *shape)).float() / 2
    return unsettle(model, seed).eval(), shape, x


@st.composite
def between(draw, channels, norm, axis):
    """What may follow a layer: norms, activations, none, in any order."""
    made: list[nn.Module] = []
    for kind in draw(st.lists(st.sampled_from(["norm", "relu", "hardtanh", "rprelu"]), max_size=3)):
        made.append(
            {
                "norm": lambda: norm(channels), "relu": nn.ReLU, "hardtanh": HardTanh,
                "rprelu": lambda: RPReLU(channels, channel_axis=axis),
            }[kind]()
        )  # fmt: skip
    return made


@st.composite
def codes(draw, channels):
    make = draw(
        st.sampled_from(
            [
                SteSign,
                lambda: StrictSign(zero=-1.0),
                lambda: RSign(channels),
                lambda: LSQ(2, unsigned=True),
                lambda: LSQ(3, batched=True),
                lambda: DoReFaActivation(2),
                lambda: DoReFaActivation(2, signed=True),
            ]
        )
    )
    return make()
