"""Forms of the map as arrays: the dense matrix, the strided view, the sparse matrices, and the size of each.

Each function here first checks that the result fits in memory.
"""

from __future__ import annotations

from array import array as buffer
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy, library
from convmtx._xp.arriving import LISTED_ENTRIES, require_small
from convmtx._xp.sparse import LIBRARY_FORMATS
from convmtx.errors import ArgumentError, ArgumentTypeError, ConvmtxError, RowIndexError, shown
from convmtx.forms import libraries, sparse
from convmtx.forms.dense import dense
from convmtx.forms.layout import block_shape, by_columns, row_array
from convmtx.forms.libraries import by_coordinates
from convmtx.forms.row_lookup import compressed
from convmtx.forms.row_ranges import can_cut
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

#: Largest number of row numbers in a sequence that NumPy has to read one by one, at a second or two for these.
_MOST_ROWS_IN_SEQUENCE = 1 << 22

#: Formats of sparse matrices, as SciPy names them.
FORMATS = ("csr", "csc", "coo", "bsr", "dia")


def dense_matrix(geometry: Geometry, kernel: AnyArray, order: Order) -> AnyArray:
    """Return the (M, N) matrix, if it fits in memory."""
    known = sizes(geometry, kernel.dtype)
    memory.require("dense", known)
    with memory.refused_as("dense", known):
        if not is_numpy(kernel):
            return libraries.dense(geometry, entries_of(geometry, kernel), order)
        if (columns := by_columns(geometry.T)) is not None:
            return dense(columns, entries_of(columns, kernel), order, transposed=True)
        return dense(geometry, entries_of(geometry, kernel), order)


def tensor_view(geometry: Geometry, kernel: AnyArray) -> AnyArray:
    """Return the tensor as a strided view, if the array behind it fits in memory."""
    if not is_numpy(kernel):
        got = f"the kernel is of {library(kernel)}"
        wanted = "Only NumPy has views with negative strides"
        raise ArgumentTypeError(got, wanted, "Use to_tensor(), or a NumPy kernel")
    if geometry.toeplitz:
        memory.require("view", sizes(geometry, kernel.dtype))
    return view(geometry, kernel)


def sparse_matrix(
    geometry: Geometry, kernel: AnyArray, format: SparseFormat, order: Order, rows: RowNumbers | None
) -> scipy.sparse.sparray:
    """Return the matrix, or some of its rows, as a sparse array, if it fits in memory.

    The array is of the kernel's library, and of SciPy for a kernel of NumPy.
    """
    if not is_numpy(kernel):
        check_format(kernel, format)
        if rows is not None:
            return by_coordinates(geometry, kernel, order, rows).to_library(format)
        memory.require("coo", sizes(geometry, kernel.dtype))
        return libraries.sparse(geometry, kernel, format, order)
    check_storable(kernel.dtype)
    if not can_cut(rows, geometry, order):
        assert rows is not None  # all rows are one piece
        return _some_rows(geometry, kernel, format, order, rows)
    built: SparseFormat = "csr" if format == "dia" else format  # DIA is converted from CSR
    if rows is None:
        form, known = str(built), sizes(geometry, kernel.dtype)
    else:
        form, known = "rows", {"rows": size_of_rows(geometry, kernel.dtype, built, order, rows)}
    memory.require(form, known, working(geometry, built, order, rows))
    builders: Mapping[str, Any] = {"csr": sparse.csr, "csc": sparse.csc, "coo": sparse.coo, "bsr": sparse.bsr}
    with memory.refused_as(form, known):
        matrix: Any = builders[built](geometry, kernel, order, rows)
    return converted(matrix, "dia", known) if format == "dia" else matrix


def check_format(array: Array, format: SparseFormat) -> None:
    """Refuse a format that the library of this array does not have."""
    name = library(array)
    known = LIBRARY_FORMATS.get(name, ())
    if format not in known:
        have = f"{name} has {' and '.join(map(repr, known))}" if known else f"{name} has no sparse arrays"
        raise ArgumentError(f"format={format!r} of {name}", have, "Use to_dense(), or a NumPy kernel")


def check_storable(dtype: np.dtype[Any]) -> None:
    """Refuse a type of numbers that SciPy's sparse arrays cannot hold."""
    if dtype == np.float16:
        wanted = "SciPy's sparse arrays hold integers, and floats and complex numbers of at least 32 bits"
        remedy = "Use to_dense(), or a kernel of float32, as with op.with_kernel(op.kernel.astype(np.float32))"
        raise ArgumentTypeError(f"the kernel has dtype {dtype}", wanted, remedy)


def _some_rows(
    geometry: Geometry, kernel: AnyArray, format: SparseFormat, order: Order, rows: RowNumbers
) -> scipy.sparse.sparray:
    """Return rows in any order in a format, converted from CSR; BSR keeps its blocks if the rows are whole blocks."""
    matrix = csr_of_rows(geometry, kernel, order, rows)
    if format == "bsr":
        block = block_shape(geometry, order)
        return matrix.tobsr(block if _whole(rows, block[0]) else (1, 1))
    return converted(matrix, format, {})


def csr_of_rows(
    geometry: Geometry, kernel: AnyArray, order: Order, rows: RowNumbers, transposed: bool = False
) -> scipy.sparse.csr_array:
    """Return rows in any order, of the matrix or its transpose, as a CSR array, if they fit; for a NumPy kernel."""
    from scipy.sparse import csr_array

    with memory.refused_as("rows", {}):
        arrays = compressed(geometry, kernel, order, rows, transposed)
    return sparse.canonical(csr_array(arrays, shape=(len(rows), geometry.shape[0 if transposed else 1])))


def _whole(rows: RowNumbers, size: int) -> bool:
    """Whether the rows are blocks of ``size`` rows, each complete and in order: for size 2, rows 4 5 0 1 are."""
    rows = row_array(rows)
    if rows.size % size:
        return False
    blocks = rows.reshape(-1, size)
    return bool((blocks == blocks[:, :1] // size * size + np.arange(size)).all())


def converted(matrix: scipy.sparse.csr_array, format: SparseFormat, known: Mapping[str, int]) -> scipy.sparse.sparray:
    """Return a CSR matrix in another format, if it fits in memory; ``known`` are the sizes of other forms."""
    if format == "dia":
        beside = 2 * 8 * matrix.nnz + 9 * sum(matrix.shape)  # the diagonal of each entry, and which have entries
        memory.require("dia", {**known, "dia": 0}, beside)
        memory.require("dia", {**known, "dia": sparse.dia_size(matrix)}, beside)
        return sparse.dia(matrix)
    if format == "bsr":
        return matrix.tobsr((1, 1))
    return matrix.asformat(format)


def row_indices(rows: RowsLike, count: int) -> RowNumbers:
    """Return row numbers from a slice, an array of row numbers (negative from the end) or a mask.

    They are a range if they ascend in equal steps.
    """
    wanted = f"Wanted a slice, a one-dimensional array of integers or a mask of {count} entries"
    remedy = "Pass for example rows=slice(0, 10)"
    try:
        if isinstance(rows, slice):
            return range(*rows.indices(count))
        if isinstance(rows, range):
            return _range(rows, count)
        is_fast = isinstance(rows, list | tuple | buffer)
        require_small("rows", rows, LISTED_ENTRIES if is_fast else _MOST_ROWS_IN_SEQUENCE)
        array = np.asarray(rows)
    except ConvmtxError:
        raise
    except Exception as error:  # the value's own __len__ or __getitem__ can raise anything
        raise ArgumentTypeError(f"rows={shown(rows)} ({error})", wanted, remedy) from None
    if array.dtype == bool and array.shape == (count,):
        return _as_range(np.flatnonzero(array))
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentTypeError(f"rows of dtype {array.dtype} and shape {array.shape}", wanted, remedy)
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
    """Return a range as row numbers from 0 on; it stays a range unless it goes from negative numbers to others."""
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
    """Return rows that ascend in equal steps as a range, whose matrix is built faster; other rows unchanged."""
    if rows.size < 2 or rows[1] <= rows[0]:
        return rows
    step = int(rows[1] - rows[0])
    return range(int(rows[0]), int(rows[-1]) + 1, step) if (np.diff(rows) == step).all() else rows
