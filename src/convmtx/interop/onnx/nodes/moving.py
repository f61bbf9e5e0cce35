"""Converters of nodes that move, repeat or drop numbers, and compute nothing."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.boundary import ZERO
from convmtx.errors import ArgumentError, UnsupportedError
from convmtx.interop import layers
from convmtx.interop.onnx.node import Node
from convmtx.interop.onnx.reasons import not_linear
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.maps.selection import Grid, Selection
from convmtx.typing import AnyArray, IntArray, Shape

#: Ends of slices from which on they reach the end of any array.
_ANY_END = (1 << 31) - 1


def widen(shape: Shape, out_shape: Shape, like: AnyArray) -> LinearMap | None:
    """Return the map that repeats an array along axes of size 1, and along axes in front, until it has a shape.

    It is None where the array has that shape already.
    """
    full = (1,) * (len(out_shape) - len(shape)) + shape
    if full == out_shape:
        return None if full == shape else layers.reshaping(shape, full, like)
    repeat = Grid(full, [range(n) if n == m else _zeros(m) for n, m in zip(full, out_shape, strict=True)], like)
    return repeat if full == shape else repeat @ layers.reshaping(shape, full, like)


def _zeros(count: int) -> IntArray:
    """Return zeros that take the memory of one."""
    return np.broadcast_to(np.zeros((), np.int64), (count,))


def _reshape(node: Node) -> LinearMap:
    """Convert a node that gives its data another shape; the shape is that of the output."""
    for name in ("allowzero", "axis", "axes", "shape"):
        node.take(name)
    before, after = node.in_dims, node.out_dims()
    node.act_on_all(min(len(before), len(after)) < 2 or before[0] is None or before[0] != after[0])
    shape, out_shape = node.shape, node.sizes(node.outputs[0])
    if prod(shape) != prod(out_shape):
        got = f"arrays of shape {shape} as {out_shape}"
        raise ArgumentError(got, "Expected as many numbers", "Check the sizes in the model")
    return layers.reshaping(shape, out_shape, node.like)


def _transpose(node: Node) -> LinearMap:
    order = node.take("perm", list(range(node.rank))[::-1])
    node.act_on_all(order[0] != 0)
    shape = node.shape
    return Rearranged(shape, [axis - node.skips for axis in order[node.skips :]], like=node.like)


def _slice(node: Node) -> LinearMap:
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    axes = node.integers(3, "axes") or list(range(len(starts or ())))
    steps = node.integers(4, "steps") or [1] * len(axes)
    if starts is None or ends is None:
        raise not_linear("its ends are missing")
    cuts = {}
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size, cut = node.in_dims[node.axis(axis)], slice(start, end, step)
        if isinstance(size, int):
            takes_all = range(*cut.indices(size)) == range(size)
        else:
            takes_all = (start, step) == (0, 1) and end >= _ANY_END
        if not takes_all:
            cuts[node.axis(axis)] = cut
    node.act_on_all(0 in cuts)
    shape = node.shape
    picked = []
    for axis, size in enumerate(shape, node.skips):
        cut = cuts.get(axis, slice(None))
        picked.append(range(*cut.indices(size)))
    if not all(picked):
        raise UnsupportedError(f"it picks nothing of {shape}", "Expected some positions", "Leave this layer out")
    return Grid(shape, picked, node.like)


def _split(node: Node) -> dict[str, LinearMap]:
    axis = node.axis(node.take("axis", 0))
    node.act_on_all(axis == 0)
    shape, outputs = node.shape, node.outputs
    size, count = shape[axis - node.skips], len(outputs)
    if node.take("num_outputs", count) != count:
        raise ArgumentError(f"{count} outputs and another num_outputs", "Expected as many", "Check the model")
    step = -(-size // count)
    sizes = node.integers(1, "split") or [min(step, size - j * step) for j in range(count)]
    ends = np.cumsum([0, *sizes]).tolist()
    if ends[-1] != size or len(sizes) != len(outputs) or min(sizes) < 1:
        raise ArgumentError(f"pieces {sizes[:6]} of {size} positions", "Expected all", "Check the sizes in the model")
    along = axis - node.skips
    return {
        name: Grid(shape, [range(*ends[j : j + 2]) if a == along else range(n) for a, n in enumerate(shape)], node.like)
        for j, name in enumerate(outputs)
        if name
    }


def _indices(node: Node) -> IntArray:
    """Return the constant indices of a node that gathers."""
    if node.is_constant(0) and not node.is_constant(1):
        raise not_linear("it takes positions that its input names")
    indices = node.optional_constant(1, "indices")
    if indices is None:
        raise not_linear("its indices are missing")
    return np.asarray(indices, np.int64)


def _inside(indices: IntArray, size: int) -> IntArray:
    """Return indices counted from 0, if an axis has them all."""
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        got = f"indices from {indices.min()} to {indices.max()} on an axis of {size}"
        raise ArgumentError(got, "Expected positions that are there", "Check the model")
    return np.where(indices < 0, indices + size, indices)


def _gather(node: Node) -> LinearMap:
    indices = _indices(node)
    axis = node.axis(node.take("axis", 0))
    node.act_on_all(axis == 0)
    shape, along = node.shape, axis - node.skips
    positions = _inside(indices, shape[along]).reshape(-1)
    op = Grid(shape, [positions if a == along else range(n) for a, n in enumerate(shape)], node.like)
    out_shape = (*shape[:along], *indices.shape, *shape[along + 1 :])
    return op if op.out_shape == out_shape else layers.reshaping(op.out_shape, out_shape, node.like) @ op


def grid(shape: Shape) -> list[IntArray]:
    """Return the positions along each axis, so that they are broadcast to each other, if they are not too many."""
    layers.require_small("the positions of its numbers", 8 * sum(shape))
    return list(np.ogrid[tuple(slice(n) for n in shape)])


def places(shape: Shape, coordinates: Any) -> IntArray:
    """Return the places in flattened arrays of coordinates along each axis, which are broadcast to each other."""
    size = prod(np.broadcast_shapes(*(np.shape(numbers) for numbers in coordinates)))
    layers.require_small("the places of its numbers", size * 8)
    checked = [_inside(np.asarray(c, np.int64), n) for c, n in zip(coordinates, shape, strict=True)]
    return np.asarray(sum((c * prod(shape[a + 1 :]) for a, c in enumerate(checked)), np.int64(0)))


def element_coordinates(indices: IntArray, axis: int) -> list[IntArray]:
    """Return coordinates along each axis of the numbers that GatherElements and ScatterElements index."""
    coordinates = grid(indices.shape)
    coordinates[axis] = indices
    return coordinates


def tuple_coordinates(shape: Shape, indices: IntArray, batch_dims: int = 0) -> list[IntArray]:
    """Return coordinates along each axis of the numbers that GatherND and ScatterND index."""
    depth = indices.shape[-1]
    rest = shape[batch_dims + depth :]
    outer = indices.shape[:-1]
    around = grid((*outer, *rest))
    tuples = [indices[..., j].reshape(*outer, *(1 for _ in rest)) for j in range(depth)]
    return [*around[:batch_dims], *tuples, *around[len(outer) :]]


def _gather_elements(node: Node) -> LinearMap:
    indices = _indices(node)
    axis = node.axis(node.take("axis", 0))
    node.act_on_all()
    return Selection(node.shape, places(node.shape, element_coordinates(indices, axis)), node.like)


def _gather_nd(node: Node) -> LinearMap:
    indices = _indices(node)
    node.act_on_all()
    coordinates = tuple_coordinates(node.shape, indices, node.take("batch_dims", 0))
    return Selection(node.shape, places(node.shape, coordinates), node.like)


def _compress(node: Node) -> LinearMap:
    condition = node.optional_constant(1, "condition")
    if condition is None:
        raise not_linear("its condition is missing")
    kept, axis = np.flatnonzero(condition), node.take("axis")
    if not kept.size:
        raise UnsupportedError("it keeps nothing", "Expected some positions", "Leave this layer out")
    if axis is None:
        shape = node.all_sizes()
        return Selection(shape, _inside(kept, prod(shape)), node.like)
    axis = node.axis(axis)
    node.act_on_all(axis == 0)
    shape, along = node.shape, axis - node.skips
    return Grid(shape, [_inside(kept, n) if a == along else range(n) for a, n in enumerate(shape)], node.like)


def _reverse_sequence(node: Node) -> LinearMap:
    lengths = node.optional_constant(1, "sequence_lens")
    batch, time = node.take("batch_axis", 1), node.take("time_axis", 0)
    if lengths is None or {batch, time} != {0, 1}:
        raise ArgumentError(f"batch axis {batch} and time axis {time}", "Expected 0 and 1", "Check the model")
    shape = node.all_sizes()
    coordinates = grid(shape)
    own = np.reshape(lengths, [-1 if axis == batch else 1 for axis in range(len(shape))])
    at = coordinates[time]
    coordinates[time] = np.where(at < own, own - 1 - at, at)
    return Selection(shape, places(shape, coordinates), node.like)


def _expand(node: Node) -> LinearMap:
    before, after = node.in_dims, node.out_dims()
    node.act_on_all(len(before) != len(after) or before[0] != after[0])
    op = widen(node.shape, node.sizes(node.outputs[0]), node.like)
    return layers.identity(node.shape, node.like) if op is None else op


def _tile(node: Node) -> LinearMap:
    repeats = node.integers(1, "repeats")
    if repeats is None or len(repeats) != node.rank:
        raise ArgumentError(f"repeats {repeats} of {node.rank} axes", "Expected one for each", "Check the model")
    node.act_on_all(repeats[0] != 1)
    shape = node.shape
    pairs = list(zip(shape, repeats[node.skips :], strict=True))
    layers.require_small("the positions of its numbers", 8 * sum(n * count for n, count in pairs if count > 1))
    return Grid(shape, [range(n) if count == 1 else np.tile(np.arange(n), count) for n, count in pairs], node.like)


def _depth_to_space(node: Node) -> LinearMap:
    b, mode = node.take("blocksize"), node.take("mode", "DCR")
    channels, height, width = node.shape
    depth, rest = divmod(channels, b * b)
    if rest:
        raise ArgumentError(f"{channels} channels in blocks of {b} x {b}", "Expected whole blocks", "Check the model")
    split, axes = ((b, b, depth), (2, 3, 0, 4, 1)) if mode == "DCR" else ((depth, b, b), (0, 3, 1, 4, 2))
    between = (*split, height, width)
    return Rearranged(between, axes, (depth, height * b, width * b), node.like) @ layers.reshaping(
        node.shape, between, node.like
    )


def _space_to_depth(node: Node) -> LinearMap:
    b, mode = node.take("blocksize"), node.take("mode", "DCR")
    channels, height, width = node.shape
    if height % b or width % b:
        raise ArgumentError(f"{height} x {width} in blocks of {b}", "Expected whole blocks", "Check the model")
    between = (channels, height // b, b, width // b, b)
    out_shape = (channels * b * b, height // b, width // b)
    axes = (2, 4, 0, 1, 3) if mode == "DCR" else (0, 2, 4, 1, 3)
    return Rearranged(between, axes, out_shape, node.like) @ layers.reshaping(node.shape, between, node.like)


def _center(node: Node) -> LinearMap:
    targets = node.integers(1, "shape") or []
    axes = [node.axis(axis) for axis in node.take("axes", list(range(node.rank)))]
    wanted = dict(zip(axes, targets, strict=True))
    node.act_on_all(wanted.get(0, node.in_dims[0]) != node.in_dims[0])
    shape = node.shape
    spare = [wanted.get(axis, n) - n for axis, n in enumerate(shape, node.skips)]
    # The half that is cut off in front is rounded down, as is the half that is added in front.
    starts = [max(-s, 0) // 2 for s in spare]
    op = Grid(shape, [range(at, at + n + min(s, 0)) for at, n, s in zip(starts, shape, spare, strict=True)], node.like)
    ends = [(max(s, 0) // 2, max(s, 0) - max(s, 0) // 2) for s in spare]
    return op if not any(map(any, ends)) else layers.pad(op.out_shape, ends, ZERO, node.like) @ op


CONVERTERS: dict[str, Any] = {
    "CenterCropPad": _center,
    "Compress": _compress,
    "DepthToSpace": _depth_to_space,
    "Expand": _expand,
    "Flatten": _reshape,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Reshape": _reshape,
    "ReverseSequence": _reverse_sequence,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _reshape,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
