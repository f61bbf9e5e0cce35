"""Interpolation by the rules of Keras's backends, which differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convmtx.boundary import ZERO
from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.keras.moving import pad
from convmtx.interop.keras.reading import channels, empty_of
from convmtx.maps.affine import Affine
from convmtx.maps.along_axis import along_axes, picking_matrix
from convmtx.maps.linear_map import LinearMap
from convmtx.resizing import jax_axis, tf_axis, torch_axis
from convmtx.typing import AnyArray, Shape

#: Methods of interpolation by the names of Keras that differ from those here.
_METHODS = {"bilinear": "linear", "bicubic": "cubic"}


def upsampling(layer: Any, shape: Shape) -> Affine:
    """Return enlargement by whole factors."""
    factors = layer.size if isinstance(layer.size, Sequence) else [layer.size]
    first_axis, method = 1 if channels(layer) == "first" else 0, getattr(layer, "interpolation", "nearest")
    sizes = [n * factor for n, factor in zip(shape[first_axis:], factors, strict=False)]
    if method != "nearest":
        return layers.add_bias(_interpolation(shape, sizes, first_axis, method, empty_of(layer.variable_dtype)), None)
    layers.require_small("the places of all copies", 8 * max(sizes))
    # Numbers are repeated, whatever the backend's rule for the nearest is.
    matrices = {j: picking_matrix(shape[j], np.arange(n) // (n // shape[j])) for j, n in enumerate(sizes, first_axis)}
    return layers.add_bias(along_axes(shape, matrices, empty_of(layer.variable_dtype)), None)


def resizing(layer: Any, shape: Shape) -> Affine:
    """Return the resizing of images by a layer."""
    return resize(layer, shape, (layer.height, layer.width), empty_of(layer.variable_dtype))


def resize(options: Any, shape: Shape, size: tuple[int, int], like: AnyArray) -> Affine:
    """Return the resizing of images to a size, with the options of a layer or operation."""
    if len(shape) != 3:
        raise UnsupportedError(f"images of shape {shape}", "Expected three axes", "Check the shape of the input")
    first_axis = 1 if channels(options) == "first" else 0
    lengths = shape[first_axis : first_axis + 2]
    pads = [(0, 0)] * 3
    for axis, (n, length) in enumerate(zip(lengths, _at_aspect_ratio(lengths, size), strict=True), first_axis):
        spare = n - max(length, 1)
        if options.crop_to_aspect_ratio and spare > 0:
            pads[axis] = (-(spare // 2), spare // 2 - spare)
        elif options.pad_to_aspect_ratio and spare < 0:
            pads[axis] = (-spare // 2, -spare // 2)
    padded = layers.fill_pads(pad(shape, pads, ZERO), pads, float(options.fill_value), like)
    op = _interpolation(padded.out_shape, size, first_axis, options.interpolation, like, options.antialias)
    return layers.add_bias(op, None) @ padded


def _interpolation(
    shape: Shape, sizes: Sequence[int], first_axis: int, method: str, like: AnyArray, antialias: bool = False
) -> LinearMap:
    """Return the map that interpolates an array along the axes from the first one on, as Keras's backend does."""
    matrices = {
        axis: _matrix(shape[axis], size, _METHODS.get(method, method), antialias, sum(sizes) <= 128)
        for axis, size in enumerate(sizes, first_axis)
    }
    return along_axes(shape, matrices, like)


def _matrix(size: int, out: int, method: str, antialias: bool, small_image: bool) -> Any:
    """Return the matrix of one axis; PyTorch rounds small images otherwise."""
    layers.require_small("a matrix of resizing", 600 * max(size, out))
    backend = import_extra("keras", "keras").backend.backend()
    if backend == "tensorflow":
        return tf_axis(size, out, method, antialias=antialias)
    if backend == "jax":
        return jax_axis(size, out, method, antialias=antialias)
    if backend == "torch" and method == "nearest":
        return torch_axis(size, out, "nearest-exact", small_image=small_image)
    if backend == "torch" and method in ("linear", "cubic"):
        return torch_axis(size, out, method, antialias=antialias)
    got = f"interpolation {method!r} by the backend {backend!r} of Keras"
    raise UnsupportedError(got, "Expected one of TensorFlow, JAX or PyTorch", "Set KERAS_BACKEND to another")


def _at_aspect_ratio(lengths: Shape, size: tuple[int, int]) -> tuple[int, int]:
    """Return the height that a width has at the aspect ratio of a size, and the width that a height has.

    TensorFlow's backend divides in float32.
    """
    (height, width), (out_height, out_width) = lengths, size
    number = np.float32 if import_extra("keras", "keras").backend.backend() == "tensorflow" else float
    return int(number(width * out_height) / out_width), int(number(height * out_width) / out_height)
