"""Numbers, types and layouts of Keras, whichever backend it runs on."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.typing import AnyArray, IntArray, Shape

#: Types of a map's numbers, by the name of the type that Keras stores or computes. NumPy has no bfloat16; float32 holds
#: each of its numbers exactly.
_TYPES = {"float16": np.float16, "float32": np.float32, "float64": np.float64, "bfloat16": np.float32}


def number_type(name: str) -> np.dtype[Any]:
    """Return the type of a map's numbers for a type of Keras."""
    if name not in _TYPES:
        raise UnsupportedError(f"numbers of type {name}", "Expected floating point numbers", "Cast to float32 before")
    return np.dtype(_TYPES[name])


def empty_of(name: str) -> AnyArray:
    """Return an empty array of the type of a map's numbers for a type of Keras."""
    return np.empty(0, number_type(name))


def array(value: Any) -> Any:
    """Return a weight or tensor of Keras as a NumPy array of its own; None for a layer without it."""
    if value is None:
        return None
    numbers = _numbers(value)
    return np.array(numbers, number_type(numbers.dtype.name))


def _numbers(value: Any) -> AnyArray:
    """Return a tensor or number as a NumPy array, which may share its memory; bfloat16 becomes float32."""
    keras = import_extra("keras", "keras")
    tensor = keras.ops.convert_to_tensor(value)
    if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16":
        tensor = keras.ops.cast(tensor, "float32")
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)


def channels(layer: Any) -> Any:
    """Return "first" or "last", as `conv` names it; a layer without the option has its channels last."""
    return getattr(layer, "data_format", "channels_last").removeprefix("channels_")


def channel_axis(layer: Any) -> int:
    """Return the axis of the channels."""
    return -1 if channels(layer) == "last" else 0


def per_sample(numbers: AnyArray, shape: Shape) -> AnyArray:
    """Return an array that Keras broadcasts against batches, as it is broadcast against one input of a shape."""
    if numbers.ndim <= len(shape):
        return numbers
    if numbers.ndim > len(shape) + 1 or numbers.shape[0] != 1:
        got = f"numbers of shape {numbers.shape} beside inputs of shape {shape}"
        raise UnsupportedError(got, "Expected the same numbers for every input of a batch", "Leave this part out")
    return numbers[0]


def constant(value: Any, like: AnyArray) -> AnyArray:
    """Return a number or array in a graph of Keras, in the type in which the graph computes.

    A number has the type of ``like``, the numbers of the other operand, and so have integers and half precision: Keras
    converts them. Arrays of float64 stay.
    """
    numbers = np.asarray(value) if isinstance(value, (int, float)) else _numbers(value)
    if numbers.dtype.kind == "c":
        raise UnsupportedError(f"numbers of type {numbers.dtype}", "Expected real numbers", "Leave this part out")
    keeps_type = numbers.ndim and numbers.dtype == np.float64
    return np.array(numbers, np.float64 if keeps_type else like.dtype)


def floats_like(like: AnyArray) -> AnyArray:
    """Return an empty array of the type of numbers that come from operations: half precision becomes float32."""
    return np.empty(0, np.result_type(like, np.float32))


def integers(value: Any) -> IntArray:
    """Return integers in a graph of Keras."""
    return _numbers(value).astype(np.int64)
