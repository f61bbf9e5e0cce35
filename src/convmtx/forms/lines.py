"""Diagonals of a matrix as lines that are copied: for maps with several axes, or with channels.

Entry (i, j) lies on the diagonal j - i. Row, column and their difference are sums of one number for each axis.
For example, 3x3 taps on an image of 100 columns have the offsets -1, 0, 1 along the last axis and -100, 0, 100 along
the first one, which are 9 diagonals.

The axes are cut into slow ones and fast ones. A diagonal is then lines of numbers for the fast axes, and the same few
lines come again at all places of the slow axes. So each line is written once and copied to its places.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, reduce
from math import prod
from typing import NamedTuple

import numpy as np

from convmtx.forms.layout import strides
from convmtx.forms.row_ranges import Rows
from convmtx.geometry import Layout, sums
from convmtx.typing import AnyArray, IntArray

#: Least number of entries for each combination of a slow and a fast diagonal: a few calls of NumPy write them.
_PER_CALL = 1 << 9
#: Least number of entries for each pair that is listed for the slow axes or for the fast ones.
_PER_PAIR = 8
#: Largest number of pairs of lines that are kept for the next matrix: 800 kB.
_KEPT = 1 << 14
#: Numbers that a line should have, so that copying it takes longer than to begin: half a KiB of them.
_LONG = 64


class Pairs(NamedTuple):
    """Pairs of an output and an input of some axes, and what is added up over the axes for each pair."""

    #: Column minus row of each pair.
    offsets: IntArray
    #: Number of the input and of the entry.
    inputs: IntArray
    numbers: IntArray
    #: Number of inputs and of entries that there are.
    n_inputs: int
    n_numbers: int

    def join(self, faster: Pairs) -> Pairs:
        """Return all combinations of a pair of these axes and a pair of faster ones."""
        return Pairs(
            np.add.outer(self.offsets, faster.offsets).ravel(),
            np.add.outer(self.inputs * faster.n_inputs, faster.inputs).ravel(),
            np.add.outer(self.numbers * faster.n_numbers, faster.numbers).ravel(),
            self.n_inputs * faster.n_inputs,
            self.n_numbers * faster.n_numbers,
        )


_NOTHING_TO_JOIN = Pairs(np.zeros(1, np.int64), np.zeros(1, np.int64), np.zeros(1, np.int64), 1, 1)


class Side:
    """Pairs of the slow axes, or of the fast ones, sorted by diagonal."""

    def __init__(self, pairs: list[Pairs]) -> None:
        joined = reduce(Pairs.join, pairs, _NOTHING_TO_JOIN)
        order = np.argsort(joined.offsets, kind="stable")
        self.offsets, starts = np.unique(joined.offsets[order], return_index=True)
        self.bounds = [*starts.tolist(), order.size]
        self.inputs, self.numbers = joined.inputs[order], joined.numbers[order]
        self.n_inputs, self.n_numbers = joined.n_inputs, joined.n_numbers

    def on(self, diagonal: int) -> tuple[IntArray, IntArray]:
        """Return the inputs and the numbers of the entries on a diagonal."""
        part = slice(self.bounds[diagonal], self.bounds[diagonal + 1])
        return self.inputs[part], self.numbers[part]


class Kinds(NamedTuple):
    """Different combinations of entries on some slow diagonals that are one diagonal together with fast ones."""

    n_kinds: int
    #: Number of the combination at each slow input, ``n_kinds`` if nothing is there.
    places: IntArray
    #: Combinations that have an entry on each slow diagonal, and its number.
    numbers: list[tuple[IntArray, IntArray]]


class Lines:
    """Diagonals of rows whose axes are cut after the first few."""

    def __init__(self, rows: Rows, slow: Side, fast: Side) -> None:
        self.rows, self.slow, self.fast = rows, slow, fast
        offsets = np.add.outer(slow.offsets, fast.offsets)
        #: Offsets of the diagonals that have an entry, ascending, and which each (slow, fast) combination is.
        self.offsets, diagonal = np.unique(offsets, return_inverse=True)
        self.diagonal = diagonal.reshape(offsets.shape)
        # Number of the entry that each slow diagonal has at each slow input; behind all entries if there is none.
        self.places = np.full((slow.offsets.size, slow.n_inputs), slow.n_numbers)
        for s, place in enumerate(self.places):
            inputs, numbers = slow.on(s)
            place[inputs] = numbers

    def write(self, entries: AnyArray) -> AnyArray:
        """Return the diagonals, (diagonals, columns), of these different entries of the rows."""
        flat = _in_order(self.rows, entries).reshape(self.slow.n_numbers, self.fast.n_numbers)
        data = np.zeros((self.offsets.size, self.rows.n_columns), entries.dtype)
        blocks = data.reshape(-1, self.slow.n_inputs, self.fast.n_inputs)
        is_alone = np.bincount(self.diagonal.ravel(), minlength=self.offsets.size)[self.diagonal] == 1
        for f in range(self.fast.offsets.size):
            alone = np.flatnonzero(is_alone[:, f]).tolist()
            if alone:
                inputs, numbers = self.fast.on(f)
                lines = np.zeros((self.slow.n_numbers + 1, self.fast.n_inputs), flat.dtype)
                lines[:-1, inputs] = flat[:, numbers]
                for s in alone:
                    _copy_lines(lines, self.places[s], blocks[self.diagonal[s, f]])
        kinds: dict[tuple[int, ...], Kinds] = {}
        for diagonal, pairs in self._shared(is_alone):
            slow = tuple(s for s, _ in pairs)
            if slow not in kinds:
                kinds[slow] = self._kinds(slow)
            lines = np.zeros((kinds[slow].n_kinds + 1, self.fast.n_inputs), flat.dtype)
            for (_, f), (kind, of_kind) in zip(pairs, kinds[slow].numbers, strict=True):
                inputs, numbers = self.fast.on(f)
                lines[kind[:, None], inputs] = flat[of_kind[:, None], numbers]
            _copy_lines(lines, kinds[slow].places, blocks[diagonal])
        return data

    def _shared(self, is_alone: AnyArray) -> Iterator[tuple[int, list[tuple[int, int]]]]:
        """Yield each diagonal that is more than one combination of a slow and a fast diagonal, and these.

        They lie side by side: for 10 columns under wrap, the offset 1 is 0 + 1, and 10 - 9 in the last column.
        """
        pairs, shared = np.argwhere(~is_alone), self.diagonal[~is_alone]
        order = np.argsort(shared, kind="stable")
        diagonals, starts = np.unique(shared[order], return_index=True)
        for diagonal, combined in zip(diagonals.tolist(), np.split(pairs[order], starts[1:]), strict=False):
            yield diagonal, combined.tolist()

    def _kinds(self, slow: tuple[int, ...]) -> Kinds:
        """Return the different combinations of entries on these slow diagonals; the empty one is the last."""
        empty = self.slow.n_numbers
        kind: IntArray = np.zeros(self.slow.n_inputs, np.int64)
        for s in slow:
            _, kind = np.unique(kind * (empty + 1) + self.places[s], return_inverse=True)
        is_empty = (self.places[list(slow)] == empty).all(axis=0)
        _, first, kind = np.unique(np.where(is_empty, kind.size, kind), return_index=True, return_inverse=True)
        count = first.size - int(is_empty.any())
        numbers = [self.places[s][first[:count]] for s in slow]
        present = [np.flatnonzero(number < empty) for number in numbers]
        return Kinds(count, kind, [(at, number[at]) for at, number in zip(present, numbers, strict=True)])


def _copy_lines(lines: AnyArray, which: IntArray, block: AnyArray) -> None:
    """Copy a line to each row of ``block``; the last line is empty, and rows at the ends that have it stay as they are.

    Memory that is zero from the start is not written to, so that the system need not supply it.
    """
    filled = np.flatnonzero(which < len(lines) - 1)
    part = slice(filled[0], filled[-1] + 1)
    lines.take(which[part], axis=0, out=block[part], mode="clip")  # with another mode NumPy copies the result


def lines_of(rows: Rows) -> Lines | None:
    """Return the diagonals of rows as lines; None if they are too short, as with strides, to be copied quickly."""
    counts = [rows.width if j is None else rows.entries(j) for j in _digits(rows)]
    shape = rows.geometry.in_shape if rows.order == "C" else rows.geometry.in_shape[::-1]

    def listed(cut: int) -> int:
        """Return the number of pairs that are listed."""
        return prod(counts[:cut]) + prod(counts[cut:])

    cut = min(range(1, len(counts) + 1), key=lambda at: (prod(shape[at:]) < _LONG, listed(at)))
    if listed(cut) * _PER_PAIR > rows.nnz:
        return None
    return (_kept if listed(cut) <= _KEPT else _cut)(rows, cut)


def _cut(rows: Rows, cut: int) -> Lines | None:
    """Return the diagonals of rows whose axes are cut after the first few."""
    pairs = _pairs(rows)
    slow, fast = Side(pairs[:cut]), Side(pairs[cut:])
    return None if slow.offsets.size * fast.offsets.size * _PER_CALL > rows.nnz else Lines(rows, slow, fast)


_kept = lru_cache(maxsize=8)(_cut)


def _digits(rows: Rows) -> tuple[int | None, ...]:
    """Return the axes in the order of the flattened input, slowest first; None is the channel."""
    space: tuple[int | None, ...] = tuple(range(len(rows.geometry.axes)))
    digits = rows.geometry.layout.join(None, space)
    return digits if rows.order == "C" else digits[::-1]


def _pairs(rows: Rows) -> list[Pairs]:
    """Return the pairs of an output and an input of each axis, slowest first."""
    row_shape = rows.geometry.layout.join(len(rows.channels), rows.row_sizes)
    row_step = strides(rows.geometry, row_shape, rows.order)
    column_step = strides(rows.geometry, rows.geometry.in_shape, rows.order)
    return [
        _channel_pairs(rows, row_step.channel, column_step.channel)
        if j is None
        else _axis_pairs(rows, j, row_step.spatial[j], column_step.spatial[j])
        for j in _digits(rows)
    ]


def _axis_pairs(rows: Rows, axis: int, row_step: int, column_step: int) -> Pairs:
    """Return the pairs of a spatial axis."""
    offsets, inputs, numbers = [], [], []
    for run in rows.runs(axis):
        steps = np.arange(run.count)[:, None]
        columns = steps * run.shift + run.columns
        offsets.append((columns * column_step - (run.start + steps * run.step) * row_step).ravel())
        inputs.append(columns.ravel())
        numbers.append(np.broadcast_to(run.entries, columns.shape).ravel())
    size = rows.geometry.axes[axis].size
    n_numbers = rows.geometry.axes[axis].kernel + len(sums(rows.geometry.axes[axis]))
    return Pairs(np.concatenate(offsets), np.concatenate(inputs), np.concatenate(numbers), size, n_numbers)


def _channel_pairs(rows: Rows, row_step: int, column_step: int) -> Pairs:
    """Return the pairs of a filter and an input channel; the first filter of the rows has row 0."""
    channels = rows.column_channels()
    filters = np.arange(len(rows.channels))[:, None]
    offsets = channels * column_step - filters * row_step
    return Pairs(offsets.ravel(), channels.ravel(), np.arange(channels.size), rows.geometry.in_channels, channels.size)


def _in_order(rows: Rows, entries: AnyArray) -> AnyArray:
    """Return entries (filters, channels of a group, entries1..entriesd) in the order of the digits, flattened."""
    pairs = entries.reshape(-1, *entries.shape[2:])
    if rows.geometry.layout is Layout.PLAIN:
        pairs = pairs[0]
        return pairs.transpose(rows.axis_order).reshape(-1)
    return pairs.transpose([0 if j is None else j + 1 for j in _digits(rows)]).reshape(-1)
