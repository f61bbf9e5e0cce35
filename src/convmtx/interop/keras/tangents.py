"""Tangents at an input of what is not affine: activations, products of two tensors, and largest numbers.

The tensors are functions of the distance from that input, so the offset of each is what it is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.interop.keras.combining import broadcast, common_shape, merge_ranks, moved
from convmtx.interop.keras.reading import array, channels, floats_like
from convmtx.interop.values import Value
from convmtx.maps.affine import Affine
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.selection import Selection
from convmtx.typing import AnyArray

#: Activations that compute each number from the one at the same position, by their names in `keras.activations`.
_ACTIVATIONS = (
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu",
    "linear", "log_sigmoid", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softplus", "softsign",
    "sparse_plus", "sparse_sigmoid", "squareplus", "tanh", "tanh_shrink", "threshold",
)  # fmt: skip


def of_activation(activation: Any, x: Value) -> Value:
    """Return the tangent of an activation of Keras."""
    name = getattr(activation, "__name__", str(activation))
    of_keras = getattr(import_extra("keras", "keras").activations, name, None)
    if name not in _ACTIVATIONS or activation is not of_keras:
        expected = "Expected one of Keras that takes each number by itself"
        raise UnsupportedError(f"activation={name!r}", expected, "Leave this layer out")
    return of_function(of_keras, x)


def of_function(function: Callable[[Any], Any], x: Value) -> Value:
    """Return the tangent of a function that computes each number from the one at the same position."""
    ops, numbers = import_extra("keras", "keras").ops, _numbers(x)
    try:
        results, slopes = ops.jvp(function, (ops.convert_to_tensor(numbers),), (ops.ones_like(numbers),))
    except LookupError as error:  # TensorFlow has no derivative of softsign's derivative, for example
        got, expected = (
            f"{getattr(function, '__name__', function)} at x",
            f"This backend has no tangent of it ({error})",
        )
        raise UnsupportedError(got, expected, "Use another backend of Keras") from None
    results, slopes = array(results)[0], array(slopes)[0]
    return x.then(Affine(Diagonal(slopes, x.shape), results - slopes * numbers[0]))


def product(x1: Value, x2: Value) -> Value:
    """Return the tangent of a product: ``v2 x1 + v1 x2 - v1 v2`` at the numbers v1 and v2."""
    shape = common_shape([x1, x2])
    x1, x2 = broadcast(x1, shape), broadcast(x2, shape)
    v1, v2 = _numbers(x1)[0], _numbers(x2)[0]
    total = Value.total([(moved(x1, Diagonal(v2, shape)), 1), (moved(x2, Diagonal(v1, shape)), 1)])
    return total.plus(-v1 * v2)


def merged_product(inputs: Sequence[Value]) -> Value:
    """Return the tangent of the product of all inputs of a merging layer."""
    result, *others = merge_ranks(inputs)
    for x in others:
        result = product(result, x)
    return result


def max_pooling(layer: Any, x: Value) -> Value:
    """Return the map that takes the largest number of each window."""
    ops, size, numbers = import_extra("keras", "keras").ops, prod(x.shape), _numbers(x)
    if size > 1 << 24:
        raise UnsupportedError(f"max pooling of {size} numbers", "Expected at most 2**24", "Use smaller inputs")
    # The derivative in the direction of the places, which float32 holds up to 2**24, is that of the largest number.
    dtype = np.result_type(numbers, np.float32)
    places = np.arange(size, dtype=dtype).reshape(numbers.shape)
    _, taken = ops.jvp(layer.call, (ops.convert_to_tensor(numbers.astype(dtype)),), (ops.convert_to_tensor(places),))
    return moved(x, Selection(x.shape, array(taken)[0].astype(np.int64)))


def global_max_pooling(layer: Any, x: Value) -> Value:
    """Return the map that takes the largest number of each channel."""
    axis = -1 if channels(layer) == "last" else 0
    numbers, places = (np.moveaxis(a, axis, -1) for a in (_numbers(x)[0], np.arange(prod(x.shape)).reshape(x.shape)))
    rows, columns = numbers.reshape(-1, x.shape[axis]), places.reshape(-1, x.shape[axis])
    taken = columns[rows.argmax(axis=0), np.arange(x.shape[axis])]
    if layer.keepdims:
        taken = taken.reshape([x.shape[axis] if j == axis % len(x.shape) else 1 for j in range(len(x.shape))])
    return moved(x, Selection(x.shape, taken))


def _numbers(x: Value) -> AnyArray:
    """Return the numbers of a tensor at the input, as a batch of one."""
    return np.zeros((1, *x.shape), floats_like(x.like).dtype) if x.offset is None else np.array(x.offset)[None]


def _of_operation(operation: Any, *args: Any, **options: Any) -> Value:
    """Return the tangent of an operation on one tensor and constants."""
    tensors = [j for j, a in enumerate(args) if isinstance(a, Value)]
    if len(tensors) != 1 or any(isinstance(a, Value) for a in options.values()):
        got = f"operation {type(operation).__name__} of several tensors"
        raise UnsupportedError(got, "Expected one tensor that depends on the input", "Leave this operation out")
    j = tensors[0]
    return of_function(lambda v: operation.call(*args[:j], v, *args[j + 1 :], **options), args[j])


def _multiply(_operation: Any, x1: Any, x2: Any) -> Value | None:
    return product(x1, x2) if isinstance(x1, Value) and isinstance(x2, Value) else None


def _divide(operation: Any, x1: Any, x2: Any) -> Value | None:
    if not isinstance(x2, Value):
        return None
    inverse = of_function(lambda v: 1 / v, x2)
    return product(x1, inverse) if isinstance(x1, Value) else _of_operation(operation, x1, x2)


#: Operations that compute each number from the one at the same position, by the file in `keras.ops`.
_ELEMENTWISE = {
    "nn": ("Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Silu", "Sigmoid", "HardSigmoid", "HardSilu",
           "HardTanh", "Softplus", "Softsign", "LogSigmoid", "HardShrink", "SoftShrink", "TanhShrink", "Threshold"),
    "numpy": ("Absolute", "Abs", "Clip", "Cos", "Exp", "Log", "Reciprocal", "Sin", "Sqrt", "Square", "Tanh"),
}  # fmt: skip
#: Functions of an operation and its arguments that return a tangent, or None where the operation is affine.
OPERATIONS: dict[str, Callable[..., Value | None]] = {
    **{f"{file}.{name}": _of_operation for file, names in _ELEMENTWISE.items() for name in names},
    "nn.MaxPool": max_pooling,
    "numpy.Divide": _divide,
    "numpy.Multiply": _multiply,
    "numpy.TrueDivide": _divide,
}
#: Functions of a layer and its input that return a tangent, by the name of the class in `keras.layers`.
LAYERS: dict[str, Callable[[Any, Value], Value]] = {
    **dict.fromkeys(("ELU", "LeakyReLU", "PReLU", "ReLU"), lambda layer, x: of_function(layer.call, x)),
    **dict.fromkeys(("MaxPooling1D", "MaxPooling2D", "MaxPooling3D"), max_pooling),
    **dict.fromkeys(("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D"), global_max_pooling),
}
