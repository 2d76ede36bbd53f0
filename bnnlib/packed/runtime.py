"""A packed network at work: NumPy and the library's kernels, no PyTorch.

:class:`PackedModel` holds the operations. They become a short plan, once (:mod:`bnnlib.packed.plan`), and for each
number of inputs calls on memory of their own (:mod:`bnnlib.packed.prepared`). :meth:`PackedModel.reference_scores` runs
the same operations one by one.
"""

import math
import os
import threading
from functools import cached_property
from pathlib import Path

import numpy as np

from bnnlib.kernels.checks import describe
from bnnlib.packed.file import load, save
from bnnlib.packed.network import Network
from bnnlib.packed.plan import Step, planned
from bnnlib.packed.prepared import Layouts, Prepared

__all__ = ["PackedModel"]

BYTES_AT_ONCE = 2**22  # of values between input and scores: more inputs are taken in parts
PLANS_KEPT = 8  # for so many numbers of inputs
FEW = 2**14  # values of an input


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
            x: the input as the network was trained on it (normalised, not raw pixels): a batch of shape (N, and then
                ``input_shape``), or one input. float32; other numbers are converted.
            threads: the most that the kernels use.

        Returns:
            float32, shape (N, classes), or (classes,) for one input.

        Raises:
            TypeError: it is no NumPy array of numbers.
            ValueError: it has another shape, or values that are not finite.
        """
        x, single = self._checked(x)
        if len(x) <= self._at_once:
            scores = self._scores_of(x, threads) if len(x) else np.zeros((0, self._classes), np.float32)
        else:
            parts = range(0, len(x), self._at_once)
            scores = np.concatenate([self._scores_of(x[start : start + self._at_once], threads) for start in parts])
        return scores[0] if single else scores

    def _scores_of(self, x: np.ndarray, threads: int) -> np.ndarray:
        plan = self._prepared(len(x), threads)
        plan.input[...] = x
        return plan.run().copy()

    def codes(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """The codes that each product takes, as they are when it runs, int16 or int8, (N, H, W, C): to look inside.

        Args:
            x: as for :meth:`scores`.

        Returns:
            By the name of the operation that makes them; a layer ``features.4`` takes ``features_4.signs`` or
            ``features_4.codes``.
        """
        x, _ = self._checked(x)
        parts = []
        for start in range(0, len(x), self._at_once):
            self._scores_of(x[start : start + self._at_once], 1)
            parts.append(self._prepared(min(self._at_once, len(x) - start), 1).codes())
        return {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}

    def times(self, x: np.ndarray, *, rounds: int = 101, threads: int = 1) -> dict[str, float]:
        """Where the time goes: the median time of each step of the plan, in microseconds.

        Args:
            x: as for :meth:`scores`, of a size that is run at once.
            rounds: how often the whole plan is run, once or more.

        Returns:
            By the name of the value that the step makes; what is computed together with a later step counts there.
        """
        x, _ = self._checked(x)
        if not len(x) or rounds < 1:
            raise ValueError(f"there is nothing to time: {len(x)} inputs, {rounds} rounds")
        plan = self._prepared(len(x), threads)
        plan.input[...] = x
        return {name: 1e6 * seconds for name, seconds in plan.times(rounds).items()}

    @cached_property
    def _at_once(self) -> int:
        """How many inputs a plan takes: with more their values would leave the caches."""
        return max(1, BYTES_AT_ONCE // self._prepared(1, 1).bytes)

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
            raise TypeError(f"the input must be a NumPy array of numbers, received {describe(x)}")
        single = x.shape == self.input_shape
        if not single and x.shape[1:] != self.input_shape:
            raise ValueError(
                f"the input must have shape (N, {', '.join(map(str, self.input_shape))}), or be one input without the "
                f"N; received {x.shape}"
            )
        x = np.asarray(x[None] if single else x, np.float32)
        if not _all_finite(x):
            raise ValueError("the input has values that are not finite")
        if x.ndim == 2:
            return x[:, None, None, :], single
        x = x.transpose((0, 2, 1) if x.ndim == 3 else (0, 2, 3, 1))
        return (x[:, None] if x.ndim == 3 else x), single

    @cached_property
    def _steps(self) -> tuple[Step, ...]:
        return planned(self)

    @cached_property
    def _layouts(self) -> Layouts:
        return Layouts()

    @cached_property
    def _of_thread(self) -> threading.local:
        return threading.local()

    def _prepared(self, count: int, threads: int) -> Prepared:
        """The plan for so many inputs; each thread has its own, since a plan's memory is bound."""
        plans: dict = self._of_thread.__dict__.setdefault("plans", {})
        key = count, threads, os.getpid()  # a forked process has no threads to wake
        if key not in plans:
            while len(plans) >= PLANS_KEPT:
                del plans[next(iter(plans))]
            plans[key] = Prepared(self, self._steps, self._layouts, count, threads)
        return plans[key]


def _all_finite(x: np.ndarray) -> bool:
    """Whether no value is NaN or infinite. A sum of few squares is quicker to look at; it is finite only if all are."""
    if x.size <= FEW and x.flags.c_contiguous and math.isfinite(np.vdot(x, x)):
        return True
    return bool(np.isfinite(x).all())
