"""Training: settings, the loop, what is recorded, and evaluation."""

from bnnlib.training.diagnosis import Diagnosis, Fault, diagnose
from bnnlib.training.evaluate import accuracy, reestimate_batch_norm, scores
from bnnlib.training.fit import FitResult, fit, make_optimizer, parameter_groups, seeded
from bnnlib.training.record import EpochRecord, History
from bnnlib.training.settings import Settings

__all__ = [
    "Diagnosis", "EpochRecord", "Fault", "FitResult", "History", "Settings", "accuracy", "diagnose", "fit",
    "make_optimizer", "parameter_groups", "reestimate_batch_norm", "scores", "seeded",
]  # fmt: skip
