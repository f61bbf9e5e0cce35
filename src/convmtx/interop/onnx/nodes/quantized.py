"""Converters of nodes of quantized networks, whose numbers stand for ``scale * (number - zero point)``.

A map takes the stored integers. It makes what a runtime sums exactly in 32 bits, or, where a node then rounds its
outputs and cuts them off at the ends of their type, the numbers before that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx.errors import UnsupportedError
from convmtx.interop import layers
from convmtx.interop.onnx.node import Node
from convmtx.interop.onnx.nodes.elementwise import multiply
from convmtx.interop.onnx.nodes.products import multiply_matrices
from convmtx.interop.onnx.nodes.windows import convolution
from convmtx.interop.onnx.reasons import Kind, SkippedError
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray


def _zero_point(node: Node, position: int, name: str) -> Any:
    """Return a zero point as 32-bit integers, 0 if there is none."""
    if node.has(position) and not node.is_constant(position):
        got = f"{name} is a tensor, as the data is"
        raise SkippedError(Kind.SEVERAL, got, "The node subtracts it from the data")
    array = node.optional_weight(position, name)
    return np.int32(0) if array is None else array.astype(np.int32)


def _shifted(op: LinearMap, zero: Any, bias: Any = 0) -> Affine:
    """Return ``op(x - zero) + bias``."""
    if np.ndim(zero) > 1 or np.size(zero) != 1:
        raise UnsupportedError("zero points of rows", "Expected one for all of the data", "Leave this layer out")
    zero = int(np.reshape(zero, ()))
    if not zero:
        return Affine(op, np.broadcast_to(np.asarray(bias, op.dtype), op.out_shape))
    layers.require_small("an input of zero points", op.shape[1] * op.dtype.itemsize)
    return Affine(op, bias - op(np.full(op.in_shape, zero, op.dtype)))


def _per_filter(numbers: Any, rank: int) -> Any:
    """Return numbers of all filters, or of each, so that they are broadcast to a kernel of ``rank`` axes."""
    return np.reshape(numbers, (-1, *(1 for _ in range(rank - 1)))) if np.size(numbers) > 1 else np.reshape(numbers, ())


def _convolve(node: Node, data_zero: Any, W: AnyArray, zero: Any, factors: Any, bias: Any) -> Affine:
    """Return the convolution with a shifted kernel, whose filters are multiplied by factors."""
    kernel = W.astype(np.int32) - _per_filter(zero, W.ndim)
    op = convolution(node, kernel if factors is None else kernel * _per_filter(factors, W.ndim))
    return _shifted(
        op, data_zero, np.reshape(bias, (-1, *(1 for _ in op.out_shape[1:]))) if np.size(bias) > 1 else bias
    )


def _conv_integer(node: Node) -> Affine:
    zeros = _zero_point(node, 2, "x_zero_point"), _zero_point(node, 3, "w_zero_point")
    return _convolve(node, zeros[0], node.weight(1, "w"), zeros[1], None, np.int32(0))


def _qlinear_conv(node: Node) -> Affine:
    factor, y_zero = _factors(node, (1, 4, 6)), _zero_point(node, 7, "y_zero_point")
    zeros = _zero_point(node, 2, "x_zero_point"), _zero_point(node, 5, "w_zero_point")
    bias = node.optional_weight(8, "B")
    shift = y_zero if bias is None else bias.astype(float) * factor.reshape(-1) + y_zero
    return _convolve(node, zeros[0], node.weight(3, "w"), zeros[1], factor, np.asarray(shift, float))


def _factors(node: Node, positions: tuple[int, int, int]) -> AnyArray:
    """Return the product of the scales of both factors, divided by that of the outputs, in double precision."""
    first, second, out = (node.weight(j, f"input {j}").astype(float) for j in positions)
    return np.asarray(first * second / out)


def _multiply(node: Node, first: int, second: int, zeros: tuple[Any, Any], factors: Any = None) -> Affine:
    """Return the product of the data and a shifted constant; ``first`` and ``second`` are their positions."""
    is_left = node.is_constant(first) and not node.is_constant(second)
    node.apply_to(second if is_left else first)
    constant = node.weight(first if is_left else second, "A" if is_left else "B").astype(np.int32)
    zero = zeros[0 if is_left else 1]
    if np.size(zero) > 1:
        zero = np.reshape(zero, (-1, 1)) if is_left else np.reshape(zero, (1, -1))
    constant = constant - zero
    if factors is not None:
        if np.size(factors) > 1:
            raise UnsupportedError("scales of rows or columns", "Expected one for all", "Leave this layer out")
        constant = constant * float(np.reshape(factors, ()))
    matrices = (constant, None) if is_left else (None, constant)
    return _shifted(multiply_matrices(node, *matrices), zeros[1 if is_left else 0], np.zeros((), constant.dtype))


def _matmul_integer(node: Node) -> Affine:
    return _multiply(node, 0, 1, (_zero_point(node, 2, "a_zero_point"), _zero_point(node, 3, "b_zero_point")))


def _qlinear_matmul(node: Node) -> Affine:
    zeros = _zero_point(node, 2, "a_zero_point"), _zero_point(node, 5, "b_zero_point")
    y_zero = _zero_point(node, 7, "y_zero_point")
    affine = _multiply(node, 0, 3, zeros, _factors(node, (1, 4, 6)))
    return Affine(affine.op, affine.offset + y_zero)


def _dequantize(node: Node) -> Affine:
    scale, zero = node.weight(1, "x_scale"), node.optional_weight(2, "x_zero_point")
    axis, block = node.take("axis", 1), node.take("block_size", 0)
    node.take("output_dtype")
    zero = np.zeros((), scale.dtype) if zero is None else zero.astype(scale.dtype)
    if scale.size == 1:
        scale, zero = scale.reshape(()), zero.reshape(())
    else:
        axis = node.axis(axis)
        node.act_on_all(axis == 0 or (bool(block) and scale.shape[0] != 1))
        shape, along = node.shape, axis - node.skips
        if block:
            layers.require_small("scales of blocks", scale.size * block * scale.itemsize)
            scale, zero = (np.repeat(a, block, axis) if a.ndim else a for a in (scale, zero))
            scale, zero = (a if node.whole or not a.ndim else a[0] for a in (scale, zero))
        else:
            spread = [-1 if a == along else 1 for a in range(len(shape))]
            scale, zero = scale.reshape(spread), zero if zero.ndim == 0 else zero.reshape(spread)
    op = multiply(node.shape, scale)
    return Affine(op, np.broadcast_to(-zero * scale, op.out_shape))


CONVERTERS: dict[str, Any] = {
    "ConvInteger": _conv_integer,
    "DequantizeLinear": _dequantize,
    "MatMulInteger": _matmul_integer,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
}
