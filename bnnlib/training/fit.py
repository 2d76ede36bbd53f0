"""The training loop, the same for every method."""

import math
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from rich.progress import Progress
from torch import Tensor, nn

from bnnlib import catalogue
from bnnlib.catalogue import Method
from bnnlib.data import ImageSplits
from bnnlib.layers import binary_layers, quantized_layers
from bnnlib.losses import LOSSES
from bnnlib.quantizers import Quantizer
from bnnlib.training.augment import augmented
from bnnlib.training.diagnostics import LayerWatch, dead_filters
from bnnlib.training.record import EpochRecord, History, LatentWatch
from bnnlib.training.settings import Settings
from bnnlib.training.state import TrainingState

__all__ = ["FitResult", "fit", "make_optimizer", "parameter_groups", "seeded"]


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
    teacher: nn.Module | None = None,
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
        teacher: a trained network whose scores the method's loss wants (ReActNet's distributional loss); it must take
            the same images and is left as it is.
        checkpoint: a file that is rewritten (atomically) after every epoch; if it exists, training goes on from it.
        on_epoch: called with each new record.
        on_step: called with (epoch, step, steps in the epoch).
        progress: draw a bar with the time left.

    Raises:
        ValueError: the training set is smaller than a batch; the model was built for another method; a checkpoint
            belongs to another training; the method's loss wants a teacher and none is given.
        FloatingPointError: the loss is no longer finite.
    """
    method = catalogue.get(method)
    steps = len(splits.train) // settings.batch_size
    if steps < 1:
        raise ValueError(
            f"batch_size {settings.batch_size} is larger than the training set ({len(splits.train)} images)"
        )
    if any(True for _ in quantized_layers(model)) != (method.weight_bits < 32):
        kind = "no quantized layer" if method.weight_bits < 32 else "quantized layers"
        raise ValueError(f"the model has {kind}, so it was not built for method {method.name}; build it with that name")
    if method.loss == "distributional" and teacher is None:
        raise ValueError(
            f"the loss of {method.name} compares the network with a trained real one: give teacher=fit(...).model of "
            f'its float twin, or train without: fit(model, methods["{method.name}"].varied(loss="cross_entropy"), ...)'
        )
    for name, count in dead_filters(model).items():
        warnings.warn(
            f"{count} filters of layer {name} are dead: their scale is zero, so they give zero whatever the input; "
            "look at their initial weights, and at centring with one input channel",
            stacklevel=2,
        )
    fabric = Fabric(
        accelerator=_accelerator(settings.device),
        devices=1,
        precision=settings.precision,
        plugins=LightningEnvironment(),  # one process: inside a SLURM job Fabric would count the job's tasks as its own
    )
    raw = model.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(raw, method, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda t: (1 + math.cos(math.pi * t / (steps * settings.epochs))) / 2
    )
    wrapped, optimizer = fabric.setup(raw, optimizer)

    run = TrainingState(raw, optimizer, schedule, settings, method, splits)
    if checkpoint is not None and checkpoint.exists():
        run.restore(checkpoint)
    if teacher is not None:
        teacher = teacher.to(fabric.device, memory_format=torch.channels_last).eval()
    watch, inside = LatentWatch(raw), LayerWatch(raw)
    if not run.history.epochs:
        run.history.histograms = {name: [row] for name, row in watch.histograms().items()}

    done = len(run.history.epochs)
    # Drawn from this thread, once a second: a thread that draws ten times a second fills a notebook's channel with
    # messages for as long as a study takes, and papermill was seen to wait for the end of a cell that had ended.
    with Progress(*Progress.get_default_columns(), disable=not progress, auto_refresh=False) as bar:
        task = bar.add_task(method.name, total=steps * settings.epochs, completed=steps * done)
        drawn = time.monotonic()

        def step_done(epoch: int, step: int) -> None:
            nonlocal drawn
            bar.advance(task)
            if time.monotonic() - drawn >= 1:
                bar.refresh()
                drawn = time.monotonic()
            if on_step is not None:
                on_step(epoch, step, steps)

        for epoch in range(done + 1, settings.epochs + 1):
            begun = time.perf_counter()
            method.on_epoch(raw, (epoch - 1) / settings.epochs)
            figures = _train_epoch(
                fabric, wrapped, teacher, optimizer, schedule, method, splits, settings, epoch, inside, step_done
            )
            figures |= {"flips": watch.flips(), "saturated": watch.saturated()}
            run.history.layers += inside.epoch(epoch)
            record = run.evaluated(figures, begun)
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
    teacher: nn.Module | None,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LambdaLR,
    method: Method,
    splits: ImageSplits,
    settings: Settings,
    epoch: int,
    watch: LayerWatch,
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
        images = images.to(fabric.device, memory_format=torch.channels_last)
        labels = batch.labels.to(fabric.device)
        measured = watch.begin(step)
        method.before_forward(model)
        outputs = model(images)
        loss = LOSSES[method.loss](outputs.float(), labels if teacher is None else _scores_of(teacher, images))
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(loss)
        method.after_backward(model)
        if measured:
            watch.before_step()
        optimizer.step()
        schedule.step()
        method.after_step(model)
        if measured:
            watch.after_step()
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


def make_optimizer(model: nn.Module, method: Method, settings: Settings) -> torch.optim.Optimizer:
    """The optimiser of a training: Adam with decoupled decay, or SGD with momentum 0.9."""
    groups = parameter_groups(model, method, settings)
    return torch.optim.AdamW(groups) if settings.optimizer == "adam" else torch.optim.SGD(groups, momentum=0.9)


def parameter_groups(model: nn.Module, method: Method, settings: Settings) -> list[dict]:
    """A group for the real parameters, one for what quantizers learn, one for each latent weight with its own rate.

    Only the real parameters have weight decay: a latent weight pulled to zero would only flip more, and a step size or
    a threshold has no reason to be small.
    """
    latent = {layer.weight: layer for _, layer in quantized_layers(model)}
    few_valued = {layer.weight for _, layer in binary_layers(model)}
    learned = {p for m in model.modules() if isinstance(m, Quantizer) for p in m.parameters()}
    plain = {"lr": settings.learning_rate, "weight_decay": 0.0}
    real = [p for p in model.parameters() if p not in latent and p not in learned]
    groups = [plain | {"params": real, "weight_decay": settings.weight_decay}] if real else []
    if learned:
        groups.append(plain | {"params": [p for p in model.parameters() if p in learned]})
    for weight in latent:
        scaled = method.update_scale is not None and weight in few_valued
        factor = method.update_scale(weight, settings.optimizer) if scaled else 1.0
        groups.append({"params": [weight], "lr": settings.learning_rate * factor, "weight_decay": 0.0})
    return groups


@torch.no_grad()
def _scores_of(teacher: nn.Module, images: Tensor) -> Tensor:
    return teacher(images).float()


def _accelerator(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError('device "cuda" is not available on this machine; use "auto" or "cpu"')
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError('device "mps" is not available on this machine; use "auto" or "cpu"')
    return {"cuda": "gpu"}.get(device, device)
