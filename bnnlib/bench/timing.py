"""Side-by-side timing: contenders take turns and medians are compared; nothing is timed alone."""

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

import numpy as np
import pandas as pd

__all__ = ["flush_caches", "side_by_side"]

_LARGER_THAN_CACHES = np.zeros(0, np.uint8)


def flush_caches(size: int = 256 << 20) -> None:
    """Reads and writes ``size`` bytes, many times a core's own caches, so that the next call reads its operands from
    memory (or, on machines with hundreds of megabytes of shared cache, partly from there)."""
    global _LARGER_THAN_CACHES
    if _LARGER_THAN_CACHES.size != size:
        _LARGER_THAN_CACHES = np.zeros(size, np.uint8)
    _LARGER_THAN_CACHES += 1


def side_by_side(
    contenders: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    warmup: int = 2,
    at_least: float = 0.02,
    cold: bool = False,
    within: Mapping[str, Callable[[], AbstractContextManager]] = MappingProxyType({}),
) -> pd.DataFrame:
    """Times contenders in turn (A B C A B C ...), so that a change of the machine's speed affects all alike.

    Args:
        contenders: name -> what to call. The first is the baseline of the ratios.
        rounds: turns that are timed.
        warmup: calls before the first turn.
        at_least: seconds of a turn, at least; short calls are repeated within a turn.
        cold: flush the caches before every call, outside the clock; a turn is then one call.
        within: name -> a function that returns the context of that contender's turns, such as an instruction set;
            entered and left outside the clock.

    Returns:
        A row for each contender: ``ms`` (median of a call), ``ms_low``, ``ms_high`` (quartiles), ``ratio`` (median over
        the rounds of contender / baseline), ``ratio_low``, ``ratio_high`` (quartiles).

    Raises:
        ValueError: fewer than two contenders or three rounds.
    """
    if len(contenders) < 2 or rounds < 3:
        raise ValueError(f"needs two contenders and three rounds, received {len(contenders)} and {rounds}")
    calls: dict[str, int] = {}
    for name, call in contenders.items():
        with within.get(name, nullcontext)():
            for _ in range(max(1, warmup)):
                begun = time.perf_counter()
                call()
                took = time.perf_counter() - begun
        calls[name] = 1 if cold else max(1, round(at_least / max(took, 1e-9)))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            if cold:
                flush_caches()
            with within.get(name, nullcontext)():
                begun = time.perf_counter()
                for _ in range(calls[name]):
                    call()
                seconds[name].append((time.perf_counter() - begun) / calls[name])
    baseline = seconds[next(iter(contenders))]
    rows = []
    for name, times in seconds.items():
        low, middle, high = statistics.quantiles(times, n=4)
        ratios = statistics.quantiles([t / b for t, b in zip(times, baseline, strict=True)], n=4)
        rows.append(
            {
                "contender": name,
                "ms": 1e3 * middle,
                "ms_low": 1e3 * low,
                "ms_high": 1e3 * high,
                "ratio": ratios[1],
                "ratio_low": ratios[0],
                "ratio_high": ratios[2],
            }
        )
    return pd.DataFrame(rows).set_index("contender")
