"""Matrices as pictures: each tap in its colour, or, of a large matrix, the part of each cell that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx.arguments import flag, integer
from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentError, FormTooLargeError, UnsupportedError, door, with_article
from convmtx.geometry import Axis, Geometry, read_entries
from convmtx.geometry.pattern import density, pattern
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.plot import style
from convmtx.plot.labels import mark_blocks, name_axes
from convmtx.plot.numpy_maps import to_numpy
from convmtx.structure.double import as_map
from convmtx.typing import AnyArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: In place of a tap: the entry is a sum of several taps, which the boundary folds onto one position.
FOLDED = -2
#: Rows and columns up to which entries are written into their cells.
WRITTEN = 40
#: Rows and columns up to which lines are drawn between cells.
LINED = 64
#: Taps up to which a legend names them.
NAMED = 12
#: Bytes that a cell takes until it is drawn, roughly: 8 each for count, tap and value, and 32 for each colour.
BYTES = 80


@dataclass(frozen=True, slots=True, eq=False)
class MatrixData:
    """Numbers that `matrix` shows: how many entries of each cell are stored, and the entries if each has its cell."""

    #: First rows of the cells, and the number of rows: cell (r, c) has the rows from ``row_edges[r]`` to before
    #: ``row_edges[r + 1]``.
    row_edges: IntArray
    #: First columns of the cells, and the number of columns.
    column_edges: IntArray
    #: Number of stored entries of each cell; Python integers (dtype object) if their sum is 2^63 or more.
    counts: AnyArray
    #: Kernel position of each entry, flat in space; -1 for none, -2 for a sum of several. None if cells contain more
    #: than one entry, and for maps that are not convolutions.
    taps: IntArray | None = None
    #: Entries of the matrix; None if cells contain more than one.
    values: AnyArray | None = None

    @property
    def density(self) -> AnyArray:
        """Stored entries of each cell over all its entries, from 0 to 1."""
        return density(self.row_edges, self.column_edges, self.counts)


@door("plot.matrix_data")
def matrix_data(op: LinearMap, cells: int = 400) -> MatrixData:
    """Return the entries of a matrix and the taps that they are, or, of a large one, how many each cell stores.

    Parameters
    ----------
    op : LinearMap
        A convolution of any size, or another map of at most ``cells`` rows and columns.
    cells : int
        Largest number of cells along rows and along columns.

    Returns
    -------
    MatrixData
        A cell for each entry if the map has at most ``cells`` rows and columns, otherwise exact counts of larger cells.

    Raises
    ------
    UnsupportedError
        If the map is not a convolution and larger than that. This is a ValueError.
    FormTooLargeError
        If so many cells do not fit in memory. This is a MemoryError.
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    A large matrix is never built: its pattern is a Kronecker product of one small matrix for each axis, whose entries
    are counted in O(kernel * cells).

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.plot.matrix_data(cm.conv([5, 7], 3)).taps
    array([[ 0,  1, -1],
           [-1,  0,  1]])
    >>> int(cm.plot.matrix_data(cm.conv([5, 7], 10**9), cells=2).counts.sum())
    1999999998
    """
    cells = integer("cells", cells, 1)
    op = as_map(op)
    numpy_op = to_numpy(op)
    is_small = max(op.shape) <= cells
    needed = BYTES * prod(min(size, cells) for size in op.shape)
    if needed > (free := memory.available()):
        got = f"cells={cells} for a matrix of {op.shape[0]} x {op.shape[1]} takes {memory.human(needed)}"
        raise FormTooLargeError(got, f"Available are {memory.human(free)}", "Ask for fewer cells")
    if isinstance(numpy_op, ConvOperator):
        cell_counts = pattern(numpy_op.geometry, cells)
        taps, values = (taps_at(numpy_op.geometry), numpy_op.to_dense()) if is_small else (None, None)
        return MatrixData(cell_counts.row_edges, cell_counts.column_edges, cell_counts.counts, taps, values)
    if not is_small:
        got = f"the matrix of {with_article(type(op).__name__)} is {op.shape[0]} x {op.shape[1]}"
        expected = f"Patterns of maps that are not convolutions are drawn up to cells={cells}"
        raise UnsupportedError(got, expected, "Draw its factors, or a smaller map")
    stored: Any = numpy_op.to_sparse("coo")
    counts = np.zeros(op.shape, np.int64)
    counts[stored.row, stored.col] = 1
    rows, columns = (np.arange(size + 1) for size in op.shape)
    return MatrixData(rows, columns, counts, None, stored.toarray())


def taps_at(geometry: Geometry) -> IntArray:
    """Return the kernel position of each entry of the matrix, as an array (M, N); `NOTHING` where none is stored."""
    # Axis by axis: the entry of output (o1, o2) and input (i1, i2) is tap p1 * k2 + p2, if axis 1 reads i1 for o1
    # through p1 and axis 2 reads i2 for o2 through p2. It is stored if both are, and a sum if one of them is.
    taps = np.zeros((1, 1), np.int64)
    for axis in geometry.layout.join(None, geometry.axes):
        own = _channel_taps(geometry) if axis is None else _axis_taps(axis, geometry.flip is not geometry.transposed)
        outer, inner = taps[:, None, :, None], own[:, None, :]
        both = outer * (1 if axis is None else axis.kernel) + inner
        both[np.broadcast_to((outer == FOLDED) | (inner == FOLDED), both.shape)] = FOLDED
        both[np.broadcast_to((outer == NOTHING) | (inner == NOTHING), both.shape)] = NOTHING
        taps = both.reshape(prod(both.shape[:2]), -1)
    return taps


def _axis_taps(axis: Axis, reverse: bool) -> IntArray:
    """Return the tap through which each output along an axis reads each input (out, size)."""
    o, i, p = read_entries(axis, np.arange(axis.out))
    taps = np.full((axis.out, axis.size), NOTHING)
    taps[o, i] = axis.kernel - 1 - p if reverse else p
    counts = np.zeros(taps.shape, np.int64)
    np.add.at(counts, (o, i), 1)
    taps[counts > 1] = FOLDED
    return taps


def _channel_taps(geometry: Geometry) -> IntArray:
    """Return 0 for each pair of an output and an input channel of the same group, `NOTHING` for the other pairs."""
    per_f, per_c = geometry.channels_per_group
    is_same_group = np.arange(geometry.out_channels)[:, None] // per_f == np.arange(geometry.in_channels) // per_c
    return np.where(is_same_group, 0, NOTHING)


@door("plot.matrix")
def matrix(op: LinearMap, ax: Axes | None = None, *, values: bool = False, cells: int = 400) -> Axes:
    """Draw the matrix of a map: which entries are stored, and which tap each of them is.

    Each kernel position has its own colour, the same in every channel: nine colours, then shades of them. Entries that
    are sums of several taps are grey. Lines separate the blocks of channels and rows, and labels name them if they fit.
    If the matrix has more than ``cells`` rows or columns, colours show which part of each cell is stored.

    Parameters
    ----------
    op : LinearMap
        A convolution of any size, or another map of at most ``cells`` rows and columns, whose entries are coloured by
        value.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. A figure with ``layout="constrained"`` leaves room for labels. The default is a new figure of
        pyplot, which notebooks show and `matplotlib.pyplot.close` closes.
    values : bool
        Whether to write the entries into their cells, for at most 40 rows and columns.
    cells : int
        Largest number of cells along rows and along columns.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; ``ax.figure.savefig(path)`` writes the picture to a file.

    Raises
    ------
    UnsupportedError
        If the map is not a convolution and larger than that. This is a ValueError.
    FormTooLargeError
        If so many cells do not fit in memory. This is a MemoryError.
    MissingExtraError
        If matplotlib is not installed. This is an ImportError.
    ValueError, TypeError
        If an argument is invalid, or the entries of a map that is not a convolution are larger than 1e306, for which
        matplotlib has no scale.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.matrix(cm.conv([1, 2, 3], 6), values=True)
    >>> ax.get_xlabel(), ax.get_title()
    ('input (i1)', '4 x 6, 12 stored')
    """
    flag("values", values)
    op = as_map(op)
    data = matrix_data(op, cells)
    if values and max(op.shape) > min(WRITTEN, cells):
        got = f"values=True for a matrix of {op.shape[0]} x {op.shape[1]}"
        expected = f"Numbers are written up to {min(WRITTEN, cells)} rows and columns"
        raise ArgumentError(got, expected, "Leave values out, or draw a smaller map")
    if not isinstance(op, ConvOperator) and data.values is not None:
        style.require_drawable(data.values)
    is_new = ax is None
    ax = style.prepare_axes(ax, _figure_size(op, values))
    colors = _draw_cells(ax, op, data)
    rows, columns = op.shape
    ax.set_aspect("equal" if 0.4 <= rows / columns <= 2.5 else "auto")
    ax.set_facecolor(style.FAINT)
    ax.grid(visible=False)  # a style of matplotlib may have switched it on
    ax.set_title(_title(op, data))
    name_axes(ax, op)
    if isinstance(op, ConvOperator):
        mark_blocks(ax, op.geometry)
    if data.values is not None and max(op.shape) <= LINED:
        _draw_lines(ax, op.shape)
    if values:
        assert data.values is not None
        r, c = np.nonzero(data.counts)
        style.write_values(ax, zip(c, r, strict=True), data.values[r, c], colors[r, c], 0.0)
    if is_new:
        style.settle_layout(ax)
    return ax


def _figure_size(op: LinearMap, values: bool) -> tuple[float, float]:
    """Return width and height of a new figure in inches: 0.32 a column if entries are written, about 1 for labels."""
    rows, columns = op.shape
    width = max(5.6, 0.32 * columns) if values else 5.6
    return width + 1.6, width * min(max(rows / columns, 0.5), 1.4) + 1.4


def _title(op: LinearMap, data: MatrixData) -> str:
    rows, columns = op.shape
    title = f"{rows} x {columns}, {sum(data.counts.ravel().tolist())} stored"
    if data.values is None:
        high, wide = (int(np.diff(edges).max()) for edges in (data.row_edges, data.column_edges))
        title += f"\ncells of up to {high} x {wide}"
    return title


def _draw_cells(ax: Axes, op: LinearMap, data: MatrixData) -> AnyArray:
    """Draw the cells, with a legend or a colour bar, and return the colour of each cell."""
    rows, columns = op.shape
    extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
    if data.taps is not None and isinstance(op, ConvOperator):
        colors = _tap_colors(op.geometry, data.taps)
        ax.imshow(colors, interpolation="nearest", extent=extent)
        _draw_legend(ax, op.geometry, data.taps)
        return colors
    from matplotlib.colors import Normalize

    if data.values is None:
        numbers, colormap, label = data.density, style.density_colormap(), "part of the cell that is stored"
        norm = Normalize(0, numbers.max() or 1)
    else:
        numbers, colormap, label = np.real_if_close(data.values), style.signed_colormap(), "entry"
        numbers = np.abs(numbers) if np.iscomplexobj(numbers) else numbers
        top = np.abs(numbers).max(initial=0) or 1
        norm = Normalize(-top, top)
    image = ax.imshow(np.ma.masked_where(data.counts == 0, numbers), cmap=colormap, norm=norm, extent=extent)
    ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
    return image.to_rgba(numbers)


def _tap_colors(geometry: Geometry, taps: IntArray) -> AnyArray:
    """Return the colour of each entry (M, N, 4) by its tap."""
    from matplotlib.colors import to_rgba

    colors = np.concatenate(
        [style.tap_colors(prod(a.kernel for a in geometry.axes)), [to_rgba(style.FOLDED)], np.zeros((1, 4))]
    )
    return colors[taps]  # FOLDED = -2 is the last colour but one, NOTHING = -1 the last


def _draw_legend(ax: Axes, geometry: Geometry, taps: IntArray) -> None:
    """Draw a legend of the taps if they are at most `NAMED`, and of sums of taps if there are any."""
    from matplotlib.patches import Patch

    shape = tuple(a.kernel for a in geometry.axes)
    entries = []
    if prod(shape) <= NAMED:
        colors = style.tap_colors(prod(shape))
        names = (", ".join(map(str, np.unravel_index(p, shape))) for p in range(prod(shape)))
        entries = [Patch(color=color, label=f"K[{name}]") for name, color in zip(names, colors, strict=True)]
    if (taps == FOLDED).any():
        entries.append(Patch(color=style.FOLDED, label="sum of\nseveral taps"))
    if entries:
        ax.legend(handles=entries, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, handlelength=1)


def _draw_lines(ax: Axes, shape: tuple[int, int]) -> None:
    """Draw faint lines between the cells."""
    rows, columns = shape
    look: dict[str, Any] = {"colors": style.LINE, "linewidths": 0.4, "alpha": 0.35}
    ax.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, **look)
    ax.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, **look)
