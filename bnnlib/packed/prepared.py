"""A plan made ready for so many inputs: each of its steps is a call whose memory is bound once. NumPy and the kernels.

A value is an array with channels last, (N, H, W, C): float32, whole sums as int32, signs as packed bits, or other codes
as bytes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from bnnlib import kernels
from bnnlib.kernels import prepared as calls
from bnnlib.packed.network import Network
from bnnlib.packed.operations import (
    Add,
    Bias,
    Clip,
    Flatten,
    Geometry,
    Levels,
    MaxPool,
    Norm,
    Operation,
    Product,
    Scale,
    Shape,
    Sign,
    Slope,
)
from bnnlib.packed.plan import Comparison, Step

__all__ = ["Layouts", "Prepared"]


@dataclass(frozen=True)
class PackedCodes:
    """Codes of few bits.

    Attributes:
        array: signs as uint64 along the channels, (N, H, W, words), or ``code - low`` as uint8, (N, H, W, channels).
        channels: their number.
        low: the lowest code; None for signs.
    """

    array: np.ndarray
    channels: int
    low: int | None = None

    def values(self) -> np.ndarray:
        """The codes as small integers."""
        if self.low is None:
            return kernels.unpack_images(self.array, self.channels, "NHWC")
        return self.array.astype(np.int16) + np.int16(self.low)


class Layouts:
    """The weights of a network's products in the layouts of the kernels: made once, for plans of any size."""

    def __init__(self):
        self._made: dict = {}

    def of(self, kind: str, operation: Product, make: Callable[[], object]):
        key = kind, id(operation.weights), operation.geometry.dilation, operation.groups
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


class Prepared:
    """A plan for ``count`` inputs at a time.

    Attributes:
        input: float32, (N, H, W, C): what :meth:`run` takes.
        bytes: of all values between the input and the scores, these included.
    """

    def __init__(self, network: Network, steps: Sequence[Step], layouts: Layouts, count: int, threads: int):
        self._shapes, self._count, self._threads, self._layouts = network.shapes, count, threads, layouts
        self._calls: list[calls.Call] = []
        self.bytes = 0
        self.input = self._new(network.shapes["input"])
        self._values: dict[str, np.ndarray | PackedCodes] = {"input": self.input}
        self._codes = {operation.output for operation in network.operations if isinstance(operation, Sign | Levels)}
        self._waiting: dict[str, tuple[str, list[calls.Step]]] = {}  # values not computed yet: from which, and how
        self._beside = _branches(steps)
        self._blocks: dict[tuple[str, ...], np.ndarray] = {}
        self._ends: list[tuple[str, int]] = []  # of each step: what it makes, and the number of calls up to its end
        for step in steps:
            self._add(step)
            self._ends.append((step.output, len(self._calls)))
        self._scores = self._reals(network.operations[-1].output).reshape(count, -1)
        self._ends[-1] = (step.output, len(self._calls))

    def run(self) -> np.ndarray:
        """The scores, float32, (N, classes), of what ``input`` holds; the next run overwrites them."""
        for call in self._calls:
            call()
        return self._scores

    def times(self, rounds: int) -> dict[str, float]:
        """The median time of each step in seconds, by what the step makes; what waits for its taker counts there."""
        spent = np.zeros((rounds, len(self._ends)))
        for turn in range(rounds):
            begin = 0
            for place, (_, end) in enumerate(self._ends):
                begun = time.perf_counter()
                for call in self._calls[begin:end]:
                    call()
                spent[turn, place] = time.perf_counter() - begun
                begin = end
        return dict(zip((name for name, _ in self._ends), np.median(spent, 0).tolist(), strict=True))

    def codes(self) -> dict[str, np.ndarray]:
        """The codes that the last run took into its products, by their names, (N, H, W, C)."""
        return {
            name: value.values().astype(np.int16) if isinstance(value, PackedCodes) else value.astype(np.int16)
            for name, value in self._values.items()
            if isinstance(value, PackedCodes) or name in self._codes
        }

    # memory and values

    def _new(self, shape: Shape, dtype=np.float32, values: int = 1) -> np.ndarray:
        height, width, channels = shape
        last = kernels.words_per_row(channels) if dtype == np.uint64 else channels
        made = kernels.empty((values * self._count, height, width, last), dtype)
        self.bytes += made.nbytes
        return made

    def _new_of(self, name: str, dtype) -> np.ndarray:
        """Memory for a value; those of the branches of a layer lie one after the other, like more images."""
        names = self._beside.get(name, (name,))
        if names not in self._blocks:
            self._blocks[names] = self._new(self._shapes[name], dtype, len(names))
        begin = names.index(name) * self._count
        return self._blocks[names][begin : begin + self._count]

    def _value(self, name: str) -> np.ndarray | PackedCodes:
        """A value, computed by now: steps from value to value wait until somebody takes them."""
        if name in self._waiting:
            source, steps = self._waiting.pop(name)
            x = self._values[source]
            out = self._new(x.shape[1:])
            self._calls.append(calls.pointwise(x, steps, out))
            self._values[name] = out
        return self._values[name]

    def _reals(self, name: str) -> np.ndarray:
        """A value as float32."""
        x = self._value(name)
        if isinstance(x, PackedCodes):
            return self._computed(name, x.values, self._new(self._shapes[name]))
        if x.dtype == np.float32:
            return x
        key = f"{name} as float32"
        if key not in self._values:
            self._waiting[key] = (name, [])
        return self._value(key)

    def _computed(self, name: str, make: Callable[[], np.ndarray], out: np.ndarray) -> np.ndarray:
        """By NumPy, where there is no kernel."""
        key = f"{name} as values"
        if key not in self._values:
            self._calls.append(lambda: np.copyto(out, make(), casting="unsafe"))
            self._values[key] = out
        return self._values[key]

    # steps

    def _add(self, step: Step) -> None:
        operation = step.operation
        if isinstance(operation, Product):
            self._product(step)
        elif isinstance(operation, Sign):
            self._sign(operation, step)
        elif (steps := _pointwise(operation)) is not None:
            source = operation.inputs[0]
            before = self._waiting.get(source)
            if before and len(before[1]) + len(steps) <= 16:
                source, steps = before[0], [*before[1], *steps]
            elif isinstance(self._value(source), PackedCodes):
                self._values[source] = self._reals(source)
            self._waiting[operation.output] = (source, steps)
            if step.makes_codes:
                self._values[operation.output] = self._bytes(operation)
        else:
            self._values[operation.output] = self._others(operation)

    def _others(self, operation: Operation) -> np.ndarray:
        inputs = [self._reals(name) for name in operation.inputs]
        shape = self._shapes[operation.output]
        if isinstance(operation, Flatten) and inputs[0].shape[1:3] == (1, 1):
            return inputs[0]
        out = self._new(shape)
        if isinstance(operation, MaxPool):
            self._calls.append(calls.max_pool(inputs[0], *_window(operation.geometry), out))
        elif isinstance(operation, Add):
            self._calls.append(partial(np.add, *inputs, out=out))
        else:
            self._calls.append(lambda: np.copyto(out, operation.apply(*inputs)))
        return out

    def _sign(self, sign: Sign, step: Step) -> None:
        shape = self._shapes[sign.output]
        if not step.makes_codes:
            out, x = self._new(shape), self._reals(sign.inputs[0])
            self._calls.append(lambda: np.copyto(out, sign.apply(x)))
            self._values[sign.output] = out
            return
        name = sign.inputs[0]
        if sign.shift is not None:
            shifted = f"{sign.output} before"
            source, steps = self._waiting.get(name, (name, []))
            if isinstance(self._values.get(source), PackedCodes):
                self._values[source] = self._reals(source)
            self._waiting[shifted] = (source, [*steps, ("add", (sign.shift,))])
            name = shifted
        x, words = self._reals(name), self._new_of(sign.output, np.uint64)
        if sign.strict:
            self._calls.append(lambda: np.copyto(words, kernels.pack_images(x > 0, "NHWC")))
        else:
            self._calls.append(calls.pack(x, words))
        self._values[sign.output] = PackedCodes(words, shape[2])

    def _bytes(self, levels: Levels) -> PackedCodes:
        """Codes that come from real values."""
        x, out = self._reals(levels.output), self._new(self._shapes[levels.output], np.uint8)
        self._calls.append(calls.to_bytes(x, levels.low, out))
        return PackedCodes(out, out.shape[3], levels.low)

    # products

    def _product(self, step: Step) -> None:
        operation, comparison = step.operation, step.comparison
        x = self._value(operation.inputs[0])
        if isinstance(x, PackedCodes) and x.low is None:
            made = self._of_signs(operation, x, _of_sign(step))
        elif isinstance(x, PackedCodes):
            made = self._of_bytes(operation, x, step)
        elif operation.groups == 1:
            made = self._of_reals(operation, self._reals(operation.inputs[0]), _of_sign(step))
        else:
            made = self._by_matrix(operation, self._reals(operation.inputs[0]), step.whole)
        if comparison is None:
            self._values[step.output] = made
            return
        codes = self._compared(made, step) if made.dtype in (np.int32, np.float32) else made
        self._values[step.output] = self._pooled(codes, comparison, step)

    def _out(self, operation: Product, compare: calls.Compare | None, dtype) -> np.ndarray:
        return self._new(self._shapes[operation.output], dtype if compare is None else np.uint64)

    def _of_signs(self, operation: Product, x: PackedCodes, compare: calls.Compare | None) -> np.ndarray:
        groups, words = operation.groups, x.array
        weights = operation.weights.values.astype(np.int8).transpose(0, 3, 1, 2)
        filters = self._layouts.of("bits", operation, lambda: kernels.prepack_filters(weights, groups))
        if groups > 1:
            words = np.empty((*words.shape[:3], groups * kernels.words_per_row(x.channels // groups)), np.uint64)
            self._calls.append(lambda: np.copyto(words, kernels.pack_images(x.values(), "NHWC", groups=groups)))
            if operation.weights.values.shape[0] // groups % 64:
                compare = None  # a word of the output would hold filters of two groups
        branches = self._beside.get(operation.output)
        made = self._out(operation, compare, np.int32) if branches is None else self._new_of(operation.output, np.int32)
        if branches and operation.output != branches[0]:
            return made  # the first one's call has computed it
        out = made
        if branches:
            words, out = self._blocks[self._beside[operation.inputs[0]]], self._blocks[branches]
        geometry, (top, _, left, _) = operation.geometry, operation.geometry.padding
        self._calls.append(
            calls.conv2d(
                words, filters, out, geometry.stride, (top, left), geometry.dilation,
                pad_value=operation.pad_value, comparison=compare, threads=self._threads,
            )
        )  # fmt: skip
        return made

    def _of_bytes(self, operation: Product, x: PackedCodes, step: Step) -> np.ndarray:
        geometry, comparison = operation.geometry, step.comparison
        values = operation.weights.values
        filters = self._layouts.of("bytes", operation, lambda: calls.prepack_bytes(values, geometry.dilation))
        out = self._new(self._shapes[operation.output], _dtype_of(step))
        self._calls.append(
            calls.conv2d_bytes(
                x.array, x.low, filters, out, geometry.stride, geometry.padding, pad_value=operation.pad_value,
                comparison=None if comparison is None else (comparison.thresholds, comparison.flips),
                threads=self._threads,
            )
        )  # fmt: skip
        return out

    def _of_reals(self, operation: Product, x: np.ndarray, compare: calls.Compare | None) -> np.ndarray:
        values, geometry = operation.weights.values, operation.geometry
        filters = self._layouts.of("reals", operation, lambda: calls.prepack_real(values))
        out = self._out(operation, compare, np.float32)
        self._calls.append(
            calls.conv2d_real(
                x, filters, out, geometry.stride, geometry.padding, geometry.dilation,
                pad_value=operation.pad_value, comparison=compare, threads=self._threads,
            )
        )  # fmt: skip
        return out

    def _by_matrix(self, operation: Product, x: np.ndarray, whole: bool) -> np.ndarray:
        """Groups, by a matrix product of NumPy's: exact for whole numbers whose sums stay below 2^24."""
        geometry, groups = operation.geometry, operation.groups
        outputs, kh, kw, each = operation.weights.values.shape

        def matrices() -> np.ndarray:
            rows = operation.weights.values.astype(np.float32).reshape(groups, outputs // groups, kh * kw * each)
            return np.ascontiguousarray(rows.transpose(0, 2, 1))

        weights = self._layouts.of("groups", operation, matrices)
        out = self._new(self._shapes[operation.output], np.int32 if whole else np.float32)

        def multiply() -> None:
            windows = geometry.windows(x, operation.pad_value)  # N, OH, OW, C, kh, kw
            images, height, width = windows.shape[:3]
            windows = windows.reshape(images, height, width, groups, each, kh, kw).transpose(3, 0, 1, 2, 5, 6, 4)
            rows = np.ascontiguousarray(windows).reshape(groups, images * height * width, kh * kw * each)
            np.copyto(out, np.matmul(rows, weights).transpose(1, 0, 2).reshape(out.shape), casting="unsafe")

        self._calls.append(multiply)
        return out

    # comparisons

    def _compared(self, sums: np.ndarray, step: Step) -> np.ndarray:
        """Codes of sums that their product has not compared itself."""
        if sums.dtype != np.int32:
            whole = self._new(sums.shape[1:], np.int32)
            self._calls.append(partial(np.copyto, whole, sums, casting="unsafe"))
            sums = whole
        codes = self._new(sums.shape[1:], _dtype_of(step))
        self._calls.append(calls.compare(sums, (step.comparison.thresholds, step.comparison.flips), codes))
        return codes

    def _pooled(self, codes: np.ndarray, comparison: Comparison, step: Step) -> PackedCodes:
        for geometry, inverted in comparison.pools:
            pooled = kernels.empty((*codes.shape[:1], *geometry.output(*codes.shape[1:3]), codes.shape[3]), codes.dtype)
            self.bytes += pooled.nbytes
            if codes.dtype == np.uint64:
                turned = kernels.pack(inverted[None])[0] if inverted.any() else None
                self._calls.append(calls.or_pool(codes, *_window(geometry), turned, pooled))
            else:
                turned, steps = inverted if inverted.any() else None, len(comparison.thresholds)
                self._calls.append(calls.max_pool_bytes(codes, *_window(geometry), steps, turned, pooled))
            codes = pooled
        return PackedCodes(codes, self._shapes[step.output][2], step.low)


def _branches(steps: Sequence[Step]) -> dict[str, tuple[str, ...]]:
    """Products of the same weights whose signs are all there before the first of them, as those of IE-Net's branches.

    Returns:
        For each such product the outputs of all of them, for each of their signs the outputs of all signs.
    """
    places = {step.output: place for place, step in enumerate(steps)}
    signs = {step.output for step in steps if isinstance(step.operation, Sign) and step.makes_codes}
    alike: dict[tuple, list[Step]] = {}
    for step in steps:
        product = step.operation
        if isinstance(product, Product) and product.groups == 1 and step.comparison is None:
            alike.setdefault((id(product.weights), product.geometry, product.pad_value), []).append(step)
    found: dict[str, tuple[str, ...]] = {}
    for products in alike.values():
        ready = {}
        for step in products:
            (codes,) = step.operation.inputs
            if codes in signs and codes not in found and places[codes] < places[products[0].output]:
                ready.setdefault(codes, step.output)
        if len(ready) > 1:
            found |= dict.fromkeys(ready, tuple(ready)) | dict.fromkeys(ready.values(), tuple(ready.values()))
    return found


def _of_sign(step: Step) -> calls.Compare | None:
    """The comparison of sums with one threshold each, if that is what the step does."""
    if step.comparison is None or step.low is not None:
        return None
    return step.comparison.thresholds[0], step.comparison.flips


def _dtype_of(step: Step) -> type:
    """What a product makes: sums, signs as bits, or other codes as bytes."""
    return np.int32 if step.comparison is None else np.uint64 if step.low is None else np.uint8


def _window(geometry: Geometry) -> tuple:
    return geometry.kernel, geometry.stride, geometry.padding, geometry.dilation


def _pointwise(operation: Operation) -> list[calls.Step] | None:
    """An operation from value to value as steps of the kernel; None if it is another."""
    match operation:
        case Scale():
            return [("multiply", (operation.values,))]
        case Bias():
            return [("add", (operation.values,))]
        case Norm():
            return [("norm", (operation.multiplier, operation.offset))]
        case Clip():
            return [("clip", (operation.low, operation.high))]
        case Slope():
            before, after = ([] if each is None else [("add", (each,))] for each in (operation.before, operation.after))
            return [*before, ("bend", (operation.slope,)), *after]
        case Levels():
            levels = np.float32(operation.levels).reshape(1)
            scaled = ("multiply", (levels,)) if operation.step is None else ("divide", (operation.step[0],))
            return [scaled, ("clip", (operation.low, operation.high)), ("round", ())]
    return None
