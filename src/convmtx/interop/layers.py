"""What layers of every framework have in common: pads, pooling, scaling and bias as maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from convmtx._xp import namespace, reshaped, zeros_beside
from convmtx.algebra import LinearMap
from convmtx.boundary import NOTHING
from convmtx.construct import conv
from convmtx.geometry.axis import Axis
from convmtx.maps import Affine, AlongAxis, Rearranged
from convmtx.typing import Array, Shape


def affine(op: LinearMap, bias: Array | None, axis: int = 0) -> Affine:
    """The map with a number for each channel added, which stand along ``axis`` of the output; zeros without any."""
    if bias is None:
        return Affine(op, zeros_beside(op._of, op.out_shape, op.dtype))
    shape = [1] * len(op.out_shape)
    shape[axis] = -1
    return Affine(op, namespace(bias).broadcast_to(reshaped(bias, shape), op.out_shape) + 0)


def identity(shape: Shape) -> LinearMap:
    """Every array to itself."""
    return Rearranged(shape, range(len(shape)))


def flattened(shape: Shape, out_shape: Shape) -> LinearMap:
    """The same numbers in another shape."""
    return Rearranged(shape, range(len(shape)), out_shape)


def padded(shape: Shape, pads: Sequence[tuple[int, int]], boundary: str) -> LinearMap:
    """An array whose channels come first, continued past its ends along each axis, or cut where pads are negative."""
    rule: Any = boundary
    if len(shape) == 1 or tuple(pads[0]) != (0, 0):
        return conv(np.ones((1,) * len(shape), np.int8), shape, padding=list(pads), boundary=rule)
    kernel = np.ones((shape[0], 1, *(1 for _ in pads[1:])), np.int8)
    return conv(kernel, shape, padding=list(pads[1:]), boundary=rule, channels="first", groups=shape[0])


def filled(op: LinearMap, value: float) -> Affine:
    """A map that pads, with a value in place of the zeros where nothing was."""
    if not value:
        return affine(op, None)
    return Affine(op, (value * (1 - op(np.ones(op.in_shape, np.int8)))).astype(np.float32))


def scaled(shape: Shape, factors: Array) -> LinearMap:
    """A factor for each channel, which comes first."""
    if len(shape) == 1:
        return AlongAxis(namespace(factors).eye(shape[0], dtype=factors.dtype) * factors, shape, 0)
    kernel = reshaped(factors, (-1, *(1 for _ in shape)))
    return conv(kernel, shape, channels="first", groups=shape[0])


def averaged(
    shape: Shape, axes: Sequence[Axis], ends: Sequence[int], channels: str, divisor: float | None, dtype: Any
) -> LinearMap:
    """Means of windows: the sum of what a window reads over ``divisor``, or over how many of its positions count.

    Those count that stand before ``ends``, and where that is no more than the size, inside the array. Then a window has
    a number for each axis, and the map is one matrix an axis; where all count it is one convolution.
    """
    kernel, spatial = tuple(a.kernel for a in axes), 1 if channels == "first" else 0
    counts = [_counted(axis, end) for axis, end in zip(axes, ends, strict=True)]
    if divisor is not None or all((count == axis.kernel).all() for count, axis in zip(counts, axes, strict=True)):
        count = shape[0] if channels == "first" else shape[-1]
        array = np.full((count, 1, *kernel) if channels == "first" else (*kernel, 1, count), 1.0, dtype)
        array /= np.prod(kernel) if divisor is None else divisor
        return conv(
            array, shape, stride=[a.stride for a in axes], dilation=[a.dilation for a in axes],
            padding=[(a.lo, a.hi) for a in axes], channels=channels, groups=count,  # type: ignore[arg-type]
        )  # fmt: skip
    op = identity(shape)
    for j, (axis, count) in enumerate(zip(axes, counts, strict=True), spatial):
        matrix = np.zeros((axis.out, axis.size), dtype)
        for column in axis.table().T:
            rows = np.flatnonzero(column != NOTHING)
            matrix[rows, column[rows]] += (1 / count[rows]).astype(dtype)
        op = AlongAxis(matrix, op.out_shape, j) @ op
    return op


def _counted(axis: Axis, end: int) -> Any:
    """How many positions of each window count; one at least, so that it divides."""
    position = np.arange(axis.out)[:, None] * axis.stride - axis.lo + np.arange(axis.kernel) * axis.dilation
    counts = (position < end) & (position >= (0 if end <= axis.size else -axis.lo))
    return np.maximum(counts.sum(axis=1), 1)


def enlarged(shape: Shape, axis: int, index: Any) -> LinearMap:
    """Each place along an axis taken from the place the index names, as nearest-neighbour enlargement does."""
    matrix = np.zeros((len(index), shape[axis]), np.int8)
    matrix[np.arange(len(index)), index] = 1
    return AlongAxis(matrix, shape, axis)


def chained(maps: Sequence[Affine]) -> Affine:
    """One after the other."""
    whole = maps[0]
    for each in maps[1:]:
        whole = each @ whole
    return whole
