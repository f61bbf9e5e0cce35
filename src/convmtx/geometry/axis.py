"""One spatial axis: which input position each output position reads through each kernel tap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd

import numpy as np

from convmtx.boundary import NOTHING, ZERO, Boundary
from convmtx.typing import IntArray

_CHUNK = 1 << 20  # table entries looked at together where only their count is wanted


@dataclass(frozen=True, slots=True)
class Axis:
    """The integers of one spatial axis.

    Output ``o`` reads, through tap ``p``, position ``o*stride - lo + p*dilation`` of the *stretched*
    input: the input with ``input_dilation - 1`` zeros between neighbours, continued past its ends
    by ``boundary``.
    """

    size: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    input_dilation: int = 1
    lo: int = 0
    hi: int = 0
    boundary: Boundary = ZERO

    @property
    def span(self) -> int:
        """Stretched positions from a window's first tap to its last, both counted."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def stretched(self) -> int:
        """Size of the input with zeros between its neighbours."""
        return (self.size - 1) * self.input_dilation + 1

    @property
    def out(self) -> int:
        """Number of outputs: window positions that fit into the padded, stretched input."""
        return (self.stretched + self.lo + self.hi - self.span) // self.stride + 1

    @property
    def reach(self) -> tuple[int, int]:
        """First and last stretched position that any tap asks for."""
        return -self.lo, (self.out - 1) * self.stride - self.lo + self.span - 1

    @property
    def continued(self) -> Axis:
        """The axis whose input is all that this one reaches over: the same windows, nothing outside."""
        first, last = self.reach
        return Axis(last - first + 1, self.kernel, self.stride, self.dilation)

    def with_outputs(self, count: int) -> Axis:
        """The axis padded or cropped at its end so that it has ``count`` outputs."""
        return replace(self, hi=(count - 1) * self.stride + self.span - self.stretched - self.lo)

    def restricted(self, outputs: range) -> Axis:
        """Return the axis whose outputs are these alone: the same windows, so its pads shift and its stride grows."""
        first = replace(self, stride=self.stride * outputs.step, lo=self.lo - outputs.start * self.stride)
        return first.with_outputs(len(outputs))

    @property
    def reads_outside(self) -> bool:
        """Whether any tap of any output falls outside the stretched input."""
        first, last = self.reach
        return first < 0 or last >= self.stretched

    @property
    def zero_outside(self) -> bool:
        """Whether the axis is one of the zero boundary, by name or because nothing is read outside."""
        return self.boundary is ZERO or not self.reads_outside

    @property
    def toeplitz(self) -> bool:
        """Whether entries depend on the difference of output and input position only."""
        return self.boundary.toeplitz or not self.reads_outside

    @property
    def circular(self) -> bool:
        """Whether this is a full turn of a circle: as many outputs as inputs, one apart."""
        return self.boundary.name == "wrap" and self.stride == self.input_dilation == 1 and self.out == self.size

    @property
    def interior(self) -> tuple[int, int]:
        """Half-open range of outputs whose every tap falls inside the stretched input."""
        first = min(max(-(-self.lo // self.stride), 0), self.out)
        last = (self.stretched - self.span + self.lo) // self.stride + 1
        return first, min(max(last, first), self.out)

    def read(self, outputs: IntArray, taps: IntArray) -> IntArray:
        """The table at ``outputs`` x ``taps`` (broadcast together): input positions, -1 for nothing."""
        return self.source(outputs * self.stride - self.lo + taps * self.dilation)

    def source(self, position: IntArray) -> IntArray:
        """The input behind each position of the stretched, continued input; -1 for nothing."""
        inside = self.boundary.inside(position, self.stretched)
        if self.input_dilation == 1:
            return inside
        on_input = (inside != NOTHING) & (inside % self.input_dilation == 0)
        return np.where(on_input, inside // self.input_dilation, NOTHING)

    def reading(self, outputs: IntArray) -> tuple[IntArray, IntArray, int]:
        """First and number of the taps through which each output reads, and the step from one of them to the next.

        Under the zero boundary these taps alone, in closed form: a window much longer than the array costs what it
        meets. Other boundaries continue the array, so every tap may read.
        """
        low = outputs * self.stride - self.lo
        if self.boundary is not ZERO:
            return np.zeros_like(low), np.full_like(low, self.kernel), 1
        shared = gcd(self.dilation, self.input_dilation)
        step = self.input_dilation // shared
        inverse = pow(self.dilation // shared, -1, step) if step > 1 else 0
        first = np.maximum(-(low // self.dilation), 0)
        first += (-(low // shared) % step * inverse - first) % step
        stop = np.minimum((self.stretched - 1 - low) // self.dilation + 1, self.kernel)
        return first, np.where(low % shared == 0, np.maximum(-((first - stop) // step), 0), 0), step

    def table(self) -> IntArray:
        """The whole table, (out, kernel)."""
        return self.read(np.arange(self.out)[:, None], np.arange(self.kernel))

    @property
    def transposed(self) -> Axis | None:
        """The axis of the transposed map, its kernel reversed; None where that is no convolution.

        Stride and input dilation trade places. From ``i*e = o*s - lo + p*t`` follows
        ``o*s = i*e - (t*(k-1) - lo) + (k-1-p)*t``.
        """
        if not (self.zero_outside or self.circular):
            return None
        lo = self.span - 1 - self.lo
        mirrored = replace(
            self,
            size=self.out,
            stride=self.input_dilation,
            input_dilation=self.stride,
            lo=lo,
            hi=0,
            boundary=self.boundary if self.circular else ZERO,
        )
        return replace(mirrored, hi=(self.size - 1) * self.input_dilation + self.span - mirrored.stretched - lo)

    @property
    def entries(self) -> int:
        """Number of (output, input) pairs that are joined by at least one tap.

        In closed form, O(kernel), for the zero boundary; otherwise interior outputs are counted
        in closed form and the others by their tables.
        """
        return _entries(self)

    @property
    def turn(self) -> int:
        """Outputs after which windows outside the array repeat themselves; 0 where they never do."""
        period = self.boundary.period(self.stretched)
        return period // gcd(period, self.stride)

    def beyond(self, start: int, stop: int) -> tuple[range, int]:
        """Outputs of [start, stop) whose reading has to be looked up, and how many of the others read one input.

        The others lie wholly before or after the array, and read nothing there or the one end that "edge" repeats.
        """
        if self.boundary.period(self.stretched):
            return range(start, stop), 0
        touching = max(-((self.span - 1 - self.lo) // self.stride), 0)
        leaving = (self.stretched - 1 + self.lo) // self.stride + 1
        begin = min(max(start, touching), stop)
        near = range(begin, max(min(stop, leaving), begin))
        return near, 0 if self.boundary is ZERO else stop - start - len(near)

    def entries_zero(self, first: int = 0, last: int | None = None) -> int:
        """Count, tap by tap, the outputs in [first, last) that read an input under the zero boundary.

        Tap p of output o reads an input where ``0 <= o*s + c < stretched`` and ``o*s + c = 0 (mod e)``,
        with ``c = p*t - lo``: an arithmetic progression of outputs, counted without listing it.
        """
        last = self.out if last is None else last
        offset = np.arange(self.kernel) * self.dilation - self.lo
        shared = gcd(self.stride, self.input_dilation)
        period = self.input_dilation // shared
        inverse = pow(self.stride // shared, -1, period) if period > 1 else 0
        begin = np.maximum(-(offset // self.stride), first)
        end = np.minimum((self.stretched - 1 - offset) // self.stride + 1, last)
        start = begin + (-(offset // shared) % period * inverse - begin) % period
        count = np.maximum(-(-(end - start) // period), 0)
        return int(count[offset % shared == 0].sum())


@lru_cache(maxsize=512)
def _entries(axis: Axis) -> int:
    if axis.zero_outside:
        return axis.entries_zero()
    first, last = axis.interior
    entries = replace(axis, boundary=ZERO).entries_zero(first, last)
    for start, stop in ((0, first), (last, axis.out)):
        near, far = axis.beyond(start, stop)
        entries += far
        period = axis.turn
        rounds, rest = divmod(len(near), period) if period else (0, len(near))
        if rounds:
            entries += rounds * _distinct(axis, range(near.start, near.start + period))
        entries += _distinct(axis, range(near.stop - rest, near.stop))
    return entries


def _distinct(axis: Axis, outputs: range) -> int:
    """Inputs that each of these outputs reads, counted once for each output; the table is looked at in chunks."""
    count = 0
    taps = np.arange(axis.kernel)
    step = max(1, _CHUNK // axis.kernel)
    for start in range(outputs.start, outputs.stop, step):
        these = np.arange(start, min(start + step, outputs.stop))
        if axis.dilation == axis.input_dilation == 1:
            count += _reached(axis, these)
            continue
        row = np.sort(axis.read(these[:, None], taps), axis=1)
        count += int(np.count_nonzero(row[:, 0] != NOTHING))
        count += int(np.count_nonzero((row[:, 1:] != row[:, :-1]) & (row[:, 1:] != NOTHING)))
    return count


def _reached(axis: Axis, outputs: IntArray) -> int:
    """The same without a table where windows have no gaps: a rule maps an interval onto an interval.

    Its ends are those of the window's two ends and of the turning points inside it, which are the images
    0 and n-1; so the image is found from the window's ends and the first and last of each turn in it.
    """
    n, k = axis.size, axis.kernel
    if axis.boundary.name == "wrap":
        return outputs.size * min(k, n)
    low = outputs * axis.stride - axis.lo
    ends = axis.boundary.inside(np.stack([low, low + k - 1]), n)
    least, most = ends.min(axis=0), ends.max(axis=0)
    period = axis.boundary.period(n)
    for turn, end in ((0, least), (n - 1, most)):
        ahead = (turn - low) % period if period else np.where(turn >= low, turn - low, k)
        end[ahead < k] = turn
    return int((most - least + 1).sum())
