"""Look-up of single outputs and inputs of an axis: what chosen outputs read, and which outputs read chosen inputs.

`runs` compresses a whole axis. Here chosen places are looked up in any order, in time that grows with the length of the
answer alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convmtx.boundary import NOTHING, write_out
from convmtx.geometry.axis import Axis
from convmtx.geometry.listed import ListedAxis
from convmtx.typing import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Lists of places with a number beside each place, one list after another.

    List m is ``places[starts[m]:starts[m + 1]]``, ascending.
    """

    starts: IntArray
    places: IntArray
    numbers: IntArray

    @property
    def counts(self) -> IntArray:
        """Length of each list."""
        return np.diff(self.starts)


#: Sets of two or more taps that share a matrix entry, each ascending. Numbers of entries count them after the taps.
Sums = tuple[tuple[int, ...], ...]


def list_reads(axis: Axis, outputs: IntArray) -> tuple[Lists, Sums]:
    """Return the inputs that each of these outputs reads, with the number of the entry beside each, and the sums."""
    if isinstance(axis, ListedAxis):
        return Lists(*axis.lists(outputs)), ()
    lists, places, taps = read_entries(axis, outputs)
    return _sort_into_lists(axis, outputs.size, lists, places, taps)


def list_readers(axis: Axis, inputs: IntArray) -> tuple[Lists, Sums]:
    """Return the outputs that read each of these inputs, with the number of the entry beside each, and the sums.

    Output ``o`` reads stretched position ``q`` through tap ``p`` where ``o*s = q + lo - p*t``. If only zeros are read
    outside, these outputs are what the transposed axis reads.
    """
    if axis.zero_outside and (transposed := axis.transposed):
        lists, outputs, taps = read_entries(transposed, inputs)
        return _sort_into_lists(axis, inputs.size, lists, outputs, axis.kernel - 1 - taps)
    # All positions that hold these inputs, inside and outside, and o*s for each tap: o exists if s divides that.
    owners, positions = axis.boundary.images(inputs * axis.input_dilation, axis.stretched, *axis.reach)
    offset = positions[:, None] + axis.lo - np.arange(axis.kernel) * axis.dilation
    outputs, rest = np.divmod(offset, axis.stride)
    image, taps = np.nonzero((rest == 0) & (outputs >= 0) & (outputs < axis.out))
    return _sort_into_lists(axis, inputs.size, owners[image], outputs[image, taps], taps)


def read_entries(axis: Axis, outputs: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return all that some outputs read: for each, the index of the output in ``outputs``, the input and the tap.

    Under zeros outside, these are as many as the entries of the outputs' rows, however long the kernel is.
    """
    first, counts, step = axis.reading(outputs)
    lists, taps = write_out(np.arange(outputs.size), first, counts, step)
    places = axis.read(outputs[lists], taps)
    is_input = places != NOTHING
    return lists[is_input], places[is_input], taps[is_input]


def _sort_into_lists(axis: Axis, count: int, lists: IntArray, places: IntArray, taps: IntArray) -> tuple[Lists, Sums]:
    """Sort places by list, and number their entries; taps that share a place become one entry, a sum.

    Lists [0, 0, 0, 1], places [1, 0, 1, 2] and taps [0, 1, 2, 0] of an axis with 3 taps become starts [0, 2, 3],
    places [0, 1, 2] and numbers [1, 3, 0], in which 3 is the sum of taps 0 and 2.
    """
    order = np.lexsort((taps, places, lists))
    lists, places, taps = lists[order], places[order], taps[order]
    is_first = np.ones(lists.size, bool)  # of those with its list and place
    is_first[1:] = (lists[1:] != lists[:-1]) | (places[1:] != places[:-1])
    begins = np.flatnonzero(is_first)
    ends = np.append(begins[1:], lists.size)
    numbers = taps[begins]
    sums: dict[tuple[int, ...], int] = {}
    for m in np.flatnonzero(ends - begins > 1):
        shared = tuple(taps[begins[m] : ends[m]].tolist())
        numbers[m] = sums.setdefault(shared, axis.kernel + len(sums))
    starts = np.concatenate([[0], np.cumsum(np.bincount(lists[begins], minlength=count))])
    return Lists(starts, places[begins], numbers), tuple(sums)
