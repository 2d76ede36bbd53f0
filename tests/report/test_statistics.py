import math

import numpy as np
import pandas as pd
import pytest

from bnnlib.report import half_width, paired_difference, paired_tests, summarise


def test_half_width_by_hand():
    # five values with standard deviation 1: t(0.975, 4) / sqrt(5) = 2.776445 / 2.236068 = 1.24166
    values = [-math.sqrt(2), 0, 0, 0, math.sqrt(2)]  # sum of squares 4 over 4 degrees of freedom
    assert half_width(values) == pytest.approx(1.24166, abs=1e-4)


def test_one_value_has_no_interval():
    assert math.isnan(half_width([93.0]))


def runs(seeds):
    return pd.DataFrame(
        [{"arm": a, "seed": s, "test_accuracy": base + s} for s in range(seeds) for a, base in (("x", 10), ("y", 7))]
    )


def test_three_seeds_get_their_points_but_no_interval():
    assert math.isnan(summarise(runs(3)).loc["x", "± 95 %"])
    table = summarise(runs(5))
    assert table.loc["x", "± 95 %"] > 0
    assert (table.loc["y", "mean"], table.loc["y", "least"], table.loc["y", "most"]) == (9, 7, 11)


def test_pairing_by_seed_removes_what_seeds_share():
    assert paired_difference(runs(5), "x", "y").tolist() == [3] * 5


def test_pairing_needs_common_seeds_and_names_the_arms():
    with pytest.raises(ValueError, match="0 seeds in common, two are needed; arms: x, y"):
        paired_difference(runs(5), "x", "z")


def test_a_seed_that_stands_twice_is_refused():
    with pytest.raises(ValueError, match="a seed occurs twice"):
        paired_difference(pd.concat([runs(5), runs(5)]), "x", "y")


def test_three_seeds_get_no_interval_and_no_test():
    table = paired_tests(runs(3), [("x", "y")])
    assert table.loc["x - y", "difference"] == 3
    assert table.loc["x - y", ["± 95 %", "p", "p (Holm)"]].isna().all()


def test_p_values_of_several_pairs_are_stepped_down_after_holm():
    rng = np.random.default_rng(0)
    runs = pd.DataFrame(
        [{"arm": arm, "seed": seed, "test_accuracy": 90 + shift + rng.normal()}
         for arm, shift in (("a", 0), ("b", 1), ("c", 2)) for seed in range(6)]
    )  # fmt: skip
    table = paired_tests(runs, [("a", "b"), ("a", "c"), ("b", "c")])
    least, middle, most = sorted(table["p"])
    stepped = np.maximum.accumulate([3 * least, 2 * middle, most]).clip(max=1)
    assert sorted(table["p (Holm)"]) == pytest.approx(sorted(stepped))
    assert (table["p (Holm)"] >= table["p"]).all()


def test_paired_tests_have_a_row_for_each_pair():
    rng = np.random.default_rng(0)
    frame = runs(5)
    frame["test_accuracy"] += rng.normal(0, 0.1, len(frame))
    table = paired_tests(frame, [("x", "y"), ("y", "x")])
    assert table.loc["x - y", "difference"] == pytest.approx(3, abs=0.3)
    assert table.loc["x - y", "p (Holm)"] == pytest.approx(2 * table.loc["x - y", "p"])
