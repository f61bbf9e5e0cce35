"""Apply a convolution, or its transpose, piece by piece: to chunks of an array that no memory has to hold whole.

A chunk of the outputs is a convolution of its own, of the few intervals of inputs that it reads (`geometry.reads`). A
chunk of the transpose is a sum of transposed convolutions, which gather what belongs to it. So no chunk is added to by
another, chunks are made in any order, and each as often as wanted.

Nothing here knows where chunks are kept: `dask` writes graphs of them, and a store reads and writes them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines.application import Application
from convmtx.engines.parts import wide
from convmtx.geometry import Axis, Copy, Geometry, halo, halved, halved_back, pieces, window
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import AnyArray, EngineName, Shape

#: Ends of chunks along an axis, from 0 to its size.
Edges = tuple[int, ...]
#: Maps of chunks whose decisions are kept: interior chunks of one size share one, and an array has few sizes.
MOST_KEPT = 64


class Span(NamedTuple):
    """One convolution of a chunk along one axis of the arrays."""

    #: The axis of the convolution; None for channels.
    axis: Axis | None
    #: Number of places of its input, and what stands there.
    size: int
    reads: tuple[Copy, ...]
    #: To what of the chunk each place of its result is added; None if they are the chunk.
    adds: tuple[Copy, ...] | None = None

    @property
    def entries(self) -> int:
        """Number of entries that are read."""
        return sum(last - first for first, last in (copy.interval for copy in self.reads))


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk to make: a sum of convolutions, each with a span along every axis of the arrays."""

    shape: Shape
    pieces: tuple[tuple[Span, ...], ...]
    filters: range


class ChunkedMap:
    """A convolution, or the transpose of one, between arrays that are cut into chunks."""

    def __init__(self, geometry: Geometry, kernel: AnyArray, engine: EngineName, transposed: bool) -> None:
        """Take the kernel of a map; if ``transposed``, its transpose is applied, which is not a convolution."""
        self.geometry, self.kernel, self.engine, self.transposed = geometry, kernel, engine, transposed
        self._applications: dict[Any, Application] = {}

    def __getstate__(self) -> tuple[Any, ...]:
        return self.geometry, self.kernel, self.engine, self.transposed

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    @property
    def in_shape(self) -> Shape:
        """Shape of one input of what is applied."""
        return self.geometry.out_shape if self.transposed else self.geometry.in_shape

    @property
    def out_shape(self) -> Shape:
        """Shape of one output of what is applied."""
        return self.geometry.in_shape if self.transposed else self.geometry.out_shape

    @cached_property
    def axes(self) -> tuple[Axis | None, ...]:
        """Axis of the map for each axis of the arrays; None for channels."""
        return self.geometry.layout.join(None, tuple(self.geometry.axes))

    def out_edges(self, in_edges: Sequence[Edges]) -> tuple[Edges, ...]:
        """Return where to cut outputs, so that chunks read about as much beyond their inputs on either side."""
        cut = halved_back if self.transposed else halved
        return tuple(
            self._channel_edges(edges) if axis is None else cut(axis, tuple(sorted(set(edges))))
            for axis, edges in zip(self.axes, in_edges, strict=True)
        )

    def _channel_edges(self, edges: Edges) -> Edges:
        """Return edges of output channels: whole groups as inputs have them, or else all channels together."""
        rows, columns = self.channels_per_group
        if all(edge % columns == 0 for edge in edges):
            return tuple(sorted({edge // columns * rows for edge in edges}))
        return (0, self.geometry.groups * rows)

    @property
    def channels_per_group(self) -> tuple[int, int]:
        """Number of output and of input channels of one group of what is applied."""
        per_f, per_c = self.geometry.channels_per_group
        return (per_c, per_f) if self.transposed else (per_f, per_c)

    def spans(self, out_edges: Sequence[Edges]) -> tuple[tuple[tuple[Span, ...], ...], ...]:
        """Return the alternatives of each chunk along each axis: a chunk's pieces are all products of them."""
        return tuple(
            tuple(self._span(axis, range(first, last)) for first, last in pairwise(edges))
            for axis, edges in zip(self.axes, out_edges, strict=True)
        )

    def _span(self, axis: Axis | None, outputs: range) -> tuple[Span, ...]:
        """Return the convolutions along one axis that make a range of outputs."""
        if axis is None:
            rows, columns = self.channels_per_group
            first, last = outputs.start // rows * columns, -(-outputs.stop // rows) * columns
            return (Span(None, last - first, (Copy(0, first, last - first),)),)
        if not self.transposed:
            part = window(axis, outputs)
            return (Span(part.axis, part.axis.size, part.copies),)
        spans = []
        for part in pieces(axis, outputs):
            count = len(part.outputs)
            adds = tuple(copy.since(outputs.start) for copy in part.copies)
            is_whole = len(adds) == 1 and adds[0].is_plain and adds[0].length == len(outputs)
            read = (Copy(0, part.outputs.start, count),)
            spans.append(Span(part.axis, count, read, None if is_whole else adds))
        return tuple(spans)

    def chunk(self, outputs: Sequence[range], pieces: Sequence[tuple[Span, ...]]) -> Chunk:
        """Return how to make the chunk of these outputs from pieces, each with a span along every axis."""
        filters = next((r for axis, r in zip(self.axes, outputs, strict=True) if axis is None), range(1))
        return Chunk(tuple(map(len, outputs)), tuple(pieces), filters)

    def halo(self, in_edges: Sequence[Edges]) -> tuple[tuple[int, int], ...]:
        """Return how many inputs before and after its own a chunk of the convolution reads at most, along each axis."""
        widths = []
        for axis, edges in zip(self.axes, in_edges, strict=True):
            pairs = [(0, 0)] if axis is None else [(0, 0), *(halo(axis, edge) for edge in edges[1:-1])]
            widths.append((max(before for before, _ in pairs), max(after for _, after in pairs)))
        return tuple(widths)

    # Values

    def result_type(self, dtype: Any) -> np.dtype[Any]:
        """Return the type of the outputs of inputs of a type."""
        return np.result_type(self.kernel.dtype, dtype)

    def compute(self, chunk: Chunk, batch: Shape, inputs: Iterator[AnyArray], dtype: np.dtype[Any]) -> AnyArray:
        """Return a chunk (*batch, *chunk.shape) from the inputs of each of its pieces."""
        result: AnyArray | None = None
        summed = wide(dtype)  # float16 is rounded once, when all are added
        for piece, x in zip(chunk.pieces, inputs, strict=True):
            is_sum = len(chunk.pieces) > 1 or any(span.adds is not None for span in piece)
            y = self._apply(piece, chunk.filters, x.astype(np.result_type(summed, x), copy=False) if is_sum else x)
            y = y.reshape(batch + y.shape[1:])
            if not is_sum:
                return y
            if result is None:
                result = np.zeros(batch + chunk.shape, summed)
            for places, where in _additions(piece):
                result[keyed(where)] += y[keyed(places)]
        return np.zeros(batch + chunk.shape, dtype) if result is None else result.astype(dtype, copy=False)

    def _apply(self, piece: tuple[Span, ...], filters: range, x: AnyArray) -> AnyArray:
        """Apply the convolution of a piece to inputs (*batch, *sizes), flattened to one batch axis."""
        application = self._application(tuple(span.axis for span in piece if span.axis is not None), filters)
        return application.apply(x.reshape(-1, *x.shape[x.ndim - len(piece) :]))

    def _application(self, axes: tuple[Axis, ...], filters: range) -> Application:
        """Return the convolution along these axes to these channels of the outputs, which is kept."""
        key = axes, filters
        application = self._applications.get(key)
        if application is None:
            geometry, kernel = self._part(axes, filters)
            if self.transposed:
                mirrored = geometry.T
                assert mirrored is not None  # only zeros are read outside a piece
                geometry = mirrored
            if len(self._applications) >= MOST_KEPT:
                self._applications = {}
            application = self._applications[key] = Application(geometry, kernel, self.engine)
        return application

    def _part(self, axes: tuple[Axis, ...], channels: range) -> tuple[Geometry, AnyArray]:
        """Return the map, not its transpose, along other axes, and of the groups of these channels alone."""
        geometry = replace(self.geometry, axes=axes)
        rows, _ = self.channels_per_group
        first, last = channels.start // rows, -(-channels.stop // rows)
        if last - first == geometry.groups:
            return geometry, self.kernel
        per_f, per_c = geometry.channels_per_group
        groups = last - first
        part = replace(geometry, in_channels=groups * per_c, out_channels=groups * per_f, groups=groups)
        taps = taps_of(self.geometry, self.kernel)[first * per_f : last * per_f]
        return part, np.ascontiguousarray(kernel_of(part, taps))


def _additions(piece: tuple[Span, ...]) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield which places of a result are added to which of the chunk; to one alone, place after place."""
    options = []
    for span in piece:
        whole = [(slice(None), slice(None))]
        options.append(whole if span.adds is None else [pair for copy in span.adds for pair in _pairs(copy)])
    for chosen in product(*options):
        yield tuple(place for place, _ in chosen), tuple(where for _, where in chosen)


def _pairs(copy: Copy) -> Iterator[tuple[slice, slice]]:
    """Yield places and inputs of a copy; where one input is repeated, each place by itself."""
    if copy.step:
        yield copy.places, copy.inputs
        return
    for j in range(copy.length):
        yield slice(copy.at + j * copy.apart, copy.at + j * copy.apart + 1), copy.inputs


def keyed(slices: Iterable[slice]) -> Any:
    """Return the key of a box of arrays with any batch axes."""
    return (..., *slices)


def moves(piece: Sequence[Span]) -> Iterator[tuple[Copy, ...]]:
    """Yield what is read for a piece, box by box: a copy along each axis."""
    return product(*(span.reads for span in piece))


def is_view(copies: Sequence[Copy], sizes: Shape) -> bool:
    """Whether one box is all that stands at the places of a piece."""
    return all(copy.is_plain and copy.length == size for copy, size in zip(copies, sizes, strict=True))


def assemble(piece: Sequence[Span], boxes: Sequence[tuple[tuple[Copy, ...], AnyArray]]) -> AnyArray:
    """Return the inputs of a piece (*batch, *sizes) from boxes, each with the copies that say where it stands.

    Inputs of the copies are counted from the start of the array beside them.
    """
    sizes = tuple(span.size for span in piece)
    if len(boxes) == 1 and is_view(boxes[0][0], sizes):
        copies, array = boxes[0]
        return array[keyed(copy.inputs for copy in copies)]
    array = boxes[0][1]
    filled = sum(prod(copy.length for copy in copies) for copies, _ in boxes)
    shape = array.shape[: array.ndim - len(sizes)] + sizes
    x = np.empty(shape, array.dtype) if filled == prod(sizes) else np.zeros(shape, array.dtype)
    for copies, array in boxes:
        x[keyed(copy.places for copy in copies)] = array[keyed(copy.inputs for copy in copies)]
    return x
