"""One row of the matrix as a picture: what one output reads of the input."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, floor, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx.arguments import listed
from convmtx.errors import ArgumentTypeError, RowIndexError, door, shown
from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.plot import style, tiles
from convmtx.plot.subject import numbers
from convmtx.plot.tiles import Tiles
from convmtx.typing import AnyArray, IntArray, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Positions along an axis up to which all are drawn; of more, those around the window. Of many channels fewer.
WHOLE, NEAR = 48, 12


@dataclass(frozen=True, slots=True, eq=False)
class RowData:
    """The numbers of `row`: the entries of one row of the matrix, by their coordinates on the input."""

    #: Coordinates of the output.
    output: Shape
    #: (n, axes of the input), in the order of the row.
    coordinates: IntArray
    values: AnyArray
    in_shape: Shape
    #: First and last position that the window covers along each spatial axis, of the input as it is continued beyond
    #: its ends; fractions lie on zeros between inputs. None for maps that are no convolution.
    window: tuple[tuple[float, float], ...] | None

    @property
    def weights(self) -> AnyArray:
        """The row as an array of the input's shape: ``(weights * x).sum() == op(x)[output]``."""
        size = prod(self.in_shape) * self.values.dtype.itemsize
        memory.require("weights", {"weights": size})
        found = np.zeros(self.in_shape, self.values.dtype)
        found[tuple(self.coordinates.T)] = self.values
        return found


@door("plot.row")
def row_data(op: LinearMap, o: int | Shape | IntArray) -> RowData:
    """The numbers of `row`.

    Parameters
    ----------
    op : LinearMap
        Any map whose rows can be had.
    o : int, tuple of int or array of int
        The output: its number in the flattened array, or its coordinates. Negative ones count from the end.

    Returns
    -------
    RowData
        The row as coordinates and values; ``weights`` is an array of the input's shape.

    Raises
    ------
    RowIndexError
        For an output that there is not. An IndexError.
    TypeError
        Where an argument is none of those.

    Notes
    -----
    Of a convolution no other row is built.

    Examples
    --------
    >>> import convmtx as cm
    >>> found = cm.plot.row_data(cm.conv([[1, 2], [3, 4]], (3, 3)), (1, 0))
    >>> found.weights
    array([[0, 0, 0],
           [1, 2, 0],
           [3, 4, 0]])
    """
    subject = numbers(op)
    output = _output(subject.out_shape, o)
    flat = int(np.ravel_multi_index(output, subject.out_shape))
    found: Any = subject.to_sparse("csr", rows=[flat])
    at = np.stack(np.unravel_index(found.indices, subject.in_shape), axis=1)
    window = _window(subject.geometry, output) if isinstance(subject, ConvOperator) else None
    return RowData(output, at, found.data, subject.in_shape, window)


def _output(shape: Shape, o: Any) -> Shape:
    """Coordinates of an output."""
    given = listed("o", o)
    single = given is None
    given = [o.item() if isinstance(o, np.ndarray) else o] if given is None else given
    if not all(isinstance(each, int | np.integer) and not isinstance(each, bool) for each in given):
        wanted = f"Wanted the number of an output or its {len(shape)} coordinates"
        raise ArgumentTypeError(f"o={shown(o)}", wanted, "Pass whole numbers, as with o=0")
    sizes = (prod(shape),) if single else shape
    if len(given) != len(sizes) or not all(-n <= each < n for each, n in zip(given, sizes, strict=True)):
        wanted = f"Outputs have shape {shape}, {prod(shape)} of them"
        raise RowIndexError(f"o={shown(o)}", wanted, "Pass one of them; they count from 0")
    whole = tuple(int(each) % n for each, n in zip(given, sizes, strict=True))
    return tuple(int(j) for j in np.unravel_index(whole[0], shape)) if single else whole


def _window(geometry: Geometry, output: Shape) -> tuple[tuple[float, float], ...]:
    found = []
    for axis, o in zip(geometry.axes, _spatial(geometry, output), strict=True):
        first = o * axis.stride - axis.lo
        found.append((first / axis.input_dilation, (first + axis.span - 1) / axis.input_dilation))
    return tuple(found)


def _spatial(geometry: Geometry, whole: Shape) -> Shape:
    """Coordinates without the channel's."""
    at = geometry.layout.join(True, (False,) * len(geometry.axes))
    return tuple(j for j, channel in zip(whole, at, strict=True) if not channel)


@door("plot.row")
def row(op: LinearMap, o: int | Shape | IntArray, ax: Axes | None = None) -> Axes:
    """What one output reads: its row of the matrix, drawn on the input, with the window outlined.

    One axis is drawn as stems, two as an image, more as slices side by side; each channel that is read has its own
    tile. Of an input with more than 48 positions along an axis the part around the window is drawn.

    Parameters
    ----------
    op : LinearMap
        Any map whose rows can be had.
    o : int, tuple of int or array of int
        The output: its number in the flattened array, or its coordinates. Negative ones count from the end.
    ax : matplotlib.axes.Axes, optional
        Where to draw, best in a figure with ``layout="constrained"``, which leaves room for labels; without it in a new
        figure of pyplot, which notebooks show and `matplotlib.pyplot.close` closes.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure.savefig(path)`` writes it to a file.

    Raises
    ------
    RowIndexError
        For an output that there is not. An IndexError.
    MissingExtraError
        Without matplotlib. An ImportError.
    ValueError
        Where weights pass 1e306, which have no scale.
    TypeError
        Where an argument is none of those.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.row(cm.conv([[1, 2], [3, 4]], (5, 5)), (1, 2))
    >>> ax.get_title()
    'output (1, 2) reads 4 of 25 inputs'
    """
    data = row_data(op, o)
    style.drawable(data.values[np.isfinite(data.values)])
    ax = style.axes(ax)
    view = _view(op, data)
    if view.channels is None and len(view.ranges) == 1:
        tiles.stems(ax, view.places[:, 0], data.values)
        ax.set_xlim(view.ranges[0].start - 0.5, view.ranges[0].stop - 0.5)
    else:
        _images(ax, view, data)
    _outline(ax, view, data)
    style.title(ax, f"output {_told(data.output)} reads {data.values.size} of {prod(data.in_shape)} inputs")
    return ax


@dataclass(frozen=True, slots=True)
class _View:
    """The part of the input that is drawn."""

    #: Channels that are read, ascending; None where there is one at most.
    channels: IntArray | None
    #: Of each entry, which of these, and its coordinates in space.
    tile: IntArray
    places: IntArray
    ranges: list[range]

    @property
    def slices(self) -> list[Shape]:
        """Coordinates along all axes but the last two."""
        return list(product(*self.ranges[:-2]))


def _view(op: LinearMap, data: RowData) -> _View:
    geometry = op.geometry if isinstance(op, ConvOperator) else None
    channels, tile = None, np.zeros(len(data.values), np.int64)
    places, sizes = data.coordinates, data.in_shape
    if geometry is not None and geometry.layout is not Layout.PLAIN:
        at = geometry.layout.join(0, tuple(range(1, places.shape[1]))).index(0)
        found, tile = np.unique(places[:, at], return_inverse=True)
        channels = found if found.size > 1 else None
        places, sizes = np.delete(places, at, axis=1), sizes[:at] + sizes[at + 1 :]
    most = WHOLE if tile.max(initial=0) < 4 else NEAR
    ranges = []
    for j, size in enumerate(sizes):
        window = data.window[j] if data.window else None
        ranges.append(_seen(size, places[:, j], window, most if j >= len(sizes) - 2 else 1))
    return _View(channels, tile, places, ranges)


def _seen(size: int, places: IntArray, window: tuple[float, float] | None, most: int) -> range:
    """Positions that are drawn along one axis: all, or the window, what it reads and a margin."""
    if size <= most:
        return range(size)
    inside = [] if window is None else np.clip(window, 0, size - 1).tolist()
    every = [*inside, *places[:1], *places[-1:], *([places.min(), places.max()] if places.size else [])] or [0]
    first, last = floor(min(every)), ceil(max(every))
    margin = 0 if most == 1 else max(2, (last - first) // 2)
    return range(max(first - margin, 0), min(last + margin + 1, size))


def _images(ax: Axes, view: _View, data: RowData) -> None:
    """Tiles: channels by slices, or for one axis channels below each other."""
    *_, across = view.ranges
    x = view.places[:, -1] - across.start
    if len(view.ranges) == 1:
        assert view.channels is not None
        grid = Tiles(1, 1, view.channels.size, len(across))
        tiles.draw(ax, grid, [""], (np.zeros_like(x), view.tile, x), data.values, (0, across.start))
        ax.set(ylabel="channel", xlabel="input i1", aspect="auto")
        ax.set_yticks(range(view.channels.size), [f"c{c}" for c in view.channels])
        return
    down = view.ranges[-2]
    lead = [len(each) for each in view.ranges[:-2]]
    at = view.places[:, :-2] - [each.start for each in view.ranges[:-2]]
    slices = np.ravel_multi_index(tuple(at.T), lead) if lead else np.zeros_like(x)
    channels = [None] if view.channels is None else view.channels.tolist()
    names = [_name(c, at) for c in channels for at in view.slices]
    grid = Tiles.of(len(names), len(down), len(across))
    origin = (down.start, across.start) if len(names) == 1 else (0, 0)
    cells = (view.tile * len(view.slices) + slices, view.places[:, -2] - down.start, x)
    tiles.draw(ax, grid, names, cells, data.values, origin)
    if len(names) == 1:
        ax.set(ylabel="input i1", xlabel="input i2")


def _name(channel: int | None, at: Shape) -> str:
    parts = [] if channel is None else [f"c{channel}"]
    return ", ".join(parts + [f"slice {_told(at)}"] * bool(at))


def _told(at: Shape) -> str:
    return str(at[0]) if len(at) == 1 else f"({', '.join(map(str, at))})"


def _outline(ax: Axes, view: _View, data: RowData) -> None:
    """The window, beyond the ends of the input too where it is drawn on one tile."""
    from matplotlib.patches import Rectangle

    if data.window is None:
        return
    left, right = data.window[-1][0] - 0.5, data.window[-1][1] + 0.5
    look: dict[str, Any] = {"fill": False, "ec": style.WINDOW, "lw": 1.5, "ls": "--"}
    if len(view.ranges) == 1:
        ax.axvspan(left, right, **look)
        ax.set_xlim(min(ax.get_xlim()[0], left - 0.5), max(ax.get_xlim()[1], right + 0.5))
        return
    upper, lower = data.window[-2][0] - 0.5, data.window[-2][1] + 0.5
    down, across = view.ranges[-2:]
    count = len(view.slices) * (1 if view.channels is None else view.channels.size)
    if count == 1:
        ax.add_patch(Rectangle((left, upper), right - left, lower - upper, **look))
        ax.set_xlim(min(across.start - 0.5, left - 0.5), max(across.stop - 0.5, right + 0.5))
        ax.set_ylim(max(down.stop - 0.5, lower + 0.5), min(down.start - 0.5, upper - 0.5))
        return
    left, right = np.clip((left - across.start, right - across.start), -0.5, len(across) - 0.5)
    upper, lower = np.clip((upper - down.start, lower - down.start), -0.5, len(down) - 0.5)
    grid = Tiles.of(count, len(down), len(across))
    for tile in range(count):
        y, x = grid.corner(tile)
        ax.add_patch(Rectangle((x + left, y + upper), right - left, lower - upper, **look))
