"""What chosen outputs of an axis read, and which outputs read chosen inputs: lists of them, one after another.

`runs` compresses a whole axis. Here any outputs, or inputs, are looked up in any order, and only these: what it takes
grows with the length of the lists alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from convmtx.boundary import NOTHING, spelled
from convmtx.geometry.axis import Axis
from convmtx.typing import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Lists of places, each ascending: list m is ``[starts[m]:starts[m + 1]]``, with a number beside each place."""

    starts: IntArray
    places: IntArray
    numbers: IntArray

    @property
    def counts(self) -> IntArray:
        """Length of each list."""
        return np.diff(self.starts)


#: Sets of taps, two or more and ascending, that share an entry; entries count them after the taps.
Sums = tuple[tuple[int, ...], ...]


def reads(axis: Axis, outputs: IntArray) -> tuple[Lists, Sums]:
    """Return the inputs that each of these outputs reads, each with the number of its entry, and what is summed."""
    lists, places, taps = _read(axis, outputs)
    return _listed(axis, outputs.size, lists, places, taps)


def readers(axis: Axis, inputs: IntArray) -> tuple[Lists, Sums]:
    """Return the outputs that read each of these inputs, each with the number of its entry, and what is summed.

    Output ``o`` reads stretched position ``q`` through tap ``p`` where ``o*s = q + lo - p*t``. Where nothing but zeros
    is read outside, they are what the transposed axis reads.
    """
    if axis.zero_outside and (mirrored := axis.transposed):
        lists, outputs, taps = _read(mirrored, inputs)
        return _listed(axis, inputs.size, lists, outputs, axis.kernel - 1 - taps)
    owners, positions = axis.boundary.images(inputs * axis.input_dilation, axis.stretched, *axis.reach)
    offset = positions[:, None] + axis.lo - np.arange(axis.kernel) * axis.dilation
    outputs, rest = np.divmod(offset, axis.stride)
    image, taps = np.nonzero((rest == 0) & (outputs >= 0) & (outputs < axis.out))
    return _listed(axis, inputs.size, owners[image], outputs[image, taps], taps)


def _read(axis: Axis, outputs: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return number of the output, input and tap of each reading."""
    first, counts, step = axis.reading(outputs)
    lists, taps = spelled(np.arange(outputs.size), first, counts, step)
    places = axis.read(outputs[lists], taps)
    there = places != NOTHING
    return lists[there], places[there], taps[there]


def _listed(axis: Axis, count: int, lists: IntArray, places: IntArray, taps: IntArray) -> tuple[Lists, Sums]:
    """Sort places into their lists, taps that share a place as one."""
    order = np.lexsort((taps, places, lists))
    lists, places, taps = lists[order], places[order], taps[order]
    new = np.ones(lists.size, bool)
    new[1:] = (lists[1:] != lists[:-1]) | (places[1:] != places[:-1])
    at = np.flatnonzero(new)
    ends = np.append(at[1:], lists.size)
    numbers = taps[at]
    seen: dict[tuple[int, ...], int] = {}
    for m in np.flatnonzero(ends - at > 1):
        shared = tuple(taps[at[m] : ends[m]].tolist())
        numbers[m] = seen.setdefault(shared, axis.kernel + len(seen))
    starts = np.concatenate([[0], np.cumsum(np.bincount(lists[at], minlength=count))])
    return Lists(starts, places[at], numbers), tuple(seen)
