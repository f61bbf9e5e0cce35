"""The first rows of all runs of a matrix, from which every other row is copied, and the copies to be done.

For example, 100 outputs of 3 taps under the zero boundary are 3 runs: the first output, the last, and all between. So
their first rows have 2 + 3 + 2 entries, and 300 - 2 entries are written in three copies and one repetition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from convmtx.forms.layout import index_dtype
from convmtx.forms.row_lookup import Digit, spread
from convmtx.forms.row_ranges import Rows
from convmtx.geometry import Layout, Lists, Run, sums
from convmtx.typing import AnyArray, IntArray

#: Largest number of entries of first rows that are gathered at once, and kept: 800 kB.
_MOST_ENTRIES = 1 << 16


class Repeat(NamedTuple):
    """Copies of the numbers from ``at`` on, ``times`` in all with themselves, ``stride`` apart."""

    at: int
    size: int
    stride: int
    times: int
    #: By how many places of this axis each copy moves its columns.
    shift: int
    axis: int


class Copy(NamedTuple):
    """First rows to copy to their place in the array, and what is repeated after that."""

    source: int
    at: int
    size: int
    repeats: tuple[Repeat, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FirstRows:
    """Entry numbers and columns of the first rows of all runs, a row for each leading channel, and the copies."""

    numbers: IntArray
    columns: AnyArray
    copies: tuple[Copy, ...]


@lru_cache(maxsize=16)
def first_rows(rows: Rows) -> FirstRows | None:
    """Return the first rows of all runs; None if they have too many entries to be gathered at once."""
    if rows.most_runs > _MOST_ENTRIES:  # so that runs are not listed where each place is a run of its own
        return None
    axis_runs = [rows.runs(j) for j in range(len(rows.geometry.axes))]
    if rows.width * prod(sum(run.columns.size for run in one) for one in axis_runs) > _MOST_ENTRIES:
        return None
    lead = len(rows.channels) if rows.channel_leads else 1
    digits, count = _digits(rows, axis_runs)
    zeros = np.zeros(count, np.int64)
    pieces = list(spread(digits, zeros, zeros)) or [(zeros, zeros)]
    columns, numbers = (np.concatenate(part).reshape(lead, -1) for part in zip(*pieces, strict=True))
    columns = columns.astype(index_dtype(rows.nnz, *rows.geometry.shape))
    copies = tuple(_joined(_copies(rows, 0, 0, 0, rows.width // lead))) if rows.nnz else ()
    return FirstRows(numbers, columns, copies)


def _digits(rows: Rows, axis_runs: list[tuple[Run, ...]]) -> tuple[tuple[Digit, ...], int]:
    """Return the lists of each axis of the columns, slowest first, for the first rows, and the number of these rows."""
    channel_step, steps = rows.column_steps()
    sizes = [axis.kernel + len(sums(axis)) for axis in rows.geometry.axes]
    order, channels = rows.axis_order, len(rows.channels)
    counts = [len(axis_runs[j]) for j in order]
    shape = (channels, *counts) if rows.channel_leads else (*counts, channels)
    which = np.unravel_index(np.arange(prod(shape)), shape)
    of_axes = which[1:] if rows.channel_leads else which[:-1]
    digits: dict[int, Digit] = {}
    for j, of_axis in zip(order, of_axes, strict=True):
        lengths = [run.columns.size for run in axis_runs[j]]
        places = np.concatenate([run.columns for run in axis_runs[j]]) * steps[j]
        numbers = np.concatenate([run.entries for run in axis_runs[j]]) * prod(sizes[j + 1 :])
        digits[j] = Digit(Lists(np.cumsum([0, *lengths]), places, numbers), of_axis)
    spatial = tuple(digits[j] for j in range(len(sizes)))
    if rows.geometry.layout is not Layout.PLAIN:
        listed = rows.column_channels()
        starts = np.arange(channels + 1) * listed.shape[1]
        lists = Lists(starts, listed.reshape(-1) * channel_step, np.arange(listed.size) * prod(sizes))
        spatial = rows.geometry.layout.join(Digit(lists, which[0 if rows.channel_leads else -1]), spatial)
    return spatial if rows.order == "C" else spatial[::-1], prod(shape)


def _copies(rows: Rows, level: int, source: int, at: int, unit: int) -> Iterator[Copy]:
    """Yield the copies that write the rows of all places of the axes from ``level`` on.

    ``unit`` is the number of entries for one slot of each of these axes. The first rows are taken from ``source`` on,
    and written from ``at`` on.
    """
    order = rows.axis_order
    axis, faster = order[level], order[level + 1 :]
    full = unit * prod(map(rows.entries, faster))
    first = unit * prod(sum(run.columns.size for run in rows.runs(a)) for a in faster)
    starts = starts_of(rows.runs(axis))
    for run in rows.runs(axis):
        begin, size = at + int(starts[run.start]) * full, run.columns.size * full
        repeats: tuple[Repeat, ...] = ()
        if run.count > 1 and size:
            stride = int(starts[run.start + run.step] - starts[run.start]) * full
            repeats = (Repeat(begin, size, stride, run.count, run.shift, axis),)
        if not faster:
            yield Copy(source, begin, size, repeats)
        elif size:
            *copies, last = _joined(_copies(rows, level + 1, source, begin, unit * run.columns.size))
            yield from copies
            yield last._replace(repeats=last.repeats + repeats)
        source += run.columns.size * first


def _joined(copies: Iterator[Copy]) -> Iterator[Copy]:
    """Yield copies in which those that follow each other at once are one.

    Its repetitions may come after the whole copy, as they write to places behind it alone.
    """
    joined = next(copies)
    for copy in copies:
        follows = joined.source + joined.size == copy.source and joined.at + joined.size == copy.at
        if follows:
            joined = Copy(joined.source, joined.at, joined.size + copy.size, joined.repeats + copy.repeats)
        else:
            yield joined
            joined = copy
    yield joined


@lru_cache(maxsize=512)
def starts_of(axis_runs: tuple[Run, ...]) -> IntArray:
    """Return the number of entries of one axis before each place, and their total at the end."""
    starts = np.zeros(sum(run.count for run in axis_runs) + 1, np.int64)
    for run in axis_runs:
        starts[1 + run.start : 1 + run.start + run.count * run.step : run.step] = run.columns.size
    return np.cumsum(starts, out=starts)
