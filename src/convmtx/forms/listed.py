"""Any rows in any order, of the matrix or of its transpose: a row is a product of lists, one for each axis.

Where `filled` writes long ranges of rows, this looks up rows one by one, and only these. A column is the sum of a place
on each axis, and the number of its entry is such a sum too, so both are spread out axis by axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import is_numpy, itemsize, like, namespace, reshaped
from convmtx.forms.layout import index_dtype, row_array, strides
from convmtx.geometry import Axis, Geometry, Layout, Lists, Sums, readers, reads
from convmtx.taps import taps_of, with_sums
from convmtx.typing import AnyArray, Array, IntArray, Order, RowNumbers

_LOOKED = 1 << 20  # entries whose rows are looked up together, about
_SPREAD = 1 << 15  # entries spread out together, about: they stay near the core


@dataclass(frozen=True, slots=True, eq=False)
class Digit:
    """One axis of the columns: lists of columns and numbers of entries to add, and the list of each row."""

    lists: Lists
    which: IntArray


def count(digits: Sequence[Digit], rows: int) -> IntArray:
    """Return the number of stored entries of each row."""
    total = np.ones(rows, np.int64)
    for digit in digits:
        total *= digit.lists.counts[digit.which]
    return total


def spread(digits: Sequence[Digit], columns: IntArray, numbers: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield column and number of each entry, by row and column, some rows at a time.

    ``columns`` and ``numbers`` say where those of each row start, the slowest axis of the columns comes first.
    """
    size = max(1, int(_SPREAD * columns.size // max(count(digits, columns.size).sum(), 1)))
    for at in range(0, columns.size, size):
        rows = np.arange(at, min(at + size, columns.size))
        column, number = columns[rows], numbers[rows]
        for digit in digits:
            which = digit.which[rows]
            counts = digit.lists.counts[which]
            places = np.repeat(digit.lists.starts[which] - (np.cumsum(counts) - counts), counts)
            places += np.arange(places.size)
            column, number = np.repeat(column, counts), np.repeat(number, counts)
            column += digit.lists.places[places]
            number += digit.lists.numbers[places]
            if digit is not digits[-1]:
                rows = np.repeat(rows, counts)
        yield column, number


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """Some rows, looked up: an axis of the columns after the other, slowest first."""

    digits: tuple[Digit, ...]
    #: Number that each row starts counting its entries from.
    first: IntArray
    filters: IntArray
    channels: IntArray
    sums: tuple[Sums, ...]
    #: For each spatial axis, the numbers of entries that are met.
    met: tuple[IntArray, ...]

    def values(self, geometry: Geometry, kernel: Array) -> Array:
        """Return the entries of a kernel that the numbers count."""
        taps = taps_of(geometry, kernel)
        for at, chosen in enumerate((self.filters, self.channels)):
            if chosen.size < taps.shape[at]:
                taps = namespace(taps).take(taps, like(chosen, taps), axis=at)
        return reshaped(with_sums(geometry, taps, self.sums, lambda: self.met), (-1,))


def _look_up(geometry: Geometry, order: Order, wanted: RowNumbers, transposed: bool) -> Looked:
    """Look up rows of the matrix, or of its transpose."""
    rows = row_array(wanted)
    shape, other = geometry.out_shape, geometry.in_shape
    if transposed:
        shape, other = other, shape
    own, into = strides(geometry, shape, order), strides(geometry, other, order)
    found, sums, which = [], [], []
    for axis, step in zip(geometry.axes, own.spatial, strict=True):
        places, inverse = np.unique(rows // step % (axis.size if transposed else axis.out), return_inverse=True)
        lists, shared = (readers if transposed else reads)(axis, places)
        found.append(lists)
        sums.append(shared)
        which.append(inverse)
    sizes = [axis.kernel + len(shared) for axis, shared in zip(geometry.axes, sums, strict=True)]
    digits = tuple(
        Digit(Lists(lists.starts, lists.places * step, lists.numbers * prod(sizes[j + 1 :])), which[j])
        for j, (lists, step) in enumerate(zip(found, into.spatial, strict=True))
    )
    filters, channels, first, channel = _channels(geometry, rows, own.channel, into.channel, prod(sizes), transposed)
    if geometry.layout is not Layout.PLAIN:
        digits = geometry.layout.join(channel, digits)
    if order == "F":
        digits = digits[::-1]
    met = tuple(np.unique(lists.numbers) for lists in found)
    return Looked(digits, first, filters, channels, tuple(sums), met)


def _channels(
    geometry: Geometry, rows: IntArray, own: int, into: int, size: int, transposed: bool
) -> tuple[IntArray, IntArray, IntArray, Digit]:
    """Return filters and channels that are met, the number that each row starts from, and the lists of channels.

    ``size`` entries stand for a pair of filter and channel.
    """
    mine, theirs = geometry.channels_per_group[::-1] if transposed else geometry.channels_per_group
    channel = rows // own % (mine * geometry.groups) if own else np.zeros_like(rows)
    groups, which = np.unique(channel // mine, return_inverse=True)
    met = (groups[:, None] * theirs + np.arange(theirs)).reshape(-1)
    starts = np.arange(groups.size + 1) * theirs
    if transposed:  # a row is a channel, and lists all filters of its group
        channels, at = np.unique(channel % mine, return_inverse=True)
        numbers = np.arange(met.size) * (channels.size * size)
        return met, channels, at * size, Digit(Lists(starts, met * into, numbers), which)
    filters, at = np.unique(channel, return_inverse=True)
    numbers = np.tile(np.arange(theirs) * size, groups.size)
    return filters, np.arange(theirs), at * (theirs * size), Digit(Lists(starts, met * into, numbers), which)


def compressed(
    geometry: Geometry, kernel: Array, order: Order, wanted: RowNumbers, transposed: bool = False
) -> tuple[Array, AnyArray, AnyArray]:
    """Return values, column indices and row pointers of these rows, if they fit; values of the kernel's library."""
    item, columns = itemsize(kernel.dtype), geometry.shape[0 if transposed else 1]
    memory.require("rows", {"rows": 3 * 8 * len(wanted)})
    size = max(1, _LOOKED // _per_row(geometry, transposed))
    chunks = [wanted[at : at + size] for at in range(0, len(wanted), size)]
    kept = [_look_up(geometry, order, chunk, transposed) for chunk in chunks] if len(chunks) == 1 else None

    def pieces() -> Iterator[Looked]:
        yield from kept or (_look_up(geometry, order, chunk, transposed) for chunk in chunks)

    pointers = np.zeros(len(wanted) + 1, np.int64)
    at = 1
    for piece in pieces():
        pointers[at : at + piece.first.size] = count(piece.digits, piece.first.size)
        at += piece.first.size
    np.cumsum(pointers, out=pointers)
    total = int(pointers[-1])
    index = index_dtype(total, len(wanted), columns)
    beside = 0 if is_numpy(kernel) else item + 8  # numbers of the entries, and values before they are put together
    memory.require("rows", {"rows": total * (item + np.dtype(index).itemsize)}, total * beside)
    indices = np.empty(total, index)
    values: Any = np.empty(total, kernel.dtype) if is_numpy(kernel) else []
    at = 0
    for piece in pieces():
        entries = piece.values(geometry, kernel)
        for places, numbers in spread(piece.digits, np.zeros_like(piece.first), piece.first):
            here = slice(at, at + places.size)
            indices[here] = places
            if is_numpy(kernel):
                entries.take(numbers, out=values[here], mode="clip")
            else:
                values.append(namespace(kernel).take(entries, like(numbers, kernel), axis=0))
            at = here.stop
    if not is_numpy(kernel):
        xp = namespace(kernel)
        values = xp.concat(values) if values else xp.zeros_like(reshaped(kernel, (-1,))[:0])
    return values, indices, pointers.astype(index)


def _per_row(geometry: Geometry, transposed: bool) -> int:
    """Number of entries of a row, about."""
    per_f, per_c = geometry.channels_per_group
    return max(1, prod(_most(axis, transposed) for axis in geometry.axes) * (per_f if transposed else per_c))


def _most(axis: Axis, transposed: bool) -> int:
    most = min(axis.kernel, axis.size)
    return -(-most * axis.out // axis.size) if transposed else most
