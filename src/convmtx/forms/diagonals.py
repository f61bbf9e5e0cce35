"""Diagonals of rows: how they are written, and what is known of them before.

They are written in closed form, line by line (`lines`) or, with a single axis, run by run. Where neither is quick,
`sparse.dia` searches for the diagonal of each entry of a CSR array.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from convmtx.forms.layout import index_dtype
from convmtx.forms.lines import lines_of
from convmtx.forms.row_ranges import Rows
from convmtx.forms.sparse import entries_in_rows
from convmtx.geometry import Geometry
from convmtx.typing import AnyArray, IntArray

if TYPE_CHECKING:
    import scipy.sparse

#: Largest number of cells for each entry: to write more takes longer than to search for the diagonal of each entry.
_CELLS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Diagonals:
    """Diagonals of rows that have an entry, and a function that writes them."""

    rows: Rows
    offsets: IntArray
    #: Function from the different entries of the rows to the diagonals, (diagonals, columns).
    write: Callable[[AnyArray], AnyArray]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return self.offsets.size * self.rows.n_columns

    def size(self, itemsize: int) -> int:
        """Return the bytes of the cells and of the offsets."""
        index = np.dtype(index_dtype(self.rows.nnz, self.rows.size, self.rows.n_columns)).itemsize
        return self.cells * itemsize + self.offsets.size * index

    def matrix(self, geometry: Geometry, kernel: AnyArray) -> scipy.sparse.dia_array:
        """Return the rows as a DIA array: entry (i, j) stands in column j of the diagonal j - i."""
        from scipy.sparse import dia_array

        data = self.write(entries_in_rows(geometry, kernel, self.rows))
        return dia_array((data, self.offsets), shape=(self.rows.size, self.rows.n_columns))


def diagonals_of(rows: Rows) -> Diagonals | None:
    """Return the diagonals of rows; None if it is quicker to search for the diagonal of each entry.

    It is for strides and for outputs of other sizes: then a diagonal has few entries, or a single one.
    """
    closed = _by_runs(rows) if len(rows.geometry.in_shape) == 1 else None
    if closed is None and (lines := lines_of(rows)) is not None:
        closed = Diagonals(rows, lines.offsets, lines.write)
    return closed if closed is not None and closed.cells <= _CELLS * rows.nnz else None


def _by_runs(rows: Rows) -> Diagonals | None:
    """Return the diagonals of rows of a single axis; None if outputs of a run lie on different diagonals."""
    runs = rows.runs(0)
    if any(run.count > 1 and run.columns.size and run.shift != run.step for run in runs):
        return None
    offsets = np.unique(np.concatenate([run.columns - run.start for run in runs]))
    return Diagonals(rows, offsets, partial(_write_runs, rows, offsets))


def _write_runs(rows: Rows, offsets: IntArray, entries: AnyArray) -> AnyArray:
    """Write the diagonals of a single axis: along a run, the entry of a diagonal is constant."""
    data = np.zeros((offsets.size, rows.n_columns), entries.dtype)
    for run in rows.runs(0):
        diagonals, values = np.searchsorted(offsets, run.columns - run.start), entries[0, 0, run.entries]
        if run.count == 1:
            data[diagonals, run.columns] = values
            continue
        length = (run.count - 1) * run.shift + 1
        for diagonal, column, value in zip(diagonals.tolist(), run.columns.tolist(), values, strict=True):
            data[diagonal, column : column + length : run.shift] = value
    return data
