"""What pictures share: axes, colours that stand out from light and from dark, and text that can be read on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError
from convmtx.extras import needed
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

#: Of taps: of middle lightness, and told apart by those who do not see red or green.
TAPS = ("#d55e00", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#3a7fc1", "#a2a336", "#8f6bc2", "#8c7a5b")
#: How near the farthest shades of these are to white and to black, of more taps.
LIGHTER, DARKER = 0.55, 0.35
#: Of entries that are sums of several taps.
FOLDED = "#8a8a8a"
#: Of numbers below zero, and above.
BELOW, ABOVE = "#3a7fc1", "#e0731a"
#: Of lines between blocks and of frames inside a picture.
LINE = "#808080"
#: Of the outline of a window.
WINDOW = "#cc79a7"
#: Behind cells that hold nothing: a trace of grey.
FAINT = (0.5, 0.5, 0.5, 0.08)
#: Luminance, from 0 to 1, on which black and white are read equally well.
LIGHT = 0.179
#: Opacity from which a colour counts, and below which the page behind it does.
FILLED = 0.4
#: Up to here scales of matplotlib can be drawn: it takes differences, and leaves margins.
TOP = 1e306


def axes(ax: Axes | None, size: tuple[float, float] = (6.4, 4.8)) -> Axes:
    """The axes to draw on: those given, or those of a new figure of pyplot, which notebooks show by themselves."""
    needed("matplotlib", "plot")
    from matplotlib.axes import Axes

    if ax is None:
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=size, layout="constrained")[1]
    remedy = "Leave it out for a new figure"
    if not isinstance(ax, Axes) or ax.name != "rectilinear":  # polar and 3-D Axes are Axes too
        got = f"ax is a {type(ax).__module__}.{type(ax).__qualname__}"
        raise ArgumentTypeError(got, "Wanted Axes of matplotlib with straight sides", remedy)
    if ax.figure is None:
        raise ArgumentError("ax was removed", "Wanted Axes of a figure", remedy)
    return ax


def settle(ax: Axes) -> None:
    """Lay a new figure out twice before it is drawn, which does so once more.

    Labels beside axes of equal aspect move when the axes have found their size, and would else be cut off.
    """
    figure = ax.figure.figure
    engine = figure.get_layout_engine()
    assert engine is not None
    for _ in range(2):
        engine.execute(figure)


def drawable(values: AnyArray) -> None:
    """Refuse numbers whose scale would overflow."""
    with np.errstate(over="ignore"):
        top = float(np.abs(values).max(initial=0))
    if top > TOP:
        got, wanted = f"there are numbers of up to {top:.3g}", f"Pictures have scales of up to {TOP:g}"
        raise ArgumentError(got, wanted, "Scale the kernel")


def title(ax: Axes, text: str) -> None:
    """A title above whatever is written above the topmost tiles."""
    ax.set_title(text, pad=6.0 if ax.axison else 16.0)


def whole(*sides: Any) -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    for side in sides:
        side.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def signed() -> Colormap:
    """Of numbers from -1 to 1: the nearer to zero, the more of the background is seen."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    ends = [(0.0, to_rgba(BELOW)), (0.5, to_rgba(BELOW, 0.12)), (0.5, to_rgba(ABOVE, 0.12)), (1.0, to_rgba(ABOVE))]
    return LinearSegmentedColormap.from_list("signed", ends)


def density() -> Colormap:
    """Of numbers from 0 to 1: the more, the less of the background is seen."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    ends = [(0.0, to_rgba(BELOW, 0.35)), (0.5, to_rgba(BELOW)), (1.0, to_rgba(ABOVE))]
    return LinearSegmentedColormap.from_list("density", ends)


def tap_colors(count: int) -> AnyArray:
    """A colour (count, 4) for each tap: those of `TAPS`, then lighter and darker ones of them in turn."""
    from matplotlib.colors import to_rgba_array

    turn = np.arange(count)[:, None] // len(TAPS)
    step = (turn + 1) // 2
    part = np.where(turn % 2, LIGHTER, DARKER) * step / max(step.max(initial=0), 1)
    return (1 - part) * np.resize(to_rgba_array(TAPS), (count, 4)) + part * np.where(turn % 2, 1.0, (0, 0, 0, 1))


def ink(ax: Axes, color: Any) -> str:
    """Black or white, whichever is read on this colour on these axes; on a page that shows through as all text."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgba

    *rgb, alpha = to_rgba(color)
    *behind, solid = to_rgba(ax.figure.figure.get_facecolor())
    if alpha + solid < FILLED:
        return rcParams["text.color"]
    mixed = alpha * np.array(rgb) + (1 - alpha) * np.array(behind if solid else to_rgba(LINE)[:3])
    linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)  # sRGB
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > LIGHT else "white"


def written(value: Any) -> str:
    """A number in three digits."""
    if isinstance(value, complex | np.complexfloating):
        return f"{value.real:.3g}{value.imag:+.3g}j"
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def room(ax: Axes) -> tuple[float, float]:
    """Points that one unit takes across and down, about: a layout may still move the axes."""
    wide, high = (abs(end - start) for start, end in (ax.get_xlim(), ax.get_ylim()))
    width, height = (size * 72 / ax.figure.dpi for size in (ax.bbox.width / wide, ax.bbox.height / high))
    return (width, height) if ax.get_aspect() == "auto" else (min(width, height),) * 2


def fitting(ax: Axes, texts: list[str]) -> float:
    """Points in which texts fit into cells of one unit."""
    width, height = room(ax)
    return min(0.6 * height, width / (0.68 * max(map(len, texts), default=1)), 11.0)


def write(ax: Axes, places: Iterable[Any], values: AnyArray, colors: AnyArray, least: float) -> bool:
    """Numbers into cells of these colours; none, and False, where they would be smaller than ``least`` points."""
    texts = [written(value) for value in values.tolist()]
    size = fitting(ax, texts)
    if size < least:
        return False
    for (x, y), text, color in zip(places, texts, colors, strict=True):
        ax.text(x, y, text, ha="center", va="center", fontsize=max(size, 2.0), color=ink(ax, color))
    return True
