"""Labels of a matrix: names of its axes, and of the blocks of rows and columns that belong to one channel or row."""

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

#: Blocks along an axis up to which lines separate them and labels name them; more would be closer than can be told.
SEPARATED = 24
#: Height of letters in points: "major" of labels of blocks, "minor" of labels of channels.
HEIGHT: dict[str, float] = {"major": 9.0, "minor": 7.0}
#: Height of a line of text over the height of its letters.
LINE = 1.35
#: Points between a matrix and its labels, and between two rows of labels.
GAP = 3.5
#: Width of a letter over its height, on average.
WIDTH = 0.6
Which = Literal["major", "minor"]
_SPACE = {1: ("position",), 2: ("row", "column"), 3: ("slice", "row", "column")}


def name_axes(ax: Axes, op: LinearMap) -> None:
    """Label both axes with the coordinates that an index is made of, the slowest first: "input (c, i1, i2)"."""
    ax.set_ylabel(f"output ({', '.join(_coordinates(op, 'o', 'f'))})")
    ax.set_xlabel(f"input ({', '.join(_coordinates(op, 'i', 'c'))})")


def _coordinates(op: LinearMap, letter: str, channel: str) -> tuple[str, ...]:
    """Return the names of an array's axes: a letter and a number for each axis of space, and the channel's letter."""
    if isinstance(op, ConvOperator):
        space = tuple(f"{letter}{j + 1}" for j in range(len(op.geometry.axes)))
        return op.geometry.layout.join(channel, space)
    return tuple(f"{letter}{j + 1}" for j in range(len(op.out_shape if letter == "o" else op.in_shape)))


def mark_blocks(ax: Axes, geometry: Geometry) -> None:
    """Draw lines between blocks of rows and of columns that belong to one channel or one row, and label the blocks.

    If the channels are last, they alternate from one row of the matrix to the next. Then each row has the label of its
    channel, between the matrix and the labels of the blocks, or, if that does not fit, the label of the axis says so.
    """
    d = len(geometry.axes)
    width, height = style.unit_size(ax)
    for axis, shape, channel, letter, unit, line in (
        (ax.yaxis, geometry.out_shape, "f", "o", height, ax.axhline),
        (ax.xaxis, geometry.in_shape, "c", "i", width, ax.axvline),
    ):
        style.use_integer_ticks(axis)
        names = geometry.layout.join(channel, _SPACE.get(d, tuple(f"{letter}{j + 1} =" for j in range(d))))
        # Outputs of shape (2, 4, 5) are 2 blocks of 20 rows with a thick line between them, and 8 of 5 with thin ones.
        for level in range(1, len(shape)):
            count, size = prod(shape[:level]), prod(shape[level:])
            if 1 < count <= SEPARATED and size > 1:
                for block in range(1, count):
                    line(block * size - 0.5, color=style.LINE, linewidth=1.6 / level, alpha=0.8)
        depth = 0.0
        if geometry.layout is Layout.LAST and shape[-1] > 1:
            if unit >= LINE * HEIGHT["minor"]:
                channels = [f"{channel}{j}" for j in range(shape[-1])] * prod(shape[:-1])
                depth = _label(axis, "minor", channels, 1, unit, 0.0)
                axis.remove_overlapping_locs = False  # so that a channel in the middle of a block is labelled too
            else:
                axis.set_label_text(f"{axis.get_label_text()}, {channel}0 to {channel}{shape[-1] - 1} in turn")
        # The finest blocks are labelled that are few enough and each as high as a line of text.
        line_height = LINE * HEIGHT["major"]
        counts = [prod(shape[:n]) for n in range(len(shape))]
        count = max(n for n in counts if n == 1 or (n <= SEPARATED and unit * prod(shape) >= n * line_height))
        if count > 1:
            level = counts.index(count)
            _label(axis, "major", _block_names(names[:level], shape[:level]), prod(shape) // count, unit, depth)
        else:
            axis.set_tick_params("major", pad=GAP + depth)


def _label(axis: Axis, which: Which, texts: list[str], size: int, unit: float, depth: float) -> float:
    """Write a text at each block of ``size`` rows or columns, and return the points that the texts reach outwards.

    ``depth`` are the points that other labels take between the matrix and these. Texts below columns are turned upright
    if one of them is wider than its block.
    """
    height, width = LINE * HEIGHT[which], WIDTH * HEIGHT[which] * max(map(len, texts))
    is_below = axis is axis.axes.xaxis
    is_upright = is_below and width > unit * size
    axis.set_ticks(np.arange(len(texts)) * size + (size - 1) / 2, texts, minor=which == "minor")
    axis.set_tick_params(which, length=0, pad=GAP + depth, labelsize=HEIGHT[which], rotation=90 if is_upright else 0)
    return GAP + (height if is_below and not is_upright else width)


def _block_names(names: tuple[str, ...], shape: Shape) -> list[str]:
    """Return the names of blocks, such as "c0, row 2", without the axes that have one position."""
    blocks = []
    for indices in product(*map(range, shape)):
        parts = [
            f"{name}{j}" if len(name) == 1 else f"{name} {j}"
            for name, j, size in zip(names, indices, shape, strict=True)
            if size > 1
        ]
        blocks.append(", ".join(parts))
    return blocks
