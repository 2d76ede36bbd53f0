"""Panels: the layout of a product's second operand (drawn in bits.h). Weights are converted to it once."""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from bnnlib.kernels import _kernels
from bnnlib.kernels.checks import check_columns, check_packed, describe, words_per_row
from bnnlib.kernels.memory import empty

__all__ = ["Panels", "prepack"]

PANEL = 32  # rows of a panel


def panel_rows(rows: int) -> int:
    """The number of rows, padded to whole panels."""
    return -(-rows // PANEL) * PANEL


def to_panels(packed: np.ndarray) -> np.ndarray:
    """The panels of each matrix of uint64 (matrices, N, words), one after the other, aligned."""
    matrices, rows, words = packed.shape
    panels = empty((matrices, panel_rows(rows) * 2 * words), np.uint32)
    panels[:] = 0
    for matrix, panel in zip(packed, panels, strict=True):
        _kernels.to_panels(np.ascontiguousarray(matrix), panel)
    return panels.reshape(-1)


class HoldsPanels:
    """A frozen dataclass with values in panels, which the kernels read by aligned loads. Its fields are checked when it
    is made, and copies and pickles go through the constructor."""

    def settle(self, name: str, matrices: int, rows: int, columns: int, words: int) -> None:
        """Checks the panels in that field, and copies them if they are not aligned for vector loads."""
        values, size = getattr(self, name), matrices * panel_rows(rows) * 2 * words
        if not isinstance(values, np.ndarray) or values.dtype != np.uint32 or values.shape != (size,):
            raise ValueError(
                f"panels of {rows} rows and {columns} columns are {size} values of uint32, received "
                f"{describe(values)} of shape {getattr(values, 'shape', None)}"
            )
        if not values.flags.c_contiguous or values.ctypes.data % 64:
            moved = empty((size,), np.uint32)
            moved[:] = values
            object.__setattr__(self, name, moved)

    def check(self, name: str, dtype, shape: tuple[int, ...]) -> None:
        """Checks an array in that field, and copies it if the kernels cannot read it in place."""
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
    """A packed matrix in the layout of a product's second operand; made by :func:`prepack`.

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
    """Prepares a packed sign matrix, such as the weights of a layer, for many products.

    Args:
        b: uint64, shape (N, ceil(K / 64)), from :func:`pack`.
        columns: K, the number of signs in a row.

    Raises:
        TypeError, ValueError: an argument has another dtype or shape, or set bits past column K.
    """
    columns = check_columns(columns)
    b = check_packed("b", b, columns)
    return Panels(b.shape[0], columns, to_panels(b[None]))
