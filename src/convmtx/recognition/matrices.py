"""Matrices that are compared and recognized: dense, sparse or of a map, in one form and in slabs of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, numeric
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentError
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers

#: Entries that are read at a time. A million take 12 MB; in slabs of 40,000, the whole matrix takes twice as long.
SLAB = 1_000_000


def read_matrix(name: str, A: Any, op: LinearMap) -> Any:
    """Return a matrix, tensor or map as an ndarray or canonical CSR array of the shape of ``op``; refuse others.

    It is copied only if it has another form.
    """
    tensor = op.out_shape + op.in_shape
    is_map = isinstance(A, LinearMap)
    matrix = A if is_map else as_matrix(name, A)
    shape = A.out_shape + A.in_shape if is_map else tuple(matrix.shape)
    if shape not in (op.shape, tensor) or (shape == op.shape != tensor and is_map):
        expected = f"Expected {op.shape}" + (f" or {tensor}" if tensor != op.shape else "")
        raise ArgumentError(f"{name} has shape {shape}", expected, "Check the shapes of inputs and outputs")
    if is_map:
        return as_matrix(name, A)
    return matrix.reshape(op.shape) if isinstance(matrix, np.ndarray) else matrix


def as_matrix(name: str, A: Any) -> Any:
    """Return an array of numbers as an ndarray, and a sparse one or a map as a canonical CSR array."""
    if isinstance(A, LinearMap):
        A._require_matrix()
        return rows_of_map(A, "C", None)
    if is_sparse(A):
        A = A.tocsr()
        numeric(name, A.data)
        return canonical(A)
    return as_numpy(numeric(name, A))


def is_sparse(A: Any) -> bool:
    """Whether an array is a sparse one of SciPy, or of a library that follows it."""
    return hasattr(A, "nnz") and hasattr(A, "tocsr")


def canonical(A: Any) -> Any:
    """Return a CSR matrix with sorted indices and without duplicates; a copy of one that is not so."""
    if A.has_canonical_format:
        return A
    A = A.copy()
    A.sum_duplicates()
    return A


def rows_of_map(op: LinearMap, order: Order, rows: RowNumbers | None) -> Any:
    """Return the matrix of any map, or rows of it, as a CSR array of SciPy, without gradients; halves in 32 bits."""
    from scipy.sparse import csr_array

    matrix = op._sparse(order, rows)
    if isinstance(matrix, Coordinates):
        matrix = csr_array((as_numpy(matrix.data), (matrix.rows, matrix.columns)), shape=matrix.shape)
    return matrix


def rows_of(A: Any, rows: RowNumbers) -> tuple[IntArray, IntArray, AnyArray]:
    """Return row pointers, columns and values of rows of a CSR matrix: views if the rows are consecutive."""
    if not isinstance(rows, range):
        part = A[rows]
        return part.indptr, part.indices, part.data
    pointers = A.indptr[rows.start : rows.stop + 1]
    stored = slice(pointers[0], pointers[-1])
    return pointers - pointers[0], A.indices[stored], A.data[stored]


def slabs(A: Any, stored: int = 0) -> Iterator[range]:
    """Yield the rows of a matrix in ranges of about `SLAB` entries, its own or those of one that stores so many."""
    count, width = A.shape
    length = width if isinstance(A, np.ndarray) else max(A.nnz, stored) // max(count, 1) + 1
    step = max(SLAB // length, 1)
    for start in range(0, count, step):
        yield range(start, min(start + step, count))


def positions(pointers: IntArray, columns: IntArray, width: int) -> IntArray:
    """Return positions in the flattened rows: entry (2, 5) of a matrix with 30 columns is at 65."""
    return np.repeat(np.arange(len(pointers) - 1), np.diff(pointers)) * width + columns
