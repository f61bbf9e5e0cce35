"""Costs of the forms of a convolution as a picture: bytes from the geometry, seconds from a clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx import forms, memory
from convmtx.errors import door
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.explanation import timed
from convmtx.plot import style
from convmtx.plot.numpy_maps import to_numpy_convolution
from convmtx.typing import AnyArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Bytes of the largest form that is made to measure it, 100 MB: that takes a fraction of a second.
BUDGET = 10**8


@dataclass(frozen=True, slots=True)
class CostData:
    """Numbers that `cost` shows, by name of the form, the smallest form first."""

    #: Bytes of every form that exists.
    bytes: dict[str, int]
    #: Seconds to make a form, without the forms that were not measured.
    make: dict[str, float]
    #: Seconds to apply a form to one input, without the forms that were not measured.
    apply: dict[str, float]


@door("plot.cost_data")
def cost_data(op: ConvOperator) -> CostData:
    """Return the bytes of each form of a convolution, and the seconds to make it and to apply it.

    Forms of at most 100 MB are made and applied three times to measure them.

    Parameters
    ----------
    op : ConvOperator
        A convolution. Kernels of other libraries are measured as NumPy's.

    Returns
    -------
    CostData
        Bytes of every form that exists, and seconds of those that were measured: medians of three calls.

    Raises
    ------
    UnsupportedError
        If the map is not a convolution. This is a ValueError.
    TypeError
        If ``op`` is not a map.

    Notes
    -----
    The view is not applied, for NumPy would copy it to a dense matrix.

    Examples
    --------
    >>> import convmtx as cm
    >>> data = cm.plot.cost_data(cm.conv([1.0, 2.0, 3.0], 1000))
    >>> list(data.bytes)[:3], data.bytes["dense"], "csr" in data.make
    (['operator', 'view', 'csr'], 7984000, True)
    """
    op = to_numpy_convolution(op)
    sizes = forms.sizes(op.geometry, op.dtype)
    ordered = dict(sorted(sizes.items(), key=lambda item: item[1]))
    make: dict[str, float] = {}
    apply: dict[str, float] = {}
    rows, columns = op.shape
    if (rows + columns) * op.dtype.itemsize > BUDGET:  # one input and one output are larger already
        return CostData(ordered, make, apply)
    x = np.random.default_rng(0).integers(-9, 10, op.in_shape).astype(op.dtype)
    for name, size in ordered.items():
        if size <= min(BUDGET, memory.available() // 4):
            make[name], form = timed(partial(build_form, op, name))
            if name != "view":
                apply[name], _ = timed(partial(_apply, name, form, x))
    return CostData(ordered, make, apply)


def build_form(op: ConvOperator, name: str) -> Any:
    """Return a form of a convolution, by the name that `ConvOperator.explain` gives it."""
    match name:
        case "operator":
            return op.with_kernel(op.kernel)
        case "view":
            return op.tensor_view()
        case "dense":
            return op.to_dense()
        case "tensor":
            return op.to_tensor()
    return op.to_sparse(name)  # type: ignore[arg-type]


def _apply(name: str, form: Any, x: AnyArray) -> AnyArray:
    """Return the product of a form and one input."""
    if name == "operator":
        return form(x)
    return np.tensordot(form, x, x.ndim) if name == "tensor" else form @ x.ravel()


@door("plot.cost")
def cost(op: ConvOperator, ax: Axes | None = None) -> Axes:
    """Draw what each form of a convolution costs: its bytes, and the seconds to make it and to apply it.

    Bytes are bars on the scale below, seconds are marks on the scale above. Forms of more than 100 MB are not made and
    have no marks.

    Parameters
    ----------
    op : ConvOperator
        A convolution. Kernels of other libraries are measured as NumPy's.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. A figure with ``layout="constrained"`` leaves room for labels. The default is a new figure of
        pyplot, which notebooks show and `matplotlib.pyplot.close` closes.

    Returns
    -------
    matplotlib.axes.Axes
        The axes of the bytes. The axes of the seconds are the last ones of the figure, ``ax.figure.axes[-1]``.

    Raises
    ------
    UnsupportedError
        If the map is not a convolution. This is a ValueError.
    MissingExtraError
        If matplotlib is not installed. This is an ImportError.
    TypeError
        If ``op`` is not a map.

    Examples
    --------
    >>> import convmtx as cm
    >>> ax = cm.plot.cost(cm.conv([1.0, 2.0, 3.0], 1000))
    >>> [label.get_text() for label in ax.get_yticklabels()][:2]
    ['operator, 24 B', 'view, 16 kB']
    """
    data = cost_data(op)
    ax = style.prepare_axes(ax, (7.6, 4.8))
    positions = np.arange(len(data.bytes))
    ax.barh(positions, [float(size) for size in data.bytes.values()], color=style.BELOW, alpha=0.4, height=0.7)
    ax.set_yticks(positions, [f"{name}, {memory.human(size)}" for name, size in data.bytes.items()])
    ax.set(ylim=(len(positions) - 0.5, -0.5), xscale="log", xlabel="bytes (bars)")
    ax.set_title("forms of a matrix of {} x {}".format(*op.shape))
    if data.make:
        _draw_seconds(ax, data)
    return ax


def _draw_seconds(ax: Axes, data: CostData) -> None:
    """Mark the seconds of each form on a scale above the axes."""
    from matplotlib.ticker import NullFormatter

    above = ax.twiny()
    positions = {name: position for position, name in enumerate(data.bytes)}
    for label, seconds, marker, color in (
        ("make", data.make, "D", style.TAPS[0]),
        ("apply", data.apply, "o", style.TAPS[3]),
    ):
        y = [positions[name] for name in seconds]
        above.scatter(list(seconds.values()), y, c=color, marker=marker, s=36, label=label)
    above.set(xscale="log", xlabel="seconds (marks)")
    above.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, handletextpad=0.2)
    for scale in (ax, above):
        scale.xaxis.set_minor_formatter(NullFormatter())
