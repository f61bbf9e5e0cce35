"""Pairs of inputs of an axis that an output reads together: where the entries of ``A^H A`` stand, and their terms.

If output o reads input i through tap p and input j through tap q, entry (i, j) has the term ``conj(K[p]) K[q]``. Along
several axes the pairs of taps combine freely. So along each axis an entry is known by its pairs of taps, of which there
are few different collections.

For example, 3 taps without pads on 5 inputs: entry (0, 1) has the pair of taps (0, 1), from output 0; entry (1, 2) has
(0, 1) and (1, 2), from outputs 1 and 0.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from math import lcm

import numpy as np

from convmtx.boundary import NOTHING, WRAP
from convmtx.geometry.axis import Axis
from convmtx.geometry.listed import ListedAxis
from convmtx.geometry.run import Run
from convmtx.typing import IntArray

#: Pairs of taps that are listed for an axis: 2^22 take 100 MiB for a moment, and a tenth of a second.
_MOST_PAIRS = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Meetings:
    """Different entries of ``A^H A`` along one axis, and where they stand."""

    #: Axis from inputs to inputs, with the numbers of the entries.
    axis: ListedAxis
    #: Pairs of taps (p, q), as numbers ``p*kernel + q``: those of entry m are ``pairs[starts[m]:starts[m + 1]]``.
    pairs: IntArray
    starts: IntArray
    #: Number of entry (j, i) for each entry (i, j).
    mirrored: IntArray


@lru_cache(maxsize=64)
def meetings(axis: Axis) -> Meetings | None:
    """Return the different entries of ``A^H A`` along an axis; None if they would take too many pairs of taps to list.

    Only a short axis is listed, of about two windows and the pads: a longer one has more of its middle.
    """
    short, skipped = _shortened(axis)
    if short.out * axis.kernel**2 > _MOST_PAIRS:
        return None
    places, pairs = _listed(short)
    begins = np.flatnonzero(np.diff(places, prepend=-1))
    rows, columns = np.divmod(places[begins], short.size)
    known: dict[bytes, int] = {}
    numbers = np.empty(begins.size, np.int64)
    for m, (begin, end) in enumerate(zip(begins.tolist(), [*begins[1:].tolist(), pairs.size], strict=False)):
        numbers[m] = known.setdefault(pairs[begin:end].tobytes(), len(known))
    mirrored = np.empty(len(known), np.int64)
    mirrored[numbers] = numbers[np.lexsort((rows, columns))]  # (j, i) is sorted by j as (i, j) is by i
    collections = [np.frombuffer(part, np.int64) for part in known]
    starts = np.cumsum([0, *(part.size for part in collections)])
    runs = _runs(short.size, _period(axis), rows, columns, numbers)
    listed = ListedAxis(axis.size, len(known), runs=_lengthened(runs, axis, skipped))
    return Meetings(listed, np.concatenate([*collections, np.zeros(0, np.int64)]), starts, mirrored)


def _period(axis: Axis) -> int:
    """Return the number of inputs after which windows are where they were: 2 for stride 2, 3 for 3/2 of an input."""
    return lcm(axis.stride, axis.input_dilation) // axis.input_dilation


def _ends(axis: Axis) -> tuple[int, int]:
    """Return how many inputs at each end are read otherwise than those of the middle, at most.

    They are read by a window that is cut off or reads outside, or, around a circle, by one from the other end.
    """
    pads = abs(axis.lo), abs(axis.hi)
    before, behind = (sum(pads), sum(pads)) if axis.boundary is WRAP else pads
    return -(-(axis.span + before) // axis.input_dilation), -(-(axis.span + behind) // axis.input_dilation)


def _shortened(axis: Axis) -> tuple[Axis, int]:
    """Return an axis with the same ends and less of the middle, and the number of inputs left out."""
    period = _period(axis)
    least = sum(_ends(axis)) + 4 * period
    skipped = max(axis.size - least, 0) // period * period
    return replace(axis, size=axis.size - skipped), skipped


def _listed(axis: Axis) -> tuple[IntArray, IntArray]:
    """Return two inputs, as ``i*size + j``, and the pair of taps for all that outputs read together, sorted."""
    table = axis.table()
    is_input = table != NOTHING
    outputs, p, q = np.nonzero(is_input[:, :, None] & is_input[:, None, :])
    # One number of all is sorted much faster than three.
    joined = (table[outputs, p] * axis.size + table[outputs, q]) * axis.kernel**2 + p * axis.kernel + q
    joined.sort()
    places, pairs = np.divmod(joined, axis.kernel**2)
    return places, pairs


def _runs(size: int, period: int, rows: IntArray, columns: IntArray, numbers: IntArray) -> tuple[Run, ...]:
    """Return the runs of inputs that have the same entries at a constant shift, from sorted rows."""
    starts = np.searchsorted(rows, np.arange(size + 1))
    first_columns = np.append(columns, 0)[starts[:-1]] * (np.diff(starts) > 0)
    alike: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for i, (begin, end) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
        reads = numbers[begin:end].tobytes() + (columns[begin:end] - first_columns[i]).tobytes()
        alike[i % period, reads].append(i)
    runs = []
    for places in alike.values():
        array = np.array(places)
        # Inputs of one run are a period apart, and so far move their columns, and the places of their entries, alike.
        moves = np.diff([array, first_columns[array], starts[array]])
        at = 0
        while at < array.size:
            last = at + 1
            while last < array.size and moves[0, at] == period and (moves[:, last - 1] == moves[:, at]).all():
                last += 1
            step, shift = (period, int(moves[1, at])) if last > at + 1 else (1, 0)
            part = slice(starts[array[at]], starts[array[at] + 1])
            entries = numbers[part]
            slots = np.arange(entries.size)
            runs.append(Run(int(array[at]), step, last - at, shift, columns[part], entries, slots, entries))
            at = last
    return tuple(sorted(runs, key=lambda run: run.start))


def _lengthened(runs: tuple[Run, ...], axis: Axis, skipped: int) -> tuple[Run, ...]:
    """Return the runs of an axis from those of a shorter one, which leaves out inputs of the middle."""
    if not skipped:
        return runs
    # An input of the middle, and how far an output reads from one input to another.
    middle = _ends(axis)[0] + 2 * _period(axis)
    reach = -(-axis.span // axis.input_dilation)
    return tuple(sorted((_moved(run, middle, reach, skipped) for run in runs), key=lambda run: run.start))


def _moved(run: Run, middle: int, reach: int, skipped: int) -> Run:
    """Return a run where inputs are left out before ``middle``: with more of them if it crosses that, or further on.

    Columns move with their rows. But around a circle, columns of the first rows are near the end, and move, and those
    of the last rows near the beginning, and stay.
    """
    if run.start >= middle:
        columns = run.columns + np.where(run.columns > run.start - reach, skipped, 0)
        return replace(run, start=run.start + skipped, columns=columns)
    columns = run.columns + np.where(run.columns >= run.start + reach, skipped, 0)
    is_across = run.start + (run.count - 1) * run.step >= middle
    return replace(run, columns=columns, count=run.count + (skipped // run.step if is_across else 0))
