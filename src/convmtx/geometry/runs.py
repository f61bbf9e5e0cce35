"""An axis' table, compressed: outputs that read the same taps at a constant shift form one run.

An axis of the zero boundary with a kernel of k taps is one run of interior outputs and at most
about k-1 short runs at each end, however long it is. Every form is written run by run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import gcd

import numpy as np

from convmtx.boundary import NOTHING, ZERO
from convmtx.geometry.axis import Axis
from convmtx.typing import AnyArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Outputs ``start + j*step`` (j < count) read inputs ``columns + j*shift``, in ascending order.

    Tap ``taps[m]`` falls on column ``slots[m]``; taps are ascending, and every column has a tap.
    """

    start: int
    step: int
    count: int
    shift: int
    columns: IntArray
    taps: IntArray
    slots: IntArray

    def fold(self, kernel: AnyArray, axis: int) -> AnyArray:
        """The kernel along ``axis`` as this run's columns see it: taps that share a column summed in order."""
        picked = kernel.take(self.taps, axis)
        if self.columns.size == self.taps.size:
            ordered = bool((np.diff(self.slots) > 0).all())
            return picked if ordered else picked.take(np.argsort(self.slots), axis)
        folded = np.zeros((*picked.shape[:axis], self.columns.size, *picked.shape[axis + 1 :]), kernel.dtype)
        np.add.at(np.moveaxis(folded, axis, 0), self.slots, np.moveaxis(picked, axis, 0))
        return folded

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
    row = axis.read(np.asarray(start), np.arange(axis.kernel))
    taps = np.flatnonzero(row != NOTHING)
    columns, slots = np.unique(row[taps], return_inverse=True)
    shift = step * axis.stride // axis.input_dilation
    return Run(start, step, count, shift, columns, taps, slots)


def _joined(run: Run, after: Run) -> Run | None:
    """The two as one run, where ``after`` is the next output and reads alike at the same shift."""
    if run.columns.size != after.columns.size or not (
        np.array_equal(run.taps, after.taps) and np.array_equal(run.slots, after.slots)
    ):
        return None
    moved = after.columns - (run.columns + (run.count - 1) * run.shift) if run.columns.size else np.zeros(1, np.int64)
    shift = int(moved[0])
    if (moved != shift).any() or (run.count > 1 and shift != run.shift):
        return None
    return Run(run.start, 1, run.count + 1, shift, run.columns, run.taps, run.slots)


def _edge(axis: Axis, start: int, stop: int) -> Iterator[Run]:
    """Outputs of which a tap falls outside, one by one, equal neighbours joined."""
    if start >= stop:
        return
    run = _run(axis, start, 1, 1)
    for o in range(start + 1, stop):
        after = _run(axis, o, 1, 1)
        joined = _joined(run, after)
        if joined is None:
            yield run
        run = joined or after
    yield run


def _interior(axis: Axis, start: int, stop: int) -> Iterator[Run]:
    """Outputs of which every tap falls inside: one run for each phase of the input's dilation."""
    period = axis.input_dilation // gcd(axis.stride, axis.input_dilation)
    for first in range(start, min(start + period, stop)):
        yield _run(axis, first, period, len(range(first, stop, period)))


def _nothing(start: int, stop: int) -> Iterator[Run]:
    """Outputs that read nothing at all."""
    if start < stop:
        none = np.zeros(0, np.int64)
        yield Run(start, 1, stop - start, 0, none, none, none)


@lru_cache(maxsize=512)
def runs(axis: Axis) -> tuple[Run, ...]:
    """All runs of an axis; together they hold each output once. O(edge outputs x kernel)."""
    first, last = axis.interior
    touched, untouched = 0, axis.out
    if axis.boundary is ZERO:
        touched = min(max(-((axis.span - 1 - axis.lo) // axis.stride), 0), first)
        untouched = max(min((axis.stretched - 1 + axis.lo) // axis.stride + 1, axis.out), last)
    return (
        *_nothing(0, touched),
        *_edge(axis, touched, first),
        *_interior(axis, first, last),
        *_edge(axis, last, untouched),
        *_nothing(untouched, axis.out),
    )
