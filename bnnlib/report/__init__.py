"""Tables, statistics over seeds, plots."""

from bnnlib.report.classes import class_accuracy, confusion
from bnnlib.report.ledger import read_ledger
from bnnlib.report.plots import (
    class_heatmap,
    colour,
    confusion_heatmap,
    curves,
    histogram_drift,
    image_grid,
    points_by_arm,
    style,
)
from bnnlib.report.provenance import provenance_line
from bnnlib.report.statistics import half_width, paired_difference, summarise

__all__ = [
    "class_accuracy", "class_heatmap", "colour", "confusion", "confusion_heatmap", "curves", "half_width",
    "histogram_drift", "image_grid", "paired_difference", "points_by_arm", "provenance_line", "read_ledger", "style",
    "summarise",
]  # fmt: skip
