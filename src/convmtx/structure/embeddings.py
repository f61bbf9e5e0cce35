r"""Larger maps that fall apart and contain a map: their singular values bound those of the map.

Deleting rows and columns makes no singular value larger. Under the zero boundary an axis is part of every *twisted*
circle that is long enough: the circulant whose symbol is sampled at ``2 pi F / N + shift``, up to diagonal matrices of
phases. Under other boundaries the input is continued first, and then an axis is one under the zero boundary. If an
input is read at most n times, continuing multiplies norms by at most sqrt(n).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, lcm, prod

import numpy as np

from convmtx.boundary import NOTHING, WRAP
from convmtx.geometry import Axis, Geometry, count_reads
from convmtx.structure.blocks import Blocks
from convmtx.structure.splits import Split, fourier, is_mirrored, split_by_transform, whole_circle
from convmtx.typing import AnyArray


@dataclass(frozen=True, eq=False)
class Larger:
    """A part of an axis inside larger axes that fall apart, of which each of the ``choices`` gives a bound."""

    choices: tuple[Split, ...]
    #: The axis whose symbol the choices sample.
    axis: Axis
    #: Numbers of outputs and inputs of the part itself; those that a larger axis has beyond them are deleted.
    outputs: int
    inputs: int
    #: Number of parts of the axis that are like this one.
    times: int = 1
    #: Whether the part is a submatrix of the larger axis; else the input was continued first, or outputs repeat.
    inside: bool = True
    #: Largest number by which this multiplies norms.
    factor: float = 1.0


def relaxations(geometry: Geometry, taps: AnyArray) -> Iterator[tuple[tuple[Larger, ...], list[Blocks]]]:
    """Yield, for each part of the map, its larger axes and the larger maps that all their choices make together."""
    halved = taps.dtype.kind != "c"
    axes: list[list[Larger]] = []
    for j, axis in enumerate(geometry.axes):
        parts_of_axis = _enlarge(axis, is_mirrored(taps, j), halved)
        halved = halved and not any(split.is_fourier for part in parts_of_axis for split in part.choices)
        axes.append(parts_of_axis)
    for parts in product(*axes):
        yield parts, [Blocks(geometry, taps, chosen) for chosen in product(*(part.choices for part in parts))]


def _enlarge(axis: Axis, even: bool, halved: bool) -> list[Larger]:
    """Return the parts of an axis inside larger axes; the axis itself if a transform makes it diagonal."""
    exact = split_by_transform(axis, even, halved)
    if exact is not None:
        return [Larger((exact,), axis, axis.out, axis.size)]
    if axis.zero_outside:
        return [_put_on_circles(part, times, halved) for part, times in lattices(axis).items()]
    if axis.boundary is WRAP and axis.input_dilation == 1:
        _, often = np.unique(np.arange(axis.out) * axis.stride % axis.size, return_counts=True)
        whole = replace(axis, stride=1)
        choices = (fourier(whole, axis.size, 0.0, halved),)
        most = int(often.max())
        return [Larger(choices, whole, often.size, axis.size, inside=most == 1, factor=float(np.sqrt(most)))]
    factor = float(np.sqrt(_most_read(axis)))
    parts = (_put_on_circles(part, times, halved) for part, times in lattices(axis.continued).items())
    return [replace(part, inside=False, factor=factor) for part in parts]


def circle(axis: Axis) -> Split:
    """Split a circle that contains the axis at all its frequencies; the axis itself if it is a circle."""
    if whole_circle(axis):
        return fourier(axis, axis.size, 0.0, halved=False)
    if axis.zero_outside:
        return fourier(axis, around(axis), 0.0, halved=False)
    return circle(axis.continued)


def around(axis: Axis) -> int:
    """Return the size of the shortest circle on which no tap comes around to an input that its output does not read."""
    first, last = axis.reach
    least = max(axis.stretched - min(first, 0), last + 1, (axis.out - 1) * axis.stride + 1)
    step = lcm(axis.stride, axis.input_dilation)
    return -(-least // step) * step


def _put_on_circles(axis: Axis, times: int, halved: bool) -> Larger:
    """Return an axis inside a plain circle, and inside one that is twisted by half a frequency step."""
    size = around(axis)
    choices = tuple(fourier(axis, size, shift, halved) for shift in (0.0, np.pi / size))
    return Larger(choices, axis, axis.out, axis.size, times)


def lattices(axis: Axis) -> dict[Axis, int]:
    """Return the axes without dilation of `sublattices`, and how often each occurs."""
    return {part: len(places) for part, places in sublattices(axis).items()}


def sublattices(axis: Axis) -> dict[Axis, list[tuple[slice, slice]]]:
    """Split a dilated axis of the zero boundary into axes without dilation; return where their outputs and inputs lie.

    With g = gcd(s, t), outputs o of one class modulo t/g read inputs of one class modulo t. For example, with stride 1
    and dilation 2, even outputs read even inputs and odd ones odd ones, or the other way round.
    """
    s, t = axis.stride, axis.dilation
    classes = t // gcd(s, t)
    if axis.input_dilation > 1 or t == 1:
        return {axis: [(slice(None), slice(None))]}
    parts: dict[Axis, list[tuple[slice, slice]]] = {}
    for r in range(min(classes, axis.out)):
        start = r * s - axis.lo
        residue = start % t
        outs, ins = len(range(r, axis.out, classes)), len(range(residue, axis.size, t))
        if ins:
            part = Axis(ins, axis.kernel, s * classes // t, lo=(residue - start) // t)
            part = part.with_outputs(outs)
            parts.setdefault(part, []).append((slice(r, None, classes), slice(residue, None, t)))
    return parts


def _most_read(axis: Axis) -> int:
    """Return the largest number of positions, among those that are read, at which the continued axis has one input."""
    source = axis.source(np.flatnonzero(count_reads(axis.continued)) + axis.reach[0])
    return int(np.bincount(source[source != NOTHING], minlength=1).max())


def size_of(parts: tuple[Larger, ...], geometry: Geometry) -> tuple[int, int]:
    """Return the numbers of rows and columns of one group of a part of the map."""
    per_f, per_c = geometry.channels_per_group
    return per_f * prod(part.outputs for part in parts), per_c * prod(part.inputs for part in parts)
