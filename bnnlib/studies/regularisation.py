"""Does one bit regularise? The study on MNIST.

The network is that of BinaryConnect's paper (sec. 3.1), 784-3x1024-10. Every arm is tuned on one grid of learning rates
and losses, at each training-set size by itself (with all samples in half of the epochs). Epochs differ between sizes,
so only arms of one size are compared.
"""

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

HIDDEN = 3
EPOCHS = {2_000: 30, 10_000: 30, 55_000: 10}  # training samples -> epochs
TUNING_EPOCHS = {**EPOCHS, 55_000: 5}
SIZES = {2_000: range(10), 10_000: range(10), 55_000: range(5)}  # training samples -> seeds
TUNING_SEED = 100  # kept for tuning
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
LOSSES = ("cross_entropy", "squared_hinge")

# arm -> method, dropout of the hidden layers
ARMS = {
    "no regulariser": ("float", 0.0),
    "dropout 50 %": ("float", 0.5),
    "deterministic": ("binaryconnect-deterministic", 0.0),
    "stochastic": ("binaryconnect-stochastic", 0.0),
}

# size -> arm -> learning rate and loss with the best validation accuracy; a test compares them with the stored tuning
TUNED = {
    2_000: {
        "no regulariser": (1e-3, "cross_entropy"),
        "dropout 50 %": (3e-3, "cross_entropy"),
        "deterministic": (3e-3, "cross_entropy"),
        "stochastic": (1e-2, "cross_entropy"),
    },
    10_000: {
        "no regulariser": (1e-3, "cross_entropy"),
        "dropout 50 %": (1e-2, "cross_entropy"),
        "deterministic": (1e-3, "cross_entropy"),
        "stochastic": (3e-3, "cross_entropy"),
    },
    55_000: {
        "no regulariser": (3e-4, "cross_entropy"),
        "dropout 50 %": (3e-3, "cross_entropy"),
        "deterministic": (1e-3, "cross_entropy"),
        "stochastic": (3e-3, "cross_entropy"),
    },
}


def _run(name: str, arm: str, size: int, epochs: int, rate: float, loss: str, seed: int) -> Run:
    method, dropout = ARMS[arm]
    return Run(
        name, method, "mlp", "MNIST", Settings(epochs=epochs, learning_rate=rate, seed=seed),
        data_options={"train_size": size}, method_options={"loss": loss},
        model_options={"hidden": HIDDEN} | ({"dropout": dropout} if dropout else {}),
    )  # fmt: skip


TUNING = Study(
    name="regularisation-tuning",
    question="Which learning rate and loss, for every arm on one grid at each training-set size? (Validation only.)",
    runs=tuple(
        _run(f"{arm}, {size}, {rate:g}, {loss}", arm, size, TUNING_EPOCHS[size], rate, loss, TUNING_SEED)
        for size in SIZES
        for loss in LOSSES
        for rate in RATES
        for arm in ARMS
    ),
    test=False,
)

METHODS = Study(
    name="regularisation",
    question="Does training with binary weights regularise, as the paper says?",
    runs=tuple(
        _run(f"{arm}, {size}", arm, size, EPOCHS[size], *TUNED[size][arm], seed)
        for size, seeds in SIZES.items()
        for seed in seeds
        for arm in ARMS
    ),
)
