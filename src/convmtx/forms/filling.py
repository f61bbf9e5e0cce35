"""Compressed rows of long ranges, in closed form: the arrays are allocated once and filled in place.

The entries of a row lie side by side, and the rows of one run are copies of its first row at a constant shift. So the
arrays are written like a fractal: one row, then the rows of the last axis, then of the axis before it. Most of the work
is to add a constant to a block that is already written.

If the first rows of all runs are few, as they nearly always are, `first_rows` keeps their pattern: then their values
are one gather.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Protocol

import numpy as np

from convmtx.forms.first_rows import FirstRows, first_rows, starts_of
from convmtx.forms.layout import index_dtype, pick
from convmtx.forms.row_ranges import Rows
from convmtx.geometry import Run
from convmtx.typing import AnyArray

#: Entries to which shorter rows are doubled before they are repeated: one call of NumPy then moves 32 KiB.
_BLOCK = 1 << 12
#: Entries that are copied many times in one go: 128 KiB, which stay in the cache of a core.
_CACHED = 1 << 14
#: Largest number of entries of rows whose columns are kept for the next matrix: 2 MiB, so that all of them take 16 MiB.
_KEPT = 1 << 19
#: Number of entries from which two arrays are filled by two threads.
_THREADED = 1 << 24

#: Function from rows to their different entries, (row channels, column channels of a group, entries1..entriesd).
Entries = Callable[[Rows], AnyArray]
#: The arrays of compressed rows: data, indices, indptr.
Arrays = tuple[AnyArray, AnyArray, AnyArray]


class Job(Protocol):
    """One array to fill: the data or the column indices of compressed rows."""

    out: AnyArray
    #: By how much the numbers grow from one place to the next on each axis: strides for columns, 0 for data.
    shifts: tuple[int, ...]
    #: Numbers of ``out`` for one slot of every axis, all channels of the rows together.
    width: int

    def gather(self, first: FirstRows) -> AnyArray:
        """Return the numbers of the first rows of all runs, a row for each leading channel."""

    def leaf(self, chosen: tuple[Run, ...]) -> AnyArray:
        """Return the numbers of the first rows of these runs of each axis, a row for each channel of the rows."""


class Data:
    """The values of compressed rows, or of rows of blocks.

    A block is the channel matrix of a group, (F/groups, C/groups). Then the rows are those of the map between groups,
    which has one channel for each group, and the entries are those of all filters of its groups.
    """

    def __init__(self, rows: Rows, entries: AnyArray, out: AnyArray, block: tuple[int, int]) -> None:
        self.rows, self.out = rows, out
        self.shifts = (0,) * len(rows.geometry.axes)
        self.width = rows.width * prod(block)
        if block != (1, 1):  # (groups, 1, entries..., block)
            entries = np.moveaxis(entries.reshape(-1, 1, *block, *entries.shape[2:]), (2, 3), (-2, -1))
        self.block = block if block != (1, 1) else ()
        self.entries = entries

    def gather(self, first: FirstRows) -> AnyArray:
        """Return the values of the first rows of all runs."""
        return self.entries.reshape(-1, *self.block).take(first.numbers, axis=0).reshape(len(first.numbers), -1)

    def leaf(self, chosen: tuple[Run, ...]) -> AnyArray:
        """Return the values of the first rows of these runs."""
        entries = pick(self.entries, chosen)
        if not self.block:
            return self.rows.in_order(entries)
        space = tuple(2 + a for a in self.rows.axis_order)
        return entries.transpose(0, 1, *space, -2, -1).reshape(entries.shape[0], -1)


class Columns:
    """The column indices of compressed rows."""

    def __init__(self, rows: Rows, out: AnyArray) -> None:
        self.rows, self.out, self.width = rows, out, rows.width
        self.shifts = rows.column_steps()[1]

    def gather(self, first: FirstRows) -> AnyArray:
        """Return the columns of the first rows of all runs."""
        return first.columns

    def leaf(self, chosen: tuple[Run, ...]) -> AnyArray:
        """Return the columns of the first rows of these runs."""
        return self.rows.columns(chosen).astype(self.out.dtype, copy=False)


def compressed_arrays(
    pieces: list[Rows],
    entries: Entries,
    dtype: np.dtype[Any],
    block: tuple[int, int] = (1, 1),
    index: type[np.int32] | type[np.int64] | None = None,
) -> Arrays:
    """Return data, indices, indptr of rows, one piece after another: sorted, without duplicates, with stored zeros.

    The arrays of all pieces are allocated once, and each piece is filled in its place. With ``block``, the rows are
    rows of blocks (`Data`), and data has shape (blocks, *block). ``index`` is the type of indices, by default the
    smallest. `libraries.coordinates` computes the same pattern as three arrays of the matrix's size, with functions
    that JAX can trace. This one is faster.
    """
    count = sum(rows.size for rows in pieces)
    nnz = sum(rows.nnz for rows in pieces)
    block_size = prod(block)
    columns = max((rows.n_columns for rows in pieces), default=0)
    index = index or index_dtype(nnz * block_size, count * block[0], columns * block[1])
    data = np.empty(nnz * block_size, dtype)
    indices = np.empty(nnz, index)
    indptr = np.zeros(count + 1, index)
    row, at = 0, 0
    for rows in pieces:
        stop = at + rows.nnz
        jobs: list[Job] = [Data(rows, entries(rows), data[at * block_size : stop * block_size], block)]
        if rows.nnz <= _KEPT:
            indices[at:stop], pointers = _small_pattern(rows)
        else:
            jobs.append(Columns(rows, indices[at:stop]))
            pointers = _indptr(rows)
        _fill_all(rows, jobs)
        np.add(pointers, at, out=indptr[row : row + rows.size + 1])
        row, at = row + rows.size, stop
    return data if block == (1, 1) else data.reshape(-1, *block), indices, indptr


def places_of(rows: Rows) -> tuple[AnyArray, AnyArray]:
    """Return column indices and row pointers in new arrays."""
    if rows.nnz <= _KEPT:
        indices, pointers = _small_pattern(rows)
        return indices.copy(), pointers.copy()
    indices = np.empty(rows.nnz, index_dtype(rows.nnz, *rows.geometry.shape))
    _fill(rows, Columns(rows, indices))
    return indices, _indptr(rows)


@lru_cache(maxsize=8)
def _small_pattern(rows: Rows) -> tuple[AnyArray, AnyArray]:
    """Return column indices and row pointers. They are cached: for small matrices they take as long as the data."""
    indices = np.empty(rows.nnz, index_dtype(rows.nnz, *rows.geometry.shape))
    _fill_all(rows, [Columns(rows, indices)])
    return indices, _indptr(rows)


def _fill_all(rows: Rows, jobs: list[Job]) -> None:
    """Fill each array; large ones in parallel, because the time goes into new memory and NumPy releases the GIL."""
    if sum(job.out.size for job in jobs) < _THREADED or len(jobs) == 1:
        for job in jobs:
            _fill(rows, job)
        return
    from concurrent.futures import ThreadPoolExecutor  # takes milliseconds to import, and few calls need it

    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(_fill, rows, job) for job in jobs]:
            future.result()


def _fill(rows: Rows, job: Job) -> None:
    """Fill one array.

    If the channel is the slowest axis, the rows of all channels are written side by side. Otherwise the channels are
    inside the last axis.
    """
    lead = len(rows.channels) if rows.channel_leads else 1
    out = job.out.reshape(lead, -1)
    first = first_rows(rows)
    if first is None:
        _Filler(rows, job, job.width // lead).write(out, 0, {}, 1)
        return
    unit = job.width // rows.width
    numbers = job.gather(first)
    for copy in first.copies:
        source, at, size = copy.source * unit, copy.at * unit, copy.size * unit
        out[:, at : at + size] = numbers[:, source : source + size]
        for repeat in copy.repeats:
            _repeat_run(
                out[:, repeat.at * unit :],
                repeat.size * unit,
                repeat.stride * unit,
                repeat.times,
                repeat.shift * job.shifts[repeat.axis],
            )


@dataclass(frozen=True, slots=True)
class _Filler:
    """Writer of one array, axis by axis, slowest first."""

    rows: Rows
    job: Job
    #: Numbers of one slot of every axis; all channels of the rows together if they are inside the last axis.
    unit: int

    def write(self, out: AnyArray, level: int, chosen: dict[int, Run], slots: int) -> None:
        """Write the rows of all places of the axes from ``level`` on, for the runs chosen on the slower axes.

        ``slots`` is the product of the numbers of columns of the chosen runs. For each run of this axis, the rows of
        its first place are written, and copied to its other places.
        """
        order = self.rows.axis_order
        if level == len(order):
            entries = self.job.leaf(tuple(chosen[j] for j in range(len(order))))
            np.copyto(out, entries.reshape(out.shape))
            return
        axis = order[level]
        # Numbers of all faster axes for one (output, input) pair of this axis.
        per_entry = self.unit * slots * prod(map(self.rows.entries, order[level + 1 :]))
        starts = starts_of(self.rows.runs(axis))
        for run in self.rows.runs(axis):
            if not run.columns.size:
                continue
            begin = int(starts[run.start]) * per_entry
            size = run.columns.size * per_entry
            self.write(out[:, begin : begin + size], level + 1, {**chosen, axis: run}, slots * run.columns.size)
            if run.count > 1:
                stride = int(starts[run.start + run.step] - starts[run.start]) * per_entry
                _repeat_run(out[:, begin:], size, stride, run.count, run.shift * self.job.shifts[axis])


def _repeat_run(out: AnyArray, size: int, stride: int, count: int, shift: int) -> None:
    """Copy the first ``size`` columns of ``out`` to every ``stride`` columns, ``shift`` more each time.

    The next place of a run follows at once (step 1), or behind places of other runs.
    """
    if stride == size:
        _repeat(out[:, : size * count], size, count, shift)
    else:
        _scatter(out, size, stride, count, shift)


def _scatter(out: AnyArray, size: int, stride: int, count: int, shift: int) -> None:
    """Copy the first ``size`` columns of ``out`` to every ``stride`` columns, ``shift`` more each time."""
    target = np.lib.stride_tricks.as_strided(
        out, (out.shape[0], count, size), (out.strides[0], stride * out.strides[1], out.strides[1])
    )[:, 1:]
    if shift:
        np.add(out[:, None, :size], np.arange(1, count, dtype=out.dtype)[:, None] * shift, out=target)
    else:
        np.copyto(target, out[:, None, :size])


def _move(block: AnyArray, shift: int, out: AnyArray) -> None:
    """Write a block, ``shift`` larger, to ``out``."""
    if shift:
        np.add(block, shift, out=out)
    else:
        np.copyto(out, block)


def _repeat(out: AnyArray, size: int, count: int, shift: int) -> None:
    """Copy the first ``size`` columns of ``out`` over the rest, ``count`` copies in all, ``shift`` more each time.

    A short block is doubled until it has `_BLOCK` columns. Then it is repeated as a whole, and what is left is a part
    of it: 10 copies of 1000 columns become 1, 2, 4, 8 copies and then 2 more.
    """
    done = 1
    while done < count and done * size < _BLOCK:
        more = min(done, count - done)
        _move(out[:, : more * size], done * shift, out[:, done * size : (done + more) * size])
        done += more
    block = out[:, : done * size]
    times, rest = divmod(count - done, done)
    if times:
        target = out[:, done * size : done * size * (times + 1)].reshape(out.shape[0], times, done * size)
        shifts = np.arange(1, times + 1, dtype=out.dtype)[:, None] * (done * shift)
        for at in range(0, done * size, _CACHED):  # a piece that is copied many times stays in the cache
            piece = slice(at, at + _CACHED)
            if shift:
                np.add(block[:, None, piece], shifts, out=target[:, :, piece])
            else:
                np.copyto(target[:, :, piece], block[:, None, piece])
    if rest:
        at = done * (times + 1)
        _move(out[:, : rest * size], at * shift, out[:, at * size :])


def _indptr(rows: Rows) -> AnyArray:
    """Return where each row starts, and the end of the last.

    The array is built from the fastest axis to the slowest. Let ``starts`` and ``total`` be those of the faster axes,
    for one pair of output and input of this axis. Place o of this axis has n_o entries, and b_o entries lie before
    it. So its rows start at ``b_o*total + n_o*starts``.
    """
    channels, per_channel = len(rows.channels), rows.per_group[1]
    dtype = index_dtype(rows.nnz, *rows.geometry.shape)
    starts: AnyArray = np.zeros(1, dtype)
    total = per_channel
    if not rows.channel_leads:
        starts, total = np.arange(channels, dtype=dtype) * per_channel, per_channel * channels
    for a in reversed(rows.axis_order):
        before = starts_of(rows.runs(a)).astype(dtype)
        row_starts = np.multiply.outer(np.diff(before), starts)
        row_starts += before[:-1, None] * total
        starts, total = row_starts.reshape(-1), total * int(before[-1])
    if rows.channel_leads:
        starts = np.add.outer(np.arange(channels, dtype=dtype) * total, starts).reshape(-1)
        total *= channels
    return np.append(starts, np.array(total, starts.dtype))
