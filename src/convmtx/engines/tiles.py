"""The arithmetic of one tile of outputs: its windows, copied side by side, times the kernel matrix.

Windows are (B, G, C, k1..kd, o1..od). BLAS writes straight into the outputs wherever their memory allows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import pairwise, product
from typing import Any

import numpy as np

from convmtx.engines.parts import reach
from convmtx.geometry import Axis
from convmtx.typing import AnyArray, Shape

#: Images and, for each axis, outputs.
Tile = tuple[slice, tuple[slice, ...]]
#: Windows, kernel matrix, outputs, and how many of them a GEMM may take along the last axis.
Multiply = Callable[[AnyArray, AnyArray, AnyArray, int], None]


def row_by_row(windows: AnyArray, matrix: AnyArray, y: AnyArray, positions: int) -> None:
    """A GEMM for each row of outputs, or ``positions`` of it: matrix (G, Q, m, taps), y (B, G, Q, m, o1..od)."""
    if y.shape[-1] > positions:
        windows, y = (a.reshape(*a.shape[:-1], -1, positions) for a in (windows, y))
    lead = y.ndim - 5
    first = windows.ndim - lead - 1
    columns = _packed(windows.transpose(0, 1, *range(first, first + lead), *range(2, first), -1), matrix.dtype)
    columns = columns.reshape(*y.shape[:2], *y.shape[4:-1], 1, -1, y.shape[-1])
    matrix = matrix.reshape(len(matrix), *(1,) * lead, *matrix.shape[1:])
    _multiply(matrix, columns, y.transpose(0, 1, *range(4, 4 + lead), 2, 3, -1))


def at_once(windows: AnyArray, matrix: AnyArray, y: AnyArray, positions: int) -> None:
    """One GEMM for all positions of the tile: matrix (G, 1, F*b, taps), y (B, G, F, b, o1..od)."""
    first = windows.ndim - y.ndim + 4
    columns = _packed(windows.transpose(1, *range(2, first), 0, *range(first, windows.ndim)), matrix.dtype)
    y = y.transpose(1, 2, 3, 0, *range(4, y.ndim))
    result = matrix[:, 0] @ columns.reshape(len(matrix), matrix.shape[-1], -1)
    _store(result.reshape(y.shape), y)


def window_rows(windows: AnyArray, matrix: AnyArray, y: AnyArray, positions: int) -> None:
    """Windows times kernel, neighbours along the last axis together: matrix (G, F, taps, b), y (B, G, F, b, o1..od)."""
    d = y.ndim - 4
    columns = _packed(windows.transpose(0, 1, *range(3 + d, 3 + 2 * d), *range(3, 3 + d), 2), matrix.dtype)
    y = y.transpose(0, 1, 2, *range(4, 4 + d), 3)
    if y.shape[1] == y.shape[2] == 1 and _joinable(y, y.ndim - 1):  # images lie side by side too
        _multiply(columns.reshape(-1, matrix.shape[2]), matrix[0, 0], y.reshape(-1, y.shape[-1]))
        return
    matrix = matrix.reshape(*matrix.shape[:2], *(1,) * (d - 1), *matrix.shape[2:])
    _multiply(columns.reshape(*y.shape[:2], 1, *y.shape[3:-1], -1), matrix, y)


def window_rows_channels_last(windows: AnyArray, matrix: AnyArray, y: AnyArray, positions: int) -> None:
    """Windows times kernel where filters lie side by side: matrix (taps, b*F), y (B, 1, F, b, o1..od)."""
    d = y.ndim - 4
    columns = _packed(windows[:, 0].transpose(0, *range(2 + d, 2 + 2 * d), *range(2, 2 + d), 1), matrix.dtype)
    y = y[:, 0].transpose(0, *range(3, 3 + d), 2, 1)
    columns = columns.reshape(-1, len(matrix))
    if _joinable(y, d + 1) and _joinable(y[(0,) * (d + 1)], 2):
        _multiply(columns, matrix, y.reshape(-1, matrix.shape[1]))
    else:
        _store((columns @ matrix).reshape(y.shape), y)


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


def _packed(windows: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """The windows side by side in memory, in the type that the GEMM takes."""
    return np.ascontiguousarray(windows, dtype=dtype)


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


def windows_of(axes: tuple[Axis, ...], x: AnyArray, tile: tuple[slice, ...], sizes: list[int]) -> AnyArray:
    """View (B, G, C, k1..kd, o1..od) of the windows of one tile; only borders are copied."""
    for j, (axis, outs) in enumerate(zip(axes, tile, strict=True)):
        x = reach(axis, x, 3 + j, outs)
    shape = (*x.shape[:3], *sizes, *(t.stop - t.start for t in tile))
    apart = x.strides[3:]
    steps = (
        *x.strides[:3],
        *(step * axis.dilation for step, axis in zip(apart, axes, strict=True)),
        *(step * axis.stride for step, axis in zip(apart, axes, strict=True)),
    )
    if x.flags.c_contiguous:  # several times faster than as_strided, and checked
        return np.ndarray(shape, x.dtype, x, 0, steps)
    return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)
