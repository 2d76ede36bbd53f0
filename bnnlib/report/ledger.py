"""The reproduction ledger: figures that others claim, beside ours."""

from pathlib import Path

import pandas as pd

__all__ = ["COLUMNS", "read_ledger"]

COLUMNS = ("id", "quantity", "unit", "claimed", "by", "ours", "interval", "how", "why they differ")


def read_ledger(path: Path) -> pd.DataFrame:
    """The ledger as a table, indexed by id.

    Raises:
        ValueError: a column is missing, an id stands twice, or a row says nothing about its source or difference.
    """
    table = pd.read_csv(path, dtype={"id": str})
    if tuple(table.columns) != COLUMNS:
        raise ValueError(f"{path} must have the columns {', '.join(COLUMNS)}, received {', '.join(table.columns)}")
    if table["id"].duplicated().any():
        raise ValueError(f"{path} holds twice: {', '.join(table.loc[table['id'].duplicated(), 'id'])}")
    for column in ("quantity", "by", "how", "why they differ"):
        if table[column].isna().any():
            raise ValueError(f"{path}: no {column!r} in row {', '.join(table.loc[table[column].isna(), 'id'])}")
    return table.set_index("id")
