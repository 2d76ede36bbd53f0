"""The operations that a packed network is made of, each with its plain arithmetic. NumPy only.

Every value is a map with channels last, (N, H, W, C): a sequence (N, C, L) has height 1, a vector (N, F) is a single
pixel of F channels, and a linear layer over a flattened map is a convolution whose kernel is as large as the map. So
there is one kind of product. ``apply`` is the reference: float32 as PyTorch computes it, operation by operation, and
whole numbers in products of codes. What runs (:mod:`bnnlib.packed.runtime`) is checked against it.
"""

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

__all__ = [
    "KINDS", "LARGEST_CODE", "SUMS_OF_REALS", "Add", "AveragePool", "Bias", "Clip", "Flatten", "Geometry", "InputScale",
    "Levels", "MaxPool", "Multiply", "Norm", "Operation", "Product", "Scale", "Shape", "Sign", "Slope", "Weights",
    "fused_multiply_add",
]  # fmt: skip

Shape = tuple[int, int, int]  # height, width, channels


class Geometry(NamedTuple):
    """Where a window lies: all pairs are height, width; padding is (top, bottom, left, right)."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)

    def covered(self) -> tuple[int, int]:
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Height and width after the window has gone over a map."""
        top, bottom, left, right = self.padding
        padded = height + top + bottom, width + left + right
        sizes = tuple((p - c) // s + 1 for p, c, s in zip(padded, self.covered(), self.stride, strict=True))
        if min(sizes) < 1:
            raise ValueError(f"a window of {self.covered()} does not fit into a map of {padded}")
        return sizes

    def has_empty_window(self, height: int, width: int) -> bool:
        """Whether a window has nothing of the map under it."""
        for axis, (size, outputs) in enumerate(zip((height, width), self.output(height, width), strict=True)):
            starts = np.arange(outputs)[:, None] * self.stride[axis] - self.padding[2 * axis]
            taps = starts + np.arange(self.kernel[axis]) * self.dilation[axis]
            if not ((taps >= 0) & (taps < size)).any(1).all():
                return True
        return False

    def windows(self, x: np.ndarray, value: float = 0) -> np.ndarray:
        """A view of all windows of a padded map: (N, H, W, C) to (N, OH, OW, C, kh, kw)."""
        top, bottom, left, right = self.padding
        if any(self.padding):
            x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)
        views = sliding_window_view(x, self.covered(), axis=(1, 2))
        (sh, sw), (dh, dw) = self.stride, self.dilation
        return views[:, ::sh, ::sw, :, ::dh, ::dw]


LARGEST_CODE = 2**15 - 1  # codes are int16
PIXEL, PAIRS = Geometry((1, 1)), Geometry((2, 2), (2, 2))


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights of a product: small integers on a grid, or float32.

    Attributes:
        values: (O, kh, kw, C / groups); int16 codes ``first + stride * u`` with u of ``bits`` bits, or float32.
        bits: of a code, 1 to 8, or 32 for float32.
        first, stride: the grid of the codes.
    """

    values: np.ndarray
    bits: int
    first: int = 0
    stride: int = 1

    def indices(self) -> np.ndarray:
        """The u of each code, uint8."""
        return ((self.values - self.first) // self.stride).astype(np.uint8)

    @property
    def largest(self) -> int:
        """The largest absolute code of the grid."""
        return max(abs(self.first), abs(self.first + self.stride * (2**self.bits - 1)))


def fused_multiply_add(x: np.ndarray, factor: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """``x * factor + offset`` in float32, rounded once, as the processor's instruction does it.

    The product of two float32 is exact in float64, and the sum is rounded there. Rounded again to float32 it is what
    one rounding would give, unless the first one lands half-way between two float32. There it is rounded to odd instead
    (Boldo and Melquiond 2008): to the neighbour on the side of the exact sum whose last bit is 1.
    """
    product = x.astype(np.float64) * factor.astype(np.float64)
    total = product + offset
    half_way = total.view(np.int64) & 0x1FFF_FFFF == 0x1000_0000
    half_way |= np.abs(total) < np.finfo(np.float32).smallest_normal  # fewer bits, other half-ways
    if half_way.any():
        part, whole = product[half_way], total[half_way]
        added = np.broadcast_to(offset, total.shape)[half_way].astype(np.float64)
        back = whole - part
        error = (part - (whole - back)) + (added - back)
        bits = whole.view(np.int64)
        away = np.where((error > 0) == (whole > 0), 1, -1)
        odd = np.where((error != 0) & (bits & 1 == 0), bits + away, bits)
        total[half_way] = odd.view(np.float64)
    return total.astype(np.float32)


NEEDED, OPTIONAL = {"tensor": "needed"}, {"tensor": "optional"}  # of fields that hold tensors


@dataclass(frozen=True, eq=False)
class Operation:
    """One step. Fields that hold arrays or :class:`Weights` are tensors of the file, the others options.

    Attributes:
        inputs: names of the values it takes; ``"input"`` is the network's.
        output: the name of the value it makes.
    """

    inputs: tuple[str, ...]
    output: str
    takes = 1  # values
    # an operation that maps each value of a channel by itself, without lowering what was higher (or, in a channel, the
    # other way round): what thresholds can stand for
    of_each_value = False

    def shape(self, *shapes: Shape) -> Shape:
        """The output's height, width and channels. ValueError: the tensors do not fit the inputs."""
        return shapes[0]

    def apply(self, *values: np.ndarray) -> np.ndarray:
        raise TypeError(f"{type(self).__name__} has no arithmetic of its own")

    def options(self) -> dict[str, Any]:
        """The fields that are neither tensors nor names of values."""
        return {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("inputs", "output", *self.roles())
        }

    @classmethod
    def roles(cls) -> tuple[str, ...]:
        """The names of the fields that hold tensors."""
        return tuple(f.name for f in fields(cls) if f.metadata.get("tensor"))

    @classmethod
    def needs(cls) -> set[str]:
        """Of these the ones that it can't do without."""
        return {f.name for f in fields(cls) if f.metadata.get("tensor") == "needed"}

    def _per_channel(self, name: str, channels: int, *, one: bool = False) -> None:
        size = len(getattr(self, name))
        if size != channels and not (one and size == 1):
            raise ValueError(f"{type(self).__name__.lower()}: {size} values of {name} for {channels} channels")


@dataclass(frozen=True, eq=False)
class Sign(Operation):
    """Codes of +1 and -1: ``x + shift >= 0``, or, with ``strict``, ``> 0``. ``shift`` is float32, (C,) or (H, W, C)."""

    strict: bool = False
    shift: np.ndarray | None = field(default=None, metadata=OPTIONAL)
    of_each_value = True

    def shape(self, *shapes: Shape) -> Shape:
        if self.shift is not None and self.shift.shape not in (shapes[0], shapes[0][2:]):
            raise ValueError(f"sign: a shift of shape {self.shift.shape} for a map of {shapes[0]}")
        return shapes[0]

    def apply(self, *values: np.ndarray) -> np.ndarray:
        x = values[0] if self.shift is None else values[0].astype(np.float32) + self.shift
        return np.where(x > 0 if self.strict else x >= 0, 1, -1).astype(np.int16)


@dataclass(frozen=True, eq=False)
class Levels(Operation):
    """Codes of more levels than two: ``round(clip(x / step, low, high))``, half to even; with ``levels`` in place of a
    step, ``x * levels``."""

    low: int = 0
    high: int = 3
    levels: int = 0
    step: np.ndarray | None = field(default=None, metadata=OPTIONAL)
    of_each_value = True

    def shape(self, *shapes: Shape) -> Shape:
        if not -LARGEST_CODE - 1 <= self.low <= 0 <= self.high <= LARGEST_CODE or self.low == self.high:
            raise ValueError(f"levels: codes from {self.low} to {self.high}; 0 must be one of several")
        step = self.step is not None and self.step.shape == (1,) and self.step[0] > 0
        if step == (self.levels > 0):
            raise ValueError("levels: a positive step, or a positive number of levels, one of the two")
        return shapes[0]

    def apply(self, *values: np.ndarray) -> np.ndarray:
        x = values[0].astype(np.float32)
        x = x * np.float32(self.levels) if self.step is None else x / self.step
        return np.rint(np.clip(x, np.float32(self.low), np.float32(self.high))).astype(np.int16)


@dataclass(frozen=True, eq=False)
class Product(Operation):
    """A convolution (cross-correlation): codes to whole sums, int32, or real values to float32.

    ``pad_value`` surrounds a map of codes. Channels are in ``groups``.
    """

    geometry: Geometry = PIXEL
    groups: int = 1
    pad_value: int = 0
    weights: Weights = field(default=None, metadata=NEEDED)

    def shape(self, *shapes: Shape) -> Shape:
        height, width, channels = shapes[0]
        outputs, kh, kw, each = self.weights.values.shape
        if self.groups < 1 or self.pad_value not in (-1, 0, 1):
            raise ValueError(f"product: {self.groups} groups, a padding of {self.pad_value}")
        if (kh, kw) != self.geometry.kernel or each * self.groups != channels or outputs % self.groups:
            raise ValueError(
                f"product: weights of {self.weights.values.shape} in {self.groups} groups for {channels} channels and "
                f"a kernel of {self.geometry.kernel}"
            )
        return (*self.geometry.output(height, width), outputs)

    def apply(self, *values: np.ndarray) -> np.ndarray:
        x = values[0]
        whole = x.dtype.kind == "i" and self.weights.bits < 32
        wide = np.int64 if whole else np.float64
        windows = self.geometry.windows(x.astype(wide), self.pad_value)
        outputs, kh, kw, each = self.weights.values.shape
        windows = windows.reshape(*windows.shape[:3], self.groups, each, kh, kw)
        grouped = self.weights.values.astype(wide).reshape(self.groups, outputs // self.groups, kh, kw, each)
        sums = np.einsum("nhwgckl,goklc->nhwgo", windows, grouped, optimize=True)
        return sums.reshape(*sums.shape[:3], outputs).astype(np.int32 if whole else np.float32)


@dataclass(frozen=True, eq=False)
class Scale(Operation):
    """Each channel times a number of its own, or all by one."""

    values: np.ndarray = field(default=None, metadata=NEEDED)
    of_each_value = True

    def shape(self, *shapes: Shape) -> Shape:
        self._per_channel("values", shapes[0][2], one=True)
        return shapes[0]

    def apply(self, *values: np.ndarray) -> np.ndarray:
        return values[0].astype(np.float32) * self.values


@dataclass(frozen=True, eq=False)
class Bias(Operation):
    """A number of its own added to each channel."""

    values: np.ndarray = field(default=None, metadata=NEEDED)
    of_each_value = True

    def shape(self, *shapes: Shape) -> Shape:
        self._per_channel("values", shapes[0][2])
        return shapes[0]

    def apply(self, *values: np.ndarray) -> np.ndarray:
        return values[0].astype(np.float32) + self.values


@dataclass(frozen=True, eq=False)
class Norm(Operation):
    """A batch norm in eval mode: ``x * multiplier + offset`` for each channel, rounded once, as PyTorch computes it."""

    multiplier: np.ndarray = field(default=None, metadata=NEEDED)
    offset: np.ndarray = field(default=None, metadata=NEEDED)
    of_each_value = True

    def shape(self, *shapes: Shape) -> Shape:
        self._per_channel("multiplier", shapes[0][2])
        self._per_channel("offset", shapes[0][2])
        return shapes[0]

    def apply(self, *values: np.ndarray) -> np.ndarray:
        return fused_multiply_add(values[0].astype(np.float32), self.multiplier, self.offset)


@dataclass(frozen=True, eq=False)
class Clip(Operation):
    """``clip(x, low, high)``: a ReLU (0 to infinity), a hard tanh (-1 to 1)."""

    low: float = 0.0
    high: float = float("inf")
    of_each_value = True

    def apply(self, *values: np.ndarray) -> np.ndarray:
        if values[0].dtype.kind == "i" and self.low == 0 and self.high == float("inf"):
            return np.maximum(values[0], 0)
        return np.clip(values[0].astype(np.float32), np.float32(self.low), np.float32(self.high))


@dataclass(frozen=True, eq=False)
class Slope(Operation):
    """A PReLU for each channel, ``max(y, 0) + slope * min(y, 0)`` with ``y = x + before``, plus ``after``."""

    slope: np.ndarray = field(default=None, metadata=NEEDED)
    before: np.ndarray | None = field(default=None, metadata=OPTIONAL)
    after: np.ndarray | None = field(default=None, metadata=OPTIONAL)

    def shape(self, *shapes: Shape) -> Shape:
        self._per_channel("slope", shapes[0][2], one=True)
        for name in ("before", "after"):
            if getattr(self, name) is not None:
                self._per_channel(name, shapes[0][2])
        return shapes[0]

    @property
    def of_each_value(self) -> bool:
        return bool((self.slope >= 0).all())  # with a negative slope it falls, then rises

    def apply(self, *values: np.ndarray) -> np.ndarray:
        x = values[0].astype(np.float32)
        x = x if self.before is None else x + self.before
        bent = np.maximum(x, 0) + np.minimum(x, 0) * self.slope
        return bent if self.after is None else bent + self.after


@dataclass(frozen=True, eq=False)
class MaxPool(Operation):
    """The largest value of each window; what lies outside the map doesn't count."""

    geometry: Geometry = PAIRS

    def shape(self, *shapes: Shape) -> Shape:
        if self.geometry.has_empty_window(*shapes[0][:2]):
            raise ValueError("max pool: a window lies outside the map")
        return (*self.geometry.output(*shapes[0][:2]), shapes[0][2])

    def apply(self, *values: np.ndarray) -> np.ndarray:
        x = values[0]
        lowest = np.iinfo(x.dtype).min if x.dtype.kind == "i" else -np.inf
        return self.geometry.windows(x, lowest).max((4, 5))


@dataclass(frozen=True, eq=False)
class AveragePool(Operation):
    """The mean of each window. ``counts_padding``: whether what lies outside the map counts, as zeros; what
    ``overhang`` (bottom, right) adds never does."""

    geometry: Geometry = PAIRS
    counts_padding: bool = True
    overhang: tuple[int, int] = (0, 0)

    def whole(self) -> Geometry:
        """Of all windows, those that hang over as well."""
        top, bottom, left, right = self.geometry.padding
        return self.geometry._replace(padding=(top, bottom + self.overhang[0], left, right + self.overhang[1]))

    def counts(self, height: int, width: int) -> np.ndarray:
        """How many values each mean is taken of, float32, (output height, output width)."""
        top, bottom, left, right = self.geometry.padding
        ones, whole = np.ones((1, height, width, 1), np.float32), self.whole()
        if self.counts_padding:
            ones = np.pad(ones, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=1)
            whole = whole._replace(padding=(0, self.overhang[0], 0, self.overhang[1]))
        return whole.windows(ones).sum((4, 5))[0, :, :, 0]

    def shape(self, *shapes: Shape) -> Shape:
        return (*self.whole().output(*shapes[0][:2]), shapes[0][2])

    def apply(self, *values: np.ndarray) -> np.ndarray:
        x = values[0].astype(np.float32)
        sums = self.whole().windows(x).sum((4, 5), dtype=np.float32)
        return sums / self.counts(*x.shape[1:3])[:, :, None]


@dataclass(frozen=True, eq=False)
class Flatten(Operation):
    """A map as a single pixel, in PyTorch's order: channel by channel."""

    def shape(self, *shapes: Shape) -> Shape:
        return (1, 1, int(np.prod(shapes[0])))

    def apply(self, *values: np.ndarray) -> np.ndarray:
        x = values[0].transpose(0, 3, 1, 2)
        return np.ascontiguousarray(x).reshape(len(x), 1, 1, -1)


@dataclass(frozen=True, eq=False)
class Add(Operation):
    """The sum of two maps."""

    takes = 2

    def shape(self, *shapes: Shape) -> Shape:
        if shapes[0] != shapes[1]:
            raise ValueError(f"add: maps of {shapes[0]} and {shapes[1]}")
        return shapes[0]

    def apply(self, *values: np.ndarray) -> np.ndarray:
        return values[0].astype(np.float32) + values[1].astype(np.float32)


@dataclass(frozen=True, eq=False)
class InputScale(Operation):
    """XNOR-Net's K (sec. 3.2): the mean absolute input under the kernel, a channel for each group; zeros around it."""

    geometry: Geometry = PIXEL
    groups: int = 1

    def shape(self, *shapes: Shape) -> Shape:
        if self.groups < 1 or shapes[0][2] % self.groups:
            raise ValueError(f"input scale: {self.groups} groups of {shapes[0][2]} channels")
        return (*self.geometry.output(*shapes[0][:2]), self.groups)

    def apply(self, *values: np.ndarray) -> np.ndarray:
        sizes = np.abs(values[0].astype(np.float32))
        means = sizes.reshape(*sizes.shape[:3], self.groups, -1).mean(4, dtype=np.float32)
        kernel = np.float32(1 / np.prod(self.geometry.kernel))
        return (self.geometry.windows(means) * kernel).sum((4, 5), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Multiply(Operation):
    """A map times a map with one channel for each group of its channels."""

    takes = 2

    def shape(self, *shapes: Shape) -> Shape:
        if shapes[0][:2] != shapes[1][:2] or shapes[0][2] % shapes[1][2]:
            raise ValueError(f"multiply: maps of {shapes[0]} and {shapes[1]}")
        return shapes[0]

    def apply(self, *values: np.ndarray) -> np.ndarray:
        x, by = values[0].astype(np.float32), values[1]
        return x * np.repeat(by, x.shape[3] // by.shape[3], axis=3)


SUMS_OF_REALS = (Add, AveragePool, InputScale, Multiply)  # whose rounding depends on the order of addition, or more

KINDS: dict[str, type[Operation]] = {
    kind.__name__: kind
    for kind in (
        Sign, Levels, Product, Scale, Bias, Norm, Clip, Slope, MaxPool, AveragePool, Flatten, Add, InputScale, Multiply,
    )
}  # fmt: skip
