"""Apply maps by loops that Numba compiles, for what matrix products and transforms do badly.

Depthwise convolutions, few channels, short axes, adjoints of strides, and integers: BLAS has thin products there, or
none. Here every window is read from a block of inputs that stays in cache. Outputs that follow each other are summed
in one long loop, whatever the number of axes, because a tap reads all of them at the same distance.

Numba compiles the loops once for each type, in a few seconds, and keeps them on disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import gcd, prod
from typing import Any

import numpy as np

from convmtx import costs
from convmtx.boundary import NOTHING
from convmtx.costs import Work
from convmtx.engines.parts import Part
from convmtx.engines.threads import scratch, spread, threads
from convmtx.extras import is_installed
from convmtx.geometry import Axis
from convmtx.typing import AnyArray, IntArray

#: Sums of a block at most: 8192 of float32 are the 32 KiB of a first cache. A row alone may have more.
SUMS = 1 << 13
#: Outputs along the last axis of a block at most.
ROW = 1 << 12
#: Bytes of the inputs of a block up to which the engine fills a part; more do not stay in any cache.
BLOCK_BYTES = 1 << 22
#: Entries of the tables of all axes up to which the engine fills a part: 128 MiB.
TABLE_PLACES = 1 << 24
#: Most axes: loops are written for three, of which some may have size 1.
AXES = 3


@dataclass(frozen=True, eq=False)
class Line:
    """Inputs that the outputs of one axis read, by phases: positions with the same remainder by the stride.

    With stride 2, 5 inputs and taps 0, 1 and 2, the phases have the inputs 0, 2, 4 and 1, 3. Tap 2 reads phase 0, one
    place further than tap 0.
    """

    #: Input at each place of each phase that a tap reads, `NOTHING` for none.
    table: IntArray
    #: For each phase: places from and to which inputs follow at a constant step, the first of these inputs, the step.
    runs: IntArray
    #: Phase of each tap, and how many places further it reads.
    phases: IntArray
    offsets: IntArray


@dataclass(frozen=True)
class Cut:
    """Blocks into which the outputs of three axes are cut, from sizes alone."""

    outs: tuple[int, ...]
    #: Blocks along each axis, and outputs of a block.
    counts: tuple[int, ...]
    sizes: tuple[int, ...]
    #: Number of places that taps read further at most, and of phases that they read, along each axis.
    shifts: tuple[int, ...]
    n_phases: tuple[int, ...]

    @property
    def lengths(self) -> list[int]:
        """Places of a phase of a block, along each axis."""
        return [size + shift for size, shift in zip(self.sizes, self.shifts, strict=True)]

    @property
    def count(self) -> int:
        """Number of blocks of one image and group."""
        return prod(self.counts)

    @property
    def places(self) -> int:
        """Number of inputs of a block for one channel."""
        return prod(self.lengths) * prod(self.n_phases)

    @property
    def sums(self) -> int:
        """Number of sums of a block."""
        first, middle, last = self.sizes
        _, rows, row = self.lengths
        return ((first - 1) * rows + middle - 1) * row + last

    @property
    def table_places(self) -> int:
        """Number of entries of the tables of all axes."""
        return sum((n + shift) * phases for n, shift, phases in zip(self.outs, self.shifts, self.n_phases, strict=True))


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd)."""
    from convmtx.engines.compiled_loops import fill_blocks

    cut = _cut(part)
    layout = part.keep("layout", lambda: _layout(part.axes, cut))
    groups, filters, channels = part.kernel.shape[:3]

    def typed() -> AnyArray:
        kernel = np.array(part.kernel.reshape(groups, filters, -1), y.dtype, order="C")
        kernel.setflags(write=False)
        return kernel

    kernel: AnyArray = part.keep(("compiled", y.dtype), typed)
    x = x.astype(y.dtype, copy=False)
    if min(x.strides) < 0 or any(step % x.itemsize for step in x.strides):
        x = np.ascontiguousarray(x)
    steps = np.array([_steps(x), _steps(y)])
    arrays = (_flat(x, False), _flat(y, True), kernel, steps, layout)
    n_blocks = len(x) * groups * cut.count

    def fill(share: Iterable[tuple[int, int]]) -> None:
        memory = scratch("block", (cut.sums + channels * cut.places,), y.dtype)
        for first, last in share:
            fill_blocks(first, last, *arrays, memory)

    parallel = costs.seconds(_amounts(part, y.dtype, len(x))) > costs.WORTH_THREADS
    step = -(-n_blocks // (4 * threads())) if parallel else n_blocks
    spread(fill, [(at, min(at + step, n_blocks)) for at in range(0, n_blocks, step)], parallel)


def _steps(a: AnyArray) -> list[int]:
    """Return how many numbers the entries of an array (B, G, C, n1..nd) are apart along each axis, of three axes."""
    before = AXES - a.ndim + 3
    return [step // a.itemsize for step in (*a.strides[:3], *(0,) * before, *a.strides[3:])]


def _flat(a: AnyArray, writeable: bool) -> AnyArray:
    """View the memory of an array, whose strides are not negative, from its first entry to its last."""
    if a.flags.c_contiguous:
        flat = a.reshape(-1)
    else:
        reached = sum((n - 1) * step for n, step in zip(a.shape, a.strides, strict=True)) // a.itemsize + 1
        flat = np.lib.stride_tricks.as_strided(a, (reached,), (a.itemsize,))
    # Of one type in every call, so that Numba compiles once: not every x may be written to, and so none is.
    if not writeable:
        flat.flags.writeable = False
    return flat


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work | None:
    """Work of filling a part; None without Numba, for more than three axes, and for float16 and long double."""
    if len(part.axes) > AXES or dtype.kind not in "iufc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        return None
    if dtype == np.float16 or not is_installed("numba"):
        return None
    cut = _cut(part)
    if part.kernel.shape[2] * cut.places * dtype.itemsize > BLOCK_BYTES or cut.table_places > TABLE_PLACES:
        return None
    return _amounts(part, dtype, images)


def _amounts(part: Part, dtype: np.dtype[Any], images: int) -> Work:
    """Multiply-adds of blocks, with the sums between their rows; bytes that blocks are filled with; blocks; a call."""
    cut = _cut(part)
    groups, filters, channels, *taps = part.kernel.shape
    blocks = images * groups * cut.count
    products = float(blocks * filters * channels * prod(taps)) * cut.sums
    # A complex product is four real ones. Processors have no product of 64-bit integers for whole registers.
    planes = 4 if dtype.kind == "c" else 2 if dtype.kind in "iu" and dtype.itemsize == 8 else 1
    return {
        "compiled byte": products * planes * dtype.itemsize * costs.of_channels(channels),
        "byte": float(blocks * (channels * cut.places + filters * cut.sums) * dtype.itemsize),
        "compiled block": blocks,
        "compiled call": 1,
    }


def _three(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Return three axes, the first of them of size 1 where there are fewer."""
    return (Axis(1, 1),) * (AXES - len(axes)) + axes


def _cut(part: Part) -> Cut:
    """Return the blocks of a part, which keeps them."""
    cut: Cut = part.keep("cut", lambda: _cut_axes(part.axes))
    return cut


def _cut_axes(axes: tuple[Axis, ...]) -> Cut:
    """Cut outputs into blocks whose sums stay in cache, in O(1): nothing is as long as an axis."""
    three = _three(axes)
    shifts = [(axis.span - 1) // axis.stride for axis in three]
    outs = [axis.out for axis in three]
    last = min(outs[2], ROW)
    row = last + shifts[2]
    middle = min(max(SUMS // row, 1), outs[1])
    first = min(max(SUMS // (row * (middle + shifts[1])), 1), outs[0])
    sizes = first, middle, last
    counts = tuple(-(-out // size) for out, size in zip(outs, sizes, strict=True))
    # With stride 4 and dilation 2, taps read phases 0, 2, 0, 2, ...
    n_phases = tuple(min(axis.kernel, axis.stride // gcd(axis.stride, axis.dilation)) for axis in three)
    return Cut(tuple(outs), counts, sizes, tuple(shifts), n_phases)


def _layout(axes: tuple[Axis, ...], cut: Cut) -> IntArray:
    """Return all integers that the compiled loops read, one after the other.

    Outputs along each of three axes, blocks, outputs of a block, places that taps read further at most; phases of each
    axis, number of taps; runs of the last axis (phases, 4); phase and offset of each tap (taps, 3) along each axis; the
    table of each axis (phases, places).
    """
    three = _three(axes)
    lines = [_line(axis) for axis in three]
    grids = [grid.reshape(-1) for grid in np.meshgrid(*(np.arange(axis.kernel) for axis in three), indexing="ij")]
    phases = np.stack([line.phases[grid] for line, grid in zip(lines, grids, strict=True)], axis=1)
    offsets = np.stack([line.offsets[grid] for line, grid in zip(lines, grids, strict=True)], axis=1)
    sizes = (*cut.outs, *cut.counts, *cut.sizes, *cut.shifts, *cut.n_phases, len(phases))
    tables = [line.table.ravel() for line in lines]
    return np.concatenate([sizes, lines[2].runs.ravel(), phases.ravel(), offsets.ravel(), *tables]).astype(np.int64)


def _line(axis: Axis) -> Line:
    """Read the table of an axis by phases."""
    reads = np.arange(axis.kernel) * axis.dilation
    used, phases = np.unique(reads % axis.stride, return_inverse=True)
    offsets = reads // axis.stride
    places = used[:, None] + axis.stride * np.arange(axis.out + int(offsets.max()))
    table = axis.source((places - axis.lo).reshape(-1)).reshape(places.shape)
    table[places > (axis.out - 1) * axis.stride + axis.span - 1] = NOTHING  # read by sums that are not outputs
    runs = np.array([_longest_run(row) for row in table])
    return Line(np.ascontiguousarray(table), runs, phases.astype(np.int64), offsets)


def _longest_run(row: IntArray) -> tuple[int, int, int, int]:
    """Return where inputs follow each other at a constant step: from, to, the first of them, and the step.

    Of -1 0 1 2 3 3 2 that is from 1 to 5, first 0, step 1.
    """
    if len(row) == 1:
        return (0, int(row[0] != NOTHING), int(row[0]), 1)
    steps = np.diff(row)
    steps[(row[:-1] == NOTHING) | (row[1:] == NOTHING)] = 0
    ends = np.flatnonzero(np.diff(steps, prepend=np.nan, append=np.nan))
    lengths = np.diff(ends) * (steps[ends[:-1]] > 0)
    best = int(lengths.argmax())
    if not lengths[best]:
        return (0, 0, 0, 1)
    first = int(ends[best])
    return first, first + int(lengths[best]) + 1, int(row[first]), int(steps[first])
