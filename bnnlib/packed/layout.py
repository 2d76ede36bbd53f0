"""The layout of packed tensors: how many bytes what takes. Knows nothing of torch."""

from dataclasses import dataclass

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
