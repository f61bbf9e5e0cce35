"""The matrix with the number of each entry in place of its value: for values that one kernel does not hold."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from convmtx import memory
from convmtx.forms.filling import compressed_arrays
from convmtx.forms.layout import index_dtype
from convmtx.forms.row_lookup import count, look_up, spread
from convmtx.forms.row_ranges import cut_rows
from convmtx.forms.sparse import canonical
from convmtx.geometry import Geometry, Sums, sums
from convmtx.typing import Order, RowNumbers, Shape

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
        groups = tuple(sums(axis) for axis in geometry.axes)
        sizes = entry_sizes(geometry, groups)
        memory.require("csr", {"csr": 3 * 8 * geometry.nnz})
        arrays = compressed_arrays(
            cut_rows(geometry, order, None), lambda _: np.arange(prod(sizes)).reshape(sizes), np.dtype(np.int64)
        )
        return canonical(csr_array(arrays, shape=geometry.shape)), groups
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
