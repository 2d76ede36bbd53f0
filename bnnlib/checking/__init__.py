"""Checks that the tests and students' exercises share: each says in words what is wrong and what would be right."""

from typing import Any

from bnnlib.checking import functions, quantizers, trainings
from bnnlib.checking.outcome import Check, Checked

__all__ = ["Checked", "check"]

_CHECKS: dict[str, tuple[Check, ...]] = {
    "quantizer": quantizers.CHECKS,
    "training": trainings.CHECKS,
    **{name: functions.checks(task) for name, task in functions.TASKS.items()},
}


def check(kind: str, subject: Any) -> Checked:
    """Checks a piece of work.

    Args:
        kind: ``"quantizer"`` (the library's contract), ``"training"`` (does it look healthy?), or the task of an
            exercise: ``"alarm-threshold"``, ``"best-that-fits"``, ``"binaryconnect-step"``, ``"branch-sum"``,
            ``"brown-forsythe"``, ``"centring"``, ``"dot-product"``, ``"half-width"``, ``"mel"``, ``"packer"``,
            ``"paired-ratio"``, ``"pareto"``, ``"passing"``, ``"pool-bits"``, ``"power"``, ``"pruned-bits"``,
            ``"sign-product"``, ``"taught-loss"``, ``"threshold"``, ``"verdict"``, ``"whole-speedup"``.
        subject: a quantizer or its class (made without arguments; one of unsigned codes is tried on activations,
            others on weights), what ``fit`` returned, or the function that an exercise asks for.

    Returns:
        A :class:`Checked`: prints as a list, is true if all is well, ``problems`` holds what is wrong.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind not in _CHECKS:
        raise ValueError(f"check knows {', '.join(map(repr, _CHECKS))}, received {kind!r}")
    name = getattr(subject, "__name__", type(subject).__name__)
    findings: list[tuple[str, str]] = []
    for what, test, essential in _CHECKS[kind]:
        try:
            made = subject() if isinstance(subject, type) else subject
            wrong = test(made) or ""
        except Exception as error:  # whatever a student's code raises is a finding
            wrong = f"{type(error).__name__}: {error}"
        findings.append((what, wrong))
        if wrong and essential:
            break
    return Checked(name, tuple(findings))
