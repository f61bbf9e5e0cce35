"""What every engine shares: a map split into plain convolutions, its transpose made from one, its windows.

A dilated input is never stuffed with zeros under the zero boundary: the outputs are split into phases,
each an ordinary convolution with every e-th tap. So an engine has one thing to do: fill the outputs of a
`Part`, a convolution of grouped arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import product
from math import gcd
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.engines.threads import scratch
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.typing import AnyArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Some outputs of a map, evenly spaced along each axis, with the taps that meet them."""

    outputs: tuple[slice, ...]
    axes: tuple[Axis, ...]
    #: (G, F, C, k1..kd); without taps where these outputs meet none.
    kernel: AnyArray
    #: Whether there is one group, and its filters lie side by side in memory.
    channels_last: bool
    _kept: dict[Any, Any] = field(default_factory=dict)

    def keep(self, key: Any, make: Callable[[], Any]) -> Any:
        """What an engine made of the kernel, for the next time."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


#: Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd).
Correlate = Callable[[Part, AnyArray, AnyArray], None]


class Plan:
    """A map made ready to be applied: its parts, and those of its transpose."""

    def __init__(self, geometry: Geometry, taps: AnyArray) -> None:
        self.geometry, self._taps, self._out_shape = geometry, taps, geometry.out_shape

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """The plain convolutions that make up the map; together their outputs are all outputs."""
        per_f, per_c = self.geometry.channels_per_group
        kernel = self._taps.reshape(self.geometry.groups, per_f, per_c, *self._taps.shape[2:])
        last = self.geometry.layout is Layout.LAST and self.geometry.groups == 1 and per_f > 1
        found = []
        for chosen in product(*(_phases(a) for a in self.geometry.axes)):
            met: tuple[Any, ...] = (..., *(taps for _, taps, _ in chosen))
            found.append(Part(tuple(o for o, _, _ in chosen), tuple(a for _, _, a in chosen), kernel[met], last))
        return tuple(found)

    def forward(self, x: AnyArray, correlate: Correlate) -> AnyArray:
        """Apply to a batch: x (B, *in_shape) to (B, *out_shape)."""
        g = self.geometry
        y = np.empty((x.shape[0], *self._out_shape), np.result_type(self._taps, x))
        inputs, outputs = _by_group(g, x, g.in_channels), _by_group(g, y, g.out_channels)
        for part in self.parts:
            where: tuple[Any, ...] = (..., *part.outputs)
            if part.kernel.size and x.size:
                correlate(part, inputs, outputs[where])
            else:
                outputs[where] = 0
        return y

    def transposed(self, y: AnyArray, correlate: Correlate) -> AnyArray:
        """Apply the transpose where it is no convolution: that of the inside part, its border folded back.

        The map is (continue the input past its ends), then (a convolution that reads nothing outside).
        """
        inner, mirrored = self._inner
        x = mirrored.forward(y, correlate)
        for j, (axis, whole) in enumerate(zip(self.geometry.axes, inner.axes, strict=True)):
            if whole is not axis:
                at = 1 + self.geometry.layout.join(-1, tuple(range(len(inner.axes)))).index(j)
                x = _fold_back(x, at, axis)
        return np.ascontiguousarray(x)

    @cached_property
    def _inner(self) -> tuple[Geometry, Plan]:
        inner = replace(self.geometry, axes=tuple(_inside(a) for a in self.geometry.axes))
        mirrored = inner.T
        assert mirrored is not None  # an axis that reads nothing outside always has a transpose
        return inner, Plan(mirrored, mirrored.taps(inner.stored(self._taps)))


def _phases(axis: Axis) -> Iterator[tuple[slice, slice, Axis]]:
    """Outputs, taps and axis of each phase, so that no tap ever multiplies a stuffed zero.

    Tap p meets output o where ``o*s - lo + p*t`` is a multiple of e. Outputs ``r + j*P`` with
    ``P = e/gcd(s, e)`` are met by taps ``p0 + m*Q`` with ``Q = e/gcd(t, e)``.
    """
    e = axis.input_dilation
    if e == 1 or not axis.zero_outside:
        yield slice(None), slice(None), axis
        return
    period, skip = e // gcd(axis.stride, e), e // gcd(axis.dilation, e)
    for r in range(min(period, axis.out)):
        position = r * axis.stride - axis.lo
        met = [p for p in range(min(skip, axis.kernel)) if (position + p * axis.dilation) % e == 0]
        if not met:
            yield slice(r, None, period), slice(0), axis
            continue
        inner = Axis(
            axis.size,
            len(range(met[0], axis.kernel, skip)),
            axis.stride * period // e,
            axis.dilation * skip // e,
            lo=-((position + met[0] * axis.dilation) // e),
        )
        yield slice(r, None, period), slice(met[0], None, skip), with_outputs(inner, len(range(r, axis.out, period)))


def with_outputs(axis: Axis, count: int) -> Axis:
    """The axis padded or cropped at its end so that it has ``count`` outputs."""
    return replace(axis, hi=(count - 1) * axis.stride + axis.span - axis.stretched - axis.lo)


def _by_group(geometry: Geometry, x: AnyArray, channels: int) -> AnyArray:
    """View of (B, *shape) as (B, groups, channels/groups, n1..nd)."""
    if geometry.layout is Layout.LAST:
        x = np.moveaxis(x, -1, 1)
    elif geometry.layout is Layout.PLAIN:
        x = x[:, None]
    groups = geometry.groups
    return x.reshape(x.shape[0], groups, channels // groups, *x.shape[2:])


def _inside(axis: Axis) -> Axis:
    """The axis after the input was continued: same windows, nothing outside. Zero borders need no continuing."""
    if axis.zero_outside:
        return axis
    return Axis(axis.reach[1] - axis.reach[0] + 1, axis.kernel, axis.stride, axis.dilation)


def _fold_back(x: AnyArray, at: int, axis: Axis) -> AnyArray:
    """Add each position of the continued axis to the input position it was read from; x may be written to."""
    start, stop = axis.reach
    before = (slice(None),) * at
    if axis.input_dilation == 1 and start <= 0 and stop >= axis.size - 1:  # the inputs lie there as they are
        folded = x[(*before, slice(-start, axis.size - start))]
        outside = [*range(start, 0), *range(axis.size, stop + 1)]
    else:
        folded = np.zeros((*x.shape[:at], axis.size, *x.shape[at + 1 :]), x.dtype)
        outside = list(range(start, stop + 1))
    for position, place in zip(outside, axis.source(np.array(outside, np.int64)), strict=True):
        if place != NOTHING:
            folded[(*before, place)] += x[(*before, position - start)]
    return folded


def reach(axis: Axis, x: AnyArray, at: int, outs: slice) -> AnyArray:
    """What the outputs ``outs`` reach over along one axis: a slice, with the boundary's values beyond the ends.

    Where it is no slice it lies in the thread's scratch memory, until the same axis is asked for again.
    """
    inputs, length, borders = _reading(axis, outs.start, outs.stop)
    before = (slice(None),) * at
    inner = x[(*before, inputs)]
    if not borders:
        return inner
    reached = scratch(f"reach {at}", (*x.shape[:at], length, *x.shape[at + 1 :]), x.dtype)
    first = borders[0][0].stop if borders[0][0].start == 0 else 0
    reached[(*before, slice(first, first + inner.shape[at]))] = inner
    for where, places in borders:
        border = reached[(*before, where)]
        nothing = places == NOTHING
        if nothing.all():
            border[...] = 0
        else:
            border[...] = x.take(np.maximum(places, 0), at)
            border[(*before, nothing)] = 0
    return reached


@lru_cache(maxsize=4096)
def _reading(axis: Axis, first: int, last: int) -> tuple[slice, int, tuple[tuple[slice, IntArray], ...]]:
    """What outputs from ``first`` to before ``last`` reach over: inputs as they lie, the length, what is around."""
    start, stop = first * axis.stride - axis.lo, (last - 1) * axis.stride - axis.lo + axis.span
    length = stop - start
    lo, hi = min(max(start, 0), axis.size), max(min(stop, axis.size), 0)
    if axis.input_dilation > 1 or lo >= hi:  # none of them lie as they are read
        lo = hi = 0
        ends = [(0, length)]
    else:
        ends = [(0, lo - start), (hi - start, length)]
    borders = tuple((slice(a, b), axis.source(np.arange(start + a, start + b))) for a, b in ends if a < b)
    return slice(lo, hi), length, borders
