"""Right-hand sides and solutions as arrays of the caller: their shapes, numbers and types."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import as_numpy, is_chunked, numeric
from convmtx.errors import ArgumentError, with_article
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.problem import NUMBER
from convmtx.typing import AnyArray, Array, Shape

#: What to do about data that are not finite.
REPLACE = "Replace them, or leave them out by mask=numpy.isfinite(b) of cm.solve, cm.choose_damp or cm.wiener"
#: Types of which the solution is in single precision.
SINGLE = "float32", "complex64", "float16", "bfloat16"


def require_shape(name: str, value: Any, shape: Shape, chunked: bool = False) -> Array:
    """Return a numeric array (*batch, *shape), or raise; with ``chunked``, one of Dask is returned as it is."""
    array = numeric(name, value, chunked)
    d = len(shape)
    if array.ndim < d or tuple(array.shape[array.ndim - d :]) != shape:
        expected = f"Expected (*batch, {', '.join(map(str, shape))})"
        is_flat = tuple(array.shape) == (prod(shape),)
        remedy = "A flattened array has to be reshaped" if is_flat else "Batch axes come first"
        raise ArgumentError(f"{name} has shape {tuple(array.shape)}", expected, remedy)
    if not is_chunked(array):
        require_room(f"{name} of shape {tuple(array.shape)} in double precision", prod(array.shape))
    return array


def require_callback(callback: Any) -> None:
    """Refuse a callback that cannot be called."""
    if callback is not None and not callable(callback):
        got = f"callback is {with_article(type(callback).__name__)}"
        raise ArgumentError(got, "Expected a function of the iterate", "For example callback=print")


def require_room(thing: str, count: int) -> None:
    """Refuse to compute with more numbers than fit in memory; an argument may be one number, broadcast."""
    memory.require_result(thing, 2 * NUMBER * count, "Solve for a part of it")


def without_extended(array: AnyArray) -> AnyArray:
    """Return an array of NumPy in extended precision as one in double precision, and others as they are."""
    if array.dtype not in (np.longdouble, np.clongdouble):
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def require_finite(name: str, array: AnyArray, remedy: str = REPLACE) -> AnyArray:
    """Return an array of NumPy without inf and nan, extended precision as double."""
    array = without_extended(array)
    if not np.isfinite(array).all():
        raise ArgumentError(f"{name} contains inf or nan", "Expected finite numbers", remedy)
    return array


def require_start(x0: Any, op: LinearMap, batch: Shape) -> AnyArray:
    """Return the start of iterations for each right-hand side, (m, *in_shape)."""
    start = as_numpy(require_shape("x0", x0, op.in_shape))
    array = require_finite("x0", start, "Replace them, as with numpy.nan_to_num(x0), or leave x0 out")
    try:
        array = np.broadcast_to(array, batch + op.in_shape)
    except ValueError:
        expected = f"Expected {batch + op.in_shape}, as b has"
        raise ArgumentError(f"x0 has shape {array.shape}", expected, "Pass one start, or one for each") from None
    return array.reshape(-1, *op.in_shape)


def in_single(x: AnyArray, op: LinearMap, b: Array) -> AnyArray:
    """Return x in single precision if both the map and b are."""
    if b.dtype == np.float64 or not all(str(array.dtype).rpartition(".")[2] in SINGLE for array in (op, b)):
        return x
    return x.astype(np.complex64 if x.dtype.kind == "c" else np.float32)
