"""The layout of packed tensors: how many bytes what takes, and how the bits lie. Knows nothing of torch."""

from dataclasses import dataclass

import numpy as np

FLOATS_PER_NORMALISED_CHANNEL = 2  # multiplier and offset, float32


@dataclass(frozen=True)
class PackedTensor:
    """One tensor of a packed file: ``count`` values of ``bits`` bits each, tight, rounded up to whole bytes."""

    name: str
    count: int
    bits: int

    @property
    def bytes(self) -> int:
        return -(-self.count * self.bits // 8)


def normalisation(name: str, channels: int) -> PackedTensor:
    """A batch norm as it is packed: a multiplier and an offset for each channel; a layer's scale is folded into it."""
    return PackedTensor(name, FLOATS_PER_NORMALISED_CHANNEL * channels, 32)


def scale_is_folded(weight_bits: int, input_bits: int) -> bool:
    """Whether a layer's scale may become part of the batch norm after it.

    Not where weights and inputs are codes of more than two bits: their sums are so many, and the codes that follow so
    fine, that the one rounding less would move some of them.
    """
    return min(weight_bits, input_bits) <= 2 or max(weight_bits, input_bits) == 32


def tight_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Values of so many bits without gaps, the least significant bit first; the last byte is filled up with zeros.

    Args:
        values: uint8, shape (n,), each below 2^bits.
        bits: 1 to 8.

    Returns:
        uint8, shape (ceil(n * bits / 8),).
    """
    planes = np.unpackbits(values[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(planes.ravel(), bitorder="little")


def from_tight_bits(packed: np.ndarray, count: int, bits: int) -> np.ndarray:
    """The inverse of :func:`tight_bits`: uint8, shape (count,).

    Raises:
        ValueError: the bytes are too few, too many, or bits past the last value are set.
    """
    if packed.shape != (-(-count * bits // 8),):
        raise ValueError(f"{count} values of {bits} bits take {-(-count * bits // 8)} bytes, received {packed.shape}")
    unpacked = np.unpackbits(packed, bitorder="little")
    if unpacked[count * bits :].any():
        raise ValueError("bits are set past the last value")
    return np.packbits(unpacked[: count * bits].reshape(count, bits), axis=1, bitorder="little")[:, 0]
