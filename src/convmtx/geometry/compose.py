"""Sums and products of two convolutions: whether each is one convolution, and which."""

from __future__ import annotations

from dataclasses import replace
from math import gcd, prod

import numpy as np

from convmtx.boundary import WRAP, ZERO, Boundary
from convmtx.geometry.axis import Axis
from convmtx.geometry.geometry import Geometry
from convmtx.typing import IntArray


def positions(axis: Axis) -> IntArray:
    """Return the stretched positions that output 0 reads, one for each tap."""
    return np.arange(axis.kernel) * axis.dilation - axis.lo


def _with_taps_at(axis: Axis, positions: list[IntArray], stride: int, out: int) -> Axis:
    """Return the axis over the same input whose taps are the coarsest grid that holds all these positions.

    Positions -1 and 5 of one kernel and 1 of another are taps 0, 3 and 1 of a grid of step 2 from lo = 1 on.
    """
    taps = np.unique(np.concatenate(positions))
    step = int(np.gcd.reduce(np.diff(taps))) if taps.size > 1 else 1
    kernel = int(taps[-1] - taps[0]) // step + 1
    grid = replace(axis, kernel=kernel, stride=stride, dilation=step, lo=-int(taps[0]))
    return grid.with_outputs(out)


def _from_second_to_first(first: Geometry, second: Geometry, axes: tuple[Axis, ...], groups: int) -> Geometry:
    """Return the geometry from the channels that ``second`` reads to those that ``first`` writes."""
    return Geometry(axes, second.in_channels, first.out_channels, groups, first.layout)


def sum_geometry(a: Geometry, b: Geometry) -> Geometry | None:
    """Return the geometry of the sum of two maps; None if the sum is not one convolution.

    Both read the same continued input at ``o*s`` plus the positions of their taps, so the sum does too. Its taps lie on
    the coarsest grid that holds both sets. If more than half of that grid would be zeros, the maps stay apart, which is
    less work.
    """
    if a.layout is not b.layout:
        return None
    axes = []
    for p, q in zip(a.axes, b.axes, strict=True):
        if (p.stride, p.input_dilation) != (q.stride, q.input_dilation):
            return None
        if p.reads_outside and q.reads_outside and p.boundary is not q.boundary:
            return None
        axes.append(_with_taps_at(p if p.reads_outside else q, [positions(p), positions(q)], p.stride, p.out))
    taps_apart = sum(prod(x.kernel for x in g.axes) for g in (a, b))
    if prod(x.kernel for x in axes) > 2 * taps_apart:
        return None
    return _from_second_to_first(a, b, tuple(axes), gcd(a.groups, b.groups))


def product_geometry(left: Geometry, right: Geometry) -> Geometry | None:
    """Return the geometry of ``left`` after ``right``; None if the product is not one convolution.

    ``left`` reads the outputs of ``right`` at ``o*s1 + r``, and these read windows of the input. Putting one into the
    other is right if all those outputs exist, or if both maps agree on what lies beyond them: both on a circle, or
    windows of ``right`` beyond its ends that read nothing, as the zero boundary of ``left`` has it.
    """
    pairs = zip(left.axes, right.axes, strict=False)
    return product_inside(left, right) if all(agree_outside(*pair) for pair in pairs) else None


def agree_outside(outer: Axis, inner: Axis) -> bool:
    """Whether windows of ``inner`` beyond its ends are what ``outer`` reads there."""
    return _continued(outer, inner) is not None


def product_inside(left: Geometry, right: Geometry) -> Geometry | None:
    """Return the geometry of ``left`` after ``right`` where ``left`` reads outputs of ``right`` alone.

    It is the whole product if both agree on what lies beyond them. None if no convolution is, because layouts differ or
    the outputs of ``right`` are dilated.
    """
    if left.layout is not right.layout:
        return None
    axes = []
    for outer, inner in zip(left.axes, right.axes, strict=True):
        rule = _continued(outer, inner) or inner.boundary
        if outer.input_dilation != 1:
            return None
        # Every tap of outer at every tap of inner: positions -1 0 1 at stride 2 of inner, with taps at 0 and 1, are
        # -2 -1, 0 1 and 2 3.
        taps = (positions(outer)[:, None] * inner.stride + positions(inner)).ravel()
        stride = outer.stride * inner.stride
        axes.append(_with_taps_at(replace(inner, boundary=rule), [taps], stride, outer.out))
    return _from_second_to_first(left, right, tuple(axes), gcd(left.groups, right.groups))


def _continued(outer: Axis, inner: Axis) -> Boundary | None:
    """Return the rule under which inner's windows beyond its ends are what ``outer`` reads there; None if no rule is.

    docs/how/geometry.md proves the four cases, in this order.
    """
    if not outer.reads_outside:
        return inner.boundary
    if outer.boundary is WRAP and inner.circular:
        return WRAP
    if inner == replace(inner, kernel=1, stride=1, input_dilation=1, lo=0, hi=0):
        return outer.boundary  # inner acts on each position alone, so it can come after the continuation
    if outer.zero_outside and inner.zero_outside:
        # The windows of outputs -1 and inner.out, which do not exist, lie outside the input.
        before_ends = -inner.stride - inner.lo + inner.span - 1 < 0
        after_starts = inner.out * inner.stride - inner.lo >= inner.stretched
        return ZERO if before_ends and after_starts else None
    return None
