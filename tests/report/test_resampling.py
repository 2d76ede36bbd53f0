import numpy as np
import pytest
from scipy import stats

from bnnlib.report import compare_means, compare_spread, detectable_ratio, resampled_accuracy, resampled_differences

SPEAKERS = np.repeat(np.arange(50), 4)


def test_what_only_the_seeds_share_varies_as_a_mean_of_seeds():
    ahead = np.linspace(0.1, 0.6, 10)  # the lead of each seed, the same for every speaker
    one = np.tile(np.arange(20), 10) < np.round(20 * ahead)[:, None]
    lead = one.mean(1)
    drawn = resampled_differences(one, np.zeros_like(one), np.repeat(np.arange(10), 20))
    assert drawn.mean() == pytest.approx(100 * lead.mean(), abs=0.3)
    assert drawn.std() == pytest.approx(100 * lead.std() / 10**0.5, rel=0.05)


def test_what_only_the_speakers_share_varies_as_a_mean_of_speakers():
    rng = np.random.default_rng(1)
    good = rng.random(50) < 0.3  # all clips of a speaker are won, or none
    one = np.tile(np.repeat(good, 4), (10, 1))
    drawn = resampled_differences(one, np.zeros_like(one), SPEAKERS)
    assert drawn.std() == pytest.approx(100 * good.std() / 50**0.5, rel=0.05)
    each_for_itself = resampled_differences(one, np.zeros_like(one), np.arange(200))
    assert each_for_itself.std() < 0.6 * drawn.std()  # clips of a speaker are no independent samples


def test_speakers_with_more_clips_count_more():
    one = np.array([[1, 1, 1, 0]] * 3, bool)
    drawn = resampled_differences(one, np.zeros_like(one), np.array([7, 7, 7, 9]))
    assert set(np.round(drawn, 6)) == {0, 75, 100}  # the one speaker twice, both, the other twice
    assert set(np.round(resampled_accuracy(one, np.array([7, 7, 7, 9])), 6)) == {0, 75, 100}


@pytest.mark.parametrize(
    ("shift", "margin", "verdict"),
    [
        (0.0, 0.5, "equivalent"),
        (0.02, 0.5, "worse"),
        (0.02, 5, "worse, within the margin"),
    ],
)
def test_a_pair_is_better_equivalent_or_both(shift, margin, verdict):
    rng = np.random.default_rng(0)
    other = np.ones((10, 2000), bool)
    one = other & (rng.random(other.shape) >= shift)
    table = compare_means({"a": one, "b": other}, np.repeat(np.arange(200), 10), [("a", "b")], margin=margin)
    assert table["verdict"].item() == verdict
    assert table["difference"].item() == pytest.approx(-100 * shift, abs=0.3)


def test_a_pair_that_varies_more_than_it_differs_is_undecided():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 4, 60)) < 0.8
    assert compare_means({"a": a, "b": b}, np.arange(60), [("a", "b")])["verdict"].item() == "undecided"


def test_several_pairs_are_corrected():
    rng = np.random.default_rng(3)
    right = {name: rng.random((10, 400)) < level for name, level in (("a", 0.8), ("b", 0.815), ("c", 0.8))}
    alone = compare_means(right, np.arange(400), [("b", "a")])
    among = compare_means(right, np.arange(400), [("b", "a"), ("c", "a"), ("b", "c")])
    assert alone.loc["b - a", "p (Holm)"] < among.loc["b - a", "p (Holm)"]


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"received \(3, 4\), \(3, 5\) and \(4,\)"):
        resampled_differences(np.ones((3, 4)), np.ones((3, 5)), np.ones(4))


def test_spread_is_compared_by_brown_and_forsythe():
    rng = np.random.default_rng(0)
    values = {"wild": 90 + 3 * rng.normal(size=10), "calm": 90 + 0.1 * rng.normal(size=10)}
    row = compare_spread(values, [("wild", "calm")]).loc["wild / calm"]
    assert row["ratio"] == pytest.approx(np.std(values["wild"]) / np.std(values["calm"]))
    assert row["low"] < row["ratio"] < row["high"]
    assert row["low"] > 1
    # Brown and Forsythe 1974: a one-way analysis of variance of the distances from the medians
    distances = [np.abs(v - np.median(v)) for v in values.values()]
    assert row["p (Holm)"] == pytest.approx(stats.f_oneway(*distances).pvalue)


def test_the_detectable_ratio_is_found_as_often_as_it_says():
    ratio = detectable_ratio(10)
    rng = np.random.default_rng(99)

    def found(ratio):
        hits = 0
        for _ in range(1500):
            distances = [np.abs(v - np.median(v)) for v in (ratio * rng.normal(size=10), rng.normal(size=10))]
            hits += stats.f_oneway(*distances).pvalue < 0.05
        return hits / 1500

    assert found(ratio) == pytest.approx(0.8, abs=0.04)
    assert found(ratio / 1.5) < 0.65


def test_too_few_seeds_detect_no_ratio():
    with pytest.raises(ValueError, match="5 seeds find no ratio up to 20"):
        detectable_ratio(5)
    with pytest.raises(ValueError, match="at least 3 seeds, received 2"):
        detectable_ratio(2)
