"""Maps that apply one matrix, dense or sparse, along one axis, at every position of the other axes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import (
    cast,
    conjugate,
    frozen,
    is_numpy,
    is_unchangeable,
    move_axes,
    namespace,
    promote,
    reshape,
    together,
)
from convmtx._xp.sparse import Coordinates, as_like_sparse, is_sparse, times, with_data
from convmtx.forms import row_array, storable
from convmtx.maps.double import double, double_csr
from convmtx.maps.linear_map import LinearMap, absolute
from convmtx.maps.rearranged import Rearranged
from convmtx.typing import Array, Order, RowNumbers, Shape


class AlongAxis(LinearMap):
    """Map that applies one matrix (outputs, inputs) along one axis, at every position of the other axes.

    The matrix is a dense array of any library, a CSR array of SciPy, or `Coordinates`. The last two stay sparse: the
    map takes memory for their entries alone, and applying it multiplies by these.
    """

    _takes_every_library = True

    def __init__(self, matrix: Any, in_shape: Shape, axis: int) -> None:
        self.matrix, self._in_shape, self.axis = _frozen(matrix), in_shape, axis

    @property
    def _reference_array(self) -> Array:
        return self._values

    @property
    def _values(self) -> Array:
        """Dense matrix, or the entries of a sparse one."""
        return self.matrix.data if is_sparse(self.matrix) else self.matrix

    @property
    def in_shape(self) -> Shape:
        return self._in_shape

    @cached_property
    def out_shape(self) -> Shape:
        """Shape of the input, with another size along the axis."""
        return (*self.in_shape[: self.axis], int(self.matrix.shape[0]), *self.in_shape[self.axis + 1 :])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._values.dtype

    def _apply(self, x: Array) -> Array:
        return _times(self.matrix, x, 1 + self.axis)

    def _apply_transposed(self, y: Array) -> Array:
        return _times(_transposed(self.matrix), y, 1 + self.axis)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        from scipy.sparse import csr_array

        faster = prod(self.in_shape[self.axis + 1 :] if order == "C" else self.in_shape[: self.axis])
        outputs, inputs = self.matrix.shape
        numbers = np.arange(self.shape[0]) if rows is None else row_array(rows)
        # Positions run as (slower axes, this axis, faster axes): output o of row r is r // faster % outputs, and its
        # input i stands ``faster`` columns behind input i - 1.
        matrix = self._csr[numbers // faster % outputs]
        first_columns = numbers // (faster * outputs) * (faster * inputs) + numbers % faster
        columns = matrix.indices * np.int64(faster) + np.repeat(first_columns, np.diff(matrix.indptr))
        whole = csr_array((matrix.data, columns, matrix.indptr), shape=(numbers.size, self.shape[1]))
        return whole if is_numpy(self._values) else Coordinates.numbered(whole, self._values)

    @cached_property
    def _csr(self) -> Any:
        """CSR array of SciPy: the matrix, or the numbers 1, 2, ... in place of the entries of another library."""
        from scipy.sparse import csr_array

        values, shape = self._values, self.matrix.shape
        entries = storable(values) if is_numpy(values) else np.arange(1, prod(values.shape) + 1).reshape(values.shape)
        if isinstance(self.matrix, Coordinates):
            return csr_array((entries, (self.matrix.rows, self.matrix.columns)), shape=shape)
        if is_sparse(self.matrix):
            return self.matrix
        return csr_array(entries)

    def _count_stored(self) -> int:
        return int(self._csr.nnz) * (prod(self.in_shape) // max(self.in_shape[self.axis], 1))

    @property
    def T(self) -> AlongAxis:
        return AlongAxis(_transposed(self.matrix), self.out_shape, self.axis)

    def conj(self) -> AlongAxis:
        return self._with_values(conjugate(self._values))

    def _with_values(self, values: Array) -> AlongAxis:
        """Return the map of other entries in the same places."""
        matrix = with_data(self.matrix, values) if is_sparse(self.matrix) else values
        return AlongAxis(matrix, self.in_shape, self.axis)

    def _in_double(self) -> AlongAxis:
        convert = double_csr if is_sparse(self.matrix) else double
        return AlongAxis(convert(self.matrix, "the matrix"), self.in_shape, self.axis)

    def _magnitudes(self) -> AlongAxis:
        return self._with_values(absolute(self._values))

    @property
    def _kronecker_factors(self) -> tuple[LinearMap, ...]:
        """Maps along the first axis, and along the others: the matrix is in one, and the other is an identity."""
        first, others = self.in_shape[:1], self.in_shape[1:]
        if not others:
            return self._alone
        if self.axis:
            return _identity(first), AlongAxis(self.matrix, others, self.axis - 1)
        return AlongAxis(self.matrix, first, 0), _identity(others)

    def _count_roundings(self) -> float:
        return 1 + int(np.diff(self._csr.indptr).max(initial=0))


def _identity(shape: Shape, like: Array | None = None) -> LinearMap:
    return Rearranged(shape, range(len(shape)), like=like)


def along_axes(shape: Shape, matrices: Mapping[int, Any], like: Array) -> LinearMap:
    """Return the map that applies a sparse matrix of SciPy along each of some axes, in the type of another array.

    The axes that shrink most come first, so that the others have less to do.
    """
    op = _identity(shape, like)
    for axis, matrix in sorted(matrices.items(), key=lambda pair: pair[1].shape[0] / max(pair[1].shape[1], 1)):
        factor = AlongAxis(as_like_sparse(matrix, like), op.out_shape, axis)
        op = factor if op._is_identity else factor @ op
    return op


def picking_matrix(size: int, index: Any) -> Any:
    """Return the sparse matrix (len(index), size), of int8, that takes these positions; -1 stands for a zero row."""
    from scipy.sparse import csr_array

    index = np.asarray(index)
    taken = index >= 0
    pointers = np.concatenate([[0], np.cumsum(taken)])
    return csr_array((np.ones(int(pointers[-1]), np.int8), index[taken], pointers), shape=(index.size, size))


def _frozen(matrix: Any) -> Any:
    """Return a copy of a matrix that nobody else can change; a sparse one is in row order, one entry for each place."""
    if isinstance(matrix, Coordinates):
        return matrix
    if not is_sparse(matrix):
        return matrix if is_unchangeable(matrix) else frozen(matrix, "matrix")
    if isinstance(matrix.data, np.ndarray) and not matrix.data.flags.writeable:
        return matrix  # that of another map
    copy = matrix.tocsr(copy=True)
    copy.sum_duplicates()
    for part in (copy.data, copy.indices, copy.indptr):
        part.setflags(write=False)
    return copy


def _transposed(matrix: Any) -> Any:
    return matrix.T.tocsr() if is_sparse(matrix) else move_axes(matrix, 1, 0)


def _times(matrix: Any, x: Array, axis: int) -> Array:
    """Return a matrix times the vectors along an axis."""
    others = [a for a in range(x.ndim) if a != axis]
    if is_sparse(matrix):
        sizes, front = [x.shape[a] for a in others], [*range(1, axis + 1), 0, *range(axis + 1, x.ndim)]
        # SciPy multiplies columns that lie side by side in memory: the axis comes first in what is copied here.
        columns = reshape(move_axes(x, axis, *others), (x.shape[axis], prod(sizes)))
        y = move_axes(times(matrix, move_axes(columns, 1, 0), (matrix.shape[0],)), 1, 0)
        return move_axes(reshape(y, (matrix.shape[0], *sizes)), *front)
    matrix, x = together(matrix, x)
    dtype = promote(matrix.dtype, x.dtype) if is_numpy(x) else namespace(x).result_type(matrix, x)
    y = namespace(x).matmul(move_axes(cast(x, dtype), *others, axis), cast(move_axes(matrix, 1, 0), dtype))
    back = [*range(axis), x.ndim - 1, *range(axis, x.ndim - 1)]
    return move_axes(y, *back)
