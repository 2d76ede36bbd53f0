"""One study for all ideas: the compact network on Fashion-MNIST under one record for each of them.

Everything but the method is the same: network, widths, loss (softmax cross-entropy), augmentation (flips), batch size,
epochs. Each method has the learning rate that suits it best on validation, from one grid. Methods are compared within
one activation width.
"""

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

EPOCHS = 15
SEEDS = range(3)
HEADLINE_SEEDS = range(5)
HEADLINE = ("float", "binaryconnect-deterministic", "xnor-operator", "bi-real", "lsq-w2a2")
TUNING_SEED = 100  # kept for tuning
TUNING_EPOCHS, TUNING_SIZE = 8, 10_000  # short runs on a part of the data
RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
AUGMENT = "flip"

# The rate with the best validation accuracy; a test compares them with the stored tuning.
TUNED = {
    "float": 1e-2,
    "binaryconnect-deterministic": 3e-3,
    "binaryconnect-stochastic": 1e-2,
    "bwn-operator": 3e-2,
    "twn": 3e-3,
    "lsq-w2a32": 1e-2,
    "bnn": 1e-2,
    "xnor-naive": 3e-3,
    "xnor-operator": 1e-2,
    "bi-real": 1e-2,
    "ir-net": 3e-3,
    "reactnet": 3e-3,
    "ie-net": 3e-3,
    "lsq-w2a2": 3e-3,
}
TAUGHT = "reactnet, float teacher"  # the record as its paper trains it, on a teacher's scores; a row of its own


def _run(arm: str, method: str, settings: Settings, teacher: Run | None = None, **data_options) -> Run:
    return Run(
        arm, method, "compact-cnn", "FashionMNIST", settings,
        data_options={"augment": AUGMENT, **data_options},
        method_options={} if teacher else {"loss": "cross_entropy"},
        teacher=teacher,
    )  # fmt: skip


TUNING = Study(
    name="ideas-tuning",
    question="Which learning rate for each method, on one grid? (Validation only, 10,000 samples.)",
    runs=tuple(
        _run(
            f"{method}, {rate:g}",
            method,
            Settings(epochs=TUNING_EPOCHS, learning_rate=rate, seed=TUNING_SEED),
            train_size=TUNING_SIZE,
        )
        for rate in RATES
        for method in TUNED
    ),
    test=False,
)


def _of_seed(seed: int) -> list[Run]:
    def settings(method: str) -> Settings:
        return Settings(epochs=EPOCHS, learning_rate=TUNED[method], seed=seed)

    wanted = TUNED if seed in SEEDS else HEADLINE
    runs = {method: _run(method, method, settings(method)) for method in wanted}
    if "reactnet" in runs:
        runs[TAUGHT] = _run(TAUGHT, "reactnet", settings("reactnet"), teacher=runs["float"])
    return list(runs.values())


METHODS = Study(
    name="ideas",
    question="What does each idea gain, at the same network, data and epochs?",
    runs=tuple(run for seed in HEADLINE_SEEDS for run in _of_seed(seed)),
)
