"""Kernels of convolutions as pictures."""

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
from convmtx.plot.numpy_maps import to_numpy_convolution
from convmtx.plot.tiles import Tiles
from convmtx.typing import AnyArray, IntArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Pairs of channels that are drawn at most, 16 x 16 tiles; of more, the first.
PAIRS = 256
#: Tiles along a side up to which each row of tiles is one output channel, or one pair of channels. More tiles fill the
#: axes row after row, for they would be too small otherwise.
SIDE = 16


@dataclass(frozen=True, slots=True, eq=False)
class KernelData:
    """Numbers that `kernel` shows: the kernel array, with its channel axes in front."""

    #: Array (rows, columns, k1..kd): (F, C/groups, ...), for a transposed convolution (C_in, C_out/groups, ...), and
    #: without channels (1, 1, ...).
    taps: AnyArray
    #: Output channel (rows, columns) of each pair of channels.
    outputs: IntArray
    #: Input channel (rows, columns) of each pair of channels.
    inputs: IntArray


@door("plot.kernel_data")
def kernel_data(op: ConvOperator) -> KernelData:
    """Return the kernel of a convolution with its channel axes in front, and the channels that each part joins.

    Parameters
    ----------
    op : ConvOperator
        A convolution.

    Returns
    -------
    KernelData
        The kernel as an array of NumPy, neither flipped nor transposed.

    Raises
    ------
    UnsupportedError
        If the map is not a convolution. This is a ValueError.
    TypeError
        If ``op`` is not a map.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> cm.plot.kernel_data(cm.conv(np.ones((3, 3, 1, 2)), (8, 8, 1))).taps.shape
    (2, 1, 3, 3)
    """
    op = to_numpy_convolution(op)
    geometry, taps = op.geometry, op.kernel
    if geometry.layout is Layout.PLAIN:
        taps = taps[None, None]
    elif geometry.layout is Layout.LAST:
        taps = np.moveaxis(taps, (-1, -2), (0, 1))
    pairs = np.arange(prod(taps.shape[:2])).reshape(taps.shape[:2])
    rows, columns = pairs // taps.shape[1], pairs % taps.shape[1]
    # 4 filters in 2 groups over 6 channels: rows 2 and 3 are of group 1, so their columns 0, 1, 2 are channels 3, 4, 5.
    group = rows // (taps.shape[0] // geometry.groups)
    others = group * taps.shape[1] + columns
    outputs, inputs = (others, rows) if geometry.transposed else (rows, others)
    return KernelData(taps, outputs, inputs)


@door("plot.kernel")
def kernel(op: ConvOperator, ax: Axes | None = None) -> Axes:
    """Draw the kernel of a convolution.

    A kernel along one axis is drawn as stems, others as images, with a tile for each pair of channels and each slice.
    Up to 100 values are written into their cells if they fit. Complex values are drawn by magnitude.

    Parameters
    ----------
    op : ConvOperator
        A convolution.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. A figure with ``layout="constrained"`` leaves room for labels. The default is a new figure of
        pyplot, which notebooks show and `matplotlib.pyplot.close` closes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; ``ax.figure.savefig(path)`` writes the picture to a file.

    Raises
    ------
    UnsupportedError
        If the map is not a convolution. This is a ValueError.
    MissingExtraError
        If matplotlib is not installed. This is an ImportError.
    ValueError
        If taps are larger than 1e306, for which matplotlib has no scale.
    TypeError
        If ``op`` is not a map.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.kernel(cm.conv([[1, 0, -1]] * 3, (8, 8)))
    >>> ax.get_title(), [text.get_text() for text in ax.texts[:3]]
    ('kernel (3, 3), int64', ['1', '0', '-1'])
    """
    data = kernel_data(op)
    style.require_drawable(data.taps[np.isfinite(data.taps)])
    ax = style.prepare_axes(ax)
    taps = data.taps.reshape(-1, *data.taps.shape[2:])[:PAIRS]
    pairs = [f"f{f}, c{c}" for f, c in zip(data.outputs.flat, data.inputs.flat, strict=True)][:PAIRS]
    if taps.ndim == 2:
        _draw_line(ax, taps, pairs)
    else:
        _draw_images(ax, op.geometry, taps, pairs, data.taps.shape[1])
    title = f"kernel {tuple(op.kernel.shape)}, {str(op.dtype).rpartition('.')[2]}"
    style.set_title(
        ax, title + (f"\nthe first {PAIRS} pairs of {data.outputs.size}" if data.outputs.size > PAIRS else "")
    )
    return ax


def _draw_line(ax: Axes, taps: AnyArray, pairs: list[str]) -> None:
    """Draw a kernel along one axis: stems for one pair of channels, a row of cells for each of more."""
    count, size = taps.shape
    if count == 1:
        tiles.draw_stems(ax, np.arange(size), taps[0])
        ax.set_xlabel("tap")
        return
    y, x = np.indices(taps.shape)
    cells = np.zeros(taps.size, np.int64), y.ravel(), x.ravel()
    tiles.draw(ax, Tiles(1, 1, count, size), [""], cells, taps.ravel())
    ax.set(aspect="auto", xlabel="tap")
    if count <= tiles.NAMED:
        ax.set_yticks(range(count), pairs)


def _draw_images(ax: Axes, geometry: Geometry, taps: AnyArray, pairs: list[str], columns: int) -> None:
    """Draw a kernel along two axes or more: a tile for each pair of channels and each slice."""
    *lead, height, width = taps.shape[1:]
    slices: list[str] = [f"slice {', '.join(map(str, at))}" for at in product(*map(range, lead))] if lead else [""]
    heads = [""] if geometry.layout is Layout.PLAIN else pairs
    names = [", ".join(filter(None, parts)) for parts in product(heads, slices)]
    tile, y, x = np.indices((len(names), height, width))
    columns = len(slices) if lead else columns
    rows = len(names) // columns
    is_table = rows * columns == len(names) and 1 < columns <= SIDE and rows <= SIDE
    grid = Tiles(rows, columns, height, width) if is_table else Tiles.of(len(names), height, width)
    tiles.draw(ax, grid, names, (tile.ravel(), y.ravel(), x.ravel()), taps.ravel())
