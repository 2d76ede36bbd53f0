"""A run, described by data alone."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from bnnlib import catalogue, models
from bnnlib.catalogue import Method
from bnnlib.training import Settings, seeded

__all__ = ["Run", "Study"]


@dataclass(frozen=True)
class Run:
    """One training of a study. The same description gives the same result on the same machine and thread count.

    Attributes:
        arm: what the run stands for in its study ("stochastic", "no clip"); runs of an arm differ in their seed.
        method: name in ``bnnlib.methods``.
        model: name in ``bnnlib.models.MODELS``.
        dataset: name in ``bnnlib.data``.
        settings: how it is trained, seed included.
        profile: ``"full"`` or ``"quick"``; only full runs are stored with a study.
        train_size: training images used, None for all.
        method_options, model_options: changes to the method (:meth:`Method.varied`) and arguments of the model.
    """

    arm: str
    method: str
    model: str
    dataset: str
    settings: Settings
    profile: str = "full"
    train_size: int | None = None
    method_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Readable and unique: arm, seed and eight digits of the hash of the whole description."""
        arm = "-".join("".join(c if c.isalnum() else " " for c in self.arm).split())
        digest = hashlib.sha256(json.dumps(self.describe(), sort_keys=True).encode()).hexdigest()
        return f"{arm}-s{self.settings.seed}-{digest[:8]}"

    def describe(self) -> dict[str, Any]:
        """The description as plain data, the device left out: it says where a run happened, not what it is."""
        described = asdict(self)
        described["settings"].pop("device")
        if self.settings.optimizer == "adam":  # a field added later, left out at its default so that ids stay
            described["settings"].pop("optimizer")
        described["method_options"] = dict(self.method_options)
        described["model_options"] = dict(self.model_options)
        return described

    def build_method(self) -> Method:
        """The method's record with the run's changes."""
        return catalogue.get(self.method).varied(**self.method_options)

    def build_model(self) -> nn.Module:
        """The network with its initial weights, which the seed fixes."""
        seeded(self.settings.seed)
        return models.build(self.model, self.build_method(), **self.model_options)

    def on(self, device: str) -> "Run":
        """The same run on another device."""
        return replace(self, settings=replace(self.settings, device=device))


@dataclass(frozen=True)
class Study:
    """A list of runs with a question.

    Attributes:
        name: its folder below the results.
        question: what it is to answer, in a sentence.
        runs: in the order they are run.
        test: False for tuning, which must not see the test split.
        scores: arms whose class scores are kept, in float16, beside the predicted classes.
        checkpoints: runs (by arm, seed 0) whose latent weights are kept as safetensors.
    """

    name: str
    question: str
    runs: tuple[Run, ...]
    test: bool = True
    scores: frozenset[str] = frozenset()
    checkpoints: frozenset[str] = frozenset()

    def __post_init__(self):
        ids = [run.id for run in self.runs]
        if doubles := {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"study {self.name} holds runs twice: {', '.join(sorted(doubles))}")
