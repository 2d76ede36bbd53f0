import math

import pandas as pd
import pytest

from bnnlib.report import half_width, paired_difference, summarise


def test_half_width_by_hand():
    # five values with standard deviation 1: t(0.975, 4) / sqrt(5) = 2.776445 / 2.236068 = 1.24166
    values = [-math.sqrt(2), 0, 0, 0, math.sqrt(2)]  # sum of squares 4 over 4 degrees of freedom
    assert half_width(values) == pytest.approx(1.24166, abs=1e-4)


def test_one_value_has_no_interval():
    assert math.isnan(half_width([93.0]))


def runs(seeds):
    return pd.DataFrame([{"arm": a, "seed": s, "test_accuracy": base + s} for s in range(seeds) for a, base in (("x", 10), ("y", 7))])


def test_three_seeds_get_their_points_but_no_interval():
    assert math.isnan(summarise(runs(3)).loc["x", "± 95 %"])
    table = summarise(runs(5))
    assert table.loc["x", "± 95 %"] > 0
    assert (table.loc["y", "mean"], table.loc["y", "least"], table.loc["y", "most"]) == (9, 7, 11)


def test_pairing_by_seed_removes_what_seeds_share():
    mean, wide = paired_difference(runs(5), "x", "y")
    assert mean == pytest.approx(3)
    assert wide == pytest.approx(0)


def test_pairing_needs_common_seeds_and_names_the_arms():
    with pytest.raises(ValueError, match="0 seeds in common, two are needed; arms: x, y"):
        paired_difference(runs(5), "x", "z")
