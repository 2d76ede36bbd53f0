"""Does what helps one network help another? Gains of both, paired by what was changed."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

from bnnlib.report.resampling import DRAWS, LEVEL, p_of_more_than, p_of_no_difference, resampled_differences

__all__ = ["compare_gains", "rank_correlation", "resampled_gains"]


def resampled_gains(
    right: Mapping[str, np.ndarray], base: str, groups: np.ndarray, *, draws: int = DRAWS, seed: int = 0
) -> pd.DataFrame:
    """Bootstrap draws of what each change gains over the base, over seeds and groups together.

    The same seeds and groups are drawn for every change, so that a row is one drawing of the whole experiment; and for
    two networks with as many seeds each, judged on the same samples, the rows go together as well.

    Args:
        right: for each change, and for ``base``, whether each sample was right, bool, shape (seeds, samples).
        base: the key of what the others are compared with.
        groups: whose each sample is, shape (samples,).
        draws: how many.
        seed: of the draws.

    Returns:
        A column for each change, in percentage points, float64, shape (draws, changes).

    Raises:
        ValueError: ``base`` is not among them, it is alone, or shapes do not fit.
    """
    if base not in right or len(right) < 2:
        raise ValueError(f"right must hold {base!r}, the base, and a change or more; received {sorted(right)}")
    return pd.DataFrame(
        {
            change: resampled_differences(of, right[base], groups, draws=draws, seed=seed)
            for change, of in right.items()
            if change != base
        }
    )


def compare_gains(
    one: Mapping[str, np.ndarray],
    other: Mapping[str, np.ndarray],
    base: str,
    groups: np.ndarray,
    *,
    margin: float = 1.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether what changes one network changes the other in the same direction.

    For both networks it is tested that a gain is not 0, and for the other that it lies within ``margin`` (two
    one-sided tests); each kind is corrected by Holm's method over the changes. A gain below 0 is a loss, which may
    carry over as well.

    Args:
        one, other: see :func:`resampled_gains`; the same changes and shapes.
        margin: in percentage points, fixed before the figures are looked at: a gain within it counts as none.

    Returns:
        A row for each change: ``gain``, ``low``, ``high`` (95 %, of the draws) of one, ``other's gain``,
        ``other's low``, ``other's high``, in points, and ``verdict``: "transfers" if both are sure and of one
        direction; "does not" if one's is sure, and the other's is surely of the other direction or surely within the
        margin; "nothing to transfer" if one's is not sure; else "undecided".

    Raises:
        ValueError: the two do not have the same changes; see also :func:`resampled_gains`.
    """
    if set(one) != set(other):
        raise ValueError(f"both networks need the same changes, these are in one only: {sorted(set(one) ^ set(other))}")
    both = [resampled_gains(right, base, groups, draws=draws, seed=seed) for right in (one, {c: other[c] for c in one})]
    table = pd.DataFrame(index=pd.Index(both[0].columns, name="change"))
    for owner, right, drawn in (("", one, both[0]), ("other's ", other, both[1])):
        table[f"{owner}gain"] = [100 * (np.mean(right[c]) - np.mean(right[base])) for c in table.index]
        table[f"{owner}low"], table[f"{owner}high"] = drawn.quantile([LEVEL / 2, 1 - LEVEL / 2]).to_numpy()
    sure, others_sure = (_corrected([p_of_no_difference(of) for _, of in drawn.items()]) for drawn in both)
    small = _corrected([p_of_more_than(margin, of) for _, of in both[1].items()])
    along = np.sign(table["gain"]) == np.sign(table["other's gain"])
    table["verdict"] = np.select(
        [~sure, others_sure & along, others_sure | small],
        ["nothing to transfer", "transfers", "does not"],
        "undecided",
    )
    return table


def rank_correlation(one: pd.DataFrame, other: pd.DataFrame) -> tuple[float, float, float]:
    """Spearman's correlation of two networks' gains over the changes, with its interval.

    Args:
        one, other: draws of :func:`resampled_gains` with the same changes, rows that go together.

    Returns:
        The correlation of the mean gains, and the 95 % interval over the draws. The changes themselves are not drawn:
        it holds for these.

    Raises:
        ValueError: the changes differ, or there are fewer than three.
    """
    if set(one) != set(other) or one.shape[1] < 3:
        raise ValueError(f"both need the same three changes or more, received {list(one)} and {list(other)}")
    other = other[one.columns]
    ranks = [stats.rankdata(of.to_numpy(), axis=1) for of in (one, other)]
    centred = [of - of.mean(1, keepdims=True) for of in ranks]
    with np.errstate(invalid="ignore"):
        drawn = (centred[0] * centred[1]).sum(1) / np.sqrt((centred[0] ** 2).sum(1) * (centred[1] ** 2).sum(1))
    low, high = np.nanquantile(drawn, [LEVEL / 2, 1 - LEVEL / 2])
    return float(stats.spearmanr(one.mean(), other.mean()).statistic), float(low), float(high)


def _corrected(p: list[float]) -> np.ndarray:
    return multipletests(p, method="holm")[1] < LEVEL
