"""Tables, statistics over seeds, plots."""

from bnnlib.report.classes import class_accuracy, confusion
from bnnlib.report.detection import CLIPS, alarm_threshold, count_interval, det_curve, events, operating_point
from bnnlib.report.gains import compare_gains, rank_correlation, resampled_gains
from bnnlib.report.methods import methods_plot, methods_table
from bnnlib.report.plots import (
    class_heatmap,
    colour,
    confusion_heatmap,
    curves,
    histogram_drift,
    image_grid,
    panels,
    points_by_arm,
    style,
)
from bnnlib.report.provenance import measured_line, provenance_line
from bnnlib.report.resampling import (
    compare_means,
    compare_spread,
    detectable_ratio,
    resampled_accuracy,
    resampled_differences,
)
from bnnlib.report.schematics import block_orders, image_road, latent_weight, word_of_signs
from bnnlib.report.statistics import half_width, paired_difference, paired_tests, summarise

__all__ = [
    "CLIPS", "alarm_threshold", "block_orders", "class_accuracy", "class_heatmap", "colour", "compare_gains",
    "compare_means", "compare_spread", "confusion", "confusion_heatmap", "count_interval", "curves", "det_curve",
    "detectable_ratio", "events", "half_width", "histogram_drift", "image_grid", "image_road", "latent_weight",
    "measured_line", "methods_plot", "methods_table", "operating_point", "paired_difference", "paired_tests", "panels",
    "points_by_arm", "provenance_line", "rank_correlation", "resampled_accuracy", "resampled_differences",
    "resampled_gains", "style", "summarise", "word_of_signs",
]  # fmt: skip
