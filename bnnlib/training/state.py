"""What a training must keep to go on where it stopped, and the epoch that is reported."""

import hashlib
import io
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from bnnlib.catalogue import Method
from bnnlib.data import Splits
from bnnlib.files import Damaged, replaced, sealed, unsealed
from bnnlib.provenance import provenance
from bnnlib.training.evaluate import accuracy, balanced_accuracy, reestimate_batch_norm, scores
from bnnlib.training.history import EpochRecord, History
from bnnlib.training.objective import Objective
from bnnlib.training.settings import Settings

SELECTION_SIZE = 5000  # with fewer validation samples an epoch is not chosen: the last one of the schedule is reported


def description(
    model: nn.Module, method: Method, splits: Splits, settings: Settings, teacher: nn.Module | None
) -> dict[str, Any]:
    """What a training is, as plain data; the device is left out: it says where, not what."""
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    return {
        "network": hashlib.sha256(f"{model} {shapes}".encode()).hexdigest(),
        "settings": {name: value for name, value in asdict(settings).items() if name != "device"},
        "method": method.describe(),
        "data": splits.description,
        "teacher": None if teacher is None else digest(teacher),
    }


def digest(model: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers, in hexadecimal."""
    whole = hashlib.sha256()
    for name, value in model.state_dict().items():
        whole.update(name.encode())
        whole.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return whole.hexdigest()


@dataclass
class TrainingState:
    """Everything a training needs to go on: weights, optimiser, schedule, records, and the reported epoch so far.

    Attributes:
        described: what the training is; a checkpoint of another one is refused.
        history: every epoch so far.
        best: the reported epoch so far: its number, state, scores.
        sessions: the circumstances of each session that the training has gone through.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    described: dict[str, Any]
    device: str
    history: History = field(default_factory=History)
    best: dict[str, Any] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self):
        self.sessions.append(provenance(self.device))

    def evaluate(
        self, figures: dict, begun: float, method: Method, splits: Splits, settings: Settings, objective: Objective
    ) -> EpochRecord:
        """Evaluates the epoch that began at ``begun`` (``time.perf_counter``); keeps it if it is to be reported."""
        trained = {name: value.detach().cpu().clone() for name, value in self.model.named_buffers()}
        if method.stochastic:  # the running statistics belong to sampled weights, not to those evaluated
            reestimate_batch_norm(self.model, splits.train)
        validation = scores(self.model, splits.validation)
        opened = splits.test is not None and (settings.select != "last" or figures["epoch"] == settings.epochs)
        test = scores(self.model, splits.test) if opened else None
        record = EpochRecord(
            **figures,
            seconds=time.perf_counter() - begun,
            validation_loss=objective.on_evaluation(validation, splits.validation.labels).item(),
            **_accuracies("validation", validation, splits.validation.labels),
            **_accuracies("test", test, None if test is None else splits.test.labels),
        )
        self.history.epochs.append(record)
        of_class = settings.select == "balanced-accuracy"
        judged = record.validation_balanced_accuracy if of_class else record.validation_accuracy
        chosen = settings.select != "last" and len(splits.validation) >= SELECTION_SIZE
        if not self.best or not chosen or judged > self.best["judged"]:
            self.best = {
                "epoch": record.epoch,
                "judged": judged,
                "state": {name: value.detach().cpu().clone() for name, value in self.model.state_dict().items()},
                "trained_statistics": trained,
                "validation_scores": validation,
                "test_scores": test,
            }
        self.model.load_state_dict(trained, strict=False)
        return record

    def save(self, path: Path) -> None:
        """Writes the checkpoint, sealed, in one step."""
        kept = {
            "described": self.described,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "epochs": [asdict(record) for record in self.history.epochs],
            "histograms": self.history.histograms,
            "layers": self.history.layers,
            "best": self.best,
            "sessions": self.sessions,
        }
        content = io.BytesIO()
        torch.save(kept, content)
        whole = sealed(content.getvalue())
        replaced(path, lambda partial: partial.write_bytes(whole), size=len(whole))

    def restore(self, path: Path) -> None:
        """Goes back to a checkpoint.

        Raises:
            Damaged: it is no checkpoint, or any bit of it has changed.
            ValueError: it belongs to another training, or was written with another number of threads, which is part of
                what makes a training repeatable.
        """
        try:
            kept = torch.load(io.BytesIO(unsealed(path)), map_location="cpu", weights_only=True)
            described, sessions = kept["described"], kept["sessions"]
        except (RuntimeError, EOFError, UnpicklingError, KeyError, TypeError) as error:
            raise Damaged(f"{path} is no checkpoint of a training ({error}); delete it to begin anew") from error
        if described != self.described:
            differs = "; ".join(
                f"{name}: it has {described.get(name)}, wanted is {value}"
                for name, value in self.described.items()
                if described.get(name) != value
            )
            raise ValueError(f"checkpoint {path} belongs to another training ({differs}); delete it, or name another")
        threads, now = sessions[-1]["threads"], self.sessions[-1]["threads"]
        if threads != now and self.device == "cpu":
            raise ValueError(
                f"{path.stem} was begun with {threads} threads and would go on with {now}: give {threads} threads "
                f"(--threads, torch.set_num_threads), or delete {path} to begin anew"
            )
        self.model.load_state_dict(kept["model"])
        self.optimizer.load_state_dict(kept["optimizer"])
        self.schedule.load_state_dict(kept["schedule"])
        self.history = History([EpochRecord(**record) for record in kept["epochs"]], kept["histograms"], kept["layers"])
        self.best = kept["best"]
        self.sessions = [*sessions, *self.sessions]


def _accuracies(part: str, scored: Tensor | None, labels: Tensor | None) -> dict[str, float | None]:
    if scored is None:
        return {f"{part}_accuracy": None, f"{part}_balanced_accuracy": None}
    predicted = scored.argmax(1)
    return {
        f"{part}_accuracy": accuracy(predicted, labels),
        f"{part}_balanced_accuracy": balanced_accuracy(predicted, labels),
    }
