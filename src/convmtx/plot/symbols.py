"""Symbols as pictures: the factor by which a convolution multiplies each frequency."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.errors import UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.plot import style
from convmtx.plot.numpy_maps import to_numpy_convolution
from convmtx.spectra import symbol as symbol_of
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Frequencies along each axis, by the number of axes, before they are rounded up to a multiple of the stride.
FREQUENCIES = {1: 512, 2: 96}
#: Numbers in the symbol's matrices at all frequencies together. With more, there are fewer frequencies.
MOST_NUMBERS = 1 << 22
#: Smallest number of frequencies along an axis.
FEWEST = 16


@dataclass(frozen=True, slots=True, eq=False)
class SymbolData:
    """Numbers that `symbol` shows: the symbol's magnitude, or its largest singular value, at each frequency."""

    #: Frequencies along each axis in cycles per input sample, ascending, with zero in the middle.
    frequencies: tuple[AnyArray, ...]
    #: Magnitudes, with one axis for each axis of the array.
    magnitude: AnyArray
    #: Rows and columns of the symbol's matrices: channels, times the frequencies that stride or input dilation join.
    shape: tuple[int, int]


@door("plot.symbol_data")
def symbol_data(op: ConvOperator) -> SymbolData:
    """Return the magnitude of a convolution's symbol at each frequency.

    Parameters
    ----------
    op : ConvOperator
        A convolution along one or two axes. Its size and boundary do not matter.

    Returns
    -------
    SymbolData
        Magnitudes with frequency zero in the middle.

    Raises
    ------
    UnsupportedError
        If the map is not a convolution, or one along more than two axes. This is a ValueError.
    ValueError, TypeError
        If the kernel is not finite, or ``op`` is not a map.

    Notes
    -----
    There are 512 frequencies along one axis, 96 x 96 along two, and fewer with many channels. The outputs at stride s
    cannot distinguish s frequencies from each other. They are joined in one matrix, whose largest singular value is
    shown, on 1/s of the circle.

    Examples
    --------
    >>> import convmtx as cm
    >>> data = cm.plot.symbol_data(cm.conv([1.0, 2.0, 1.0], 8))
    >>> data.frequencies[0][256].item(), data.magnitude[[0, 256]].round(3).tolist()
    (0.0, [0.0, 4.0])
    """
    op = to_numpy_convolution(op)
    axes = op.geometry.axes
    if len(axes) not in FREQUENCIES:
        got = f"a convolution along {len(axes)} axes"
        raise UnsupportedError(got, "One or two can be drawn", "Use cm.symbol(op, grid) for the numbers")
    channels = op.geometry.out_channels * op.geometry.in_channels
    least = int(min(FREQUENCIES[len(axes)], max(FEWEST, (MOST_NUMBERS / channels) ** (1 / len(axes)))))
    # An even multiple of the stride, so that there is a frequency zero in the middle: 512 at stride 3 become 516.
    steps = [lcm(axis.stride, axis.input_dilation) for axis in axes]
    grid = [-(-least // (2 * step)) * 2 * step for step in steps]
    matrices = symbol_of(op, tuple(grid))
    counts = matrices.shape[:-2]
    middle = tuple(n // 2 for n in counts)
    rows, columns = matrices.shape[-2:]
    magnitude = np.abs(matrices[..., 0, 0]) if rows == columns == 1 else np.linalg.norm(matrices, 2, axis=(-2, -1))
    frequencies = tuple((np.arange(n) - n // 2) / size for n, size in zip(counts, grid, strict=True))
    return SymbolData(frequencies, np.roll(magnitude, middle, tuple(range(len(counts)))), (rows, columns))


@door("plot.symbol")
def symbol(op: ConvOperator, ax: Axes | None = None) -> Axes:
    """Draw the magnitude of a convolution's symbol: the factor by which it multiplies each frequency.

    Frequency zero is in the middle. With more than one channel, or with a stride, the symbol is a matrix, and its
    largest singular value is shown. One axis is drawn as a line, two as an image.

    Parameters
    ----------
    op : ConvOperator
        A convolution along one or two axes. Its size and boundary do not matter.
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
        If the map is not a convolution, or one along more than two axes. This is a ValueError.
    MissingExtraError
        If matplotlib is not installed. This is an ImportError.
    ValueError, TypeError
        If the kernel is not finite, ``op`` is not a map, or magnitudes are larger than 1e306, for which matplotlib has
        no scale.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.symbol(cm.conv([1.0, 2.0, 1.0], 8))
    >>> ax.get_xlabel()
    'frequency (cycles per sample)'
    """
    data = symbol_data(op)
    style.require_drawable(data.magnitude)
    ax = style.prepare_axes(ax)
    label = "magnitude of the symbol" if data.shape == (1, 1) else "largest singular value of the symbol"
    if len(data.frequencies) == 1:
        ax.plot(data.frequencies[0], data.magnitude, color=style.BELOW, linewidth=1.8)
        ax.set(xlabel="frequency (cycles per sample)", ylabel=label)
        ax.set_ylim(bottom=0)
    else:
        (top, bottom), (left, right) = (_ends(frequencies) for frequencies in data.frequencies)
        look: dict[str, Any] = {"extent": (left, right, bottom, top), "cmap": style.density_colormap()}
        look |= {"vmin": 0, "vmax": data.magnitude.max() or 1}
        image = ax.imshow(data.magnitude, interpolation="nearest", aspect="equal", **look)
        ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
        ax.grid(visible=False)
        ax.set(xlabel="frequency along i2 (cycles per sample)", ylabel="frequency along i1 (cycles per sample)")
    ax.set_title(f"symbol of kernel {tuple(op.kernel.shape)}")
    return ax


def _ends(frequencies: AnyArray) -> tuple[float, float]:
    """Return where the first cell begins and the last one ends, if each is centred at its frequency."""
    half = 0.5 * (frequencies[1] - frequencies[0]) if frequencies.size > 1 else 0.5
    return float(frequencies[0] - half), float(frequencies[-1] + half)
