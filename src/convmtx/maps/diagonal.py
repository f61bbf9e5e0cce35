"""Diagonal maps: an array times weights, and the identity."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import (
    cast,
    conjugate,
    frozen,
    is_numpy,
    like,
    namespace,
    numeric,
    promote,
    reshape,
    together,
)
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentTypeError, door, shown
from convmtx.forms import row_array, storable
from convmtx.geometry import resolve
from convmtx.maps.double import double
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, Array, ArrayLike, IntArray, Order, PerAxis, RowNumbers, Shape


class Diagonal(LinearMap):
    """Map that multiplies an array by weights, which are broadcast to its shape."""

    _takes_every_library = True
    _takes_chunks = True

    def __init__(self, weights: Array, shape: Shape) -> None:
        self.weights, self._shape = weights, shape

    @property
    def _reference_array(self) -> Array:
        return self.weights

    @property
    def in_shape(self) -> Shape:
        return self._shape

    @property
    def out_shape(self) -> Shape:
        return self._shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.weights.dtype

    def _apply(self, x: Array) -> Array:
        weights, x = together(self.weights, x)
        dtype = promote(weights.dtype, x.dtype)
        return cast(x, dtype) * cast(weights, dtype)

    def _apply_transposed(self, y: Array) -> Array:
        return self._apply(y)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        from scipy.sparse import csr_array

        size = prod(self._shape)
        numbers = np.arange(size) if rows is None else row_array(rows)
        places = like(self._places(numbers, order), self.weights)
        weights = namespace(self.weights).take(reshape(self.weights, (-1,)), places, axis=0)
        if not is_numpy(weights):
            return Coordinates.compress(weights, numbers, np.arange(numbers.size + 1), size)
        return csr_array((storable(weights), numbers, np.arange(numbers.size + 1)), shape=(numbers.size, size))

    def _places(self, numbers: IntArray, order: Order) -> IntArray:
        """Return where the weight of each of these rows stands among the flattened weights."""
        shape = tuple(self.weights.shape)
        if shape == self._shape and (order == "C" or len(shape) < 2):
            return numbers
        padded = (1,) * (len(self._shape) - len(shape)) + shape
        at = np.unravel_index(numbers, self._shape, order)
        return np.ravel_multi_index([a % n for a, n in zip(at, padded, strict=True)], padded)

    def _count_stored(self) -> int:
        return prod(self._shape)

    def conj(self) -> Diagonal:
        return Diagonal(conjugate(self.weights), self._shape)

    @property
    def T(self) -> Diagonal:
        return self

    def _entrywise(self, function: Callable[[Array], Array]) -> Diagonal:
        return Diagonal(function(self.weights), self._shape)

    def _in_double(self) -> Diagonal:
        return Diagonal(double(self.weights, "the weights"), self._shape)

    def _peak(self) -> float:
        return float(np.abs(self.weights).max(initial=0))

    def _magnitudes(self) -> Diagonal:
        return Diagonal(np.abs(self.weights), self._shape)

    def _count_roundings(self) -> float:
        return 1

    @property
    def _has_lone_entries(self) -> bool:
        return True


@door("diagonal")
def diagonal(w: ArrayLike) -> LinearMap:
    """Return the map that multiplies an array by weights, position by position.

    Law: ``op(x) == w * x``, and ``op.to_dense() == np.diag(w.ravel())``. So ``diagonal(w) @ op`` weights the outputs of
    a map, and ``op @ diagonal(w)`` its inputs.

    Parameters
    ----------
    w : array_like
        Weights, of any shape and numeric dtype, in any array library; copied.

    Returns
    -------
    LinearMap
        From arrays of ``w.shape`` to arrays of that shape, in the array library of ``w``. It holds the weights, and
        applying it costs one product for each of them. Its adjoint conjugates the weights.

    Raises
    ------
    TypeError
        If ``w`` is not a numeric array.

    Examples
    --------
    >>> import convmtx as cm
    >>> (cm.diagonal([1, 10, 100]) @ cm.conv([1, 1], 4)).to_dense()
    array([[  1,   1,   0,   0],
           [  0,  10,  10,   0],
           [  0,   0, 100, 100]])
    """
    weights = frozen(numeric("w", w), "weights")
    return Diagonal(weights, tuple(weights.shape))


@door("identity")
def identity(shape: PerAxis, dtype: Any = float) -> LinearMap:
    """Return the identity map of arrays of a shape.

    Law: ``op(x) == x``, and ``op.to_dense() == np.eye(N, dtype=dtype)`` for arrays of N entries. So
    ``vstack([op, damp * identity(op.in_shape)])`` is the map of a damped problem.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the arrays.
    dtype : dtype, optional
        Type of the entries of its matrix, float64 by default.

    Returns
    -------
    LinearMap
        From arrays of ``shape`` to arrays of ``shape``. An output is a copy of the input, of dtype
        ``np.result_type(dtype, x)``. The map holds one number.

    Raises
    ------
    ValueError
        If a size is less than 1.
    TypeError
        If a size is not an integer, or ``dtype`` is not a type of numbers that NumPy has.

    Examples
    --------
    >>> import convmtx as cm
    >>> (cm.identity(3, int) - cm.conv([1, 0, 0], 3, padding="same")).to_dense()
    array([[ 1,  0,  0],
           [-1,  1,  0],
           [ 0, -1,  1]])
    """
    sizes = resolve.shape("shape", shape)
    return Diagonal(_one(dtype), sizes)


def _one(dtype: Any) -> AnyArray:
    """Return the number 1 of a type; refuse what is not a type of numbers."""
    expected, remedy = "Expected a type of numbers", "Pass for example dtype=float"
    try:
        kind = np.dtype(dtype)
    except TypeError:
        raise ArgumentTypeError(f"dtype={shown(dtype)}", expected, remedy) from None
    if kind.kind not in "iufc":
        raise ArgumentTypeError(f"dtype={kind}", expected, remedy)
    one = np.ones((), kind)
    one.setflags(write=False)
    return one
