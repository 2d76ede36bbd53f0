"""The all-binary network of the course as what it is: 369,153 numbers of +1 and -1. No torch.

Three convolutions over time (64 to 128, 128 to 128, 128 to 128 channels; kernel 9, no padding), the first two followed
by a maximum over pairs of neighbours (a last single value stands for itself), signs after each, the maximum over time,
and a linear layer with one output: class 1 if its sum is above zero. Weights and biases are +1 or -1. The sign of 0 is
-1; behind the first layer all sums are odd, so that it never arises there.

Features are whole 32nds from -4 to 127/32, one byte each. Then all sums are exact, in float32 too and in any order of
addition: the plain reference here, the kernels and torch agree to the last bit, on any machine. Features on no such
grid are taken as they are; the first layer's sums are then those of float64.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bnnlib import kernels
from bnnlib.files import Damaged, replaced
from bnnlib.packed.file import read, write

__all__ = ["FRACTION", "LEAST_FRAMES", "SHAPES", "VALUES", "SignNetwork", "feature_codes"]

SHAPES = ((128, 64, 9), (128, 128, 9), (128, 128, 9), (1, 128))  # of the weights; a bias for each output
VALUES = sum(int(np.prod(shape)) + shape[0] for shape in SHAPES)  # 369,153
LEAST_FRAMES = 57  # what is left after the third convolution is then one frame
ENTRY, VERSION = "bnnlib all-binary network", 1  # of the file's header
FRACTION = 32  # a feature's code counts so many parts of 1


def feature_codes(features: np.ndarray) -> np.ndarray:
    """Features as codes, int8 of the same shape: the nearest whole 32nds, -128..127 of them.

    Args:
        features: real, best standardised: what lies beyond -4 or 127/32 counts as that.

    Raises:
        ValueError: a feature is not finite.
    """
    features = np.asarray(features, np.float64)
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, received NaN or infinity")
    return np.clip(np.rint(features * FRACTION), -128, 127).astype(np.int8)


def _checked(features: np.ndarray) -> np.ndarray:
    """Features as int8 codes, or as float64."""
    features = np.asarray(features)
    if features.ndim != 2 or features.shape[0] != SHAPES[0][1] or features.shape[1] < LEAST_FRAMES:
        raise ValueError(
            f"features must have shape ({SHAPES[0][1]}, t) with t >= {LEAST_FRAMES}, received {features.shape}"
        )
    if features.dtype == np.int8:
        return features
    if features.dtype.kind != "f":
        raise TypeError(f"features must be floating point, or int8 codes of feature_codes, received {features.dtype}")
    if not np.isfinite(features).all():
        raise ValueError("features must be finite, received NaN or infinity")
    return features.astype(np.float64)


@dataclass(frozen=True, eq=False)
class SignNetwork:
    """The network; :meth:`scores` by the kernels, :meth:`reference_score` in plain integers.

    Attributes:
        weights: int8 of -1 and +1, of :data:`SHAPES`.
        biases: int8 of -1 and +1, shapes (128,), (128,), (128,) and (1,).
        about: plain data that says where the network is from.

    Raises:
        ValueError: another shape or value.
    """

    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        wanted = [*SHAPES, *((shape[0],) for shape in SHAPES)]
        given = [*self.weights, *self.biases]
        if [np.shape(each) for each in given] != wanted:
            raise ValueError(
                f"weights and biases must have the shapes {wanted}, received {[np.shape(g) for g in given]}"
            )
        for each in given:
            if not np.isin(each, (-1, 1)).all():
                raise ValueError(f"all values must be -1 or 1, received {np.setdiff1d(each, (-1, 1))[0]}")
        object.__setattr__(self, "weights", tuple(np.asarray(w, np.int8) for w in self.weights))
        object.__setattr__(self, "biases", tuple(np.asarray(b, np.int8) for b in self.biases))
        first, *inner, last = map(np.ascontiguousarray, self.weights)
        frame_by_frame = kernels.pack(np.ascontiguousarray(first.transpose(0, 2, 1)).reshape(len(first), -1))
        object.__setattr__(self, "_first", kernels.prepack(frame_by_frame, first[0].size))
        object.__setattr__(self, "_filters", tuple(map(kernels.prepack_filters, inner)))
        object.__setattr__(self, "_last", kernels.prepack(kernels.pack(last), SHAPES[3][1]))
        # A bias is part of a threshold: sum + bias > 0. Codes count 32nds; the sums of 1,152 signs are even, so that
        # sum + bias > 0 where the sum is 0 or more (bias 1) or 2 or more (bias -1).
        first, *inner = (bias.astype(np.int32) for bias in self.biases[:3])
        object.__setattr__(self, "_thresholds", (1 - FRACTION * first, *(1 - bias for bias in inner)))

    @classmethod
    def of_values(cls, values: np.ndarray) -> "SignNetwork":
        """From one row of values: for each layer its weights, row by row, then its biases."""
        values, weights, biases, at = np.asarray(values), [], [], 0
        if values.shape != (VALUES,):
            raise ValueError(f"{VALUES:,} values are needed, received shape {values.shape}")
        for shape in SHAPES:
            size = int(np.prod(shape))
            weights.append(values[at : at + size].reshape(shape))
            biases.append(values[at + size : at + size + shape[0]])
            at += size + shape[0]
        return cls(tuple(weights), tuple(biases))

    def values(self) -> np.ndarray:
        """All values in one row, int8, in the order of :meth:`of_values`."""
        return np.concatenate([v.ravel() for pair in zip(self.weights, self.biases, strict=True) for v in pair])

    def save(self, path: Path | str, about: Mapping[str, Any] | None = None) -> None:
        """Writes the network as safetensors, a bit for each value (1 for +1), the least significant first, whole or not
        at all.

        Args:
            about: plain data that says where the network is from.
        """
        bits = np.packbits(self.values() > 0, bitorder="little")
        write(Path(path), ENTRY, {"version": VERSION, "about": dict(about or self.about)}, {"bits": bits})

    @classmethod
    def load(cls, path: Path | str) -> "SignNetwork":
        """Reads what :meth:`save` writes.

        Raises:
            Damaged: the file is no such network, is damaged, or is of a newer version; the message says which.
            OSError: it can't be read.
        """
        path = Path(path)
        described, tensors = read(path, ENTRY, "all-binary network")
        try:
            version, about, bits = described["version"], described["about"], tensors["bits"]
        except (TypeError, KeyError) as error:
            raise Damaged(f"{path} is no all-binary network, or it is damaged: {str(error)[:300]}") from error
        if version != VERSION:
            raise Damaged(f"{path} has version {version!r:.20}, this library reads {VERSION}: update bnnlib")
        whole = bits.dtype == np.uint8 and bits.shape == (-(-VALUES // 8),)
        if not whole or bits[-1] >> VALUES % 8 or not isinstance(about, dict):
            raise Damaged(f"{path} is damaged: {VALUES:,} bits are needed, received {bits.dtype} {bits.shape}")
        values = np.unpackbits(bits, count=VALUES, bitorder="little").astype(np.int8)
        return replace(cls.of_values(2 * values - 1), about=about)

    def write_text(self, path: Path | str) -> None:
        """Writes the values as text, one to a line; the file is there whole or not at all."""
        text = "\n".join(map(str, self.values().tolist())) + "\n"
        replaced(Path(path), lambda partial: partial.write_text(text, encoding="ascii", newline="\n"))

    @classmethod
    def read_text(cls, path: Path | str) -> "SignNetwork":
        """Reads what :meth:`write_text` writes.

        Raises:
            ValueError: a line is neither 1 nor -1, or there are more or fewer than 369,153; the message names the line.
        """
        path = Path(path)
        with path.open("rb") as file:
            content = file.read(4 * VALUES + 1)  # more than the lines of any right file
        longer = len(content) > 4 * VALUES
        lines = content.decode("latin-1").split("\n")
        if longer or lines[-1] == "":  # a line that is cut off, or what follows the end of the last one
            lines.pop()
        return cls.of_values(_parsed(lines, path, longer))

    def score(self, features: np.ndarray) -> int:
        """The sum of the last layer, by the kernels: odd, within -129..129.

        Args:
            features: shape (64, t), t >= 57: int8 codes of :func:`feature_codes`, or floating point.

        Raises:
            ValueError, TypeError: another shape or type, or a feature that is not finite.
        """
        features = _checked(features)
        if features.dtype == np.int8:
            frames = np.ascontiguousarray(features.T)
            channels, length = SHAPES[0][1:]
            shape = (len(frames) - length + 1, length * channels)
            patches = np.ndarray(shape, np.int8, frames, strides=(channels, 1))  # rows overlap: one frame further each
            bits = kernels.int8_matmul_threshold(patches, self._first, self._thresholds[0])
        else:
            patches = sliding_window_view(features, 9, axis=1)  # (64, t - 8, 9)
            sums = np.einsum("ctk,ock->to", patches, self.weights[0], optimize=True)
            bits = kernels.pack(sums > -self.biases[0].astype(float))
        for filters, thresholds in zip(self._filters, self._thresholds[1:], strict=True):
            bits = kernels.conv1d_threshold(_or_of_pairs(bits)[None], filters, thresholds)[0]
        somewhere = np.bitwise_or.reduce(bits, axis=0)[None]
        return int(kernels.matmul(somewhere, self._last, 128)[0, 0]) + int(self.biases[3][0])

    def predict(self, features: np.ndarray) -> int:
        """The class, 0 or 1."""
        return int(self.score(features) > 0)

    def reference_score(self, features: np.ndarray) -> int:
        """As :meth:`score`, in plain integers (or float64), layer by layer."""
        x = _checked(features)
        whole = x.dtype == np.int8
        x, scale = (x.astype(np.int64), FRACTION) if whole else (x, 1)
        for layer, (weight, bias) in enumerate(zip(self.weights[:3], self.biases[:3], strict=True)):
            patches = sliding_window_view(x, 9, axis=1)
            sums = np.einsum("ctk,ock->ot", patches, weight.astype(np.int64)) + scale * bias[:, None].astype(np.int64)
            if layer < 2:
                pairs = np.pad(sums, ((0, 0), (0, sums.shape[1] % 2)), mode="edge")
                sums = pairs.reshape(len(sums), -1, 2).max(axis=2)
            x, scale = np.where(sums > 0, 1, -1), 1
        return int(self.weights[3][0].astype(np.int64) @ x.max(axis=1)) + int(self.biases[3][0])


def _or_of_pairs(bits: np.ndarray) -> np.ndarray:
    """The maximum over pairs of frames, on bits: (t, words) to (ceil(t / 2), words)."""
    pooled = bits[0::2].copy()
    pooled[: len(bits) // 2] |= bits[1::2]
    return pooled


def _parsed(lines: Iterable[str], path: Path, longer: bool) -> np.ndarray:
    known = {"1": 1, "-1": -1}
    values = []
    for number, line in enumerate(lines, start=1):
        if line not in known:
            what = "is empty" if not line.strip() else f"must be 1 or -1, it is {line[:20]!r}"
            raise ValueError(f"{path}, line {number:,}: {what}")
        values.append(known[line])
    if len(values) != VALUES:
        raise ValueError(f"{path} must have {VALUES:,} lines, it has {len(values):,}{' and more' if longer else ''}")
    return np.array(values, np.int8)
