"""The Fashion-MNIST studies: BinaryConnect against float, what could have cost its source 13 points, and the tuning."""

from dataclasses import replace

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

SEEDS = range(5)
ABLATION_SEEDS = range(3)
ARMS = {
    "float": "float",
    "deterministic": "binaryconnect-deterministic",
    "stochastic": "binaryconnect-stochastic",
}


def _run(arm: str, method: str, settings: Settings, augment: str, seed: int, **options) -> Run:
    return Run(
        arm, method, "compact-cnn", "FashionMNIST", replace(settings, seed=seed),
        data_options={"augment": augment} if augment != "none" else {}, method_options=options,
    )  # fmt: skip


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

# The best cell of the grid for each arm: a test compares them. All take the same rate.
CHOSEN = Settings(epochs=15, learning_rate=1e-2)
AUGMENT = {"float": "flip", "deterministic": "flip", "stochastic": "none"}
LOSS = {"float": "cross_entropy", "deterministic": "squared_hinge", "stochastic": "cross_entropy"}
HEADLINE = Study(
    name="fashion-headline",
    question="How close does BinaryConnect come to float on Fashion-MNIST, every arm tuned on one grid?",
    # float's runs are those of the study `ideas`, which are the same trainings
    runs=tuple(
        _run(arm, ARMS[arm], CHOSEN, AUGMENT[arm], seed, loss=LOSS[arm])
        for seed in SEEDS
        for arm in ("deterministic", "stochastic")
    ),
    scores=frozenset({"deterministic", "stochastic"}),
    checkpoints=frozenset({"deterministic", "stochastic"}),
)

# The ablation stands on runs of its own, with the paper's loss for both arms, at rates that an earlier tuning chose.
BASE = {"deterministic": Settings(epochs=15, learning_rate=3e-3), "stochastic": Settings(epochs=15, learning_rate=1e-2)}


def _ablation(seed: int) -> list[Run]:
    stochastic, deterministic = ARMS["stochastic"], ARMS["deterministic"]
    rate = BASE["deterministic"].learning_rate

    def varied(arm: str, settings: Settings = BASE["deterministic"], **options) -> Run:
        return _run(arm, deterministic, settings, "flip", seed, **options)

    return [
        varied("deterministic"),
        _run("stochastic", stochastic, BASE["stochastic"], "none", seed),
        _run("logistic probability", stochastic, BASE["stochastic"], "none", seed, probability="logistic"),
        varied("no batch norm", batch_norm=False),
        varied("no clip", clip=False),
        varied("no update scaling", update_scaling=False),
        varied("learning rate / 10", replace(BASE["deterministic"], learning_rate=rate / 10)),
        varied("learning rate x 10", replace(BASE["deterministic"], learning_rate=rate * 10)),
        _run("stochastic, flips, rate 0.003", stochastic, BASE["deterministic"], "flip", seed),
        varied("60 epochs", replace(BASE["deterministic"], epochs=60)),
    ]


ABLATION = Study(
    name="fashion-ablation",
    question="Which departure from the paper could have cost a BinaryConnect study 13 points on Fashion-MNIST?",
    runs=tuple(run for seed in ABLATION_SEEDS for run in _ablation(seed)),
)
