"""Converters of nodes that sum or average along axes."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.errors import UnsupportedError
from convmtx.interop import layers
from convmtx.interop.onnx.node import Node
from convmtx.maps.along_axis import AlongAxis
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.typing import Shape


def sum_over(shape: Shape, axes: list[int], number: Any, keeps_axes: bool) -> LinearMap:
    """Return the map to sums over axes times a number, which sets the type; the axes keep the size 1 or are dropped."""
    like = np.empty(0, number.dtype)
    others = [a for a in range(len(shape)) if a not in axes]
    between = (prod(shape[a] for a in others), prod(shape[a] for a in axes))
    layers.require_small("a row of weights", between[1] * number.itemsize)
    row = AlongAxis(np.full((1, between[1]), number), between, 1)
    out_shape = tuple(1 if a in axes else n for a, n in enumerate(shape) if keeps_axes or a in others)
    return layers.reshaping(row.out_shape, out_shape, like) @ row @ Rearranged(shape, [*others, *axes], between, like)


def _reduce(node: Node, mean: bool) -> LinearMap:
    axes = node.integers(1, "axes")
    does_nothing = not axes and node.take("noop_with_empty_axes", 0)
    node.take("noop_with_empty_axes")
    along = sorted({node.axis(axis) for axis in axes}) if axes else list(range(node.rank))
    keeps_axes = bool(node.take("keepdims", 1))
    if does_nothing:
        return layers.identity(node.shape, node.like)
    if mean:
        node.require_floats("a mean of integers is rounded")
    node.act_on_all(0 in along)
    shape = node.shape
    axes = [a - node.skips for a in along]
    count = prod(shape[a] for a in axes)
    return sum_over(shape, axes, node.dtype.type(1 / count if mean else 1), keeps_axes)


def _reduce_sum(node: Node) -> LinearMap:
    return _reduce(node, mean=False)


def _reduce_mean(node: Node) -> LinearMap:
    return _reduce(node, mean=True)


def _cumulative_sum(node: Node) -> LinearMap:
    place = node.optional_constant(1, "axis")
    if place is None:
        raise UnsupportedError("its axis is missing", "Expected one", "Check the model")
    axis = node.axis(int(place.reshape(())))
    node.act_on_all(axis == 0)
    shape, along = node.shape, axis - node.skips
    size = shape[along]
    layers.require_small("a matrix of sums", size * size * node.dtype.itemsize)
    matrix = np.tri(size, k=-1 if node.take("exclusive", 0) else 0, dtype=node.dtype)
    return AlongAxis(matrix.T if node.take("reverse", 0) else matrix, shape, along)


CONVERTERS: dict[str, Any] = {
    "CumSum": _cumulative_sum,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
}
