"""Singular values as a picture, with what is certain of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.errors import UnsupportedError, door
from convmtx.geometry.resolve import integer
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.plot import style
from convmtx.spectra import singular_value_bounds, svdvals
from convmtx.spectra.bounds import theta_work
from convmtx.structure import choose_decomposition
from convmtx.structure.double import direct, doubled
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Largest over smallest value from which on the scale is logarithmic.
STEEP = 100
#: Work of a decomposition, of the values or of their bounds, that is done for a picture: seconds.
PATIENT = 5e9
#: Singular values up to which all are asked for.
MOST = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumData:
    """The numbers of `spectrum`, descending: entry j of each is of the j-th singular value."""

    #: None where bounds are all that can be had.
    values: AnyArray | None
    #: Bounds of each: those of `convmtx.singular_value_bounds`, or the values themselves where there are none.
    lower: AnyArray
    upper: AnyArray
    #: "exact", "estimate" or, of bounds alone, "interval"; and how they were found.
    kind: str
    method: str


@door("plot.spectrum")
def spectrum_data(op: LinearMap, k: int | None = None) -> SpectrumData:
    """The numbers of `spectrum`.

    Parameters
    ----------
    op : LinearMap
        Any map; kernels of other libraries are read as numbers.
    k : int, optional
        How many, the largest; without it all min(M, N).

    Returns
    -------
    SpectrumData
        Values and bounds, descending.

    Raises
    ------
    UnsupportedError
        Where all were asked for, and neither values nor bounds can be had in reasonable time. A ValueError.
    ValueError, TypeError
        Where an argument is none of those, or the kernel is not finite.

    Notes
    -----
    All values are found where the cheapest way to them takes seconds (``rows * columns * min(rows, columns)`` of its
    blocks up to 5e9, as of a dense matrix of 1700 rows); else the bounds stand alone. Bounds are subject to the same
    limit, and both to four million values.

    Examples
    --------
    >>> import convmtx as cm
    >>> found = cm.plot.spectrum_data(cm.conv([1.0, 1.0], 4, padding="same", boundary="wrap"))
    >>> found.kind, found.values[:2].round(3).tolist()
    ('exact', [2.0, 1.414])
    """
    if k is not None:
        integer("k", k, 1)
    subject = doubled(op)
    bounds, few = None, min(op.shape) <= MOST
    if few and isinstance(subject, ConvOperator) and theta_work(subject) <= PATIENT:
        found = singular_value_bounds(subject)
        bounds = found.lower[:k], found.upper[:k]
    if k is None and not (few and choose_decomposition(direct(subject)).work <= PATIENT):
        if bounds is None:
            got = f"all {min(op.shape)} singular values"
            wanted = "Neither they nor bounds of them can be had in reasonable time"
            raise UnsupportedError(got, wanted, "Ask for some of them, as with k=10")
        return SpectrumData(None, *bounds, found.kind, found.method)
    values = svdvals(subject, k)
    lower, upper = bounds if bounds is not None else (np.asarray(values.lower), np.asarray(values.upper))
    return SpectrumData(np.asarray(values), lower, upper, values.kind, values.method)


@door("plot.spectrum")
def spectrum(op: LinearMap, ax: Axes | None = None, k: int | None = None) -> Axes:
    """The singular values of a map, descending, with the bounds that hold for each shaded behind.

    Bounds are those of a circulant that the map is part of (`convmtx.singular_value_bounds`), and stand alone where
    the values would take too long. The scale is logarithmic where the values differ by a factor of more than 100.

    Parameters
    ----------
    op : LinearMap
        Any map; kernels of other libraries are read as numbers.
    ax : matplotlib.axes.Axes, optional
        Where to draw, best in a figure with ``layout="constrained"``, which leaves room for labels; without it in a new
        figure of pyplot, which notebooks show and `matplotlib.pyplot.close` closes.
    k : int, optional
        How many, the largest; without it all min(M, N).

    Returns
    -------
    matplotlib.axes.Axes
        ``ax.figure.savefig(path)`` writes it to a file.

    Raises
    ------
    UnsupportedError
        Where all were asked for, and neither values nor bounds can be had in reasonable time. A ValueError.
    MissingExtraError
        Without matplotlib. An ImportError.
    ValueError, TypeError
        Where an argument is none of those, the kernel is not finite, or values pass 1e306, which have no scale.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.spectrum(cm.conv([1.0, 2.0, 3.0], 30, padding="same"))
    >>> ax.get_title(), len(ax.lines[0].get_ydata())
    ('30 singular values, exact', 30)
    """
    data = spectrum_data(op, k)
    shown = data.upper if data.values is None else data.values
    style.drawable(data.upper)
    ax = style.axes(ax)
    places = np.arange(shown.size)
    least = shown[0] * EPS * max(op.shape)  # below which all is rounding
    steep = shown[0] > 0 and shown[-1] * STEEP < shown[0]
    lower = np.maximum(data.lower, least) if steep else data.lower
    upper = np.maximum(data.upper, lower)
    ax.fill_between(places, lower, upper, color=style.BELOW, alpha=0.3, linewidth=1, label="bounds")
    if data.values is not None:
        marker: dict[str, Any] = {"marker": "o", "markersize": 3.5} if shown.size <= 64 else {}
        drawn = np.maximum(shown, least) if steep else shown
        ax.plot(places, drawn, color=style.ABOVE, linewidth=1.5, label="singular values", **marker)
    ax.set(xlabel="number, from the largest", ylabel="singular value", yscale="log" if steep else "linear")
    positive = shown[shown > least]
    ax.set_ylim(positive[-1] / 4 if steep else 0, top=(2 if steep else 1.05) * upper[0] or 1)
    style.whole(ax.xaxis)
    what = f"{shown.size} singular" if k is None else f"the {shown.size} largest singular"
    ax.set_title(f"{what} value{'s' * (shown.size > 1)}, {data.kind if data.values is not None else 'bounds alone'}")
    if data.values is None or (upper - lower > 1e-9 * upper[0]).any():  # else they differ by rounding alone
        ax.legend(frameon=False)
    return ax
