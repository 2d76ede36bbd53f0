"""What a training must keep to go on where it stopped, and the best epoch so far."""

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from bnnlib.catalogue import Method
from bnnlib.data import ImageSplits
from bnnlib.training.evaluate import accuracy, reestimate_batch_norm, scores
from bnnlib.training.record import EpochRecord, History
from bnnlib.training.settings import Settings

SELECTION_SIZE = 5000  # with fewer validation images an epoch is not chosen: the last one of the schedule is reported


class TrainingState:
    """Everything a training needs to go on: weights, optimiser, schedule, records, and the best epoch so far."""

    def __init__(self, model: nn.Module, optimizer, schedule, settings: Settings, method: Method):
        self.model, self.optimizer, self.schedule = model, optimizer, schedule
        self.method = method
        self.described = {"settings": asdict(settings), "method": method.name}
        self.history = History()
        self.best: dict = {}

    def evaluated(self, splits: ImageSplits, loss_of: Callable, figures: dict) -> EpochRecord:
        """Evaluates the epoch that has just ended, keeps it if it is the best so far, and returns its record."""
        trained = {name: value.detach().cpu().clone() for name, value in self.model.named_buffers()}
        if self.method.stochastic:  # the running statistics belong to sampled weights, not to those evaluated
            reestimate_batch_norm(self.model, splits)
        validation = scores(self.model, splits.validation, splits)
        test = scores(self.model, splits.test, splits) if splits.test is not None else None
        record = EpochRecord(
            **figures,
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
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        torch.save(
            {
                **self.described,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "epochs": [asdict(record) for record in self.history.epochs],
                "histograms": self.history.histograms,
                "best": self.best,
            },
            partial,
        )
        os.replace(partial, path)

    def restore(self, path: Path) -> None:
        kept = torch.load(path, weights_only=True)
        if any(kept[key] != self.described[key] for key in self.described):
            raise ValueError(
                f"checkpoint {path} belongs to another training: it holds {kept['method']} with {kept['settings']}, "
                f"wanted is {self.described['method']} with {self.described['settings']}; delete it or name another"
            )
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.schedule.load_state_dict(kept["schedule"])
        self.history = History([EpochRecord(**record) for record in kept["epochs"]], kept["histograms"])
        self.best = kept["best"]
