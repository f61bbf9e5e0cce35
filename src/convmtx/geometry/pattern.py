"""The pattern of a large matrix on a coarse grid: how many entries each cell holds, counted without the matrix.

A flattened index is a number with mixed digits, one for each axis and one for the channel. Row and column are joined
exactly if each pair of their digits is, so the pattern is a Kronecker product of small patterns, one for each digit.
Cells are cut along whole digits: the slowest digits are kept singly, one is cut into ranges, and the others are summed
over. So the counts are the Kronecker product of the counts of the digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import gcd, prod

import numpy as np

from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry
from convmtx.geometry.runs import most_runs, runs
from convmtx.typing import AnyArray, IntArray, Shape

#: Numbers that are held at once while lines are cut: 8 MiB of 64-bit integers.
_CHUNK = 1 << 20
#: Numbers that could be looked at in the time that building one run takes.
_RUN = 256


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Number of stored entries in each cell of a grid.

    Cell (r, c) spans rows ``row_edges[r]`` to before ``row_edges[r + 1]``, and columns likewise. Counts are int64, or
    Python integers (dtype object) if their total is 2^63 or more.
    """

    row_edges: IntArray
    column_edges: IntArray
    counts: AnyArray


def density(row_edges: IntArray, column_edges: IntArray, counts: AnyArray) -> AnyArray:
    """Return the fraction of each cell that is stored, from 0 to 1."""
    size = np.multiply.outer(np.diff(row_edges).astype(float), np.diff(column_edges))
    return counts.astype(float) / size


def pattern(geometry: Geometry, cells: int) -> Pattern:
    """Count the stored entries of the matrix (order C) in at most ``cells`` x ``cells`` cells.

    A matrix of at most that many rows and columns has one entry in each cell. Takes O(kernel * cells) for each axis
    that reads only zeros outside, of any length. Other boundaries need the `runs` of the axis in addition, O(kernel)
    for each output at the ends.
    """
    outs, ins = geometry.out_shape, geometry.in_shape
    digits = geometry.layout.join(None, geometry.axes)
    row_digits, column_digits = _cut(outs, cells), _cut(ins, cells)
    counts = [
        _count_channels(geometry, rows, columns) if axis is None else _count_axis(axis, rows, columns)
        for axis, rows, columns in zip(digits, row_digits, column_digits, strict=True)
    ]
    total = prod(int(count.sum()) for count in counts)
    dtype = np.int64 if total < 1 << 63 else object
    product = reduce(np.kron, [count.astype(dtype) for count in counts])
    return Pattern(_edges(outs, row_digits), _edges(ins, column_digits), product)


def work(geometry: Geometry, cells: int) -> int:
    """Estimate how many numbers `pattern` looks at, with the time of building runs in the same unit."""
    total = 0
    for axis in geometry.axes:
        total += axis.kernel * 2 * cells
        if not axis.zero_outside:
            total += most_runs(axis) * (axis.kernel + _RUN)
    return total


def _cut(sizes: Shape, cells: int) -> list[IntArray]:
    """Return the edges of the cells along each digit, slowest first.

    With 100 cells and sizes 10, 20, 30, the first digit is kept singly (11 edges), the second is cut into the 10 parts
    that are left, and the third is one part (edges 0 and 30).
    """
    edges, remaining = [], cells
    for size in sizes:
        parts = min(size, remaining)
        edges.append(np.array([j * size // parts for j in range(parts + 1)]))
        remaining = remaining // size if parts == size else 1
    return edges


def _edges(sizes: Shape, digits: list[IntArray]) -> IntArray:
    """Return the edges of the flattened index, from the edges of its digits."""
    edges = np.zeros(1, np.int64)
    for size, digit in zip(sizes, digits, strict=True):
        edges = (edges[:, None] * size + digit[:-1]).reshape(-1)
    return np.append(edges, prod(sizes))


def _count_channels(geometry: Geometry, row_edges: IntArray, column_edges: IntArray) -> AnyArray:
    """Count the ones of the block-diagonal pattern of channels in each cell.

    The ones above and left of each corner (f, c) are counted in closed form: whole blocks, and a part of the next one.
    A cell's count is the difference of its four corners.
    """
    per_f, per_c = geometry.channels_per_group
    f, c = row_edges[:, None], column_edges
    whole = np.minimum(f // per_f, c // per_c)
    part = np.minimum(f - whole * per_f, per_f) * np.minimum(c - whole * per_c, per_c)
    return np.diff(np.diff(whole * (per_f * per_c) + part, axis=0), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Lines of entries: for j < count[m], output starts[m] + j*step reads input columns[m] + j*shift."""

    starts: IntArray
    columns: IntArray
    count: IntArray
    step: int
    shift: int


def _count_axis(axis: Axis, row_edges: IntArray, column_edges: IntArray) -> AnyArray:
    """Count the pairs of an output and an input of an axis that some tap joins, in each cell."""
    is_large = axis.out * min(axis.kernel, axis.size) >= 1 << 63
    counts = np.zeros((row_edges.size - 1, column_edges.size - 1), object if is_large else np.int64)
    if axis.zero_outside:
        _add_lines(counts, row_edges, column_edges, _lines_of_taps(axis))
        return counts
    for run in runs(axis):
        if run.shift and run.count > 1:
            starts, count = np.full_like(run.columns, run.start), np.full_like(run.columns, run.count)
            _add_lines(counts, row_edges, column_edges, _Lines(starts, run.columns, count, run.step, run.shift))
            continue
        # All outputs of the run read the same columns: a block, counted by its rows and columns in each cell.
        rows = np.diff(np.clip(-((run.start - row_edges) // run.step), 0, run.count))
        columns = np.bincount(_bin(column_edges, run.columns), minlength=column_edges.size - 1)
        touched = np.flatnonzero(rows)
        counts[touched] += np.multiply.outer(rows[touched], columns).astype(counts.dtype)
    return counts


def _lines_of_taps(axis: Axis) -> _Lines:
    """Return a line for each tap of an axis with zeros outside, on which no two taps share an entry.

    Tap p of output o reads an input i where ``o*s + c = i*e``, with ``c = p*t - lo``: every ``e/gcd(s, e)``-th output,
    as in `Axis.entries_zero`.
    """
    s, e = axis.stride, axis.input_dilation
    offset = np.arange(axis.kernel) * axis.dilation - axis.lo
    shared = gcd(s, e)
    offset = offset[offset % shared == 0]
    period = e // shared
    inverse = pow(s // shared, -1, period) if period > 1 else 0
    begin = np.maximum(-(offset // s), 0)
    end = np.minimum((axis.stretched - 1 - offset) // s + 1, axis.out)
    starts = begin + (-(offset // shared) % period * inverse - begin) % period
    count = np.maximum(-((starts - end) // period), 0)
    return _Lines(starts, (starts * s + offset) // e, count, period, s * period // e)


def _add_lines(counts: AnyArray, row_edges: IntArray, column_edges: IntArray, lines: _Lines) -> None:
    """Cut every line where it enters another cell, and add the lengths of its pieces to the counts of the cells.

    A line from (0, 0) with step 1 and shift 2, over rows cut at 0 3 6 and columns at 0 2 12, enters cells at j = 0, 1
    (column 2) and 3 (row 3).
    """
    size = row_edges.size + column_edges.size
    length = max(1, _CHUNK // size)
    for at in range(0, lines.starts.size, length):
        chunk = slice(at, at + length)
        starts = lines.starts[chunk, None]
        columns = lines.columns[chunk, None]
        count = lines.count[chunk, None]
        # The least j from which the line is at or behind each edge.
        across = -((starts - row_edges) // lines.step)
        if lines.shift > 0:
            down = -((columns - column_edges) // lines.shift)
        else:
            down = (columns - column_edges) // -lines.shift + 1
        cuts = np.sort(np.clip(np.concatenate([across, down], axis=1), 0, count), axis=1)
        line, piece = np.nonzero(np.diff(cuts, axis=1))
        first = cuts[line, piece]
        cell = (
            _bin(row_edges, starts[line, 0] + first * lines.step),
            _bin(column_edges, columns[line, 0] + first * lines.shift),
        )
        np.add.at(counts, cell, (cuts[line, piece + 1] - first).astype(counts.dtype))


def _bin(edges: IntArray, places: IntArray) -> IntArray:
    """Return the number of the cell that each place lies in."""
    return np.searchsorted(edges, places, side="right") - 1
