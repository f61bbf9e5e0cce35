"""Affine maps: a linear map and an offset that is added to its outputs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from convmtx._xp import frozen, numeric, reshape, together
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.matrices import DenseMap
from convmtx.maps.stacks import SideBySide
from convmtx.typing import Array, ArrayLike, Shape


class Affine:
    """An affine map ``y = A x + b``, as layers of neural networks are.

    Attributes
    ----------
    op : LinearMap
        The map A, with all its forms.
    offset : array
        b, of shape ``op.out_shape``; zeros if the layer has no bias.

    Examples
    --------
    >>> import convmtx as cm
    >>> layer = cm.Affine(cm.conv([1, -1], 3), [10, 20])
    >>> layer([1, 2, 4])
    array([ 9, 18])
    >>> layer.augmented().to_dense()
    array([[ 1, -1,  0, 10],
           [ 0,  1, -1, 20]])
    """

    @door("Affine")
    def __init__(self, op: LinearMap, offset: ArrayLike) -> None:
        if not isinstance(op, LinearMap):
            remedy = "Pass A.op, and the offset of both" if isinstance(op, Affine) else "Make one, as with convmtx.conv"
            raise ArgumentTypeError(f"op is {shown(op)}", "Expected a linear map of convmtx", remedy)
        array = numeric("offset", offset)
        if tuple(array.shape) != op.out_shape:
            got = f"offset has shape {tuple(array.shape)}"
            raise ArgumentError(got, f"Expected {op.out_shape}, the outputs", "Broadcast it first")
        self.op, self.offset = op, array

    def __repr__(self) -> str:
        return f"{type(self).__name__} {self.in_shape} -> {self.out_shape}"

    @property
    def in_shape(self) -> Shape:
        """Shape of one input."""
        return self.op.in_shape

    @property
    def out_shape(self) -> Shape:
        """Shape of one output."""
        return self.op.out_shape

    @door("Affine")
    def __call__(self, x: ArrayLike) -> Array:
        """Return ``op(x) + offset`` of one input or any batch."""
        y = self.op(x)
        y, offset = together(y, self.offset)
        return y + offset

    @door("affine1 @ affine2")
    def __matmul__(self, other: Affine) -> Affine:
        """Return the affine map that applies the other map first, then this one."""
        if not isinstance(other, Affine):
            got, remedy = f"the right one is {shown(other)}", "Use cm.Affine(op, 0 * offset) for a linear map, or A(x)"
            raise ArgumentTypeError(got, "Expected two affine maps", remedy)
        return Affine(self.op @ other.op, self(other.offset))

    def augmented(self) -> LinearMap:
        """Return ``[A | b]`` as a linear map, with all forms, of vectors ``(N + 1,)``: a flattened input and a 1."""
        if not self.op._takes_every_library:
            self.op._in_own_library("offset", self.offset)
        return Augmented(self.op, frozen(self.offset, "offset"))


class Augmented(SideBySide):
    """``[A | b]``: the matrix of a map beside a column of numbers."""

    def __init__(self, op: LinearMap, offset: Array) -> None:
        super().__init__(op, DenseMap(reshape(offset, (prod(op.out_shape), 1)), (1,), op.out_shape))
        self.op, self.offset = op, offset

    def _of(self, change: Callable[[LinearMap], LinearMap]) -> LinearMap:
        return SideBySide(*(change(op) for op in self.maps))
