"""One spatial axis: which input position each output position reads through each kernel tap."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd

import numpy as np

from convmtx.boundary import NOTHING, WRAP, ZERO, Boundary
from convmtx.typing import IntArray

#: Table entries that are held at once while they are counted: 8 MiB of 64-bit integers.
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Axis:
    """Sizes of one spatial axis, and the table of what its outputs read.

    Output ``o`` reads, through tap ``p``, position ``o*stride - lo + p*dilation`` of the *stretched* input: the input
    with ``input_dilation - 1`` zeros between neighbours, continued past its ends by ``boundary``.

    For example, 5 inputs, 3 taps, stride 2 and pads lo = hi = 1 make 3 outputs, which read positions -1 0 1, 1 2 3 and
    3 4 5. Under the zero boundary -1 and 5 hold nothing.
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
        """Number of stretched positions from a window's first tap to its last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @property
    def stretched(self) -> int:
        """Size of the stretched input: 3 inputs with input dilation 2 are ``x 0 x 0 x``, 5 positions."""
        return (self.size - 1) * self.input_dilation + 1

    @property
    def out(self) -> int:
        """Number of outputs: window positions that fit into the padded, stretched input."""
        return (self.stretched + self.lo + self.hi - self.span) // self.stride + 1

    @property
    def reach(self) -> tuple[int, int]:
        """First and last stretched position that any tap reads, inside or outside."""
        return -self.lo, (self.out - 1) * self.stride - self.lo + self.span - 1

    @property
    def continued(self) -> Axis:
        """Axis with the same windows, whose input is everything that this one reaches: it reads nothing outside."""
        first, last = self.reach
        return Axis(last - first + 1, self.kernel, self.stride, self.dilation)

    def with_outputs(self, count: int) -> Axis:
        """Return the axis padded or cropped at its end so that it has ``count`` outputs."""
        return replace(self, hi=(count - 1) * self.stride + self.span - self.stretched - self.lo)

    def restricted(self, outputs: range) -> Axis:
        """Return the axis that has these outputs alone.

        Their windows stay where they are: outputs 4, 6, 8 of an axis of stride 3 and lo = 1 start at 11, 17, 23, which
        is an axis of stride 6 and lo = -11.
        """
        first = replace(self, stride=self.stride * outputs.step, lo=self.lo - outputs.start * self.stride)
        return first.with_outputs(len(outputs))

    @property
    def reads_outside(self) -> bool:
        """Whether any tap of any output falls outside the stretched input."""
        first, last = self.reach
        return first < 0 or last >= self.stretched

    @property
    def zero_outside(self) -> bool:
        """Whether only zeros are read outside: by the boundary rule, or because nothing is read outside at all."""
        return self.boundary is ZERO or not self.reads_outside

    @property
    def may_fold(self) -> bool:
        """Whether an output may read one input through several taps: not under zeros, nor once around a circle."""
        return not (self.zero_outside or (self.boundary is WRAP and self.span <= self.stretched))

    @property
    def toeplitz(self) -> bool:
        """Whether an entry of the matrix depends on the difference of output and input position only."""
        return self.boundary.toeplitz or not self.reads_outside

    @property
    def circular(self) -> bool:
        """Whether outputs and inputs are the same circle: it wraps, moves by one, and has as many outputs as inputs."""
        return self.boundary is WRAP and self.stride == self.input_dilation == 1 and self.out == self.size

    @property
    def interior(self) -> tuple[int, int]:
        """Half-open range of outputs whose taps all fall inside the stretched input.

        The window of output o starts at ``o*stride - lo``, so o is at least ``ceil(lo/stride)`` and at most
        ``floor((stretched - span + lo)/stride)``. Here ceil(a/b) is written ``-(-a // b)``.
        """
        first = min(max(-(-self.lo // self.stride), 0), self.out)
        last = (self.stretched - self.span + self.lo) // self.stride + 1
        return first, min(max(last, first), self.out)

    def read(self, outputs: IntArray, taps: IntArray) -> IntArray:
        """Return the input position that each output reads through each tap, -1 for nothing.

        ``outputs`` and ``taps`` are broadcast together.
        """
        return self.source(outputs * self.stride - self.lo + taps * self.dilation)

    def source(self, position: IntArray) -> IntArray:
        """Return the input that stands at each position of the stretched, continued input; -1 for nothing."""
        inside = self.boundary.inside(position, self.stretched)
        if self.input_dilation == 1:
            return inside
        # With input dilation 3, stretched positions 0 3 6 hold inputs 0 1 2, and those between hold zeros.
        on_input = (inside != NOTHING) & (inside % self.input_dilation == 0)
        return np.where(on_input, inside // self.input_dilation, NOTHING)

    def reading(self, outputs: IntArray) -> tuple[IntArray, IntArray, int]:
        """Return the taps through which each output can read: the first, their number, and the step between them.

        Under the zero boundary they are exactly the taps that read an input, in closed form, so that a window much
        longer than the array costs only what it meets. Under the other boundaries every tap can read.

        Closed form: with low the start of the window, t the dilation and e the input dilation, tap p reads an input
        where ``0 <= low + p*t < stretched`` and e divides ``low + p*t``. With g = gcd(t, e) the second has solutions
        only if g divides low; then p is ``-(low/g) * (t/g)^-1`` modulo e/g. For low = -4, t = 3 and e = 2: p is even,
        at least 2, and the taps are 2, 4, 6, ..., at positions 2, 8, 14.
        """
        low = outputs * self.stride - self.lo
        if self.boundary is not ZERO:
            return np.zeros_like(low), np.full_like(low, self.kernel), 1
        shared = gcd(self.dilation, self.input_dilation)
        step = self.input_dilation // shared
        inverse = pow(self.dilation // shared, -1, step) if step > 1 else 0
        # The least p with low + p*t >= 0, then the next one in the right residue class.
        first = np.maximum(-(low // self.dilation), 0)
        first += (-(low // shared) % step * inverse - first) % step
        stop = np.minimum((self.stretched - 1 - low) // self.dilation + 1, self.kernel)
        count = np.maximum(-((first - stop) // step), 0)
        return first, np.where(low % shared == 0, count, 0), step

    def extent(self, outputs: IntArray) -> tuple[IntArray, IntArray]:
        """Return the first and the last input that each of some outputs reads; twice -1 where it reads nothing.

        Windows inside the array, and all windows without gaps, are known by their ends. Others are listed; many long
        ones are not, and count as if they had no gaps.
        """
        low = outputs * self.stride - self.lo
        plain = replace(self, boundary=ZERO)
        first, counts, step = plain.reading(outputs)
        start = np.where(counts > 0, (low + first * self.dilation) // self.input_dilation, NOTHING)
        apart = step * self.dilation // self.input_dilation  # inputs from one that is read to the next
        least, most = start, np.where(counts > 0, start + (counts - 1) * apart, NOTHING)
        if self.boundary is ZERO:
            return least, most
        across = np.flatnonzero((low < 0) | (low + self.span > self.stretched))
        if self.dilation == self.input_dilation == 1 or across.size * self.kernel > _CHUNK:
            first, last = _extent_of_intervals(self, low[across])
            least[across], most[across] = -(-first // self.input_dilation), last // self.input_dilation
            nothing = least > most
            least[nothing], most[nothing] = NOTHING, NOTHING
        elif across.size:
            rows = self.read(outputs[across][:, None], np.arange(self.kernel))
            most[across] = rows.max(axis=1)
            least[across] = np.where(rows == NOTHING, self.size, rows).min(axis=1)
            least[most == NOTHING] = NOTHING
        return least, most

    def table(self) -> IntArray:
        """Return the whole table, (out, kernel): input positions, -1 for nothing."""
        return self.read(np.arange(self.out)[:, None], np.arange(self.kernel))

    @property
    def transposed(self) -> Axis | None:
        """Axis of the transposed map, whose kernel is reversed; None if the transpose is not a convolution.

        Stride and input dilation trade places. From ``i*e = o*s - lo + p*t`` follows
        ``o*s = i*e - (t*(k-1) - lo) + (k-1-p)*t``, in which ``k-1-p`` is the tap of the reversed kernel.
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
        """Number of (output, input) pairs that at least one tap joins.

        For the zero boundary in closed form, O(kernel). For others the interior outputs are counted in closed form, and
        the rest by their rows of the table.
        """
        return _entries(self)

    @property
    def turn(self) -> int:
        """Number of outputs after which windows outside the array repeat themselves; 0 if they never do.

        Output o + turn reads what o reads, ``turn*stride`` positions further, a multiple of the rule's period: period 6
        and stride 4 make a turn of 3 outputs, 12 positions.
        """
        period = self.boundary.period(self.stretched)
        return period // gcd(period, self.stride)

    def beyond(self, start: int, stop: int) -> tuple[range, int]:
        """Return the outputs of [start, stop) that need their row of the table, and how many others read one input.

        The others are windows wholly before or wholly after the array, under a rule without a period. Such a window
        reads nothing under "zero", and the repeated end under "edge".
        """
        if self.boundary.period(self.stretched):
            return range(start, stop), 0
        # First output whose last tap is at position 0 or later, and first whose first tap is behind the array.
        touching = max(-((self.span - 1 - self.lo) // self.stride), 0)
        leaving = (self.stretched - 1 + self.lo) // self.stride + 1
        begin = min(max(start, touching), stop)
        near = range(begin, max(min(stop, leaving), begin))
        return near, 0 if self.boundary is ZERO else stop - start - len(near)

    def entries_zero(self, first: int = 0, last: int | None = None) -> int:
        """Return the number of pairs of a tap and an output in [first, last) that read an input, under zeros."""
        return int(self.readers_zero(first, last).sum())

    def readers_zero(self, first: int = 0, last: int | None = None) -> IntArray:
        """Return the number of outputs in [first, last) that read an input through each tap, under zeros outside.

        Tap p of output o reads an input where ``0 <= o*s + c < stretched`` and ``o*s + c = 0 (mod e)``, with
        ``c = p*t - lo``. For each tap these outputs are an arithmetic progression, which is counted without listing it.
        For s = 2, e = 3 and c = 1: o = 1, 4, 7, ..., at positions 3, 9, 15.
        """
        last = self.out if last is None else last
        offset = np.arange(self.kernel) * self.dilation - self.lo
        shared = gcd(self.stride, self.input_dilation)
        period = self.input_dilation // shared
        inverse = pow(self.stride // shared, -1, period) if period > 1 else 0
        # Outputs whose position is inside, [begin, end), then the first of them in the right residue class.
        begin = np.maximum(-(offset // self.stride), first)
        end = np.minimum((self.stretched - 1 - offset) // self.stride + 1, last)
        start = begin + (-(offset // shared) % period * inverse - begin) % period
        count = np.maximum(-(-(end - start) // period), 0)
        return np.where(offset % shared == 0, count, 0)


@lru_cache(maxsize=512)
def _entries(axis: Axis) -> int:
    """Count the pairs of an output and an input that at least one tap joins."""
    if axis.zero_outside:
        return axis.entries_zero()
    first, last = axis.interior
    entries = replace(axis, boundary=ZERO).entries_zero(first, last)
    for start, stop in ((0, first), (last, axis.out)):
        near, single = axis.beyond(start, stop)
        entries += single
        # Outputs a turn apart read the same, so one turn is counted and multiplied.
        turn = axis.turn
        rounds, rest = divmod(len(near), turn) if turn else (0, len(near))
        if rounds:
            entries += rounds * _distinct(axis, range(near.start, near.start + turn))
        entries += _distinct(axis, range(near.stop - rest, near.stop))
    return entries


def _distinct(axis: Axis, outputs: range) -> int:
    """Count the different inputs that each of these outputs reads, and add up the counts."""
    count = 0
    taps = np.arange(axis.kernel)
    has_no_gaps = axis.dilation == axis.input_dilation == 1
    step = max(1, _CHUNK // axis.kernel)
    for start in range(outputs.start, outputs.stop, step):
        chunk = np.arange(start, min(start + step, outputs.stop))
        if has_no_gaps and axis.boundary is WRAP:
            count += chunk.size * min(axis.kernel, axis.size)
            continue
        if has_no_gaps and axis.boundary.is_continuous:
            least, most = axis.extent(chunk)
            count += int((most - least + 1).sum())
            continue
        # Sorted, the row -1 0 1 1 2 has three entries: its first is nothing, and three entries begin a new input.
        rows = np.sort(axis.read(chunk[:, None], taps), axis=1)
        count += int(np.count_nonzero(rows[:, 0] != NOTHING))
        count += int(np.count_nonzero((rows[:, 1:] != rows[:, :-1]) & (rows[:, 1:] != NOTHING)))
    return count


def _extent_of_intervals(axis: Axis, low: IntArray) -> tuple[IntArray, IntArray]:
    """Return the first and the last stretched position inside that windows from ``low`` on hold, if without gaps.

    A continuous rule maps neighbours to neighbours or to the same place, so a window, which is an interval, holds an
    interval of places. Its least place is that of one of the window's ends, or 0 if the window has a position that
    holds 0; and likewise its greatest, with n - 1. Under "reflect", n = 5, a window at positions -2 to 1 holds 2 1 0 1:
    its ends hold 2 and 1, and position 0 lies in it, so it holds 0 to 2. Around a circle, a window that goes on from
    n - 1 to 0 holds both.
    """
    n, k = axis.stretched, axis.span
    ends = axis.boundary.inside(np.stack([low, low + k - 1]), n)
    least, most = ends.min(axis=0), ends.max(axis=0)
    period = axis.boundary.period(n)
    for turning_point, end in ((0, least), (n - 1, most)):
        ahead = turning_point - low  # positions from the window's start to the next one that holds the turning point
        ahead = ahead % period if period else np.where(ahead >= 0, ahead, k)
        end[ahead < k] = turning_point
    return least, most
