"""Sliding windows times the kernel matrix: im2col in tiles that stay in cache, and small matrix products on every core.

It needs only NumPy, and works for every geometry and dtype. Its extra memory is bounded whatever the image: for each
thread at most ``3 + d`` times `tile_kinds.TILE_BYTES` on d axes. These are a tile of windows, its products, and the
inputs that it reaches over along each axis (more only if one window alone is larger than a tile).

Few filters make a thin matrix product, which waits for its windows to be copied. So neighbouring outputs along one axis
are taken together: each is a filter of its own over their common window (see `tile_kinds`). Fewer windows are copied,
and the product grows.

Integers are computed in floats if floats hold every sum exactly, which is tested first; otherwise they are computed as
integers that wrap around.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from functools import lru_cache, partial
from math import ceil, prod
from typing import Any

import numpy as np

from convmtx import costs, rates
from convmtx.costs import Work
from convmtx.engines import gemms, tile_kinds
from convmtx.engines.gemms import common_step, common_taps
from convmtx.engines.parts import MOST_SIZES, Part, PartSizes, finite, reaching, wide
from convmtx.engines.threads import Memory, Step, scratch, spread
from convmtx.engines.tile_kinds import Band, TileKind, kernel_times_windows
from convmtx.engines.tiles import Tile, tiles
from convmtx.rates import Rates
from convmtx.typing import AnyArray

#: Largest number of outputs taken together. With more, most entries of the kernel matrix are zeros: 3 taps fill 3 of
#: 34 columns.
MOST = 32
#: Tiles that threads share, unless those would be larger than `tile_kinds.TILE_BYTES`. The number does not depend on
#: that of threads, and so neither do products and their rounding.
MOST_SHARES = 64


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd)."""
    for step in prepare(part, x, y, scratch):
        step()


def prepare(part: Part, x: AnyArray, y: AnyArray, memory: Memory) -> list[Step]:
    """Return the steps that do what `correlate` does, with views and buffers kept where one tile holds all outputs."""
    if y.dtype.kind != "c":
        return [Fill(part, x, y, memory)]
    if part.kernel.dtype.kind != "c":
        return [Fill(part, x.real, y.real, memory), Fill(part, x.imag, y.imag, memory)]
    if not _is_one_pair(part):
        return [Fill(part, x, y, memory)]
    copies: list[Step] = []
    if x.dtype != y.dtype:
        source, x = x, memory("complex", x.shape, y.dtype)
        copies = [partial(np.copyto, x, source)]
    return [*copies, Fill(_real_part(part), _planes(x), _planes(y), memory)]


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work:
    """Work of filling a part; integers are assumed to be small enough for floats."""
    if dtype.kind == "c" and part.kernel.dtype.kind != "c":
        return work(part, _real_dtype(dtype), 2 * images)
    if dtype.kind == "c" and _is_one_pair(part):
        return work(_real_part(part), _real_dtype(dtype), images)
    dtype = np.dtype(np.float64) if dtype.kind in "iu" else dtype
    amounts = fastest(part, dtype, images)[0].work(part, dtype, images)
    window = part.kernel.shape[2] * prod(axis.span for axis in part.axes) * dtype.itemsize
    if window <= tile_kinds.TILE_BYTES:
        return amounts
    # Taps lie so far apart that what one window reaches over fills a tile.
    reached = images * part.kernel.shape[0] * window * prod(axis.out for axis in part.axes)
    return costs.total([amounts, {"byte": float(reached)}])


def _real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.empty(0, dtype).real.dtype


def _is_one_pair(part: Part) -> bool:
    """Whether each group has one channel and one filter."""
    return bool(part.kernel.shape[1] == part.kernel.shape[2] == 1)


def _real_part(part: Part) -> Part:
    """Return a complex part of one channel and filter as a real one of two: the real and the imaginary ones."""

    def build() -> Part:
        re, im = part.kernel.real[:, 0, 0], part.kernel.imag[:, 0, 0]
        kernel = np.stack([np.stack([re, -im], 1), np.stack([im, re], 1)], 1)
        return Part(part.outputs, part.axes, kernel, channels_last=False, once=part.once)

    real: Part = part.keep("real", build)
    return real


def _planes(a: AnyArray) -> AnyArray:
    """View complex (B, G, 1, ...) as real (B, G, 2, ...): real and imaginary parts."""
    shape, steps = (*a.shape[:2], 2, *a.shape[3:]), (*a.strides[:2], a.itemsize // 2, *a.strides[3:])
    return np.lib.stride_tricks.as_strided(a.real, shape, steps, writeable=a.flags.writeable)


class Fill:
    """Step that fills y from x by the fastest kind of tile, in the type that is computed in."""

    def __init__(self, part: Part, x: AnyArray, y: AnyArray, memory: Memory) -> None:
        self.part, self.x, self.y, self.memory = part, x, y, memory
        self.ready: dict[np.dtype[Any], tuple[TileKind, float, list[BandFill]]] = {}

    def __call__(self) -> None:
        """Fill y."""
        dtype = _computed_in(self.part, self.x, self.y.dtype)
        if dtype not in self.ready:
            kind, seconds = fastest(self.part, dtype, self.y.shape[0])
            self.ready[dtype] = kind, seconds, _fills(self.part, self.x, self.y, dtype, kind, seconds, self.memory)
        kind, seconds, fills = self.ready[dtype]
        if not _run(fills):
            # Zeros of the band took nan or inf to outputs whose own window has none.
            alone = kernel_times_windows(self.part, kind.at, 1)
            _fill(self.part, self.x, self.y, dtype, alone, seconds > costs.WORTH_THREADS)


def _fill(part: Part, x: AnyArray, y: AnyArray, dtype: np.dtype[Any], kind: TileKind, parallel: bool) -> bool:
    """Fill y by one kind of tile; whether that was safe."""
    seconds = costs.seconds(kind.work(part, dtype, y.shape[0])) if parallel else 0.0
    return _run(_fills(part, x, y, dtype, kind, seconds, scratch))


def _fills(
    part: Part, x: AnyArray, y: AnyArray, dtype: np.dtype[Any], kind: TileKind, seconds: float, memory: Memory
) -> list[BandFill]:
    """Return the steps that fill y by one kind of tile, in tiles to share if they take so many seconds."""
    bands = part.keep((dtype, kind), lambda: list(_bands(part, dtype, kind)))
    shares = min(ceil(seconds / costs.SHARE), MOST_SHARES) if seconds > costs.WORTH_THREADS else 0
    return [BandFill(band, x, y, shares, memory) for band in bands]


def fills_by(kind: TileKind, part: Part, x: AnyArray, y: AnyArray, memory: Memory) -> list[BandFill]:
    """Return the steps that fill y, of a type of BLAS, by one kind of tile: `convmtx.tune` times every kind."""
    return _fills(part, x, y, y.dtype, kind, costs.seconds(kind.work(part, y.dtype, y.shape[0])), memory)


def _run(fills: list[BandFill]) -> bool:
    """Fill the outputs of all bands; whether that was safe: outputs were taken alone, or all of them are finite."""
    safe = True
    for fill in fills:
        safe &= fill()
    return safe


def _computed_in(part: Part, x: AnyArray, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Choose a type that BLAS has for results of ``dtype``, if one is as exact; else ``dtype`` itself.

    No sum of products is larger than the largest input times the sum of the taps' magnitudes. 9 taps of at most 5 on
    inputs of at most 255 have sums below 9*5*255 = 11475, and float32 holds integers up to 2^23 exactly.
    """
    if dtype.kind not in "iu" or not x.size:
        return wide(dtype)
    weight = part.keep("weight", lambda: _magnitude(part.kernel.reshape(*part.kernel.shape[:2], -1)))
    bound = weight * max(-int(x.min()), int(x.max()), 1)
    for floating in (np.float32, np.float64):
        if bound < 2 ** np.finfo(floating).nmant:
            return np.dtype(floating)
    return dtype


def _magnitude(kernel: AnyArray) -> int:
    """Bound the sum of magnitudes of the taps (last axis) of every filter, as a Python integer."""
    rounded = np.abs(kernel.astype(np.float64)).sum(axis=-1).max(initial=0)
    return ceil(float(rounded) * (1 + 1e-9)) + 1


def fastest(part: Part, dtype: np.dtype[Any], images: int) -> tuple[TileKind, float]:
    """Choose the kind of tile that should be fastest, and predict its seconds."""
    return _fastest(part.sizes, dtype, images, rates.current())


@lru_cache(maxsize=MOST_SIZES)
def _fastest(sizes: PartSizes, dtype: np.dtype[Any], images: int, _rates: Rates) -> tuple[TileKind, float]:
    part = sizes.build()
    predicted = [(kind, costs.seconds(kind.work(part, dtype, images))) for kind in candidates(part, dtype)]
    return min(predicted, key=lambda pair: pair[1])


def candidates(part: Part, dtype: np.dtype[Any]) -> Iterator[TileKind]:
    """List the kinds of tiles that may be fastest.

    Numbers of outputs together are powers of two, and those that leave no output over.
    """
    last = len(part.axes) - 1
    rows = max(last - 1, 0)  # the axis along which whole rows of inputs follow each other
    window_rows = tile_kinds.WindowRowsChannelsLast if part.channels_last else tile_kinds.WindowRows
    if part.once:  # other kinds build a matrix from the kernel first
        yield tile_kinds.LongWindows(rows, 1)
        return
    yield kernel_times_windows(part, rows, 1)
    if part.axes[-1].out < gemms.LONG:
        yield tile_kinds.AtOnce(rows, 1)
    if part.channels_last:
        yield window_rows(last, 1)
    if tile_kinds.ProductsShifted.suits(part, dtype):
        yield tile_kinds.ProductsShifted(rows, 1)
    if not costs.blas_type(dtype):
        return
    if tile_kinds.Slid.suits(part, dtype):
        yield tile_kinds.Slid(last, 1)
    for together in range(2, MOST + 1):
        if last and _is_worth_trying(together, part.axes[rows].out):
            yield kernel_times_windows(part, rows, together)
        if _is_worth_trying(together, part.axes[last].out):
            yield window_rows(last, together)


def _is_worth_trying(together: int, outs: int) -> bool:
    return together <= outs and (together & (together - 1) == 0 or outs % together == 0)


def _bands(part: Part, dtype: np.dtype[Any], kind: TileKind) -> Iterator[Band]:
    """Cut the outputs of a part into one band of as many as are taken together, and one band of what is left."""
    whole, left = divmod(part.axes[kind.at].out, kind.together)
    if whole:
        yield _band(part, dtype, kind, 0, whole)
    if left:
        yield _band(part, dtype, kind.with_together(part, left), whole * kind.together, 1)


def _band(part: Part, dtype: np.dtype[Any], kind: TileKind, first: int, windows: int) -> Band:
    """Build the band of so many common windows, from output ``first`` on."""
    at, together = kind.at, kind.together
    axis = part.axes[at]
    common = replace(
        axis, kernel=common_taps(axis, together), stride=axis.stride * together, dilation=common_step(axis, together),
        lo=axis.lo - first * axis.stride,
    )  # fmt: skip
    groups, filters, channels, *sizes = part.kernel.shape
    sizes[at] = common.kernel
    kernel = np.zeros((groups, filters, together, channels, *sizes), dtype)
    for j in range(together):
        # Output j of a window reads tap p at j*s + p*t, which is tap (j*s + p*t) / step of the common window.
        places = (j * axis.stride + np.arange(axis.kernel) * axis.dilation) // common.dilation
        inside: tuple[Any, ...] = (slice(None),) * (3 + at) + (places,)
        kernel[:, :, j][inside] = part.kernel
    outputs = (slice(None),) * (3 + at) + (slice(first, first + together * windows),)
    matrix, positions = kind.matrix(part, kernel)
    axes = tuple(common.with_outputs(windows) if j == at else other for j, other in enumerate(part.axes))
    return Band(kind, outputs, axes, np.ascontiguousarray(matrix), positions)


class BandFill:
    """Step that fills the outputs of a band, tile by tile; it returns whether it was safe to take them together.

    Threads share the tiles if all outputs of y are to be cut into ``shares`` or more, and not if that is 0.
    """

    def __init__(self, band: Band, x: AnyArray, y: AnyArray, shares: int, memory: Memory) -> None:
        at, together = 3 + band.kind.at, band.kind.together
        whole, y = y.size, y[band.outputs]
        # The axis of neighbours becomes two: windows, and outputs of a window. The second goes before all axes of
        # outputs.
        y = y.reshape(*y.shape[:at], -1, together, *y.shape[at + 1 :])
        y = y.transpose(*range(3), at + 1, *range(3, at + 1), *range(at + 2, y.ndim))
        self.band, self.x, self.y = band, x, y
        self.parallel = shares > 0 and not band.kind.shares_rows
        budget = _budget(band, x, y, -(-whole // shares) if self.parallel else whole)
        self.tiles = tiles(x.shape[0], y.shape[4:], budget, min(band.positions, budget))
        #: Steps and target of the only tile; None if there are several, whose steps are prepared when they run.
        self.ready = self._prepare(self.tiles[0], memory) if len(self.tiles) == 1 else None

    def __call__(self) -> bool:
        """Fill the outputs."""
        if self.ready:
            return self._run(*self.ready)
        return all(spread(self._fill, self.tiles, self.parallel))

    def _fill(self, share: Iterable[Tile]) -> bool:
        safe = True
        for tile in share:
            safe &= self._run(*self._prepare(tile, scratch))
        return safe

    def _prepare(self, tile: Tile, memory: Memory) -> tuple[list[Step], AnyArray]:
        images, outs = tile
        target = self.y[(images, slice(None), slice(None), slice(None), *outs)]
        steps, inputs = reaching(self.band.axes, self.x[images], outs, 3, memory)
        return [*steps, *self.band.kind.steps(inputs, self.band, target, memory)], target

    def _run(self, steps: list[Step], target: AnyArray) -> bool:
        with np.errstate(invalid="ignore") if self.band.kind.together > 1 else nullcontext():
            for step in steps:
                step()
        return self.band.kind.together == 1 or finite(target)


def _budget(band: Band, x: AnyArray, y: AnyArray, share: int) -> int:
    """Count outputs of a tile: its windows and its products each fit, and it is at most a share, in outputs of y."""
    windows = band.kind.budget(band, prod(x.shape[1:3]), y.shape[-1])
    products = tile_kinds.TILE_BYTES // (prod(y.shape[1:4]) * band.matrix.itemsize)
    return max(min(windows, products, -(-share // prod(y.shape[1:4]))), 1)
