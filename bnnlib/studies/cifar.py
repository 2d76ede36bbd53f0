"""CIFAR-10: more information in a binary network (IE-Net's branches), and what float training teaches binary training.

Four studies and their tuning. BRANCHES trains float and K = 1, 2, 3 branches; its ResNet-18 is the widest and trains
longest. CARRY_OVER gives each regulariser to a float network and to a binary one (MOBILENET to one in float), with
few samples and many epochs, so that there is something to regularise; TEACHER lets a float network, that of BRANCHES,
teach K = 3, or one give it its weights, beside training K = 3 for as long; METHODS puts IE-Net with one branch, in its
authors' block, beside others in theirs, and METHODS_BLOCK gives it theirs. These use a narrow ResNet-18. All train in
bf16 (autocast; evaluation is float32); PRECISION trains two arms of METHODS in float32, to compare.

Float and binary networks are tuned alike: a rate for each from one grid, then a weight decay, then whether there is
augmentation; for CARRY_OVER a second decay, "alone", without the other regularisers. MobileNetV2, the slowest, has no
decay of the first kind: BRANCHES trains it with none.

Sizes were chosen for some ten hours on two threads (they took about sixteen). At width 16 a trial of float reached
85.4 % on validation in 16 epochs, so that 20 promised 86 on the test; width 8 takes two fifths of the time,
and shows differences of a few points. The optimiser is AdamW, as in the course's other studies. Of the other methods
four are compared: IR-Net and BNN were left out for time.

The stored rows were computed on a JPEG copy of CIFAR-10; later ones say in ``data`` which files they saw.
"""

from dataclasses import replace
from typing import Any

from bnnlib.studies.run import Run, Study
from bnnlib.training import Settings

SEEDS = range(3)
COLUMN_SEEDS = range(5)  # of CARRY_OVER: three were planned; how signs take augmentation was not sure after them
TUNING_SEED = 100  # kept for tuning
BATCH = 128
EPOCHS = {"resnet18": 20, "mobilenet-v2": 6}  # of BRANCHES
WIDTH = {"resnet18": 16, "mobilenet-v2": 0.25}
NARROW, SHORT = 8, 8  # width and epochs of the others, but for CARRY_OVER's epochs
FACTOR_SIZE, FACTOR_EPOCHS = 10_000, 16  # of CARRY_OVER: a float network learns these by heart
TUNING_EPOCHS = 3
TUNING_SIZE = 15_000  # of the tuning of MobileNetV2, whose epoch takes some five times as long
RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
DECAYS = (0.0, 0.1, 0.4, 1.6)
ALONE = (*DECAYS, 6.4)  # of decays that nothing else helps

# What a network is built and trained with unless a study is about it.
AUGMENT = "crop-flip"
SMOOTHING = 0.1

BRANCHES_OF = {"K = 1": 1, "K = 2": 2, "K = 3": 3}
IENET = "K = 1"
ARMS = ("float", IENET)  # of tuning and of CARRY_OVER
OTHERS = ("bi-real", "reactnet", "xnor-operator", "lsq-w2a2")  # of METHODS; the rates of two more are tuned
HELD = "MobileNetV2, K = 1, estimator held"
MOBILENETS = ("MobileNetV2, float", "MobileNetV2, K = 1")  # without decay, but for MOBILENET's L2
SHORTCUT_EACH = ("bi-real", "ir-net", "reactnet")  # around each convolution, as their papers have it

# The rate, the augmentation, and the decay at that rate, with the best validation accuracy; tests compare them with the
# stored tuning.
TUNED = {
    "float": 3e-3,
    **{"K = 1": 1e-2, "K = 2": 3e-2, "K = 3": 1e-2},
    **{"bi-real": 1e-2, "ir-net": 3e-2, "reactnet": 1e-2, "xnor-operator": 1e-2, "bnn": 1e-2, "lsq-w2a2": 1e-2},
    **dict.fromkeys(MOBILENETS, 1e-2),
}
AUGMENTED = {"float": AUGMENT, **dict.fromkeys((IENET, *OTHERS, *MOBILENETS), "none")}
DECAY = {
    **{"float": 0.4, IENET: 0.1, **dict.fromkeys(OTHERS, 0.1), "xnor-operator": 0.0},
    **{"float alone": 1.6, f"{IENET} alone": 0.4, "MobileNetV2, float alone": 0.4},
}


def _run(
    name: str,
    arm: str,
    settings: Settings,
    *,
    model: str = "resnet18",
    width: float = NARROW,
    augment: str = AUGMENT,
    train_size: int | None = None,
    method_options: dict[str, Any] | None = None,
    **more: Any,
) -> Run:
    """``arm``: "float", "K = 2" or a method; ``more``: options of the network, and a run's teacher or start."""
    needed = {key: more.pop(key) for key in ("teacher", "start") if key in more}
    method, options = arm, {"loss": "cross_entropy", **(method_options or {})}
    if arm in BRANCHES_OF:
        method, options = "ie-net", options | {"branches": BRANCHES_OF[arm], "mixing": "scalar"}
        if model == "resnet18":
            more = {"projection": "method"} | more
    elif arm in SHORTCUT_EACH:
        more["shortcut"] = "layer"
    return Run(
        name, method, model, "CIFAR10", settings,
        data_options={"augment": augment, "train_size": train_size}, method_options=options,
        model_options={"width": width, **more}, **needed,
    )  # fmt: skip


def _settings(epochs: int, rate: float, seed: int, **more: Any) -> Settings:
    given = {"label_smoothing": SMOOTHING, "precision": "bf16-mixed", "select": "last"} | more
    return Settings(epochs=epochs, batch_size=BATCH, learning_rate=rate, seed=seed, **given)


def _decay(arm: str) -> float:
    return DECAY[IENET if arm in BRANCHES_OF else arm]


def _augment(arm: str) -> str:
    return AUGMENTED[IENET if arm in BRANCHES_OF else arm]


def _decayed(decay: float) -> dict[str, float]:
    """L2 of all weights. Adam's is decoupled."""
    return {"weight_decay": decay, "latent_weight_decay": decay}


def _short(arm: str, seed: int, **more: Any) -> Settings:
    return _settings(SHORT, TUNED[arm], seed, **_decayed(_decay(arm)), **more)


_MOBILENET: dict[str, Any] = {"model": "mobilenet-v2", "width": WIDTH["mobilenet-v2"]}


def _tuning(arm: str, rate: float) -> Run:
    plain = arm.removeprefix("MobileNetV2, ")
    options = {} if plain == arm else {**_MOBILENET, "train_size": TUNING_SIZE}
    return _run(f"{arm}, {rate:g}", plain, _settings(TUNING_EPOCHS, rate, TUNING_SEED), **options)


TUNING = Study(
    name="cifar-tuning",
    question="Which learning rate for each network and method, on one grid? (Validation only, CIFAR-10.)",
    runs=tuple(_tuning(arm, rate) for rate in RATES for arm in TUNED),
    test=False,
)


def _wide(arm: str, name: str, seed: int) -> Run:
    settings = _settings(EPOCHS["resnet18"], TUNED[arm], seed, **_decayed(_decay(arm)))
    return _run(name, arm, settings, width=WIDTH["resnet18"], augment=_augment(arm))


def _mobilenet(name: str, arm: str, seed: int, **more: Any) -> Run:
    tuned = MOBILENETS[0] if arm == "float" else MOBILENETS[1]
    settings = _settings(EPOCHS["mobilenet-v2"], TUNED[tuned], seed)
    return _run(name, arm, settings, augment=AUGMENTED[tuned], **_MOBILENET, **more)


def _branches(seed: int) -> list[Run]:
    runs = [_wide(arm, arm, seed) for arm in ("float", *BRANCHES_OF)]
    if seed == 0:
        runs += [_mobilenet(f"MobileNetV2, {arm}", arm, seed) for arm in ("float", *BRANCHES_OF)]
        # added when the others were known, to see what their last epoch does
        runs.append(_mobilenet(HELD, IENET, seed, method_options={"t_max": 1.0}))
    return runs


BRANCHES = Study(
    name="cifar-branches",
    question="What do K branches gain, and what do they cost?",
    runs=tuple(run for seed in SEEDS for run in _branches(seed)),
)

# The columns of the thesis that these studies redo (A. Yu. Chanchikov's), and each factor by itself.
NOTHING = {"decay": False, "smoothing": False, "augment": False, "dropout": False}
COLUMNS: dict[str, dict[str, bool]] = {
    "nothing": {},
    "L2": {"decay": True},
    "L2, smoothing": {"decay": True, "smoothing": True},
    "L2, smoothing, augmentation": {"decay": True, "smoothing": True, "augment": True},
    "L2, augmentation": {"decay": True, "augment": True},
    "L2, augmentation, dropout": {"decay": True, "augment": True, "dropout": True},
    "smoothing": {"smoothing": True},
    "augmentation": {"augment": True},
    "dropout": {"dropout": True},
}
DROPOUT = 0.2
PRUNED = 0.5  # the share of weights that go, of a trained network, which then trains on


def _factors(arm: str, column: str, seed: int, model: str = "resnet18", decay: float | None = None) -> Run:
    has = NOTHING | COLUMNS[column]
    network = arm if model == "resnet18" else f"MobileNetV2, {arm}"
    more = _decayed(DECAY[f"{network} alone"] if decay is None else decay) if has["decay"] else {}
    settings = _settings(
        FACTOR_EPOCHS, TUNED[network], seed, label_smoothing=SMOOTHING if has["smoothing"] else 0.0, **more
    )
    options = {"augment": AUGMENT if has["augment"] else "none", "train_size": FACTOR_SIZE}
    options |= {"dropout": DROPOUT} if has["dropout"] else {}
    return _run(f"{network}: {column}", arm, settings, **options, **(_MOBILENET if model == "mobilenet-v2" else {}))


def _beside(arm: str, decay: float) -> Run:
    return _run(f"{arm}, {decay:g}", arm, _settings(SHORT, TUNED[arm], TUNING_SEED, **_decayed(decay)))


def _without_augmentation(arm: str) -> Run:
    run = _tuning(arm, TUNED[arm]) if arm in MOBILENETS else _beside(arm, DECAY[arm])
    return replace(run, arm=f"{arm}, none", data_options=run.data_options | {"augment": "none"})


def _alone(arm: str, decay: float, model: str = "resnet18") -> Run:
    run = _factors(arm, "L2", TUNING_SEED, model, decay)
    return replace(run, arm=f"{run.arm.removesuffix(': L2')} alone, {decay:g}")


DECAY_TUNING = Study(
    name="cifar-decay",
    question="Which decay for float and for binary, beside other regularisers and alone? (Validation only, CIFAR-10.)",
    runs=(
        *(_beside(arm, decay) for decay in DECAYS for arm in ARMS),
        *(_alone(arm, decay) for decay in ALONE for arm in ARMS),
    ),
    test=False,
)


def _trained_on(arm: str, seed: int) -> list[Run]:
    """After training with nothing: as long again, with the smallest weights pruned, and with all of them."""
    start = _factors(arm, "nothing", seed)
    again = {"augment": "none", "train_size": FACTOR_SIZE, "start": start}
    return [
        _run(f"{arm}: trained on", arm, start.settings, **again),
        _run(f"{arm}: pruned and trained on", arm, start.settings, method_options={"pruned": PRUNED}, **again),
    ]


def _carry_over(seed: int) -> list[Run]:
    runs = [_factors(arm, column, seed) for column in COLUMNS for arm in ARMS]
    return runs + [run for arm in ARMS if seed in SEEDS for run in _trained_on(arm, seed)]


CARRY_OVER = Study(
    name="cifar-carry-over",
    question="Does what helps a float network help a binary one?",
    runs=tuple(run for seed in COLUMN_SEEDS for run in _carry_over(seed)),
)

MOBILENET_DECAY = Study(
    name="cifar-mobilenet-decay",
    question="Which decay for MobileNetV2, without other regularisers? (Validation only, CIFAR-10.)",
    runs=tuple(_alone("float", decay, "mobilenet-v2") for decay in DECAYS),
    test=False,
)

MOBILENET = Study(
    name="cifar-mobilenet",
    question="What helps MobileNetV2, in float?",
    runs=tuple(_factors("float", column, 0, "mobilenet-v2") for column in COLUMNS),
)

TAUGHT = "K = 3"
SHARE, TEMPERATURE = 0.5, 4.0  # of the loss that compares with the teacher; by which scores are softened


def _lessons(seed: int) -> list[Run]:
    """One teacher for all seeds: the float network of BRANCHES, seed 0.

    It learned from smoothed labels, which may cost its pupils something; when it had given them nothing sure, one that
    did not was added, as had been announced. What begins with float's weights is trained for as long as float was
    before it; beside it stands what begins with its own.
    """
    teacher = _wide("float", "float teacher", 0)
    sharper = replace(teacher.settings, label_smoothing=0.0)
    unsmoothed = replace(teacher, arm=f"{teacher.arm}, unsmoothed", settings=sharper)
    settings = _short(TAUGHT, seed)
    regular = {"augment": _augment(TAUGHT)}
    lesson = {"distillation": SHARE, "temperature": TEMPERATURE}
    bare = replace(settings, label_smoothing=0.0, **_decayed(0.0))
    alone = _run(TAUGHT, TAUGHT, settings, **regular)
    start = _run("float", "float", _short("float", seed), augment=_augment("float"))
    return [
        *([teacher, unsmoothed] if seed == 0 else []),
        alone,
        _run(f"{TAUGHT}, taught", TAUGHT, replace(settings, **lesson), teacher=teacher, **regular),
        _run(f"{TAUGHT}, teacher unsmoothed", TAUGHT, replace(settings, **lesson), teacher=unsmoothed, **regular),
        _run(f"{TAUGHT}, no regularisers", TAUGHT, bare, augment="none"),
        _run(f"{TAUGHT}, no regularisers, taught", TAUGHT, replace(bare, **lesson), augment="none", teacher=teacher),
        start,
        _run(f"{TAUGHT}, from float", TAUGHT, settings, start=start, **regular),
        _run(f"{TAUGHT}, trained on", TAUGHT, settings, start=alone, **regular),
    ]


TEACHER = Study(
    name="cifar-teacher",
    question="Does a float teacher lead K = 3 to where training without one does not get?",
    runs=tuple(run for seed in SEEDS for run in _lessons(seed)),
)


COMPARED = {"float": "float", "ie-net": IENET, **{method: method for method in OTHERS}}

METHODS_DECAY = Study(
    name="cifar-methods-decay",
    question="Which decay for the other methods, beside other regularisers? (Validation only, CIFAR-10.)",
    runs=tuple(_beside(arm, decay) for decay in DECAYS for arm in OTHERS),
    test=False,
)

AUGMENTATION = Study(
    name="cifar-augmentation",
    question="Is a network better without augmentation than with it? (Validation only, CIFAR-10.)",
    runs=tuple(_without_augmentation(arm) for arm in (*ARMS, *MOBILENETS, *OTHERS)),
    test=False,
)


def _at_one_budget(name: str, seed: int, **more: Any) -> Run:
    arm = COMPARED[name]
    return _run(name, arm, _short(arm, seed, **more), augment=_augment(arm))


METHODS = Study(
    name="cifar-methods",
    question="Where does IE-Net with one branch stand among others at the same budget?",
    runs=tuple(_at_one_budget(name, seed) for seed in SEEDS for name in COMPARED),
)

# IE-Net in two steps from its authors' block to Bi-Real Net's: added when it was known to be behind
BLOCKS: dict[str, dict[str, Any]] = {
    "ie-net, real projections": {"projection": "real"},
    "ie-net, a shortcut each": {"projection": "real", "shortcut": "layer"},
}

METHODS_BLOCK = Study(
    name="cifar-methods-block",
    question="Is it IE-Net's block that keeps it behind the others of cifar-methods?",
    runs=tuple(
        _run(name, IENET, _short(IENET, seed), augment=_augment(IENET), **block)
        for seed in SEEDS
        for name, block in BLOCKS.items()
    ),
)

PRECISION = Study(
    name="cifar-precision",
    question="Does bf16 change accuracy? (Two arms of cifar-methods in float32.)",
    runs=tuple(_at_one_budget(name, seed, precision="32-true") for seed in SEEDS for name in ("float", "ie-net")),
)
