"""A packed network at work: NumPy and the library's kernels, no PyTorch.

:class:`PackedModel` holds the operations. They become a short plan, once (:mod:`bnnlib.packed.plan`), and each of its
steps a function. :meth:`PackedModel.reference_scores` runs the same operations one by one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from bnnlib import kernels
from bnnlib.packed.file import load, save
from bnnlib.packed.network import Network
from bnnlib.packed.operations import (
    Geometry,
    Levels,
    Operation,
    Product,
    Sign,
)
from bnnlib.packed.plan import Step, planned

__all__ = ["Bits", "PackedModel"]

VALUES_AT_ONCE = 2**21  # of the largest map: more inputs are taken in parts, which stay in the caches


@dataclass(frozen=True)
class Bits:
    """A map of signs: uint64 words along the channels, (N, H, W, words), of so many channels."""

    words: np.ndarray
    channels: int

    def signs(self) -> np.ndarray:
        """As int8 codes, (N, H, W, C)."""
        return kernels.unpack_images(self.words, self.channels, "NHWC")


Values = dict[str, "np.ndarray | Bits"]
Run = Callable[[Values, int], None]


class PackedModel(Network):
    """A trained network as bits; made by :func:`bnnlib.pack` or :meth:`load`. Attributes as of
    :class:`~bnnlib.packed.network.Network`."""

    def save(self, path: Path | str) -> None:
        """Writes the network as a file (see :mod:`bnnlib.packed.file`), whole or not at all.

        Raises:
            OSError: it could not be written.
        """
        save(self, path)

    @classmethod
    def load(cls, path: Path | str) -> "PackedModel":
        """Reads what :meth:`save` wrote.

        Raises:
            bnnlib.files.Damaged: the file is no packed network, is damaged, or is of a newer version.
            OSError: it can't be read.
        """
        network = load(path)
        return cls(network.input_shape, network.operations, network.classes, network.about)

    def scores(self, x: np.ndarray, *, threads: int = 1) -> np.ndarray:
        """The network's scores.

        Args:
            x: float32, the input as the network was trained on it (normalised): a batch of shape (N, and then
                ``input_shape``), or one input.
            threads: of the kernels on bits; the products of real values use those of NumPy.

        Returns:
            float32, shape (N, classes), or (classes,) for one input.

        Raises:
            TypeError, ValueError: another type or shape, or values that are not finite.
        """
        x, single = self._checked(x)
        if not len(x):
            return np.zeros((0, self._classes), np.float32)
        largest = max(height * width * channels for height, width, channels in self.shapes.values())
        at_once = max(1, VALUES_AT_ONCE // largest)
        parts = [self._scores_of(x[start : start + at_once], threads) for start in range(0, len(x), at_once)]
        scores = np.concatenate(parts) if len(parts) > 1 else parts[0]
        return scores[0] if single else scores

    def _scores_of(self, x: np.ndarray, threads: int) -> np.ndarray:
        values: Values = {"input": x}
        for step in self._plan:
            step(values, threads)
        return np.asarray(values[self.operations[-1].output], np.float32).reshape(len(x), self._classes)

    @property
    def _classes(self) -> int:
        return self.shapes[self.operations[-1].output][2]

    def reference_scores(self, x: np.ndarray) -> np.ndarray:
        """As :meth:`scores`, by the plain arithmetic of each operation."""
        if not len(x):
            return self.scores(x)
        scores = self.reference_values(x)[self.operations[-1].output].astype(np.float32)
        return scores.reshape(-1) if x.shape == self.input_shape else scores.reshape(len(x), self._classes)

    def reference_values(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Every value of the network by its name, (N, H, W, C), from the plain arithmetic: to look inside."""
        values = {"input": self._checked(x)[0]}
        for operation in self.operations:
            values[operation.output] = operation.apply(*(values[name] for name in operation.inputs))
        return values

    def predict(self, x: np.ndarray, *, threads: int = 1) -> np.ndarray:
        """The class of each input, int64, shape (N,), or a number for one; arguments as for :meth:`scores`."""
        return self.scores(x, threads=threads).argmax(-1)

    def predict_proba(self, x: np.ndarray, *, threads: int = 1) -> np.ndarray:
        """The softmax of the scores, float32; arguments as for :meth:`scores`."""
        scores = self.scores(x, threads=threads).astype(np.float64)
        powers = np.exp(scores - scores.max(-1, keepdims=True))
        return (powers / powers.sum(-1, keepdims=True)).astype(np.float32)

    def _checked(self, x: np.ndarray) -> tuple[np.ndarray, bool]:
        if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu":
            raise TypeError(f"the input must be a NumPy array of numbers, received {kernels.checks.describe(x)}")
        single = x.shape == self.input_shape
        if not single and x.shape[1:] != self.input_shape:
            raise ValueError(
                f"the input must have shape (N, {', '.join(map(str, self.input_shape))}), or be one input without the "
                f"N; received {x.shape}"
            )
        x = np.asarray(x[None] if single else x, np.float32)
        if not np.isfinite(x).all():
            raise ValueError("the input has values that are not finite")
        if x.ndim == 2:
            return x[:, None, None, :], single
        axes = (0, 2, 1) if x.ndim == 3 else (0, 2, 3, 1)
        x = np.ascontiguousarray(x.transpose(axes))
        return (x[:, None] if x.ndim == 3 else x), single

    @cached_property
    def _plan(self) -> tuple[Run, ...]:
        return tuple(_runner(step) for step in planned(self))


def _runner(step: Step) -> Run:
    if isinstance(step.operation, Product):
        product = _product(step)
        return _plain_product(step, product) if step.comparison is None else _compared_product(step, product)
    return _to_bits(step.operation) if step.makes_bits else _by_reference(step.operation)


def _by_reference(operation: Operation) -> Run:
    def run(values: Values, threads: int) -> None:
        values[operation.output] = operation.apply(*(values[name] for name in operation.inputs))

    return run


def _to_bits(sign: Sign) -> Run:
    def run(values: Values, threads: int) -> None:
        x = values[sign.inputs[0]]
        x = x if x.dtype == np.float32 else x.astype(np.float32)
        x = x if sign.shift is None else x + sign.shift
        signs = x > 0 if sign.strict else np.ascontiguousarray(x)
        values[sign.output] = Bits(kernels.pack_images(signs, "NHWC"), x.shape[3])

    return run


# products: each takes the input's value and gives whole sums (int32) or float32, or, with a comparison, bits

Compare = tuple[np.ndarray, np.ndarray]
RunProduct = Callable[["np.ndarray | Bits", int, "Compare | None"], "np.ndarray"]


def _plain_product(step: Step, product: RunProduct) -> Run:
    def run(values: Values, threads: int) -> None:
        values[step.output] = product(values[step.operation.inputs[0]], threads, None)

    return run


def _compared_product(step: Step, product: RunProduct) -> Run:
    """A product whose sums are compared at once, with the max pools that follow taken over bits."""
    comparison = step.comparison
    compare, channels = (comparison.thresholds, comparison.flips), len(comparison.thresholds)
    pools = [
        (geometry, kernels.pack(inverted[None])[0] if inverted.any() else None)
        for geometry, inverted in comparison.pools
    ]

    def run(values: Values, threads: int) -> None:
        words = product(values[step.operation.inputs[0]], threads, compare)
        for geometry, inverted in pools:
            words = _or_pool(words, geometry)
            if inverted is not None:
                words ^= inverted
        values[step.output] = Bits(words, channels)

    return run


def _or_pool(words: np.ndarray, geometry: Geometry) -> np.ndarray:
    """The OR over each window; bits outside the map are 0."""
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    top, bottom, left, right = geometry.padding
    if any(geometry.padding):
        words = np.pad(words, ((0, 0), (top, bottom), (left, right), (0, 0)))
        geometry = geometry._replace(padding=(0, 0, 0, 0))
    height, width = geometry.output(*words.shape[1:3])
    pooled = None
    for y in range(kh):
        for x in range(kw):
            view = words[:, y * dh : y * dh + (height - 1) * sh + 1 : sh, x * dw : x * dw + (width - 1) * sw + 1 : sw]
            if pooled is None:
                pooled = view.copy()
            else:
                pooled |= view
    return pooled


def _product(step: Step) -> RunProduct:
    operation = step.operation
    if step.takes_bits:
        return _on_bits(operation)
    if step.whole and isinstance(step.codes, Levels) and operation.groups == 1 and _symmetric(operation.geometry):
        bits = int(step.codes.high - step.codes.low).bit_length()
        if operation.weights.bits * bits <= 4:
            return _on_planes(operation, step.codes.low, bits)
    return _by_matrix(operation, step.whole)


def _symmetric(geometry: Geometry) -> bool:
    top, bottom, left, right = geometry.padding
    return top == bottom and left == right


def _on_bits(operation: Product) -> RunProduct:
    """Signs times signs, on words."""
    geometry, outputs = operation.geometry, len(operation.weights.values)
    weights = operation.weights.values.astype(np.int8)
    _, kh, kw, each = weights.shape

    # a kernel as large as the map, over whole words of channels, is a matrix product
    def as_matrix(words: np.ndarray) -> bool:
        whole = words.shape[1:3] == (kh, kw) and not any(geometry.padding) and operation.groups == 1
        return whole and (each % 64 == 0 or (kh, kw) == (1, 1))

    panels = None
    if operation.groups == 1 and (each % 64 == 0 or (kh, kw) == (1, 1)):
        panels = kernels.prepack(kernels.pack(weights.reshape(outputs, -1)), kh * kw * each)
    filters = kernels.prepack_filters(weights.transpose(0, 3, 1, 2), operation.groups)
    top, _, left, _ = geometry.padding

    def run(bits: Bits, threads: int, compare: Compare | None) -> np.ndarray:
        words = bits.words
        if panels is not None and as_matrix(words):
            rows, columns = words.reshape(len(words), -1), kh * kw * each
            if compare is None:
                return kernels.matmul(rows, panels, columns, threads=threads)[:, None, None]
            return kernels.matmul_threshold(rows, panels, columns, *compare, threads=threads)[:, None, None]
        if operation.groups > 1:
            words = kernels.pack_images(bits.signs(), "NHWC", groups=operation.groups)
        options = {"pad_value": operation.pad_value, "threads": threads}
        where = geometry.stride, (top, left), geometry.dilation
        if compare is None:
            return kernels.conv2d(words, filters, *where, **options)
        return kernels.conv2d_threshold(words, filters, *compare, *where, **options)

    return run


def _on_planes(operation: Product, low: int, bits: int) -> RunProduct:
    """Codes of few bits times codes of few bits, as products of signs.

    A code of m bits is ``a = low + sum_i 2^i (s_i + 1) / 2`` with signs s_i, a weight ``w = first + stride *
    sum_j 2^j (t_j + 1) / 2``. Both doubled, ``2a = A + sum_i 2^i s_i`` and ``2w = B + stride * sum_j 2^j t_j`` are
    whole, and the sum of 4 a w is one of products of signs, of the s_i alone, and of the weights alone. Zeros around
    the map are codes too: their signs surround each plane.
    """
    weights, geometry = operation.weights, operation.geometry
    outputs = len(weights.values)
    indices = weights.indices()
    planes = [np.where(indices >> j & 1, 1, -1).astype(np.int8) for j in range(weights.bits)]
    stacked = np.concatenate([*planes, np.ones_like(planes[0][:1])])
    filters = kernels.prepack_filters(stacked.transpose(0, 3, 1, 2))
    of_codes, of_weights = 2 * low + 2**bits - 1, 2 * weights.first + weights.stride * (2**weights.bits - 1)
    of_weights_alone = of_codes * 2 * weights.values.astype(np.int64).reshape(outputs, -1).sum(1)
    of_weights_alone = of_weights_alone.astype(np.int32)
    top, _, left, _ = geometry.padding

    def run(codes: np.ndarray, threads: int, compare: Compare | None) -> np.ndarray:
        raised = codes - low
        total = None
        for i in range(bits):
            words = kernels.pack_images(np.ascontiguousarray((raised >> i & 1).astype(bool)), "NHWC")
            around = 1 if -low >> i & 1 else -1
            sums = kernels.conv2d(
                words, filters, geometry.stride, (top, left), geometry.dilation, pad_value=around, threads=threads
            )
            part = of_weights * sums[..., -1:]
            for j in range(weights.bits):
                part = part + (weights.stride << j) * sums[..., j * outputs : (j + 1) * outputs]
            total = part if total is None else total + (part << i)
        return _compared((total + of_weights_alone) >> 2, compare)

    return run


def _by_matrix(operation: Product, whole: bool) -> RunProduct:
    """One matrix product of NumPy's in float32: exact for whole numbers whose sums stay below 2^24."""
    geometry, groups = operation.geometry, operation.groups
    outputs, kh, kw, each = operation.weights.values.shape
    per_group = outputs // groups
    matrices = operation.weights.values.astype(np.float32).reshape(groups, per_group, kh * kw * each)
    matrices = np.ascontiguousarray(matrices.transpose(0, 2, 1))

    def run(x: np.ndarray | Bits, threads: int, compare: Compare | None) -> np.ndarray:
        values = x.signs() if isinstance(x, Bits) else x
        windows = geometry.windows(np.asarray(values, np.float32), operation.pad_value)  # N, OH, OW, C, kh, kw
        images, height, width = windows.shape[:3]
        windows = windows.reshape(images, height, width, groups, each, kh, kw).transpose(3, 0, 1, 2, 5, 6, 4)
        rows = np.ascontiguousarray(windows).reshape(groups, images * height * width, kh * kw * each)
        sums = np.matmul(rows, matrices).transpose(1, 0, 2).reshape(images, height, width, outputs)
        return _compared(sums.astype(np.int32), compare) if whole else sums

    return run


def _compared(sums: np.ndarray, compare: Compare | None) -> np.ndarray:
    if compare is None:
        return sums
    thresholds, flips = compare
    return kernels.pack_images((sums >= thresholds) != flips, "NHWC")
