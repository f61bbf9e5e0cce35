"""Converters of sums, multiples, means and products with constant matrices."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx.extras import import_extra
from convmtx.interop import layers
from convmtx.interop.torch import piecewise
from convmtx.interop.torch.calls import Call, Converter
from convmtx.interop.torch.moving import expanded
from convmtx.interop.values import Value
from convmtx.maps.along_axis import AlongAxis
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.rearranged import Rearranged


def _added(call: Call, input: Any, other: Any, *, alpha: Any = 1) -> Value:
    return _combined(call, [(input, 1), (other, alpha)])


def _subtracted(call: Call, input: Any, other: Any, *, alpha: Any = 1) -> Value:
    return _combined(call, [(input, 1), (other, -alpha)])


def _subtracted_from(call: Call, input: Any, other: Any, alpha: Any = 1) -> Value:
    return _combined(call, [(input, -alpha), (other, 1)])


def _combined(call: Call, multiples: Sequence[tuple[Any, Any]]) -> Value:
    """Return a sum of multiples of tensors and constants, which are broadcast to one shape."""
    call.require_equal_ranks()
    torch = import_extra("torch", "torch")
    own = [(tensor.value, number) for tensor, number in multiples if isinstance(tensor, call.kind)]
    like, rank = own[0][0].like, max(len(value.shape) for value, _ in own)
    constants = [
        (call.constant(array, rank, like), number) for array, number in multiples if not isinstance(array, call.kind)
    ]
    shapes = [value.shape for value, _ in own] + [tuple(array.shape) for array, _ in constants]
    shape = tuple(torch.broadcast_shapes(*shapes))
    fixed = [(Value.constant(torch.broadcast_to(array + 0, shape), like), number) for array, number in constants]
    return Value.total([(expanded(value, shape), number) for value, number in own] + fixed)


def _multiplied(call: Call, input: Any, other: Any) -> Value:
    if len(call.followed) > 1:
        return piecewise.tangent(call)
    tensor, factor = (input, other) if isinstance(input, call.kind) else (other, input)
    return _scaled(call, tensor, factor)


def _divided(call: Call, input: Any, other: Any, *, rounding_mode: Any = None) -> Value:
    if rounding_mode is not None:
        raise call.refused(f"rounding_mode={rounding_mode!r}", "It rounds, which is not affine")
    if isinstance(other, call.kind):
        return piecewise.tangent(call)
    value: Value = input.value
    return _scaled(call, input, 1 / call.constant(other, len(value.shape), value.like).to(value.like.dtype))


def _scaled(call: Call, tensor: Any, factor: Any) -> Value:
    """Return a tensor times a constant, which is broadcast to it, or it to the constant."""
    torch = import_extra("torch", "torch")
    value: Value = tensor.value
    factor = call.constant(factor, len(value.shape), value.like) + 0
    value = expanded(value, tuple(torch.broadcast_shapes(value.shape, tuple(factor.shape))))
    shape = value.shape
    if factor.ndim == len(shape) > 1 and factor.shape[0] == shape[0] and prod(factor.shape[1:]) == 1:
        return value.through(layers.scale_channels(shape, factor.reshape(-1)))
    return value.through(Diagonal(factor, shape))


def _negated(call: Call, input: Any) -> Value:
    return Value.total([(call.only(input), -1)])


def _summed(call: Call, input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Value:  # noqa: ARG001
    """Convert sums and means over axes, one matrix of one row for each."""
    shape, like = call.only(input).shape, input.value.like
    numbers = range(len(shape) + 1) if dim is None else [dim] if isinstance(dim, int) else dim
    axes = sorted({int(axis) % (len(shape) + 1) for axis in numbers})
    if 0 in axes:
        remedy = f"Name the other axes, as in dim={tuple(range(1, len(shape) + 1))}"
        raise call.refused(f"dim={dim}", "It sums over samples of a batch", remedy)
    inner = [axis - 1 for axis in axes]
    return call.map(input, layers.totals(shape, inner, like, is_mean=call.name == "mean", keeps_axes=keepdim))


def _cumulated(call: Call, input: Any, dim: int, *, dtype: Any = None) -> Value:  # noqa: ARG001
    shape, like = call.only(input).shape, input.value.like
    axis = dim % (len(shape) + 1) - 1
    if axis < 0:
        raise call.refused(f"dim={dim}", "It sums over samples of a batch")
    layers.require_small("a matrix of sums", shape[axis] ** 2 * 8)
    ones = import_extra("torch", "torch").ones((shape[axis], shape[axis]), dtype=like.dtype, device=like.device)
    return call.map(input, AlongAxis(ones.tril(), shape, axis))


def _linear(call: Call, input: Any, weight: Any, bias: Any = None) -> Value:
    shape = call.only(input).shape
    return call.map(input, layers.multiply_along(weight, shape, len(shape) - 1), bias, -1)


def _product(call: Call, input: Any, other: Any) -> Value:
    """Convert a matrix product with a constant, from the right or from the left."""
    if len(call.followed) > 1:
        raise call.refused("two tensors that depend on the input", "It is not affine")
    left, right = (other, input) if call.name == "__rmatmul__" else (input, other)
    tensor, is_left = (left, False) if isinstance(left, call.kind) else (right, True)
    constant = left if is_left else right
    shape = tensor.value.shape
    while constant.ndim > 2 and constant.shape[0] == 1:
        constant = constant[0]
    if constant.ndim > 2:
        got = f"a constant of shape {tuple(constant.shape)}"
        raise call.refused(got, "Expected one matrix for all positions", "Convert the parts around it")
    axis = len(shape) - (2 if is_left and len(shape) > 1 else 1)
    if axis < 0:
        raise call.refused(f"a tensor of shape {(1, *shape)}", "It mixes the samples of a batch")
    if constant.ndim == 1:
        op = layers.multiply_along(constant[None] + 0, shape, axis)
        rest = (*op.out_shape[:axis], *op.out_shape[axis + 1 :])
        return call.map(tensor, layers.reshaping(op.out_shape, rest, tensor.value.like) @ op)
    return call.map(tensor, layers.multiply_along((constant if is_left else constant.T) + 0, shape, axis))


def _added_product(call: Call, input: Any, mat1: Any, mat2: Any, *, beta: Any = 1, alpha: Any = 1) -> Value:
    if isinstance(input, call.kind) or alpha != 1 or beta != 1:
        raise call.refused("a sum that depends on the input, or factors", "Expected a constant and no factors")
    value = _product(call, mat1, mat2)
    array = call.constant(input, len(value.shape), value.like)
    return value.plus(import_extra("torch", "torch").broadcast_to(array + 0, value.shape))


def _einsum(call: Call, equation: Any, *operands: Any) -> Value:
    """Convert a sum of products of a tensor and one matrix, as "bchw,dc->bdhw"."""
    operands = tuple(operands[0]) if len(operands) == 1 and isinstance(operands[0], list | tuple) else operands
    sides, _, result = str(equation).replace(" ", "").partition("->")
    labels = sides.split(",")
    places = [j for j, operand in enumerate(operands) if isinstance(operand, call.kind)]
    if len(operands) > 2 or len(places) != 1 or "." in sides or not result:
        raise call.refused(
            f"equation={equation!r}", "Expected one tensor, at most one matrix, and the result's letters"
        )
    own = labels[places[0]]
    matrix = None if len(operands) == 1 else (labels[1 - places[0]], operands[1 - places[0]])
    return _by_letters(call, operands[places[0]], own, matrix, result)


def _by_letters(call: Call, tensor: Any, own: str, matrix: Any, result: str) -> Value:
    """Return a tensor times a matrix along the axis whose letter they share, its axes in the order of the result."""
    value: Value = tensor.value
    batch, letters = own[0], own[1:]
    fits = len(set(own)) == len(own) and result[:1] == batch and result.count(batch) == 1
    if matrix is not None:
        names, array = matrix
        shared = [letter for letter in names if letter in letters]
        fits = fits and len(names) == len(set(names)) == 2 and len(shared) == 1 and batch not in names
        if fits:
            old, new = shared[0], names.replace(shared[0], "")
            turned = array.T if names.index(old) == 0 else array
            op = layers.multiply_along(turned + 0, value.shape, letters.index(old))
            value, letters = value.through(op), letters.replace(old, new)
    if not fits or sorted(letters) != sorted(result[1:]):
        got = f"letters {own!r} and {matrix[0] if matrix else ''!r}"
        raise call.refused(got, "Expected a matrix along one axis, and the batch kept", "Write it as torch.matmul")
    axes = [letters.index(letter) for letter in result[1:]]
    return value.through(Rearranged(value.shape, axes, like=value.like))


def _masked(call: Call, input: Any, mask: Any, value: Any) -> Value:
    """Convert ``input.masked_fill(mask, value)``."""
    return _chosen(call, mask, value, input)


def _chosen(call: Call, condition: Any, input: Any, other: Any) -> Value:
    """Convert ``torch.where(condition, input, other)`` with a constant condition."""
    torch = import_extra("torch", "torch")
    if isinstance(condition, call.kind) and isinstance(input, torch.Tensor) and input.dtype == torch.bool:
        return _chosen(call, input, condition, other)  # x.where(condition, other)
    if isinstance(condition, call.kind):
        raise call.refused("a condition that depends on the input", "It is not affine")
    call.require_equal_ranks()
    first = call.followed[0]
    like, rank = first.value.like, first.ndim - 1
    shape = tuple(call.computed.shape)[1:]
    mask = torch.broadcast_to(call.constant(condition, rank, like), shape)
    zero, total = torch.zeros((), dtype=like.dtype, device=like.device), None
    terms = []
    for tensor, chosen in ((input, mask), (other, ~mask)):
        if isinstance(tensor, call.kind):
            terms.append((expanded(tensor.value, shape).through(Diagonal(chosen.to(like.dtype), shape)), 1))
        else:  # not a product with the mask, for what is masked may be infinite
            part = torch.where(chosen, call.constant(tensor, rank, like).to(like.dtype), zero)
            total = part if total is None else total + part
    value = Value.total(terms)
    return value if total is None else value.plus(total)


def _triangle(call: Call, input: Any, diagonal: int = 0) -> Value:
    shape, like = call.only(input).shape, input.value.like
    if len(shape) < 2:
        raise call.refused(f"a tensor of shape {(1, *shape)}", "It mixes the samples of a batch")
    layers.require_small("a mask", prod(shape[-2:]) * 8)
    n, m = shape[-2:]
    mask = np.tri(n, m, diagonal) if call.name == "tril" else 1 - np.tri(n, m, diagonal - 1)
    return _scaled(call, input, import_extra("torch", "torch").as_tensor(mask, dtype=like.dtype, device=like.device))


CONVERTERS: dict[str, Converter] = {
    **dict.fromkeys(("add", "__add__", "__radd__"), _added),
    **dict.fromkeys(("sub", "subtract", "__sub__"), _subtracted),
    **dict.fromkeys(("rsub", "__rsub__"), _subtracted_from),
    **dict.fromkeys(("mul", "multiply", "__mul__", "__rmul__"), _multiplied),
    **dict.fromkeys(("div", "divide", "true_divide", "__truediv__"), _divided),
    **dict.fromkeys(("neg", "negative", "__neg__"), _negated),
    **dict.fromkeys(("sum", "mean"), _summed),
    **dict.fromkeys(("matmul", "mm", "bmm", "mv", "__matmul__", "__rmatmul__"), _product),
    **dict.fromkeys(("tril", "triu"), _triangle),
    "addmm": _added_product,
    "cumsum": _cumulated,
    "einsum": _einsum,
    "linear": _linear,
    "masked_fill": _masked,
    "where": _chosen,
}
