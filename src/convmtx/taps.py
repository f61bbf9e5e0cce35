"""Kernel arrays and taps: how the one is read as the other, and sums and products of them. Of any array library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product, zip_longest
from typing import Any

import numpy as np

from convmtx._xp import cast, gather, halves, is_numpy, moved, namespace, together, widened
from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentError
from convmtx.geometry import Geometry, Layout, Sums, met, sums
from convmtx.geometry.compose import positions
from convmtx.typing import Array, IntArray


def taps_of(geometry: Geometry, kernel: Array) -> Array:
    """The kernel array as correlation taps (out_channels, in_channels/groups, k1..kd); a view where possible."""
    d = len(geometry.axes)
    if geometry.layout is Layout.PLAIN:
        kernel = kernel[None, None, ...]
    elif geometry.layout is Layout.LAST:
        kernel = moved(kernel, d + 1, d, *range(d))
    if geometry.flip is not geometry.transposed:
        flipped: Array = namespace(kernel).flip(kernel, axis=tuple(range(2, d + 2)))
        kernel = flipped
    return swapped(kernel, geometry.groups) if geometry.transposed else kernel


def kernel_of(geometry: Geometry, taps: Array) -> Array:
    """The inverse of `taps_of`: the kernel array of which these are the correlation taps."""
    d = len(geometry.axes)
    if geometry.transposed:
        taps = swapped(taps, geometry.groups)
    if geometry.flip is not geometry.transposed:
        taps = namespace(taps).flip(taps, axis=tuple(range(2, d + 2)))
    if geometry.layout is Layout.PLAIN:
        return taps[0, 0, ...]
    return moved(taps, *range(2, d + 2), 1, 0) if geometry.layout is Layout.LAST else taps


def swapped(taps: Array, groups: int) -> Array:
    """(G*a, b, ...) to (G*b, a, ...): the channel matrix of each group transposed."""
    rows, columns, *space = taps.shape
    behind = range(3, 3 + len(space))
    xp = namespace(taps)
    if groups == 1:
        return moved(taps, 1, 0, *range(2, taps.ndim))
    blocks = moved(xp.reshape(taps, (groups, rows // groups, columns, *space)), 0, 2, 1, *behind)
    return xp.reshape(blocks, (groups * columns, rows // groups, *space))


def channels_first(geometry: Geometry, x: Array) -> Array:
    """Inputs or outputs (B, *shape) as (B, C, n1..nd)."""
    if geometry.layout is Layout.PLAIN:
        return x[:, None, ...]
    return moved(x, 0, x.ndim - 1, *range(1, x.ndim - 1)) if geometry.layout is Layout.LAST else x


def channels_back(geometry: Geometry, y: Array) -> Array:
    """The inverse of `channels_first`."""
    if geometry.layout is Layout.PLAIN:
        return y[:, 0, ...]
    return moved(y, 0, *range(2, y.ndim), 1) if geometry.layout is Layout.LAST else y


def entries_of(geometry: Geometry, kernel: Array, filters: range | None = None) -> Array:
    """Every different entry of the matrix, (out_channels, in_channels/groups, entries1..entriesd), or of some filters.

    Along each axis the taps themselves, then the sums of taps that a boundary folds onto one position (`sums`).
    Every form is a gather of these, so forms agree exactly, and a form's gradient is a scatter.
    """
    taps = taps_of(geometry, kernel)
    if filters is not None and len(filters) < geometry.out_channels:
        taps = taps[filters.start : filters.stop : filters.step, ...]
    return with_sums(geometry, taps, [sums(axis) for axis in geometry.axes], lambda: [met(a) for a in geometry.axes])


def with_sums(
    geometry: Geometry, taps: Array, groups: Sequence[Sums], stored: Callable[[], Sequence[IntArray]]
) -> Array:
    """Taps and behind them, along each axis, their sums; rounded once, and refused beyond an integer type of NumPy.

    ``stored`` lists the entries of each axis that the matrix holds: a sum of some taps on the way to those is none.
    """
    if not any(groups):
        return taps
    wide = widened(taps)
    for j, several in enumerate(groups):
        if several:
            wide = namespace(wide).concat([wide, added(geometry, wide, several, j + 2)], axis=j + 2)
    exact = cast(wide, taps.dtype)
    if is_numpy(taps) and taps.dtype.kind in "iu" and (wrong := exact != wide).any():
        there = np.ix_(*(np.arange(n) for n in wide.shape[:2]), *stored())
        if wrong[there].any():
            raise _no_such_entry(wide[there][wrong[there]].flat[0], taps.dtype)
    return exact


def _no_such_entry(total: Any, dtype: Any) -> ArgumentError:
    got = f"a boundary folds taps onto one position, and their sum {total} is no {dtype}"
    remedy = "Use op.with_kernel(op.kernel.astype(np.int64))"
    return ArgumentError(got, "Wanted a type that holds the sums", remedy)


def added(geometry: Geometry, taps: Array, groups: Sequence[Sequence[int] | IntArray], axis: int) -> Array:
    """Sums of ascending taps along an axis.

    A map and its transpose read the same kernel in opposite directions, and add in the same order: to the last bit.
    """
    step = -1 if geometry.transposed else 1
    first, *others = (np.array(column) for column in zip_longest(*(each[::step] for each in groups), fillvalue=NOTHING))
    total = gather(taps, first, axis)
    for column in others:
        total = total + gather(taps, column, axis)
    return total


def sum_taps(joined: Geometry, parts: list[tuple[Geometry, Array]]) -> Array:
    """Taps of the sum: each part's taps at its positions of the common grid."""
    placed = []
    for geometry, taps in parts:
        spread = wider(taps, geometry.groups, joined.groups)
        for j, (own, axis) in enumerate(zip(geometry.axes, joined.axes, strict=True)):
            spread = _spread(spread, (positions(own) + axis.lo) // axis.dilation, axis.kernel, j + 2)
        placed.append(spread)
    first, second = together(*placed)
    return first + second


def _spread(taps: Array, places: IntArray, size: int, axis: int) -> Array:
    """Taps along an axis at the given places of a longer one, zeros between."""
    index = np.full(size, NOTHING)
    index[places] = np.arange(places.size)
    return gather(taps, index, axis)


def wider(taps: Array, groups: int, fewer: int) -> Array:
    """Taps for fewer groups that are the same map: zeros between channels of different old groups."""
    if groups == fewer:
        return taps
    xp = namespace(taps)
    rows, per_group, *space = taps.shape
    ratio = groups // fewer
    blocks = xp.reshape(taps, (fewer, ratio, rows // groups, per_group, *space))
    zero = xp.zeros_like(blocks[:, 0, ...])
    lines = [
        xp.concat([blocks[:, j, ...] if i == j else zero for i in range(ratio)], axis=2) for j in range(ratio)
    ]  # (fewer, F/groups, ratio*C/groups, ...)
    return xp.reshape(xp.stack(lines, axis=1), (rows, ratio * per_group, *space))


def product_taps(joined: Geometry, left: tuple[Geometry, Array], right: tuple[Geometry, Array]) -> Array:
    """Taps of the product: right's taps moved to each of left's positions, channels multiplied as matrices."""
    (outer, outer_taps), (inner, inner_taps) = left, right
    outer_taps, inner_taps = together(outer_taps, inner_taps)
    xp, groups = namespace(outer_taps), joined.groups
    a = wider(outer_taps, outer.groups, groups)
    b = wider(inner_taps, inner.groups, groups)
    dtype = xp.result_type(a, b)
    a, b = (widened(cast(taps, dtype)) if halves(dtype) else cast(taps, dtype) for taps in (a, b))
    a = xp.reshape(a, (groups, outer.out_channels // groups, -1, *a.shape[2:]))
    space = tuple(b.shape[2:])
    b = xp.reshape(b, (groups, inner.out_channels // groups, -1))
    total: Any = 0
    for tap in product(*(range(x.kernel) for x in outer.axes)):
        term = xp.matmul(a[(slice(None),) * 3 + tap], b)
        term = xp.reshape(term, (outer.out_channels, -1, *space))
        for j, (p, own, base, axis) in enumerate(zip(tap, inner.axes, outer.axes, joined.axes, strict=True)):
            shifted = (p * base.dilation - base.lo) * own.stride + positions(own)
            term = _spread(term, (shifted + axis.lo) // axis.dilation, axis.kernel, j + 2)
        total = total + term
    return cast(total, dtype)
