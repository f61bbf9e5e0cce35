"""SciPy sparse arrays of the matrix, or of a range of its rows, in every format; kernels of NumPy only.

`libraries` has sparse arrays of PyTorch, JAX and CuPy, whose values keep their gradients.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from convmtx.forms.filling import Arrays, Entries, compressed_arrays
from convmtx.forms.first_rows import first_rows
from convmtx.forms.layout import block_shape, saves_runs
from convmtx.forms.row_ranges import Rows, can_cut, cut_rows
from convmtx.geometry import Geometry
from convmtx.taps import entries_of, swap_channels
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers

if TYPE_CHECKING:
    import scipy.sparse

M = TypeVar("M")


def compress(entries: Entries, dtype: np.dtype[Any], pieces: list[Rows]) -> Arrays:
    """Return data, indices, indptr of rows with these entries, of a matrix or of its transpose.

    If the columns are far fewer runs than the rows, the columns are written and converted by SciPy.
    """
    if is_converted(pieces):
        from scipy.sparse import csc_array

        (columns,) = transpose(pieces)
        arrays = compressed_arrays([columns], entries, dtype)
        matrix = canonical(csc_array(arrays, shape=(columns.n_columns, columns.size))).tocsr()
        return matrix.data, matrix.indices, matrix.indptr
    return compressed_arrays(pieces, entries, dtype)


def entries_in_rows(geometry: Geometry, kernel: AnyArray, rows: Rows) -> AnyArray:
    """Return the different entries of rows (row channels, column channels of a group, entries1..entriesd)."""
    same_axes = replace(geometry, axes=rows.geometry.axes)
    if not rows.transposed:
        return entries_of(same_axes, kernel, rows.channels)
    entries = swap_channels(entries_of(same_axes, kernel), geometry.groups)
    return entries[rows.channels.start : rows.channels.stop : rows.channels.step, ...]


def transpose(pieces: list[Rows]) -> list[Rows]:
    """Return the columns of rows, as rows of the transpose; an empty list unless all columns are one piece."""
    if len(pieces) != 1 or not pieces[0].is_whole:
        return []
    return cut_rows(pieces[0].geometry, pieces[0].order, None, not pieces[0].transposed)


def transposed_pieces(geometry: Geometry, order: Order, wanted: RowNumbers) -> list[Rows] | None:
    """Return rows of the transpose as a few pieces; None if they do not ascend in equal steps, or if most differ."""
    if not can_cut(wanted, geometry, order, transposed=True):
        return None
    pieces = cut_rows(geometry, order, wanted, transposed=True)
    return None if any(first_rows(piece) is None for piece in pieces) else pieces


def is_converted(pieces: list[Rows]) -> bool:
    """Whether the columns of these rows are written and converted, because they are far fewer runs."""
    return any(
        saves_runs(pieces[0].most_runs, columns.most_runs, columns.nnz) and first_rows(pieces[0]) is None
        for columns in transpose(pieces)
    )


def _written(geometry: Geometry, kernel: AnyArray, pieces: list[Rows]) -> Arrays:
    """Return data, indices, indptr of rows of a kernel's matrix, or of its transpose."""
    return compress(partial(entries_in_rows, geometry, kernel), kernel.dtype, pieces)


def csr(geometry: Geometry, kernel: AnyArray, order: Order, rows: range | None = None) -> scipy.sparse.csr_array:
    """Return rows as a CSR array."""
    return csr_of_pieces(geometry, kernel, cut_rows(geometry, order, rows), geometry.shape[1])


def csr_of_pieces(geometry: Geometry, kernel: AnyArray, pieces: list[Rows], columns: int) -> scipy.sparse.csr_array:
    """Return pieces of rows as a CSR array with this number of columns."""
    from scipy.sparse import csr_array

    arrays = _written(geometry, kernel, pieces)
    return canonical(csr_array(arrays, shape=(arrays[2].size - 1, columns)))


def csc(geometry: Geometry, kernel: AnyArray, order: Order, rows: range | None = None) -> scipy.sparse.csc_array:
    """Return rows as a CSC array.

    In closed form if the rows are one piece, whose columns are rows of the transpose; otherwise by SciPy's conversion.
    """
    from scipy.sparse import csc_array

    columns = transpose(cut_rows(geometry, order, rows))
    if not columns:
        return canonical(csr(geometry, kernel, order, rows).tocsc())
    arrays = _written(geometry, kernel, columns)
    return canonical(csc_array(arrays, shape=(columns[0].n_columns, columns[0].size)))


def coo(geometry: Geometry, kernel: AnyArray, order: Order, rows: range | None = None) -> scipy.sparse.coo_array:
    """Return rows as a COO array, in row order."""
    from scipy.sparse import coo_array

    data, indices, pointers = _written(geometry, kernel, cut_rows(geometry, order, rows))
    row = np.repeat(np.arange(pointers.size - 1, dtype=indices.dtype), np.diff(pointers))
    return canonical(coo_array((data, (row, indices)), shape=(pointers.size - 1, geometry.shape[1])))


def bsr(geometry: Geometry, kernel: AnyArray, order: Order, rows: range | None = None) -> scipy.sparse.bsr_array:
    """Return rows as a BSR array with blocks of `block_shape`."""
    from scipy.sparse import bsr_array

    block = per_f, _ = block_shape(geometry, order, rows)
    if block == (1, 1):
        data, indices, pointers = _written(geometry, kernel, cut_rows(geometry, order, rows))
        data = data.reshape(-1, 1, 1)
    else:
        # A block is one entry of the map between groups, which has a single channel for each group.
        groups = replace(geometry, in_channels=geometry.groups, out_channels=geometry.groups)
        wanted = None if rows is None else range(rows.start // per_f, rows.stop // per_f)

        def entries(rows: Rows) -> AnyArray:
            filters = range(rows.channels.start * per_f, rows.channels.stop * per_f)
            return entries_of(replace(geometry, axes=rows.geometry.axes), kernel, filters)

        data, indices, pointers = compressed_arrays(cut_rows(groups, order, wanted), entries, kernel.dtype, block)
    return canonical(bsr_array((data, indices, pointers), shape=((pointers.size - 1) * per_f, geometry.shape[1])))


def dia_size(matrix: scipy.sparse.csr_array) -> int:
    """Return the bytes of the matrix as a DIA array, in which each diagonal that has an entry is stored in full."""
    _, is_met = _diagonals(matrix)
    return int(np.count_nonzero(is_met)) * (matrix.shape[1] * matrix.dtype.itemsize + matrix.indices.itemsize)


def dia(matrix: scipy.sparse.csr_array) -> scipy.sparse.dia_array:
    """Return the matrix as a DIA array: entry (i, j) stands in column j of the diagonal j - i."""
    from scipy.sparse import dia_array

    diagonal, is_met = _diagonals(matrix)
    offsets = np.flatnonzero(is_met) - matrix.shape[0]
    data = np.zeros((offsets.size, matrix.shape[1]), matrix.dtype)
    data[(np.cumsum(is_met) - 1)[diagonal], matrix.indices] = matrix.data
    return dia_array((data, offsets.astype(matrix.indices.dtype)), shape=matrix.shape)


def _diagonals(matrix: scipy.sparse.csr_array) -> tuple[IntArray, AnyArray]:
    """Return the number of each entry's diagonal, and for each number whether an entry has it.

    Diagonal j - i of a matrix with M rows has number j - i + M, so that the numbers are positive.
    """
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    diagonal = matrix.indices - rows + matrix.shape[0]
    is_met = np.zeros(sum(matrix.shape), bool)
    is_met[diagonal] = True
    return diagonal, is_met


def canonical(matrix: M) -> M:
    """Mark a matrix as sorted and without duplicates, as it was built, so that SciPy does not check every entry."""
    for attribute in ("has_sorted_indices", "has_canonical_format"):
        setattr(matrix, attribute, True)
    return matrix
