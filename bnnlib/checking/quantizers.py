"""What is checked of a quantizer."""

import copy
import pickle

import torch
from torch import Tensor, nn

from bnnlib.checking.outcome import Check
from bnnlib.layers import BinLinear
from bnnlib.quantizers import NotPackable, Quantizer

__all__ = ["CHECKS"]


def _weights() -> Tensor:
    """A filter bank with zeros of both signs, exact ends, and values far out."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(4, 9, generator=generator)
    w[0, :6] = torch.tensor([0.0, -0.0, 1.0, -1.0, 3.0, -3.0])
    return w


def _is_a_quantizer(q) -> str:
    if not isinstance(q, Quantizer):
        return f"it must derive from bnnlib.quantizers.Quantizer, received {type(q).__name__}"
    return (
        "" if q.bits is None or (isinstance(q.bits, int) and q.bits >= 1) else f"bits must be 1 or more, is {q.bits!r}"
    )


def _codes_are_small_integers(q: Quantizer) -> str:
    w = _weights()
    try:
        codes, scale = q.eval().codes(w)
    except NotPackable as error:
        return f"codes raises NotPackable ({error}): set bits and return (codes, scale)"
    if q.bits is None:
        return "bits is None, but codes returns values: set bits to the width of a code"
    if codes.shape != w.shape or codes.dtype != w.dtype:
        return (
            f"codes must have the input's shape and dtype, {tuple(w.shape)} and {w.dtype}; they have "
            f"{tuple(codes.shape)} and {codes.dtype}"
        )
    if not torch.equal(codes, codes.round()):
        broken = codes[codes != codes.round()][0].item()
        return f"codes must be whole numbers, found {broken:g}; put the factor into the scale"
    if (values := len(codes.unique())) > 2**q.bits:
        width = f"{q.bits} bit{'s' * (q.bits > 1)}"
        return f"{width} can hold at most {2**q.bits} values, found {values}: {codes.unique()[:6].tolist()}"
    if scale.dim() and tuple(scale.shape) != (len(w), *(1,) * (w.dim() - 1)):
        return (
            f"the scale must be a number or one value for each filter, shape () or {(len(w), *(1,) * (w.dim() - 1))}; "
            f"it has shape {tuple(scale.shape)}"
        )
    return ""


def _output_is_codes_times_scale(q: Quantizer) -> str:
    w = _weights()
    for training in (False, True):
        out = q.train(training)(w).detach()
        codes, scale = q.codes(w)
        if out.shape != w.shape:
            return f"q(x) must keep the shape {tuple(w.shape)}, gives {tuple(out.shape)}"
        if not torch.equal(out, codes * scale):
            index = tuple((out != codes * scale).nonzero()[0].tolist())
            return (
                f"q(x) must be codes * scale{', in training too' if training else ''}; at x = {w[index].item():g} it "
                f"is {out[index].item():g}, codes * scale is {(codes * scale)[index].item():g}"
            )
    return ""


def _zero_is_a_value(q: Quantizer) -> str:
    if q.bits != 1 or q.unsigned:  # unsigned, one bit holds 0 and 1
        return ""
    try:
        codes, _ = q.eval().codes(_weights())
    except NotPackable:
        return ""
    for index, zero in ((0, "+0"), (1, "-0")):
        if codes[0, index] == 0:
            return f"the code of {zero} is 0, a third value that one bit cannot hold: use x >= 0, not torch.sign"
    if codes[0, 0] != codes[0, 1]:
        return f"+0 and -0 must give the same code, give {codes[0, 0].item():g} and {codes[0, 1].item():g}"
    return ""


def _leaves_its_input_alone(q: Quantizer) -> str:
    w = _weights()
    before = w.clone()
    q.eval()(w)
    return "" if torch.equal(w, before) else "q(x) changed x in place: the latent weight would be lost"


def _gradient_flows(q: Quantizer) -> str:
    w = _weights().requires_grad_()
    out = q.train()(w)
    if not out.requires_grad:
        return (
            "no gradient reaches x: the sign's own gradient is zero everywhere, so give the rule in gradient(x, "
            "upstream) (or a torch.autograd.Function)"
        )
    upstream, before = torch.ones_like(out), w.detach().clone()
    out.backward(upstream)
    if not torch.equal(w.detach(), before):
        return "the backward pass changed x in place: the latent weight would be lost"
    if not torch.equal(upstream, torch.ones_like(out)):
        return "the backward pass changed the upstream gradient in place, which other layers use too"
    if w.grad is None or w.grad.shape != w.shape:
        return f"the gradient must have the shape {tuple(w.shape)}"
    if not w.grad.isfinite().all():
        return f"the gradient is {w.grad[~w.grad.isfinite()][0].item()} at x = {w[~w.grad.isfinite()][0].item():g}"
    if not w.grad.any():
        return "the gradient is zero for every weight: nothing would ever learn"
    for name, parameter in q.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            return (
                f"the learned {name} gets no gradient: give the quantizer a forward of its own, which autograd follows"
            )
    return ""


def _gradient_is_linear(q: Quantizer) -> str:
    def gradient(factor: float) -> Tensor:
        w = _weights().requires_grad_()
        torch.manual_seed(0)
        out = q.train()(w)
        out.backward(torch.full_like(out, factor))
        return w.grad

    if torch.allclose(3 * gradient(1.0), gradient(3.0), atol=1e-6):
        return ""
    return "three times the upstream gradient must give three times the gradient: multiply by it, don't replace it"


def _keeps_dtype_and_layout(q: Quantizer) -> str:
    q = copy.deepcopy(q).double().eval()
    out = q(_weights().double())
    if out.dtype != torch.float64:
        return f"float64 must stay float64, became {out.dtype}"
    image = torch.randn(4, 2, 3, 3, dtype=torch.float64).to(memory_format=torch.channels_last)
    return (
        "" if q(image).stride() == image.stride() else "the output lost the memory layout of x: it must be a new tensor"
    )


def _copies(q: Quantizer) -> str:
    copied, expected = copy.deepcopy(q).eval(), q.eval()(_weights())
    if not torch.equal(copied(_weights()), expected):
        return "a deep copy gives other values"
    if "<locals>" not in type(q).__qualname__ and type(q).__module__ != "__main__":
        pickle.loads(pickle.dumps(q))
    return ""


def _learns(q: Quantizer) -> str:
    torch.manual_seed(0)
    x = torch.randn(256, 16)
    target = torch.where(torch.randn(1, 16) >= 0, 1.0, -1.0)
    labels = (x @ target.T > 0).float()
    if q.unsigned:  # of activations: it stands behind a layer, which learns by its gradient
        first = (nn.Linear(16, 16), nn.BatchNorm1d(16), BinLinear(16, 4, bias=False, input_quantizer=copy.deepcopy(q)))
    else:
        first = (BinLinear(16, 4, bias=False, weight_quantizer=copy.deepcopy(q)),)
    net = nn.Sequential(*first, nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1))
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        loss = nn.functional.binary_cross_entropy_with_logits(net.train()(x), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    if losses[-1] < 0.5 * losses[0]:
        return ""
    return f"a small layer did not learn a simple rule with it: the loss went from {losses[0]:.2f} to {losses[-1]:.2f}"


CHECKS: tuple[Check, ...] = (
    ("is a Quantizer", _is_a_quantizer, True),
    ("zero has a two-valued code", _zero_is_a_value, False),
    ("codes are small whole numbers", _codes_are_small_integers, True),
    ("the output is codes times scale", _output_is_codes_times_scale, False),
    ("the input is left alone", _leaves_its_input_alone, False),
    ("a gradient flows", _gradient_flows, True),
    ("the gradient is linear in the upstream one", _gradient_is_linear, False),
    ("dtype and layout stay", _keeps_dtype_and_layout, False),
    ("it copies", _copies, False),
    ("a small layer learns with it", _learns, False),
)
