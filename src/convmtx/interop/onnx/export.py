"""Maps as models of ONNX: a Conv or ConvTranspose if ONNX has it, otherwise a product with the matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import as_numpy
from convmtx.boundary import EDGE, REFLECT, WRAP
from convmtx.errors import UnsupportedError
from convmtx.extras import import_extra
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.maps.along_axis import AlongAxis
from convmtx.maps.combined import Product
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.taps import swap_channels, taps_of

#: Opset and version of the format that models are written in. Pad has the mode wrap since opset 19.
_OPSET, _IR = 21, 10
#: Mode of ONNX's Pad for a boundary rule. It has none for symmetric.
_PAD_MODES = {REFLECT: "reflect", EDGE: "edge", WRAP: "wrap"}


def model_of(op: LinearMap) -> Any:
    """Return a map as a ModelProto with input x (N, *in_shape) and output y (N, *out_shape)."""
    onnx = import_extra("onnx", "onnx")
    factors = op.factors if isinstance(op, Product) else (op,)
    name = str(op.dtype).rpartition(".")[2]
    if all(isinstance(factor, Rearranged) for factor in factors):
        name = "float32"  # they have no numbers of their own
    if name not in ("float16", "float32", "float64"):
        raise UnsupportedError(f"a map of {name}", "Expected floats of 16 to 64 bits", "Convert the kernel")
    build = _Builder(onnx, np.dtype(name))
    for factor in reversed(factors):
        _add(build, factor)
    return build.model(op.in_shape, op.out_shape)


def _add(build: _Builder, op: LinearMap) -> None:
    """Add the nodes of a map that is not a product."""
    if isinstance(op, Rearranged):
        build.add("Transpose", perm=[0, *(1 + axis for axis in op.axes)])
    elif isinstance(op, AlongAxis):
        _add_along_axis(build, op)
    elif isinstance(op, ConvOperator) and _add_convolution(build, op.geometry, as_numpy(op.kernel).astype(build.dtype)):
        return
    else:
        build.add("Reshape", "shape", np.array([-1, op.shape[1]]))
        build.add("MatMul", "matrix", as_numpy(op.to_dense()).T.astype(build.dtype))
    build.add("Reshape", "out_shape", np.array([-1, *op.out_shape]))


def _add_along_axis(build: _Builder, op: AlongAxis) -> None:
    """Add the nodes of a matrix along one axis, which MatMul multiplies last."""
    order = [axis for axis in range(len(op.in_shape) + 1) if axis != 1 + op.axis] + [1 + op.axis]
    matrix = as_numpy(AlongAxis(op.matrix, op.in_shape[op.axis : op.axis + 1], 0).to_dense())
    build.add("Transpose", perm=order)
    build.add("MatMul", "matrix", matrix.T.astype(build.dtype))
    build.add("Transpose", perm=np.argsort(order).tolist())


class _Builder:
    """Chain of nodes, each applied to the output of the one before it."""

    def __init__(self, onnx: Any, dtype: Any) -> None:
        self._onnx, self.dtype = onnx, dtype
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, op_type: str, name: str = "", constant: Any = None, **attributes: Any) -> None:
        """Add a node, with at most one constant beside its input."""
        inputs = [f"t{len(self._nodes)}" if self._nodes else "x"]
        if constant is not None:
            name = f"{name} {len(self._nodes)}"
            inputs.append(name)
            self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(constant), name))
        self._nodes.append(self._onnx.helper.make_node(op_type, inputs, [f"t{len(self._nodes) + 1}"], **attributes))

    def model(self, in_shape: Any, out_shape: Any) -> Any:
        """Return the chain as a model that onnx has checked."""
        helper = self._onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        self._nodes[-1].output[0] = "y"
        shapes = (("x", in_shape), ("y", out_shape))
        ends = [helper.make_tensor_value_info(name, kind, ["N", *shape]) for name, shape in shapes]
        graph = helper.make_graph(self._nodes, "convmtx", ends[:1], ends[1:], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        self._onnx.checker.check_model(model)
        return model


def _add_convolution(build: _Builder, geometry: Geometry, kernel: Any) -> bool:
    """Add the nodes of a convolution; add none and return False if ONNX has no such convolution."""
    axes, d = geometry.axes, len(geometry.axes)
    if d > 3 or not all(_is_paddable(axis) for axis in axes):
        return False
    is_stretched = any(axis.input_dilation > 1 for axis in axes)
    if is_stretched and not all(_is_transposable(axis) for axis in axes):
        return False
    if geometry.layout is Layout.LAST:
        build.add("Transpose", perm=[0, d + 1, *range(1, d + 1)])
    elif geometry.layout is Layout.PLAIN:
        build.add("Unsqueeze", "channel", np.array([1]))
    (_add_conv_transpose if is_stretched else _add_conv)(build, geometry, taps_of(geometry, kernel))
    if geometry.layout is Layout.LAST:
        build.add("Transpose", perm=[0, *range(2, d + 2), 1])
    elif geometry.layout is Layout.PLAIN:
        build.add("Squeeze", "channel", np.array([1]))
    return True


def _add_conv_transpose(build: _Builder, geometry: Geometry, taps: Any) -> None:
    """Add the ConvTranspose of a convolution of a stretched input, whose taps are reversed and channels swapped."""
    axes = geometry.axes
    pads = [_transposed_pads(axis) for axis in axes]
    build.add(
        "ConvTranspose", "W", swap_channels(np.flip(taps, tuple(range(2, len(axes) + 2))), geometry.groups),
        strides=[a.input_dilation for a in axes], dilations=[a.dilation for a in axes],
        pads=[lo for lo, _ in pads] + [hi for _, hi in pads], group=geometry.groups,
    )  # fmt: skip


def _add_conv(build: _Builder, geometry: Geometry, taps: Any) -> None:
    """Add a Pad for each boundary rule, and a Conv that pads with zeros."""
    axes = geometry.axes
    ends = [axis.reach[1] + 1 - axis.size for axis in axes]
    for boundary in dict.fromkeys(axis.boundary for axis in axes if not axis.zero_outside):
        has_rule = [not axis.zero_outside and axis.boundary is boundary for axis in axes]
        pads = [(axis.lo, end) if its else (0, 0) for axis, end, its in zip(axes, ends, has_rule, strict=True)]
        build.add("Pad", f"{_PAD_MODES[boundary]} pads", _flatten(pads), mode=_PAD_MODES[boundary])
    zeros = [(axis.lo, axis.hi) if axis.zero_outside else (0, 0) for axis in axes]
    if min(min(pair) for pair in zeros) < 0:  # Pad may cut positions off, Conv may not
        build.add("Pad", "zero pads", _flatten(zeros))
        zeros = [(0, 0)] * len(axes)
    build.add(
        "Conv", "W", taps, strides=[a.stride for a in axes], dilations=[a.dilation for a in axes],
        pads=[lo for lo, _ in zeros] + [hi for _, hi in zeros], group=geometry.groups,
    )  # fmt: skip


def _flatten(pads: list[tuple[int, int]]) -> Any:
    """Return pads in ONNX's order, with none for batch and channels: all those before, then all those behind."""
    return np.array([0, 0, *(lo for lo, _ in pads), 0, 0, *(hi for _, hi in pads)])


def _is_paddable(axis: Axis) -> bool:
    """Whether ONNX's Pad continues the axis by its rule: with zeros, or at most once around or to the mirror's end."""
    if axis.zero_outside:
        return True
    pads = (axis.lo, axis.reach[1] + 1 - axis.size)
    if axis.input_dilation > 1 or min(pads) < 0 or axis.boundary not in _PAD_MODES:
        return False
    if axis.boundary is EDGE:
        return True
    return max(pads) <= (axis.size - 1 if axis.boundary is REFLECT else axis.size)


def _transposed_pads(axis: Axis) -> tuple[int, int]:
    """Return the pads of a ConvTranspose, which cut outputs off, from those of the stretched axis."""
    # 3 inputs stretched by 2 are 5 positions. Without pads, ConvTranspose with 3 taps has the 7 outputs whose windows
    # touch them. With padding (1, 1), the convolution has 5 of these, all but the first and the last: pads (1, 1).
    lo = axis.span - 1 - axis.lo
    return lo, axis.stretched - 1 + axis.span - axis.out - lo


def _is_transposable(axis: Axis) -> bool:
    """Whether ConvTranspose has the axis: it can cut outputs off, but neither add nor skip any."""
    return axis.zero_outside and axis.stride == 1 and min(_transposed_pads(axis)) >= 0
