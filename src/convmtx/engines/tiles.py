"""Tiles of outputs: how outputs are cut into them, and views of the windows that a tile reads.

A window is the inputs that one output reads. Windows are views of ``x`` (B, G, C, m1..md), the inputs that the tile
reaches over; ``y`` is (B, G, F, b, o1..od), b neighbouring outputs of each window. BLAS writes straight into y if the
memory of y allows it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache, partial
from itertools import pairwise, product
from typing import Any

import numpy as np

from convmtx.engines.threads import Memory, Step
from convmtx.geometry import Axis
from convmtx.typing import AnyArray, Shape

#: Images and, for each axis, outputs.
Tile = tuple[slice, tuple[slice, ...]]
#: Size and stride in bytes of an axis of a view.
Dim = tuple[int, int]


def dims(x: AnyArray, axes: Sequence[Axis], y: AnyArray) -> tuple[Dim, Dim, Dim, list[Dim], list[Dim]]:
    """Sizes and strides of the windows' axes: images, groups, channels, taps of each axis, outputs of each axis."""
    images, groups, channels, *apart = zip(x.shape, x.strides, strict=True)
    taps = [(axis.kernel, step * axis.dilation) for (_, step), axis in zip(apart, axes, strict=True)]
    outs = [(n, s * axis.stride) for n, (_, s), axis in zip(y.shape[4:], apart, axes, strict=True)]
    return images, groups, channels, taps, outs


def pack(x: AnyArray, dtype: np.dtype[Any], order: tuple[Dim, ...], memory: Memory) -> tuple[Step, AnyArray]:
    """Return the step that copies the view of x with these axes, and its target, in the type of the product."""
    view = strided(x, tuple(n for n, _ in order), tuple(step for _, step in order))
    copied = memory("windows", view.shape, dtype)
    return partial(np.copyto, copied, view, "unsafe"), copied


def strided(x: AnyArray, shape: Shape, steps: Shape) -> AnyArray:
    """View x with another shape and other strides."""
    if x.flags.c_contiguous:  # several times faster than as_strided, and checked
        return np.ndarray(shape, x.dtype, x, 0, steps)
    return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)


def joinable(a: AnyArray, count: int) -> bool:
    """Whether the first ``count`` axes are one in memory."""
    steps = [(n, s) for n, s in zip(a.shape[:count], a.strides[:count], strict=True) if n > 1]
    return all(s == n * t for (_, s), (n, t) in pairwise(steps))


@lru_cache(maxsize=256)
def tiles(batch: int, out: Shape, budget: int, unit: int) -> tuple[Tile, ...]:
    """Cut batch and outputs into tiles of about ``budget`` outputs, longest along the last axes.

    The last axis is cut at multiples of ``unit``, and what is left over has a tile of its own: 10 outputs with a unit
    of 4 and a budget of 6 are cut into 4, 4 and 2.
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
