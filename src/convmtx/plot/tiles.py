"""Small images side by side on one axes: a tile for each channel, pair of channels or slice."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.plot import style
from convmtx.typing import AnyArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Tiles that have room for names, and numbers that have room to be written.
NAMED, WRITTEN = 48, 100
#: Points that numbers have at least, if they are written, and names of tiles.
READ, LEAST = 5.0, 3.5
#: How many times as high as wide a picture of square cells is at most, or as wide as high.
THIN = 20
#: Cells along a side up to which they are drawn as an image; of more, single ones would not be seen.
SEEN = 160


@dataclass(frozen=True, slots=True)
class Tiles:
    """A grid of tiles of equal size, with gaps between."""

    rows: int
    columns: int
    height: int
    width: int

    @classmethod
    def of(cls, count: int, height: int, width: int) -> Tiles:
        """A grid for so many tiles that comes out about as wide as high, and a row where it is short."""
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
        """Row and column of the picture where a tile begins."""
        return tile // self.columns * (self.height + self.gap), tile % self.columns * (self.width + self.gap)


def draw(
    ax: Axes, tiles: Tiles, names: list[str], cells: tuple[IntArray, IntArray, IntArray], values: AnyArray,
    origin: tuple[int, int] = (0, 0),
) -> None:  # fmt: skip
    """Values at cells (tile, y, x), coloured; of complex ones magnitudes. A lone tile begins at ``origin``."""
    from matplotlib.colors import Normalize

    tile, y, x = cells
    shown = np.ma.masked_invalid(np.abs(values) if np.iscomplexobj(values) else values.astype(float))
    top = float(np.abs(shown.compressed()).max(initial=0)) or 1.0
    look: dict[str, Any] = {"cmap": style.signed(), "norm": Normalize(-top, top)}
    (down, across), (high, wide) = tiles.corner(tile), tiles.shape
    down, across = down + y, across + x
    left, upper = origin[1] - 0.5, origin[0] - 0.5
    if max(tiles.shape) <= SEEN:
        image = np.full(tiles.shape, np.nan)
        image[down, across] = shown.filled(np.nan)
        place = (left, left + wide, upper + high, upper)
        drawn: Any = ax.imshow(image, interpolation="nearest", extent=place, **look)
    else:
        drawn = ax.scatter(across + origin[1], down + origin[0], c=shown, s=12, marker="s", **look)
    ax.grid(visible=False)
    aspect = "equal" if max(tiles.shape) <= THIN * min(tiles.shape) else "auto"
    ax.set(aspect=aspect, xlim=(left, left + wide), ylim=(upper + high, upper), facecolor=style.FAINT)
    style.whole(ax.xaxis, ax.yaxis)
    if len(names) > 1:
        _frames(ax, tiles, names)
    places = zip(across + origin[1], down + origin[0], strict=True)
    if not (0 < values.size <= WRITTEN and style.write(ax, places, values, drawn.to_rgba(shown), READ)):
        ax.figure.colorbar(drawn, ax=ax, shrink=0.8, label="magnitude" if np.iscomplexobj(values) else "weight")


def _frames(ax: Axes, tiles: Tiles, names: list[str]) -> None:
    """Tiles are outlined, named where there is room, and stand on nothing."""
    from matplotlib.patches import Rectangle

    ax.set_axis_off()
    size = min(style.room(ax)[0] * (tiles.width + tiles.gap) / (0.6 * max(map(len, names))), 7.0)
    named = len(names) <= NAMED and size >= LEAST
    look: dict[str, Any] = {"fc": style.FAINT, "ec": style.LINE, "lw": 0.8, "zorder": 0, "clip_on": False}
    near: dict[str, Any] = {"xytext": (1, 1), "textcoords": "offset points", "annotation_clip": False}
    for j, name in enumerate(names):
        down, across = tiles.corner(j)
        at = across - 0.5, down - 0.5
        ax.add_patch(Rectangle(at, tiles.width, tiles.height, **look))
        if named:
            ax.annotate(name, at, fontsize=size, va="bottom", **near)


def stems(ax: Axes, places: IntArray, values: AnyArray) -> None:
    """Values along one axis; magnitudes where they are complex."""
    shown = np.abs(values) if np.iscomplexobj(values) else values
    finite = np.isfinite(shown)
    for place, value in zip(places[~finite][:WRITTEN], shown[~finite][:WRITTEN], strict=True):
        ax.annotate(style.written(value), (place, 0), ha="center", va="bottom", fontsize=9)
    at, high = places[finite], shown[finite]
    colors = np.where(high < 0, style.BELOW, style.ABOVE).tolist()
    ax.axhline(0, color=style.LINE, linewidth=0.8)
    if len(places) <= WRITTEN:
        ax.vlines(at, 0, high, colors=colors, linewidth=2)
    ax.scatter(at, high, c=colors, s=24 if len(places) <= WRITTEN else 4, zorder=3)
    ax.update_datalim([(place, 0.0) for place in places])
    ax.autoscale_view()
    ax.set_ylabel("magnitude" if np.iscomplexobj(values) else "weight")
    style.whole(ax.xaxis)
