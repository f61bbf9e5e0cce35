"""Linear maps between convolutions: axes in another order, a matrix along one axis, and a map beside an offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import cast, conjugate, frozen, is_numpy, like, move_axes, namespace, promote, reshape, together
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentError, door, shown
from convmtx.forms import row_array
from convmtx.geometry import resolve
from convmtx.maps.double import double
from convmtx.maps.linear_map import LinearMap, Product
from convmtx.typing import Array, Order, PerAxis, RowNumbers, Shape


class Rearranged(LinearMap):
    """Map that puts the axes in another order and then reshapes. It is exact, and its transpose is its inverse.

    An output has the type of the input. The matrix has the type and library of ``like``, by default int8 of NumPy.
    """

    _takes_every_library = True

    def __init__(
        self, in_shape: Shape, axes: Sequence[int], out_shape: Shape | None = None, like: Array | None = None
    ) -> None:
        #: Shape after the axes are in the new order, before it is changed to ``out_shape``.
        self.between = tuple(in_shape[a] for a in axes)
        self.axes = tuple(axes)
        self._in_shape, self._out_shape = in_shape, self.between if out_shape is None else out_shape
        self._like = np.empty(0, np.int8) if like is None else like

    @property
    def _reference_array(self) -> Array:
        return self._like

    @property
    def in_shape(self) -> Shape:
        return self._in_shape

    @property
    def out_shape(self) -> Shape:
        return self._out_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._like.dtype

    def _apply(self, x: Array) -> Array:
        return reshape(move_axes(x, 0, *(1 + a for a in self.axes)), (x.shape[0], *self.out_shape))

    def _apply_transposed(self, y: Array) -> Array:
        back = [1 + self.axes.index(a) for a in range(len(self.axes))]
        return move_axes(reshape(y, (y.shape[0], *self.between)), 0, *back)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        from scipy.sparse import csr_array

        outputs = np.arange(self.shape[0]) if rows is None else row_array(rows)
        numbers = np.ravel_multi_index(np.unravel_index(outputs, self.out_shape, order), self.out_shape)
        places = np.unravel_index(numbers, self.between)
        inputs = tuple(places[self.axes.index(a)] for a in range(len(self.axes)))
        columns = np.ravel_multi_index(inputs, self.in_shape, order=order)
        arrays = (np.ones(outputs.size, np.int8), columns, np.arange(outputs.size + 1))
        matrix = csr_array(arrays, shape=(outputs.size, self.shape[1]))
        if is_numpy(self._like):
            return matrix.astype(self.dtype)
        coordinates = Coordinates.of(matrix, self._like)
        return replace(coordinates, data=cast(coordinates.data, self.dtype))

    def conj(self) -> Rearranged:
        return self

    def _in_double(self) -> Rearranged:
        return Rearranged(self.in_shape, self.axes, self.out_shape)

    def _magnitudes(self) -> Rearranged:
        return self

    def _count_roundings(self) -> float:
        return 1

    @property
    def T(self) -> LinearMap:
        back = Rearranged(self.between, [self.axes.index(a) for a in range(len(self.axes))], like=self._like)
        if self.out_shape == self.between:
            return back
        return Product(back, Rearranged(self.out_shape, range(len(self.out_shape)), self.between, like=self._like))


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


class Augmented(LinearMap):
    """Map ``[A | b]``, which takes a flattened input with a 1 behind it to ``A x + b``."""

    def __init__(self, op: LinearMap, offset: Array) -> None:
        self.op, self.offset = op, offset

    @property
    def _takes_every_library(self) -> bool:
        return self.op._takes_every_library

    @property
    def _reference_array(self) -> Array:
        return self.op._reference_array if is_numpy(self.offset) else self.offset

    @property
    def in_shape(self) -> Shape:
        return (self.op.shape[1] + 1,)

    @property
    def out_shape(self) -> Shape:
        return self.op.out_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return promote(self.op.dtype, self.offset.dtype)

    def _apply(self, x: Array) -> Array:
        offset, x = together(self.offset, x)
        ones = reshape(x[:, -1:], (-1, *(1 for _ in self.out_shape)))
        return self.op._image(reshape(x[:, :-1], (-1, *self.op.in_shape))) + ones * offset

    def _apply_transposed(self, y: Array) -> Array:
        offset, y = together(self.offset, y)
        xp = namespace(y)
        last = xp.sum(reshape(y * offset, (y.shape[0], -1)), axis=1, keepdims=True)
        first = reshape(self.op._transposed_image(y), (y.shape[0], -1))
        dtype = xp.result_type(first, last)
        return xp.concat([cast(first, dtype), cast(last, dtype)], axis=1)

    def _column(self, order: Order) -> Array:
        """Return the offset, flattened."""
        offset = self.offset if order == "C" else move_axes(self.offset, *reversed(range(self.offset.ndim)))
        return like(reshape(offset, (-1,)), self._reference_array)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        matrix, column = self.op._sparse(order, rows), self._column(order)
        if rows is not None:
            column = namespace(column).take(column, like(row_array(rows), column), axis=0)
        if not is_numpy(self._reference_array):
            return Coordinates.of(matrix, self._reference_array).beside(column)
        from scipy.sparse import csr_array, hstack

        return hstack([matrix, csr_array(column[:, None])], format="csr")

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        if rows is None:
            return super()._sparse_transposed(order, rows)
        numbers, column = row_array(rows), self._column(order)
        inside = np.flatnonzero(numbers < self.op.shape[1])  # the other rows are the offset
        above = self.op._sparse_transposed(order, numbers[inside])
        places = np.full(numbers.size, inside.size)  # of each row in ``above`` with the offset below it
        places[inside] = np.arange(inside.size)
        if not is_numpy(self._reference_array):
            return Coordinates.of(above, self._reference_array).above(column)[places]
        from scipy.sparse import csr_array, vstack

        return vstack([above, csr_array(column[None, :])], format="csr")[places]

    def conj(self) -> Augmented:
        return Augmented(self.op.conj(), conjugate(self.offset))

    def _in_double(self) -> Augmented:
        return Augmented(self.op._in_double(), double(self.offset, "the offset"))

    def _magnitudes(self) -> Augmented:
        return Augmented(self.op._magnitudes(), np.abs(self.offset))

    def _count_roundings(self) -> float:
        return self.op._count_roundings()


def by_matrix(op: LinearMap) -> LinearMap:
    """Return a map as its dense matrix between reshapes, which takes arrays of every library."""
    rows, columns = op.shape
    matrix = op.to_dense()
    flatten = Rearranged(op.in_shape, range(len(op.in_shape)), (columns,), matrix)
    unflatten = Rearranged((rows,), (0,), op.out_shape, matrix)
    return unflatten @ AlongAxis(matrix, (columns,), 0) @ flatten


@door("permutation")
def permutation(shape: PerAxis, source: str, target: str) -> LinearMap:
    """Return the map that puts an array's axes in another order, as a matrix of zeros and ones.

    Let ``A`` be a map between arrays in one order, and ``P_in`` and ``P_out`` the permutations of its inputs and
    outputs. Then ``P_out @ A @ P_in.T`` is the same map between arrays in the other order.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array, a size for each letter of ``source``. You may leave out the batch axis ``N``.
    source, target : str
        A letter for each axis, such as ``"NCHW"`` and ``"NHWC"``.

    Returns
    -------
    LinearMap
        From arrays of ``shape`` to arrays of the permuted shape.

    Raises
    ------
    ValueError
        If the letters are not the same, repeat, or do not fit the shape.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> P = cm.permutation((2, 1, 3), "CHW", "HWC")
    >>> P.out_shape
    (1, 3, 2)
    >>> P @ np.arange(6)
    array([0, 3, 1, 4, 2, 5])
    """
    for name, letters in (("source", source), ("target", target)):
        if not isinstance(letters, str) or len(set(letters)) != len(letters):
            expected = "Expected a string with one letter for each axis"
            raise ArgumentError(f"{name}={shown(letters)}", expected, "Pass a name such as 'NCHW'")
    if set(source) != set(target):
        got = f"source={shown(source)} and target={shown(target)}"
        raise ArgumentError(got, "Expected the same letters", "Check the spelling")
    sizes = resolve.shape("shape", shape)
    if len(sizes) == len(source) - 1 and "N" in source:
        source, target = source.replace("N", ""), target.replace("N", "")
    if len(sizes) != len(source):
        got = f"shape={sizes} for {shown(source)}"
        raise ArgumentError(got, "Expected a size for each letter", "Only N may be left out")
    return Rearranged(sizes, [source.index(letter) for letter in target])
