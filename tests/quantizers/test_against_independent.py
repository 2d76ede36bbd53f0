"""Every method of the catalogue against the plain-NumPy implementation in tests/independent.py, in float64."""

import independent as ind
import numpy as np
import pytest
import torch

import bnnlib
from bnnlib.layers import RPReLU
from bnnlib.losses import distributional, squared_hinge
from bnnlib.quantizers import (
    LSQ,
    DoReFaActivation,
    DoReFaWeight,
    IEEActivation,
    RSign,
    SwishSign,
    Ternary,
    XnorProcedure,
    XnorSign,
)

PROGRESS = 0.3
SHAPES = [(5, 7), (4, 6, 3), (3, 4, 3, 3)]
TOLERANCE = {"rtol": 1e-11, "atol": 1e-13}


def of_sign(function, **options):
    def oracle(w, g):
        value, derivative = function(w, **options)
        return value, derivative * g

    return oracle


def of_weight(value, gradient, **options):
    return lambda w, g: (value(w, **options), gradient(w, g, **options))


def of_procedure(gradient, zero=1.0):
    def oracle(w, g):
        hat = ind.centred_clamped(w)
        return ind.xnor_weight(hat, zero=zero), gradient(hat, g, zero=zero)

    return oracle


def of_lua(flavour):
    return lambda hat, g, zero: ind.lua_gradient(hat, g, flavour, zero=zero)


def of_imagenet(hat, g, zero):
    return ind.port_gradient(hat, g, imagenet=True, zero=zero)


def of_lsq(bits):
    def oracle(w, g):
        low, high = 2 ** (bits - 1), 2 ** (bits - 1) - 1
        step = ind.lsq_initial_step(w, high)
        return ind.lsq(w, step, low, high), ind.lsq_gradients(w, step, low, high, g, 1.0)[0]

    return oracle


def of_libra(zero=1.0):
    def oracle(w, g):
        t, k = ind.ede_schedule(PROGRESS)
        return ind.libra(w, zero=zero), ind.libra_gradient(w, g, t, k)

    return oracle


def of_ie(zero=1.0):
    def oracle(w, g):
        t, k = ind.iee_schedule(PROGRESS)
        alpha = ind.alpha(w)
        return ind.ie_weight(w, alpha, zero=zero), ind.ie_weight_gradients(w, alpha, g, t, k, zero=zero)[0]

    return oracle


STE = of_sign(ind.ste_sign)
PRINTED = of_weight(ind.xnor_weight, ind.xnor_weight_gradient_printed)
EXACT = of_weight(ind.xnor_weight, ind.xnor_weight_gradient_exact)


def of_dorefa(bits):
    return lambda w, g: (ind.dorefa_weight(w, bits), ind.dorefa_weight_gradient(w, bits, g, detach_max=False))


WEIGHTS = {
    "float": lambda w, g: (w, g),
    "binaryconnect-deterministic": of_sign(ind.identity_ste),
    "binaryconnect-stochastic": of_sign(ind.identity_ste),
    "bnn": STE,
    "larq-ste-sign": STE,
    "larq-approx-sign": STE,
    "larq-swish-sign": STE,
    "larq-magnitude-aware-sign": of_sign(ind.magnitude_aware),
    "bwn-naive": PRINTED,
    "bwn-naive-exact": EXACT,
    "bwn-allenai": of_procedure(of_lua("sgd")),
    "bwn-port": of_procedure(ind.port_gradient),
    "bwn-operator": of_procedure(ind.operator_gradient),
    "xnor-naive": PRINTED,
    "xnor-naive-exact": EXACT,
    "xnor-allenai": of_procedure(of_lua("sgd")),
    "xnor-allenai-adam": of_procedure(of_lua("adam")),
    "xnor-port": of_procedure(ind.port_gradient),
    "xnor-port-imagenet": of_procedure(of_imagenet),
    "xnor-operator": of_procedure(ind.operator_gradient),
    "dorefa-w1a32": of_dorefa(1),
    "twn": lambda w, g: (ind.ternary(w)[0], g),
    "dorefa-w2a32": of_dorefa(2),
    "lsq-w2a32": of_lsq(2),
    "dorefa-w2a2": of_dorefa(2),
    "lsq-w2a2": of_lsq(2),
    "lsq-w4a4": of_lsq(4),
    "lsq-w8a8": of_lsq(8),
    "bi-real": lambda w, g: ind.bireal_weight(w, g),
    "ir-net": of_libra(),
    "reactnet": lambda w, g: ind.bireal_weight(w, g),
    "ie-net": of_ie(),
    "bwn-allenai-literal": of_procedure(of_lua("sgd"), zero=0.0),
    "bwn-port-literal": of_procedure(ind.port_gradient, zero=0.0),
    "bwn-operator-literal": of_procedure(ind.operator_gradient, zero=0.0),
    "xnor-allenai-adam-literal": of_procedure(of_lua("adam"), zero=0.0),
    "xnor-port-imagenet-literal": of_procedure(of_imagenet, zero=0.0),
    "xnor-allenai-literal": of_procedure(of_lua("sgd"), zero=0.0),
    "xnor-port-literal": of_procedure(ind.port_gradient, zero=0.0),
    "xnor-operator-literal": of_procedure(ind.operator_gradient, zero=0.0),
    "bi-real-literal": lambda w, g: ind.bireal_weight(w, g, zero=0.0),
    "ir-net-literal": of_libra(zero=0.0),
    "reactnet-literal": lambda w, g: ind.bireal_weight(w, g, zero=0.0),
    "ie-net-literal": of_ie(zero=0.0),
}


def of_ede(zero=1.0):
    return lambda x, g: (ind.sign(x, zero), ind.ede_derivative(x, *ind.ede_schedule(PROGRESS)) * g)


def of_ie_activation(zero=1.0):
    def oracle(x, g):
        t, _ = ind.iee_activation_schedule(PROGRESS)
        return ind.sign(x, zero), ind.ie_activation_gradient(x, g, t)

    return oracle


def of_lsq_input(bits):
    def oracle(x, g):
        high = 2**bits - 1
        step = ind.lsq_initial_step(x, high)
        return ind.lsq(x, step, 0, high), ind.lsq_gradients(x, step, 0, high, g, 1.0)[0]

    return oracle


def literal(function):
    def oracle(x, g):
        _, derivative = function(x)
        return np.sign(x), derivative * g

    return oracle


REAL = lambda x, g: (x, g)  # noqa: E731
STRICT, BIREAL = of_sign(ind.strict_sign), of_sign(ind.bireal_sign)
INPUTS = {name: REAL for name, method in bnnlib.methods.items() if method.activation_bits == 32} | {
    "bnn": STE,
    "larq-ste-sign": STE,
    "larq-approx-sign": of_sign(ind.approx_sign),
    "larq-swish-sign": of_sign(ind.swish_sign),
    "larq-magnitude-aware-sign": STE,
    "xnor-naive": STE,
    "xnor-naive-exact": STE,
    "xnor-allenai": STRICT,
    "xnor-allenai-adam": STRICT,
    "xnor-port": STRICT,
    "xnor-port-imagenet": STRICT,
    "xnor-operator": STRICT,
    "dorefa-w2a2": lambda x, g: (ind.dorefa_activation(x, 2), ind.dorefa_activation_gradient(x, 2, g)),
    "lsq-w2a2": of_lsq_input(2),
    "lsq-w4a4": of_lsq_input(4),
    "lsq-w8a8": of_lsq_input(8),
    "bi-real": BIREAL,
    "ir-net": of_ede(),
    "reactnet": BIREAL,  # at shift 0; other shifts below
    "ie-net": of_ie_activation(),
    "xnor-allenai-literal": literal(ind.strict_sign),
    "xnor-allenai-adam-literal": literal(ind.strict_sign),
    "xnor-port-imagenet-literal": literal(ind.strict_sign),
    "xnor-port-literal": literal(ind.strict_sign),
    "xnor-operator-literal": literal(ind.strict_sign),
    "bi-real-literal": literal(ind.bireal_sign),
    "ir-net-literal": of_ede(zero=0.0),
    "reactnet-literal": literal(ind.bireal_sign),
    "ie-net-literal": of_ie_activation(zero=0.0),
}


def test_every_method_has_its_row():
    assert set(WEIGHTS) == set(bnnlib.methods) == set(INPUTS)


def drawn(shape, seed):
    """Values inside and outside [-1, 1], with exact zeros of both signs and exact ends."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.8, shape)
    values.flat[:5] = [0.0, -0.0, 1.0, -1.0, 1.5]
    return values, rng.normal(size=shape)


def run(quantizer, values, upstream):
    """Value and gradient of a torch quantizer, centred before as the procedure's hook does."""
    x = torch.tensor(values, requires_grad=True)
    if isinstance(quantizer, XnorProcedure):
        quantizer.train().centre_(x)
    y = quantizer(x)
    y.backward(torch.tensor(upstream))
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights(name, shape):
    values, upstream = drawn(shape, seed=len(shape))
    quantizer = bnnlib.methods[name].weight_quantizer(shape[0]).double()
    if "stochastic" in name:
        quantizer.eval()
    quantizer.at_progress(PROGRESS)
    quantizer.fit_to_(torch.tensor(values))
    value, gradient = run(quantizer, values, upstream)
    expected_value, expected_gradient = WEIGHTS[name](values, upstream)
    np.testing.assert_allclose(value, expected_value, **TOLERANCE)
    np.testing.assert_allclose(gradient, expected_gradient, **TOLERANCE)


@pytest.mark.parametrize("shape", [(6, 5), (4, 3, 8), (2, 3, 4, 5)])
@pytest.mark.parametrize("name", INPUTS)
def test_inputs(name, shape):
    values, upstream = drawn(shape, seed=len(shape))
    quantizer = bnnlib.methods[name].input_quantizer(shape[1]).double()
    quantizer.at_progress(PROGRESS)
    value, gradient = run(quantizer, values, upstream)
    expected_value, expected_gradient = INPUTS[name](values, upstream)
    np.testing.assert_allclose(value, expected_value, **TOLERANCE)
    np.testing.assert_allclose(gradient, expected_gradient, **TOLERANCE)


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_lsq_step_gradient_and_its_scale(bits, unsigned):
    values, upstream = drawn((4, 3, 5), seed=bits)
    low, high = (0, 2**bits - 1) if unsigned else (2 ** (bits - 1), 2 ** (bits - 1) - 1)
    for count, choice in (((3 * 5) if unsigned else 60, "paper"), (60, "repository")):
        quantizer = LSQ(bits, unsigned=unsigned, gradient_scale=choice).double()
        run(quantizer, values, upstream)
        step = ind.lsq_initial_step(values, high)
        expected = ind.lsq_gradients(values, step, low, high, upstream, 1 / np.sqrt(count * high))[1]
        np.testing.assert_allclose(quantizer.step.item(), step, **TOLERANCE)
        np.testing.assert_allclose(quantizer.step.grad.item(), expected, **TOLERANCE)


def test_lsq_edges_by_hand():
    # v / s is exactly -2, 1, -3 and 0.25 (signed 2 bits: range -2 .. 1), s = 0.5
    v = torch.tensor([-1.0, 0.5, -1.5, 0.125], dtype=torch.float64)
    for edges, dv, ds in (("paper", [0, 0, 0, 1], -2 + 1 - 2 - 0.25), ("repository", [1, 1, 0, 1], -2 - 0.25)):
        quantizer = LSQ(2, edges=edges, gradient_scale="none").double()
        quantizer.step.data.fill_(0.5)
        quantizer.initialised.fill_(True)
        x = v.clone().requires_grad_()
        quantizer(x).sum().backward()
        assert x.grad.tolist() == dv
        assert quantizer.step.grad.item() == ds


def test_two_bit_dorefa_codes_by_hand():
    # tanh(w) / (2 max) + 1/2 = 0, 1/2 - 1/8, 1 at three levels: codes -3, -1 (1.125 rounds to 1), 3
    w = torch.atanh(torch.tensor([-0.8, -0.2, 0.8], dtype=torch.float64))
    codes, scale = DoReFaWeight(2).codes(w)
    assert codes.tolist() == [-3, -1, 3]
    assert scale.item() == pytest.approx(1 / 3)


def test_signed_dorefa_activations_by_hand():
    quantizer = DoReFaActivation(3, signed=True)  # three levels on either side of zero
    x = torch.tensor([-2.0, -1.0, -0.4, -0.1, 0.0, 0.2, 0.7, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    codes, scale = quantizer.codes(x)
    assert codes.tolist() == [-3, -3, -1, 0, 0, 1, 2, 3, 3]
    assert scale.item() == pytest.approx(1 / 3)
    assert torch.equal(quantizer(x), codes * scale)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 0]
    with pytest.raises(ValueError, match="from 2 to 16 for signed codes, received 1"):
        DoReFaActivation(1, signed=True)


def test_ternary_by_hand():
    # |w|: mean 1.25, threshold 0.875: the first and the last are kept, alpha is their mean
    codes, scale = Ternary().codes(torch.tensor([[2.0, 0.5, -0.5, -2.0]]))
    assert codes.tolist() == [[1, 0, 0, -1]]
    assert scale.item() == 2


def test_a_layers_ternary_threshold_is_one_for_all_filters():
    values, _ = drawn((4, 9), seed=0)
    _, codes, scale = ind.ternary(values, per_filter=False)
    ours, factor = Ternary("layer").codes(torch.tensor(values))
    np.testing.assert_array_equal(ours.numpy(), codes)
    np.testing.assert_allclose(factor.item(), scale, **TOLERANCE)


@pytest.mark.parametrize("beta", [0.5, 5.0, 40.0])
def test_swish_sign_at_other_slopes_and_far_out(beta):
    x = np.concatenate([np.linspace(-3, 3, 41), [-1e4, 1e4]])
    _, derivative = ind.swish_sign(x, beta)
    np.testing.assert_allclose(SwishSign(beta).derivative(torch.tensor(x)).numpy(), derivative, rtol=1e-10, atol=1e-20)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 8), (2, 3, 4, 5)])
def test_rsign_with_shifts(shape):
    values, upstream = drawn(shape, seed=3)
    shift = np.array([0.3, -0.2, 0.0])
    quantizer = RSign(3).double()
    quantizer.shift.data = torch.tensor(shift)
    value, gradient = run(quantizer, values, upstream)
    dx, db = ind.rsign_gradients(values, shift, upstream)
    np.testing.assert_array_equal(value, ind.rsign(values, shift))
    np.testing.assert_allclose(gradient, dx, **TOLERANCE)
    np.testing.assert_allclose(quantizer.shift.grad.numpy(), db, **TOLERANCE)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 8), (2, 3, 4, 5)])
def test_rprelu(shape):
    values, upstream = drawn(shape, seed=4)
    slope, before, after = np.array([[0.25, 0.1, -0.3], [0.2, -0.1, 0.0], [1.0, 2.0, -1.0]])
    act = RPReLU(3).double()
    act.slope.data, act.before.data, act.after.data = (torch.tensor(v) for v in (slope, before, after))
    x = torch.tensor(values, requires_grad=True)
    y = act(x)
    y.backward(torch.tensor(upstream))
    np.testing.assert_allclose(y.detach().numpy(), ind.rprelu(values, slope, before, after), **TOLERANCE)
    for ours, theirs in zip(
        (x.grad, act.slope.grad, act.before.grad, act.after.grad),
        ind.rprelu_gradients(values, slope, before, after, upstream),
        strict=True,
    ):
        np.testing.assert_allclose(ours.numpy(), theirs, **TOLERANCE)


def test_ie_net_alpha_learns_by_the_chain_rule():
    values, upstream = drawn((3, 4, 3, 3), seed=5)
    quantizer = bnnlib.methods["ie-net"].weight_quantizer(3).double()
    quantizer.at_progress(PROGRESS)
    quantizer.alpha.data = torch.tensor([0.5, -0.2, 1.0], dtype=torch.float64)
    alpha = quantizer.alpha.detach().numpy().copy()
    value, gradient = run(quantizer, values, upstream)
    dw, dalpha = ind.ie_weight_gradients(values, alpha, upstream, *ind.iee_schedule(PROGRESS))
    np.testing.assert_allclose(value, ind.ie_weight(values, alpha), **TOLERANCE)
    np.testing.assert_allclose(gradient, dw, **TOLERANCE)
    np.testing.assert_allclose(quantizer.alpha.grad.numpy(), dalpha, **TOLERANCE)


def test_the_estimators_curve_has_the_slope_that_stands_in():
    from bnnlib.quantizers.ie_net import iee_derivative, iee_value

    x = torch.linspace(-2.3, 2.3, 47, dtype=torch.float64)
    for t, k in ((0.5, 2.0), (1.0, 1.0), (3.0, 1.0)):
        numeric = (iee_value(x + 1e-6, t, k) - iee_value(x - 1e-6, t, k)) / 2e-6
        torch.testing.assert_close(iee_derivative(x, t, k), numeric, rtol=1e-5, atol=1e-5)


def test_xnors_exact_rule_is_the_jacobian_of_alpha_and_the_printed_one_its_diagonal():
    # with sign held constant and |w| < 1: d(alpha sign(w)) / dw by finite differences, plus the straight-through term
    w = torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64)
    g = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    s, alpha = torch.sign(w), w.abs().mean()
    jacobian = torch.autograd.functional.jacobian(lambda v: v.abs().mean() * s, w).reshape(3, 3)
    for rule, term in (("exact", g.flatten() @ jacobian), ("printed", g.flatten() / 3)):
        x = w.clone().requires_grad_()
        XnorSign(rule)(x).backward(g)
        torch.testing.assert_close(x.grad.flatten(), term + alpha * g.flatten())


def test_ie_activations_start_at_the_identity_like_slope():
    q = IEEActivation()
    assert q.derivative(torch.tensor([0.0])).item() == pytest.approx(3**0.5)  # t is at least 1


def test_the_losses():
    rng = np.random.default_rng(0)
    scores, teacher, labels = rng.normal(size=(5, 4)), rng.normal(size=(5, 4)), np.array([0, 1, 2, 3, 1])
    s = torch.tensor(scores, requires_grad=True)
    loss = distributional(s, torch.tensor(teacher, requires_grad=True))
    loss.backward()
    assert loss.item() == pytest.approx(ind.distributional(scores, teacher))
    np.testing.assert_allclose(s.grad.numpy(), ind.distributional_gradient(scores, teacher), **TOLERANCE)
    assert squared_hinge(s, torch.tensor(labels)).item() == pytest.approx(ind.squared_hinge(scores, labels))
