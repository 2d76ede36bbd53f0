"""Accuracy by class and confusion, computed from stored predictions."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix

__all__ = ["class_accuracy", "confusion"]

Outputs = Mapping[str, np.ndarray]


def class_accuracy(outputs: Iterable[Outputs], classes: Sequence[str], split: str = "test") -> pd.DataFrame:
    """Accuracy of each class in percent (a class's recall), a column for each run.

    Args:
        outputs: arrays stored by runs, with ``{split}_labels`` and ``{split}_predicted``.
    """
    columns = []
    for arrays in outputs:
        matrix = confusion_matrix(arrays[f"{split}_labels"], arrays[f"{split}_predicted"], labels=range(len(classes)))
        columns.append(100 * matrix.diagonal() / matrix.sum(1))
    return pd.DataFrame(np.array(columns).T, index=pd.Index(classes, name="class"))


def confusion(outputs: Iterable[Outputs], classes: int, split: str = "test") -> np.ndarray:
    """Confusion counts summed over runs: rows are true classes, columns predicted ones."""
    return sum(
        confusion_matrix(arrays[f"{split}_labels"], arrays[f"{split}_predicted"], labels=range(classes))
        for arrays in outputs
    )
