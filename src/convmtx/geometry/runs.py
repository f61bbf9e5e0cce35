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

from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentError, sentence
from convmtx.geometry.axis import Axis
from convmtx.typing import AnyArray, IntArray

_CHUNK = 1 << 20  # table entries looked at together


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
        return summed(picked, axis, self.slots, self.columns.size)

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


def summed(taps: AnyArray, axis: int, slots: IntArray, size: int) -> AnyArray:
    """Taps along ``axis`` added up, in order, in the slots they fall on; sums beyond an integer type are refused."""
    whole = taps.dtype.kind in "iu"
    wide = np.result_type(taps, np.int64) if whole and taps.dtype != np.uint64 else taps.dtype
    total = np.zeros((*taps.shape[:axis], size, *taps.shape[axis + 1 :]), wide)
    np.add.at(np.moveaxis(total, axis, 0), slots, np.moveaxis(taps, axis, 0))
    exact = total.astype(taps.dtype, copy=False)
    if whole and (exact != total).any():
        sum_ = total[exact != total].flat[0]
        got = f"a boundary folds taps onto one position, and their sum {sum_} is no {taps.dtype}"
        remedy = "Use op.with_kernel(op.kernel.astype(np.int64))"
        raise ArgumentError(sentence("matrix entries", got, "Wanted a type that holds the sums", remedy))
    return exact


def _run(axis: Axis, start: int, step: int, count: int) -> Run:
    """The run whose first output is ``start``: its table row, folded."""
    row = axis.read(np.asarray(start), np.arange(axis.kernel))
    taps = np.flatnonzero(row != NOTHING)
    columns, slots = np.unique(row[taps], return_inverse=True)
    shift = step * axis.stride // axis.input_dilation
    return Run(start, step, count, shift, columns, taps, slots)


def _edge(axis: Axis, outputs: range) -> Iterator[Run]:
    """Outputs of which a tap falls outside: a run for each place in a turn of the rule, or equal neighbours joined."""
    turn = axis.turn
    if turn and len(outputs) > 2 * turn:
        for first in outputs[:turn]:
            yield replace(_run(axis, first, turn, len(outputs[first - outputs.start :: turn])), shift=0)
        return
    step = max(1, _CHUNK // axis.kernel)
    for start in range(outputs.start, outputs.stop, step):
        yield from _neighbours(axis, np.arange(start, min(start + step, outputs.stop)))


def _neighbours(axis: Axis, outputs: IntArray) -> Iterator[Run]:
    """Consecutive outputs, those joined that read through the same taps at a constant shift."""
    rows = axis.read(outputs[:, None], np.arange(axis.kernel))
    reads = rows != NOTHING
    moved = np.ma.masked_array(np.diff(rows, axis=0), ~reads[1:])
    shift, least = moved.max(axis=1).filled(0), moved.min(axis=1).filled(0)
    alike = (reads[1:] == reads[:-1]).all(axis=1) & (shift == least)
    at = 0
    while at < outputs.size:
        end = at + 1
        while end < outputs.size and alike[end - 1] and shift[end - 1] == shift[at]:
            end += 1
        run = _run(axis, int(outputs[at]), 1, end - at)
        yield replace(run, shift=int(shift[at])) if end > at + 1 else run
        at = end


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


@lru_cache(maxsize=512)
def runs(axis: Axis) -> tuple[Run, ...]:
    """All runs of an axis; together they hold each output once.

    O(kernel) for each output at the edges, and for as many of these as one turn of the rule at most.
    """
    first, last = axis.interior
    return (*_outside(axis, 0, first), *_interior(axis, first, last), *_outside(axis, last, axis.out))
