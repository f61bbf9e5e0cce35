"""The arithmetic of one tile of outputs: its windows, copied side by side, times the kernel matrix.

Windows are views of ``x`` (B, G, C, m1..md), the inputs that the tile reaches over; ``y`` is (B, G, F, b, o1..od)
with b neighbouring outputs of each window. BLAS writes straight into y wherever its memory allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise, product
from typing import NamedTuple

import numpy as np

from convmtx.engines.threads import scratch
from convmtx.geometry import Axis
from convmtx.typing import AnyArray, Shape

#: Images and, for each axis, outputs.
Tile = tuple[slice, tuple[slice, ...]]
#: Size and stride in bytes of an axis of a view.
Dim = tuple[int, int]


#: Fill y from the inputs that a tile reaches over.
Multiply = Callable[[AnyArray, "Band", AnyArray], None]


class Band(NamedTuple):
    """Evenly spaced groups of ``together`` outputs along axis ``at``, each read through one common window."""

    outputs: tuple[slice, ...]
    at: int
    together: int
    #: Of the common windows.
    axes: tuple[Axis, ...]
    #: Of the common windows, flattened as ``multiply`` wants it.
    matrix: AnyArray
    multiply: Multiply
    #: How many outputs a GEMM may take along the last axis.
    positions: int


def row_by_row(x: AnyArray, band: Band, y: AnyArray) -> None:
    """A GEMM for each row of outputs, or ``positions`` of it: matrix (G, Q, m, taps), its taps (C, k1..kd)."""
    head, channels, taps, outs, y = _cut(x, band, y)
    columns = _packed(x, band, (*head, *outs[:-1], channels, *taps, outs[-1]))
    columns = columns.reshape(*columns.shape[: 1 + len(outs)], 1, -1, columns.shape[-1])
    _multiply(_beside(band.matrix, len(outs) - 1), columns, y)


def rows_shared(x: AnyArray, band: Band, y: AnyArray) -> None:
    """The same where windows along axis ``at`` overlap in whole rows, each copied once: taps are (k_at, C, others)."""
    head, channels, taps, outs, y = _cut(x, band, y)
    axis, at = band.axes[band.at], band.at
    each = axis.stride // axis.dilation  # rows from a window to the next
    blocks, size = outs[at][0], taps[at][0]
    rows = ((blocks - 1) * each + size, taps[at][1])
    lead = [*outs[:at], *outs[at + 1 : -1]]
    columns = _packed(x, band, (*head, *lead, rows, channels, *taps[:at], *taps[at + 1 :], outs[-1]))
    columns = columns.reshape(*columns.shape[: 2 + len(lead)], rows[0], -1, columns.shape[-1])
    count, width = columns.shape[-2:]
    *outer, row, _, step = columns.strides
    overlapping = (*columns.shape[:-3], blocks, 1, size * count, width)
    columns = _strided(columns, overlapping, (*outer, each * row, row, width * step, step))
    behind = len(outs) + 1  # the axis of outputs that has windows in steps comes last of those before Q
    y = y.transpose(*range(2 + at), *range(3 + at, behind), 2 + at, *range(behind, y.ndim))
    _multiply(_beside(band.matrix, len(outs) - 1), columns, y)


def _cut(x: AnyArray, band: Band, y: AnyArray) -> tuple[list[Dim], Dim, list[Dim], list[Dim], AnyArray]:
    """Axes of the windows, and y as (B, G, *outs but the last, Q, m, last), the last cut into ``positions``."""
    images, groups, channels, taps, outs = _dims(x, band, y)
    wide, step = outs[-1]
    if wide > band.positions:
        y = y.reshape(*y.shape[:-1], -1, band.positions)
        outs[-1:] = [(wide // band.positions, band.positions * step), (band.positions, step)]
    y = y.reshape(*y.shape[:2], *band.matrix.shape[1:3], *y.shape[4:])  # a view: no more than F is split
    return [images, groups], channels, taps, outs, y.transpose(0, 1, *range(4, y.ndim - 1), 2, 3, -1)


def _beside(matrix: AnyArray, lead: int) -> AnyArray:
    """(G, Q, m, taps) with ``lead`` axes of outputs before Q."""
    return matrix.reshape(len(matrix), *(1,) * lead, *matrix.shape[1:])


def at_once(x: AnyArray, band: Band, y: AnyArray) -> None:
    """One GEMM for all positions of the tile: matrix (G, F*b, taps), its taps (C, k1..kd)."""
    images, groups, channels, taps, outs = _dims(x, band, y)
    columns = _packed(x, band, (groups, channels, *taps, images, *outs))
    result = band.matrix @ columns.reshape(len(band.matrix), band.matrix.shape[-1], -1)
    y = y.transpose(1, 2, 3, 0, *range(4, y.ndim))
    _store(result.reshape(y.shape), y)


def window_rows(x: AnyArray, band: Band, y: AnyArray) -> None:
    """Windows times kernel, neighbours along the last axis together: matrix (G, F, taps, b), its taps (k1..kd, C)."""
    images, groups, channels, taps, outs = _dims(x, band, y)
    columns = _packed(x, band, (images, groups, *outs, *taps, channels))
    y = y.transpose(0, 1, 2, *range(4, y.ndim), 3)
    size, together = band.matrix.shape[2:]
    if y.shape[1] == y.shape[2] == 1 and _joinable(y, y.ndim - 1):  # images lie side by side too
        _multiply(columns.reshape(-1, size), band.matrix[0, 0], y.reshape(-1, together))
        return
    matrix = band.matrix.reshape(*band.matrix.shape[:2], *(1,) * (len(outs) - 1), size, together)
    _multiply(columns.reshape(*y.shape[:2], 1, *y.shape[3:-1], size), matrix, y)


def window_rows_channels_last(x: AnyArray, band: Band, y: AnyArray) -> None:
    """Windows times kernel where filters lie side by side: matrix (taps, b*F), its taps (k1..kd, C)."""
    images, _, channels, taps, outs = _dims(x, band, y)
    columns = _packed(x, band, (images, *outs, *taps, channels)).reshape(-1, len(band.matrix))
    y = y[:, 0].transpose(0, *range(3, y.ndim - 1), 2, 1)
    if _joinable(y, y.ndim - 2) and _joinable(y[(0,) * (y.ndim - 2)], 2):
        _multiply(columns, band.matrix, y.reshape(-1, band.matrix.shape[1]))
    else:
        _store((columns @ band.matrix).reshape(y.shape), y)


def products_shifted(x: AnyArray, band: Band, y: AnyArray) -> None:
    """Channels first, windows after: each tap times every input, added up where the tap puts it (kn2row).

    matrix (G, F*taps, C). Fewer filters than channels make this the smaller half of the work (Vasudevan, Anderson and
    Gregg, ASAP 2017).
    """
    images, groups, filters, _, *outs = y.shape
    d = len(outs)
    columns = x.transpose(0, 1, *range(3, x.ndim - 1), 2, -1).astype(band.matrix.dtype, copy=False)
    if columns.strides[-1] != columns.itemsize or columns.strides[-2] < columns.shape[-1] * columns.itemsize:
        columns = np.ascontiguousarray(columns)
    matrix = _beside(band.matrix, d - 1)
    if all(axis.kernel == axis.stride == 1 for axis in band.axes):
        _multiply(matrix, columns, y[:, :, :, 0].transpose(0, 1, *range(3, 2 + d), 2, -1))
        return
    shape = (images, groups, *columns.shape[2:-2], matrix.shape[-2], columns.shape[-1])
    parts = np.matmul(matrix, columns, out=scratch("windows", shape, matrix.dtype))  # (B, G, m1..F*taps, md)
    parts = parts.reshape(*parts.shape[:-2], filters, *(axis.kernel for axis in band.axes), parts.shape[-1])
    apart = [*parts.strides[2 : 1 + d], parts.strides[-1]]  # between neighbouring inputs along each axis
    taps = [t + step * axis.dilation for t, step, axis in zip(parts.strides[2 + d : -1], apart, band.axes, strict=True)]
    moved = [step * axis.stride for step, axis in zip(apart, band.axes, strict=True)]
    sizes = (axis.kernel for axis in band.axes)
    shifted = _strided(
        parts, (images, groups, filters, *sizes, *outs), (*parts.strides[:2], parts.strides[1 + d], *taps, *moved)
    )
    _store(np.add.reduce(shifted, tuple(range(3, 3 + d))), y[:, :, :, 0])


def slid(x: AnyArray, band: Band, y: AnyArray) -> None:
    """A signal at a time, one channel and short kernels without gaps: NumPy's own loops; matrix (G, taps)."""
    for b, signals in enumerate(x):
        for g, ((signal,), taps) in enumerate(zip(signals, band.matrix, strict=True)):
            _store(np.correlate(signal.astype(taps.dtype, copy=False), taps), y[b, g, 0, 0])


def _dims(x: AnyArray, band: Band, y: AnyArray) -> tuple[Dim, Dim, Dim, list[Dim], list[Dim]]:
    """Sizes and strides of the windows' axes: images, groups, channels, taps of each axis, outputs of each axis."""
    images, groups, channels, *apart = zip(x.shape, x.strides, strict=True)
    taps = [(axis.kernel, step * axis.dilation) for (_, step), axis in zip(apart, band.axes, strict=True)]
    outs = [(n, s * axis.stride) for n, (_, s), axis in zip(y.shape[4:], apart, band.axes, strict=True)]
    return images, groups, channels, taps, outs


def _packed(x: AnyArray, band: Band, dims: tuple[Dim, ...]) -> AnyArray:
    """The view of x with these axes, side by side in memory, in the type that the GEMM takes."""
    view = _strided(x, tuple(n for n, _ in dims), tuple(step for _, step in dims))
    packed = scratch("windows", view.shape, band.matrix.dtype)
    np.copyto(packed, view, casting="unsafe")
    return packed


def _strided(x: AnyArray, shape: Shape, steps: Shape) -> AnyArray:
    if x.flags.c_contiguous:  # several times faster than as_strided, and checked
        return np.ndarray(shape, x.dtype, x, 0, steps)
    return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)


def _multiply(a: AnyArray, b: AnyArray, y: AnyArray) -> None:
    """Write ``a @ b`` into y, without a copy where BLAS can."""
    if y.dtype == a.dtype and y.strides[-1] == y.itemsize and y.strides[-2] >= y.shape[-1] * y.itemsize:
        np.matmul(a, b, out=y)
    else:
        _store(a @ b, y)


def _store(result: AnyArray, y: AnyArray) -> None:
    """Copy into y; whole numbers in floats become integers that wrap around in narrow types."""
    y[...] = result.astype(np.int64) if y.dtype.kind in "iu" and result.dtype.kind == "f" else result


def _joinable(a: AnyArray, count: int) -> bool:
    """Whether the first ``count`` axes are one in memory."""
    steps = [(n, s) for n, s in zip(a.shape[:count], a.strides[:count], strict=True) if n > 1]
    return all(s == n * t for (_, s), (n, t) in pairwise(steps))


@lru_cache(maxsize=256)
def tiles(batch: int, out: Shape, budget: int, unit: int) -> tuple[Tile, ...]:
    """Cut batch and outputs into tiles of about ``budget`` outputs, longest along the last axes.

    The last axis is cut at multiples of ``unit``, and what is left over has a tile of its own.
    """
    sides: list[int] = []
    for size in (*reversed(out), batch):
        side = max(min(size, budget), 1)
        if not sides and size > unit:
            side = max(side // unit, 1) * unit
        sides.append(side)
        budget //= side
    *inner, images = sides
    cut = [list(_cuts(0, size, side)) for size, side in zip(out, reversed(inner), strict=True)]
    if out[-1] > unit:
        whole = out[-1] - out[-1] % unit
        cut[-1] = [*_cuts(0, whole, sides[0]), *_cuts(whole, out[-1], unit)]
    return tuple((b, tile) for b in _cuts(0, batch, images) for tile in product(*cut))


def _cuts(start: int, stop: int, side: int) -> Iterator[slice]:
    for first in range(start, stop, side):
        yield slice(first, min(first + side, stop))
