"""Compressed rows whose values vary from row to row: every row has its own entries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from convmtx.forms.filling import places_of
from convmtx.forms.first_rows import starts_of
from convmtx.forms.row_ranges import Rows, cut_rows
from convmtx.forms.sizes import require_stored
from convmtx.forms.sparse import canonical
from convmtx.geometry import Geometry, Run
from convmtx.typing import AnyArray, IntArray, Order

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def varying_rows(
    geometry: Geometry, entries: AnyArray, order: Order, transposed: bool = False, by_row: bool = True
) -> csr_array:
    """Return the matrix, or its transpose, of which each row, or else each column, has its own entries.

    ``entries`` are (n1..nd, row channels, channels of a group, e1..ed), for the places n1..nd of rows or of columns.
    They stand in the places of a convolution, and are copied run by run: the rows of a run along each axis are equally
    far apart and equally long, so each combination of runs is one strided copy.
    """
    from scipy.sparse import csr_array

    (rows,) = cut_rows(geometry, order, None, transposed)
    require_stored("csr", rows.nnz, (rows.size, rows.n_columns), entries.dtype)
    data = np.empty(rows.nnz, entries.dtype)
    out = data.reshape(len(rows.channels) if rows.channel_leads else 1, -1)
    for chosen in product(*(rows.runs(axis) for axis in range(len(geometry.axes)))):
        if out.size and all(run.columns.size for run in chosen):
            _copy(rows, _chosen(entries, chosen, by_row), chosen, out)
    return canonical(csr_array((data, *places_of(rows)), shape=(rows.size, rows.n_columns)))


def _chosen(entries: AnyArray, chosen: Sequence[Run], by_row: bool) -> AnyArray:
    """Return the entries in the rows of these runs, a run of each axis: (count1..countd, ..., slots1..slotsd)."""
    d = len(chosen)
    for axis, run in enumerate(chosen):
        slots = d + 2 + axis
        if by_row:
            rows = slice(run.start, run.start + run.step * run.count, run.step)
            entries = _taken(entries[(slice(None),) * axis + (rows,)], run.entries, slots)
        else:
            entries = _by_column(entries, run, axis, slots)
    return entries


def _taken(entries: AnyArray, numbers: IntArray, axis: int) -> AnyArray:
    """Return the entries with these numbers along an axis; a view if the numbers follow each other."""
    if _step(numbers) == 1:
        return entries[(slice(None),) * axis + (slice(int(numbers[0]), int(numbers[-1]) + 1),)]
    return entries.take(numbers, axis)


def _by_column(entries: AnyArray, run: Run, axis: int, slots: int) -> AnyArray:
    """Return the entries of a run at the columns of its rows; a view if columns and numbers are equally far apart.

    Slot m of row j has the entry ``entries[m]`` at column ``columns[m] + j*shift``.
    """
    between, apart = _step(run.columns), _step(run.entries)
    if between is None or apart is None:
        columns = run.columns + run.shift * np.arange(run.count)[:, None]
        picked = np.moveaxis(entries, (axis, slots), (0, 1))[columns, run.entries]
        return np.moveaxis(picked, (0, 1), (axis, slots))
    part = entries[(slice(None),) * axis + (slice(int(run.columns[0]), None),)]
    part = part[(slice(None),) * slots + (slice(int(run.entries[0]), None),)]
    shape, strides = list(part.shape), list(part.strides)
    shape[axis], shape[slots] = run.count, run.columns.size
    strides[slots] = between * strides[axis] + apart * strides[slots]
    strides[axis] *= run.shift
    return np.lib.stride_tricks.as_strided(part, shape, strides, writeable=False)


def _step(numbers: IntArray) -> int | None:
    """Return how far apart numbers are, 1 for a single one; None if unequally."""
    if numbers.size < 2:
        return 1
    steps = np.diff(numbers)
    return int(steps[0]) if (steps == steps[0]).all() else None


def _copy(rows: Rows, part: AnyArray, chosen: Sequence[Run], out: AnyArray) -> None:
    """Copy the entries of the rows of one run along each axis to their places, (leading channel, entries behind it)."""
    d, order = len(chosen), rows.axis_order
    begin, before, strides = 0, rows.width // len(out), []
    for level, axis in enumerate(order):
        # What lies between two rows: slots of slower axes are those of this run, and faster axes have all their rows.
        run, step = chosen[axis], before * prod(map(rows.entries, order[level + 1 :]))
        starts = starts_of(rows.runs(axis))
        begin += int(starts[run.start]) * step
        strides.append(int(starts[run.start + run.step] - starts[run.start]) * step if run.count > 1 else 0)
        before *= run.columns.size
    slots = tuple(d + 2 + axis for axis in order)
    part = part.transpose((d, *order, d + 1, *slots) if rows.channel_leads else (*order, d, *slots, d + 1))
    inner = part.shape[d + rows.channel_leads :]
    strides += [prod(inner[j + 1 :]) for j in range(len(inner))]
    if rows.channel_leads:
        strides.insert(0, out.shape[1])
    behind = out.reshape(-1)[begin:]
    np.copyto(np.lib.stride_tricks.as_strided(behind, part.shape, [step * out.itemsize for step in strides]), part)
