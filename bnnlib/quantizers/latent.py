"""What keeps a latent weight where its sign can still change: BinaryConnect's clip and its larger steps."""

import math
from typing import Literal

import torch
from torch import Tensor


def update_scale(weight: Tensor, optimizer: Literal["adam", "sgd"] = "adam") -> float:
    """The factor by which BinaryConnect's code enlarges a latent weight's update.

    With the code's coefficient ``h = sqrt(1.5 / (fan_in + fan_out))``, the mean absolute weight of Glorot's uniform
    initialisation, it is ``1 / h`` for Adam and ``1 / h**2`` for SGD: a latent weight lives in [-1, 1] whatever the
    size of its layer, so its steps must be as much larger than those of an ordinary weight as its range is. The
    *update* is scaled (here: the learning rate of the weight's parameter group, which is the same thing), not the
    gradient, because Adam would cancel that.

    Args:
        weight: shape (out, in), or (out, in, ...) with a kernel's axes after them.
        optimizer: ``"adam"`` or ``"sgd"``.

    Source: ``get_all_LR_scale`` of MatthieuCourbariaux/BinaryConnect.
    """
    taps = math.prod(weight.shape[2:])
    coefficient = math.sqrt(1.5 / ((weight.shape[0] + weight.shape[1]) * taps))
    powers = {"adam": 1, "sgd": 2}
    if optimizer not in powers:
        raise ValueError(f"update_scale knows the optimizers {', '.join(powers)}, received {optimizer!r}")
    return coefficient ** -powers[optimizer]


@torch.no_grad()
def clip_latent_(weight: Tensor, amplitude: float = 1.0) -> None:
    """Clips a latent weight to [-H, H] in place; done after each optimiser step (Algorithm 1)."""
    weight.clamp_(-amplitude, amplitude)
