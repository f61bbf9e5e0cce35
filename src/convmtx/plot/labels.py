"""What rows and columns of a matrix are: names of the axes, and of blocks of channels and rows."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from convmtx.algebra import LinearMap
from convmtx.geometry import Geometry
from convmtx.operator import ConvOperator
from convmtx.plot import style
from convmtx.typing import Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Blocks along an axis that lines part, and that have room for a label.
PARTED, LABELLED = 24, 16
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
    """Lines between blocks of rows and of columns that belong to one channel or one row of the array, and labels."""
    d = len(geometry.axes)
    space = _SPACE.get(d, tuple(f"axis {j} at" for j in range(d)))
    for axis, shape, channel, line in (
        (ax.yaxis, geometry.out_shape, "f", ax.axhline),
        (ax.xaxis, geometry.in_shape, "c", ax.axvline),
    ):
        style.whole(axis)
        names = geometry.layout.join(channel, space)
        for level in range(1, len(shape)):
            count, size = prod(shape[:level]), prod(shape[level:])
            if 1 < count <= PARTED and size > 1:
                for at in range(1, count):
                    line(at * size - 0.5, color=style.LINE, linewidth=1.6 / level, alpha=0.8)
        level = max((n for n in range(len(shape)) if prod(shape[:n]) <= LABELLED), default=0)
        if prod(shape[:level]) > 1:
            size = prod(shape[level:])
            axis.set_ticks(
                np.arange(prod(shape[:level])) * size + (size - 1) / 2, _labels(names[:level], shape[:level])
            )
            axis.set_tick_params(length=0, rotation=90 if axis is ax.xaxis and prod(shape[:level]) > 6 else 0)


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
