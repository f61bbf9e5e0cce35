"""The kernel whose convolution is nearest to a matrix: least squares on the positions of its taps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from convmtx import forms
from convmtx._xp import all_finite
from convmtx.errors import ArgumentError, ArgumentTypeError, door, with_article
from convmtx.geometry import Axis, Geometry, Sums, met, runs, sums
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.recognition.comparison import compare
from convmtx.recognition.matrices import positions, read_matrix, rows_of, slabs
from convmtx.taps import kernel_of, with_sums
from convmtx.typing import AnyArray, ArrayLike, IntArray

#: Distance from an integer that rounding may explain: least squares solutions of small integers are within 1e-10.
_NEARLY = 1e-6


@door("nearest")
def nearest(A: ArrayLike | LinearMap, like: ConvOperator) -> tuple[ConvOperator, float]:
    """Return the convolution of a geometry that is nearest to a matrix in the Frobenius norm, and its distance.

    Law: of all kernels K, ``op = like.with_kernel(K)`` minimizes ``norm(A - op.to_dense())``. If more than one kernel
    does, K is the one of least norm: taps that no output reads are zero.

    Parameters
    ----------
    A : array_like, sparse array or LinearMap
        A matrix of shape ``like.shape``, dense or sparse; a tensor of shape ``like.out_shape + like.in_shape``; or a
        map between these shapes, whose sparse matrix is built.
    like : ConvOperator
        Any map of the geometry: shapes, strides, boundary, groups and so on. Its kernel does not count.

    Returns
    -------
    op : ConvOperator
        Its kernel is of NumPy and has the type of A if that is a float or complex one. For integers, it keeps their
        type if the matrix of op is A, and is float64 otherwise.
    distance : float
        Frobenius norm of A minus the matrix of op.

    Raises
    ------
    ValueError
        If the shape of A does not fit, or it contains inf or nan.
    TypeError
        If ``like`` is not a convolution, or A is not numeric.
    MemoryError
        If A is a map and its matrix does not fit in memory.

    Notes
    -----
    Each tap is the mean of the entries at its places, as long as no boundary folds two taps onto one. Where one does,
    the means over places of each set of taps are fitted, along each axis by itself, because the least squares problem
    is a Kronecker product over axes. Of a square matrix and a circular geometry, this is T. Chan's circulant (SIAM
    Journal on Scientific and Statistical Computing 9, 1988); without pads, it is the mean of each diagonal.

    The matrix is read twice, in slabs of rows, and memory beyond it is bounded.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> A = np.array([[1.0, 2.0, 0.0], [0.0, 3.0, 4.0]])
    >>> op, distance = cm.nearest(A, cm.conv([0, 0], 3))
    >>> op.kernel, distance
    (array([2., 3.]), 2.0)
    """
    if not isinstance(like, ConvOperator):
        got = f"like is {with_article(type(like).__name__)}"
        raise ArgumentTypeError(got, "Expected a convolution", "Make one of the geometry, as with cm.conv(K, in_shape)")
    matrix = read_matrix("A", A, like)
    taps = _fit(like.geometry, _Means.of(like.geometry, matrix))
    if matrix.dtype.kind in "iu" and (whole := _as_integers(taps, matrix.dtype)) is not None:
        op = like.with_kernel(kernel_of(like.geometry, whole))
        if not (distance := compare(matrix, op).distance):
            return op, distance
    taps = taps.astype(matrix.dtype if matrix.dtype.kind in "fc" else float)
    op = like.with_kernel(kernel_of(like.geometry, taps))
    return op, compare(matrix, op).distance


def _as_integers(taps: AnyArray, dtype: np.dtype[Any]) -> AnyArray | None:
    """Return taps that are integers up to rounding as integers; None if they are not."""
    if taps.dtype.kind in "iu":
        return taps
    whole, limits = np.rint(taps), np.iinfo(dtype)
    is_whole = (
        np.allclose(taps, whole, rtol=0, atol=_NEARLY) and limits.min <= whole.min() and whole.max() <= limits.max
    )
    return whole.astype(dtype) if is_whole else None


@dataclass(frozen=True, slots=True, eq=False)
class _Means:
    """Mean of the matrix entries at the places of each tap and of each sum of taps.

    Arrays are (out_channels, channels of a group, entries1..entriesd), as `entry_sizes` counts them.
    """

    #: An entry of the matrix at one of the places; 0 if there is none.
    first: AnyArray
    #: Mean of the differences from that entry. It is 0, without rounding, where all entries are equal.
    deviation: AnyArray
    #: Number of places along each axis.
    counts: tuple[IntArray, ...]

    @classmethod
    def of(cls, geometry: Geometry, A: Any) -> _Means:
        """Read the matrix once, in slabs of rows."""
        groups = tuple(sums(axis) for axis in geometry.axes)
        sizes = forms.entry_sizes(geometry, groups)
        counts = tuple(_count(axis, size) for axis, size in zip(geometry.axes, sizes[2:], strict=True))
        first, is_seen = np.zeros(prod(sizes), A.dtype), np.zeros(prod(sizes), bool)
        total = np.zeros(prod(sizes), complex if A.dtype.kind == "c" else float)
        for rows in slabs(A, geometry.nnz):
            numbers, values = _numbered_values(geometry, A, rows)
            fresh = np.flatnonzero(~is_seen[numbers])
            first[numbers[fresh]], is_seen[numbers[fresh]] = values[fresh], True
            differences = _differences(values, first[numbers])
            if differences.any():
                total += _sums_by_number(numbers, differences, total)
        often = reduce(np.multiply.outer, counts)
        deviation = total.reshape(sizes) / np.maximum(often, 1)
        return cls(first.reshape(sizes), deviation, counts)

    @property
    def values(self) -> AnyArray:
        """Means in the type of the matrix if entries of one number are equal, otherwise in double precision."""
        return self.first + self.deviation if self.deviation.any() else self.first


def _count(axis: Axis, size: int) -> IntArray:
    """Return the number of places of each entry of an axis."""
    often = np.zeros(size, np.int64)
    for run in runs(axis):
        often += run.count * np.bincount(run.entries, minlength=size)
    return often


def _numbered_values(geometry: Geometry, A: Any, rows: range) -> tuple[IntArray, AnyArray]:
    """Return the numbers of all entries in some rows of the geometry, and what a matrix has in their places."""
    pattern: Any = forms.numbered_range(geometry, "C", rows)
    if isinstance(A, np.ndarray):
        part = A[rows.start : rows.stop]
        _require_finite(part)
        return pattern.data, part.reshape(-1)[positions(pattern.indptr, pattern.indices, A.shape[1])]
    pointers, columns, data = rows_of(A, rows)
    _require_finite(data)
    if np.array_equal(columns, pattern.indices) and np.array_equal(pointers, pattern.indptr):
        return pattern.data, data
    stored = positions(pointers, columns, A.shape[1])
    wanted = positions(pattern.indptr, pattern.indices, A.shape[1])
    at = np.searchsorted(stored, wanted)
    values = np.append(data, np.zeros(1, data.dtype))[at]
    return pattern.data, np.where(np.append(stored, -1)[at] == wanted, values, 0)


def _require_finite(values: AnyArray) -> None:
    """Refuse inf and nan, of which there is no mean."""
    if not all_finite(values):
        raise ArgumentError("A contains inf or nan", "Expected finite entries", "Replace them, or leave out their rows")


def _differences(values: AnyArray, others: AnyArray) -> AnyArray:
    """Return differences in double precision; those of integers are exact before they are rounded."""
    if values.dtype.kind in "iu":
        return (values.astype(np.int64) - others.astype(np.int64)).astype(float)
    return values.astype(np.result_type(values, float)) - others


def _sums_by_number(numbers: IntArray, values: AnyArray, like: AnyArray) -> AnyArray:
    """Return the sum of the values of each number, in an array like another one."""
    if values.dtype.kind == "c":
        return _sums_by_number(numbers, values.real, like) + 1j * _sums_by_number(numbers, values.imag, like)
    return np.bincount(numbers, values, like.size)


def _fit(geometry: Geometry, means: _Means) -> AnyArray:
    """Return the taps whose entries, and sums, are nearest to the means, each weighted with its number of places.

    Taps that stand alone somewhere begin with their means there. If the sums confirm them to the last bit, they are it.
    Otherwise the rest is fitted, which is exact where it is zero.
    """
    groups = [sums(axis) for axis in geometry.axes]
    values = means.values
    inner: Any = (..., *(slice(axis.kernel) for axis in geometry.axes))
    taps = values[inner]
    if not any(groups):
        return taps
    wide = taps.astype(np.int64) if taps.dtype.kind in "iu" and taps.itemsize < 8 else taps
    expected = with_sums(geometry, wide, groups, lambda: [met(axis) for axis in geometry.axes])
    is_seen = reduce(np.multiply.outer, means.counts) > 0
    if np.array_equal(values[..., is_seen], expected[..., is_seen]):
        return taps
    rest = np.where(is_seen, values - expected.astype(np.result_type(expected, float)), 0)
    for j, (axis, axis_sums, often) in enumerate(zip(geometry.axes, groups, means.counts, strict=True)):
        if axis_sums:
            rest = np.moveaxis(np.tensordot(_pseudoinverse(axis, axis_sums, often), rest, (1, j + 2)), 0, j + 2)
    return taps + rest


def _pseudoinverse(axis: Axis, axis_sums: Sums, often: IntArray) -> AnyArray:
    """Return the matrix that takes means of all entries of an axis to taps, least squares in the weights ``often``."""
    design = np.eye(often.size, axis.kernel)
    for m, taps in enumerate(axis_sums):
        design[axis.kernel + m, list(taps)] = 1
    weights = np.sqrt(often)
    return np.linalg.pinv(weights[:, None] * design) * weights
