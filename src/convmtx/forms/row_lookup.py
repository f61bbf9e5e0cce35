"""Compressed rows in any order, of the matrix or its transpose, looked up one by one.

`row_ranges` is faster, but writes ascending ranges only. Here exactly the requested rows are built. A row is a product
of lists, one for each axis: a column is a sum of one place from each list, and the number of its entry is such a sum
too. So both are spread out axis by axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy, itemsize, like, namespace, reshape
from convmtx.forms.layout import index_dtype, row_array, strides
from convmtx.geometry import Axis, Geometry, Layout, Lists, Sums, list_readers, list_reads
from convmtx.taps import taps_of, with_sums
from convmtx.typing import AnyArray, Array, IntArray, Order, RowNumbers

#: Number of entries, roughly, whose rows are looked up together.
_LOOKED = 1 << 20
#: Number of entries, roughly, that are spread out together: 256 KiB of columns, which stay in the cache of a core.
_SPREAD = 1 << 15


@dataclass(frozen=True, slots=True, eq=False)
class Digit:
    """One axis of the columns: lists of places and entry numbers to add, and which list each row uses."""

    lists: Lists
    which: IntArray


def count(digits: Sequence[Digit], rows: int) -> IntArray:
    """Return the number of stored entries of each row: the product of the lengths of its lists."""
    total = np.ones(rows, np.int64)
    for digit in digits:
        total *= digit.lists.counts[digit.which]
    return total


def spread(digits: Sequence[Digit], columns: IntArray, numbers: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield column and number of each entry, sorted by row and column, for a few rows at a time.

    ``columns`` and ``numbers`` are where each row starts. The slowest axis of the columns comes first in ``digits``.
    For example, a row that starts at column 0, with places [0, 10] of one digit and [1, 2, 4] of the next, has columns
    1 2 4 11 12 14.
    """
    size = max(1, int(_SPREAD * columns.size // max(count(digits, columns.size).sum(), 1)))
    for at in range(0, columns.size, size):
        rows = np.arange(at, min(at + size, columns.size))
        column, number = columns[rows], numbers[rows]
        for digit in digits:
            which = digit.which[rows]
            counts = digit.lists.counts[which]
            # Positions in the lists, one list after another: starts [4, 0] and counts [2, 3] give 4 5 0 1 2.
            at_lists = np.repeat(digit.lists.starts[which] - (np.cumsum(counts) - counts), counts)
            at_lists += np.arange(at_lists.size)
            column, number = np.repeat(column, counts), np.repeat(number, counts)
            column += digit.lists.places[at_lists]
            number += digit.lists.numbers[at_lists]
            if digit is not digits[-1]:
                rows = np.repeat(rows, counts)
        yield column, number


@dataclass(frozen=True, slots=True, eq=False)
class LookedUpRows:
    """Columns and entry numbers of some rows, as lists along each axis, and which entries the numbers count.

    The entries are the kernel's taps at ``filters`` and ``channels``, followed along each axis by ``sums``.
    """

    #: Lists of each axis of the columns, slowest first.
    digits: tuple[Digit, ...]
    #: Number of the entry from which each row starts to count.
    first: IntArray
    filters: IntArray
    channels: IntArray
    sums: tuple[Sums, ...]
    #: Numbers of the entries of each spatial axis that stand in these rows.
    met: tuple[IntArray, ...]

    def values(self, geometry: Geometry, kernel: Array) -> Array:
        """Return the entries of a kernel, flattened, as the numbers count them."""
        taps = taps_of(geometry, kernel)
        for axis, wanted in enumerate((self.filters, self.channels)):
            if wanted.size < taps.shape[axis]:
                taps = namespace(taps).take(taps, like(wanted, taps), axis=axis)
        return reshape(with_sums(geometry, taps, self.sums, lambda: self.met), (-1,))


def look_up(geometry: Geometry, order: Order, wanted: RowNumbers, transposed: bool) -> LookedUpRows:
    """Look up rows of the matrix, or of its transpose."""
    rows = row_array(wanted)
    row_shape, column_shape = geometry.out_shape, geometry.in_shape
    if transposed:
        row_shape, column_shape = column_shape, row_shape
    row_steps = strides(geometry, row_shape, order)
    column_steps = strides(geometry, column_shape, order)
    listed = list_readers if transposed else list_reads
    axis_lists, sums, which = [], [], []
    for axis, step in zip(geometry.axes, row_steps.spatial, strict=True):
        # Row number // stride % size is the row's place on this axis. Each place is looked up once.
        size = axis.size if transposed else axis.out
        places, which_place = np.unique(rows // step % size, return_inverse=True)
        lists, shared = listed(axis, places)
        axis_lists.append(lists)
        sums.append(shared)
        which.append(which_place)
    # An entry has a number on each axis, and its number in the flattened entries is their sum with these strides.
    sizes = [axis.kernel + len(shared) for axis, shared in zip(geometry.axes, sums, strict=True)]
    digits = tuple(
        Digit(Lists(lists.starts, lists.places * step, lists.numbers * prod(sizes[j + 1 :])), which[j])
        for j, (lists, step) in enumerate(zip(axis_lists, column_steps.spatial, strict=True))
    )
    filters, channels, first, channel = _channels(
        geometry, rows, row_steps.channel, column_steps.channel, prod(sizes), transposed
    )
    if geometry.layout is not Layout.PLAIN:
        digits = geometry.layout.join(channel, digits)
    if order == "F":
        digits = digits[::-1]
    met = tuple(np.unique(lists.numbers) for lists in axis_lists)
    return LookedUpRows(digits, first, filters, channels, tuple(sums), met)


def _channels(
    geometry: Geometry, rows: IntArray, row_step: int, column_step: int, size: int, transposed: bool
) -> tuple[IntArray, IntArray, IntArray, Digit]:
    """Return the filters and channels of these rows, the entry number where each row starts, and the channel's lists.

    A pair of filter and channel has ``size`` entries.
    """
    per_row_group, per_column_group = geometry.channels_per_group
    if transposed:
        per_row_group, per_column_group = per_column_group, per_row_group
    channel = rows // row_step % (per_row_group * geometry.groups) if row_step else np.zeros_like(rows)
    # A row lists all channels of the other side in its group.
    groups, which = np.unique(channel // per_row_group, return_inverse=True)
    listed = (groups[:, None] * per_column_group + np.arange(per_column_group)).reshape(-1)
    starts = np.arange(groups.size + 1) * per_column_group
    if transposed:  # a row is an input channel, and lists filters
        channels, at = np.unique(channel % per_row_group, return_inverse=True)
        numbers = np.arange(listed.size) * (channels.size * size)
        return listed, channels, at * size, Digit(Lists(starts, listed * column_step, numbers), which)
    filters, at = np.unique(channel, return_inverse=True)
    numbers = np.tile(np.arange(per_column_group) * size, groups.size)
    digit = Digit(Lists(starts, listed * column_step, numbers), which)
    return filters, np.arange(per_column_group), at * (per_column_group * size), digit


def compress(
    geometry: Geometry, kernel: Array, order: Order, wanted: RowNumbers, transposed: bool = False
) -> tuple[Array, AnyArray, AnyArray]:
    """Return data, indices, indptr of these rows, if they fit; the data are in the kernel's library.

    Rows are looked up in chunks: once to count them, and again to write them, so that memory grows with the result
    alone. A single chunk is looked up once.
    """
    memory.require("rows", {"rows": 3 * 8 * len(wanted)})
    size = max(1, _LOOKED // _entries_per_row(geometry, transposed))
    chunks = [wanted[at : at + size] for at in range(0, len(wanted), size)]
    single = [look_up(geometry, order, chunk, transposed) for chunk in chunks] if len(chunks) == 1 else None

    def pieces() -> Iterator[LookedUpRows]:
        yield from single or (look_up(geometry, order, chunk, transposed) for chunk in chunks)

    pointers = np.zeros(len(wanted) + 1, np.int64)
    at = 1
    for piece in pieces():
        pointers[at : at + piece.first.size] = count(piece.digits, piece.first.size)
        at += piece.first.size
    np.cumsum(pointers, out=pointers)
    total = int(pointers[-1])
    index = index_dtype(total, len(wanted), geometry.shape[0 if transposed else 1])
    item = itemsize(kernel.dtype)
    # Other libraries take entry numbers as an array, and data in pieces that are concatenated.
    extra = 0 if is_numpy(kernel) else item + 8
    memory.require("rows", {"rows": total * (item + np.dtype(index).itemsize)}, total * extra)
    indices = np.empty(total, index)
    data = _write(pieces(), geometry, kernel, indices)
    return data, indices, pointers.astype(index)


def _write(pieces: Iterator[LookedUpRows], geometry: Geometry, kernel: Array, indices: AnyArray) -> Array:
    """Write the columns of all pieces into ``indices``, and return their data."""
    xp = namespace(kernel)
    data: Any = np.empty(indices.size, kernel.dtype) if is_numpy(kernel) else []
    at = 0
    for piece in pieces:
        entries = piece.values(geometry, kernel)
        for columns, numbers in spread(piece.digits, np.zeros_like(piece.first), piece.first):
            span = slice(at, at + columns.size)
            indices[span] = columns
            if is_numpy(kernel):
                entries.take(numbers, out=data[span], mode="clip")
            else:
                data.append(xp.take(entries, like(numbers, kernel), axis=0))
            at = span.stop
    if is_numpy(kernel):
        return data
    return xp.concat(data) if data else xp.zeros_like(reshape(kernel, (-1,))[:0])


def _entries_per_row(geometry: Geometry, transposed: bool) -> int:
    """Estimate the number of entries of a row, at least 1."""
    per_f, per_c = geometry.channels_per_group
    spatial = prod(_entries_per_axis_row(axis, transposed) for axis in geometry.axes)
    return max(1, spatial * (per_f if transposed else per_c))


def _entries_per_axis_row(axis: Axis, transposed: bool) -> int:
    """Estimate the number of inputs that an output reads, or of outputs that read an input."""
    inputs = min(axis.kernel, axis.size)
    return -(-inputs * axis.out // axis.size) if transposed else inputs
