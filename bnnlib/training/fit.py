"""The training loop, the same for every method."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from rich.progress import Progress
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.catalogue import Method
from bnnlib.data import ImageSplits
from bnnlib.layers import binary_layers
from bnnlib.losses import LOSSES
from bnnlib.training.augment import augmented
from bnnlib.training.record import EpochRecord, History, LatentWatch
from bnnlib.training.settings import Settings
from bnnlib.training.state import TrainingState

__all__ = ["FitResult", "fit", "parameter_groups", "seeded"]


@dataclass
class FitResult:
    """A trained network and how it got there.

    Attributes:
        model: the network that was evaluated: weights and batch-norm statistics of the reported epoch, on the CPU.
        device: where it was trained: ``"cpu"``, ``"cuda"`` or ``"mps"``.
        trained_statistics: its batch-norm buffers as training left them, before any re-estimation.
        epoch: the reported epoch: of the best validation accuracy (the first of equals), or the last.
        history: every epoch.
        validation_scores, test_scores: (N, classes) float32 at the reported epoch; None without a test split.
    """

    model: nn.Module
    device: str
    trained_statistics: dict[str, Tensor]
    epoch: int
    history: History
    validation_scores: Tensor
    test_scores: Tensor | None


def fit(
    model: nn.Module,
    method: str | Method,
    splits: ImageSplits,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    on_step: Callable[[int, int, int], None] | None = None,
    progress: bool = False,
) -> FitResult:
    """Trains a network under a method.

    The same arguments give the same result on the same machine with the same number of threads, interrupted or not.

    Args:
        model: built for ``method``; changed in place. Its initial weights are the caller's (see :func:`seeded`).
        method: a name of ``bnnlib.methods`` or a record.
        splits: the data; the test split is only ever evaluated, never used for a choice.
        settings: see :class:`~bnnlib.training.Settings`.
        checkpoint: a file that is rewritten (atomically) after every epoch; if it exists, training goes on from it.
        on_epoch: called with each new record.
        on_step: called with (epoch, step, steps in the epoch).
        progress: draw a bar with the time left.

    Raises:
        ValueError: the training set is smaller than a batch; the model was built for another method; a checkpoint
            belongs to another training.
        FloatingPointError: the loss is no longer finite.
    """
    method = catalogue.get(method)
    steps = len(splits.train) // settings.batch_size
    if steps < 1:
        raise ValueError(
            f"batch_size {settings.batch_size} is larger than the training set ({len(splits.train)} images)"
        )
    if any(True for _ in binary_layers(model)) != (method.weight_bits < 32):
        kind = "no quantized layer" if method.weight_bits < 32 else "quantized layers"
        raise ValueError(f"the model has {kind}, so it was not built for method {method.name}; build it with that name")
    fabric = Fabric(accelerator=_accelerator(settings.device), devices=1, precision=settings.precision)
    raw = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(parameter_groups(raw, method, settings))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: (1 + math.cos(math.pi * t / (steps * settings.epochs))) / 2
    )
    wrapped, optimizer = fabric.setup(raw, optimizer)

    run = TrainingState(raw, optimizer, schedule, settings, method, splits)
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    watch = LatentWatch(raw)
    if not run.history.epochs:
        run.history.histograms = {name: [row] for name, row in watch.histograms().items()}

    done = len(run.history.epochs)
    with Progress(*Progress.get_default_columns(), disable=not progress) as bar:
        task = bar.add_task(method.name, total=steps * settings.epochs, completed=steps * done)

        def step_done(epoch: int, step: int) -> None:
            bar.advance(task)
            if on_step is not None:
                on_step(epoch, step, steps)

        for epoch in range(done + 1, settings.epochs + 1):
            begun = time.perf_counter()
            figures = _train_epoch(fabric, wrapped, optimizer, schedule, method, splits, settings, epoch, step_done)
            figures |= {"flips": watch.flips(), "saturated": watch.saturated()}
            record = run.evaluated(LOSSES[method.loss], figures, begun)
            for name, row in watch.histograms().items():
                run.history.histograms[name].append(row)
            if checkpoint is not None:
                run.save(checkpoint)
            if on_epoch is not None:
                on_epoch(record)

    raw.load_state_dict(run.best["state"])
    best = run.best
    return FitResult(
        model=raw.cpu().eval(),
        device=fabric.device.type,
        trained_statistics=best["trained_statistics"],
        epoch=best["epoch"],
        history=run.history,
        validation_scores=best["validation_scores"],
        test_scores=best["test_scores"],
    )


def _train_epoch(
    fabric: Fabric,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    method: Method,
    splits: ImageSplits,
    settings: Settings,
    epoch: int,
    step_done: Callable[[int, int], None],
) -> dict:
    """One pass over the training set; the epoch's figures by the names of :class:`EpochRecord`."""
    seeded(settings.seed, epoch)
    steps = len(splits.train) // settings.batch_size
    order = torch.randperm(len(splits.train))
    losses, right = torch.zeros(()), torch.zeros((), dtype=torch.long)
    model.train()
    begun = time.perf_counter()
    for step in range(steps):
        batch = splits.train[order[step * settings.batch_size : (step + 1) * settings.batch_size]]
        images = splits.normalise(augmented(batch.images, settings.augment))
        labels = batch.labels.to(fabric.device)
        outputs = model(images.to(fabric.device, memory_format=torch.channels_last))
        loss = LOSSES[method.loss](outputs.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        optimizer.step()
        schedule.step()
        method.step_done(model)
        losses += loss.detach().cpu()
        right += (outputs.argmax(1) == labels).sum().cpu()
        step_done(epoch, step + 1)
    seconds = time.perf_counter() - begun
    mean_loss = losses.item() / steps
    if not math.isfinite(mean_loss):
        raise FloatingPointError(
            f"the training loss is {mean_loss} in epoch {epoch} of {method.name}: lower the learning rate (now "
            f"{settings.learning_rate:g}) or look for NaN in the data"
        )
    return {
        "epoch": epoch,
        "train_seconds": seconds,
        "train_loss": mean_loss,
        "train_accuracy": 100 * right.item() / (steps * settings.batch_size),
        "learning_rate": settings.learning_rate * schedule.lr_lambdas[0](epoch * steps),
    }


def seeded(seed: int, epoch: int = 0) -> None:
    """Seeds torch's generator for an epoch of a run; epoch 0 is for the initial weights.

    Each epoch starts from a seed of its own, so that a resumed run draws what an uninterrupted one would.
    """
    torch.manual_seed(seed * 1_000_003 + epoch)


def parameter_groups(model: nn.Module, method: Method, settings: Settings) -> list[dict]:
    """A group for the real parameters, and one for each latent weight with its own learning rate."""
    latent = {layer.weight: layer for _, layer in binary_layers(model)}
    real = [p for p in model.parameters() if p not in latent]
    groups = [{"params": real, "lr": settings.learning_rate, "weight_decay": settings.weight_decay}] if real else []
    for weight in latent:
        factor = method.update_scale(weight) if method.update_scale else 1.0
        groups.append({"params": [weight], "lr": settings.learning_rate * factor, "weight_decay": 0.0})
    return groups


def _accelerator(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError('device "cuda" is not available on this machine; use "auto" or "cpu"')
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError('device "mps" is not available on this machine; use "auto" or "cpu"')
    return {"cuda": "gpu"}.get(device, device)
