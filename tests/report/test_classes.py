import numpy as np

from bnnlib.report import class_accuracy, confusion

# three of class 0 (two right), one of class 1 (wrong)
ARRAYS = {"test_labels": np.array([0, 0, 0, 1]), "test_predicted": np.array([0, 0, 1, 0])}


def test_class_accuracy_by_hand():
    table = class_accuracy([ARRAYS, ARRAYS], ["a", "b"])
    np.testing.assert_allclose(table.loc["a"], [200 / 3] * 2)
    assert table.loc["b"].tolist() == [0, 0]


def test_confusion_sums_runs_with_true_classes_in_rows():
    assert confusion([ARRAYS, ARRAYS], 2).tolist() == [[4, 2], [2, 0]]
