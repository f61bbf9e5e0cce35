"""The pattern of the matrix seen from afar: how many entries each cell of a coarse grid holds, counted, never built.

Flattened indices are numbers with mixed digits, one for each axis and one for the channel, and the pattern is a
Kronecker product: a row and a column are joined where each pair of their digits is. So cells are cut along whole
digits (the slowest kept singly, one cut into runs, the others summed over), and their counts are the Kronecker product
of what small matrices count, one for each digit.
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

_CHUNK = 1 << 20  # numbers held together
_RUN = 256  # numbers looked at in the time that each run takes besides


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Stored entries in each cell: cell (r, c) spans rows ``row_edges[r:r+2]`` and columns ``column_edges[c:c+2]``.

    Counts are int64, or Python integers (dtype object) where all of them together pass 2^63.
    """

    row_edges: IntArray
    column_edges: IntArray
    counts: AnyArray


def density(row_edges: IntArray, column_edges: IntArray, counts: AnyArray) -> AnyArray:
    """Part of each cell that is stored, from 0 to 1."""
    size = np.multiply.outer(np.diff(row_edges).astype(float), np.diff(column_edges))
    return counts.astype(float) / size


def pattern(geometry: Geometry, cells: int) -> Pattern:
    """Stored entries of the matrix (order C) in at most ``cells`` x ``cells`` cells; one entry a cell where that fits.

    O(kernel * cells) for each axis that reads nothing but zeros outside, of any length. Other boundaries take the
    `runs` of the axis besides, O(kernel) for each output at the edges.
    """
    outs, ins = geometry.out_shape, geometry.in_shape
    digits = geometry.layout.join(None, geometry.axes)
    row_digits, column_digits = _cut(outs, cells), _cut(ins, cells)
    found = [
        _channels(geometry, r, c) if digit is None else _binned(digit, r, c)
        for digit, r, c in zip(digits, row_digits, column_digits, strict=True)
    ]
    total = prod(int(each.sum()) for each in found)
    dtype = np.int64 if total < 1 << 63 else object
    counts = reduce(np.kron, [each.astype(dtype) for each in found])
    return Pattern(_edges(outs, row_digits), _edges(ins, column_digits), counts)


def work(geometry: Geometry, cells: int) -> int:
    """Numbers looked at to count the cells, about, and those that make a run."""
    return sum(
        a.kernel * 2 * cells + (0 if a.zero_outside else most_runs(a) * (a.kernel + _RUN)) for a in geometry.axes
    )


def _cut(sizes: Shape, cells: int) -> list[IntArray]:
    """Edges along each digit: kept singly while there are cells enough, then one cut, then none."""
    found, left = [], cells
    for size in sizes:
        parts = min(size, left)
        found.append(np.array([j * size // parts for j in range(parts + 1)]))
        left = left // size if parts == size else 1
    return found


def _edges(sizes: Shape, digits: list[IntArray]) -> IntArray:
    """Edges of the flattened index, from those of its digits."""
    edges = np.zeros(1, np.int64)
    for size, own in zip(sizes, digits, strict=True):
        edges = (edges[:, None] * size + own[:-1]).reshape(-1)
    return np.append(edges, prod(sizes))


def _channels(geometry: Geometry, row_edges: IntArray, column_edges: IntArray) -> AnyArray:
    """Blocks of ones on a diagonal: counted below and left of every corner, then differenced."""
    per_f, per_c = geometry.channels_per_group
    f, c = row_edges[:, None], column_edges
    whole = np.minimum(f // per_f, c // per_c)
    below = whole * (per_f * per_c) + np.minimum(f - whole * per_f, per_f) * np.minimum(c - whole * per_c, per_c)
    return np.diff(np.diff(below, axis=0), axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Straight lines of entries: for j < count[m], output starts[m] + j*step reads input columns[m] + j*shift."""

    starts: IntArray
    columns: IntArray
    count: IntArray
    step: int
    shift: int


def _binned(axis: Axis, row_edges: IntArray, column_edges: IntArray) -> AnyArray:
    """Pairs of an output and an input that some tap joins, in each cell."""
    large = axis.out * min(axis.kernel, axis.size) >= 1 << 63
    counts = np.zeros((row_edges.size - 1, column_edges.size - 1), object if large else np.int64)
    if axis.zero_outside:
        _add_lines(counts, row_edges, column_edges, _by_taps(axis))
        return counts
    for run in runs(axis):
        if run.shift and run.count > 1:
            starts, count = np.full_like(run.columns, run.start), np.full_like(run.columns, run.count)
            _add_lines(counts, row_edges, column_edges, _Lines(starts, run.columns, count, run.step, run.shift))
            continue
        rows = np.diff(np.clip(-((run.start - row_edges) // run.step), 0, run.count))
        columns = np.bincount(_bin(column_edges, run.columns), minlength=column_edges.size - 1)
        touched = np.flatnonzero(rows)
        counts[touched] += np.multiply.outer(rows[touched], columns).astype(counts.dtype)
    return counts


def _by_taps(axis: Axis) -> _Lines:
    """A line for each tap, where nothing but zeros is read outside: no two taps of an output meet.

    Tap p of output o reads an input where ``o*s + c = i*e``, with ``c = p*t - lo``: every ``e/gcd(s, e)``-th output.
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
    """Cut every line where it enters another cell, and add the lengths of the pieces."""
    size = row_edges.size + column_edges.size
    for at in range(0, lines.starts.size, max(1, _CHUNK // size)):
        some = slice(at, at + max(1, _CHUNK // size))
        starts, columns, count = (each[some, None] for each in (lines.starts, lines.columns, lines.count))
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
    return np.searchsorted(edges, places, side="right") - 1
