"""What a quantizer is.

A quantizer maps a real tensor to one with few values. It computes small-integer *codes* once and builds its output as
``codes * scale``, so that what training sees (``q(x)``) and what is packed (``q.codes(x)``) cannot disagree.
"""

import torch
from torch import Tensor, nn


class NotPackable(TypeError):
    """The quantizer's output has no exact few-valued form; the message says why."""


def binary_sign(x: Tensor, zero: float = 1.0) -> Tensor:
    """+1 where ``x >= 0``, -1 elsewhere: two values, so zero (of either sign) counts as +1. NaN gives -1.

    ``zero=-1.0`` counts it as -1. ``zero=0.0`` is torch's own sign, three-valued, which the ``-literal`` records of the
    catalogue keep (NaN stays).
    """
    if zero == 0:
        return torch.sign(x)
    # 0 or 1 in the dtype of x, then -1 or 1 in place: on large maps each pass and each new tensor costs time
    above = torch.ge if zero > 0 else torch.gt
    return above(x.detach(), 0, out=torch.empty_like(x)).mul_(2).sub_(1)


def checked_zero(zero: float) -> float:
    """The value of sign(0), 1, 0 or -1; anything else is a ValueError."""
    if zero not in (-1.0, 0.0, 1.0):
        raise ValueError(f"zero, the value of sign(0), must be 1, 0 or -1, received {zero!r}")
    return zero


class Quantizer(nn.Module):
    """Base of all quantizers: ``q(x)`` for training, ``q.codes(x)`` for exact arithmetic.

    Subclasses implement :meth:`codes` and either :meth:`gradient`, the paper's rule, or a :meth:`forward` of their own
    with ``forward(x) == codes * scale`` by value. ``bits`` is the width of a code, ``None`` where there is none.
    """

    bits: int | None = None
    channel_axis: int | None = None  # of the input, counted from the end; a layer sets it
    unsigned = False  # whether every code is >= 0, so that negative inputs are lost

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (same shape and dtype as ``x``, small integers) and the scale (broadcasts against ``x``)."""
        raise NotPackable(f"{type(self).__name__} has no codes: it does not map to few values")

    def value(self, x: Tensor) -> Tensor:
        """``codes * scale``: the output by value. Not differentiable."""
        codes, scale = self.codes(x)
        return codes * scale

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        """The paper's gradient with respect to ``x``, given that with respect to the output; same shapes."""
        raise NotPackable(f"{type(self).__name__} has no gradient rule of its own")

    def forward(self, x: Tensor) -> Tensor:
        return _ByRule.apply(x, self)

    def sample(self, x: Tensor) -> Tensor:
        """One draw of the output by value, in any mode; for a deterministic quantizer its ordinary output."""
        return self.value(x)

    def sample_axes(self, x: Tensor) -> tuple[int, ...]:
        """The axes of one sample of an input: all but the first, or all of them where there is no batch axis.

        A layer says where its channels are; on its own a quantizer takes the first axis for the batch.
        """
        batched = self.channel_axis is None or x.dim() > -self.channel_axis
        return tuple(range(int(batched), x.dim()))

    @torch.no_grad()
    def init_latent_(self, weight: Tensor) -> None:
        """Initialises a latent weight in place as the paper does; the default leaves the layer's own choice."""

    def fit_to_(self, weight: Tensor) -> None:
        """Sets the quantizer's own parameters from a layer's initial weight; called again when weights are replaced."""

    def at_progress(self, progress: float) -> None:
        """Tells the quantizer how far training has come, 0 at its start to 1 at its end; for scheduled estimators."""


class _ByRule(torch.autograd.Function):
    """Forward: the quantizer's value. Backward: the quantizer's own rule (:meth:`Quantizer.gradient`).

    The value is a new tensor with the strides of ``x``. A function that returns one of its arguments gives a view of
    it, which loses the channels-last strides of a weight with one input channel, and the layers after it run in the
    slower layout; broadcasting can lose them too.
    """

    @staticmethod
    def forward(ctx, x: Tensor, quantizer: Quantizer) -> Tensor:
        ctx.save_for_backward(x)
        ctx.quantizer = quantizer
        value = quantizer.value(x)
        return value if value.stride() == x.stride() else torch.empty_like(x).copy_(value)

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.quantizer.gradient(x, upstream), None


class Identity(Quantizer):
    r"""Leaves its input real: the quantizer of a float network.

    Forward: :math:`q(x) = x`.

    Gradient: :math:`\partial q / \partial x = 1`.

    Raises :class:`NotPackable` from :meth:`codes`.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x

    def value(self, x: Tensor) -> Tensor:
        return x

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return upstream

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotPackable("Identity keeps real values: a float layer cannot be packed into bits")


class Sign(Quantizer):
    """Base of the quantizers whose output is the sign: one code, scale 1, a derivative in place of the sign's own.

    Subclasses give :meth:`derivative`. ``zero`` is the value at 0: 1.0, or -1.0, or 0.0 for a source's
    literal three-valued sign.
    """

    bits = 1

    def __init__(self, *, zero: float = 1.0):
        super().__init__()
        self.zero = checked_zero(zero)

    def derivative(self, x: Tensor) -> Tensor:
        """What stands in for d sign / dx in the backward pass: a new tensor, same shape as ``x``."""
        raise NotPackable(f"{type(self).__name__} declares no derivative")

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return binary_sign(x.detach(), self.zero), x.new_ones(())

    def value(self, x: Tensor) -> Tensor:
        return binary_sign(x, self.zero)  # codes * 1

    def gradient(self, x: Tensor, upstream: Tensor) -> Tensor:
        return self.derivative(x).mul_(upstream)

    def extra_repr(self) -> str:
        return f"zero={self.zero:g}" if self.zero != 1 else ""


def masked_between(upstream: Tensor, x: Tensor, low: float, high: float, *, inclusive: bool = True) -> Tensor:
    """``upstream`` where ``low <= x <= high`` (or ``low < x < high``), 0 elsewhere, in one pass.

    This is the backward pass of torch's hard tanh, whose mask is strict. The inclusive mask is the strict one between
    the next numbers outside.
    """
    if inclusive:
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        ends = torch.tensor([low, high], dtype=wide)
        low, high = torch.nextafter(ends, torch.tensor([-torch.inf, torch.inf], dtype=wide)).tolist()
    return torch.ops.aten.hardtanh_backward(upstream, x, low, high)


def masked(upstream: Tensor, x: Tensor, limit: float = 1.0, *, inclusive: bool = True) -> Tensor:
    """``upstream`` where ``|x| <= limit`` (or ``< limit``), 0 elsewhere, in one pass."""
    return masked_between(upstream, x, -limit, limit, inclusive=inclusive)


def per_filter(values: Tensor, weight: Tensor) -> Tensor:
    """(O,) values shaped (O, 1, ...) to broadcast against a weight (O, ...)."""
    return values.reshape(-1, *(1,) * (weight.dim() - 1))


def filter_mean(weight: Tensor) -> Tensor:
    """Mean over each output filter of a weight (O, ...), shape (O, 1, ...)."""
    return per_filter(weight.flatten(1).mean(1), weight)


class FilterScaledSign(Quantizer):
    """Base of the weight quantizers whose output is the sign times the mean absolute weight of its filter.

    Subclasses give :meth:`gradient`. ``zero`` is the value at 0, as for :class:`Sign`. The scale has shape (O, 1, ...).
    """

    bits = 1

    def __init__(self, *, zero: float = 1.0):
        super().__init__()
        self.zero = checked_zero(zero)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x.detach()
        return binary_sign(x, self.zero), filter_mean(x.abs())
