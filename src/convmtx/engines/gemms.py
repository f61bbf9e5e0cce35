"""Sizes of the common windows of neighbouring outputs, and of the matrix products that multiply them."""

from __future__ import annotations

from math import gcd, prod
from typing import NamedTuple

from convmtx import costs
from convmtx.engines.parts import Part
from convmtx.geometry import Axis

#: Rows from which a matrix product is not thin, and positions from which it is not short. With fewer rows each entry
#: that is copied meets fewer than 16 filters, and the product waits for the copy.
WIDE, LONG = 16, 24


class Windows(NamedTuple):
    """Number and size of the common windows of a part."""

    #: Outputs of all images and groups, of one filter.
    outputs: int
    #: Taps along each axis.
    sizes: list[int]
    #: Operations of multiplying every window by every filter.
    flops: float
    #: Entries of all windows.
    entries: float


class Products(NamedTuple):
    """Matrix products that fill a part: their flops in all, rows, positions (columns) and number."""

    flops: float
    rows: int
    positions: int
    calls: float


class Copies(NamedTuple):
    """Entries copied on the way: those of windows, how many of these lie side by side, and others."""

    entries: float
    run: float
    aside: float = 0.0


class GemmSize(NamedTuple):
    """Size of the matrix products of a tile: ``rows`` of the kernel times ``positions``, or everything at once."""

    rows: int
    positions: int
    at_once: bool


def count_windows(part: Part, at: int, together: int, images: int) -> Windows:
    """Count the windows of a part, with ``together`` neighbours along axis ``at`` in each."""
    groups, filters, channels, *sizes = part.kernel.shape
    sizes[at] = common_taps(part.axes[at], together)
    taps = channels * prod(sizes)
    outputs = images * groups * prod(axis.out for axis in part.axes)
    return Windows(outputs, sizes, 2.0 * outputs * filters * taps, outputs / together * taps)


def gemm_size(part: Part, at: int, together: int) -> GemmSize:
    """Choose products small enough for one thread each, if these are neither thin nor short; else everything at once.

    The rows are all filters, or a part of them that divides their number: 64 filters may be 4 products of 16 rows.
    """
    _, filters, channels, *sizes = part.kernel.shape
    width = part.axes[-1].out
    taps = channels * prod(sizes) // sizes[at] * common_taps(part.axes[at], together)
    if together > 1:
        choices = [together]
    else:
        divisors = [filters // q for q in range(1, filters + 1) if filters % q == 0]
        choices = [rows for rows in divisors if rows >= min(filters, WIDE)]
    for rows in choices:
        if rows * taps * width <= costs.ONE_THREAD:
            return GemmSize(rows, width, False)
    positions = costs.ONE_THREAD // (choices[-1] * taps)
    return GemmSize(choices[-1], positions, False) if positions >= LONG else GemmSize(filters * together, width, True)


def common_taps(axis: Axis, together: int) -> int:
    """Count taps of the common window of neighbouring outputs: ``together`` 2 with 3 taps and stride 1 have 4."""
    return ((together - 1) * axis.stride + axis.span - 1) // common_step(axis, together) + 1


def common_step(axis: Axis, together: int) -> int:
    """Distance of taps of a common window: dilation 2 and stride 3 put taps at 0, 2, 4 and 3, 5, 7, so it is 1."""
    return gcd(axis.stride, axis.dilation) if together > 1 else axis.dilation
