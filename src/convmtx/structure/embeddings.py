r"""A map as part of a larger one that falls apart: what bounds its singular values.

Deleting rows and columns makes no singular value larger. Under the zero boundary an axis is part of every *twisted*
circle that is long enough: the circulant whose symbol is sampled at ``2 pi F / N + shift``, up to diagonal matrices of
phases. Under other boundaries an axis is one under the zero boundary after the input was continued, and continuing it
multiplies norms by no more than the root of how often an input is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import gcd, lcm, prod
from typing import NamedTuple

import numpy as np

from convmtx.boundary import NOTHING, WRAP
from convmtx.geometry import Axis, Geometry
from convmtx.structure.blocks import Blocks
from convmtx.structure.splits import Split, fourier, mirrored, transformed, whole_circle
from convmtx.typing import AnyArray


class Larger(NamedTuple):
    """One part of an axis inside larger axes that fall apart: any of the ``choices`` will do."""

    choices: tuple[Split, ...]
    #: Whose symbol is sampled by them.
    axis: Axis
    #: Outputs and inputs of the part itself; all that a larger axis has beyond them was deleted.
    outputs: int
    inputs: int
    #: How many parts of the axis are like this one.
    times: int = 1
    #: Whether the part is just inside; else the input was continued first, or outputs repeat.
    inside: bool = True
    #: By how much that may have multiplied norms.
    factor: float = 1.0


def relaxations(geometry: Geometry, taps: AnyArray) -> Iterator[tuple[tuple[Larger, ...], list[Blocks]]]:
    """For each part of the map, its larger axes and the larger maps that they make in all their choices."""
    halved = taps.dtype.kind != "c"
    axes: list[list[Larger]] = []
    for j, axis in enumerate(geometry.axes):
        each = _larger(axis, mirrored(taps, j), halved)
        halved = halved and all(split.rule != "fourier" for part in each for split in part.choices)
        axes.append(each)
    for parts in product(*axes):
        yield parts, [Blocks(geometry, taps, chosen) for chosen in product(*(part.choices for part in parts))]


def _larger(axis: Axis, even: bool, halved: bool) -> list[Larger]:
    exact = transformed(axis, even, halved)
    if exact is not None:
        return [Larger((exact,), axis, axis.out, axis.size)]
    if axis.zero_outside:
        return [_on_circles(part, times, halved) for part, times in lattices(axis).items()]
    if axis.boundary is WRAP and axis.input_dilation == 1:
        _, often = np.unique(np.arange(axis.out) * axis.stride % axis.size, return_counts=True)
        whole = replace(axis, stride=1)
        choices = (fourier(whole, axis.size, 0.0, halved),)
        most = int(often.max())
        return [Larger(choices, whole, often.size, axis.size, inside=most == 1, factor=float(np.sqrt(most)))]
    factor = float(np.sqrt(_most_read(axis)))
    found = [_on_circles(part, times, halved) for part, times in lattices(axis.continued).items()]
    return [part._replace(inside=False, factor=factor) for part in found]


def circle(axis: Axis) -> Split:
    """All frequencies of a circle that holds the axis: itself where it is one."""
    if whole_circle(axis):
        return fourier(axis, axis.size, 0.0, halved=False)
    if axis.zero_outside:
        return fourier(axis, around(axis), 0.0, halved=False)
    return circle(axis.continued)


def around(axis: Axis) -> int:
    """A circle just long enough that no tap of an output comes around to an input that it does not read."""
    first, last = axis.reach
    least = max(axis.stretched - min(first, 0), last + 1, (axis.out - 1) * axis.stride + 1)
    unit = lcm(axis.stride, axis.input_dilation)
    return -(-least // unit) * unit


def _on_circles(axis: Axis, times: int, halved: bool) -> Larger:
    size = around(axis)
    choices = tuple(fourier(axis, size, shift, halved) for shift in (0.0, np.pi / size))
    return Larger(choices, axis, axis.out, axis.size, times)


def lattices(axis: Axis) -> dict[Axis, int]:
    """The axes without dilation that `sublattices` finds, and how often each."""
    return {part: len(places) for part, places in sublattices(axis).items()}


def sublattices(axis: Axis) -> dict[Axis, list[tuple[slice, slice]]]:
    """A dilated axis of the zero boundary as the axes without dilation that it falls apart into.

    With g = gcd(s, t), outputs o of one class modulo t/g read inputs of one class modulo t: where these lie.
    """
    s, t = axis.stride, axis.dilation
    classes = t // gcd(s, t)
    if axis.input_dilation > 1 or t == 1:
        return {axis: [(slice(None), slice(None))]}
    found: dict[Axis, list[tuple[slice, slice]]] = {}
    for r in range(min(classes, axis.out)):
        start = r * s - axis.lo
        residue = start % t
        outs, ins = len(range(r, axis.out, classes)), len(range(residue, axis.size, t))
        if ins:
            part = Axis(ins, axis.kernel, s * classes // t, lo=(residue - start) // t)
            part = part.with_outputs(outs)
            found.setdefault(part, []).append((slice(r, None, classes), slice(residue, None, t)))
    return found


def _most_read(axis: Axis) -> int:
    """How many positions of the continued axis that are read at all hold the same input, at most."""
    positions = np.unique(np.arange(axis.out)[:, None] * axis.stride - axis.lo + np.arange(axis.kernel) * axis.dilation)
    source = axis.source(positions)
    return int(np.bincount(source[source != NOTHING], minlength=1).max())


def size_of(parts: tuple[Larger, ...], geometry: Geometry) -> tuple[int, int]:
    """Rows and columns of a part of the map, one group of it."""
    per_f, per_c = geometry.channels_per_group
    return per_f * prod(part.outputs for part in parts), per_c * prod(part.inputs for part in parts)
