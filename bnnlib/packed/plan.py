"""The plan of a packed network: which operations run together, and where values are bits.

Signs are bits from where they arise, and codes of few bits are planes of bits. A product of signs runs on words, one of
codes is several of signs. What lies between a product of codes and the next codes (scales, norms, activations, max
pools) becomes a comparison of each sum with a threshold for each step between two codes, and the pools are taken over
bits. A real sum, of a first layer, is compared in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bnnlib.packed.network import Network
from bnnlib.packed.operations import Geometry, Levels, MaxPool, Operation, Product, Sign
from bnnlib.packed.thresholds import Chain, chain_to, count_uses, largest_sum, steps

__all__ = ["Comparison", "Step", "plane_count", "planned"]

MOST_PRODUCTS = 4  # of planes of bits: with more of them one of float32 is faster


@dataclass(frozen=True)
class Comparison:
    """How sums become codes: for each step a bit = (sum >= threshold) xor flip, then for each pool an OR over its
    windows and an xor. The code is the lowest one plus the number of bits that are set; a sign has one step.

    A bit that rises with the pooled value is set where any of the window is: an OR. One that falls with it is set where
    all are: it is kept inverted for that time.

    Attributes:
        thresholds: int32, or float32 for real sums, (steps, O).
        flips: bool, (O,), the same for all steps.
        pools: each with the bits that are inverted after it, bool, (O,).
    """

    thresholds: np.ndarray
    flips: np.ndarray
    pools: tuple[tuple[Geometry, np.ndarray], ...]


@dataclass(frozen=True)
class Step:
    """One step of the plan.

    Attributes:
        operation: what is done; of a product with a comparison the first of several operations.
        output: the value that the step makes.
        codes: of a product, what makes its input, if that is codes.
        takes_bits, makes_bits: whether the input, or the output, is signs as bits, or codes as planes of bits.
        whole: of a product, whether it is one of codes, with sums below 2^24.
        comparison: of a product whose sums become codes at once.
        low: the lowest of these codes, if they are more than signs.
    """

    operation: Operation
    output: str
    codes: Sign | Levels | None = None
    takes_bits: bool = False
    makes_bits: bool = False
    whole: bool = False
    comparison: Comparison | None = None
    low: int | None = None


def planned(network: Network, *, plain: bool = False) -> tuple[Step, ...]:
    """The steps of a network, in the order in which they run. ``plain``: only signs are bits, only whole sums are
    compared."""
    operations = network.operations
    made_by = {operation.output: operation for operation in operations}
    uses = count_uses(operations)
    takers: dict[str, list[Operation]] = {}
    for operation in operations:
        for name in operation.inputs:
            takers.setdefault(name, []).append(operation)
    as_bits = {
        operation.output
        for operation in operations
        if isinstance(operation, Sign if plain else Sign | Levels)
        and all(
            isinstance(taker, Product) and _on_words(taker, operation) for taker in takers.get(operation.output, ())
        )
    }
    chains = [
        chain_to(operation, made_by, uses, real=not plain) for operation in operations if operation.output in as_bits
    ]
    by_product = {chain.product.output: chain for chain in chains if chain is not None and _comparable(chain)}
    inside = {operation.output for chain in by_product.values() for operation in (*chain.between, chain.codes)}
    steps_made = []
    for operation in operations:
        if operation.output in inside:
            continue
        if not isinstance(operation, Product):
            steps_made.append(Step(operation, operation.output, makes_bits=operation.output in as_bits))
            continue
        codes = made_by.get(operation.inputs[0])
        chain = by_product.get(operation.output)
        steps_made.append(
            Step(
                operation,
                chain.codes.output if chain else operation.output,
                codes if isinstance(codes, Sign | Levels) else None,
                takes_bits=operation.inputs[0] in as_bits,
                makes_bits=chain is not None,
                whole=largest_sum(operation, codes) is not None,
                comparison=None if chain is None else _comparison(chain),
                low=chain.codes.low if chain is not None and isinstance(chain.codes, Levels) else None,
            )
        )
    return tuple(steps_made)


def _comparable(chain: Chain) -> bool:
    """Whether the kernels compare such sums: real ones with one threshold, without groups."""
    return chain.largest is not None or (isinstance(chain.codes, Sign) and chain.product.groups == 1)


def plane_count(levels: Levels) -> int:
    """The planes of bits that such codes have."""
    return int(levels.high - levels.low).bit_length()


def _on_words(product: Product, codes: Sign | Levels) -> bool:
    """Whether a product can run on words: weights of one bit, or few products of planes, and padding that the kernels
    know."""
    top, bottom, left, right = product.geometry.padding
    if isinstance(codes, Sign):
        few = product.weights.bits == 1
    else:
        few = product.weights.bits * plane_count(codes) <= MOST_PRODUCTS and product.groups == 1
    return few and top == bottom and left == right and largest_sum(product, codes) is not None


def _comparison(chain: Chain) -> Comparison:
    found = steps(chain)
    pools, inverted = [], []
    for place, operation in enumerate(chain.between):
        if isinstance(operation, MaxPool):
            pools.append(operation.geometry)
            inverted.append(found.falling != _falls(chain, chain.between[:place]))
    inverted.append(np.zeros_like(found.falling))  # at the end no bit is
    after = [now ^ then for now, then in pairwise(inverted)]
    thresholds, flips = found.at, np.ascontiguousarray(found.falling ^ inverted[0])
    return Comparison(thresholds, flips, tuple(zip(pools, after, strict=True)))


def _falls(chain: Chain, operations: Sequence[Operation]) -> np.ndarray:
    """For each channel whether the value after some operations falls with the sum."""
    channels = len(chain.product.weights.values)
    largest = np.finfo(np.float32).max if chain.largest is None else np.int32(chain.largest)
    ends = np.array([[-largest], [largest]]).repeat(channels, 1)[None, :, None]
    for operation in operations:
        if not isinstance(operation, MaxPool):
            with np.errstate(over="ignore"):
                ends = operation.apply(ends)
    return ends[0, 1, 0] < ends[0, 0, 0]
