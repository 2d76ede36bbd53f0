import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnnlib
from bnnlib import BinConv2d, BinLinear, weights_as
from bnnlib.layers import binary_layers
from bnnlib.quantizers import DeterministicBinaryConnect, StochasticBinaryConnect

CONVS = [
    {},
    {"stride": 2},
    {"padding": 1},
    {"dilation": 2},
    {"groups": 2},
    {"bias": False},
    {"padding": 1, "stride": 2, "groups": 2},
]


@pytest.mark.parametrize("options", CONVS)
def test_convolution_equals_torch_on_the_signs(options):
    layer = BinConv2d(4, 6, 3, weight_quantizer=DeterministicBinaryConnect(), **options)
    x = torch.randint(-5, 6, (2, 4, 9, 9)).float()
    plain = {k: v for k, v in options.items() if k != "bias"}
    sign = torch.where(layer.weight >= 0, 1.0, -1.0)
    expected = F.conv2d(x, sign, layer.bias, **plain)
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)


def test_linear_equals_torch_on_the_scaled_signs():
    layer = BinLinear(7, 3, weight_quantizer=DeterministicBinaryConnect(0.5))
    x = torch.randn(5, 7, dtype=torch.float32)
    expected = x @ torch.where(layer.weight >= 0, 0.5, -0.5).T + layer.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)


def test_eval_sums_are_exact_integers_before_scaling():
    scale = 0.1  # not a power of two: scaling first would round every product
    layer = BinLinear(4096, 8, bias=False, weight_quantizer=DeterministicBinaryConnect(scale)).eval()
    x = torch.randint(-128, 128, (3, 4096)).float()
    sums = (x.long() @ torch.where(layer.weight >= 0, 1, -1).T).float()
    assert torch.equal(layer(x), sums * torch.tensor(scale))


@pytest.mark.parametrize(
    ("ours", "torchs", "arguments"), [(BinConv2d, nn.Conv2d, (4, 6, 3)), (BinLinear, nn.Linear, (4, 6))]
)
def test_without_quantizers_a_layer_is_torchs_own(ours, torchs, arguments):
    layer, plain = ours(*arguments), torchs(*arguments)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 5, 5) if ours is BinConv2d else torch.randn(2, 4)
    for mode in (True, False):
        assert torch.equal(layer.train(mode)(x), plain(x))


def test_shapes_are_torchs_with_and_without_a_batch_axis():
    conv = BinConv2d(3, 4, 3, weight_quantizer=DeterministicBinaryConnect())
    linear = BinLinear(6, 2, weight_quantizer=DeterministicBinaryConnect())
    for layer, x in ((conv, torch.ones(3, 8, 8)), (conv, torch.ones(5, 3, 8, 8)), (linear, torch.ones(6)),
                     (linear, torch.ones(5, 7, 6))):  # fmt: skip
        torch.testing.assert_close(layer.eval()(x), layer.train()(x))


def test_a_change_of_mode_inside_weights_as_reaches_the_quantizers():
    model = nn.Sequential(BinLinear(50, 20, weight_quantizer=StochasticBinaryConnect())).train()
    with weights_as(model, "real"):
        model.eval()
    assert not model[0].weight_quantizer.training


def test_both_quantizers_are_used():
    layer = BinLinear(
        6, 2, weight_quantizer=DeterministicBinaryConnect(), input_quantizer=DeterministicBinaryConnect(2.0)
    )
    x = torch.randn(3, 6)
    expected = torch.where(x >= 0, 2.0, -2.0) @ torch.where(layer.weight >= 0, 1.0, -1.0).T + layer.bias
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)


def test_latent_weights_start_uniform_in_the_clip_and_real_ones_as_in_torch():
    torch.manual_seed(0)
    latent = BinLinear(400, 400, weight_quantizer=DeterministicBinaryConnect()).weight
    assert latent.abs().max() <= 1
    assert latent.std().item() == pytest.approx(1 / 3**0.5, rel=0.02)  # of a uniform on (-1, 1)
    assert BinLinear(400, 400).weight.abs().max() <= 1 / 20  # torch: 1 / sqrt(fan_in)


def test_reset_parameters_uses_the_quantizers_initialisation():
    layer = BinLinear(100, 100, weight_quantizer=DeterministicBinaryConnect())
    nn.init.zeros_(layer.weight)
    layer.reset_parameters()
    assert layer.weight.abs().max() > 0.5


def test_weights_as_real_and_sampled_and_back():
    torch.manual_seed(0)
    model = nn.Sequential(BinLinear(50, 20, weight_quantizer=StochasticBinaryConnect())).eval()
    x = torch.randn(4, 50)
    before = model(x)
    with weights_as(model, "real"):
        torch.testing.assert_close(model(x), F.linear(x, model[0].weight, model[0].bias))
    with weights_as(model, "sampled"):
        assert not torch.equal(model(x), model(x))
    with weights_as(model, "binary"):
        assert torch.equal(model(x), before)
    assert torch.equal(model(x), before)


def test_weights_as_restores_after_an_error_and_lists_its_forms():
    model = nn.Sequential(BinLinear(5, 2, weight_quantizer=DeterministicBinaryConnect()))
    own = model[0].weight_quantizer
    with pytest.raises(RuntimeError, match="inside"), weights_as(model, "real"):
        raise RuntimeError("inside")
    assert model[0].weight_quantizer is own
    with (
        pytest.raises(ValueError, match='"binary", "real" and "sampled", received \'latent\''),
        weights_as(model, "latent"),
    ):
        pass


def test_binary_layers_leaves_real_ones_out():
    model = nn.Sequential(BinLinear(5, 5), BinLinear(5, 5, weight_quantizer=DeterministicBinaryConnect()))
    assert [name for name, _ in binary_layers(model)] == ["1"]


def test_a_quantizer_class_instead_of_an_instance_is_refused():
    with pytest.raises(TypeError, match="weight_quantizer must be a bnnlib Quantizer instance"):
        BinLinear(2, 2, weight_quantizer=DeterministicBinaryConnect)


def unbatched_layers():
    """Layers of each kind with quantizers that look at channels or samples, and the shape of one input."""
    for name in ("reactnet", "ie-net", "lsq-w2a2"):
        method = bnnlib.methods[name]
        for kind, arguments, shape in (
            ("linear", (6, 4), (6,)),
            ("conv1d", (6, 4, 3), (6, 9)),
            ("conv2d", (6, 4, 3), (6, 7, 8)),
        ):
            yield pytest.param(method, kind, arguments, shape, id=f"{name}, {kind}")


@pytest.mark.parametrize(("method", "kind", "arguments", "shape"), list(unbatched_layers()))
def test_one_input_without_a_batch_axis_is_a_batch_of_one(method, kind, arguments, shape):
    torch.manual_seed(0)
    layer = getattr(method.layers, kind)(*arguments, **method.quantizers(6, 4)).double()
    single, batch = torch.randn(2, *shape, dtype=torch.float64)[0].clone(), None
    gradients = []
    layer(single.unsqueeze(0))  # an LSQ step takes its start from the first input
    for x in (single, single.unsqueeze(0)):
        layer.zero_grad()
        batch = x.clone().requires_grad_()
        layer(batch).square().sum().backward()
        gradients.append([batch.grad.reshape(shape), *(p.grad.clone() for p in layer.parameters())])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["reactnet", "ie-net", "lsq-w2a2", "lsq-w8a8"])
def test_what_quantizers_learn_has_the_layers_dtype(name):
    method = bnnlib.methods[name]
    layer = method.layers.linear(6, 4, dtype=torch.float64, **method.quantizers(6, 4))
    assert {p.dtype for p in layer.parameters()} == {torch.float64}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["ie-net", "xnor-operator", "bwn-operator", "xnor-port"])
def test_real_and_sampled_weights_work_in_every_family_and_mode(name, training):
    method = bnnlib.methods[name]
    layer = method.layers.linear(6, 4, bias=False, **method.quantizers(6, 4)).train(training)
    x = torch.randn(3, 6)
    with weights_as(layer, "real"):
        real = layer(x)
        signs = layer.input_quantizer(x)
    factor = 1 + layer.mix.sum(0) if name == "ie-net" else 1.0
    torch.testing.assert_close(real, signs @ layer.weight.T * factor)
    with weights_as(layer, "sampled"):
        sampled = layer(x)
    torch.testing.assert_close(sampled, signs @ layer.weight_quantizer.eval().value(layer.weight).T * factor)
