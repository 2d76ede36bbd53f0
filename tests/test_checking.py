"""The checks that tests and students share."""

import pytest
import torch

import bnnlib
from bnnlib import check
from bnnlib.quantizers import Quantizer, Sign, SteSign, binary_sign

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
    with pytest.raises(ValueError, match="check knows 'quantizer', received 'layer'"):
        check("layer", None)
