"""Converters of nodes that compute each number from those at the same position: sums, multiples, choices."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from convmtx.errors import UnsupportedError
from convmtx.interop import layers
from convmtx.interop.onnx.node import Combined, Node, Part
from convmtx.interop.onnx.nodes.moving import widen
from convmtx.interop.onnx.numbers import integer_range, is_integer
from convmtx.interop.onnx.reasons import not_linear
from convmtx.maps.affine import Affine
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, Shape


class Operands:
    """Inputs of a node that are broadcast to each other: tensors that it is applied to, and constants.

    Constants come as weights, cut to the axes that the map has. They are None for the tensors.
    """

    def __init__(self, node: Node, first: int = 0) -> None:
        positions = range(first, len(node.inputs))
        self.node, self.data = node, node.data_positions(positions)
        self.like = node.like_of(self.data[0])
        self.constants: dict[int, AnyArray] = {
            j: node.weight(j, f"input {j}") for j in sorted({*positions}.difference(self.data))
        }
        names = [node.inputs[j] for j in self.data]
        dims = [node.dims(name) for name in names]
        shapes = [array.shape for array in self.constants.values()]
        rank = max(map(len, (*dims, *shapes)))
        differ = any(len(sizes) != rank or sizes[:1] != dims[0][:1] for sizes in dims) or dims[0][:1] == (None,)
        mixes = any(len(shape) == rank and shape[0] != 1 for shape in shapes) if rank else False
        node.act_on_all(rank < 2 or differ or mixes)
        self.shapes = {j: node.sizes(node.inputs[j]) for j in self.data}
        if not node.whole:
            self.constants = {j: a[0] if a.ndim == rank else a for j, a in self.constants.items()}
        self.out_shape: Shape = np.broadcast_shapes(
            *self.shapes.values(), *(array.shape for array in self.constants.values())
        )

    def sum_up(self, factors: Mapping[int, AnyArray] = MappingProxyType({})) -> Combined:
        """Return the sum of all operands, some of them times a number."""
        parts = []
        for j in self.data:
            op = widen(self.shapes[j], self.out_shape, self.like)
            if j in factors:
                multiple = Diagonal(factors[j], self.out_shape)
                op = multiple if op is None else multiple @ op
            parts.append(Part(self.node.inputs[j], op))
        terms = [
            np.multiply(array, factors[j], dtype=array.dtype) if j in factors else array
            for j, array in self.constants.items()
        ]
        return Combined(self.out_shape, tuple(parts), reduce(np.add, terms) if terms else None)


def multiply(shape: Shape, factors: AnyArray) -> LinearMap:
    """Return the map that multiplies an array by factors that are broadcast to its shape.

    One factor for each channel is a convolution, so that it becomes one with the convolution before it.
    """
    if len(shape) > 1 and factors.shape == (shape[0], *(1 for _ in shape[1:])):
        return layers.scale_channels(shape, factors.reshape(-1))
    return Diagonal(factors, shape)


def _add(node: Node) -> Combined:
    return _unless_broadcast(node, Operands(node)).sum_up()


def _sub(node: Node) -> Combined:
    node.require_signs()
    return _unless_broadcast(node, Operands(node)).sum_up({1: np.array(-1, node.like.dtype)})


def _unless_broadcast(node: Node, operands: Operands) -> Operands:
    """Refuse the broadcasting of opsets before 7, which begins at another axis."""
    if node.take("broadcast", 0) and (node.take("axis") is not None):
        raise UnsupportedError("broadcast=1 with an axis", "Expected opset 7 or later", "Convert the model's opset")
    return operands


def _sum(node: Node) -> Combined:
    return Operands(node).sum_up()


def _mean(node: Node) -> Combined:
    count = len(node.inputs)
    node.require_floats("a mean of integers is rounded")
    share = np.array(1 / count, node.dtype)
    return Operands(node).sum_up(dict.fromkeys(range(count), share))


def _scaled(factors: AnyArray, operands: Operands) -> LinearMap:
    """Return the product of the data and factors."""
    (position,) = operands.data
    wide = widen(operands.shapes[position], operands.out_shape, operands.like)
    product = multiply(operands.out_shape, factors)
    return product if wide is None else product @ wide


def _mul(node: Node) -> LinearMap:
    if len(node.data_positions(range(2))) > 1:
        raise not_linear("it multiplies two tensors with each other")
    operands = _unless_broadcast(node, Operands(node))
    (factors,) = operands.constants.values()
    node.apply_to(operands.data[0])
    return _scaled(factors, operands)


def _div(node: Node) -> LinearMap:
    if 1 in node.data_positions(range(2)):
        raise not_linear("it divides by a tensor")
    node.require_floats("a quotient of integers is rounded")
    operands = _unless_broadcast(node, Operands(node))
    divisors = operands.constants[1]
    if not divisors.all():
        raise UnsupportedError("it divides by 0", "Expected other numbers", "Leave this layer out")
    return _scaled(1 / divisors, operands)


def _neg(node: Node) -> LinearMap:
    node.require_signs()
    return Diagonal(np.array(-1, node.dtype), node.shape)


def _identity(node: Node) -> LinearMap:
    return layers.identity(node.shape, node.like)


def _dropout(node: Node) -> LinearMap:
    training = node.optional_constant(2, "training_mode")
    if (training is not None and np.any(training)) or (node.opset < 7 and not node.take("is_test", 0)):
        raise UnsupportedError("training_mode=1", "A map is not random", "Leave this layer out")
    for name in ("ratio", "seed", "is_test"):
        node.take(name)
    if node.has(1):
        node.optional_constant(1, "ratio")
    return _identity(node)


def _cast(node: Node) -> LinearMap:
    for name in ("to", "saturate", "round_mode"):
        node.take(name)
    before, after = node.stored_dtypes
    if before.kind == "b" or after.kind in "bOSU":
        raise not_linear(f"it compares numbers, from {before} to {after}")
    if is_integer(after) and not (is_integer(before) and _is_inside(integer_range(before), integer_range(after))):
        raise not_linear(f"it rounds or wraps numbers from {before} to {after}")
    return layers.identity(node.shape, node.out_like)


def _is_inside(numbers: range, others: range) -> bool:
    """Whether numbers are all among others."""
    return others.start <= numbers.start and numbers.stop <= others.stop


def _where(node: Node) -> Combined:
    condition = node.optional_constant(0, "the condition")
    if condition is None:
        raise not_linear("it chooses by a condition that is not there")
    operands = Operands(node)
    chosen = np.asarray(operands.constants[0], bool)
    parts, terms = [], []
    for j, mask in ((1, chosen), (2, ~chosen)):
        if j in operands.constants:
            constant = operands.constants[j]
            terms.append(np.where(mask, constant, np.zeros((), constant.dtype)))
        else:
            op = Diagonal(mask.astype(operands.like.dtype), operands.out_shape)
            wide = widen(operands.shapes[j], operands.out_shape, operands.like)
            parts.append(Part(node.inputs[j], op if wide is None else op @ wide))
    return Combined(operands.out_shape, tuple(parts), reduce(np.add, terms) if terms else None)


def _trilu(node: Node) -> LinearMap:
    k = node.optional_constant(1, "k")
    node.act_on_all(node.rank < 3)
    shape = node.shape
    layers.require_small("a mask", shape[-2] * shape[-1] * node.dtype.itemsize)
    tri = np.triu if node.take("upper", 1) else np.tril
    return Diagonal(tri(np.ones(shape[-2:], node.dtype), 0 if k is None else int(k.reshape(()))), shape)


def _batch_norm(node: Node) -> Affine:
    if node.take("training_mode", 0) or node.n_outputs > 1:
        raise not_linear("training_mode=1: it divides by the statistics of each batch")
    if node.take("spatial", 1) != 1:
        raise UnsupportedError("spatial=0", "Expected statistics of channels, not of positions", "Leave this layer out")
    for name in ("momentum", "is_test", "consumed_inputs"):
        node.take(name)
    scale, bias, mean, variance = (node.weight(j, name) for j, name in enumerate(("scale", "B", "mean", "var"), 1))
    factor = scale * layers.inverse_deviations(variance, node.take("epsilon", 1e-5))
    return layers.add_bias(layers.scale_channels(node.shape, factor), bias - mean * factor)


CONVERTERS: dict[str, Any] = {
    "Add": _add,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "CastLike": _cast,
    "Div": _div,
    "Dropout": _dropout,
    "Identity": _identity,
    "Mean": _mean,
    "Mul": _mul,
    "Neg": _neg,
    "Sub": _sub,
    "Sum": _sum,
    "Trilu": _trilu,
    "Where": _where,
}
