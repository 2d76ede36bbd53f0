"""Methods beside each other: the table and the figure of :func:`bnnlib.studies.comparison`."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

__all__ = ["methods_plot", "methods_table"]

# By the bits of weights and activations; Okabe and Ito's palette.
WIDTH_COLOURS = {
    "W32A32": "#000000",
    "W1A32": "#0072B2",
    "W1.58A32": "#56B4E9",
    "W2A32": "#56B4E9",
    "W2A2": "#009E73",
    "W1A1": "#D55E00",
}
OTHER = "#56565C"
TO = "\u2060–\u2060"  # a dash at which no line ends


def methods_table(table: pd.DataFrame) -> pd.DataFrame:
    """A comparison for readers: a row for each method, words with units above the columns.

    Args:
        table: rows of :func:`bnnlib.studies.comparison`.

    Returns:
        Accuracy as its mean, with the half-width of the 95 % interval from four seeds on, and the range over seeds;
        kB of the packed network; multiply-accumulates in millions, on bits (or two-bit codes, where it says so) and
        with a real number in them; the time of a training step (float = 1), where it was measured.
    """
    shown = pd.DataFrame(index=table.index)
    shown["bits"] = table["widths"]
    wide = table["± 95 %"].map(lambda v: "" if pd.isna(v) else f" ± {v:.2f}")
    shown["test accuracy (%)"] = table["accuracy"].map("{:.2f}".format) + wide
    shown["over seeds"] = table["least"].map("{:.2f}".format) + TO + table["most"].map("{:.2f}".format)
    shown["seeds"] = table["seeds"].astype(int)
    shown["kB"] = (table["bytes"] / 1000).round().astype(int)
    one, two = (table[column] / 1e6 for column in ("1-bit MACs", "2-bit MACs"))
    shown["MACs on bits (M)"] = [f"{b:.1f} (2-bit)" if b else f"{a:.1f}" for a, b in zip(one, two, strict=True)]
    shown["real MACs (M)"] = (table["real MACs"] / 1e6).round(1)
    step = table["step"].astype(float)
    if step.notna().any():
        shown["step (float = 1)"] = step.map(lambda ratio: "" if pd.isna(ratio) else f"{ratio:.2f}")
    return shown


def methods_plot(table: pd.DataFrame, values: pd.Series, label: str, *, ax: Axes | None = None) -> Axes:
    """Accuracy against what it costs: a point for each method, its range over seeds as a bar, its name beside it.

    Args:
        table: rows of :func:`bnnlib.studies.comparison`; methods are coloured by the bits of weights and activations.
        values: of the horizontal axis, by method; methods without a value are left out.
        label: of the horizontal axis, with its unit.
    """
    ax = ax or plt.subplots()[1]
    table = table.loc[values.dropna().index].sort_values("accuracy")
    for name, row in table.iterrows():
        colour = WIDTH_COLOURS.get(row["widths"], OTHER)
        ax.plot([values[name]] * 2, [row["least"], row["most"]], color=colour, linewidth=1)
        ax.plot(values[name], row["accuracy"], "o", color=colour, markersize=4)
    low, high = table["least"].min(), table["most"].max()
    ax.set(xlabel=label, ylabel="test accuracy (%)", ylim=(low - 0.1 * (high - low), high + 0.1 * (high - low)))
    heights = _apart(table["accuracy"].to_numpy(float), least=0.066 * (high - low))
    for (name, row), height in zip(table.iterrows(), heights, strict=True):
        colour = WIDTH_COLOURS.get(row["widths"], OTHER)
        ax.annotate(
            name,
            (values[name], row["accuracy"]),
            (1.02, height),
            textcoords=ax.get_yaxis_transform(),
            va="center",
            fontsize=7,
            color=colour,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.4, "alpha": 0.5},
        )
    return ax


def _apart(places: np.ndarray, least: float) -> np.ndarray:
    """Sorted places moved as little as a sweep does it, so that neighbours are ``least`` apart."""
    moved = places.copy()
    for _ in range(200):
        close = np.diff(moved) < least - 1e-9
        if not close.any():
            break
        for i in np.flatnonzero(close):
            centre = (moved[i] + moved[i + 1]) / 2
            moved[i], moved[i + 1] = min(moved[i], centre - least / 2), max(moved[i + 1], centre + least / 2)
    return moved
