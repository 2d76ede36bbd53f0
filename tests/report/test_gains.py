import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bnnlib.report import compare_gains, rank_correlation, resampled_gains

GROUPS = np.repeat(np.arange(100), 20)
SHAPE = (5, 2_000)


def judged(accuracy: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(SHAPE) < accuracy


def accuracies(base, **changes):
    return {name: judged(a, i) for i, (name, a) in enumerate({"nothing": base, **changes}.items())}


def test_each_verdict_is_given_where_it_holds():
    one = accuracies(0.6, both=0.7, harm=0.5, against=0.7, none=0.7, small=0.7, idle=0.6)
    other = accuracies(0.5, both=0.6, harm=0.4, against=0.4, none=0.5, small=0.5, idle=0.6)
    other["none"] = other["nothing"].copy()  # surely no gain
    other["small"] = other["nothing"] ^ (judged(0.02, 9) & ~other["nothing"])  # small and sure
    verdicts = compare_gains(one, other, "nothing", GROUPS, draws=2_000)["verdict"]
    assert verdicts.to_dict() == {
        "both": "transfers",
        "harm": "transfers",
        "against": "does not",
        "none": "does not",
        "small": "transfers",
        "idle": "nothing to transfer",
    }


def test_changes_are_paired_by_name_and_not_by_place():
    one = accuracies(0.6, change=0.7, idle=0.6)
    other = accuracies(0.5, change=0.6, idle=0.5)
    table = compare_gains(one, other, "nothing", GROUPS, draws=500)
    turned = compare_gains(one, dict(reversed(other.items())), "nothing", GROUPS, draws=500)
    pd.testing.assert_frame_equal(table, turned)


def test_a_gain_that_is_neither_sure_nor_small_is_undecided():
    one = accuracies(0.6, change=0.7)
    rng = np.random.default_rng(1)
    won = rng.random((1, 100)).repeat(20, 1) < 0.1  # whole groups are won or lost, nearly as many of each
    lost = rng.random((1, 100)).repeat(20, 1) < 0.1
    base = judged(0.5, 3)
    other = {"nothing": base, "change": (base | won) & ~lost}
    table = compare_gains(one, other, "nothing", GROUPS, draws=2_000)
    assert table["verdict"].item() == "undecided"
    assert table["other's low"].item() < 0 < table["other's high"].item()


def test_gains_are_differences_of_mean_accuracy():
    one = accuracies(0.6, change=0.7)
    table = compare_gains(one, one, "nothing", GROUPS, draws=500)
    expected = 100 * (one["change"].mean() - one["nothing"].mean())
    assert table["gain"].item() == table["other's gain"].item() == pytest.approx(expected)
    assert table["low"].item() < expected < table["high"].item()


def test_a_row_of_draws_is_one_drawing_of_the_whole_experiment():
    one = accuracies(0.6, change=0.7)
    one["same"] = one["change"]
    drawn = resampled_gains(one, "nothing", GROUPS, draws=50)
    assert drawn.shape == (50, 2)
    assert (drawn["change"] == drawn["same"]).all()
    assert (resampled_gains(one, "nothing", GROUPS, draws=50) == drawn).all(axis=None)


def test_the_rank_correlation_is_spearmans_of_the_mean_gains():
    rng = np.random.default_rng(0)
    one = pd.DataFrame(rng.normal([0, 1, 2, 3], 0.01, (200, 4)), columns=list("abcd"))
    other = pd.DataFrame(rng.normal([0, 2, 1, 3], 0.01, (200, 4)), columns=list("abcd"))
    rho, low, high = rank_correlation(one, other[list("dbca")])
    expected = stats.spearmanr([0, 1, 2, 3], [0, 2, 1, 3]).statistic
    assert [rho, low, high] == pytest.approx([expected] * 3)
    assert rank_correlation(one, one)[0] == pytest.approx(1)
    assert rank_correlation(one, -one)[0] == pytest.approx(-1)


def test_draws_that_disagree_give_a_wide_interval():
    rng = np.random.default_rng(0)
    one, other = (pd.DataFrame(rng.normal(0, 1, (2_000, 4)), columns=list("abcd")) for _ in range(2))
    _, low, high = rank_correlation(one, other)
    assert low < -0.9 < 0.9 < high


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a: resampled_gains(a, "missing", GROUPS), "must hold 'missing'"),
        (lambda a: resampled_gains({"nothing": a["nothing"]}, "nothing", GROUPS), "and a change or more"),
        (lambda a: compare_gains(a, {**a, "more": a["change"]}, "nothing", GROUPS), "in one only: \\['more'\\]"),
        (lambda a: rank_correlation(pd.DataFrame({"a": [1.0]}), pd.DataFrame({"a": [1.0]})), "three changes or more"),
    ],
)
def test_what_does_not_fit_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(accuracies(0.6, change=0.7))
