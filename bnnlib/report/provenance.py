"""A line that says where stored figures come from."""

import textwrap

import pandas as pd

__all__ = ["measured_line", "provenance_line"]


def provenance_line(runs: pd.DataFrame) -> str:
    """How many runs, made when, on what, from which commits: to be printed beside a figure."""
    if not len(runs):
        return "no run is finished yet"

    def each(column: str) -> str:  # a resumed run may have several commits, or processors, in one cell
        return ", ".join(dict.fromkeys(part for cell in runs[column] for part in str(cell).split("; ")))

    dates = sorted(str(d)[:10] for d in runs["date"])
    when = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    line = (
        f"{len(runs)} runs, {when}, {each('processor')}, {each('threads')} thread(s) each, torch {each('torch')}, "
        f"commit {each('commit')}, {runs['train_seconds'].sum() / 3600:.2g} hours of training"
    )
    return textwrap.fill(line, 74)


def measured_line(table: pd.DataFrame) -> str:
    """When, on what and from which commit a table of ``bnnlib bench`` was measured: to be printed beside it."""
    row = table.iloc[0]
    line = (
        f"measured {str(row['date'])[:10]} on {row['processor']} at {row['ghz']} GHz, caches {row['cache_sizes']}, "
        f"load {row['load']}, instruction set {row['isa']}, torch {row['torch']}, numpy {row['numpy']}, "
        f"commit {row['commit']}"
    )
    return textwrap.fill(line, 74)
