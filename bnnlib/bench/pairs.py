"""One contender and ours, timed in a pair: a row of a table."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from typing import Protocol

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from bnnlib import kernels
from bnnlib.bench.timing import side_by_side

__all__ = ["Contender", "Ours", "Skipped", "limited_to", "measure_pair", "prepared", "versions"]

RATIOS = ("ratio", "ratio_low", "ratio_high")


class Ours(Protocol):
    """The course's kernel on operands of one shape.

    Attributes:
        macs: multiply-accumulates of a call.
    """

    macs: int

    def packed(self) -> object:
        """Runs on activations packed beforehand."""

    def packing(self) -> object:
        """Packs the activations in the call."""


@dataclass(frozen=True)
class Contender:
    """A call to be timed against ours.

    Attributes:
        name: in the table.
        call: what is timed.
        threads: that it may use, and ours beside it.
        cold: flush the caches before every call.
        isa: the instruction set of its turns, if not the one in use.
        against_packing: also time it against ours with packing in the call.
        columns: further columns of its row.
    """

    name: str
    call: Callable[[], object]
    threads: int = 1
    cold: bool = False
    isa: str | None = None
    against_packing: bool = False
    columns: Mapping[str, object] = field(default_factory=dict)


class Skipped(Exception):
    """A contender that is not timed. Its text is the word that says why.

    "absent": its package is not installed; "broken": it is, but can't be loaded; "unsupported": it refuses these
    operands or this processor; "slow": it would take too long; "wrong": it gives another result.
    """


def prepared(
    make: Callable[[], Callable[[], object]], is_right: Callable[[object], bool], *, needs: tuple[str, ...] = ()
) -> Callable[[], object]:
    """The call of other software, after a first one whose result was right.

    Args:
        make: prepares whatever can be prepared before the clock runs and returns what is timed.
        is_right: is this the result that ours gives?
        needs: distributions that must be installed.

    Raises:
        Skipped: it can't be timed here, or must not.
    """
    for package in needs:
        try:
            distribution(package)
        except PackageNotFoundError:
            raise Skipped("absent") from None
    try:
        call = make()
        result = call()
    except (ImportError, OSError) as error:
        raise Skipped("broken") from error
    except Exception as error:  # other software's own exceptions have no base in common
        raise Skipped("unsupported") from error
    if not is_right(result):
        raise Skipped("wrong")
    return call


def versions(needs: tuple[str, ...]) -> dict[str, str]:
    """The column ``version`` of software that the table's own columns, such as ``torch``, don't name; none if it needs
    no package."""
    named = ", ".join(f"{package} {distribution(package).version}" for package in needs)
    return {"version": named} if named else {}


def measure_pair(ours: Ours, contender: Contender, *, rounds: int, at_least: float) -> dict[str, object]:
    """Times a contender in turn with ours.

    Args:
        ours: on the contender's operands.
        contender: what is compared with it.
        rounds, at_least: as for :func:`side_by_side`.

    Returns:
        The columns ``contender``, ``threads``, ``caches`` ("warm" or "cold"), ``ms`` and ``gmacs`` (10^9
        multiply-accumulates a second) of the contender, ``gmacs_ours``, ``ratio`` of its time to ours on packed
        activations, ``ratio_packing`` to ours with packing in the call (None where that is not compared), both with
        quartiles (``_low``, ``_high``), and the contender's own.
    """
    name, turns = contender.name, partial(side_by_side, rounds=rounds, at_least=at_least)
    within = {name: partial(kernels.instruction_set, contender.isa)} if contender.isa else {}
    with limited_to(contender.threads):
        pair = turns({"ours": ours.packed, name: contender.call}, cold=contender.cold, within=within)
        packing = turns({"ours": ours.packing, name: contender.call}) if contender.against_packing else None
    return {
        "contender": name, "threads": contender.threads, "caches": "cold" if contender.cold else "warm",
        "ms": pair.loc[name, "ms"], "gmacs": ours.macs / pair.loc[name, "ms"] / 1e6,
        "gmacs_ours": ours.macs / pair.loc["ours", "ms"] / 1e6,
        **{column: pair.loc[name, column] for column in RATIOS},
        **_packing_ratios(packing, name),
        **contender.columns,
    }  # fmt: skip


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """Inside the context torch and the BLAS libraries use that many threads."""
    before = torch.get_num_threads()
    with threadpool_limits(threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _packing_ratios(pair: pd.DataFrame | None, name: str) -> dict[str, float | None]:
    return {c.replace("ratio", "ratio_packing"): None if pair is None else pair.loc[name, c] for c in RATIOS}
