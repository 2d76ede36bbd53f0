"""The machine under test: its clock, its caches, the cost of a call, and the limit set by its execution ports."""

import os
import re
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnnlib import kernels
from bnnlib.kernels import _kernels

__all__ = [
    "Core", "call_overhead", "clock", "core", "float_limit", "machine", "port_cycles", "port_limit", "short_names",
]  # fmt: skip

_KINDS = {"xor": 0, "popcount": 1, "add": 2}


@dataclass(frozen=True)
class Core:
    """What the makers say of a kind of processor core.

    Attributes:
        name: of the microarchitecture, or of the product line.
        floats: float32 multiply-accumulates a cycle at most: units for fused multiply-add times their lanes.
    """

    name: str
    floats: int


# AMD's Software Optimization Guides (publications 56665, 57647, 58455): two units, of 256 bits in Zen 3 and 4 (which
# splits 512-bit instructions), of 512 bits in Zen 5. Xeons with AVX-512: two of 512 bits, 64 float32 operations a cycle
# (PyTorch's recipe on AMX, after Intel).
_ZEN3, _ZEN4, _ZEN5, _XEON = Core("Zen 3", 16), Core("Zen 4", 16), Core("Zen 5", 32), Core("Xeon", 32)
_ZEN4_MODELS = {*range(16, 32), *range(96, 128), *range(160, 176)}


def core(processor: str) -> Core | None:
    """The kind of core of a processor as the stored tables name it, "AMD EPYC (family 26, model 2)".

    Returns:
        None for a processor that is not among those which the course was measured on, or near them.
    """
    found = re.search(r"\b(AMD|Xeon)\b.*\(family (\d+), model (\d+)\)", processor)
    maker, family, model = (found[1], int(found[2]), int(found[3])) if found else ("", 0, 0)
    if maker == "AMD" and family == 25:
        return _ZEN4 if model in _ZEN4_MODELS else _ZEN3
    return {("AMD", 26): _ZEN5, ("Xeon", 6): _XEON}.get((maker, family))


def short_names(processors: Iterable[str]) -> dict[str, str]:
    """Processor -> a name short enough for the header of a table: its kind of core, if known and no other's too."""
    kinds = {processor: kind.name if (kind := core(processor)) else processor for processor in processors}
    names = list(kinds.values())
    return {processor: name if names.count(name) == 1 else processor for processor, name in kinds.items()}


def float_limit(ghz: float, processor: str) -> float | None:
    """Float32 multiply-accumulates per nanosecond (GMAC/s) that one core can do at most: its peak.

    Args:
        ghz: from :func:`clock`.
        processor: as :func:`core` takes it.

    Returns:
        None for a processor that :func:`core` does not know.
    """
    kind = core(processor)
    return kind and kind.floats * ghz


def clock() -> float:
    """The present clock of this thread in GHz, by dependent additions of one cycle each. Median of nine."""
    rates = []
    for _ in range(9):
        begun = time.perf_counter()
        _kernels.dependent_additions(4_000_000)
        rates.append(4e-3 / (time.perf_counter() - begun))
    return statistics.median(rates)


def call_overhead() -> dict[str, float]:
    """Microseconds for a call from Python, with ``out`` given and next to no arithmetic (some nanoseconds in C).

    The products are of one row of 64 signs with 32, the convolutions of one pixel with 32 filters; their time in C is
    included. Medians of nine times a thousand calls.
    """
    bits, pixel = np.zeros((32, 1), np.uint64), np.zeros((1, 1, 1, 1), np.uint64)
    row, panels, sums = bits[:1], kernels.prepack(bits, 64), np.empty((1, 32), np.int32)
    filters, image = kernels.prepack_filters(np.ones((32, 64, 1, 1), np.float32)), np.empty((1, 1, 1, 32), np.int32)
    thresholds, flips = np.zeros(32, np.int32), np.zeros(32, np.bool_)
    words, pixels = np.empty((1, 1), np.uint64), np.empty((1, 1, 1, 1), np.uint64)
    calls: dict[str, Callable[[], object]] = {
        "matmul": lambda: kernels.matmul(row, panels, 64, out=sums),
        "conv2d": lambda: kernels.conv2d(pixel, filters, out=image),
        "matmul_threshold": lambda: kernels.matmul_threshold(row, panels, 64, thresholds, flips, out=words),
        "conv2d_threshold": lambda: kernels.conv2d_threshold(pixel, filters, thresholds, flips, out=pixels),
    }
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(9):
        for name, call in calls.items():
            begun = time.perf_counter()
            for _ in range(1000):
                call()
            took[name].append((time.perf_counter() - begun) * 1e3)
    return {name: statistics.median(times) for name, times in took.items()}


def port_cycles() -> dict[str, float] | None:
    """Reciprocal throughput of a 512-bit xor, popcount and addition: cycles for each independent instruction.

    Clock and instructions are measured in turn, nine times; medians. None on a processor without AVX-512 VPOPCNTDQ.
    """
    count = 1_200_000
    if not _kernels.port_instructions(0, 12):
        return None
    cycles: dict[str, list[float]] = {name: [] for name in _KINDS}
    for _ in range(9):
        begun = time.perf_counter()
        _kernels.dependent_additions(count)
        cycle = (time.perf_counter() - begun) / count
        for name, kind in _KINDS.items():
            begun = time.perf_counter()
            _kernels.port_instructions(kind, count)
            cycles[name].append((time.perf_counter() - begun) / count / cycle)
    return {name: statistics.median(values) for name, values in cycles.items()}


def port_limit(ghz: float, cycles: dict[str, float], *, operations: float = 3, counts: float = 1) -> float:
    """Multiply-accumulates per nanosecond (GMAC/s) that the vector ports allow.

    Args:
        ghz, cycles: from :func:`clock` and :func:`port_cycles`.
        operations: instructions for 512 bits: an xor, a popcount and an addition; fewer with carry-save adders.
        counts: how many of them are popcounts.

    Each instruction takes a slot of one vector port; the cheapest instruction tells the number of ports. Popcounts run
    on some of the ports only. The limit is set by all slots or by the popcounts, whichever take longer.
    """
    return 512 / max(operations * min(cycles.values()), counts * cycles["popcount"]) * ghz


def machine() -> dict[str, object]:
    """Clock, cycles of the three instructions, call overheads, processors, caches, and how idle threads wait (OpenMP's
    policy, which decides what a second thread costs), as columns of a row."""
    caches = {}
    for index in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size = (index.joinpath(f).read_text().strip() for f in ("level", "type", "size"))
        except OSError:
            continue
        if kind != "Instruction":
            caches[f"L{level}"] = size
    overhead = call_overhead()
    return {
        "ghz": round(clock(), 2),
        **{f"cycles_{name}": round(value, 3) for name, value in (port_cycles() or {}).items()},
        "call_us": round(overhead.pop("matmul"), 2),
        **{f"call_{name}_us": round(took, 2) for name, took in overhead.items()},
        "processors": os.cpu_count(),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", "default"),
        "cache_sizes": " ".join(f"{level} {size}" for level, size in sorted(caches.items())),
    }
