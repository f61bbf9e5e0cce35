"""What each form of a convolution costs, as a picture: bytes from the geometry, seconds from a clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import forms, memory
from convmtx.errors import door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.explanation import timed
from convmtx.plot import style
from convmtx.plot.subject import convolution
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Forms larger than this many bytes are not made.
BUDGET = 10**8


@dataclass(frozen=True, slots=True)
class CostData:
    """The numbers of `cost`, by name of the form, the smallest first."""

    bytes: dict[str, int]
    #: Seconds to make a form, and to apply it to one input; a form that is not there was not measured.
    make: dict[str, float]
    apply: dict[str, float]


@door("plot.cost")
def cost_data(op: ConvOperator) -> CostData:
    """The numbers of `cost`; forms are made and applied to measure them.

    Parameters
    ----------
    op : ConvOperator
        A convolution; kernels of other libraries are measured as NumPy's.

    Returns
    -------
    CostData
        Bytes of every form that exists; seconds, medians of three calls, of forms up to 100 MB.

    Raises
    ------
    UnsupportedError
        For a map that is no convolution. A ValueError.
    TypeError
        For what is no map.

    Notes
    -----
    The view is not applied: NumPy would copy it whole.

    Examples
    --------
    >>> import convmtx as cm
    >>> found = cm.plot.cost_data(cm.conv([1.0, 2.0, 3.0], 1000))
    >>> list(found.bytes)[:3], found.bytes["dense"], "csr" in found.make
    (['operator', 'view', 'csr'], 7984000, True)
    """
    subject = convolution(op)
    sizes = forms.sizes(subject.geometry, subject.dtype)
    ordered = dict(sorted(sizes.items(), key=lambda each: each[1]))
    make: dict[str, float] = {}
    apply: dict[str, float] = {}
    rows, columns = subject.shape
    if (rows + columns) * subject.dtype.itemsize > BUDGET:
        return CostData(ordered, make, apply)
    x = np.random.default_rng(0).integers(-9, 10, subject.in_shape).astype(subject.dtype)
    for name, size in ordered.items():
        if size <= min(BUDGET, memory.available() // 4):
            make[name], form = timed(partial(made, subject, name))
            if name != "view":
                apply[name], _ = timed(partial(_applied, name, form, x))
    return CostData(ordered, make, apply)


def made(op: ConvOperator, name: str) -> Any:
    """A form by the name that `ConvOperator.explain` gives it."""
    whole: dict[str, Callable[[], Any]] = {
        "operator": lambda: op.with_kernel(op.kernel), "view": op.tensor_view, "dense": op.to_dense,
        "tensor": op.to_tensor,
    }  # fmt: skip
    return whole[name]() if name in whole else op.to_sparse(name)  # type: ignore[arg-type]


def _applied(name: str, form: Any, x: AnyArray) -> AnyArray:
    if name == "operator":
        return form(x)
    return np.tensordot(form, x, x.ndim) if name == "tensor" else form @ x.ravel()


@door("plot.cost")
def cost(op: ConvOperator, ax: Axes | None = None) -> Axes:
    """What each form costs: bytes as bars, and on the scale above the seconds to make it and to apply it.

    Forms larger than 100 MB are not made, and shown by their bytes alone.

    Parameters
    ----------
    op : ConvOperator
        A convolution; kernels of other libraries are measured as NumPy's.
    ax : matplotlib.axes.Axes, optional
        Where to draw, best in a figure with ``layout="constrained"``, which leaves room for labels; without it in a new
        figure of pyplot, which notebooks show and `matplotlib.pyplot.close` closes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the bytes; those of the seconds are the last of its figure, ``ax.figure.axes[-1]``.

    Raises
    ------
    UnsupportedError
        For a map that is no convolution. A ValueError.
    MissingExtraError
        Without matplotlib. An ImportError.
    TypeError
        For what is no map.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.cost(cm.conv([1.0, 2.0, 3.0], 1000))
    >>> [label.get_text() for label in ax.get_yticklabels()][:2]
    ['operator, 24 B', 'view, 16 kB']
    """
    data = cost_data(op)
    ax = style.axes(ax, (7.6, 4.8))
    places = np.arange(len(data.bytes))
    ax.barh(places, [float(size) for size in data.bytes.values()], color=style.BELOW, alpha=0.4, height=0.7)
    ax.set_yticks(places, [f"{name}, {memory.human(size)}" for name, size in data.bytes.items()])
    ax.set(ylim=(len(places) - 0.5, -0.5), xscale="log", xlabel="bytes (bars)")
    ax.set_title("forms of a matrix of {} x {}".format(*op.shape))
    if data.make:
        _seconds(ax, data)
    return ax


def _seconds(ax: Axes, data: CostData) -> None:
    from matplotlib.ticker import NullFormatter

    above = ax.twiny()
    places = {name: place for place, name in enumerate(data.bytes)}
    for label, times, marker, color in (
        ("make", data.make, "D", style.TAPS[0]),
        ("apply", data.apply, "o", style.TAPS[3]),
    ):
        above.scatter(list(times.values()), [places[name] for name in times], c=color, marker=marker, s=36, label=label)
    above.set(xscale="log", xlabel="seconds (marks)")
    above.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, handletextpad=0.2)
    for each in (ax, above):
        each.xaxis.set_minor_formatter(NullFormatter())
