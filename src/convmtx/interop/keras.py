"""Keras layers as affine maps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from math import prod
from typing import Any

import numpy as np

from convmtx.construct import conv, conv_transpose
from convmtx.errors import UnsupportedError, door
from convmtx.extras import needed
from convmtx.geometry import resolve
from convmtx.geometry.axis import Axis
from convmtx.interop import layers
from convmtx.maps.affine import Affine
from convmtx.maps.elementary import permutation
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import Array, PerAxis, Shape


@door("from_keras")
def from_keras(layer: Any, input_shape: PerAxis) -> Affine:
    """A Keras layer, as it is at inference, as the affine map ``y = A x + b`` that it is.

    Parameters
    ----------
    layer : keras.layers.Layer
        Conv1D to 3D (causal too), DepthwiseConv1D and 2D, SeparableConv1D and 2D, Conv1DTranspose to 3DTranspose,
        AveragePooling1D to 3D, GlobalAveragePooling1D to 3D, BatchNormalization, ZeroPadding1D to 3D, UpSampling1D to
        3D of interpolation nearest, Flatten, Dense, Dropout, Identity, Activation of linear, or a Sequential of these.
        ``data_format`` may be either. Layers with weights must have been built, or called once.
    input_shape : tuple of int
        Shape of one input without the batch.

    Returns
    -------
    Affine
        With the layer's weights as NumPy arrays.

    Raises
    ------
    UnsupportedError
        Where the layer, or an option of it such as its activation, is no such map; quantized layers, and such with
        LoRA, are none. The message names it. A ValueError.
    ValueError
        Where the input shape does not fit.
    ImportError
        Without the extra ``keras``.
    """
    keras = needed("keras", "keras")
    shape = resolve.shape("input_shape", input_shape)
    name = type(layer).__name__
    if not isinstance(layer, keras.layers.Layer):
        raise UnsupportedError(f"a {name}", "Wanted a keras layer", "Pass the layer itself")
    if type(layer) is keras.Sequential:
        maps: list[Affine] = []
        for part in layer.layers:
            maps.append(from_keras(part, maps[-1].out_shape if maps else shape))
        return layers.chained(maps) if maps else layers.affine(layers.identity(shape), None)
    family = re.sub("[123]D", "", name)
    if family not in _CONVERTERS or type(layer) is not getattr(keras.layers, name, None):
        raise UnsupportedError(f"layer {name}", "Wanted a linear layer that from_keras lists", "Convert its parts")
    _refuse_replaced_weights(layer, name)
    activation = getattr(layer, "activation", None)
    if activation is not None and activation is not keras.activations.linear:
        got = f"{name} with activation={getattr(activation, '__name__', activation)!r}"
        raise UnsupportedError(got, "Wanted none: it is not linear", "Make it a layer of its own")
    if family in _WEIGHTED and not layer.built:
        raise UnsupportedError(f"{name} that is not built", "It has no weights yet", "Build it, or call it once")
    return _CONVERTERS[family](layer, shape)


def _refuse_replaced_weights(layer: Any, name: str) -> None:
    """Weights that are not what the layer computes with, or of a type that NumPy does not have."""
    if getattr(layer, "quantization_mode", None) is not None:
        got = f"{name} with quantization_mode={layer.quantization_mode!r}"
        raise UnsupportedError(got, "It rounds its inputs, so it is not linear", "Convert the layer before quantize()")
    if getattr(layer, "lora_enabled", False):
        got = f"{name} with lora_enabled=True"
        raise UnsupportedError(got, "Its kernel is a sum that is not known here", "Save and load it to merge them")
    if layer.variable_dtype not in ("float16", "float32", "float64"):
        got = f"{name} of dtype {layer.variable_dtype}"
        raise UnsupportedError(got, "NumPy has no such numbers", "Make the layer with dtype='float32'")


def _array(value: Any) -> Any:
    """A weight as a NumPy array; None where there is none."""
    if value is None:
        return None
    tensor = value.value
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)


def _channels(layer: Any) -> Any:
    return layer.data_format.removeprefix("channels_")


def _stored(layer: Any, kernel: Array) -> Array:
    """Keras stores kernels with channels last whatever the data; ours stand where the data's do."""
    return kernel if _channels(layer) == "last" else np.moveaxis(kernel, (-1, -2), (0, 1))


def _axis(layer: Any) -> int:
    return -1 if _channels(layer) == "last" else 0


def _conv(layer: Any, shape: Shape, kernel: Any = None, groups: int = 0, bias: Any = None) -> Affine:
    if kernel is None:
        kernel, groups, bias = _array(layer.kernel), layer.groups, _array(layer.bias)
    padding: Any = layer.padding
    if padding == "causal":
        padding = [(layer.dilation_rate[0] * (kernel.shape[0] - 1), 0)]
    op = conv(
        _stored(layer, kernel), shape, stride=layer.strides, dilation=layer.dilation_rate, padding=padding,
        groups=groups, channels=_channels(layer),
    )  # fmt: skip
    return _biased(layer, op, bias)


def _depthwise(layer: Any, shape: Shape, kernel: Any = None, bias: Any = None) -> Affine:
    if kernel is None:
        kernel, bias = _array(layer.kernel), _array(layer.bias)
    *space, count, multiplier = kernel.shape
    return _conv(layer, shape, kernel.reshape(*space, 1, count * multiplier), count, bias)


def _separable(layer: Any, shape: Shape) -> Affine:
    first = _depthwise(layer, shape, _array(layer.depthwise_kernel))
    kernel = _stored(layer, _array(layer.pointwise_kernel))
    point = conv(kernel, first.out_shape, channels=_channels(layer))
    return _biased(layer, point, _array(layer.bias)) @ first


def _transpose(layer: Any, shape: Shape) -> Affine:
    if layer.output_padding is not None:
        got = f"output_padding={layer.output_padding}"
        raise UnsupportedError(got, "Frameworks behind Keras read it differently", "Leave this layer out")
    spans = [t * (k - 1) + 1 for t, k in zip(layer.dilation_rate, layer.kernel_size, strict=True)]
    gaps = [max(s - span, 0) for s, span in zip(layer.strides, spans, strict=True)]  # n*s outputs at least, says Keras
    op = conv_transpose(
        _stored(layer, _array(layer.kernel)), shape, stride=layer.strides, dilation=layer.dilation_rate,
        padding=layer.padding, output_padding=gaps if layer.padding == "valid" else 0, channels=_channels(layer),
    )  # fmt: skip
    return _biased(layer, op, _array(layer.bias))


def _biased(layer: Any, op: LinearMap, bias: Any) -> Affine:
    """Return the map of a layer with its bias.

    TensorFlow's backend adds the bias along the last axis where this has as many places as there are channels, even
    where the channels come first.
    """
    if bias is not None and _channels(layer) == "first" and op.out_shape[-1] == op.out_shape[0]:
        ops, number, d = needed("keras", "keras").ops, len(bias), len(op.out_shape) - 1
        numbers = np.arange(number, dtype=np.float32).reshape(1, number, *[1] * d)
        total = ops.add(ops.zeros((1, number, *[1] * (d - 1), number)), numbers)
        if not np.array_equal(ops.convert_to_numpy(total)[..., :1], numbers):
            got = f"{type(layer).__name__} with data_format='channels_first' and outputs of shape {op.out_shape}"
            wanted = "This backend of Keras adds the bias along the last axis, for it is as long as there are channels"
            raise UnsupportedError(got, wanted, "Use channels_last, or inputs of another size")
    return layers.affine(op, bias, _axis(layer))


def _sizes(layer: Any, shape: Shape) -> Shape:
    return shape[:-1] if _channels(layer) == "last" else shape[1:]


def _average(layer: Any, shape: Shape) -> Affine:
    sizes = _sizes(layer, shape)
    bare = [Axis(n, k, s) for n, k, s in zip(sizes, layer.pool_size, layer.strides, strict=True)]
    pads = resolve.pads(layer.padding, bare)
    axes = [Axis(a.size, a.kernel, a.stride, lo=lo, hi=hi) for a, (lo, hi) in zip(bare, pads, strict=True)]
    if any(lo != hi for lo, hi in pads) and _pads_with_edges():
        channels, like = _channels(layer), np.empty(0, layer.variable_dtype)
        counted = [(-axis.lo, axis.reach[1] + 1) for axis in axes]
        op = layers.averaged(shape, axes, counted, channels, prod(layer.pool_size), like, "edge")
        return layers.affine(op, None)
    return layers.affine(_means(layer, shape, axes), None)


@cache
def _pads_with_edges() -> bool:
    """Whether the backend of Keras repeats the edges where the pads before and behind differ, and counts what it added.

    PyTorch's does, along every axis if they differ along one. Others leave out what lies outside, as all do elsewhere.
    """
    ops = needed("keras", "keras").ops
    mean = ops.average_pool(np.array([[[0], [0], [1]]], np.float32), 4, 1, "same", "channels_last")  # pads of 1 and 2
    last = float(ops.convert_to_numpy(mean)[0, -1, 0])
    if last not in (0.5, 0.75):
        got = "AveragePooling with padding='same' and pads that differ"
        raise UnsupportedError(
            got, "This backend of Keras pads in a way that is not known here", "Leave this layer out"
        )
    return last == 0.75


def _means(layer: Any, shape: Shape, axes: list[Axis]) -> LinearMap:
    """Of what a window reads inside the array, in the type that the layer's weights would have."""
    counted = [(0, axis.size) for axis in axes]
    return layers.averaged(shape, axes, counted, _channels(layer), None, np.empty(0, layer.variable_dtype))


def _global_average(layer: Any, shape: Shape) -> Affine:
    op = _means(layer, shape, [Axis(n, n) for n in _sizes(layer, shape)])
    if not layer.keepdims:
        op = layers.flattened(op.out_shape, (prod(op.out_shape),)) @ op
    return layers.affine(op, None)


def _batch_norm(layer: Any, shape: Shape) -> Affine:
    axis = int(layer.axis) % (len(shape) + 1) - 1
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    factor = 1 / np.sqrt(variance + variance.dtype.type(layer.epsilon))
    if layer.scale:
        factor = factor * _array(layer.gamma)
    offset = -mean * factor + (_array(layer.beta) if layer.center else 0)
    return layers.affine(layers.along(np.diag(factor), shape, axis), offset, axis)


def _padding(layer: Any, shape: Shape) -> Affine:
    pads = [tuple(pair) if isinstance(pair, Sequence) else (pair, pair) for pair in layer.padding]
    if len(pads) != len(shape) - 1:  # of one axis Keras keeps the bare pair
        pads = [tuple(layer.padding)]
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return layers.affine(layers.padded(shape, [(0, 0), *pads], "zero"), None)
    op = conv(np.ones((*(1 for _ in pads), 1, shape[-1]), np.int8), shape, padding=pads, groups=shape[-1])
    return layers.affine(op, None)


def _enlarged(layer: Any, shape: Shape) -> Affine:
    if getattr(layer, "interpolation", "nearest") != "nearest":
        got = f"{type(layer).__name__} with interpolation={layer.interpolation!r}"
        raise UnsupportedError(got, "Wanted 'nearest'", "Leave this layer out")
    first = 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else 0
    times = layer.size if isinstance(layer.size, Sequence) else [layer.size]
    op: LinearMap = layers.identity(shape)
    for j, each in enumerate(times, first):
        op = layers.enlarged(op.out_shape, j, np.repeat(np.arange(shape[j]), each)) @ op
    return layers.affine(op, None)


def _flatten(layer: Any, shape: Shape) -> Affine:
    op: LinearMap = layers.flattened(shape, (prod(shape),))
    if layer.data_format == "channels_first" and len(shape) > 1:  # Keras flattens with the channels last
        letters = "CDHW"[: len(shape)]
        op = layers.flattened(shape[1:] + shape[:1], (prod(shape),)) @ permutation(shape, letters, letters[1:] + "C")
    return layers.affine(op, None)


def _dense(layer: Any, shape: Shape) -> Affine:
    return layers.affine(layers.along(_array(layer.kernel).T, shape, len(shape) - 1), _array(layer.bias), -1)


def _identity(_layer: Any, shape: Shape) -> Affine:
    return layers.affine(layers.identity(shape), None)


#: Families of layers that have weights once they are built.
_WEIGHTED = ("Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose", "BatchNormalization", "Dense")
_CONVERTERS: Any = {
    "Conv": _conv,
    "DepthwiseConv": _depthwise,
    "SeparableConv": _separable,
    "ConvTranspose": _transpose,
    "AveragePooling": _average,
    "GlobalAveragePooling": _global_average,
    "BatchNormalization": _batch_norm,
    "ZeroPadding": _padding,
    "UpSampling": _enlarged,
    "Flatten": _flatten,
    "Dense": _dense,
    "Dropout": _identity,
    "Identity": _identity,
    "Activation": _identity,
    "InputLayer": _identity,
}
