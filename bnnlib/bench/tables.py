"""The stored tables of ``bnnlib bench``: a file for each benchmark, with the rows of every processor it ran on."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bnnlib.files import replaced

__all__ = ["store", "stored"]


def stored(path: Path) -> dict[str, pd.DataFrame]:
    """The tables of a benchmark by processor, in the order in which they were first stored."""
    table = pd.read_csv(path)
    return {processor: rows.reset_index(drop=True) for processor, rows in table.groupby("processor", sort=False)}


def store(table: pd.DataFrame, path: Path, by: Sequence[str] = ()) -> None:
    """Stores a table measured here, in place of this processor's earlier one; those of other processors stay.

    Args:
        table: with a column ``processor``, the same in all rows.
        path: of the benchmark's CSV file.
        by: columns that name a size: earlier rows of sizes that the new table lacks stay too.
    """
    tables = stored(path) if path.exists() else {}
    processor = table["processor"].iloc[0]
    if by and processor in tables:
        earlier, measured = tables[processor], set(table[list(by)].itertuples(index=False, name=None))
        keep = [size not in measured for size in earlier[list(by)].itertuples(index=False, name=None)]
        table = pd.concat([earlier[keep], table])
    tables[processor] = table
    replaced(path, lambda partial: pd.concat(tables.values()).to_csv(partial, index=False, lineterminator="\n"))
