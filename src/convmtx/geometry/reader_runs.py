"""The transposed table of an axis, compressed into runs: inputs that outputs read through the same taps.

Columns of a matrix are written with these runs, as its rows are written with `runs`.

For example, 5 inputs, 3 taps and pads of 1 under "reflect" make 5 outputs. Input 0 is read by outputs 0 and 1 through
taps 1 and 0. Input 1 is read by outputs 0 1 2, by output 0 through taps 0 and 2, because position -1 holds input 1 too.
Input 2 is read by outputs 1 2 3 through taps 2 1 0, as it would be under the zero boundary.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from math import gcd

import numpy as np

from convmtx.boundary import NOTHING, ZERO
from convmtx.geometry.axis import Axis
from convmtx.geometry.lookup import list_readers
from convmtx.geometry.run import Run
from convmtx.geometry.runs import most_runs, runs, sums
from convmtx.typing import IntArray


@lru_cache(maxsize=512)
def reader_runs(axis: Axis, inputs: range | None = None) -> tuple[Run, ...]:
    """Return all runs of the inputs of an axis, or of some inputs, counted from 0; each of them is in exactly one.

    The run's columns are the outputs that read its first input, and its entries are numbered as in `runs`. Inputs that
    no position outside holds are read as under the zero boundary, where the transpose is a convolution. Only the others
    are looked up.
    """
    if inputs is not None:
        return tuple(_within(reader_runs(axis), inputs))
    folded = _folded(axis)
    mirrored = replace(axis, boundary=ZERO).transposed
    assert mirrored is not None  # under zeros every axis has a transpose
    # Between folded inputs 0 1 5 of 8 lie 2 to 4 and 6 to 7.
    starts, stops = [0, *(folded + 1).tolist()], [*folded.tolist(), axis.size]
    plain = [
        run
        for start, stop in zip(starts, stops, strict=True)
        if start < stop
        for run in _from_transposed(axis, runs(mirrored), start, stop)
    ]
    return tuple(sorted((*plain, *_looked_up(axis, folded)), key=lambda run: run.start))


def _within(all_runs: tuple[Run, ...], inputs: range) -> Iterator[Run]:
    """Yield the runs of some inputs, which are counted from 0.

    Of a run that moves by r, and of inputs that move by t, every ``t/gcd(r, t)``-th place of the run is an input.
    """
    for run in all_runs:
        shared = gcd(run.step, inputs.step)
        ahead, rest = divmod(inputs.start - run.start, shared)
        if rest:
            continue
        turn = inputs.step // shared
        first = max(-((run.start - inputs.start) // run.step), 0)
        first += (ahead * pow(run.step // shared, -1, turn) - first) % turn if turn > 1 else 0
        count = len(range(first, min(run.count, (inputs[-1] - run.start) // run.step + 1), turn))
        if count:
            start = (run.start + first * run.step - inputs.start) // inputs.step
            step, shift = run.step // shared, run.shift * turn
            columns = run.columns + first * run.shift
            yield Run(start, step, count, shift, columns, run.taps, run.slots, run.entries)


@lru_cache(maxsize=512)
def most_reader_runs(axis: Axis) -> int:
    """Return an upper bound of the number of runs of inputs, in O(1).

    Every folded input is a run. Folded inputs are at most two intervals, and each cuts the runs of every phase once
    more. At each end there can be a run of inputs that are not read.
    """
    mirrored = replace(axis, boundary=ZERO).transposed
    assert mirrored is not None  # under zeros every axis has a transpose
    most = most_runs(mirrored) + 2
    if axis.zero_outside:
        return most
    return (
        most
        + min(sum(map(len, _outside(axis))), axis.size)
        + 2 * (axis.stride // gcd(axis.stride, axis.input_dilation))
    )


def _outside(axis: Axis) -> tuple[range, range]:
    """Return the positions before and behind the array that hold everything that is held outside.

    Under a rule with a period these are at most one period on each side, and otherwise the nearest one.
    """
    first, last = axis.reach
    most = axis.boundary.period(axis.stretched) or 1
    return range(max(first, -most), 0), range(axis.stretched, min(last + 1, axis.stretched + most))


def _folded(axis: Axis) -> IntArray:
    """Return the inputs that positions outside the array hold too, ascending."""
    if axis.zero_outside:
        return np.zeros(0, np.int64)
    held = axis.source(np.concatenate([np.array(part, np.int64) for part in _outside(axis)]))
    return np.unique(held[held != NOTHING])


def _from_transposed(axis: Axis, transposed: tuple[Run, ...], start: int, stop: int) -> Iterator[Run]:
    """Yield the part of the transposed axis's runs that lies in [start, stop), with the numbers of this axis's taps.

    The transposed axis reads through the reversed taps: its tap 0 of 3 is tap 2.
    """
    for run in transposed:
        skipped = max(-((run.start - start) // run.step), 0)
        count = min(run.count, -((run.start - stop) // run.step)) - skipped
        if count > 0:
            entries = axis.kernel - 1 - run.entries
            first, columns = run.start + skipped * run.step, run.columns + skipped * run.shift
            yield Run(first, run.step, count, run.shift, columns, entries, run.slots, entries)


def _looked_up(axis: Axis, inputs: IntArray) -> Iterator[Run]:
    """Yield a run for each of these inputs, with the sums of taps numbered as the axis numbers them."""
    lists, shared = list_readers(axis, inputs)
    number = {taps: axis.kernel + m for m, taps in enumerate(sums(axis))}
    renumbered = np.array([*range(axis.kernel), *(number[taps] for taps in shared)])
    for place, begin, end in zip(inputs.tolist(), lists.starts[:-1].tolist(), lists.starts[1:].tolist(), strict=True):
        entries = renumbered[lists.numbers[begin:end]]
        yield Run(place, 1, 1, 0, lists.places[begin:end], entries, np.arange(end - begin), entries)
