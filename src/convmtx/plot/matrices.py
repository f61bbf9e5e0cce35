"""The matrix as a picture: every tap in its colour, or how densely each cell of a large one is filled."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import memory
from convmtx.arguments import flag, integer
from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentError, FormTooLargeError, UnsupportedError, door
from convmtx.geometry import Axis, Geometry
from convmtx.geometry.pattern import density, pattern
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.plot import style
from convmtx.plot.labels import blocks, named
from convmtx.plot.subject import numbers
from convmtx.typing import AnyArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: In place of a tap: the sum of several, which a boundary folds onto one position.
FOLDED = -2
#: Rows and columns up to which numbers are written into cells, lines drawn between them, and taps named.
WRITTEN, LINED, NAMED = 40, 64, 12
#: Memory that a cell takes until it is drawn, about.
BYTES = 80


@dataclass(frozen=True, slots=True, eq=False)
class MatrixData:
    """The numbers of `matrix`: stored entries of each cell and, where each entry has its own cell, what it is."""

    #: Cell (r, c) spans rows ``row_edges[r:r+2]`` and columns ``column_edges[c:c+2]``.
    row_edges: IntArray
    column_edges: IntArray
    #: Stored entries of each cell; Python integers (dtype object) where together they pass 2^63.
    counts: AnyArray
    #: Which kernel position each entry is, flat in space; -1 for none, -2 for a sum of several. None where cells
    #: hold more than one entry, and for maps that are no convolution.
    taps: IntArray | None = None
    #: The matrix entries; None where cells hold more than one.
    values: AnyArray | None = None

    @property
    def density(self) -> AnyArray:
        """Part of each cell that is stored, from 0 to 1."""
        return density(self.row_edges, self.column_edges, self.counts)


@door("plot.matrix")
def matrix_data(op: LinearMap, cells: int = 400) -> MatrixData:
    """The numbers of `matrix`.

    Parameters
    ----------
    op : LinearMap
        A convolution of any size, or another map of at most ``cells`` rows and columns.
    cells : int
        Cells along rows and along columns at most.

    Returns
    -------
    MatrixData
        For maps of at most ``cells`` rows and columns each entry by itself, else exact counts.

    Raises
    ------
    UnsupportedError
        For a map that is no convolution and larger than that. A ValueError.
    FormTooLargeError
        Where so many cells do not fit into memory. A MemoryError.
    ValueError, TypeError
        Where an argument is none of those.

    Notes
    -----
    A large matrix is never built: its pattern is a Kronecker product of small ones, which are counted in O(kernel *
    cells) for each axis.

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
    subject = numbers(op)
    small = max(subject.shape) <= cells
    drawn = BYTES * prod(min(size, cells) for size in subject.shape)
    if drawn > (free := memory.available()):
        got = f"cells={cells} for a matrix of {op.shape[0]} x {op.shape[1]} takes {memory.human(drawn)}"
        raise FormTooLargeError(got, f"Available are {memory.human(free)}", "Ask for fewer cells")
    if isinstance(subject, ConvOperator):
        found = pattern(subject.geometry, cells)
        taps, values = (taps_at(subject.geometry), subject.to_dense()) if small else (None, None)
        return MatrixData(found.row_edges, found.column_edges, found.counts, taps, values)
    if not small:
        got = f"the matrix of a {type(op).__name__} is {op.shape[0]} x {op.shape[1]}"
        wanted = f"Patterns of maps that are no convolution are drawn up to cells={cells}"
        raise UnsupportedError(got, wanted, "Draw its factors, or a smaller map")
    stored: Any = subject.to_sparse("coo")
    counts = np.zeros(subject.shape, np.int64)
    counts[stored.row, stored.col] = 1
    rows, columns = (np.arange(size + 1) for size in subject.shape)
    return MatrixData(rows, columns, counts, None, stored.toarray())


def taps_at(geometry: Geometry) -> IntArray:
    """Which kernel position every entry of the matrix is (M, N), axis by axis."""
    taps = np.zeros((1, 1), np.int64)
    for axis in geometry.layout.join(None, geometry.axes):
        own = _of_channels(geometry) if axis is None else _of_axis(axis, geometry.flip is not geometry.transposed)
        outer, inner = taps[:, None, :, None], own[:, None, :]
        both = outer * (1 if axis is None else axis.kernel) + inner
        both[np.broadcast_to((outer == FOLDED) | (inner == FOLDED), both.shape)] = FOLDED
        both[np.broadcast_to((outer == NOTHING) | (inner == NOTHING), both.shape)] = NOTHING
        taps = both.reshape(prod(both.shape[:2]), -1)
    return taps


def _of_axis(axis: Axis, reverse: bool) -> IntArray:
    table = axis.table()
    o, p = np.nonzero(table != NOTHING)
    i = table[o, p]
    taps = np.full((axis.out, axis.size), NOTHING)
    taps[o, i] = axis.kernel - 1 - p if reverse else p
    several = np.zeros(taps.shape, np.int64)
    np.add.at(several, (o, i), 1)
    taps[several > 1] = FOLDED
    return taps


def _of_channels(geometry: Geometry) -> IntArray:
    per_f, per_c = geometry.channels_per_group
    same = np.arange(geometry.out_channels)[:, None] // per_f == np.arange(geometry.in_channels) // per_c
    return np.where(same, 0, NOTHING)


@door("plot.matrix")
def matrix(op: LinearMap, ax: Axes | None = None, *, values: bool = False, cells: int = 400) -> Axes:
    """The matrix of a map as a picture: what is stored where.

    Each kernel position has its own colour (the same in every channel; after nine shades of them), and entries that are
    sums of several taps are grey. Thin lines part the blocks of channels and rows, and labels name them where
    there is room. Where the matrix has more than ``cells`` rows or columns, colours say which part of each cell is
    stored.

    Parameters
    ----------
    op : LinearMap
        A convolution of any size, or another map of at most ``cells`` rows and columns, whose entries are then
        coloured by value.
    ax : matplotlib.axes.Axes, optional
        Where to draw, best in a figure with ``layout="constrained"``, which leaves room for labels; without it in a new
        figure of pyplot, which notebooks show and `matplotlib.pyplot.close` closes.
    values : bool
        Write the entries into their cells, up to 40 rows and columns.
    cells : int
        Cells along rows and along columns at most.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure.savefig(path)`` writes it to a file.

    Raises
    ------
    UnsupportedError
        For a map that is no convolution and larger than that. A ValueError.
    FormTooLargeError
        Where so many cells do not fit into memory. A MemoryError.
    MissingExtraError
        Without matplotlib. An ImportError.
    ValueError, TypeError
        Where an argument is none of those, or the entries of a map that is no convolution pass 1e306.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.matrix(cm.conv([1, 2, 3], 6), values=True)
    >>> ax.get_xlabel(), ax.get_title()
    ('input (i1)', '4 x 6, 12 stored')
    """
    flag("values", values)
    data = matrix_data(op, cells)
    if values and max(op.shape) > min(WRITTEN, cells):
        got = f"values=True for a matrix of {op.shape[0]} x {op.shape[1]}"
        wanted = f"Numbers are written up to {min(WRITTEN, cells)} rows and columns"
        raise ArgumentError(got, wanted, "Leave values out, or draw a smaller map")
    if not isinstance(op, ConvOperator) and data.values is not None:
        style.drawable(data.values)
    fresh = ax is None
    ax = style.axes(ax, _size(op, values))
    colors = _image(ax, op, data)
    rows, columns = op.shape
    ax.set_aspect("equal" if 0.4 <= rows / columns <= 2.5 else "auto")
    ax.set_facecolor(style.FAINT)
    ax.grid(visible=False)  # which a style may have switched on
    ax.set_title(_title(op, data))
    named(ax, op)
    if isinstance(op, ConvOperator):
        blocks(ax, op.geometry)
    if data.values is not None and max(op.shape) <= LINED:
        _lines(ax, op.shape)
    if values:
        assert data.values is not None
        r, c = np.nonzero(data.counts)
        style.write(ax, zip(c, r, strict=True), data.values[r, c], colors[r, c], 0.0)
    if fresh:
        style.settle(ax)
    return ax


def _size(op: LinearMap, values: bool) -> tuple[float, float]:
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


def _image(ax: Axes, op: LinearMap, data: MatrixData) -> AnyArray:
    """Draw the cells; returns the colour of each."""
    rows, columns = op.shape
    place: dict[str, Any] = {"extent": (-0.5, columns - 0.5, rows - 0.5, -0.5)}
    if data.taps is not None and isinstance(op, ConvOperator):
        colors = _by_tap(op.geometry, data.taps)
        ax.imshow(colors, interpolation="nearest", **place)
        _legend(ax, op.geometry, data.taps)
        return colors
    from matplotlib.colors import Normalize

    if data.values is None:
        shown, colormap, bar = data.density, style.density(), "part of the cell that is stored"
        norm = Normalize(0, shown.max() or 1)
    else:
        shown, colormap, bar = np.real_if_close(data.values), style.signed(), "entry"
        shown = np.abs(shown) if np.iscomplexobj(shown) else shown
        top = np.abs(shown).max(initial=0) or 1
        norm = Normalize(-top, top)
    image = ax.imshow(np.ma.masked_where(data.counts == 0, shown), cmap=colormap, norm=norm, **place)
    ax.figure.colorbar(image, ax=ax, label=bar, shrink=0.8)
    return image.to_rgba(shown)


def _by_tap(geometry: Geometry, taps: IntArray) -> AnyArray:
    from matplotlib.colors import to_rgba

    colors = np.concatenate(
        [style.tap_colors(prod(a.kernel for a in geometry.axes)), [to_rgba(style.FOLDED)], np.zeros((1, 4))]
    )
    return colors[taps]  # FOLDED and NOTHING count from the end


def _legend(ax: Axes, geometry: Geometry, taps: IntArray) -> None:
    """Names of the taps where they are few, and of sums of taps where there are any."""
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


def _lines(ax: Axes, shape: tuple[int, int]) -> None:
    rows, columns = shape
    light: dict[str, Any] = {"colors": style.LINE, "linewidths": 0.4, "alpha": 0.35}
    ax.hlines(np.arange(1, rows) - 0.5, -0.5, columns - 0.5, **light)
    ax.vlines(np.arange(1, columns) - 0.5, -0.5, rows - 0.5, **light)
