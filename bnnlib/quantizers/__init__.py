"""Quantizers: a real tensor in, a few-valued tensor out, with its gradient. One file per paper."""

from bnnlib.quantizers.base import Identity, NotPackable, Quantizer, Sign, binary_sign
from bnnlib.quantizers.bi_real import BiRealSign, BiRealWeight
from bnnlib.quantizers.binaryconnect import DeterministicBinaryConnect, StochasticBinaryConnect
from bnnlib.quantizers.bnn import SteSign
from bnnlib.quantizers.dorefa import DoReFaActivation, DoReFaWeight
from bnnlib.quantizers.ie_net import IEEActivation, IEEWeight
from bnnlib.quantizers.ir_net import EdeSign, LibraSign
from bnnlib.quantizers.larq import ApproxSign, MagnitudeAwareSign, SwishSign
from bnnlib.quantizers.lsq import LSQ
from bnnlib.quantizers.pruned import Pruned
from bnnlib.quantizers.reactnet import RSign
from bnnlib.quantizers.ternary import Ternary
from bnnlib.quantizers.xnor_net import CentredSign, StrictSign, XnorProcedure, XnorSign

__all__ = [
    "LSQ", "ApproxSign", "BiRealSign", "BiRealWeight", "CentredSign", "DeterministicBinaryConnect",
    "DoReFaActivation", "DoReFaWeight", "EdeSign", "IEEActivation", "IEEWeight", "Identity", "LibraSign",
    "MagnitudeAwareSign", "NotPackable", "Pruned", "Quantizer", "RSign", "Sign", "SteSign", "StochasticBinaryConnect",
    "StrictSign", "SwishSign", "Ternary", "XnorProcedure", "XnorSign", "binary_sign",
]  # fmt: skip
