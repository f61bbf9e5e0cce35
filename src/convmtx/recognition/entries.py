"""Entries of a matrix, row by row, with the coordinates of the outputs and inputs that they join."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.geometry import Layout
from convmtx.recognition.readings import Readable, Reading
from convmtx.recognition.shapes import Shapes
from convmtx.typing import AnyArray, IntArray, Shape

#: Rows of a matrix: where each listed row ends among the entries that follow, the columns of these, and their values.
Rows = tuple[IntArray, IntArray, AnyArray]


@dataclass(frozen=True)
class Digits:
    """Flat index of an array as a channel and a position on each axis.

    ``sizes`` are (channels, n1..nd), and ``order`` lists these axes from the slowest to the fastest: (0, 1, 2) for
    channels first, (1, 2, 0) for channels last, both in C order, and (0, 2, 1) for channels last in column-major order.
    """

    sizes: Shape
    order: tuple[int, ...]

    @classmethod
    def of(cls, shape: Shape, layout: Layout, axes: Shape) -> Digits:
        """Return the digits of arrays in a layout, whose axes are flattened as listed, the slowest first."""
        channels, sizes = layout.split(shape, 1)
        digits = layout.join(0, tuple(range(1, len(sizes) + 1)))
        order = tuple(digits[axis] for axis in axes)
        return cls((channels, *sizes), order if layout is not Layout.PLAIN else (0, *order))

    @property
    def count(self) -> int:
        """Number of entries of the array."""
        return prod(self.sizes)

    def split(self, flat: IntArray) -> list[IntArray]:
        """Return the channel and the positions of flat indices."""
        digits: list[IntArray] = [flat] * len(self.sizes)
        for axis in self.order[:0:-1]:
            flat, digits[axis] = np.divmod(flat, self.sizes[axis])
        digits[self.order[0]] = flat
        return digits

    def join(self, digits: list[IntArray]) -> IntArray:
        """Return the flat indices of channels and positions, which are broadcast together."""
        flat = np.asarray(0)
        for axis in self.order:
            flat = flat * self.sizes[axis] + digits[axis]
        return flat


class Listed(NamedTuple):
    """Entries of a matrix that are not zero: digits of their outputs and inputs, and their values."""

    outputs: list[IntArray]
    inputs: list[IntArray]
    values: AnyArray


@dataclass(frozen=True)
class Entries:
    """Rows of a matrix, and how the indices of its rows and columns are read."""

    rows: Callable[[IntArray], Rows]
    outs: Digits
    ins: Digits
    #: Average number of entries that a row stores.
    row_length: float

    @classmethod
    def of(cls, matrix: Readable, shapes: Shapes, reading: Reading) -> Entries:
        """Return the entries of a matrix, read in one way as that of a map between these shapes."""
        array = matrix.turned(reading)
        rows = _rows_of_dense if isinstance(array, np.ndarray) else _rows_of_csr
        outs = Digits.of(shapes.out_shape, shapes.layout, reading.outputs.axes)
        ins = Digits.of(shapes.in_shape, shapes.layout, reading.inputs.axes)
        return cls(rows(array), outs, ins, matrix.n_stored / max(array.shape[0], 1))

    def list(self, outputs: list[IntArray]) -> Listed:
        """Return the nonzero entries in the rows of some outputs, whose digits are broadcast together."""
        wanted = self.outs.join(outputs).reshape(-1)
        ends, columns, values = self.rows(wanted)
        owners = np.repeat(np.arange(wanted.size), np.diff(ends, prepend=0))
        stored = np.flatnonzero(values)
        if stored.size < values.size:
            owners, columns, values = owners[stored], columns[stored], values[stored]
        return Listed([d[owners] for d in self.outs.split(wanted)], self.ins.split(columns.astype(np.int64)), values)


def _rows_of_dense(matrix: AnyArray) -> Callable[[IntArray], Rows]:
    """Return a function that returns rows of a dense matrix."""

    def rows(numbers: IntArray) -> Rows:
        block = matrix[numbers]
        owners, columns = np.nonzero(block)
        return np.cumsum(np.bincount(owners, minlength=numbers.size)), columns, block[owners, columns]

    return rows


def _rows_of_csr(matrix: Any) -> Callable[[IntArray], Rows]:
    """Return a function that returns rows of a sparse matrix in canonical CSR form."""

    def rows(numbers: IntArray) -> Rows:
        starts = matrix.indptr[numbers].astype(np.int64)
        ends = np.cumsum(matrix.indptr[numbers + 1] - starts)
        lengths = np.diff(ends, prepend=0)
        at = np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - (ends - lengths), lengths)
        return ends, matrix.indices[at], matrix.data[at]

    return rows
