"""Selections: maps that pick entries of an array, as an index of NumPy does."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import frozen, is_numpy, like, move_axes, namespace, reshape, summed_at
from convmtx.errors import door
from convmtx.forms import row_array
from convmtx.geometry import resolve
from convmtx.maps.exports import register
from convmtx.maps.indexing import picking, places_of
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.ordering import renumbered
from convmtx.typing import Array, IntArray, Order, PerAxis, RowNumbers, Shape


class Selection(LinearMap):
    """Map to the entries of an array at some places; an output has the type of the input.

    Places are numbers of the flattened input (C order), in the shape of the output. The matrix has the type and the
    library of ``like``, by default int8 of NumPy.
    """

    _takes_every_library = True
    _keeps_type = True

    def __init__(self, in_shape: Shape, places: IntArray, like: Array | None = None) -> None:
        self._in_shape, self._places = in_shape, frozen(places, "places")
        self._like = np.empty(0, np.int8) if like is None else like

    @property
    def places(self) -> IntArray:
        """Places in the flattened input, in the shape of the output."""
        return self._places

    @property
    def _reference_array(self) -> Array:
        return self._like

    @property
    def in_shape(self) -> Shape:
        return self._in_shape

    @property
    def out_shape(self) -> Shape:
        return tuple(self.places.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._like.dtype

    @cached_property
    def _repeats(self) -> bool:
        """Whether an entry is picked more than once."""
        return bool(np.unique(self.places).size < self.places.size)

    def _apply(self, x: Array) -> Array:
        places = like(self.places.reshape(-1), x)
        y = namespace(x).take(reshape(x, (x.shape[0], prod(self._in_shape))), places, axis=1)
        return reshape(y, (x.shape[0], *self.out_shape))

    def _apply_transposed(self, y: Array) -> Array:
        flat, places, size = reshape(y, (y.shape[0], self.places.size)), self.places.reshape(-1), prod(self._in_shape)
        if is_numpy(y):
            x = np.zeros((len(y), size), y.dtype)
            if self._repeats:
                np.add.at(x.T, places, flat.T)
            else:
                x[:, places] = flat
        else:
            x = move_axes(summed_at((size, int(y.shape[0])), like(places, y), move_axes(flat, 1, 0)), 1, 0)
        return reshape(x, (y.shape[0], *self._in_shape))

    def _picked(self, order: Order, rows: RowNumbers | None) -> IntArray:
        places = self.places.reshape(-1, order=order)
        return renumbered(self._in_shape, places if rows is None else places[row_array(rows)], "C", order)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return picking(self._picked(order, rows), self.shape[1], self._like)

    def _count_stored(self) -> int:
        return self.places.size

    def conj(self) -> Selection:
        return self

    def _in_double(self) -> Selection:
        return Selection(self._in_shape, self.places)

    def _peak(self) -> float:
        return 1.0 if self.places.size else 0.0

    def _magnitudes(self) -> Selection:
        return self

    def _count_roundings(self) -> float:
        return 1

    @property
    def _has_lone_entries(self) -> bool:
        return not self._repeats


class Grid(Selection):
    """Map to the entries at some positions along each axis, ``x[np.ix_(*positions)]``: slices, flips, repetitions.

    It holds the positions alone, ranges or arrays of them, and computes the places when a matrix is built.
    """

    def __init__(self, in_shape: Shape, positions: Sequence[range | IntArray], like: Array | None = None) -> None:
        self._in_shape, self.positions = in_shape, tuple(positions)
        self._like = np.empty(0, np.int8) if like is None else like

    @property
    def places(self) -> IntArray:
        memory.require_result("the numbers of the entries that are picked", 8 * self.shape[0], "Build some rows alone")
        return self._places_at(np.ix_(*(np.arange(n) for n in self.out_shape)))

    @property
    def out_shape(self) -> Shape:
        return tuple(len(steps) for steps in self.positions)

    @cached_property
    def _repeats(self) -> bool:
        return any(not isinstance(p, range) and np.unique(p).size < p.size for p in self.positions)

    def _places_at(self, at: Sequence[IntArray]) -> IntArray:
        """Return the places in the flattened input of outputs at these positions along each axis."""
        places = np.zeros((), np.int64)
        for axis, (steps, numbers) in enumerate(zip(self.positions, at, strict=True)):
            picked = steps.start + steps.step * numbers if isinstance(steps, range) else steps[numbers]
            places = places + picked * prod(self._in_shape[axis + 1 :])
        return places

    def _picked(self, order: Order, rows: RowNumbers | None) -> IntArray:
        if rows is None and order == "C":
            return self.places.reshape(-1)
        numbers = np.arange(self.shape[0]) if rows is None else row_array(rows)
        at = np.unravel_index(renumbered(self.out_shape, numbers, order, "C"), self.out_shape) if self.out_shape else ()
        return renumbered(self._in_shape, np.broadcast_to(self._places_at(at), numbers.shape), "C", order)

    def _apply(self, x: Array) -> Array:
        for axis, steps in enumerate(self.positions, 1):
            if not isinstance(steps, range):
                x = namespace(x).take(x, like(steps, x), axis=axis)
            elif steps != range(x.shape[axis]):
                forward = steps[::-1] if steps.step < 0 else steps
                x = x[(slice(None),) * axis + (slice(forward.start, max(forward.stop, 0), forward.step),)]
                x = namespace(x).flip(x, axis=axis) if steps.step < 0 else x
        return x

    def _apply_transposed(self, y: Array) -> Array:
        if not is_numpy(y):
            return super()._apply_transposed(y)
        for axis, (steps, n) in enumerate(zip(self.positions, self._in_shape, strict=True), 1):
            if isinstance(steps, range) and steps == range(n):
                continue
            x = np.zeros((*y.shape[:axis], n, *y.shape[axis + 1 :]), y.dtype)
            into, rows = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)
            if isinstance(steps, range):  # which repeats nothing: putting rows takes a tenth of the time of adding them
                into[slice(steps.start, steps.stop, steps.step) if steps.step > 0 else np.asarray(steps)] = rows
            else:
                np.add.at(into, steps, rows)
            y = x
        return y

    def _count_stored(self) -> int:
        return self.shape[0]

    def _in_double(self) -> Selection:
        return Grid(self._in_shape, self.positions)

    def _peak(self) -> float:
        return 1.0 if self.shape[0] else 0.0


@door("select")
def select(shape: PerAxis, key: Any) -> LinearMap:
    """Return the map that picks entries of an array: ``op(x) == x[key]``.

    ``op[key]`` is ``select(op.out_shape, key) @ op``: some outputs of a map. ``op @ select(op.in_shape, key).T`` takes
    some inputs, and zeros for the others.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the input.
    key : index
        What NumPy takes between brackets: integers, slices, ``...``, ``None``, masks, arrays of integers, or a tuple.

    Returns
    -------
    LinearMap
        From arrays of ``shape`` to arrays of the shape of ``x[key]``, of the dtype of x. Its matrix has a 1 (int8) in
        each row; ``np.int64(1) * op`` has a larger type, where sums of such maps need one. Its transpose puts entries
        back, among zeros, and adds those that were picked more than once. The map holds a number of 8 bytes for each
        entry that it picks.

    Raises
    ------
    ValueError
        If a size is less than 1, or if NumPy has no such index of an array of this shape.
    FormTooLargeError
        If the numbers of all entries do not fit in memory. This is a MemoryError.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> cm.select(5, [0, 3]).to_dense()
    array([[1, 0, 0, 0, 0],
           [0, 0, 0, 1, 0]], dtype=int8)
    >>> known = np.array([[True, False], [True, True]])
    >>> cm.select((2, 2), known).T([1, 2, 3])
    array([[1, 0],
           [2, 3]])
    """
    return _selection(resolve.shape("shape", shape), key)


def _selection(shape: Shape, key: Any) -> Selection:
    """Return the map to the entries that an index picks, of arrays that may have no axes or no entries."""
    return Selection(shape, places_of(shape, key))


register("select", _selection)
