"""Tables, statistics over seeds, plots."""

from bnnlib.report.classes import class_accuracy, confusion
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
from bnnlib.report.provenance import measured_line, provenance_line
from bnnlib.report.statistics import half_width, paired_difference, paired_tests, summarise

__all__ = [
    "class_accuracy", "class_heatmap", "colour", "confusion", "confusion_heatmap", "curves", "half_width",
    "histogram_drift", "image_grid", "measured_line", "paired_difference", "paired_tests", "points_by_arm",
    "provenance_line", "style", "summarise",
]  # fmt: skip
