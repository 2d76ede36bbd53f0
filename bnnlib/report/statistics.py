"""Means and intervals over seeds."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.multitest import multipletests

__all__ = ["MIN_FOR_INTERVAL", "half_width", "paired_difference", "paired_tests", "summarise"]

MIN_FOR_INTERVAL = 4  # three seeds show their points, no interval


def half_width(values: Iterable[float], level: float = 0.95) -> float:
    """Half the width of Student's interval for the mean: t * s / sqrt(n). NaN for fewer than two values.

    It covers the choice of seed only, not that of the test samples.
    """
    values = np.asarray(list(values), float)
    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf((1 + level) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def summarise(runs: pd.DataFrame, value: str = "test_accuracy", by: str = "arm") -> pd.DataFrame:
    """Mean and 95 % half-width over the seeds of each arm, in order of appearance.

    Groups of three seeds or fewer get no interval (NaN); their smallest and largest values are given beside the mean.
    """
    rows = []
    for name, group in runs.groupby(by, sort=False):
        values = group[value].to_numpy(float)
        wide = half_width(values) if len(values) >= MIN_FOR_INTERVAL else float("nan")
        rows.append(
            {
                by: name,
                "seeds": len(values),
                "mean": values.mean(),
                "± 95 %": wide,
                "least": values.min(),
                "most": values.max(),
            }
        )
    return pd.DataFrame(rows).set_index(by)


def paired_difference(runs: pd.DataFrame, one: str, other: str, value: str = "test_accuracy") -> np.ndarray:
    """The differences ``one - other`` of two arms, seed by seed.

    Args:
        runs: rows with ``arm``, ``seed`` and ``value``.

    Raises:
        ValueError: the arms have fewer than two seeds in common, or a seed occurs twice in an arm.
    """
    chosen = runs[runs["arm"].isin([one, other])]
    if chosen.duplicated(["arm", "seed"]).any():
        raise ValueError(f"a seed occurs twice in {one!r} or {other!r}; compare runs of one setting only")
    table = chosen.pivot(index="seed", columns="arm", values=value).reindex(columns=[one, other]).dropna()
    if len(table) < 2:
        arms = ", ".join(dict.fromkeys(runs["arm"]))
        raise ValueError(f"{one!r} and {other!r} have {len(table)} seeds in common, two are needed; arms: {arms}")
    return (table[one] - table[other]).to_numpy(float)


def paired_tests(runs: pd.DataFrame, pairs: Iterable[tuple[str, str]], value: str = "test_accuracy") -> pd.DataFrame:
    """Differences of arms paired by seed: mean, 95 % half-width, paired t-test, Holm's correction for several pairs
    (Holm 1979: it controls the chance of any false rejection).

    Args:
        pairs: (one, other), read as ``one - other``.

    Returns:
        A row for each pair: ``seeds``, ``difference``, ``± 95 %``, ``p`` and ``p (Holm)``; with three seeds or fewer
        there is no interval and no test (NaN). The t-test leans on normal differences; with 5 seeds a two-sided
        Wilcoxon test could not go below 0.0625.
    """
    rows = []
    for one, other in pairs:
        d = paired_difference(runs, one, other, value)
        enough = len(d) >= MIN_FOR_INTERVAL
        rows.append(
            {
                "comparison": f"{one} - {other}",
                "seeds": len(d),
                "difference": d.mean(),
                "± 95 %": half_width(d) if enough else float("nan"),
                "p": float(stats.ttest_1samp(d, 0).pvalue) if enough else float("nan"),
            }
        )
    table = pd.DataFrame(rows).set_index("comparison")
    tested = table["p"].notna()
    if tested.any():
        table.loc[tested, "p (Holm)"] = multipletests(table.loc[tested, "p"], method="holm")[1]
    else:
        table["p (Holm)"] = float("nan")
    return table
