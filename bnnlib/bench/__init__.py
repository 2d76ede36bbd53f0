"""Side-by-side measurements: medians of contenders that take turns in one run."""

from bnnlib.bench.steps import measure_steps
from bnnlib.bench.timing import side_by_side

__all__ = ["measure_steps", "side_by_side"]
