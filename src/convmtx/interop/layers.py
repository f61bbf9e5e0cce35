"""What layers of every framework have in common: pads, pooling, scaling and bias as maps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import as_like, itemsize, namespace, reshaped, zeros_beside
from convmtx.construct import conv
from convmtx.errors import ArgumentError, UnsupportedError
from convmtx.geometry.axis import Axis
from convmtx.maps.affine import Affine
from convmtx.maps.elementary import AlongAxis, Rearranged
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import Array, IntArray, Shape

#: Of NumPy's numbers, maps that only move them are of small integers, so that outputs keep the type of the inputs.
INTEGERS = np.empty(0, np.int8)
#: Bytes of one array that is made of a layer's sizes alone, for a file of a few bytes can name any sizes.
MOST_BYTES = 1 << 28


def affine(op: LinearMap, bias: Array | None, axis: int = 0) -> Affine:
    """The map with a number for each channel added, which stand along ``axis`` of the output; zeros without any.

    The offset is a view of these numbers wherever its library has such, and takes no memory of its own.
    """
    if bias is None:
        bias, shape = zeros_beside(op._reference_array, (), op.dtype), [1] * len(op.out_shape)
    else:
        if tuple(bias.shape) != (op.out_shape[axis],):
            got, wanted = f"it has shape {tuple(bias.shape)}", f"Wanted ({op.out_shape[axis]},), one for each channel"
            raise ArgumentError(got, wanted, "Check the layer")
        shape = [1] * len(op.out_shape)
        shape[axis] = -1
    if prod(op.out_shape) * itemsize(bias.dtype) >= 1 << 63:
        raise UnsupportedError(f"outputs of shape {op.out_shape}", "No array is as large", "Apply it to smaller inputs")
    return Affine(op, namespace(bias).broadcast_to(reshaped(bias + 0, shape), op.out_shape))


def room(what: str, size: int) -> None:
    """Refuse an array of so many bytes before it is made."""
    if size > MOST_BYTES:
        most = f"At most {memory.human(MOST_BYTES)} are made of sizes alone"
        raise UnsupportedError(f"{what} would take {memory.human(size)}", most, "Apply it to smaller inputs")
    memory.require(what, {what: size})


def identity(shape: Shape, like: Array = INTEGERS) -> LinearMap:
    """Every array to itself."""
    return Rearranged(shape, range(len(shape)), like=like)


def flattened(shape: Shape, out_shape: Shape, like: Array = INTEGERS) -> LinearMap:
    """The same numbers in another shape."""
    return Rearranged(shape, range(len(shape)), out_shape, like)


def along(matrix: Array, shape: Shape, axis: int) -> LinearMap:
    """A layer's matrix (outputs, inputs) along an axis, if that has as many inputs."""
    if matrix.ndim != 2 or matrix.shape[1] != shape[axis]:
        got = f"a matrix (outputs, inputs) of shape {tuple(matrix.shape)} on an axis of {shape[axis]}, of {shape}"
        raise UnsupportedError(got, "Wanted as many inputs", "Check the shape of the input")
    return AlongAxis(matrix, shape, axis)


def padded(shape: Shape, pads: Sequence[tuple[int, int]], boundary: str, like: Array = INTEGERS) -> LinearMap:
    """An array whose channels come first, continued past its ends along each axis, or cut where pads are negative.

    On a circle what is left after cutting is continued: so do PyTorch and ONNX. Other rules see what was cut.
    """
    if boundary == "wrap" and any(min(pair) < 0 < max(pair) for pair in pads):
        cut = padded(shape, [(min(lo, 0), min(hi, 0)) for lo, hi in pads], "zero", like)
        return padded(cut.out_shape, [(max(lo, 0), max(hi, 0)) for lo, hi in pads], boundary, like) @ cut
    rule: Any = boundary
    if len(shape) == 1 or tuple(pads[0]) != (0, 0):
        one = as_like(np.ones((1,) * len(shape)), like)
        return conv(one, shape, padding=list(pads), boundary=rule)
    room("a kernel", shape[0] * itemsize(like.dtype))
    kernel = as_like(np.ones((shape[0], 1, *(1 for _ in pads[1:]))), like)
    return conv(kernel, shape, padding=list(pads[1:]), boundary=rule, channels="first", groups=shape[0])


def filled(op: LinearMap, pads: Sequence[tuple[int, int]], value: float, like: Array) -> Affine:
    """A map that pads, with a value of the type of ``like`` in place of the zeros where nothing was."""
    if value == 0:
        return affine(op, None)
    room("an offset", prod(op.out_shape) * 8)
    offset = np.full(op.out_shape, value)
    starts = [max(lo, 0) for lo, _ in pads]
    kept = [max(n + min(lo, 0) + min(hi, 0), 0) for n, (lo, hi) in zip(op.in_shape, pads, strict=True)]
    offset[tuple(slice(start, start + count) for start, count in zip(starts, kept, strict=True))] = 0
    return Affine(op, as_like(offset, like))


def scaled(shape: Shape, factors: Array) -> LinearMap:
    """A factor for each channel, which comes first."""
    if len(shape) == 1:
        there, back = flattened(shape, (*shape, 1), factors[:0]), flattened((*shape, 1), shape, factors[:0])
        return back @ scaled((*shape, 1), factors) @ there
    kernel = reshaped(factors, (-1, *(1 for _ in shape)))
    return conv(kernel, shape, channels="first", groups=shape[0])


def averaged(
    shape: Shape,
    axes: Sequence[Axis],
    counted: Sequence[tuple[int, int]],
    channels: str,
    divisor: float | None,
    like: Array,
    boundary: str = "zero",
) -> LinearMap:
    """Means of windows: the sum of what a window reads over ``divisor``, or over how many of its positions count.

    Along each axis those count from the first of the pair ``counted`` to before the second; 0 and the size are the
    array's own. Where all do it is one convolution, unless its kernel is too large; else it is one matrix an axis, for
    the number of positions is a product. With a divisor ``boundary`` says what is read outside the array.
    """
    for axis in axes:
        if axis.out < 1:
            got, wanted = f"windows of {axis.span} on {axis.size}", "Wanted at least one that fits"
            raise UnsupportedError(got, wanted, "Check kernel and pads")
    kernel, spatial = tuple(a.kernel for a in axes), 1 if channels == "first" else 0
    count = shape[0] if channels == "first" else shape[-1]
    size = count * prod(kernel) * itemsize(like.dtype)
    whole = all(-a.lo >= first and a.reach[1] < end for a, (first, end) in zip(axes, counted, strict=True))
    if divisor is not None or (whole and size <= MOST_BYTES):
        room("a kernel", size)
        array = np.full((count, 1, *kernel) if channels == "first" else (*kernel, 1, count), 1.0)
        array /= prod(kernel) if divisor is None else divisor
        return conv(
            as_like(array, like), shape, stride=[a.stride for a in axes], dilation=[a.dilation for a in axes],
            padding=[(a.lo, a.hi) for a in axes], channels=channels, groups=count,  # type: ignore[arg-type]
            boundary=boundary,  # type: ignore[arg-type]
        )  # fmt: skip
    op = identity(shape, like)
    for j, (axis, ends) in enumerate(zip(axes, counted, strict=True), spatial):
        op = AlongAxis(as_like(_means(axis, *ends), like), op.out_shape, j) @ op
    return op


def _means(axis: Axis, first: int, end: int) -> Any:
    """The matrix (out, size) of means over the positions of each window from ``first`` to before ``end``."""
    room("a matrix of means", axis.out * axis.size * 8)
    starts = np.arange(axis.out) * axis.stride - axis.lo
    counts = np.maximum(_taps_before(axis, starts, end) - _taps_before(axis, starts, first), 1)
    skipped = _taps_before(axis, starts, 0)
    reads = _taps_before(axis, starts, axis.size) - skipped
    rows = np.repeat(np.arange(axis.out), reads)
    taps = np.arange(rows.size) - np.repeat(np.cumsum(reads) - reads - skipped, reads)
    matrix = np.zeros((axis.out, axis.size))
    matrix[rows, starts[rows] + taps * axis.dilation] = (1 / counts)[rows]
    return matrix


def _taps_before(axis: Axis, starts: IntArray, place: int) -> IntArray:
    """How many taps of the windows that start there stand before a place."""
    return np.clip(-((starts - place) // axis.dilation), 0, axis.kernel)


def enlarged(shape: Shape, axis: int, index: Any, like: Array = INTEGERS) -> LinearMap:
    """Each place along an axis taken from the place the index names, as nearest-neighbour enlargement does."""
    matrix = np.zeros((len(index), shape[axis]), np.int8)
    matrix[np.arange(len(index)), index] = 1
    return AlongAxis(as_like(matrix, like), shape, axis)


def chained(maps: Sequence[Affine]) -> Affine:
    """One after the other."""
    whole = maps[0]
    for each in maps[1:]:
        whole = each @ whole
    return whole
