"""Ten spoken words with few bits: one network under the methods of the course, on Speech Commands.

Everything but the method is the same: network, widths, features, augmentation, loss (softmax cross-entropy), batch
size, epochs. Each method has the learning rate that suits it best on validation, from one grid. Methods that bring a
block of their own stand there twice: in it, and in the common block of XNOR-Net's paper, with their quantizers alone.
"""

from dataclasses import replace

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

EPOCHS = 15
BATCH = 64
AUGMENT = "shift-noise"  # in a pilot on validation, masks on top took more from a binary network than they gave float
TUNING_SEED = 100  # kept for tuning
TUNING_EPOCHS = 10
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
COMMON_BLOCK = ("layer", "pool", "norm")

WEIGHTS_ONLY = ("binaryconnect-deterministic", "bwn-naive", "bwn-allenai", "bwn-operator", "lsq-w2a32")
ACTIVATIONS_TOO = ("xnor-naive", "xnor-allenai", "xnor-operator", "bnn", "lsq-w2a2")
OWN_BLOCK = ("bi-real", "ir-net", "reactnet", "ie-net")

# arm -> method, changes to its record
ARMS: dict[str, tuple[str, dict]] = {
    **{name: (name, {}) for name in ("float", *WEIGHTS_ONLY, *ACTIVATIONS_TOO, *OWN_BLOCK)},
    **{f"{name}, common block": (name, {"block": COMMON_BLOCK}) for name in OWN_BLOCK},
}
SEEDS = {arm: range(5 if arm in ("float", *WEIGHTS_ONLY, *ACTIVATIONS_TOO) else 3) for arm in ARMS}

SEPARABLE = "float, separable network"  # the kind that small devices run today, for comparison

# The rate with the best validation accuracy; a test compares them with the stored tuning.
TUNED = dict.fromkeys((*ARMS, SEPARABLE), 1e-2) | {
    "float": 3e-2, "binaryconnect-deterministic": 3e-3, "bwn-naive": 3e-3, "lsq-w2a32": 3e-3,
    "xnor-naive": 3e-3, "lsq-w2a2": 3e-3, "ie-net, common block": 3e-2,
}  # fmt: skip


def _run(
    name: str,
    arm: str,
    settings: Settings,
    *,
    first_last: str = "real",
    start: Run | None = None,
    teacher: Run | None = None,
) -> Run:
    method, changes = ARMS.get(arm, ("float", {}))
    return Run(
        name, method, "separable-cnn" if arm == SEPARABLE else "command-cnn", "SpeechCommands", settings,
        data_options={"augment": AUGMENT}, method_options={"loss": "cross_entropy", **changes},
        model_options={"first_last": first_last}, start=start, teacher=teacher,
    )  # fmt: skip


def _tuned(arm: str, seed: int) -> Settings:
    return Settings(epochs=EPOCHS, batch_size=BATCH, learning_rate=TUNED[arm], select="last", seed=seed)


TUNING = Study(
    name="words-tuning",
    question="Which learning rate for each method, on one grid? (Validation only, ten spoken words.)",
    runs=tuple(
        _run(
            f"{arm}, {rate:g}",
            arm,
            Settings(epochs=TUNING_EPOCHS, batch_size=BATCH, learning_rate=rate, select="last", seed=TUNING_SEED),
        )
        for rate in RATES
        for arm in (*ARMS, SEPARABLE)
    ),
    test=False,
)

METHODS = Study(
    name="words",
    question="What do few bits cost on ten spoken words?",
    runs=tuple(_run(arm, arm, _tuned(arm, seed)) for seed in range(5) for arm in ARMS if seed in SEEDS[arm]),
    scores=frozenset({"float", "binaryconnect-deterministic", "xnor-operator", "lsq-w2a2"}),
    checkpoints=frozenset({"float", "xnor-operator", "lsq-w2a2"}),
)

# What a trained float network can do for few bits: give its weights to begin with, or its scores to learn from. Two
# steps of training: real weights under binary activations, then the signs of these. As all of these cost twice the
# epochs, also those by themselves. First and last layers of 8 bits, by which a network becomes bits exactly. And
# another network in float. Rates are those of METHODS.
VARIED = ("xnor-operator", "lsq-w2a2", "bi-real")
LONGER = ("float", "binaryconnect-deterministic", *VARIED, "reactnet")
EXACT = ("xnor-allenai", "lsq-w2a2")
SHARE = 0.5  # of the loss that compares with the teacher


def _variants(seed: int) -> list[Run]:
    taught = _run("float", "float", _tuned("float", seed))
    runs = [taught]
    for arm in VARIED:
        settings = _tuned(arm, seed)
        runs.append(_run(f"{arm}, from float", arm, settings, start=taught))
        runs.append(_run(f"{arm}, float teacher", arm, replace(settings, distillation=SHARE), teacher=taught))
    first = _run("bi-real, real weights", "bi-real", _tuned("bi-real", seed))
    first = replace(first, method_options={**first.method_options, "weights": "real"})
    runs += [first, _run("bi-real, two steps", "bi-real", _tuned("bi-real", seed), start=first)]
    for arm in LONGER:
        runs.append(_run(f"{arm}, twice the epochs", arm, replace(_tuned(arm, seed), epochs=2 * EPOCHS)))
    runs += [_run(f"{arm}, 8-bit ends", arm, _tuned(arm, seed), first_last="int8") for arm in EXACT]
    return [*runs, _run(SEPARABLE, SEPARABLE, _tuned(SEPARABLE, seed))]


VARIANTS = Study(
    name="words-variants",
    question="What do a float network's help, more epochs, 8-bit ends or another network change?",
    runs=tuple(run for seed in range(3) for run in _variants(seed)),
    checkpoints=frozenset(f"{arm}, 8-bit ends" for arm in EXACT),
)

SPLIT_SIZE = 5_000  # training clips, the same for both
SPLIT = Study(
    name="words-split",
    question="How many points does a test fake whose speakers were heard in training?",
    runs=tuple(
        Run(
            arm, "float", "command-cnn", "SpeechCommands",
            Settings(epochs=EPOCHS, batch_size=BATCH, learning_rate=3e-3, select="last", seed=seed),
            data_options={"augment": AUGMENT, "split": split, "train_size": SPLIT_SIZE},
        )
        for seed in range(5)
        for arm, split in (("speakers apart", "speaker-redrawn"), ("speakers shared", "clip"))
    ),
)  # fmt: skip
