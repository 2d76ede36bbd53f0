"""IE-Net's branches against their formula in plain NumPy."""

import independent as ind
import numpy as np
import pytest
import torch

import bnnlib
from bnnlib import kernels, models
from bnnlib.layers import BranchedConv1d, BranchedConv2d, BranchedLinear
from bnnlib.quantizers import IEEActivation, IEEWeight


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_branches_by_formula(branches):
    torch.manual_seed(0)
    quantizers = {"weight_quantizer": IEEWeight(4), "input_quantizer": IEEActivation()}
    layer = BranchedConv2d(3, 4, 3, padding=1, branches=branches, **quantizers).double()
    layer.shift.data.normal_(0, 0.3)
    layer.mix.data.normal_(0, 0.5)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    w, alpha = layer.weight.detach().numpy(), layer.weight_quantizer.alpha.detach().numpy()
    shifts, bias = layer.shift.detach().numpy(), layer.bias.detach().numpy()
    factors = [np.ones(4), *layer.mix.detach().numpy()]
    # each branch: (conv(sign a0, sign w1) + bias) * alpha
    expected = sum(
        factor[None, :, None, None]
        * (
            ind.conv2d(ind.sign(x.numpy() + shift[None, :, None, None]), ind.ie_weight(w, np.ones(4)), 1, 1)
            + bias[None, :, None, None]
        )
        * alpha[None, :, None, None]
        for shift, factor in zip(shifts, factors, strict=True)
    )
    for mode in (True, False):
        np.testing.assert_allclose(layer.train(mode)(x).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_one_factor_for_the_layer_is_one_product_of_the_summed_signs():
    torch.manual_seed(0)
    made = [
        BranchedConv2d(3, 4, 3, branches=3, mixing=mixing, bias=False, weight_quantizer=IEEWeight(4),
                       input_quantizer=IEEActivation()).double()
        for mixing in ("channel", "scalar")
    ]  # fmt: skip
    channel, scalar = made
    assert scalar.mix.shape == (2, 1)
    scalar.shift.data.normal_(0, 0.3)
    scalar.mix.data.copy_(torch.tensor([[0.5], [-0.25]]))
    channel.load_state_dict(scalar.state_dict() | {"mix": scalar.mix.data.expand(2, 4).clone()})
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    upstream = torch.randn(2, 4, 4, 4, dtype=torch.float64)
    gradients = []
    for layer in made:
        inputs = x.clone().requires_grad_()
        layer.train()(inputs).backward(upstream)
        gradients.append((inputs.grad, layer.shift.grad, layer.weight.grad, layer.mix.grad.sum(1)))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    calls = []
    scalar._op = lambda *arguments, op=scalar._op: calls.append(1) or op(*arguments)
    for train in (True, False):
        torch.testing.assert_close(scalar.train(train)(x), channel.train(train)(x))
        if train:
            assert len(calls) == 1
    with pytest.raises(ValueError, match="mixing must be"):
        BranchedLinear(6, 4, mixing="matrix")


@pytest.mark.parametrize("branches", [1, 2, 3])
def test_one_convolution_of_the_packed_branches_gives_the_sums_of_all(branches):
    torch.manual_seed(1)
    layer = BranchedConv2d(70, 6, 3, padding=1, bias=False, branches=branches, weight_quantizer=IEEWeight(6),
                           input_quantizer=IEEActivation()).eval()  # fmt: skip
    layer.shift.data.normal_(0, 0.3)
    layer.mix.data.normal_(0, 0.5)
    x = torch.randn(2, 70, 5, 5)
    codes, scale = layer.weight_quantizer.codes(layer.weight.detach())
    bits = kernels.pack_branches(x.numpy(), layer.shift.detach().numpy())
    sums = kernels.conv2d(bits, kernels.prepack_filters(codes.numpy()), padding=1).reshape(branches, 2, 5, 5, 6)
    factors = torch.cat([torch.ones(1, 6), layer.mix.detach()])
    mixed = torch.zeros(2, 6, 5, 5)
    for factor, of_branch in zip(factors, torch.from_numpy(sums).float(), strict=True):
        mixed = mixed + factor.reshape(-1, 1, 1) * of_branch.permute(0, 3, 1, 2)
    with torch.no_grad():
        assert torch.equal(layer(x), mixed * (scale.reshape(-1, 1, 1) if scale.dim() else scale))


def test_a_method_is_varied_in_its_branches():
    three = bnnlib.methods["ie-net"].varied(branches=3, mixing="scalar")
    layers = [m for m in models.build("compact-cnn", three).modules() if isinstance(m, BranchedConv2d)]
    assert {(layer.branches, layer.mixing) for layer in layers} == {(3, "scalar")}
    assert three.describe()["layer_options"] == [["branches", 3], ["mixing", "scalar"]]
    assert "layer_options" not in bnnlib.methods["ie-net"].describe()
    converted = bnnlib.binarize(torch.nn.Sequential(*(torch.nn.Linear(8, 8) for _ in range(3))), three)
    assert converted[1].branches == 3
    with pytest.raises(ValueError, match="method bnn has no branches to vary"):
        bnnlib.methods["bnn"].varied(branches=2)


def test_shapes_in_one_dimension_and_for_linear_layers():
    flat = BranchedConv1d(3, 4, 3, weight_quantizer=IEEWeight(4), input_quantizer=IEEActivation())
    line = BranchedLinear(6, 4, weight_quantizer=IEEWeight(4), input_quantizer=IEEActivation())
    assert flat(torch.randn(2, 3, 9)).shape == (2, 4, 7)
    assert line(torch.randn(2, 6)).shape == (2, 4)
    assert flat.shift.shape == (2, 3)
    assert line.mix.shape == (1, 4)


def test_further_branches_begin_small_and_all_learn():
    layer = BranchedLinear(6, 4, weight_quantizer=IEEWeight(4), input_quantizer=IEEActivation())
    assert 0 <= layer.mix.min() <= layer.mix.max() < 0.001
    layer(torch.randn(5, 6)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_without_an_input_quantizer_there_is_one_branch():
    layer = BranchedLinear(6, 4, weight_quantizer=IEEWeight(4))
    assert not hasattr(layer, "shift")
    assert layer(torch.randn(2, 6)).shape == (2, 4)


def test_the_number_of_branches_is_checked():
    with pytest.raises(ValueError, match="branches must be a whole number of at least 1, received 0"):
        BranchedLinear(6, 4, branches=0)


def test_in_eval_activations_are_not_standardised_for_the_gradient():
    # the authors' code standardises in training only; methods of IE-Net, h: eval a0 = a
    torch.manual_seed(0)
    layer = BranchedLinear(6, 4, branches=1, bias=False, weight_quantizer=IEEWeight(4), input_quantizer=IEEActivation())
    layer.double().eval()
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(3, 4, dtype=torch.float64)
    layer(x).backward(upstream)
    weight, alpha = layer.weight.detach().numpy(), layer.weight_quantizer.alpha.detach().numpy()
    t = 1.0  # at the start of training, where t = 0.01 is raised to 1 for activations
    slope = np.maximum(np.sqrt(3) * t - 1.5 * t**2 * np.abs(x.detach().numpy()), 0)
    expected = upstream.numpy() @ ind.ie_weight(weight, alpha) * slope
    np.testing.assert_allclose(x.grad.numpy(), expected, rtol=1e-12, atol=1e-14)
