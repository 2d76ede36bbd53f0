"""What describes a training, and nothing else."""

from dataclasses import dataclass
from typing import Literal

DEVICES = ("auto", "cpu", "cuda", "mps")
AUGMENTATIONS = ("none", "shift", "flip", "shift-flip")
PRECISIONS = ("32-true", "bf16-mixed")
OPTIMIZERS = ("adam", "sgd")


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    Attributes:
        epochs: passes over the training set.
        batch_size: images a step; the last, smaller batch of an epoch is left out.
        learning_rate: of the first step; cosine schedule to zero over all steps.
        weight_decay: decoupled (AdamW), on real weights only; a latent weight pulled to zero would only flip more.
        augment: ``"none"``, ``"shift"`` (up to 2 pixels each way), ``"flip"`` (left-right) or ``"shift-flip"``.
        seed: fixes initial weights, batches, augmentation and stochastic draws.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: Fabric's name; evaluation is always float32.
        optimizer: ``"adam"`` or ``"sgd"`` (momentum 0.9).
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    augment: Literal["none", "shift", "flip", "shift-flip"] = "none"
    seed: int = 0
    device: str = "auto"
    precision: str = "32-true"
    optimizer: Literal["adam", "sgd"] = "adam"

    def __post_init__(self):
        for name, known in (
            ("device", DEVICES),
            ("augment", AUGMENTATIONS),
            ("precision", PRECISIONS),
            ("optimizer", OPTIMIZERS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(f"no {name} {getattr(self, name)!r}; known: {', '.join(known)}")
        for name, least in (("epochs", 1), ("batch_size", 2), ("seed", 0)):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, received {getattr(self, name)!r}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, received {self.learning_rate!r}")
