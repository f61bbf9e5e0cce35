"""Formats of sparse matrices: which there are, in which library and of which numbers, and which file builds each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy, library
from convmtx._xp.sparse import LIBRARY_FORMATS
from convmtx.errors import ArgumentError, ArgumentTypeError
from convmtx.forms import libraries, sparse
from convmtx.forms.diagonals import diagonals_of
from convmtx.forms.kept import pattern
from convmtx.forms.layout import block_shape, row_array
from convmtx.forms.libraries import by_coordinates
from convmtx.forms.row_lookup import compress
from convmtx.forms.row_ranges import Rows, can_cut, cut_rows
from convmtx.forms.sizes import size_of_pieces, size_of_rows, sizes, working
from convmtx.geometry import Geometry
from convmtx.typing import AnyArray, Array, Order, RowNumbers, SparseFormat

if TYPE_CHECKING:
    import scipy.sparse

#: Formats of sparse matrices, as SciPy names them.
FORMATS = ("csr", "csc", "coo", "bsr", "dia")


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
    if rows is None and (small := pattern(geometry, format, order)) is not None:
        memory.require(format, {format: small.size(kernel.dtype.itemsize)})
        return small.fill(kernel)
    if not can_cut(rows, geometry, order):
        assert rows is not None  # all rows are one piece
        return _some_rows(geometry, kernel, format, order, rows)
    if format == "dia" and (matrix := _by_diagonals(geometry, kernel, cut_rows(geometry, order, rows))) is not None:
        return matrix
    built: SparseFormat = "csr" if format == "dia" else format
    if rows is None:
        form, known = str(built), sizes(geometry, kernel.dtype)
    else:
        form, known = "rows", {"rows": size_of_rows(geometry, kernel.dtype, built, order, rows)}
    memory.require(form, known, working(geometry, built, order, rows))
    builders: Mapping[str, Any] = {"csr": sparse.csr, "csc": sparse.csc, "coo": sparse.coo, "bsr": sparse.bsr}
    with memory.refused_as(form, known):
        built_matrix: Any = builders[built](geometry, kernel, order, rows)
    return convert(built_matrix, "dia", known) if format == "dia" else built_matrix


def _by_diagonals(geometry: Geometry, kernel: AnyArray, pieces: list[Rows]) -> scipy.sparse.dia_array | None:
    """Return rows as a DIA array in closed form, if they fit; None if they have to be converted from CSR."""
    if len(pieces) != 1:
        return None
    (rows,) = pieces
    known = sizes(geometry, kernel.dtype)
    beside = _beside_diagonals(rows.nnz, rows.size + rows.n_columns)
    memory.require("dia", {**known, "dia": 0}, beside)
    if (diagonals := diagonals_of(rows)) is None:
        return None
    known["dia"] = diagonals.size(kernel.dtype.itemsize)
    memory.require("dia", known, beside)
    with memory.refused_as("dia", known):
        return diagonals.matrix(geometry, kernel)


def size_of_dia(geometry: Geometry, kernel: AnyArray) -> int:
    """Return the bytes of the matrix of a NumPy kernel as a DIA array; without a closed form, CSR is built."""
    pieces = cut_rows(geometry, "C", None)
    closed = diagonals_of(pieces[0]) if len(pieces) == 1 else None
    if closed is not None:
        return closed.size(kernel.dtype.itemsize)
    return sparse.dia_size(sparse.csr(geometry, kernel, "C", None))


def _beside_diagonals(nnz: int, lines: int) -> int:
    """Return the bytes needed to find the diagonals of a matrix with this number of entries, and of rows and columns.

    They are the diagonal of each entry, and which diagonals have entries.
    """
    return 2 * 8 * nnz + 9 * lines


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
        expected = "SciPy's sparse arrays hold integers, and floats and complex numbers of at least 32 bits"
        remedy = "Use to_dense(), or np.float32(1) * op"
        raise ArgumentTypeError(f"the matrix has dtype {dtype}", expected, remedy)


def storable(values: AnyArray) -> AnyArray:
    """Return numbers in a type that SciPy's sparse arrays hold: float32 for float16, else the numbers themselves."""
    return values.astype(np.float32) if values.dtype == np.float16 else values


def _some_rows(
    geometry: Geometry, kernel: AnyArray, format: SparseFormat, order: Order, rows: RowNumbers
) -> scipy.sparse.sparray:
    """Return rows in any order in a format, converted from CSR; BSR keeps its blocks if the rows are whole blocks."""
    matrix = csr_of_rows(geometry, kernel, order, rows)
    if format == "bsr":
        block = block_shape(geometry, order)
        return matrix.tobsr(block if _whole(rows, block[0]) else (1, 1))
    return convert(matrix, format, {})


def csr_of_rows(
    geometry: Geometry, kernel: AnyArray, order: Order, rows: RowNumbers, transposed: bool = False
) -> scipy.sparse.csr_array:
    """Return rows in any order, of the matrix or its transpose, as a CSR array, if they fit; for a NumPy kernel.

    A range of rows of the transpose is written in closed form, unless most of its rows differ.
    """
    from scipy.sparse import csr_array

    pieces = sparse.transposed_pieces(geometry, order, rows) if transposed else None
    if pieces is not None:
        known = {"rows": size_of_pieces(pieces, kernel.dtype, geometry.shape[0])}
        memory.require("rows", known, 2 * 8 * len(rows))
        with memory.refused_as("rows", known):
            return sparse.csr_of_pieces(geometry, kernel, pieces, geometry.shape[0])
    with memory.refused_as("rows", {}):
        arrays = compress(geometry, kernel, order, rows, transposed)
    return sparse.canonical(csr_array(arrays, shape=(len(rows), geometry.shape[0 if transposed else 1])))


def _whole(rows: RowNumbers, size: int) -> bool:
    """Whether the rows are blocks of ``size`` rows, each complete and in order: for size 2, rows 4 5 0 1 are."""
    rows = row_array(rows)
    if rows.size % size:
        return False
    blocks = rows.reshape(-1, size)
    return bool((blocks == blocks[:, :1] // size * size + np.arange(size)).all())


def convert(matrix: scipy.sparse.csr_array, format: SparseFormat, known: Mapping[str, int]) -> scipy.sparse.sparray:
    """Return a CSR matrix in another format, if it fits in memory; ``known`` are the sizes of other forms."""
    if format == "dia":
        beside = _beside_diagonals(matrix.nnz, sum(matrix.shape))
        memory.require("dia", {**known, "dia": 0}, beside)
        memory.require("dia", {**known, "dia": sparse.dia_size(matrix)}, beside)
        return sparse.dia(matrix)
    if format == "bsr":
        return matrix.tobsr((1, 1))
    return matrix.asformat(format)
