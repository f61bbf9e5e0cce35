"""Split a map into plain convolutions, build its transpose from one, and read what outputs reach over.

Under the zero boundary a dilated input is never stuffed with zeros: the outputs are split into phases, each an ordinary
convolution with every e-th tap. So an engine has one thing to do: fill the outputs of a `Part`, a convolution of
grouped arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx import memory
from convmtx.engines.folding import fold_back
from convmtx.engines.threads import Memory, Step, scratch
from convmtx.geometry import Axis, Copy, Geometry, Layout, copies
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import AnyArray, Shape


class PartSizes(NamedTuple):
    """All of a part but its numbers, to keep what depends on nothing else: parts of equal sizes share it."""

    axes: tuple[Axis, ...]
    shape: Shape
    dtype: np.dtype[Any]
    channels_last: bool
    once: bool

    def build(self) -> Part:
        """Return a part of these sizes, with a kernel of zeros that takes no memory."""
        kernel = np.broadcast_to(np.zeros((), self.dtype), self.shape)
        return Part((), self.axes, kernel, self.channels_last, self.once)


#: Sizes of parts, with types and numbers of images, of which predictions are kept: a network has some hundreds.
MOST_SIZES = 1024
#: Bytes moved at a time when gaps of an array are closed: 1 MiB stays in cache.
CLOSE_BYTES = 1 << 20


class Keeper:
    """Holder of a kernel, with all that engines computed from it."""

    __slots__ = ()
    _kept: dict[Any, Any]

    def keep(self, key: Any, compute: Callable[[], Any]) -> Any:
        """Return what an engine computed from the kernel, and keep it for the next call."""
        if key not in self._kept:
            self._kept[key] = compute()
        return self._kept[key]


@dataclass(frozen=True, slots=True, eq=False)
class Part(Keeper):
    """Some outputs of a map, evenly spaced along each axis, with the taps that meet them."""

    outputs: tuple[slice, ...]
    axes: tuple[Axis, ...]
    #: (G, F, C, k1..kd); without taps where these outputs meet none.
    kernel: AnyArray
    #: Whether there is one group, and its filters lie side by side in memory.
    channels_last: bool
    #: Whether the kernel is applied once, so that what an engine prepares from it is not for later calls.
    once: bool = False
    _kept: dict[Any, Any] = field(default_factory=dict)

    @property
    def sizes(self) -> PartSizes:
        """All but the numbers."""
        return PartSizes(self.axes, self.kernel.shape, self.kernel.dtype, self.channels_last, self.once)


def output(shape: Shape, dtype: np.dtype[Any]) -> AnyArray:
    """Return memory for the outputs of a map, if they fit."""
    what, size, remedy = require_output(shape, dtype)
    try:
        return np.empty(shape, dtype)
    except MemoryError:
        raise memory.no_room(what, size, remedy) from None


def require_output(shape: Shape, dtype: np.dtype[Any]) -> tuple[str, int, str]:
    """Require that the outputs of a map fit in memory, and return their name, their size and a remedy for errors."""
    what, size = f"an output of shape {shape}", prod(shape) * dtype.itemsize
    remedy = "Apply it to fewer or smaller inputs"
    memory.require_result(what, size, remedy)
    return what, size, remedy


def wide(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type to add numbers of this type in: float32 for float16."""
    return np.result_type(dtype, np.float32) if dtype == np.float16 else dtype


#: Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd).
Correlate = Callable[[Part, AnyArray, AnyArray], None]
#: Return the steps that do the same whenever they run, with memory of their own. The arrays stay where they are.
Prepare = Callable[[Part, AnyArray, AnyArray, Memory], list[Step]]


class Plan(Keeper):
    """Parts of a map and of its transpose, with what engines computed from them."""

    def __init__(self, geometry: Geometry, taps: AnyArray, once: bool = False) -> None:
        """Take a kernel for many calls, or one that is applied once, such as the gradient of an output."""
        self.geometry, self._taps, self._out_shape, self.once = geometry, taps, geometry.out_shape, once
        self._kept = {}
        #: Choice for each requested engine, type of results, number of images, whether they are tensors, and rates.
        self.choices: dict[tuple[str, np.dtype[Any], int, bool, Any], Any] = {}

    @property
    def taps(self) -> AnyArray:
        """Taps of the whole map, (F, C/groups, k1..kd)."""
        return self._taps

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the taps."""
        return self._taps.dtype

    @cached_property
    def finite(self) -> bool:
        """Whether every tap is finite; if not, `tapwise` applies the map."""
        return self._taps.dtype.kind not in "fc" or finite(self._taps)

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Plain convolutions that make up the map; together their outputs are all outputs."""
        per_f, per_c = self.geometry.channels_per_group
        kernel = self._taps.reshape(self.geometry.groups, per_f, per_c, *self._taps.shape[2:])
        last = self.geometry.layout is Layout.LAST and self.geometry.groups == 1 and per_f > 1
        parts = []
        for phases in product(*(_phases(a) for a in self.geometry.axes)):
            met: tuple[Any, ...] = (..., *(taps for _, taps, _ in phases))
            outputs, axes = tuple(o for o, _, _ in phases), tuple(a for _, _, a in phases)
            parts.append(Part(outputs, axes, kernel[met], last, self.once))
        return tuple(parts)

    def forward(self, x: AnyArray, correlate: Correlate, dtype: np.dtype[Any] | None = None) -> AnyArray:
        """Apply the map to a batch: x (B, *in_shape) to (B, *out_shape), of type ``dtype`` if that is not None."""
        y = output((x.shape[0], *self._out_shape), np.result_type(self._taps, x) if dtype is None else dtype)
        for part, inputs, outputs in self.split(x, y):
            if part.kernel.size and x.size:
                correlate(part, inputs, outputs)
            else:
                outputs[...] = 0
        return y

    def prepare(self, x: AnyArray, y: AnyArray, prepare: Prepare, memory: Memory) -> list[Step]:
        """Return the steps that fill y (B, *out_shape) from x (B, *in_shape), which is not empty, whenever they run."""
        steps: list[Step] = []
        for part, inputs, outputs in self.split(x, y):
            steps += prepare(part, inputs, outputs, memory) if part.kernel.size else [partial(outputs.fill, 0)]
        return steps

    def split(self, x: AnyArray, y: AnyArray) -> Iterator[tuple[Part, AnyArray, AnyArray]]:
        """List parts with views of the inputs (B, G, C, n1..nd) and of their outputs (B, G, F, o1..od)."""
        g = self.geometry
        inputs, outputs = _by_group(g, x, g.in_channels), _by_group(g, y, g.out_channels)
        for part in self.parts:
            where: tuple[Any, ...] = (..., *part.outputs)
            yield part, inputs, outputs[where]

    def transposed(self, y: AnyArray, correlate: Correlate, dtype: np.dtype[Any] | None = None) -> AnyArray:
        """Apply the transpose of a map whose transpose is not a convolution: (B, *out_shape) to (B, *in_shape).

        The map continues the input past its ends, and then applies a convolution that reads nothing outside. So its
        transpose applies `mirrored`, and then adds each continued position to the input it was read from.

        `libraries.apply_transposed` does the same to arrays of other libraries, which may be traced and cannot be
        written to. Here the border is folded back inside the memory of the result.
        """
        dtype = np.result_type(self._taps, y) if dtype is None else dtype
        x = self.mirrored.forward(y, correlate, wide(dtype))  # float16 is rounded once, when all are added
        steps, x = self.folding(x)
        for step in steps:
            step()
        return _close_up(x).astype(dtype, copy=False)

    def folding(self, x: AnyArray) -> tuple[list[Step], AnyArray]:
        """Return the steps that add each position of the continued axes to the input it was read from, and the result.

        The result is a view of x (B, *continued shape), which is written to, or new memory.
        """
        inner, steps = inside(self.geometry), []
        for j, (axis, whole) in enumerate(zip(self.geometry.axes, inner.axes, strict=True)):
            if whole is not axis:
                at = 1 + self.geometry.layout.join(-1, tuple(range(len(inner.axes)))).index(j)
                more, x = fold_back(x, at, axis)
                steps += more
        return steps, x

    @cached_property
    def mirrored(self) -> Plan:
        """Transpose of the convolution that follows the continued input."""
        inner = inside(self.geometry)
        mirrored = inner.T
        assert mirrored is not None  # an axis that reads nothing outside always has a transpose
        return Plan(mirrored, taps_of(mirrored, kernel_of(inner, self._taps)))


def _phases(axis: Axis) -> Iterator[tuple[slice, slice, Axis]]:
    """Split an axis into phases, each outputs, taps and an axis, so that no tap ever multiplies a stuffed zero.

    Tap p meets output o where ``o*s - lo + p*t`` is a multiple of e. Outputs ``r + j*P`` with
    ``P = e/gcd(s, e)`` are met by taps ``p0 + m*Q`` with ``Q = e/gcd(t, e)``. With e = 2, s = t = 1, lo = 1 and 3 taps,
    output 0 meets tap 1, output 1 taps 0 and 2, output 2 tap 1: two phases.
    """
    e = axis.input_dilation
    if e == 1 or not axis.zero_outside:
        yield slice(None), slice(None), axis
        return
    period, skip = e // gcd(axis.stride, e), e // gcd(axis.dilation, e)
    for r in range(min(period, axis.out)):
        position = r * axis.stride - axis.lo
        outputs = len(range(r, axis.out, period))
        met = [p for p in range(min(skip, axis.kernel)) if (position + p * axis.dilation) % e == 0]
        if not met:
            yield slice(r, None, period), slice(0), axis.with_outputs(outputs)
            continue
        inner = Axis(
            axis.size,
            len(range(met[0], axis.kernel, skip)),
            axis.stride * period // e,
            axis.dilation * skip // e,
            lo=-((position + met[0] * axis.dilation) // e),
        )
        yield slice(r, None, period), slice(met[0], None, skip), inner.with_outputs(outputs)


def _by_group(geometry: Geometry, x: AnyArray, channels: int) -> AnyArray:
    """View (B, *shape) as (B, groups, channels/groups, n1..nd)."""
    if geometry.layout is Layout.LAST:
        x = np.moveaxis(x, -1, 1)
    elif geometry.layout is Layout.PLAIN:
        x = x[:, None]
    groups = geometry.groups
    return x.reshape(x.shape[0], groups, channels // groups, *x.shape[2:])


def inside(geometry: Geometry) -> Geometry:
    """Return the map of the continued input: it has the same windows and reads nothing outside.

    Axes with zeros outside stay as they are.
    """
    return replace(geometry, axes=tuple(a if a.zero_outside else a.continued for a in geometry.axes))


def _close_up(x: AnyArray) -> AnyArray:
    """Close the gaps of an array, piece by piece inside its own memory: a copy would need as much again."""
    whole = x
    while whole.base is not None and isinstance(whole.base, np.ndarray):
        whole = whole.base
    if x.flags.c_contiguous or not whole.flags.c_contiguous:
        return np.ascontiguousarray(x)
    closed = whole.reshape(-1)[: x.size].reshape(x.shape)
    rows = max(CLOSE_BYTES // max(x[:1, :1].nbytes, 1), 1)
    for b in range(len(x)):
        for at in range(0, x.shape[1], rows):
            closed[b, at : at + rows] = x[b, at : at + rows]
    return closed


def finite(y: AnyArray) -> bool:
    """Whether all entries are finite; a finite sum says so in one pass."""
    with np.errstate(over="ignore", invalid="ignore"):
        total = np.add.reduce(y, None, dtype=np.float32 if y.dtype == np.float16 else None)
    return bool(np.isfinite(total) or np.isfinite(y).all())


def mend(part: Part, x: AnyArray, y: AnyArray, correlate: Correlate) -> None:
    """Fill again each image of y that is not finite, by an engine that keeps nan and inf to their own windows."""
    if not finite(y):
        for b in range(len(y)):
            if not finite(y[b]):
                correlate(part, x[b : b + 1], y[b : b + 1])


def reach(axes: Sequence[Axis], x: AnyArray, outs: Sequence[slice], at: int) -> AnyArray:
    """Return what outputs reach over along ``axes``, axes of x from ``at`` on: a view, or a copy with borders filled.

    A copy is in the scratch memory of the thread, and the next call overwrites it. It is as large as what is reached
    over, not as the image: all axes are cut before any border is filled.
    """
    steps, reached = reaching(axes, x, outs, at, scratch)
    for step in steps:
        step()
    return reached


def reaching(
    axes: Sequence[Axis], x: AnyArray, outs: Sequence[slice], at: int, memory: Memory
) -> tuple[list[Step], AnyArray]:
    """Return the steps that fill what `reach` returns, and the array: a view of x, or a copy in this memory."""
    steps: list[Step] = []
    readings = [_reading(axis, o.start, o.stop) for axis, o in zip(axes, outs, strict=True)]
    x = x[(slice(None),) * at + tuple(reading.hull for reading in readings)]
    for j, reading in enumerate(readings, at):
        if reading.is_view:
            continue
        before = (slice(None),) * j
        reached = memory(f"reach {j}", (*x.shape[:j], reading.length, *x.shape[j + 1 :]), x.dtype)
        steps += [partial(reached[(*before, gap)].fill, 0) for gap in reading.gaps]
        steps += [partial(np.copyto, reached[(*before, c.places)], x[(*before, c.inputs)]) for c in reading.copies]
        x = reached
    return steps, x


class Reading(NamedTuple):
    """Inputs that neighbouring outputs read along one axis.

    Outputs 0 to 2 of 3 taps that begin one position before the first of 9 inputs (edge) read 0 0 1 2 3: the hull is
    0:4, and input 0 is copied to place 0, inputs 0:4 to places 1:5.
    """

    #: Inputs from the first to the last that is read; the copies count from its start.
    hull: slice
    #: What stands at which of the places, whose number this is; nothing stands in the gaps.
    length: int
    copies: tuple[Copy, ...]
    gaps: tuple[slice, ...]

    @property
    def is_view(self) -> bool:
        """Whether the places are the inputs of the hull, one after the other."""
        return len(self.copies) == 1 and not self.gaps and self.copies[0].is_plain


@lru_cache(maxsize=4096)
def _reading(axis: Axis, first: int, last: int) -> Reading:
    start, stop = first * axis.stride - axis.lo, (last - 1) * axis.stride - axis.lo + axis.span
    here = [copy.moved(start) for copy in copies(axis, start, stop)]
    least, most = min((c.interval[0] for c in here), default=0), max((c.interval[1] for c in here), default=0)
    if axis.input_dilation > 1:
        gaps = [slice(0, stop - start)]
    else:
        ends = [0, *(end for c in here for end in (c.at, c.at + c.length)), stop - start]
        gaps = [slice(a, b) for a, b in zip(ends[::2], ends[1::2], strict=True) if a < b]
    moved = tuple(copy.since(least) for copy in here)
    return Reading(slice(least, most), stop - start, moved, tuple(gaps))
