"""Keras layers as affine maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import prod
from typing import Any, TypeAlias

import numpy as np

from convmtx.boundary import ZERO
from convmtx.construct import conv, conv_transpose
from convmtx.errors import UnsupportedError, door, with_article
from convmtx.extras import import_extra
from convmtx.geometry import padding, resolve
from convmtx.geometry.axis import Axis
from convmtx.interop import layers
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import permutation
from convmtx.typing import Array, PerAxis, Shape


@door("from_keras")
def from_keras(layer: Any, input_shape: PerAxis) -> Affine:
    """Return the affine map ``y = A x + b`` that a Keras layer computes at inference.

    Parameters
    ----------
    layer : keras.layers.Layer
        Conv1D to 3D (causal too), DepthwiseConv1D and 2D, SeparableConv1D and 2D, Conv1DTranspose to 3DTranspose,
        AveragePooling1D to 3D, GlobalAveragePooling1D to 3D, BatchNormalization, ZeroPadding1D to 3D, UpSampling1D to
        3D of interpolation nearest, Flatten, Dense, Dropout, Identity, Activation of linear, or a Sequential of these.
        Both values of ``data_format`` are accepted. Layers with weights must have been built, or called once.
    input_shape : tuple of int
        Shape of one input without the batch.

    Returns
    -------
    Affine
        ``.op`` holds the layer's weights, ``.offset`` the bias, both as NumPy arrays.

    Raises
    ------
    UnsupportedError
        If the layer is not such a map, or if one of its options, such as its activation, is not linear. Quantized
        layers and layers with LoRA are refused too. The message names the layer. This is a ValueError.
    ValueError
        If the input shape does not fit.
    ImportError
        Without the extra ``keras``.
    """
    keras = import_extra("keras", "keras")
    shape = resolve.shape("input_shape", input_shape)
    name = type(layer).__name__
    if not isinstance(layer, keras.layers.Layer):
        raise UnsupportedError(f"{with_article(name)}", "Expected a keras layer", "Pass the layer itself")
    if type(layer) is keras.Sequential:
        maps: list[Affine] = []
        for part in layer.layers:
            maps.append(from_keras(part, maps[-1].out_shape if maps else shape))
        return layers.chain(maps) if maps else layers.add_bias(layers.identity(shape), None)
    convert = _CONVERTERS.get(name)
    # A user's subclass may compute anything, so the class must be Keras's own and not only have its name.
    if convert is None or type(layer) is not getattr(keras.layers, name, None):
        raise UnsupportedError(f"layer {name}", "Expected a linear layer that from_keras lists", "Convert its parts")
    _refuse_replaced_weights(layer, name)
    activation = getattr(layer, "activation", None)
    if activation is not None and activation is not keras.activations.linear:
        got = f"{name} with activation={getattr(activation, '__name__', activation)!r}"
        raise UnsupportedError(got, "Expected none, for it is not linear", "Make it a layer of its own")
    if convert in _WEIGHTED and not layer.built:
        raise UnsupportedError(f"{name} that is not built", "It has no weights yet", "Build it, or call it once")
    return convert(layer, shape)


def _refuse_replaced_weights(layer: Any, name: str) -> None:
    """Refuse weights that the layer does not compute with, and weights of a type that NumPy does not have."""
    if getattr(layer, "quantization_mode", None) is not None:
        got = f"{name} with quantization_mode={layer.quantization_mode!r}"
        raise UnsupportedError(
            got, "It rounds its inputs, so that it is not linear", "Convert the layer before quantize()"
        )
    if getattr(layer, "lora_enabled", False):
        got = f"{name} with lora_enabled=True"
        raise UnsupportedError(
            got, "Its kernel is a sum that from_keras does not read", "Save and load it to merge them"
        )
    if layer.variable_dtype not in ("float16", "float32", "float64"):
        got = f"{name} of dtype {layer.variable_dtype}"
        raise UnsupportedError(got, "NumPy has no such numbers", "Make the layer with dtype='float32'")


def _array(value: Any) -> Any:
    """Return a weight as a NumPy array; None for a layer without it."""
    if value is None:
        return None
    tensor = value.value
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor)


def _channels(layer: Any) -> Any:
    """Return "first" or "last", as `conv` names it."""
    return layer.data_format.removeprefix("channels_")


def _move_channels(layer: Any, kernel: Array) -> Array:
    """Return a kernel with its channels where the data has them; Keras stores them last for data of both layouts."""
    return kernel if _channels(layer) == "last" else np.moveaxis(kernel, (-1, -2), (0, 1))


def _channel_axis(layer: Any) -> int:
    return -1 if _channels(layer) == "last" else 0


def _conv(layer: Any, shape: Shape, kernel: Any = None, groups: int = 0, bias: Any = None) -> Affine:
    if kernel is None:
        kernel, groups, bias = _array(layer.kernel), layer.groups, _array(layer.bias)
    padding: Any = layer.padding
    if padding == "causal":
        padding = [(layer.dilation_rate[0] * (kernel.shape[0] - 1), 0)]
    op = conv(
        _move_channels(layer, kernel), shape, stride=layer.strides, dilation=layer.dilation_rate, padding=padding,
        groups=groups, channels=_channels(layer),
    )  # fmt: skip
    return _add_bias(layer, op, bias)


def _depthwise(layer: Any, shape: Shape, kernel: Any = None, bias: Any = None) -> Affine:
    if kernel is None:
        kernel, bias = _array(layer.kernel), _array(layer.bias)
    *space, count, multiplier = kernel.shape
    return _conv(layer, shape, kernel.reshape(*space, 1, count * multiplier), count, bias)


def _separable(layer: Any, shape: Shape) -> Affine:
    first = _depthwise(layer, shape, _array(layer.depthwise_kernel))
    kernel = _move_channels(layer, _array(layer.pointwise_kernel))
    point = conv(kernel, first.out_shape, channels=_channels(layer))
    return _add_bias(layer, point, _array(layer.bias)) @ first


def _transpose(layer: Any, shape: Shape) -> Affine:
    if layer.output_padding is not None:
        got = f"output_padding={layer.output_padding}"
        raise UnsupportedError(got, "Frameworks behind Keras read it differently", "Leave this layer out")
    spans = [t * (k - 1) + 1 for t, k in zip(layer.dilation_rate, layer.kernel_size, strict=True)]
    # Keras gives n inputs at stride s at least n*s outputs. 4 inputs at stride 3 under a kernel of 1 have 10 outputs by
    # the formula of conv_transpose, so 2 more are added.
    gaps = [max(s - span, 0) for s, span in zip(layer.strides, spans, strict=True)]
    op = conv_transpose(
        _move_channels(layer, _array(layer.kernel)), shape, stride=layer.strides, dilation=layer.dilation_rate,
        padding=layer.padding, output_padding=gaps if layer.padding == "valid" else 0, channels=_channels(layer),
    )  # fmt: skip
    return _add_bias(layer, op, _array(layer.bias))


def _add_bias(layer: Any, op: LinearMap, bias: Any) -> Affine:
    """Return a layer's map with its bias; refuse one that the backend of Keras adds along another axis.

    With channels first, TensorFlow's backend takes the last axis for the channels if it has as many positions.
    """
    if bias is not None and _channels(layer) == "first" and op.out_shape[-1] == op.out_shape[0]:
        ops, n_channels, d = import_extra("keras", "keras").ops, len(bias), len(op.out_shape) - 1
        # Zeros of shape (1, 3, 3) plus a bias of 0, 1, 2: the first column is 0 1 2 where the backend adds it along the
        # channels, and 0 0 0 where it adds it along the last axis.
        numbers = np.arange(n_channels, dtype=np.float32).reshape(1, n_channels, *[1] * d)
        total = ops.add(ops.zeros((1, n_channels, *[1] * (d - 1), n_channels)), numbers)
        if not np.array_equal(ops.convert_to_numpy(total)[..., :1], numbers):
            got = f"{type(layer).__name__} with data_format='channels_first' and outputs of shape {op.out_shape}"
            expected = (
                "This backend of Keras adds the bias along the last axis, for it has as many positions as channels"
            )
            raise UnsupportedError(got, expected, "Use channels_last, or inputs of another size")
    return layers.add_bias(op, bias, _channel_axis(layer))


def _sizes(layer: Any, shape: Shape) -> Shape:
    """Return the sizes of a shape without the number of channels."""
    return shape[:-1] if _channels(layer) == "last" else shape[1:]


def _average(layer: Any, shape: Shape) -> Affine:
    sizes = _sizes(layer, shape)
    unpadded = [Axis(n, k, s) for n, k, s in zip(sizes, layer.pool_size, layer.strides, strict=True)]
    pads = padding.pads(layer.padding, unpadded)
    axes = [Axis(a.size, a.kernel, a.stride, lo=lo, hi=hi) for a, (lo, hi) in zip(unpadded, pads, strict=True)]
    if any(lo != hi for lo, hi in pads) and _repeats_edges():
        channels, like = _channels(layer), np.empty(0, layer.variable_dtype)
        counted = [(-axis.lo, axis.reach[1] + 1) for axis in axes]
        op = layers.average(shape, axes, counted, channels, prod(layer.pool_size), like, "edge")
        return layers.add_bias(op, None)
    return layers.add_bias(_average_inside(layer, shape, axes), None)


@cache
def _repeats_edges() -> bool:
    """Whether the backend of Keras pads with the edges, and counts them, where the pads before and behind differ.

    PyTorch's backend does, along every axis if the pads differ along one. Other backends leave out what lies outside
    the array, and so does PyTorch's where the pads are equal.
    """
    ops = import_extra("keras", "keras").ops
    # Windows of 4 on 0, 0, 1 have pads of 1 and 2. The last window reads 0, 1 and the pads: its mean is 1/2 where they
    # are left out, and (0 + 1 + 1 + 1)/4 = 3/4 where the edge is repeated.
    mean = ops.average_pool(np.array([[[0], [0], [1]]], np.float32), 4, 1, "same", "channels_last")
    last = float(ops.convert_to_numpy(mean)[0, -1, 0])
    if last not in (0.5, 0.75):
        got = "AveragePooling with padding='same' and pads that differ"
        expected = "This backend of Keras pads in a way that from_keras does not know"
        raise UnsupportedError(got, expected, "Leave this layer out")
    return last == 0.75


def _average_inside(layer: Any, shape: Shape, axes: list[Axis]) -> LinearMap:
    """Return the map to the means of what each window reads inside the array, in the layer's type of weights."""
    counted = [(0, axis.size) for axis in axes]
    return layers.average(shape, axes, counted, _channels(layer), None, np.empty(0, layer.variable_dtype))


def _global_average(layer: Any, shape: Shape) -> Affine:
    op = _average_inside(layer, shape, [Axis(n, n) for n in _sizes(layer, shape)])
    if not layer.keepdims:
        op = layers.reshaping(op.out_shape, (prod(op.out_shape),)) @ op
    return layers.add_bias(op, None)


def _batch_norm(layer: Any, shape: Shape) -> Affine:
    axis = int(layer.axis) % (len(shape) + 1) - 1
    mean, variance = _array(layer.moving_mean), _array(layer.moving_variance)
    factor = layers.inverse_deviations(variance, layer.epsilon)
    if layer.scale:
        factor = factor * _array(layer.gamma)
    offset = -mean * factor + (_array(layer.beta) if layer.center else 0)
    return layers.add_bias(layers.multiply_along(np.diag(factor), shape, axis), offset, axis)


def _padding(layer: Any, shape: Shape) -> Affine:
    pads = [tuple(pair) if isinstance(pair, Sequence) else (pair, pair) for pair in layer.padding]
    if len(pads) != len(shape) - 1:  # for one axis Keras stores the pair itself, not a list of one pair
        pads = [tuple(layer.padding)]
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        return layers.add_bias(layers.pad(shape, [(0, 0), *pads], ZERO), None)
    op = conv(np.ones((*(1 for _ in pads), 1, shape[-1]), np.int8), shape, padding=pads, groups=shape[-1])
    return layers.add_bias(op, None)


def _upsample(layer: Any, shape: Shape) -> Affine:
    if getattr(layer, "interpolation", "nearest") != "nearest":
        got = f"{type(layer).__name__} with interpolation={layer.interpolation!r}"
        raise UnsupportedError(got, "Expected 'nearest'", "Leave this layer out")
    first_axis = 1 if getattr(layer, "data_format", "channels_last") == "channels_first" else 0
    factors = layer.size if isinstance(layer.size, Sequence) else [layer.size]
    op: LinearMap = layers.identity(shape)
    for j, factor in enumerate(factors, first_axis):
        op = layers.take_along(op.out_shape, j, np.repeat(np.arange(shape[j]), factor)) @ op
    return layers.add_bias(op, None)


def _flatten(layer: Any, shape: Shape) -> Affine:
    op: LinearMap = layers.reshaping(shape, (prod(shape),))
    if layer.data_format == "channels_first" and len(shape) > 1:  # Keras flattens with the channels last
        letters = "CDHW"[: len(shape)]
        op = layers.reshaping(shape[1:] + shape[:1], (prod(shape),)) @ permutation(shape, letters, letters[1:] + "C")
    return layers.add_bias(op, None)


def _dense(layer: Any, shape: Shape) -> Affine:
    return layers.add_bias(layers.multiply_along(_array(layer.kernel).T, shape, len(shape) - 1), _array(layer.bias), -1)


def _identity(_layer: Any, shape: Shape) -> Affine:
    return layers.add_bias(layers.identity(shape), None)


_Converter: TypeAlias = Callable[[Any, Shape], Affine]
#: Converters of layers that have weights, once they are built.
_WEIGHTED = (_conv, _depthwise, _separable, _transpose, _batch_norm, _dense)
#: Converters by the name of the class in `keras.layers`.
_CONVERTERS: dict[str, _Converter] = {
    "BatchNormalization": _batch_norm,
    "Dense": _dense,
    "Flatten": _flatten,
    **dict.fromkeys(("Activation", "Dropout", "Identity", "InputLayer"), _identity),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _conv),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), _depthwise),
    **dict.fromkeys(("SeparableConv1D", "SeparableConv2D"), _separable),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), _transpose),
    **dict.fromkeys(("AveragePooling1D", "AveragePooling2D", "AveragePooling3D"), _average),
    **dict.fromkeys(("GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D"), _global_average),
    **dict.fromkeys(("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D"), _padding),
    **dict.fromkeys(("UpSampling1D", "UpSampling2D", "UpSampling3D"), _upsample),
}
