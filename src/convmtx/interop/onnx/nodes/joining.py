"""Converters of nodes that put tensors together: one behind the other, or some numbers into another tensor."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.errors import ArgumentError, UnsupportedError
from convmtx.interop import layers
from convmtx.interop.onnx.node import Combined, Node, Part
from convmtx.interop.onnx.nodes.moving import element_coordinates, places, tuple_coordinates
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.selection import Grid, Selection
from convmtx.typing import AnyArray, IntArray


def _concat(node: Node) -> Combined:
    positions = [j for j in range(len(node.inputs)) if node.has(j)]
    data = node.data_positions(positions)
    constants = {j: node.weight(j, f"input {j}") for j in sorted({*positions}.difference(data))}
    dims = [node.dims(node.inputs[j]) for j in data]
    axis = node.axis(node.take("axis", 1), len(dims[0]))
    batches = {sizes[0] for sizes in dims} | ({1} if constants else set())
    node.act_on_all(len(dims[0]) < 2 or axis == 0 or len(batches) > 1 or None in batches)
    along = axis - node.skips
    shapes = {j: node.sizes(node.inputs[j]) for j in data}
    arrays = {j: array if node.whole else array[0] for j, array in constants.items()}
    pieces = [shapes[j] if j in shapes else arrays[j].shape for j in positions]
    ends = np.cumsum([0, *(shape[along] for shape in pieces)]).tolist()
    out_shape = (*pieces[0][:along], ends[-1], *pieces[0][along + 1 :])
    if any(
        (*shape[:along], 0, *shape[along + 1 :]) != (*out_shape[:along], 0, *out_shape[along + 1 :]) for shape in pieces
    ):
        raise ArgumentError(f"pieces of shapes {pieces[:4]}", "Expected one size but along an axis", "Check the model")
    places_of = [
        [range(*ends[j : j + 2]) if a == along else range(n) for a, n in enumerate(out_shape)]
        for j in range(len(pieces))
    ]
    parts = [
        Part(node.inputs[j], Grid(out_shape, at, node.like).T)
        for j, at in zip(positions, places_of, strict=True)
        if j in shapes
    ]
    offset = None
    if arrays:
        offset = _offset(out_shape, arrays, dict(zip(positions, places_of, strict=True)))
    return Combined(out_shape, tuple(parts), offset, None if arrays else along)


def _offset(out_shape: Any, arrays: dict[int, AnyArray], places_of: dict[int, list[range]]) -> AnyArray:
    """Return zeros with arrays at their places."""
    dtype = next(iter(arrays.values())).dtype
    layers.require_small("an offset", prod(out_shape) * dtype.itemsize)
    offset = np.zeros(out_shape, dtype)
    for j, array in arrays.items():
        offset[tuple(slice(r.start, r.stop) for r in places_of[j])] = array
    return offset


def _scatter(node: Node, into: IntArray, replaces: bool) -> Combined:
    """Return the data with updates at some places, which replace the numbers there or are added to them."""
    shape = node.sizes(node.inputs[0])
    layers.require_small("a mask", prod(shape) * node.dtype.itemsize)
    flat = into.reshape(-1)
    if replaces and np.unique(flat).size < flat.size:
        raise UnsupportedError("places that are written more than once", "Expected one number each", "Leave it out")
    put: LinearMap = Selection(shape, into, node.like).T
    kept = np.ones(prod(shape), node.dtype)
    if replaces:
        kept[flat] = 0
    parts, offset = [], None
    for j, op in ((0, Diagonal(kept.reshape(shape), shape)), (2, put)):
        if j in node.data_positions((0, 2)):
            parts.append(Part(node.inputs[j], op))
        else:
            term = op(node.weight(j, "data" if j == 0 else "updates"))
            offset = term if offset is None else offset + term
    return Combined(shape, tuple(parts), offset)


def _reduction(node: Node) -> bool:
    """Whether a node that scatters replaces numbers, and does not add to them."""
    reduction = node.take("reduction", "none")
    if reduction not in ("none", "add"):
        raise UnsupportedError(f"reduction={reduction}", "Expected none or add, which are linear", "Leave it out")
    return bool(reduction == "none")


def _scatter_elements(node: Node) -> Combined:
    indices = node.weight(1, "indices").astype(np.int64)
    shape = node.all_sizes()
    axis = node.axis(node.take("axis", 0), len(shape))
    return _scatter(node, places(shape, element_coordinates(indices, axis)), _reduction(node))


def _scatter_nd(node: Node) -> Combined:
    indices = node.weight(1, "indices").astype(np.int64)
    shape = node.all_sizes()
    return _scatter(node, places(shape, tuple_coordinates(shape, indices)), _reduction(node))


CONVERTERS: dict[str, Any] = {
    "Concat": _concat,
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
