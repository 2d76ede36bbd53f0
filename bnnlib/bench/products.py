"""Products of sign matrices: the course's kernels against other software, in pairs."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd
import psutil

from bnnlib import kernels
from bnnlib.bench.pairs import Contender, Skipped, limited_to, measure_pair, prepared, versions
from bnnlib.bench.rivals import RIVALS, Rival, wrong_share
from bnnlib.kernels.checks import MACS_OF_A_THREAD

__all__ = ["LAYERS", "SQUARES", "Product", "check_memory", "contenders", "measure_products", "signs"]

SQUARES = [(n, n, n) for n in (64, 128, 256, 512, 1024, 2048, 4096)]
# (M, N, K) of layers: a 3x3 convolution of 256 channels on 14 x 14, a hidden layer at batch 64 and at batch 1, and the
# second convolution (32 -> 64 channels on 14 x 14) and the hidden layer of the course's own networks.
LAYERS = [(196, 256, 2304), (64, 1024, 1024), (1, 1024, 1024), (196, 64, 288), (128, 1024, 784)]
LONGEST_CALL = 2.0  # seconds; a shape's slower contenders are left out


def signs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """+1 and -1 as float32."""
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), shape)


class Product:
    """Our product of one shape, which writes into an ``out`` from ``kernels.empty``.

    Attributes:
        a, b: signs as float32, (M, K) and (N, K).
        bits, weights: both packed, uint64.
        panels: the weights, prepacked.
        out: int32 (M, N).
        macs: M * N * K.
    """

    def __init__(self, m: int, n: int, k: int):
        self.a, self.b = signs((m, k), 1), signs((n, k), 2)
        self.bits, self.weights = kernels.pack(self.a), kernels.pack(self.b)
        self.panels, self.out = kernels.prepack(self.weights, k), kernels.empty((m, n))
        self.columns, self.macs = k, m * n * k

    def packed(self, threads: int = 1) -> np.ndarray:
        return kernels.matmul(self.bits, self.panels, self.columns, out=self.out, threads=threads)

    def packing(self) -> np.ndarray:
        return kernels.sign_matmul(self.a, self.panels, out=self.out)


def bytes_needed(m: int, n: int, k: int) -> int:
    """Roughly the most memory that measuring a shape takes: operands, the rivals' copies of them, and products."""
    return 16 * (m + n) * k + 20 * m * n


def check_memory(shapes: Iterable[tuple[int, int, int]]) -> None:
    """Refuses shapes that do not fit into the available memory, before any is taken.

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
    skipped: Callable[[str, str], None] = lambda name, why: None,
) -> pd.DataFrame:
    """Times every contender in a pair with the course's best kernel, on one thread (and ours on two as well).

    Ours write into an ``out`` from ``kernels.empty``, which starts at a cache line. Rivals that take one get an array
    of their own library; the others, and our loops over words, allocate their result. A rival's first product is
    compared with ours; it is timed only if that is right.

    Args:
        shapes: (M, N, K): activations, filters, depth.
        rivals: names of ``bnnlib.bench.rivals.RIVALS``.
        rounds, at_least: as for :func:`side_by_side`.
        cold: also with caches flushed before each call, for ours and the float32 products.
        progress: called with each row when it is measured.
        skipped: called with the name of each rival that is left out and the word that says why, as in
            :class:`bnnlib.bench.pairs.Skipped`.

    Returns:
        A row for each shape and contender: ``m``, ``n``, ``k``, the columns of :func:`bnnlib.bench.pairs.measure_pair`,
        for the int8 product ``wrong_share``, the share of wrong entries, and for what does not come with the course
        ``version``.

    Raises:
        ValueError: a shape needs more memory than is available.
    """
    shapes, rivals, rows, speeds = list(shapes), tuple(rivals), [], {}
    check_memory(shapes)
    with limited_to(1):  # rivals choose their layouts on one thread too
        for m, n, k in shapes:
            product = Product(m, n, k)
            for contender in contenders(product, rivals, cold, skipped, speeds):
                row = {"m": m, "n": n, "k": k, **measure_pair(product, contender, rounds=rounds, at_least=at_least)}
                rows.append(row)
                speeds[contender.name] = row["gmacs"]
                progress(row)
    return pd.DataFrame(rows).round(5)


def contenders(
    product: Product,
    rivals: Iterable[str],
    cold: bool,
    skipped: Callable[[str, str], None] = lambda name, why: None,
    speeds: Mapping[str, float] = MappingProxyType({}),
) -> Iterator[Contender]:
    """What is timed against our product: its variants, our loops over words, then the rivals. A rival is prepared only
    when its turn comes, and only if it won't take too long by its rough speed, or by that in ``speeds`` (GMAC/s as last
    measured here) if that is much lower: some processors have no fast code for bf16 and int8."""
    yield Contender("bnnlib, packing in the call", product.packing)
    if product.macs >= 2 * MACS_OF_A_THREAD:  # else one thread does it alone
        yield Contender("bnnlib, two threads", partial(product.packed, 2), threads=2)
    for isa in other_sets():
        yield Contender(f"bnnlib, {isa}", product.packed, isa=isa)
    loops = partial(kernels.loop_matmul, product.bits, product.weights, product.columns)
    for isa in kernels.info()["available"]:
        yield Contender(f"three loops over words, {isa}", loops, isa=isa)
    for name in rivals:
        try:
            call = _prepared(RIVALS[name], product, speeds.get(name))
        except Skipped as why:
            skipped(name, str(why))
            continue
        columns = versions(RIVALS[name].needs)
        if "int8 (wraps)" in name:
            columns["wrong_share"] = wrong_share(product.a, product.b)
        yield Contender(name, call, against_packing=True, columns=columns)
        if cold and name.endswith("float32"):
            yield Contender(name, call, cold=True)


def _prepared(rival: Rival, product: Product, seen: float | None) -> Callable[[], object]:
    """A rival's product of the same signs, found right.

    Raises:
        Skipped: it would take too long, does not run here, or is wrong.
    """
    speed = seen if seen is not None and seen < rival.speed / 3 else rival.speed  # far from the rough one: believe it
    if product.macs / speed / 1e9 > LONGEST_CALL:
        raise Skipped("slow")
    return prepared(
        lambda: rival.make(product.a, product.b),
        lambda result: rival.is_right(result, product.packed()),
        needs=rival.needs,
    )


def other_sets() -> list[str]:
    """The instruction sets of this processor other than the one in use."""
    info = kernels.info()
    return [isa for isa in info["available"] if isa != info["isa"]]
