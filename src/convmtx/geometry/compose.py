"""When two convolutions in sum or in succession are one, and which."""

from __future__ import annotations

from dataclasses import replace
from math import gcd, prod

import numpy as np

from convmtx.boundary import WRAP, ZERO, Boundary
from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry
from convmtx.typing import IntArray


def positions(axis: Axis) -> IntArray:
    """What the taps read for output 0, in stretched positions."""
    return np.arange(axis.kernel) * axis.dilation - axis.lo


def _axis_of(axis: Axis, positions: list[IntArray], stride: int, out: int) -> Axis:
    """The axis over the same input that has taps at all the given positions: their common grid."""
    every = np.unique(np.concatenate(positions))
    step = int(np.gcd.reduce(np.diff(every))) if every.size > 1 else 1
    kernel = int(every[-1] - every[0]) // step + 1
    lo = -int(every[0])
    hi = (out - 1) * stride + (kernel - 1) * step + 1 - axis.stretched - lo
    return replace(axis, kernel=kernel, stride=stride, dilation=step, lo=lo, hi=hi)


def _plain(first: Geometry, second: Geometry, axes: tuple[Axis, ...], groups: int) -> Geometry:
    return Geometry(axes, second.in_channels, first.out_channels, groups, first.layout)


def sum_geometry(a: Geometry, b: Geometry) -> Geometry | None:
    """The convolution that has the taps of both; None where there is none.

    Both read the same continued input at ``o*s`` plus tap positions, so the sum does too; the taps lie
    on the coarsest grid that holds both sets. A grid that would be mostly zeros is refused: two
    sparse kernels are less work apart.
    """
    if a.layout is not b.layout:
        return None
    axes = []
    for p, q in zip(a.axes, b.axes, strict=True):
        if (p.stride, p.input_dilation) != (q.stride, q.input_dilation):
            return None
        if p.reads_outside and q.reads_outside and p.boundary != q.boundary:
            return None
        axes.append(_axis_of(p if p.reads_outside else q, [positions(p), positions(q)], p.stride, p.out))
    if prod(x.kernel for x in axes) > 2 * sum(prod(x.kernel for x in g.axes) for g in (a, b)):
        return None
    return _plain(a, b, tuple(axes), gcd(a.groups, b.groups))


def product_geometry(left: Geometry, right: Geometry) -> Geometry | None:
    """The convolution that is ``left`` after ``right``; None where there is none.

    ``left`` asks for outputs of ``right`` at ``o*s1 + r``. Writing those as windows of the input is
    right where they are outputs that exist, or where both agree on what lies outside: on a circle, or
    where right's windows beyond its ends read nothing, as left's zero boundary has it.
    """
    if left.layout is not right.layout:
        return None
    axes = []
    for outer, inner in zip(left.axes, right.axes, strict=True):
        rule = _continued(outer, inner)
        if outer.input_dilation != 1 or rule is None:
            return None
        r = positions(outer)[:, None] * inner.stride + positions(inner)
        axes.append(_axis_of(replace(inner, boundary=rule), [r.ravel()], outer.stride * inner.stride, outer.out))
    return _plain(left, right, tuple(axes), gcd(left.groups, right.groups))


def _continued(outer: Axis, inner: Axis) -> Boundary | None:
    """The boundary under which inner's windows, continued past its ends, are what ``outer`` reads there."""
    if not outer.reads_outside:
        return inner.boundary
    if outer.boundary is WRAP and inner.circular:
        return WRAP
    if inner == replace(inner, kernel=1, stride=1, input_dilation=1, lo=0, hi=0):
        return outer.boundary  # position by position, so it may as well come after the continuation
    if outer.zero_outside and inner.zero_outside:
        before_ends = -inner.stride - inner.lo + inner.span - 1 < 0
        after_starts = inner.out * inner.stride - inner.lo >= inner.stretched
        return ZERO if before_ends and after_starts else None
    return None
