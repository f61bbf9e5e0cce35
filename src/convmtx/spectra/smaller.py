r"""Bounds of the norm by that of a smaller input with the same boundaries.

Cut each long axis into windows that overlap: ``chi_j >= 0`` with ``sum_j chi_j^2 = 1``, each of which rises like a sine
over at least L inputs and falls like a cosine. Then, with ``G = A^H A`` and the sum over windows of all axes,

``|A x|^2 = sum_j |A chi_j x|^2 + 1/2 sum_ab conj(x_a) G_ab x_b sum_j (chi_j(a) - chi_j(b))^2``.

A window holds few inputs, in the middle or at an end. So ``A chi_j x`` is, moved, what the map A' of a smaller input
makes of them, and the first sum is at most ``|A'|^2 |x|^2``. In the second one the windows differ by at most
``(pi / 2L)^2 |a - b|^2``, and G joins only inputs that one output reads. So ``|A|^2 <= |A'|^2 + c / L^2``.

In the same way, two windows over the smaller input, each of which holds one end, are windows of the larger one. So
``|A'|^2 <= |A|^2 + c / L^2``. (Such partitions: Cycon, Froese, Kirsch, Simon, Schroedinger Operators, 1987, 3.1.)
"""

from __future__ import annotations

from dataclasses import replace
from math import pi, prod
from typing import NamedTuple

import numpy as np

from convmtx.boundary import WRAP
from convmtx.geometry import Axis
from convmtx.maps.convolution import ConvOperator
from convmtx.spectra import entrywise
from convmtx.spectra.packets import borders_alone
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import AnyArray

#: Largest number of inputs and outputs of the smaller map: its norm takes about a second.
_MOST = 200_000
#: Largest number of inputs over which a window rises: beyond it, rounding and the smaller map's own bounds are larger.
_LONGEST = 1 << 14


class Smaller(NamedTuple):
    """A map of a smaller input, and how much its norm's square may be above and below that of the larger one's."""

    op: ConvOperator
    above: float
    below: float


def smaller(op: ConvOperator) -> Smaller | None:
    """Return a map of a smaller input whose norm is close; None if the map is small, or if there is none.

    There is none for windows that wrap otherwise than once around a circle, which join inputs far apart.
    """
    axes, rise = op.geometry.axes, _LONGEST
    if any(axis.boundary is WRAP and not (axis.zero_outside or axis.circular) for axis in axes):
        return None
    if sum(op.geometry.shape) <= _MOST:
        return None
    while rise >= 1:
        cut = [_cut(axis, rise) for axis in axes]
        geometry = replace(op.geometry, axes=tuple(axis for axis, _ in cut))
        if sum(geometry.shape) <= _MOST:
            few = [1 / one if one else 0.0 for _, one in cut]
            # Over the smaller input a window rises over twice as many inputs; on a circle each window has two ends.
            fewer = [one if axis.circular else one / 2 for one, axis in zip(few, axes, strict=True)]
            return Smaller(ConvOperator(geometry, op.kernel, "auto"), _change(op, fewer), _change(op, few))
        rise //= 2
    return None


def _cut(axis: Axis, rise: int) -> tuple[Axis, int]:
    """Return a shorter axis that holds every window, and over how many inputs windows rise; 0 if the axis is not cut.

    Windows begin at multiples of the stride from each other, so rises of L and of L + stride inputs fill any length of
    at least ``L (L + stride) / stride``.
    """
    step = axis.stride
    rise = -(-rise // step) * step
    border = (abs(axis.lo) + abs(axis.hi) + 2 * axis.span) // axis.input_dilation + 1 + step
    size = 2 * (rise + step) + 2 * border
    size += (axis.size - size) % step
    if axis.size < rise * (rise + step) // step + 2 * size:
        return axis, 0
    return replace(axis, size=size), rise


def _change(op: ConvOperator, over_rises: list[float]) -> float:
    """Return an upper bound of the second sum for windows that rise over so many inputs, given their inverses.

    It is the largest sum of a column of G, each entry times half the windows' change. An entry of G is a sum over
    outputs and two of their taps. The inputs that these read are no further apart than the taps, as no boundary moves
    inputs away from each other. So the sum of a column is one of a convolution.
    """
    sizes = np.abs(taps_of(op.geometry, op.kernel))  # (F, C/groups, k1..kd)
    weights = np.zeros_like(sizes)
    for j, (axis, over_rise) in enumerate(zip(op.geometry.axes, over_rises, strict=True)):
        at = (np.arange(axis.kernel) * (axis.dilation / axis.input_dilation)).reshape(-1, *(1,) * (sizes.ndim - 3 - j))
        weights += (pi / 2 * over_rise) ** 2 / 2 * sizes * _second_moments(sizes, at)
    short = borders_alone(op)
    return float(entrywise.largest_column(ConvOperator(short.geometry, kernel_of(short.geometry, weights), "auto")))


def _second_moments(sizes: AnyArray, at: AnyArray) -> AnyArray:
    """Return for each filter and each place of a tap the sum of all sizes times their squared distances from there."""
    moments = [(sizes * at**power).reshape(len(sizes), prod(sizes.shape[1:])).sum(axis=1) for power in (0, 1, 2)]
    none, first, second = (moment.reshape(-1, *(1,) * (sizes.ndim - 1)) for moment in moments)
    total: AnyArray = none * at**2 - 2 * first * at + second
    return total
