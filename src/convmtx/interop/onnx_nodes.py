"""One function for each kind of ONNX node that is an affine map."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from convmtx.construct import conv, conv_transpose
from convmtx.errors import UnsupportedError
from convmtx.geometry import resolve
from convmtx.geometry.axis import Axis
from convmtx.interop import layers
from convmtx.interop.onnx_files import short
from convmtx.interop.onnx_graph import Graph
from convmtx.maps.affine import Affine
from convmtx.typing import AnyArray, Shape

_AUTO_PAD: Any = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}
#: Bits of the numbers that files keep several of in a byte.
_PACKED = {"int2": 2, "uint2": 2, "int4": 4, "uint4": 4, "float4_e2m1fn": 4}


class Node:
    """A node as its converter reads it: every attribute read is taken out, so that what is left is not known."""

    def __init__(self, graph: Graph, node: Any, attributes: dict[str, Any]) -> None:
        self._graph, self._node, self._attributes = graph, node, attributes
        self.op_type, self.opset = node.op_type, graph.opset
        self.data = node.input[0]
        self.weight_bytes = 0
        self.widened: set[str] = set()

    def take(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self._attributes.pop(name, default)

    def weight(self, place: int, name: str) -> AnyArray:
        """Return an input that must be a constant, and counts as a weight."""
        array = self.optional_weight(place, name)
        if array is None:
            raise UnsupportedError(
                f"no constant {name}", "Wanted one, for else the node is not linear", "Leave this layer out"
            )
        return array

    def optional_weight(self, place: int, name: str) -> AnyArray | None:
        """Return a weight, or None where it is left out; in a wider type where NumPy does not have the stored one."""
        array = self.optional(place, name)
        if array is None:
            return None
        stored = self._graph.dtype(self._node.input[place])
        self.weight_bytes += -(-array.size * _PACKED.get(stored.name, 8 * array.itemsize) // 8)
        if _native(stored) != stored:
            self.widened.add(stored.name)
        return np.asarray(array, _native(array.dtype))

    def optional(self, place: int, name: str) -> AnyArray | None:
        """Return a constant input, or None where it is left out."""
        if place >= len(self._node.input) or not self._node.input[place]:
            return None
        source = self._node.input[place]
        array = self._graph.constant(source)
        if array is None:
            reason = self._graph.why_unknown(source)
            got = f"{name} is {short(source)}, " + (f"not known: {reason}" if reason else "no constant")
            if reason:
                raise UnsupportedError(got, "Wanted its numbers", "Fold the constants of the model first")
            raise UnsupportedError(got, "Wanted a constant, for else the node is not linear", "Leave this layer out")
        return array

    def is_constant(self, place: int) -> bool:
        """Whether an input is a constant."""
        return self._graph.constant(self._node.input[place]) is not None

    def use(self, place: int) -> None:
        """Read another input than the first as the data."""
        self.data = self._node.input[place]

    @property
    def shape(self) -> Shape:
        """Return the shape of the data, without the batch."""
        return self._graph.shape(self.data)

    @property
    def numbers(self) -> AnyArray:
        """Return an empty array of the data's type."""
        dtype = _native(self._graph.dtype(self.data))
        if dtype.kind not in "iuf":
            got = f"{short(self.data)} is of {dtype}"
            raise UnsupportedError(got, "Wanted integers or floats of NumPy", "Cast the model")
        return np.empty(0, dtype)

    @property
    def outputs(self) -> int:
        """Return how many outputs are requested."""
        return sum(bool(name) for name in self._node.output)


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the smallest usual type of NumPy that has all numbers of a type; NumPy has no bfloat16 and no int4."""
    if dtype.isbuiltin == 1:
        return dtype
    return np.dtype(np.int8 if "int" in dtype.name else np.float32)


def _windows(node: Node, kernel: Shape) -> tuple[Shape, Shape, Any]:
    """Strides, dilations and padding as `conv` takes it."""
    d = len(kernel)
    if list(node.take("kernel_shape", list(kernel))) != list(kernel):
        raise UnsupportedError("kernel_shape is not that of W", "Wanted the same", "Leave this layer out")
    strides, dilations = tuple(node.take("strides", [1] * d)), tuple(node.take("dilations", [1] * d))
    name, pads = node.take("auto_pad", "NOTSET"), list(node.take("pads", [0] * (2 * d)))
    if name != "NOTSET":
        return strides, dilations, _AUTO_PAD[name]
    return strides, dilations, list(zip(pads[:d], pads[d:], strict=True))


def _refuse_gaps(kernel: Shape, strides: Shape, dilations: Shape, padding: Any) -> None:
    """Names of pads where windows leave gaps, so that the pads would be negative."""
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
    return layers.affine(op, bias)


def _conv_transpose(node: Node) -> Affine:
    W, bias = node.weight(1, "W"), node.optional_weight(2, "B")
    outs = node.take("output_shape")
    strides, dilations, padding = _windows(node, W.shape[2:])
    _refuse_gaps(W.shape[2:], strides, dilations, padding)
    if outs is not None and not isinstance(padding, str):
        padding = "valid"  # the pads follow from the sizes
    op = conv_transpose(
        W, node.shape, stride=strides, dilation=dilations, padding=padding, groups=node.take("group", 1),
        output_padding=node.take("output_padding", 0), output_shape=None if outs is None else outs[-len(strides) :],
        channels="first",
    )  # fmt: skip
    return layers.affine(op, bias)


def _average(node: Node) -> Affine:
    kernel, shape = tuple(node.take("kernel_shape")), node.shape
    strides, dilations, padding = _windows(node, kernel)
    _refuse_gaps(kernel, strides, dilations, padding)
    if padding in ("same", "same_lower") and max(dilations) > 1:
        got = f"auto_pad SAME with dilations {list(dilations)}"
        raise UnsupportedError(got, "Runtimes disagree on its pads", "Leave this layer out")
    ceil, included = node.take("ceil_mode", 0), node.take("count_include_pad", 0)
    sizes = shape[1:]
    bare = [Axis(n, k, s, t) for n, k, s, t in zip(sizes, kernel, strides, dilations, strict=True)]
    axes, counted = [], []
    for a, (lo, hi) in zip(bare, resolve.pads(padding, bare), strict=True):
        spare = a.size + lo + hi - a.span
        outs = (-(-spare // a.stride) if ceil else spare // a.stride) + 1
        outs -= bool(ceil) and (outs - 1) * a.stride >= a.size + lo  # no window starts in the pad behind
        axes.append(
            Axis(a.size, a.kernel, a.stride, a.dilation, lo=lo, hi=(outs - 1) * a.stride + a.span - a.size - lo)
        )
        counted.append((-lo, a.size + hi) if included else (0, a.size))
    return layers.affine(layers.averaged(shape, axes, counted, "first", None, node.numbers), None)


def _global_average(node: Node) -> Affine:
    shape = node.shape
    axes, counted = [Axis(n, n) for n in shape[1:]], [(0, n) for n in shape[1:]]
    return layers.affine(layers.averaged(shape, axes, counted, "first", None, node.numbers), None)


def _gemm(node: Node) -> Affine:
    if node.take("transA", 0):
        raise UnsupportedError("transA=1", "It mixes the samples of a batch", "Leave this layer out")
    B, C = node.weight(1, "B"), node.optional_weight(2, "C")
    matrix = B if node.take("transB", 0) else B.T
    alpha, beta = node.take("alpha", 1.0), node.take("beta", 1.0)
    op = layers.along((matrix * B.dtype.type(alpha)).astype(B.dtype), node.shape, 0)
    if C is None:
        return layers.affine(op, None)
    if C.ndim == 2 and C.shape[0] != 1:
        raise UnsupportedError(
            f"C of shape {C.shape}", "It adds different numbers to different samples", "Leave this layer out"
        )
    bias = C.reshape(-1) * C.dtype.type(beta)
    return layers.affine(op, np.broadcast_to(bias, op.out_shape) if bias.size == 1 else bias)


def _matmul(node: Node) -> Affine:
    first = node.is_constant(0) and not node.is_constant(1)
    if first:
        node.use(1)
    constant = node.weight(0, "A") if first else node.weight(1, "B")
    shape, vector = node.shape, constant.ndim == 1
    axis = len(shape) - (2 if first else 1)
    if axis < 0 or (vector and len(shape) == 1) or prod(constant.shape[:-2]) != 1 or constant.ndim > len(shape) + 1:
        got = f"a constant of shape {constant.shape} and a tensor of shape (batch, {', '.join(map(str, shape))})"
        raise UnsupportedError(got, "Wanted one matrix, that leaves the batch alone", "Leave this layer out")
    matrix = constant[None] if vector else constant.reshape(constant.shape[-2:])
    op = layers.along(matrix if first or vector else matrix.T, shape, axis)
    if vector:
        op = layers.flattened(op.out_shape, (*op.out_shape[:axis], *op.out_shape[axis + 1 :])) @ op
    return layers.affine(op, None)


def _pad(node: Node) -> Affine:
    shape = node.shape
    rank = len(shape) + 1
    pads: Any = node.take("pads") if node.opset < 11 else node.optional(1, "pads")
    value = node.take("value", 0.0) if node.opset < 11 else node.optional(2, "constant_value")
    axes = node.optional(3, "axes")
    mode = node.take("mode", "constant")
    named = [int(a) % rank for a in (range(rank) if axes is None else axes)]
    ends = {a: (int(pads[j]), int(pads[len(named) + j])) for j, a in enumerate(named)}
    if ends.pop(0, (0, 0)) != (0, 0):
        raise UnsupportedError("pads of the first axis", "It is the batch", "Leave this layer out")
    rule = {"constant": "zero", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
    given = [ends.get(1 + a, (0, 0)) for a in range(len(shape))]
    fill = 0.0 if value is None or mode != "constant" else float(np.reshape(value, ()))
    return layers.filled(layers.padded(shape, given, rule), given, fill, node.numbers)


def _batch_norm(node: Node) -> Affine:
    if node.take("training_mode", 0) or node.outputs > 1:
        raise UnsupportedError(
            "training_mode=1", "Statistics of the batch make it no fixed map", "Leave this layer out"
        )
    if node.take("spatial", 1) != 1:
        raise UnsupportedError("spatial=0", "Wanted statistics of channels, not of positions", "Leave this layer out")
    node.take("momentum")
    scale, bias, mean, variance = (node.weight(j, name) for j, name in enumerate(("scale", "B", "mean", "var"), 1))
    factor = scale / np.sqrt(variance + scale.dtype.type(node.take("epsilon", 1e-5)))
    shape = node.shape
    op = layers.scaled(shape, factor)
    return layers.affine(op, bias - mean * factor)


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
