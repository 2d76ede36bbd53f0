"""Ten spoken words with few bits: one network under the methods of the course, on Speech Commands.

Everything but the method is the same: network, widths, features, augmentation, loss (softmax cross-entropy), batch
size, epochs. Each method has the learning rate that suits it best on validation, from one grid. Methods that bring a
block of their own stand there twice: in it, and in the common block of XNOR-Net's paper, with their quantizers alone.
"""

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

EPOCHS = 15
BATCH = 64
AUGMENT = "shift-noise"  # in a pilot on validation, masks on top took more from a binary network than they gave float
TUNING_SEED = 100  # kept for tuning
TUNING_EPOCHS = 10
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
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

# The rate with the best validation accuracy; a test compares them with the stored tuning.
TUNED = dict.fromkeys(ARMS, 3e-3)


def _run(name: str, arm: str, settings: Settings) -> Run:
    method, changes = ARMS[arm]
    return Run(
        name, method, "command-cnn", "SpeechCommands", settings,
        data_options={"augment": AUGMENT}, method_options={"loss": "cross_entropy", **changes},
    )  # fmt: skip


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
        for arm in ARMS
    ),
    test=False,
)

METHODS = Study(
    name="words",
    question="What do few bits cost on ten spoken words?",
    runs=tuple(
        _run(
            arm,
            arm,
            Settings(epochs=EPOCHS, batch_size=BATCH, learning_rate=TUNED[arm], select="last", seed=seed),
        )
        for seed in range(5)
        for arm in ARMS
        if seed in SEEDS[arm]
    ),
    scores=frozenset({"float", "binaryconnect-deterministic", "xnor-operator", "lsq-w2a2"}),
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
