"""The reproduction ledger: figures that others claim, beside ours, which are computed from the stored results."""

from pathlib import Path

import pandas as pd

from bnnlib.data import CLASSES
from bnnlib.studies.registry import store_of

__all__ = ["COLUMNS", "claims", "ledger"]

COLUMNS = ("id", "quantity", "unit", "claimed", "by", "study", "arm", "value", "why they differ")


def claims(path: Path) -> pd.DataFrame:
    """The claimed figures, indexed by id. ``study``, ``arm`` and ``value`` say where ours is found, if it is: runs
    of an arm, or, for a study ``bench/NAME``, the rows of that table for which the pandas query ``arm`` holds, and a
    column or an expression of columns.

    Raises:
        ValueError: a column is missing, an id occurs twice, or a row lacks its claim, source or comment.
    """
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if tuple(table.columns) != COLUMNS:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}, received {', '.join(table.columns)}")
    if (doubles := table.loc[table["id"].duplicated(), "id"]).size:
        raise ValueError(f"{path} holds twice: {', '.join(doubles)}")
    for column in ("quantity", "claimed", "by", "why they differ"):
        if (empty := table.loc[table[column] == "", "id"]).size:
            raise ValueError(f"{path}: no {column!r} in row {', '.join(empty)}")
    return table.set_index("id")


def ledger(results: Path) -> pd.DataFrame:
    """The claims with our figures beside them: a column ``ours`` of text, "" where we have none.

    Args:
        results: folder that holds ``ledger.csv`` and the studies' folders.
    """
    table = claims(results / "ledger.csv")
    ours = [_ours(results, row.study, row.arm, row.value) for row in table.itertuples()]
    table.insert(table.columns.get_loc("by") + 1, "ours", ours)
    return table.drop(columns=["study", "arm", "value"])


def _ours(results: Path, study: str, arm: str, value: str) -> str:
    from bnnlib.report import class_accuracy, half_width  # see bnnlib.studies.comparison
    from bnnlib.report.statistics import MIN_FOR_INTERVAL

    if not study:
        return ""
    if study.startswith("bench/"):
        return _measured(results / f"{study}.csv", arm, value)
    store = store_of(study, results)
    runs = store.runs()
    runs = runs[runs["arm"] == arm] if len(runs) else runs
    if not len(runs):
        return ""
    if value.startswith("class:"):
        classes = class_accuracy((store.outputs(run) for run in runs.index), CLASSES[runs["dataset"].iloc[0]])
        numbers = classes.loc[value.removeprefix("class:")].to_numpy()
    elif value == "test_error":
        numbers = 100 - runs["test_accuracy"].to_numpy(float)
    else:
        numbers = runs[value].to_numpy(float)
    if len(numbers) == 1:
        return f"{numbers[0]:.2f} (one training)"
    if len(numbers) < MIN_FOR_INTERVAL:
        return f"{numbers.mean():.2f} ({len(numbers)} seeds: {numbers.min():.2f} to {numbers.max():.2f})"
    return f"{numbers.mean():.2f} ± {half_width(numbers):.2f} ({len(numbers)} seeds)"


def _measured(path: Path, query: str, value: str) -> str:
    """For each processor the smallest figure among a bench's rows: the ratio to the best of several contenders."""
    if not path.exists():
        return ""
    rows = pd.read_csv(path).query(query)
    rows = rows.assign(figure=rows.eval(value))
    best = rows.loc[rows.groupby("processor", sort=False)["figure"].idxmin()]
    return "; ".join(
        f"{row['figure']:.1f} ({row['processor']}, {row['contender']}, {row['threads']} thread)"
        for _, row in best.iterrows()
    )
