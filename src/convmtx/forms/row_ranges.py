"""Compressed rows of long ranges, in closed form: the arrays are allocated once and filled in place.

The entries of a row lie side by side, and the rows of one run are copies of its first row at a constant shift. So the
arrays are written like a fractal: one row, then the rows of the last axis, then of the axis before it. Most of the work
is to add a constant to a block that is already written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import prod
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from convmtx.forms.boxes import boxes
from convmtx.forms.layout import channel_leads, index_dtype, pick, strides
from convmtx.geometry import Geometry, Run, runs
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers

#: Entries to which shorter rows are doubled before they are repeated: one call of NumPy then moves 32 KiB.
_BLOCK = 1 << 12
#: Entries that are copied many times in one go: 128 KiB, which stay in the cache of a core.
_CACHED = 1 << 14
#: Largest number of entries of a matrix whose pattern is kept for the next matrix of the same geometry.
_KEPT = 1 << 16
#: Number of entries from which two arrays are filled by two threads.
_THREADED = 1 << 24

#: Function from a run of each axis, in geometry order, to the entries of their first rows, (F, entries of a row).
Leaf = Callable[[tuple[Run, ...]], AnyArray]
#: Function from rows to their different entries, (filters, C/groups, entries1..entriesd).
Entries = Callable[["Rows"], AnyArray]
#: The arrays of compressed rows: data, indices, indptr.
Arrays = tuple[AnyArray, AnyArray, AnyArray]


class Job(NamedTuple):
    """One array to fill: the data or the column indices of compressed rows."""

    out: AnyArray
    leaf: Leaf
    #: By how much the numbers grow from one input to the next on each axis: strides for columns, 0 for data.
    shifts: tuple[int, ...]
    #: Numbers of ``out`` for one slot of every axis, all filters together.
    width: int


class Rows(NamedTuple):
    """Rows of a matrix: all outputs of a geometry and a range of its filters, in the order of the flattened output."""

    geometry: Geometry
    order: Order
    filters: range

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.filters) * prod(a.out for a in self.geometry.axes)

    @property
    def width(self) -> int:
        """Number of stored entries for one output and one input of every axis."""
        return len(self.filters) * self.geometry.channels_per_group[1]

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.width * prod(a.entries for a in self.geometry.axes)

    @property
    def axis_order(self) -> tuple[int, ...]:
        """Spatial axes, slowest first."""
        d = len(self.geometry.axes)
        return tuple(range(d)) if self.order == "C" else tuple(reversed(range(d)))

    @property
    def channel_leads(self) -> bool:
        """Whether the rows of one filter lie together."""
        return channel_leads(self.geometry, self.order)

    def in_order(self, entries: AnyArray) -> AnyArray:
        """Return entries (F, C/groups, slots1..slotsd) as one row for each filter, by ascending column."""
        space = tuple(2 + a for a in self.axis_order)
        axes = (0, 1, *space) if self.channel_leads else (0, *space, 1)
        return entries.transpose(axes).reshape(entries.shape[0], prod(entries.shape[1:]))

    def columns(self, chosen: tuple[Run, ...]) -> IntArray:
        """Return the column of each entry in the first rows of these runs, one row for each filter."""
        g = self.geometry
        step = strides(g, g.in_shape, self.order)
        per_f, per_c = g.channels_per_group
        channel = (np.array(self.filters) // per_f * per_c)[:, None] + np.arange(per_c)
        parts = [channel.reshape(len(self.filters), per_c, *(1 for _ in chosen)) * step.channel]
        for j, run in enumerate(chosen):
            parts.append(run.columns.reshape(-1, *(1 for _ in chosen[j + 1 :])) * step.spatial[j])
        return self.in_order(reduce(np.add, parts))

    def shifts(self) -> tuple[int, ...]:
        """Return the number of columns from one input to the next on each axis."""
        return strides(self.geometry, self.geometry.in_shape, self.order).spatial


def cut_rows(geometry: Geometry, order: Order, wanted: range | None) -> list[Rows]:
    """Cut all rows, or a range of rows for which `can_cut` is True, into a few pieces, one after another."""
    if wanted is None:
        return [Rows(geometry, order, range(geometry.out_channels))]
    digits, sizes = geometry.layout.join(None, tuple(range(len(geometry.axes)))), geometry.out_shape
    if order == "F":
        digits, sizes = digits[::-1], sizes[::-1]
    pieces = []
    for box in boxes(sizes, wanted) or ():
        ranges = dict(zip(digits, box, strict=True))
        outputs = tuple(ranges[j] for j in range(len(geometry.axes)))
        filters = ranges.get(None, range(1))  # None is the digit of the channel
        pieces.append(Rows(geometry.restricted(outputs), order, filters))
    return pieces


def can_cut(wanted: RowNumbers | None, geometry: Geometry, order: Order) -> TypeGuard[range | None]:
    """Whether rows are a few pieces: all rows, or ascending ones whose step does not cross axes unevenly."""
    if wanted is None:
        return True
    sizes = geometry.out_shape if order == "C" else geometry.out_shape[::-1]
    return isinstance(wanted, range) and wanted.step > 0 and boxes(sizes, wanted) is not None


def csr_arrays(pieces: list[Rows], entries: Entries, dtype: np.dtype[Any]) -> Arrays:
    """Return data, indices, indptr of rows, one piece after another: sorted, without duplicates, with stored zeros.

    `libraries.coordinates` computes the same pattern as three arrays of the matrix's size, with functions that JAX can
    trace. This one fills in place, in NumPy, and is faster.
    """

    def values(rows: Rows) -> Leaf:
        all_entries = entries(rows)
        return lambda chosen: rows.in_order(pick(all_entries, chosen))

    return _compressed(pieces, values, dtype)


def bsr_arrays(pieces: list[Rows], entries: Entries, dtype: np.dtype[Any], block: tuple[int, int]) -> Arrays:
    """Return data, indices, indptr of rows of blocks: the channel matrix of a group, (F/groups, C/groups), is a block.

    The pieces are rows of the map between groups, which has one channel for each group, and the channel must be its
    fastest axis. The entries of a piece are those of all filters of its groups.
    """

    def values(rows: Rows) -> Leaf:
        all_entries = entries(rows)
        axes = (0, *(3 + a for a in rows.axis_order), 1, 2)

        def leaf(chosen: tuple[Run, ...]) -> AnyArray:
            # (F, C/groups, slots...) to (groups, F/groups, C/groups, slots...) to (groups, slots..., block).
            blocks = pick(all_entries, chosen)
            blocks = blocks.reshape(-1, *block, *blocks.shape[2:]).transpose(axes)
            return blocks.reshape(len(rows.filters), -1)

        return leaf

    data, indices, indptr = _compressed(pieces, values, dtype, block)
    return data.reshape(-1, *block), indices, indptr


def _compressed(
    pieces: list[Rows], values: Callable[[Rows], Leaf], dtype: np.dtype[Any], block: tuple[int, int] = (1, 1)
) -> Arrays:
    """Allocate the arrays of all pieces once, and fill each piece in its place."""
    count = sum(rows.size for rows in pieces)
    nnz = sum(rows.nnz for rows in pieces)
    block_size = prod(block)
    columns = max((rows.geometry.shape[1] for rows in pieces), default=0)
    index = index_dtype(nnz * block_size, count * block[0], columns * block[1])
    data = np.empty(nnz * block_size, dtype)
    indices = np.empty(nnz, index)
    indptr = np.zeros(count + 1, index)
    row, at = 0, 0
    for rows in pieces:
        stop = at + rows.nnz
        piece_data = data[at * block_size : stop * block_size]
        jobs = [Job(piece_data, values(rows), (0,) * len(rows.geometry.axes), rows.width * block_size)]
        if rows.nnz <= _KEPT:
            indices[at:stop], pointers = _small_pattern(rows)
        else:
            jobs.append(_columns_into(rows, indices[at:stop]))
            pointers = _indptr(rows)
        _fill_all(rows, jobs)
        np.add(pointers, at, out=indptr[row : row + rows.size + 1])
        row, at = row + rows.size, stop
    return data, indices, indptr


@lru_cache(maxsize=32)
def _small_pattern(rows: Rows) -> tuple[AnyArray, AnyArray]:
    """Return column indices and row pointers. They are cached: for small matrices they take longer than the data."""
    indices = np.empty(rows.nnz, index_dtype(rows.nnz, *rows.geometry.shape))
    _fill_all(rows, [_columns_into(rows, indices)])
    return indices, _indptr(rows)


def _columns_into(rows: Rows, indices: AnyArray) -> Job:
    """Return the job that fills column indices."""

    def leaf(chosen: tuple[Run, ...]) -> AnyArray:
        return rows.columns(chosen).astype(indices.dtype, copy=False)

    return Job(indices, leaf, rows.shifts(), rows.width)


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

    If the channel is the slowest axis, the rows of all filters are written side by side. Otherwise the filters are
    inside the last axis.
    """
    lead = len(rows.filters) if rows.channel_leads else 1
    filler = _Filler(rows, job.leaf, job.shifts, job.width // lead)
    filler.write(job.out.reshape(lead, -1), 0, {}, 1)


@dataclass(frozen=True, slots=True)
class _Filler:
    """Writer of one array, axis by axis, slowest first."""

    rows: Rows
    leaf: Leaf
    shifts: tuple[int, ...]
    #: Numbers of one slot of every axis; all filters together if they are inside the last axis.
    unit: int

    def write(self, out: AnyArray, level: int, chosen: dict[int, Run], slots: int) -> None:
        """Write the rows of all outputs of the axes from ``level`` on, for the runs chosen on the slower axes.

        ``slots`` is the product of the numbers of columns of the chosen runs. For each run of this axis, the rows of
        its first output are written, and copied to its other outputs.
        """
        order = self.rows.axis_order
        if level == len(order):
            entries = self.leaf(tuple(chosen[j] for j in range(len(order))))
            np.copyto(out, entries.reshape(out.shape))
            return
        axis = order[level]
        axes = self.rows.geometry.axes
        # Numbers of all faster axes for one (output, input) pair of this axis.
        per_entry = self.unit * slots * prod(axes[a].entries for a in order[level + 1 :])
        starts = _starts(runs(axes[axis]))
        for run in runs(axes[axis]):
            if not run.columns.size:
                continue
            begin = int(starts[run.start]) * per_entry
            size = run.columns.size * per_entry
            self.write(out[:, begin : begin + size], level + 1, {**chosen, axis: run}, slots * run.columns.size)
            # The next output of the run follows at once (step 1), or behind outputs of other runs.
            stride = size
            if run.count > 1:
                stride = int(starts[run.start + run.step] - starts[run.start]) * per_entry
            shift = run.shift * self.shifts[axis]
            if stride == size:
                _repeat(out[:, begin : begin + size * run.count], size, run.count, shift)
            else:
                _scatter(out[:, begin:], size, stride, run.count, shift)


@lru_cache(maxsize=512)
def _starts(axis_runs: tuple[Run, ...]) -> IntArray:
    """Return the number of entries of one axis before each output, and their total at the end."""
    starts = np.zeros(sum(run.count for run in axis_runs) + 1, np.int64)
    for run in axis_runs:
        starts[1 + run.start : 1 + run.start + run.count * run.step : run.step] = run.columns.size
    return np.cumsum(starts, out=starts)


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
    for one pair of output and input of this axis. Output o of this axis has n_o entries, and b_o entries lie before
    it. So its rows start at ``b_o*total + n_o*starts``.
    """
    axes = rows.geometry.axes
    filters = len(rows.filters)
    per_filter = rows.geometry.channels_per_group[1]
    dtype = index_dtype(rows.nnz, *rows.geometry.shape)
    starts: AnyArray = np.zeros(1, dtype)
    total = per_filter
    if not rows.channel_leads:
        starts, total = np.arange(filters, dtype=dtype) * per_filter, per_filter * filters
    for a in reversed(rows.axis_order):
        before = _starts(runs(axes[a])).astype(dtype)
        row_starts = np.multiply.outer(np.diff(before), starts)
        row_starts += before[:-1, None] * total
        starts, total = row_starts.reshape(-1), total * int(before[-1])
    if rows.channel_leads:
        starts = np.add.outer(np.arange(filters, dtype=dtype) * total, starts).reshape(-1)
        total *= filters
    return np.append(starts, np.array(total, starts.dtype))
