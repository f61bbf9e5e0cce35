"""Readings of a matrix: transposed, and with the axes of inputs and outputs flattened in other orders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from convmtx.geometry import Layout
from convmtx.recognition.changes import Change, Kind
from convmtx.recognition.matrices import canonical
from convmtx.typing import AnyArray, IntArray, Order, Shape


@dataclass(frozen=True, slots=True)
class Side:
    """Order in which a matrix numbers the entries of inputs or outputs."""

    #: Axes of the array, slowest first: (0, 1) is row-major, (1, 0) column-major.
    axes: Shape
    #: How far entries are moved along each axis, around a circle; None if they are not.
    roll: Shape | None = None

    @classmethod
    def of(cls, axes: Shape, order: Order) -> Side:
        """Return a side whose axes are flattened as listed, or, in column-major order, the other way round."""
        return cls(axes if order == "C" else axes[::-1])

    @property
    def is_plain(self) -> bool:
        """Whether entries are numbered in row-major order."""
        return self.roll is None and self.axes == tuple(range(len(self.axes)))

    def numbers(self, shape: Shape, ours: IntArray) -> IntArray:
        """Return the matrix's numbers of entries of an array that have these numbers in row-major order."""
        if self.is_plain:
            return ours
        places = np.unravel_index(ours, shape)
        if self.roll is not None:
            places = tuple((p + r) % n for p, r, n in zip(places, self.roll, shape, strict=True))
        return np.ravel_multi_index([places[a] for a in self.axes], [shape[a] for a in self.axes])

    def row_major(self, shape: Shape, theirs: IntArray) -> IntArray:
        """Return the row-major numbers of entries that have these numbers in the matrix: the inverse of `numbers`."""
        if self.is_plain:
            return theirs
        moved = np.unravel_index(theirs, [shape[a] for a in self.axes])
        places = [moved[self.axes.index(a)] for a in range(len(shape))]
        if self.roll is not None:
            places = [(p - r) % n for p, r, n in zip(places, self.roll, shape, strict=True)]
        return np.ravel_multi_index(places, shape)


@dataclass(frozen=True, slots=True)
class Reading:
    """Orders of both sides in which a matrix has to be read to be that of a map."""

    outputs: Side
    inputs: Side
    #: Whether the matrix is the transpose of one that is numbered so.
    transposed: bool = False

    @classmethod
    def of(cls, count: int, order: Order) -> Reading:
        """Return the reading of arrays of so many axes, flattened in C or F order."""
        side = Side.of(tuple(range(count)), order)
        return cls(side, side)


@dataclass(frozen=True, slots=True)
class View:
    """A reading of a matrix, and the changes by which it differs from the expected one."""

    changes: tuple[Change, ...]
    reading: Reading


@dataclass(frozen=True, eq=False)
class Readable:
    """A matrix, dense or CSR, whose rows can be read in any way."""

    matrix: Any
    _read: dict[Any, Any] = field(default_factory=dict)

    @cached_property
    def _transposed(self) -> Any:
        return self.matrix.T if isinstance(self.matrix, np.ndarray) else canonical(self.matrix.T.tocsr())

    @property
    def n_stored(self) -> int:
        """Number of stored entries."""
        return int(self.matrix.size if isinstance(self.matrix, np.ndarray) else self.matrix.nnz)

    @cached_property
    def n_nonzero(self) -> int:
        """Number of entries that are not zero."""
        return int(np.count_nonzero(self.matrix if isinstance(self.matrix, np.ndarray) else self.matrix.data))

    def turned(self, reading: Reading) -> Any:
        """Return the matrix, transposed if it is read so."""
        return self._transposed if reading.transposed else self.matrix

    def shape(self, reading: Reading) -> tuple[int, int]:
        """Return the shape of the matrix that is read."""
        rows, columns = self.matrix.shape
        return (columns, rows) if reading.transposed else (rows, columns)

    def entries(self, reading: Reading, shapes: tuple[Shape, Shape], rows: IntArray) -> tuple[IntArray, AnyArray]:
        """Return nonzero entries of some rows, and their positions in these rows: sorted, in row-major numbers.

        ``shapes`` are those of one output and one input.
        """
        out_shape, in_shape = shapes
        part = self.turned(reading)[reading.outputs.numbers(out_shape, rows)]
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
        matrix = self.turned(reading)
        if reading.outputs.is_plain and reading.inputs.is_plain:
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


def other_orders(layout: Layout, out_shape: Shape, in_shape: Shape, order: Order) -> list[View]:
    """Return the readings in which axes are flattened in another order, on both sides and on each one."""
    shapes = {"outputs": out_shape, "inputs": in_shape}
    usual = tuple(range(len(in_shape)))
    seen: set[Any] = {tuple(_numbering(shape, usual) for shape in shapes.values())}
    views = []
    for kind, numbers, axes in _permutations(layout, len(in_shape), order):
        for sides in (("outputs", "inputs"), ("outputs",), ("inputs",)):
            listed = [axes if side in sides else usual for side in shapes]
            numbering = tuple(_numbering(shape, a) for shape, a in zip(shapes.values(), listed, strict=True))
            if numbering not in seen:
                seen.add(numbering)
                outputs, inputs = (Side.of(a, order) for a in listed)
                views.append(View((Change(kind, numbers, sides),), Reading(outputs, inputs)))
    return views


def _permutations(layout: Layout, n: int, order: Order) -> Iterator[tuple[Kind, tuple[Any, ...], Shape]]:
    """Yield the orders in which n axes may have been flattened instead, with the kind and numbers of the change.

    For channels last, (0, 1, 2) are height, width and channels, in the order that is expected. The other of row-major
    and column-major is (2, 1, 0), channels first are (2, 0, 1), and height and width are swapped in (1, 0, 2).
    """
    if layout is Layout.LAST:
        yield Kind.LAYOUT, ("first",), (n - 1, *range(n - 1))
    if layout is Layout.FIRST:
        yield Kind.LAYOUT, ("last",), (*range(1, n), 0)
    yield Kind.ORDER, ("column-major" if order == "C" else "row-major",), tuple(reversed(range(n)))
    space = tuple(range(n))[layout is Layout.FIRST : n - (layout is Layout.LAST)]
    for permuted in permutations(space):
        if permuted != space:
            axes = layout.join(n - 1 if layout is Layout.LAST else 0, permuted)
            yield Kind.AXES, axes, axes


def _numbering(shape: Shape, axes: Shape) -> Shape:
    """Return an order of axes without those of one entry, which do not count: orders with the same rest are equal."""
    return tuple(a for a in axes if shape[a] > 1)
