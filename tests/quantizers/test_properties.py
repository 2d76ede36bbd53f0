"""Invariants of every quantizer, and bad input: each an error or a declared value."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import bnnlib
from bnnlib.quantizers import (
    LSQ,
    ApproxSign,
    BiRealSign,
    BiRealWeight,
    DoReFaActivation,
    DoReFaWeight,
    EdeSign,
    IEEWeight,
    LibraSign,
    MagnitudeAwareSign,
    RSign,
    SteSign,
    StrictSign,
    SwishSign,
    Ternary,
    XnorProcedure,
    XnorSign,
)
from bnnlib.quantizers.latent import clip_latent_

METHODS = [n for n in bnnlib.methods if n != "float"]
# on a grid, so that no filter's deviation underflows: filters of equal weights are refused, and have tests of their own
GRID = st.integers(-2048, 2048).map(lambda value: value / 1024)
WEIGHTS = arrays("float32", array_shapes(min_dims=2, max_dims=4, min_side=2, max_side=5), elements=GRID)


def made(name, w, mode=False):
    quantizer = bnnlib.methods[name].weight_quantizer(len(w)).train(mode)
    quantizer.fit_to_(w)
    return quantizer


def usable(name, w):
    """Whether the input is one that the quantizer declares to accept."""
    if name.startswith("ir-net"):
        return all(len(row.unique()) > 1 for row in w)
    return not (name.startswith("dorefa-w2") and not w.any())


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=25, deadline=None)
@given(values=WEIGHTS)
def test_codes_times_scale_is_the_output_and_codes_fit_their_bits(name, values):
    w = torch.from_numpy(values)
    if not usable(name, w):
        return
    quantizer = made(name, w)
    codes, scale = quantizer.codes(w)
    assert torch.equal(codes * scale, quantizer(w))
    assert codes.shape == w.shape
    assert torch.equal(codes, codes.round())
    assert codes.abs().max() <= max(1, 2 ** (quantizer.bits - 1) * (2 if "dorefa" in name else 1))
    if "literal" not in name and quantizer.bits == 1:
        assert set(codes.unique().tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize("name", METHODS)
@settings(max_examples=15, deadline=None)
@given(values=WEIGHTS, seed=st.integers(0, 99))
def test_permuting_filters_permutes_the_output(name, values, seed):
    w = torch.from_numpy(values)
    if not usable(name, w):
        return
    centred = [w - w.flatten(1).mean(1).reshape(-1, *(1,) * (w.dim() - 1)), w - w.mean(1, keepdim=True)]
    if any((c.abs() < 1e-5).any() for c in centred):
        return  # a weight at its mean: the sign of a difference that is all rounding depends on the order of a sum
    order = torch.randperm(len(w), generator=torch.Generator().manual_seed(seed))
    straight, permuted = made(name, w), made(name, w[order])
    torch.testing.assert_close(permuted(w[order]), straight(w)[order])


@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_has_shape_and_dtype_of_the_input_and_is_finite(name):
    for dtype in (torch.float32, torch.float64):
        method = bnnlib.methods[name]
        x = torch.randn(4, 6, dtype=dtype, requires_grad=True)
        quantizer = method.input_quantizer(6).to(dtype)
        quantizer(x).sum().backward()
        assert x.grad.shape == x.shape
        assert x.grad.dtype == dtype
        assert x.grad.isfinite().all()


@pytest.mark.parametrize("quantizer", [SteSign(), StrictSign(), ApproxSign(), SwishSign(), BiRealSign(), EdeSign()])
def test_sign_is_plus_one_at_both_zeros_and_literal_is_zero(quantizer):
    zeros = torch.tensor([0.0, -0.0])
    assert quantizer(zeros).tolist() == [1.0, 1.0]
    assert type(quantizer)(zero=0.0)(zeros).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("quantizer", [SteSign(), ApproxSign(), SwishSign(), BiRealSign(), EdeSign(), StrictSign()])
def test_the_surrogate_is_even_and_fades(quantizer):
    x = torch.linspace(0.01, 3, 50)
    torch.testing.assert_close(quantizer.derivative(x), quantizer.derivative(-x))
    assert abs(quantizer.derivative(torch.tensor([60.0])).item()) < 0.2


@pytest.mark.parametrize(
    ("quantizer", "area"), [(SteSign(), 2.0), (StrictSign(), 2.0), (ApproxSign(), 2.0), (BiRealSign(), 2.0),
                            (SwishSign(), 2.0), (SwishSign(2.0), 2.0)]
)  # fmt: skip
def test_a_surrogate_integrates_to_the_signs_jump(quantizer, area):
    x = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    assert torch.trapezoid(quantizer.derivative(x), x).item() == pytest.approx(area, abs=1e-3)


def test_without_a_clip_the_estimator_passes_everything():
    x = torch.tensor([5.0], requires_grad=True)
    SteSign(None)(x).backward()
    assert x.grad.item() == 1


def test_clipped_weights_move_under_the_inclusive_mask_and_freeze_under_the_strict_one():
    for quantizer, expected in ((SteSign(), 1.0), (StrictSign(), 0.0)):
        w = torch.tensor([1.0], requires_grad=True)
        quantizer(w).backward()
        assert w.grad.item() == expected


def test_schedules_by_hand():
    q = EdeSign()
    assert (q.t, q.k) == (pytest.approx(0.1), pytest.approx(10))
    q.at_progress(0.5)
    assert (q.t, q.k) == (pytest.approx(1), pytest.approx(1))
    weights = IEEWeight(1)
    assert (weights.t, weights.k) == (pytest.approx(0.01), pytest.approx(100))
    weights.at_progress(1.0)
    assert weights.t == pytest.approx(10)
    held = IEEWeight(1, t_max=1.0)
    held.at_progress(0.5)
    assert held.t == pytest.approx(10**-0.5)
    held.at_progress(1.0)
    assert (held.t, held.k) == (1, 1)
    for bad in (0.001, 20):
        with pytest.raises(ValueError, match=r"t_max must lie in \[0.01, 10\]"):
            IEEWeight(1, t_max=bad)
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match=r"progress must lie in \[0, 1\]"):
            q.at_progress(bad)


def test_the_clip_by_hand():
    w = torch.tensor([-3.0, 0.5, 2.0])
    clip_latent_(w, 1.3)
    assert w.tolist() == pytest.approx([-1.3, 0.5, 1.3])


@pytest.mark.parametrize("name", METHODS)
def test_nan_in_a_filter_never_gives_a_clean_result_elsewhere_or_is_declared(name):
    if name.startswith(("ir-net", "dorefa", "lsq")):
        return  # standardised or scaled over more than the filter: below
    w = torch.randn(3, 8)
    clean = made(name, w)(w)
    broken = w.clone()
    broken[1, 2] = math.nan
    out = made(name, broken)(broken)
    torch.testing.assert_close(out[[0, 2]], clean[[0, 2]])
    scaled = bnnlib.methods[name].weight_quantizer(3).codes(w)[1].dim() > 0
    assert out[1].isnan().any() if scaled else out[1, 2] == -1  # the sign of NaN is declared -1


@pytest.mark.parametrize("name", ["ir-net", "dorefa-w1a32", "dorefa-w2a32"])
def test_nan_spreads_where_the_scale_is_shared(name):
    w = torch.randn(3, 8)
    w[1, 2] = math.nan
    assert made(name, w)(w)[1].isnan().any()


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_an_infinite_or_undefined_weight_leaves_no_usable_step(value):
    w = torch.randn(3, 8)
    w[0, 0] = value
    with pytest.raises(FloatingPointError, match=r"quantizer is inf|NaN among them"):
        LSQ(2)(w)


@pytest.mark.parametrize("name", METHODS)
def test_infinite_weights_keep_their_sign_or_are_not_finite(name):
    w = torch.randn(3, 8)
    w[0, 0], w[0, 1] = math.inf, -math.inf
    if name.startswith("lsq"):
        return
    out = made(name, w)(w)
    ok = (out[0, :2].sign() == torch.tensor([1.0, -1.0])) | ~out[0, :2].isfinite()
    assert ok.all()


@pytest.mark.parametrize("name", METHODS)
def test_a_zero_filter_gives_zeros_or_signs_or_a_clear_error(name):
    w = torch.randn(3, 8)
    w[1] = 0
    if name.startswith("ir-net"):
        with pytest.raises(ValueError, match="equal weights only"):
            made(name, w)(w)
        return
    out = made(name, w)(w)[1]
    assert len(out.unique()) == 1
    assert out.isfinite().all()


def test_all_zero_weights():
    with pytest.raises(ValueError, match="every weight received is 0"):
        DoReFaWeight(2)(torch.zeros(2, 3))
    assert torch.equal(Ternary()(torch.zeros(2, 3)), torch.zeros(2, 3))
    quantizer = LSQ(2)
    quantizer.fit_to_(torch.zeros(2, 3))
    assert quantizer.step.item() == 1


@pytest.mark.parametrize("bits", [0, 33, 1.5, -2])
@pytest.mark.parametrize("kind", [LSQ, DoReFaWeight, DoReFaActivation])
def test_impossible_widths_are_refused(kind, bits):
    with pytest.raises(ValueError, match=f"bits must be a whole number from .*received {bits}"):
        kind(bits)


def test_one_signed_bit_of_lsq_is_refused_and_one_unsigned_bit_is_not():
    with pytest.raises(ValueError, match="from 2 to 16 for signed codes, received 1"):
        LSQ(1)
    assert (LSQ(1, unsigned=True).low, LSQ(1, unsigned=True).high) == (0, 1)


def test_lsq_initialises_once_and_remembers_it():
    quantizer = LSQ(2, unsigned=True)
    quantizer(torch.full((2, 3), 3.0))
    first = quantizer.step.item()
    assert first == pytest.approx(2 * 3 / math.sqrt(3))
    quantizer(torch.full((2, 3), 9.0))
    assert quantizer.step.item() == first
    loaded = LSQ(2, unsigned=True)
    loaded.load_state_dict(quantizer.state_dict())
    loaded(torch.full((2, 3), 9.0))
    assert loaded.step.item() == first


def test_lsq_mends_a_negative_step_and_says_when_it_is_not_finite():
    quantizer = LSQ(2)
    quantizer.fit_to_(torch.randn(3, 3))
    quantizer.step.data.fill_(-0.1)
    assert 0 < quantizer.eval().codes(torch.randn(3, 3))[1].item() < 1e-9
    quantizer.train()(torch.randn(3, 3))  # what an update has broken, training mends
    assert 0 < quantizer.step.item() < 1e-9
    for broken in (math.inf, math.nan):
        quantizer.step.data.fill_(broken)
        with pytest.raises(FloatingPointError, match="step size of an LSQ quantizer is"):
            quantizer(torch.randn(3, 3))


def test_lsq_waits_for_data_to_take_its_first_step_from():
    quantizer = LSQ(2, unsigned=True)
    quantizer(torch.empty(0, 3))
    assert not quantizer.initialised
    quantizer(torch.full((2, 3), 3.0))
    assert quantizer.step.item() == pytest.approx(2 * 3 / math.sqrt(3))
    with pytest.raises(FloatingPointError, match="NaN among them"):
        LSQ(2)(torch.tensor([math.nan]))


def test_a_filter_of_one_weight_cannot_be_standardised():
    with pytest.raises(ValueError, match="two weights or more"):
        LibraSign()(torch.randn(3, 1))
    with pytest.raises(ValueError, match="two weights or more"):
        IEEWeight(3)(torch.randn(3, 1))


def test_wrong_channel_counts_are_named():
    with pytest.raises(ValueError, match=r"expected 3 channels on axis 1, received shape \(2, 4, 5, 5\)"):
        RSign(3)(torch.randn(2, 4, 5, 5))
    with pytest.raises(ValueError, match="expected weights of 3 filters"):
        IEEWeight(3)(torch.randn(4, 6))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SteSign(0), "clip must be positive or None, received 0"),
        (lambda: SwishSign(-1), "beta must be positive, received -1"),
        (lambda: MagnitudeAwareSign(0), "clip must be positive, received 0"),
        (lambda: XnorSign("other"), "received 'other'"),
        (lambda: XnorProcedure("other"), "known: port"),
        (lambda: BiRealWeight("other"), "received 'other'"),
        (lambda: Ternary("channel"), "received 'channel'"),
        (lambda: EdeSign(0), "needs 0 < t_min"),
        (lambda: SteSign(zero=0.5), r"must be 1, 0 or -1, received 0.5"),
        (lambda: LSQ(2, gradient_scale="n"), "received 'n'"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
