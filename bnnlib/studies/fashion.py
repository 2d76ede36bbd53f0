"""The Fashion-MNIST studies: BinaryConnect against float, what could have cost its source 13 points, and the tuning."""

from dataclasses import dataclass, replace
from typing import Any

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

SEEDS = range(5)
ABLATION_SEEDS = range(3)
EPOCHS = 15

METHODS_BY_ARM = {
    "float": "float",
    "deterministic": "binaryconnect-deterministic",
    "stochastic": "binaryconnect-stochastic",
}


@dataclass(frozen=True)
class Tuned:
    """What the tuning chooses for an arm: a cell of its grid."""

    learning_rate: float
    augment: str
    loss: str

    @property
    def settings(self) -> Settings:
        return Settings(epochs=EPOCHS, learning_rate=self.learning_rate)


def _run(arm: str, method: str, tuned: Tuned, seed: int, **changes: Any) -> Run:
    """A run of the compact network; ``changes`` to the settings are taken from those to the method by their names."""
    names = set(vars(Settings()))
    settings = replace(tuned.settings, seed=seed, **{n: v for n, v in changes.items() if n in names})
    return Run(
        arm, method, "compact-cnn", "FashionMNIST", settings,
        data_options={} if tuned.augment == "none" else {"augment": tuned.augment},
        method_options={"loss": tuned.loss} | {n: v for n, v in changes.items() if n not in names},
    )  # fmt: skip


# The grid is the same for every arm; every cell is trained once, with a seed that no other study uses.
TUNING_SEED = 100
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
AUGMENTATIONS = ("none", "flip", "shift-flip")
LOSSES = ("cross_entropy", "squared_hinge")
GRID = tuple(Tuned(rate, augment, loss) for loss in LOSSES for augment in AUGMENTATIONS for rate in RATES)

TUNING = Study(
    name="fashion-tuning",
    question="Which learning rate, augmentation and loss, for every arm on one grid? (Validation only.)",
    runs=tuple(
        _run(f"{arm}, {cell.learning_rate:g}, {cell.augment}, {cell.loss}", method, cell, TUNING_SEED)
        for cell in GRID
        for arm, method in METHODS_BY_ARM.items()
    ),
    test=False,
)

# For each arm and loss the cell with the best validation accuracy; a test compares them with the stored tuning.
CHOSEN = {
    ("float", "cross_entropy"): Tuned(1e-3, "flip", "cross_entropy"),
    ("float", "squared_hinge"): Tuned(1e-3, "flip", "squared_hinge"),
    ("deterministic", "cross_entropy"): Tuned(3e-3, "flip", "cross_entropy"),
    ("deterministic", "squared_hinge"): Tuned(3e-3, "flip", "squared_hinge"),
    ("stochastic", "cross_entropy"): Tuned(1e-2, "none", "cross_entropy"),
    ("stochastic", "squared_hinge"): Tuned(1e-2, "none", "squared_hinge"),
}
BEST_LOSS = {"float": "cross_entropy", "deterministic": "squared_hinge", "stochastic": "squared_hinge"}
TUNED = {arm: CHOSEN[arm, loss] for arm, loss in BEST_LOSS.items()}

METHODS = Study(
    name="fashion-binaryconnect",
    question="How close does BinaryConnect come to float on Fashion-MNIST in 15 epochs?",
    runs=tuple(_run(arm, METHODS_BY_ARM[arm], tuned, seed) for seed in SEEDS for arm, tuned in TUNED.items()),
    scores=frozenset(METHODS_BY_ARM),
    checkpoints=frozenset(METHODS_BY_ARM),
)

OTHER_LOSS = Study(
    name="fashion-other-loss",
    question="What is the loss worth? Each arm with the loss that it does not use, tuned for that loss.",
    runs=tuple(
        _run(f"{arm}, {loss}", METHODS_BY_ARM[arm], CHOSEN[arm, loss], seed)
        for seed in SEEDS
        for arm, loss in CHOSEN
        if loss != BEST_LOSS[arm]
    ),
)


def _ablation(seed: int) -> list[Run]:
    tuned, method = TUNED["deterministic"], METHODS_BY_ARM["deterministic"]
    rate = tuned.learning_rate

    def varied(arm: str, **changes: Any) -> Run:
        return _run(arm, method, tuned, seed, **changes)

    return [
        _run(
            "logistic probability", METHODS_BY_ARM["stochastic"], TUNED["stochastic"], seed, probability="logistic"
        ),
        varied("no batch norm", batch_norm=False),
        varied("no clip", clip=False),
        varied("no update scaling", update_scaling=False),
        varied("learning rate / 10", learning_rate=rate / 10),
        varied("learning rate x 10", learning_rate=rate * 10),
        varied("60 epochs", epochs=60),
    ]


ABLATION = Study(
    name="fashion-ablation",
    question="Which departure from the paper could have cost a BinaryConnect study 13 points on Fashion-MNIST?",
    runs=tuple(run for seed in ABLATION_SEEDS for run in _ablation(seed)),
)
