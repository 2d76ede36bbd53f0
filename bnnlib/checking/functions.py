"""Functions that exercises ask for: what they must give, on a few cases chosen to catch the usual slips."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import log_softmax, softmax
from statsmodels.stats.power import TTestIndPower

from bnnlib import kernels, report
from bnnlib.checking.outcome import Check

__all__ = ["TASKS", "Task", "checks"]


@dataclass(frozen=True)
class Task:
    """A function to write.

    Attributes:
        signature: how it is called.
        expected: the function's result, computed another way.
        cases: what a case is about -> the arguments.
        tolerance: relative; 0 for integers, which must be equal.
    """

    signature: str
    expected: Callable[..., Any]
    cases: Mapping[str, tuple]
    tolerance: float = 0.0


def checks(task: Task) -> tuple[Check, ...]:
    """The checks of a task: that it is a function, then each of its cases."""

    def is_a_function(subject) -> str:
        return "" if callable(subject) else f"it must be a function {task.signature}, received {subject!r:.60}"

    def of_case(arguments: tuple) -> Callable[[Any], str]:
        def compare(subject) -> str:
            wanted = np.asarray(task.expected(*arguments))
            given = subject(*(np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments))
            if given is None:
                return "it returned None: is a `return` missing?"
            given = np.asarray(given)
            if given.shape != wanted.shape:
                return f"the result must have shape {wanted.shape}, it has {given.shape}"
            if given.dtype.kind in "iu" and wanted.dtype.kind in "iu" and not task.tolerance:
                near = given == wanted  # 64 bits, which a float64 would round
            else:
                near = np.isclose(given.astype(float), wanted.astype(float), rtol=task.tolerance, atol=task.tolerance)
            if near.all():
                return ""
            if not wanted.shape:
                return f"must be {wanted:.6g}, is {given:.6g}"
            where = tuple(np.argwhere(~near)[0])
            place = ", ".join(map(str, where))
            return f"at [{place}] it must be {wanted[where]:.6g}, it is {given[where]:.6g}"

        return compare

    cases = [(what, of_case(arguments), False) for what, arguments in task.cases.items()]
    return (("is a function", is_a_function, True), *cases)


def _dot(a: int, b: int, n: int) -> int:
    return sum(1 if (a >> j & 1) == (b >> j & 1) else -1 for j in range(n))


def _normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def _zeros_of_both_signs() -> np.ndarray:
    return np.array([[0.0, -0.0, 1.0, -1.0]], np.float32)


def _words(rows: int, columns: int, seed: int) -> np.ndarray:
    return kernels.pack(np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32))


def _sign_product(a: np.ndarray, b: np.ndarray, columns: int) -> np.ndarray:
    return kernels.unpack(a, columns).astype(int) @ kernels.unpack(b, columns).astype(int).T


def _centred(w: np.ndarray) -> np.ndarray:
    return np.clip(w - w.mean(1, keepdims=True), -1, 1)


def _undominated(cost: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    def beats(i: int, j: int) -> bool:
        as_good = cost[i] <= cost[j] and accuracy[i] >= accuracy[j]
        return bool(as_good and (cost[i] < cost[j] or accuracy[i] > accuracy[j]))

    return np.array([not any(beats(i, j) for i in range(len(cost))) for j in range(len(cost))])


def _best_that_fits(accuracy: np.ndarray, cost: np.ndarray, limit: float) -> int:
    fitting = [(-a, c, i) for i, (a, c) in enumerate(zip(accuracy, cost, strict=True)) if c <= limit]
    return min(fitting)[2] if fitting else -1


def _first_changes(
    gamma: np.ndarray, beta: np.ndarray, mean: np.ndarray, deviation: np.ndarray, most: int
) -> np.ndarray:
    found = []
    for channel, scale in enumerate(gamma):
        norm = [scale * (s - mean[channel]) / deviation[channel] + beta[channel] for s in range(-most, most + 1)]
        signs = [value >= 0 for value in norm]
        changes = [at - most for at in range(1, len(signs)) if signs[at] != signs[at - 1]]
        found.append(changes[0] if changes else most + 1)
    return np.array(found)


def _mel(hz: np.ndarray | float) -> np.ndarray:
    from librosa import hz_to_mel

    return hz_to_mel(hz)


def _pooled(bits: np.ndarray) -> np.ndarray:
    columns = 64 * bits.shape[1]
    signs = kernels.unpack(bits, columns)
    if len(signs) % 2:
        signs = np.concatenate([signs, signs[-1:]])
    return kernels.pack(signs.reshape(-1, 2, columns).max(1))


def _accuracy_of_the_sure(scores: np.ndarray, labels: np.ndarray, share: float) -> float:
    second, best = np.partition(scores, -2, axis=1)[:, -2:].T
    left = np.argsort(best - second, kind="stable")[int(share * len(scores)) :]
    return 100 * np.mean(scores.argmax(1)[left] == labels[left])


TASKS: dict[str, Task] = {
    "dot-product": Task(
        "(a, b, n): the dot product of two rows of n signs, each packed into an integer, bit 1 for +1",
        _dot,
        {
            "eight signs": (0b01001101, 0b01101011, 8),
            "equal rows": (5, 5, 3),
            "opposite rows": (0, 0b11111, 5),
            "zeros after the last sign": (0b001, 0b011, 3),
            "more than one word": (1 << 70, 0, 130),
        },
    ),
    "packer": Task(
        "(x): the signs of x, float32 of shape (rows, columns), as uint64 words, the first column in the lowest bit",
        kernels.pack,
        {
            "one word": (_normal(3, 64),),
            "a short row": (_normal(2, 5),),
            "a word and a tail": (_normal(4, 130),),
            "zeros of both signs are +1": (_zeros_of_both_signs(),),
        },
    ),
    "sign-product": Task(
        "(a, b, columns): all dot products of the packed rows of a, (M, words) uint64, and of b, (N, words)",
        _sign_product,
        {
            "one word": (_words(3, 64, 0), _words(4, 64, 1), 64),
            "a tail": (_words(3, 70, 0), _words(2, 70, 1), 70),
            "one row": (_words(1, 200, 0), _words(5, 200, 1), 200),
        },
    ),
    "pareto": Task(
        "(cost, accuracy): arrays with a value for each method; True for each that no other one beats. To beat is "
        "to be at least as good in both and better in one.",
        _undominated,
        {
            "one method": (np.array([3.0]), np.array([90.0])),
            "each dearer one is better": (np.array([1.0, 2.0, 3.0]), np.array([80.0, 85.0, 90.0])),
            "one is beaten": (np.array([1.0, 2.0, 3.0]), np.array([80.0, 79.0, 90.0])),
            "at the same cost the better one stays": (np.array([2.0, 2.0, 1.0]), np.array([85.0, 84.0, 70.0])),
            "equals both stay": (np.array([2.0, 2.0, 5.0]), np.array([85.0, 85.0, 85.0])),
        },
    ),
    "best-that-fits": Task(
        "(accuracy, cost, limit): the position of the most accurate method whose cost is at most the limit; of equals "
        "the cheapest; -1 if none fits",
        _best_that_fits,
        {
            "all fit": (np.array([90.0, 93.0, 91.0]), np.array([30.0, 60.0, 40.0]), 100.0),
            "the best does not fit": (np.array([90.0, 93.0, 91.0]), np.array([30.0, 60.0, 40.0]), 50.0),
            "exactly the limit fits": (np.array([90.0, 93.0]), np.array([30.0, 60.0]), 60.0),
            "of equals the cheapest": (np.array([93.0, 93.0, 93.0]), np.array([50.0, 40.0, 60.0]), 70.0),
            "nothing fits": (np.array([90.0, 93.0]), np.array([30.0, 60.0]), 20.0),
        },
    ),
    "binaryconnect-step": Task(
        "(latent, gradient, rate): the latent weights after one step of gradient descent and BinaryConnect's clip",
        lambda w, g, rate: np.clip(w - rate * g, -1, 1),
        {
            "inside": (np.array([0.1, -0.2]), np.array([1.0, -1.0]), 0.05),
            "a sign turns": (np.array([0.01]), np.array([1.0]), 0.1),
            "the clip holds": (np.array([0.95, -0.95]), np.array([-1.0, 1.0]), 0.2),
            "no mask: a gradient reaches a weight at the clip": (np.array([1.0]), np.array([1.0]), 0.1),
        },
        tolerance=1e-9,
    ),
    "centring": Task(
        "(w): the weight, shape (outputs, inputs, height, width), less its mean over the inputs, clamped to [-1, 1]",
        _centred,
        {
            "a filter bank": (_normal(4, 3, 3, 3),),
            "the clamp comes after the centring": (3 * _normal(2, 5, 1, 1),),
            "one input channel: nothing is left": (_normal(3, 1, 3, 3),),
        },
        tolerance=1e-5,
    ),
    "mel": Task(
        "(hz): frequencies in mel, on Slaney's scale: 3 mel every 200 Hz up to 1,000 Hz, then 27 for a factor of 6.4",
        _mel,
        {
            "linear below 1,000 Hz": (400.0,),
            "at 1,000 Hz the two parts meet": (1000.0,),
            "logarithmic above": (6400.0,),
            "an array of both": (np.array([0.0, 100.0, 999.0, 1001.0, 4000.0, 8000.0]),),
        },
        tolerance=1e-9,
    ),
    "pool-bits": Task(
        "(bits): the maximum of each pair of neighbouring rows of signs, uint64 of shape (rows, words)",
        _pooled,
        {
            "an even number of rows": (_words(6, 64, 2),),
            "two words to a row": (_words(4, 128, 3),),
            "a last single row stands for itself": (_words(5, 128, 4),),
            "one row": (_words(1, 64, 5),),
        },
    ),
    "threshold": Task(
        "(gamma, beta, mean, deviation, most): for each channel the smallest whole number s, -most < s <= most, at "
        "which the sign of gamma (s - mean) / deviation + beta is another than at s - 1; most + 1 where there is none. "
        "The sign of 0 is +1",
        _first_changes,
        {
            "rising": (np.array([1.0, 2.0]), np.array([0.5, -3.0]), np.array([2.0, -1.0]), np.array([4.0, 1.0]), 9),
            "falling, where gamma is negative": (
                np.array([-1.0, -0.5]),
                np.array([0.3, 0.0]),
                np.array([0.0, 3.5]),
                np.array([2.0, 1.0]),
                9,
            ),
            "a tie is +1, from either side": (
                np.array([1.0, -1.0]),
                np.array([0.0, 0.0]),
                np.array([3.0, 3.0]),
                np.array([1.0, 1.0]),
                9,
            ),
            "a channel that never changes": (
                np.array([0.0, 1.0, 1.0]),
                np.array([-1.0, 50.0, 0.0]),
                np.zeros(3),
                np.ones(3),
                9,
            ),
        },
    ),
    "alarm-threshold": Task(
        "(scores, positive, alarms): the lowest score of any clip, or infinity, at which at most so many false alarms "
        "come in 3,600 clips that are not positive; a clip is answered if its score is at or above the threshold",
        report.alarm_threshold,
        {
            "none is allowed": (np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]), 0.0),
            "half of the others may answer": (
                np.array([1.0, 2.0, 3.0, 4.0]),
                np.array([False, True, False, True]),
                1800.0,
            ),
            "equal scores answer together": (
                np.array([2.0, 2.0, 2.0, 1.0]),
                np.array([True, False, False, False]),
                1200.0,
            ),
            "no score is high enough": (np.array([1.0, 5.0]), np.array([True, False]), 0.0),
        },
    ),
    "passing": Task(
        "(scores, labels, share): accuracy in percent of the clips that are left when floor(share x clips) of them are "
        "passed over, those with the smallest gap between their best and second score",
        _accuracy_of_the_sure,
        {
            "nobody is passed over": (np.array([[1.0, 0.0], [0.0, 3.0]]), np.array([0, 0]), 0.0),
            "half of them": (
                np.array([[4.0, 3.9, 0.0], [1.0, 0.0, 0.1], [0.0, 5.0, 4.9], [0.0, 0.5, 3.0]]),
                np.array([1, 0, 1, 2]),
                0.5,
            ),
            "negative scores": (np.array([[-9.0, -1.0], [-3.0, -2.9], [-1.0, -4.0]]), np.array([1, 0, 0]), 0.4),
            "a share of a clip is none": (np.array([[1.0, 0.9], [2.0, 0.0]]), np.array([1, 0]), 0.4),
        },
        tolerance=1e-9,
    ),
    "branch-sum": Task(
        "(x, shifts, factors): the sum of factors[i] * sign(x + shifts[i]) over i, for an array x, with sign(0) = +1",
        lambda x, shifts, factors: (1 - 2 * (np.asarray(x)[..., None] + shifts < 0)) @ np.asarray(factors, float),
        {
            "one branch": (np.array([-2.0, -0.4, 0.6, 3.0]), [0.5], [1.0]),
            "a sign of zero is +1": (np.array([-0.5, 0.0, 0.25]), [0.5, 0.0, -0.25], [1.0, 1.0, 1.0]),
            "three branches, each with its factor": (_normal(30), [-0.4, 0.1, 0.7], [1.0, 0.3, -0.2]),
            "maps": (_normal(2, 3, 4), [0.0, 0.5], [1.0, 0.25]),
        },
        tolerance=1e-6,
    ),
    "verdict": Task(
        "(low, high, margin): of a difference whose interval goes from low to high: 1 for better, -1 for worse, 0 for "
        "equivalent (all of it nearer to 0 than the margin), 2 for undecided; a difference that is sure comes first",
        lambda low, high, margin: 1 if low > 0 else -1 if high < 0 else 0 if max(-low, high) < margin else 2,
        {
            "better": (0.2, 1.4, 0.5),
            "worse": (-2.0, -0.7, 0.5),
            "equivalent": (-0.3, 0.4, 0.5),
            "undecided": (-0.3, 0.6, 0.5),
            "undecided on the other side": (-0.6, 0.3, 0.5),
            "better, though within the margin": (0.1, 0.3, 0.5),
        },
    ),
    "brown-forsythe": Task(
        "(one, other): the statistic F of Brown and Forsythe's test that two groups of values scatter alike",
        lambda one, other: stats.levene(one, other, center="median").statistic,
        {
            "groups of the same size": (np.array([1.0, 2.0, 4.0, 8.0]), np.array([3.0, 3.5, 5.0, 4.0])),
            "groups of two sizes": (np.array([0.0, 1.0, 5.0]), np.array([2.0, 2.5, 3.0, 9.0, 4.0])),
            "medians and not means": (np.array([0.0, 0.0, 0.0, 10.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0])),
            "groups far apart": (_normal(9).astype(float) + 100, 3 * _normal(12).astype(float)),
        },
        tolerance=1e-4,
    ),
    "pruned-bits": Task(
        "(share): the least number of bits that a weight takes on average, if that share of the weights is 0 and the "
        "others are +1 or -1, half of them each",
        lambda share: stats.entropy([share, (1 - share) / 2, (1 - share) / 2], base=2),
        {"half of them": (0.5,), "a third": (1 / 3,), "nine tenths": (0.9,), "none": (0.0,), "all": (1.0,)},
        tolerance=1e-9,
    ),
    "taught-loss": Task(
        "(scores, teacher, temperature): the mean over images of the cross-entropy of the network's softened classes "
        "with the teacher's, in nats, times the temperature squared; scores are (images, classes)",
        lambda scores, teacher, temperature: (
            -(temperature**2) * (softmax(teacher / temperature, 1) * log_softmax(scores / temperature, 1)).sum(1).mean()
        ),
        {
            "an image": (np.array([[2.0, 0.0, -1.0]]), np.array([[0.0, 1.0, 3.0]]), 1.0),
            "softened": (np.array([[2.0, 0.0, -1.0]]), np.array([[0.0, 1.0, 3.0]]), 4.0),
            "the mean over images": (_normal(5, 4).astype(float), 3 * _normal(5, 4)[::-1].astype(float), 2.0),
            "large scores": (np.array([[0.0, 9000.0]]), np.array([[9000.0, 0.0]]), 10.0),
        },
        tolerance=1e-6,
    ),
    "half-width": Task(
        "(values): half the width of Student's 95 % interval for the mean",
        report.half_width,
        {
            "five seeds": ([93.2, 93.4, 93.3, 93.5, 93.1],),
            "ten seeds": ([90.0, 91.0] * 5,),
            "two seeds": ([1.0, 2.0],),
        },
        tolerance=1e-6,
    ),
    "whole-speedup": Task(
        "(share, factor): how many times as fast a program becomes, if a share of its time stays as it is and the "
        "rest becomes factor times as fast",
        lambda share, factor: 1 / (share + (1 - share) / factor),
        {"a tenth stays": (0.1, 30.0), "nothing stays": (0.0, 58.0), "all stays": (1.0, 58.0), "half": (0.5, 2.0)},
        tolerance=1e-9,
    ),
    "paired-ratio": Task(
        "(ours, theirs): the median over rounds of their time by ours, measured side by side",
        lambda ours, theirs: np.median(np.asarray(theirs) / np.asarray(ours)),
        {
            "steady": ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]),
            "pair by pair, not median by median": ([1.0, 4.0, 2.0], [3.0, 4.0, 8.0]),
            "an even number of rounds": ([1.0, 2.0], [2.0, 8.0]),
        },
        tolerance=1e-9,
    ),
    "power": Task(
        "(difference, deviation, seeds): the chance that two arms, each with that many seeds, show a true difference "
        "at p < 0.05",
        lambda difference, deviation, seeds: TTestIndPower().power(difference / deviation, seeds, 0.05),
        {"five seeds": (0.04, 0.05, 5), "fourteen seeds": (0.04, 0.05, 14), "no difference": (0.0, 0.05, 10)},
        tolerance=1e-3,
    ),
}
