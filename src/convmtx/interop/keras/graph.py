"""Models of Keras, whose tensors are affine functions of their input."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from convmtx.errors import ConvmtxError, UnsupportedError
from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.keras import tangents
from convmtx.interop.keras.combining import concatenate, merged_product, merged_sum, moved, stack, value_of
from convmtx.interop.keras.operations import OPERATIONS
from convmtx.interop.keras.reading import number_type
from convmtx.interop.keras.single import convert, has_activation, is_kerass_own, refuse_replaced_weights
from convmtx.interop.values import Value
from convmtx.maps.affine import Affine
from convmtx.maps.kronecker import Kronecker
from convmtx.maps.selection import select


def apply(layer: Any, x: Value, bends: bool) -> Value:
    """Return the output of a layer or model with one input and one output.

    If it ``bends``, what is not affine is replaced by its tangent at an input of zeros, and otherwise refused.
    """
    keras = import_extra("keras", "keras")
    if type(layer) is keras.Sequential:
        for number, part in enumerate(layer.layers, 1):
            with _placed(part, number, layer):
                x = apply(part, x, bends)
        return x
    if is_functional(layer):
        return run(layer, [x], bends)[0]
    name = type(layer).__name__
    if isinstance(layer, keras.Model):
        got = f"model {name} with a call of its own"
        raise UnsupportedError(got, "Expected a Sequential or functional model", "Convert its parts")
    if name in ("TimeDistributed", "SpectralNormalization") and is_kerass_own(layer):
        refuse_replaced_weights(layer)
        return (_at_every_time if name == "TimeDistributed" else apply)(layer.layer, x, bends)
    if bends and name in tangents.LAYERS and is_kerass_own(layer):
        return tangents.LAYERS[name](layer, x)
    for op in convert(layer, x.shape, bends):
        x = x.then(op)
    return tangents.of_activation(layer.activation, x) if has_activation(layer) else x


def is_functional(model: Any) -> bool:
    """Whether a model is a graph of layers and nothing else, as `keras.Model(inputs, outputs)` makes it."""
    keras = import_extra("keras", "keras")
    if not isinstance(model, keras.Model) or not isinstance(model, keras.Function):
        return False
    own = next(kind for kind in type(model).__mro__ if "call" in vars(kind))
    return own.__module__ == "keras.src.models.functional" and "call" not in vars(model)


def run(model: Any, inputs: Sequence[Value], bends: bool) -> list[Value]:
    """Return the outputs of a functional model; each operation is carried out once."""
    for tensor, value in zip(model.inputs, inputs, strict=True):
        if not _fits(value, tensor):
            got = f"an input of shape {value.shape} for model {model.name!r}"
            raise UnsupportedError(got, f"Expected {tensor.shape[1:]}", "Pass a shape without the batch")
    tensors = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    for number, node in enumerate((node for node in nodes if not node.is_input), 1):
        with _placed(node.operation, number, model):
            args, options = node.arguments.fill_in(tensors)
            for tensor, value in zip(node.outputs, _call(node, args, options, bends), strict=True):
                number_type(tensor.dtype)
                if not _fits(value, tensor):
                    raise UnsupportedError(
                        f"outputs of shape {value.shape}", f"Expected {tensor.shape[1:]}", "Report it"
                    )
                tensors[id(tensor)] = value
    return [tensors[id(tensor)] for tensor in model.outputs]


@contextmanager
def _placed(operation: Any, number: int, model: Any) -> Iterator[None]:
    """Write the place in a model into errors."""
    try:
        yield
    except ConvmtxError as error:
        got, expected, remedy = error.args
        place = f"operation {number} of {model.name!r}, {operation.name!r} ({type(operation).__name__})"
        raise type(error)(f"{place}: {got}", expected, remedy) from None


def _fits(value: Value, tensor: Any) -> bool:
    """Whether a value has the shape that Keras says, where that is known."""
    sizes = tensor.shape[1:]
    return len(sizes) == len(value.shape) and all(n in (None, m) for n, m in zip(sizes, value.shape, strict=True))


def _call(node: Any, args: Sequence[Any], options: dict[str, Any], bends: bool) -> list[Value]:
    """Return the outputs of an operation or layer in a graph."""
    keras, operation, kind = import_extra("keras", "keras"), node.operation, type(node.operation)
    if kind is keras.layers.Resizing:
        number_type(node.input_tensors[0].dtype)  # the layer rounds the pixels of integer images
        options = {}  # in which Keras writes training=True, which changes nothing here
    if isinstance(operation, keras.layers.Layer):
        return _call_layer(operation, args, options, bends)
    key = f"{kind.__module__}.{kind.__name__}".removeprefix("keras.src.ops.")
    if bends and key in tangents.OPERATIONS:
        tangent = tangents.OPERATIONS[key](operation, *args, **options)
        if tangent is not None:
            return [tangent]
    function = OPERATIONS.get(key)
    if function is None:
        got = f"operation {kind.__name__}"
        raise UnsupportedError(got, "Expected one that is affine, and that from_keras lists", "Convert its parts")
    output = function(operation, *args, **options)
    return output if isinstance(output, list) else [output]


def _call_layer(layer: Any, args: Sequence[Any], options: dict[str, Any], bends: bool) -> list[Value]:
    tree, name = import_extra("keras", "keras").tree, type(layer).__name__
    options = dict(options)
    first, *others = args if args else (options.pop(next(iter(options))),)
    switched = [option for option in tree.flatten((others, options)) if option is not None and option is not False]
    if switched:
        got = f"{name} that is called with training=True, or with further arguments"
        raise UnsupportedError(got, "Expected what it does at inference", "Call it on its input alone")
    if is_functional(layer) and isinstance(first, dict) and not isinstance(layer.input, dict):
        first = [first[tensor.name] for tensor in layer.inputs]
    inputs = tree.flatten(first)
    if is_functional(layer):
        return run(layer, [value_of(x) for x in inputs], bends)
    if bends and type(layer) is import_extra("keras", "keras").layers.Multiply:
        return [tangents.merged_product(inputs)]
    if name in _MERGES and is_kerass_own(layer):
        return [_MERGES[name](layer, inputs)]
    if len(inputs) != 1:
        got = f"{name} of {len(inputs)} inputs"
        raise UnsupportedError(got, "Expected one, or a layer that from_keras lists", "Convert its parts")
    return [apply(layer, value_of(inputs[0]), bends)]


def _at_every_time(layer: Any, x: Value, bends: bool) -> Value:
    """Return the output of a layer applied at each position of the first axis."""
    if len(x.shape) < 2:
        got = f"an input of shape {x.shape} for TimeDistributed"
        raise UnsupportedError(got, "Expected times and one axis more", "Check the shape of the input")
    n, *shape = x.shape
    if bends:  # each time has its own tangent
        parts = [moved(x, select(x.shape, j)) for j in range(n)]
        return stack([apply(layer, part, bends) for part in parts], 1)
    start = Value.of_input(tuple(shape), x.like)
    one = apply(layer, start, bends).affine(start)
    op = Kronecker(layers.identity((n,)), one.op)
    return x.then(Affine(op, np.broadcast_to(one.offset, op.out_shape)))


#: Functions of a layer, and of its inputs, by the name of the class in `keras.layers`.
_MERGES: dict[str, Any] = {
    "Add": lambda _, xs: merged_sum(xs, [1] * len(xs)),
    "Average": lambda _, xs: merged_sum(xs, [1 / len(xs)] * len(xs)),
    "Concatenate": lambda layer, xs: concatenate(xs, layer.axis),
    "Multiply": lambda _, xs: merged_product(xs),
    "Subtract": lambda _, xs: merged_sum(xs, [1, -1]),
}
