"""What a training must keep to go on where it stopped, and the best epoch so far."""

import time
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import nn

from bnnlib.catalogue import Method
from bnnlib.data import ImageSplits
from bnnlib.files import replaced
from bnnlib.losses import LOSSES
from bnnlib.training.evaluate import accuracy, reestimate_batch_norm, scores
from bnnlib.training.record import EpochRecord, History
from bnnlib.training.settings import Settings

SELECTION_SIZE = 5000  # with fewer validation images an epoch is not chosen: the last one of the schedule is reported


class TrainingState:
    """Everything a training needs to go on: weights, optimiser, schedule, records, and the best epoch so far."""

    def __init__(self, model: nn.Module, optimizer, schedule, settings: Settings, method: Method, splits: ImageSplits):
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.method, self.splits = method, splits
        self.described = {  # the device is left out: it says where, not what
            "settings": {name: value for name, value in asdict(settings).items() if name != "device"},
            "method": method.describe(),
            "data": f"{splits.name}, {splits.profile}, {len(splits.train)} images from {splits.train.ids[:3].tolist()}",
        }
        self.history = History()
        self.best: dict = {}

    def evaluated(self, figures: dict, begun: float) -> EpochRecord:
        """Evaluates the epoch that began at ``begun`` (``time.perf_counter``), keeps it if it is the best so far."""
        # a loss against a teacher has no labels: what is recorded on validation is then the cross-entropy
        loss_of = LOSSES["cross_entropy" if self.method.loss == "distributional" else self.method.loss]
        splits = self.splits
        trained = {name: value.detach().cpu().clone() for name, value in self.model.named_buffers()}
        if self.method.stochastic:  # the running statistics belong to sampled weights, not to those evaluated
            reestimate_batch_norm(self.model, splits)
        validation = scores(self.model, splits.validation, splits)
        test = scores(self.model, splits.test, splits) if splits.test is not None else None
        record = EpochRecord(
            **figures,
            seconds=time.perf_counter() - begun,
            validation_loss=loss_of(validation, splits.validation.labels).item(),
            validation_accuracy=accuracy(validation.argmax(1), splits.validation.labels),
            test_accuracy=None if test is None else accuracy(test.argmax(1), splits.test.labels),
        )
        self.history.epochs.append(record)
        chosen = len(splits.validation) >= SELECTION_SIZE
        if not self.best or not chosen or record.validation_accuracy > self.best["validation_accuracy"]:
            self.best = {
                "epoch": record.epoch,
                "validation_accuracy": record.validation_accuracy,
                "state": {name: value.detach().clone() for name, value in self.model.state_dict().items()},
                "trained_statistics": trained,
                "validation_scores": validation,
                "test_scores": test,
            }
        self.model.load_state_dict(trained, strict=False)
        return record

    def save(self, path: Path) -> None:
        """Writes the checkpoint, in one step."""
        kept = {
            "described": self.described,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epochs": [asdict(record) for record in self.history.epochs],
            "histograms": self.history.histograms,
            "layers": self.history.layers,
            "best": self.best,
        }
        replaced(path, lambda partial: torch.save(kept, partial))

    def restore(self, path: Path) -> None:
        """Goes back to a checkpoint.

        Raises:
            ValueError: it is damaged, or belongs to another training.
        """
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, UnpicklingError) as error:
            raise ValueError(f"checkpoint {path} is damaged ({error}); delete it to begin anew") from error
        if kept.get("described") != self.described:
            raise ValueError(
                f"checkpoint {path} belongs to another training: it holds {kept.get('described')}, wanted is "
                f"{self.described}; delete it or name another"
            )
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.schedule.load_state_dict(kept["schedule"])
        self.history = History([EpochRecord(**record) for record in kept["epochs"]], kept["histograms"], kept["layers"])
        self.best = kept["best"]
