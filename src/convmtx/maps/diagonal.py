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
    move_axes,
    namespace,
    numeric,
    promote,
    reshape,
    together,
)
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentTypeError, door, shown
from convmtx.forms import row_array
from convmtx.geometry import resolve
from convmtx.maps.double import double
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, Array, ArrayLike, Order, PerAxis, RowNumbers, Shape


class Diagonal(LinearMap):
    """Map that multiplies an array by weights, which are broadcast to its shape."""

    _takes_every_library = True

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

        size, xp = prod(self._shape), namespace(self.weights)
        numbers = np.arange(size) if rows is None else row_array(rows)
        weights = xp.broadcast_to(self.weights, self._shape)
        in_order = weights if order == "C" else move_axes(weights, *reversed(range(weights.ndim)))
        weights = xp.take(reshape(in_order, (size,)), like(numbers, self.weights), axis=0)
        if not is_numpy(weights):
            return Coordinates.compress(weights, numbers, np.arange(numbers.size + 1), size)
        return csr_array((weights, numbers, np.arange(numbers.size + 1)), shape=(numbers.size, size))

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

    Parameters
    ----------
    w : array_like
        Weights, of any shape and numeric dtype, in any array library; copied.

    Returns
    -------
    LinearMap
        From arrays of ``w.shape`` to arrays of that shape: ``op(x) == w * x``, and ``op.to_dense()`` is
        ``np.diag(w.ravel())``.

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

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the arrays.
    dtype : dtype, optional
        Type of the entries of its matrix, float64 by default.

    Returns
    -------
    LinearMap
        ``op(x) == x``, in the type ``np.result_type(dtype, x)``. It holds one number.

    Raises
    ------
    ValueError
        If a size is negative.
    TypeError
        If ``dtype`` is not a type of numbers that NumPy has.

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
