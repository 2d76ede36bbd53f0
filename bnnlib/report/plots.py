"""The book's figures. One look everywhere: axes with units, a colour-blind-safe palette, a colour per method."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bnnlib.report.statistics import MIN_FOR_INTERVAL, half_width

__all__ = [
    "class_heatmap", "colour", "confusion_heatmap", "curves", "histogram_drift", "image_grid", "panels",
    "points_by_arm", "style",
]  # fmt: skip

# Okabe and Ito's palette; a method or an arm keeps its colour in every chapter.
_COLOURS = {
    "float": "#000000",
    "no regulariser": "#000000",
    "deterministic": "#0072B2",
    "stochastic": "#D55E00",
    "dropout 50 %": "#009E73",
    **{f"{family}-naive": "#D55E00" for family in ("bwn", "xnor")},
    **{f"{family}-allenai": "#0072B2" for family in ("bwn", "xnor")},
    **{f"{family}-operator": "#56B4E9" for family in ("bwn", "xnor")},
    "xnor-port": "#CC79A7",
    **{"K = 1": "#0072B2", "K = 2": "#009E73", "K = 3": "#D55E00"},
    "lsq-w2a2": "#009E73",
    "lsq-w2a32": "#009E73",
    "all-binary": "#0072B2",
    "float twin": "#000000",
}
_OTHER = "#56565C"


def colour(arm: str) -> str:
    """The colour of an arm ("deterministic") or of a method ("binaryconnect-deterministic") everywhere in the book."""
    name = arm.removeprefix("binaryconnect-").split(",")[0]
    return _COLOURS.get(name, _OTHER)


def style() -> None:
    """Sets the look of all figures.

    The ground is transparent, so that a page can show figures on a dark ground with their lightness turned round (the
    book's style sheet does). Small enough for a telephone: 6 inches wide, letters of 9 points.
    """
    sns.set_theme(context="paper", style="whitegrid", font_scale=1.0)
    plt.rcParams.update(
        {
            "figure.figsize": (6.0, 3.3),
            "figure.dpi": 144,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "axes.titlesize": "medium",
            "savefig.bbox": "tight",
            "savefig.facecolor": "none",
            "legend.framealpha": 0.7,
            "legend.facecolor": "white",
        }
    )


def panels(count: int, width: float = 4.0, height: float = 3.0) -> tuple[Axes, ...]:
    """Axes of ``count`` figures of their own, for figures that belong side by side.

    In a cell tagged ``panels`` (or ``panels-3``, for three in a row) the book puts them beside each other on a wide
    page and below each other on a narrow one.

    Args:
        width, height: of each, in inches.
    """
    return tuple(plt.subplots(figsize=(width, height), layout="constrained")[1] for _ in range(count))


def curves(
    epochs: pd.DataFrame,
    value: str,
    label: str,
    *,
    by: str = "arm",
    ax: Axes | None = None,
    title: str = "",
) -> Axes:
    """A figure by epoch: the mean over seeds, with the 95 % interval (or, below four seeds, the range) as a band.

    Args:
        epochs: rows with ``by``, ``epoch`` and ``value``; several rows of an epoch are seeds. Of a study's ``store``:
            ``store.epochs().join(store.runs()["arm"], on="run")``.
        label: of the vertical axis, with its unit.
    """
    ax = ax or plt.subplots()[1]
    for name, group in epochs.groupby(by, sort=False):
        grouped = group.groupby("epoch")[value]
        mean = grouped.mean()
        if grouped.size().max() >= MIN_FOR_INTERVAL:
            wide = grouped.apply(half_width)
            low, high = mean - wide, mean + wide
        else:
            low, high = grouped.min(), grouped.max()
        ax.plot(mean.index, mean, label=name, color=colour(str(name)), marker=".", markersize=5)
        ax.fill_between(mean.index, low, high, color=colour(str(name)), alpha=0.18, linewidth=0)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel=label, title=title)
    ax.legend()
    return ax


def points_by_arm(
    runs: pd.DataFrame,
    value: str = "test_accuracy",
    label: str = "test accuracy (%)",
    *,
    by: str = "arm",
    reference: float | None = None,
    reference_name: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Every seed of every arm as a point, arms from top to bottom, with the mean as a bar across."""
    names = list(dict.fromkeys(runs[by]))
    ax = ax or plt.subplots(figsize=(6, 0.3 * len(names) + 1.0))[1]
    for row, name in enumerate(names):
        values = runs.loc[runs[by] == name, value].to_numpy(float)
        ax.plot(values, np.full(len(values), row), "o", color=colour(name), alpha=0.75, markersize=6, clip_on=False)
        ax.plot([values.mean()] * 2, [row - 0.28, row + 0.28], color=colour(name), linewidth=2)
    if reference is not None:
        ax.axvline(reference, color="0.4", linestyle="--", linewidth=1)
        ax.text(reference, -0.75, reference_name, ha="center", va="bottom", fontsize="small", color="0.3")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.6)
    ax.set_xlabel(label)
    return ax


def confusion_heatmap(matrix: np.ndarray, classes: Sequence[str], *, ax: Axes | None = None, title: str = "") -> Axes:
    """Rows are true classes, columns predicted ones, in percent of the row; the diagonal is left out of the colours."""
    ax = ax or plt.subplots(figsize=(6.0, 5.0))[1]
    share = 100 * matrix / matrix.sum(1, keepdims=True)
    ax.grid(visible=False)
    errors = np.where(np.eye(len(classes), dtype=bool), np.nan, share)
    sns.heatmap(errors, cmap="Oranges", vmin=0, ax=ax, xticklabels=classes, yticklabels=classes, square=True,
                cbar_kws={"label": "mistaken for (% of the class)"}, linewidths=0.4)  # fmt: skip
    for (row, column), v in np.ndenumerate(share):
        if row == column or v >= 1:
            ax.text(column + 0.5, row + 0.5, f"{v:.0f}", ha="center", va="center", fontsize=7,
                    color="0.1" if row == column or v < np.nanmax(errors) / 2 else "1.0")  # fmt: skip
    ax.set(xlabel="predicted", ylabel="true", title=title)
    return ax


def class_heatmap(table: pd.DataFrame, label: str, *, ax: Axes | None = None, centre: float | None = None) -> Axes:
    """A table of classes (rows) by arms (columns) as colours with the numbers in them."""
    ax = ax or plt.subplots(figsize=(min(6.0, 2.2 + 1.1 * table.shape[1]), 4.2))[1]
    options = {"cmap": "viridis"} if centre is None else {"cmap": "vlag_r", "center": centre}
    sns.heatmap(table, annot=True, fmt=".1f", ax=ax, cbar_kws={"label": label}, linewidths=0.4, **options)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="x", rotation=20)
    return ax


def histogram_drift(counts: Mapping[str, np.ndarray], rows: Sequence[int] | None = None) -> Figure:
    """How latent weights move to the ends of [-1, 1]: for each layer, histograms after some epochs.

    Args:
        counts: layer -> (epochs + 1, bins) counts; row 0 is the initialisation.
        rows: the epochs to draw; first, second, middle and last by default.
    """
    lines = -(-len(counts) // 3)
    fig, axes = plt.subplots(lines, 3, figsize=(6, 1.9 * lines), sharey=True, sharex=True, squeeze=False)
    for ax in axes.flat[len(counts) :]:
        ax.axis("off")
    for ax, (name, table) in zip(axes.flat, counts.items(), strict=False):
        table = np.asarray(table)
        chosen = rows or sorted({0, 1, len(table) // 2, len(table) - 1})
        centres = np.linspace(-1, 1, table.shape[1] + 1)
        for shade, row in zip(np.linspace(0.75, 0.0, len(chosen)), chosen, strict=True):
            ax.stairs(100 * table[row] / table[row].sum(), centres, color=plt.cm.viridis(shade), label=f"epoch {row}")
        ax.set(title=name, yscale="log")
    for ax in axes[-1]:
        ax.set_xlabel("latent weight")
    for ax in axes[:, 0]:
        ax.set_ylabel("share of weights (%)")
    axes[0, 0].legend(fontsize="x-small", loc="upper center", ncols=2)
    fig.tight_layout()
    return fig


def image_grid(
    images: np.ndarray, titles: Sequence[str] = (), *, columns: int = 8, limit: float | None = None
) -> Figure:
    """Small grey pictures, shape (N, H, W), with titles of two lines at most; ``limit`` makes the scale symmetric."""
    count = len(images)
    lines = -(-count // columns)
    side = min(0.95, 6.0 / columns)  # inches
    height = side + 0.3 * bool(titles)
    fig, axes = plt.subplots(lines, columns, figsize=(side * columns, height * lines), squeeze=False)
    for index, ax in enumerate(axes.flat):
        ax.axis("off")
        if index < count:
            options = {"cmap": "gray_r"} if limit is None else {"cmap": "vlag", "vmin": -limit, "vmax": limit}
            ax.imshow(images[index], **options)
            if titles:
                ax.set_title(titles[index], fontsize=7, pad=2)
    fig.tight_layout(pad=0.3)
    return fig
