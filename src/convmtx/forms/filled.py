"""Geometry and entries to the arrays of compressed rows, in closed form: allocated once and filled in place.

A row's entries lie side by side, and rows of one run are copies of its first at a constant shift. So
the arrays are written like a fractal: one row, then the rows of the last axis, then of the axis before
it; most of the work is adding a constant to a block that is already there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import prod
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from convmtx.forms.boxes import boxes
from convmtx.forms.layout import channel_leads, index_dtype, picked, strides
from convmtx.geometry import Geometry, Run, runs
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers

_BLOCK = 1 << 12  # entries: rows shorter than this are doubled up before they are repeated
_CACHED = 1 << 14  # entries that a core keeps near while it copies them
_KEPT = 1 << 16  # entries up to which the pattern of a matrix is kept for the next of the same geometry
_THREADED = 1 << 24  # entries from which two arrays are filled at the same time

#: Entries of the rows of one place, (F, entries of a row), for the runs chosen on each axis in geometry order.
Leaf = Callable[[tuple[Run, ...]], AnyArray]
#: Entries of some rows, (filters, C/groups, entries1..entriesd).
Entries = Callable[["Rows"], AnyArray]
#: data, indices, indptr.
Arrays = tuple[AnyArray, AnyArray, AnyArray]


class Job(NamedTuple):
    """An array to fill, its leaves, by how much these grow from one input to the next on each axis, and their width."""

    out: AnyArray
    leaf: Leaf
    shifts: tuple[int, ...]
    #: Numbers of ``out`` for one slot of every axis, all filters together.
    width: int


class Rows(NamedTuple):
    """Rows of a matrix, of all outputs and some filters, in the order of the flattened output, and what each reads."""

    geometry: Geometry
    order: Order
    filters: range

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.filters) * prod(a.out for a in self.geometry.axes)

    @property
    def width(self) -> int:
        """Stored entries of each combination of an output and an input of every axis."""
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
        """(F, C/groups, slots1..slotsd) as one row for each filter, entries by ascending column."""
        space = tuple(2 + a for a in self.axis_order)
        axes = (0, 1, *space) if self.channel_leads else (0, *space, 1)
        return entries.transpose(axes).reshape(entries.shape[0], prod(entries.shape[1:]))

    def columns(self, chosen: tuple[Run, ...]) -> IntArray:
        """Column of each entry of these runs' first rows."""
        g = self.geometry
        step = strides(g, g.in_shape, self.order)
        per_f, per_c = g.channels_per_group
        channel = (np.array(self.filters) // per_f * per_c)[:, None] + np.arange(per_c)
        parts = [channel.reshape(len(self.filters), per_c, *(1 for _ in chosen)) * step.channel]
        for j, run in enumerate(chosen):
            parts.append(run.columns.reshape(-1, *(1 for _ in chosen[j + 1 :])) * step.spatial[j])
        return self.in_order(reduce(np.add, parts))

    def shifts(self) -> tuple[int, ...]:
        """Columns from one input to the next on each axis."""
        return strides(self.geometry, self.geometry.in_shape, self.order).spatial


def cut_rows(geometry: Geometry, order: Order, wanted: range | None) -> list[Rows]:
    """Cut a range of rows that `can_cut`, or all of them, into few pieces, one after another."""
    if wanted is None:
        return [Rows(geometry, order, range(geometry.out_channels))]
    digits, sizes = geometry.layout.join(None, tuple(range(len(geometry.axes)))), geometry.out_shape
    if order == "F":
        digits, sizes = digits[::-1], sizes[::-1]
    pieces = []
    for box in boxes(sizes, wanted) or ():
        along = dict(zip(digits, box, strict=True))
        outputs = tuple(along[j] for j in range(len(geometry.axes)))
        pieces.append(Rows(geometry.restricted(outputs), order, along.get(None, range(1))))
    return pieces


def can_cut(wanted: RowNumbers | None, geometry: Geometry, order: Order) -> TypeGuard[range | None]:
    """Whether rows are few pieces: in ascending order, by a step that does not go across axes unevenly."""
    if wanted is None:
        return True
    sizes = geometry.out_shape if order == "C" else geometry.out_shape[::-1]
    return isinstance(wanted, range) and wanted.step > 0 and boxes(sizes, wanted) is not None


def csr_arrays(pieces: list[Rows], entries: Entries, dtype: np.dtype[Any]) -> Arrays:
    """Return data, indices, indptr of rows, one piece after another: sorted, no duplicates, zeros kept."""

    def values(rows: Rows) -> Leaf:
        own = entries(rows)
        return lambda chosen: rows.in_order(picked(own, chosen))

    return _compressed(pieces, values, dtype)


def bsr_arrays(pieces: list[Rows], entries: Entries, dtype: np.dtype[Any], block: tuple[int, int]) -> Arrays:
    """Return the same for rows of `in_blocks`: the channel matrix of a group, of this shape, is one dense block.

    The channel must be the fastest axis. The entries of a piece are those of all filters of its groups.
    """

    def values(rows: Rows) -> Leaf:
        own = entries(rows)
        axes = (0, *(3 + a for a in rows.axis_order), 1, 2)

        def leaf(chosen: tuple[Run, ...]) -> AnyArray:
            blocks = picked(own, chosen)
            return blocks.reshape(-1, *block, *blocks.shape[2:]).transpose(axes).reshape(len(rows.filters), -1)

        return leaf

    data, indices, indptr = _compressed(pieces, values, dtype, block)
    return data.reshape(-1, *block), indices, indptr


def _compressed(
    pieces: list[Rows], values: Callable[[Rows], Leaf], dtype: np.dtype[Any], block: tuple[int, int] = (1, 1)
) -> Arrays:
    """Allocate the arrays of all pieces once, and fill each piece in its place."""
    count, nnz, each = sum(rows.size for rows in pieces), sum(rows.nnz for rows in pieces), prod(block)
    columns = max((rows.geometry.shape[1] for rows in pieces), default=0)
    index = index_dtype(nnz * each, count * block[0], columns * block[1])
    data, indices, indptr = np.empty(nnz * each, dtype), np.empty(nnz, index), np.zeros(count + 1, index)
    row, at = 0, 0
    for rows in pieces:
        stop = at + rows.nnz
        jobs = [Job(data[at * each : stop * each], values(rows), (0,) * len(rows.geometry.axes), rows.width * each)]
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
    """Column indices and row pointers, kept: of small matrices they take longer to find than the values."""
    indices = np.empty(rows.nnz, index_dtype(rows.nnz, *rows.geometry.shape))
    _fill_all(rows, [_columns_into(rows, indices)])
    return indices, _indptr(rows)


def _columns_into(rows: Rows, indices: AnyArray) -> Job:
    """The job of filling column indices."""
    leaf = lambda chosen: rows.columns(chosen).astype(indices.dtype, copy=False)  # noqa: E731
    return Job(indices, leaf, rows.shifts(), rows.width)


def _fill_all(rows: Rows, jobs: list[Job]) -> None:
    """Fill each array; large ones at once: touching new memory is what costs, and NumPy lets go of the GIL for it."""
    if sum(job.out.size for job in jobs) < _THREADED or len(jobs) == 1:
        for job in jobs:
            _fill(rows, job)
        return
    from concurrent.futures import ThreadPoolExecutor  # milliseconds of import that few calls need

    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(_fill, rows, job) for job in jobs]:
            future.result()


def _fill(rows: Rows, job: Job) -> None:
    """Fill one array: with the channel slowest, all filters side by side; else filters inside the last axis."""
    lead = len(rows.filters) if rows.channel_leads else 1
    _Filler(rows, job.leaf, job.shifts, job.width // lead).write(job.out.reshape(lead, -1), 0, {}, 1)


@dataclass(frozen=True, slots=True)
class _Filler:
    rows: Rows
    leaf: Leaf
    shifts: tuple[int, ...]
    unit: int  # entries that one slot of every axis stands for, filters included where they are inside

    def write(self, out: AnyArray, level: int, chosen: dict[int, Run], slots: int) -> None:
        """The rows of all outputs of the axes from ``level`` on, for the runs chosen on the slower ones."""
        order = self.rows.axis_order
        if level == len(order):
            entries = self.leaf(tuple(chosen[j] for j in range(len(order))))
            np.copyto(out, entries.reshape(out.shape))
            return
        axis = order[level]
        axes = self.rows.geometry.axes
        below = self.unit * slots * prod(axes[a].entries for a in order[level + 1 :])
        starts = _starts(runs(axes[axis]))
        for run in runs(axes[axis]):
            if not run.columns.size:
                continue
            begin, size = int(starts[run.start]) * below, run.columns.size * below
            stride = int(starts[run.start + run.step] - starts[run.start]) * below if run.count > 1 else size
            self.write(out[:, begin : begin + size], level + 1, {**chosen, axis: run}, slots * run.columns.size)
            shift = run.shift * self.shifts[axis]
            if stride == size:
                _repeat(out[:, begin : begin + size * run.count], size, run.count, shift)
            else:
                _scatter(out[:, begin:], size, stride, run.count, shift)


@lru_cache(maxsize=512)
def _starts(axis_runs: tuple[Run, ...]) -> IntArray:
    """Entries of one axis before each output, and their total at the end."""
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
    if shift:
        np.add(block, shift, out=out)
    else:
        np.copyto(out, block)


def _repeat(out: AnyArray, size: int, count: int, shift: int) -> None:
    """Copy the first ``size`` columns of ``out`` over the rest, ``shift`` more each time; short ones double first."""
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
        for at in range(0, done * size, _CACHED):  # what is copied many times stays in the cache
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

    A row starts after the rows of earlier outputs of its slowest axis, which hold what that axis counts times
    all of the other axes, and as far into its own block as the other axes say.
    """
    axes, filters, per_slot = rows.geometry.axes, len(rows.filters), rows.geometry.channels_per_group[1]
    dtype = index_dtype(rows.nnz, *rows.geometry.shape)
    starts = np.zeros(1, dtype) if rows.channel_leads else np.arange(filters, dtype=dtype) * per_slot
    total = per_slot * (1 if rows.channel_leads else filters)
    for a in reversed(rows.axis_order):
        before = _starts(runs(axes[a])).astype(dtype)
        inner = np.multiply.outer(np.diff(before), starts)
        inner += before[:-1, None] * total
        starts, total = inner.reshape(-1), total * int(before[-1])
    if rows.channel_leads:
        starts = np.add.outer(np.arange(filters, dtype=dtype) * total, starts).reshape(-1)
        total *= filters
    return np.append(starts, np.array(total, starts.dtype))
