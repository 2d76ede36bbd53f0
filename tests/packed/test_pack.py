"""What `bnnlib.pack` makes equals the network it was made of."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from packed.networks import SHAPE, trained, unsettle
from torch import nn

import bnnlib
from bnnlib import models
from bnnlib.kernels import prepared as calls
from bnnlib.layers import BranchedConv2d, HardTanh, QuantizedLayer, Residual, RPReLU
from bnnlib.packed import PackedModel
from bnnlib.packed.compile import norm_constants
from bnnlib.packed.export.c import write_c
from bnnlib.packed.export.onnx import write_onnx
from bnnlib.packed.export.wasm import write_wasm
from bnnlib.packed.operations import PIXEL, Geometry, Levels, Norm, Product, Sign, Weights, fused_multiply_add
from bnnlib.packed.plan import planned
from bnnlib.packed.thresholds import Chain, steps
from bnnlib.quantizers import (
    LSQ,
    BiRealWeight,
    DoReFaActivation,
    IEEActivation,
    IEEWeight,
    NotPackable,
    RSign,
    SteSign,
    StrictSign,
)

PACKABLE = [name for name, method in bnnlib.methods.items() if not method.literal]


def codes_of_each_layer(model, x):
    """Layer's name -> the codes of its input as PyTorch computes them, channels last, for layers with codes."""
    codes, handles = {}, []

    def remember(name):
        def hook(layer, inputs):
            codes[name] = layer.input_quantizer.codes(inputs[0])[0].numpy()

        return hook

    for name, layer in model.named_modules():
        if isinstance(layer, QuantizedLayer) and layer.input_quantizer.bits is not None and not hasattr(layer, "mix"):
            handles.append(layer.register_forward_pre_hook(remember(name.replace(".", "_"))))
    with torch.no_grad():
        scores = model(torch.from_numpy(x)).numpy()
    for handle in handles:
        handle.remove()
    return codes, scores


def flat(values, codes):
    """A packed value in the order of PyTorch's."""
    return values.transpose(0, 3, 1, 2).reshape(codes.shape)


@pytest.mark.parametrize("first_last", ["int8", "real"])
@pytest.mark.parametrize("name", PACKABLE)
def test_a_packed_network_has_the_codes_and_classes_of_the_trained_one(name, first_last):
    model = trained(lambda: models.CompactCNN(name, size=SHAPE[1], first_last=first_last), name)
    packed = bnnlib.pack(model, SHAPE)
    x = np.random.default_rng(0).standard_normal((40, *SHAPE)).astype(np.float32)
    codes, scores = codes_of_each_layer(model, x)
    values = packed.reference_values(x)
    method = bnnlib.methods[name]
    # every sum is a whole number, and no K or shortcut is real: nothing may differ
    eight_bit = first_last == "int8" and method.real_layers == {"first", "last"}
    whole = eight_bit and method.activation_bits <= 8 and "naive" not in name and "shortcut" not in method.block
    assert packed.exact == whole
    for layer, expected in codes.items():
        found = values.get(f"{layer}.signs", values.get(f"{layer}.codes"))
        if whole:
            assert len(codes) >= 5
            np.testing.assert_array_equal(flat(found, expected), expected)
        else:
            assert (flat(found, expected) != expected).mean() <= 0.002
    close = {"rtol": 1e-5 if whole else 0.01, "atol": (1e-6 if whole else 0.01) * np.abs(scores).max()}
    np.testing.assert_allclose(packed.scores(x), scores, **close)
    np.testing.assert_allclose(packed.reference_scores(x), scores, **close)
    np.testing.assert_array_equal(packed.predict(x), scores.argmax(1))


@pytest.mark.parametrize(
    "name", ["bnn", "xnor-operator", "lsq-w2a2", "bi-real", "ie-net", "binaryconnect-deterministic"]
)
@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda name: models.MLP(name, width=70, first_last="int8"), (1, 28, 28)),
        (lambda name: models.WakeWordCNN(name), (1, 50, 13)),
        (lambda name: models.CommandCNN(name), (1, 50, 40)),
        (lambda name: models.ResNet20(name, width=8), (3, 32, 32)),
        (lambda name: models.MobileNetV2(name, width=0.25), (3, 32, 32)),
    ],
    ids=["mlp", "wake-word", "command", "resnet", "mobilenet"],
)
@pytest.mark.filterwarnings("ignore:a layer with a weight")
def test_the_networks_of_the_studies_pack(build, shape, name):
    model = trained(lambda: build(name), name, shape)
    packed = bnnlib.pack(model, shape)
    x = torch.randn(6, *shape)
    with torch.no_grad():
        scores = model(x).numpy()
    np.testing.assert_allclose(packed.scores(x.numpy()), scores, rtol=1e-3, atol=2e-4 * np.abs(scores).max())
    assert packed.bytes == bnnlib.summary(model, shape).bytes


class Twice(nn.Module):
    """A layer of branches that runs twice, on values of which the second depends on the first."""

    def __init__(self):
        super().__init__()
        self.layer = BranchedConv2d(
            8, 8, 3, padding=1, branches=3, weight_quantizer=IEEWeight(8), input_quantizer=IEEActivation()
        )
        self.norm, self.last = nn.BatchNorm2d(8), nn.Linear(8 * 6 * 6, 3)

    def forward(self, x):
        x = self.norm(self.layer(self.norm(self.layer(x))))
        return self.last(x.flatten(1))


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_the_branches_of_a_layer_are_one_convolution(branches, monkeypatch):
    images, convolve = [], calls.conv2d
    monkeypatch.setattr(calls, "conv2d", lambda x, *rest, **more: images.append(len(x)) or convolve(x, *rest, **more))
    method = bnnlib.methods["ie-net"].varied(branches=branches)
    model = unsettle(models.CompactCNN(method, size=12)).eval()
    packed = bnnlib.pack(model, SHAPE)
    x = np.random.default_rng(0).standard_normal((5, *SHAPE)).astype(np.float32)
    images.clear()
    scores = packed.scores(x)
    assert images == [branches * 5] * sum(hasattr(layer, "mix") for layer in model.modules())
    with torch.no_grad():
        np.testing.assert_allclose(scores, model(torch.from_numpy(x)).numpy(), rtol=1e-3, atol=1e-3)


def test_a_layer_of_branches_that_runs_twice_is_packed_right():
    torch.manual_seed(0)
    model = unsettle(Twice()).eval()
    x = torch.randn(3, 8, 6, 6)
    with torch.no_grad():
        scores = model(x).numpy()
    np.testing.assert_allclose(bnnlib.pack(model, (8, 6, 6)).scores(x.numpy()), scores, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", PACKABLE)
def test_bytes_are_those_of_the_summary(name):
    model = trained(lambda: models.CompactCNN(name, size=SHAPE[1]), name)
    assert bnnlib.pack(model, SHAPE).bytes == bnnlib.summary(model, SHAPE).bytes


def test_packing_leaves_the_model_as_it_was():
    model = trained(lambda: models.CompactCNN("bnn", size=12), "bnn").train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.features[0].eval()
    bnnlib.pack(model, SHAPE)
    assert model.training
    assert not model.features[0].training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


# thresholds


class Block(nn.Module):
    """Signs, a layer, and what follows, then signs and a last layer: the smallest network with a threshold."""

    def __init__(self, *between, second, outputs=24):
        super().__init__()
        self.parts = nn.Sequential(
            bnnlib.BinConv2d(
                3, outputs, 3, padding=1, bias=False, weight_quantizer=SteSign(), input_quantizer=SteSign()
            ),
            *between,
            bnnlib.BinConv2d(outputs, 4, 1, bias=False, weight_quantizer=SteSign(), input_quantizer=second),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )

    def forward(self, x):
        return self.parts(x)


ORDERS = {
    "norm": lambda: [nn.BatchNorm2d(24)],
    "pool, norm": lambda: [nn.MaxPool2d(2), nn.BatchNorm2d(24)],
    "norm, pool": lambda: [nn.BatchNorm2d(24), nn.MaxPool2d(2)],
    "relu, pool, norm": lambda: [nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(24)],
    "norm, hard tanh, pool of three": lambda: [nn.BatchNorm2d(24), HardTanh(), nn.MaxPool2d(3, 2, 1)],
    "pool, norm, pool": lambda: [nn.MaxPool2d(2), nn.BatchNorm2d(24), nn.MaxPool2d(2, ceil_mode=True)],
    "norm, rprelu": lambda: [nn.BatchNorm2d(24), RPReLU(24, channel_axis=-3)],
    "nothing": list,
    "norm, norm": lambda: [nn.BatchNorm2d(24), nn.BatchNorm2d(24)],
}
SECOND = {
    "sign": SteSign,
    "strict sign": lambda: StrictSign(zero=-1.0),
    "shifted sign": lambda: RSign(24),
    "two bits": lambda: LSQ(2, unsigned=True),
    "two signed bits": lambda: DoReFaActivation(2, signed=True),
    "eight bits": lambda: LSQ(8, batched=True),
}


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("order", ORDERS)
def test_thresholds_stand_for_whatever_lies_between_two_layers(order, second):
    model = trained(lambda: Block(*ORDERS[order](), second=SECOND[second]()), "bnn", (3, 9, 9), seed=3)
    packed = bnnlib.pack(model, (3, 9, 9))
    x = np.random.default_rng(1).integers(-1, 2, (60, 3, 9, 9)).astype(np.float32)  # many ties
    codes, scores = codes_of_each_layer(model, x)
    last = list(codes)[-1]
    values = packed.reference_values(x)
    found = values.get(f"{last}.signs", values.get(f"{last}.codes"))
    np.testing.assert_array_equal(flat(found, codes[last]), codes[last])
    np.testing.assert_array_equal(packed.scores(x), packed.reference_scores(x))
    np.testing.assert_allclose(packed.scores(x), scores, rtol=1e-6, atol=1e-5)


def test_a_threshold_is_where_the_norm_of_pytorch_changes_its_sign():
    torch.manual_seed(5)
    norm = nn.BatchNorm1d(300)
    with torch.no_grad():
        norm.weight.normal_()
        norm.weight[:5] = torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1.0])
        norm.bias.normal_()
        norm.running_mean.copy_(torch.randint(-20, 21, (300,)).float())  # thresholds on whole numbers
        norm.running_var.uniform_(0.5, 3.0)
        norm.bias[100:] = 0.0
    norm.eval()
    weights = torch.ones(300, 37)
    multiplier, offset = norm_constants(norm)
    product = Product(
        ("x",), "sums", Geometry((1, 1)), weights=Weights(weights.numpy().astype(np.int16)[:, None, None], 1, -1, 2)
    )
    between = (Norm(("sums",), "norm", multiplier=multiplier, offset=offset),)
    found = steps(Chain(product, between, Sign(("norm",), "signs"), 37))
    sums = torch.arange(-37, 38).float()
    with torch.no_grad():
        bits = norm(sums[:, None].repeat(1, 300)).numpy() >= 0
    expected = (np.arange(-37, 38)[:, None] >= found.at[0]) != found.falling
    np.testing.assert_array_equal(bits, expected)


def test_a_threshold_of_real_sums_is_where_the_norm_changes_its_sign():
    """To the last bit, for any float32: the sums on either side of each threshold have different signs."""
    rng = np.random.default_rng(0)
    multiplier, offset = (rng.standard_normal(400).astype(np.float32) for _ in range(2))
    multiplier[:4], offset[4:8] = (0, 0, -0.0, 1e-30), (0, -0.0, 1e30, -1e30)
    product = Product(("input",), "product", weights=Weights(np.ones((400, 1, 1, 1), np.float32), 32))
    norm = Norm(("product",), "norm", multiplier=multiplier, offset=offset)
    for strict in (False, True):
        sign = Sign(("norm",), "signs", strict)
        found = steps(Chain(product, (norm,), sign, None))
        at = found.at[0]
        assert at.dtype == np.float32
        largest = np.finfo(np.float32).max
        some = rng.standard_normal((50, 400)).astype(np.float32) * 10.0 ** rng.integers(-30, 30, (50, 400))
        with np.errstate(over="ignore"):
            below = np.nextafter(at, np.float32(-np.inf))
        near = [below, at, np.full(400, largest), np.full(400, -largest), *some]
        sums = np.clip(np.stack(near), -largest, largest).astype(np.float32)
        with np.errstate(over="ignore"):
            signs = sign.apply(norm.apply(sums[:, None, None]))[:, 0, 0]
        np.testing.assert_array_equal((sums >= at) != found.falling, signs > 0)


def test_whole_inputs_of_a_real_first_layer_give_the_codes_of_the_trained_network():
    """Where its sums are exact, comparing them is as exact as the rest."""
    model = trained(lambda: models.CompactCNN("bnn", size=12), "bnn")
    with torch.no_grad():
        model.features[0].weight.mul_(50).round_()
    x = torch.randint(-8, 9, (20, *SHAPE)).float()
    with torch.no_grad():
        expected = model(x).numpy()
    packed = bnnlib.pack(model, SHAPE)
    np.testing.assert_allclose(packed.scores(x.numpy()), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_fused_multiply_add_rounds_once():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(4000).astype(np.float32)
    factor = (rng.standard_normal(4000) * 2.0 ** rng.integers(-12, 12, 4000)).astype(np.float32)
    offset = (-x * factor).astype(np.float32)  # all of the sum is the product's rounding
    offset[::2] *= np.float32(1.5)
    # the sum in float64 lies in the middle of two float32, the exact one a little beside it
    x[:2], factor[:2], offset[:2] = np.float32(1 + 2**-23), np.float32(2**-24 + 2**-46), np.float32(1)
    for a, b, c, result in zip(x, factor, offset, fused_multiply_add(x, factor, offset), strict=True):
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        distance = abs(Fraction(float(result)) - exact)
        for neighbour in (np.nextafter(result, np.float32(np.inf)), np.nextafter(result, np.float32(-np.inf))):
            assert distance <= abs(Fraction(float(neighbour)) - exact)


# what does not pack


@pytest.mark.parametrize("name", [name for name, method in bnnlib.methods.items() if method.literal])
def test_signs_of_three_values_do_not_pack(name):
    model = trained(lambda: models.CompactCNN(name, size=12), name)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, QuantizedLayer):
                module.weight[0, 0] = 0.0
    if bnnlib.methods[name].activation_bits == 1 or not bnnlib.methods[name].centring:
        with pytest.raises(NotPackable, match=r"three values|third value"):
            bnnlib.pack(model, SHAPE)


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Sigmoid()), (3, 2, 2), "no form for Sigmoid"),
        (nn.Sequential(nn.Linear(4, 3)), (2, 4), "linear layer over an axis of a map"),
        (nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")), (1, 4, 4), "padding_mode 'reflect'"),
        (nn.Sequential(nn.Conv2d(1, 2, 3)), (1, 4, 4), "must return scores"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4, track_running_stats=False)), (4, 1), "running statistics"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten()), (1, 6, 6), "only global pooling"),
    ],
)  # fmt: skip
def test_what_has_no_packed_form_is_named(network, shape, message):
    with pytest.raises(NotPackable, match=message):
        bnnlib.pack(network, shape)


def test_a_shape_that_does_not_fit_and_wrong_names_are_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ValueError, match="takes 12 features, it gets 16"):
        bnnlib.pack(network, (1, 4, 4))
    with pytest.raises(ValueError, match="must be given"):
        bnnlib.pack(network)
    with pytest.raises(ValueError, match="2 names for 3 classes"):
        bnnlib.pack(network, (3, 2, 2), classes=["a", "b"])


# use


@pytest.fixture(scope="module")
def packed() -> PackedModel:
    model = trained(lambda: models.CompactCNN("bnn", size=12), "bnn")
    return bnnlib.pack(model, SHAPE, classes=[f"class {i}" for i in range(10)])


def test_one_input_is_the_same_as_a_batch_of_one(packed):
    x = np.random.default_rng(0).standard_normal((3, *SHAPE)).astype(np.float32)
    np.testing.assert_array_equal(packed.scores(x[0]), packed.scores(x)[0])
    assert packed.predict(x[0]) == packed.predict(x)[0]
    assert packed.predict(x).shape == (3,)
    np.testing.assert_allclose(packed.predict_proba(x).sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(packed.scores(x, threads=2), packed.scores(x))


def test_the_time_of_each_step_is_told_and_changes_nothing(packed):
    x = np.random.default_rng(3).standard_normal((2, *packed.input_shape)).astype(np.float32)
    before = packed.scores(x)
    times = packed.times(x, rounds=3)
    assert list(times) == [step.output for step in planned(packed)]
    assert all(spent >= 0 for spent in times.values())
    assert sum(times.values()) > 0
    np.testing.assert_array_equal(packed.scores(x), before)


def test_bad_inputs_are_refused(packed):
    with pytest.raises(ValueError, match=r"shape \(N, 1, 12, 12\)"):
        packed.scores(np.zeros((2, 12, 12), np.float32))
    with pytest.raises(TypeError, match="NumPy array of numbers"):
        packed.scores(torch.zeros(1, *SHAPE))
    for value in (np.nan, np.inf, -np.inf):
        for count, at in ((1, -1), (2, 0), (200, 1234)):  # one by one, and more than are looked at in a quick way
            x = np.ones((count, *SHAPE), np.float32)
            x.ravel()[at] = value
            with pytest.raises(ValueError, match="not finite"):
                packed.scores(x)
            with pytest.raises(ValueError, match="not finite"):
                packed.scores(np.asfortranarray(x))
    packed.scores(np.full(SHAPE, 1e30, np.float32))  # squares beyond float32, but finite


def test_a_shortcut_of_another_size_is_an_error_of_the_network():
    network = nn.Sequential(Residual(nn.Conv2d(1, 1, 3), nn.Identity()), nn.Flatten())
    with pytest.raises(NotPackable, match="maps of"):
        bnnlib.pack(network, (1, 5, 5))


# what a reviewer of the first version found


def signs(inputs, outputs, kernel=1, quantizer=None, **options):
    options |= {"weight_quantizer": SteSign(), "input_quantizer": quantizer or SteSign()}
    return bnnlib.BinConv2d(inputs, outputs, kernel, bias=False, **options)


class Before(nn.Module):
    """A body that rectifies its input in place beside a shortcut: the shortcut hands on what is rectified."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        inside = nn.Sequential(nn.ReLU(inplace=True), signs(8, 8, 3, padding=1))
        self.block = Residual(inside, nn.Identity())
        self.last = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def forward(self, x):
        return self.last(self.block(self.first(x)))


class ByMethod(Before):
    def forward(self, x):
        x = self.first(x)
        x.relu_()
        return self.last(x)


@pytest.mark.parametrize("network", [Before, ByMethod])
def test_what_is_changed_in_place_is_changed_for_all_who_read_it(network):
    torch.manual_seed(0)
    model = network().eval()
    x = torch.randn(8, 3, 6, 6)
    with torch.no_grad():
        np.testing.assert_allclose(bnnlib.pack(model, (3, 6, 6)).scores(x.numpy()), model(x), rtol=1e-4, atol=1e-5)


class Ties(nn.Module):
    """Scaled sums, a norm, and what has no thresholds: the norm's outputs lie exactly where the next signs change."""

    def __init__(self, between):
        super().__init__()
        self.first = bnnlib.BinConv2d(
            3, 256, 3, bias=False, weight_quantizer=BiRealWeight(), input_quantizer=SteSign()
        )  # fmt: skip
        self.norm = nn.BatchNorm2d(256)
        self.between = between
        self.last = bnnlib.BinLinear(1024, 5, bias=False, weight_quantizer=SteSign(), input_quantizer=RSign(1024))

    def features(self, x):
        return self.between(self.norm(self.first(x)).flatten(1))

    def forward(self, x):
        return self.last(self.features(x))


@pytest.mark.parametrize("between", [nn.Identity, lambda: nn.BatchNorm1d(1024), nn.PReLU])
def test_exact_is_true_only_where_ties_are_broken_alike(between):
    torch.manual_seed(1)
    model = unsettle(Ties(between())).eval()
    x = torch.randn(60, 3, 4, 4)
    with torch.no_grad():
        features = model.features(x)
        model.last.input_quantizer.shift.copy_(-features[0])
        expected = model.last.input_quantizer.codes(features)[0].numpy()
    packed = bnnlib.pack(model, (3, 4, 4))
    assert packed.exact
    found = packed.reference_values(x.numpy())["last.signs"]
    np.testing.assert_array_equal(flat(found, expected), expected)


class Tripled(bnnlib.BinConv2d):
    def product(self, x):
        return 3 * super().product(x)


class HalfSign(SteSign):
    def codes(self, x):
        return torch.where(x >= 0.5, 1.0, -1.0), x.new_ones(())


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x.flatten(1) + y.flatten(1)


class Dropping(nn.Module):
    def forward(self, x):
        return nn.functional.dropout(x.flatten(1))


END = (nn.AdaptiveMaxPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Sequential(signs(3, 4, quantizer=HalfSign()), *END), "HalfSign has a codes of its own"),
        (nn.Sequential(signs(3, 4, quantizer=DoReFaActivation(16)), *END), "input codes of 16 bits"),
        (nn.Sequential(Tripled(3, 4, 1, weight_quantizer=SteSign()), *END), "Tripled has a product of its own"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), *END).double(), "float64"),
        (TwoInputs(), "more than one input"),
        (Dropping(), "also drops in eval mode"),
        (nn.Sequential(bnnlib.BinConv2d(3, 4, 1, weight_quantizer=LSQ(9)), *END), "weights of 9 bits"),
    ],
)
def test_what_computes_in_a_way_of_its_own_is_refused(network, message):
    with pytest.raises(NotPackable, match=message):
        bnnlib.pack(network, (3, 6, 6))
    hooked = nn.Sequential(nn.Conv2d(3, 4, 1), *END)
    hooked[0].register_forward_hook(lambda *_: None)
    with pytest.raises(NotPackable, match="forward hooks"):
        bnnlib.pack(hooked, (3, 6, 6))


def test_an_empty_batch_has_no_scores(packed):
    nothing = np.zeros((0, *SHAPE), np.float32)
    assert packed.scores(nothing).shape == packed.reference_scores(nothing).shape == (0, 10)
    assert packed.predict(nothing).shape == (0,)


def test_odd_arguments_are_named():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(ValueError, match="received 5"):
        bnnlib.pack(network, 5)
    with pytest.raises(ValueError, match="plain data"):
        bnnlib.pack(network, (3, 2, 2), about={"a": np.float32(1)})
    with pytest.raises(ValueError, match="must be strings"):
        bnnlib.pack(network, (3, 2, 2), classes=[0, 1, 2])


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    packed = bnnlib.pack(model, (3, 2, 2), classes=["a" * 2000, "b", "c"])
    with pytest.raises(ValueError, match="can't be written as a file"):
        packed.save(tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_a_module_that_is_called_twice_is_packed_once():
    layer, norm = signs(8, 8, 3, padding=1), nn.BatchNorm2d(8)
    layer.weight_quantizer = BiRealWeight()
    model = unsettle(nn.Sequential(signs(3, 8), layer, norm, layer, norm, *END)).eval()
    packed = bnnlib.pack(model, (3, 6, 6))
    assert packed.bytes == bnnlib.summary(model, (3, 6, 6)).bytes


def test_codes_that_no_byte_holds_and_paddings_that_are_no_codes_stay_numbers():
    wide = Levels(("input",), "codes", -1000, 1000, step=np.ones(1, np.float32))
    x = np.linspace(-1200, 1200, 8, dtype=np.float32)[None]
    alone = PackedModel((8,), (wide,))
    np.testing.assert_array_equal(alone.scores(x), alone.reference_scores(x))
    codes = Levels(("input",), "codes", 0, 3, step=np.full(1, 100, np.float32))
    weights = Weights(np.arange(-4, 4, dtype=np.int16).reshape(1, 1, 1, 8) // 2, 2, -2)
    product = Product(("codes",), "sums", PIXEL, pad_value=-1, weights=weights)
    padded = PackedModel((8,), (codes, product))
    np.testing.assert_array_equal(padded.scores(x), padded.reference_scores(x))


def test_a_network_that_has_failed_is_not_packed():
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    net[1].weight.data[0, 0] = float("nan")
    with pytest.raises(NotPackable, match=r"1\.weight holds values that are not finite"):
        bnnlib.pack(net, (1, 2, 2))


class ByView(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return self.last(x.view(x.size(0), -1))


def test_a_refusal_names_the_place_as_the_network_does():
    net = nn.Sequential(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.GELU()), nn.Linear(3, 2))
    with pytest.raises(NotPackable, match=r"^0\.2: a packed network has no form for GELU"):
        bnnlib.pack(net, (1, 2, 2))
    with pytest.raises(ValueError, match=r"^0: .* for 1 channels"):
        bnnlib.pack(nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 2)), (1, 3, 3))
    with pytest.raises(NotPackable, match=r"flatten by nn\.Flatten\(\) or torch\.flatten"):
        bnnlib.pack(ByView(), (1, 2, 2))


def test_a_packed_network_is_short_to_print_and_only_it_is_exported(tmp_path):
    packed = bnnlib.pack(nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (1, 2, 2))
    assert len(repr(packed)) < 200
    for write in (write_c, write_onnx, write_wasm):
        with pytest.raises(TypeError, match=r"bnnlib\.pack\(model\); received Linear"):
            write(nn.Linear(4, 3), tmp_path / "Net.js")
    with pytest.raises(IsADirectoryError, match=r"network\.onnx"):
        write_onnx(packed, tmp_path)
    with pytest.raises(ValueError, match="nothing to time"):
        packed.times(np.zeros((0, 1, 2, 2), np.float32))
    with pytest.raises(ValueError, match="nothing to time"):
        packed.times(np.zeros((1, 1, 2, 2), np.float32), rounds=0)
