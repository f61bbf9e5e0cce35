"""Chunks of a source that few readers decode, although all blocks around them read a strip of each.

In two dimensions a block reads its own chunk and strips of eight others. So whoever decodes a chunk keeps all strips
that others read of it, and a later block finds them: then a process decodes each chunk twice, not nine times.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from math import prod
from threading import Lock

from convmtx.geometry import Copy
from convmtx.storage.arrays import StoredArray
from convmtx.typing import AnyArray, Shape

#: Bytes of strips that a process keeps; those that were not read for the longest time go first.
STRIP_BYTES = 1 << 25
#: A box is a strip if a chunk has as many times its entries, and strips are kept if together they are half a chunk.
_THIN = 8
#: First and last entry along each axis, counted from the start of a chunk.
Box = tuple[tuple[int, int], ...]


def split(copy: Copy, step: int) -> Iterator[tuple[int, Copy]]:
    """Yield the chunks of this size that a copy reads, and what it reads of each, counted from the chunk's start."""
    return copy.split(range(0, copy.interval[1] + step, step))


class Strips:
    """A source that is read chunk by chunk, with strips that are kept for later readers."""

    def __init__(self, source: StoredArray, step: Shape, reads: Sequence[Iterable[Copy]]) -> None:
        """Take the shape of what is read at a time, and along each axis all that is ever read."""
        self.source, self.step = source, step
        self._along = [_intervals(copies, length) for copies, length in zip(reads, step, strict=True)]
        self._kept: OrderedDict[Shape, dict[Box, AnyArray]] = OrderedDict()
        self._bytes, self._lock = 0, Lock()

    def read(self, place: Shape, box: Box) -> AnyArray:
        """Return a box of a chunk."""
        with self._lock:
            kept = self._kept.get(place, {})
            if box in kept:
                self._kept.move_to_end(place)
                return kept[box]
        sizes = self._sizes(place)
        is_whole = box == tuple((0, size) for size in sizes)
        if not is_whole and box not in self._boxes(place):
            return self.source.read(self._keys(place, box))
        chunk = self.source.read(self._keys(place, tuple((0, size) for size in sizes)))
        if not kept:
            self._keep(place, chunk)
        return chunk if is_whole else chunk[tuple(slice(*ends) for ends in box)]

    def _sizes(self, place: Shape) -> Shape:
        """Return the shape of a chunk; the last one along an axis may be smaller."""
        sides = zip(place, self.step, self.source.shape, strict=True)
        return tuple(min(step, size - j * step) for j, step, size in sides)

    def _keys(self, place: Shape, box: Box) -> list[slice]:
        """Return where a box of a chunk stands in the source."""
        sides = zip(place, self.step, box, strict=True)
        return [slice(j * step + first, j * step + last) for j, step, (first, last) in sides]

    def _boxes(self, place: Shape) -> list[Box]:
        """Return the strips of a chunk that are read, if it is worth while to keep them."""
        if self.source.chunks is None or self.source.is_mapped:
            return []
        most = prod(self._sizes(place))
        wanted = product(*(along.get(j, ()) for j, along in zip(place, self._along, strict=True)))
        strips = [box for box in wanted if _THIN * _count(box) <= most]
        return strips if 2 * sum(map(_count, strips)) <= most else []

    def _keep(self, place: Shape, chunk: AnyArray) -> None:
        """Keep copies of the strips of a chunk, so that the chunk itself can be given up."""
        strips = {box: chunk[tuple(slice(*ends) for ends in box)].copy() for box in self._boxes(place)}
        with self._lock:
            if place not in self._kept:
                self._kept[place] = strips
                self._bytes += _bytes(strips)
            while self._bytes > STRIP_BYTES:
                self._bytes -= _bytes(self._kept.popitem(last=False)[1])


def _intervals(copies: Iterable[Copy], step: int) -> dict[int, tuple[tuple[int, int], ...]]:
    """Return what is read of each chunk along an axis."""
    numbered: dict[int, set[tuple[int, int]]] = {}
    for copy in copies:
        for j, part in split(copy, step):
            numbered.setdefault(j, set()).add(part.interval)
    return {j: tuple(sorted(intervals)) for j, intervals in numbered.items()}


def _count(box: Box) -> int:
    return prod(last - first for first, last in box)


def _bytes(strips: dict[Box, AnyArray]) -> int:
    return sum(strip.nbytes for strip in strips.values())
