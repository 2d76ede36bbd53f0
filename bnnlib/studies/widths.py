"""What one bit costs: the compact network on Fashion-MNIST with 32, 8, 2 and 1 bits, each by a method for that width.

First and last layers have 8 bits where the method would keep them real, so that every network with codes becomes bits
exactly. Float's runs are those of the study `ideas`, which are the same trainings.
"""

from bnnlib.studies.ideas import AUGMENT, EPOCHS, RATES, TUNING_EPOCHS, TUNING_SEED, TUNING_SIZE
from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

SEEDS = range(5)
ARMS = {"8 bits": "lsq-w8a8", "2 bits": "lsq-w2a2", "1 bit": "xnor-operator"}

# The rate with the best validation accuracy; a test compares them with the stored tuning.
TUNED = {"8 bits": 3e-3, "2 bits": 3e-3, "1 bit": 1e-2}


def _run(name: str, arm: str, settings: Settings, **data_options) -> Run:
    return Run(
        name, ARMS[arm], "compact-cnn", "FashionMNIST", settings,
        data_options={"augment": AUGMENT, **data_options},
        method_options={"loss": "cross_entropy"},
        model_options={"first_last": "int8"},
    )  # fmt: skip


TUNING = Study(
    name="widths-tuning",
    question="Which learning rate for each width, on one grid? (Validation only, 10,000 samples.)",
    runs=tuple(
        _run(
            f"{arm}, {rate:g}",
            arm,
            Settings(epochs=TUNING_EPOCHS, learning_rate=rate, seed=TUNING_SEED),
            train_size=TUNING_SIZE,
        )
        for rate in RATES
        for arm in ARMS
    ),
    test=False,
)

METHODS = Study(
    name="widths",
    question="What does the same network reach with 8, 2 and 1 bits for weights and activations?",
    runs=tuple(
        _run(arm, arm, Settings(epochs=EPOCHS, learning_rate=TUNED[arm], seed=seed)) for seed in SEEDS for arm in ARMS
    ),
    checkpoints=frozenset(ARMS),
)
