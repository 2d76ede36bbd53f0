"""How a network is trained: plain values, checked when they are given."""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Literal, get_args

Optimizer = Literal["adam", "sgd"]
Schedule = Literal["cosine", "linear", "constant"]
Selection = Literal["accuracy", "balanced-accuracy", "last"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["32-true", "bf16-mixed"]


@dataclass(frozen=True)
class Settings:
    """How a network is trained.

    Attributes:
        epochs: passes over the training set.
        batch_size: samples a step; the last, smaller batch of an epoch is left out.
        learning_rate: the largest of the schedule.
        optimizer: ``"adam"`` (AdamW: decay is decoupled) or ``"sgd"``.
        momentum: of SGD; Adam has its own.
        schedule: of the learning rate after the warm-up: ``"cosine"`` or ``"linear"``, both to zero at the end, or
            ``"constant"``.
        warmup_epochs: in them the learning rate rises linearly to its value.
        weight_decay: of real weights. SGD's is coupled: the gradient of an L2 term, which momentum takes up, too.
        latent_weight_decay: of latent weights: a latent weight pulled to zero flips more.
        label_smoothing: share of the target that is spread over all classes, in [0, 1); of cross-entropy only.
        distillation: share of the loss that compares with a teacher's softened scores, in [0, 1]; the rest is the
            method's own loss with the labels.
        temperature: by which scores are softened in that.
        select: the epoch that is reported: the best on validation by ``"accuracy"`` or by ``"balanced-accuracy"`` (the
            mean over classes), the first of equals, or ``"last"``, for which the test split is evaluated only then.
            With fewer than 5,000 validation samples it is the last in any case.
        seed: fixes initial weights, batches, augmentation and stochastic draws.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
        precision: Fabric's name, ``"32-true"`` or ``"bf16-mixed"``; evaluation is always float32.

    Raises:
        ValueError: a value is none of those; the message names what was received and what is known.
    """

    epochs: int = 15
    batch_size: int = 128
    learning_rate: float = 1e-3
    optimizer: Optimizer = "adam"
    momentum: float = 0.9
    schedule: Schedule = "cosine"
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    latent_weight_decay: float = 0.0
    label_smoothing: float = 0.0
    distillation: float = 0.0
    temperature: float = 4.0
    select: Selection = "accuracy"
    seed: int = 0
    device: Device = "auto"
    precision: Precision = "32-true"

    def __post_init__(self):
        for field in fields(self):  # 1 and 1.0 are the same setting, and have the same description
            value = getattr(self, field.name)
            number = isinstance(value, Real) and not isinstance(value, bool)
            if field.type is float and number:
                object.__setattr__(self, field.name, float(value))
            elif field.type is int and number and isinstance(value, Integral):
                object.__setattr__(self, field.name, int(value))
            elif field.type is float:
                raise ValueError(f"{field.name} must be a number, received {value!r}")
        for name, choices in (
            ("optimizer", Optimizer),
            ("schedule", Schedule),
            ("select", Selection),
            ("device", Device),
            ("precision", Precision),
        ):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"no {name} {getattr(self, name)!r}; known: {', '.join(get_args(choices))}")
        for name, least in (("epochs", 1), ("batch_size", 2), ("warmup_epochs", 0), ("seed", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}, received {value!r}")
        for name in ("learning_rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, received {getattr(self, name)!r}")
        for name in ("weight_decay", "latent_weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more, received {getattr(self, name)!r}")
        for name, open_end in (("momentum", True), ("label_smoothing", True), ("distillation", False)):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (open_end and value == 1):
                raise ValueError(f"{name} must lie in [0, 1{')' if open_end else ']'}, received {value!r}")
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be fewer than epochs ({self.epochs})")
