"""Maps that layers of every framework are made of: bias, padding, scaling, means and enlargement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import as_like, is_numpy, itemsize, namespace, reshape, zeros_beside
from convmtx.boundary import WRAP, ZERO, Boundary
from convmtx.construct import conv
from convmtx.errors import ArgumentError, UnsupportedError
from convmtx.geometry.axis import Axis
from convmtx.maps.affine import Affine
from convmtx.maps.along_axis import AlongAxis, along_axes, picking_matrix
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.rearranged import Rearranged
from convmtx.resizing.windows import adaptive_means
from convmtx.typing import AnyArray, Array, IntArray, Shape

#: An empty array of the type of maps that only move numbers of NumPy. It is the smallest type of integers, so that
#: outputs keep the type of the inputs: int8 times float32 is float32.
INTEGERS = np.empty(0, np.int8)
#: Bytes of the largest array that is made of a layer's sizes alone, 256 MiB. A file of 100 bytes can name any sizes, so
#: that its length is not a bound.
MOST_BYTES = 1 << 28
#: Bytes that NumPy can count in the shape of an array, even in that of a broadcast view, which takes no memory.
_MOST_COUNTED_BYTES = (1 << 63) - 1


def add_bias(op: LinearMap, bias: Array | None, axis: int = 0) -> Affine:
    """Return the affine map ``op(x) + bias``; the bias has one number for each channel, None stands for zeros.

    The channels lie along ``axis`` of the output. The offset is a broadcast view of the bias where the bias's library
    has such views, so that it takes no memory of its own.
    """
    if bias is None:
        bias, shape = zeros_beside(op._reference_array, (), op.dtype), [1] * len(op.out_shape)
    else:
        if tuple(bias.shape) != (op.out_shape[axis],):
            got = f"the bias has shape {tuple(bias.shape)}"
            raise ArgumentError(got, f"Expected ({op.out_shape[axis]},), one for each channel", "Check the layer")
        shape = [1] * len(op.out_shape)
        shape[axis] = -1
    if prod(op.out_shape) * itemsize(bias.dtype) > _MOST_COUNTED_BYTES:
        got = f"outputs of shape {op.out_shape}"
        raise UnsupportedError(got, "No array is that large", "Apply the layer to smaller inputs")
    copied = bias + 0  # so that the map keeps these numbers when the layer is trained on
    return Affine(op, namespace(copied).broadcast_to(reshape(copied, shape), op.out_shape))


def require_small(what: str, size: int) -> None:
    """Refuse an array of more than `MOST_BYTES`, or of more than the free memory, before it is made."""
    if size > MOST_BYTES:
        expected = f"Arrays that are made of sizes alone have at most {memory.human(MOST_BYTES)}"
        raise UnsupportedError(f"{what} would take {memory.human(size)}", expected, "Apply the layer to smaller inputs")
    memory.require(what, {what: size})


def identity(shape: Shape, like: Array = INTEGERS) -> LinearMap:
    """Return the map of every array of a shape to itself."""
    return Rearranged(shape, range(len(shape)), like=like)


def reshaping(shape: Shape, out_shape: Shape, like: Array = INTEGERS) -> LinearMap:
    """Return the map that gives an array another shape and keeps the order of its numbers."""
    return Rearranged(shape, range(len(shape)), out_shape, like)


def multiple(shape: Shape, number: float, like: Array = INTEGERS) -> LinearMap:
    """Return the map that multiplies every number of an array by one number."""
    if is_numpy(like) and like.dtype.kind in "iu" and not float(number).is_integer():
        like = np.empty(0)
    return Diagonal(as_like(np.array(number), like), shape)


def placing(shape: Shape, out_shape: Shape, axis: int, first: int, like: Array = INTEGERS) -> LinearMap:
    """Return the map that puts an array among zeros along an axis, from position ``first`` on."""
    before = [(0, 0)] * len(shape)
    before[axis] = (first, out_shape[axis] - shape[axis] - first)
    return pad(shape, before, ZERO, like)


def totals(
    shape: Shape, axes: Sequence[int], like: Array, *, is_mean: bool = False, keeps_axes: bool = False
) -> LinearMap:
    """Return the map to the sums over some axes, or to the means; the axes are left with size 1, or left out."""
    op = identity(shape, like)
    for axis in axes:
        require_small("a row of a matrix", shape[axis] * 8)
        row = np.full((1, shape[axis]), 1 / shape[axis] if is_mean else 1.0)
        op = AlongAxis(as_like(row, like), op.out_shape, axis) @ op
    if keeps_axes:
        return op
    return reshaping(op.out_shape, tuple(n for axis, n in enumerate(shape) if axis not in axes), like) @ op


def multiply_along(matrix: Array, shape: Shape, axis: int) -> LinearMap:
    """Return the map that applies a layer's matrix, of shape (outputs, inputs), along one axis."""
    if matrix.ndim != 2 or matrix.shape[1] != shape[axis]:
        got = f"a matrix (outputs, inputs) of shape {tuple(matrix.shape)} on an axis of {shape[axis]}, of {shape}"
        raise UnsupportedError(got, "Expected as many inputs", "Check the shape of the input")
    return AlongAxis(matrix, shape, axis)


def pad(shape: Shape, pads: Sequence[tuple[int, int]], boundary: Boundary, like: Array = INTEGERS) -> LinearMap:
    """Return the map that continues an array past its ends; a negative pad cuts positions off.

    There is one pair of pads for each axis, and the first axis has the channels. On a circle (`WRAP`) only what is left
    after cutting is continued, as PyTorch and ONNX do: [1, 2, 3] with pads (-1, 1) becomes [2, 3, 2]. The other rules
    see what was cut.
    """
    if boundary is WRAP and any(min(pair) < 0 < max(pair) for pair in pads):
        cut = pad(shape, [(min(lo, 0), min(hi, 0)) for lo, hi in pads], ZERO, like)
        return pad(cut.out_shape, [(max(lo, 0), max(hi, 0)) for lo, hi in pads], boundary, like) @ cut
    rule: Any = boundary.name
    if len(shape) == 1 or tuple(pads[0]) != (0, 0):
        one = as_like(np.ones((1,) * len(shape)), like)
        return conv(one, shape, padding=list(pads), boundary=rule)
    require_small("a kernel", shape[0] * itemsize(like.dtype))
    kernel = as_like(np.ones((shape[0], 1, *(1 for _ in pads[1:]))), like)
    return conv(kernel, shape, padding=list(pads[1:]), boundary=rule, channels="first", groups=shape[0])


def fill_pads(op: LinearMap, pads: Sequence[tuple[int, int]], value: float, like: Array) -> Affine:
    """Return a map that pads with zeros, changed so that its pads have a value; the offset has the type of ``like``."""
    if value == 0:
        return add_bias(op, None)
    require_small("an offset", prod(op.out_shape) * 8)
    offset = np.full(op.out_shape, value)
    starts = [max(lo, 0) for lo, _ in pads]
    kept = [max(n + min(lo, 0) + min(hi, 0), 0) for n, (lo, hi) in zip(op.in_shape, pads, strict=True)]
    offset[tuple(slice(start, start + count) for start, count in zip(starts, kept, strict=True))] = 0
    return Affine(op, as_like(offset, like))


def scale_channels(shape: Shape, factors: Array) -> LinearMap:
    """Return the map that multiplies each channel by its factor; the first axis has the channels."""
    if len(shape) == 1:
        there, back = reshaping(shape, (*shape, 1), factors[:0]), reshaping((*shape, 1), shape, factors[:0])
        return back @ scale_channels((*shape, 1), factors) @ there
    kernel = reshape(factors, (-1, *(1 for _ in shape)))
    return conv(kernel, shape, channels="first", groups=shape[0])


def pooling_axis(axis: Axis, lo: int, hi: int, *, ceil_mode: bool) -> Axis:
    """Return an axis without pads with the pads of a pooling layer, so that its outputs are the layer's windows.

    With ``ceil_mode`` the last window may reach beyond the pads, so that no position is left out. PyTorch and ONNX then
    drop a window that begins in the pad behind the array, for it reads nothing of it.
    """
    # 5 positions, windows of 2 at stride 2: they begin at 0 and 2, and with ceil_mode at 4 too, one beyond the end.
    spare = axis.size + lo + hi - axis.span
    count = (-(-spare // axis.stride) if ceil_mode else spare // axis.stride) + 1
    # 4 positions, pads (0, 1), windows of 2 at stride 2, ceil_mode: that at 4 begins in the pad and is dropped.
    if ceil_mode and (count - 1) * axis.stride >= axis.size + lo:
        count -= 1
    return Axis(axis.size, axis.kernel, axis.stride, axis.dilation, lo=lo).with_outputs(count)


def average(
    shape: Shape,
    axes: Sequence[Axis],
    counted: Sequence[tuple[int, int]],
    channels: str,
    divisor: float | None,
    like: Array,
    boundary: str = "zero",
) -> LinearMap:
    """Return the map to the means of windows: what a window reads, summed, over the number of its positions that count.

    Along each axis the positions that count are those from ``counted[axis][0]`` to before ``counted[axis][1]``. (0, n)
    leaves the pads out, (-lo, n + hi) counts them. ``divisor`` takes the place of that number; then ``boundary`` says
    what windows read outside the array, which is zero otherwise.

    If all positions of all windows count, the map is one convolution, unless its kernel is too large. Otherwise it is a
    product of one matrix for each axis, for the number of positions of a window is the product of those along the axes.
    """
    for axis in axes:
        if axis.out < 1:
            got = f"windows of {axis.span} on {axis.size}"
            raise UnsupportedError(got, "Expected at least one that fits", "Check kernel and pads")
    kernel, first_axis = tuple(a.kernel for a in axes), 1 if channels == "first" else 0
    n_channels = shape[0] if channels == "first" else shape[-1]
    size = n_channels * prod(kernel) * itemsize(like.dtype)
    all_count = all(-a.lo >= first and a.reach[1] < end for a, (first, end) in zip(axes, counted, strict=True))
    if divisor is not None or (all_count and size <= MOST_BYTES):
        require_small("a kernel", size)
        array = np.full((n_channels, 1, *kernel) if channels == "first" else (*kernel, 1, n_channels), 1.0)
        array /= prod(kernel) if divisor is None else divisor
        return conv(
            as_like(array, like), shape, stride=[a.stride for a in axes], dilation=[a.dilation for a in axes],
            padding=[(a.lo, a.hi) for a in axes], channels=channels, groups=n_channels,  # type: ignore[arg-type]
            boundary=boundary,  # type: ignore[arg-type]
        )  # fmt: skip
    matrices = {}
    for j, (axis, ends) in enumerate(zip(axes, counted, strict=True), first_axis):
        matrices[j] = _matrix_of_means(axis, *ends)
    return along_axes(shape, matrices, like)


def _matrix_of_means(axis: Axis, first: int, end: int) -> Any:
    """Return the sparse matrix (out, size) of means over the positions of each window from ``first`` to ``end - 1``."""
    from scipy.sparse import csr_array

    require_small("a matrix of means", axis.out * axis.kernel * 32)
    # 4 positions, windows of 3, pads (1, 1), counted without them, (0, 4): windows start at -1, 0, 1, 2, their counts
    # are 2, 3, 3, 2, and so many taps read the array; the first window skips 1 tap before the array, the others none.
    starts = np.arange(axis.out) * axis.stride - axis.lo
    counts = np.maximum(_count_taps_before(axis, starts, end) - _count_taps_before(axis, starts, first), 1)
    skipped = _count_taps_before(axis, starts, 0)
    reads = _count_taps_before(axis, starts, axis.size) - skipped
    # One entry for each tap that reads the array: its row is 0 0 1 1 1 2 2 2 3 3, its tap 1 2 0 1 2 0 1 2 0 1.
    rows = np.repeat(np.arange(axis.out), reads)
    taps = np.arange(rows.size) - np.repeat(np.cumsum(reads) - reads - skipped, reads)
    pointers = np.concatenate([[0], np.cumsum(reads)])
    return csr_array(((1 / counts)[rows], starts[rows] + taps * axis.dilation, pointers), shape=(axis.out, axis.size))


def _count_taps_before(axis: Axis, starts: IntArray, position: int) -> IntArray:
    """Return how many taps of each window lie before a position: 2 of a window of 3 that starts at -2, before 0."""
    return np.clip(-((starts - position) // axis.dilation), 0, axis.kernel)


def adaptive_average(shape: Shape, out_sizes: Mapping[int, int], like: Array) -> LinearMap:
    """Return the map to means over windows that cover an axis evenly, for the output size of each axis.

    Output i of m is the mean of positions floor(i n / m) to before ceil((i + 1) n / m), of n: windows whose distances
    differ by one unless m divides n.
    """
    for axis, out in out_sizes.items():
        require_small("a matrix of means", 32 * (shape[axis] + 2 * out))
    return along_axes(shape, {axis: adaptive_means(shape[axis], out) for axis, out in out_sizes.items()}, like)


def take_along(shape: Shape, axis: int, index: Any, like: Array = INTEGERS) -> LinearMap:
    """Return the map that takes positions ``index`` along an axis: [0, 0, 1, 1] is enlargement by 2, to the nearest."""
    return along_axes(shape, {axis: picking_matrix(shape[axis], index)}, like)


def inverse_deviations(variance: AnyArray, epsilon: float) -> AnyArray:
    """Return ``1 / sqrt(variance + epsilon)`` in the type of the variance, if no number of it is too small."""
    total = variance + variance.dtype.type(epsilon)
    if not (total > 0).all():
        got = f"a variance of {variance.min():.3g} with epsilon={epsilon:.3g}"
        raise UnsupportedError(got, "Expected a sum above 0, whose root is divided by", "Leave this layer out")
    return 1 / np.sqrt(total)
