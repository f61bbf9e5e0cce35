"""Sliding windows times the kernel matrix: im2col in tiles that stay in cache, and small GEMMs on every core.

Needs nothing beyond NumPy, works for every geometry and dtype. Its extra memory is bounded whatever the
image: for each thread no more than ``3 + d`` times `TILE_BYTES` on d axes, a tile of windows, its products
and the inputs that it reaches over along each axis (more only where one window alone is larger than a tile).

Few filters make a thin GEMM that waits for its windows to be copied. So neighbouring outputs along one
axis are taken together, each as a filter of its own over their common window: the kernel matrix becomes a
band of the Toeplitz matrix, fewer windows are copied, and the GEMM grows.

Integers are computed in floats where those hold every sum exactly, which is looked up first, and as
integers that wrap around where they do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import ceil, gcd, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines import rates, tiles
from convmtx.engines.parts import Part, finite, reach, wide
from convmtx.engines.rates import Work
from convmtx.engines.threads import spread, threads
from convmtx.geometry import Axis
from convmtx.typing import AnyArray, Shape

TILE_BYTES = 1 << 22
#: Multiply-adds of one GEMM up to which BLAS keeps to one thread, so that every core may have its own.
SMALL = 900_000
#: Rows of a GEMM that is not thin; positions of one that is not short.
WIDE, LONG = 16, 24
#: Outputs taken together at most.
MOST = 32
#: Taps up to which NumPy unrolls its loop over them.
SHORT = 11
#: Seconds of work from which other threads are asked to help.
WORTH = 1.2e-3

_WINDOW_ROWS = (tiles.window_rows, tiles.window_rows_channels_last)


class Way(NamedTuple):
    """How the outputs of a part are taken: ``together`` neighbours along axis ``at`` through one common window."""

    at: int
    together: int
    multiply: tiles.Multiply


class Gemms(NamedTuple):
    """The GEMMs of a tile: ``rows`` of the kernel matrix on ``positions`` at a time, or all at once."""

    rows: int
    positions: int
    at_once: bool


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd)."""
    if y.dtype.kind == "c":
        if part.kernel.dtype.kind != "c":
            _taken(part, x.real, y.real)
            _taken(part, x.imag, y.imag)
            return
        if part.kernel.shape[1] == part.kernel.shape[2] == 1:
            real = part.keep("real", lambda: _as_real(part))
            _taken(real, _planes(x.astype(y.dtype, copy=False)), _planes(y))
            return
    _taken(part, x, y)


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work:
    """What filling a part takes; integers are taken to be small enough for floats."""
    if dtype.kind == "c" and part.kernel.dtype.kind != "c":
        return work(part, _real(dtype), 2 * images)
    if dtype.kind == "c" and part.kernel.shape[1] == part.kernel.shape[2] == 1:
        return work(part.keep("real", lambda: _as_real(part)), _real(dtype), images)
    dtype = np.dtype(np.float64) if dtype.kind in "iu" else dtype
    return way_work(part, fastest(part, dtype, images)[0], dtype, images)


def _real(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.empty(0, dtype).real.dtype


def _as_real(part: Part) -> Part:
    """The part of one channel and filter as real numbers: two channels and two filters, real and imaginary."""
    re, im = part.kernel.real[:, 0, 0], part.kernel.imag[:, 0, 0]
    kernel = np.stack([np.stack([re, -im], 1), np.stack([im, re], 1)], 1)
    return Part(part.outputs, part.axes, kernel, channels_last=False)


def _planes(a: AnyArray) -> AnyArray:
    """View of complex (B, G, 1, ...) as real (B, G, 2, ...): real and imaginary parts."""
    shape, steps = (*a.shape[:2], 2, *a.shape[3:]), (*a.strides[:2], a.itemsize // 2, *a.strides[3:])
    return np.lib.stride_tricks.as_strided(a.real, shape, steps, writeable=a.flags.writeable)


def _taken(part: Part, x: AnyArray, y: AnyArray) -> None:
    dtype = _computed_in(part, x, y.dtype)
    best, predicted = fastest(part, dtype, y.shape[0])
    if not _in_bands(part, x, y, dtype, best, predicted > WORTH):
        # Zeros of the band took nan or inf to outputs whose own window has none.
        _in_bands(part, x, y, dtype, _columns(part, best.at, 1), predicted > WORTH)


def _computed_in(part: Part, x: AnyArray, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """A type that BLAS has for results of ``dtype``, if there is one that is as exact; else ``dtype`` itself."""
    if dtype.kind not in "iu" or not x.size:
        return wide(dtype)
    weight = part.keep("weight", lambda: _magnitude(part.kernel.reshape(*part.kernel.shape[:2], -1)))
    bound = weight * max(-int(x.min()), int(x.max()), 1)
    for floating in (np.float32, np.float64):
        if bound < 2 ** np.finfo(floating).nmant:
            return np.dtype(floating)
    return dtype


def _magnitude(kernel: AnyArray) -> int:
    """The largest sum of magnitudes of the taps (last axis) of any filter, as a Python integer."""
    rounded = np.abs(kernel.astype(np.float64)).sum(axis=-1).max(initial=0)
    return ceil(float(rounded) * (1 + 1e-9)) + 1


def _in_bands(part: Part, x: AnyArray, y: AnyArray, dtype: np.dtype[Any], way: Way, parallel: bool) -> bool:
    """Fill y; whether it was safe to take outputs together: each alone, or nothing but finite numbers."""
    safe = True
    for band in part.keep((dtype, way), lambda: list(_bands(part, dtype, way))):
        safe &= _fill(band, x, y, parallel)
    return safe


def fastest(part: Part, dtype: np.dtype[Any], images: int) -> tuple[Way, float]:
    """The way that should be fastest, and its seconds."""
    found: tuple[Way, float] = part.keep(
        ("fastest", dtype, images),
        lambda: min(
            ((way, rates.seconds(way_work(part, way, dtype, images))) for way in _ways(part, dtype)),
            key=lambda each: each[1],
        ),
    )
    return found


def _ways(part: Part, dtype: np.dtype[Any]) -> Iterator[Way]:
    """All that are worth a look: powers of two of outputs together, and numbers that leave none over."""
    last = len(part.axes) - 1
    rows = max(last - 1, 0)
    yield _columns(part, rows, 1)
    if part.axes[-1].out < LONG:
        yield Way(rows, 1, tiles.at_once)
    if part.channels_last:
        yield Way(last, 1, tiles.window_rows_channels_last)
    if _rows_of_products(part.axes, part.kernel.shape, dtype.itemsize) >= min(part.axes[0].out, part.axes[0].span):
        yield Way(rows, 1, tiles.products_shifted)
    if not rates.blas(dtype):
        return
    if dtype.kind == "f" and _slides(part):
        yield Way(last, 1, tiles.slid)
    for count in range(2, MOST + 1):
        if last and _worth_trying(count, part.axes[rows].out):
            yield _columns(part, rows, count)
        if _worth_trying(count, part.axes[last].out):
            yield Way(last, count, tiles.window_rows_channels_last if part.channels_last else tiles.window_rows)


def _slides(part: Part) -> bool:
    """Whether NumPy has a loop of its own for this: one axis and channel, and a short kernel without gaps or steps."""
    axis = part.axes[0]
    plain = axis.stride == axis.dilation == 1 and axis.kernel <= SHORT
    return plain and len(part.axes) == part.kernel.shape[1] == part.kernel.shape[2] == 1


def _worth_trying(count: int, outs: int) -> bool:
    return count <= outs and (count & (count - 1) == 0 or outs % count == 0)


def _columns(part: Part, at: int, together: int) -> Way:
    """The way of kernel times windows: rows of inputs serve all windows that hold them where these start at a row."""
    axis = part.axes[at]
    if gemms(part, at, together).at_once:
        return Way(at, together, tiles.at_once)
    shared = at < len(part.axes) - 1 and axis.stride * together % _step(axis, together) == 0
    return Way(at, together, tiles.rows_shared if shared else tiles.row_by_row)


def gemms(part: Part, at: int, together: int) -> Gemms:
    """GEMMs small enough for one thread each, where such are neither thin nor short; else one for the whole tile."""
    _, filters, channels, *sizes = part.kernel.shape
    width = part.axes[-1].out
    taps = channels * prod(sizes) // sizes[at] * common_taps(part.axes[at], together)
    if together > 1:
        choices = [together]
    else:
        divisors = [filters // q for q in range(1, filters + 1) if filters % q == 0]
        choices = [rows for rows in divisors if rows >= min(filters, WIDE)]
    for rows in choices:
        if rows * taps * width <= SMALL:
            return Gemms(rows, width, False)
    positions = SMALL // (choices[-1] * taps)
    return Gemms(choices[-1], positions, False) if positions >= LONG else Gemms(filters * together, width, True)


def way_work(part: Part, way: Way, dtype: np.dtype[Any], images: int) -> Work:
    """What filling a part in this way takes."""
    at, together, multiply = way
    groups, filters, channels, *sizes = part.kernel.shape
    axis, width = part.axes[at], part.axes[-1].out
    sizes[at] = common_taps(axis, together)
    taps = channels * prod(sizes)
    outputs = images * groups * prod(a.out for a in part.axes)
    flops = 2.0 * outputs * filters * taps
    copied, run, aside, positions = outputs / together * taps, float(width), 0.0, outputs
    if multiply is tiles.slid:
        return {"slid": flops, "gemv": images * groups, "tile": 1, "call": 1}
    if multiply is tiles.products_shifted:
        inputs = images * groups * prod((a.out - 1) * a.stride + a.span for a in part.axes)
        rows, calls, positions = filters * prod(sizes), inputs / width, width
        flops *= inputs / outputs
        if prod(sizes) == 1 and inputs == outputs:
            copied = 0.0
        else:
            copied, aside = 2.0 * inputs * rows, outputs * rows
    elif multiply in _WINDOW_ROWS:
        rows = together * (filters if part.channels_last else 1)
        run = sizes[-1] * (channels if part.channels_last else 1)
        calls = images * groups * (1 if part.channels_last else filters) * prod(a.out for a in part.axes[:-1])
    else:
        rows, calls = filters * together, 1.0
        if multiply is not tiles.at_once:
            rows, positions, _ = gemms(part, at, together)
            positions = min(positions, width)
            run, calls = float(positions), outputs * filters / rows / positions
        if multiply is tiles.rows_shared:
            copied *= axis.stride * together / _step(axis, together) / sizes[at]
        if part.channels_last:
            aside = 4.0 * outputs * filters  # written elsewhere first
    kind = rates.blas(dtype)
    each = {"flop " + kind: flops, "thin flop " + kind: flops / rows + flops / positions} if kind else {"flop": flops}
    return {
        **each,
        "byte": (copied + aside) * dtype.itemsize,
        "run": copied / run,
        "gemv" if rows == 1 else "gemm": calls,
        "tile": 1 + (axis.out % together > 0) + copied * dtype.itemsize / TILE_BYTES,
        "call": 1,
    }


def common_taps(axis: Axis, count: int) -> int:
    """Taps of the common window of ``count`` neighbouring outputs."""
    return ((count - 1) * axis.stride + axis.span - 1) // _step(axis, count) + 1


def _step(axis: Axis, count: int) -> int:
    return gcd(axis.stride, axis.dilation) if count > 1 else axis.dilation


def _bands(part: Part, dtype: np.dtype[Any], way: Way) -> Iterator[tiles.Band]:
    """The outputs of a part in bands: as many as fill whole ones, and one band of what is left."""
    whole, rest = divmod(part.axes[way.at].out, way.together)
    if whole:
        yield _band(part, dtype, way, 0, whole)
    if rest:
        narrow = Way(way.at, rest, way.multiply) if way.multiply in _WINDOW_ROWS else _columns(part, way.at, rest)
        yield _band(part, dtype, narrow, whole * way.together, 1)


def _band(part: Part, dtype: np.dtype[Any], way: Way, first: int, outs: int) -> tiles.Band:
    at, count = way.at, way.together
    axis = part.axes[at]
    common = replace(
        axis, kernel=common_taps(axis, count), stride=axis.stride * count, dilation=_step(axis, count),
        lo=axis.lo - first * axis.stride,
    )  # fmt: skip
    groups, filters, channels, *sizes = part.kernel.shape
    sizes[at] = common.kernel
    kernel = np.zeros((groups, filters, count, channels, *sizes), dtype)
    for j in range(count):
        places = (j * axis.stride + np.arange(axis.kernel) * axis.dilation) // common.dilation
        inside: tuple[Any, ...] = (slice(None),) * (3 + at) + (places,)
        kernel[:, :, j][inside] = part.kernel
    outputs = (slice(None),) * (3 + at) + (slice(first, first + count * outs),)
    matrix, positions = _matrix(part, way, kernel)
    axes = tuple(common.with_outputs(outs) if j == at else a for j, a in enumerate(part.axes))
    return tiles.Band(outputs, at, count, axes, np.ascontiguousarray(matrix), way.multiply, positions)


def _matrix(part: Part, way: Way, kernel: AnyArray) -> tuple[AnyArray, int]:
    """The kernel (G, F, b, C, k1..kd) as a way multiplies it, and how many positions a GEMM may take."""
    groups, filters, count, channels, *sizes = kernel.shape
    taps = channels * prod(sizes)
    spatial = range(4, kernel.ndim)
    if way.multiply is tiles.products_shifted:
        return kernel[:, :, 0].transpose(0, 1, *range(3, kernel.ndim - 1), 2).reshape(groups, -1, channels), 1
    if way.multiply is tiles.slid:
        return kernel.reshape(groups, taps), 1
    if way.multiply is tiles.window_rows_channels_last:
        return kernel.transpose(0, *spatial, 3, 2, 1).reshape(taps, count * filters), 1
    if way.multiply is tiles.window_rows:
        return kernel.transpose(0, 1, *spatial, 3, 2).reshape(groups, filters, taps, count), 1
    if way.multiply is tiles.at_once:
        return kernel.reshape(groups, filters * count, taps), part.axes[-1].out
    rows, positions, _ = gemms(part, way.at, count)
    if way.multiply is tiles.rows_shared:
        kernel = np.moveaxis(kernel, 4 + way.at, 3)
    return kernel.reshape(groups, -1, rows, taps), positions


def _fill(band: tiles.Band, x: AnyArray, y: AnyArray, parallel: bool) -> bool:
    """Fill some outputs of y; whether it was safe to take them together."""
    at, count = 3 + band.at, band.together
    y = y[band.outputs]
    y = y.reshape(*y.shape[:at], -1, count, *y.shape[at + 1 :])  # that axis in steps of the band, then inside it
    y = y.transpose(*range(3), at + 1, *range(3, at + 1), *range(at + 2, y.ndim))

    def fill(share: Iterable[tiles.Tile]) -> bool:
        safe = True
        with np.errstate(invalid="ignore" if count > 1 else None):
            for images, outs in share:
                inputs = reach(band.axes, x[images], outs, 3)
                target = y[(images, slice(None), slice(None), slice(None), *outs)]
                band.multiply(inputs, band, target)
                safe &= count == 1 or finite(target)
        return safe

    parallel &= band.multiply is not tiles.at_once  # there BLAS has threads of its own
    budget = _budget(band, prod(x.shape[1:3]), y.shape[-1])
    budget = max(min(budget, TILE_BYTES // (prod(y.shape[1:4]) * band.matrix.itemsize)), 1)
    if parallel:
        budget = min(budget, -(-x.shape[0] * prod(y.shape[4:]) // (2 * threads())))
    return all(spread(fill, tiles.tiles(x.shape[0], y.shape[4:], budget, min(band.positions, budget)), parallel))


def _budget(band: tiles.Band, channels: int, width: int) -> int:
    """Outputs whose windows of all channels fit into `TILE_BYTES`, one at least."""
    axis = band.axes[band.at]
    itemsize = int(band.matrix.itemsize)
    if band.multiply is tiles.products_shifted:
        groups, products, each = band.matrix.shape
        kernel = (groups, products // prod(a.kernel for a in band.axes), each, *(a.kernel for a in band.axes))
        rows = _rows_of_products(band.axes, kernel, itemsize)
        return max(rows, 1) * prod(a.out for a in band.axes[1:])
    window = channels * prod(a.kernel for a in band.axes) * itemsize
    if band.multiply is tiles.rows_shared:
        rows = TILE_BYTES * axis.kernel // (window * width)
        if rows >= axis.kernel:
            return width * ((rows - axis.kernel) * axis.dilation // axis.stride + 1)
    return max(TILE_BYTES // window, 1)


def _rows_of_products(axes: tuple[Axis, ...], kernel: Shape, itemsize: int) -> int:
    """Outputs along the first axis whose products of every input with every tap fit into `TILE_BYTES`."""
    groups, filters, channels, *sizes = kernel
    entries = groups * (filters * prod(sizes) + channels) * itemsize
    inputs = TILE_BYTES // (entries * prod((a.out - 1) * a.stride + a.span for a in axes[1:]))
    return (inputs - axes[0].span) // axes[0].stride + 1
