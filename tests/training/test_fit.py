import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import data, models
from bnnlib.layers import binary_layers
from bnnlib.training import Settings, fit, reestimate_batch_norm, scores, seeded
from bnnlib.training.augment import augmented
from bnnlib.training.record import LatentWatch

METHODS = ["float", "binaryconnect-deterministic", "binaryconnect-stochastic"]


@pytest.fixture(scope="module")
def small():
    """600 training images."""
    return data.load("FashionMNIST", "quick", train_size=600)


def trained(method, splits, settings, **options):
    if settings.device == "auto":
        settings = replace(settings, device="cpu")  # the values compared are those of one processor
    seeded(settings.seed)
    return fit(models.MLP(method, width=32), method, splits, settings, **options)


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


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(method, small, tmp_path):
    settings = Settings(epochs=3, batch_size=100, augment="shift-flip")
    whole = trained(method, small, settings)

    class Killed(Exception):
        pass

    def kill(epoch, step, steps):
        if (epoch, step) == (2, 3):
            raise Killed

    checkpoint = tmp_path / "run.pt"
    with pytest.raises(Killed):
        trained(method, small, settings, checkpoint=checkpoint, on_step=kill)
    resumed = trained(method, small, settings, checkpoint=checkpoint)
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
    with pytest.raises(ValueError, match=r"run\.pt is damaged .* delete it to begin anew"):
        trained("float", small, Settings(epochs=1), checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("built", "trained_as"), [("float", "binaryconnect-deterministic"), ("binaryconnect-stochastic", "float")]
)
def test_a_network_of_another_method_is_refused(small, built, trained_as):
    with pytest.raises(ValueError, match=f"not built for method {trained_as}"):
        fit(models.MLP(built, width=8), trained_as, small, Settings(epochs=1))


def test_the_reported_network_is_the_one_whose_scores_are_kept(small):
    for method in METHODS:
        result = trained(method, small, Settings(epochs=2, batch_size=100))
        torch.testing.assert_close(scores(result.model, small.test, small), result.test_scores)


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
    reestimate_batch_norm(model, small)
    flat = small.normalise(small.train.images).flatten(1)
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
        ({"augment": "mixup"}, "known: none, shift, flip, shift-flip"),
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
    with pytest.raises(ValueError, match=r"batch_size 601 is larger than the training set \(600 images\)"):
        trained("float", small, Settings(batch_size=601))


def test_shifts_move_a_picture_by_at_most_two_pixels():
    picture = torch.zeros(200, 1, 9, 9, dtype=torch.uint8)
    picture[:, :, 4, 4] = 255
    seeded(1)
    rows, columns = augmented(picture, "shift").nonzero()[:, 2:].T
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    assert torch.equal(augmented(picture, "none"), picture)


def test_flips_mirror_about_half_of_the_pictures():
    picture = torch.zeros(400, 1, 1, 3, dtype=torch.uint8)
    picture[..., 0] = 9
    seeded(2)
    out = augmented(picture, "flip")
    flipped = out[..., 2].flatten() == 9
    assert 150 < flipped.sum() < 250
    assert torch.equal(out[~flipped], picture[~flipped])


def test_the_watch_counts_flips_by_hand():
    model = models.MLP("binaryconnect-deterministic", width=10, hidden=1)
    total = sum(layer.weight.numel() for _, layer in binary_layers(model))
    watch = LatentWatch(model)
    with torch.no_grad():
        model.layers[0].weight[0, :7] *= -1
    assert watch.flips() == pytest.approx(7 / total)
    assert watch.flips() == 0
