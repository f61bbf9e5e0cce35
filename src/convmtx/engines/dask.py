"""Apply maps to arrays of Dask: graphs of one task for each chunk of the outputs, and one for what its neighbours read.

Nothing is computed here. A chunk of the inputs is cut once, into the strips that chunks beyond it read, so that a
cluster moves strips and not chunks. Then each chunk of the outputs is one task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines.chunked import Chunk, ChunkedMap, Edges, Span, assemble, keyed
from convmtx.errors import ArgumentError
from convmtx.extras import import_extra
from convmtx.geometry import Copy
from convmtx.typing import AnyArray, Shape

#: Chunk along each axis, counted from 0.
Place = tuple[int, ...]
#: First and last entry of a chunk that is read, along each axis.
Box = tuple[tuple[int, int], ...]


def edges_of(chunks: Sequence[Sequence[int]]) -> tuple[Edges, ...]:
    """Return the ends of chunks along each axis."""
    return tuple(tuple(accumulate(sizes, initial=0)) for sizes in chunks)


def apply(op: ChunkedMap, x: Any) -> Any:
    """Return the outputs (*batch, *out_shape) of an array of Dask (*batch, *in_shape), as one whose tasks are not run.

    Batch axes keep their chunks.
    """
    array, base, graphs = (import_extra(f"dask.{name}", "dask") for name in ("array", "base", "highlevelgraph"))
    n_batch = x.ndim - len(op.in_shape)
    token = base.tokenize(op.geometry, op.kernel, op.engine, op.transposed, x.name)
    verb = "gather" if op.transposed else "convolve"
    layer = _Layer(op, f"{verb}-{token}", f"cut-{token}", x, n_batch)
    dtype = op.result_type(x.dtype)
    graph = graphs.HighLevelGraph.from_collections(layer.name, layer.tasks(dtype), dependencies=[x])
    chunks = (*x.chunks[:n_batch], *(tuple(b - a for a, b in pairwise(e)) for e in layer.out_edges))
    return array.Array(graph, layer.name, chunks, meta=np.empty((0,) * len(chunks), dtype))


@dataclass(frozen=True, slots=True)
class Recipe:
    """A chunk to make from the sources of a task: for each box of each piece, the copies, and which strip, if one."""

    chunk: Chunk
    boxes: tuple[tuple[tuple[tuple[Copy, ...], int | None], ...], ...]
    dtype: np.dtype[Any]


def compute(op: ChunkedMap, recipe: Recipe, batch: Shape, sources: list[Any]) -> AnyArray:
    """Return a chunk of the outputs: what a task runs. Sources are chunks of the inputs, or lists of strips."""
    left = iter(sources)

    def inputs() -> Iterator[AnyArray]:
        for piece, boxes in zip(recipe.chunk.pieces, recipe.boxes, strict=True):
            own = zip(boxes, islice(left, len(boxes)), strict=True)
            yield assemble(piece, [(c, array if strip is None else array[strip]) for (c, strip), array in own])

    return op.compute(recipe.chunk, batch, inputs(), recipe.dtype)


@dataclass(frozen=True, slots=True)
class Cuts:
    """Boxes of a chunk that chunks beyond it read."""

    boxes: tuple[Box, ...]

    def __call__(self, array: AnyArray) -> list[AnyArray]:
        """Return copies of them, so that the chunk itself can be given up."""
        return [array[keyed(slice(*ends) for ends in box)].copy() for box in self.boxes]


class Read(NamedTuple):
    """One chunk of the inputs along one axis, and what a span reads of it."""

    number: int
    size: int
    interval: tuple[int, int]
    #: The same, counted from the start of the chunk, and from that of the interval, which may be cut out of it.
    of_chunk: Copy
    of_strip: Copy


#: A span along one axis, with what it reads of each chunk, a list for each of its copies one after the other.
Reads = tuple[Span, list[Read]]


class _Layer:
    """The tasks of one map applied to one array."""

    def __init__(self, op: ChunkedMap, name: str, cut: str, x: Any, n_batch: int) -> None:
        self.op, self.name, self.cut, self.x, self.n_batch = op, name, cut, x, n_batch
        self.in_edges = edges_of(x.chunks[n_batch:])
        self.out_edges = op.out_edges(self.in_edges)
        #: Boxes that are cut out of each chunk of one image, and their numbers.
        self.strips: dict[Place, dict[Box, int]] = {}

    def tasks(self, dtype: np.dtype[Any]) -> dict[Any, Any]:
        """Return all tasks by their keys; those of other images of the batch have the same recipes."""
        op_key = f"map-{self.name}"
        graph: dict[Any, Any] = {op_key: self.op}
        recipes = [(place, *self._recipe(place, chosen, dtype)) for place, chosen in self._places()]
        for batch in product(*(enumerate(sizes) for sizes in self.x.chunks[: self.n_batch])):
            images, shape = tuple(j for j, _ in batch), tuple(size for _, size in batch)
            for place, boxes in self.strips.items():
                graph[(self.cut, *images, *place)] = (Cuts(tuple(boxes)), (self.x.name, *images, *place))
            for place, recipe, sources in recipes:
                keys = [(name, *images, *source) for name, source in sources]
                graph[(self.name, *images, *place)] = (compute, op_key, recipe, shape, keys)
        return graph

    def _places(self) -> Iterator[tuple[Place, tuple[list[Reads], ...]]]:
        """Yield the place of each chunk of an output, and the alternatives of its pieces along each axis."""
        numbered = []
        for spans, edges in zip(self.op.spans(self.out_edges), self.in_edges, strict=True):
            split_spans = [[(span, list(_split(span, edges))) for span in alternatives] for alternatives in spans]
            numbered.append(list(enumerate(split_spans)))
        for chosen in product(*numbered):
            yield tuple(j for j, _ in chosen), tuple(reads for _, reads in chosen)

    def _recipe(
        self, place: Place, axes: tuple[list[Reads], ...], dtype: np.dtype[Any]
    ) -> tuple[Recipe, list[tuple[str, Place]]]:
        """Return how a chunk is made, and the names and places of its sources."""
        outputs = [range(edges[j], edges[j + 1]) for j, edges in zip(place, self.out_edges, strict=True)]
        split_pieces = [(piece, list(product(*(reads for _, reads in piece)))) for piece in product(*axes)]
        # Of chunks that it reads most of, a task needs no strips.
        whole = {_place(reads) for _, boxes in split_pieces for reads in boxes if _is_most(reads)}
        pieces, boxes, sources = [], [], []
        for piece, own in split_pieces:
            parts = [self._source(reads, whole) for reads in own]
            if parts:
                pieces.append(tuple(span for span, _ in piece))
                boxes.append(tuple((copies, strip) for copies, strip, _ in parts))
                sources += [source for _, _, source in parts]
        return Recipe(self.op.chunk(outputs, pieces), tuple(boxes), dtype), sources

    def _source(
        self, reads: tuple[Read, ...], whole: set[Place]
    ) -> tuple[tuple[Copy, ...], int | None, tuple[str, Place]]:
        """Return what to read from a source, the number of its strip, and the source: a whole chunk, or its strips."""
        place = _place(reads)
        if place in whole:
            return tuple(read.of_chunk for read in reads), None, (self.x.name, place)
        strips = self.strips.setdefault(place, {})
        strip = strips.setdefault(tuple(read.interval for read in reads), len(strips))
        return tuple(read.of_strip for read in reads), strip, (self.cut, place)


def _place(reads: tuple[Read, ...]) -> Place:
    """Return which chunk is read."""
    return tuple(read.number for read in reads)


def _is_most(reads: tuple[Read, ...]) -> bool:
    """Whether more than half of a chunk is read, which is not worth while to cut out of it."""
    return 2 * prod(read.interval[1] - read.interval[0] for read in reads) > prod(read.size for read in reads)


def _split(span: Span, edges: Edges) -> Iterator[Read]:
    """Yield the chunks that a span reads, and what it reads of each."""
    for copy in span.reads:
        for j, of_chunk in copy.split(edges):
            interval = of_chunk.interval
            yield Read(j, edges[j + 1] - edges[j], interval, of_chunk, of_chunk.since(interval[0]))


def by_images(function: Callable[[AnyArray], AnyArray], x: Any, in_shape: Shape, out_shape: Shape, dtype: Any) -> Any:
    """Return the outputs of a function of single images, (*in_shape) to (*out_shape), batch chunk by batch chunk.

    It is for maps that are not cut into chunks, so one image has to be one chunk.
    """
    n = len(in_shape)
    batch, image = x.chunks[: x.ndim - n], x.chunks[x.ndim - n :]
    if any(len(sizes) > 1 for sizes in image):
        got = f"an array of Dask cuts images {in_shape} into chunks {image}"
        axes = ", ".join(f"{j}: -1" for j in range(-n, 0))
        expected = "This map takes one chunk an image; convolutions, their sums, products and stacks take any"
        raise ArgumentError(got, expected, f"Pass x.rechunk({{{axes}}}); for missing outputs use cm.solve(..., mask=)")
    old, new = tuple(range(x.ndim - n, x.ndim)), tuple(range(x.ndim - n, x.ndim - n + len(out_shape)))
    return import_extra("dask.array", "dask").map_blocks(
        function, x, drop_axis=old, new_axis=new, chunks=(*batch, *((size,) for size in out_shape)),
        dtype=dtype, meta=np.empty((0,) * (len(batch) + len(out_shape)), dtype),
    )  # fmt: skip
