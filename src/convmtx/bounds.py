"""Bounds of the outputs of a map over a box of inputs: exact for each output by itself."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import as_numpy, cast, has_numbers, is_complex, is_numpy, like, namespace, numeric, together, widen
from convmtx.arguments import one_of
from convmtx.errors import ArgumentError, ArgumentTypeError, door
from convmtx.maps.affine import Affine
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.local import LocalMap
from convmtx.maps.matrices import DenseMap, SparseMap
from convmtx.typing import AnyArray, Array, ArrayLike

#: Roundings beside those of the entries: of the sum of both parts, of the offset, and of the margin itself.
MORE = 8


@door("bounds")
def bounds(A: Any, lower: ArrayLike, upper: ArrayLike, *, rounding: str = "nearest") -> tuple[AnyArray, AnyArray]:
    """Return the least and the largest value of every output over a box of inputs, ``lower <= x <= upper``.

    The least value of an output is ``sum_i max(a_i, 0) * lower_i + min(a_i, 0) * upper_i``, where ``a`` is its row of
    the matrix. The largest value has both ends exchanged. The output takes them at corners of the box, so these bounds
    are the best ones for each output by itself. If a boundary adds taps into one entry of the matrix, ``a_i`` is their
    sum, which gives tighter bounds than the taps.

    Parameters
    ----------
    A : LinearMap or Affine
        A real map, or what `aslinearmap` takes.
    lower, upper : array_like
        Ends of the box, which broadcast to ``(*batch, *in_shape)``: numbers for all inputs, an array for one box, or
        a batch of boxes. They may be infinite; an input that an output does not read does not count.
    rounding : {"nearest", "outward"}
        With "nearest", the bounds are computed as any output is. With "outward", they are computed in float64 and
        widened by the most that rounding can have moved them. So no exact sum of the numbers that the map holds
        lies outside, and none of the entries of its matrix, which may be rounded sums: a proof may rely on them. A
        product that is a `ConvOperator` holds a kernel that is already rounded. This needs NumPy arrays.

    Returns
    -------
    lower, upper : ndarray
        Shape ``(*batch, *out_shape)`` each, in the dtype and library of map and box together; those of integers are of
        64 bits, and those of "outward" float64. They cost four applications of maps of the positive and of the negative
        entries, and eight for an infinite box. Those maps are convolutions for a convolution, unless the boundary adds
        taps; then, and for products of maps, the sparse matrix is built.

    Raises
    ------
    ValueError
        If shapes do not fit, a lower end is nan or above the upper one, or there are no real numbers between them.
    TypeError
        If the map or the box is complex, or "outward" is requested for arrays of another library.

    References
    ----------
    R. E. Moore, "Interval Analysis", Prentice-Hall (1966); N. J. Higham, "Accuracy and Stability of Numerical
    Algorithms", 2nd ed., SIAM (2002), section 3.1, for the margin of "outward".

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.bounds(cm.conv([1, -1], 3), 0, [1, 2, 3])
    (array([-2, -3]), array([1, 2]))
    >>> cm.bounds(cm.conv([1, -1], 1, padding=1, boundary="edge"), 0, 1)  # both taps read the same input
    (array([0, 0]), array([0, 0]))
    """
    op, offset = (A.op, A.offset) if isinstance(A, Affine) else (aslinearmap(A), None)
    kind = one_of("rounding", rounding, ("nearest", "outward"))
    low, high = _box(op, numeric("lower", lower), numeric("upper", upper))
    shift = [] if offset is None else [offset.dtype]
    if any(is_complex(dtype) for dtype in (op.dtype, low.dtype, high.dtype, *shift)):
        raise ArgumentTypeError("a complex map, offset or box", "Expected real numbers", "Bound its parts apart")
    if kind == "outward":
        return _outward(op, offset, low, high)
    least, most = _extremes(op, low, high)
    if offset is None:
        return least, most
    return tuple(first + second for first, second in (together(bound, offset) for bound in (least, most)))


def _box(op: LinearMap, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the ends of a box as batches of one shape in one library; refuse those that are not a box."""
    low, high = together(low, high)
    if not is_numpy(op._reference_array) and is_numpy(low):
        low, high = like(low, op._reference_array), like(high, op._reference_array)
    xp = namespace(low)
    try:
        shape = np.broadcast_shapes(tuple(low.shape), tuple(high.shape), op.in_shape)
    except ValueError:
        shape = ()
    if shape[len(shape) - len(op.in_shape) :] != op.in_shape:
        got = f"lower of shape {tuple(low.shape)} and upper of shape {tuple(high.shape)}"
        raise ArgumentError(got, f"Expected shapes that broadcast to (*batch, *{op.in_shape})", "Match op.in_shape")
    batch = prod(shape[: len(shape) - len(op.in_shape)])
    memory.require_result("the box and its bounds", 16 * batch * sum(op.shape), "Bound fewer outputs, as with op[key]")
    if has_numbers(low) and has_numbers(high):
        if not bool(xp.all(low <= high)):
            raise ArgumentError("a lower end above the upper one, or nan", "Expected lower <= upper", "Swap them")
        if bool(xp.any(low == np.inf)) or bool(xp.any(high == -np.inf)):
            got, remedy = "a lower end of inf, or an upper one of -inf", "Leave that end finite"
            raise ArgumentError(got, "Expected real numbers between the ends", remedy)
    if is_numpy(low) and all(dtype.kind in "iu" for dtype in (op.dtype, low.dtype, high.dtype)):
        low, high = widen(low), widen(high)  # an interval of integers that wrap around is none
    return xp.broadcast_to(low, shape), xp.broadcast_to(high, shape)


def positive(entries: Array) -> Array:
    """Return the positive entries of an array and nan, and zeros."""
    xp = namespace(entries)
    return xp.where(entries < 0, xp.zeros_like(entries), entries)


def negative(entries: Array) -> Array:
    """Return the negative entries of an array and nan, and zeros."""
    xp = namespace(entries)
    return xp.where(entries > 0, xp.zeros_like(entries), entries)


def is_positive(entries: Array) -> Array:
    """Return 1 for positive entries of an array, and 0 for the others, in their type."""
    return cast(entries > 0, entries.dtype)


def is_negative(entries: Array) -> Array:
    """Return 1 for negative entries of an array, and 0 for the others, in their type."""
    return cast(entries < 0, entries.dtype)


def _extremes(op: LinearMap, low: Array, high: Array) -> tuple[Array, Array]:
    """Return the least and the largest outputs; an end that is infinite counts where an entry is not zero."""
    above, below = op._entrywise(positive), op._entrywise(negative)
    xp, infinite = namespace(low), [namespace(end).isinf(end) for end in (low, high)]
    are_known = has_numbers(low) and has_numbers(high)
    if are_known and not any(bool(xp.any(places)) for places in infinite):
        return above(low) + below(high), above(high) + below(low)
    low, high = (xp.where(at, xp.zeros_like(end), end) for at, end in zip(infinite, (low, high), strict=True))
    signs = op._entrywise(is_positive), op._entrywise(is_negative)
    first, last = (cast(places, xp.float64) for places in infinite)
    is_open = signs[0](first) + signs[1](last) > 0, signs[0](last) + signs[1](first) > 0
    least, most = above(low) + below(high), above(high) + below(low)
    return xp.where(is_open[0], -np.inf, least), xp.where(is_open[1], np.inf, most)


def _outward(op: LinearMap, offset: Array | None, low: Array, high: Array) -> tuple[AnyArray, AnyArray]:
    """Return bounds that hold for real numbers.

    A sum of n products in any order is off by at most ``n*u / (1 - n*u)`` times the sum of their magnitudes, with u
    half of eps, and by n times half of the smallest number for products below the range. So the direct engine applies
    the map, which adds products and nothing else.
    """
    if not all(is_numpy(array) for array in (op._reference_array, low, high)):
        got, remedy = "rounding='outward' for arrays of another library", "Convert them, as with numpy.asarray(x)"
        raise ArgumentTypeError(got, "Expected arrays of NumPy", remedy)
    exact = op._in_double()
    if isinstance(exact, ConvOperator):
        exact = ConvOperator(exact.geometry, exact.kernel, "direct")
    low, high = np.asarray(low, float), np.asarray(high, float)
    count, unit = exact._count_roundings() + MORE, _unit(op)
    factor = count * unit / (1 - 2 * count * unit)
    largest = np.maximum(np.abs(low), np.abs(high))
    is_infinite = ~np.isfinite(largest)
    with np.errstate(over="ignore", invalid="ignore"):
        least, most = _extremes(exact, low, high)
        sizes = exact._magnitudes()(np.where(is_infinite, 0, largest))
        if offset is not None:
            shift = as_numpy(offset).astype(float)
            least, most, sizes = least + shift, most + shift, sizes + np.abs(shift)
        margin = np.nextafter(factor * sizes + count * np.finfo(float).smallest_subnormal, np.inf)
        least, most = np.nextafter(least - margin, -np.inf), np.nextafter(most + margin, np.inf)
    is_open = _reads_unsure(exact, factor, is_infinite)  # sums that overflow bound nothing either
    return np.where(is_open | ~(least < np.inf), -np.inf, least), np.where(is_open | ~(most > -np.inf), np.inf, most)


def _unit(op: LinearMap) -> float:
    """Return the relative error of a rounding: of float64, or of the map's type if its entries are rounded sums."""
    if isinstance(op, ConvOperator | LocalMap):
        is_exact = not any(axis.may_fold for axis in op.geometry.axes)
    else:
        is_exact = isinstance(op, DenseMap | SparseMap | Diagonal)
    own = 0 if is_exact or op.dtype.kind != "f" else np.finfo(op.dtype).eps
    return max(float(np.finfo(float).eps), float(own)) / 2


def _reads_unsure(op: LinearMap, factor: float, is_infinite: AnyArray) -> AnyArray:
    """Return which outputs read an infinite end through an entry whose sign rounding may have changed.

    With 0.1 and 0.2 and -0.3 on one input, the entry is 0 or 5.6e-17, by the order in which they are added.
    """
    batch = is_infinite.shape[: is_infinite.ndim - len(op.in_shape)]
    if not is_infinite.any():
        return np.zeros((), bool)
    sizes, matrix = op._magnitudes()._sparse("C", None), op._sparse("C", None)
    unsure = factor * sizes - abs(matrix)
    unsure.data = (unsure.data > 0).astype(np.int8)
    columns = is_infinite.reshape(prod(batch), op.shape[1]).T.astype(np.int8)
    return (unsure.astype(np.int64) @ columns > 0).T.reshape(batch + op.out_shape)
