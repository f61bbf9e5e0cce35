"""The matrix of a map as slabs of rows: each is built when it is needed, and the place of its entries is known before.

For convolutions the number of entries before any row is known in closed form. Other maps are built at once if they
fit in memory. Otherwise their entries are counted first, slab by slab, and the row starts are kept.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import forms, memory
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, IntArray, Order

if TYPE_CHECKING:
    import scipy.sparse

#: Bytes of CSR in a slab, about: enough that a job takes longer than what surrounds it, and few enough that several
#: jobs at a time, each with a copy in the order of a file, fit in memory.
SLAB_BYTES = 1 << 26
#: Rows whose starts are computed at once: the arrays of 64-bit integers on the way have 256 KiB each.
_BLOCK = 1 << 15


@dataclass(frozen=True)
class Slabs:
    """A map as compressed rows that are built slab by slab."""

    op: LinearMap
    order: Order
    #: Number of stored entries.
    nnz: int
    #: Number of rows in a slab; the last one has fewer.
    height: int
    #: Where each row starts, if that had to be counted.
    counted: IntArray | None = None
    #: The whole matrix, if it had to be built.
    whole: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the matrix."""
        return self.op.shape

    @property
    def count(self) -> int:
        """Number of slabs."""
        return -(-self.shape[0] // self.height)

    def rows(self, number: int) -> range:
        """Return the rows of a slab."""
        return range(number * self.height, min((number + 1) * self.height, self.shape[0]))

    def starts(self, rows: range) -> IntArray:
        """Return the number of entries before each of these rows, and before the row behind them."""
        if self.counted is not None:
            return self.counted[rows.start : rows.stop + 1]
        assert isinstance(self.op, ConvOperator)
        starts = np.empty(len(rows) + 1, np.int64)
        for at in range(0, starts.size, _BLOCK):
            numbers = np.arange(rows.start + at, min(rows.start + at + _BLOCK, rows.stop + 1))
            starts[at : at + _BLOCK] = forms.entries_before(self.op.geometry, self.order, numbers)
        return starts

    def row_of(self, entry: int) -> int:
        """Return the row that holds an entry."""
        if self.counted is not None:
            return int(np.searchsorted(self.counted, entry, "right")) - 1
        assert isinstance(self.op, ConvOperator)
        return int(forms.rows_of_entries(self.op.geometry, self.order, entry))

    def build(self, rows: range) -> scipy.sparse.csr_array:
        """Return these rows as a CSR array."""
        wanted = slice(rows.start, rows.stop)
        matrix: Any = self.op.to_sparse("csr", self.order, wanted) if self.whole is None else self.whole[wanted]
        return matrix

    def entries(self, start: int, stop: int, index: np.dtype[Any]) -> tuple[AnyArray, AnyArray]:
        """Return data and columns, of type ``index``, of a range of entries, wherever their rows begin."""
        data, indices = np.empty(stop - start, self.op.dtype), np.empty(stop - start, index)
        for rows in self._holding(start, stop):
            slab, first = self.build(rows), int(self.starts(rows[:0])[0])
            kept = slice(max(start - first, 0), min(stop - first, slab.nnz))
            place = slice(first + kept.start - start, first + kept.stop - start)
            data[place], indices[place] = slab.data[kept], slab.indices[kept]
        return data, indices

    def _holding(self, start: int, stop: int) -> Iterator[range]:
        """Yield ranges of at most ``height`` rows that hold these entries."""
        if start == stop:
            return
        first, last = self.row_of(start), self.row_of(stop - 1) + 1
        for row in range(first, last, self.height):
            yield range(row, min(row + self.height, last))


def slabs_of(op: LinearMap, order: Order) -> Slabs:
    """Return the slabs of a map of NumPy; the entries of one that is not a convolution are counted."""
    height = max(min(SLAB_BYTES // (8 + _most_in_row(op) * (op.dtype.itemsize + 4)), op.shape[0]), 1)
    if isinstance(op, ConvOperator):
        return Slabs(op, order, op.nnz, height)
    if (whole := _whole(op, order)) is not None:
        return Slabs(op, order, whole.nnz, height, whole.indptr.astype(np.int64), whole)
    memory.require_result("the starts of the rows", 8 * (op.shape[0] + 1), "Use a smaller map")
    starts = np.zeros(op.shape[0] + 1, np.int64)
    bare = Slabs(op, order, 0, height)
    for number in range(bare.count):
        rows = bare.rows(number)
        starts[rows.start + 1 : rows.stop + 1] = starts[rows.start] + bare.build(rows).indptr[1:]
    return Slabs(op, order, int(starts[-1]), height, starts)


def _whole(op: LinearMap, order: Order) -> Any:
    """Return the matrix of a map, or None if that takes more than half of the memory."""
    stored = op._count_stored()
    if stored is not None and 2 * stored * (op.dtype.itemsize + 8) > memory.available():
        return None
    try:
        return op.to_sparse("csr", order)
    except MemoryError:
        return None


def _most_in_row(op: LinearMap) -> int:
    """Return how many entries a row has: of a convolution at most, of others about, if their number is known."""
    if isinstance(op, ConvOperator):
        g = op.geometry
        return g.channels_per_group[1] * prod(min(a.kernel, a.size) for a in g.axes)
    stored = op._count_stored()
    return op.shape[1] if stored is None else 2 * stored // max(op.shape[0], 1) + 1


def token(op: LinearMap) -> str | None:
    """Return a name of a map that equal maps share, also in another process; None if it cannot be pickled."""
    try:
        return hashlib.sha256(pickle.dumps(op, protocol=5)).hexdigest()
    except Exception:  # classes of users fail in any way
        return None
