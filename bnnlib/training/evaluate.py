"""Predictions of a trained network, and batch-norm statistics re-estimated for the weights that are evaluated."""

import torch
from torch import Tensor, nn

from bnnlib.data import ImageSet, ImageSplits

EVALUATION_BATCH = 500
REESTIMATION_IMAGES = 10_000


@torch.no_grad()
def scores(model: nn.Module, images: ImageSet, splits: ImageSplits) -> Tensor:
    """Class scores (N, classes), float32 on the CPU, in eval mode and without autocast."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    parts = [
        model(_prepared(images.images[start : start + EVALUATION_BATCH], splits, device)).float().cpu()
        for start in range(0, len(images), EVALUATION_BATCH)
    ]
    if was_training:
        model.train()
    return torch.cat(parts)


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of predictions that are right, in percent."""
    return 100 * (predicted == labels).double().mean().item()


@torch.no_grad()
def reestimate_batch_norm(model: nn.Module, splits: ImageSplits) -> None:
    """Replaces the running statistics by the plain average over training images under the present weights.

    Training averages statistics of weights that keep changing (and that are sampled, for a stochastic method), so they
    fit no network exactly. Takes the first 10,000 training images, without augmentation; everything but batch norm
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
    images = splits.train.images[:REESTIMATION_IMAGES]
    for start in range(0, len(images) - 1, EVALUATION_BATCH):
        model(_prepared(images[start : start + EVALUATION_BATCH], splits, device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
    if was_training:
        model.train()


def _prepared(images: Tensor, splits: ImageSplits, device: torch.device) -> Tensor:
    return splits.normalise(images).to(device, memory_format=torch.channels_last)
