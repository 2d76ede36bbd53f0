"""What methods do around the optimiser step. The training loop calls each hook with the model at its moment."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bnnlib.layers import binary_layers
from bnnlib.quantizers import Quantizer, XnorProcedure
from bnnlib.quantizers.latent import clip_latent_

Hook = Callable[..., None]

LEAST_NORM_SCALE = 0.01  # of the port's MNIST and CIFAR networks


class Hooks(tuple[Hook, ...]):
    """What is done at one moment of training: called in turn, with the same arguments. Empty does nothing.

    Args:
        hooks: functions with names: a method is described, and its results are filed, by them.

    Raises:
        TypeError: a hook is a lambda or something else without a name.
    """

    def __new__(cls, *hooks: Hook) -> "Hooks":
        for hook in hooks:
            if getattr(hook, "__name__", "<lambda>") == "<lambda>":
                raise TypeError(f"a hook must be a function with a name (def ...), received {hook!r}")
        return super().__new__(cls, hooks)

    def __call__(self, model: nn.Module, *arguments: Any) -> None:
        for hook in self:
            hook(model, *arguments)

    def without(self, hook: Hook) -> "Hooks":
        """All but that one."""
        return Hooks(*(each for each in self if each is not hook))


def clip_latent(model: nn.Module) -> None:
    """Clips latent weights to [-H, H], H the quantizer's amplitude or 1 (BinaryConnect, BNN, larq's weight_clip)."""
    for _, layer in binary_layers(model):
        clip_latent_(layer.weight, getattr(layer.weight_quantizer, "amplitude", 1.0))


def centre_weights(model: nn.Module) -> None:
    """XNOR-Net's procedure before the forward pass: centres and clamps the latent weights, in place."""
    for _, layer in binary_layers(model):
        if isinstance(layer.weight_quantizer, XnorProcedure):
            layer.weight_quantizer.centre_(layer.weight)


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
