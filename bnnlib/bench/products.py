"""Products of sign matrices: the course's kernels against other software, in pairs."""

import importlib.util
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pandas as pd
import psutil
import torch
from threadpoolctl import threadpool_limits

from bnnlib import kernels
from bnnlib.bench.rivals import RIVALS, wrong_share
from bnnlib.bench.timing import side_by_side
from bnnlib.kernels.checks import MACS_OF_A_THREAD

__all__ = ["LAYERS", "SQUARES", "check_memory", "measure_products", "signs"]

SQUARES = [(n, n, n) for n in (64, 128, 256, 512, 1024, 2048, 4096)]
# (M, N, K) of layers: a 3x3 convolution of 256 channels on 14 x 14, a hidden layer at batch 64 and at batch 1, and the
# second convolution (32 -> 64 channels on 14 x 14) and the hidden layer of the course's own networks.
LAYERS = [(196, 256, 2304), (64, 1024, 1024), (1, 1024, 1024), (196, 64, 288), (128, 1024, 784)]
RATIOS = ("ratio", "ratio_low", "ratio_high")
LONGEST_CALL = 2.0  # seconds; slower contenders are left out of that shape


def signs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """+1 and -1 as float32."""
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), shape)


def bytes_needed(m: int, n: int, k: int) -> int:
    """Roughly the most memory that measuring a shape takes: operands, the rivals' copies of them, and products."""
    return 16 * (m + n) * k + 20 * m * n


def check_memory(shapes: Iterable[tuple[int, int, int]]) -> None:
    """Refuses shapes for which this machine has no room, before any memory is taken.

    Args:
        shapes: (M, N, K), as for :func:`measure_products`.

    Raises:
        ValueError: a shape needs more memory than is available; the message gives both.
    """
    available = psutil.virtual_memory().available
    for m, n, k in shapes:
        if (needed := bytes_needed(m, n, k)) > available:
            raise ValueError(
                f"{m}x{n}x{k} needs about {needed / 2**30:,.1f} GiB of memory and {available / 2**30:,.1f} GiB are "
                f"available: choose a smaller size"
            )


def measure_products(
    shapes: Iterable[tuple[int, int, int]] = (*SQUARES, *LAYERS),
    *,
    rivals: Iterable[str] = tuple(RIVALS),
    rounds: int = 15,
    at_least: float = 0.02,
    cold: bool = True,
    progress: Callable[[dict], None] = lambda row: None,
) -> pd.DataFrame:
    """Times every contender in a pair with the course's best kernel, on one thread (and ours on two as well).

    Args:
        shapes: (M, N, K): activations, filters, depth.
        rivals: names of ``bnnlib.bench.rivals.RIVALS``.
        rounds, at_least: as for :func:`side_by_side`.
        cold: also with caches flushed before each call, for ours and the float32 products.
        progress: called with each row when it is measured.

    Returns:
        A row for each shape and contender: ``ms`` and ``gmacs`` (10^9 multiply-accumulates a second) of the contender,
        ``ratio`` of its time to ours with activations packed beforehand (``ratio_low``, ``ratio_high``: quartiles of
        the rounds), ``ratio_packing`` (and quartiles) to ours with packing in the call, ``caches`` ("warm" or "cold"),
        ``threads``, and for the int8 product the share of wrong entries.

    Raises:
        ValueError: a shape needs more memory than is available.
    """
    shapes = list(shapes)
    check_memory(shapes)
    rows = []
    for m, n, k in shapes:
        a, b = signs((m, k), 1), signs((n, k), 2)
        x, panels = kernels.pack(a), kernels.prepack(kernels.pack(b), k)
        out = kernels.matmul(x, panels, k)

        def packed(threads=1, x=x, panels=panels, k=k, out=out):
            return kernels.matmul(x, panels, k, out=out, threads=threads)

        def packing(a=a, panels=panels, out=out):
            return kernels.sign_matmul(a, panels, out=out)

        def measure(name, call, shape, ours=packed, with_packing=packing, threads=1, caches="warm", isa=None, **more):
            within = {name: partial(kernels.instruction_set, isa)} if isa else {}
            with threadpool_limits(threads):
                torch_threads = torch.get_num_threads()
                torch.set_num_threads(threads)
                try:
                    pair = side_by_side(
                        {"ours": ours, name: call}, rounds=rounds, at_least=at_least, cold=caches == "cold",
                        within=within,
                    )  # fmt: skip
                    other = (
                        side_by_side({"ours": with_packing, name: call}, rounds=rounds, at_least=at_least)
                        if with_packing and caches == "warm"
                        else None
                    )
                finally:
                    torch.set_num_threads(torch_threads)
            macs = shape[0] * shape[1] * shape[2]
            row = {
                "m": shape[0], "n": shape[1], "k": shape[2], "contender": name, "threads": threads, "caches": caches,
                "ms": pair.loc[name, "ms"], "gmacs": macs / pair.loc[name, "ms"] / 1e6,
                "gmacs_ours": macs / pair.loc["ours", "ms"] / 1e6,
                **{column: pair.loc[name, column] for column in RATIOS},
                **packing_ratios(other, name),
                **more,
            }  # fmt: skip
            rows.append(row)
            progress(row)

        shape = (m, n, k)
        measure("bnnlib, packing in the call", packing, shape, with_packing=None)
        if m * n * k >= 2 * MACS_OF_A_THREAD:  # else one thread does it alone
            measure("bnnlib, two threads", lambda packed=packed: packed(2), shape, with_packing=None, threads=2)
        for isa in other_sets():
            measure(f"bnnlib, {isa}", packed, shape, with_packing=None, isa=isa)
        y = kernels.pack(b)
        for isa in kernels.info()["available"]:
            loops = partial(kernels.loop_matmul, x, y, k)
            measure(f"three loops over words, {isa}", loops, shape, with_packing=None, isa=isa)
        for name in rivals:
            make, speed = RIVALS[name]
            if m * n * k / speed / 1e9 > LONGEST_CALL or (name.startswith("numba") and not _has_numba()):
                continue
            more = {"wrong_share": wrong_share(a, b)} if "int8 (wraps)" in name else {}
            try:
                call = make(a, b)
                call()
            except (RuntimeError, AttributeError):  # torch._int_mm asks for more than 16 rows; not every torch has MKL
                continue
            measure(name, call, shape, **more)
            if cold and name.endswith("float32"):
                measure(name, call, shape, caches="cold")
    return pd.DataFrame(rows).round(5)


def other_sets() -> list[str]:
    """The instruction sets that this processor has beside the one in use, which is ours."""
    info = kernels.info()
    return [isa for isa in info["available"] if isa != info["isa"]]


def packing_ratios(pair: pd.DataFrame | None, name: str) -> dict[str, float | None]:
    """The ratios of a pair with packing in the call, as further columns of a row; empty without one."""
    return {c.replace("ratio", "ratio_packing"): None if pair is None else pair.loc[name, c] for c in RATIOS}


def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None
