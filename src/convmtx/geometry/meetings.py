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

from convmtx.boundary import NOTHING
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

    Only a short axis is listed, of at most about four windows: a longer one has more of its middle.
    """
    short, skipped = _shortened(axis)
    if short.out * axis.kernel**2 > _MOST_PAIRS:
        return None
    first, second, pairs, begins = _listed(short, axis.kernel)
    ends = np.append(begins, pairs.size)[1:]
    known: dict[bytes, int] = {}
    numbers = np.empty(begins.size, np.int64)
    for m, (begin, end) in enumerate(zip(begins.tolist(), ends.tolist(), strict=True)):
        numbers[m] = known.setdefault(pairs[begin:end].tobytes(), len(known))
    rows, columns = first[begins], second[begins]
    swapped = np.lexsort((rows, columns))  # place of pair (j, i) of inputs for each (i, j)
    mirrored = np.empty(len(known), np.int64)
    mirrored[numbers] = numbers[swapped]
    found = [np.frombuffer(part, np.int64) for part in known]
    starts = np.cumsum([0, *(part.size for part in found)])
    runs = _lengthened(_runs(short.size, _period(axis), rows, columns, numbers), short.size // 2, skipped)
    listed = ListedAxis(axis.size, len(known), runs=runs)
    return Meetings(listed, np.concatenate([*found, np.zeros(0, np.int64)]), starts, mirrored)


def _period(axis: Axis) -> int:
    """Return the number of inputs after which windows are where they were: 2 for stride 2, 3 for 3/2 of an input."""
    return lcm(axis.stride, axis.input_dilation) // axis.input_dilation


def _shortened(axis: Axis) -> tuple[Axis, int]:
    """Return an axis with the same ends and less of the middle, and the number of inputs left out."""
    period = _period(axis)
    least = -(-(4 * axis.span + 2 * abs(axis.lo) + 2 * abs(axis.hi)) // axis.input_dilation) + 4 * period
    skipped = max(axis.size - least, 0) // period * period
    return replace(axis, size=axis.size - skipped), skipped


def _listed(axis: Axis, kernel: int) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return two inputs and the pair of taps for all that outputs read together, sorted, and where each two begin."""
    table = axis.table()
    is_input = table != NOTHING
    outputs, p, q = np.nonzero(is_input[:, :, None] & is_input[:, None, :])
    first, second, pairs = table[outputs, p], table[outputs, q], p * kernel + q
    order = np.lexsort((pairs, second, first))
    first, second, pairs = first[order], second[order], pairs[order]
    is_new = np.ones(first.size, bool)
    is_new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return first, second, pairs, np.flatnonzero(is_new)


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


def _lengthened(runs: tuple[Run, ...], middle: int, skipped: int) -> tuple[Run, ...]:
    """Return the runs of an axis that has ``skipped`` inputs more after its middle one."""
    if not skipped:
        return runs
    return tuple(sorted((_with_more(run, middle, skipped) for run in runs), key=lambda run: run.start))


def _with_more(run: Run, middle: int, skipped: int) -> Run:
    """Return a run with the inputs that are left out: more of them if it crosses the middle, or else further on."""
    columns = run.columns + np.where(run.columns >= middle, skipped, 0)
    if run.start >= middle:
        return replace(run, start=run.start + skipped, columns=columns)
    is_across = run.start + (run.count - 1) * run.step >= middle
    return replace(run, columns=columns, count=run.count + (skipped // run.step if is_across else 0))
