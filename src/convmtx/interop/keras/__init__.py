"""Layers and models of Keras as affine maps."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

from convmtx.errors import UnsupportedError, door, shown, with_article
from convmtx.extras import import_extra
from convmtx.geometry import resolve
from convmtx.interop import layers
from convmtx.interop.keras.graph import apply, is_functional
from convmtx.interop.keras.reading import empty_of
from convmtx.interop.values import Value
from convmtx.maps.affine import Affine
from convmtx.typing import PerAxis, Shape


@door("from_keras")
def from_keras(layer: Any, input_shape: PerAxis) -> Affine:
    """Return the affine map ``y = A x + b`` that a Keras layer or model computes at inference."""
    keras = import_extra("keras", "keras")
    shape = resolve.shape("input_shape", input_shape)
    if isinstance(layer, (str, PathLike)):
        raise UnsupportedError(f"the path {shown(fspath(layer))}", "Expected a layer", _remedy(fspath(layer)))
    if not isinstance(layer, keras.layers.Layer):
        raise UnsupportedError(with_article(type(layer).__name__), "Expected a keras layer", "Pass the layer itself")
    if is_functional(layer):
        _check_model(layer, shape)
    # A model's maps without numbers, such as its identities, have the type of its weights; those of a layer are int8.
    start = Value.of_input(shape, empty_of(layer.variable_dtype) if isinstance(layer, keras.Model) else layers.INTEGERS)
    return apply(layer, start).affine(start)


def _remedy(path: str) -> str:
    """Return the remedy for a file, none of which is read here."""
    if str(path).endswith(".tflite"):
        return "Convert the file to ONNX, and use from_onnx"
    return "Load it with keras.saving.load_model(path, safe_mode=True)"


def _check_model(model: Any, shape: Shape) -> None:
    """Refuse a model with several inputs or outputs, and inputs that it does not take."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        got = f"model {model.name!r} with {len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise UnsupportedError(got, "Expected one of each", "Pass keras.Model(one_input, one_output)")
    sizes = model.inputs[0].shape[1:]
    if len(sizes) != len(shape) or any(n not in (None, size) for n, size in zip(sizes, shape, strict=True)):
        got = f"input_shape={shape} for model {model.name!r}"
        raise UnsupportedError(got, f"Expected {sizes}", "Pass the shape of one input, without the batch")
