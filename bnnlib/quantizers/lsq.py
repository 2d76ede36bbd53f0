"""LSQ, learned step size quantization (Esser et al. 2020, arXiv:1902.08153)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from bnnlib.quantizers.base import Quantizer, masked_between

LEAST_STEP = 1e-12  # what a step that an update has made negative is put back to


class _LearnedStep(torch.autograd.Function):
    """Forward: round(clip(v / s)) * s, half to even (eqs. 1 and 2). Backward: eq. 3, with the gradient of s scaled.

    One function leaves s unaltered in the forward pass; the repositories' sum of stopped gradients can change its last
    bit.
    """

    @staticmethod
    def forward(ctx, v: Tensor, step: Tensor, low: int, high: int, scale: float, inclusive: bool) -> Tensor:
        ctx.save_for_backward(v, step)
        ctx.range = low, high, scale, inclusive
        return (v / step).clamp_(low, high).round_().mul_(step)

    @staticmethod
    def backward(ctx, upstream: Tensor):
        v, step = ctx.saved_tensors
        low, high, scale, inclusive = ctx.range
        ratio = v / step
        of_v = masked_between(upstream, ratio, low, high, inclusive=inclusive)
        ratio.clamp_(low, high)
        # eq. 3 has round(r) - r inside the range, its end outside: round(clip(r)), less r where v has a gradient
        of_step = ratio.round().mul_(upstream).sum() - ratio.mul_(of_v).sum()
        return of_v, of_step.mul_(scale).reshape(step.shape), None, None, None, None


class LSQ(Quantizer):
    r"""A uniform quantizer whose step size is learned, one scalar for a tensor.

    Forward: :math:`\bar v = \mathrm{round}(\mathrm{clip}(v/s, -Q_n, Q_p))`, :math:`q(v) = s\,\bar v` (eqs. 1 and 2),
    round half to even. Signed (weights): :math:`Q_n = 2^{b-1}, Q_p = 2^{b-1}-1`; unsigned (activations after a ReLU):
    :math:`Q_n = 0, Q_p = 2^b - 1`.

    Gradient: with respect to v straight through inside the range, zero outside; with respect to s (eq. 3)
    :math:`-Q_n` at and below the range, :math:`Q_p` at and above, :math:`\bar v - v/s` inside; times
    :math:`g = 1/\sqrt{N Q_p}`, without which the step diverges under SGD.

    Parameters: ``step``, shape (), learned, initialised once as :math:`2\,\mathrm{mean}|v|/\sqrt{Q_p}`: from the
    weights when a layer takes the quantizer, from the first training batch for activations. ``initialised`` is a
    buffer, so a loaded quantizer doesn't begin anew. ``bits`` 2 to 8 (16 at most), 1 only unsigned: one signed bit
    would have :math:`Q_p = 0` and divide by zero. ``gradient_scale``, which N: ``"paper"``, the weights of the
    tensor or the features of one sample; ``"repository"``, all values of the batch, as zhutmost/lsq-net and
    hustzxd/LSQuantization count; ``"none"``, g = 1, to see what it is for. ``edges``: ``"paper"``, or ``"repository"``,
    where a value exactly at an end of the range counts as inside.

    Source: arXiv:1902.08153, secs. 2.1 to 2.3. lsq-net never initialises the step of activations from data (it stays
    1), and its per-channel weights still use N of the whole tensor. In training a step that
    an update has made negative is put back to 1e-12. Raises FloatingPointError if the step is not finite, or if it is
    to be initialised from values with NaN. A weight of zeros gets step 1.
    """

    def __init__(
        self,
        bits: int = 2,
        *,
        unsigned: bool = False,
        batched: bool | None = None,
        gradient_scale: Literal["paper", "repository", "none"] = "paper",
        edges: Literal["paper", "repository"] = "paper",
    ):
        super().__init__()
        least = 1 if unsigned else 2
        if not isinstance(bits, int) or not least <= bits <= 16:
            raise ValueError(
                f"bits must be a whole number from {least} to 16 for {'un' * unsigned}signed codes, received {bits!r}"
            )
        if gradient_scale not in ("paper", "repository", "none"):
            raise ValueError(f'gradient_scale must be "paper", "repository" or "none", received {gradient_scale!r}')
        if edges not in ("paper", "repository"):
            raise ValueError(f'edges must be "paper" or "repository", received {edges!r}')
        self.bits, self.unsigned, self.gradient_scale, self.edges = bits, unsigned, gradient_scale, edges
        self.batched = unsigned if batched is None else batched  # whether the first axis is the batch
        self.low, self.high = (0, 2**bits - 1) if unsigned else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        self.step = nn.Parameter(torch.ones(()))
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def fit_to_(self, weight: Tensor) -> None:
        mean = weight.detach().abs().mean().item() if weight.numel() else 0.0
        if math.isnan(mean):
            raise FloatingPointError("an LSQ quantizer cannot take its step size from values with NaN among them")
        self.step.fill_(max(2 * mean / math.sqrt(self.high), LEAST_STEP) if mean > 0 else 1.0)
        self.initialised.fill_(True)

    def codes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        step = self._checked_step().detach().clamp(min=LEAST_STEP).to(x.dtype)
        return (x.detach() / step).clamp_(self.low, self.high).round_(), step

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            if not self.initialised and x.numel():
                self.fit_to_(x)
            self.clamp_step_()
        step = (self._checked_step() if self.training else self._checked_step().clamp(min=LEAST_STEP)).to(x.dtype)
        if self.gradient_scale == "none":
            scale = 1.0
        else:
            per_sample = self.batched and self.gradient_scale == "paper"
            count = math.prod(x.shape[axis] for axis in self.sample_axes(x)) if per_sample else x.numel()
            scale = 1 / math.sqrt(max(count, 1) * self.high)
        return _LearnedStep.apply(x, step, self.low, self.high, scale, self.edges == "repository")

    def _checked_step(self) -> Tensor:
        if not torch.compiler.is_compiling() and not self.step.isfinite():
            raise FloatingPointError(
                f"the step size of an LSQ quantizer is {self.step.item():g}: lower its learning rate, or keep its "
                "gradient scale"
            )
        return self.step

    @torch.no_grad()
    def clamp_step_(self) -> None:
        """Keeps the step size at 1e-12 or above, in place; done at the start of each forward pass in training."""
        # by its data, which autograd doesn't count as a change: a layer used in two places clamps twice a pass
        self.step.data.clamp_(min=LEAST_STEP)

    def extra_repr(self) -> str:
        kind = "unsigned" if self.unsigned else "signed"
        batched = f", batched={self.batched}" if self.batched != self.unsigned else ""
        return f"{self.bits} bits, {kind}, gradient_scale={self.gradient_scale!r}, edges={self.edges!r}{batched}"
