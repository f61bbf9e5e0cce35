"""Ranges of rows, of the matrix or of its transpose, as a few pieces that can be written in closed form.

`filling` writes the compressed rows of such pieces; `row_lookup` writes rows in any order.
"""

from __future__ import annotations

from functools import reduce
from math import prod
from typing import NamedTuple, TypeGuard

import numpy as np

from convmtx.forms.boxes import boxes
from convmtx.forms.layout import channel_leads, strides
from convmtx.geometry import Geometry, Run, most_reader_runs, most_runs, reader_runs, runs
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers, Shape


class Rows(NamedTuple):
    """Rows of a matrix: all outputs of a geometry and a range of its filters, in the order of the flattened output.

    If ``transposed``, they are rows of its transpose: inputs, and the outputs that read each of them. They are a range
    of the channels and of the inputs of each axis, or all of these.
    """

    geometry: Geometry
    order: Order
    #: Channels that the rows belong to: filters, or input channels if transposed.
    channels: range
    transposed: bool = False
    #: Inputs along each axis, of rows of the transpose; None for all.
    inputs: tuple[range, ...] | None = None

    @property
    def per_group(self) -> tuple[int, int]:
        """Number of channels of the rows, and of the columns, in one group."""
        per_f, per_c = self.geometry.channels_per_group
        return (per_c, per_f) if self.transposed else (per_f, per_c)

    @property
    def row_sizes(self) -> Shape:
        """Number of rows along each spatial axis."""
        if self.inputs is not None:
            return tuple(map(len, self.inputs))
        return tuple(a.size if self.transposed else a.out for a in self.geometry.axes)

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.channels) * prod(self.row_sizes)

    @property
    def n_columns(self) -> int:
        """Number of columns."""
        return self.geometry.shape[0 if self.transposed else 1]

    @property
    def width(self) -> int:
        """Number of stored entries for one output and one input of every axis."""
        return len(self.channels) * self.per_group[1]

    @property
    def nnz(self) -> int:
        """Number of stored entries."""
        return self.width * prod(map(self.entries, range(len(self.geometry.axes))))

    @property
    def axis_order(self) -> tuple[int, ...]:
        """Spatial axes, slowest first."""
        d = len(self.geometry.axes)
        return tuple(range(d)) if self.order == "C" else tuple(reversed(range(d)))

    @property
    def channel_leads(self) -> bool:
        """Whether the rows of one channel lie together."""
        return channel_leads(self.geometry, self.order)

    @property
    def is_whole(self) -> bool:
        """Whether the rows are those of all channels and inputs, so that they are the columns of their transpose."""
        g = self.geometry
        return len(self.channels) == (g.in_channels if self.transposed else g.out_channels) and self.inputs is None

    @property
    def most_runs(self) -> int:
        """Upper bound of the number of runs that are combined, one along each axis, to write these rows."""
        return prod(map(most_reader_runs if self.transposed else most_runs, self.geometry.axes))

    def runs(self, axis: int) -> tuple[Run, ...]:
        """Return the runs of the rows along a spatial axis."""
        if not self.transposed:
            return runs(self.geometry.axes[axis])
        return reader_runs(self.geometry.axes[axis], None if self.inputs is None else self.inputs[axis])

    def entries(self, axis: int) -> int:
        """Return the number of pairs of an output and an input of a spatial axis that have an entry."""
        if self.inputs is None:
            return self.geometry.axes[axis].entries
        return sum(run.count * run.columns.size for run in self.runs(axis))

    def in_order(self, entries: AnyArray) -> AnyArray:
        """Return entries (row channels, column channels, slots1..slotsd) as one row for each channel of the rows."""
        space = tuple(2 + a for a in self.axis_order)
        axes = (0, 1, *space) if self.channel_leads else (0, *space, 1)
        return entries.transpose(axes).reshape(entries.shape[0], prod(entries.shape[1:]))

    def column_channels(self) -> IntArray:
        """Return the channels that each row channel is joined with: for 4 filters in 2 groups 0 1, 0 1, 2 3, 2 3."""
        per_row, per_column = self.per_group
        return (np.array(self.channels) // per_row * per_column)[:, None] + np.arange(per_column)

    def column_steps(self) -> tuple[int, tuple[int, ...]]:
        """Return the number of columns from one channel to the next, and from one place to the next on each axis."""
        g = self.geometry
        return strides(g, g.out_shape if self.transposed else g.in_shape, self.order)

    def columns(self, chosen: tuple[Run, ...]) -> IntArray:
        """Return the column of each entry in the first rows of these runs, one row for each channel of the rows."""
        channel_step, spatial = self.column_steps()
        channels = self.column_channels()
        parts = [channels.reshape(*channels.shape, *(1 for _ in chosen)) * channel_step]
        for j, run in enumerate(chosen):
            parts.append(run.columns.reshape(-1, *(1 for _ in chosen[j + 1 :])) * spatial[j])
        return self.in_order(reduce(np.add, parts))


def cut_rows(geometry: Geometry, order: Order, wanted: range | None, transposed: bool = False) -> list[Rows]:
    """Cut all rows, or a range of rows for which `can_cut` is True, into a few pieces, one after another.

    If ``transposed``, they are rows of the transpose.
    """
    if wanted is None:
        every = range(geometry.in_channels if transposed else geometry.out_channels)
        return [Rows(geometry, order, every, transposed)]
    digits = geometry.layout.join(None, tuple(range(len(geometry.axes))))
    sizes = geometry.in_shape if transposed else geometry.out_shape
    if order == "F":
        digits, sizes = digits[::-1], sizes[::-1]
    pieces = []
    for box in boxes(sizes, wanted) or ():
        ranges = dict(zip(digits, box, strict=True))
        places = tuple(ranges[j] for j in range(len(geometry.axes)))
        channels = ranges.get(None, range(1))  # None is the digit of the channel
        if transposed:
            pieces.append(Rows(geometry, order, channels, True, places))
        else:
            pieces.append(Rows(geometry.restricted(places), order, channels))
    return pieces


def can_cut(
    wanted: RowNumbers | None, geometry: Geometry, order: Order, transposed: bool = False
) -> TypeGuard[range | None]:
    """Whether rows are a few pieces: all rows, or ascending ones whose step does not cross axes unevenly."""
    if wanted is None:
        return True
    shape = geometry.in_shape if transposed else geometry.out_shape
    sizes = shape if order == "C" else shape[::-1]
    return isinstance(wanted, range) and wanted.step > 0 and boxes(sizes, wanted) is not None
