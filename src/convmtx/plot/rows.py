"""Rows of matrices as pictures: which inputs one output reads, and with which weights."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import ceil, floor, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx.arguments import as_list
from convmtx.errors import ArgumentTypeError, RowIndexError, door, shown
from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.plot import style, tiles
from convmtx.plot.numpy_maps import to_numpy
from convmtx.plot.tiles import Tiles
from convmtx.structure.double import as_map
from convmtx.typing import AnyArray, IntArray, Shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Positions along an axis up to which all are drawn, with at most 4 channels and with more. Of a longer axis the window
#: is drawn, and some positions around it.
WHOLE, WHOLE_OF_MANY = 48, 12


@dataclass(frozen=True, slots=True, eq=False)
class RowData:
    """Numbers that `row` shows: the entries of one row of the matrix, by their coordinates on the input."""

    #: Coordinates of the output.
    output: Shape
    #: Coordinates on the input of each entry, (n, axes of the input), in the order of the row.
    coordinates: IntArray
    #: Entries (n,).
    values: AnyArray
    #: Shape of the input.
    in_shape: Shape
    #: First and last position that the window covers along each spatial axis. They may lie outside the input, which the
    #: boundary continues, and are fractions on the zeros between stretched inputs. None for a map that is not a
    #: convolution.
    window: tuple[tuple[float, float], ...] | None

    @property
    def weights(self) -> AnyArray:
        """Entries as an array of the input's shape: ``(weights * x).sum() == op(x)[output]``."""
        size = prod(self.in_shape) * self.values.dtype.itemsize
        memory.require("weights", {"weights": size})
        array = np.zeros(self.in_shape, self.values.dtype)
        array[tuple(self.coordinates.T)] = self.values
        return array


@door("plot.row_data")
def row_data(op: LinearMap, o: int | Shape | IntArray) -> RowData:
    """Return the inputs that one output reads and their weights: one row of the matrix.

    Parameters
    ----------
    op : LinearMap
        Any map that has rows.
    o : int, tuple of int or array of int
        The output: its number in the flattened array, or its coordinates. Negative numbers count from the end.

    Returns
    -------
    RowData
        Coordinates and values of the row. Its ``weights`` are an array of the input's shape.

    Raises
    ------
    RowIndexError
        If there is no such output. This is an IndexError.
    TypeError
        If an argument is invalid.

    Notes
    -----
    The other rows of a convolution are not built.

    Examples
    --------
    >>> import convmtx as cm
    >>> data = cm.plot.row_data(cm.conv([[1, 2], [3, 4]], (3, 3)), (1, 0))
    >>> data.weights
    array([[0, 0, 0],
           [1, 2, 0],
           [3, 4, 0]])
    """
    op = to_numpy(op)
    output = _output_coordinates(op.out_shape, o)
    number = int(np.ravel_multi_index(output, op.out_shape))
    entries: Any = op.to_sparse("csr", rows=[number])
    coordinates = np.stack(np.unravel_index(entries.indices, op.in_shape), axis=1)
    window = _window(op.geometry, output) if isinstance(op, ConvOperator) else None
    return RowData(output, coordinates, entries.data, op.in_shape, window)


def _output_coordinates(shape: Shape, o: Any) -> Shape:
    """Return the coordinates of an output from the argument ``o``, its number or its coordinates."""
    indices = as_list("o", o)
    is_number = indices is None
    indices = [o.item() if isinstance(o, np.ndarray) else o] if indices is None else indices
    if not all(isinstance(index, int | np.integer) and not isinstance(index, bool) for index in indices):
        expected = f"Expected the number of an output or its {len(shape)} coordinates"
        raise ArgumentTypeError(f"o={shown(o)}", expected, "Pass whole numbers, for example o=0")
    sizes = (prod(shape),) if is_number else shape
    if len(indices) != len(sizes) or not all(-n <= index < n for index, n in zip(indices, sizes, strict=True)):
        expected = f"Outputs have shape {shape}, {prod(shape)} of them"
        raise RowIndexError(f"o={shown(o)}", expected, "Pass one of them; they count from 0")
    positive = tuple(int(index) % n for index, n in zip(indices, sizes, strict=True))
    return tuple(int(j) for j in np.unravel_index(positive[0], shape)) if is_number else positive


def _window(geometry: Geometry, output: Shape) -> tuple[tuple[float, float], ...]:
    """Return the first and last position that an output's window covers along each axis, in positions of the input."""
    ends = []
    for axis, o in zip(geometry.axes, _spatial(geometry, output), strict=True):
        first = o * axis.stride - axis.lo
        ends.append((first / axis.input_dilation, (first + axis.span - 1) / axis.input_dilation))
    return tuple(ends)


def _spatial(geometry: Geometry, coordinates: Shape) -> Shape:
    """Return coordinates without the channel."""
    is_channel = geometry.layout.join(True, (False,) * len(geometry.axes))
    return tuple(j for j, skipped in zip(coordinates, is_channel, strict=True) if not skipped)


@door("plot.row")
def row(op: LinearMap, o: int | Shape | IntArray, ax: Axes | None = None) -> Axes:
    """Draw the inputs that one output reads and their weights, with the outline of its window.

    One axis is drawn as stems, two as an image, more as slices side by side. Each channel that is read has its own
    tile. If the input has more than 48 positions along an axis, only the part around the window is drawn.

    Parameters
    ----------
    op : LinearMap
        Any map that has rows.
    o : int, tuple of int or array of int
        The output: its number in the flattened array, or its coordinates. Negative numbers count from the end.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. A figure with ``layout="constrained"`` leaves room for labels. The default is a new figure of
        pyplot, which notebooks show and `matplotlib.pyplot.close` closes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; ``ax.figure.savefig(path)`` writes the picture to a file.

    Raises
    ------
    RowIndexError
        If there is no such output. This is an IndexError.
    MissingExtraError
        If matplotlib is not installed. This is an ImportError.
    ValueError
        If weights are larger than 1e306, for which matplotlib has no scale.
    TypeError
        If an argument is invalid.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.row(cm.conv([[1, 2], [3, 4]], (5, 5)), (1, 2))
    >>> ax.get_title()
    'output (1, 2) reads 4 of 25 inputs'
    """
    op = as_map(op)
    data = row_data(op, o)
    style.require_drawable(data.values[np.isfinite(data.values)])
    ax = style.prepare_axes(ax)
    view = _view(op, data)
    if view.channels is None and len(view.ranges) == 1:
        tiles.draw_stems(ax, view.positions[:, 0], data.values)
        ax.set_xlim(view.ranges[0].start - 0.5, view.ranges[0].stop - 0.5)
    else:
        _draw_images(ax, view, data)
    _draw_window(ax, view, data)
    style.set_title(ax, f"output {_format(data.output)} reads {data.values.size} of {prod(data.in_shape)} inputs")
    return ax


@dataclass(frozen=True, slots=True)
class _View:
    """Part of the input that is drawn."""

    #: Channels that are read, ascending; None if there is at most one.
    channels: IntArray | None
    #: For each entry, the index of its channel among these.
    tile: IntArray
    #: Coordinates of each entry in space.
    positions: IntArray
    #: Positions that are drawn along each axis of space.
    ranges: list[range]

    @property
    def slices(self) -> list[Shape]:
        """Coordinates of each slice along all axes but the last two."""
        return list(product(*self.ranges[:-2]))


def _view(op: LinearMap, data: RowData) -> _View:
    """Return the part of the input that is drawn: the channels that are read, and the surroundings of the window."""
    geometry = op.geometry if isinstance(op, ConvOperator) else None
    channels, tile = None, np.zeros(len(data.values), np.int64)
    positions, sizes = data.coordinates, data.in_shape
    if geometry is not None and geometry.layout is not Layout.PLAIN:
        channel_axis = geometry.layout.join(0, tuple(range(1, positions.shape[1]))).index(0)
        read_channels, tile = np.unique(positions[:, channel_axis], return_inverse=True)
        channels = read_channels if read_channels.size > 1 else None
        positions = np.delete(positions, channel_axis, axis=1)
        sizes = sizes[:channel_axis] + sizes[channel_axis + 1 :]
    longest = WHOLE if tile.max(initial=0) < 4 else WHOLE_OF_MANY
    ranges = []
    for j, size in enumerate(sizes):
        window = data.window[j] if data.window else None
        ranges.append(_drawn_range(size, positions[:, j], window, longest if j >= len(sizes) - 2 else 1))
    return _View(channels, tile, positions, ranges)


def _drawn_range(size: int, positions: IntArray, window: tuple[float, float] | None, longest: int) -> range:
    """Return the positions that are drawn along one axis: all, or the window, what it reads and a margin."""
    if size <= longest:
        return range(size)
    ends = [] if window is None else np.clip(window, 0, size - 1).tolist()
    ends += [positions.min(), positions.max()] if positions.size else []
    first, last = (floor(min(ends)), ceil(max(ends))) if ends else (0, 0)
    margin = 0 if longest == 1 else max(2, (last - first) // 2)
    return range(max(first - margin, 0), min(last + margin + 1, size))


def _draw_images(ax: Axes, view: _View, data: RowData) -> None:
    """Draw a tile for each channel and slice; along one axis, a row of cells for each channel."""
    *_, across = view.ranges
    x = view.positions[:, -1] - across.start
    if len(view.ranges) == 1:
        assert view.channels is not None
        grid = Tiles(1, 1, view.channels.size, len(across))
        tiles.draw(ax, grid, [""], (np.zeros_like(x), view.tile, x), data.values, (0, across.start))
        ax.set(ylabel="channel", xlabel="input i1", aspect="auto")
        ax.set_yticks(range(view.channels.size), [f"c{c}" for c in view.channels])
        return
    down = view.ranges[-2]
    outer_ranges = view.ranges[:-2]
    outer = view.positions[:, :-2] - [positions.start for positions in outer_ranges]
    slices = np.ravel_multi_index(tuple(outer.T), [*map(len, outer_ranges)]) if outer_ranges else np.zeros_like(x)
    channels = [None] if view.channels is None else view.channels.tolist()
    names = [_tile_name(channel, coordinates) for channel in channels for coordinates in view.slices]
    grid = Tiles.of(len(names), len(down), len(across))
    origin = (down.start, across.start) if len(names) == 1 else (0, 0)
    cells = (view.tile * len(view.slices) + slices, view.positions[:, -2] - down.start, x)
    tiles.draw(ax, grid, names, cells, data.values, origin)
    if len(names) == 1:
        ax.set(ylabel="input i1", xlabel="input i2")


def _tile_name(channel: int | None, coordinates: Shape) -> str:
    """Return the name of a tile, such as "c2, slice (0, 1)"."""
    parts = [] if channel is None else [f"c{channel}"]
    return ", ".join(parts + [f"slice {_format(coordinates)}"] * bool(coordinates))


def _format(coordinates: Shape) -> str:
    """Return coordinates as text: "3" along one axis, "(3, 4)" along two."""
    return str(coordinates[0]) if len(coordinates) == 1 else f"({', '.join(map(str, coordinates))})"


def _draw_window(ax: Axes, view: _View, data: RowData) -> None:
    """Draw the outline of the window on each tile; on a single tile, also where it lies outside the input."""
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
