"""The checks that tests and students share."""

import numpy as np
import pytest
import scipy.stats
import torch

import bnnlib
from bnnlib import check
from bnnlib.quantizers import LSQ, DoReFaActivation, Quantizer, Sign, SteSign, binary_sign

METHODS = [n for n in bnnlib.methods if n != "float"]


@pytest.mark.parametrize("name", [n for n in METHODS if "literal" not in n and "ie-net" not in n])
def test_every_weight_quantizer_of_the_catalogue_passes(name):
    quantizer = bnnlib.methods[name].weight_quantizer(4)
    outcome = check("quantizer", quantizer)
    procedure = type(quantizer).__name__ == "XnorProcedure"  # its hook centres the weight
    centred = type(quantizer).__name__ == "CentredSign"  # one input channel: all zero
    wrong = [what for what, problem in outcome.findings if problem]
    if procedure:
        assert "hook" in outcome.problems[0]
    elif centred:
        assert wrong == []
    else:
        assert outcome, str(outcome)


@pytest.mark.parametrize("quantizer", [DoReFaActivation(1), DoReFaActivation(2), LSQ(2, unsigned=True)], ids=str)
def test_a_quantizer_of_unsigned_codes_is_tried_on_activations(quantizer):
    outcome = check("quantizer", quantizer)
    assert outcome, str(outcome)


class Backwards(DoReFaActivation):
    def gradient(self, x, upstream):
        return -super().gradient(x, upstream)


class NoGradient(Quantizer):
    bits = 1

    def codes(self, x):
        return binary_sign(x.detach()), x.new_ones(())

    def forward(self, x):
        return binary_sign(x.detach())


class ThreeValued(SteSign):
    def codes(self, x):
        return torch.sign(x.detach()), x.new_ones(())

    def value(self, x):
        return torch.sign(x)


class Disagrees(SteSign):
    def value(self, x):
        return 0.5 * binary_sign(x)


class RealCodes(SteSign):
    def codes(self, x):
        return 0.3 * binary_sign(x), x.new_ones(())


class Replaces(Sign):
    def gradient(self, x, upstream):
        return (x.abs() <= 1).to(x.dtype)


class Vanishes(Sign):
    def derivative(self, x):
        return torch.zeros_like(x)


class InPlace(SteSign):
    def value(self, x):
        return x.data.sign_().add_(0.5).sign_()


class WrongScale(SteSign):
    def codes(self, x):
        return binary_sign(x.detach()), x.detach().abs().mean(0, keepdim=True)

    def value(self, x):
        codes, scale = self.codes(x)
        return codes * scale


class SpoilsUpstream(SteSign):
    def gradient(self, x, upstream):
        return upstream.mul_(2)


class Undefined(Sign):
    def derivative(self, x):
        return 1 / x.abs()


class Wrong:
    pass


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (NoGradient, "no gradient reaches x"),
        (ThreeValued, "use x >= 0, not torch.sign"),
        (WrongScale, "one value for each filter"),
        (SpoilsUpstream, "changed the upstream gradient in place"),
        (Disagrees, "q(x) must be codes * scale; at x ="),
        (RealCodes, "must be whole numbers, found"),
        (Replaces, "three times the upstream gradient"),
        (Vanishes, "zero for every weight"),
        (InPlace, "changed x in place"),
        (Undefined, "the gradient is inf at x = 0"),
        (Wrong, "must derive from bnnlib.quantizers.Quantizer"),
        (Backwards, "a small layer did not learn"),
    ],
)
def test_what_is_wrong_is_said_in_words(broken, said):
    outcome = check("quantizer", broken)
    assert not outcome
    assert any(part in problem for problem in outcome.problems for part in said.split("|")), str(outcome)
    assert "WRONG" in str(outcome)


def test_a_good_one_says_so():
    outcome = check("quantizer", SteSign)
    assert outcome
    assert outcome.problems == []
    assert str(outcome).startswith("SteSign: all is well")


def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match=r"check knows 'quantizer', .*, received 'layer'"):
        check("layer", None)


def _threshold(gamma, beta, mean, deviation, most):
    signs = np.outer(np.arange(-most, most + 1), gamma) - gamma * mean + beta * deviation >= 0
    changes = np.diff(signs, axis=0)
    return np.where(changes.any(0), changes.argmax(0) + 1 - most, most + 1)


RIGHT = {
    "dot-product": lambda a, b, n: n - 2 * (a ^ b).bit_count(),
    "packer": lambda x: np.array(
        [
            [sum(int(v >= 0) << j for j, v in enumerate(row[first : first + 64])) for first in range(0, x.shape[1], 64)]
            for row in x
        ],
        np.uint64,
    ),
    "sign-product": lambda a, b, n: n - 2 * np.bitwise_count(a[:, None] ^ b[None]).sum(2, dtype=int),
    "pareto": lambda c, a: np.array(
        [all((b, d) == (a[i], c[i]) or a[i] > b or c[i] < d for b, d in zip(a, c, strict=True)) for i in range(len(c))]
    ),
    "binaryconnect-step": lambda w, g, rate: np.minimum(1, np.maximum(-1, w - rate * g)),
    "centring": lambda w: (w - w.sum(1, keepdims=True) / w.shape[1]).clip(-1, 1),
    "pool-bits": lambda bits: np.array(
        [np.bitwise_or.reduce(bits[at : at + 2]) for at in range(0, len(bits), 2)], np.uint64
    ),
    "alarm-threshold": lambda scores, positive, alarms: min(
        t for t in [*scores, np.inf] if 3600 * sum(scores[~positive] >= t) <= alarms * sum(~positive)
    ),
    "threshold": lambda gamma, beta, mean, deviation, most: _threshold(gamma, beta, mean, deviation, most),
    "passing": lambda scores, labels, share: (
        100
        * np.mean(
            [
                row.argmax() == label
                for row, label in sorted(
                    zip(scores, labels, strict=True), key=lambda pair: -np.diff(np.sort(pair[0])[::-1][:2])[0]
                )[int(np.floor(share * len(labels))) :]
            ]
        )
    ),
    "branch-sum": lambda x, shifts, factors: sum(
        f * np.copysign(1.0, x + b + 0.0) for b, f in zip(shifts, factors, strict=True)
    ),
    "verdict": lambda low, high, margin: (
        2 if low <= 0 <= high and not (-margin < low and high < margin) else int(np.sign(low + high)) * (low * high > 0)
    ),
    "brown-forsythe": lambda a, b: scipy.stats.f_oneway(abs(a - np.median(a)), abs(b - np.median(b))).statistic,
    "pruned-bits": lambda share: 1 - share + sum(-p * np.log2(p) for p in (share, 1 - share) if p),
    "taught-loss": lambda scores, teacher, t: (
        t**2 * torch.nn.functional.cross_entropy(torch.tensor(scores / t), torch.tensor(teacher / t).softmax(1)).item()
    ),
    "half-width": lambda v: scipy.stats.t.ppf(0.975, len(v) - 1) * np.std(v, ddof=1) / len(v) ** 0.5,
    "whole-speedup": lambda share, factor: factor / (factor * share + 1 - share),
    "paired-ratio": lambda ours, theirs: np.median([b / a for a, b in zip(ours, theirs, strict=True)]),
}
WRONG = {
    "dot-product": (lambda a, b, n: 64 - 2 * (a ^ b).bit_count(), "eight signs"),
    "packer": (lambda x: np.packbits(x > 0, axis=1, bitorder="little").view(np.uint8), "one word"),
    "sign-product": (lambda a, b, n: n - np.bitwise_count(a[:, None] ^ b[None]).sum(2, dtype=int), "one word"),
    "pareto": (lambda c, a: a > np.concatenate([[-1], np.maximum.accumulate(a)[:-1]]), "equals both stay"),
    "binaryconnect-step": (lambda w, g, rate: w - rate * g, "the clip holds"),
    "centring": (lambda w: (w - w.mean()).clip(-1, 1), "a filter bank"),
    "pool-bits": (lambda bits: np.concatenate([bits[0:-1:2] | bits[1::2]]), "a last single row stands for itself"),
    "alarm-threshold": (
        lambda scores, positive, alarms: np.quantile(scores[~positive], 1 - alarms / 3600),
        "none is allowed",
    ),
    "threshold": (
        lambda gamma, beta, mean, deviation, most: np.ceil(mean - beta * deviation / np.where(gamma, gamma, 1)).astype(
            int
        ),
        "a tie is +1, from either side",
    ),
    "passing": (
        lambda scores, labels, share: (
            100
            * np.mean(
                (scores.argmax(1) == labels)[scores.max(1) >= np.quantile(scores.max(1), share)]  # the best alone
            )
        ),
        "half of them",
    ),
    "branch-sum": (
        lambda x, shifts, factors: sum(f * np.sign(x + b) for b, f in zip(shifts, factors, strict=True)),
        "a sign of zero is +1",
    ),
    "verdict": (lambda low, high, margin: 0 if -margin < low and high < margin else 2, "better"),
    "brown-forsythe": (
        lambda a, b: scipy.stats.f_oneway(abs(a - a.mean()), abs(b - b.mean())).statistic,  # Levene's own
        "medians and not means",
    ),
    "pruned-bits": (lambda share: scipy.stats.entropy([share, 1 - share], base=2), "half of them"),  # and no signs
    "taught-loss": (
        lambda scores, teacher, t: torch.nn.functional.cross_entropy(
            torch.tensor(scores / t), torch.tensor(teacher / t).softmax(1)
        ).item(),
        "softened",  # the temperature's square is missing
    ),
    "half-width": (lambda v: 1.96 * np.std(v) / len(v) ** 0.5, "five seeds"),
    "whole-speedup": (lambda share, factor: factor * (1 - share), "a tenth stays"),
    "paired-ratio": (lambda ours, theirs: np.median(theirs) / np.median(ours), "pair by pair, not median by median"),
    "power": (lambda difference, deviation, seeds: 0.5, "five seeds"),
}


@pytest.mark.parametrize("task", RIGHT)
def test_a_right_function_passes(task):
    assert check(task, RIGHT[task]), str(check(task, RIGHT[task]))


@pytest.mark.parametrize("task", WRONG)
def test_a_usual_slip_is_found_and_named_by_its_case(task):
    function, case = WRONG[task]
    outcome = check(task, function)
    assert not outcome
    assert dict(outcome.findings)[case], str(outcome)


def test_a_forgotten_return_is_said():
    assert "is a `return` missing?" in str(check("half-width", lambda values: None))


def test_what_is_no_function_is_refused():
    assert "must be a function (a, b, n)" in check("dot-product", 3).problems[0]


def test_a_function_cannot_change_the_next_case():
    def greedy(w, g, rate):
        w -= rate * g
        return w.clip(-1, 1)

    assert check("binaryconnect-step", greedy)
    assert check("binaryconnect-step", greedy)


class LoudInTraining(SteSign):
    def forward(self, x):
        return super().forward(x) * (1.5 if self.training else 1.0)


class Unlearned(SteSign):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))


def test_what_training_sees_is_what_is_packed_and_what_is_learned_has_a_gradient():
    assert "must be codes * scale, in training too" in check("quantizer", LoudInTraining).problems[0]
    assert "the learned scale gets no gradient" in check("quantizer", Unlearned).problems[0]
