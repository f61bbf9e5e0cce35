"""What every form shares: where an axis stands in the flattened vector, and the entries of a run."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from convmtx.geometry import Geometry, Layout, Run, most_runs
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers, Shape

#: Runs that are not worth a turn, and entries that are turned in the time that a run takes besides them.
_FEW_RUNS, _RUN = 64, 1 << 13


class Strides(NamedTuple):
    """How far apart neighbours along each axis lie in the flattened array, in elements."""

    channel: int
    spatial: tuple[int, ...]

    def times(self, size: int) -> Strides:
        """Return the strides where each element takes the place of so many."""
        return Strides(self.channel * size, tuple(step * size for step in self.spatial))


def strides(geometry: Geometry, shape: Shape, order: Order) -> Strides:
    """Strides of an input or output of this geometry, flattened row-major (C) or column-major (F)."""
    if order == "C":
        steps = tuple(prod(shape[j + 1 :]) for j in range(len(shape)))
    else:
        steps = tuple(prod(shape[:j]) for j in range(len(shape)))
    if geometry.layout is Layout.PLAIN:
        return Strides(0, steps)
    if geometry.layout is Layout.LAST:
        return Strides(steps[-1], steps[:-1])
    return Strides(steps[0], steps[1:])


def channel_leads(geometry: Geometry, order: Order) -> bool:
    """Whether the channel is the slowest axis of the flattened vector (else it is the fastest)."""
    return (geometry.layout is Layout.FIRST) is (order == "C")


def block_shape(geometry: Geometry, order: Order, rows: range | None = None) -> tuple[int, int]:
    """Channel matrices (F/groups, C/groups) where channels flatten fastest and rows are whole; else single entries."""
    apart = channel_leads(geometry, order) and geometry.in_channels * geometry.out_channels > 1
    per_f, per_c = geometry.channels_per_group
    whole = rows is None or (rows.step == 1 and rows.start % per_f == len(rows) % per_f == 0)
    return (1, 1) if apart or not whole else (per_f, per_c)


def by_columns(columns: Geometry | None) -> Geometry | None:
    """Return the convolution whose rows are a matrix's columns where writing these is quicker; None where it is not.

    So it is for a kernel much longer than its input: each row is a run of its own, and the columns are one.
    """
    own = None if columns is None else columns.T
    if columns is None or own is None:
        return None
    saved = prod(map(most_runs, own.axes)) - prod(map(most_runs, columns.axes))
    return columns if saved > max(_FEW_RUNS, columns.nnz // _RUN) else None


def row_array(rows: RowNumbers) -> IntArray:
    """Return row numbers as an array."""
    return np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows


def picked(entries: AnyArray, chosen: tuple[Run, ...]) -> AnyArray:
    """Entries (F, C/groups, e1..ed) at these runs' columns, (F, C/groups, slots1..slotsd)."""
    for j, run in enumerate(chosen):
        entries = entries.take(run.entries, j + 2)
    return entries


def index_dtype(*largest: int) -> type[np.int32] | type[np.int64]:
    """int32 where every count and index fits, else int64; decided on Python integers, which cannot overflow."""
    return np.int32 if max(largest) <= np.iinfo(np.int32).max else np.int64
