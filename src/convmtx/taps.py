"""Kernel arrays as correlation taps, and sums and products of taps, in any array library."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product, zip_longest
from typing import Any

import numpy as np

from convmtx._xp import cast, gather, is_half, is_numpy, move_axes, namespace, reshape, together, widen
from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentError
from convmtx.geometry import Geometry, Layout, Sums, met, sums
from convmtx.geometry.compose import positions
from convmtx.typing import Array, IntArray


def taps_of(geometry: Geometry, kernel: Array) -> Array:
    """Return the kernel array as correlation taps (out_channels, in_channels/groups, k1..kd); a view if possible."""
    d = len(geometry.axes)
    if geometry.layout is Layout.PLAIN:
        kernel = kernel[None, None, ...]
    elif geometry.layout is Layout.LAST:
        kernel = move_axes(kernel, d + 1, d, *range(d))
    if geometry.flip is not geometry.transposed:
        flipped: Array = namespace(kernel).flip(kernel, axis=tuple(range(2, d + 2)))
        kernel = flipped
    return swap_channels(kernel, geometry.groups) if geometry.transposed else kernel


def kernel_of(geometry: Geometry, taps: Array) -> Array:
    """Return the kernel array that has these correlation taps: the inverse of `taps_of`."""
    d = len(geometry.axes)
    if geometry.transposed:
        taps = swap_channels(taps, geometry.groups)
    if geometry.flip is not geometry.transposed:
        taps = namespace(taps).flip(taps, axis=tuple(range(2, d + 2)))
    if geometry.layout is Layout.PLAIN:
        return taps[0, 0, ...]
    return move_axes(taps, *range(2, d + 2), 1, 0) if geometry.layout is Layout.LAST else taps


def swap_channels(taps: Array, groups: int) -> Array:
    """Transpose the channel matrix of each group: an array (groups*a, b, ...) becomes (groups*b, a, ...)."""
    rows, columns, *space = taps.shape
    behind = range(3, 3 + len(space))
    xp = namespace(taps)
    if groups == 1:
        return move_axes(taps, 1, 0, *range(2, taps.ndim))
    blocks = move_axes(xp.reshape(taps, (groups, rows // groups, columns, *space)), 0, 2, 1, *behind)
    return xp.reshape(blocks, (groups * columns, rows // groups, *space))


def channels_first(geometry: Geometry, x: Array) -> Array:
    """Return inputs or outputs of shape (B, *shape) as (B, C, n1..nd)."""
    if geometry.layout is Layout.PLAIN:
        return x[:, None, ...]
    return move_axes(x, 0, x.ndim - 1, *range(1, x.ndim - 1)) if geometry.layout is Layout.LAST else x


def channels_back(geometry: Geometry, y: Array) -> Array:
    """Return inputs or outputs of shape (B, C, n1..nd) as (B, *shape): the inverse of `channels_first`."""
    if geometry.layout is Layout.PLAIN:
        return y[:, 0, ...]
    return move_axes(y, 0, *range(2, y.ndim), 1) if geometry.layout is Layout.LAST else y


def entries_of(geometry: Geometry, kernel: Array, filters: range | None = None) -> Array:
    """Return every different entry of the matrix, (out_channels, in_channels/groups, entries1..entriesd).

    Along each axis come the taps, then the sums of taps that a boundary folds onto one position (`sums`). With
    ``filters``, only those output channels are returned. Every form is a gather of these entries: so forms agree
    exactly, and the gradient of a form is a scatter.
    """
    taps = taps_of(geometry, kernel)
    if filters is not None and len(filters) < geometry.out_channels:
        taps = taps[filters.start : filters.stop : filters.step, ...]
    return with_sums(geometry, taps, [sums(axis) for axis in geometry.axes], lambda: [met(a) for a in geometry.axes])


def with_sums(
    geometry: Geometry, taps: Array, groups: Sequence[Sums], stored: Callable[[], Sequence[IntArray]]
) -> Array:
    """Return taps followed, along each axis, by their sums over ``groups``, in the type of the taps.

    Sums are rounded once. Sums beyond an integer type of NumPy are refused if the matrix holds them: ``stored`` lists
    the entries of each axis that it holds. With two axes, a sum along one of them can overflow and still only be a part
    of larger sums.
    """
    if not any(groups):
        return taps
    wide = widen(taps)
    for j, axis_sums in enumerate(groups):
        if axis_sums:
            wide = namespace(wide).concat([wide, added(geometry, wide, axis_sums, j + 2)], axis=j + 2)
    narrow = cast(wide, taps.dtype)
    if is_numpy(taps) and taps.dtype.kind in "iu" and (overflows := narrow != wide).any():
        entries = np.ix_(*(np.arange(n) for n in wide.shape[:2]), *stored())
        if overflows[entries].any():
            raise _overflow(wide[entries][overflows[entries]].flat[0], taps.dtype)
    return narrow


def _overflow(total: Any, dtype: Any) -> ArgumentError:
    """Return the error of a sum of taps that the kernel's type does not hold."""
    got = f"a boundary folds taps onto one position, and their sum {total} does not fit in {dtype}"
    remedy = "Use op.with_kernel(op.kernel.astype(np.int64))"
    return ArgumentError(got, "Expected a type that holds the sums", remedy)


def added(geometry: Geometry, taps: Array, groups: Sequence[Sequence[int] | IntArray], axis: int) -> Array:
    """Return the sum of each group of taps along an axis.

    A map and its transpose read the same kernel in opposite directions. Both add in the order of the kernel array, so
    their sums are equal to the last bit.
    """
    step = -1 if geometry.transposed else 1
    # Groups (0, 2) and (1, 3, 4) are added up column by column: 0 1, then 2 3, then nothing and 4.
    columns = zip_longest(*(group[::step] for group in groups), fillvalue=NOTHING)
    first, *others = (np.array(column) for column in columns)
    total = gather(taps, first, axis)
    for column in others:
        total = total + gather(taps, column, axis)
    return total


def entries_of_each(geometry: Geometry, kernels: Array, groups: Sequence[Sums]) -> Array:
    """Return the entries of each kernel of an array (P, *kernel): (P, out_channels, in_channels/groups, entries).

    They are the taps, followed along each axis by their sums over ``groups``, as `entries_of` has them for one kernel.
    """
    d, count = len(geometry.axes), kernels.shape[0]
    taps: Array
    if geometry.layout is Layout.PLAIN:
        taps = kernels[:, None, None, ...]
    elif geometry.layout is Layout.LAST:
        taps = move_axes(kernels, 0, d + 2, d + 1, *range(1, d + 1))
    else:
        taps = kernels
    xp, space = namespace(kernels), tuple(range(3, d + 3))
    if geometry.flip:
        taps = xp.flip(taps, axis=space)
    if not any(groups):
        return taps
    rows = xp.reshape(taps, (count * geometry.out_channels, *taps.shape[2:]))
    entries = with_sums(geometry, rows, groups, lambda: [met(axis) for axis in geometry.axes])
    return xp.reshape(entries, (count, geometry.out_channels, *entries.shape[1:]))


def sum_taps(joined: Geometry, parts: list[tuple[Geometry, Array]]) -> Array:
    """Return the taps of the sum of two maps: the taps of both on the common grid, added up."""
    on_grid = []
    for geometry, taps in parts:
        spread = wider(taps, geometry.groups, joined.groups)
        for j, (axis, grid) in enumerate(zip(geometry.axes, joined.axes, strict=True)):
            spread = _spread(spread, (positions(axis) + grid.lo) // grid.dilation, grid.kernel, j + 2)
        on_grid.append(spread)
    first, second = together(*on_grid)
    return first + second


def _spread(taps: Array, places: IntArray, size: int, axis: int) -> Array:
    """Put the taps along an axis at these places of a longer axis, with zeros between them."""
    if places.size == size:
        return taps
    index = np.full(size, NOTHING)
    index[places] = np.arange(places.size)
    return gather(taps, index, axis)


def wider(taps: Array, groups: int, fewer: int) -> Array:
    """Return taps for fewer groups that are the same map, with zeros between channels of different old groups."""
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
    """Return the taps of the product of two maps: a convolution of both kernels.

    The taps of ``right`` are moved to the position of each tap of ``left``, and channels are multiplied as matrices.
    """
    (outer, outer_taps), (inner, inner_taps) = left, right
    outer_taps, inner_taps = together(outer_taps, inner_taps)
    if _scales_channels(outer) or _scales_channels(inner):
        return _scaled_taps(joined, (outer, outer_taps), (inner, inner_taps))
    xp, groups = namespace(outer_taps), joined.groups
    a = wider(outer_taps, outer.groups, groups)
    b = wider(inner_taps, inner.groups, groups)
    dtype = xp.result_type(a, b)
    a, b = (widen(cast(taps, dtype)) if is_half(dtype) else cast(taps, dtype) for taps in (a, b))
    a = xp.reshape(a, (groups, outer.out_channels // groups, -1, *a.shape[2:]))
    space = tuple(b.shape[2:])
    b = xp.reshape(b, (groups, inner.out_channels // groups, -1))
    total: Any = 0
    for tap in product(*(range(x.kernel) for x in outer.axes)):
        term = xp.matmul(a[(slice(None),) * 3 + tap], b)
        term = xp.reshape(term, (outer.out_channels, -1, *space))
        axes = zip(tap, inner.axes, outer.axes, joined.axes, strict=True)
        for j, (p, inner_axis, outer_axis, grid) in enumerate(axes):
            moved_to = (p * outer_axis.dilation - outer_axis.lo) * inner_axis.stride + positions(inner_axis)
            term = _spread(term, (moved_to + grid.lo) // grid.dilation, grid.kernel, j + 2)
        total = total + term
    return cast(total, dtype)


def _scales_channels(geometry: Geometry) -> bool:
    """Whether a map multiplies each channel by a number, at the positions that it keeps."""
    channels = geometry.out_channels
    return geometry.groups == channels == geometry.in_channels and all(axis.kernel == 1 for axis in geometry.axes)


def _scaled_taps(joined: Geometry, left: tuple[Geometry, Array], right: tuple[Geometry, Array]) -> Array:
    """Return the taps of the product of two maps of which one multiplies channels by numbers."""
    (outer, outer_taps), (inner, inner_taps) = left, right
    ones = (1,) * len(joined.axes)
    if _scales_channels(outer):
        total = inner_taps * reshape(outer_taps, (-1, 1, *ones))
    else:  # factor j of a group belongs to its input j, for every output of the group
        factors = reshape(inner_taps, (outer.groups, 1, -1, *ones))
        rows = reshape(outer_taps, (outer.groups, -1, *outer_taps.shape[1:]))
        total = reshape(rows * factors, tuple(outer_taps.shape))
    for j, (outer_axis, inner_axis, grid) in enumerate(zip(outer.axes, inner.axes, joined.axes, strict=True)):
        places = (positions(outer_axis)[:, None] * inner_axis.stride + positions(inner_axis)).ravel()
        total = _spread(total, (places + grid.lo) // grid.dilation, grid.kernel, j + 2)
    return total
