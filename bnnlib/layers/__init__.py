"""Layers that own quantizers, and the parts that blocks of binary networks are made of."""

from bnnlib.layers.base import (
    PLAIN,
    BinConv1d,
    BinConv2d,
    BinLinear,
    LayerFamily,
    QuantizedLayer,
    binary_layers,
    latent_weights,
    quantized_layers,
    weights_as,
)
from bnnlib.layers.blocks import HardTanh, Residual, RPReLU
from bnnlib.layers.ie_net import BRANCHED, BranchedConv1d, BranchedConv2d, BranchedLinear
from bnnlib.layers.xnor_net import (
    INPUT_SCALED,
    OPERATOR,
    OperatorConv1d,
    OperatorConv2d,
    OperatorLinear,
    ScaledConv1d,
    ScaledConv2d,
    ScaledLinear,
)

__all__ = [
    "BRANCHED", "INPUT_SCALED", "OPERATOR", "PLAIN", "BinConv1d", "BinConv2d", "BinLinear", "BranchedConv1d",
    "BranchedConv2d", "BranchedLinear", "HardTanh", "LayerFamily", "OperatorConv1d", "OperatorConv2d", "OperatorLinear",
    "QuantizedLayer", "RPReLU", "Residual", "ScaledConv1d", "ScaledConv2d", "ScaledLinear", "binary_layers",
    "latent_weights", "quantized_layers", "weights_as",
]  # fmt: skip
