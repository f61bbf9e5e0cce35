"""Maps of labelled arrays: xarray's, with names of axes and coordinates."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from convmtx.arguments import as_list
from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown, with_article
from convmtx.extras import import_extra
from convmtx.geometry import Axis
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray


@door("apply")
def apply(op: LinearMap, array: Any, dims: Sequence[Hashable], out_dims: Sequence[Hashable] | None = None) -> Any:
    """Apply a map along named dimensions of a labelled array, and keep its names, coordinates and attributes.

    Law: ``apply(op, array, dims).data`` equals ``op(array.transpose(..., *dims).data)``. All other dimensions are batch
    axes and come first.

    Parameters
    ----------
    op : LinearMap
        Any map, or what `aslinearmap` takes.
    array : xarray.DataArray
        Of numbers in memory, or of Dask, of which nothing is computed here.
    dims : sequence of hashable
        Names of the dimensions that ``op`` takes, one for each axis of ``op.in_shape``, in that order.
    out_dims : sequence of hashable, optional
        Names of the axes of ``op.out_shape``; by default ``dims``.

    Returns
    -------
    xarray.DataArray
        With the name and attributes of ``array``, and the coordinates of dimensions that the map leaves alone. Along an
        axis of a convolution, an output has the coordinate of the middle of its window, interpolated between those of
        the inputs, and continued beyond the first and last by the step there. As many outputs as inputs, at most half a
        step from them, keep the coordinates. Coordinates that are not numbers or times, or that vary along several
        dimensions, are kept if the number of entries stays, and left out otherwise.

    Raises
    ------
    ValueError
        If the dimensions do not exist or have other sizes than ``op.in_shape``, or the names are not as many as axes.
    TypeError
        If ``array`` is not an array of xarray, or of numbers that the map does not take.
    ImportError
        Without the extra ``xarray``.

    Examples
    --------
    >>> import numpy as np, xarray as xr, convmtx as cm
    >>> image = xr.DataArray(np.ones((2, 6)), dims=("time", "x"), coords={"x": [0.0, 10, 20, 30, 40, 50]})
    >>> halved = cm.apply(cm.conv([0.5, 0.5], 6, stride=2), image, dims=["x"])
    >>> halved.dims, halved.x.values.tolist()
    (('time', 'x'), [5.0, 25.0, 45.0])
    """
    xarray: Any = import_extra("xarray", "xarray")
    op = aslinearmap(op)
    if not isinstance(array, xarray.DataArray):
        got, remedy = f"array is {with_article(type(array).__name__)}", "Pass dataset[name], or call op(x)"
        raise ArgumentTypeError(got, "Expected an xarray.DataArray", remedy)
    names = _names("dims", dims, len(op.in_shape))
    results = names if out_dims is None else _names("out_dims", out_dims, len(op.out_shape))
    if len(results) != len(op.out_shape):
        got = f"dims={shown(names)} for outputs of shape {op.out_shape}"
        raise ArgumentError(got, "Expected a name for each axis of the outputs", "Pass out_dims too")
    twice = [name for name in results if name in array.dims and name not in names]
    if twice:
        got, remedy = f"out_dims={shown(results)}", "Pass other out_dims"
        raise ArgumentError(got, f"array has another dimension {shown(twice[0])}", remedy)
    missing = [name for name in names if name not in array.dims]
    sizes = tuple(array.sizes.get(name, 0) for name in names)
    if missing or sizes != op.in_shape:
        got = f"array has dimensions {dict(array.sizes)}"
        expected = f"Expected {', '.join(f'{n}: {size}' for n, size in zip(names, op.in_shape, strict=True))}"
        raise ArgumentError(got, expected, "Match dims and op.in_shape")
    others = [name for name in array.dims if name not in names]
    moved = array.transpose(*others, *names)
    centres = _centres(op)
    coords: dict[Hashable, Any] = {}
    for name, coord in moved.coords.items():
        kept = _coordinate(coord, names, results, centres, dict(zip(results, op.out_shape, strict=True)))
        if kept is not None:
            coords[name if name not in names else results[names.index(name)]] = kept
    return xarray.DataArray(op(moved.data), coords, (*others, *results), array.name, array.attrs)


def _names(argument: str, names: Any, count: int) -> list[Hashable]:
    """Return names of dimensions, one for each axis."""
    listed = as_list(argument, names)
    if listed is None or len(listed) != count or len(set(listed)) != count:
        got, remedy = f"{argument}={shown(names)}", f"Pass a list, such as {argument}=['y', 'x']"
        raise ArgumentError(got, f"Expected {count} different names, one for each axis", remedy)
    return listed


def _centres(op: LinearMap) -> tuple[AnyArray | None, ...]:
    """Return, for each axis of the inputs, where among them the windows of the outputs have their middle.

    None where outputs are the inputs, at most half a step away, and for axes that are not of a convolution.
    """
    if not isinstance(op, ConvOperator):
        return (None,) * len(op.in_shape)
    axes = tuple(op.geometry.axes)
    return op.geometry.layout.join(None, tuple(_centre(axis) for axis in axes))


def _centre(axis: Axis) -> AnyArray | None:
    places = (np.arange(axis.out) * axis.stride - axis.lo + (axis.span - 1) / 2) / axis.input_dilation
    is_same = axis.out == axis.size and axis.stride == axis.input_dilation
    return None if is_same and abs(places[0]) <= 1 / 2 else places


def _coordinate(
    coord: Any, names: list[Hashable], results: list[Hashable], centres: tuple[Any, ...], sizes: dict[Hashable, int]
) -> Any:
    """Return a coordinate of the outputs as (dims, values); None if it has none."""
    met = [name for name in coord.dims if name in names]
    if not met:
        return coord.variable
    if len(results) != len(names):
        return None
    renamed = tuple(results[names.index(name)] if name in names else name for name in coord.dims)
    if all(centres[names.index(name)] is None for name in met):
        same = all(coord.sizes[name] == sizes[results[names.index(name)]] for name in met)
        return (renamed, coord.values, coord.attrs) if same else None
    values = _interpolated(coord.values, centres[names.index(met[0])]) if coord.ndim == 1 else None
    return None if values is None else (renamed, values, coord.attrs)


def _interpolated(values: AnyArray, places: AnyArray) -> AnyArray | None:
    """Return values at places between and beyond their positions; None if they are not numbers or times."""
    if values.dtype.kind in "mM":
        numbers = _interpolated((values - values[0]).astype(np.int64).astype(float), places)
        step = (values[:1] - values[:1]).dtype
        return None if numbers is None else values[0] + np.rint(numbers).astype(np.int64).astype(step)
    if values.dtype.kind not in "iuf" or values.size < 2:
        return None
    low = np.clip(np.floor(places).astype(np.int64), 0, values.size - 2)
    exact = values.astype(float) if values.dtype.kind in "iu" else values
    middle = exact[low] + (exact[low + 1] - exact[low]) * (places - low)
    is_whole = values.dtype.kind in "iu" and bool((middle == np.rint(middle)).all())
    return middle.astype(values.dtype) if is_whole else middle
