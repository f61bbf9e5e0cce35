"""Maps as models of ONNX: a Conv or ConvTranspose where there is one, else a product with the matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import as_numpy
from convmtx.errors import UnsupportedError
from convmtx.extras import needed
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.elementary import Rearranged
from convmtx.maps.linear_map import LinearMap, Product
from convmtx.taps import swapped, taps_of

_OPSET, _IR = 21, 10  # Pad has wrap since 19; both are two years old
_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def model_of(op: LinearMap) -> Any:
    """A ModelProto from x (N, *in_shape) to y (N, *out_shape)."""
    onnx = needed("onnx", "onnx")
    factors = op.factors if isinstance(op, Product) else (op,)
    name = str(op.dtype).rpartition(".")[2]
    if all(isinstance(factor, Rearranged) for factor in factors):
        name = "float32"  # they have no numbers of their own
    if name not in ("float16", "float32", "float64"):
        raise UnsupportedError(f"a map of {name}", "Wanted floats of 16 to 64 bits", "Convert the kernel")
    build = _Builder(onnx, np.dtype(name))
    for factor in reversed(factors):
        _add(build, factor)
    return build.model(op.in_shape, op.out_shape)


def _add(build: _Builder, op: LinearMap) -> None:
    """The nodes of a map that is no product."""
    if isinstance(op, Rearranged):
        build.add("Transpose", perm=[0, *(1 + axis for axis in op.axes)])
    elif isinstance(op, ConvOperator) and _convolved(build, op.geometry, as_numpy(op.kernel).astype(build.dtype)):
        return
    else:
        build.add("Reshape", "shape", np.array([-1, op.shape[1]]))
        build.add("MatMul", "matrix", as_numpy(op.to_dense()).T.astype(build.dtype))
    build.add("Reshape", "out_shape", np.array([-1, *op.out_shape]))


class _Builder:
    """A chain of nodes, each applied to what the one before it made."""

    def __init__(self, onnx: Any, dtype: Any) -> None:
        self._onnx, self.dtype = onnx, dtype
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, op_type: str, name: str = "", constant: Any = None, **attributes: Any) -> None:
        """A node, with one constant beside its input."""
        inputs = [f"t{len(self._nodes)}" if self._nodes else "x"]
        if constant is not None:
            name = f"{name} {len(self._nodes)}"
            inputs.append(name)
            self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(constant), name))
        self._nodes.append(self._onnx.helper.make_node(op_type, inputs, [f"t{len(self._nodes) + 1}"], **attributes))

    def model(self, in_shape: Any, out_shape: Any) -> Any:
        """The chain as a checked model."""
        helper = self._onnx.helper
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        self._nodes[-1].output[0] = "y"
        shapes = (("x", in_shape), ("y", out_shape))
        ends = [helper.make_tensor_value_info(name, kind, ["N", *shape]) for name, shape in shapes]
        graph = helper.make_graph(self._nodes, "convmtx", ends[:1], ends[1:], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
        self._onnx.checker.check_model(model)
        return model


def _convolved(build: _Builder, geometry: Geometry, kernel: Any) -> bool:
    """Add the nodes of a convolution; False where ONNX has none for it."""
    axes, d = geometry.axes, len(geometry.axes)
    if d > 3 or not all(_paddable(axis) for axis in axes):
        return False
    stretched = any(axis.input_dilation > 1 for axis in axes)
    if stretched and not all(_transposable(axis) for axis in axes):
        return False
    taps = taps_of(geometry, kernel)
    if geometry.layout is Layout.LAST:
        build.add("Transpose", perm=[0, d + 1, *range(1, d + 1)])
    elif geometry.layout is Layout.PLAIN:
        build.add("Unsqueeze", "channel", np.array([1]))
    if stretched:
        pads = [axis.span - 1 - axis.lo for axis in axes]
        ends = [axis.stretched - 1 + axis.span - axis.out - pad for axis, pad in zip(axes, pads, strict=True)]
        build.add(
            "ConvTranspose", "W", swapped(np.flip(taps, tuple(range(2, d + 2))), geometry.groups),
            strides=[a.input_dilation for a in axes], dilations=[a.dilation for a in axes], pads=[*pads, *ends],
            group=geometry.groups,
        )  # fmt: skip
    else:
        ends = [axis.reach[1] + 1 - axis.size for axis in axes]
        for mode in {axis.boundary.name for axis in axes if not axis.zero_outside}:
            theirs = [not a.zero_outside and a.boundary.name == mode for a in axes]
            given = [(a.lo, end) if its else (0, 0) for a, end, its in zip(axes, ends, theirs, strict=True)]
            build.add("Pad", f"{mode} pads", _flat(given), mode=_MODES[mode])
        zeros = [(a.lo, a.hi) if a.zero_outside else (0, 0) for a in axes]
        if min(min(pair) for pair in zeros) < 0:
            build.add("Pad", "zero pads", _flat(zeros))
            zeros = [(0, 0)] * d
        build.add(
            "Conv", "W", taps, strides=[a.stride for a in axes], dilations=[a.dilation for a in axes],
            pads=[lo for lo, _ in zeros] + [hi for _, hi in zeros], group=geometry.groups,
        )  # fmt: skip
    if geometry.layout is Layout.LAST:
        build.add("Transpose", perm=[0, *range(2, d + 2), 1])
    elif geometry.layout is Layout.PLAIN:
        build.add("Squeeze", "channel", np.array([1]))
    return True


def _flat(pads: list[tuple[int, int]]) -> Any:
    """Pads of a batch of images as ONNX wants them: all beginnings, then all ends."""
    return np.array([0, 0, *(lo for lo, _ in pads), 0, 0, *(hi for _, hi in pads)])


def _paddable(axis: Axis) -> bool:
    """Whether ONNX continues the axis so: zeros, or one turn of its rule."""
    if axis.zero_outside:
        return True
    most = max(axis.lo, axis.reach[1] + 1 - axis.size)
    least = min(axis.lo, axis.reach[1] + 1 - axis.size)
    widest = {"reflect": axis.size - 1, "wrap": axis.size, "edge": most}.get(axis.boundary.name, -1)
    return axis.input_dilation == 1 and least >= 0 and most <= widest


def _transposable(axis: Axis) -> bool:
    """Whether ConvTranspose has the axis: nothing added to the full output, and every output kept."""
    pad = axis.span - 1 - axis.lo
    end = axis.stretched - 1 + axis.span - axis.out - pad
    return axis.zero_outside and axis.stride == 1 and pad >= 0 and end >= 0
