"""Layers and models of Keras as affine maps."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any

import numpy as np

from convmtx._xp import as_numpy, numeric
from convmtx.errors import ArgumentError, UnsupportedError, door, shown, with_article
from convmtx.extras import import_extra
from convmtx.geometry import resolve
from convmtx.interop.keras.graph import apply, is_functional
from convmtx.interop.keras.reading import empty_of, number_type
from convmtx.interop.values import Value
from convmtx.maps.affine import Affine
from convmtx.typing import AnyArray, PerAxis, Shape


@door("from_keras")
def from_keras(layer: Any, input_shape: PerAxis, *, at: Any = None) -> Affine:
    """Return the affine map ``y = A x + b`` that a Keras layer or model computes at inference.

    The law is ``from_keras(layer, x.shape[1:])(x) == layer(x, training=False)`` for batches x, up to rounding. A
    functional model becomes one map with its branches, skip connections and shared layers, each of which is computed
    once.

    Parameters
    ----------
    layer : keras.layers.Layer or keras.Model
        Of layers with weights: Conv1D to 3D (causal too), Conv1DTranspose to 3DTranspose, DepthwiseConv1D and 2D,
        SeparableConv1D and 2D, Dense, EinsumDense, BatchNormalization, Normalization, SpectralNormalization.
        Of layers without: AveragePooling, GlobalAveragePooling and AdaptiveAveragePooling, ZeroPadding, Cropping and
        UpSampling, each 1D to 3D, Resizing, Rescaling, Flatten, Reshape, Permute, RepeatVector, Identity, Activation of
        linear, and all kinds of dropout and noise, which do nothing at inference.
        Of several tensors: Add, Subtract, Average, Concatenate, and Multiply by a constant.
        TimeDistributed, Sequential and functional models of all these, inside each other too. Between the tensors of a
        functional model, functions of `keras.ops` may stand that are affine and keep the batch: sums, products with
        constants, means, shapes, orders, slices, pads, repetitions, joins, ``image.resize``, ``depth_to_space``.

        Both values of ``data_format`` are accepted. Layers with weights must have been built, or called once.
    input_shape : tuple of int
        Shape of one input without the batch.
    at : array_like, optional
        Input, of ``input_shape``, at which what is not affine is replaced by its tangent: activations and functions
        that take each number by itself (ReLU, LeakyReLU, hard_silu, gelu, ...), products and quotients of two tensors,
        max pooling. Then ``A(at)`` is the model's output, and ``A.op`` its Jacobian.

    Returns
    -------
    Affine
        ``.op`` holds the weights, ``.offset`` the bias, both as NumPy arrays of their type: mixed precision has
        float32, and bfloat16 is widened to it. The weights are copied, so that training does not change the map. A
        chain of layers is a product, in which neighbouring convolutions become one where they can. A model with
        branches that products and sums cannot express has an operator that applies each layer once.

    Raises
    ------
    UnsupportedError
        If a layer or operation is not such a map, or if one of its options, such as its activation, is not linear; if
        a model has several inputs or outputs. Quantized layers and layers with LoRA are refused too. The message names
        the layer, and in a model its place: the number of the operation, and the name and class of the layer. This is a
        ValueError.
    ValueError
        If the input shape does not fit.
    ImportError
        Without the extra ``keras``.

    Notes
    -----
    Backends of Keras differ: in the means of windows over pads, in biases added with channels first, in cubic
    interpolation and in the order of blocks. The map is that of the backend that runs; interpolation is known of
    TensorFlow, JAX and PyTorch.

    Files are not read. Load a model with ``keras.saving.load_model(path, safe_mode=True)``.
    """
    keras = import_extra("keras", "keras")
    shape = resolve.shape("input_shape", input_shape)
    if isinstance(layer, (str, PathLike)):
        raise UnsupportedError(f"the path {shown(fspath(layer))}", "Expected a layer", _remedy(fspath(layer)))
    if not isinstance(layer, keras.layers.Layer):
        raise UnsupportedError(with_article(type(layer).__name__), "Expected a keras layer", "Pass the layer itself")
    if is_functional(layer) and (len(layer.inputs) != 1 or len(layer.outputs) != 1):
        got = f"model {layer.name!r} with {len(layer.inputs)} inputs and {len(layer.outputs)} outputs"
        raise UnsupportedError(got, "Expected one of each", "Pass keras.Model(one_input, one_output)")
    start = Value.of_input(shape, empty_of(layer.variable_dtype))
    if at is None:
        return apply(layer, start, bends=False).affine(start)
    # The map of the distance from the input is that of the input, whose offset is its output at 0.
    x = _input(at, shape, number_type(layer.variable_dtype))
    tangent = apply(layer, start.plus(x), bends=True).affine(start)
    return Affine(tangent.op, tangent.offset - tangent.op(x))


def _input(at: Any, shape: Shape, dtype: np.dtype[Any]) -> AnyArray:
    """Return the input at which tangents are taken, without a batch axis."""
    x = as_numpy(numeric("at", at)).astype(dtype)
    if x.shape not in (shape, (1, *shape)):
        raise ArgumentError(f"at has shape {x.shape}", f"Expected {shape}, one input", "Pass one input, as at=batch[0]")
    return x.reshape(shape)


def _remedy(path: str) -> str:
    """Return the remedy for a file, none of which is read here."""
    if str(path).endswith(".tflite"):
        return "Convert the file to ONNX, and use from_onnx"
    return "Load it with keras.saving.load_model(path, safe_mode=True)"
