"""The MNIST study: does one bit regularise?

Stated before the runs were made: at each size the three other arms are compared with the arm without a regulariser, by
test error, paired by seed; the nine comparisons are corrected together (Holm). "One bit regularises" at a size if a binary
arm makes significantly fewer test errors there.
"""

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

EPOCHS = 30
SEEDS = range(10)
SIZES = (2_000, 10_000, 55_000)  # training images

# arm -> method, dropout of the hidden layers
ARMS = {
    "no regulariser": ("float", 0.0),
    "dropout 50 %": ("float", 0.5),
    "deterministic": ("binaryconnect-deterministic", 0.0),
    "stochastic": ("binaryconnect-stochastic", 0.0),
}
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
TUNING_SEED = 100

# The rate with the best validation accuracy at each size; a test compares them with the stored tuning.
TUNED = {
    ("no regulariser", 2_000): 3e-3,
    ("no regulariser", 10_000): 3e-3,
    ("no regulariser", 55_000): 3e-3,
    ("dropout 50 %", 2_000): 3e-3,
    ("dropout 50 %", 10_000): 3e-3,
    ("dropout 50 %", 55_000): 3e-3,
    ("deterministic", 2_000): 1e-2,
    ("deterministic", 10_000): 1e-2,
    ("deterministic", 55_000): 1e-2,
    ("stochastic", 2_000): 1e-2,
    ("stochastic", 10_000): 1e-2,
    ("stochastic", 55_000): 1e-2,
}


def _run(name: str, arm: str, size: int, rate: float, seed: int) -> Run:
    """The paper's network, 784-1024-1024-1024-10, with the squared hinge loss for every arm."""
    method, dropout = ARMS[arm]
    return Run(
        name, method, "mlp", "MNIST", Settings(epochs=EPOCHS, learning_rate=rate, seed=seed),
        data_options={"train_size": size}, method_options={"loss": "squared_hinge"},
        model_options={"hidden": 3} | ({"dropout": dropout} if dropout else {}),
    )  # fmt: skip


TUNING = Study(
    name="mnist-tuning",
    question="Which learning rate for each regulariser at each size, on one grid? (Validation only.)",
    runs=tuple(
        _run(f"{arm}, {size}, {rate:g}", arm, size, rate, TUNING_SEED) for size in SIZES for rate in RATES for arm in ARMS
    ),
    test=False,
)

REGULARISATION = Study(
    name="mnist-regularisation",
    question="Does training with binary weights regularise, as the paper says?",
    runs=tuple(
        _run(f"{arm}, {size}", arm, size, TUNED[arm, size], seed) for size in SIZES for seed in SEEDS for arm in ARMS
    ),
)
