"""Accuracy by class and confusion, computed from stored predictions."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

__all__ = ["class_accuracy", "confusion"]

Outputs = Mapping[str, np.ndarray]


def confusion(outputs: Iterable[Outputs], classes: int, predicted: str = "test_predicted") -> np.ndarray:
    """Confusion counts summed over runs, shape (classes, classes): rows are true classes, columns predicted ones.

    Args:
        outputs: arrays stored by runs, with ``test_labels``.
        predicted: which of their predictions, for example ``"test_predicted/binary_as_trained"``.
    """
    from sklearn.metrics import confusion_matrix

    return sum(confusion_matrix(arrays["test_labels"], arrays[predicted], labels=range(classes)) for arrays in outputs)


def class_accuracy(
    outputs: Iterable[Outputs], classes: Sequence[str], predicted: str = "test_predicted"
) -> pd.DataFrame:
    """Accuracy of each class in percent (its recall), a column for each run; arguments as of :func:`confusion`."""
    matrices = [confusion([arrays], len(classes), predicted) for arrays in outputs]
    shares = [100 * matrix.diagonal() / matrix.sum(1) for matrix in matrices]
    return pd.DataFrame(np.array(shares).T, index=pd.Index(classes, name="class"))
