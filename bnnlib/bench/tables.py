"""The stored tables of ``bnnlib bench``: a file for each benchmark, in it the rows of every processor it ran on."""

from pathlib import Path

import pandas as pd

from bnnlib.files import replaced

__all__ = ["store", "stored"]


def stored(path: Path) -> dict[str, pd.DataFrame]:
    """The tables of a benchmark by processor, in the order in which they were first stored."""
    table = pd.read_csv(path, float_precision="round_trip")
    return {processor: rows.reset_index(drop=True) for processor, rows in table.groupby("processor", sort=False)}


def store(table: pd.DataFrame, path: Path) -> None:
    """Stores a table that was measured here in the place of this processor's earlier one; others stay as they are."""
    tables = stored(path) if path.exists() else {}
    tables[table["processor"].iloc[0]] = table
    replaced(path, lambda partial: pd.concat(tables.values()).to_csv(partial, index=False, lineterminator="\n"))
