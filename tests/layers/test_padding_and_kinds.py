"""Padding with -1, 0 and +1, one-dimensional layers, round trips, and narrower arithmetic."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

import bnnlib
from bnnlib import models
from bnnlib.layers import BinConv1d, BinConv2d, HardTanh
from bnnlib.quantizers import LSQ, DoReFaActivation, SteSign

METHODS = list(bnnlib.methods)


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"dilation": 2}, {"groups": 2}])
def test_padding_surrounds_the_quantized_map(value, options):
    layer = BinConv2d(4, 6, 3, padding=2, pad_value=value, weight_quantizer=SteSign(), input_quantizer=SteSign(),
                      bias=False, **options)  # fmt: skip
    x = torch.randn(2, 4, 7, 7)
    around = F.pad(torch.where(x >= 0, 1.0, -1.0), (2, 2, 2, 2), value=value)
    expected = F.conv2d(around, torch.where(layer.weight >= 0, 1.0, -1.0), None, **options)
    for mode in (True, False):
        assert torch.equal(layer.train(mode)(x), expected)


def test_other_padding_values_are_refused():
    with pytest.raises(ValueError, match=r"pad_value must be -1, 0 or 1, received 0\.5"):
        BinConv2d(1, 1, 3, pad_value=0.5)
    with pytest.raises(ValueError, match="exclude each other"):
        BinConv2d(1, 1, 3, padding=1, pad_value=1, padding_mode="reflect")


def test_one_dimensional_convolutions_equal_torch_on_the_signs():
    layer = BinConv1d(4, 6, 3, padding=1, dilation=2, groups=2, weight_quantizer=SteSign())
    x = torch.randint(-5, 6, (2, 4, 11)).float()
    expected = F.conv1d(x, torch.where(layer.weight >= 0, 1.0, -1.0), layer.bias, padding=1, dilation=2, groups=2)
    torch.testing.assert_close(layer(x), expected)


def step(net, method, x):
    method.on_epoch(net, 0.25)
    method.before_forward(net)
    net(x).square().mean().backward()
    method.after_backward(net)
    method.after_step(net)


@pytest.mark.parametrize("name", METHODS)
def test_state_dict_deepcopy_and_pickle_round_trip(name):
    torch.manual_seed(0)
    net, method, x = models.MLP(name, width=16), bnnlib.methods[name], torch.randn(6, 784)
    step(net, method, x)
    expected = net.eval()(x)
    other = models.MLP(name, width=16)
    other.load_state_dict(net.state_dict())
    for copied in (other, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(copied.eval()(x), expected)


@pytest.mark.parametrize("name", METHODS)
def test_float64_and_bfloat16_autocast(name):
    torch.manual_seed(0)
    method, x = bnnlib.methods[name], torch.randn(6, 784)
    double = models.MLP(name, width=16).double()
    step(double, method, x.double())
    assert all(p.grad.dtype == torch.float64 for p in double.parameters())
    net = models.MLP(name, width=16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step(net, method, x)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("name", ["xnor-operator", "lsq-w2a2", "ir-net"])
def test_compiled_networks_agree_with_eager_ones(name):
    # the tracing that torch.compile does; compiling C as well is in tests/deep
    torch.manual_seed(0)
    net, x = models.MLP(name, width=16).train(), torch.randn(6, 784)
    net(x)  # LSQ reads its first step size from data
    compiled = torch.compile(copy.deepcopy(net), backend="aot_eager")
    one, two = net(x), compiled(x)
    torch.testing.assert_close(two, one)
    one.square().sum().backward()
    two.square().sum().backward()
    for p, q in zip(net.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad)


@pytest.mark.parametrize("name", ["bnn", "xnor-operator", "lsq-w2a2", "reactnet", "ie-net"])
def test_gradients_flow_in_eval_mode_too_and_the_value_stays_exact(name):
    torch.manual_seed(0)
    net, method, x = models.MLP(name, width=16), bnnlib.methods[name], torch.randn(6, 784)
    step(net, method, x)
    net.zero_grad()
    net.eval()
    with torch.no_grad():
        exact = net(x)
    out = net(x)
    torch.testing.assert_close(out, exact, rtol=0, atol=0)
    out.square().sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("name", ["reactnet", "ie-net"])
def test_channels_are_the_last_axis_of_a_linear_layer_whatever_stands_before(name):
    method = bnnlib.methods[name]
    layer = method.layers.linear(16, 4, **method.quantizers(16, 4)).eval()
    for parameter in layer.input_quantizer.parameters():
        torch.nn.init.normal_(parameter)
    if hasattr(layer, "shift"):
        torch.nn.init.normal_(layer.shift)
    x = torch.randn(2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[:, 3], layer(x[:, 3]))


@pytest.mark.parametrize("name", METHODS)
def test_a_move_to_the_meta_device_takes_every_parameter_and_buffer_along(name):
    net = models.MLP(name, width=16).to("meta")
    assert all(tensor.is_meta for tensor in [*net.parameters(), *net.buffers()])


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.parametrize("name", METHODS)
def test_a_move_to_an_accelerator_and_back_changes_nothing(name, device):
    if not getattr(torch.backends if device == "mps" else torch, device).is_available():
        pytest.skip(f"no {device} here")
    net = models.MLP(name, width=16).eval()
    x = torch.randn(4, 1, 28, 28)
    before = net(x)
    moved = net.to(device)(x.to(device))
    torch.testing.assert_close(moved.cpu(), before, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(net.cpu()(x), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", METHODS)
def test_an_empty_batch_gives_an_empty_result(name):
    net = models.CompactCNN(name).eval()
    net.train()
    method = bnnlib.methods[name]
    method.before_forward(net)
    if "lsq" not in name:  # whose first batch sets the step
        assert net.features[3](torch.randn(0, 32, 14, 14)).shape[0] == 0
    method.after_backward(net)
    assert net.eval()(torch.randn(0, 1, 28, 28)).shape == (0, 10)


@pytest.mark.parametrize("name", METHODS)
def test_wrong_channel_counts_are_errors(name):
    layer = models.CompactCNN(name).eval().features[3]
    with pytest.raises((RuntimeError, ValueError), match=r"channels|shape|size"):
        models.CompactCNN(name).eval()(torch.randn(2, 3, 28, 28))
    assert layer is not None


def test_the_hard_tanh_is_torchs():
    x = torch.tensor([-2.0, -1.0, -0.3, 0.0, 1.0, 5.0], dtype=torch.float64)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, z = HardTanh()(ours), F.hardtanh(theirs)
    y.square().sum().backward()
    z.square().sum().backward()
    assert torch.equal(y, z)
    assert torch.equal(ours.grad, theirs.grad)


def test_gradients_are_those_of_the_signs_though_these_are_kept_in_one_byte():
    layer = BinConv2d(8, 8, 3, weight_quantizer=SteSign(), input_quantizer=SteSign(), bias=False).double()
    x = torch.randn(4, 8, 9, 9, dtype=torch.float64, requires_grad=True)
    layer(x).square().sum().backward()
    signs = torch.where(x >= 0, 1.0, -1.0).double().detach().requires_grad_()
    weight = torch.where(layer.weight >= 0, 1.0, -1.0).double().detach().requires_grad_()
    F.conv2d(signs, weight).square().sum().backward()
    torch.testing.assert_close(x.grad, signs.grad * (x.detach().abs() <= 1))
    torch.testing.assert_close(layer.weight.grad, weight.grad * (layer.weight.detach().abs() <= 1))


@pytest.mark.parametrize("quantizer", [LSQ(2, unsigned=True), LSQ(4), DoReFaActivation(1), DoReFaActivation(2)])
def test_a_border_of_ones_is_refused_where_the_inputs_codes_are_not_signs(quantizer):
    # in training it was the value 1, in eval the code 1 times the step size
    with pytest.raises(ValueError, match=r"pad_value 1 keeps a map of signs binary; the input quantizer .*: leave"):
        BinConv2d(2, 3, 3, padding=1, pad_value=1, weight_quantizer=SteSign(), input_quantizer=quantizer)
