"""Images side by side on one axes: a tile for each channel, pair of channels or slice."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.plot import style
from convmtx.typing import AnyArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Tiles up to which they are named.
NAMED = 48
#: Values up to which they are written into their cells, instead of a colour bar beside them.
WRITTEN = 100
#: Smallest size of letters in points: of values, and of names of tiles. Smaller ones are not written.
LEAST_VALUE, LEAST_NAME = 5.0, 3.5
#: Height over width of a picture, or width over height, up to which its cells are square.
THIN = 20
#: Cells along a side up to which they are drawn as an image. With more, a single cell would be too small to be seen, so
#: each stored value is a mark.
SEEN = 160


@dataclass(frozen=True, slots=True)
class Tiles:
    """Grid of tiles of equal size, with gaps between."""

    #: Tiles below each other, and beside each other.
    rows: int
    columns: int
    #: Cells of a tile below each other, and beside each other.
    height: int
    width: int

    @classmethod
    def of(cls, count: int, height: int, width: int) -> Tiles:
        """Return a grid of ``count`` tiles that is about as wide as high; up to 4 tiles are one row."""
        columns = count if count <= 4 else min(count, max(1, ceil(sqrt(count * (height + 1) / (width + 1)))))
        return cls(ceil(count / columns), columns, height, width)

    @property
    def gap(self) -> int:
        """Cells between tiles."""
        return min(max(1, (self.height + 1) // 3), 4)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells of the picture, gaps included."""
        gap = self.gap
        return self.rows * (self.height + gap) - gap, self.columns * (self.width + gap) - gap

    def corner(self, tile: Any) -> tuple[Any, Any]:
        """Return the row and column of the picture where a tile begins."""
        return tile // self.columns * (self.height + self.gap), tile % self.columns * (self.width + self.gap)


def draw(
    ax: Axes, tiles: Tiles, names: list[str], cells: tuple[IntArray, IntArray, IntArray], values: AnyArray,
    origin: tuple[int, int] = (0, 0),
) -> None:  # fmt: skip
    """Draw values at cells (tile, y, x), complex ones by magnitude; the picture begins at ``origin`` (y, x)."""
    from matplotlib.colors import Normalize

    tile, y, x = cells
    numbers = np.ma.masked_invalid(np.abs(values) if np.iscomplexobj(values) else values.astype(float))
    top = float(np.abs(numbers.compressed()).max(initial=0)) or 1.0
    look: dict[str, Any] = {"cmap": style.signed_colormap(), "norm": Normalize(-top, top)}
    (first_row, first_column), (height, width) = tiles.corner(tile), tiles.shape
    rows, columns = first_row + y, first_column + x
    left, upper = origin[1] - 0.5, origin[0] - 0.5
    if max(tiles.shape) <= SEEN:
        image = np.full(tiles.shape, np.nan)
        image[rows, columns] = numbers.filled(np.nan)
        extent = (left, left + width, upper + height, upper)
        picture: Any = ax.imshow(image, interpolation="nearest", extent=extent, **look)
    else:
        picture = ax.scatter(columns + origin[1], rows + origin[0], c=numbers, s=12, marker="s", **look)
    ax.grid(visible=False)
    aspect = "equal" if max(tiles.shape) <= THIN * min(tiles.shape) else "auto"
    ax.set(aspect=aspect, xlim=(left, left + width), ylim=(upper + height, upper), facecolor=style.FAINT)
    style.use_integer_ticks(ax.xaxis, ax.yaxis)
    if len(names) > 1:
        _draw_frames(ax, tiles, names)
    positions, colors = zip(columns + origin[1], rows + origin[0], strict=True), picture.to_rgba(numbers)
    if not (0 < values.size <= WRITTEN and style.write_values(ax, positions, values, colors, LEAST_VALUE)):
        ax.figure.colorbar(picture, ax=ax, shrink=0.8, label="magnitude" if np.iscomplexobj(values) else "weight")


def _draw_frames(ax: Axes, tiles: Tiles, names: list[str]) -> None:
    """Draw a frame around each tile instead of the axes, and its name if all names fit."""
    from matplotlib.patches import Rectangle

    ax.set_axis_off()
    size = min(style.unit_size(ax)[0] * (tiles.width + tiles.gap) / (0.6 * max(map(len, names))), 7.0)
    are_named = len(names) <= NAMED and size >= LEAST_NAME
    look: dict[str, Any] = {"fc": style.FAINT, "ec": style.LINE, "lw": 0.8, "zorder": 0, "clip_on": False}
    near: dict[str, Any] = {"xytext": (1, 1), "textcoords": "offset points", "annotation_clip": False}
    for j, name in enumerate(names):
        row, column = tiles.corner(j)
        corner = column - 0.5, row - 0.5
        ax.add_patch(Rectangle(corner, tiles.width, tiles.height, **look))
        if are_named:
            ax.annotate(name, corner, fontsize=size, va="bottom", **near)


def draw_stems(ax: Axes, positions: IntArray, values: AnyArray) -> None:
    """Draw values along one axis, complex ones by magnitude; write those that are not finite at zero."""
    heights = np.abs(values) if np.iscomplexobj(values) else values
    finite = np.isfinite(heights)
    for position, value in zip(positions[~finite][:WRITTEN], heights[~finite][:WRITTEN], strict=True):
        ax.annotate(style.format_number(value), (position, 0), ha="center", va="bottom", fontsize=9)
    x, y = positions[finite], heights[finite]
    colors = np.where(y < 0, style.BELOW, style.ABOVE).tolist()
    ax.axhline(0, color=style.LINE, linewidth=0.8)
    if len(positions) <= WRITTEN:
        ax.vlines(x, 0, y, colors=colors, linewidth=2)
    ax.scatter(x, y, c=colors, s=24 if len(positions) <= WRITTEN else 4, zorder=3)
    ax.update_datalim([(position, 0.0) for position in positions])
    ax.autoscale_view()
    ax.set_ylabel("magnitude" if np.iscomplexobj(values) else "weight")
    style.use_integer_ticks(ax.xaxis)
