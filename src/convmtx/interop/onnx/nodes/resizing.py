"""Converters of nodes that resize: Resize in all its modes, and Upsample before it.

Positions follow the standard: where a scale makes an output of a length that is not whole, formulas of align_corners,
pytorch_half_pixel and tf_crop_and_resize take that length, as the tests of the standard do. onnxruntime takes the whole
number of outputs there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convmtx.errors import ArgumentError, UnsupportedError
from convmtx.interop import layers
from convmtx.interop.onnx.node import Node
from convmtx.interop.onnx.protobuf import Size
from convmtx.interop.onnx.reasons import not_known
from convmtx.maps.affine import Affine
from convmtx.maps.along_axis import along_axes
from convmtx.maps.linear_map import LinearMap
from convmtx.resizing import onnx_axis

#: Methods by the name that ONNX gives them; "bilinear" is that of the first opset.
_METHODS = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
#: Bytes of a matrix for each position of the longer axis: 16 entries in a row with their indices, and what making
#: them takes.
_ROW_BYTES = 600


def _resize(node: Node) -> Affine | LinearMap:
    mode = _METHODS[node.take("mode", "nearest")]
    if node.opset < 11:
        scales = node.numbers(1, "scales")
        return _map(node, mode, _axes(node, scales, None, "stretch"), {"coordinates": "asymmetric"}, None)
    coordinates = node.take("coordinate_transformation_mode", "half_pixel")
    options = {
        "coordinates": coordinates, "nearest": node.take("nearest_mode", "round_prefer_floor"),
        "a": node.take("cubic_coeff_a", -0.75), "exclude_outside": bool(node.take("exclude_outside", 0)),
        "antialias": bool(node.take("antialias", 0)),
    }  # fmt: skip
    fill, policy = node.take("extrapolation_value", 0.0), node.take("keep_aspect_ratio_policy", "stretch")
    scales, sizes = node.numbers(2, "scales"), node.open_numbers(3, "sizes")
    axes = _axes(node, scales, sizes, policy)
    if coordinates == "tf_crop_and_resize":
        roi = node.optional_weight(1, "roi")
        if roi is None or roi.size != 2 * len(axes):
            raise ArgumentError("tf_crop_and_resize without a region for each axis", "Expected roi", "Check the model")
        axes = {axis: (*axes[axis][:2], (float(roi[j]), float(roi[len(axes) + j]))) for j, axis in enumerate(axes)}
        return _map(node, mode, axes, options, fill)
    return _map(node, mode, axes, options, None)


def _upsample(node: Node) -> Affine | LinearMap:
    mode = _METHODS[node.take("mode", "nearest")]
    scales = node.numbers(1, "scales")
    if scales is None:
        scales = [1.0, 1.0, node.take("height_scale", 1.0), node.take("width_scale", 1.0)]
    return _map(node, mode, _axes(node, scales, None, "stretch"), {"coordinates": "asymmetric"}, None)


#: Output size of an axis, which may be open where it stays as it is; its scale, None if it follows from the sizes; and
#: the region of interest.
_Axis = tuple[Any, float | None, tuple[float, float]]


def _axes(node: Node, scales: Sequence[float] | None, sizes: Sequence[Size] | None, policy: str) -> dict[int, _Axis]:
    """Return output size and scale of each axis that the node names, in its order."""
    names = node.take("axes")
    axes = list(range(node.rank)) if names is None else [node.axis(axis) for axis in names]
    numbers = scales or sizes
    if numbers is None or len(numbers) != len(axes):
        raise ArgumentError(f"scales or sizes of {len(axes)} axes are missing", "Expected all", "Check the model")
    result: dict[int, _Axis] = {}
    if scales:
        for axis, scale in zip(axes, scales, strict=True):
            if not (np.isfinite(scale) and scale > 0):
                raise ArgumentError(f"a scale of {scale}", "Expected a number above 0", "Check the model")
            size = node.in_dims[axis]
            if scale == 1 and not isinstance(size, int):
                result[axis] = (size, None, (0.0, 1.0))  # an axis such as the batch, which stays as it is
                continue
            n = node.size(axis)
            result[axis] = (int(np.floor(np.float32(scale) * np.float32(n))), float(np.float32(scale)), (0.0, 1.0))
        return result
    wanted: dict[int, Any] = dict(zip(axes, numbers, strict=True))
    if not all(isinstance(n, int) or (n == node.in_dims[axis] and policy == "stretch") for axis, n in wanted.items()):
        raise not_known("its sizes are open", *node.wanted_shapes())
    common: float | None = None
    if policy != "stretch":
        choose = min if policy == "not_larger" else max
        ratio = common = choose(n / node.size(axis) for axis, n in wanted.items())
        wanted = {axis: int(np.floor(ratio * node.size(axis) + 0.5)) for axis in wanted}
    return {axis: (n, common, (0.0, 1.0)) for axis, n in wanted.items()}


def _map(
    node: Node, mode: str, axes: dict[int, _Axis], options: dict[str, Any], fill: float | None
) -> Affine | LinearMap:
    """Return the map that resizes some axes; ``fill`` is what outputs outside the region are, if there is one."""
    changed = {}
    for axis, (out, scale, roi) in axes.items():
        size = node.in_dims[axis]
        if (out == size and scale in (None, 1.0)) and (fill is None or roi == (0.0, 1.0)):
            continue
        changed[axis] = (node.size(axis), out, scale, roi)
    node.act_on_all(0 in changed)
    shape = node.shape
    if mode != "nearest":
        node.require_floats("a weighted mean of integers is rounded")
    matrices, outside = {}, np.zeros((1,) * len(shape), bool)
    for axis, (size, out, scale, roi) in changed.items():
        if out < 1:
            raise UnsupportedError(f"an output of size {out}", "Expected at least 1", "Leave this layer out")
        layers.require_small("a matrix of resizing", _ROW_BYTES * max(size, out))
        # Before opset 11 the nearest input is the one before, or the one behind where the axis shrinks.
        rounding = {"nearest": "ceil" if (scale or 1) < 1 else "floor", **options}
        matrix = onnx_axis(size, out, mode, scale=scale, roi=roi, **rounding)
        along = axis - node.skips
        matrices[along] = matrix
        if fill is not None:
            empty = np.diff(matrix.indptr) == 0
            outside = outside | empty.reshape([-1 if a == along else 1 for a in range(len(shape))])
    if not matrices:
        return layers.identity(shape, node.like)
    op = along_axes(shape, matrices, node.like)
    if not outside.any():
        return op
    layers.require_small("an offset", op.shape[0] * node.dtype.itemsize)
    return Affine(op, np.broadcast_to(np.where(outside, node.dtype.type(fill), node.dtype.type(0)), op.out_shape))


CONVERTERS: dict[str, Any] = {"Resize": _resize, "Upsample": _upsample}
