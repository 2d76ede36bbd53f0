"""The networks of the studies. Each takes a method and builds itself from it; `float` is a method too."""

import inspect
from typing import Any

from torch import nn

from bnnlib.models.biometrics import BinaryBiometrics
from bnnlib.models.command_cnn import CommandCNN, SeparableCNN
from bnnlib.models.compact_cnn import CompactCNN
from bnnlib.models.mlp import MLP
from bnnlib.models.mobilenet import MobileNetV2
from bnnlib.models.resnet import ResNet18, ResNet20
from bnnlib.models.wake_word import WakeWordCNN

__all__ = [
    "MLP",
    "MODELS",
    "BinaryBiometrics",
    "CommandCNN",
    "CompactCNN",
    "MobileNetV2",
    "ResNet18",
    "ResNet20",
    "SeparableCNN",
    "WakeWordCNN",
    "build",
    "options_of",
]

MODELS: dict[str, type[nn.Module]] = {
    "binary-biometrics": BinaryBiometrics,
    "command-cnn": CommandCNN,
    "compact-cnn": CompactCNN,
    "mlp": MLP,
    "mobilenet-v2": MobileNetV2,
    "resnet18": ResNet18,
    "resnet20": ResNet20,
    "separable-cnn": SeparableCNN,
    "wake-word": WakeWordCNN,
}


def options_of(name: str) -> dict[str, Any]:
    """The options of a network with their defaults; none are known of one that is not in ``MODELS``."""
    parameters = inspect.signature(MODELS[name]).parameters.values() if name in MODELS else ()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(name: str, method, **options: Any) -> nn.Module:
    """The network of that name under a method.

    Raises:
        ValueError: the name is unknown; the known ones are listed.
    """
    if name not in MODELS:
        raise ValueError(f"no model {name!r}; known: {', '.join(MODELS)}")
    return MODELS[name](method, **options)
