"""What methods do around the optimiser step. Each hook takes the model; the training loop calls it at its moment."""

from collections.abc import Callable

import torch
from torch import nn

from bnnlib.layers import binary_layers
from bnnlib.quantizers import Quantizer, XnorProcedure
from bnnlib.quantizers.binaryconnect import clip_latent_

Hook = Callable[[nn.Module], None]

LEAST_NORM_SCALE = 0.01  # of the port's MNIST and CIFAR networks


def nothing(model: nn.Module) -> None:
    """No hook."""


def in_turn(*hooks: Hook) -> Hook:
    """One hook that calls several."""

    def each(model: nn.Module) -> None:
        for hook in hooks:
            hook(model)

    each.__name__ = ", ".join(hook.__name__ for hook in hooks)
    return each


def clip_latent(model: nn.Module) -> None:
    """Clips latent weights to [-H, H], H the quantizer's amplitude or 1 (BinaryConnect, BNN, larq's weight_clip)."""
    for _, layer in binary_layers(model):
        clip_latent_(layer.weight, getattr(layer.weight_quantizer, "amplitude", 1.0))


def binarise_weights(model: nn.Module) -> None:
    """XNOR-Net's procedure before the forward pass: centre, clamp, save, binarise."""
    for _, layer in binary_layers(model):
        if isinstance(layer.weight_quantizer, XnorProcedure):
            layer.weight_quantizer.binarise_(layer.weight)


def restore_weights(model: nn.Module) -> None:
    """XNOR-Net's procedure after the backward pass: restore the saved weight, replace its gradient."""
    for _, layer in binary_layers(model):
        if isinstance(layer.weight_quantizer, XnorProcedure):
            layer.weight_quantizer.restore_(layer.weight)


@torch.no_grad()
def enlarge_real_gradients(model: nn.Module) -> None:
    """Multiplies the gradients of all real parameters by 1e9, as allenai's code does for Adam with *all* gradients."""
    latent = {layer.weight for _, layer in binary_layers(model)}
    for parameter in model.parameters():
        if parameter.grad is not None and parameter not in latent:
            parameter.grad.mul_(1e9)


@torch.no_grad()
def clamp_norm_scales(model: nn.Module) -> None:
    """Keeps the scales of batch norms at 0.01 or above, as the port's small networks do in each forward pass."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.weight is not None:
            module.weight.clamp_(min=LEAST_NORM_SCALE)


def set_progress(model: nn.Module, progress: float) -> None:
    """Tells every quantizer how far training has come, 0 to 1 (the schedules of IR-Net and IE-Net)."""
    for module in model.modules():
        if isinstance(module, Quantizer):
            module.at_progress(progress)
