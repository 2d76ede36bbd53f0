"""Which of two arms is better, or steadier, when both the seeds and the people who were recorded are samples."""

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

__all__ = ["compare_means", "compare_spread", "detectable_ratio", "resampled_accuracy", "resampled_differences"]

DRAWS = 10_000
LEVEL = 0.05


def resampled_differences(
    one: np.ndarray, other: np.ndarray, groups: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> np.ndarray:
    """Bootstrap draws of the difference of two arms' mean accuracies, over seeds and groups together.

    Each draw takes as many seeds and as many groups as there are, with replacement; a group comes with all of its
    samples. Both arms are seen by the same seeds and samples, so what these have in common cancels.

    Args:
        one, other: whether each sample was right, bool, shape (seeds, samples).
        groups: whose each sample is (the speaker), shape (samples,).
        draws: how many.
        seed: of the draws.

    Returns:
        ``one - other`` in percentage points, float64, shape (draws,). Few seeds give intervals that are a little too
        narrow: by the factor sqrt((n - 1) / n), 5 % for ten seeds.

    Raises:
        ValueError: shapes that do not fit.
    """
    one, other, groups = np.asarray(one, bool), np.asarray(other, bool), np.asarray(groups)
    if one.ndim != 2 or one.shape != other.shape or groups.shape != one.shape[1:]:
        raise ValueError(
            "one and other need the same shape (seeds, samples) and groups the shape (samples,), received "
            f"{one.shape}, {other.shape} and {groups.shape}"
        )
    return _resampled(one.astype(float) - other, groups, draws, seed)


def resampled_accuracy(right: np.ndarray, groups: np.ndarray, *, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """Bootstrap draws of one arm's mean accuracy, over seeds and groups together; see :func:`resampled_differences`.

    Returns:
        Percent, float64, shape (draws,).
    """
    right, groups = np.asarray(right, bool), np.asarray(groups)
    if right.ndim != 2 or groups.shape != right.shape[1:]:
        raise ValueError(
            "right needs the shape (seeds, samples) and groups the shape (samples,), received "
            f"{right.shape} and {groups.shape}"
        )
    return _resampled(right.astype(float), groups, draws, seed)


def _resampled(values: np.ndarray, groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    _, member = np.unique(groups, return_inverse=True)
    size = np.bincount(member)
    by_group = np.stack([np.bincount(member, weights=row) for row in values])  # (seeds, groups)
    rng = np.random.default_rng(seed)
    seeds = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), draws)
    drawn = rng.multinomial(len(size), np.full(len(size), 1 / len(size)), draws)
    return 100 * ((seeds @ by_group) * drawn).sum(1) / (len(values) * (drawn @ size))


def compare_means(
    right: Mapping[str, np.ndarray],
    groups: np.ndarray,
    pairs: Iterable[tuple[str, str]],
    *,
    margin: float = 0.5,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether one arm is better than another, equivalent to it, or neither can be said.

    Two tests for each pair by :func:`resampled_differences`, both corrected by Holm's method over the pairs: that the
    difference is not 0, and that it lies within ``margin`` (two one-sided tests). "better" or "worse" follows from the
    first, "equivalent" from the second; where both hold, "better, within the margin".

    Args:
        right: for each arm whether each sample was right, bool, shape (seeds, samples).
        groups: shape (samples,).
        pairs: (one, other), read as ``one - other``.
        margin: in percentage points, fixed before the figures are looked at.

    Returns:
        A row for each pair: ``difference``, ``low`` and ``high`` (95 %, of the draws) in points, ``p (Holm)`` that it
        is 0, ``p equivalent (Holm)`` that it lies outside the margin, ``verdict``.
    """
    rows, different, outside = {}, [], []
    for one, other in pairs:
        drawn = resampled_differences(right[one], right[other], groups, draws=draws, seed=seed)
        difference = 100 * (np.mean(right[one]) - np.mean(right[other]))
        low, high = np.quantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
        rows[f"{one} - {other}"] = {"difference": difference, "low": low, "high": high}
        different.append(p_of_no_difference(drawn))
        outside.append(p_of_more_than(margin, drawn))
    table = pd.DataFrame(rows).T.rename_axis("comparison")
    table["p (Holm)"] = multipletests(different, method="holm")[1]
    table["p equivalent (Holm)"] = multipletests(outside, method="holm")[1]

    def verdict(row: pd.Series) -> str:
        within = row["p equivalent (Holm)"] < LEVEL
        if row["p (Holm)"] < LEVEL:
            return ("better" if row["difference"] > 0 else "worse") + (", within the margin" if within else "")
        return "equivalent" if within else "undecided"

    table["verdict"] = table.apply(verdict, axis=1)
    return table


def compare_spread(
    values: Mapping[str, np.ndarray], pairs: Iterable[tuple[str, str]], *, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Whether one arm varies more from seed to seed than another.

    Args:
        values: for each arm a figure per seed, shape (seeds,).
        pairs: (one, other).

    Returns:
        A row for each pair: both standard deviations, their ``ratio``, its 95 % bootstrap interval ``low`` to ``high``
        over seeds, and ``p (Holm)`` of the Brown-Forsythe test (Levene's, about the median), corrected over the pairs.
    """
    rng = np.random.default_rng(seed)
    rows, p = {}, []
    for one, other in pairs:
        a, b = np.asarray(values[one], float), np.asarray(values[other], float)
        drawn = [each[rng.integers(0, len(each), (draws, len(each)))].std(axis=1, ddof=1) for each in (a, b)]
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = np.nanquantile(drawn[0] / drawn[1], [LEVEL / 2, 1 - LEVEL / 2])
        rows[f"{one} / {other}"] = {
            "deviation": a.std(ddof=1),
            "other's": b.std(ddof=1),
            "ratio": a.std(ddof=1) / b.std(ddof=1),
            "low": low,
            "high": high,
        }
        p.append(stats.levene(a, b, center="median").pvalue)
    table = pd.DataFrame(rows).T.rename_axis("comparison")
    table["p (Holm)"] = multipletests(p, method="holm")[1]
    return table


def detectable_ratio(seeds: int, *, power: float = 0.8, trials: int = 4_000, seed: int = 0) -> float:
    """The smallest ratio of two standard deviations that the Brown-Forsythe test finds with that power, at 5 %.

    Simulated with normal values, on a grid of ratios with a step of 0.1.

    Args:
        seeds: of each arm, at least 3.
        power: the wanted share of found differences.

    Raises:
        ValueError: fewer than 3 seeds, or no ratio up to 20 is found that often.
    """
    if seeds < 3:
        raise ValueError(f"a spread needs at least 3 seeds, received {seeds}")
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, seeds, trials))
    for step in range(10, 201):
        ratio = step / 10
        found = np.mean(stats.levene(a * ratio, b, center="median", axis=0).pvalue < LEVEL)
        if found >= power:
            return ratio
    raise ValueError(f"{seeds} seeds find no ratio up to 20 with a power of {power}")


def p_of_no_difference(drawn: np.ndarray) -> float:
    """The p value, of both sides, of the hypothesis that the difference is 0."""
    return min(1.0, 2 * min(_share(drawn <= 0), _share(drawn >= 0)))


def p_of_more_than(margin: float, drawn: np.ndarray) -> float:
    """The p value of the hypothesis that the difference is the margin or more, either way: two one-sided tests."""
    return max(_share(drawn <= -margin), _share(drawn >= margin))


def _share(hits: np.ndarray) -> float:
    """The share of draws, never quite 0: so many draws can't tell a smaller chance."""
    return (int(hits.sum()) + 1) / (len(hits) + 1)
