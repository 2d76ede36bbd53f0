"""A wake word in three kilobytes: `happy` against everything else, by a network of bits and by its float twin.

The network and its 3x3 and 2x2 kernels are those of the report that the chapter redoes; it stopped after 5 epochs. Fold
runs serve to set the threshold: every clip of the training and validation splits is scored by a network that has never
heard its speaker.
"""

from bnnlib.data.speech import FOLDS
from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

SHORT, EPOCHS = 5, 15
BATCH = 64
SEEDS = range(5)
TUNING_SEED = 100  # kept for tuning
TUNING_EPOCHS = 5
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)

# arm -> method, size of the kernels
ARMS = {
    "binary, 3x3": ("larq-ste-sign", 3),
    "binary, 2x2": ("larq-ste-sign", 2),
    "float, 3x3": ("float", 3),
    "float, 2x2": ("float", 2),
}
FOLDED = "binary, 3x3"  # the arm whose threshold is set
EXACT = "binary, 3x3, 8-bit first layer"  # all of its sums are integers; at the rate of FOLDED
EXACT_SEEDS = range(3)

# The rate with the best balanced validation accuracy; a test compares them with the stored tuning.
TUNED = {"binary, 3x3": 3e-2, "binary, 2x2": 1e-1, "float, 3x3": 1e-2, "float, 2x2": 3e-2}


def _run(
    name: str, arm: str, epochs: int, rate: float, seed: int, *, first_last: str | None = None, **data_options
) -> Run:
    method, kernel = ARMS[arm]
    return Run(
        name, method, "wake-word", "SpeechCommands",
        Settings(epochs=epochs, batch_size=BATCH, learning_rate=rate, select="last", seed=seed),
        data_options={"task": "wake-word", "features": "mfcc", "augment": "shift-noise", **data_options},
        method_options={"loss": "cross_entropy"},
        model_options={"kernel_size": kernel} | ({"first_last": first_last} if first_last else {}),
    )  # fmt: skip


TUNING = Study(
    name="wake-word-tuning",
    question="Which learning rate for each network of the wake word, on one grid? (Validation only.)",
    runs=tuple(_run(f"{arm}, {rate:g}", arm, TUNING_EPOCHS, rate, TUNING_SEED) for rate in RATES for arm in ARMS),
    test=False,
)


def _of_seed(seed: int) -> list[Run]:
    runs = [_run(arm, arm, EPOCHS, TUNED[arm], seed) for arm in ARMS]
    runs += [_run(f"{arm}, {SHORT} epochs", arm, SHORT, TUNED[arm], seed) for arm in ARMS]
    runs += [_run(f"{FOLDED}, fold {fold}", FOLDED, EPOCHS, TUNED[FOLDED], seed, fold=fold) for fold in range(FOLDS)]
    if seed in EXACT_SEEDS:
        runs.append(_run(EXACT, FOLDED, EPOCHS, TUNED[FOLDED], seed, first_last="int8"))
    return runs


METHODS = Study(
    name="wake-word",
    question="How well does a network of three kilobytes hear one word among all others?",
    runs=tuple(run for seed in SEEDS for run in _of_seed(seed)),
    scores=frozenset(run.arm for run in _of_seed(0)),
    checkpoints=frozenset({"binary, 3x3", "float, 3x3", EXACT}),
)
