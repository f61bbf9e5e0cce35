"""Singular values as a picture, with bounds that hold for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.arguments import integer
from convmtx.errors import UnsupportedError, door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.plot import style
from convmtx.spectra import singular_value_bounds, svdvals
from convmtx.spectra.bounds import theta_work
from convmtx.structure import choose_decomposition
from convmtx.structure.double import direct, doubled
from convmtx.structure.precision import rank_tolerance
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Largest over smallest singular value above which the scale is logarithmic.
STEEP = 100
#: Multiplications that are spent on the values of a picture, and again on their bounds: a few seconds.
MOST_WORK = 5e9
#: Singular values up to which all are computed.
MOST_VALUES = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumData:
    """Numbers that `spectrum` shows, descending: entry j of each array is for the j-th singular value."""

    #: Singular values; None if only bounds are computed.
    values: AnyArray | None
    #: Lower bounds: those of `convmtx.singular_value_bounds`, or of the values if it has none.
    lower: AnyArray
    #: Upper bounds, from the same source.
    upper: AnyArray
    #: "exact", "estimate" or, for bounds alone, "interval".
    kind: str
    #: Name of the method that computed them.
    method: str


@door("plot.spectrum_data")
def spectrum_data(op: LinearMap, k: int | None = None) -> SpectrumData:
    """Return the singular values of a map, descending, and bounds of each.

    Parameters
    ----------
    op : LinearMap
        Any map. Kernels of other libraries are read as numbers.
    k : int, optional
        Number of singular values, the largest ones. By default all min(M, N).

    Returns
    -------
    SpectrumData
        Values and bounds, descending.

    Raises
    ------
    UnsupportedError
        If all are requested, and neither values nor bounds can be computed in reasonable time. This is a ValueError.
    ValueError, TypeError
        If an argument is invalid, or the kernel is not finite.

    Notes
    -----
    All values are computed if the cheapest method takes seconds: if the sum of ``rows * columns * min(rows, columns)``
    over the blocks that it decomposes is at most 5e9, that of one block of 1700 rows and columns. Otherwise there are
    only bounds, which have the same limit. Neither is computed for more than four million singular values.

    Examples
    --------
    >>> import convmtx as cm
    >>> data = cm.plot.spectrum_data(cm.conv([1.0, 1.0], 4, padding="same", boundary="wrap"))
    >>> data.kind, data.values[:2].round(3).tolist()
    ('exact', [2.0, 1.414])
    """
    if k is not None:
        integer("k", k, 1)
    op = doubled(op)
    bounds, is_small = None, min(op.shape) <= MOST_VALUES
    if is_small and isinstance(op, ConvOperator) and theta_work(op) <= MOST_WORK:
        bounds = singular_value_bounds(op)
    if k is None and not (is_small and choose_decomposition(direct(op)).work <= MOST_WORK):
        if bounds is None:
            got = f"all {min(op.shape)} singular values"
            expected = "Neither they nor bounds of them can be computed in reasonable time"
            raise UnsupportedError(got, expected, "Request some of them, as with k=10")
        return SpectrumData(None, bounds.lower, bounds.upper, bounds.kind, bounds.method)
    values = svdvals(op, k)
    source = values if bounds is None else bounds
    lower, upper = np.asarray(source.lower)[:k], np.asarray(source.upper)[:k]
    return SpectrumData(np.asarray(values), lower, upper, values.kind, values.method)


@door("plot.spectrum")
def spectrum(op: LinearMap, ax: Axes | None = None, k: int | None = None) -> Axes:
    """Draw the singular values of a map, descending, with bounds of each as a shaded band behind them.

    The bounds are those of a circulant that the map is part of (`convmtx.singular_value_bounds`). They stand alone if
    the values would take too long. The scale is logarithmic if the values differ by a factor of more than 100.

    Parameters
    ----------
    op : LinearMap
        Any map. Kernels of other libraries are read as numbers.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. A figure with ``layout="constrained"`` leaves room for labels. The default is a new figure of
        pyplot, which notebooks show and `matplotlib.pyplot.close` closes.
    k : int, optional
        Number of singular values, the largest ones. By default all min(M, N).

    Returns
    -------
    matplotlib.axes.Axes
        The axes drawn on; ``ax.figure.savefig(path)`` writes the picture to a file.

    Raises
    ------
    UnsupportedError
        If all are requested, and neither values nor bounds can be computed in reasonable time. This is a ValueError.
    MissingExtraError
        If matplotlib is not installed. This is an ImportError.
    ValueError, TypeError
        If an argument is invalid, the kernel is not finite, or values are larger than 1e306, for which matplotlib has
        no scale.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.spectrum(cm.conv([1.0, 2.0, 3.0], 30, padding="same"))
    >>> ax.get_title(), len(ax.lines[0].get_ydata())
    ('30 singular values, exact', 30)
    """
    data = spectrum_data(op, k)
    shown = data.upper if data.values is None else data.values
    style.require_drawable(data.upper)
    ax = style.prepare_axes(ax)
    numbers = np.arange(shown.size)
    least = rank_tolerance(op.shape, shown[0])  # smaller values are rounding errors
    is_steep = shown[0] > 0 and shown[-1] * STEEP < shown[0]
    lower = np.maximum(data.lower, least) if is_steep else data.lower
    upper = np.maximum(data.upper, lower)
    ax.fill_between(numbers, lower, upper, color=style.BELOW, alpha=0.3, linewidth=1, label="bounds")
    if data.values is not None:
        marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if shown.size <= 64 else {}
        drawn = np.maximum(shown, least) if is_steep else shown
        ax.plot(numbers, drawn, color=style.ABOVE, linewidth=1.5, label="singular values", **marker)
    ax.set(xlabel="number, from the largest", ylabel="singular value", yscale="log" if is_steep else "linear")
    positive = shown[shown > least]
    ax.set_ylim(positive[-1] / 4 if is_steep else 0, top=(2 if is_steep else 1.05) * upper[0] or 1)
    style.use_integer_ticks(ax.xaxis)
    values = f"{shown.size} singular" if k is None else f"the {shown.size} largest singular"
    ax.set_title(f"{values} value{'s' * (shown.size > 1)}, {data.kind if data.values is not None else 'bounds alone'}")
    if data.values is None or (upper - lower > 1e-9 * upper[0]).any():  # otherwise they differ by rounding alone
        ax.legend(frameon=False)
    return ax
