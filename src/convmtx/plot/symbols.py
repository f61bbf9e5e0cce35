"""The symbol as a picture: how much a convolution lets pass of each frequency."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.errors import UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.plot import style
from convmtx.plot.subject import convolution
from convmtx.spectra import symbol as symbol_of
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Frequencies along one axis and along each of two, about.
FINE = {1: 512, 2: 96}
#: Numbers of the symbol's matrices altogether, beyond which frequencies are fewer.
MOST = 1 << 22
#: Frequencies along an axis at least.
FEWEST = 16


@dataclass(frozen=True, slots=True, eq=False)
class SymbolData:
    """The numbers of `symbol`: its largest singular value, or magnitude, at each frequency."""

    #: Along each axis, ascending from the middle of the circle, in cycles per input sample.
    frequencies: tuple[AnyArray, ...]
    #: One axis for each axis of the array.
    magnitude: AnyArray
    #: Rows and columns of the symbol's matrices: channels, times the frequencies that stride or dilation joins.
    shape: tuple[int, int]


@door("plot.symbol")
def symbol_data(op: ConvOperator) -> SymbolData:
    """The numbers of `symbol`.

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
        For a map that is no convolution, or one along more than two axes. A ValueError.
    ValueError, TypeError
        Where the kernel is not finite, or ``op`` is no map.

    Notes
    -----
    512 frequencies along one axis, 96 x 96 along two; fewer where there are many channels. A stride s joins s
    frequencies that its outputs cannot tell apart, so 1/s of the circle is shown, and the largest singular value of
    what joins them.

    Examples
    --------
    >>> import convmtx as cm
    >>> found = cm.plot.symbol_data(cm.conv([1.0, 2.0, 1.0], 8))
    >>> found.frequencies[0][256].item(), found.magnitude[[0, 256]].round(3).tolist()
    (0.0, [0.0, 4.0])
    """
    subject = convolution(op)
    axes = subject.geometry.axes
    if len(axes) not in FINE:
        got = f"a convolution along {len(axes)} axes"
        raise UnsupportedError(got, "One or two can be drawn", "Use cm.symbol(op, grid) for the numbers")
    channels = subject.geometry.out_channels * subject.geometry.in_channels
    each = int(min(FINE[len(axes)], max(FEWEST, (MOST / channels) ** (1 / len(axes)))))
    steps = [lcm(axis.stride, axis.input_dilation) for axis in axes]
    grid = [-(-each // (2 * step)) * 2 * step for step in steps]
    matrices = symbol_of(subject, tuple(grid))
    counts = matrices.shape[:-2]
    middle = tuple(n // 2 for n in counts)
    rows, columns = matrices.shape[-2:]
    magnitude = np.abs(matrices[..., 0, 0]) if rows == columns == 1 else np.linalg.norm(matrices, 2, axis=(-2, -1))
    frequencies = tuple((np.arange(n) - n // 2) / size for n, size in zip(counts, grid, strict=True))
    return SymbolData(frequencies, np.roll(magnitude, middle, tuple(range(len(counts)))), (rows, columns))


@door("plot.symbol")
def symbol(op: ConvOperator, ax: Axes | None = None) -> Axes:
    """How much a convolution lets pass of each frequency: the magnitude of its symbol, zero frequency in the middle.

    Of several channels, or of a stride, the symbol is a matrix, and its largest singular value is shown. One axis is
    drawn as a line, two as an image.

    Parameters
    ----------
    op : ConvOperator
        A convolution along one or two axes. Its size and boundary do not matter.
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
        For a map that is no convolution, or one along more than two axes. A ValueError.
    MissingExtraError
        Without matplotlib. An ImportError.
    ValueError, TypeError
        Where the kernel is not finite, magnitudes pass 1e306, which have no scale, or ``op`` is no map.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.symbol(cm.conv([1.0, 2.0, 1.0], 8))
    >>> ax.get_xlabel()
    'frequency (cycles per sample)'
    """
    data = symbol_data(op)
    style.drawable(data.magnitude)
    ax = style.axes(ax)
    label = "magnitude of the symbol" if data.shape == (1, 1) else "largest singular value of the symbol"
    if len(data.frequencies) == 1:
        ax.plot(data.frequencies[0], data.magnitude, color=style.BELOW, linewidth=1.8)
        ax.set(xlabel="frequency (cycles per sample)", ylabel=label)
        ax.set_ylim(bottom=0)
    else:
        (top, bottom), (left, right) = (_ends(each) for each in data.frequencies)
        look: dict[str, Any] = {"extent": (left, right, bottom, top), "cmap": style.density()}
        look |= {"vmin": 0, "vmax": data.magnitude.max() or 1}
        image = ax.imshow(data.magnitude, interpolation="nearest", aspect="equal", **look)
        ax.figure.colorbar(image, ax=ax, label=label, shrink=0.8)
        ax.grid(visible=False)
        ax.set(xlabel="frequency along i2 (cycles per sample)", ylabel="frequency along i1 (cycles per sample)")
    ax.set_title(f"symbol of kernel {tuple(op.kernel.shape)}")
    return ax


def _ends(frequencies: AnyArray) -> tuple[float, float]:
    """Where the first cell begins and the last one ends."""
    half = 0.5 * (frequencies[1] - frequencies[0]) if frequencies.size > 1 else 0.5
    return float(frequencies[0] - half), float(frequencies[-1] + half)
