"""The MNIST study: does one bit regularise?"""

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

EPOCHS = 30
SIZES = {55_000: range(5), 10_000: range(3), 2_000: range(3)}

# arm -> method, learning rate, dropout of the hidden layers
ARMS = {
    "no regulariser": ("float", 1e-3, 0.0),
    "dropout 50 %": ("float", 1e-3, 0.5),
    "deterministic": ("binaryconnect-deterministic", 1e-3, 0.0),
    "stochastic": ("binaryconnect-stochastic", 1e-3, 0.0),
}


def _run(arm: str, size: int, seed: int) -> Run:
    method, rate, dropout = ARMS[arm]
    settings = Settings(epochs=EPOCHS, learning_rate=rate, seed=seed)
    options = {"loss": "squared_hinge"} if method == "float" else {}
    return Run(
        f"{arm}, {size}", method, "mlp", "MNIST", settings,
        train_size=size, method_options=options, model_options={"dropout": dropout} if dropout else {},
    )  # fmt: skip


REGULARISATION = Study(
    name="mnist-regularisation",
    question="Does training with binary weights regularise, as the paper says?",
    runs=tuple(_run(arm, size, seed) for size, seeds in SIZES.items() for seed in seeds for arm in ARMS),
)
