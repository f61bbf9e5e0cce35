"""Maps that apply one matrix along one axis, at every position of the other axes."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import cast, conjugate, frozen, is_numpy, move_axes, namespace, promote, together
from convmtx._xp.sparse import Coordinates
from convmtx.forms import row_array
from convmtx.maps.double import double
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import Array, Order, RowNumbers, Shape


class AlongAxis(LinearMap):
    """Map that applies one matrix (outputs, inputs) along one axis, at every position of the other axes."""

    _takes_every_library = True

    def __init__(self, matrix: Array, in_shape: Shape, axis: int) -> None:
        self.matrix, self._in_shape, self.axis = frozen(matrix), in_shape, axis

    @property
    def _reference_array(self) -> Array:
        return self.matrix

    @property
    def in_shape(self) -> Shape:
        return self._in_shape

    @cached_property
    def out_shape(self) -> Shape:
        """Shape of the input, with another size along the axis."""
        return (*self.in_shape[: self.axis], int(self.matrix.shape[0]), *self.in_shape[self.axis + 1 :])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.matrix.dtype

    def _apply(self, x: Array) -> Array:
        return _times(x, move_axes(self.matrix, 1, 0), 1 + self.axis)

    def _apply_transposed(self, y: Array) -> Array:
        return _times(y, self.matrix, 1 + self.axis)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        if not is_numpy(self.matrix):
            numbers = np.arange(1, prod(self.matrix.shape) + 1).reshape(self.matrix.shape)
            return Coordinates.numbered(AlongAxis(numbers, self.in_shape, self.axis)._sparse(order, rows), self.matrix)
        from scipy.sparse import csr_array

        faster = prod(self.in_shape[self.axis + 1 :] if order == "C" else self.in_shape[: self.axis])
        outputs, inputs = self.matrix.shape
        numbers = np.arange(self.shape[0]) if rows is None else row_array(rows)
        # Positions run as (slower axes, this axis, faster axes): output o of row r is r // faster % outputs, and its
        # input i stands ``faster`` columns behind input i - 1.
        matrix = csr_array(self.matrix)[numbers // faster % outputs]
        first_columns = numbers // (faster * outputs) * (faster * inputs) + numbers % faster
        columns = matrix.indices * np.int64(faster) + np.repeat(first_columns, np.diff(matrix.indptr))
        return csr_array((matrix.data, columns, matrix.indptr), shape=(numbers.size, self.shape[1]))

    @property
    def T(self) -> AlongAxis:
        return AlongAxis(move_axes(self.matrix, 1, 0), self.out_shape, self.axis)

    def conj(self) -> AlongAxis:
        return AlongAxis(conjugate(self.matrix), self.in_shape, self.axis)

    def _in_double(self) -> AlongAxis:
        return AlongAxis(double(self.matrix, "the matrix"), self.in_shape, self.axis)

    def _magnitudes(self) -> AlongAxis:
        return AlongAxis(np.abs(self.matrix), self.in_shape, self.axis)

    def _count_roundings(self) -> float:
        return 1 + int(self.matrix.shape[1])


def _times(x: Array, matrix: Array, axis: int) -> Array:
    """Return the vectors along an axis times a matrix from the right."""
    matrix, x = together(matrix, x)
    dtype = promote(matrix.dtype, x.dtype) if is_numpy(x) else namespace(x).result_type(matrix, x)
    others = [a for a in range(x.ndim) if a != axis]
    y = namespace(x).matmul(move_axes(cast(x, dtype), *others, axis), cast(matrix, dtype))
    back = [*range(axis), x.ndim - 1, *range(axis, x.ndim - 1)]
    return move_axes(y, *back)
