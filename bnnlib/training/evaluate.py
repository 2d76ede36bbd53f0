"""Predictions of a trained network, and batch-norm statistics re-estimated for the weights that are evaluated."""

import torch
from torch import Tensor, nn

from bnnlib.data import Split
from bnnlib.training.precision import full_float32

EVALUATION_BATCH = 500
REESTIMATION_SAMPLES = 10_000


@full_float32()
@torch.no_grad()
def scores(model: nn.Module, split: Split) -> Tensor:
    """Class scores of a split, (N, classes), float32 on the CPU, in eval mode and without autocast.

    500 samples are judged at once, or as many as the split's ``batch`` says.
    """
    size = getattr(split, "batch", EVALUATION_BATCH)
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    parts = [
        model(split.inputs(slice(start, start + size)).to(device)).float().cpu() for start in range(0, len(split), size)
    ]
    model.train(was_training)
    return torch.cat(parts)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of predictions that are right, in percent; both int64, (N,)."""
    return 100 * (predicted == labels).double().mean().item()


def balanced_accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Mean over the classes that occur of the share of their samples that are right, in percent; both int64, (N,)."""
    right = (predicted == labels).double()
    return 100 * torch.stack([right[labels == c].mean() for c in labels.unique()]).mean().item()


@full_float32()
@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, train: Split) -> None:
    """Replaces the running statistics by the plain average over training samples under the present weights.

    Training averages statistics of weights that keep changing (and that are sampled, for a stochastic method), so they
    fit no network exactly. Takes the first 10,000 training samples, without augmentation; everything but batch norm
    stays in eval mode.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
        norm.train()
    count = min(len(train), REESTIMATION_SAMPLES)
    for start in range(0, count - 1, EVALUATION_BATCH):  # a batch of one has no variance
        model(train.inputs(slice(start, min(start + EVALUATION_BATCH, count))).to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    model.train(was_training)
