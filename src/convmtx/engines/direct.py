"""Sliding windows times the kernel matrix: im2col in tiles that stay in cache, and one GEMM per tile.

Needs nothing beyond NumPy, works for every geometry and dtype, and its extra memory is one tile of
windows (`TILE_BYTES`, or one window of all channels where that alone is larger) and the product.
A dilated input is never stuffed with zeros under the zero boundary: the outputs are split into phases,
each an ordinary convolution with every e-th tap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import gcd, prod
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING, ZERO
from convmtx.geometry import Axis, Geometry
from convmtx.typing import AnyArray, IntArray

TILE_BYTES = 1 << 19


@dataclass(frozen=True, slots=True)
class Phase:
    """Some outputs of an axis, evenly spaced, with the taps that meet them, as an axis of their own."""

    outputs: slice
    taps: slice
    axis: Axis | None  # None where no tap meets them


def phases(axis: Axis) -> Iterator[Phase]:
    """Split an axis with dilated input into ones without, so that no tap ever multiplies a stuffed zero.

    Tap p meets output o where ``o*s - lo + p*t`` is a multiple of e. Outputs ``r + j*P`` with
    ``P = e/gcd(s, e)`` are met by taps ``p0 + m*Q`` with ``Q = e/gcd(t, e)``.
    """
    e = axis.input_dilation
    if e == 1 or not axis.zero_outside:
        yield Phase(slice(None), slice(None), axis)
        return
    period, skip = e // gcd(axis.stride, e), e // gcd(axis.dilation, e)
    for r in range(min(period, axis.out)):
        outputs = slice(r, None, period)
        position = r * axis.stride - axis.lo
        met = [p for p in range(min(skip, axis.kernel)) if (position + p * axis.dilation) % e == 0]
        if not met:
            yield Phase(outputs, slice(0), None)
            continue
        taps = slice(met[0], None, skip)
        inner = Axis(
            axis.size,
            len(range(met[0], axis.kernel, skip)),
            axis.stride * period // e,
            axis.dilation * skip // e,
            lo=-((position + met[0] * axis.dilation) // e),
        )
        count = len(range(r, axis.out, period))
        hi = (count - 1) * inner.stride + inner.span - inner.size - inner.lo
        yield Phase(outputs, taps, replace(inner, hi=hi))


def forward(geometry: Geometry, taps: AnyArray, x: AnyArray) -> AnyArray:
    """Apply to a batch: x (B, *in_shape) and taps (F, C/groups, k1..kd) to (B, *out_shape)."""
    dtype = np.result_type(taps, x)
    y = np.empty((x.shape[0], *geometry.out_shape), dtype)
    inputs = by_group(geometry, x, geometry.in_channels)
    outputs = by_group(geometry, y, geometry.out_channels)
    per_f, per_c = geometry.channels_per_group
    kernel = taps.reshape(geometry.groups, per_f, per_c, *taps.shape[2:])
    for parts in product(*(phases(a) for a in geometry.axes)):
        where: tuple[Any, ...] = (..., *(p.outputs for p in parts))
        met: tuple[Any, ...] = (..., *(p.taps for p in parts))
        target = outputs[where]
        axes = tuple(p.axis for p in parts if p.axis is not None)
        if len(axes) < len(parts):
            target[...] = 0
        else:
            _correlate(axes, kernel[met], inputs, target)
    return y


def transposed(geometry: Geometry, taps: AnyArray, y: AnyArray) -> AnyArray:
    """Apply the transpose where it is no convolution: that of the inside part, its border folded back.

    The map is (continue the input past its ends) and then (a convolution that reads nothing outside).
    """
    inner = replace(geometry, axes=tuple(_inside(a) for a in geometry.axes))
    mirrored = inner.T
    assert mirrored is not None  # an axis that reads nothing outside always has a transpose
    x = forward(mirrored, mirrored.taps(inner.stored(taps)), y)
    for j, (axis, whole) in enumerate(zip(geometry.axes, inner.axes, strict=True)):
        if whole is not axis:
            at = 1 + geometry.layout.join(-1, tuple(range(len(geometry.axes)))).index(j)
            x = _fold_back(x, at, axis, _places(axis, 0, axis.out))
    return x


def by_group(geometry: Geometry, x: AnyArray, channels: int) -> AnyArray:
    """View of (B, *shape) as (B, groups, channels/groups, n1..nd)."""
    d = len(geometry.axes)
    if geometry.layout.value == "last":
        x = np.moveaxis(x, -1, 1)
    elif geometry.layout.value == "none":
        x = x[:, None]
    return x.reshape(x.shape[0], geometry.groups, channels // geometry.groups, *x.shape[-d:])


def _inside(axis: Axis) -> Axis:
    """The axis after the input has been continued: same windows, nothing outside. Zero borders need no continuing."""
    if axis.zero_outside:
        return axis
    return Axis(axis.reach[1] - axis.reach[0] + 1, axis.kernel, axis.stride, axis.dilation)


def _places(axis: Axis, first: int, count: int) -> IntArray:
    """Input behind each position that outputs ``first`` to ``first + count - 1`` reach over, -1 for nothing."""
    start = first * axis.stride - axis.lo
    q = np.arange(start, start + (count - 1) * axis.stride + axis.span)
    inside = axis.boundary.inside(q, axis.stretched)
    e = axis.input_dilation
    return inside if e == 1 else np.where((inside != NOTHING) & (inside % e == 0), inside // e, NOTHING)


def _fold_back(x: AnyArray, at: int, axis: Axis, places: IntArray) -> AnyArray:
    """Add each position of the continued axis to the input position it was read from."""
    moved = np.moveaxis(x, at, 0)
    folded = np.zeros((axis.size, *moved.shape[1:]), x.dtype)
    first = max(-axis.reach[0], 0)
    lo = max(axis.reach[0], 0)
    length = min(axis.reach[1], axis.size - 1) - lo + 1
    if axis.input_dilation == 1 and length > 0:  # most of it is one straight piece
        folded[lo : lo + length] = moved[first : first + length]
        outside = [q for q in range(places.size) if not first <= q < first + length]
    else:
        outside = list(range(places.size))
    for q in outside:
        if places[q] != NOTHING:
            folded[places[q]] += moved[q]
    return np.ascontiguousarray(np.moveaxis(folded, 0, at))


def _correlate(axes: tuple[Axis, ...], kernel: AnyArray, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd) and kernel (G, F, C, k1..kd)."""
    groups, filters, channels, *sizes = kernel.shape
    out = tuple(a.out for a in axes)
    taps = channels * prod(sizes)
    channels_last = y.strides[2] < y.strides[-1] and groups == 1
    space = tuple(range(len(axes)))
    if channels_last:  # windows as (position, tap, channel): neighbours in memory stay neighbours
        matrix = kernel[0].transpose(*(2 + a for a in space), 1, 0).reshape(taps, filters)
    else:
        matrix = kernel.reshape(groups, filters, taps)
    matrix = matrix.astype(y.dtype, copy=False)
    for batch, tile in _tiles(x.shape[0], out, TILE_BYTES // (taps * groups * y.itemsize)):
        windows = _windows(axes, x[batch], tile, sizes).astype(y.dtype, copy=False)
        where = (batch, slice(None), slice(None), *tile)
        count = tuple(t.stop - t.start for t in tile)
        images = windows.shape[0]
        k, o = tuple(3 + a for a in space), tuple(3 + len(space) + a for a in space)
        if channels_last:
            rows = windows[:, 0].transpose(0, *(a - 1 for a in o), *(a - 1 for a in k), 1)
            result = rows.reshape(images * prod(count), taps) @ matrix
            y[where] = result.reshape(images, *count, 1, filters).transpose(
                0, 1 + len(space), 2 + len(space), *(1 + a for a in space)
            )
        else:
            columns = windows.transpose(1, 2, *k, 0, *o).reshape(groups, taps, images * prod(count))
            result = matrix @ columns
            y[where] = result.reshape(groups, filters, images, *count).transpose(2, 0, 1, *(3 + a for a in space))


def _tiles(batch: int, out: tuple[int, ...], budget: int) -> Iterator[tuple[slice, tuple[slice, ...]]]:
    """Cut batch and outputs into tiles of at most ``budget`` outputs, longest along the last axes."""
    sides = []
    for size in (*reversed(out), batch):
        side = min(size, max(budget, 1))
        sides.append(side)
        budget //= max(side, 1)
    *inner, images = sides
    cuts = [
        [slice(a, min(a + side, size)) for a in range(0, size, side)]
        for size, side in zip(out, reversed(inner), strict=True)
    ]
    for b in range(0, batch, max(images, 1)):
        for tile in product(*cuts):
            yield slice(b, min(b + images, batch)), tile


def _windows(axes: tuple[Axis, ...], x: AnyArray, tile: tuple[slice, ...], sizes: list[int]) -> AnyArray:
    """View (B, G, C, k1..kd, o1..od) of the windows of one tile; only borders are copied."""
    for j, (axis, outs) in enumerate(zip(axes, tile, strict=True)):
        x = _reach(axis, x, 3 + j, outs)
    base, space = x.strides[:3], x.strides[3:]
    shape = (*x.shape[:3], *sizes, *(t.stop - t.start for t in tile))
    steps = (
        *base,
        *(s * a.dilation for s, a in zip(space, axes, strict=True)),
        *(s * a.stride for s, a in zip(space, axes, strict=True)),
    )
    return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)


def _reach(axis: Axis, x: AnyArray, at: int, outs: slice) -> AnyArray:
    """What the outputs ``outs`` reach over along one axis: a slice, with the boundary's values beyond the ends."""
    start = outs.start * axis.stride - axis.lo
    stop = (outs.stop - 1) * axis.stride - axis.lo + axis.span
    before = (slice(None),) * at
    if start >= 0 and stop <= axis.size and axis.input_dilation == 1:
        return x[(*before, slice(start, stop))]
    shape = (*x.shape[:at], stop - start, *x.shape[at + 1 :])
    if axis.boundary is ZERO and axis.input_dilation == 1:
        lo, hi = min(max(start, 0), axis.size), min(max(stop, 0), axis.size)
        padded = np.zeros(shape, x.dtype)
        if lo < hi:
            padded[(*before, slice(lo - start, hi - start))] = x[(*before, slice(lo, hi))]
        return padded
    places = _places(axis, outs.start, outs.stop - outs.start)
    gathered = x.take(np.maximum(places, 0), at)
    if (places == NOTHING).any():
        gathered[(*before, places == NOTHING)] = 0
    return gathered
