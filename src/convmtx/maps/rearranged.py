"""Maps that put the axes of an array in another order and change its shape: they move numbers and compute nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convmtx._xp import move_axes, reshape
from convmtx.errors import ArgumentError, door, shown
from convmtx.forms import row_array
from convmtx.geometry import resolve
from convmtx.maps.combined import Product
from convmtx.maps.exports import register
from convmtx.maps.indexing import picking
from convmtx.maps.linear_map import LinearMap, Shaped
from convmtx.maps.ordering import renumbered
from convmtx.typing import Array, IntArray, Order, PerAxis, RowNumbers, Shape


class Rearranged(Shaped):
    """Map that puts the axes in another order and then reshapes. It is exact, and its transpose is its inverse.

    An output has the type of the input. The matrix has the type and library of ``like``, by default int8 of NumPy.
    """

    _takes_every_library = True
    _keeps_type = True

    def __init__(
        self, in_shape: Shape, axes: Sequence[int], out_shape: Shape | None = None, like: Array | None = None
    ) -> None:
        #: Shape after the axes are in the new order, before it is changed to ``out_shape``.
        self.between = tuple(in_shape[a] for a in axes)
        self.axes = tuple(axes)
        super().__init__(in_shape, self.between if out_shape is None else out_shape)
        self._like = np.empty(0, np.int8) if like is None else like

    @property
    def _reference_array(self) -> Array:
        return self._like

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._like.dtype

    def _apply(self, x: Array) -> Array:
        return reshape(move_axes(x, 0, *(1 + a for a in self.axes)), (x.shape[0], *self.out_shape))

    def _apply_transposed(self, y: Array) -> Array:
        back = [1 + self.axes.index(a) for a in range(len(self.axes))]
        return move_axes(reshape(y, (y.shape[0], *self.between)), 0, *back)

    def _picked(self, order: Order, rows: RowNumbers | None) -> IntArray:
        numbers = np.arange(self.shape[0]) if rows is None else row_array(rows)
        numbers = renumbered(self.out_shape, numbers, order, "C")
        if self.axes != tuple(range(len(self.axes))):
            at = np.unravel_index(numbers, self.between)
            numbers = np.ravel_multi_index([at[self.axes.index(a)] for a in range(len(at))], self.in_shape)
        return renumbered(self.in_shape, numbers, "C", order)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return picking(self._picked(order, rows), self.shape[1], self._like)

    def _count_stored(self) -> int:
        return self.shape[0]

    def conj(self) -> Rearranged:
        return self

    def _in_double(self) -> Rearranged:
        return Rearranged(self.in_shape, self.axes, self.out_shape)

    def _magnitudes(self) -> Rearranged:
        return self

    def _count_roundings(self) -> float:
        return 1

    @property
    def _has_lone_entries(self) -> bool:
        return True

    @property
    def _is_identity(self) -> bool:
        return self.out_shape == self.in_shape and self.axes == tuple(range(len(self.axes)))

    @property
    def T(self) -> LinearMap:
        back = Rearranged(self.between, [self.axes.index(a) for a in range(len(self.axes))], like=self._like)
        if self.out_shape == self.between:
            return back
        return Product(back, Rearranged(self.out_shape, range(len(self.out_shape)), self.between, like=self._like))


def reshaped(op: LinearMap, in_shape: Shape, out_shape: Shape) -> LinearMap:
    """Return a map between arrays of other shapes, flattened in C order."""
    if in_shape != op.in_shape:
        op = op @ Rearranged(in_shape, range(len(in_shape)), op.in_shape)
    if out_shape != op.out_shape:
        op = Rearranged(op.out_shape, range(len(op.out_shape)), out_shape) @ op
    return op


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


register("reshaped", reshaped)
