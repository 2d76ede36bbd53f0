"""Is training stable? Ten seeds at three learning rates, for the methods that sources call stable or not.

Stated beforehand: differences of means at each method's own rate, by a bootstrap over seeds and speakers together,
Holm-corrected, with a margin of half a point for equivalence; spreads by Brown and Forsythe's test. A run has diverged
if its loss is not finite or its last validation accuracy is below three times chance. The operator with ten other seeds
shows what no difference looks like. The port computes the same as the operator in another way; it gave the very same
trainings, so that a few seeds of it are enough.

Five seeds at each method's own rate are runs of the study `words`, and are not trained twice.
"""

from bnnlib.studies import words
from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

SEEDS = range(10)
FACTORS = (1 / 3, 1.0, 3.0)  # of each method's own tuned learning rate
METHODS = ("float", "xnor-naive", "xnor-allenai", "xnor-operator", "lsq-w2a2")
PORT, PORT_SEEDS = "xnor-port", range(6)  # against xnor-operator, at its rate
CONTROL, CONTROL_SEEDS = "xnor-operator, other seeds", range(10, 20)
CONDITIONS = {"momentum 0.01": {"norm_momentum": 0.01}, "He's weights": {"initial": "he"}}
CONDITION_SEEDS = range(3)
MARGIN = 0.5  # points: closer means are equivalent
DIVERGED = 3  # times chance


def arm(method: str, factor: float = 1.0) -> str:
    """The name of a method's runs at a multiple of its rate."""
    return method if factor == 1 else f"{method}, rate x {'1/3' if factor < 1 else '3'}"


def _run(name: str, method: str, seed: int, factor: float = 1.0, **model_options) -> Run:
    rate = words.TUNED["xnor-operator" if method == PORT else method] * factor
    return Run(
        name, method, "command-cnn", "SpeechCommands",
        Settings(
            epochs=words.EPOCHS, batch_size=words.BATCH, learning_rate=float(f"{rate:.2g}"), select="last", seed=seed
        ),
        data_options={"augment": words.AUGMENT}, method_options={"loss": "cross_entropy"},
        model_options=model_options,
    )  # fmt: skip


_SHARED = {run.id for run in words.METHODS.runs}
_RUNS = (
    *(_run(arm(m), m, seed) for seed in SEEDS for m in METHODS),
    *(_run(PORT, PORT, seed) for seed in PORT_SEEDS),
    *(_run(CONTROL, "xnor-operator", seed) for seed in CONTROL_SEEDS),
    *(_run(arm(m, f), m, seed, f) for seed in SEEDS for f in FACTORS if f != 1 for m in METHODS),
    *(
        _run(f"{m}, {name}", m, seed, **options)
        for seed in CONDITION_SEEDS
        for name, options in CONDITIONS.items()
        for m in METHODS
    ),
)
STABILITY = Study(
    name="stability",
    question="How much do seeds and learning rates decide, for each method?",
    runs=tuple(run for run in _RUNS if run.id not in _SHARED),
    divergence=True,
)
