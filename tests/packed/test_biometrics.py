import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import save

from bnnlib.files import Damaged
from bnnlib.packed.biometrics import ENTRY, SHAPES, VALUES, SignNetwork, feature_codes


def network(seed=0):
    return SignNetwork.of_values(np.random.default_rng(seed).choice([-1, 1], VALUES))


def by_torch(net, features):
    """The network written down anew, from the task's text, in float64."""
    x = torch.from_numpy(features).double()[None]
    for layer in range(3):
        weight, bias = (torch.from_numpy(v[layer]).double() for v in (net.weights, net.biases))
        x = F.conv1d(x, weight, bias)
        if layer < 2:
            x = F.max_pool1d(x, 2, ceil_mode=True)
        x = torch.where(x > 0, 1.0, -1.0).double()
    weight, bias = (torch.from_numpy(v[3]).double() for v in (net.weights, net.biases))
    return int(F.linear(x.amax(2), weight, bias).item())


def test_the_network_has_the_numbers_that_the_task_counts():
    # 64 x 128 x 9 + 128, twice 128 x 128 x 9 + 128, 128 + 1
    assert VALUES == 73_728 + 128 + 147_456 + 128 + 147_456 + 128 + 128 + 1 == 369_153


@pytest.mark.parametrize("frames", [57, 58, 59, 60, 61, 100, 203])
def test_kernels_plain_integers_and_torch_agree(frames):
    for seed in range(3):
        net = network(seed)
        features = 1.5 * np.random.default_rng(frames + seed).normal(size=(64, frames))
        codes = feature_codes(features)
        assert codes.min() == -128
        assert codes.max() == 127
        on_the_grid = codes / 32
        for kind in (features, features.astype(np.float32), on_the_grid, codes):
            score = net.reference_score(kind)
            assert net.score(kind) == score
            assert score == by_torch(net, on_the_grid if kind is codes else kind)
            assert score % 2 == 1
            assert net.predict(kind) == int(score > 0)


def test_a_feature_s_code_is_the_nearest_32nd():
    features = np.array([[0.0, 1 / 32, 0.4 / 32, -0.6 / 32, 3.96875, 4.5, -4.0, -9.0]])
    assert feature_codes(features).tolist() == [[0, 1, 0, -1, 127, 127, -128, -128]]
    with pytest.raises(ValueError, match="must be finite"):
        feature_codes(np.array([np.nan]))


def test_a_tie_in_the_first_layer_is_minus_one():
    # all weights +1: 576 features that sum to -1 and the bias of 1 give 0
    values = np.ones(VALUES, int)
    net = SignNetwork.of_values(values)
    features = np.zeros((64, 57))
    features[0, ::9] = -1.0  # each window of nine frames holds one of them
    # sums 0 -> -1 everywhere, then -1152 + 1 -> -1 twice, then -128 + 1
    assert net.score(features) == net.reference_score(features) == by_torch(net, features) == -127
    assert net.score(features + 1 / 32) == 129
    codes = feature_codes(features)
    assert net.score(codes) == -127
    assert net.score((codes + 1).astype(np.int8)) == 129


def test_scores_lean_on_every_layer():
    net, features = network(), np.random.default_rng(5).normal(size=(64, 90))
    scores = set()
    for layer in range(4):
        weights = list(net.weights)
        weights[layer] = -weights[layer]
        scores.add(SignNetwork(tuple(weights), net.biases).score(features))
    assert len(scores | {net.score(features)}) > 2


def test_the_text_goes_weights_then_biases_layer_by_layer(tmp_path):
    net = network(3)
    net.write_text(tmp_path / "net.txt")
    lines = (tmp_path / "net.txt").read_text().splitlines()
    assert len(lines) == VALUES
    out, channel, tap = 5, 11, 7
    assert int(lines[(out * 64 + channel) * 9 + tap]) == net.weights[0][out, channel, tap]
    assert int(lines[73_728 + 100]) == net.biases[0][100]
    assert int(lines[-1]) == net.biases[3][0]
    again = SignNetwork.read_text(tmp_path / "net.txt")
    assert np.array_equal(again.values(), net.values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "must have 369,153 lines, it has 369,152"),
        (lambda lines: [*lines, "1"], "must have 369,153 lines, it has 369,154"),
        (lambda lines: [*lines[:9], "0", *lines[10:]], "line 10: must be 1 or -1, it is '0'"),
        (lambda lines: [*lines[:9], "", *lines[10:]], "line 10: is empty"),
        (lambda lines: [*lines[:9], "1 ", *lines[10:]], "line 10: must be 1 or -1, it is '1 '"),
        (lambda lines: [*lines[:9], "+1", *lines[10:]], "line 10: must be 1 or -1, it is '[+]1'"),
        (lambda lines: [*lines[:9], "\u00e9", *lines[10:]], "line 10: must be 1 or -1"),
        (lambda lines: ["-1" for _ in range(800_000)], "must have 369,153 lines, it has 492,204 and more"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, change, message):
    path = tmp_path / "net.txt"
    path.write_text("\n".join(change(["1"] * VALUES)) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        SignNetwork.read_text(path)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((64, 56)), r"shape \(64, t\) with t >= 57, received \(64, 56\)"),
        (np.zeros((57, 64)), r"received \(57, 64\)"),
        (np.full((64, 60), np.nan), "must be finite, received NaN or infinity"),
    ],
)
def test_features_that_do_not_fit_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        network().score(features)


def test_features_of_another_type_are_refused():
    with pytest.raises(TypeError, match="floating point, or int8 codes of feature_codes, received int64"):
        network().score(np.zeros((64, 60), np.int64))


def test_values_other_than_signs_are_refused():
    with pytest.raises(ValueError, match="all values must be -1 or 1, received 0"):
        SignNetwork.of_values(np.zeros(VALUES))
    with pytest.raises(ValueError, match=r"received shape \(5,\)"):
        SignNetwork.of_values(np.ones(5))
    weights = [np.ones(shape) for shape in SHAPES]
    with pytest.raises(ValueError, match="must have the shapes"):
        SignNetwork(tuple(weights), tuple(np.ones(3) for _ in SHAPES))


def test_a_file_holds_a_bit_for_each_value(tmp_path):
    net = network(3)
    net.save(tmp_path / "net.safetensors", {"study": "of mine"})
    again = SignNetwork.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(again.values(), net.values())
    assert again.about == {"study": "of mine"}
    assert (tmp_path / "net.safetensors").stat().st_size < VALUES / 8 + 400
    again.save(tmp_path / "twice.safetensors")
    assert (tmp_path / "twice.safetensors").read_bytes() == (tmp_path / "net.safetensors").read_bytes()


def test_a_file_that_is_no_such_network_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    network().save(path)
    whole = path.read_bytes()
    entry = {ENTRY: json.dumps({"version": 1, "about": {}})}
    bits = np.zeros(-(-VALUES // 8), np.uint8)
    for damaged, message in (
        (whole[:-1], "no all-binary network, or it is damaged"),
        (b"", "no all-binary network"),
        (save({"bits": bits}, {}), "no all-binary network"),
        (save({"bits": bits}, {ENTRY: "[]"}), "no all-binary network"),
        (save({"bits": bits}, {ENTRY: json.dumps({"version": 2, "about": {}})}), "version 2, this library reads 1"),
        (save({"bits": bits[1:]}, entry), "369,153 bits are needed"),
        (save({"bits": bits.astype(np.int8)}, entry), "369,153 bits are needed"),
        (save({"bits": bits | 0x80}, entry), "369,153 bits are needed"),  # beyond the last value
        (save({"other": bits}, entry), "no all-binary network"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(Damaged, match=message):
            SignNetwork.load(path)
    with pytest.raises(FileNotFoundError):
        SignNetwork.load(tmp_path / "none.safetensors")
