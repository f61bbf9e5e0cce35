"""Converters of nodes with windows: convolutions, means of windows, padding, and windows that are added up."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.boundary import EDGE, REFLECT, WRAP, ZERO
from convmtx.construct import conv, conv_transpose
from convmtx.errors import ArgumentError, UnsupportedError
from convmtx.geometry.axis import Axis
from convmtx.geometry.padding import pads as resolve_pads
from convmtx.interop import layers
from convmtx.interop.onnx.node import Node
from convmtx.maps.affine import Affine
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray, Shape

#: Padding of `conv` by the name that ONNX's ``auto_pad`` gives it.
_PADDINGS: Any = {"VALID": "valid", "SAME_UPPER": "same", "SAME_LOWER": "same_lower"}
#: Boundary rules by the name that ONNX's Pad gives them.
_BOUNDARIES = {"constant": ZERO, "reflect": REFLECT, "edge": EDGE, "wrap": WRAP}


def _windows(node: Node, kernel: Shape) -> tuple[Shape, Shape, Any]:
    """Return strides, dilations and padding as `conv` takes them."""
    d = len(kernel)
    if list(node.take("kernel_shape", list(kernel))) != list(kernel):
        raise UnsupportedError("kernel_shape is not that of W", "Expected the same", "Leave this layer out")
    strides, dilations = tuple(node.take("strides", [1] * d)), tuple(node.take("dilations", [1] * d))
    if min(*kernel, *strides, *dilations) < 1:
        got = f"kernel {list(kernel)}, strides {list(strides)} and dilations {list(dilations)}"
        raise ArgumentError(got, "Expected numbers from 1 on", "Check the model")
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


def convolution(node: Node, kernel: AnyArray) -> LinearMap:
    """Return the convolution of a node with a kernel, by the node's attributes."""
    strides, dilations, padding = _windows(node, kernel.shape[2:])
    return conv(
        kernel, node.shape, stride=strides, dilation=dilations, padding=padding, groups=node.take("group", 1),
        channels="first",
    )  # fmt: skip


def _conv(node: Node) -> Affine:
    W, bias = node.weight(1, "W"), node.optional_weight(2, "B")
    return layers.add_bias(convolution(node, W), bias)


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


def _average(node: Node) -> LinearMap:
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
    return layers.average(shape, axes, counted, "first", None, node.like)


def _global_average(node: Node) -> LinearMap:
    shape = node.shape
    axes, counted = [Axis(n, n) for n in shape[1:]], [(0, n) for n in shape[1:]]
    return layers.average(shape, axes, counted, "first", None, node.like)


def _pad(node: Node) -> Affine:
    rank = node.rank
    pads: Any = node.take("pads") if node.opset < 11 else node.optional_constant(1, "pads")
    value = node.take("value", 0.0) if node.opset < 11 else node.optional_constant(2, "constant_value")
    axes = node.optional_constant(3, "axes")
    mode = node.take("mode", "constant")
    padded_axes = [node.axis(int(axis)) for axis in (range(rank) if axes is None else axes)]
    # ONNX lists the pads before along all axes, then those behind.
    pairs = {axis: (int(pads[j]), int(pads[len(padded_axes) + j])) for j, axis in enumerate(padded_axes)}
    node.act_on_all(pairs.get(0, (0, 0)) != (0, 0))
    shape = node.shape
    ends = [pairs.get(axis, (0, 0)) for axis in range(node.skips, rank)]
    fill = 0.0 if value is None or mode != "constant" else float(np.reshape(value, ()))
    return layers.fill_pads(layers.pad(shape, ends, _BOUNDARIES[mode], node.like), ends, fill, node.like)


def _col2im(node: Node) -> LinearMap:
    """Convert the sum of blocks at their places, which is a transposed convolution with one tap for each channel."""
    image = [int(n) for n in node.weight(1, "image_shape")]
    block = tuple(int(n) for n in node.weight(2, "block_shape"))
    d = len(block)
    strides, dilations = node.take("strides", [1] * d), node.take("dilations", [1] * d)
    pads = node.take("pads", [0] * (2 * d))
    ends = list(zip(pads[:d], pads[d:], strict=True))
    channels, count = node.shape
    spans = [t * (k - 1) + 1 for k, t in zip(block, dilations, strict=True)]
    blocks = [(n + lo + hi - span) // s + 1
              for n, (lo, hi), span, s in zip(image, ends, spans, strides, strict=True)]  # fmt: skip
    taps = prod(block)
    if prod(blocks) != count or channels % taps:
        got = f"{channels} x {count} numbers for blocks {list(block)} of {image}"
        raise ArgumentError(got, "Expected one for each entry of each block", "Check the model")
    layers.require_small("a kernel", channels * taps * node.dtype.itemsize)
    kernel = np.tile(np.eye(taps, dtype=node.dtype), (channels // taps, 1)).reshape(channels, 1, *block)
    reached = [(m - 1) * s + span - lo - hi for m, s, span, (lo, hi) in zip(blocks, strides, spans, ends, strict=True)]
    op = conv_transpose(
        kernel, (channels, *blocks), stride=strides, dilation=dilations, padding=ends, groups=channels // taps,
        output_padding=[n - r for n, r in zip(image, reached, strict=True)], channels="first",
    )  # fmt: skip
    return op @ layers.reshaping(node.shape, op.in_shape, node.like)


CONVERTERS: dict[str, Any] = {
    "AveragePool": _average,
    "Col2Im": _col2im,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_average,
    "Pad": _pad,
}
