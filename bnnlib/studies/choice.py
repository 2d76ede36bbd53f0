"""Which method should I choose? Needs as rules over a comparison, the same for every study."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from bnnlib.studies.comparison import comparison
from bnnlib.studies.registry import store_of

__all__ = ["COMPARED", "NEEDS", "Need", "compared", "recommend"]

# Studies whose runs differ in the method only, with the data they are about. One that has no rows yet is left out.
COMPARED = {"ideas": "Fashion-MNIST", "words": "ten spoken words", "cifar-methods": "CIFAR-10 (a JPEG copy)"}
CLOSE = 1.0  # points of accuracy that a need may cost


@dataclass(frozen=True)
class Need:
    """What somebody wants of a network.

    Attributes:
        name: in two or three words.
        suits: the comparison -> which of its methods come into question, a bool for each.
        by: the column that decides between them.
        least: whether the least value is the best one.
    """

    name: str
    suits: Callable[[pd.DataFrame], pd.Series]
    by: str = "accuracy"
    least: bool = False


def _near_float(table: pd.DataFrame) -> pd.Series:
    """Float and what loses less than a point against it."""
    return table["accuracy"] > table.loc[table["widths"] == "W32A32", "accuracy"].max() - CLOSE


def _all_signs(table: pd.DataFrame) -> pd.Series:
    return table["widths"] == "W1A1"


def _good_signs(table: pd.DataFrame) -> pd.Series:
    return _all_signs(table) & (table["accuracy"] > table.loc[_all_signs(table), "accuracy"].max() - CLOSE)


# In two bits or fewer, but for the second, which may be met by float itself.
NEEDS = (
    Need("most accurate", lambda table: table["widths"] != "W32A32"),
    Need("smallest near float", _near_float, "bytes", least=True),
    Need("signs only", _all_signs),
    Need("smallest of signs only", _good_signs, "bytes", least=True),
    Need("shortest training", lambda table: table["widths"] != "W32A32", "step", least=True),
)


def compared() -> dict[str, pd.DataFrame]:
    """The comparisons of the course that have rows, by the name of their study."""
    return {name: comparison(name) for name in COMPARED if store_of(name).finished()}


def recommend(table: pd.DataFrame) -> pd.DataFrame:
    """A method for each need.

    Args:
        table: rows of :func:`~bnnlib.studies.comparison`.

    Returns:
        A row for each of :data:`NEEDS` that some method meets: ``method``, its ``accuracy`` (%), ``bytes`` and
        ``step``, and ``as good``: other methods that come into question and can't be told from it. Where accuracy
        decides, the ranges of their seeds overlap its own; where bytes or time decide, they have exactly the same value
        besides, and the most accurate of these is the one that is named.
    """
    rows = []
    for need in NEEDS:
        candidates = table[need.suits(table) & table[need.by].notna()].sort_values("accuracy", ascending=False)
        if not len(candidates):
            continue
        best = candidates[need.by].astype(float)
        name = best.idxmin() if need.least else best.idxmax()
        chosen, others = candidates.loc[name], candidates.drop(index=name)
        level = others["most"] >= chosen["least"]
        if need.by != "accuracy":
            level &= others[need.by] == chosen[need.by]
        rows.append(
            {
                "need": need.name,
                "method": name,
                **{column: chosen[column] for column in ("accuracy", "bytes", "step")},
                "as good": "; ".join(others.index[level]),
            }
        )
    return pd.DataFrame(rows).set_index("need")
