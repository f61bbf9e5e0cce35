"""Functions of `keras.ops` in a model: what moves numbers, sums them along axes, and combines tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, TypeAlias

import numpy as np

from convmtx.boundary import EDGE, REFLECT, SYMMETRIC, WRAP, ZERO
from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.keras.combining import (
    axes_of,
    axis_of,
    concatenate,
    divide,
    matrix_product,
    moved,
    multiply,
    stack,
    value_of,
    weighted_sum,
)
from convmtx.interop.keras.moving import pad, reshaped
from convmtx.interop.keras.reading import constant, floats_like, integers
from convmtx.interop.keras.resizing import resize
from convmtx.interop.values import Value
from convmtx.maps.along_axis import AlongAxis
from convmtx.maps.rearranged import Rearranged
from convmtx.maps.selection import Selection, select
from convmtx.typing import IntArray

#: Boundary rules by the name of ``mode`` in `keras.ops.pad`.
_BOUNDARIES = {"constant": ZERO, "reflect": REFLECT, "symmetric": SYMMETRIC, "edge": EDGE, "wrap": WRAP}


def _reshape(operation: Any, x: Value) -> Value:
    target = tuple(operation.newshape)
    if target[:1] != (-1,):
        got = f"a batch reshaped to {target}"
        raise UnsupportedError(got, "Expected the size of any batch, -1", "Reshape to (-1, *shape_of_one_output)")
    return x.then(reshaped(x.shape, target[1:]))


def _rearrange(x: Value, order: Sequence[int]) -> Value:
    """Return a tensor with its axes in another order, in which the batch comes first."""
    if order[0] != 0:
        got = f"axes in the order {tuple(order)}"
        raise UnsupportedError(got, "Expected the batch first, for inputs do not mix", "Leave this operation out")
    return moved(x, Rearranged(x.shape, [a - 1 for a in order[1:]]))


def _transpose(operation: Any, x: Value) -> Value:
    n = len(x.shape) + 1
    return _rearrange(x, [a % n for a in operation.axes or reversed(range(n))])


def _move_axes(operation: Any, x: Value) -> Value:
    n = len(x.shape) + 1
    source, target = ([a % n for a in axes] for axes in (operation.source, operation.destination))
    rest = iter([a for a in range(n) if a not in source])
    return _rearrange(x, [source[target.index(j)] if j in target else next(rest) for j in range(n)])


def _swap_axes(operation: Any, x: Value) -> Value:
    order = list(range(len(x.shape) + 1))
    order[operation.axis1], order[operation.axis2] = order[operation.axis2], order[operation.axis1]
    return _rearrange(x, order)


def _expand(operation: Any, x: Value) -> Value:
    axes = [operation.axis] if isinstance(operation.axis, int) else operation.axis
    rank = len(x.shape) + len(axes)
    added = {axis_of(axis, (1,) * rank) for axis in axes}
    rest = iter(x.shape)
    return x.then(reshaped(x.shape, [1 if j in added else next(rest) for j in range(rank)]))


def _squeeze(operation: Any, x: Value) -> Value:
    shape = x.shape
    dropped = [j for j, n in enumerate(shape) if n == 1] if operation.axis is None else axes_of(operation.axis, shape)
    return x.then(reshaped(shape, [n for j, n in enumerate(shape) if j not in dropped]))


def _sum_along(operation: Any, x: Value, mean: bool) -> Value:
    axes = axes_of(operation.axis, x.shape)
    shape = x.shape
    for axis in axes:
        n = x.shape[axis]
        weights = np.full((1, n), 1 / n if mean else 1, floats_like(x.like).dtype)
        x = moved(x, AlongAxis(weights, x.shape, axis))
    if getattr(operation, "keepdims", False):
        return x
    return x.then(reshaped(x.shape, [n for j, n in enumerate(shape) if j not in axes]))


def _sum(operation: Any, x: Value) -> Value:
    return _sum_along(operation, x, mean=False)


def _mean(operation: Any, x: Value, weights: Any = None) -> Value:
    if weights is not None:
        raise UnsupportedError("average with weights", "Expected none", "Multiply by them, and take the sum")
    return _sum_along(operation, x, mean=True)


def _get_item(_operation: Any, x: Value, key: Any) -> Value:
    key = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    entries = [k for k in key if k is not None and k is not Ellipsis]
    if not all(isinstance(k, (int, slice, np.integer)) for k in entries):
        raise UnsupportedError("an index that is an array", "Expected integers and slices", "Use keras.ops.take")
    shape = x.shape
    if key[:1] == (slice(None),):
        key = key[1:]
    elif key[:1] != (Ellipsis,) or len(entries) > len(shape):
        got = f"the index {key[0]!r} of the batch"
        raise UnsupportedError(got, "Expected all inputs of the batch, ':'", "Leave this operation out")
    return moved(x, select(shape, key))


def _take_along(x: Value, axis: int, places: IntArray) -> Value:
    return moved(x, layers.take_along(x.shape, axis, places))


def _take(operation: Any, x: Any, indices: Any) -> Value:
    axis = axes_of(operation.axis, value_of(x).shape)[0]
    if isinstance(indices, Value):
        raise UnsupportedError("indices that depend on the input", "Expected constants", "Leave this operation out")
    places = integers(indices)
    taken = _take_along(x, axis, places.reshape(-1) % x.shape[axis])
    return taken.then(reshaped(taken.shape, (*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])))


def _flip(operation: Any, x: Value) -> Value:
    for axis in axes_of(operation.axis, x.shape):
        x = _take_along(x, axis, np.arange(x.shape[axis])[::-1])
    return x


def _roll(operation: Any, x: Value) -> Value:
    axes = axes_of(operation.axis, x.shape)
    shifts = np.broadcast_to(operation.shift, len(axes))
    for axis, shift in zip(axes, shifts, strict=True):
        x = _take_along(x, axis, np.roll(np.arange(x.shape[axis]), int(shift)))
    return x


def _repeat(operation: Any, x: Value) -> Value:
    axis = axes_of(operation.axis, x.shape)[0]
    return _take_along(x, axis, np.repeat(np.arange(x.shape[axis]), operation.repeats))


def _tile(operation: Any, x: Value) -> Value:
    shape = x.shape
    repeats = (operation.repeats,) if isinstance(operation.repeats, int) else tuple(operation.repeats)
    repeats = (1,) * (len(shape) + 1 - len(repeats)) + repeats
    if repeats[0] != 1 or len(repeats) > len(shape) + 1:
        raise UnsupportedError(f"repeats={repeats}", "Expected 1 for the batch", "Leave this operation out")
    for axis, count in enumerate(repeats[1:]):
        if count != 1:
            x = _take_along(x, axis, np.tile(np.arange(shape[axis]), count))
    return x


def _pad(operation: Any, x: Value, constant_values: Any = None) -> Value:
    shape = x.shape
    pads = [(int(pair[0]), int(pair[-1])) for pair in operation.pad_width]
    pads = pads * (len(shape) + 1) if len(pads) == 1 else pads
    if pads[0] != (0, 0) or operation.mode not in _BOUNDARIES:
        got = f"pads {pads} of mode {operation.mode!r}"
        raise UnsupportedError(got, f"Expected (0, 0) first, and one of {', '.join(_BOUNDARIES)}", "Change the pads")
    op = pad(shape, pads[1:], _BOUNDARIES[operation.mode])
    if isinstance(constant_values, Value):
        raise UnsupportedError("pads that depend on the input", "Expected a number", "Leave this operation out")
    filled = 0.0 if constant_values is None else float(constant(constant_values, floats_like(x.like)))
    return x.then(layers.fill_pads(op, pads[1:], filled, floats_like(x.like)))


def _split(operation: Any, x: Value) -> list[Value]:
    axis = axis_of(operation.axis, x.shape)
    parts = np.split(np.arange(x.shape[axis]), operation.indices_or_sections)
    return [_take_along(x, axis, part) for part in parts]


def _unstack(operation: Any, x: Value) -> list[Value]:
    axis = axis_of(operation.axis, x.shape)
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    taken = [_take_along(x, axis, np.array([j])) for j in range(x.shape[axis])]
    return [part.then(reshaped(part.shape, shape)) for part in taken]


def _rearrange_blocks(operation: Any, x: Value) -> Value:
    """Return what an operation moves, as it moves the numbers of the places: backends differ with channels first."""
    layers.require_small("the numbers of all places", 8 * prod(x.shape))
    places = np.arange(prod(x.shape), dtype=np.int32).reshape(1, *x.shape)
    return moved(
        x, Selection(x.shape, integers(operation.call(import_extra("keras", "keras").ops.convert_to_tensor(places)))[0])
    )


def _resize(operation: Any, images: Value) -> Value:
    return images.then(resize(operation, images.shape, operation.size, floats_like(images.like)))


def _same(_operation: Any, x: Value) -> Value:
    return x


_Operation: TypeAlias = Callable[..., Value | list[Value]]
#: Functions of an operation, and of its arguments, by the file in `keras.ops` and the name of its class.
OPERATIONS: dict[str, _Operation] = {
    "core.Cast": _same,
    "core.StopGradient": _same,
    "core.Unstack": _unstack,
    "image.Resize": _resize,
    "nn.DepthToSpace": _rearrange_blocks,
    "nn.SpaceToDepth": _rearrange_blocks,
    "numpy.Add": lambda _, x1, x2: weighted_sum([(x1, 1), (x2, 1)]),
    "numpy.Average": _mean,
    "numpy.Concatenate": lambda operation, xs: concatenate(xs, operation.axis),
    "numpy.Copy": _same,
    "numpy.Divide": lambda _, x1, x2: divide(x1, x2),
    "numpy.ExpandDims": _expand,
    "numpy.Flip": _flip,
    "numpy.GetItem": _get_item,
    "numpy.Matmul": lambda _, x1, x2: matrix_product(x1, x2),
    "numpy.Mean": _mean,
    "numpy.Moveaxis": _move_axes,
    "numpy.Multiply": lambda _, x1, x2: multiply(x1, x2),
    "numpy.Negative": lambda _, x: weighted_sum([(x, -1)]),
    "numpy.Pad": _pad,
    "numpy.Repeat": _repeat,
    "numpy.Reshape": _reshape,
    "numpy.Roll": _roll,
    "numpy.Split": _split,
    "numpy.Squeeze": _squeeze,
    "numpy.Stack": lambda operation, x: stack(x, operation.axis),
    "numpy.Subtract": lambda _, x1, x2: weighted_sum([(x1, 1), (x2, -1)]),
    "numpy.Sum": _sum,
    "numpy.Swapaxes": _swap_axes,
    "numpy.Take": _take,
    "numpy.Tile": _tile,
    "numpy.Transpose": _transpose,
    "numpy.TrueDivide": lambda _, x1, x2: divide(x1, x2),
}
