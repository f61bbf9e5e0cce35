"""Maps of matrices: a dense array of any library, or a sparse array of SciPy, on flattened arrays."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import (
    cast,
    conjugate,
    frozen,
    is_numpy,
    like,
    move_axes,
    namespace,
    promote,
    reshape,
    together,
)
from convmtx._xp.sparse import Coordinates, times, with_data
from convmtx.forms import row_array, storable
from convmtx.maps.double import double, double_csr
from convmtx.maps.linear_map import LinearMap, Shaped, absolute
from convmtx.maps.ordering import in_order, renumbered
from convmtx.typing import Array, Order, RowNumbers, Shape


class DenseMap(Shaped):
    """Map of a dense matrix (M, N) of any array library, which acts on arrays flattened in C order."""

    _takes_every_library = True

    def __init__(self, matrix: Array, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__(in_shape, out_shape)
        self.matrix = matrix

    @property
    def _reference_array(self) -> Array:
        return self.matrix

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    def _apply(self, x: Array) -> Array:
        return self._times(x, move_axes(self.matrix, 1, 0), self._out_shape)

    def _apply_transposed(self, y: Array) -> Array:
        return self._times(y, self.matrix, self._in_shape)

    @staticmethod
    def _times(x: Array, matrix: Array, shape: Shape) -> Array:
        matrix, x = together(matrix, x)
        dtype = promote(matrix.dtype, x.dtype)
        rows = cast(reshape(x, (x.shape[0], int(matrix.shape[0]))), dtype)
        return reshape(namespace(x).matmul(rows, cast(matrix, dtype)), (x.shape[0], *shape))

    def _dense(self, order: Order) -> Array:
        xp, matrix = namespace(self.matrix), self.matrix
        if order == "F":
            rows, columns = (
                like(renumbered(shape, np.arange(prod(shape)), "F", "C"), matrix)
                for shape in (self._out_shape, self._in_shape)
            )
            return xp.take(xp.take(matrix, rows, axis=0), columns, axis=1)
        return matrix.copy() if is_numpy(matrix) else frozen(matrix)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        from scipy.sparse import csr_array

        matrix = self.matrix if order == "C" else self._dense(order)
        if rows is not None:
            matrix = namespace(matrix).take(matrix, like(row_array(rows), matrix), axis=0)
        count, width = (int(n) for n in matrix.shape)
        columns, pointers = np.tile(np.arange(width), count), width * np.arange(count + 1)
        if not is_numpy(matrix):
            return Coordinates.compress(reshape(matrix, (-1,)), columns, pointers, width)
        return csr_array((storable(matrix.reshape(-1)).copy(), columns, pointers), shape=(count, width))

    def _count_stored(self) -> int:
        return prod(self.shape)

    def conj(self) -> DenseMap:
        return DenseMap(conjugate(self.matrix), self._in_shape, self._out_shape)

    @property
    def T(self) -> DenseMap:
        return DenseMap(move_axes(self.matrix, 1, 0), self._out_shape, self._in_shape)

    def _entrywise(self, function: Callable[[Array], Array]) -> DenseMap:
        return DenseMap(function(self.matrix), self._in_shape, self._out_shape)

    def _in_double(self) -> DenseMap:
        return DenseMap(double(self.matrix, "the matrix"), self._in_shape, self._out_shape)

    def _peak(self) -> float:
        return float(np.abs(self.matrix).max(initial=0))

    def _magnitudes(self) -> DenseMap:
        return self._entrywise(absolute)

    def _count_roundings(self) -> float:
        return 1 + self.shape[1]


class SparseMap(Shaped):
    """Map of a sparse matrix of SciPy, in CSR form, which acts on arrays flattened in C order."""

    _takes_every_library = True

    def __init__(self, matrix: Any, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__(in_shape, out_shape)
        self.matrix = matrix

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    def _apply(self, x: Array) -> Array:
        return times(self.matrix, x, self._out_shape)

    def _apply_transposed(self, y: Array) -> Array:
        return times(self.matrix.T.tocsr(), y, self._in_shape)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        def build(numbers: RowNumbers | None) -> Any:
            return self.matrix.copy() if numbers is None else self.matrix[row_array(numbers)]

        return in_order(build, order, rows, self._in_shape, self._out_shape)

    def _count_stored(self) -> int:
        return int(self.matrix.nnz)

    def conj(self) -> SparseMap:
        return SparseMap(self.matrix.conj(), self._in_shape, self._out_shape)

    @property
    def T(self) -> SparseMap:
        return SparseMap(self.matrix.T.tocsr(), self._out_shape, self._in_shape)

    def _entrywise(self, function: Callable[[Array], Array]) -> SparseMap:
        return SparseMap(with_data(self.matrix, function(self.matrix.data)), self._in_shape, self._out_shape)

    def _in_double(self) -> SparseMap:
        return SparseMap(double_csr(self.matrix, "the matrix"), self._in_shape, self._out_shape)

    def _peak(self) -> float:
        return float(np.abs(self.matrix.data).max(initial=0))

    def _magnitudes(self) -> SparseMap:
        return self._entrywise(absolute)

    def _count_roundings(self) -> float:
        return 1 + int(np.diff(self.matrix.indptr).max(initial=0))

    @cached_property
    def _has_lone_entries(self) -> bool:
        matrix = self.matrix
        if matrix.nnz > min(matrix.shape):
            return False
        return max(np.diff(matrix.indptr).max(initial=0), np.bincount(matrix.indices).max(initial=0)) <= 1


def by_matrix(op: LinearMap) -> DenseMap:
    """Return a map as that of its dense matrix, which takes arrays of every library."""
    return DenseMap(op.to_dense(), op.in_shape, op.out_shape)
