import numpy as np
import pytest

from bnnlib import studies
from bnnlib.studies import judged
from bnnlib.studies.judged import Judged


def of(groups, labels, predicted):
    return Judged(np.arange(len(labels)), np.array(labels), np.array(groups), np.array(predicted))


def test_a_speaker_is_what_most_of_the_own_sentences_are_called():
    each = of([5, 5, 5, 2, 2, 2], [1, 1, 1, 0, 0, 0], [[1, 0, 1, 0, 1, 1], [0, 0, 1, 0, 0, 0]])
    speakers = each.majority()
    assert speakers.ids.tolist() == [2, 5]
    assert speakers.labels.tolist() == [0, 1]
    assert speakers.predicted.tolist() == [[1, 1], [0, 0]]
    assert speakers.right.tolist() == [[False, True], [True, False]]
    assert of([1, 1], [1, 1], [[1, 0]]).majority().predicted.tolist() == [[0]]  # of equals the lower class
    assert each.only(each.groups == 2).majority().right.tolist() == [[False], [True]]


def test_what_has_no_groups_or_mixed_ones_has_no_majority():
    with pytest.raises(ValueError, match="no groups"):
        of([], [0, 1], [[0, 1]]).majority()
    with pytest.raises(ValueError, match="several classes"):
        of([1, 1], [0, 1], [[0, 1]]).majority()


def test_all_seeds_of_an_arm_are_read_and_their_accuracies_are_the_stored_ones():
    store = studies.results("words-split")
    runs = store.runs()
    found = judged(store, "speakers apart")
    assert found.predicted.shape == (5, len(found.labels))
    stored = runs.loc[runs["arm"] == "speakers apart"].sort_values("seed")["test_accuracy"]
    np.testing.assert_allclose(100 * found.right.mean(1), stored, atol=1e-3)
    with pytest.raises(ValueError, match="no run of arm 'nobody' is finished"):
        judged(store, "nobody")
