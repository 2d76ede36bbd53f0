"""Training: settings, the objective, the loop, what is recorded, and evaluation."""

from bnnlib.training.diagnosis import Diagnosis, Fault, diagnose
from bnnlib.training.evaluate import accuracy, balanced_accuracy, reestimate_batch_norm, scores
from bnnlib.training.fit import FitResult, fit, seeded
from bnnlib.training.history import EpochRecord, History
from bnnlib.training.objective import Objective
from bnnlib.training.observers import Observer, ProgressBar
from bnnlib.training.optimization import make_optimizer, make_schedule, parameter_groups
from bnnlib.training.settings import Settings
from bnnlib.training.start import start_from

__all__ = [
    "Diagnosis", "EpochRecord", "Fault", "FitResult", "History", "Objective", "Observer", "ProgressBar", "Settings",
    "accuracy", "balanced_accuracy", "diagnose", "fit", "make_optimizer", "make_schedule", "parameter_groups",
    "reestimate_batch_norm", "scores", "seeded", "start_from",
]  # fmt: skip
