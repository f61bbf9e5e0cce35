"""The kernel as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from convmtx.errors import door
from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.plot import style, tiles
from convmtx.plot.subject import convolution
from convmtx.plot.tiles import Tiles
from convmtx.typing import AnyArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Pairs of channels that are drawn; of more, the first.
PAIRS = 256
#: Tiles along a side up to which a row of them is one output channel, or one pair of channels.
SIDE = 16


@dataclass(frozen=True, slots=True, eq=False)
class KernelData:
    """The numbers of `kernel`: the kernel array as it was given, its channel axes in front."""

    #: (rows, columns, k1..kd): (F, C/groups, ...), of a transposed convolution (C_in, C_out/groups, ...), without
    #: channels (1, 1, ...).
    taps: AnyArray
    #: Which output and which input channel each pair (row, column) joins.
    outputs: IntArray
    inputs: IntArray


@door("plot.kernel")
def kernel_data(op: ConvOperator) -> KernelData:
    """The numbers of `kernel`.

    Parameters
    ----------
    op : ConvOperator
        A convolution.

    Returns
    -------
    KernelData
        The kernel with its channel axes in front, neither flipped nor transposed.

    Raises
    ------
    UnsupportedError
        For a map that is no convolution. A ValueError.
    TypeError
        For what is no map.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> cm.plot.kernel_data(cm.conv(np.ones((3, 3, 1, 2)), (8, 8, 1))).taps.shape
    (2, 1, 3, 3)
    """
    subject = convolution(op)
    geometry, taps = subject.geometry, subject.kernel
    if geometry.layout is Layout.PLAIN:
        taps = taps[None, None]
    elif geometry.layout is Layout.LAST:
        taps = np.moveaxis(taps, (-1, -2), (0, 1))
    pairs = np.arange(prod(taps.shape[:2])).reshape(taps.shape[:2])
    rows, columns = pairs // taps.shape[1], pairs % taps.shape[1]
    group = rows // (taps.shape[0] // geometry.groups)
    others = group * taps.shape[1] + columns
    outputs, inputs = (others, rows) if geometry.transposed else (rows, others)
    return KernelData(taps, outputs, inputs)


@door("plot.kernel")
def kernel(op: ConvOperator, ax: Axes | None = None) -> Axes:
    """The kernel as a picture: stems along one axis, else an image, a tile for each pair of channels and each slice.

    Few values are written into their cells. Complex ones are drawn by magnitude.

    Parameters
    ----------
    op : ConvOperator
        A convolution.
    ax : matplotlib.axes.Axes, optional
        Where to draw, best in a figure with ``layout="constrained"``, which leaves room for labels; without it in a new
        figure of pyplot, which notebooks show and `matplotlib.pyplot.close` closes.

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure.savefig(path)`` writes it to a file.

    Raises
    ------
    UnsupportedError
        For a map that is no convolution. A ValueError.
    MissingExtraError
        Without matplotlib. An ImportError.
    ValueError
        Where taps pass 1e306, which have no scale.
    TypeError
        For what is no map.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.kernel(cm.conv([[1, 0, -1]] * 3, (8, 8)))
    >>> ax.get_title(), [text.get_text() for text in ax.texts[:3]]
    ('kernel (3, 3), int64', ['1', '0', '-1'])
    """
    data = kernel_data(op)
    style.drawable(data.taps[np.isfinite(data.taps)])
    ax = style.axes(ax)
    taps = data.taps.reshape(-1, *data.taps.shape[2:])[:PAIRS]
    pairs = [f"f{f}, c{c}" for f, c in zip(data.outputs.flat, data.inputs.flat, strict=True)][:PAIRS]
    if taps.ndim == 2:
        _one_axis(ax, taps, pairs)
    else:
        _more_axes(ax, op.geometry, taps, pairs, data.taps.shape[1])
    title = f"kernel {tuple(op.kernel.shape)}, {str(op.dtype).rpartition('.')[2]}"
    style.title(ax, title + (f"\nthe first {PAIRS} pairs of {data.outputs.size}" if data.outputs.size > PAIRS else ""))
    return ax


def _one_axis(ax: Axes, taps: AnyArray, pairs: list[str]) -> None:
    count, size = taps.shape
    if count == 1:
        tiles.stems(ax, np.arange(size), taps[0])
        ax.set_xlabel("tap")
        return
    y, x = np.indices(taps.shape)
    cells = np.zeros(taps.size, np.int64), y.ravel(), x.ravel()
    tiles.draw(ax, Tiles(1, 1, count, size), [""], cells, taps.ravel())
    ax.set(aspect="auto", xlabel="tap")
    if count <= tiles.NAMED:
        ax.set_yticks(range(count), pairs)


def _more_axes(ax: Axes, geometry: Geometry, taps: AnyArray, pairs: list[str], columns: int) -> None:
    *lead, height, width = taps.shape[1:]
    slices: list[str] = [f"slice {', '.join(map(str, at))}" for at in product(*map(range, lead))] if lead else [""]
    heads = [""] if geometry.layout is Layout.PLAIN else pairs
    names = [", ".join(filter(None, both)) for both in product(heads, slices)]
    tile, y, x = np.indices((len(names), height, width))
    columns = len(slices) if lead else columns
    rows = len(names) // columns
    whole = rows * columns == len(names) and 1 < columns <= SIDE and rows <= SIDE
    grid = Tiles(rows, columns, height, width) if whole else Tiles.of(len(names), height, width)
    tiles.draw(ax, grid, names, (tile.ravel(), y.ravel(), x.ravel()), taps.ravel())
