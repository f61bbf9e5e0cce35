"""Geometry and kernel to SciPy sparse arrays, in closed form: every array is allocated once and filled in place.

A row's entries lie side by side, and rows of one run are copies of its first at a constant shift. So
the arrays are written like a fractal: one row, then the rows of the last axis, then of the axis before
it; most of the work is adding a constant to a block that is already there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from convmtx.forms.layout import channel_leads, index_dtype, picked, strides
from convmtx.geometry import Geometry, Run, runs
from convmtx.taps import entries_of
from convmtx.typing import AnyArray, IntArray, Order

if TYPE_CHECKING:
    import scipy.sparse

_BLOCK = 1 << 12  # entries: rows shorter than this are doubled up before they are repeated
_CACHED = 1 << 14  # entries that a core keeps near while it copies them
_KEPT = 1 << 16  # entries up to which the pattern of a matrix is kept for the next of the same geometry
_THREADED = 1 << 24  # entries from which two arrays are filled at the same time

M = TypeVar("M")
#: Entries of the rows of one place, (F, entries of a row), for the runs chosen on each axis in geometry order.
Leaf = Callable[[tuple[Run, ...]], AnyArray]
#: An array to fill, its leaves, and by how much a leaf's entries grow from one input to the next on each axis.
Job = tuple[AnyArray, Leaf, tuple[int, ...]]


class Rows(NamedTuple):
    """The rows of a matrix in the order of the flattened output, and what each reads."""

    geometry: Geometry
    order: Order

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
        channel = (np.arange(g.out_channels) // per_f * per_c)[:, None] + np.arange(per_c)
        parts = [channel.reshape(g.out_channels, per_c, *(1 for _ in chosen)) * step.channel]
        for j, run in enumerate(chosen):
            parts.append(run.columns.reshape(-1, *(1 for _ in chosen[j + 1 :])) * step.spatial[j])
        return self.in_order(reduce(np.add, parts))

    def shifts(self) -> tuple[int, ...]:
        """Columns from one input to the next on each axis."""
        return strides(self.geometry, self.geometry.in_shape, self.order).spatial


def csr_arrays(geometry: Geometry, entries: AnyArray, order: Order) -> tuple[AnyArray, AnyArray, AnyArray]:
    """data, indices, indptr of the matrix of these entries (`entries_of`): sorted, no duplicates, zeros kept."""
    rows, nnz = Rows(geometry, order), geometry.nnz
    data = np.empty(nnz, entries.dtype)
    row_width = geometry.out_channels * geometry.channels_per_group[1]
    still = (0,) * len(geometry.axes)
    values: Job = (data, lambda chosen: rows.in_order(picked(entries, chosen)), still)
    if nnz <= _KEPT:
        _fill_all(rows, [values], row_width)
        indices, indptr = _small_pattern(rows)
        return data, indices.copy(), indptr.copy()
    indices = np.empty(nnz, index_dtype(nnz, *geometry.shape))
    _fill_all(rows, [values, _columns_into(rows, indices)], row_width)
    return data, indices, _indptr(rows, geometry.out_channels, geometry.channels_per_group[1], indices.dtype.type)


@lru_cache(maxsize=32)
def _small_pattern(rows: Rows) -> tuple[AnyArray, AnyArray]:
    """Column indices and row pointers, kept: of small matrices they take longer to find than the values."""
    geometry = rows.geometry
    per_c = geometry.channels_per_group[1]
    indices = np.empty(geometry.nnz, index_dtype(geometry.nnz, *geometry.shape))
    _fill_all(rows, [_columns_into(rows, indices)], geometry.out_channels * per_c)
    return indices, _indptr(rows, geometry.out_channels, per_c, indices.dtype.type)


def _columns_into(rows: Rows, indices: AnyArray) -> Job:
    """The job of filling column indices."""
    return indices, lambda chosen: rows.columns(chosen).astype(indices.dtype, copy=False), rows.shifts()


def bsr_arrays(geometry: Geometry, entries: AnyArray, order: Order) -> tuple[AnyArray, AnyArray, AnyArray]:
    """The same with the channel matrix of a group as one dense block; needs the channel as fastest axis."""
    per_f, per_c = geometry.channels_per_group
    groups = geometry.groups
    blocks = Geometry(geometry.axes, groups, groups, groups, geometry.layout, geometry.flip)
    rows = Rows(blocks, order)
    count = geometry.nnz // (per_f * per_c)
    dtype = index_dtype(geometry.nnz, *geometry.shape)
    data, indices = np.empty(geometry.nnz, entries.dtype), np.empty(count, dtype)
    axis_order = rows.axis_order

    def block_values(chosen: tuple[Run, ...]) -> AnyArray:
        values = picked(entries, chosen)
        values = values.reshape(groups, per_f, per_c, *values.shape[2:])
        return values.transpose(0, *(3 + a for a in axis_order), 1, 2).reshape(groups, -1)

    jobs: list[Job] = [
        (data, block_values, (0,) * len(geometry.axes)),
        (indices, lambda chosen: rows.columns(chosen).astype(dtype, copy=False), rows.shifts()),
    ]
    _fill_all(rows, jobs[:1], geometry.out_channels * per_c)
    _fill_all(rows, jobs[1:], groups)
    return data.reshape(count, per_f, per_c), indices, _indptr(rows, groups, 1, dtype)


def _fill_all(rows: Rows, jobs: list[Job], row_width: int) -> None:
    """Fill each array; large ones at once: touching new memory is what costs, and NumPy lets go of the GIL for it."""
    if sum(out.size for out, _, _ in jobs) < _THREADED or len(jobs) == 1:
        for job in jobs:
            _fill(rows, *job, row_width)
        return
    from concurrent.futures import ThreadPoolExecutor  # milliseconds of import that few calls need

    with ThreadPoolExecutor(len(jobs)) as pool:
        for future in [pool.submit(_fill, rows, *job, row_width) for job in jobs]:
            future.result()


def _fill(rows: Rows, out: AnyArray, leaf: Leaf, shifts: tuple[int, ...], row_width: int) -> None:
    """Write ``out``: with the channel slowest, all filters side by side; else filters inside the last axis."""
    lead = rows.geometry.out_channels if rows.channel_leads else 1
    _Filler(rows, leaf, shifts, row_width // lead).write(out.reshape(lead, -1), 0, {}, 1)


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


def _indptr(rows: Rows, filters: int, per_slot: int, dtype: type[Any]) -> AnyArray:
    """Row pointers.

    A row starts after the rows of earlier outputs of its slowest axis, which hold what that axis counts times
    all of the other axes, and as far into its own block as the other axes say.
    """
    axes = rows.geometry.axes
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
    return np.append(starts, starts.dtype.type(total))


def some_rows(
    geometry: Geometry, entries: AnyArray, order: Order, wanted: IntArray
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """data, indices, indptr of the rows ``wanted``, in that order: no other row is built."""
    rows = Rows(geometry, order)
    places, filters = _places(rows, wanted)
    run_of = [_run_of(runs(a), place) for a, place in zip(geometry.axes, places, strict=True)]
    kinds, kind_of = np.unique(np.stack(run_of, axis=1), axis=0, return_inverse=True)
    shifts = rows.shifts()
    leaves = [tuple(runs(a)[r] for a, r in zip(geometry.axes, kind, strict=True)) for kind in kinds]
    lengths = np.array([geometry.channels_per_group[1] * prod(r.columns.size for r in c) for c in leaves], np.int64)
    counts = lengths[kind_of]
    pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    dtype = index_dtype(int(pointers[-1]), wanted.size, geometry.shape[1])
    data, indices = np.empty(int(pointers[-1]), entries.dtype), np.empty(int(pointers[-1]), dtype)
    for k, chosen in enumerate(leaves):
        members = np.flatnonzero(kind_of == k)
        moved = np.zeros(members.size, np.int64)
        for j, run in enumerate(chosen):
            moved += (places[j][members] - run.start) // run.step * (run.shift * shifts[j])
        at = pointers[members][:, None] + np.arange(lengths[k])
        indices[at] = rows.columns(chosen)[filters[members]] + moved[:, None]
        data[at] = rows.in_order(picked(entries, chosen))[filters[members]]
    return data, indices, pointers.astype(dtype)


def _places(rows: Rows, wanted: IntArray) -> tuple[list[IntArray], IntArray]:
    """Output position along each spatial axis, and filter, of each row."""
    g = rows.geometry
    step = strides(g, g.out_shape, rows.order)
    places = [wanted // s % a.out for s, a in zip(step.spatial, g.axes, strict=True)]
    filters = wanted // step.channel % g.out_channels if step.channel else np.zeros_like(wanted)
    return places, filters


def _run_of(axis_runs: tuple[Run, ...], places: IntArray) -> IntArray:
    """Which run each place belongs to; O(runs x different places), whatever the length of the axis."""
    different, which = np.unique(places, return_inverse=True)
    owner = np.empty(different.size, np.int64)
    for j, run in enumerate(axis_runs):
        steps, rest = np.divmod(different - run.start, run.step)
        owner[(rest == 0) & (steps >= 0) & (steps < run.count)] = j
    return owner[which]


def csr(geometry: Geometry, kernel: AnyArray, order: Order) -> scipy.sparse.csr_array:
    """Rows, compressed."""
    from scipy.sparse import csr_array

    return _canonical(csr_array(csr_arrays(geometry, entries_of(geometry, kernel), order), shape=geometry.shape))


def csc(geometry: Geometry, kernel: AnyArray, order: Order) -> scipy.sparse.csc_array:
    """Closed form where the transpose is a convolution (its rows are these columns), else by SciPy's conversion."""
    from scipy.sparse import csc_array

    transposed = geometry.T
    if transposed is None:
        return _canonical(csr(geometry, kernel, order).tocsc())
    return _canonical(csc_array(csr_arrays(transposed, entries_of(transposed, kernel), order), shape=geometry.shape))


def coo(geometry: Geometry, kernel: AnyArray, order: Order) -> scipy.sparse.coo_array:
    """Coordinates, in row order."""
    from scipy.sparse import coo_array

    data, indices, pointers = csr_arrays(geometry, entries_of(geometry, kernel), order)
    row = np.repeat(np.arange(geometry.shape[0], dtype=indices.dtype), np.diff(pointers))
    matrix = coo_array((data, (row, indices)), shape=geometry.shape)
    matrix.has_canonical_format = True
    return matrix


def block_shape(geometry: Geometry, order: Order) -> tuple[int, int]:
    """The channel matrices (F/groups, C/groups) where channels flatten fastest, else single entries."""
    apart = channel_leads(geometry, order) and geometry.in_channels * geometry.out_channels > 1
    return (1, 1) if apart else geometry.channels_per_group


def bsr(geometry: Geometry, kernel: AnyArray, order: Order) -> scipy.sparse.bsr_array:
    """Blocks of `block_shape`."""
    from scipy.sparse import bsr_array

    if block_shape(geometry, order) == (1, 1):
        data, indices, pointers = csr_arrays(geometry, entries_of(geometry, kernel), order)
        data = data.reshape(-1, 1, 1)
    else:
        data, indices, pointers = bsr_arrays(geometry, entries_of(geometry, kernel), order)
    return _canonical(bsr_array((data, indices, pointers), shape=geometry.shape))


def dia_size(matrix: scipy.sparse.csr_array) -> int:
    """Bytes of the matrix by diagonals: each is stored from end to end."""
    _, met = _diagonals(matrix)
    return int(np.count_nonzero(met)) * (matrix.shape[1] * matrix.dtype.itemsize + matrix.indices.itemsize)


def dia(matrix: scipy.sparse.csr_array) -> scipy.sparse.dia_array:
    """The same matrix by diagonals; entry (i, j) stands in column j of the diagonal j - i."""
    from scipy.sparse import dia_array

    diagonal, met = _diagonals(matrix)
    offsets = np.flatnonzero(met) - matrix.shape[0]
    data = np.zeros((offsets.size, matrix.shape[1]), matrix.dtype)
    data[(np.cumsum(met) - 1)[diagonal], matrix.indices] = matrix.data
    return dia_array((data, offsets.astype(matrix.indices.dtype)), shape=matrix.shape)


def _diagonals(matrix: scipy.sparse.csr_array) -> tuple[IntArray, AnyArray]:
    """Number of each entry's diagonal, counted from the one below the last row; and which numbers are met."""
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    diagonal = matrix.indices - rows + matrix.shape[0]
    met = np.zeros(sum(matrix.shape), bool)
    met[diagonal] = True
    return diagonal, met


def _canonical(matrix: M) -> M:
    """Say what is true by construction, so that SciPy does not check it entry by entry."""
    for claim in ("has_sorted_indices", "has_canonical_format"):
        setattr(matrix, claim, True)
    return matrix
