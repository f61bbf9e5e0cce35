"""The table of an axis, compressed into runs: outputs that read through the same taps at a constant shift.

Under the zero boundary an axis with k taps is one run of interior outputs and at most about k - 1 short runs at each
end, however long it is. Every form is written run by run.

For example, 100 inputs, 3 taps, stride 2 and pads of 1 make 50 outputs in 2 runs: output 0 reads inputs 0 1 through
taps 1 2, and outputs 1 to 49 read 1 2 3, then 3 4 5 and so on, a shift of 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from math import gcd

import numpy as np

from convmtx.boundary import NOTHING, ZERO
from convmtx.geometry.axis import Axis
from convmtx.geometry.listed import ListedAxis
from convmtx.geometry.lookup import Sums
from convmtx.geometry.run import Run
from convmtx.typing import IntArray

#: Table entries that are compared at once: 8 MiB of 64-bit integers.
_CHUNK = 1 << 20


def _run(axis: Axis, start: int, step: int, count: int) -> Run:
    """Return the run whose first output is ``start``, from that output's row of the table.

    The shift is the one of windows that stay inside. Taps that share a column are not yet numbered as sums.
    """
    first, number, tap_step = axis.reading(np.array([start]))
    taps = np.arange(number[0]) * tap_step + first
    row = axis.read(np.asarray(start), taps)
    is_input = row != NOTHING
    row, taps = row[is_input], taps[is_input]
    shift = step * axis.stride // axis.input_dilation
    if (row[1:] > row[:-1]).all():  # ascending, so no two taps share a column
        return Run(start, step, count, shift, row, taps, np.arange(row.size), taps)
    columns, slots = np.unique(row, return_inverse=True)
    return Run(start, step, count, shift, columns, taps, slots, taps[np.argsort(slots)])


def _edge(axis: Axis, outputs: range) -> Iterator[Run]:
    """Yield the runs of outputs with a tap outside.

    If there are more than two turns of the rule, outputs a turn apart form one run, of shift 0. Otherwise neighbours
    that move together do.
    """
    turn = axis.turn
    if turn and len(outputs) > 2 * turn:
        for first in outputs[:turn]:
            count = len(outputs[first - outputs.start :: turn])
            yield replace(_run(axis, first, turn, count), shift=0)
        return
    step = _CHUNK if axis.boundary is ZERO else max(1, _CHUNK // axis.kernel)
    for start in range(outputs.start, outputs.stop, step):
        yield from _join_neighbours(axis, np.arange(start, min(start + step, outputs.stop)))


def _join_neighbours(axis: Axis, outputs: IntArray) -> Iterator[Run]:
    """Yield the runs of consecutive outputs: those that read through the same taps at a constant shift are joined."""
    alike, shift = _compare_neighbours(axis, outputs)
    at = 0
    while at < outputs.size:
        end = at + 1
        while end < outputs.size and alike[end - 1] and shift[end - 1] == shift[at]:
            end += 1
        run = _run(axis, int(outputs[at]), 1, end - at)
        yield replace(run, shift=int(shift[at])) if end > at + 1 else run
        at = end


def _compare_neighbours(axis: Axis, outputs: IntArray) -> tuple[IntArray, IntArray]:
    """Return whether each output reads through the taps of the one before, all moved alike, and by how much.

    Both arrays have one number less than ``outputs``. Rows -1 0 1 and -1 2 3 are alike, with shift 2; rows 1 0 1 and
    0 1 2 are not, as their inputs move by -1, 1 and 1.
    """
    if axis.boundary is ZERO:  # the taps are known, and their inputs move by the stride
        first, counts, _ = axis.reading(outputs)
        same = (counts[1:] == counts[:-1]) & ((first[1:] == first[:-1]) | (counts[1:] == 0))
        return same, np.where(counts[1:] > 0, axis.stride // axis.input_dilation, 0)
    rows = axis.read(outputs[:, None], np.arange(axis.kernel))
    is_input = rows != NOTHING
    moves = np.ma.masked_array(np.diff(rows, axis=0), ~is_input[1:])
    most, least = moves.max(axis=1).filled(0), moves.min(axis=1).filled(0)
    same = (is_input[1:] == is_input[:-1]).all(axis=1)
    return same & (most == least), most


def _interior(axis: Axis, start: int, stop: int) -> Iterator[Run]:
    """Yield the runs of outputs whose taps are all inside: one for each phase of the input dilation.

    With stride s and input dilation e, outputs ``e/gcd(s, e)`` apart read the same taps: for s = 1 and e = 2 every
    second output reads the even taps, and the others the odd ones.
    """
    period = axis.input_dilation // gcd(axis.stride, axis.input_dilation)
    for first in range(start, min(start + period, stop)):
        yield _run(axis, first, period, len(range(first, stop, period)))


def _outside(axis: Axis, start: int, stop: int) -> Iterator[Run]:
    """Yield the runs of outputs with some or all taps outside."""
    near, _ = axis.beyond(start, stop)
    yield from _constant(axis, start, near.start)
    yield from _edge(axis, near)
    yield from _constant(axis, near.stop, stop)


def _constant(axis: Axis, start: int, stop: int) -> Iterator[Run]:
    """Yield the run of outputs that all read the same: nothing, or one end of the array."""
    if start < stop:
        yield replace(_run(axis, start, 1, stop - start), shift=0)


def runs(axis: Axis) -> tuple[Run, ...]:
    """Return all runs of an axis; each output is in exactly one.

    Takes O(kernel) for each output with a tap outside, and for at most one turn of the rule of those.
    """
    return _runs_and_sums(axis)[0]


@lru_cache(maxsize=512)
def most_runs(axis: Axis) -> int:
    """Return an upper bound of the number of runs, in O(1).

    Every output with a tap outside is counted, but at most two turns at each end, and every phase of the interior.
    """
    if isinstance(axis, ListedAxis):
        return len(axis.runs)
    first, last = axis.interior
    sides = [len(axis.beyond(start, stop)[0]) for start, stop in ((0, first), (last, axis.out))]
    at_ends = sum(min(side, 2 * axis.turn) if axis.turn else side for side in sides)
    return at_ends + axis.input_dilation // gcd(axis.stride, axis.input_dilation)


def sums(axis: Axis) -> Sums:
    """Return the different sets of two or more taps that share a column somewhere on the axis, each ascending."""
    return () if not axis.may_fold else _runs_and_sums(axis)[1]


def met(axis: Axis) -> IntArray:
    """Return the numbers of the entries (taps and sums) that stand in the matrix of the axis."""
    return np.unique(np.concatenate([run.entries for run in runs(axis)]))


@lru_cache(maxsize=512)
def _runs_and_sums(axis: Axis) -> tuple[tuple[Run, ...], Sums]:
    """Return all runs of an axis, their entries numbered, and the sums of taps that these numbers count."""
    if isinstance(axis, ListedAxis):
        return axis.runs, ()
    first, last = axis.interior
    bare = (*_outside(axis, 0, first), *_interior(axis, first, last), *_outside(axis, last, axis.out))
    numbers: dict[tuple[int, ...], int] = {}
    return tuple(_number_sums(run, axis.kernel, numbers) for run in bare), tuple(numbers)


def _number_sums(run: Run, kernel: int, numbers: dict[tuple[int, ...], int]) -> Run:
    """Return the run with numbers of sums where taps share a column; new sums are added to ``numbers``.

    Sums are numbered from ``kernel`` on, in the order in which they are met.
    """
    if run.columns.size == run.taps.size:
        return run
    # Taps by column: slots [1, 0, 1] of taps 0 1 2 sort them to 1, 0 2; counts are [1, 2] and starts [0, 1].
    taps = run.taps[np.argsort(run.slots, kind="stable")]
    counts = np.bincount(run.slots, minlength=run.columns.size)
    starts = np.cumsum(counts) - counts
    entries = taps[starts]
    for m in np.flatnonzero(counts > 1):
        shared = tuple(taps[starts[m] : starts[m] + counts[m]].tolist())
        entries[m] = numbers.setdefault(shared, kernel + len(numbers))
    return replace(run, entries=entries)
