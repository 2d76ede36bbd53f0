"""Optimisers and schedules: which parameter moves how fast, when."""

import torch
from torch import nn
from torch.optim import lr_scheduler

from bnnlib import catalogue
from bnnlib.catalogue import Method
from bnnlib.layers import binary_layers, quantized_layers
from bnnlib.quantizers import Quantizer
from bnnlib.training.settings import Settings

__all__ = ["make_optimizer", "make_schedule", "parameter_groups"]


def make_optimizer(model: nn.Module, method: str | Method, settings: Settings) -> torch.optim.Optimizer:
    """The optimiser of a training: Adam with decoupled decay (AdamW), or SGD with momentum."""
    groups = parameter_groups(model, catalogue.get(method), settings)
    if settings.optimizer == "adam":
        return torch.optim.AdamW(groups, fused=True)  # one kernel a group: on a GPU most of a small step is launches
    return torch.optim.SGD(groups, momentum=settings.momentum)


def parameter_groups(model: nn.Module, method: Method, settings: Settings) -> list[dict]:
    """A group for the real parameters, one for what quantizers learn, one for each latent weight with its own rate.

    What quantizers learn has no weight decay: a step size or a threshold has no reason to be small.
    """
    latent = {layer.weight for _, layer in quantized_layers(model)}
    few_valued = {layer.weight for _, layer in binary_layers(model)}
    learned = {p for m in model.modules() if isinstance(m, Quantizer) for p in m.parameters()}
    rate = settings.learning_rate
    real = [p for p in model.parameters() if p not in latent and p not in learned]
    groups = [{"params": real, "lr": rate, "weight_decay": settings.weight_decay}] if real else []
    if learned:
        groups.append({"params": [p for p in model.parameters() if p in learned], "lr": rate, "weight_decay": 0.0})
    for weight in (p for p in model.parameters() if p in latent):
        scaled = method.update_scale is not None and weight in few_valued
        factor = method.update_scale(weight, settings.optimizer) if scaled else 1.0
        groups.append({"params": [weight], "lr": rate * factor, "weight_decay": settings.latent_weight_decay})
    return groups


def make_schedule(optimizer: torch.optim.Optimizer, settings: Settings, steps: int) -> lr_scheduler.LRScheduler:
    """The schedule of the learning rate, advanced after every one of ``steps`` steps an epoch."""
    warmup = settings.warmup_epochs * steps
    rest = settings.epochs * steps - warmup
    after: lr_scheduler.LRScheduler
    if settings.schedule == "cosine":
        after = lr_scheduler.CosineAnnealingLR(optimizer, T_max=rest)
    elif settings.schedule == "linear":
        after = lr_scheduler.LinearLR(optimizer, start_factor=1.0, end_factor=0.0, total_iters=rest)
    else:
        after = lr_scheduler.ConstantLR(optimizer, factor=1.0)
    if not warmup:
        return after
    rising = lr_scheduler.LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup)
    return lr_scheduler.SequentialLR(optimizer, [rising, after], milestones=[warmup])
