"""Images that are cut into blocks of whole chunks: which, how each is made, and how much memory that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import pairwise, product
from math import prod
from pathlib import Path
from threading import local
from typing import Any

import numpy as np

from convmtx.engines.chunked import Chunk, ChunkedMap, Span, is_view, keyed, moves
from convmtx.extras import import_extra
from convmtx.files import flush
from convmtx.geometry import Copy
from convmtx.storage.arrays import StoredArray
from convmtx.storage.strips import Strips, split
from convmtx.typing import AnyArray, Shape

#: Bytes of outputs from which on a block is not joined with more chunks. A job takes some milliseconds beside its
#: arithmetic, and the less of its inputs lie beyond it, the larger it is.
BLOCK_BYTES = 1 << 23


@dataclass(frozen=True)
class Grid:
    """An array that is cut into equal boxes; the last one along each axis may be smaller."""

    shape: Shape
    box: Shape

    @property
    def counts(self) -> Shape:
        """Number of boxes along each axis."""
        return tuple(-(-size // step) for size, step in zip(self.shape, self.box, strict=True))

    @property
    def count(self) -> int:
        """Number of boxes."""
        return prod(self.counts)

    def places(self, number: int) -> Shape:
        """Return which box along each axis has a number; the last axis counts first."""
        places = []
        for count in reversed(self.counts):
            number, place = divmod(number, count)
            places.append(place)
        return tuple(reversed(places))

    def ranges(self, number: int) -> tuple[range, ...]:
        """Return the entries of a box along each axis."""
        sides = zip(self.places(number), self.box, self.shape, strict=True)
        return tuple(range(place * step, min((place + 1) * step, size)) for place, step, size in sides)

    def boxes(self, within: Sequence[range]) -> Iterator[Shape]:
        """Yield the places of all boxes in a range that begins at one."""
        sides = zip(within, self.box, strict=True)
        return product(*(range(r.start // step, -(-r.stop // step)) for r, step in sides))


def grown(box: Shape, shape: Shape, itemsize: float, first: Sequence[int], then: Sequence[int] = ()) -> Shape:
    """Return a box of at least `BLOCK_BYTES`, if there is so much: it is doubled where it is shortest.

    The axes ``then`` are doubled where all of ``first`` are whole.
    """
    sides = list(box)
    while prod(map(min, sides, shape)) * itemsize < BLOCK_BYTES:
        short = [j for j in first if sides[j] < shape[j]] or [j for j in then if sides[j] < shape[j]]
        if not short:
            break
        sides[min(short, key=lambda j: sides[j])] *= 2
    return tuple(sides)


def shrunk(box: Shape, itemsize: int, most: int, axes: Sequence[int]) -> Shape:
    """Return a box of at most ``most`` bytes, if these axes are long enough: it is halved where it is longest."""
    sides = list(box)
    while prod(sides) * itemsize > most and max(sides[j] for j in axes) > 1:
        longest = max(axes, key=lambda j: sides[j])
        sides[longest] = -(-sides[longest] // 2)
    return tuple(sides)


@dataclass(frozen=True)
class BlockWriter:
    """Job that makes one block of the outputs of a map and writes its chunks."""

    op: ChunkedMap
    source: StoredArray
    #: The outputs with their batch axes, cut into blocks, and into chunks of the target.
    blocks: Grid
    chunks: Grid
    dtype: np.dtype[Any]
    #: Shape of what is read of the source at a time: whole chunks of it, or any part if it has none.
    reads: Shape

    def __call__(self, draft: Path, number: int) -> None:
        """Write the chunks of a block, and wait until they are on the disk."""
        outputs = self.blocks.ranges(number)
        target = import_extra("zarr", "files").open_array(str(draft), mode="r+")
        target[tuple(slice(r.start, r.stop) for r in outputs)] = self.values(outputs)
        for place in self.chunks.boxes(outputs):
            with suppress(FileNotFoundError):  # Zarr writes no chunk of zeros
                flush(draft / target.metadata.encode_chunk_key(place))

    @property
    def _n_batch(self) -> int:
        return len(self.blocks.shape) - len(self.op.out_shape)

    def _pieces(self, outputs: Sequence[range]) -> Chunk:
        """Return how a block of one output is made."""
        spans = [alternatives for (alternatives,) in self.op.spans([(r.start, r.stop) for r in outputs])]
        pieces = [piece for piece in product(*spans) if all(span.reads for span in piece)]
        return self.op.chunk(outputs, pieces)

    def values(self, outputs: Sequence[range]) -> AnyArray:
        """Return a block."""
        images, own = outputs[: self._n_batch], outputs[self._n_batch :]
        chunk, batch = self._pieces(own), tuple(map(len, images))
        inputs = (self._inputs(images, piece) for piece in chunk.pieces)
        return self.op.compute(chunk, batch, inputs, self.dtype)

    def _inputs(self, images: Sequence[range], piece: Sequence[Span]) -> AnyArray:
        """Read the inputs of a piece, one chunk of the source at a time."""
        whole = tuple(Copy(0, r.start, len(r)) for r in images)
        sizes = tuple(map(len, images)) + tuple(span.size for span in piece)
        boxes = [box for copies in moves(piece) for box in self._split((*whole, *copies))]
        if len(boxes) == 1 and is_view(boxes[0][1], sizes):
            return self._read(*boxes[0])
        x = self._buffer(sizes)
        if sum(prod(copy.length for copy in copies) for _, copies in boxes) < x.size:
            x[:] = 0  # between inputs that are dilated
        for place, copies in boxes:
            x[keyed(copy.places for copy in copies)] = self._read(place, copies)
        return x

    def _buffer(self, shape: Shape) -> AnyArray:
        """Return memory that this thread keeps for its next block: fresh memory takes as long as filling it."""
        kept = getattr(self._local, "inputs", None)
        if kept is None or kept.size < prod(shape):
            kept = self._local.inputs = np.empty(prod(shape), self.source.dtype)
        return kept[: prod(shape)].reshape(shape)

    @cached_property
    def _local(self) -> local:
        return local()

    def _split(self, copies: tuple[Copy, ...]) -> Iterator[tuple[Shape, tuple[Copy, ...]]]:
        """Yield the parts of a box that lie in single chunks of the source: the chunk, and what is read there."""
        sides = zip(copies, self.reads, strict=True)
        for parts in product(*(list(split(copy, step)) for copy, step in sides)):
            yield tuple(j for j, _ in parts), tuple(copy for _, copy in parts)

    def _read(self, place: Shape, copies: tuple[Copy, ...]) -> AnyArray:
        """Return what stands at the places of a box."""
        intervals = tuple(copy.interval for copy in copies)
        moved = (copy.since(first) for copy, (first, _) in zip(copies, intervals, strict=True))
        return self._strips.read(place, intervals)[keyed(copy.inputs for copy in moved)]

    @cached_property
    def _strips(self) -> Strips:
        edges = [(*range(0, size, step), size) for size, step in zip(self.blocks.shape, self.blocks.box, strict=True)]
        images = ([Copy(0, a, b - a) for a, b in pairwise(ends)] for ends in edges[: self._n_batch])
        along = self.op.spans(edges[self._n_batch :])
        copies = ([copy for spans in axis for span in spans for copy in span.reads] for axis in along)
        return Strips(self.source, self.reads, (*images, *copies))

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def memory(self) -> int:
        """Return about the most bytes that a job takes: inputs, outputs, what engines add, and chunks in transit."""
        most = 0
        for number in {0, self.blocks.count // 2, self.blocks.count - 1} if self.blocks.count else ():
            outputs = self.blocks.ranges(number)
            images, own = outputs[: self._n_batch], outputs[self._n_batch :]
            read = [prod(span.size for span in piece) for piece in self._pieces(own).pieces]
            most = max(most, prod(map(len, images)) * (max(read, default=0) + prod(map(len, own))))
        in_transit = prod(self.reads) * self.source.dtype.itemsize if self.source.chunks else 0
        return 2 * most * self.dtype.itemsize + in_transit
