"""XNOR-Net's layers: the map K, and the operator against the procedure and against plain NumPy."""

import copy
from functools import partial

import independent as ind
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import bnnlib
from bnnlib.catalogue.hooks import centre_weights
from bnnlib.layers import (
    BinConv1d,
    BinConv2d,
    BinLinear,
    OperatorConv1d,
    OperatorConv2d,
    OperatorLinear,
    ScaledConv1d,
    ScaledConv2d,
    ScaledLinear,
)
from bnnlib.quantizers import CentredSign, DeterministicBinaryConnect, SteSign, StrictSign, XnorProcedure, XnorSign

OPTIONS = [{}, {"stride": 2}, {"padding": 1}, {"dilation": 2, "padding": 2}, {"stride": (2, 1), "padding": (1, 0)}]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_scaled_convolution_is_the_papers_formula(options):
    layer = ScaledConv2d(3, 4, 3, weight_quantizer=XnorSign(), input_quantizer=SteSign(), **options).double()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    w, full = layer.weight.detach().numpy(), {"stride": 1, "padding": 0, "dilation": 1, **options}
    k = ind.input_scale(x.numpy(), (3, 3), full["stride"], full["padding"], full["dilation"])
    product = ind.conv2d(ind.sign(x.numpy()), ind.sign(w), full["stride"], full["padding"], full["dilation"])
    expected = product * k * ind.alpha(w)[None, :, None, None] + layer.bias.detach().numpy()[None, :, None, None]
    for mode in (True, False):
        np.testing.assert_allclose(layer.train(mode)(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_a_scaled_linear_layer_is_the_papers_formula():
    layer = ScaledLinear(6, 3, weight_quantizer=XnorSign(), input_quantizer=SteSign()).double()
    x, w = torch.randn(4, 6, dtype=torch.float64), layer.weight.detach().numpy()
    expected = ind.sign(x.numpy()) @ ind.sign(w).T * ind.beta(x.numpy()) * ind.alpha(w) + layer.bias.detach().numpy()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-12)


def test_the_scale_of_a_grouped_convolution_is_that_of_each_group():
    grouped = ScaledConv2d(4, 6, 3, groups=2, bias=False, weight_quantizer=XnorSign(), input_quantizer=SteSign())
    x, parts = torch.randn(2, 4, 5, 5), []
    for g in range(2):
        part = ScaledConv2d(2, 3, 3, bias=False, weight_quantizer=XnorSign(), input_quantizer=SteSign())
        part.weight.data = grouped.weight.data[3 * g : 3 * g + 3]
        parts.append(part(x[:, 2 * g : 2 * g + 2]))
    torch.testing.assert_close(grouped(x), torch.cat(parts, 1))


def test_scaled_convolutions_in_one_dimension_and_without_a_batch_axis():
    flat = ScaledConv1d(3, 4, 3, padding=1, weight_quantizer=XnorSign(), input_quantizer=SteSign())
    image = ScaledConv2d(3, 4, (1, 3), padding=(0, 1), weight_quantizer=XnorSign(), input_quantizer=SteSign())
    image.take_weights_(flat.weight.detach().unsqueeze(2), flat.bias.detach())
    x = torch.randn(2, 3, 8)
    torch.testing.assert_close(flat(x), image(x.unsqueeze(2)).squeeze(2))
    torch.testing.assert_close(flat(x[0]), flat(x)[0])


def test_the_scale_is_a_constant_for_the_gradient():
    # 1[|x| <= 1] times the transposed convolution of upstream times K (methods of the paper, sec. 3.2)
    layer = ScaledConv2d(2, 3, 3, bias=False, weight_quantizer=XnorSign(), input_quantizer=SteSign()).double()
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    layer(x).backward(upstream)
    k = torch.tensor(ind.input_scale(x.detach().numpy(), (3, 3), 1, 0))
    binary = torch.tensor(ind.xnor_weight(layer.weight.detach().numpy()))
    expected = F.conv_transpose2d(upstream * k, binary) * (x.detach().abs() <= 1)
    torch.testing.assert_close(x.grad, expected)


LAYERS = [
    (BinLinear, OperatorLinear, (6, 4), {}, (5, 6)),
    (BinLinear, OperatorLinear, (6, 4), {"bias": False}, (2, 5, 6)),
    (BinConv1d, OperatorConv1d, (4, 6, 3), {"padding": 1}, (3, 4, 9)),
    (BinConv1d, OperatorConv1d, (4, 6, 3), {"padding": "same", "pad_value": -1.0}, (3, 4, 9)),
    (BinConv2d, OperatorConv2d, (4, 6, 3), {}, (3, 4, 7, 7)),
    (BinConv2d, OperatorConv2d, (4, 6, 3), {"padding": 1, "stride": 2, "groups": 2}, (3, 4, 7, 7)),
    (BinConv2d, OperatorConv2d, (4, 6, 3), {"padding": 1, "pad_value": 1.0, "dilation": 2}, (3, 4, 8, 8)),
    (BinConv2d, OperatorConv2d, (4, 6, 2), {"padding": "same"}, (3, 4, 7, 7)),
]


@pytest.mark.parametrize("binary_input", [False, True])
@pytest.mark.parametrize(("plain", "operator", "arguments", "options", "shape"), LAYERS)
@pytest.mark.parametrize("optimiser", [torch.optim.Adam, partial(torch.optim.SGD, momentum=0.9)])
def test_the_operator_takes_the_procedures_path(plain, operator, arguments, options, shape, optimiser, binary_input):
    torch.manual_seed(0)
    quantizer = {"input_quantizer": StrictSign() if binary_input else None}
    procedure = plain(*arguments, weight_quantizer=XnorProcedure(), **quantizer, **options).double()
    fused = operator(*arguments, **quantizer, **options).double()
    fused.load_state_dict(procedure.state_dict())
    fused.train(), procedure.train()
    one, two = (optimiser(layer.parameters(), lr=0.01) for layer in (procedure, fused))
    for _ in range(10):
        x = torch.randn(shape, dtype=torch.float64)
        left, right = x.clone().requires_grad_(), x.clone().requires_grad_()
        one.zero_grad(), two.zero_grad()
        centre_weights(procedure)
        procedure(left).square().mean().backward()
        fused(right).square().mean().backward()
        torch.testing.assert_close(right.grad, left.grad, rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(fused.weight.grad, procedure.weight.grad, rtol=1e-12, atol=1e-15)
        one.step(), two.step()
    torch.testing.assert_close(fused.weight, procedure.weight, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(fused.eval()(x), procedure.eval()(x), rtol=1e-12, atol=1e-14)


def test_both_take_the_path_of_plain_numpy():
    torch.manual_seed(1)
    x, target = torch.randn(20, 6, dtype=torch.float64), torch.randn(20, 4, dtype=torch.float64)
    start = torch.randn(4, 6, dtype=torch.float64)

    def slope(binary):  # d/dW of mean((x W^T - target)^2)
        return 2 * (x.numpy() @ binary.T - target.numpy()).T @ x.numpy() / target.numel()

    expected = ind.port_trajectory(start.numpy(), slope, 10, 0.05)
    layers = [
        BinLinear(6, 4, bias=False, weight_quantizer=XnorProcedure()).double(),
        OperatorLinear(6, 4, bias=False).double(),
    ]
    for layer in layers:
        layer.take_weights_(start, None)
        optimiser = torch.optim.SGD(layer.parameters(), lr=0.05)
        for _ in range(10):
            optimiser.zero_grad()
            centre_weights(layer)
            (layer(x) - target).square().mean().backward()
            optimiser.step()
        np.testing.assert_allclose(layer.weight.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_whole_networks_take_the_same_path():
    torch.manual_seed(2)
    procedure = bnnlib.models.CompactCNN("xnor-port").double()
    fused = bnnlib.models.CompactCNN("xnor-operator").double()
    fused.load_state_dict(procedure.state_dict())
    pairs = []
    for net, name in ((procedure, "xnor-port"), (fused, "xnor-operator")):
        pairs.append((net, bnnlib.methods[name], torch.optim.Adam(net.parameters(), lr=1e-3)))
    for step in range(10):
        torch.manual_seed(step)
        images, labels = torch.randn(8, 1, 28, 28, dtype=torch.float64), torch.randint(0, 10, (8,))
        for net, method, optimiser in pairs:
            optimiser.zero_grad()
            method.before_forward(net)
            F.cross_entropy(net(images), labels).backward()
            method.after_backward(net)
            optimiser.step()
            method.after_step(net)
    for name, value in procedure.state_dict().items():
        torch.testing.assert_close(fused.state_dict()[name], value, rtol=1e-12, atol=1e-14, msg=name)


def test_two_forward_passes_before_one_backward_pass_are_the_procedures_accumulated_step():
    torch.manual_seed(3)
    procedure = BinLinear(6, 4, weight_quantizer=XnorProcedure()).double()
    fused = OperatorLinear(6, 4).double()
    fused.load_state_dict(procedure.state_dict())
    a, b = torch.randn(2, 5, 6, dtype=torch.float64)
    centre_weights(procedure)
    (procedure(a).square().mean() + procedure(b).square().mean()).backward()
    (fused(a).square().mean() + fused(b).square().mean()).backward()
    torch.testing.assert_close(fused.weight.grad, procedure.weight.grad, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(fused.weight, procedure.weight, rtol=0, atol=0)


@pytest.mark.parametrize("fused", [False, True])
def test_the_operator_centres_after_any_kind_of_update(fused):
    torch.manual_seed(4)
    layer = OperatorLinear(6, 4)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1, fused=fused)
    for _ in range(3):
        optimiser.zero_grad()
        layer(torch.randn(5, 6)).square().sum().backward()
        torch.testing.assert_close(layer.weight.detach().mean(1), torch.zeros(4), atol=1e-6, rtol=0)
        optimiser.step()
    layer.weight.data.add_(1)
    layer(torch.randn(5, 6))
    torch.testing.assert_close(layer.weight.detach().mean(1), torch.zeros(4), atol=1e-6, rtol=0)


def test_the_procedures_hooks_around_each_of_two_passes_accumulate():
    torch.manual_seed(5)
    procedure, fused = BinLinear(6, 4, weight_quantizer=XnorProcedure()).double(), OperatorLinear(6, 4).double()
    fused.load_state_dict(procedure.state_dict())
    latent = torch.tensor(ind.centred_clamped(procedure.weight.detach().numpy()))
    for layer in (procedure, fused):
        layer.take_weights_(latent, layer.bias)
    for x in torch.randn(2, 5, 6, dtype=torch.float64):
        for layer in (procedure, fused):
            centre_weights(layer)
            layer(x).square().mean().backward()
    torch.testing.assert_close(procedure.weight.grad, fused.weight.grad, rtol=1e-9, atol=1e-12)


def test_evaluation_leaves_the_latent_weight_alone():
    for layer in (OperatorLinear(6, 4), BinLinear(6, 4, weight_quantizer=XnorProcedure())):
        before = layer.weight.detach().clone()
        layer.eval()(torch.randn(2, 6))
        assert torch.equal(layer.weight, before)


def test_centring_persists_in_the_latent_weight():
    layer = OperatorConv2d(4, 2, 3).train()
    layer(torch.randn(1, 4, 5, 5))
    torch.testing.assert_close(layer.weight.detach().mean(1), torch.zeros(2, 3, 3), rtol=0, atol=1e-7)


def test_the_procedure_without_its_hook_is_an_error_not_another_method():
    layer = BinLinear(6, 4, weight_quantizer=XnorProcedure()).train()
    with pytest.raises(RuntimeError, match=r"call method\.before_forward\(model\) before the forward pass"):
        layer(torch.randn(2, 6))
    centre_weights(layer)
    layer(torch.randn(2, 6)).sum().backward()
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    with pytest.raises(RuntimeError, match="and again after each change of the weights"):
        layer(torch.randn(2, 6))


def test_the_sources_eight_steps_by_hand_give_the_procedures_gradient():
    # centre, clamp, save; put the binary weight in place; forward, backward; restore; rewrite the gradient
    torch.manual_seed(6)
    layer = BinLinear(6, 4, bias=False, weight_quantizer=XnorProcedure()).double()
    x, latent = torch.randn(5, 6, dtype=torch.float64), ind.centred_clamped(layer.weight.detach().numpy())
    binary = torch.tensor(ind.xnor_weight(latent), requires_grad=True)
    (x @ binary.T).square().mean().backward()
    centre_weights(layer)
    layer(x).square().mean().backward()
    expected = ind.port_gradient(latent, binary.grad.numpy())
    np.testing.assert_allclose(layer.weight.grad.numpy(), expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(layer.weight.detach().numpy(), latent, rtol=1e-12)


@pytest.mark.parametrize("moment", ["before the hook", "after the hook", "after the forward pass"])
def test_the_moment_of_zero_grad_does_not_matter(moment):
    torch.manual_seed(7)
    layer = BinLinear(6, 4, weight_quantizer=XnorProcedure()).double()
    first = []
    for _ in range(3):  # no optimiser step: the gradient of the same batch is the same each time
        for point in ("before the hook", "after the hook", "after the forward pass"):
            if point == moment:
                layer.zero_grad(set_to_none=False)
            if point == "before the hook" and not first:
                centre_weights(layer)
            if point == "after the hook":
                loss = layer(torch.ones(2, 6, dtype=torch.float64)).square().sum()
        loss.backward()
        first.append(layer.weight.grad.clone())
    torch.testing.assert_close(first[2], first[0], rtol=0, atol=0)


def test_what_was_loaded_after_an_interrupted_step_stays():
    layer = BinLinear(6, 4, weight_quantizer=XnorProcedure()).train()
    centre_weights(layer)
    layer(torch.randn(2, 6))  # and no backward pass
    loaded = {name: torch.randn_like(value) for name, value in layer.state_dict().items()}
    layer.load_state_dict(loaded)
    centre_weights(layer)
    np.testing.assert_allclose(layer.weight.detach(), ind.centred_clamped(loaded["weight"].numpy()), atol=1e-6)


def test_allenais_adam_enlarges_every_gradient():
    net = bnnlib.models.MLP("xnor-allenai-adam", width=8)
    twin = copy.deepcopy(net)
    method, x = bnnlib.methods["xnor-allenai-adam"], torch.randn(4, 784)
    for model in (net, twin):
        method.before_forward(model)
        model(x).square().sum().backward()
    method.after_backward(net)
    for (name, p), (_, q) in zip(net.named_parameters(), twin.named_parameters(), strict=True):
        inner = name == "layers.2.weight"
        torch.testing.assert_close(p.grad, q.grad * (1 if inner else 1e9), msg=name)


def test_the_ports_norms_keep_a_least_scale():
    net = bnnlib.models.MLP("xnor-port", width=8)
    norm = next(m for m in net.modules() if isinstance(m, nn.BatchNorm1d))
    nn.init.constant_(norm.weight, -3.0)
    bnnlib.methods["xnor-port"].before_forward(net)
    assert norm.weight.tolist() == pytest.approx([0.01] * 8)


def test_an_operator_layer_names_what_it_takes():
    with pytest.raises(TypeError, match="must be CentredSign, received DeterministicBinaryConnect"):
        OperatorLinear(2, 2, weight_quantizer=DeterministicBinaryConnect())
    with pytest.raises(ValueError, match="must be \"zeros\", received 'reflect'"):
        OperatorConv2d(2, 2, 3, padding=1, padding_mode="reflect")
    with pytest.raises(ValueError, match="known: port, port-imagenet"):
        CentredSign("lua")


@pytest.mark.parametrize("mode", ["reflect", "circular", "replicate"])
def test_the_scale_is_padded_as_the_input_is(mode):
    options = {"bias": False, "weight_quantizer": XnorSign(), "input_quantizer": SteSign()}
    layer = ScaledConv2d(2, 3, 3, padding=(1, 2), padding_mode=mode, **options)
    plain = ScaledConv2d(2, 3, 3, **options)
    x = torch.randn(2, 2, 6, 7)
    torch.testing.assert_close(layer.input_scale(x), plain.input_scale(F.pad(x, (2, 2, 1, 1), mode)))
