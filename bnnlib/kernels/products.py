"""Products of packed matrices."""

from dataclasses import dataclass

import numpy as np

from bnnlib.kernels import _kernels
from bnnlib.kernels.checks import (
    FLOAT32,
    INT32,
    MAX_COLUMNS,
    UINT64,
    check_columns,
    check_out,
    check_packed,
    check_threads,
    check_thresholds,
    check_whole,
    describe,
    rows_in_place,
    words_per_row,
)  # fmt: skip
from bnnlib.kernels.memory import new
from bnnlib.kernels.packing import pack
from bnnlib.kernels.panels import HoldsPanels, Panels, prepack, to_panels

__all__ = [
    "Codes", "int8_matmul", "int8_matmul_threshold", "loop_matmul", "matmul", "matmul_codes", "matmul_threshold",
    "naive_matmul", "pack_codes", "sign_matmul",
]  # fmt: skip


def matmul(
    a: np.ndarray, b: np.ndarray | Panels, columns: int, *, out: np.ndarray | None = None, threads: int = 1
) -> np.ndarray:
    """The product A Bᵀ of two packed sign matrices.

    Args:
        a: uint64, shape (M, ceil(K / 64)), from :func:`pack`.
        b: uint64, shape (N, ceil(K / 64)), from :func:`pack`; or its :class:`Panels`, which saves preparing them.
        columns: K, the number of signs in a row.
        out: int32, shape (M, N), contiguous and writable, to write into; fastest from :func:`empty`. It may share
            memory with no operand.
        threads: the most that share the work. None gets fewer than 2^22 multiply-accumulates, and a forked process
            uses one thread (GNU's OpenMP does not survive a fork).

    Returns:
        int32, shape (M, N): each entry is ``K - 2 * popcount(a[m] xor b[n])``, exact, of the parity of K.

    Raises:
        TypeError, ValueError: an argument has another dtype or shape, or set bits past column K. A K that is too
            large, but within the last word, can only be noticed if ``b`` is :class:`Panels`, which know theirs.
    """
    if type(columns) is int and _at_once(_kernels.matmul_if_it_fits, UINT64, a, b, columns, out, threads):
        return out
    return _multiply(a, b, columns, out, threads, {"a": a, "b": b})


def sign_matmul(
    x: np.ndarray, b: np.ndarray | Panels, *, out: np.ndarray | None = None, threads: int = 1
) -> np.ndarray:
    """The product sign(X) Bᵀ with the packing of the activations in the call: ``matmul(pack(x), b, K)``.

    Args:
        x: a real matrix (M, K), see :func:`pack`.
        b, out, threads: as for :func:`matmul`.
    """
    if type(b) is Panels and _at_once(_kernels.sign_matmul_if_it_fits, FLOAT32, x, b, b.columns, out, threads):
        return out
    return _multiply(pack(x), b, x.shape[1], out, threads, {"x": x, "b": b})


def _at_once(multiply, dtype, a, b, columns, out, threads) -> bool:
    """Multiplies on one thread if operands and ``out`` plainly fit, and says whether it did. Small products take less
    time than the checks of :func:`_multiply`, which says what is wrong with others."""
    if not (type(a) is type(out) is np.ndarray and a.dtype == dtype and out.dtype == INT32):
        return False
    if not (type(b) is Panels and b.columns == columns and type(threads) is int and threads == 1):
        return False
    try:
        return multiply(a, b.values, b.rows, b.columns, out)
    except (TypeError, ValueError, OverflowError):  # another layout
        return False


def _multiply(a, b, columns, out, threads, operands) -> np.ndarray:
    """:func:`matmul`; ``operands`` are what the caller gave, by name, with which ``out`` may share no memory."""
    columns = check_columns(columns)
    a, b = check_packed("a", a, columns), _as_panels(b, columns)
    out = check_out(out, (a.shape[0], b.rows), INT32, operands)
    _kernels.matmul(a, b.values, columns, out, check_threads(threads, out.size * columns))
    return out


def int8_matmul(
    x: np.ndarray, b: np.ndarray | Panels, *, out: np.ndarray | None = None, threads: int = 1
) -> np.ndarray:
    """The product X Bᵀ of whole numbers with signs, by additions and subtractions alone: a binary layer whose inputs
    have 8 bits, such as the first one.

    Args:
        x: int8, shape (M, K). Rows may overlap, so that a 1-D convolution of length k is such a product: for a signal
            (L, C) the rows are ``sliding_window_view(signal.reshape(-1), k * C)[::C]`` (of numpy.lib.stride_tricks).
        b: uint64, shape (N, ceil(K / 64)), from :func:`pack`; or its :class:`Panels`.
        out, threads: as for :func:`matmul`.

    Returns:
        int32, shape (M, N), exact.

    Raises:
        TypeError, ValueError: as :func:`matmul`; K is above 2^24 - 1, so that sums may not fit int32.
    """
    rows, panels = _int8_operands(x, b)
    out = check_out(out, (rows.shape[0], panels.rows), INT32, {"x": x, "b": b})
    _kernels.matmul_i8(rows, panels.values, out, check_threads(threads, out.size * rows.shape[1]))
    return out


def int8_matmul_threshold(
    x: np.ndarray,
    b: np.ndarray | Panels,
    thresholds: np.ndarray,
    flips: np.ndarray | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """:func:`int8_matmul` with the epilogue of :func:`matmul_threshold`: 8 bits in, one bit out.

    Returns:
        uint64, shape (M, ceil(N / 64)): bit n of a row is 1 where the sum is ``>= thresholds[n]``, inverted by flips.
    """
    rows, panels = _int8_operands(x, b)
    compare = check_thresholds(thresholds, flips, panels.rows)
    operands = {"x": x, "b": b, "thresholds": thresholds, "flips": flips}
    out = check_out(out, (rows.shape[0], words_per_row(panels.rows)), UINT64, operands)
    threads = check_threads(threads, rows.shape[0] * panels.rows * rows.shape[1])
    _kernels.matmul_i8_threshold(rows, panels.values, *compare, out, threads)
    return out


def _int8_operands(x: np.ndarray, b: np.ndarray | Panels) -> tuple[np.ndarray, Panels]:
    if not isinstance(x, np.ndarray) or x.dtype != np.int8:
        raise TypeError(f"x must be an int8 array, received {describe(x)}")
    if x.ndim != 2:
        raise ValueError(f"x must be a matrix (M, K), received shape {x.shape}")
    if x.shape[1] > MAX_COLUMNS // 128:
        raise ValueError(f"sums of {x.shape[1]} values of up to 128 may not fit int32; split the columns")
    return rows_in_place(x), _as_panels(b, x.shape[1])


def matmul_threshold(
    a: np.ndarray,
    b: np.ndarray | Panels,
    columns: int,
    thresholds: np.ndarray,
    flips: np.ndarray | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int = 1,
) -> np.ndarray:
    """The product of packed signs with an epilogue that compares the sums and packs the results: what a binary layer
    with batch norm and sign passes to the next one. The sums never reach memory.

    A batch norm ``scale * sum + shift`` followed by a sign is a threshold of ``ceil(-shift / scale)`` for a positive
    scale, ``floor(-shift / scale) + 1`` with a flip for a negative one; for scale 0 the bit is that of ``shift >= 0``
    everywhere. Clip thresholds that exceed int32 to its limits.

    Args:
        a, b, columns, threads: as for :func:`matmul`.
        thresholds: int32, shape (N,). Bit n of a row is 1 where the sum is ``>= thresholds[n]``.
        flips: bool, shape (N,): where true the bit is inverted, as for a negative scale: ``sum < thresholds[n]``.
        out: uint64, shape (M, ceil(N / 64)), to write into, as for :func:`matmul`.

    Returns:
        uint64, shape (M, ceil(N / 64)).

    Raises:
        TypeError, ValueError: as :func:`matmul`, or thresholds and flips of another dtype or shape.
    """
    columns = check_columns(columns)
    rows, panels = check_packed("a", a, columns), _as_panels(b, columns)
    compare = check_thresholds(thresholds, flips, panels.rows)
    operands = {"a": a, "b": b, "thresholds": thresholds, "flips": flips}
    out = check_out(out, (rows.shape[0], words_per_row(panels.rows)), UINT64, operands)
    threads = check_threads(threads, rows.shape[0] * panels.rows * columns)
    _kernels.matmul_threshold(rows, panels.values, columns, *compare, out, threads)
    return out


@dataclass(frozen=True, eq=False)
class Codes(HoldsPanels):
    """A matrix of small integers as bit planes; made by :func:`pack_codes`.

    Attributes:
        columns: K.
        weights: int32, the value of a bit of each plane: 1, 2, 4 ..., the last one negative in two's complement.
        planes: uint64, shape (planes, rows, ceil(K / 64)).
        panels: the planes in panels, as second operands of products.
        sums: int32, the sum of each row's codes.
    """

    columns: int
    weights: np.ndarray
    planes: np.ndarray
    panels: np.ndarray
    sums: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "columns", check_columns(self.columns))
        if not isinstance(self.planes, np.ndarray) or self.planes.ndim != 3 or not 1 <= len(self.planes) <= 8:
            raise ValueError("planes must have shape (1 .. 8, rows, words); make codes with pack_codes")
        planes, rows, words = *self.planes.shape[:2], words_per_row(self.columns)
        self.check("planes", np.uint64, (planes, rows, words))
        self.check("weights", np.int32, (planes,))
        self.check("sums", np.int32, (rows,))
        self.settle("panels", planes, rows, self.columns, words)

    @property
    def rows(self) -> int:
        return self.planes.shape[1]

    @property
    def largest(self) -> int:
        """The largest absolute value that the planes can hold."""
        positive, negative = int(self.weights.clip(min=0).sum()), int(self.weights.clip(max=0).sum())
        return max(positive, -negative)


def pack_codes(codes: np.ndarray, bits: int = 2, *, signed: bool) -> Codes:
    """Splits integer codes into bit planes.

    Args:
        codes: any integer dtype, shape (M, K): 0 .. 2^bits - 1, or, signed, -2^(bits - 1) .. 2^(bits - 1) - 1.
        bits: 1 .. 8.
        signed: two's complement, as for LSQ's weights; unsigned for its activations.

    Raises:
        TypeError: the codes are not an integer array.
        ValueError: codes out of that range, or of another shape.
    """
    if not isinstance(codes, np.ndarray) or codes.dtype.kind not in "iu":
        raise TypeError(f"codes must be an integer array, received {describe(codes)}")
    bits = check_whole("bits", bits)
    if not 1 <= bits <= 8:
        raise ValueError(f"bits must be a whole number in 1..8, received {bits}")
    if codes.ndim != 2:
        raise ValueError(f"pack_codes takes a matrix (M, K), received shape {codes.shape}")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if codes.size and (codes.min() < low or codes.max() > high):
        kind = "signed" if signed else "unsigned"
        raise ValueError(
            f"{bits}-bit {kind} codes lie in {low}..{high}, received values in {codes.min()}..{codes.max()}"
        )
    weights = 2 ** np.arange(bits, dtype=np.int32)
    weights[-1] *= -1 if signed else 1
    raw = codes.astype(np.int16)
    planes = np.stack([pack((raw >> p & 1).astype(np.bool_)) for p in range(bits)])
    return Codes(codes.shape[1], weights, planes, to_panels(planes), raw.sum(axis=1, dtype=np.int64).astype(np.int32))


def matmul_codes(a: Codes, b: Codes, *, out: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
    """The product A Bᵀ of two matrices of codes, exact: a product of bits for each pair of planes (methods of DoReFa,
    Zhou et al. 2016, eq. 3).

    Args:
        a, b: from :func:`pack_codes`, (M, K) and (N, K); their bits may differ.
        out, threads: as for :func:`matmul`.

    Raises:
        ValueError: K differs, or K times the largest codes does not fit int32.
    """
    for name, x in (("a", a), ("b", b)):
        if not isinstance(x, Codes):
            raise TypeError(f"{name} must be Codes (from bnnlib.kernels.pack_codes), received {describe(x)}")
    if a.columns != b.columns:
        raise ValueError(f"a has {a.columns} columns, b has {b.columns}")
    if a.columns * a.largest * b.largest > MAX_COLUMNS:
        raise ValueError(
            f"sums of {a.columns} products of up to {a.largest} x {b.largest} may not fit int32; split the columns"
        )
    out = check_out(out, (a.rows, b.rows), INT32, {"a": a, "b": b})
    threads = check_threads(threads, out.size * a.columns * len(a.weights) * len(b.weights))
    _kernels.matmul_planes(a.planes, a.weights, a.sums, b.panels, b.weights, b.sums, a.columns, out, threads)
    return out


def loop_matmul(a: np.ndarray, b: np.ndarray, columns: int) -> np.ndarray:
    """The product of :func:`matmul` by three plain loops over words, with neither blocks nor panels: what packing alone
    is worth. For the course, and as a baseline.

    Args:
        a, b: uint64, shapes (M, ceil(K / 64)) and (N, ceil(K / 64)), from :func:`pack`.
        columns: K.
    """
    columns = check_columns(columns)
    a, b = (np.ascontiguousarray(check_packed(name, x, columns)) for name, x in (("a", a), ("b", b)))
    out = new((a.shape[0], b.shape[0]), INT32)
    _kernels.matmul_loops(a, b, columns, out)
    return out


def naive_matmul(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A Bᵀ of float matrices by three loops in Cython, compiled with -O3: what a first extension module looks like, and
    the course's naive baseline.

    Args:
        a, b: float32, shapes (M, K) and (N, K).

    Returns:
        float32, shape (M, N); sums of signs are exact up to K = 2^24.

    Raises:
        TypeError, ValueError: other dtypes, or shapes that do not fit.
    """
    for name, x in (("a", a), ("b", b)):
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            raise TypeError(f"{name} must be a float32 array, received {describe(x)}")
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"shapes must be (M, K) and (N, K), received {a.shape} and {b.shape}")
    out = new((a.shape[0], b.shape[0]), np.float32)
    _kernels.naive_matmul(np.ascontiguousarray(a), np.ascontiguousarray(b), out)
    return out


def _as_panels(b: np.ndarray | Panels, columns: int) -> Panels:
    if type(b) is not Panels:
        return prepack(b, columns)
    if b.columns != columns:
        raise ValueError(f"b was prepacked with {b.columns} columns, but columns is {columns}")
    return b
