"""Compressed rows whose values vary from row to row: every row has its own entries."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from convmtx import memory
from convmtx.forms.filling import places_of
from convmtx.forms.first_rows import starts_of
from convmtx.forms.layout import index_dtype
from convmtx.forms.row_ranges import Rows
from convmtx.forms.sparse import canonical
from convmtx.geometry import Geometry, Run
from convmtx.typing import AnyArray, IntArray, Order

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def varying_rows(geometry: Geometry, entries: AnyArray, order: Order, transposed: bool = False) -> csr_array:
    """Return the matrix of entries (n1..nd, row channels, channels of a group, e1..ed), or its transpose, as CSR.

    Row n has the entries at n, in the places of a convolution. They are copied run by run: the rows of a run along each
    axis are equally far apart and equally long, so each combination of runs is one strided copy.
    """
    from scipy.sparse import csr_array

    rows = Rows(geometry, order, range(geometry.out_channels), transposed)
    index = np.dtype(index_dtype(rows.nnz, *geometry.shape)).itemsize
    memory.require("csr", {"csr": rows.nnz * (entries.dtype.itemsize + index) + 2 * index * (rows.size + 1)})
    data = np.empty(rows.nnz, entries.dtype)
    out = data.reshape(len(rows.channels) if rows.channel_leads else 1, -1)
    for chosen in product(*(rows.runs(axis) for axis in rows.axis_order)):
        if out.size and all(run.columns.size for run in chosen):
            _copy(rows, entries, dict(zip(rows.axis_order, chosen, strict=True)), out)
    return canonical(csr_array((data, *places_of(rows)), shape=(rows.size, rows.n_columns)))


def _copy(rows: Rows, entries: AnyArray, chosen: dict[int, Run], out: AnyArray) -> None:
    """Copy the entries of the rows of one run along each axis, slowest first, to their places."""
    d, per_slot = len(chosen), rows.width // len(out)
    begin, before, strides = 0, per_slot, []
    for level, (axis, run) in enumerate(chosen.items()):
        # What lies between two rows: slots of slower axes are those of this run, and faster axes have all their rows.
        step = before * prod(rows.geometry.axes[a].entries for a in list(chosen)[level + 1 :])
        starts = starts_of(rows.runs(axis))
        begin += int(starts[run.start]) * step
        strides.append(int(starts[run.start + run.step] - starts[run.start]) * step if run.count > 1 else 0)
        before *= run.columns.size
    part = entries[tuple(slice(run.start, run.start + run.step * run.count, run.step) for run in _by_axis(chosen))]
    for axis, run in enumerate(_by_axis(chosen)):
        part = _taken(part, run.entries, d + 2 + axis)
    places, slots = tuple(chosen), tuple(d + 2 + axis for axis in chosen)
    order = (d, *places, d + 1, *slots) if rows.channel_leads else (*places, d, *slots, d + 1)
    part = part.transpose(order)
    item, counts = out.itemsize, tuple(run.count for run in chosen.values())
    inner = part.shape[d + rows.channel_leads :]
    inner_strides = tuple(prod(inner[j + 1 :]) for j in range(len(inner)))
    shape, steps = (*counts, *inner), (*strides, *inner_strides)
    if rows.channel_leads:
        shape, steps = (len(out), *shape), (out.shape[1], *steps)
    target = np.lib.stride_tricks.as_strided(out.reshape(-1)[begin:], shape, [step * item for step in steps])
    np.copyto(target, part)


def _by_axis(chosen: dict[int, Run]) -> Sequence[Run]:
    """Return the runs in the order of the axes."""
    return [chosen[axis] for axis in range(len(chosen))]


def _taken(entries: AnyArray, numbers: IntArray, axis: int) -> AnyArray:
    """Return the entries with these numbers along an axis; a view if the numbers follow each other."""
    first, count = int(numbers[0]), numbers.size
    if (np.diff(numbers) == 1).all():
        return entries[(slice(None),) * axis + (slice(first, first + count),)]
    return entries.take(numbers, axis)
