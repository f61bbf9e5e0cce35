"""Strides of axes in the flattened vector, the order of channels, and the types of indices, for every form."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from convmtx.geometry import Geometry, Layout, Run, most_runs
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers, Shape

#: Number of runs that must be saved before a matrix is written by columns and converted.
_FEW_RUNS = 64
#: Number of entries that are converted from columns to rows in the time that one run takes.
_RUN = 1 << 13


class Strides(NamedTuple):
    """Distance of neighbours along each axis in the flattened array, in elements."""

    channel: int
    spatial: tuple[int, ...]

    def times(self, size: int) -> Strides:
        """Return the strides in an array in which each element takes ``size`` places."""
        return Strides(self.channel * size, tuple(step * size for step in self.spatial))


def strides(geometry: Geometry, shape: Shape, order: Order) -> Strides:
    """Return the strides of an input or output of this geometry, flattened row-major (C) or column-major (F)."""
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
    """Whether the channel is the slowest axis of the flattened vector; otherwise it is the fastest."""
    return (geometry.layout is Layout.FIRST) is (order == "C")


def block_shape(geometry: Geometry, order: Order, rows: range | None = None) -> tuple[int, int]:
    """Return the shape of the blocks of a BSR matrix.

    They are channel matrices (F/groups, C/groups) if channels flatten fastest and the rows are whole blocks. Otherwise
    they are single entries.
    """
    is_scattered = channel_leads(geometry, order) and geometry.in_channels * geometry.out_channels > 1
    per_f, per_c = geometry.channels_per_group
    is_whole = rows is None or (rows.step == 1 and rows.start % per_f == len(rows) % per_f == 0)
    return (per_f, per_c) if is_whole and not is_scattered else (1, 1)


def by_columns(columns: Geometry | None) -> Geometry | None:
    """Return ``columns``, the convolution whose rows are a matrix's columns, if writing these is faster; else None.

    It is for a kernel much longer than its input: then each row of the matrix is a run of its own, while all columns
    are one run.
    """
    rows = None if columns is None else columns.T
    if columns is None or rows is None:
        return None
    row_runs, column_runs = (prod(map(most_runs, side.axes)) for side in (rows, columns))
    return columns if saves_runs(row_runs, column_runs, columns.nnz) else None


def saves_runs(row_runs: int, column_runs: int, nnz: int) -> bool:
    """Whether a matrix with this number of entries has far fewer runs of columns than of rows."""
    return row_runs - column_runs > max(_FEW_RUNS, nnz // _RUN)


def row_array(rows: RowNumbers) -> IntArray:
    """Return row numbers as an array."""
    return np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, range) else rows


def pick(entries: AnyArray, chosen: tuple[Run, ...]) -> AnyArray:
    """Return the entries at the columns of these runs: (F, C/groups, e1..ed) becomes (F, C/groups, slots1..slotsd)."""
    for j, run in enumerate(chosen):
        entries = entries.take(run.entries, j + 2)
    return entries


def index_dtype(*largest: int) -> type[np.int32] | type[np.int64]:
    """Return int32 if these largest counts and indices fit, otherwise int64. Python integers cannot overflow here."""
    return np.int32 if max(largest) <= np.iinfo(np.int32).max else np.int64
