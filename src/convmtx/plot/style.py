"""Style of all pictures: axes, colours that are seen on light and on dark pages, and text that is read on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError
from convmtx.extras import import_extra
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

#: Colours of taps, of middle lightness. People who do not see red or green can tell them apart.
TAPS = ("#d55e00", "#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#3a7fc1", "#a2a336", "#8f6bc2", "#8c7a5b")
#: Parts of white in the lightest and of black in the darkest shades of these, which the tenth and further taps have.
LIGHTER, DARKER = 0.55, 0.35
#: Colour of entries that are sums of several taps.
FOLDED = "#8a8a8a"
#: Colours of numbers below and above zero.
BELOW, ABOVE = "#3a7fc1", "#e0731a"
#: Colour of lines between blocks, and of frames inside a picture.
LINE = "#808080"
#: Colour of the outline of a window.
WINDOW = "#cc79a7"
#: Colour behind empty cells: a trace of grey.
FAINT = (0.5, 0.5, 0.5, 0.08)
#: Luminance, from 0 to 1, on which black and white have the same contrast: (L + 0.05)^2 = 0.05 * 1.05.
LIGHT = 0.179
#: Opacities of a colour and of the page behind it, added, below which text has the colour of the page's other text.
FILLED = 0.4
#: Largest number that matplotlib can scale. It takes differences and adds margins, which overflow beyond.
LARGEST = 1e306


def prepare_axes(ax: Axes | None, size: tuple[float, float] = (6.4, 4.8)) -> Axes:
    """Return the axes if they can be drawn on, or for None those of a new figure of pyplot, of a size in inches."""
    import_extra("matplotlib", "plot")
    from matplotlib.axes import Axes

    if ax is None:
        import matplotlib.pyplot as plt

        return plt.subplots(figsize=size, layout="constrained")[1]
    remedy = "Leave it out for a new figure"
    if not isinstance(ax, Axes) or ax.name != "rectilinear":  # polar and 3-D Axes are Axes too
        got = f"ax is a {type(ax).__module__}.{type(ax).__qualname__}"
        raise ArgumentTypeError(got, "Expected Axes of matplotlib with straight sides", remedy)
    if ax.figure is None:
        raise ArgumentError("ax was removed", "Expected Axes of a figure", remedy)
    return ax


def settle_layout(ax: Axes) -> None:
    """Lay a new figure out twice, so that no label is cut off.

    Labels beside axes of equal aspect move when the axes get their final size. Drawing lays the figure out once more.
    """
    figure = ax.figure.figure
    engine = figure.get_layout_engine()
    assert engine is not None
    for _ in range(2):
        engine.execute(figure)


def require_drawable(values: AnyArray) -> None:
    """Refuse numbers for which matplotlib's scale would overflow."""
    with np.errstate(over="ignore"):
        top = float(np.abs(values).max(initial=0))
    if top > LARGEST:
        got, expected = f"there are numbers of up to {top:.3g}", f"Pictures have scales of up to {LARGEST:g}"
        raise ArgumentError(got, expected, "Scale the kernel")


def set_title(ax: Axes, text: str) -> None:
    """Write a title, above the names of the topmost tiles if there are tiles."""
    ax.set_title(text, pad=6.0 if ax.axison else 16.0)


def use_integer_ticks(*sides: Any) -> None:
    """Put the ticks of axes at integers only."""
    from matplotlib.ticker import MaxNLocator

    for side in sides:
        side.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def signed_colormap() -> Colormap:
    """Return the colours of numbers from -1 to 1; the nearer to zero, the more transparent they are."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    ends = [(0.0, to_rgba(BELOW)), (0.5, to_rgba(BELOW, 0.12)), (0.5, to_rgba(ABOVE, 0.12)), (1.0, to_rgba(ABOVE))]
    return LinearSegmentedColormap.from_list("signed", ends)


def density_colormap() -> Colormap:
    """Return the colours of numbers from 0 to 1; the larger, the less transparent they are."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgba

    ends = [(0.0, to_rgba(BELOW, 0.35)), (0.5, to_rgba(BELOW)), (1.0, to_rgba(ABOVE))]
    return LinearSegmentedColormap.from_list("density", ends)


def tap_colors(count: int) -> AnyArray:
    """Return a colour (count, 4) for each tap: those of `TAPS`, then lighter and darker shades of them in turn."""
    from matplotlib.colors import to_rgba_array

    turn = np.arange(count)[:, None] // len(TAPS)
    step = (turn + 1) // 2
    part = np.where(turn % 2, LIGHTER, DARKER) * step / max(step.max(initial=0), 1)
    return (1 - part) * np.resize(to_rgba_array(TAPS), (count, 4)) + part * np.where(turn % 2, 1.0, (0, 0, 0, 1))


def text_color(ax: Axes, color: Any) -> str:
    """Return black or white, whichever is read better on a colour; the usual colour of text on a transparent one."""
    from matplotlib import rcParams
    from matplotlib.colors import to_rgba

    *rgb, alpha = to_rgba(color)
    *behind, solid = to_rgba(ax.figure.figure.get_facecolor())
    if alpha + solid < FILLED:
        return rcParams["text.color"]
    mixed = alpha * np.array(rgb) + (1 - alpha) * np.array(behind if solid else to_rgba(LINE)[:3])
    linear = np.where(mixed <= 0.04045, mixed / 12.92, ((mixed + 0.055) / 1.055) ** 2.4)  # sRGB
    return "black" if linear @ (0.2126, 0.7152, 0.0722) > LIGHT else "white"


def format_number(value: Any) -> str:
    """Return a number as text, with three digits; an integer with all."""
    if isinstance(value, complex | np.complexfloating):
        return f"{value.real:.3g}{value.imag:+.3g}j"
    return f"{value:.3g}" if isinstance(value, float | np.floating) else str(value)


def unit_size(ax: Axes) -> tuple[float, float]:
    """Return the width and height of one unit of the axes in points, roughly: a layout may still resize the axes."""
    columns, rows = (abs(end - start) for start, end in (ax.get_xlim(), ax.get_ylim()))
    width, height = (size * 72 / ax.figure.dpi for size in (ax.bbox.width / columns, ax.bbox.height / rows))
    return (width, height) if ax.get_aspect() == "auto" else (min(width, height),) * 2


def fitting_size(ax: Axes, texts: list[str]) -> float:
    """Return the size of letters in points, at most 11, in which texts fit into cells of one unit."""
    width, height = unit_size(ax)
    return min(0.6 * height, width / (0.68 * max(map(len, texts), default=1)), 11.0)


def write_values(ax: Axes, positions: Iterable[Any], values: AnyArray, colors: AnyArray, least: float) -> bool:
    """Write numbers into cells of these colours; write none and return False if letters are below ``least`` points."""
    texts = [format_number(value) for value in values.tolist()]
    size = fitting_size(ax, texts)
    if size < least:
        return False
    for (x, y), text, color in zip(positions, texts, colors, strict=True):
        ax.text(x, y, text, ha="center", va="center", fontsize=max(size, 2.0), color=text_color(ax, color))
    return True
