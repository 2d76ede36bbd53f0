"""The all-binary network: what training builds, and what it is at inference, by four roads."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import bnnlib
from bnnlib import data, models
from bnnlib.data import Splits, TensorSplit
from bnnlib.packed.biometrics import SignNetwork, feature_codes
from bnnlib.training import Settings, fit, seeded

METHOD = "larq-approx-sign"


def recordings(lengths, seed=0):
    """A batch of features of these lengths, whole 32nds, NaN where a recording has ended."""
    rng = np.random.default_rng(seed)
    batch = np.full((len(lengths), 64, max(lengths)), np.nan, np.float32)
    for row, length in zip(batch, lengths, strict=True):
        row[:, :length] = feature_codes(rng.normal(size=(64, length))) / np.float32(32)
    return torch.from_numpy(batch)


def trained():
    """A network after a few steps on noise, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    split = TensorSplit(
        torch.randn(64, 64, 70, generator=generator), torch.arange(64) % 2, torch.arange(64), torch.arange(64)
    )
    seeded(0)
    model = models.BinaryBiometrics(METHOD, dropout=0.2)
    before = model.sign_network().values()
    fit(model, METHOD, Splits("noise", "noise", ("a", "b"), split, split), Settings(epochs=2, batch_size=16))
    after = model.sign_network().values()
    assert (before != after).any()
    return model


def test_four_roads_lead_to_the_same_class(tmp_path):
    model, lengths = trained(), [57, 58, 59, 75, 100, 101, 130]
    batch = recordings(lengths)
    with torch.no_grad():
        by_torch = model(batch)
    net = model.sign_network()
    net.write_text(tmp_path / "net.txt")
    read = SignNetwork.read_text(tmp_path / "net.txt")
    for row, length, scores in zip(batch, lengths, by_torch, strict=True):
        features = row[:, :length].numpy()
        score = net.reference_score(features)
        assert net.score(features) == net.score(feature_codes(features)) == read.score(features) == score
        assert round(scores[1].item() * 128**0.5) == score
        assert net.predict(features) == scores.argmax()


def test_a_score_does_not_depend_on_longer_neighbours():
    model, lengths = trained(), [57, 64, 65, 130]
    batch = recordings(lengths)
    with torch.no_grad():
        together = model(batch)
        alone = torch.cat([model(row[None, :, :length]) for row, length in zip(batch, lengths, strict=True)])
    assert torch.equal(together, alone)


def test_a_zero_is_minus_one_everywhere():
    model = models.BinaryBiometrics(METHOD).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert (model.sign_network().values() == -1).all()  # as the task's own export writes an untouched weight


def test_the_float_twin_is_the_plain_network():
    seeded(1)
    model = models.BinaryBiometrics("float", activation="relu").eval()
    x = torch.randn(3, 64, 90)
    y = x
    for layer in range(3):
        y = F.conv1d(y, model.convs[layer].weight) + model.biases[layer].latent[:, None]
        y = F.relu(F.max_pool1d(y, 2, ceil_mode=True) if layer < 2 else y)
    score = y.amax(2) @ model.last.weight.T + model.biases[3].latent
    with torch.no_grad():
        torch.testing.assert_close(model(x), torch.cat([-score, score], 1) / 2)


@pytest.mark.parametrize("variant", ["real-biases", "real-first-layer", "batch-norm"])
def test_a_variant_trains_and_is_no_text_of_signs(variant):
    splits = data.load("SpeakerGender", "quick", crop=60)
    seeded(0)
    model = models.BinaryBiometrics(METHOD, variant=variant)
    result = fit(model, METHOD, splits, Settings(epochs=1, batch_size=8, select="last"))
    assert np.isfinite(result.history.epochs[-1].train_loss)
    with pytest.raises(ValueError, match=f"only the all-binary network is a text of signs, this one is {variant}"):
        model.sign_network()


def test_what_the_network_refuses():
    for options, message in (
        ({"variant": "ternary"}, "no variant 'ternary'; known: all-binary"),
        ({"activation": "gelu"}, "no activation 'gelu'; known: tanh, relu"),
    ):
        with pytest.raises(ValueError, match=message):
            models.BinaryBiometrics(METHOD, **options)
    for method in ("lsq-w2a2", "bi-real", "xnor-operator", "binaryconnect-deterministic"):
        with pytest.raises(
            ValueError, match=f"weights and activations are plain signs, such as bnn; received {method}"
        ):
            models.BinaryBiometrics(method)
    model = models.BinaryBiometrics(METHOD)
    with pytest.raises(ValueError, match="at least 57 frames, received one of 56"):
        model(recordings([80, 56]))
    for band, frame in ((0, 20), (7, 20), (7, 75)):
        damaged = recordings([80, 70])
        damaged[1, band, frame] = torch.nan if frame < 70 else 1.0
        with pytest.raises(ValueError, match="NaN must stand behind a recording's end in all bands"):
            model(damaged)
    with pytest.raises(ValueError, match=r"input must have shape \(N, 64, t\), received \(1, 40, 80\)"):
        model(torch.zeros(1, 40, 80))
    with pytest.raises(ValueError, match="this one is the float twin"):
        models.BinaryBiometrics().sign_network()


def test_the_method_keeps_its_own_sign_of_zero():
    models.BinaryBiometrics(METHOD)
    assert bnnlib.methods[METHOD].weight_quantizer(1).zero == 1
