"""Geometry and kernel to arrays: the dense matrix, the strided view, the sparse matrices; and what each weighs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx.errors import ArgumentTypeError, RowIndexError, sentence
from convmtx.forms import sparse as _sparse
from convmtx.forms.dense import dense as _dense
from convmtx.forms.sizes import sizes
from convmtx.forms.view import view as _view
from convmtx.geometry import Geometry
from convmtx.typing import AnyArray, IntArray, Order, RowsLike, SparseFormat

if TYPE_CHECKING:
    import scipy.sparse

__all__ = ["FORMATS", "dense", "row_indices", "sizes", "sparse", "view"]

FORMATS = ("csr", "csc", "coo", "bsr", "dia")


def dense(call: str, geometry: Geometry, kernel: AnyArray, order: Order) -> AnyArray:
    """The (M, N) matrix, if it fits."""
    memory.require(call, "dense", sizes(geometry, kernel.dtype))
    return _dense(geometry, kernel, order)


def view(call: str, geometry: Geometry, kernel: AnyArray) -> AnyArray:
    """The strided tensor, if the array behind it fits."""
    if geometry.toeplitz:
        memory.require(call, "view", sizes(geometry, kernel.dtype))
    return _view(geometry, kernel)


def sparse(
    call: str, geometry: Geometry, kernel: AnyArray, format: SparseFormat, order: Order, rows: RowsLike | None
) -> scipy.sparse.sparray:
    """The matrix, or some of its rows, in a SciPy sparse format, if it fits."""
    if rows is not None:
        return _rows(call, geometry, kernel, format, order, row_indices(call, rows, geometry.shape[0]))
    known = sizes(geometry, kernel.dtype)
    if format != "dia":
        memory.require(call, format, known)
        builders: Mapping[str, Any] = {
            "csr": _sparse.csr, "csc": _sparse.csc, "coo": _sparse.coo, "bsr": _sparse.bsr,
        }  # fmt: skip
        matrix: scipy.sparse.sparray = builders[format](geometry, kernel, order)
        return matrix
    memory.require(call, "coo", known)
    rowwise = _sparse.csr(geometry, kernel, order)
    memory.require(call, "dia", known | {"dia": _sparse.dia_size(rowwise)})
    return _sparse.dia(rowwise)


def _rows(
    call: str, geometry: Geometry, kernel: AnyArray, format: SparseFormat, order: Order, wanted: IntArray
) -> scipy.sparse.sparray:
    from scipy.sparse import csr_array

    shape = (wanted.size, geometry.shape[1])
    entries = wanted.size * -(-geometry.nnz // geometry.shape[0])
    memory.require(call, "rows", {"rows": entries * (kernel.dtype.itemsize + 3 * 8)})
    matrix = csr_array(_sparse.some_rows(geometry, kernel, order, wanted), shape=shape)
    matrix.has_sorted_indices = matrix.has_canonical_format = True
    if format == "dia":
        memory.require(call, "dia", {"dia": _sparse.dia_size(matrix)})
        return _sparse.dia(matrix)
    return matrix.asformat(format)


def row_indices(call: str, rows: RowsLike, count: int) -> IntArray:
    """A slice, an array of row numbers (negative from the end) or a mask, as row numbers."""
    if isinstance(rows, slice):
        return np.arange(*rows.indices(count), dtype=np.int64)
    array = np.asarray(rows)
    if array.dtype == bool and array.shape == (count,):
        return np.flatnonzero(array)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        got = f"rows of dtype {array.dtype} and shape {array.shape}"
        wanted = f"Wanted a slice, a one-dimensional array of integers or a mask of {count} entries"
        raise ArgumentTypeError(sentence(call, got, wanted, "Pass rows=slice(0, 10), say"))
    if array.size and not (-count <= int(array.min()) and int(array.max()) < count):
        bad = int(array.max()) if int(array.max()) >= count else int(array.min())
        wanted = f"The matrix has rows 0 to {count - 1}, or {-count} to -1 from the end"
        raise RowIndexError(sentence(call, f"row {bad}", wanted, "Pass rows in that range"))
    array = array.astype(np.int64)
    return np.where(array < 0, array + count, array)
