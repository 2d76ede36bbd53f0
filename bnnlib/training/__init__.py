"""Training: settings, the loop, what is recorded, and evaluation."""

from bnnlib.training.evaluate import accuracy, reestimate_batch_norm, scores
from bnnlib.training.fit import FitResult, fit, seeded
from bnnlib.training.record import EpochRecord, History
from bnnlib.training.settings import Settings

__all__ = [
    "EpochRecord", "FitResult", "History", "Settings", "accuracy", "fit", "reestimate_batch_norm", "scores", "seeded",
]  # fmt: skip
