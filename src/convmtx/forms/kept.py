"""Patterns of small matrices, which are kept: the next matrix of the same geometry is one gather of its entries.

Without them, the Python around the arrays of a small matrix takes ten times longer than to write them.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from convmtx.forms.layout import block_shape
from convmtx.forms.row_ranges import Rows, cut_rows
from convmtx.forms.sparse import canonical, compress, dia, dia_size
from convmtx.geometry import Geometry, sums
from convmtx.taps import entries_of, swap_channels
from convmtx.typing import AnyArray, IntArray, Order, SparseFormat

#: Largest number of values, rows and columns of a matrix whose pattern is kept: 1 MiB of numbers each, and all patterns
#: take 24 MiB.
_KEPT = 1 << 17
#: Names of the arrays of each format beside ``data``.
_INDICES = {
    "csr": ("indices", "indptr"), "csc": ("indices", "indptr"), "bsr": ("indices", "indptr"), "coo": ("coords",),
    "dia": ("offsets",),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Matrix of the numbers of entries, counted from 1; cells of a diagonal without an entry are 0."""

    geometry: Geometry
    numbers: IntArray
    matrix: Any

    def size(self, itemsize: int) -> int:
        """Return an upper bound of the bytes of a matrix."""
        return self.numbers.size * (itemsize + 2 * 4) + 4 * (max(self.geometry.shape) + 1)

    def fill(self, kernel: AnyArray) -> Any:
        """Return the matrix of a kernel; it shares no array with the pattern."""
        values = np.concatenate([np.zeros(1, kernel.dtype), entries_of(self.geometry, kernel).reshape(-1)])
        matrix = copy(self.matrix)  # the constructors of SciPy take longer than the arrays of a small matrix
        matrix.data = values.take(self.numbers)
        for name in _INDICES[matrix.format]:
            array = getattr(matrix, name)
            setattr(matrix, name, tuple(map(np.copy, array)) if isinstance(array, tuple) else array.copy())
        return matrix


@lru_cache(maxsize=16)
def pattern(geometry: Geometry, format: SparseFormat, order: Order) -> Pattern | None:
    """Return the pattern of a matrix in a format of SciPy; None if it is large."""
    if max(geometry.nnz, *geometry.shape) > _KEPT:
        return None
    from scipy.sparse import csr_array

    arrays = compress(_numbered, np.dtype(np.intp), cut_rows(geometry, order, None))
    matrix: Any = canonical(csr_array(arrays, shape=geometry.shape))
    if format == "dia":
        if dia_size(matrix) > _KEPT * matrix.data.itemsize:
            return None
        matrix = dia(matrix)
    elif format == "bsr":
        matrix = canonical(matrix.tobsr(block_shape(geometry, order)))
    elif format != "csr":
        matrix = canonical(matrix.asformat(format))
    numbers, matrix.data = matrix.data, matrix.data[:0].copy()
    return Pattern(geometry, numbers, matrix)


def _numbered(rows: Rows) -> IntArray:
    """Return the number of each different entry of all rows of a matrix, or of its transpose, counted from 1."""
    sizes = [axis.kernel + len(sums(axis)) for axis in rows.geometry.axes]
    shape = (rows.geometry.out_channels, rows.geometry.channels_per_group[1], *sizes)
    numbers = np.arange(1, 1 + prod(shape), dtype=np.intp).reshape(shape)
    return swap_channels(numbers, rows.geometry.groups) if rows.transposed else numbers
