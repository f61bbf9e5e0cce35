"""What every form shares: where an axis stands in the flattened vector, and the kernel as a run sees it."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np

from convmtx.geometry import Geometry, Layout, Run
from convmtx.typing import AnyArray, Order, Shape


class Strides(NamedTuple):
    """How far apart neighbours along each axis lie in the flattened array, in elements."""

    channel: int
    spatial: tuple[int, ...]


def strides(geometry: Geometry, shape: Shape, order: Order) -> Strides:
    """Strides of an input or output of this geometry, flattened row-major (C) or column-major (F)."""
    if order == "C":
        steps = tuple(prod(shape[j + 1 :]) for j in range(len(shape)))
    else:
        steps = tuple(prod(shape[:j]) for j in range(len(shape)))
    if geometry.layout is Layout.PLAIN:
        return Strides(0, steps)
    if geometry.layout is Layout.LAST:
        return Strides(steps[-1], steps[:-1])
    return Strides(steps[0], steps[1:])


def channel_leads(geometry: Geometry, order: Order) -> bool:
    """Whether the channel is the slowest axis of the flattened vector (else it is the fastest)."""
    return (geometry.layout is Layout.FIRST) is (order == "C")


def folded(taps: AnyArray, chosen: tuple[Run, ...]) -> AnyArray:
    """Taps (F, C/groups, k1..kd) as these runs' columns see them, (F, C/groups, slots1..slotsd).

    Axis by axis, first to last: every form adds the same numbers in the same order, so they agree exactly.
    """
    for j, run in enumerate(chosen):
        taps = run.fold(taps, j + 2)
    return taps


def index_dtype(*largest: int) -> type[np.int32] | type[np.int64]:
    """int32 where every count and index fits, else int64; decided on Python integers, which cannot overflow."""
    return np.int32 if max(largest) <= np.iinfo(np.int32).max else np.int64
