"""Layers of Keras that move numbers: padding, cropping, enlargement, and other shapes and orders."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx.boundary import ZERO, Boundary
from convmtx.construct import conv
from convmtx.errors import UnsupportedError
from convmtx.interop import layers
from convmtx.interop.keras.reading import channels
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.typing import Shape


def zero_padding(layer: Any, shape: Shape) -> Affine:
    """Return padding with zeros."""
    return _padded(layer, shape, _pairs(layer.padding))


def cropping(layer: Any, shape: Shape) -> Affine:
    """Return what cropping leaves of an array."""
    return _padded(layer, shape, [(-lo, -hi) for lo, hi in _pairs(layer.cropping)])


def _pairs(pads: Any) -> list[tuple[int, int]]:
    """Return a pair of pads for each axis; for one axis Keras stores the pair itself, not a list of one pair."""
    return [tuple(pads)] if np.ndim(pads) == 1 else [tuple(pair) for pair in pads]


def _padded(layer: Any, shape: Shape, pads: list[tuple[int, int]]) -> Affine:
    pads = [(0, 0), *pads] if channels(layer) == "first" else [*pads, (0, 0)]
    return layers.add_bias(pad(shape, pads, ZERO), None)


def pad(shape: Shape, pads: Sequence[tuple[int, int]], boundary: Boundary) -> LinearMap:
    """Return the map that continues an array past its ends, by one pair of pads for each axis.

    If the last axis keeps its size, the map is a convolution with the channels there, which products with other
    convolutions become part of.
    """
    if len(shape) == 1 or tuple(pads[-1]) != (0, 0):
        return layers.pad(shape, pads, boundary)
    kernel, rule = np.ones((*(1 for _ in pads[:-1]), 1, shape[-1]), np.int8), boundary.name
    return conv(kernel, shape, padding=list(pads[:-1]), groups=shape[-1], boundary=rule)  # type: ignore[arg-type]


def flatten(layer: Any, shape: Shape) -> Affine:
    """Return the flattened array; Keras flattens with the channels last."""
    if layer.data_format == "channels_last":
        return reshaped(shape, (prod(shape),))
    return layers.add_bias(Rearranged(shape, [*range(1, len(shape)), 0], (prod(shape),)), None)


def reshape(layer: Any, shape: Shape) -> Affine:
    """Return the array in a layer's target shape."""
    return reshaped(shape, layer.target_shape)


def reshaped(shape: Shape, target: Sequence[int]) -> Affine:
    """Return the map that gives an array another shape, one size of which may be -1."""
    known = prod(n for n in target if n != -1)
    out_shape = tuple(prod(shape) // max(known, 1) if n == -1 else int(n) for n in target)
    if prod(out_shape) != prod(shape):
        got = f"an input of shape {shape}, reshaped to {tuple(target)}"
        raise UnsupportedError(got, "Expected as many numbers", "Check the shape of the input")
    return layers.add_bias(layers.reshaping(shape, out_shape), None)


def permute(layer: Any, shape: Shape) -> Affine:
    """Return the array with its axes in the order of a layer, which counts from 1."""
    return layers.add_bias(Rearranged(shape, [axis - 1 for axis in layer.dims]), None)


def repeat_vector(layer: Any, shape: Shape) -> Affine:
    """Return a vector, repeated along a new first axis."""
    layers.require_small("the places of all copies", 8 * layer.n)
    op = layers.reshaping(shape, (1, *shape))
    return layers.add_bias(layers.take_along(op.out_shape, 0, np.zeros(layer.n, np.int64)) @ op, None)


def identity(_layer: Any, shape: Shape) -> Affine:
    """Return the identity, for layers that do nothing at inference."""
    return layers.add_bias(layers.identity(shape), None)
