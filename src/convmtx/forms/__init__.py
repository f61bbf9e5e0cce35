"""Geometry and kernel to arrays: the dense matrix, the strided view, the sparse matrices; and what each weighs."""

from __future__ import annotations

from array import array as buffer
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy, library
from convmtx._xp.arriving import LISTED_ENTRIES, measured
from convmtx._xp.sparse import LIBRARY_FORMATS
from convmtx.errors import ArgumentError, ArgumentTypeError, ConvmtxError, RowIndexError, shown
from convmtx.forms import gathered, sparse
from convmtx.forms.dense import dense
from convmtx.forms.filled import can_cut
from convmtx.forms.gathered import by_coordinates
from convmtx.forms.layout import block_shape, by_columns, row_array
from convmtx.forms.listed import compressed
from convmtx.forms.sizes import size_of_rows, sizes, working
from convmtx.forms.view import view
from convmtx.forms.windows import windows
from convmtx.geometry import Geometry
from convmtx.taps import entries_of
from convmtx.typing import AnyArray, Array, IntArray, Order, RowNumbers, RowsLike, SparseFormat

if TYPE_CHECKING:
    import scipy.sparse

__all__ = [
    "FORMATS",
    "by_coordinates",
    "check_format",
    "check_storable",
    "converted",
    "csr_of_rows",
    "dense_matrix",
    "row_array",
    "row_indices",
    "sizes",
    "sparse_matrix",
    "tensor_view",
    "windows",
]

#: Row numbers of a sequence that answers one by one: it takes a second or two to list these.
_ASKED_ROWS = 1 << 22

FORMATS = ("csr", "csc", "coo", "bsr", "dia")


def dense_matrix(geometry: Geometry, kernel: AnyArray, order: Order) -> AnyArray:
    """The (M, N) matrix, if it fits."""
    known = sizes(geometry, kernel.dtype)
    memory.require("dense", known)
    with memory.refused_as("dense", known):
        if not is_numpy(kernel):
            return gathered.dense(geometry, entries_of(geometry, kernel), order)
        if (columns := by_columns(geometry.T)) is not None:
            return dense(columns, entries_of(columns, kernel), order, transposed=True)
        return dense(geometry, entries_of(geometry, kernel), order)


def tensor_view(geometry: Geometry, kernel: AnyArray) -> AnyArray:
    """The strided tensor, if the array behind it fits."""
    if not is_numpy(kernel):
        got = f"the kernel is of {library(kernel)}"
        only = "Views with negative strides are NumPy's alone"
        raise ArgumentTypeError(got, only, "Use to_tensor(), or a NumPy kernel")
    if geometry.toeplitz:
        memory.require("view", sizes(geometry, kernel.dtype))
    return view(geometry, kernel)


def sparse_matrix(
    geometry: Geometry, kernel: AnyArray, format: SparseFormat, order: Order, rows: RowNumbers | None
) -> scipy.sparse.sparray:
    """The matrix, or some of its rows, as a sparse array of the kernel's library (SciPy's for NumPy), if it fits."""
    if not is_numpy(kernel):
        check_format(kernel, format)
        if rows is not None:
            return by_coordinates(geometry, kernel, order, rows).made(format)
        memory.require("coo", sizes(geometry, kernel.dtype))
        return gathered.sparse(geometry, kernel, format, order)
    check_storable(kernel.dtype)
    if not can_cut(rows, geometry, order):
        assert rows is not None  # all rows are one piece
        return _some_rows(geometry, kernel, format, order, rows)
    built: SparseFormat = "csr" if format == "dia" else format
    if rows is None:
        form, known = str(built), sizes(geometry, kernel.dtype)
    else:
        form, known = "rows", {"rows": size_of_rows(geometry, kernel.dtype, built, order, rows)}
    memory.require(form, known, working(geometry, built, order, rows))
    builders: Mapping[str, Any] = {"csr": sparse.csr, "csc": sparse.csc, "coo": sparse.coo, "bsr": sparse.bsr}
    with memory.refused_as(form, known):
        matrix: Any = builders[built](geometry, kernel, order, rows)
    found: scipy.sparse.sparray = matrix
    if format == "dia":
        found = converted(matrix, "dia", known)
    return found


def check_format(array: Array, format: SparseFormat) -> None:
    """Refuse a format that the library of this array does not have."""
    name = library(array)
    known = LIBRARY_FORMATS.get(name, ())
    if format not in known:
        have = f"{name} has {' and '.join(map(repr, known))}" if known else f"{name} has no sparse arrays"
        raise ArgumentError(f"format={format!r} of {name}", have, "Use to_dense(), or a NumPy kernel")


def check_storable(dtype: np.dtype[Any]) -> None:
    """Refuse numbers that SciPy's sparse arrays do not hold."""
    if dtype == np.float16:
        wanted = "SciPy's sparse arrays hold integers, and floats and complex numbers of at least 32 bits"
        remedy = "Use to_dense(), or a kernel of float32, as of op.with_kernel(op.kernel.astype(np.float32))"
        raise ArgumentTypeError(f"the kernel has dtype {dtype}", wanted, remedy)


def _some_rows(
    geometry: Geometry, kernel: AnyArray, format: SparseFormat, order: Order, rows: RowNumbers
) -> scipy.sparse.sparray:
    matrix = csr_of_rows(geometry, kernel, order, rows)
    if format == "bsr":
        block = block_shape(geometry, order)
        return matrix.tobsr(block if _whole(rows, block[0]) else (1, 1))
    return converted(matrix, format, {})


def csr_of_rows(
    geometry: Geometry, kernel: AnyArray, order: Order, rows: RowNumbers, transposed: bool = False
) -> scipy.sparse.csr_array:
    """Any rows, in any order, of the matrix or its transpose, if they fit; of a NumPy kernel."""
    from scipy.sparse import csr_array

    with memory.refused_as("rows", {}):
        arrays = compressed(geometry, kernel, order, rows, transposed)
    return sparse.canonical(csr_array(arrays, shape=(len(rows), geometry.shape[0 if transposed else 1])))


def _whole(rows: RowNumbers, size: int) -> bool:
    """Whether the rows are blocks of so many, each whole and in order."""
    rows = row_array(rows)
    if rows.size % size:
        return False
    blocks = rows.reshape(-1, size)
    return bool((blocks == blocks[:, :1] // size * size + np.arange(size)).all())


def converted(matrix: scipy.sparse.csr_array, format: SparseFormat, known: Mapping[str, int]) -> scipy.sparse.sparray:
    """A CSR matrix in another format, if it fits; ``known`` are the sizes of the others."""
    if format == "dia":
        each = 2 * 8 * matrix.nnz + 9 * sum(matrix.shape)  # diagonal of each entry, and which are met
        memory.require("dia", {**known, "dia": 0}, each)
        memory.require("dia", {**known, "dia": sparse.dia_size(matrix)}, each)
        return sparse.dia(matrix)
    if format == "bsr":
        return matrix.tobsr((1, 1))
    return matrix.asformat(format)


def row_indices(rows: RowsLike, count: int) -> RowNumbers:
    """A slice, an array of row numbers (negative from the end) or a mask, as row numbers; a range where they are."""
    try:
        if isinstance(rows, slice):
            return range(*rows.indices(count))
        if isinstance(rows, range):
            return _range(rows, count)
        measured("rows", rows, LISTED_ENTRIES if isinstance(rows, list | tuple | buffer) else _ASKED_ROWS)
        array = np.asarray(rows)
    except ConvmtxError:
        raise
    except Exception as error:  # a stranger's __len__ or __getitem__ raises what it likes
        wanted = f"Wanted a slice, a one-dimensional array of integers or a mask of {count} entries"
        raise ArgumentTypeError(f"rows={shown(rows)} ({error})", wanted, "Pass rows=slice(0, 10), say") from None
    if array.dtype == bool and array.shape == (count,):
        return _as_range(np.flatnonzero(array))
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        got = f"rows of dtype {array.dtype} and shape {array.shape}"
        wanted = f"Wanted a slice, a one-dimensional array of integers or a mask of {count} entries"
        raise ArgumentTypeError(got, wanted, "Pass rows=slice(0, 10), say")
    if array.size:
        _check_rows(int(array.min()), int(array.max()), count)
    array = array.astype(np.int64)
    return _as_range(np.where(array < 0, array + count, array))


def _check_rows(least: int, most: int, count: int) -> None:
    """Refuse rows that the matrix does not have."""
    if least < -count or most >= count:
        wanted = f"The matrix has rows 0 to {count - 1}, or {-count} to -1 from the end"
        bad = shown(most if most >= count else least)
        raise RowIndexError(f"row {bad}", wanted, "Pass rows in that range")


def _range(rows: range, count: int) -> RowNumbers:
    """A range as row numbers, unlisted unless it passes from the end of the matrix to its beginning."""
    if not rows:
        return range(0)
    least, most = sorted((rows[0], rows[-1]))
    _check_rows(least, most, count)
    if least >= 0:
        return rows
    if most < 0:
        return range(rows.start + count, rows.stop + count, rows.step)
    return _as_range(np.array(rows) % count)


def _as_range(rows: IntArray) -> RowNumbers:
    """Rows that ascend in equal steps as a range, which is built faster."""
    if rows.size < 2 or rows[1] <= rows[0]:
        return rows
    step = int(rows[1] - rows[0])
    return range(int(rows[0]), int(rows[-1]) + 1, step) if (np.diff(rows) == step).all() else rows
