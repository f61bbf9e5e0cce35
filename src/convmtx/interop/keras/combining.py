"""Sums, products with constants, and joins of tensors in a model of Keras."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from convmtx.errors import UnsupportedError
from convmtx.interop import layers
from convmtx.interop.keras.moving import reshaped
from convmtx.interop.keras.reading import constant, floats_like, per_sample
from convmtx.interop.keras.weighted import scaled
from convmtx.interop.values import Value
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, Shape


def moved(x: Value, op: LinearMap) -> Value:
    """Return a linear map of a tensor."""
    return x.then(layers.add_bias(op, None))


def axis_of(axis: Any, shape: Shape) -> int:
    """Return an axis that counts the batch as an axis of one input, of this shape."""
    n_axes, number = len(shape) + 1, index(axis)
    if not -n_axes < number < n_axes or number == 0:
        got = f"axis {axis} of inputs of shape {('batch', *shape)}"
        raise UnsupportedError(got, "Expected an axis of one input, for inputs do not mix", "Leave this operation out")
    return number % n_axes - 1


def axes_of(axes: Any, shape: Shape) -> list[int]:
    """Return one axis or several, which count the batch, as axes of one input."""
    if axes is None:
        raise UnsupportedError("axis=None", "Expected axes of one input, for inputs do not mix", "Name the axes")
    return [axis_of(axis, shape) for axis in ([axes] if np.ndim(axes) == 0 else axes)]


def weighted_sum(pairs: Sequence[tuple[Any, float]]) -> Value:
    """Return the sum of operands times numbers; an operand is a tensor or a constant, and one is a tensor."""
    first = next(operand for operand, _ in pairs if isinstance(operand, Value))
    like = floats_like(first.like)
    operands = [a if isinstance(a, Value) else per_sample(constant(a, like), first.shape) for a, _ in pairs]
    shape, numbers = common_shape(operands), [number for _, number in pairs]
    terms = [(a, number) for a, number in zip(operands, numbers, strict=True) if isinstance(a, Value)]
    total = Value.total([(broadcast(a, shape), number) for a, number in terms])
    for operand, number in zip(operands, numbers, strict=True):
        if not isinstance(operand, Value):
            total = total.plus(np.broadcast_to(operand.dtype.type(number) * operand, shape))
    return total


def merged_sum(inputs: Sequence[Any], numbers: Sequence[float]) -> Value:
    """Return the sum of the inputs of a merging layer, times numbers."""
    return weighted_sum(list(zip(merge_ranks(inputs), numbers, strict=True)))


def merged_product(inputs: Sequence[Any]) -> Value:
    """Return the product of one tensor and constants, as merging layers take it."""
    product = inputs[0]
    for factor in inputs[1:]:
        product = multiply(product, factor)
    return value_of(product)


def merge_ranks(inputs: Sequence[Any]) -> list[Any]:
    """Return the inputs of a merging layer, in which tensors with fewer axes have got axes of size 1 in front."""
    rank = max(len(x.shape) for x in inputs if isinstance(x, Value))
    return [
        x.then(reshaped(x.shape, (1,) * (rank - len(x.shape)) + x.shape)) if isinstance(x, Value) else x for x in inputs
    ]


def multiply(x1: Any, x2: Any) -> Value:
    """Return the product of a tensor and a constant."""
    if isinstance(x1, Value) and isinstance(x2, Value):
        got = "a product of two tensors that both depend on the input"
        raise UnsupportedError(got, "It is not affine, unless one of them is constant", "Leave this operation out")
    x, factors = (x1, x2) if isinstance(x1, Value) else (value_of(x2), x1)
    return _scale(x, constant(factors, floats_like(x.like)))


def divide(x1: Any, x2: Any) -> Value:
    """Return a tensor divided by a constant."""
    if isinstance(x2, Value):
        got = "a division by a tensor that depends on the input"
        raise UnsupportedError(got, "It is not affine", "Leave this operation out")
    x = value_of(x1)
    return _scale(x, 1 / constant(x2, floats_like(x.like)))


def value_of(operand: Any) -> Value:
    """Return an operand that depends on the input; refuse a constant."""
    if not isinstance(operand, Value):
        raise UnsupportedError("an operation on a constant", "Expected a tensor of the model", "Leave it out")
    return operand


def _scale(x: Value, factors: AnyArray) -> Value:
    factors = per_sample(factors, x.shape)
    if factors.size == 1:
        return Value.total([(x, float(factors.item()))])
    shape = common_shape([x, factors])
    return broadcast(x, shape).then(scaled(factors, np.zeros((), factors.dtype), shape))


def concatenate(xs: Sequence[Any], axis: int) -> Value:
    """Return tensors joined along an axis, which counts the batch."""
    values = [value_of(x) for x in xs]
    return Value.joined(values, axis_of(axis, values[0].shape))


def stack(xs: Sequence[Any], axis: int) -> Value:
    """Return tensors joined along a new axis, which counts the batch."""
    values = [value_of(x) for x in xs]
    shape = values[0].shape
    at = axis_of(axis, (*shape, len(values)))
    return Value.joined([x.then(reshaped(shape, (*shape[:at], 1, *shape[at:]))) for x in values], at)


def matrix_product(x1: Any, x2: Any) -> Value:
    """Return the matrix product of a tensor and a constant matrix, on either side."""
    if isinstance(x1, Value) and isinstance(x2, Value):
        multiply(x1, x2)
    if isinstance(x1, Value):
        return moved(x1, layers.multiply_along(constant(x2, floats_like(x1.like)).T, x1.shape, len(x1.shape) - 1))
    x = value_of(x2)
    if len(x.shape) < 2:
        raise UnsupportedError("a matrix times a batch of vectors", "Expected the batch first", "Swap the operands")
    return moved(x, layers.multiply_along(constant(x1, floats_like(x.like)), x.shape, len(x.shape) - 2))


def broadcast(x: Value, shape: Shape) -> Value:
    """Return a tensor repeated along the axes where it has one position."""
    for j, (n, wanted) in enumerate(zip(x.shape, shape, strict=True)):
        if n != wanted:
            x = moved(x, layers.take_along(x.shape, j, np.zeros(wanted, np.int64)))
    return x


def common_shape(operands: Sequence[Value | AnyArray]) -> Shape:
    """Return the shape to which Keras broadcasts operands, without the batch."""
    shapes = [tuple(operand.shape) for operand in operands]
    ranks = {len(operand.shape) for operand in operands if isinstance(operand, Value)}
    if len(ranks) == 1:  # of two ranks, Keras would take the batch of one tensor for an axis of the other
        try:
            return np.broadcast_shapes(*shapes)
        except ValueError:
            pass
    got = f"operands of shapes {', '.join(map(str, shapes))}, without the batch"
    raise UnsupportedError(got, "Expected shapes that fit", "Reshape them before")
