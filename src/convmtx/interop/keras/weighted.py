"""Layers of Keras that have weights: convolutions, dense layers, normalizations and scalings."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.construct import conv, conv_transpose
from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.keras.reading import array, channel_axis, channels, number_type, per_sample
from convmtx.maps.affine import Affine
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.typing import AnyArray, Array, Shape


def move_channels(layer: Any, kernel: Array) -> Array:
    """Return a kernel with its channels where the data has them; Keras stores them last for data of both layouts."""
    return kernel if channels(layer) == "last" else np.moveaxis(kernel, (-1, -2), (0, 1))


def convolution(layer: Any, shape: Shape, kernel: Any = None, groups: int = 0, bias: Any = None) -> Affine:
    """Return a convolution: that of a layer, or of a kernel of the layout that Keras stores."""
    if kernel is None:
        kernel, groups, bias = array(layer.kernel), layer.groups, array(layer.bias)
    padding: Any = layer.padding
    if padding == "causal":
        padding = [(layer.dilation_rate[0] * (kernel.shape[0] - 1), 0)]
    op = conv(
        move_channels(layer, kernel), shape, stride=layer.strides, dilation=layer.dilation_rate, padding=padding,
        groups=groups, channels=channels(layer),
    )  # fmt: skip
    return _add_bias(layer, op, bias)


def depthwise(layer: Any, shape: Shape, kernel: Any = None, bias: Any = None) -> Affine:
    """Return a convolution of each channel by itself."""
    if kernel is None:
        kernel, bias = array(layer.kernel), array(layer.bias)
    *space, count, multiplier = kernel.shape
    return convolution(layer, shape, kernel.reshape(*space, 1, count * multiplier), count, bias)


def separable(layer: Any, shape: Shape) -> tuple[Affine, Affine]:
    """Return a convolution of each channel by itself, and one of 1 tap that mixes the channels."""
    first = depthwise(layer, shape, array(layer.depthwise_kernel))
    kernel = move_channels(layer, array(layer.pointwise_kernel))
    point = conv(kernel, first.out_shape, channels=channels(layer))
    return first, _add_bias(layer, point, array(layer.bias))


def transpose(layer: Any, shape: Shape) -> Affine:
    """Return a transposed convolution."""
    if layer.output_padding is not None:
        got = f"output_padding={layer.output_padding}"
        raise UnsupportedError(got, "Frameworks behind Keras read it differently", "Leave this layer out")
    spans = [t * (k - 1) + 1 for t, k in zip(layer.dilation_rate, layer.kernel_size, strict=True)]
    # Keras gives n inputs at stride s at least n*s outputs. 4 inputs at stride 3 under a kernel of 1 have 10 outputs by
    # the formula of conv_transpose, so 2 more are added.
    gaps = [max(s - span, 0) for s, span in zip(layer.strides, spans, strict=True)]
    op = conv_transpose(
        move_channels(layer, array(layer.kernel)), shape, stride=layer.strides, dilation=layer.dilation_rate,
        padding=layer.padding, output_padding=gaps if layer.padding == "valid" else 0, channels=channels(layer),
    )  # fmt: skip
    return _add_bias(layer, op, array(layer.bias))


def _add_bias(layer: Any, op: LinearMap, bias: Any) -> Affine:
    """Return a layer's map with its bias; refuse one that the backend of Keras adds along another axis.

    With channels first, TensorFlow's backend takes the last axis for the channels if it has as many positions.
    """
    if bias is not None and channels(layer) == "first" and op.out_shape[-1] == op.out_shape[0]:
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
    return layers.add_bias(op, bias, channel_axis(layer))


def batch_norm(layer: Any, shape: Shape) -> Affine:
    """Return batch normalization by the statistics that the layer has collected."""
    axis = int(layer.axis) % (len(shape) + 1) - 1
    mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    if mean.size != shape[axis]:
        got = f"{mean.size} channels on an axis of {shape[axis]}, of {shape}"
        raise UnsupportedError(got, "Expected as many", "Check the shape of the input")
    factor = layers.inverse_deviations(variance, layer.epsilon)
    if layer.scale:
        factor = factor * array(layer.gamma)
    offset = -mean * factor + (array(layer.beta) if layer.center else 0)
    along = [1] * len(shape)
    along[axis] = -1
    return scaled(factor.reshape(along), offset.reshape(along), shape)


def normalization(layer: Any, shape: Shape) -> Affine:
    """Return normalization by the mean and variance that the layer was given or adapted to."""
    dtype = number_type(layer.variable_dtype)  # in mixed precision, the layer has both in half precision
    mean, variance = (per_sample(array(value).astype(dtype), shape) for value in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), dtype.type(import_extra("keras", "keras").backend.epsilon()))
    return scaled(deviation, mean, shape) if layer.invert else scaled(1 / deviation, -mean / deviation, shape)


def rescaling(layer: Any, shape: Shape) -> Affine:
    """Return multiplication by a layer's scale, and addition of its offset."""
    keras = import_extra("keras", "keras")
    # TensorFlow's cast takes a number of Python through float32, also to float64.
    scale, offset = (array(keras.ops.cast(value, layer.variable_dtype)) for value in (layer.scale, layer.offset))
    if scale.ndim and keras.config.image_data_format() == "channels_first":
        scale = scale.reshape(*scale.shape, *[1] * (3 - scale.ndim))
    return scaled(per_sample(scale, shape), per_sample(offset, shape), shape)


def scaled(factors: AnyArray, offset: AnyArray, shape: Shape) -> Affine:
    """Return ``factors * x + offset`` for arrays x of a shape, to which both are broadcast.

    Factors of channels are a convolution, which products with other convolutions become part of.
    """
    padded = (1,) * (len(shape) - factors.ndim) + factors.shape
    if any(n not in (1, size) for n, size in zip(padded, shape, strict=True)):
        got = f"numbers of shape {factors.shape} for inputs of shape {shape}"
        raise UnsupportedError(got, "Expected shapes that fit", "Check the shape of the input")
    op: LinearMap = Diagonal(factors, shape)
    if len(shape) > 1 and max(padded[:-1]) == 1:
        kernel = np.broadcast_to(factors.reshape(-1), shape[-1:]).reshape(*padded[:-1], 1, -1)
        op = conv(kernel, shape, groups=shape[-1])
    elif len(shape) > 1 and max(padded[1:]) == 1:
        op = layers.scale_channels(shape, factors.reshape(-1))
    return Affine(op, np.broadcast_to(offset, shape))


def dense(layer: Any, shape: Shape) -> Affine:
    """Return a matrix along the last axis."""
    return layers.add_bias(layers.multiply_along(array(layer.kernel).T, shape, len(shape) - 1), array(layer.bias), -1)


def einsum_dense(layer: Any, shape: Shape) -> Affine:
    """Return a matrix along the axes that an equation sums over: "abc,cd->abd" is a dense layer."""
    inputs, weights, outputs = _letters(layer.equation, len(shape) + 1)
    kept, summed = [c for c in inputs[1:] if c in outputs], [c for c in inputs[1:] if c not in outputs]
    added = [c for c in outputs if c not in inputs]
    if outputs[0] != inputs[0] or sorted(weights) != sorted(summed + added):
        got = f"EinsumDense with equation={layer.equation!r}"
        raise UnsupportedError(got, "Expected weights of summed and new axes alone", "Leave this layer out")
    size = dict(zip(inputs[1:], shape, strict=True))
    kernel = array(layer.kernel).transpose([weights.index(c) for c in added + summed])
    matrix, new_sizes = kernel.reshape(prod(kernel.shape[: len(added)]), -1), kernel.shape[: len(added)]
    between = tuple(size[c] for c in kept)
    order = [inputs.index(c) - 1 for c in kept + summed]
    ready = Rearranged(shape, order, (*between, prod(size[c] for c in summed)))
    product = layers.multiply_along(matrix, ready.out_shape, len(kept)) @ ready
    back = [(kept + added).index(c) for c in outputs[1:]]
    spread = layers.reshaping(product.out_shape, between + new_sizes)
    op = Rearranged(spread.out_shape, back) @ spread @ product
    return Affine(op, np.broadcast_to(0 if layer.bias is None else array(layer.bias), op.out_shape))


def _letters(equation: str, n_axes: int) -> tuple[str, str, str]:
    """Return the letters of inputs, weights and outputs in an equation, with letters in the place of "..."."""
    rest, outputs = equation.replace(" ", "").split("->")
    inputs, weights = rest.split(",")
    others = [chr(j) for j in range(ord("A"), ord("z")) if chr(j) not in equation]
    many = "".join(others[: n_axes - len(inputs.replace("...", ""))])
    return inputs.replace("...", many), weights, outputs.replace("...", many)
