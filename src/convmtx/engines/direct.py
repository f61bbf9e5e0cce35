"""Sliding windows times the kernel matrix: im2col in tiles that stay in cache, and one GEMM per tile.

Needs nothing beyond NumPy, works for every geometry and dtype, and its extra memory is one tile of
windows (`TILE_BYTES`, or one window of all channels where that alone is larger) and its product.

Few filters make a thin GEMM that waits for its windows to be copied. So several neighbouring outputs
along one axis are taken together, each as filters of their own over their common window: the kernel
matrix becomes a band of the Toeplitz matrix, the copied windows overlap less, and the GEMM grows.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import gcd, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines.parts import Part, reach, with_outputs
from convmtx.geometry import Axis
from convmtx.typing import AnyArray

TILE_BYTES = 1 << 21
#: Multiply-adds in the time of copying one window entry: a guess of the right size.
COPY = 16
#: Rows of the kernel matrix from which a GEMM runs at its full rate.
FULL_RATE = 16


class Band(NamedTuple):
    """``width`` neighbouring outputs along an axis taken together: one window, ``width`` shifted kernels."""

    width: int
    axis: Axis  # of the common windows
    kernel: AnyArray  # (G, F, width, C, k1..kd)


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd)."""
    at, count = together(part, y.dtype)
    with np.errstate(invalid="ignore" if count > 1 else None):
        finite = _in_bands(part, x, y, at, count)
    if count > 1 and not finite:  # zeros of the band took nan or inf to outputs whose own window has none
        _in_bands(part, x, y, at, 1)


def _in_bands(part: Part, x: AnyArray, y: AnyArray, at: int, count: int) -> bool:
    """Fill y, ``count`` outputs along axis ``at`` together; whether all of it is finite."""
    kept = part.kept.get(("bands", y.dtype, count))
    if kept is None:
        kept = part.kept["bands", y.dtype, count] = list(_bands(part, y.dtype, at, count))
    finite = True
    for outputs, band in kept:
        target = y[(slice(None),) * (3 + at) + (outputs,)]
        # That axis of the target in steps of the band, and inside it the outputs taken together.
        split = target.reshape(*target.shape[: 3 + at], band.axis.out, band.width, *target.shape[4 + at :])
        axes = tuple(band.axis if j == at else a for j, a in enumerate(part.axes))
        finite &= _fill(axes, band.kernel, x, np.moveaxis(split, 4 + at, 3))
    return finite


def together(part: Part, dtype: np.dtype[Any]) -> tuple[int, int]:
    """Axis and number of neighbouring outputs worth taking together; one where the GEMM is wide enough."""
    _, filters, channels, *sizes = part.kernel.shape
    if dtype.kind not in "fc":  # integers have no fast GEMM that would pay for the zeros in the band
        return 0, 1
    at = 0
    axis = part.axes[at]
    best, least = 1, float("inf")
    for count in (1, 2, 4, 8, 16):
        if count > axis.out:
            break
        window = channels * prod(sizes) // sizes[at] * common_taps(axis, count)
        rows = filters * count
        work = window * max(rows, FULL_RATE / 2) / count + COPY * window / count
        if work < least:
            best, least = count, work
    return at, best


def common_taps(axis: Axis, count: int) -> int:
    """Taps of the common window of ``count`` neighbouring outputs."""
    return ((count - 1) * axis.stride + axis.span - 1) // _step(axis, count) + 1


def _step(axis: Axis, count: int) -> int:
    return gcd(axis.stride, axis.dilation) if count > 1 else axis.dilation


def _bands(part: Part, dtype: np.dtype[Any], at: int, count: int) -> Iterator[tuple[slice, Band]]:
    """The outputs of a part in bands: as many as fill whole ones, and one band of what is left."""
    axis = part.axes[at]
    whole = axis.out // count
    kernel = part.kernel.astype(dtype, copy=False)
    if whole:
        yield slice(0, whole * count), _band(axis, kernel, at, count, whole, 0)
    if axis.out % count:
        yield slice(whole * count, axis.out), _band(axis, kernel, at, axis.out % count, 1, whole * count)


def _band(axis: Axis, kernel: AnyArray, at: int, count: int, outs: int, first: int) -> Band:
    step, window = _step(axis, count), common_taps(axis, count)
    common = Axis(
        axis.size, window, axis.stride * count, step, axis.input_dilation,
        axis.lo - first * axis.stride, 0, axis.boundary,
    )  # fmt: skip
    groups, filters, channels, *sizes = kernel.shape
    sizes[at] = window
    band = np.zeros((groups, filters, count, channels, *sizes), kernel.dtype)
    for j in range(count):
        places = (j * axis.stride + np.arange(axis.kernel) * axis.dilation) // step
        inside: tuple[Any, ...] = (slice(None),) * (3 + at) + (places,)
        band[:, :, j][inside] = kernel
    return Band(count, with_outputs(common, outs), band)


def _fill(axes: tuple[Axis, ...], kernel: AnyArray, x: AnyArray, y: AnyArray) -> bool:
    """Fill y (B, G, F, b, o1..od) from x (B, G, C, n1..nd) and kernel (G, F, b, C, k1..kd); whether it is finite."""
    groups, filters, count, channels, *sizes = kernel.shape
    d = len(axes)
    taps = channels * prod(sizes)
    channels_last = groups == 1 and filters > 1 and y.strides[2] < y.strides[-1]
    if channels_last:  # windows as (position, tap, channel): neighbours in memory stay neighbours
        matrix = kernel[0].transpose(*range(3, 3 + d), 2, 1, 0).reshape(taps, count * filters)
    else:
        matrix = kernel.reshape(groups, filters * count, taps)
    per_output = taps * groups * y.itemsize
    finite = True
    for batch, tile in _tiles(x.shape[0], y.shape[4:], max(TILE_BYTES // per_output, 1)):
        windows = _windows(axes, x[batch], tile, sizes)
        images, places = windows.shape[0], windows.shape[3 + d :]
        target = y[(batch, slice(None), slice(None), slice(None), *tile)]
        if channels_last:
            columns = windows[:, 0].transpose(0, *range(2 + d, 2 + 2 * d), *range(2, 2 + d), 1)
            rows = _packed(columns, y.dtype).reshape(images * prod(places), taps)
            result = (rows @ matrix).reshape(images, *places, count, filters)
            target[:, 0] = result.transpose(0, 2 + d, 1 + d, *range(1, 1 + d))
        else:
            columns = windows.transpose(1, 2, *range(3, 3 + d), 0, *range(3 + d, 3 + 2 * d))
            result = matrix @ _packed(columns, y.dtype).reshape(groups, taps, images * prod(places))
            result = result.reshape(groups, filters, count, images, *places)
            target[...] = result.transpose(3, 0, 1, 2, *range(4, 4 + d))
        finite &= count == 1 or bool(np.isfinite(result.sum()))
    return finite


def _packed(windows: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """The windows side by side in memory, in the type that the GEMM takes."""
    return np.ascontiguousarray(windows, dtype=dtype)


def _tiles(batch: int, out: tuple[int, ...], budget: int) -> Iterator[tuple[slice, tuple[slice, ...]]]:
    """Cut batch and outputs into tiles of at most ``budget`` outputs, longest along the last axes."""
    sides = []
    for size in (*reversed(out), batch):
        sides.append(max(min(size, budget), 1))
        budget //= sides[-1]
    *inner, images = sides
    cuts = [
        [slice(a, min(a + side, size)) for a in range(0, size, side)]
        for size, side in zip(out, reversed(inner), strict=True)
    ]
    for b in range(0, batch, images):
        for tile in product(*cuts):
            yield slice(b, min(b + images, batch)), tile


def _windows(axes: tuple[Axis, ...], x: AnyArray, tile: tuple[slice, ...], sizes: list[int]) -> AnyArray:
    """View (B, G, C, k1..kd, o1..od) of the windows of one tile; only borders are copied."""
    for j, (axis, outs) in enumerate(zip(axes, tile, strict=True)):
        x = reach(axis, x, 3 + j, outs)
    shape = (*x.shape[:3], *sizes, *(t.stop - t.start for t in tile))
    steps = (
        *x.strides[:3],
        *(s * a.dilation for s, a in zip(x.strides[3:], axes, strict=True)),
        *(s * a.stride for s, a in zip(x.strides[3:], axes, strict=True)),
    )
    return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)
