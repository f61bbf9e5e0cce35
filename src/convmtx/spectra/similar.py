"""Similar convolutions: a map with the same eigenvalues and determinant that is closer to normal.

Along an axis of the zero boundary on which outputs stand where inputs do, ``D A D^-1`` with ``D = diag(r^o)`` is the
convolution whose tap at offset q is multiplied by ``r^-q``. If all offsets are on one side of an output, r can go to
zero or infinity: only the tap at offset 0 is left, as in every block triangular matrix. Otherwise the r that makes the
sum of the taps' magnitudes smallest brings both sides into balance. A real tridiagonal matrix becomes symmetric if its
two side taps have the same sign.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from convmtx.geometry import Axis
from convmtx.geometry.compose import positions
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.structure.precision import EPS
from convmtx.structure.rounding import magnitude
from convmtx.taps import kernel_of, taps_of
from convmtx.typing import AnyArray, IntArray

#: Number of times that each axis is balanced; the best numbers r of one axis depend on those of the others.
ROUNDS = 3
#: Largest difference of a tap and its mirror image, relative to the largest tap, that may be rounding in balancing.
MIRRORED = 64 * EPS


@dataclass(frozen=True, eq=False)
class Similar:
    """A map with the eigenvalues of another, and a bound of how far rounding of its taps moved it in norm."""

    op: LinearMap
    slack: float
    #: Whether the map was block triangular, so that only the taps at offset 0 are left.
    triangular: bool


def balance(op: LinearMap) -> Similar:
    """Return a map with the same eigenvalues: the map itself unless it is a convolution between arrays of one shape."""
    if not isinstance(op, ConvOperator) or op.in_shape != op.out_shape:
        return Similar(op, 0.0, triangular=False)
    op = _remove_one_sides(op)
    geometry = op.geometry
    taps = taps_of(geometry, op.kernel)
    balanced_taps, exponents = taps, [0.0] * len(geometry.axes)
    for _ in range(ROUNDS):
        for j, axis in enumerate(geometry.axes):
            if _aligned(axis) and axis.kernel > 1:
                sizes = np.abs(balanced_taps).sum(axis=_others(taps, j))
                exponents[j] += _exponent(sizes, positions(axis))
                balanced_taps = _scale(taps, geometry.axes, exponents)
    slack = 0.0
    if balanced_taps is not taps and np.isfinite(balanced_taps).all():
        mirrored = _mirror(balanced_taps)
        most = sum(abs(x) * int(np.abs(positions(a)).max()) for x, a in zip(exponents, geometry.axes, strict=True))
        changes = np.abs(mirrored - balanced_taps) + EPS * (8 + 2 * most) * np.abs(balanced_taps)
        slack = magnitude(geometry, changes)
        op = op.with_kernel(kernel_of(geometry, mirrored))
    return Similar(op, slack, all(_aligned(axis) and axis.kernel == 1 for axis in geometry.axes))


def _aligned(axis: Axis) -> bool:
    """Whether there are as many outputs as inputs, one apart, and only zeros are read outside."""
    return axis.zero_outside and axis.stride == axis.input_dilation == 1 and axis.out == axis.size


def _others(taps: AnyArray, axis: int) -> tuple[int, ...]:
    """Return the numbers of all other axes of taps (F, C/groups, k1..kd)."""
    return tuple(j for j in range(taps.ndim) if j != axis + 2)


def _remove_one_sides(op: ConvOperator) -> ConvOperator:
    """Return the convolution without taps that only make it block triangular; such an axis keeps one tap."""
    geometry, j = op.geometry, 0
    while j < len(geometry.axes):
        axis, taps = geometry.axes[j], taps_of(geometry, op.kernel)
        offsets = positions(axis)
        used = offsets[np.abs(taps).sum(axis=_others(taps, j)) > 0]
        one_sided = not used.size or used.min() >= 0 or used.max() <= 0
        if axis.kernel > 1 and _aligned(axis) and one_sided:
            axes = (*geometry.axes[:j], Axis(axis.size, 1), *geometry.axes[j + 1 :])
            at = np.flatnonzero(offsets == 0)
            empty = np.zeros_like(np.take(taps, [0], j + 2))
            left = np.take(taps, at, j + 2) if at.size else empty
            geometry = replace(geometry, axes=axes)
            op = ConvOperator(geometry, kernel_of(geometry, left), "auto")
            j = 0  # other axes may be one-sided now
        else:
            j += 1
    return op


def _exponent(sizes: AnyArray, offsets: IntArray) -> float:
    """Return the x at which the sum of ``sizes * exp(-x * offsets)`` is least."""
    from scipy.optimize import brentq
    from scipy.special import logsumexp

    used = (sizes > 0) & (offsets != 0)
    behind = offsets[used] > 0
    if behind.all() or not behind.any():
        return 0.0

    def excess(x: float) -> float:
        """Return the logarithm of the derivative's negative part over its positive one: 0 at the least sum."""
        terms = np.log(sizes[used]) + np.log(np.abs(offsets[used])) - x * offsets[used]
        return float(logsumexp(terms[behind]) - logsumexp(terms[~behind]))

    if excess(0.0) == 0:
        return 0.0
    far = 1.0
    while excess(far) > 0 or excess(-far) < 0:
        far *= 2
    return float(brentq(excess, -far, far, xtol=EPS, rtol=4 * EPS))


def _scale(taps: AnyArray, axes: tuple[Axis, ...], exponents: list[float]) -> AnyArray:
    """Multiply the tap at offset q along each axis by ``exp(-x q)``, x the exponent of the axis."""
    with np.errstate(over="ignore", invalid="ignore"):
        for j, (axis, x) in enumerate(zip(axes, exponents, strict=True)):
            if x:
                taps = taps * np.exp(-x * positions(axis)).reshape(-1, *(1,) * (len(axes) - 1 - j))
    return taps


def _mirror(taps: AnyArray) -> AnyArray:
    """Return the taps, made symmetric along each axis along which they are symmetric to rounding."""
    for j in range(2, taps.ndim):
        image = np.flip(taps, j)
        difference = np.abs(taps - image).max()
        if 0 < difference <= MIRRORED * np.abs(taps).max():
            taps = (taps + image) / 2
    return taps
