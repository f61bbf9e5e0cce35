"""Offsets of rows in compressed arrays, in closed form: no array of the map's size.

A row is a digit for each axis. Of the entries before it, those with a smaller slowest digit are counted by that axis
alone, times all entries of the others. Those with the same one are counted by the next axis, and so on.

For example, 3 taps on a 4 x 5 image under zeros have 2 3 3 2 entries along the first axis, and 13 along the second.
So output (1, 0) stands behind 2 * 13 entries, and output (1, 2) behind 2 * 13 + 3 * (2 + 3).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.forms.row_ranges import cut_rows
from convmtx.geometry import Axis, Geometry, reader_runs, runs
from convmtx.typing import AnyArray, IntArray, Order


def entries_before(geometry: Geometry, order: Order, rows: Any, transposed: bool = False) -> AnyArray:
    """Return how many stored entries of the matrix, or of its transpose, stand before each of these rows.

    Law: for rows 0 to M it is ``indptr`` of the sparse matrix, M rows; row M stands behind all entries.

    ``rows`` are integers of any shape. The numbers are of 64 bits, or Python's if there are more entries than those can
    count. Takes O(log runs) for a row and an axis.
    """
    digits = _digits(geometry, order, transposed)
    numbers = _wide(rows, digits)
    before, same = np.zeros_like(numbers), np.ones_like(numbers)
    for at, digit in enumerate(digits):
        behind = digits[at + 1 :]
        place = _small(numbers // prod(other.size for other in behind))
        if at:
            place = place % digit.size
        starts = digit.before(place)
        before = before + same * starts * prod(other.total for other in behind)
        same = same * (digit.before(np.minimum(place + 1, digit.size)) - starts)
    return before


def rows_of_entries(geometry: Geometry, order: Order, numbers: Any, transposed: bool = False) -> AnyArray:
    """Return the row of the matrix, or of its transpose, that holds each of these entries of compressed rows.

    It is the last row with ``entries_before(...) <= number``, so rows without entries are passed over. ``numbers`` are
    integers of any shape, from 0 to before ``geometry.nnz``. Takes O(log runs) for an entry and an axis.
    """
    digits = _digits(geometry, order, transposed)
    left = _wide(numbers, digits)
    row, same = np.zeros_like(left), np.ones_like(left)
    for at, digit in enumerate(digits):
        unit = same * prod(other.total for other in digits[at + 1 :])
        place = digit.holding(_small(left // unit))
        starts = digit.before(place)
        left = left - starts * unit
        same = same * (digit.before(place + 1) - starts)
        row = row * digit.size + place
    return row


class Counts(NamedTuple):
    """Number of entries of each place of an axis, as stretches in which they repeat.

    A stretch begins at place ``begins[m]``, and its numbers of entries repeat after ``turns[m]`` places. Its first turn
    is entries ``firsts[m]`` to before ``firsts[m + 1]`` of ``heads``, which counts the entries of all first turns.
    """

    size: int
    total: int
    begins: IntArray
    turns: IntArray
    firsts: IntArray
    heads: IntArray
    #: Number of entries before each stretch.
    starts: IntArray

    def before(self, places: IntArray) -> IntArray:
        """Return the number of entries before each place, from 0 to ``size``."""
        m = np.searchsorted(self.begins, places, "right") - 1
        rounds, rest = np.divmod(places - self.begins[m], self.turns[m])
        first = self.firsts[m]
        of_round = self.heads[self.firsts[m + 1]] - self.heads[first]
        # Places behind the last of a stretch are in the next one, but for place `size`, which may end a turn.
        return np.asarray(self.starts[m] + rounds * of_round + self.heads[first + rest] - self.heads[first], np.int64)

    def holding(self, entries: IntArray) -> IntArray:
        """Return the place that holds each entry, from 0 to before ``total``."""
        m = np.searchsorted(self.starts, entries, "right") - 1
        first = self.firsts[m]
        of_round = self.heads[self.firsts[m + 1]] - self.heads[first]
        rounds, rest = np.divmod(entries - self.starts[m], of_round)
        at = np.searchsorted(self.heads, self.heads[first] + rest, "right") - 1
        return np.asarray(self.begins[m] + rounds * self.turns[m] + at - first, np.int64)


def _digits(geometry: Geometry, order: Order, transposed: bool) -> list[Counts]:
    """Return the numbers of entries of each digit of a row, slowest first; the channel is a digit too."""
    (rows,) = cut_rows(geometry, order, None, transposed)
    channel = _equal(len(rows.channels), rows.per_group[1])
    spatial = [_counts(geometry.axes[j], transposed) for j in rows.axis_order]
    return [channel, *spatial] if rows.channel_leads else [*spatial, channel]


def _equal(size: int, entries: int) -> Counts:
    """Return the counts of a digit of which each value has the same number of entries."""
    zero, one = np.zeros(1, np.int64), np.ones(1, np.int64)
    return Counts(size, size * entries, zero, one, np.array([0, 1]), np.array([0, entries]), zero)


@lru_cache(maxsize=64)
def _counts(axis: Axis, transposed: bool) -> Counts:
    """Return the numbers of entries of the outputs of an axis, or of its inputs.

    Runs of one step that begin side by side are one stretch, which repeats after as many places as the step.
    """
    of_axis = sorted(reader_runs(axis) if transposed else runs(axis), key=lambda run: run.start)
    firsts: list[int] = []
    for number, run in enumerate(of_axis):
        follows = bool(firsts) and run.step == of_axis[firsts[-1]].step and number - firsts[-1] < run.step
        if not (follows and run.start == of_axis[firsts[-1]].start + number - firsts[-1]):
            firsts.append(number)
    heads = np.cumsum([0, *(run.columns.size for run in of_axis)])
    entries = [run.count * run.columns.size for run in of_axis]
    firsts.append(len(of_axis))
    stretches = list(pairwise(firsts))
    starts = np.cumsum([0, *(sum(entries[a:b]) for a, b in stretches)])
    return Counts(
        axis.size if transposed else axis.out,
        int(starts[-1]),
        np.array([of_axis[a].start for a, _ in stretches]),
        np.array([of_axis[a].step for a, _ in stretches]),
        np.array(firsts),
        heads,
        starts[:-1],
    )


def _wide(numbers: Any, digits: list[Counts]) -> AnyArray:
    """Return integers in 64 bits, or as Python's if those cannot count all entries."""
    largest = prod(max(digit.size, digit.total) for digit in digits)
    return np.asarray(numbers, np.int64 if largest <= np.iinfo(np.int64).max else object)


def _small(numbers: AnyArray) -> IntArray:
    """Return numbers of one axis in 64 bits."""
    return np.asarray(numbers, np.int64)
