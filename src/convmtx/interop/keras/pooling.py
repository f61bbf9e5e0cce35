"""Layers of Keras that take means of windows."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.geometry import padding
from convmtx.geometry.axis import Axis
from convmtx.interop import layers
from convmtx.interop.keras.reading import channels, empty_of
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import Shape


def sizes_of(layer: Any, shape: Shape) -> Shape:
    """Return the sizes of a shape without the number of channels."""
    return shape[:-1] if channels(layer) == "last" else shape[1:]


def average(layer: Any, shape: Shape) -> Affine:
    """Return the means of windows, padded as the backend of Keras pads them."""
    sizes = sizes_of(layer, shape)
    unpadded = [Axis(n, k, s) for n, k, s in zip(sizes, layer.pool_size, layer.strides, strict=True)]
    pads = padding.pads(layer.padding, unpadded)
    axes = [Axis(a.size, a.kernel, a.stride, lo=lo, hi=hi) for a, (lo, hi) in zip(unpadded, pads, strict=True)]
    if any(lo != hi for lo, hi in pads) and _repeats_edges():
        counted, like = [(-axis.lo, axis.reach[1] + 1) for axis in axes], empty_of(layer.variable_dtype)
        op = layers.average(shape, axes, counted, channels(layer), prod(layer.pool_size), like, "edge")
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
    return layers.average(shape, axes, counted, channels(layer), None, empty_of(layer.variable_dtype))


def global_average(layer: Any, shape: Shape) -> Affine:
    """Return the mean of each channel."""
    op = _average_inside(layer, shape, [Axis(n, n) for n in sizes_of(layer, shape)])
    if not layer.keepdims:
        op = layers.reshaping(op.out_shape, (prod(op.out_shape),)) @ op
    return layers.add_bias(op, None)


def adaptive_average(layer: Any, shape: Shape) -> Affine:
    """Return the means of as many windows as a layer has outputs: output i of m reads from i n/m to (i + 1) n/m."""
    if len(layer.output_size) != len(shape) - 1:
        got = f"an input of shape {shape} for {type(layer).__name__}"
        raise UnsupportedError(got, f"Expected {len(layer.output_size) + 1} axes", "Check the shape of the input")
    out_sizes = dict(enumerate(layer.output_size, 1 if channels(layer) == "first" else 0))
    return layers.add_bias(layers.adaptive_average(shape, out_sizes, empty_of(layer.variable_dtype)), None)
