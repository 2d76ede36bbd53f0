"""Any torch network under any method: what is converted, replaced, kept, and that the result learns."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

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


def chain(act, width=8):
    """Five linear layers, the inner three binary under most methods; ``act`` gives the activation of each place."""
    layers = [nn.Linear(4, width)]
    for place in range(3):
        layers += [act(place), nn.Linear(width, width), nn.BatchNorm1d(width)]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def test_a_relu_registered_under_several_names_is_replaced_at_each_that_feeds_a_sign():
    relu = nn.ReLU()
    model = chain(lambda place: relu)
    net = bnnlib.binarize(model, "bi-real")
    assert [type(net[i]) for i in (1, 4, 7)] == [nn.Identity] * 3
    assert net.conversion.names("replaced") == ["1", "4", "7"]
    one_kept = bnnlib.binarize(model, "bi-real", keep=["5"])
    assert [type(one_kept[i]) for i in (1, 4, 7)] == [nn.Identity, nn.ReLU, nn.Identity]
    assert model[1] is model[4], "the model itself is left as it is"


class Recurring(nn.Module):
    """One ReLU module called three times: twice in front of a sign, then in front of what ``end`` makes of it."""

    def __init__(self, end=lambda x: x):
        super().__init__()
        self.one, self.two, self.three, self.four = (nn.Linear(4, 4) for _ in range(4))
        self.act, self.end = nn.ReLU(), end

    def forward(self, x):
        x = self.two(self.act(self.one(x)))
        return self.four(self.end(self.act(self.three(self.act(x)))))


def test_a_relu_called_in_several_places_is_replaced_in_all_of_them_and_the_report_says_so():
    net = bnnlib.binarize(Recurring(), "bi-real")
    assert isinstance(net.act, nn.Identity)
    assert "replaced in all of its 3 calls, though 1 of them feeds no sign" in str(net.conversion)


def test_a_relu_that_feeds_a_sign_here_and_a_logarithm_there_is_refused():
    with pytest.raises(ValueError, match=r"act is called 3 times.*a functional log1p.*an nn.ReLU of its own"):
        bnnlib.binarize(Recurring(torch.log1p), "bi-real")
    assert isinstance(bnnlib.binarize(Recurring(torch.log1p), "lsq-w2a2").act, nn.ReLU)


class Named(nn.Module):
    """One layer under two names, and in two places."""

    def __init__(self):
        super().__init__()
        self.first, self.a, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.b = self.a
        self.blocks = nn.ModuleList([self.a])

    def forward(self, x):
        return self.last(self.blocks[0](self.b(self.a(self.first(x)))))


def test_a_layer_under_several_names_is_converted_once_and_stays_shared():
    net = bnnlib.binarize(Named(), "xnor-operator")
    assert isinstance(net.a, bnnlib.BinLinear)
    assert net.b is net.a
    assert net.blocks[0] is net.a
    assert net.conversion.names("converted") == ["a"]


@pytest.mark.parametrize("method", ["bi-real", "xnor-operator", "lsq-w2a2"])
def test_a_shared_layer_and_tied_weights_train(method):
    seeded(0)
    shared, relu = nn.Linear(64, 64), nn.ReLU()
    layers = [nn.Flatten(), nn.Linear(784, 64)]
    for inner in (shared, shared, nn.Linear(64, 64), nn.Linear(64, 64)):
        layers += [nn.BatchNorm1d(64), relu, inner]
    model = nn.Sequential(*layers, nn.BatchNorm1d(64), nn.Linear(64, 10))
    if not bnnlib.methods[method].centring:
        model[13].weight = model[10].weight
    net = bnnlib.binarize(model, method)
    splits = data.load("FashionMNIST", "quick", train_size=1500)
    result = fit(net, method, splits, Settings(epochs=2, batch_size=50, learning_rate=2e-3, device="cpu"))
    assert result.history.epochs[-1].test_accuracy > 40  # chance is 10
    assert net[4] is net[7]
    assert (net[13].weight is net[10].weight) == (model[13].weight is model[10].weight)


def test_a_name_in_keep_holds_for_every_name_of_a_layer():
    net = bnnlib.binarize(Named(), "binaryconnect-deterministic", keep=["blocks"])
    assert net.conversion.names("kept real") == ["a"]
    assert type(net.a) is nn.Linear


def test_a_network_that_is_one_layer_becomes_one():
    net = bnnlib.binarize(nn.Linear(4, 2), "binaryconnect-deterministic")
    assert isinstance(net, bnnlib.BinLinear)
    assert net.conversion.names("converted") == [""]


def tied():
    model = chain(lambda place: nn.ReLU())
    model[5].weight = model[2].weight
    return model


def test_tied_weights_stay_tied_and_train_as_one():
    seeded(0)
    net = bnnlib.binarize(tied(), "bi-real")
    assert net[5].weight is net[2].weight
    assert isinstance(net[5], bnnlib.BinLinear)
    net(torch.randn(6, 4)).square().sum().backward()
    torch.optim.SGD(net.parameters(), 0.1).step()
    assert torch.equal(net[5].weight, net[2].weight)
    real = bnnlib.binarize(tied(), "bi-real", keep=["2", "5"])
    assert real[5].weight is real[2].weight
    assert type(real[5]) is nn.Linear


def test_tied_weights_that_would_have_to_be_untied_are_refused():
    with pytest.raises(ValueError, match=r"2.weight, 5.weight are one parameter.*not converted alike: 2 \(kept real\)"):
        bnnlib.binarize(tied(), "bi-real", keep=["2"])
    with pytest.raises(ValueError, match="xnor-port centres the weight of each layer in place"):
        bnnlib.binarize(tied(), "xnor-port")
    words = nn.Sequential(nn.Embedding(7, 8), nn.Linear(8, 8), nn.Linear(8, 7, bias=False), nn.Linear(7, 7))
    words[2].weight = words[0].weight
    with pytest.raises(ValueError, match=r"0 \(kept real\), 2 \(converted\). Put '2' in keep"):
        bnnlib.binarize(words, "bi-real")
    net = bnnlib.binarize(words[:3], "bi-real")
    assert net[2].weight is net[0].weight, "the last layer is real, and tied to the embedding as before"


def test_frozen_weights_stay_frozen():
    model = small()
    model[4].weight.requires_grad_(False)
    net = bnnlib.binarize(model, "bi-real")
    assert not net[4].weight.requires_grad
    assert net[4].bias.requires_grad


class Before(Functional):
    """A function of its own in front of a sign."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.three(self.two(self.function(self.one(x))))


NON_NEGATIVE = {
    "clamp": lambda x: x.clamp(min=0),
    "clip": lambda x: torch.clip(x, 0, 1),
    "clamp_min": lambda x: x.clamp_min(0.0),
    "abs": lambda x: abs(x),
    "square": torch.square,
    "pow": lambda x: x**2,
    "mul": lambda x: x * x,
    "sigmoid": torch.sigmoid,
    "softplus": nn.functional.softplus,
    "softmax": lambda x: x.softmax(-1),
    "relu6": lambda x: nn.functional.relu6(input=x),
    "hardtanh": lambda x: nn.functional.hardtanh(x, 0.0, 6.0),
}


@pytest.mark.parametrize("name", list(NON_NEGATIVE))
def test_functions_that_are_never_negative_in_front_of_a_sign_are_warned_of(name):
    with pytest.warns(UserWarning, match=f"a functional {name} feeds the sign of two, which is always"):
        bnnlib.binarize(Before(NON_NEGATIVE[name]), "bi-real")


def padded(x):
    return nn.functional.pad(x.abs(), (0, 0), value=-1.0)


@pytest.mark.parametrize("function", [lambda x: x.clamp(min=-1), torch.tanh, lambda x: x**3, padded])
def test_functions_that_can_be_negative_are_not(function):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bnnlib.binarize(Before(function), "bi-real")


def test_a_gate_times_a_rectified_map_is_mended_with_the_map():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.gate, self.two, self.three = (nn.Linear(4, 4) for _ in range(4))
            self.act = nn.ReLU()

        def forward(self, x):
            x = self.act(self.one(x))
            return self.three(self.two(x * torch.sigmoid(self.gate(x))))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert bnnlib.binarize(Gated(), "bi-real").conversion.names("replaced") == ["act"]


def test_many_places_give_one_warning_and_a_row_each(vision):
    model = vision.googlenet(num_classes=10, init_weights=False, aux_logits=False)
    with pytest.warns(UserWarning, match="feeds the sign of") as caught:
        net = bnnlib.binarize(model, "bi-real", keep=["conv1"])
    assert len(caught) == 1
    count = len(net.conversion.names("note"))
    assert count > 40
    assert f"and {count - 3} more like these" in str(caught[0].message)
    assert caught[0].filename == __file__


class Attending(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.attention, self.last = nn.Linear(8, 8), nn.MultiheadAttention(8, 2), nn.Linear(8, 2)

    def forward(self, x):
        x = self.one(x)
        return self.last(self.attention(x, x, x)[0])


def test_attention_stays_real_and_is_reported():
    net = bnnlib.binarize(Attending(), "binaryconnect-deterministic")
    assert net.conversion.names("kept real") == ["attention"]
    assert "torch projects and attends in one function" in str(net.conversion)


def test_a_transformers_fast_path_does_not_go_around_the_quantizers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.Linear(8, 2))
    with pytest.warns(UserWarning, match=r"a functional relu feeds the sign of 1\.linear2"):
        net = bnnlib.binarize(model, "bi-real").eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        fast = net(x)
    torch.testing.assert_close(fast, net(x).detach())
    assert {"1.linear1", "1.linear2"} <= set(net.conversion.names("converted"))


def test_layers_whose_weight_is_computed_stay_real_and_are_reported():
    def model():
        return chain(lambda place: nn.Identity())

    named = model()
    parametrizations.weight_norm(named[2])
    parametrizations.spectral_norm(named[5])
    prune.random_unstructured(named[8], "weight", amount=0.5)
    net = bnnlib.binarize(named, "binaryconnect-deterministic")
    assert net.conversion.names("kept real") == ["2", "5", "8"]
    assert net.conversion.names("converted") == ["0", "10"]
    assert parametrize.is_parametrized(net[2])
    old = model()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has a newer one
        nn.utils.weight_norm(old[2])
    net = bnnlib.binarize(old, "binaryconnect-deterministic").eval()
    assert net.conversion.names("kept real") == ["2"]
    net[2].weight_g.data.mul_(2)
    x = torch.randn(3, 8)
    torch.testing.assert_close(net[2](x) - net[2].bias, 2 * (old[2](x) - old[2].bias))


def test_a_network_of_parametrized_layers_alone_says_how_to_make_them_plain():
    with pytest.raises(ValueError, match="remove_parametrizations makes a parametrized layer a plain one"):
        bnnlib.binarize(nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))), "bnn")


def test_a_layer_whose_weight_the_network_reads_itself_stays_real(vision):
    net = bnnlib.binarize(vision.swin_t(), "binaryconnect-deterministic")
    assert "features.1.0.attn.qkv" in net.conversion.names("kept real")
    assert "the network reads its weight itself" in str(net.conversion)


@pytest.mark.parametrize("method", ["lsq-w2a2", "lsq-w4a4", "dorefa-w2a2"])
def test_signed_codes_keep_what_is_negative(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8),
                          nn.Linear(8, 2))  # fmt: skip
    plain = bnnlib.binarize(model, method)
    assert plain.conversion.names("note") == ["2"]
    assert 'signed="auto"' in str(plain.conversion)
    x = torch.randn(64, 4)
    for signed in ("auto", ["2"]):
        net = bnnlib.binarize(model, method, signed=signed)
        assert net.conversion.names("note") == []
        assert [net[i].input_quantizer.unsigned for i in (2, 4)] == [False, True]
        one_step(net, method, x)
        quantized = net[2].input_quantizer(net[1](net[0](x)))
        assert (quantized < 0).any()
        assert (quantized > 0).any()
    one_step(plain, method, x)
    assert not (plain[2].input_quantizer(plain[1](plain[0](x))) < 0).any()


@pytest.mark.parametrize("method", ["lsq-w2a2", "dorefa-w2a2"])
def test_a_network_without_relus_learns_with_signed_codes(method):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.BatchNorm1d(64), nn.Linear(64, 64), nn.BatchNorm1d(64),
                          nn.Linear(64, 10))  # fmt: skip
    net = bnnlib.binarize(model, method, signed="auto")
    splits = data.load("FashionMNIST", "quick", train_size=1500)
    result = fit(net, method, splits, Settings(epochs=1, batch_size=50, learning_rate=3e-3, device="cpu"))
    assert result.history.epochs[-1].test_accuracy > 50
    assert (net[3].input_quantizer.codes(net[2](torch.randn(9, 64)))[0] < 0).any()


def test_signed_codes_that_cannot_be_had_are_refused():
    with pytest.raises(ValueError, match="bi-real has no unsigned codes"):
        bnnlib.binarize(small(), "bi-real", signed=["4"])
    with pytest.raises(TypeError, match="signed must be a collection of names, received the string 'yes'"):
        bnnlib.binarize(small(), "lsq-w2a2", signed="yes")
    with pytest.raises(ValueError, match=r'signed="auto" must know what feeds a layer.*cannot be traced.*name the lay'):
        bnnlib.binarize(Untraceable(), "lsq-w2a2", signed="auto")
    assert bnnlib.binarize(small(), "bi-real", signed="auto").conversion.names("converted")


def test_new_activations_are_like_the_layer_that_feeds_them():
    net = bnnlib.binarize(small().double(), "reactnet")
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert net(torch.randn(2, 1, 28, 28, dtype=torch.float64)).dtype == torch.float64
    meta = bnnlib.binarize(Recurring().to("meta"), "reactnet")
    assert {p.device.type for p in meta.parameters()} == {"meta"}
    with pytest.warns(UserWarning, match="cannot be traced"):
        untraced = bnnlib.binarize(Untraceable().double(), "reactnet")
    assert untraced.act.weight.dtype == torch.float64


def test_rprelu_takes_the_channels_of_the_layer_that_feeds_it():
    net = bnnlib.binarize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2)), "reactnet")
    assert isinstance(net[1], RPReLU)
    assert net(torch.randn(3, 5, 4)).shape == (3, 5, 2)  # (N, T, C): the channels are the last axis
    net = bnnlib.binarize(Audio(), "reactnet")
    assert net.body[2].channel_axis == -2
    images = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 2, 3))
    assert bnnlib.binarize(images, "reactnet")(torch.randn(3, 9, 9)).shape == (2, 3, 3)  # without a batch axis


@pytest.mark.parametrize(("method", "inputs"), [("lsq-w2a2", "inputs of 2 bits"), ("bwn-naive", "real inputs")])
def test_padding_with_ones_is_refused_where_maps_are_not_binary(method, inputs):
    with pytest.raises(ValueError, match=f"a binary map binary, but layers under {method} have {inputs}"):
        bnnlib.binarize(small(), method, pad_value=1)
    with pytest.raises(ValueError, match="pad_value must be -1, 0 or 1, received 2"):
        bnnlib.binarize(small(), "bi-real", pad_value=2)


def test_rprelu_behind_a_norm_over_whole_maps_has_the_channels_of_the_layer():
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.LayerNorm([8, 6, 6]), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 2, 1),
    )  # fmt: skip
    mine = bnnlib.binarize(net, "reactnet")
    assert mine(torch.randn(2, 1, 6, 6)).shape == (2, 2, 6, 6)
    activation = next(m for m in mine.modules() if isinstance(m, RPReLU))
    assert len(activation.slope) == 8


def test_names_may_come_from_a_generator():
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    kept = bnnlib.binarize(net, "bnn", keep=(name for name in ("2",)))
    assert type(kept[2]) is nn.Linear
    signed = bnnlib.binarize(net, "lsq-w2a2", signed=(name for name in ("2",)))
    assert not signed[2].input_quantizer.unsigned


def test_hooks_that_stay_with_torch_s_layer_are_told_of():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net[0].register_forward_hook(lambda module, given, output: None)
    notes = [row for row in bnnlib.binarize(net, "bnn").conversion.rows if row[2] == "note"]
    assert [(row[0], "register them anew" in row[3]) for row in notes if "hooks" in row[3]] == [("0", True)]
