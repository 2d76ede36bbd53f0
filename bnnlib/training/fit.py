"""The training loop, the same for every method and every kind of data."""

import copy
import math
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.catalogue import Method
from bnnlib.data import Splits
from bnnlib.layers import quantized_layers
from bnnlib.quantizers import Identity
from bnnlib.training.history import History
from bnnlib.training.measurements import LatentMeasurements, LayerMeasurements, dead_filters
from bnnlib.training.objective import Objective
from bnnlib.training.observers import Observer, ProgressBar
from bnnlib.training.optimization import make_optimizer, make_schedule
from bnnlib.training.precision import full_float32
from bnnlib.training.settings import Settings
from bnnlib.training.state import TrainingState, description

__all__ = ["FitResult", "fit", "seeded"]


@dataclass(repr=False)
class FitResult:
    """A trained network and how it got there.

    Attributes:
        model: the network that was evaluated: weights and batch-norm statistics of the reported epoch, on the CPU.
        device: where it was trained: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        trained_statistics: its batch-norm buffers as training left them, before any re-estimation.
        epoch: the reported epoch, as ``Settings.select`` chooses it.
        history: every epoch.
        validation_scores, test_scores: (N, classes) float32 at the reported epoch; None without a test split.
        sessions: commit, versions, processor, threads and date of each session of the training.
    """

    model: nn.Module
    device: str
    trained_statistics: dict[str, Tensor]
    epoch: int
    history: History
    validation_scores: Tensor
    test_scores: Tensor | None
    sessions: list[dict[str, Any]]

    def __repr__(self) -> str:
        reported = self.history.epochs[self.epoch - 1]
        return (
            f"FitResult of {type(self.model).__name__}: epoch {self.epoch} of {len(self.history.epochs)}, "
            f"validation {reported.validation_accuracy:.2f} %"
        )


@full_float32()
def fit(
    model: nn.Module,
    method: str | Method,
    splits: Splits,
    settings: Settings | None = None,
    *,
    teacher: nn.Module | None = None,
    checkpoint: Path | str | None = None,
    observers: Sequence[Observer] = (),
    progress: bool = False,
) -> FitResult:
    """Trains a network under a method.

    The same arguments give the same result on the same machine with the same number of threads, interrupted or not.

    Args:
        model: built for ``method``; changed in place. Its initial weights are the caller's (see :func:`seeded` and
            :func:`~bnnlib.training.start_from`).
        method: a name of ``bnnlib.methods`` or a record.
        splits: the data; the test split is only ever evaluated, never used for a choice.
        settings: see :class:`~bnnlib.training.Settings`; its defaults if None.
        teacher: a trained network whose scores the objective compares with (ReActNet's loss, or distillation); it must
            take the same inputs and is left as it is.
        checkpoint: a file that is rewritten (atomically) after every epoch; if it exists, training goes on from it.
        observers: who looks on; see :class:`~bnnlib.training.Observer`.
        progress: draw a bar with the time left.

    Returns:
        A :class:`FitResult`: the network of the reported epoch, every epoch's record, the scores.

    Raises:
        ValueError: the training set is smaller than a batch; the model was built for another method; the objective
            wants a teacher and none is given, or makes no use of one; a checkpoint belongs to another training or
            thread count, or is damaged (:class:`bnnlib.files.Damaged`).
        FloatingPointError: the loss is no longer finite, or a weight.
    """
    method, settings = catalogue.get(method), settings or Settings()
    _check(model, method, splits, settings, teacher)
    objective = Objective.of(method, settings)
    # Begin. Fabric would otherwise take a SLURM job that this process happens to run in for one of its own.
    fabric = Fabric(
        accelerator=_accelerator(settings.device),
        devices=1,
        precision=settings.precision,
        plugins=[LightningEnvironment()],
    )
    steps = len(splits.train) // settings.batch_size
    optimizer = make_optimizer(model, method, settings)
    schedule = make_schedule(optimizer, settings, steps)
    prepared, stepper = fabric.setup(model, optimizer)
    described = description(model, method, splits, settings, teacher)
    state = TrainingState(model, optimizer, schedule, described, fabric.device.type)
    checkpoint = None if checkpoint is None else Path(checkpoint)
    if checkpoint is not None and checkpoint.exists():
        state.restore(checkpoint)
    if teacher is not None:
        teacher = copy.deepcopy(teacher).to(fabric.device).eval()
    latent, inside = LatentMeasurements(model), LayerMeasurements(model)
    if not state.history.epochs:
        state.history.histograms = {name: [row] for name, row in latent.histograms().items()}
    observers = [*observers, *([ProgressBar()] if progress else [])]
    done = len(state.history.epochs)
    try:
        for observer in observers:
            observer.begin(method.name, settings.epochs, steps, done)
        for epoch in range(done + 1, settings.epochs + 1):
            # Epoch.
            begun = time.perf_counter()
            seeded(settings.seed, epoch)
            order = torch.randperm(len(splits.train))
            losses = torch.zeros((), device=fabric.device)  # summed where they arise: the step need not wait for them
            right = torch.zeros((), dtype=torch.long, device=fabric.device)
            method.on_epoch(model, (epoch - 1) / settings.epochs)
            prepared.train()
            for step in range(steps):
                # Step.
                index = order[step * settings.batch_size : (step + 1) * settings.batch_size]
                inputs = splits.train.inputs(index, draw=torch.default_generator).to(fabric.device)
                labels = splits.train.labels[index].to(fabric.device)
                measured = inside.begin(step)
                method.before_forward(model)
                scores = prepared(inputs)
                if step == 0:
                    _check_scores(scores, splits)
                loss = objective(scores.float(), labels, None if teacher is None else _scores_of(teacher, inputs))
                stepper.zero_grad(set_to_none=True)
                fabric.backward(loss)
                method.after_backward(model)
                if measured:
                    inside.before_step()
                stepper.step()
                schedule.step()
                method.after_step(model)
                if measured:
                    inside.after_step()
                losses += loss.detach()
                right += (scores.argmax(1) == labels).sum()
                for observer in observers:
                    observer.step(epoch, step + 1, steps)
            figures = {
                "epoch": epoch,
                "train_seconds": time.perf_counter() - begun,
                "train_loss": _finite(losses.item() / steps, epoch, method, settings),
                "train_accuracy": 100 * right.item() / (steps * settings.batch_size),
                "learning_rate": schedule.get_last_lr()[0],
                "flips": latent.flips(),
                "saturated": latent.saturated(),
            }
            _check_weights(model, epoch, method, settings)
            # Evaluate.
            record = state.evaluate(figures, begun, method, splits, settings, objective)
            state.history.layers += inside.epoch(epoch)
            for name, row in latent.histograms().items():
                state.history.histograms[name].append(row)
            # Save.
            if checkpoint is not None:
                state.save(checkpoint)
            for observer in observers:
                observer.epoch(record)
    finally:
        inside.close()
        for observer in observers:
            observer.end()
    return _result(state)


def seeded(seed: int, epoch: int = 0) -> None:
    """Seeds torch's generator for an epoch of a run; epoch 0 is for the initial weights.

    Each epoch starts from a seed of its own, so that a resumed run draws what an uninterrupted one would.
    """
    torch.manual_seed(seed * 1_000_003 + epoch)


def _check(
    model: nn.Module,
    method: Method,
    splits: Splits,
    settings: Settings,
    teacher: nn.Module | None,
) -> None:
    """Refuses what could only fail later, or would train something else than was asked for."""
    for name, value, kind in (
        ("model", model, nn.Module),
        ("splits", splits, Splits),
        ("settings", settings, Settings),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, received {value!r:.80}")
    if teacher is not None and not isinstance(teacher, nn.Module):
        raise TypeError(f"teacher must be a trained network, such as fit(...).model, received {teacher!r:.80}")
    if len(splits.train) < settings.batch_size:
        raise ValueError(
            f"batch_size {settings.batch_size} is larger than the training set ({len(splits.train)} samples)"
        )
    _check_built_for(model, method)
    for name, tensor in model.named_parameters():
        if tensor.dtype != torch.float32:
            raise ValueError(f"{name} is {tensor.dtype}; training takes float32 networks: model.float()")
    objective = Objective.of(method, settings)
    if objective.needs_teacher and teacher is None:
        raise ValueError(
            f"the objective of this training ({objective}) compares with a teacher: give teacher=fit(...).model of the "
            f'float twin, or train without one: fit(model, methods["{method.name}"].varied(loss="cross_entropy"), ...) '
            "with distillation=0"
        )
    if teacher is model:
        raise ValueError("a network cannot be its own teacher: give a copy of it, trained before")
    if teacher is not None and not objective.needs_teacher:
        raise ValueError(
            f"a teacher was given, but the objective ({objective}) makes no use of it: give Settings(distillation=...) "
            "above 0, or no teacher"
        )
    for name, count in dead_filters(model).items():
        warnings.warn(
            f"{count} filters of layer {name} are dead: their scale is zero, so they give zero whatever the input; "
            "look at their initial weights, and at centring with one input channel",
            stacklevel=3,
        )


def _check_built_for(model: nn.Module, method: Method) -> None:
    """Whether the layers have the method's quantizers; those of a first or last layer may be others."""
    layers = [layer for _, layer in quantized_layers(model)]
    if bool(layers) != (method.weight_bits < 32):
        kind = "quantized layers" if layers else "no quantized layer"
        raise ValueError(f"the model has {kind}, so it was not built for method {method.name}; build it with that name")
    for role, quantizer in method.quantizers(1, 1).items():
        found = {type(getattr(layer, role)) for layer in layers}
        if role == "input_quantizer" and found == {Identity}:  # a first layer alone, or signs that are not the layers'
            continue
        if layers and type(quantizer) not in found:
            raise ValueError(
                f"the model was not built for method {method.name}: none of its layers has the {role} "
                f"{type(quantizer).__name__}, they have {', '.join(sorted(each.__name__ for each in found))}; build it "
                "with that name"
            )


def _check_scores(scores: Tensor, splits: Splits) -> None:
    if scores.dim() != 2 or scores.shape[1] < len(splits.classes):
        raise ValueError(
            f"the network must give scores of shape (N, {len(splits.classes)}) for {len(splits.classes)} classes, it "
            f"gives {tuple(scores.shape)}"
        )


def _check_weights(model: nn.Module, epoch: int, method: Method, settings: Settings) -> None:
    """A sign hides NaN from the loss: the sign of NaN is -1."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FloatingPointError(
                f"{name} is no longer finite after epoch {epoch} of {method.name}: lower the learning rate (now "
                f"{settings.learning_rate:g}) or look for NaN in the data"
            )


def _result(state: TrainingState) -> FitResult:
    """The reported epoch's network and all that was kept of the training."""
    state.model.load_state_dict(state.best["state"])
    return FitResult(
        model=state.model.cpu().eval(),
        device=state.device,
        trained_statistics=state.best["trained_statistics"],
        epoch=state.best["epoch"],
        history=state.history,
        validation_scores=state.best["validation_scores"],
        test_scores=state.best["test_scores"],
        sessions=state.sessions,
    )


def _finite(loss: float, epoch: int, method: Method, settings: Settings) -> float:
    if not math.isfinite(loss):
        raise FloatingPointError(
            f"the training loss is {loss} in epoch {epoch} of {method.name}: lower the learning rate (now "
            f"{settings.learning_rate:g}) or look for NaN in the data"
        )
    return loss


@torch.no_grad()
def _scores_of(teacher: nn.Module, inputs: Tensor) -> Tensor:
    return teacher(inputs).float()


def _accelerator(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError('device "cuda" is not available on this machine; use "auto" or "cpu"')
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError('device "mps" is not available on this machine; use "auto" or "cpu"')
    return {"cuda": "gpu"}.get(device, device)
