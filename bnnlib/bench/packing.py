"""Packing of floats against the bandwidth of reading them."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pandas as pd
import torch

from bnnlib import kernels
from bnnlib.bench.products import other_sets
from bnnlib.bench.timing import side_by_side
from bnnlib.kernels import _kernels

__all__ = ["SIZES", "measure_packing"]

SIZES = [32 << 10, 512 << 10, 8 << 20, 128 << 20]  # bytes: those of L1, L2, L3 and memory on a typical machine


def measure_packing(
    sizes: Iterable[int] = SIZES,
    *,
    rounds: int = 15,
    at_least: float = 0.02,
    progress: Callable[[dict], None] = lambda row: None,
) -> pd.DataFrame:
    """Times the packing of float32 rows of 1024 values, in pairs with other passes over the same bytes.

    "ours" and "reading" are compiled functions without the call from Python, so that they give a bandwidth;
    ``bnnlib.kernels.pack`` is the call that users make, with its checks and a new array.

    Returns:
        A row for each size and contender (reading in C, memcpy, NumPy's and torch's maximum, NumPy's packbits, the call
        from Python, and every instruction set other than the one in use, which is ours): ``gb_per_s`` of bytes read,
        ``gb_per_s_ours``, and the ``ratio`` of its time to ours.
    """
    rows = []
    for size in sizes:
        x = np.random.default_rng(0).standard_normal((size // 4096, 1024)).astype(np.float32)
        copy, bits, tensor = np.empty_like(x), np.empty((len(x), 16), np.uint64), torch.from_numpy(x)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)

        def ours(x=x, bits=bits):
            return _kernels.pack_f32(x, bits)

        others = other_sets()
        within = {f"bnnlib, {isa}": partial(kernels.instruction_set, isa) for isa in others}

        contenders: dict[str, Callable[[], object]] = {
            "reading": lambda x=x: _kernels.read(x),
            "memcpy": lambda x=x, copy=copy: np.copyto(copy, x),
            "NumPy maximum": x.max,
            "torch maximum": tensor.max,
            "NumPy packbits": lambda x=x: np.packbits(x >= 0),
            "bnnlib.kernels.pack": lambda x=x: kernels.pack(x),
            **{f"bnnlib, {isa}": ours for isa in others},
        }
        try:
            for name, call in contenders.items():
                pair = side_by_side({"ours": ours, name: call}, rounds=rounds, at_least=at_least, within=within)
                row = {
                    "bytes": x.nbytes, "contender": name, "threads": 1, "ms": pair.loc[name, "ms"],
                    "gb_per_s": x.nbytes / pair.loc[name, "ms"] / 1e6,
                    "gb_per_s_ours": x.nbytes / pair.loc["ours", "ms"] / 1e6,
                    **{column: pair.loc[name, column] for column in ("ratio", "ratio_low", "ratio_high")},
                }  # fmt: skip
                rows.append(row)
                progress(row)
        finally:
            torch.set_num_threads(threads)
    return pd.DataFrame(rows).round(5)
