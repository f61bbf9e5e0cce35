"""An axis' table, compressed: outputs that read the same taps at a constant shift form one run.

An axis of the zero boundary with a kernel of k taps is one run of interior outputs and at most
about k-1 short runs at each end, however long it is. Every form is written run by run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd

import numpy as np

from convmtx.boundary import NOTHING, ZERO
from convmtx.geometry.axis import Axis
from convmtx.geometry.reads import Sums
from convmtx.typing import IntArray

_CHUNK = 1 << 20  # table entries looked at together


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Outputs ``start + j*step`` (j < count) read inputs ``columns + j*shift``, in ascending order.

    Tap ``taps[m]`` falls on column ``slots[m]``; taps are ascending, and every column has a tap. The entry of
    column m is number ``entries[m]`` of the taps, counted on through the `sums` of taps that share a column.
    """

    start: int
    step: int
    count: int
    shift: int
    columns: IntArray
    taps: IntArray
    slots: IntArray
    entries: IntArray

    def segments(self) -> Iterator[tuple[int, int, int, int]]:
        """The columns cut into arithmetic progressions: (first slot, number, first column, step)."""
        columns = self.columns
        at = 0
        while at < columns.size:
            step = int(columns[at + 1] - columns[at]) if at + 1 < columns.size else 1
            end = at + 1
            while end < columns.size and columns[end] - columns[end - 1] == step:
                end += 1
            yield at, end - at, int(columns[at]), step
            at = end


def _run(axis: Axis, start: int, step: int, count: int) -> Run:
    """The run whose first output is ``start``: its table row, folded."""
    first, number, apart = axis.reading(np.array([start]))
    taps = np.arange(number[0]) * apart + first
    row = axis.read(np.asarray(start), taps)
    there = row != NOTHING
    row, taps = row[there], taps[there]
    shift = step * axis.stride // axis.input_dilation
    if (row[1:] > row[:-1]).all():
        return Run(start, step, count, shift, row, taps, np.arange(row.size), taps)
    columns, slots = np.unique(row, return_inverse=True)
    return Run(start, step, count, shift, columns, taps, slots, taps[np.argsort(slots)])


def _edge(axis: Axis, outputs: range) -> Iterator[Run]:
    """Outputs of which a tap falls outside: a run for each place in a turn of the rule, or equal neighbours joined."""
    turn = axis.turn
    if turn and len(outputs) > 2 * turn:
        for first in outputs[:turn]:
            yield replace(_run(axis, first, turn, len(outputs[first - outputs.start :: turn])), shift=0)
        return
    step = _CHUNK if axis.boundary is ZERO else max(1, _CHUNK // axis.kernel)
    for start in range(outputs.start, outputs.stop, step):
        yield from _neighbours(axis, np.arange(start, min(start + step, outputs.stop)))


def _neighbours(axis: Axis, outputs: IntArray) -> Iterator[Run]:
    """Consecutive outputs, those joined that read through the same taps at a constant shift."""
    alike, shift = _alike(axis, outputs)
    at = 0
    while at < outputs.size:
        end = at + 1
        while end < outputs.size and alike[end - 1] and shift[end - 1] == shift[at]:
            end += 1
        run = _run(axis, int(outputs[at]), 1, end - at)
        yield replace(run, shift=int(shift[at])) if end > at + 1 else run
        at = end


def _alike(axis: Axis, outputs: IntArray) -> tuple[IntArray, IntArray]:
    """Whether each output but the first reads through its neighbour's taps, at one shift; and the shift."""
    if axis.boundary is ZERO:  # the taps are known, and all move by the stride
        first, counts, _ = axis.reading(outputs)
        same = (counts[1:] == counts[:-1]) & ((first[1:] == first[:-1]) | (counts[1:] == 0))
        return same, np.where(counts[1:] > 0, axis.stride // axis.input_dilation, 0)
    rows = axis.read(outputs[:, None], np.arange(axis.kernel))
    reads = rows != NOTHING
    moved = np.ma.masked_array(np.diff(rows, axis=0), ~reads[1:])
    shift, least = moved.max(axis=1).filled(0), moved.min(axis=1).filled(0)
    return (reads[1:] == reads[:-1]).all(axis=1) & (shift == least), shift


def _interior(axis: Axis, start: int, stop: int) -> Iterator[Run]:
    """Outputs of which every tap falls inside: one run for each phase of the input's dilation."""
    period = axis.input_dilation // gcd(axis.stride, axis.input_dilation)
    for first in range(start, min(start + period, stop)):
        yield _run(axis, first, period, len(range(first, stop, period)))


def _outside(axis: Axis, start: int, stop: int) -> Iterator[Run]:
    """Outputs of which a tap, or every tap, falls outside."""
    near, _ = axis.beyond(start, stop)
    yield from _constant(axis, start, near.start)
    yield from _edge(axis, near)
    yield from _constant(axis, near.stop, stop)


def _constant(axis: Axis, start: int, stop: int) -> Iterator[Run]:
    """Outputs that all read the same: nothing, or one end of the array."""
    if start < stop:
        yield replace(_run(axis, start, 1, stop - start), shift=0)


def runs(axis: Axis) -> tuple[Run, ...]:
    """All runs of an axis; together they hold each output once.

    O(kernel) for each output at the edges, and for as many of these as one turn of the rule at most.
    """
    return _numbered(axis)[0]


def most_runs(axis: Axis) -> int:
    """Runs of an axis at most: outputs of which a tap falls outside, for each turn, and phases of those inside."""
    first, last = axis.interior
    sides = [len(axis.beyond(start, stop)[0]) for start, stop in ((0, first), (last, axis.out))]
    listed = sum(min(side, 2 * axis.turn) if axis.turn else side for side in sides)
    return listed + axis.input_dilation // gcd(axis.stride, axis.input_dilation)


def sums(axis: Axis) -> Sums:
    """The different sets of taps, two or more and ascending, that share a column anywhere on the axis."""
    return _numbered(axis)[1]


def met(axis: Axis) -> IntArray:
    """Return the numbers of the entries, taps and sums, that some output of the axis meets."""
    return np.unique(np.concatenate([run.entries for run in runs(axis)]))


@lru_cache(maxsize=512)
def _numbered(axis: Axis) -> tuple[tuple[Run, ...], Sums]:
    first, last = axis.interior
    found = (*_outside(axis, 0, first), *_interior(axis, first, last), *_outside(axis, last, axis.out))
    seen: dict[tuple[int, ...], int] = {}
    return tuple(_with_sums(run, axis.kernel, seen) for run in found), tuple(seen)


def _with_sums(run: Run, kernel: int, seen: dict[tuple[int, ...], int]) -> Run:
    """The run with entries that number sums of taps too; new ones are added to those seen."""
    if run.columns.size == run.taps.size:
        return run
    taps = run.taps[np.argsort(run.slots, kind="stable")]
    counts = np.bincount(run.slots, minlength=run.columns.size)
    starts = np.cumsum(counts) - counts
    entries = taps[starts]
    for m in np.flatnonzero(counts > 1):
        shared = tuple(taps[starts[m] : starts[m] + counts[m]].tolist())
        entries[m] = seen.setdefault(shared, kernel + len(seen))
    return replace(run, entries=entries)
