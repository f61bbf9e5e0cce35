"""The matrix with the number of each entry in place of its value: for values that one kernel does not hold."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from convmtx import memory
from convmtx.forms.filling import compressed_arrays
from convmtx.forms.layout import index_dtype
from convmtx.forms.row_lookup import count, look_up, spread
from convmtx.forms.row_ranges import Rows, cut_rows
from convmtx.forms.sparse import canonical
from convmtx.geometry import Geometry, Sums, sums
from convmtx.typing import IntArray, Order, RowNumbers, Shape

if TYPE_CHECKING:
    import scipy.sparse


def entry_sizes(geometry: Geometry, groups: tuple[Sums, ...]) -> Shape:
    """Return the shape of the entries that numbers count, (out_channels, in_channels/groups, entries1..entriesd)."""
    space = (axis.kernel + len(shared) for axis, shared in zip(geometry.axes, groups, strict=True))
    return (geometry.out_channels, geometry.channels_per_group[1], *space)


def numbered(
    geometry: Geometry, order: Order, rows: RowNumbers | None, transposed: bool = False
) -> tuple[scipy.sparse.csr_array, tuple[Sums, ...]]:
    """Return the matrix of entry numbers, or rows of it or of its transpose, and the sums of taps along each axis.

    Entry number m is entry m of the flattened taps (out_channels, in_channels/groups, k1..kd), which are followed along
    each axis by these sums.
    """
    from scipy.sparse import csr_array

    if rows is None and not transposed:
        return numbered_range(geometry, order, None), tuple(sums(axis) for axis in geometry.axes)
    size = geometry.shape[1 if transposed else 0]
    wanted = range(size) if rows is None else rows
    memory.require("rows", {"rows": 3 * 8 * len(wanted)})
    looked_up = look_up(geometry, order, wanted, transposed)
    pointers = np.concatenate([[0], np.cumsum(count(looked_up.digits, looked_up.first.size))])
    memory.require("rows", {"rows": 3 * 8 * int(pointers[-1])})
    pieces = list(spread(looked_up.digits, np.zeros_like(looked_up.first), looked_up.first))
    columns, numbers = (np.concatenate([piece[j] for piece in pieces] or [np.zeros(0, np.int64)]) for j in (0, 1))
    # Numbers count the filters and channels that were looked up; here they count all.
    filters, channels, entries = looked_up.filters, looked_up.channels, prod(entry_sizes(geometry, looked_up.sums)[2:])
    pair, entry = np.divmod(numbers, entries)
    pair = filters[pair // channels.size] * geometry.channels_per_group[1] + channels[pair % channels.size]
    numbers = pair * entries + entry
    width = geometry.shape[0 if transposed else 1]
    index: type[np.signedinteger] = index_dtype(numbers.size, len(wanted), width)
    arrays = numbers, columns.astype(index), pointers.astype(index)
    return canonical(csr_array(arrays, shape=(len(wanted), width))), looked_up.sums


def numbered_range(geometry: Geometry, order: Order, rows: range | None) -> scipy.sparse.csr_array:
    """Return the matrix of entry numbers, or consecutive rows of it, in closed form.

    Numbers count the taps and all sums of each axis, whichever of them the rows have, so those of one range of rows go
    on where those of another end.
    """
    from scipy.sparse import csr_array

    pieces = cut_rows(geometry, order, rows)
    memory.require("csr", {"csr": 3 * 8 * sum(piece.nnz for piece in pieces)})
    groups = tuple(sums(axis) for axis in geometry.axes)
    arrays = compressed_arrays(pieces, lambda piece: _numbers(piece, geometry, groups), np.dtype(np.int64))
    return canonical(csr_array(arrays, shape=(len(arrays[2]) - 1, geometry.shape[1])))


def _numbers(piece: Rows, geometry: Geometry, groups: tuple[Sums, ...]) -> IntArray:
    """Return the numbers of the entries of some rows.

    A part of an axis has some of its sums: if taps 0 1 and taps 0 2 share places somewhere on an axis of 3 taps, and
    only 0 2 do so in these rows, their entries 0 1 2 3 are entries 0 1 2 4 of the axis.
    """
    sizes = entry_sizes(geometry, groups)
    numbers = [np.array(piece.channels), np.arange(sizes[1])]
    for axis, part, of_axis in zip(geometry.axes, piece.geometry.axes, groups, strict=True):
        number_of = {taps: axis.kernel + m for m, taps in enumerate(of_axis)}
        numbers.append(np.array([*range(axis.kernel), *(number_of[taps] for taps in sums(part))]))
    return np.arange(prod(sizes)).reshape(sizes)[np.ix_(*numbers)]
