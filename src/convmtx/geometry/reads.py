"""Plan of work on pieces: what a range of outputs reads, and what a range of inputs of the transpose gathers.

Both are lists of `Copy`: inputs that stand one after the other among the positions that windows reach over. So a
piece of the outputs is a convolution of the few intervals of inputs that it reads, whatever the boundary, and a piece
of the transpose gathers what belongs to it: nothing is ever added to another piece.

Example: 10 inputs, 3 taps, "wrap", lo = 1. Outputs 0 to 3 reach over positions -1 to 4, on which stand input 9 and
inputs 0 to 4: two copies, and not the whole circle.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from convmtx.boundary import NOTHING, ZERO
from convmtx.geometry.axis import Axis


class Copy(NamedTuple):
    """Inputs ``start + j*step`` that stand at places ``at + j*apart``, for j < length.

    The step is 1, -1 in a mirror image, or 0 where an end is repeated. Places are ``apart`` from each other where the
    input is dilated.
    """

    at: int
    start: int
    length: int
    step: int = 1
    apart: int = 1

    @property
    def interval(self) -> tuple[int, int]:
        """The inputs, from the first to behind the last, in ascending order."""
        other = self.start + (self.length - 1) * self.step
        return min(self.start, other), max(self.start, other) + 1

    @property
    def inputs(self) -> slice:
        """The inputs as a key: one alone where it is repeated, which NumPy broadcasts."""
        first, last = self.interval
        return slice(first, last) if self.step >= 0 else slice(self.start, first - 1 if first else None, -1)

    @property
    def places(self) -> slice:
        """The places as a key."""
        return slice(self.at, self.at + (self.length - 1) * self.apart + 1, self.apart)

    @property
    def is_plain(self) -> bool:
        """Whether places that follow one another hold inputs that do."""
        return self.apart == 1 and (self.step == 1 or self.length == 1)

    def within(self, first: int, last: int) -> Copy | None:
        """Return the part whose inputs are in [first, last), or None."""
        if self.step == 0:
            return self if first <= self.start < last else None
        bounds = (
            (first - self.start, last - self.start)
            if self.step > 0
            else (self.start - last + 1, self.start - first + 1)
        )
        begin, end = max(bounds[0], 0), min(bounds[1], self.length)
        if begin >= end:
            return None
        return self._replace(at=self.at + begin * self.apart, start=self.start + begin * self.step, length=end - begin)

    def moved(self, by: int) -> Copy:
        """Return the copy whose places are counted from another one."""
        return self._replace(at=self.at - by)

    def since(self, first: int) -> Copy:
        """Return the copy whose inputs are counted from another one."""
        return self._replace(start=self.start - first)

    def split(self, edges: Sequence[int]) -> Iterator[tuple[int, Copy]]:
        """Yield the chunks between edges that hold these inputs, and what is read of each, counted from its start."""
        first, last = self.interval
        for j in range(bisect_right(edges, first) - 1, len(edges) - 1):
            if edges[j] >= last:
                return
            part = self.within(edges[j], edges[j + 1])
            if part is not None:
                yield j, part.since(edges[j])


class Window(NamedTuple):
    """A convolution along one axis, of some inputs to some outputs, that reads nothing but zeros outside."""

    outputs: range
    #: From the places of the window to these outputs.
    axis: Axis
    #: What stands at the places of the window: inputs of the whole axis, and zeros elsewhere.
    copies: tuple[Copy, ...]


@lru_cache(maxsize=4096)
def copies(axis: Axis, first: int, last: int) -> tuple[Copy, ...]:
    """Return what stands at the stretched positions of [first, last), in ascending order.

    Inside the array it is one copy. Positions outside are looked at one by one.
    """
    e = axis.input_dilation
    begin, end = max(-(-first // e), 0), min((last - 1) // e + 1, axis.size)
    runs = [Copy(begin * e, begin, end - begin, 1, e)] if begin < end else []
    if axis.boundary is ZERO:
        return tuple(runs)
    before = _outside(axis, first, min(last, 0))
    behind = _outside(axis, max(first, axis.stretched), last)
    return (*before, *runs, *behind)


def _outside(axis: Axis, first: int, last: int) -> list[Copy]:
    """Return what stands at positions that are all on one side of the array."""
    if first >= last:
        return []
    inputs = axis.source(np.arange(first, last))
    places = np.flatnonzero(inputs != NOTHING)
    inputs = inputs[places]
    # A copy goes on while places and inputs move as they did between its first two.
    apart, steps = np.diff(places), np.diff(inputs)
    runs, j = [], 0
    while j < places.size:
        end = j + 1
        if end < places.size and apart[j] == axis.input_dilation and abs(steps[j]) <= 1:
            goes_on = (apart[j:] == apart[j]) & (steps[j:] == steps[j])
            end = j + 1 + (int(np.argmin(goes_on)) if not goes_on.all() else goes_on.size)
        step = int(steps[j]) if end > j + 1 else 1
        runs.append(Copy(first + int(places[j]), int(inputs[j]), end - j, step, axis.input_dilation))
        j = end
    return runs


def window(axis: Axis, outputs: range) -> Window:
    """Return the convolution that makes a range of outputs, step 1, from the inputs that they read.

    Where nothing but zeros is read outside, its input is what lies inside, and its pads are as they fall. Otherwise
    its input is everything that the outputs reach over.
    """
    first = outputs.start * axis.stride - axis.lo
    last = (outputs.stop - 1) * axis.stride - axis.lo + axis.span
    if axis.boundary is not ZERO and (first < 0 or last > axis.stretched):
        plain = Axis(last - first, axis.kernel, axis.stride, axis.dilation)
        return Window(outputs, plain, tuple(copy.moved(first) for copy in copies(axis, first, last)))
    e = axis.input_dilation
    # At least one input, also where none is met.
    begin = min(max(-(-first // e), 0), axis.size - 1)
    end = max(min((last - 1) // e + 1, axis.size), begin + 1)
    return Window(outputs, _inner(axis, begin * e, end - begin, outputs), (Copy(0, begin, end - begin),))


def _inner(axis: Axis, position: int, size: int, outputs: range) -> Axis:
    """Return the axis from inputs, the first of which stands at a stretched position, to outputs; zeros outside."""
    lo = axis.lo - outputs.start * axis.stride + position
    return replace(axis, size=size, lo=lo, boundary=ZERO).with_outputs(len(outputs))


def pieces(axis: Axis, inputs: range) -> tuple[Window, ...]:
    """Return the convolutions whose transposes make up the transpose's values at a range of inputs, step 1.

    Each belongs to neighbouring positions that hold some of these inputs, and to all outputs that meet them. The
    transpose of its axis takes these outputs to the places of the piece, and each place is added to the input that
    stands there. Under zeros outside there is one piece, and none where no output reads any of the inputs.
    """
    first, last = axis.reach
    kept = [copy.within(inputs.start, inputs.stop) for copy in copies(axis, first, last + 1)]
    runs: list[list[Copy]] = []
    for copy in kept:
        if copy is None:
            continue
        before = runs[-1][-1] if runs else None
        if before and before.at + before.length * axis.input_dilation == copy.at:
            runs[-1].append(copy)
        else:
            runs.append([copy])
    return tuple(piece for run in runs if (piece := _piece(axis, run)))


def _piece(axis: Axis, run: list[Copy]) -> Window | None:
    """Return the piece of neighbouring positions; None if no output meets them."""
    e, position = axis.input_dilation, run[0].at
    size = sum(copy.length for copy in run)
    begin = max(-(-(position + axis.lo - axis.span + 1) // axis.stride), 0)
    end = min((position + (size - 1) * e + axis.lo) // axis.stride + 1, axis.out)
    if begin >= end:
        return None
    outputs = range(begin, end)
    places = tuple(copy._replace(at=(copy.at - position) // e, apart=1) for copy in run)
    return Window(outputs, _inner(axis, position, size, outputs), places)


def halved(axis: Axis, edges: tuple[int, ...]) -> tuple[int, ...]:
    """Return edges of outputs for which edges of inputs, from 0 to the size, lie in the middle of what is read.

    So no piece reads more beyond its own inputs on one side than on the other, but for one position. Outputs of an
    axis with 3 taps, stride 2 and lo = 1 are cut at ceil(c/2) for an edge c.
    """
    return tuple(sorted({0, axis.out, *(_cut(axis, edge) for edge in edges[1:-1])}))


def _cut(axis: Axis, edge: int) -> int:
    """Return the first output whose window has its middle at an edge of inputs or behind it."""
    middle = (axis.span - 1) // 2
    return min(max(-(-(edge * axis.input_dilation + axis.lo - middle) // axis.stride), 0), axis.out)


def halo(axis: Axis, edge: int) -> tuple[int, int]:
    """Return how many inputs beyond an edge outputs behind the cut read before it, and those before the cut behind it.

    With 7 taps and stride 1 it is 3 and 3; with a stride that steps over the edge it can be nothing.
    """
    cut = _cut(axis, edge)
    first, last = cut * axis.stride - axis.lo, (cut - 1) * axis.stride - axis.lo + axis.span - 1
    before = edge - max(-(-first // axis.input_dilation), 0) if cut < axis.out else 0
    behind = min(last // axis.input_dilation + 1, axis.size) - edge if cut > 0 else 0
    return max(before, 0), max(behind, 0)


def halved_back(axis: Axis, edges: tuple[int, ...]) -> tuple[int, ...]:
    """Return edges of inputs of the transpose for edges of outputs: the inverse of `halved`, as far as there is one."""
    middle = (axis.span - 1) // 2
    cuts = {min(max((c * axis.stride - axis.lo + middle) // axis.input_dilation, 0), axis.size) for c in edges[1:-1]}
    return tuple(sorted({0, axis.size, *cuts}))
