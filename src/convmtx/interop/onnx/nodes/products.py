"""Converters of products of a tensor and a constant: Gemm, MatMul, Einsum."""

from __future__ import annotations

from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from convmtx.construct import conv
from convmtx.errors import ArgumentError, UnsupportedError
from convmtx.interop import layers
from convmtx.interop.onnx.node import Node
from convmtx.interop.onnx.nodes.moving import grid, places
from convmtx.interop.onnx.nodes.reductions import sum_over
from convmtx.interop.onnx.reasons import not_linear
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.maps.selection import Selection
from convmtx.typing import AnyArray, Shape


def contract(
    shape: Shape, labels: str, constant: AnyArray | None, its_labels: str, out: str, like: AnyArray
) -> LinearMap:
    """Return the map ``einsum(f"{labels},{its_labels}->{out}", x, constant)``, which repeats no label of ``out``.

    Labels that both have and the output has too are groups of a convolution with windows of one position. Without such
    labels it is a matrix along an axis. Maps without numbers of the constant have the type of ``like``.
    """
    if len(set(labels)) < len(labels):
        kept = "".join(dict.fromkeys(labels))
        sizes = dict(zip(labels, shape, strict=True))
        at = dict(zip(kept, grid(tuple(sizes[label] for label in kept)), strict=True))
        op: LinearMap = Selection(shape, places(shape, [at[label] for label in labels]), like)
        return contract(op.out_shape, kept, constant, its_labels, out, like) @ op
    alone = [a for a, label in enumerate(labels) if label not in its_labels + out]
    if alone:
        kept = "".join(label for label in labels if label in its_labels + out)
        op = sum_over(shape, alone, like.dtype.type(1), keeps_axes=False)
        return contract(op.out_shape, kept, constant, its_labels, out, like) @ op
    if constant is None:
        return _arranged(shape, labels, out, like)
    used = "".join(label for label in dict.fromkeys(its_labels) if label in labels + out)
    if used != its_labels:
        constant, its_labels = np.einsum(f"{its_labels}->{used}", constant), used
    summed = [label for label in labels if label in its_labels and label not in out]
    new = [label for label in its_labels if label not in labels]
    if len(its_labels) == len(summed + new) == 2 and len(new) == 1 and labels.replace(summed[0], new[0]) == out:
        return layers.multiply_along(_transposed(constant, its_labels, new + summed), shape, labels.index(summed[0]))
    size = dict(zip(its_labels + labels, constant.shape + shape, strict=True))
    if any(size[label] != n for label, n in zip(its_labels, constant.shape, strict=True)):
        got = f"a constant of shape {constant.shape} and a tensor of shape {shape}"
        raise ArgumentError(got, "Expected equal sizes where they are multiplied", "Check the model")
    groups = [label for label in labels if label in its_labels and label in out]
    free = [label for label in labels if label not in its_labels]
    count = {name: prod(size[label] for label in part) for name, part in (("g", groups), ("k", summed), ("n", new))}
    kernel = _transposed(constant, its_labels, [*groups, *new, *summed]).reshape(count["g"] * count["n"], count["k"], 1)
    between = (count["g"] * count["k"], prod(size[label] for label in free))
    op = conv(kernel, between, channels="first", groups=count["g"])
    after = "".join([*groups, *new, *free])
    entry = Rearranged(shape, [labels.index(label) for label in (*groups, *summed, *free)], between, like)
    whole = tuple(size[label] for label in after)
    return _arranged(whole, after, out, like) @ layers.reshaping(op.out_shape, whole, like) @ op @ entry


def _transposed(constant: AnyArray, labels: str, order: list[str]) -> AnyArray:
    """Return a constant with its axes in the order of these labels."""
    return constant.transpose([labels.index(label) for label in order])


def _arranged(shape: Shape, labels: str, out: str, like: AnyArray) -> LinearMap:
    """Return the map that puts axes in another order."""
    return Rearranged(shape, [labels.index(label) for label in out], like=like)


def _product(node: Node, labels: str, constant: AnyArray | None, its_labels: str, out: str) -> LinearMap:
    """Return the map of a node that multiplies its data by a constant, without the batch if that stays as it is."""
    keeps_batch = len(labels) > 1 and out[:1] == labels[0] and labels[0] not in its_labels + labels[1:]
    node.act_on_all(not keeps_batch)
    return contract(node.shape, labels[node.skips :], constant, its_labels, out[node.skips :], node.like)


def _gemm(node: Node) -> Affine:
    is_left = node.is_constant(0) and not node.is_constant(1)  # y = alpha A x + beta C, and not alpha x B + beta C
    if is_left:
        node.apply_to(1)
    constant, C = (node.weight(0, "A") if is_left else node.weight(1, "B")), node.optional_weight(2, "C")
    alpha, beta = node.take("alpha", 1.0), node.take("beta", 1.0)
    if alpha != 1:
        constant = (constant * constant.dtype.type(alpha)).astype(constant.dtype)
    first, second = ("km" if node.take("transA", 0) else "mk"), ("nk" if node.take("transB", 0) else "kn")
    op = _product(node, second, constant, first, "mn") if is_left else _product(node, first, constant, second, "mn")
    if C is None:
        return layers.add_bias(op, None)
    bias = C * C.dtype.type(beta)
    if node.whole:
        return Affine(op, np.broadcast_to(bias, op.out_shape))
    if C.ndim == 2 and C.shape[0] != 1:  # other numbers for other samples
        node.act_on_all()
        return Affine(
            contract(node.shape, first, constant, second, "mn", node.like),
            np.broadcast_to(bias, node.sizes(node.outputs[0])),
        )
    bias = bias.reshape(-1)
    return layers.add_bias(op, np.broadcast_to(bias, op.out_shape) if bias.size == 1 else bias)


def multiply_matrices(node: Node, first: AnyArray | None, second: AnyArray | None) -> LinearMap:
    """Return the map of a MatMul of the data and a constant, of which one is None: that is the data."""
    constant: Any = second if first is None else first
    ranks = [node.rank if array is None else array.ndim for array in (first, second)]
    if 0 in ranks:
        raise ArgumentError("a factor without axes", "Expected matrices", "Check the model")
    outer = ascii_letters[: max(*ranks, 2) - 2]
    names = [outer[len(outer) - (rank - 2) :] if rank > 2 else "" for rank in ranks]
    left = names[0] + ("XY" if ranks[0] > 1 else "Y")
    right = names[1] + ("YZ" if ranks[1] > 1 else "Y")
    out = outer + "X" * (ranks[0] > 1) + "Z" * (ranks[1] > 1)
    labels, its_labels = (left, right) if first is None else (right, left)
    dims = dict(zip(labels, node.in_dims, strict=True))
    # Axes of size 1 are broadcast: a constant's are dropped, and the data's are summed, under a name of their own.
    kept = [j for j, label in enumerate(its_labels) if constant.shape[j] > 1 or label not in labels or label in "XYZ"]
    constant = constant.reshape([constant.shape[j] for j in kept])
    its_labels = "".join(its_labels[j] for j in kept)
    labels = "".join(
        label.upper() if dims[label] == 1 and label in its_labels and label in outer else label for label in labels
    )
    return _product(node, labels, constant, its_labels, out)


def _matmul(node: Node) -> LinearMap:
    if node.is_constant(0) and not node.is_constant(1):  # A @ x, along the last axis but one, and not x @ B
        node.apply_to(1)
        return multiply_matrices(node, node.weight(0, "A"), None)
    return multiply_matrices(node, None, node.weight(1, "B"))


def _einsum(node: Node) -> LinearMap:
    equation = node.take("equation").replace(" ", "")
    sources, arrow, out = equation.partition("->")
    terms = sources.split(",")
    data = node.data_positions(range(len(terms)))
    if len(data) > 1:
        raise not_linear("it multiplies two tensors with each other")
    node.apply_to(data[0])
    constants = [node.weight(j, f"input {j}") for j in range(len(terms)) if j != data[0]]
    if "." in equation:
        ranks = [node.rank if j == data[0] else np.ndim(node.weight(j, "")) for j in range(len(terms))]
        terms, spread = _without_dots(terms, ranks, equation)
        out = out.replace("...", spread)
    else:
        spread = ""
    if not arrow:
        counts = {label: "".join(terms).count(label) for label in "".join(terms)}
        out = spread + "".join(sorted(label for label, n in counts.items() if n == 1 and label not in spread))
    labels = terms.pop(data[0])
    if not constants:
        return _product(node, labels, None, "", out)
    wanted = "".join(label for label in dict.fromkeys("".join(terms)) if label in labels + out)
    size = dict(zip("".join(terms), [n for array in constants for n in array.shape], strict=True))
    layers.require_small("a product of constants", prod(size[label] for label in wanted) * constants[0].itemsize)
    constant = constants[0] if terms == [wanted] else np.einsum(f"{','.join(terms)}->{wanted}", *constants)
    return _product(node, labels, constant, wanted, out)


def _without_dots(terms: list[str], ranks: list[int], equation: str) -> tuple[list[str], str]:
    """Return the terms of an equation with letters for the axes that "..." stands for, and the longest such letters."""
    free = [letter for letter in ascii_letters if letter not in equation]
    counts = [rank - len(term) + 3 if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)]
    if len(free) < max(counts) or min(counts) < 0:
        raise UnsupportedError(f"equation {equation}", "Expected fewer axes", "Leave this layer out")
    spread = "".join(free[: max(counts)])
    return [term.replace("...", spread[len(spread) - n :]) for term, n in zip(terms, counts, strict=True)], spread


CONVERTERS: dict[str, Any] = {"Einsum": _einsum, "Gemm": _gemm, "MatMul": _matmul}
