"""Panels: the layout that the second operand of a product has (bits.h draws it). Weights are brought into it once."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from bnnlib.kernels import _kernels
from bnnlib.kernels.checks import check_columns, check_packed, describe, words_per_row
from bnnlib.kernels.memory import empty

__all__ = ["Panels", "prepack"]

PANEL = 32  # rows of a panel


def panel_rows(rows: int) -> int:
    """Rows with those that fill the last panel."""
    return -(-rows // PANEL) * PANEL


def to_panels(packed: np.ndarray) -> np.ndarray:
    """One matrix after the other: uint64 (matrices, N, words) to the values of their panels, aligned."""
    matrices, rows, words = packed.shape
    panels = empty((matrices, panel_rows(rows) * 2 * words), np.uint32)
    panels[:] = 0
    for matrix, panel in zip(packed, panels, strict=True):
        _kernels.to_panels(np.ascontiguousarray(matrix), panel)
    return panels.reshape(-1)


class HoldsPanels:
    """A frozen dataclass with values in panels. The kernels trust them: read past no end, by aligned loads. So each is
    checked when it is made, and copies and pickles are made by the constructor."""

    def settle(self, name: str, matrices: int, rows: int, columns: int, words: int) -> None:
        """Checks the panels in that field, and moves them if they lie where vector loads cannot use them."""
        values, size = getattr(self, name), matrices * panel_rows(rows) * 2 * words
        if not isinstance(values, np.ndarray) or values.dtype != np.uint32 or values.shape != (size,):
            raise ValueError(
                f"panels of {rows} rows and {columns} columns are {size} values of uint32, received "
                f"{describe(values)} of shape {getattr(values, 'shape', None)}"
            )
        if not values.flags.c_contiguous or values.ctypes.data % 64:
            room = empty((size,), np.uint32)
            room[:] = values
            object.__setattr__(self, name, room)

    def check(self, name: str, dtype, shape: tuple[int, ...]) -> None:
        """Checks an array in that field, which the kernels read without asking."""
        values = getattr(self, name)
        if not isinstance(values, np.ndarray) or values.dtype != dtype or values.shape != shape:
            raise ValueError(
                f"{name} must be {np.dtype(dtype)} of shape {shape}, received {describe(values)} "
                f"of shape {getattr(values, 'shape', None)}"
            )
        if not values.flags.c_contiguous or not values.flags.aligned:
            object.__setattr__(self, name, np.array(values, order="C"))

    @cached_property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All memory that belongs to it."""
        return tuple(value for field in fields(self) if isinstance(value := getattr(self, field.name), np.ndarray))

    def __reduce__(self):
        return type(self), tuple(getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True, eq=False)
class Panels(HoldsPanels):
    """A packed matrix in the layout that products want as their second operand; made by :func:`prepack`.

    Attributes:
        rows, columns: N and K of the matrix.
        values: its words, 32 rows interleaved; uint32, the first value at an address divisible by 64.
    """

    rows: int
    columns: int
    values: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "columns", check_columns(self.columns))
        self.settle("values", 1, self.rows, self.columns, words_per_row(self.columns))


def prepack(b: np.ndarray, columns: int) -> Panels:
    """Prepares a packed sign matrix for many products: weights, which stay while activations come and go.

    Args:
        b: uint64, shape (N, ceil(K / 64)), from :func:`pack`.
        columns: K, the number of signs in a row.

    Raises:
        TypeError, ValueError: an argument has another dtype or shape, or set bits behind column K.
    """
    columns = check_columns(columns)
    b = check_packed("b", b, columns)
    return Panels(b.shape[0], columns, to_panels(b[None]))
