"""Signs of shifted maps in compiled loops, beside their formulas: torch's in float64, and the independent one."""

import numpy as np
import pytest
import torch

import bnnlib
from bnnlib import kernels, models
from bnnlib.quantizers import in_one_pass
from bnnlib.quantizers.channels import ShiftedSign
from bnnlib.quantizers.ie_net import EPS, IEEActivation
from bnnlib.training import seeded
from tests import independent

SHAPES = [(5, 16, 9, 11), (3, 7, 5, 3), (2, 300, 2, 2), (9, 12), (2, 1, 64), (3, 70, 1), (1, 5, 40, 31)]
ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2.0**-8}  # of the largest gradient


def channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def drawn(shape, dtype):
    seeded(sum(shape))
    x = channels_last((torch.randn(shape) * 2 + 0.4).to(dtype))
    shift = torch.nn.Parameter(torch.randn(shape[1]) * 0.3)
    quantizer = IEEActivation()
    quantizer.channel_axis = 1 - len(shape)
    quantizer.at_progress(0.7)
    return x, shift, torch.randn(shape).to(dtype), quantizer


def backward(x, shift, upstream, quantizer):
    x, shift = x.detach().clone().requires_grad_(), shift.detach().clone().requires_grad_()
    signs = ShiftedSign.apply(x, shift, quantizer)
    (signs * upstream).sum().backward()
    return signs.detach(), x.grad, shift.grad


@pytest.mark.parametrize("isa", kernels.info()["available"])
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loops_give_what_the_formula_gives(isa, shape, dtype):
    x, shift, upstream, quantizer = drawn(shape, dtype)
    with kernels.instruction_set(isa):
        assert quantizer.shifted_gradient(x, shift, upstream) is not None
        signs, of_x, of_shift = backward(x, shift, upstream, quantizer)
    assert signs.stride() == of_x.stride() == x.stride()
    assert (of_x.dtype, of_shift.dtype) == (x.dtype, shift.dtype)
    exact = backward(x.double(), shift.to(dtype).double(), upstream.double(), quantizer)
    assert torch.equal(signs.double(), exact[0])
    for found, right in ((of_x, exact[1]), (of_shift, exact[2])):
        np.testing.assert_allclose(found.double(), right, rtol=0, atol=ROUNDING[dtype] * right.abs().max())


def test_loops_give_what_the_independent_reference_gives():
    x, shift, upstream, quantizer = drawn((4, 6, 5, 5), torch.float32)
    _, of_x, _ = backward(x, shift, upstream, quantizer)
    shifted = (x + shift.reshape(-1, 1, 1)).detach().double().numpy()
    t = max(10 ** (-2 + 3 * 0.7), 1.0)
    expected = independent.ie_activation_gradient(shifted, upstream.double().numpy(), t)
    np.testing.assert_allclose(of_x, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("value", [0.0, -0.0, float("nan"), float("inf"), -float("inf"), 1e-40])
def test_signs_of_unusual_numbers(value):
    x = torch.tensor([[value, -1e-40]])
    quantizer = drawn((1, 2), torch.float32)[-1]
    signs = in_one_pass.shifted_signs(x, torch.zeros(2), quantizer)
    assert signs.tolist() == [[1.0 if value >= 0 else -1.0, -1.0]]


def test_what_the_loops_do_not_take_goes_through_torch():
    x, shift, upstream, quantizer = drawn((4, 6, 5, 5), torch.float32)
    first = x.contiguous()
    strided = torch.randn(8, 12).t()
    for other in (first, x.double(), strided, x[:0]):
        assert in_one_pass.shifted_signs(other, shift, quantizer) is None
    literal = IEEActivation(zero=0.0)
    literal.channel_axis = -3
    assert in_one_pass.shifted_signs(x, shift, literal) is None
    both = (backward(x, shift, upstream, quantizer), backward(first, shift, upstream, quantizer))
    for found, right in zip(*both, strict=True):
        torch.testing.assert_close(found, right, rtol=0, atol=2e-6 * float(right.abs().max()))
    assert quantizer.eval().shifted_gradient(x, shift, upstream) is None


def test_threads_change_nothing():
    x, shift, upstream, quantizer = drawn((7, 16, 8, 8), torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = backward(x, shift, upstream, quantizer)
        torch.set_num_threads(3)
        three = backward(x, shift, upstream, quantizer)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, three, strict=True))


def test_wrong_sizes_are_refused_before_anything_is_read():
    from bnnlib.kernels import _kernels

    x, out = np.zeros((2, 3, 4), np.float32), np.zeros((2, 3, 4), np.float32)
    shift, of_shift = np.zeros(4, np.float32), np.zeros((2, 4), np.float32)
    _kernels.shifted_gradient(x, shift, 1.0, EPS, x, out, of_shift, 1)
    for wrong in (
        lambda: _kernels.shifted_signs(x, shift[:3], out, 1),
        lambda: _kernels.shifted_signs(x, shift, out[:, :2].copy(), 1),
        lambda: _kernels.shifted_signs(x[:0], shift, out[:0], 1),
        lambda: _kernels.shifted_gradient(x, shift, 1.0, EPS, x[:1], out, of_shift, 1),
        lambda: _kernels.shifted_gradient(x, shift, 1.0, EPS, x, out, of_shift[:1], 1),
    ):
        with pytest.raises(ValueError, match=r"expected|without values|values of|shifts|samples"):
            wrong()


def test_a_residual_network_of_ie_net_trains_through_them(monkeypatch):
    """As users build it: channels last, on the processor."""
    calls = []
    monkeypatch.setattr(
        in_one_pass._kernels,
        "shifted_gradient",
        lambda *a, run=in_one_pass._kernels.shifted_gradient: calls.append(run(*a)),
    )
    seeded(0)
    network = models.build("resnet18", bnnlib.methods["ie-net"].varied(branches=2, mixing="scalar"), width=4)
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert len(calls) == 2 * 16
