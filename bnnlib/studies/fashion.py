"""The Fashion-MNIST studies: BinaryConnect against float, what could have cost its source 13 points, and the tuning."""

from dataclasses import replace

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

SEEDS = range(5)
ABLATION_SEEDS = range(3)

# Chosen on validation accuracy (study `fashion-tuning`). Flips and no augmentation are level for the deterministic arm,
# which takes float's; the stochastic arm does better without.
FLOAT = Settings(epochs=15, learning_rate=2e-3)
DETERMINISTIC = Settings(epochs=15, learning_rate=3e-3)
STOCHASTIC = Settings(epochs=15, learning_rate=1e-2)
ARMS = {
    "float": "float",
    "deterministic": "binaryconnect-deterministic",
    "stochastic": "binaryconnect-stochastic",
}
AUGMENT = {"float": "flip", "deterministic": "flip", "stochastic": "none"}


def _run(arm: str, method: str, settings: Settings, augment: str, seed: int, **options) -> Run:
    return Run(
        arm, method, "compact-cnn", "FashionMNIST", replace(settings, seed=seed),
        data_options={"augment": augment} if augment != "none" else {}, method_options=options,
    )  # fmt: skip


def _headline(seed: int) -> list[Run]:
    return [
        _run("float", "float", FLOAT, AUGMENT["float"], seed),
        _run("deterministic", "binaryconnect-deterministic", DETERMINISTIC, AUGMENT["deterministic"], seed),
        _run("stochastic", "binaryconnect-stochastic", STOCHASTIC, AUGMENT["stochastic"], seed),
    ]


METHODS = Study(
    name="fashion-binaryconnect",
    question="How close does BinaryConnect come to float on Fashion-MNIST in 15 epochs?",
    runs=tuple(run for seed in SEEDS for run in _headline(seed)),
    scores=frozenset({"float", "deterministic", "stochastic"}),
    checkpoints=frozenset({"float", "deterministic", "stochastic"}),
)


def _tuning() -> list[Run]:
    stochastic, deterministic = "binaryconnect-stochastic", "binaryconnect-deterministic"
    grid = [
        # method, learning rate, augmentation
        (deterministic, 3e-4, "none"),
        (deterministic, 3e-3, "none"),
        (deterministic, 1e-2, "none"),
        (deterministic, 3e-3, "flip"),
        (stochastic, 3e-3, "none"),
        ("float", 2e-3, "flip"),
        (stochastic, 1e-2, "none"),
        (stochastic, 1e-2, "flip"),
        (stochastic, 3e-2, "flip"),
        ("float", 2e-3, "none"),
        (deterministic, 3e-3, "shift-flip"),
        ("float", 2e-3, "shift-flip"),
    ]
    return [
        _run(
            f"{method}, {rate:g}, {augment}, batch 128",
            method,
            Settings(epochs=15, learning_rate=rate),
            augment,
            seed=100,
        )
        for method, rate, augment in grid
    ]


TUNING = Study(
    name="fashion-tuning",
    question="Which learning rate and augmentation? (Validation only, one seed that no other study uses.)",
    runs=tuple(_tuning()),
    test=False,
)

# The same grid for every arm, on a part of the data; every cell is trained once, with a seed kept for tuning.
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
AUGMENTATIONS = ("none", "flip", "shift-flip")
LOSSES = ("cross_entropy", "squared_hinge")
GRID_SETTINGS = Settings(epochs=8, seed=100)
GRID_SIZE = 10_000


def _cell(arm: str, rate: float, augment: str, loss: str) -> Run:
    return Run(
        f"{arm}, {rate:g}, {augment}, {loss}", ARMS[arm], "compact-cnn", "FashionMNIST",
        replace(GRID_SETTINGS, learning_rate=rate),
        data_options={"train_size": GRID_SIZE} | ({"augment": augment} if augment != "none" else {}),
        method_options={"loss": loss},
    )  # fmt: skip


GRID = Study(
    name="fashion-grid",
    question="Which learning rate, augmentation and loss, for every arm on one grid? (Validation, 10,000 samples.)",
    runs=tuple(
        _cell(arm, rate, augment, loss)
        for loss in LOSSES
        for augment in AUGMENTATIONS
        for rate in RATES
        for arm in ARMS
    ),
    test=False,
)

# What the grid prefers; float's runs are those of the study `ideas`, which are the same trainings.
_CHOSEN = Settings(epochs=15, learning_rate=1e-2)
HEADLINE = Study(
    name="fashion-headline",
    question="How close does BinaryConnect come to float on Fashion-MNIST, every arm tuned on one grid?",
    runs=tuple(
        run
        for seed in SEEDS
        for run in (
            _run("deterministic", ARMS["deterministic"], _CHOSEN, "flip", seed, loss="squared_hinge"),
            _run("stochastic", ARMS["stochastic"], _CHOSEN, "none", seed, loss="cross_entropy"),
        )
    ),
    scores=frozenset({"deterministic", "stochastic"}),
    checkpoints=frozenset({"deterministic", "stochastic"}),
)


def _ablation(seed: int) -> list[Run]:
    stochastic, deterministic = "binaryconnect-stochastic", "binaryconnect-deterministic"
    rate = DETERMINISTIC.learning_rate

    def varied(arm: str, settings: Settings = DETERMINISTIC, **options) -> Run:
        return _run(arm, deterministic, settings, AUGMENT["deterministic"], seed, **options)

    return [
        _run("logistic probability", stochastic, STOCHASTIC, AUGMENT["stochastic"], seed, probability="logistic"),
        varied("no batch norm", batch_norm=False),
        varied("no clip", clip=False),
        varied("no update scaling", update_scaling=False),
        varied("learning rate / 10", replace(DETERMINISTIC, learning_rate=rate / 10)),
        varied("learning rate x 10", replace(DETERMINISTIC, learning_rate=rate * 10)),
        # what the stochastic arm was before its tuning was complete
        _run("stochastic, flips, rate 0.003", stochastic, DETERMINISTIC, "flip", seed),
        varied("60 epochs", replace(DETERMINISTIC, epochs=60)),
    ]


ABLATION = Study(
    name="fashion-ablation",
    question="Which departure from the paper could have cost a BinaryConnect study 13 points on Fashion-MNIST?",
    runs=tuple(run for seed in ABLATION_SEEDS for run in _ablation(seed)),
)
