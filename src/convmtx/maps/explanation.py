"""Explanations of a convolution: its geometry, its sizes and its engine, as data and as a table."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise
from math import prod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from convmtx import costs, forms, memory, rates
from convmtx._xp import itemsize
from convmtx.arguments import as_list, integer
from convmtx.errors import ArgumentError, shown
from convmtx.geometry import Geometry
from convmtx.typing import EngineName, Shape

if TYPE_CHECKING:
    from convmtx.engines.application import Use

#: Number of calls to time. The median of three leaves out one call that another process disturbed.
REPEAT = 3


@dataclass(frozen=True, slots=True)
class Chunking:
    """Cost of applying a map to an array in chunks, before any task runs: part of an `Explanation`."""

    in_chunks: tuple[tuple[int, ...], ...]
    out_chunks: tuple[tuple[int, ...], ...]
    #: Inputs that a chunk reads at most before and after its own, along each axis; those beyond a boundary not counted.
    halo: tuple[tuple[int, int], ...]
    #: Bytes that all tasks read, and that all inputs have, in the type of the map.
    bytes_read: int
    bytes_needed: int
    #: Tasks at most: one for each chunk of the outputs, one for each chunk of the inputs from which strips are cut, and
    #: the map itself.
    tasks: int
    #: Bytes of the largest task: what it reads, its inputs put together, and its outputs.
    bytes_of_task: int

    def __str__(self) -> str:
        widths = ", ".join(f"{before} and {after}" for before, after in self.halo)
        ratio = self.bytes_read / max(self.bytes_needed, 1)
        counts = " x ".join(str(len(sizes)) for sizes in self.out_chunks)
        return (
            f"chunks {' x '.join(str(len(sizes)) for sizes in self.in_chunks)} -> {counts}, which read beyond them "
            f"{widths} inputs\n  {memory.human(self.bytes_read)} read, {ratio:.4g} times the inputs; at most "
            f"{self.tasks} tasks of {memory.human(self.bytes_of_task)}"
        )


@dataclass(frozen=True, slots=True)
class Explanation:
    """Result of `ConvOperator.explain`: plain data (`dataclasses.asdict` of it is JSON) that prints as a table."""

    in_shape: Shape
    out_shape: Shape
    shape: tuple[int, int]
    dtype: str
    in_channels: int
    out_channels: int
    groups: int
    channels: str
    flip: bool
    transposed: bool
    #: Size, kernel, stride, dilation, pads, input dilation, boundary and outputs of each spatial axis.
    axes: tuple[dict[str, Any], ...]
    nnz: int
    #: Bytes of each form by name, without the forms that this map does not have.
    bytes: dict[str, int]
    engine: str
    reason: str
    #: Flops, bytes copied on the way, predicted seconds and, on request, measured seconds of each engine that can apply
    #: the map to one input of its type.
    engines: dict[str, dict[str, float]]
    #: Where the rates of the predictions come from, if not only from convmtx: `convmtx.tune`.
    rates: str = ""
    #: What applying the map chunk by chunk takes, if chunks were passed.
    chunked: Chunking | None = None

    def __str__(self) -> str:
        lines = [
            f"convolution {self.in_shape} -> {self.out_shape}, matrix {self.shape[0]} x {self.shape[1]}, {self.dtype}",
            f"channels {self.in_channels} -> {self.out_channels}, groups {self.groups}, layout {self.channels}"
            + (", kernel flipped" if self.flip else "")
            + (", transposed" if self.transposed else ""),
        ]
        for j, axis in enumerate(self.axes):
            lines.append(f"axis {j}: " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in axis.items()))
        density = self.nnz / (self.shape[0] * self.shape[1])
        lines.append(f"nnz {self.nnz} ({density:.3g} of all entries)")
        lines += [f"  {name:<9}{memory.human(size):>9}" for name, size in self.bytes.items()]
        lines.append(f"engine {self.engine}: {self.reason}")
        for name, engine in self.engines.items():
            times = ", ".join(f"{key} {engine[key]:.2g} s" for key in ("predicted", "measured") if key in engine)
            work = f"{engine['flops']:>9.3g} flops, {memory.human(int(engine['bytes'])):>9} copied"
            lines.append(f"  {name:<10}{work}, {times}")
        lines += [f"rates {self.rates}"] if self.rates else []
        return "\n".join([*lines, str(self.chunked)] if self.chunked else lines)


def explain(geometry: Geometry, use: Use, measure: bool, chunks: Any) -> Explanation:
    """Return the explanation of a map; if asked to, time every engine on one random input, and explain chunks."""
    from convmtx.engines.prepared import Calls  # engines are imported when first needed

    g, dtype, plan = geometry, use.dtype, use.plan
    axes = tuple(
        {
            "size": a.size, "kernel": a.kernel, "stride": a.stride, "dilation": a.dilation, "pads": (a.lo, a.hi),
            "input_dilation": a.input_dilation, "boundary": a.boundary.name, "outputs": a.out,
        }
        for a in g.axes
    )  # fmt: skip
    engines = {
        name: {"flops": costs.flops(work), "bytes": work.get("byte", 0.0), "predicted": costs.seconds(work)}
        for name, work in use.works.items()
    }
    if measure and plan is not None:
        memory.require("operator", {"operator": (prod(g.in_shape) + prod(g.out_shape)) * dtype.itemsize})
        x = np.resize(np.random.default_rng(0).integers(-9, 10, 4099).astype(dtype), (1, *g.in_shape))
        for name, facts in engines.items():
            facts["measured"], _ = timed(partial(Calls(plan, cast("EngineName", name)), x))
    return Explanation(
        g.in_shape, g.out_shape, g.shape, str(dtype).rpartition(".")[2], g.in_channels, g.out_channels, g.groups,
        g.layout.value, g.flip, g.transposed, axes, g.nnz, forms.sizes(g, dtype), use.engine, use.reason, engines,
        rates.current().source, None if chunks is None else _chunking(geometry, dtype, chunks),
    )  # fmt: skip


def _chunking(geometry: Geometry, dtype: Any, chunks: Any) -> Chunking:
    """Return what applying a map to an array in these chunks takes, from a few sums along each axis."""
    from convmtx.engines.chunked import ChunkedMap

    batch, in_chunks = _sizes_of_chunks(chunks, geometry.in_shape)
    op = ChunkedMap(geometry, np.zeros(0), "auto", transposed=False)
    in_edges = tuple(tuple(accumulate(sizes, initial=0)) for sizes in in_chunks)
    out_edges = op.out_edges(in_edges)
    out_chunks = tuple(tuple(b - a for a, b in pairwise(edges)) for edges in out_edges)
    spans = op.spans(out_edges)
    images, of_batch = prod(map(len, batch)), prod(map(sum, batch))
    largest = prod(max(sizes, default=0) for sizes in batch)
    item = itemsize(dtype)
    read = prod(sum(span.entries for chunk in axis for span in chunk) for axis in spans)
    peak = 2 * prod(max(max(span.entries, span.size) for chunk in axis for span in chunk) for axis in spans)
    peak += prod(max(sizes) for sizes in out_chunks)
    counts = [prod(map(len, some)) for some in (out_chunks, in_chunks)]
    return Chunking(
        batch + in_chunks, batch + out_chunks, op.halo(in_edges), of_batch * read * item,
        of_batch * prod(geometry.in_shape) * item, 1 + images * (counts[0] + (counts[1] if counts[1] > 1 else 0)),
        largest * peak * item,
    )  # fmt: skip


def _sizes_of_chunks(chunks: Any, shape: Shape) -> tuple[tuple[tuple[int, ...], ...], tuple[tuple[int, ...], ...]]:
    """Return the sizes of chunks of the batch axes, and along each axis of an input, from those of an array of Dask.

    One int for all axes, or one for each, are sizes of chunks of which the last may be smaller; -1 is a whole axis.
    """
    expected = (
        f"Expected x.chunks of an array (*batch, {', '.join(map(str, shape))}), or a size of chunks for each axis"
    )
    entries = as_list("chunks", chunks)
    by_axis = [chunks] * len(shape) if entries is None else entries
    n = len(by_axis) - len(shape)
    if n < 0:
        raise ArgumentError(f"chunks={shown(chunks)}", expected, "Pass chunks=x.chunks")
    sizes = []
    for j, entry in enumerate(by_axis):
        listed, size = as_list("chunks", entry), shape[j - n] if j >= n else None
        if listed is None:
            step = size if entry == -1 and size is not None else integer("chunks", entry, 1)
            listed = [step] if size is None else [min(step, size - at) for at in range(0, size, step)]
        own = tuple(integer("chunks", part, 0) for part in listed)
        if size is not None and sum(own) != size:
            raise ArgumentError(f"chunks {shown(own)} along an axis of {size}", expected, "Pass chunks=x.chunks")
        sizes.append(own)
    return tuple(sizes[:n]), tuple(sizes[n:])


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the median seconds of some calls after a first one, and the result of the first."""
    result, times = call(), []
    for _ in range(REPEAT):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times), result
