import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import data, models
from bnnlib.data import TensorSplit
from bnnlib.files import Damaged
from bnnlib.layers import binary_layers
from bnnlib.models.blocks import Builder
from bnnlib.quantizers import RSign
from bnnlib.training import (
    Objective,
    Observer,
    Settings,
    balanced_accuracy,
    fit,
    make_optimizer,
    reestimate_batch_norm,
    scores,
    seeded,
    start_from,
)
from bnnlib.training.measurements import LatentMeasurements
from bnnlib.training.state import TrainingState

METHODS = ["float", "binaryconnect-deterministic", "binaryconnect-stochastic"]


@pytest.fixture(scope="module")
def small():
    """600 training images."""
    return data.load("FashionMNIST", "quick", train_size=600)


def fit_from_seed(build, method, splits, settings, **options):
    if settings.device == "auto":
        settings = replace(settings, device="cpu")  # the values compared are those of one processor
    seeded(settings.seed)
    return fit(build(method), method, splits, settings, **options)


def trained(method, splits, settings, **options):
    return fit_from_seed(partial(models.MLP, width=32), method, splits, settings, **options)


@pytest.mark.parametrize("method", METHODS)
def test_a_short_training_beats_chance_by_far(method, small):
    result = trained(method, small, Settings(epochs=4, batch_size=50, learning_rate=3e-3))
    assert result.history.epochs[-1].test_accuracy > 50
    assert result.epoch == 4  # 500 validation images are too few to choose an epoch


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_gives_the_same_network_and_another_another(method, small):
    runs = [trained(method, small, Settings(epochs=1, seed=seed)) for seed in (3, 3, 4)]
    one, same, other = (r.model.state_dict()["layers.0.weight"] for r in runs)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


class Killed(Exception):
    pass


class Killer(Observer):
    """Ends a training in the third step of its second epoch."""

    def step(self, epoch, step, steps):
        if (epoch, step) == (2, 3):
            raise Killed


def killed_and_resumed(method, splits, settings, folder, **options):
    checkpoint = str(folder / "run.pt")  # a path may be given as text
    with pytest.raises(Killed):
        trained(method, splits, settings, checkpoint=checkpoint, observers=[Killer()], **options)
    return trained(method, splits, settings, checkpoint=checkpoint, **options)


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(method, small, tmp_path):
    settings = Settings(epochs=3, batch_size=100)
    splits = data.load("FashionMNIST", "quick", train_size=600, augment="shift-flip")
    whole = trained(method, splits, settings)
    resumed = killed_and_resumed(method, splits, settings, tmp_path)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    drop = ["train_seconds", "seconds", "flips"]
    assert resumed.history.frame().drop(columns=drop).equals(whole.history.frame().drop(columns=drop))
    assert resumed.history.frame()["flips"].equals(whole.history.frame()["flips"])
    assert resumed.history.histograms == whole.history.histograms


def test_a_checkpoint_of_another_training_is_refused(small, tmp_path):
    checkpoint = tmp_path / "run.pt"
    trained("float", small, Settings(epochs=1), checkpoint=checkpoint)
    with pytest.raises(ValueError, match="belongs to another training"):
        trained("float", small, Settings(epochs=2), checkpoint=checkpoint)
    other = bnnlib.methods["float"].varied(loss="squared_hinge")
    with pytest.raises(ValueError, match="belongs to another training"):
        trained(other, small, Settings(epochs=1), checkpoint=checkpoint)
    with pytest.raises(ValueError, match="belongs to another training"):
        trained("float", data.load("FashionMNIST", "quick", train_size=400), Settings(epochs=1), checkpoint=checkpoint)


def test_a_damaged_checkpoint_is_named(small, tmp_path):
    checkpoint = tmp_path / "run.pt"
    trained("float", small, Settings(epochs=1), checkpoint=checkpoint)
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"run\.pt is damaged.* delete it to begin anew"):
        trained("float", small, Settings(epochs=1), checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("built", "trained_as"),
    [
        ("float", "binaryconnect-deterministic"),
        ("binaryconnect-stochastic", "float"),
        ("bnn", "xnor-port"),
        ("ie-net", "binaryconnect-deterministic"),
        ("bnn", "lsq-w2a2"),
        ("xnor-operator", "bwn-operator"),
    ],
)
def test_a_network_of_another_method_is_refused(small, built, trained_as):
    with pytest.raises(ValueError, match=f"not built for method {trained_as}"):
        fit(models.MLP(built, width=8), trained_as, small, Settings(epochs=1))


@pytest.mark.parametrize("method", ["float", "bnn", "xnor-operator", "bi-real", "reactnet", "ie-net"])
def test_nan_in_the_data_ends_the_training_under_every_method(small, method):
    values = small.train.inputs(slice(None))
    values[5] = float("nan")
    damaged = replace(small, train=TensorSplit(values, small.train.labels, small.train.ids))
    record = bnnlib.methods[method].varied(loss="cross_entropy")
    with pytest.raises(FloatingPointError, match="look for NaN in the data"):
        fit(models.CompactCNN(record), record, damaged, Settings(epochs=1, batch_size=50))


def test_a_network_of_too_few_scores_or_of_another_type_is_refused(small):
    with pytest.raises(ValueError, match=r"scores of shape \(N, 10\) for 10 classes, it gives \(\d+, 3\)"):
        fit(models.MLP("float", width=8, classes=3), "float", small, Settings(epochs=1))
    with pytest.raises(ValueError, match="training takes float32 networks"):
        fit(models.MLP("float", width=8).double(), "float", small, Settings(epochs=1))


def test_numpy_s_numbers_are_numbers():
    settings = Settings(epochs=np.int64(3), learning_rate=np.float32(0.25), seed=np.int32(1))
    assert settings == Settings(epochs=3, learning_rate=0.25, seed=1)
    assert type(settings.epochs) is int


def test_the_reported_network_is_the_one_whose_scores_are_kept(small):
    for method in METHODS:
        result = trained(method, small, Settings(epochs=2, batch_size=100))
        torch.testing.assert_close(scores(result.model, small.test), result.test_scores)


def test_binary_weights_stay_in_the_clip_and_take_larger_steps(small):
    result = trained("binaryconnect-deterministic", small, Settings(epochs=2, batch_size=50))
    for _, layer in binary_layers(result.model):
        assert layer.weight.abs().max() <= 1
    assert result.history.epochs[0].flips > 0
    assert 0 <= result.history.epochs[-1].saturated <= 1


def test_float_records_no_flips_and_histograms_count_every_weight(small):
    assert trained("float", small, Settings(epochs=1)).history.epochs[0].flips is None
    history = trained("binaryconnect-deterministic", small, Settings(epochs=2)).history
    counts = history.histograms["layers.0"]
    assert len(counts) == 3  # the initial weights and two epochs
    assert [sum(row) for row in counts] == [784 * 32] * 3


def test_one_adam_step_of_a_latent_weight_by_hand(small):
    # Adam's first step has length lr whatever the gradient; BinaryConnect enlarges it by 1 / sqrt(1.5 / (in + out)).
    settings = Settings(epochs=1, batch_size=600, learning_rate=1e-3, device="cpu")
    seeded(0)
    model = models.MLP("binaryconnect-deterministic", width=32)
    before = model.layers[0].weight.detach().clone()
    fit(model, "binaryconnect-deterministic", small, settings)
    step = (model.layers[0].weight - before).abs()
    expected = 1e-3 / math.sqrt(1.5 / (784 + 32))
    inside = (model.layers[0].weight.abs() < 1) & (step > 0)
    assert step[inside].median().item() == pytest.approx(expected, rel=1e-3)


def test_reestimated_statistics_are_those_of_the_training_images(small):
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784))
    nn.init.normal_(model[1].running_mean)
    reestimate_batch_norm(model, small.train)
    flat = small.train.inputs().flatten(1)
    first, rest = flat[:500], flat[500:]
    torch.testing.assert_close(model[1].running_mean, (first.mean(0) + rest.mean(0)) / 2, atol=1e-4, rtol=1e-3)
    assert model[1].momentum == 0.1


def test_a_diverging_training_is_stopped_with_advice(small):
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.full((10, 784), float("nan")))

        def forward(self, x):
            return torch.flatten(x, 1) @ self.weight.T

    with pytest.raises(FloatingPointError, match="loss is nan in epoch 1 of float: lower the learning rate"):
        fit(Broken(), "float", small, Settings(epochs=1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"device": "tpu"}, "no device 'tpu'; known: auto, cpu, cuda, mps"),
        ({"schedule": "step"}, "no schedule 'step'; known: cosine, linear, constant"),
        ({"select": "loss"}, "known: accuracy, balanced-accuracy, last"),
        ({"label_smoothing": 1.0}, "label_smoothing must lie in [0, 1), received 1.0"),
        ({"latent_weight_decay": -0.1}, "latent_weight_decay must be 0 or more, received -0.1"),
        ({"warmup_epochs": 15}, "warmup_epochs (15) must be fewer than epochs (15)"),
        ({"precision": "8"}, "known: 32-true, bf16-mixed"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, received 0"),
        ({"learning_rate": -1.0}, "learning_rate must be positive, received -1.0"),
    ],
)
def test_bad_settings_are_refused_in_words(wrong, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Settings(**wrong)
    assert message in str(caught.value)


def test_a_device_that_is_not_there_is_said(small):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match='device "cuda" is not available'):
        trained("float", small, Settings(device="cuda"))


def test_a_training_inside_a_slurm_job_is_one_process(small, monkeypatch):
    for name, value in {"SLURM_JOB_NAME": "study", "SLURM_NTASKS": "8", "SLURM_PROCID": "3"}.items():
        monkeypatch.setenv(name, value)
    assert len(trained("float", small, Settings(epochs=1)).history.epochs) == 1


def test_a_batch_larger_than_the_training_set_is_refused(small):
    with pytest.raises(ValueError, match=r"batch_size 601 is larger than the training set \(600 samples\)"):
        trained("float", small, Settings(batch_size=601))


def test_the_watch_counts_flips_by_hand():
    model = models.MLP("binaryconnect-deterministic", width=10, hidden=1)
    total = sum(layer.weight.numel() for _, layer in binary_layers(model))
    watch = LatentMeasurements(model)
    with torch.no_grad():
        model.layers[0].weight[0, :7] *= -1
    assert watch.flips() == pytest.approx(7 / total)
    assert watch.flips() == 0


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_the_port_and_the_operator_are_one_training_bit_for_bit(small, optimizer):
    settings = Settings(epochs=2, batch_size=100, optimizer=optimizer)
    port, operator = (
        fit_from_seed(models.CompactCNN, name, small, settings).model.state_dict()
        for name in ("xnor-port", "xnor-operator")
    )
    for name, value in port.items():
        assert torch.equal(operator[name], value), name


@pytest.fixture(scope="module")
def tiny():
    """200 training images."""
    return data.load("FashionMNIST", "quick", train_size=200)


@pytest.mark.parametrize("name", list(bnnlib.methods))
def test_resuming_is_bit_exact_for_every_record(name, tiny, tmp_path):
    settings = Settings(epochs=3, batch_size=40)
    seeded(1)
    teacher = {"teacher": models.MLP(width=8)} if bnnlib.methods[name].needs_teacher else {}
    whole = trained(name, tiny, settings, **teacher)
    resumed = killed_and_resumed(name, tiny, settings, tmp_path, **teacher)
    for key, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[key], value), key
    for key, value in whole.trained_statistics.items():
        assert torch.equal(resumed.trained_statistics[key], value), key
    assert resumed.history.frame()["train_loss"].equals(whole.history.frame()["train_loss"])
    assert torch.equal(resumed.test_scores, whole.test_scores)
    assert len(resumed.sessions) == 2


@pytest.mark.parametrize("method", ["xnor-port", "xnor-allenai", "bwn-allenai", "xnor-port-imagenet"])
def test_gradients_of_a_step_do_not_reach_the_next(method, tiny):
    # at a learning rate near 0 the same batch gives the same gradient in each step
    class Gradients(Observer):
        def __init__(self):
            self.sizes = []

        def step(self, epoch, step, steps):
            self.sizes.append(max(p.grad.abs().max().item() for p in net.parameters()))

    seen, net = Gradients(), models.MLP(method, width=16)
    settings = Settings(epochs=3, batch_size=200, learning_rate=1e-30, optimizer="sgd", momentum=0.0, device="cpu")
    fit(net, method, tiny, settings, observers=[seen])
    assert seen.sizes == pytest.approx([seen.sizes[0]] * 3, rel=1e-3)


class Rates(Observer):
    def __init__(self):
        self.rates = []

    def epoch(self, record):
        self.rates.append(record.learning_rate)


@pytest.mark.parametrize(
    ("settings", "expected"),  # after each epoch of one step
    [
        ({"schedule": "cosine"}, [(1 + math.cos(math.pi * t / 4)) / 2 for t in (1, 2, 3, 4)]),
        ({"schedule": "linear"}, [0.75, 0.5, 0.25, 0.0]),
        ({"schedule": "constant"}, [1.0, 1.0, 1.0, 1.0]),
        ({"schedule": "linear", "warmup_epochs": 2}, [0.75, 1.0, 0.5, 0.0]),
    ],
)
def test_schedules(settings, expected, tiny):
    seen = Rates()
    trained("float", tiny, Settings(epochs=4, batch_size=200, learning_rate=0.01, **settings), observers=[seen])
    assert seen.rates == pytest.approx([0.01 * factor for factor in expected], abs=1e-9)


def test_an_estimator_held_trains_alike_until_it_would_narrow(tiny):
    """IE-Net's t is 10**(-2 + 3 e / 6) in epoch e of six, so 1 in the fifth and above it in the sixth alone."""
    settings = Settings(epochs=6, batch_size=10, seed=3)
    losses = []
    for method in (bnnlib.methods["ie-net"], bnnlib.methods["ie-net"].varied(t_max=1.0)):
        result = fit_from_seed(models.CompactCNN, method, tiny, settings)
        losses.append(result.history.frame()["train_loss"].tolist())
    assert losses[0][:5] == losses[1][:5]
    assert losses[0][5] != losses[1][5]


def test_weight_decay_reaches_the_weights_it_names(tiny):
    settings = Settings(epochs=1, batch_size=200, learning_rate=0.5, optimizer="sgd", momentum=0.0, schedule="constant")
    changes = {}
    for field in ("weight_decay", "latent_weight_decay"):
        ends = []
        for value in (0.0, 0.1):
            model = trained("larq-ste-sign", tiny, replace(settings, **{field: value})).model
            ends.append([model.layers[0].weight, model.layers[2].weight])  # real, latent
        changes[field] = [not torch.equal(*pair) for pair in zip(*ends, strict=True)]
    assert changes == {"weight_decay": [True, False], "latent_weight_decay": [False, True]}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_decay_is_coupled_in_sgd_and_decoupled_in_adam(optimizer):
    """Without a gradient only decay moves the weight; SGD's momentum remembers that, Adam's doesn't."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    settings = Settings(optimizer=optimizer, learning_rate=0.1, momentum=0.5, weight_decay=0.2)
    steps = make_optimizer(layer, "float", settings)
    seen = []
    for _ in range(2):
        layer.weight.grad = torch.zeros_like(layer.weight)
        steps.step()
        seen.append(layer.weight.item())
    second = 0.98 - 0.1 * (0.5 * 0.2 + 0.2 * 0.98) if optimizer == "sgd" else 0.98**2
    assert seen == pytest.approx([0.98, second])


class Told(nn.Module):
    """Gives scores that a test has written down, epoch by epoch."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x):
        return self.scores


@pytest.mark.parametrize(("select", "expected"), [("accuracy", 2), ("balanced-accuracy", 1), ("last", 4)])
def test_the_epoch_is_reported_that_was_asked_for(select, expected, monkeypatch):
    monkeypatch.setattr("bnnlib.training.state.SELECTION_SIZE", 4)
    labels = torch.tensor([0, 0, 0, 1])
    split = data.TensorSplit(torch.zeros(4, 1), labels, torch.arange(4))
    splits = data.Splits("told", "", ("a", "b"), split, split)
    model, settings = Told(), Settings(epochs=4, select=select)
    state = TrainingState(model, None, None, {}, "cpu")
    # accuracies 50, 75, 75, 25 and balanced ones 66.7, 50, 50, 16.7: the second epoch is the first of equals
    for epoch, predicted in enumerate(([0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]), 1):
        model.scores = torch.nn.functional.one_hot(torch.tensor(predicted), 2).float()
        figures = dict.fromkeys(
            ("train_seconds", "train_loss", "train_accuracy", "learning_rate", "flips", "saturated"), 0.0
        )
        state.evaluate(
            {"epoch": epoch, **figures},
            0.0,
            bnnlib.methods["float"],
            splits,
            settings,
            Objective.of(bnnlib.methods["float"], settings),
        )
    assert state.best["epoch"] == expected


def test_the_test_split_is_evaluated_only_where_the_epoch_may_be_reported(tiny):
    tested = {}
    for select in ("last", "accuracy"):
        result = trained("float", tiny, Settings(epochs=3, batch_size=20, select=select))
        tested[select] = [record.test_accuracy for record in result.history.epochs]
    assert tested["last"] == [None, None, tested["accuracy"][2]]  # and the training is the same


def test_an_evaluation_leaves_the_statistics_of_training_as_they_are(tiny):
    method, settings = bnnlib.methods["binaryconnect-stochastic"], Settings(epochs=1)
    model = models.MLP(method, width=8)
    model.train()(tiny.train.inputs(slice(50)))
    before = {name: value.clone() for name, value in model.named_buffers()}
    state = TrainingState(model, None, None, {}, "cpu")
    figures = dict.fromkeys(
        ("train_seconds", "train_loss", "train_accuracy", "learning_rate", "flips", "saturated"), 0.0
    )
    state.evaluate({"epoch": 1, **figures}, 0.0, method, tiny, settings, Objective.of(method, settings))
    for name, value in model.named_buffers():
        assert torch.equal(value, before[name]), name
        if "running" in name:
            assert not torch.equal(state.best["state"][name], value)  # those evaluated were estimated anew


def test_balanced_accuracy_is_the_mean_over_classes():
    predicted, labels = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    assert balanced_accuracy(predicted, labels) == pytest.approx(75.0)
    assert balanced_accuracy(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1])) == pytest.approx(50.0)


def test_a_distilled_network_comes_nearer_to_its_teacher(small):
    teacher = trained("float", small, Settings(epochs=4, batch_size=50)).model
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    settings = Settings(epochs=3, batch_size=50)
    alone = trained("larq-ste-sign", small, settings)
    taught = trained("larq-ste-sign", small, replace(settings, distillation=0.9), teacher=teacher)
    aim = scores(teacher, small.test).log_softmax(1)

    def distance(result):
        return torch.nn.functional.kl_div(
            result.test_scores.log_softmax(1), aim, log_target=True, reduction="batchmean"
        )

    assert distance(taught) < distance(alone)
    for name, value in teacher.state_dict().items():
        assert torch.equal(before[name], value), name


def test_a_teacher_that_would_not_be_used_and_one_that_is_missing_are_errors(tiny):
    teacher = models.MLP(width=8)
    with pytest.raises(ValueError, match=r"makes no use of it: give Settings\(distillation=\.\.\.\) above 0"):
        trained("bnn", tiny, Settings(epochs=1), teacher=teacher)
    for method, settings in (("reactnet", Settings(epochs=1)), ("float", Settings(epochs=1, distillation=0.5))):
        with pytest.raises(ValueError, match="compares with a teacher: give teacher="):
            trained(method, tiny, settings)
    with pytest.raises(ValueError, match="label smoothing is defined for cross_entropy, not for squared_hinge"):
        trained("bnn", tiny, Settings(epochs=1, label_smoothing=0.1))


def test_a_checkpoint_of_another_teacher_is_refused(tiny, tmp_path):
    settings = Settings(epochs=3, batch_size=40, distillation=0.5)
    killed_and_resumed("float", tiny, settings, tmp_path, teacher=models.MLP(width=8))
    with pytest.raises(ValueError, match="belongs to another training"):
        trained("float", tiny, settings, checkpoint=tmp_path / "run.pt", teacher=models.MLP(width=8))


def test_any_single_flipped_bit_of_a_checkpoint_is_noticed(tiny, tmp_path):
    checkpoint = tmp_path / "run.pt"
    trained("float", tiny, Settings(epochs=1), checkpoint=checkpoint)
    whole = checkpoint.read_bytes()
    generator = torch.Generator().manual_seed(0)
    for place in torch.randint(len(whole), (60,), generator=generator).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        checkpoint.write_bytes(damaged)
        with pytest.raises(Damaged, match=r"run\.pt is damaged.*delete it to begin anew"):
            trained("float", tiny, Settings(epochs=1), checkpoint=checkpoint)
    torch.save({"described": 1}, checkpoint)  # somebody else's file
    with pytest.raises(Damaged, match="does not begin as one; delete it"):
        trained("float", tiny, Settings(epochs=1), checkpoint=checkpoint)


def test_a_training_begun_with_other_threads_is_refused(tiny, tmp_path):
    settings, threads = Settings(epochs=3, batch_size=40), torch.get_num_threads()
    with pytest.raises(Killed):
        trained("float", tiny, settings, checkpoint=tmp_path / "run.pt", observers=[Killer()])
    try:
        torch.set_num_threads(threads + 1)
        with pytest.raises(ValueError, match=f"was begun with {threads} threads and would go on with {threads + 1}"):
            trained("float", tiny, settings, checkpoint=tmp_path / "run.pt")
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("method", ["bi-real", "lsq-w2a2", "xnor-operator", "ie-net", "ir-net"])
def test_a_network_starts_from_the_weights_of_its_float_twin(method):
    source, model = models.CompactCNN("float"), models.CompactCNN(method)
    for value in source.state_dict().values():
        value.copy_(torch.randn(value.shape)) if value.is_floating_point() else value.fill_(3)
    start_from(model, source)
    kinds = (nn.Linear, nn.Conv2d, nn.BatchNorm1d, nn.BatchNorm2d)
    pairs = zip(*([m for m in net.modules() if isinstance(m, kinds)] for net in (model, source)), strict=True)
    for ours, theirs in pairs:
        assert torch.equal(ours.weight, theirs.weight)
        if hasattr(ours, "running_mean"):
            assert torch.equal(ours.running_mean, theirs.running_mean)
    if method == "lsq-w2a2":
        layer = next(layer for _, layer in binary_layers(model))
        assert layer.weight_quantizer.step.item() == pytest.approx(2 * layer.weight.abs().mean().item())


def test_the_second_of_two_steps_keeps_what_the_first_has_learned(small):
    first = bnnlib.methods["reactnet"].varied(weights="real", loss="cross_entropy")
    result = trained(first, small, Settings(epochs=2, batch_size=50))
    assert any(isinstance(m, RSign) for m in result.model.modules())  # its activations were binary
    assert not list(binary_layers(result.model))
    model = models.MLP("reactnet", width=32)
    start_from(model, result.model)
    for name, value in result.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_networks_of_other_layers_cannot_be_started_from():
    for model, source, message in (
        (
            models.MLP(width=32),
            models.MLP(width=16),
            r"layers\.0 is a BinLinear with weights \(32, 784\), no bias, layers\.0",
        ),
        (
            models.MLP(hidden=2),
            models.MLP(hidden=3),
            r"weights \(10, 1024\), no bias, layers\.6 of the source a BinLinear",
        ),
        (nn.Linear(2, 2), nn.Linear(2, 2, bias=False), r"weights \(2, 2\), a bias, .* of the source .*no bias"),
        (
            nn.Sequential(nn.Linear(2, 2)),
            nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
            "1 layers and norms, the source",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            start_from(model, source)


def test_a_step_size_of_another_width_is_set_anew():
    source, model = models.MLP("lsq-w8a8", width=16), models.MLP("lsq-w2a2", width=16)
    source.train()(torch.randn(20, 784))  # its activations have their steps now
    start_from(model, source)
    _, layer = next(iter(binary_layers(model)))
    assert layer.weight_quantizer.step.item() == pytest.approx(2 * layer.weight.abs().mean().item())  # Qp = 1
    assert not layer.input_quantizer.initialised
    again = models.MLP("lsq-w8a8", width=16)
    start_from(again, source)
    for name, value in source.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def series(count, seed, *, length=40):
    """Random series (N, 2, L): two waves of another frequency for each of three classes, in noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=generator)
    time = torch.arange(length) / length
    phase = torch.rand(count, 2, 1, generator=generator)
    waves = torch.sin(2 * math.pi * ((2 + 3 * labels[:, None, None]) * time + phase))
    return data.TensorSplit(
        waves + 0.3 * torch.randn(count, 2, length, generator=generator), labels, torch.arange(count),
        groups=torch.arange(count) // 4,
        augment=lambda x, draw: x * (1 + 0.1 * torch.rand(len(x), 1, 1, generator=draw)),
    )  # fmt: skip


@pytest.mark.parametrize("method", ["float", "xnor-operator", "bi-real"])
def test_series_train_as_images_do(method):
    splits = data.Splits(
        "waves", "random waves", ("slow", "middle", "fast"), series(300, 1), series(60, 2), series(90, 3)
    )
    build = Builder(bnnlib.methods[method])
    net = nn.Sequential(
        *build.conv(2, 16, pool=True, dimensions=1, place="first"),
        *build.conv(16, 16, pool=True, dimensions=1), nn.Flatten(),
        *build.linear(16 * 10, 3, place="last"),
    )  # fmt: skip
    result = fit(net, method, splits, Settings(epochs=6, batch_size=30, learning_rate=5e-3, device="cpu"))
    assert result.history.epochs[-1].test_accuracy > 80
    assert splits.shared_groups() == set(range(15)) | set(range(23))


def test_a_network_that_works_in_place_leaves_the_data_as_they_are():
    split = series(60, 1)
    before = split.values.clone()
    splits = data.Splits("waves", "", ("slow", "middle", "fast"), split, series(30, 2))
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(80, 3))
    fit(net, "float", splits, Settings(epochs=1, batch_size=30, device="cpu"))
    assert torch.equal(split.values, before)


def test_a_teacher_is_left_as_it_is_and_is_somebody_else(tiny):
    teacher = models.MLP(width=8).train()
    settings = Settings(epochs=1, batch_size=100, distillation=0.5)
    trained("float", tiny, settings, teacher=teacher)
    assert teacher.training
    with pytest.raises(ValueError, match="cannot be its own teacher"):
        fit(teacher, "float", tiny, settings, teacher=teacher)
    with pytest.raises(ValueError, match=r"the teacher gives scores of shape \(100, 5\), the network \(100, 10\)"):
        trained("float", tiny, settings, teacher=models.MLP(width=8, classes=5))


def test_a_checkpoint_of_another_network_is_refused(tiny, tmp_path):
    settings = Settings(epochs=3, batch_size=40)
    killed_and_resumed("float", tiny, settings, tmp_path)
    with pytest.raises(ValueError, match="belongs to another training"):
        fit(models.MLP(width=16), "float", tiny, replace(settings, device="cpu"), checkpoint=tmp_path / "run.pt")


def test_splits_refuse_what_cannot_be_trained_on():
    with pytest.raises(ValueError, match="a label for each value, received 3 and 2"):
        data.TensorSplit(torch.zeros(3, 1), torch.zeros(2, dtype=torch.long), torch.arange(2))
    with pytest.raises(ValueError, match="waves, validation: a split without samples"):
        data.Splits("waves", "", ("a", "b", "c"), series(30, 1), series(6, 2)[:0])


def test_splits_refuse_labels_that_are_no_class():
    with pytest.raises(ValueError, match=r"waves, train: labels of 2 classes must lie in 0\.\.1, received 0\.\.2"):
        data.Splits("waves", "", ("a", "b"), series(30, 1), series(6, 2))


def test_arguments_of_another_kind_are_named(tiny):
    net = models.MLP(width=8)
    for arguments, message in (
        ((net, "float", tiny, {"epochs": 1}), "settings must be a Settings, received {'epochs': 1}"),
        ((net, "float", (tiny.train, tiny.test)), "splits must be a Splits, received"),
        (("mlp", "float", tiny), "model must be a Module, received 'mlp'"),
    ):
        with pytest.raises(TypeError, match=message):
            fit(*arguments)
    with pytest.raises(TypeError, match="teacher must be a trained network, such as fit"):
        fit(net, "float", tiny, Settings(distillation=0.5), teacher="float")
    with pytest.raises(ValueError, match="learning_rate must be a number, received '1e-3'"):
        Settings(learning_rate="1e-3")
    with pytest.raises(ValueError, match=r"labels must be a tensor of int64, received torch\.float32"):
        data.Splits("waves", "", ("a",), *2 * (data.TensorSplit(torch.zeros(3, 1), torch.zeros(3), torch.arange(3)),))
