"""What a data set is to training: three splits that give model-ready batches, whatever is in them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Protocol

import torch
from torch import Generator, Tensor

__all__ = ["Index", "Split", "Splits", "TensorSplit"]

Index = Tensor | slice


class Split(Protocol):
    """Samples with labels. Training knows nothing else of a data set.

    Attributes:
        labels: int64, shape (N,): classes from 0 on.
        ids: int64, shape (N,): what identifies a sample in the source it came from.
        groups: int64, shape (N,): who or what several samples share, such as a speaker; None if nobody does.

    A split may also have ``batch``, how many samples are best judged at once; see :func:`bnnlib.training.scores`.
    """

    @property
    def labels(self) -> Tensor: ...

    @property
    def ids(self) -> Tensor: ...

    @property
    def groups(self) -> Tensor | None: ...

    def __len__(self) -> int: ...

    def inputs(self, index: Index, draw: Generator | None = None) -> Tensor:
        """Model-ready float32 inputs, shape (n, ...), of the samples at ``index`` (int64 positions or a slice).

        Args:
            draw: the generator that augmentation draws from; None for none.
        """
        ...


@dataclass(frozen=True)
class TensorSplit:
    """A split held in memory; see :class:`Split`.

    Attributes:
        values: shape (N, ...), any dtype: images, features, series.
        labels, ids, groups: as in :class:`Split`.
        prepare: makes float32 inputs of a batch of values; ``Tensor.float`` by default.
        augment: (values, generator) -> values of the same shape, randomly changed; None if nothing is.
    """

    values: Tensor
    labels: Tensor
    ids: Tensor
    groups: Tensor | None = None
    prepare: Callable[[Tensor], Tensor] = Tensor.float
    augment: Callable[[Tensor, Generator], Tensor] | None = None

    def __post_init__(self):
        if len(self.values) != len(self.labels):
            raise ValueError(
                f"a split needs a label for each value, received {len(self.values)} and {len(self.labels)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Index) -> "TensorSplit":
        """The samples at ``index`` as a split of their own."""
        groups = None if self.groups is None else self.groups[index]
        return replace(self, values=self.values[index], labels=self.labels[index], ids=self.ids[index], groups=groups)

    def inputs(self, index: Index = slice(None), draw: Generator | None = None) -> Tensor:
        values = self.values[index]
        if self.augment is not None and draw is not None:
            values = self.augment(values, draw)
        inputs = self.prepare(values)
        shared = inputs.untyped_storage().data_ptr() == self.values.untyped_storage().data_ptr()
        return inputs.clone() if shared else inputs  # a network may work in place


@dataclass(frozen=True)
class Splits:
    """Training, validation and test split of one data set.

    Attributes:
        name: of the data set, as :func:`bnnlib.data.load` knows it.
        description: how the splits were made, in words and with the options; part of what a training is.
        classes: names of the classes; a label is a position in them.
        train, validation: to learn from and to choose by.
        test: judged once; None where no one should look at it.
        extra: further splits by name, on which a finished run's predictions are kept.

    Raises:
        ValueError: a split is empty, its parts have different lengths, or a label is no class.
    """

    name: str
    description: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split | None = None
    extra: Mapping[str, Split] = field(default_factory=dict)

    def __post_init__(self):
        parts = {"train": self.train, "validation": self.validation, "test": self.test, **self.extra}
        for part, split in parts.items():
            if split is None:
                continue
            if not len(split):
                raise ValueError(f"{self.name}, {part}: a split without samples; give at least one")
            if not isinstance(split.labels, Tensor) or split.labels.dtype != torch.int64:
                kind = getattr(split.labels, "dtype", type(split.labels).__name__)
                raise ValueError(f"{self.name}, {part}: labels must be a tensor of int64, received {kind}")
            for name in ("ids", "groups"):
                values = getattr(split, name)
                if values is not None and len(values) != len(split):
                    raise ValueError(f"{self.name}, {part}: {len(split)} labels but {len(values)} {name}")
            if not 0 <= int(split.labels.min()) <= int(split.labels.max()) < len(self.classes):
                raise ValueError(
                    f"{self.name}, {part}: labels of {len(self.classes)} classes must lie in "
                    f"0..{len(self.classes) - 1}, received {int(split.labels.min())}..{int(split.labels.max())}"
                )

    def shared_groups(self) -> set[int]:
        """Groups (speakers) that occur in more than one split: with them a test measures less than it seems to."""
        seen: set[int] = set()
        shared: set[int] = set()
        for split in (self.train, self.validation, self.test):
            if split is not None and split.groups is not None:
                own = set(split.groups.tolist())
                shared |= seen & own
                seen |= own
        return shared


def checked_size(train_size: int, most: int) -> int:
    """A ``train_size`` of a loader.

    Raises:
        ValueError: it lies outside 1..``most``, or is no whole number.
    """
    if isinstance(train_size, bool) or not isinstance(train_size, Integral) or not 1 <= train_size <= most:
        raise ValueError(f"train_size must be a whole number in 1..{most}, received {train_size!r}")
    return int(train_size)
