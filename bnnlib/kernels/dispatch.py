"""Which instructions the kernels use: chosen once, when bnnlib.kernels loads."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from bnnlib.kernels import _kernels

__all__ = ["info", "instruction_set"]


if forced := os.environ.get("BNNLIB_ISA"):
    try:
        _kernels.choose(forced)
    except ValueError as error:
        raise ValueError(f"the environment variable BNNLIB_ISA: {error}") from None


def info() -> dict[str, object]:
    """What runs: ``{"isa": ..., "available": [...], "threads": ...}``.

    ``isa`` is the instruction set in use, ``available`` those that this processor has, plainest first, and ``threads``
    whether the ``threads`` argument of the kernels has an effect (they were compiled with OpenMP).
    """
    return {"isa": _kernels.current(), "available": _kernels.available(), "threads": _kernels.threaded}


@contextmanager
def instruction_set(name: str) -> Iterator[None]:
    """Inside the context the kernels use that instruction set, in all threads; for comparing them. Contexts nest, but
    those of several threads must not overlap.

    Raises:
        ValueError: the processor lacks it, or there is no such set; those it has are listed.
    """
    before = _kernels.current()
    _kernels.choose(name)
    try:
        yield
    finally:
        _kernels.choose(before)
