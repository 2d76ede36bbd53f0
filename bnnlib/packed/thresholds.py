"""Thresholds: what scales, norms and activations between a sum and the next codes come to.

Each of these operations keeps the order of the values of a channel, or turns it, in float32 too, because correct
rounding does. So the code of a sum changes at few numbers, whole ones where the sums are, which bisection finds by
evaluating the operations themselves. A threshold computed from the norm's constants in real arithmetic would be off by
one where it lies near a whole number.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bnnlib.packed.operations import (
    SUMS_OF_REALS,
    Levels,
    MaxPool,
    Norm,
    Operation,
    Product,
    Sign,
)  # fmt: skip

__all__ = ["Chain", "Steps", "chain_to", "is_exact", "largest_sum", "settled", "steps"]

EXACT_IN_FLOAT32 = 2**24  # whole numbers up to here


@dataclass(frozen=True)
class Chain:
    """The operations from a product to the next codes, each the only one that takes the value before it.

    Attributes:
        product: where it begins.
        between: what follows, in order, max pools among it.
        codes: a :class:`Sign` or :class:`Levels`, where it ends.
        largest: the largest absolute sum of a product of codes; None if the sums are real.
    """

    product: Product
    between: tuple[Operation, ...]
    codes: Sign | Levels
    largest: int | None


@dataclass(frozen=True)
class Steps:
    """Where the codes of each channel change.

    Attributes:
        at: int32, or for real sums float32, (K, C): for step k the smallest sum on its upper side; where there is none,
            the largest one and 1, or infinity.
        falling: bool, (C,): whether codes fall with the sum: below ``at`` is then the higher code.
    """

    at: np.ndarray
    falling: np.ndarray


def largest_sum(product: Product, codes: Operation | None) -> int | None:
    """The largest absolute sum of a product of codes; None where an operand is real, or the sum passes 2^24."""
    if product.weights.bits == 32 or not isinstance(codes, Sign | Levels):
        return None
    largest_code = 1 if isinstance(codes, Sign) else max(abs(codes.low), abs(codes.high))
    weights = np.abs(product.weights.values.astype(np.int64)).reshape(len(product.weights.values), -1)
    largest = int(weights.sum(1).max(initial=0)) * largest_code
    return largest if largest < EXACT_IN_FLOAT32 else None


def is_exact(operations: Sequence[Operation]) -> bool:
    """Whether all sums are whole numbers below 2^24: every product is one of codes, and between products there are no
    sums of real values (K, shortcuts, averages)."""
    made_by = {operation.output: operation for operation in operations}
    for operation in operations:
        if isinstance(operation, SUMS_OF_REALS):
            return False
        if isinstance(operation, Product) and largest_sum(operation, made_by.get(operation.inputs[0])) is None:
            return False
    return True


def chain_to(
    codes: Operation, made_by: Mapping[str, Operation], uses: Mapping[str, int], *, real: bool = False
) -> Chain | None:
    """The chain that ends in these codes, or None: it begins elsewhere, or with real sums unless these are allowed,
    branches, does not keep order, or has a shift for each pixel."""
    if isinstance(codes, Sign) and codes.shift is not None and codes.shift.ndim > 1:
        return None
    between: list[Operation] = []
    operation = made_by.get(codes.inputs[0])
    while operation is not None and uses[operation.output] == 1:
        if isinstance(operation, Product):
            largest = largest_sum(operation, made_by.get(operation.inputs[0]))
            return Chain(operation, tuple(between[::-1]), codes, largest) if real or largest is not None else None
        if not (operation.of_each_value or isinstance(operation, MaxPool)) or isinstance(operation, Sign | Levels):
            return None
        between.append(operation)
        operation = made_by.get(operation.inputs[0])
    return None


def _codes_of(operations: Iterable[Operation]) -> Callable[[np.ndarray], np.ndarray]:
    """The codes of sums (K, C) under operations of each value."""

    def evaluate(sums: np.ndarray) -> np.ndarray:
        values = sums[None, :, None]
        for operation in operations:
            values = operation.apply(values)
        return values[0, :, 0]

    return evaluate


def steps(chain: Chain, between: Sequence[Operation] | None = None) -> Steps:
    """Where the codes change, by bisection over all sums that there may be.

    Args:
        between: other operations in place of the chain's.
    """
    pointwise = [op for op in (chain.between if between is None else between) if not isinstance(op, MaxPool)]
    of_sums = _codes_of([*pointwise, chain.codes])
    channels = len(chain.product.weights.values)
    largest, sums = (LARGEST_REAL, _real) if chain.largest is None else (chain.largest, np.int32)

    def evaluate(places: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # of the largest real numbers
            return of_sums(sums(places))

    ends = evaluate(np.array([[-largest], [largest]]).repeat(channels, 1))
    falling = ends[1] < ends[0]
    first, last = (1, 1) if isinstance(chain.codes, Sign) else (chain.codes.low + 1, chain.codes.high)
    wanted = np.arange(first, last + 1)[:, None]
    low = np.full((len(wanted), channels), -largest, np.int64)
    high = np.full((len(wanted), channels), largest + 1, np.int64)
    while (low < high).any():
        middle = (low + high) // 2
        upper = (evaluate(np.minimum(middle, largest)) >= wanted) != falling
        upper |= middle > largest
        high = np.where(upper, middle, high)
        low = np.where(upper, low, np.minimum(middle + 1, high))
    return Steps(
        np.where(low > largest, np.float32("inf"), _real(low)) if chain.largest is None else sums(low), falling
    )


LARGEST_REAL = 0x7F7F_FFFF  # the place of the largest finite float32 among them all, counted from 0


def _real(places: np.ndarray) -> np.ndarray:
    """The float32 at those places: their bits are in order, but for the sign."""
    sizes = np.minimum(np.abs(places), LARGEST_REAL).astype(np.int32).view(np.float32)
    return np.where(places < 0, -sizes, sizes)


def settled(operations: Sequence[Operation], unfolded: Mapping[str, Sequence[Operation]]) -> list[Operation]:
    """Operations whose folded norms give the very codes that the operations they stand for give, for every sum.

    Folding a scale into a norm rounds once less than PyTorch does. Where that moves a step, multiplier and offset of
    that channel are changed by units in the last place until it is where it was. Where no such change is found, or the
    steps can't be found because what follows has none, the scale stays apart. Networks with sums of real values keep
    such norms folded: their codes are not exact anyway. Operations that the scores do not depend on are left out.

    Args:
        operations: of a whole network.
        unfolded: a norm's output -> the operations that the norm stands for.
    """
    operations = _needed(operations)
    made_by = {operation.output: operation for operation in operations}
    uses = count_uses(operations)
    kept = set()  # norms that are as they should be
    for codes in [operation for operation in operations if isinstance(operation, Sign | Levels)]:
        chain = chain_to(codes, made_by, uses)
        if chain is None:
            continue
        norms = [operation for operation in chain.between if operation.output in unfolded]
        if len(norms) != 1:
            continue
        at = chain.between.index(norms[0])
        exact = (*_before_norm(chain.between[:at], unfolded[norms[0].output]), *chain.between[at + 1 :])
        kept.add(norms[0].output)
        place = operations.index(norms[0])
        norm = _nudged(chain, at, norms[0], steps(chain, exact))
        operations[place : place + 1] = _apart(norms[0], unfolded) if norm is None else [norm]
    if not is_exact(operations):
        return operations  # codes depend on real sums anyway
    for norm in [operation for operation in operations if operation.output in set(unfolded) - kept]:
        if _leads_to_codes(norm, operations):
            place = operations.index(norm)
            operations[place : place + 1] = _apart(norm, unfolded)
    return operations


def _needed(operations: Sequence[Operation]) -> list[Operation]:
    """The operations that the last one, the scores, depends on."""
    needed, kept = {operations[-1].output}, []
    for operation in reversed(operations):
        if operation.output in needed:
            kept.append(operation)
            needed |= set(operation.inputs)
    return kept[::-1]


def _leads_to_codes(norm: Operation, operations: Sequence[Operation]) -> bool:
    """Whether codes are made of a norm's output, before the next product."""
    reached = {norm.output}
    for operation in operations:
        if reached & set(operation.inputs):
            if isinstance(operation, Sign | Levels):
                return True
            if not isinstance(operation, Product):
                reached.add(operation.output)
    return False


def _apart(norm: Norm, unfolded: Mapping[str, Sequence[Operation]]) -> list[Operation]:
    """The operations that a norm stands for, one by one, in its place: a ReLU or a max pool before them is as exact."""
    made, name = [], norm.inputs[0]
    for place, operation in enumerate(unfolded[norm.output]):
        output = norm.output if isinstance(operation, Norm) else f"{norm.output}.before{place}"
        made.append(replace(operation, inputs=(name,), output=output))
        name = output
    return made


def _before_norm(before: Sequence[Operation], unfolded: Sequence[Operation]) -> list[Operation]:
    """As PyTorch computes: the scale at the layer, then what lies between it and the norm, then the norm."""
    *scales, norm = unfolded
    return [*scales, *before, norm]


def _nudged(chain: Chain, at: int, norm: Norm, wanted: Steps) -> Norm | None:
    """The norm, changed where need be; None where no change of a few units will do."""

    def with_norm(candidate: Norm) -> np.ndarray:
        found = steps(chain, (*chain.between[:at], candidate, *chain.between[at + 1 :]))
        return (found.at == wanted.at).all(0) & (found.falling == wanted.falling)

    right = with_norm(norm)
    if right.all():
        return norm
    multiplier, offset = norm.multiplier.copy(), norm.offset.copy()
    for size in range(1, 9):
        if right.all():
            break
        for up in (-size, 0, size):
            for by in (-size, 0, size):
                candidate = replace(norm, multiplier=_ulps(norm.multiplier, up), offset=_ulps(norm.offset, by))
                better = with_norm(candidate) & ~right
                multiplier[better], offset[better] = candidate.multiplier[better], candidate.offset[better]
                right |= better
    return replace(norm, multiplier=multiplier, offset=offset) if right.all() else None


def _ulps(values: np.ndarray, count: int) -> np.ndarray:
    for _ in range(abs(count)):
        values = np.nextafter(values, np.float32(np.inf if count > 0 else -np.inf))
    return values


def count_uses(operations: Iterable[Operation]) -> dict[str, int]:
    """How often each value is taken; the last one, the scores, once more."""
    uses: dict[str, int] = {}
    last = None
    for operation in operations:
        for name in operation.inputs:
            uses[name] = uses.get(name, 0) + 1
        uses.setdefault(operation.output, 0)
        last = operation.output
    if last is not None:
        uses[last] += 1
    return uses
