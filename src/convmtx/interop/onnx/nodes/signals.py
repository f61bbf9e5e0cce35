"""Converters of discrete Fourier transforms, whose last axis has real and imaginary parts, or real parts alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx.construct import conv
from convmtx.errors import ArgumentError, UnsupportedError
from convmtx.interop import layers
from convmtx.interop.onnx.node import Node
from convmtx.interop.onnx.nodes.products import contract
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.selection import Grid
from convmtx.typing import AnyArray


def _fourier_parts(length: int, count: int, n_parts: int, inverse: bool) -> AnyArray:
    """Return the array (count, 2, length, parts) of a transform: [[cos, -sin], [sin, cos]] for complex numbers."""
    layers.require_small("a Fourier transform", 32 * count * n_parts * length)
    # Products k * n are taken modulo the length, so that angles stay small and exact.
    turns = np.arange(count)[:, None] * np.arange(length) % length / length
    cos, sin = np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns) * (1 if inverse else -1)
    parts = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)[..., :n_parts]
    return parts / length if inverse else parts


def _real_parts(length: int) -> AnyArray:
    """Return the array (length, 1, inputs, 2) of the inverse transform to real numbers, of their first frequencies.

    The others are the conjugates of these, but for that of 0 and, if the length is even, that of length / 2.
    """
    count = length // 2 + 1
    parts = _fourier_parts(length, length, 2, inverse=True)[:, :1, :count]
    twice = np.full(count, 2.0)
    twice[0] = 1
    if length % 2 == 0:
        twice[-1] = 1
    return parts * twice[:, None]


def _dft(node: Node) -> LinearMap:
    length = node.optional_constant(1, "dft_length")
    place = node.optional_constant(2, "axis")
    axis = node.axis(int(place.reshape(())) if place is not None else node.take("axis", 1 if node.opset < 20 else -2))
    inverse, onesided = bool(node.take("inverse", 0)), bool(node.take("onesided", 0))
    node.act_on_all(axis == 0)
    shape, along = node.shape, axis - node.skips
    size, n_parts = shape[along], shape[-1]
    to_real = inverse and onesided
    total = (2 * (size - 1) if to_real else size) if length is None else int(length.reshape(()))
    if n_parts not in (1, 2) or total < 1 or (to_real and n_parts == 1):
        raise UnsupportedError(f"{n_parts} parts of {total} numbers", "Expected 1 or 2 parts", "Leave this layer out")
    count = total // 2 + 1 if onesided else total
    matrix = _real_parts(total) if to_real else _fourier_parts(total, count, n_parts, inverse)
    matrix = matrix[:, :, :size]  # what the data lacks of the length is zero
    labels = "".join(chr(ord("a") + a) for a in range(len(shape)))
    out = labels[:along] + "Y" + labels[along + 1 : -1] + "Z"
    cut = (*shape[:along], matrix.shape[2], *shape[along + 1 :])
    op = contract(cut, labels, matrix.astype(node.dtype), f"YZ{labels[along]}{labels[-1]}", out, node.like)
    return op if cut == shape else op @ Grid(shape, [range(n) for n in cut], node.like)


def _stft(node: Node) -> LinearMap:
    step, window = node.optional_constant(1, "frame_step"), node.optional_weight(2, "window")
    frame = node.optional_constant(3, "frame_length")
    onesided = bool(node.take("onesided", 1))
    sizes = frame if frame is not None else None if window is None else np.array(window.size)
    if step is None or sizes is None:
        raise ArgumentError("its step or its length is missing", "Expected both", "Check the model")
    length = int(sizes.reshape(()))
    shape = node.shape if node.rank == 3 else (*node.shape, 1)
    n_parts = shape[-1]
    count = length // 2 + 1 if onesided else length
    kernel = _fourier_parts(length, count, n_parts, inverse=False)
    if window is not None:
        kernel = kernel * window.reshape(-1)[:, None]
    kernel = kernel.transpose(2, 3, 0, 1).reshape(length, n_parts, 2 * count).astype(node.dtype)
    op = conv(kernel, shape, stride=int(np.reshape(step, ())), channels="last")
    op = layers.reshaping(op.out_shape, (op.out_shape[0], count, 2), node.like) @ op
    return op if shape == node.shape else op @ layers.reshaping(node.shape, shape, node.like)


CONVERTERS: dict[str, Any] = {"DFT": _dft, "STFT": _stft}
