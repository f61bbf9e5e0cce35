"""Readings of a matrix: transposed, and with the axes of inputs and outputs flattened in other orders."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from convmtx.geometry import Geometry, Layout
from convmtx.recognition.matrices import canonical
from convmtx.typing import AnyArray, IntArray, Shape


@dataclass(frozen=True, slots=True)
class Side:
    """Order in which a matrix numbers the entries of inputs or outputs."""

    #: Axes of the array, slowest first: (0, 1) is row-major, (1, 0) column-major. None for row-major.
    axes: Shape | None = None
    #: How far entries are moved along each axis, around a circle; None if they are not.
    roll: Shape | None = None

    def numbers(self, shape: Shape, ours: IntArray) -> IntArray:
        """Return the matrix's numbers of entries of an array that have these numbers in row-major order."""
        if self.axes is None and self.roll is None:
            return ours
        places = np.unravel_index(ours, shape)
        if self.roll is not None:
            places = tuple((p + r) % n for p, r, n in zip(places, self.roll, shape, strict=True))
        axes = self.axes or tuple(range(len(shape)))
        return np.ravel_multi_index([places[a] for a in axes], [shape[a] for a in axes])

    def row_major(self, shape: Shape, theirs: IntArray) -> IntArray:
        """Return the row-major numbers of entries that have these numbers in the matrix: the inverse of `numbers`."""
        if self.axes is None and self.roll is None:
            return theirs
        axes = self.axes or tuple(range(len(shape)))
        moved = np.unravel_index(theirs, [shape[a] for a in axes])
        places = [moved[axes.index(a)] for a in range(len(shape))]
        if self.roll is not None:
            places = [(p - r) % n for p, r, n in zip(places, self.roll, shape, strict=True)]
        return np.ravel_multi_index(places, shape)


@dataclass(frozen=True, slots=True)
class Reading:
    """Orders of both sides in which a matrix has to be read to be that of a map."""

    outputs: Side = Side()
    inputs: Side = Side()
    #: Whether the matrix is the transpose of one that is numbered so.
    transposed: bool = False


@dataclass(frozen=True, eq=False)
class Readable:
    """A matrix, dense or CSR, whose rows can be read in any way."""

    matrix: Any
    _read: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def _transposed(self) -> Any:
        return self.matrix.T if isinstance(self.matrix, np.ndarray) else canonical(self.matrix.T.tocsr())

    def shape(self, reading: Reading) -> tuple[int, int]:
        """Return the shape of the matrix that is read."""
        rows, columns = self.matrix.shape
        return (columns, rows) if reading.transposed else (rows, columns)

    def entries(self, reading: Reading, shapes: tuple[Shape, Shape], rows: IntArray) -> tuple[IntArray, AnyArray]:
        """Return nonzero entries of some rows, and their positions in these rows: sorted, in row-major numbers.

        ``shapes`` are those of one output and one input.
        """
        matrix, (out_shape, in_shape) = self._transposed if reading.transposed else self.matrix, shapes
        part = matrix[reading.outputs.numbers(out_shape, rows)]
        if isinstance(part, np.ndarray):
            at, columns = np.nonzero(part)
            values = part[at, columns]
        else:
            at = np.repeat(np.arange(rows.size), np.diff(part.indptr))
            stored = part.data != 0
            at, columns, values = at[stored], part.indices[stored], part.data[stored]
        positions = at * prod(in_shape) + reading.inputs.row_major(in_shape, columns)
        order = np.argsort(positions)
        return positions[order], values[order]

    def read(self, reading: Reading, shapes: tuple[Shape, Shape]) -> Any:
        """Return the matrix as it is read; the one that was read last is kept."""
        if (reading, shapes) not in self._read:
            self._read.clear()
            self._read[reading, shapes] = self._rearranged(reading, shapes)
        return self._read[reading, shapes]

    def _rearranged(self, reading: Reading, shapes: tuple[Shape, Shape]) -> Any:
        matrix = self._transposed if reading.transposed else self.matrix
        if reading.outputs == reading.inputs == Side():
            return matrix
        rows = reading.outputs.numbers(shapes[0], np.arange(prod(shapes[0])))
        if isinstance(matrix, np.ndarray):
            columns = reading.inputs.numbers(shapes[1], np.arange(prod(shapes[1])))
            return matrix[rows][:, columns]
        matrix = matrix[rows]
        matrix.indices = reading.inputs.row_major(shapes[1], matrix.indices).astype(matrix.indices.dtype)
        matrix.has_sorted_indices = False
        matrix.sort_indices()
        return matrix


def other_orders(geometry: Geometry) -> dict[str, list[Shape]]:
    """Return the orders in which axes may have been flattened, by what was mistaken; each order once.

    For channels last, (0, 1, 2) are height, width and channels: column-major is (2, 1, 0), channels first (2, 0, 1),
    and with height and width swapped it is (1, 0, 2).
    """
    d, layout = len(geometry.axes), geometry.layout
    n = d + (layout is not Layout.PLAIN)
    space = [a + (layout is Layout.FIRST) for a in range(d)]
    orders: dict[str, list[Shape]] = {"layout": [], "column-major": [tuple(reversed(range(n)))], "axes": []}
    if layout is not Layout.PLAIN:
        orders["layout"] = [(n - 1, *range(n - 1)) if layout is Layout.LAST else (*range(1, n), 0)]
    for permuted in permutations(space):
        if list(permuted) != space:
            orders["axes"].append(layout.join(n - 1 if layout is Layout.LAST else 0, permuted))
    seen: set[Shape] = {tuple(range(n))}
    for name, listed in orders.items():
        orders[name] = [order for order in listed if order not in seen]
        seen.update(listed)
    return orders
