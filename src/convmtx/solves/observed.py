"""Data that were measured in part: weights, masks and masked arrays as a smaller problem of the outputs that count."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, cast, is_chunked, is_complex, is_numpy, like, namespace, numeric, reshape, together
from convmtx._xp.arriving import convert
from convmtx.errors import ArgumentError, ArgumentTypeError, shown
from convmtx.extras import import_extra
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.selection import Selection
from convmtx.solves.arrays import require_shape
from convmtx.typing import AnyArray, Array, Shape


def observe(op: LinearMap, b: Any, weights: Any = None, mask: Any = None) -> tuple[LinearMap, Array]:
    """Return the map and the data of the outputs that were measured, times the square roots of their weights.

    For the pair ``(A, y)`` that is returned, ``norm(A(x) - y)**2 == sum(weights * abs(op(x) - b)**2)``, where outputs
    that are masked or of weight 0 are left out. Without weights it is op and b as they are.

    Raises
    ------
    ArgumentError, ArgumentTypeError
        If weights or mask do not fit, nothing was measured, or arrays of the batch have weights that differ.
    """
    b, w = weights_of(op.out_shape, b, weights, mask)
    if w is None:
        return op, b
    if w.ndim > len(op.out_shape):
        got = f"weights of shape {tuple(w.shape)} that differ between the arrays of a batch"
        raise ArgumentError(got, f"Expected {op.out_shape}, as an output has", "Call it for one array after the other")
    return weighted(op, b, w)


def weights_of(out_shape: Shape, b: Any, weights: Any, mask: Any, name: str = "b") -> tuple[Array, Array | None]:
    """Return b without a mask of its own, and the weight of each output; None if all are measured alike.

    The weights have the shape of an output, or that of b if they differ between the arrays of a batch. ``name`` is what
    the caller calls b, for messages.
    """
    hidden = None
    if isinstance(b, np.ma.MaskedArray):
        hidden, b = np.ma.getmaskarray(b), np.ma.getdata(b)
    b = require_shape(name, b, out_shape)
    if weights is None and mask is None and hidden is None:
        return b, None
    weight: Array = np.ones(out_shape) if weights is None else _require_weights(weights, out_shape, b, name)
    seen = None if mask is None else _require_mask(mask, out_shape, b, name)
    for measured in (seen, None if hidden is None else ~hidden):
        if measured is not None:
            weight, measured = together(weight, measured)
            weight = weight * measured
    if not as_numpy(weight).any(axis=tuple(range(-len(out_shape), 0))).all():
        raise _nothing_measured()
    return b, _without_batch(weight, out_shape)


def chunked_roots(out_shape: Shape, b: Array, weights: Any, mask: Any) -> tuple[Array | None, AnyArray]:
    """Return the square root of each output's weight for b on chunks, as an array of Dask; None if all are 1.

    The second result is the largest root, of each array of a batch if their weights differ. The numbers are read once.
    """
    if weights is None and mask is None:
        return None, np.ones(())
    dask = import_extra("dask.array", "dask")
    weight: Any = 1.0 if weights is None else dask.asarray(_require_weights(weights, out_shape, b, "b"))
    if mask is not None:
        weight = weight * dask.asarray(_require_mask(mask, out_shape, b, "b"))
    axes = tuple(range(-len(out_shape), 0))
    ends = import_extra("dask", "dask").compute(weight.min(), weight.max(axis=axes))
    least, largest = map(np.asarray, ends)
    if not (least >= 0 and np.isfinite(largest).all()):
        raise _not_weights("b")
    if not largest.all():
        raise _nothing_measured()
    return np.sqrt(weight.astype(np.result_type(weight, np.float32))), np.sqrt(largest.astype(np.float64))


def _nothing_measured() -> ArgumentError:
    return ArgumentError("no output was measured", "Expected some weight above 0", "Check mask and weights")


def _not_weights(name: str) -> ArgumentError:
    got, expected = "weights are not all finite real numbers >= 0", "Expected the weight of each output"
    counts = f"how much each entry of {name} counts, such as 1 / variance of its noise"
    return ArgumentError(got, expected, f"Pass {counts}, and 0 where it was not measured")


def _require_weights(weights: Any, out_shape: Shape, b: Array, name: str) -> Array:
    weights = _read("weights", weights)
    if str(weights.dtype).rpartition(".")[2] == "bool":
        remedy = f"Use mask= for an array that is True where {name} was measured"
        raise ArgumentTypeError("weights have dtype bool", "Expected numbers", remedy)
    array = numeric("weights", weights, chunked=is_chunked(b))
    if is_complex(array.dtype):
        raise _not_weights(name)
    if not is_chunked(array):
        numbers = as_numpy(array)
        if not np.isfinite(numbers).all() or (numbers < 0).any():
            raise _not_weights(name)
    return _spread("weights", array, out_shape, b)


def _require_mask(mask: Any, out_shape: Shape, b: Array, name: str) -> Array:
    array = _read("mask", mask)
    array = array if is_chunked(array) and is_chunked(b) else as_numpy(array)
    if array.dtype != bool:
        got = f"mask has dtype {array.dtype}"
        raise ArgumentTypeError(got, f"Expected True where {name} was measured", "Use weights= for numbers")
    return _spread("mask", array, out_shape, b)


def _read(name: str, value: Any) -> Array:
    """Return an array as it is, and a list as one of NumPy, of numbers or of bool."""
    return value if hasattr(value, "__dlpack__") or is_chunked(value) else convert(name, value)


def _spread(name: str, array: Array, out_shape: Shape, b: Array) -> Array:
    """Return an array broadcast to an output, or to all of b."""
    shape = tuple(array.shape)
    whole = out_shape if len(shape) <= len(out_shape) else tuple(b.shape)
    try:
        if np.broadcast_shapes(shape, whole) == whole:
            return namespace(array).broadcast_to(array, whole)
    except ValueError:
        pass
    raise ArgumentError(f"{name} has shape {shown(shape)}", f"Expected {out_shape}, as an output has", "Check its axes")


def _without_batch(weight: Array, out_shape: Shape) -> Array | None:
    """Return weights without the axes of a batch if its arrays have equal ones, and None if all are 1."""
    numbers = as_numpy(weight)
    if numbers.ndim > len(out_shape):
        flat = numbers.reshape(-1, *out_shape)
        if len(flat) and (flat == flat[0]).all():
            weight, numbers = reshape(weight, (-1, *out_shape))[0], flat[0]
    return None if is_numpy(weight) and (numbers == 1).all() else weight


def weighted(op: LinearMap, b: Array, weight: Array) -> tuple[LinearMap, Array]:
    """Return map and data of the outputs whose weight is not 0."""
    numbers = as_numpy(weight)
    places = np.flatnonzero(numbers)
    if places.size < numbers.size:
        op = Selection(op.out_shape, places) @ op
        batch = tuple(b.shape)[: b.ndim - numbers.ndim]
        b = namespace(b).take(reshape(b, (*batch, prod(numbers.shape))), like(places, b), axis=-1)
        weight = namespace(weight).take(reshape(weight, (-1,)), like(places, weight), axis=0)
    if is_numpy(weight) and (as_numpy(weight) == 1).all():
        return op, b
    root = _root(weight)
    if all(str(array.dtype) in ("float32", "complex64") for array in (op, b)):
        root = cast(root, np.float32)
    by, b = together(root, b)
    return Diagonal(root, op.out_shape) @ op, by * b


def _root(weight: Array) -> Array:
    """Return square roots in double precision, or in the type of a tensor of floats."""
    if is_numpy(weight):
        return np.sqrt(np.asarray(weight, np.float64))
    xp = namespace(weight)
    return xp.sqrt(weight if "float" in str(weight.dtype) else xp.astype(weight, xp.float64))
