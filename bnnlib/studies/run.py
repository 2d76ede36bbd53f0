"""A run, described by data alone."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import nn

from bnnlib import catalogue, data, models
from bnnlib.catalogue import Method
from bnnlib.training import Objective, Settings, seeded

__all__ = ["Run", "Study", "digest_of"]


def digest_of(described: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits of the SHA-256 of a description."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:8]


@dataclass(frozen=True)
class Run:
    """One training of a study. The same description gives the same result on the same machine and thread count.

    Attributes:
        arm: what the run is an example of in its study ("stochastic", "no clip"); runs of an arm differ in their seed.
        method: name in ``bnnlib.methods``.
        model: name in ``bnnlib.models.MODELS``.
        dataset: name in ``bnnlib.data.LOADERS``.
        settings: how it is trained, seed included.
        profile: ``"full"`` or ``"quick"``; only full runs are stored with a study of the course.
        data_options: options of the data set, such as ``train_size`` and ``augment``.
        method_options: changes to the method (:meth:`Method.varied`).
        model_options: arguments of the model.
        teacher: the run whose trained network the objective compares with.
        start: the run whose trained weights this one begins with.
    """

    arm: str
    method: str
    model: str
    dataset: str
    settings: Settings
    profile: str = "full"
    data_options: Mapping[str, Any] = field(default_factory=dict)
    method_options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    teacher: "Run | None" = None
    start: "Run | None" = None

    @property
    def id(self) -> str:
        """Readable and unique: arm, seed and eight digits of the hash of :meth:`describe`."""
        arm = "-".join("".join(c if c.isalnum() else " " for c in self.arm).split())
        return f"{arm}-s{self.settings.seed}-{digest_of(self.describe())}"

    @property
    def needs(self) -> tuple["Run", ...]:
        """The runs that must be finished before this one begins."""
        return tuple(run for run in (self.teacher, self.start) if run is not None)

    def describe(self) -> dict[str, Any]:
        """What the run is, as plain data: whatever differs from the defaults, and the method's own description.

        So a field added later leaves old ids as they are, and a record of the catalogue that has changed is another
        run. The device is left out: it says where a run happened, not what it is.
        """
        defaults = asdict(Settings())
        settings = {name: value for name, value in asdict(self.settings).items() if value != defaults[name]}
        settings.pop("device", None)
        described: dict[str, Any] = {
            "arm": self.arm,
            "model": self.model,
            "dataset": self.dataset,
            "method": self.build_method().describe(),
            "settings": settings,
        }
        optional = {
            "profile": self.profile if self.profile != "full" else "",
            "data_options": _unlike(self.data_options, data.options_of(self.dataset)),
            "model_options": _unlike(self.model_options, models.options_of(self.model)),
            "teacher": self.teacher.id if self.teacher else "",
            "start": self.start.id if self.start else "",
        }
        return described | {name: value for name, value in optional.items() if value}

    def build_method(self) -> Method:
        """The method's record with the run's changes."""
        return catalogue.get(self.method).varied(**self.method_options)

    def build_model(self) -> nn.Module:
        """The network with its initial weights, which the seed fixes."""
        seeded(self.settings.seed)
        return models.build(self.model, self.build_method(), **self.model_options)

    def on(self, device: str) -> "Run":
        """The same run on another device, which is no part of its id.

        Args:
            device: as in :class:`~bnnlib.training.Settings`.
        """
        return replace(self, settings=replace(self.settings, device=device))


def _unlike(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The options that differ from their defaults."""
    return {name: value for name, value in options.items() if name not in defaults or value != defaults[name]}


@dataclass(frozen=True)
class Study:
    """A list of runs with a question.

    Attributes:
        name: its folder below the results.
        question: what it is to answer, in a sentence.
        runs: in the order they are run; one that another needs is among them, anywhere.
        test: False for tuning, which must not see the test split.
        scores: arms whose class scores are kept, in float16, beside the predicted classes.
        checkpoints: runs (by arm, seed 0) whose latent weights are kept as safetensors.
        divergence: whether a run whose loss is no longer finite is a result (without accuracies), not a failure.

    Raises:
        ValueError: a run occurs twice, needs one that is not among them, or has a teacher too many or too few; the name
            is no folder's, there are no runs, or an arm is unknown.
    """

    name: str
    question: str
    runs: tuple[Run, ...]
    test: bool = True
    scores: frozenset[str] = frozenset()
    checkpoints: frozenset[str] = frozenset()
    divergence: bool = False

    def __post_init__(self):
        if not re.fullmatch(r"\w[\w.-]*", self.name):
            raise ValueError(
                f"the name of a study is that of a folder: letters, digits, - and _; received {self.name!r}"
            )
        if not self.runs:
            raise ValueError(f"study {self.name} has no runs")
        arms = {run.arm for run in self.runs}
        if unknown := (self.scores | self.checkpoints) - arms:
            raise ValueError(
                f"study {self.name} has no arm {', '.join(sorted(unknown))}; its arms: {', '.join(sorted(arms))}"
            )
        for run in self.runs:
            if run.profile not in data.PROFILES:
                raise ValueError(f"run {run.id}: no profile {run.profile!r}; known: {', '.join(data.PROFILES)}")
            objective = Objective.of(run.build_method(), run.settings)
            if objective.needs_teacher and run.teacher is None:
                raise ValueError(
                    f"run {run.id} compares with a teacher: give Run(teacher=...), or take the comparison away by "
                    'method_options={"loss": "cross_entropy"} and distillation=0'
                )
            if run.teacher is not None and not objective.needs_teacher:
                raise ValueError(f"run {run.id} makes no use of its teacher: give Settings(distillation=...) above 0")
        ids = [run.id for run in self.runs]
        if doubles := {i for i in ids if ids.count(i) > 1}:
            raise ValueError(f"study {self.name} holds runs twice: {', '.join(sorted(doubles))}")
        for run in self.runs:
            for needed in run.needs:
                if needed.id not in ids:
                    raise ValueError(f"study {self.name}: run {run.id} needs {needed.id}, which is not among its runs")

    @property
    def needed(self) -> frozenset[str]:
        """Ids of the runs that others need."""
        return frozenset(needed.id for run in self.runs for needed in run.needs)
