"""Converters of ONNX nodes that are affine maps, one for each kind of node."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convmtx.boundary import EDGE, REFLECT, WRAP, ZERO
from convmtx.construct import conv, conv_transpose
from convmtx.errors import UnsupportedError
from convmtx.geometry.axis import Axis
from convmtx.geometry.padding import pads as resolve_pads
from convmtx.interop import layers
from convmtx.interop.onnx.graph import Graph
from convmtx.interop.onnx.protobuf import quote
from convmtx.maps.affine import Affine
from convmtx.typing import AnyArray, Shape

#: Padding of `conv` by the name that ONNX's ``auto_pad`` gives it.
_PADDINGS: Any = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}
#: Boundary rules by the name that ONNX's Pad gives them.
_BOUNDARIES = {"constant": ZERO, "reflect": REFLECT, "edge": EDGE, "wrap": WRAP}
#: Bits of a number, of the types of which a file stores several numbers in a byte.
_PACKED = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4}


class Node:
    """Node of an ONNX graph, as its converter reads it.

    Attributes are taken out as they are read, so that those left over are known to have been ignored. Inputs are
    counted from 0; the first is the data, unless the converter says otherwise, and the others are constants.
    """

    def __init__(self, graph: Graph, node: Any) -> None:
        self._graph, self._node = graph, node
        #: Attributes that have not been read yet.
        self.attributes = graph.attributes(node)
        self.op_type, self.opset = node.op_type, graph.opset
        #: Name of the tensor that the map is applied to.
        self.data = node.input[0]
        #: Bytes of the weights that have been read, as the file stores or computes them.
        self.weight_bytes = 0
        #: Stored types of weights that NumPy does not have.
        self.widened: set[str] = set()

    def take(self, name: str, default: Any = None) -> Any:
        """Return an attribute, and take it out."""
        return self.attributes.pop(name, default)

    def weight(self, position: int, name: str) -> AnyArray:
        """Return an input that must be a constant, and count it as a weight; ``name`` is ONNX's name of it."""
        array = self.optional_weight(position, name)
        if array is None:
            raise UnsupportedError(
                f"{name} is not a constant",
                "Expected one, for otherwise the node is not linear",
                "Leave this layer out",
            )
        return array

    def optional_weight(self, position: int, name: str) -> AnyArray | None:
        """Return a weight, or None if the node has no such input.

        Types that NumPy does not have become wider ones, without rounding.
        """
        array = self.optional_constant(position, name)
        if array is None:
            return None
        stored = self._graph.dtype(self._node.input[position])
        self.weight_bytes += -(-array.size * _PACKED.get(stored.name, 8 * array.itemsize) // 8)
        if _native(stored) != stored:
            self.widened.add(stored.name)
        return np.asarray(array, _native(array.dtype))

    def optional_constant(self, position: int, name: str) -> AnyArray | None:
        """Return an input that must be a constant if it is there; None if the node has no such input."""
        if position >= len(self._node.input) or not self._node.input[position]:
            return None
        source = self._node.input[position]
        array = self._graph.constant(source)
        if array is None:
            reason = self._graph.why_unknown(source)
            if reason is not None:
                got = f"{name} is {quote(source)}, not known: {reason}"
                raise UnsupportedError(got, "Expected its numbers", "Fold the constants of the model first")
            got, expected = (
                f"{name} is {quote(source)}, not a constant",
                "Expected one, for otherwise the node is not linear",
            )
            raise UnsupportedError(got, expected, "Leave this layer out")
        return array

    def is_constant(self, position: int) -> bool:
        """Whether an input is a constant."""
        return self._graph.constant(self._node.input[position]) is not None

    def apply_to(self, position: int) -> None:
        """Take another input than the first for the data."""
        self.data = self._node.input[position]

    @property
    def shape(self) -> Shape:
        """Shape of the data, without the batch."""
        return self._graph.shape(self.data)

    @property
    def like(self) -> AnyArray:
        """Empty array of the data's type, for maps that have no weights."""
        dtype = _native(self._graph.dtype(self.data))
        if dtype.kind not in "iuf":
            got = f"{quote(self.data)} is of {dtype}"
            raise UnsupportedError(got, "Expected integers or floats of NumPy", "Cast the model")
        return np.empty(0, dtype)

    @property
    def n_outputs(self) -> int:
        """Number of outputs that are read."""
        return sum(bool(name) for name in self._node.output)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return a type of NumPy that has all numbers of a type: int8 for int4, float32 for bfloat16 and float8."""
    if dtype.isbuiltin == 1:
        return dtype
    return np.dtype(np.int8 if "int" in dtype.name else np.float32)


def _windows(node: Node, kernel: Shape) -> tuple[Shape, Shape, Any]:
    """Return strides, dilations and padding as `conv` takes them."""
    d = len(kernel)
    if list(node.take("kernel_shape", list(kernel))) != list(kernel):
        raise UnsupportedError("kernel_shape is not that of W", "Expected the same", "Leave this layer out")
    strides, dilations = tuple(node.take("strides", [1] * d)), tuple(node.take("dilations", [1] * d))
    name, pads = node.take("auto_pad", "NOTSET"), list(node.take("pads", [0] * (2 * d)))
    if name != "NOTSET":
        return strides, dilations, _PADDINGS[name]
    return strides, dilations, list(zip(pads[:d], pads[d:], strict=True))


def _refuse_gaps(kernel: Shape, strides: Shape, dilations: Shape, padding: Any) -> None:
    """Refuse the padding "same" of windows that leave gaps, for its pads would be negative."""
    # Windows of 1 at stride 3 on 6 positions are 2 outputs, at 0 and 3: they need 4 positions, which is 2 fewer.
    spans = [t * (k - 1) + 1 for t, k in zip(dilations, kernel, strict=True)]
    if padding in ("same", "same_lower") and any(span < s for span, s in zip(spans, strides, strict=True)):
        got = f"auto_pad SAME with a kernel that spans {spans} under strides {list(strides)}"
        raise UnsupportedError(got, "Runtimes disagree on its pads", "Leave this layer out")


def _conv(node: Node) -> Affine:
    W, bias = node.weight(1, "W"), node.optional_weight(2, "B")
    strides, dilations, padding = _windows(node, W.shape[2:])
    op = conv(
        W, node.shape, stride=strides, dilation=dilations, padding=padding, groups=node.take("group", 1),
        channels="first",
    )  # fmt: skip
    return layers.add_bias(op, bias)


def _conv_transpose(node: Node) -> Affine:
    W, bias = node.weight(1, "W"), node.optional_weight(2, "B")
    output_shape = node.take("output_shape")
    strides, dilations, padding = _windows(node, W.shape[2:])
    _refuse_gaps(W.shape[2:], strides, dilations, padding)
    if output_shape is not None:
        output_shape = output_shape[-len(strides) :]
        if not isinstance(padding, str):
            padding = "valid"  # the pads that the node has are ignored, for they follow from the sizes
    op = conv_transpose(
        W, node.shape, stride=strides, dilation=dilations, padding=padding, groups=node.take("group", 1),
        output_padding=node.take("output_padding", 0), output_shape=output_shape, channels="first",
    )  # fmt: skip
    return layers.add_bias(op, bias)


def _average(node: Node) -> Affine:
    kernel, shape = tuple(node.take("kernel_shape")), node.shape
    strides, dilations, padding = _windows(node, kernel)
    _refuse_gaps(kernel, strides, dilations, padding)
    if padding in ("same", "same_lower") and max(dilations) > 1:
        got = f"auto_pad SAME with dilations {list(dilations)}"
        raise UnsupportedError(got, "Runtimes disagree on its pads", "Leave this layer out")
    ceil_mode, counts_pads = bool(node.take("ceil_mode", 0)), node.take("count_include_pad", 0)
    unpadded = [Axis(n, k, s, t) for n, k, s, t in zip(shape[1:], kernel, strides, dilations, strict=True)]
    pads = resolve_pads(padding, unpadded)
    axes = [
        layers.pooling_axis(axis, lo, hi, ceil_mode=ceil_mode) for axis, (lo, hi) in zip(unpadded, pads, strict=True)
    ]
    counted = [
        (-lo, axis.size + hi) if counts_pads else (0, axis.size) for axis, (lo, hi) in zip(axes, pads, strict=True)
    ]
    return layers.add_bias(layers.average(shape, axes, counted, "first", None, node.like), None)


def _global_average(node: Node) -> Affine:
    shape = node.shape
    axes, counted = [Axis(n, n) for n in shape[1:]], [(0, n) for n in shape[1:]]
    return layers.add_bias(layers.average(shape, axes, counted, "first", None, node.like), None)


def _gemm(node: Node) -> Affine:
    if node.take("transA", 0):
        raise UnsupportedError("transA=1", "It mixes the samples of a batch", "Leave this layer out")
    B, C = node.weight(1, "B"), node.optional_weight(2, "C")  # ONNX's names: y = alpha x B + beta C
    matrix = B if node.take("transB", 0) else B.T
    alpha, beta = node.take("alpha", 1.0), node.take("beta", 1.0)
    op = layers.multiply_along((matrix * B.dtype.type(alpha)).astype(B.dtype), node.shape, 0)
    if C is None:
        return layers.add_bias(op, None)
    if C.ndim == 2 and C.shape[0] != 1:
        raise UnsupportedError(
            f"C of shape {C.shape}", "It adds different numbers to different samples", "Leave this layer out"
        )
    bias = C.reshape(-1) * C.dtype.type(beta)
    return layers.add_bias(op, np.broadcast_to(bias, op.out_shape) if bias.size == 1 else bias)


def _matmul(node: Node) -> Affine:
    is_left = node.is_constant(0) and not node.is_constant(1)  # A @ x, along the last axis but one, and not x @ B
    if is_left:
        node.apply_to(1)
    constant = node.weight(0, "A") if is_left else node.weight(1, "B")
    shape, is_vector = node.shape, constant.ndim == 1
    axis = len(shape) - (2 if is_left else 1)
    if axis < 0 or (is_vector and len(shape) == 1) or prod(constant.shape[:-2]) != 1 or constant.ndim > len(shape) + 1:
        got = f"a constant of shape {constant.shape} and a tensor of shape (batch, {', '.join(map(str, shape))})"
        raise UnsupportedError(got, "Expected one matrix, which leaves the batch as it is", "Leave this layer out")
    matrix = constant[None] if is_vector else constant.reshape(constant.shape[-2:])
    op = layers.multiply_along(matrix if is_left or is_vector else matrix.T, shape, axis)
    if is_vector:  # the product has no axis where the vector was
        op = layers.reshaping(op.out_shape, (*op.out_shape[:axis], *op.out_shape[axis + 1 :])) @ op
    return layers.add_bias(op, None)


def _pad(node: Node) -> Affine:
    shape = node.shape
    rank = len(shape) + 1
    pads: Any = node.take("pads") if node.opset < 11 else node.optional_constant(1, "pads")
    value = node.take("value", 0.0) if node.opset < 11 else node.optional_constant(2, "constant_value")
    axes = node.optional_constant(3, "axes")
    mode = node.take("mode", "constant")
    padded_axes = [int(axis) % rank for axis in (range(rank) if axes is None else axes)]
    # ONNX lists the pads before along all axes, then those behind.
    pairs = {axis: (int(pads[j]), int(pads[len(padded_axes) + j])) for j, axis in enumerate(padded_axes)}
    if pairs.pop(0, (0, 0)) != (0, 0):
        raise UnsupportedError("pads of the first axis", "It is the batch", "Leave this layer out")
    ends = [pairs.get(1 + axis, (0, 0)) for axis in range(len(shape))]
    fill = 0.0 if value is None or mode != "constant" else float(np.reshape(value, ()))
    return layers.fill_pads(layers.pad(shape, ends, _BOUNDARIES[mode]), ends, fill, node.like)


def _batch_norm(node: Node) -> Affine:
    if node.take("training_mode", 0) or node.n_outputs > 1:
        raise UnsupportedError(
            "training_mode=1", "A map has fixed numbers, not the statistics of each batch", "Leave this layer out"
        )
    if node.take("spatial", 1) != 1:
        raise UnsupportedError("spatial=0", "Expected statistics of channels, not of positions", "Leave this layer out")
    node.take("momentum")
    scale, bias, mean, variance = (node.weight(j, name) for j, name in enumerate(("scale", "B", "mean", "var"), 1))
    factor = scale * layers.inverse_deviations(variance, node.take("epsilon", 1e-5))
    shape = node.shape
    op = layers.scale_channels(shape, factor)
    return layers.add_bias(op, bias - mean * factor)


#: Converters by the name of ONNX's operator. An attribute that a converter does not take is refused.
CONVERTERS: dict[str, Callable[[Node], Affine]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "AveragePool": _average,
    "GlobalAveragePool": _global_average,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _pad,
    "BatchNormalization": _batch_norm,
}
