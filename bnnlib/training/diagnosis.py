"""``diagnose``: from what was measured inside the binary layers to the likely fault, its cause and its cure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bnnlib.training.history import History

__all__ = ["FAULTS", "Diagnosis", "Fault", "diagnose"]

Rows = list[dict[str, Any]]  # one layer's measurements, an epoch each


@dataclass(frozen=True)
class Fault:
    """A way in which binary networks fail, and how it shows.

    Attributes:
        name: short, as a key.
        symptom: what the measurements show.
        cause: why that stops learning.
        cure: what to change.
        evidence: from a layer's rows to the figures that show the fault, or None.
    """

    name: str
    symptom: str
    cause: str
    cure: str
    evidence: Callable[[Rows], str | None]


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` found: (fault, layer, figures), the likeliest first. True if nothing is conspicuous."""

    findings: tuple[tuple[Fault, str, str], ...]
    measured: bool = True

    def __bool__(self) -> bool:
        return not self.findings

    @property
    def likely(self) -> Fault | None:
        """The likeliest fault."""
        return self.findings[0][0] if self.findings else None

    def __str__(self) -> str:
        if not self.findings:
            return "nothing conspicuous in the binary layers" if self.measured else "nothing was measured"
        lines = []
        for fault in dict.fromkeys(fault for fault, _, _ in self.findings):
            where = "; ".join(f"{layer}: {figures}" for f, layer, figures in self.findings if f is fault)
            lines += [
                f"{fault.name}: {fault.symptom}",
                f"  seen in {where}",
                f"  cause: {fault.cause}",
                f"  cure: {fault.cure}",
            ]
        return "\n".join(lines)

    __repr__ = __str__


def diagnose(history: History) -> Diagnosis:
    """Names the likely fault of a training from its record.

    Args:
        history: of a training by ``bnnlib.fit`` (``result.history``), of any method. One epoch is enough for most
            faults, a schedule that does not advance needs two.

    Returns:
        A :class:`Diagnosis`: prints as text, is true if nothing is conspicuous; ``likely`` is the first
        :class:`Fault`. It looks at thresholds, not at accuracy: a network may train in spite of a finding.
    """
    layers: dict[str, Rows] = {}
    for row in history.layers:
        layers.setdefault(row["layer"], []).append(row)
    found = [
        (fault, layer, figures)
        for fault in FAULTS
        for layer, rows in layers.items()
        if (figures := fault.evidence(rows)) is not None
    ]
    return Diagnosis(tuple(found), measured=bool(layers))


def _last(rows: Rows, column: str, otherwise: float = 0.0) -> float:
    value = rows[-1][column]
    return otherwise if value is None else value


def _dead(rows: Rows) -> str | None:
    share = _last(rows, "dead_filters")
    return f"{100 * share:.0f} % of the filters have scale 0" if share > 0.5 else None


def _constant(rows: Rows) -> str | None:
    share = _last(rows, "input_positive", 0.5)
    return f"{100 * share:.1f} % of the input's signs are +1" if _signed(rows) and share > 0.999 else None


def _mostly_positive(rows: Rows) -> str | None:
    share, size = _last(rows, "input_positive", 0.5), _last(rows, "input_size")
    if _signed(rows) and 0.55 < share <= 0.999 and abs(size - 1) < 1e-6:
        return f"the layer's input is +1 or -1 before its own sign, and {100 * share:.0f} % of it +1"
    return None


def _zeros(rows: Rows) -> str | None:
    share = _last(rows, "input_zero")
    return f"{100 * share:.0f} % of the input's signs are 0" if _signed(rows) and share > 0.01 else None


def _signed(rows: Rows) -> bool:
    return rows[-1]["input_bits"] == 1


def _out_of_reach(rows: Rows) -> str | None:
    slope, size = _last(rows, "input_slope", 1.0), _last(rows, "input_size")
    if _signed(rows) and slope < 0.1 and size > 5:
        return f"the mean input is {size:.0f} in size, the estimator passes {100 * slope:.1f} % on average"
    return None


def _shrinking(rows: Rows) -> str | None:
    first, last, flips = rows[0]["latent_mean"], _last(rows, "latent_mean"), _last(rows, "flips_per_step")
    if last < 0.5 * first and flips > 0.002:
        return f"mean latent weight {first:.3f} -> {last:.3f}, {100 * flips:.1f} % of the weights flip in a step"
    return None


def _frozen(rows: Rows) -> str | None:
    share = _last(rows, "frozen")
    return (
        f"{100 * share:.0f} % of the latent weights sit at the clip with gradient exactly 0" if share > 0.05 else None
    )


def _collapsed(rows: Rows) -> str | None:
    spread = _last(rows, "latent_spread", 1.0)
    if spread < 0.05 and _last(rows, "saturated") < 0.9 and not _last(rows, "dead_filters"):
        return f"within a filter all latent weights have one size (deviation / mean = {spread:.3f})"
    return None


def _jumping(rows: Rows) -> str | None:
    jump = max(max(row["scale_change"] or 0, row["input_scale_change"] or 0) for row in rows)
    return f"a step size changed by {100 * jump:.0f} % in a step" if jump > 0.1 else None


def _standing(rows: Rows) -> str | None:
    times = [row["schedule"] for row in rows]
    if times[0] is not None and len(times) > 1 and len(set(times)) == 1:
        return f"t = {times[0]:g} in each of {len(times)} epochs"
    return None


FAULTS = (
    Fault(
        "centring with one input channel",
        "filters whose scale is zero",
        "the mean over one channel is the weight itself: centring makes the layer zero, and its gradient too",
        "leave layers with one input channel per group real (Builder and binarize do)",
        _dead,
    ),
    Fault(
        "ReLU before sign",
        "a layer's binary input is +1 everywhere",
        "a ReLU leaves nothing below zero, so the sign after it is a constant and the layer sees no input",
        "take the ReLU away, or put a batch norm between it and the sign",
        _constant,
    ),
    Fault(
        "pooling after sign",
        "a layer's input is binary before its own sign, and mostly +1",
        "the norm balances the signs before the pooling, and the largest of four is +1 unless all four are -1",
        "pool before the norm and the sign: layer - pool - norm - sign",
        _mostly_positive,
    ),
    Fault(
        "sign(0) = 0",
        "a layer's binary input holds a third value",
        "torch.sign gives 0 at 0; a packed network knows only -1 and +1 and computes something else",
        "use a two-valued sign in training too (x >= 0), and nothing in front of it that makes zeros, such as a ReLU",
        _zeros,
    ),
    Fault(
        "no batch norm",
        "inputs far outside the window in which the estimator passes a gradient",
        "sums of many signs are large; where the estimator's slope is zero nothing below learns",
        "put a batch norm after every binary layer, or divide its sums by the root of their number of terms",
        _out_of_reach,
    ),
    Fault(
        "an optimiser that steps the binary weights",
        "latent weights of one size",
        "the binary weight was written over the latent one, so small gradients can't add up to a flip",
        "keep the latent weight: binarise a copy, or restore it before the optimiser steps",
        _collapsed,
    ),
    Fault(
        "strict mask with clipped weights",
        "weights at the clip that get no gradient",
        "a mask |w| < 1 stops the gradient of a weight that the clip has put at exactly 1: it never comes back",
        "use the inclusive mask |w| <= 1, or none for weights",
        _frozen,
    ),
    Fault(
        "weight decay on latent weights",
        "latent weights shrink, and signs go on flipping to the end",
        "decay pulls a latent weight to zero, where a small step turns its sign; its size means nothing to the network",
        "less weight decay for latent weights, or none: a tuned one can help, as signs settle once the rate falls",
        _shrinking,
    ),
    Fault(
        "LSQ without its gradient scale",
        "a step size that jumps",
        "the gradient of one step size is a sum over all values: without 1 / sqrt(N Qp), or at a high rate, it leaps",
        'scale the gradient of the step size (gradient_scale="paper"); if it is, lower the learning rate',
        _jumping,
    ),
    Fault(
        "an estimator schedule never advanced",
        "the estimator's t is the same in every epoch",
        "the estimator is to sharpen as training goes on; at its first t the gradient is that of the identity",
        "call method.on_epoch(model, progress) at the start of every epoch",
        _standing,
    ),
)  # fmt: skip
