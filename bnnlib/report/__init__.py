"""Tables, statistics over seeds, plots."""

from bnnlib.report.statistics import half_width, paired_difference, summarise

__all__ = ["half_width", "paired_difference", "summarise"]
