"""The MNIST study: does one bit regularise?"""

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

EPOCHS = 30
SIZES = {2_000: range(3), 10_000: range(3), 55_000: range(5)}  # training samples -> seeds

# arm -> method, learning rate (chosen on validation: study `mnist-tuning`), dropout of the hidden layers
ARMS = {
    "no regulariser": ("float", 3e-3, 0.0),
    "dropout 50 %": ("float", 3e-3, 0.5),
    "deterministic": ("binaryconnect-deterministic", 1e-2, 0.0),
    "stochastic": ("binaryconnect-stochastic", 1e-2, 0.0),
}


def _describe(arm: str, method: str, dropout: float, settings: Settings, size: int) -> Run:
    options = {"loss": "squared_hinge"} if method == "float" else {}  # the same loss for every arm
    return Run(
        arm, method, "mlp", "MNIST", settings,
        data_options={"train_size": size}, method_options=options,
        model_options={"dropout": dropout} if dropout else {},
    )  # fmt: skip


def _run(arm: str, size: int, seed: int) -> Run:
    method, rate, dropout = ARMS[arm]
    return _describe(f"{arm}, {size}", method, dropout, Settings(epochs=EPOCHS, learning_rate=rate, seed=seed), size)


def _tuning() -> list[Run]:
    runs = []
    for arm, (method, _, dropout) in ARMS.items():
        for rate in (1e-3, 3e-3) if method == "float" else (1e-3, 3e-3, 1e-2):
            settings = Settings(epochs=EPOCHS, learning_rate=rate, seed=100)
            runs.append(_describe(f"{arm}, {rate:g}", method, dropout, settings, 10_000))
    return runs


TUNING = Study(
    name="mnist-tuning",
    question="Which learning rate for each regulariser? (Validation only, 10,000 samples, a seed of its own.)",
    runs=tuple(_tuning()),
    test=False,
)

REGULARISATION = Study(
    name="mnist-regularisation",
    question="Does training with binary weights regularise, as the paper says?",
    runs=tuple(_run(arm, size, seed) for size, seeds in SIZES.items() for seed in seeds for arm in ARMS),
)
