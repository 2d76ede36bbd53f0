import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnlib.quantizers import DeterministicBinaryConnect, Identity, NotPackable, StochasticBinaryConnect
from bnnlib.quantizers.latent import clip_latent_, update_scale

finite = st.floats(-3, 3, width=32)


def test_deterministic_forward_by_hand():
    w = torch.tensor([0.3, -0.3, 0.0, -0.0, 1.0, -1.0])
    assert DeterministicBinaryConnect()(w).tolist() == [1, -1, 1, 1, 1, -1]
    assert DeterministicBinaryConnect(0.5)(w).tolist() == [0.5, -0.5, 0.5, 0.5, 0.5, -0.5]


@pytest.mark.parametrize(
    "quantizer", [DeterministicBinaryConnect(), DeterministicBinaryConnect(0.25), StochasticBinaryConnect()]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_passes_unchanged_even_outside_the_clip(quantizer, dtype):
    w = torch.tensor([0.3, -2.0, 0.0, 1.5], dtype=dtype, requires_grad=True)
    upstream = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=dtype)
    quantizer(w).backward(upstream)
    assert w.grad.tolist() == upstream.tolist()
    assert w.grad.dtype == dtype


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(finite, min_size=1, max_size=40), amplitude=st.sampled_from([0.5, 1.0, 2.0]), training=st.booleans()
)
def test_codes_times_scale_is_the_output(values, amplitude, training):
    w = torch.tensor(values)
    for quantizer in (DeterministicBinaryConnect(amplitude), StochasticBinaryConnect(amplitude)):
        quantizer.train(training)
        out = quantizer(w)
        codes, scale = quantizer.codes(w)
        assert torch.equal(codes * scale, out)
        assert set(codes.tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize("quantizer", [DeterministicBinaryConnect(), StochasticBinaryConnect()])
def test_the_output_keeps_the_layout_of_the_weight(quantizer):
    # with one input channel the layout is easily lost, and the whole network then runs in the slower one
    w = torch.randn(32, 1, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    assert quantizer(w).stride() == w.stride()


def test_hard_sigmoid_by_hand():
    # eq. 3: clip((w + 1) / 2, 0, 1)
    w = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    assert StochasticBinaryConnect().probability_of_plus_one(w).tolist() == [0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_the_logistic_misreading_never_saturates():
    p = StochasticBinaryConnect(probability="logistic").probability_of_plus_one(torch.tensor([0.0, 1.0]))
    assert p[0] == 0.5
    assert p[1].item() == pytest.approx(1 / (1 + math.exp(-1)))


def test_draws_follow_the_probability():
    torch.manual_seed(1)
    n = 200_000
    for w in (-0.6, 0.0, 0.25):
        share = (StochasticBinaryConnect()(torch.full((n,), w)) > 0).double().mean().item()
        p = (w + 1) / 2
        assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / n)


def test_saturated_weights_never_flip():
    q = StochasticBinaryConnect()
    w = torch.tensor([1.0, -1.0]).repeat(1000)
    for _ in range(20):
        assert torch.equal(q(w), w)


def test_one_draw_per_forward_pass_reused_by_codes_and_replaced_by_the_next():
    torch.manual_seed(2)
    q, w = StochasticBinaryConnect(), torch.zeros(500)
    first = q(w)
    assert torch.equal(q.codes(w)[0], first)
    assert not torch.equal(q(w), first)


def test_eval_mode_is_the_deterministic_sign_and_sampling_is_still_possible():
    torch.manual_seed(3)
    q, w = StochasticBinaryConnect().eval(), torch.zeros(500)
    assert torch.equal(q(w), torch.ones(500))
    assert 0 < (q.sample(w) > 0).sum() < 500


def test_deterministic_is_idempotent():
    w = torch.randn(100)
    q = DeterministicBinaryConnect()
    assert torch.equal(q(q(w)), q(w))


@pytest.mark.parametrize(
    ("shape", "optimizer", "expected"),
    [
        ((10, 20), "adam", math.sqrt(30 / 1.5)),  # 1 / sqrt(1.5 / (fan_in + fan_out))
        ((64, 32, 3, 3), "adam", math.sqrt((32 * 9 + 64 * 9) / 1.5)),
        ((10, 20), "sgd", 30 / 1.5),
    ],
)
def test_update_scale_by_hand(shape, optimizer, expected):
    assert update_scale(torch.empty(shape), optimizer) == pytest.approx(expected)


def test_update_scale_names_the_optimizers_it_knows():
    with pytest.raises(ValueError, match="adam, sgd, received 'lion'"):
        update_scale(torch.empty(2, 2), "lion")


def test_clip_keeps_latent_weights_within_the_amplitude():
    w = torch.tensor([-3.0, -0.2, 0.7, 9.0])
    clip_latent_(w, 0.5)
    assert w.tolist() == pytest.approx([-0.5, -0.2, 0.5, 0.5])


def test_identity_is_not_packable_and_says_why():
    with pytest.raises(NotPackable, match="keeps real values"):
        Identity().codes(torch.ones(2))


@pytest.mark.parametrize("amplitude", [0, -1, float("nan")])
def test_a_bad_amplitude_is_refused(amplitude):
    with pytest.raises(ValueError, match="amplitude must be positive"):
        DeterministicBinaryConnect(amplitude)


def test_a_bad_probability_is_refused():
    with pytest.raises(ValueError, match="received 'sigmoid'"):
        StochasticBinaryConnect(probability="sigmoid")


def test_quantizers_copy_and_have_no_state():
    q = copy.deepcopy(StochasticBinaryConnect(0.5, "logistic"))
    assert (q.amplitude, q.probability) == (0.5, "logistic")
    assert q.state_dict() == {}
