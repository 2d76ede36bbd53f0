"""Ten broken networks: what the chapter *When it doesn't learn* shows live, and what ``diagnose`` is tested on.

Each function returns a network, the record to train it under and how long and fast, with one fault built in.
:data:`CURED` has the same networks without it.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn

from bnnlib import catalogue, models
from bnnlib.catalogue import Method
from bnnlib.catalogue.hooks import Hooks
from bnnlib.layers import BinConv2d, BinLinear, OperatorConv2d, binary_layers
from bnnlib.quantizers import LSQ, SteSign, StrictSign
from bnnlib.training import Settings

__all__ = ["BROKEN", "CURED", "SHORT"]

WIDTH = 256
SHORT = Settings(epochs=3, batch_size=50, learning_rate=2e-3, device="cpu")
Broken = tuple[nn.Module, Method, Settings]


def _mlp(method: Method, **settings) -> Broken:
    return models.MLP(method, width=WIDTH, hidden=3), method, replace(SHORT, **settings)


def relu_before_sign() -> Broken:
    """The float block with a sign after its ReLU."""
    return _mlp(replace(catalogue.get("larq-ste-sign"), block=("layer", "pool", "norm", "relu")))


def _pooled(order: Callable[[int], list[nn.Module]]) -> Broken:
    """A small network of images whose blocks end in ``order(channels)``."""

    def signs() -> dict:
        return {"weight_quantizer": SteSign(), "input_quantizer": SteSign(), "bias": False}

    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), *order(16), BinConv2d(16, 16, 3, padding=1, **signs()), *order(16),
        nn.Flatten(), BinLinear(16 * 49, 128, **signs()), nn.BatchNorm1d(128), nn.Linear(128, 10),
    )  # fmt: skip
    return net, catalogue.get("larq-ste-sign"), SHORT


def pooling_after_sign() -> Broken:
    """Layer, norm, sign, pool: the pooling sees signs."""
    return _pooled(lambda channels: [nn.BatchNorm2d(channels), SteSign(), nn.MaxPool2d(2)])


def no_batch_norm() -> Broken:
    """Binary layers one after the other, with nothing that scales their sums."""
    return _mlp(catalogue.get("larq-ste-sign").varied(batch_norm=False))


def weight_decay_on_latent_weights() -> Broken:
    """Each step takes five hundredths of every latent weight away."""

    def decay(model: nn.Module) -> None:
        with torch.no_grad():
            for _, layer in binary_layers(model):
                layer.weight.mul_(0.95)

    return _mlp(replace(catalogue.get("larq-ste-sign"), after_step=Hooks(decay)))


def strict_mask_with_clipped_weights() -> Broken:
    """BNN, whose weights are clipped at 1, with a mask that leaves out exactly what the clip puts there."""
    return _mlp(replace(catalogue.get("bnn"), weight_quantizer=lambda size: StrictSign()), learning_rate=1e-2)


def an_optimiser_that_steps_the_binary_weights() -> Broken:
    """Before each forward pass the latent weight is overwritten with its binary form, and nothing restores it."""

    def binarise_for_good(model: nn.Module) -> None:
        with torch.no_grad():
            for _, layer in binary_layers(model):
                layer.weight.copy_(layer.weight_quantizer.value(layer.weight))

    return _mlp(replace(catalogue.get("xnor-naive"), before_forward=Hooks(binarise_for_good)))


def _one_channel(kind: type[nn.Module]) -> Broken:
    """A network of grey images whose first layer is of that kind."""
    net = nn.Sequential(
        kind(1, 16, 3, padding=1, bias=False), nn.MaxPool2d(4), nn.BatchNorm2d(16), nn.Flatten(),
        BinLinear(16 * 49, 128, bias=False, weight_quantizer=SteSign(), input_quantizer=SteSign()),
        nn.BatchNorm1d(128), nn.Linear(128, 10),
    )  # fmt: skip
    return net, catalogue.get("larq-ste-sign"), SHORT


def centring_with_one_input_channel() -> Broken:
    """The operator as the first layer of a network of grey images."""
    return _one_channel(OperatorConv2d)


def sign_of_zero_is_zero() -> Broken:
    """torch.sign after a ReLU: the quantized input is 0 or +1, which no bit of a packed network means."""
    return _mlp(replace(catalogue.get("bi-real-literal"), block=("layer", "pool", "norm", "relu")))


def lsq_without_its_gradient_scale() -> Broken:
    """Step sizes that take their whole gradient; it shows under SGD, because Adam scales every gradient alike."""
    record = replace(
        catalogue.get("lsq-w2a2"),
        weight_quantizer=lambda size: LSQ(2, gradient_scale="none"),
        input_quantizer=lambda size: LSQ(2, unsigned=True, gradient_scale="none"),
    )
    return _mlp(record, **_SGD)


def an_estimator_schedule_never_advanced() -> Broken:
    """IR-Net without its hook of the epoch."""
    return _mlp(replace(catalogue.get("ir-net"), on_epoch=Hooks()))


BROKEN: dict[str, Callable[[], Broken]] = {
    "ReLU before sign": relu_before_sign,
    "pooling after sign": pooling_after_sign,
    "no batch norm": no_batch_norm,
    "weight decay on latent weights": weight_decay_on_latent_weights,
    "strict mask with clipped weights": strict_mask_with_clipped_weights,
    "an optimiser that steps the binary weights": an_optimiser_that_steps_the_binary_weights,
    "centring with one input channel": centring_with_one_input_channel,
    "sign(0) = 0": sign_of_zero_is_zero,
    "LSQ without its gradient scale": lsq_without_its_gradient_scale,
    "an estimator schedule never advanced": an_estimator_schedule_never_advanced,
}

_SGD = {"optimizer": "sgd", "learning_rate": 0.02}
CURED: dict[str, Callable[[], Broken]] = {
    "ReLU before sign": lambda: _mlp(catalogue.get("larq-ste-sign")),
    "pooling after sign": lambda: _pooled(lambda channels: [nn.MaxPool2d(2), nn.BatchNorm2d(channels)]),
    "no batch norm": lambda: _mlp(catalogue.get("larq-ste-sign")),
    "weight decay on latent weights": lambda: _mlp(catalogue.get("larq-ste-sign")),
    "strict mask with clipped weights": lambda: _mlp(catalogue.get("bnn"), learning_rate=1e-2),
    "an optimiser that steps the binary weights": lambda: _mlp(catalogue.get("xnor-naive")),
    "centring with one input channel": lambda: _one_channel(nn.Conv2d),
    "sign(0) = 0": lambda: _mlp(catalogue.get("bi-real")),
    "LSQ without its gradient scale": lambda: _mlp(catalogue.get("lsq-w2a2"), **_SGD),
    "an estimator schedule never advanced": lambda: _mlp(catalogue.get("ir-net")),
}
