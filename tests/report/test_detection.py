import numpy as np
import pytest

from bnnlib.report import alarm_threshold, count_interval, det_curve, events, operating_point

SCORES = np.array([0.9, 0.8, 0.3, 0.7, 0.2, 0.1, 0.1, 0.0])
WORD = np.array([1, 1, 1, 0, 0, 0, 0, 0], bool)


def test_a_det_curve_by_hand():
    curve = det_curve(SCORES, WORD).set_index("threshold")
    assert curve.loc[0.0].tolist() == [0, 3600]  # everything is detected
    assert curve.loc[0.3].tolist() == [0, 720]  # one of five others, 0.7
    assert curve.loc[0.8].tolist() == pytest.approx([100 / 3, 0])
    assert curve.loc[np.inf].tolist() == [100, 0]
    assert curve["misses"].is_monotonic_increasing
    assert curve["alarms"].is_monotonic_decreasing


def test_the_threshold_allows_no_more_alarms_than_wanted_and_misses_no_more_than_it_must():
    assert alarm_threshold(SCORES, WORD, 720) == 0.3
    assert alarm_threshold(SCORES, WORD, 719) == 0.8
    rng = np.random.default_rng(0)
    scores, word = rng.normal(size=3000), rng.random(3000) < 0.1
    for wanted in (0, 10, 30, 3600):
        threshold = alarm_threshold(scores, word, wanted)
        allowed = wanted * (~word).sum() / 3600
        assert (scores[~word] >= threshold).sum() <= allowed
        below = scores[scores < threshold]
        if len(below):  # the next lower threshold would let too many through
            assert (scores[~word] >= below.max()).sum() > allowed


def test_an_operating_point_has_intervals_of_its_counts():
    point = operating_point(SCORES, WORD, 0.5)
    assert (point["missed"], point["false"]) == (1, 1)
    assert point["misses"] == pytest.approx(100 / 3)
    assert point["alarms"] == 720
    # Clopper and Pearson for 1 of 3: 0.84 % to 90.57 %; Garwood for 1: 0.0253 to 5.572
    assert (point["misses low"], point["misses high"]) == pytest.approx((0.84, 90.57), abs=0.01)
    assert (point["alarms low"], point["alarms high"]) == pytest.approx((720 * 0.0253, 720 * 5.572), rel=1e-3)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0, 3.689), (3, 0.619, 8.767), (10, 4.795, 18.39)])
def test_intervals_of_counts_are_those_of_the_tables(count, low, high):
    assert count_interval(count) == pytest.approx((low, high), abs=6e-3)


def test_a_stream_goes_off_once_for_a_word_and_needs_scores_in_a_row():
    scores = [0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1]
    assert events(scores, 0.5) == [1, 3, 4, 5, 6, 7, 8, 10]
    assert events(scores, 0.5, consecutive=3) == [5, 8]
    assert events(scores, 0.5, consecutive=3, rest=5) == [5]
    with pytest.raises(ValueError, match="consecutive must be at least 1"):
        events(scores, 0.5, consecutive=0)


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ValueError, match="with and without the word are needed, received 8 of 8"):
        det_curve(SCORES, np.ones(8, bool))
    with pytest.raises(ValueError, match=r"received \(8,\) and \(7,\)"):
        det_curve(SCORES, WORD[1:])
    with pytest.raises(ValueError, match="must not be NaN"):
        det_curve(np.where(WORD, np.nan, SCORES), WORD)
