"""Any torch network under any method: what is converted, replaced, kept, and that the result learns."""

import copy

import pytest
import torch
from torch import nn

import bnnlib
from bnnlib import data
from bnnlib.layers import BinConv2d, HardTanh, QuantizedLayer, RPReLU, binary_layers, quantized_layers
from bnnlib.training import Settings, fit, seeded


@pytest.fixture(scope="module")
def vision():
    import torchvision

    return torchvision.models


METHODS = [n for n in bnnlib.methods if n != "float"]


def small():
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1, dilation=2, groups=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 10),
        nn.BatchNorm1d(10),
    )  # fmt: skip


class Audio(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(20, 16, 5), nn.BatchNorm1d(16), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 16, 5, padding=2), nn.BatchNorm1d(16), nn.ReLU(), nn.AdaptiveAvgPool1d(4),
        )  # fmt: skip
        self.inner, self.head = nn.Linear(64, 16), nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.inner(self.body(x).flatten(1)))


def one_step(net, method, x):
    method = bnnlib.methods[method]
    net.train()
    method.on_epoch(net, 0.0)
    method.before_forward(net)
    out = net(x)
    out.square().mean().backward()
    method.after_backward(net)
    method.after_step(net)
    return out


@pytest.mark.parametrize("method", METHODS)
def test_a_sequential_network_under_every_method(method):
    net = bnnlib.binarize(small(), method)
    expected = {"0": None, "4": True, "7": True, "12": True, "15": None}
    if not bnnlib.methods[method].real_layers:
        expected = dict.fromkeys(expected, True)
        if bnnlib.methods[method].centring:
            expected["0"] = None
    converted = {name for name, _ in quantized_layers(net)}
    assert converted == {name for name, yes in expected.items() if yes}
    out = one_step(net, method, torch.randn(6, 1, 28, 28))
    assert out.shape == (6, 10)
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)
    assert all(layer.weight.grad is not None for _, layer in quantized_layers(net))


@pytest.mark.parametrize("method", ["bnn", "xnor-operator", "xnor-naive", "lsq-w2a2", "ir-net", "reactnet", "ie-net"])
def test_an_audio_network_in_one_dimension(method):
    net = bnnlib.binarize(Audio(), method)
    assert "body.4" in dict(binary_layers(net))
    assert one_step(net, method, torch.randn(6, 20, 50)).shape == (6, 4)


def test_weights_geometry_and_mode_are_carried_over():
    model = small().eval()
    net = bnnlib.binarize(model, "bi-real")
    old, new = model[7], net[7]
    assert torch.equal(new.weight, old.weight)
    assert torch.equal(new.bias, old.bias)
    for what in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"):
        assert getattr(new, what) == getattr(old, what)
    assert not new.training
    assert not any(isinstance(m, QuantizedLayer) for m in model.modules()), "the model itself is left as it is"
    steps = bnnlib.binarize(model, "lsq-w2a32")
    assert steps[4].weight_quantizer.step.item() == pytest.approx(2 * model[4].weight.abs().mean().item())


def test_a_relu_that_would_feed_a_sign_a_constant_is_replaced_as_the_block_has_it():
    kinds = {"xnor-port": nn.Identity, "ir-net": HardTanh, "reactnet": RPReLU, "ie-net": HardTanh}
    for method, kind in kinds.items():
        net = bnnlib.binarize(small(), method)
        assert [type(net[i]) for i in (2, 6, 9)] == [kind] * 3, method
        assert isinstance(net[14], nn.ReLU), "the last layer is real, its ReLU stays"
    assert bnnlib.binarize(small(), "reactnet")[2].slope.shape == (8,)
    for method in ("lsq-w2a2", "dorefa-w2a2", "bwn-naive", "binaryconnect-deterministic"):
        assert isinstance(bnnlib.binarize(small(), method)[2], nn.ReLU)


def test_a_norm_between_relu_and_sign_lets_the_relu_stay():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    assert isinstance(bnnlib.binarize(model, "xnor-port")[1], nn.ReLU)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.three = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.three(self.two(torch.relu(self.one(x))))


class Untraceable(Functional):
    def __init__(self):
        super().__init__()
        self.act = nn.ReLU()

    def forward(self, x):
        return self.three(self.two(self.act(self.one(x)) if x.sum() > 0 else x))


class Joined(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(16, 8, 3)
        self.one, self.two, self.last = act(), act(), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        x = self.one(self.a(x))
        y = self.two(self.b(x))
        joined = torch.cat([x + y, y], 1).transpose(2, 3).contiguous()
        return self.last(self.c(joined))


def test_a_relu_is_followed_through_sums_and_concatenations():
    net = bnnlib.binarize(Joined(nn.ReLU), "bi-real")
    assert isinstance(net.one, nn.Identity)
    assert isinstance(net.two, nn.Identity)
    with pytest.warns(UserWarning, match="Sigmoid feeds the sign of"):
        bnnlib.binarize(Joined(nn.Sigmoid), "bi-real")


@pytest.mark.parametrize("method", ["bi-real", "xnor-operator", "ir-net", "lsq-w2a2", "twn"])
def test_eight_bit_ends_train(method):
    splits = data.load("FashionMNIST", "quick", train_size=1500)
    seeded(0)
    settings = Settings(epochs=2, batch_size=50, learning_rate=2e-3, device="cpu")
    for net in (bnnlib.models.MLP(method, width=64, first_last="int8"),
                bnnlib.binarize(small(), method, first_last="int8")):  # fmt: skip
        assert fit(net, method, splits, settings).history.epochs[-1].test_accuracy > 40


def test_what_cannot_be_mended_is_said():
    with pytest.warns(UserWarning, match="functional relu feeds the sign of two, which is always"):
        net = bnnlib.binarize(Functional(), "bi-real")
    assert net.conversion.names("note") == ["relu"]
    with pytest.warns(UserWarning, match="cannot be traced"):
        net = bnnlib.binarize(Untraceable(), "bi-real")
    assert isinstance(net.act, nn.Identity)


def test_resnet18_keeps_its_ends_and_reports(vision):
    model = vision.resnet18(num_classes=10)
    net = bnnlib.binarize(model, "bi-real", keep=["layer4.1", "layer1.0.conv1"])
    kept = {"conv1", "fc", "layer4.1.conv1", "layer4.1.conv2", "layer1.0.conv1"}
    assert set(net.conversion.names("kept real")) == kept
    assert len(net.conversion.names("converted")) == 21 - len(kept)
    assert {"relu", "layer1.0.relu", "layer3.1.relu"} <= set(net.conversion.names("replaced")) | {"relu"}
    assert "named in keep" in str(net.conversion)
    assert len(net.conversion.frame()) == len(net.conversion.rows)
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 10)


def test_mobilenet_keeps_depthwise_layers_where_centring_would_kill_them(vision):
    model = vision.mobilenet_v2(num_classes=10)
    net = bnnlib.binarize(model, "xnor-operator")
    depthwise = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert set(depthwise) <= set(net.conversion.names("kept real"))
    assert "the layer would be dead" in str(net.conversion)
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 10)
    other = bnnlib.binarize(model, "lsq-w2a2")
    assert set(depthwise) <= set(other.conversion.names("kept real"))
    assert set(depthwise) <= set(bnnlib.binarize(model, "twn").conversion.names("converted"))
    assert other.conversion.names("note"), "a linear bottleneck feeds unsigned codes"


def test_first_and_last_in_eight_bits():
    net = bnnlib.binarize(small(), "xnor-naive", first_last="int8")
    assert net.conversion.names("8 bits") == ["0", "15"]
    assert net[0].weight_quantizer.bits == net[15].input_quantizer.bits == 8


def test_padding_value_reaches_the_layers():
    net = bnnlib.binarize(small(), "bnn", pad_value=-1)
    assert all(layer.pad_value == -1 for _, layer in binary_layers(net) if isinstance(layer, BinConv2d))


@pytest.mark.parametrize("method", ["bi-real", "lsq-w2a2"])
def test_a_converted_resnet_learns_in_one_short_epoch(method, vision):
    torch.manual_seed(0)
    model = vision.ResNet(vision.resnet.BasicBlock, [1, 1, 1, 1], num_classes=10)
    model.conv1 = nn.Conv2d(1, 64, 7, 4, 3, bias=False)
    net = bnnlib.binarize(model, method)
    splits = data.load("FashionMNIST", "quick", train_size=1500)
    result = fit(net, method, splits, Settings(epochs=1, batch_size=50, learning_rate=2e-3, device="cpu"))
    assert result.history.epochs[-1].test_accuracy > 30  # chance is 10


@pytest.mark.parametrize("method", ["bnn", "xnor-operator", "xnor-port", "ir-net", "ie-net", "dorefa-w2a2", "twn"])
def test_a_converted_sequential_network_learns_in_one_short_epoch(method):
    seeded(0)
    net = bnnlib.binarize(small(), method)
    splits = data.load("FashionMNIST", "quick", train_size=3000)
    result = fit(net, method, splits, Settings(epochs=1, batch_size=50, learning_rate=3e-3, device="cpu"))
    assert result.history.epochs[-1].test_accuracy > 30


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="keep names no layer: fc; the layers are 0, 4"):
        bnnlib.binarize(small(), "bnn", keep=["fc"])
    with pytest.raises(TypeError, match="received the string"):
        bnnlib.binarize(small(), "bnn", keep="0")
    with pytest.raises(ValueError, match=r"no nn\.Linear, nn\.Conv1d or nn\.Conv2d"):
        bnnlib.binarize(nn.Sequential(nn.ReLU()), "bnn")
    with pytest.raises(ValueError, match="holds bnnlib layers already"):
        bnnlib.binarize(bnnlib.binarize(small(), "bnn"), "bnn")
    with pytest.raises(ValueError, match="real, int8, received 'int4'"):
        bnnlib.binarize(small(), "bnn", first_last="int4")


def test_the_report_survives_a_copy():
    net = copy.deepcopy(bnnlib.binarize(small(), "bnn"))
    assert net.conversion.method == "bnn"


def test_a_binary_last_layer_without_a_norm_is_noted():
    assert bnnlib.binarize(Audio(), "bnn").conversion.names("note") == ["head"]
    assert bnnlib.binarize(small(), "bnn").conversion.names("note") == []
