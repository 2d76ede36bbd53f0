"""Checks of arguments that all kernels share, and their error messages."""

import operator
import os

import numpy as np

from bnnlib.kernels import _kernels
from bnnlib.kernels.memory import new

MAX_COLUMNS = 2**31 - 1  # a dot product of K signs lies in [-K, K] and is returned as int32
MAX_THREADS = 1024
MACS_OF_A_THREAD = 1 << 22  # some microseconds: the time to wake a thread that still spins

# A kernel may take less than a microsecond, so these checks are written to be cheap: comparing with a dtype is several
# times faster than with a type, and one test of the flags covers all of them.
UINT64, INT32, UINT8, BOOL, FLOAT32 = (np.dtype(each) for each in (np.uint64, np.int32, np.uint8, np.bool_, np.float32))


def words_per_row(columns: int) -> int:
    """The number of 64-bit words in a row of ``columns`` signs."""
    return (int(columns) + 63) // 64


def describe(x) -> str:
    return f"{x.dtype} array" if isinstance(x, np.ndarray) else type(x).__name__


def check_whole(name: str, value: int) -> int:
    """A whole number of any type as a Python int, which does not overflow."""
    try:
        return int(operator.index(value))
    except TypeError:
        raise TypeError(f"{name} must be a whole number, received {value!r}") from None


def check_columns(columns: int) -> int:
    if type(columns) is not int:
        columns = check_whole("columns", columns)
    if not 0 <= columns <= MAX_COLUMNS:
        raise ValueError(f"columns must lie in 0..{MAX_COLUMNS} so that sums fit int32, received {columns}")
    return columns


_forked = False  # GNU's OpenMP hangs in the child of a process that has used threads


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def check_threads(threads: int, macs: int) -> int:
    """The threads worth waking for that many multiply-accumulates, at most ``threads``; 1 in a forked process."""
    if type(threads) is int and threads == 1:  # by far the most common
        return 1
    threads = check_whole("threads", threads)
    if not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"threads must lie in 1..{MAX_THREADS}, received {threads}")
    return 1 if _forked else min(threads, max(1, macs // MACS_OF_A_THREAD))


def check_groups(groups: int, count: int, what: str) -> int:
    groups = check_whole("groups", groups)
    if groups < 1 or count % groups:
        raise ValueError(f"groups must divide the {count} {what}, received {groups}")
    return groups


def check_packed(name: str, bits: np.ndarray, columns: int) -> np.ndarray:
    """A packed matrix whose rows are contiguous; copied only if they are not."""
    if not isinstance(bits, np.ndarray) or bits.dtype != UINT64:
        raise TypeError(f"{name} must be packed signs (uint64, from bnnlib.kernels.pack), received {describe(bits)}")
    if bits.ndim != 2 or bits.shape[1] != -(-columns // 64):
        raise ValueError(
            f"{name} must have shape (rows, {words_per_row(columns)}) for {columns} columns, received {bits.shape}"
        )
    bits = rows_in_place(bits)
    if columns % 64 and _kernels.set_past_end(bits, columns):
        raise ValueError(f"{name} has bits set past column {columns}: it was packed from a wider matrix")
    return bits


def rows_in_place(x: np.ndarray) -> np.ndarray:
    """The matrix itself if a kernel can read it in place, else a copy: rows may be any number of values apart, but the
    values of a row must be contiguous and aligned."""
    if x.flags.c_contiguous and x.flags.aligned:
        return x
    size = x.itemsize
    if x.flags.aligned and (x.shape[1] <= 1 or x.strides[1] == size) and x.strides[0] % size == 0 and x.strides[0] >= 0:
        return x
    return np.array(x, order="C", subok=False)


def check_out(out: np.ndarray | None, shape: tuple[int, ...], dtype, operands: dict[str, object]) -> np.ndarray:
    """The array to write into: a new one, or the caller's if it fits and shares no memory with an operand.

    Args:
        operands: by their names, as the caller gave them: arrays, or objects with a tuple of ``arrays``.
    """
    if out is None:
        return new(shape, dtype)
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        raise TypeError(f"out must be an {np.dtype(dtype)} array, received {describe(out)}")
    if out.shape != shape or not out.flags.carray:  # contiguous, aligned and writable
        state = "".join(
            f", not {word}"
            for word, holds in {
                "contiguous": out.flags.c_contiguous, "aligned": out.flags.aligned, "writable": out.flags.writeable
            }.items()
            if not holds
        )  # fmt: skip
        raise ValueError(
            f"out must be contiguous, aligned and writable with shape {shape}, received shape {out.shape}{state}"
        )
    check_apart(out, operands)
    return out


def check_apart(out: np.ndarray, operands: dict[str, object]) -> None:
    if _kernels.may_overlap(out, operands.values()):  # or lies between the rows of one
        for name, x in operands.items():
            for array in (x,) if isinstance(x, np.ndarray) else getattr(x, "arrays", ()):
                if np.shares_memory(out, array):
                    raise ValueError(f"out shares memory with {name}, which would be overwritten; give another array")


def check_thresholds(thresholds: np.ndarray, flips: np.ndarray | None, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(thresholds, np.ndarray) or thresholds.dtype != INT32:
        raise TypeError(
            f"thresholds must be an int32 array, received {describe(thresholds)}; "
            "sums are whole, so a real threshold is one of np.ceil"
        )
    if thresholds.shape != (outputs,):
        raise ValueError(f"thresholds must have shape ({outputs},), one for each output, received {thresholds.shape}")
    if flips is None:
        flips = np.zeros(outputs, BOOL)
    elif not isinstance(flips, np.ndarray) or flips.dtype != BOOL:
        raise TypeError(f"flips must be a bool array, received {describe(flips)}")
    elif flips.shape != (outputs,):
        raise ValueError(f"flips must have shape ({outputs},), one for each output, received {flips.shape}")
    if not (thresholds.flags.c_contiguous and flips.flags.c_contiguous):
        thresholds, flips = np.array(thresholds, order="C"), np.array(flips, order="C")
    return thresholds, flips.view(UINT8)
