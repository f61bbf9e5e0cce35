"""What rows and columns of a matrix are: names of the axes, and of blocks of channels and rows."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, Literal

import numpy as np

from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.plot import style
from convmtx.typing import Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: Blocks along an axis up to which lines part them, and labels name them where there is room.
PARTED = 24
#: Points that letters are high, of labels of blocks and of single channels; a line of them takes `LINE` times that.
HIGH, LINE = {"major": 9.0, "minor": 7.0}, 1.35
#: Points between a matrix and its labels, and between these.
GAP = 3.5
Which = Literal["major", "minor"]
_SPACE = {1: ("position",), 2: ("row", "column"), 3: ("slice", "row", "column")}


def named(ax: Axes, op: LinearMap) -> None:
    """Labels of both axes: which coordinates an index is made of, slowest first."""
    ax.set_ylabel(f"output ({', '.join(_coordinates(op, 'o', 'f'))})")
    ax.set_xlabel(f"input ({', '.join(_coordinates(op, 'i', 'c'))})")


def _coordinates(op: LinearMap, letter: str, channel: str) -> tuple[str, ...]:
    if isinstance(op, ConvOperator):
        space = tuple(f"{letter}{j + 1}" for j in range(len(op.geometry.axes)))
        return op.geometry.layout.join(channel, space)
    return tuple(f"{letter}{j + 1}" for j in range(len(op.out_shape if letter == "o" else op.in_shape)))


def blocks(ax: Axes, geometry: Geometry) -> None:
    """Lines between blocks of rows and of columns that belong to one channel or one row of the array, and labels.

    Channels last take turns from one row of the matrix to the next, within every block: each has its own label between
    the matrix and the labels of the blocks, or the label of the axis says so.
    """
    d = len(geometry.axes)
    across, down = style.room(ax)
    for axis, shape, channel, letter, unit, line in (
        (ax.yaxis, geometry.out_shape, "f", "o", down, ax.axhline),
        (ax.xaxis, geometry.in_shape, "c", "i", across, ax.axvline),
    ):
        style.whole(axis)
        names = geometry.layout.join(channel, _SPACE.get(d, tuple(f"{letter}{j + 1} =" for j in range(d))))
        for level in range(1, len(shape)):
            count, size = prod(shape[:level]), prod(shape[level:])
            if 1 < count <= PARTED and size > 1:
                for at in range(1, count):
                    line(at * size - 0.5, color=style.LINE, linewidth=1.6 / level, alpha=0.8)
        depth = 0.0
        if geometry.layout is Layout.LAST and shape[-1] > 1:
            if unit >= LINE * HIGH["minor"]:
                turns = [f"{channel}{j}" for j in range(shape[-1])] * prod(shape[:-1])
                depth = _label(axis, "minor", turns, 1, unit, 0.0)
                axis.remove_overlapping_locs = False  # a channel in the middle of a block is labelled too
            else:
                axis.set_label_text(f"{axis.get_label_text()}, {channel}0 to {channel}{shape[-1] - 1} in turn")
        counts = [prod(shape[:n]) for n in range(len(shape))]
        count = max(n for n in counts if n == 1 or (n <= PARTED and unit * prod(shape) >= n * LINE * HIGH["major"]))
        if count > 1:
            level = counts.index(count)
            _label(axis, "major", _labels(names[:level], shape[:level]), prod(shape) // count, unit, depth)
        else:
            axis.set_tick_params("major", pad=GAP + depth)


def _label(axis: Axis, which: Which, texts: list[str], size: int, unit: float, depth: float) -> float:
    """A text at each block of so many rows or columns, beyond others of a depth; how deep these are, in points.

    Where a text is wider than its block all stand upright.
    """
    high, wide = LINE * HIGH[which], 0.6 * HIGH[which] * max(map(len, texts))
    lying = axis is axis.axes.xaxis
    upright = lying and wide > unit * size
    axis.set_ticks(np.arange(len(texts)) * size + (size - 1) / 2, texts, minor=which == "minor")
    axis.set_tick_params(which, length=0, pad=GAP + depth, labelsize=HIGH[which], rotation=90 if upright else 0)
    return GAP + (high if lying and not upright else wide)


def _labels(names: tuple[str, ...], shape: Shape) -> list[str]:
    """Of "c0, row 2" and its like; axes that have one position are left out."""
    found = []
    for at in product(*map(range, shape)):
        parts = [
            f"{name}{j}" if len(name) == 1 else f"{name} {j}"
            for name, j, size in zip(names, at, shape, strict=True)
            if size > 1
        ]
        found.append(", ".join(parts))
    return found
