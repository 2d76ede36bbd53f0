"""Quantizers: a real tensor in, a few-valued tensor out, with its gradient. One file per paper."""

from bnnlib.quantizers.base import Identity, NotPackable, Quantizer
from bnnlib.quantizers.binaryconnect import DeterministicBinaryConnect, StochasticBinaryConnect

__all__ = ["DeterministicBinaryConnect", "Identity", "NotPackable", "Quantizer", "StochasticBinaryConnect"]
