"""The plan of a packed network: which operations run together, and where values are bits.

Signs are bits from where they arise, other codes are bytes. A product of signs runs on words, one of codes on bytes.
What lies between a product of codes and the next codes (scales, norms, activations, max pools) becomes a comparison of
each sum with a threshold for each step between two codes, and the pools are taken over the codes. A real sum, of a
first layer, is compared with the threshold of a sign in the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bnnlib.packed.network import Network
from bnnlib.packed.operations import Geometry, Levels, MaxPool, Operation, Product, Sign
from bnnlib.packed.thresholds import Chain, chain_to, count_uses, largest_sum, steps

__all__ = ["Comparison", "Step", "planned"]

MOST_STEPS = 15  # thresholds of a sum: where codes have more, what lies between is computed


@dataclass(frozen=True)
class Comparison:
    """How sums become codes: for each step (sum >= threshold) xor flip is 0 or 1, and the code is the lowest one plus
    their sum; then for each pool it is the largest of each window. A sign has one step.

    A code that rises with the pooled value is the largest of the window's. One that falls with it is the smallest: it
    is kept inverted, as steps less code, for that time.

    Attributes:
        thresholds: int32, or float32 for real sums, (steps, O).
        flips: bool, (O,), the same for all steps.
        pools: each with the channels that are inverted after it, bool, (O,).
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
        takes_codes, makes_codes: whether the input, or the output, is signs as bits, or codes as bytes.
        whole: of a product, whether it is one of codes, with sums below 2^24.
        comparison: of a product whose sums become codes at once.
        low: the lowest of these codes, if they are more than signs.
    """

    operation: Operation
    output: str
    codes: Sign | Levels | None = None
    takes_codes: bool = False
    makes_codes: bool = False
    whole: bool = False
    comparison: Comparison | None = None
    low: int | None = None


def planned(network: Network, *, plain: bool = False) -> tuple[Step, ...]:
    """The steps of a network, in the order in which they run. ``plain``: no codes are bytes, only whole sums are
    compared."""
    operations = network.operations
    made_by = {operation.output: operation for operation in operations}
    uses = count_uses(operations)
    takers: dict[str, list[Operation]] = {}
    for operation in operations:
        for name in operation.inputs:
            takers.setdefault(name, []).append(operation)
    packed = {
        operation.output
        for operation in operations
        if (isinstance(operation, Sign) or (isinstance(operation, Levels) and not plain and _in_a_byte(operation)))
        and all(
            isinstance(taker, Product) and _on_codes(taker, operation) for taker in takers.get(operation.output, ())
        )
    }
    chains = [
        chain_to(operation, made_by, uses, real=not plain) for operation in operations if operation.output in packed
    ]
    by_product = {chain.product.output: chain for chain in chains if chain is not None and _comparable(chain)}
    inside = {operation.output for chain in by_product.values() for operation in (*chain.between, chain.codes)}
    steps_made = []
    for operation in operations:
        if operation.output in inside:
            continue
        if not isinstance(operation, Product):
            steps_made.append(Step(operation, operation.output, makes_codes=operation.output in packed))
            continue
        codes = made_by.get(operation.inputs[0])
        chain = by_product.get(operation.output)
        steps_made.append(
            Step(
                operation,
                chain.codes.output if chain else operation.output,
                codes if isinstance(codes, Sign | Levels) else None,
                takes_codes=operation.inputs[0] in packed,
                makes_codes=chain is not None,
                whole=largest_sum(operation, codes) is not None,
                comparison=None if chain is None else _comparison(chain),
                low=chain.codes.low if chain is not None and isinstance(chain.codes, Levels) else None,
            )
        )
    return tuple(steps_made)


def _comparable(chain: Chain) -> bool:
    """Whether the kernels compare such sums: real ones with one threshold, without groups, and whole ones with few."""
    if chain.largest is None:
        return isinstance(chain.codes, Sign) and chain.product.groups == 1
    return isinstance(chain.codes, Sign) or chain.codes.high - chain.codes.low <= MOST_STEPS


def _on_codes(product: Product, codes: Sign | Levels) -> bool:
    """Whether a product can run on packed codes: signs with weights of one bit and padding that the kernel knows, other
    codes that fit a byte with weights that do."""
    if largest_sum(product, codes) is None:
        return False
    if isinstance(codes, Sign):
        top, bottom, left, right = product.geometry.padding
        return product.weights.bits == 1 and top == bottom and left == right
    weights, around = product.weights.values, product.pad_value
    known = product.groups == 1 and codes.low <= around <= codes.low + 255
    return known and _in_a_byte(codes) and weights.min() >= -128 and weights.max() <= 127


def _in_a_byte(levels: Levels) -> bool:
    return levels.high - levels.low <= 255


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
