"""Networks to pack: settled as after training, with every value that a test could miss by luck."""

import torch
from torch import nn

import bnnlib
from bnnlib import models

SHAPE = (1, 12, 12)
# what exports are tried on: method, model, shape of an input
EXPORTED = {
    "signs, 8-bit ends": ("xnor-operator", lambda name: models.CompactCNN(name, size=12, first_last="int8"), SHAPE),
    "signs, real ends": ("bnn", lambda name: models.CompactCNN(name, size=12), SHAPE),
    "two bits": ("lsq-w2a2", lambda name: models.CompactCNN(name, size=12, first_last="int8"), SHAPE),
    "branches": ("ie-net", lambda name: models.CompactCNN(name, size=12, first_last="int8"), SHAPE),
    "K": ("xnor-naive", lambda name: models.CompactCNN(name, size=12), SHAPE),
    "shortcuts, bent": ("reactnet", lambda name: models.CommandCNN(name), (1, 50, 40)),
    "weights only": ("twn", lambda name: models.WakeWordCNN(name), (1, 50, 13)),
    "float": ("float", lambda name: models.CompactCNN(name, size=12), SHAPE),
    "groups": ("bi-real", lambda name: models.MobileNetV2(name, width=0.1), (3, 32, 32)),
    "vectors": ("bnn", lambda name: models.MLP(name, width=70), (1, 28, 28)),
}


@torch.no_grad()
def unsettle(model: nn.Module, seed: int = 0) -> nn.Module:
    """Draws what training would learn: norms with scales of either sign and zero, shifts, mixing factors, slopes."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor, size=1.0):
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * size)

    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            normal(module.weight)
            normal(module.bias)
            module.weight[0] = 0.0
            normal(module.running_mean, 3.0)
            module.running_var.copy_(torch.rand(module.running_var.shape, generator=generator) * 20 + 0.5)
        for name in ("shift", "mix", "before", "after"):
            if isinstance(getattr(module, name, None), nn.Parameter):
                normal(getattr(module, name), 0.3)
        if isinstance(getattr(module, "alpha", None), nn.Parameter):
            module.alpha.reshape(-1)[::2] *= -1
    return model


def trained(build, method: str, shape=SHAPE, seed: int = 0) -> nn.Module:
    """A network that has seen one batch, so that its step sizes are set, in eval mode."""
    torch.manual_seed(seed)
    model = build()
    bnnlib.methods[method].before_forward(model)
    model(torch.randn(8, *shape))
    return unsettle(model, seed).eval()
