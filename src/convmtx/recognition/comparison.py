"""Entries in which a matrix and a map differ: how many, by how much, and the first of them in coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot
from typing import Any, NamedTuple

import numpy as np

from convmtx.geometry import Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.recognition.matrices import canonical, positions, rows_of, rows_of_map, slabs
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers, Shape

#: Differing entries that are listed.
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry in which a matrix and a map differ."""

    output: Shape
    input: Shape
    #: Place in the kernel array of the first tap that joins the two. None if no tap does, or the map has no kernel.
    tap: Shape | None
    #: Entry of the matrix, and entry of the map in the type in which both are compared.
    theirs: Any
    ours: Any

    def __str__(self) -> str:
        tap = "" if self.tap is None else f", tap {self.tap}"
        return f"output {self.output}, input {self.input}{tap}: {self.theirs} instead of {self.ours}"


def entries_differ(count: int) -> str:
    """Return how many entries differ, in words."""
    return "1 entry differs" if count == 1 else f"{count} entries differ"


@dataclass(frozen=True, slots=True)
class Comparison:
    """All entries in which a matrix and a map differ, in numbers."""

    #: Number of entries that differ by more than the tolerance, and the largest absolute difference of these.
    count: int
    largest: float
    #: Frobenius norm of matrix minus map, entries within the tolerance included.
    distance: float
    #: The first few entries that differ, in row-major order of the matrix.
    differs: tuple[Difference, ...]


class _Slab(NamedTuple):
    """Entries of some rows of both matrices side by side; where neither stores one, both are zero."""

    theirs: AnyArray
    ours: AnyArray
    #: Columns of the entries, and where each row begins among them; None if every entry of each row is listed.
    columns: IntArray | None = None
    pointers: IntArray | None = None

    def at(self, numbers: IntArray, width: int) -> tuple[IntArray, IntArray]:
        """Return rows and columns of entries of these numbers."""
        if self.columns is None or self.pointers is None:
            return np.divmod(numbers, width)
        return np.searchsorted(self.pointers, numbers, side="right") - 1, self.columns[numbers]


def compare(A: Any, op: LinearMap, order: Order = "C", rtol: float = 0.0, atol: float = 0.0) -> Comparison:
    """Compare a matrix with a map of its shape, in slabs of rows.

    Parameters
    ----------
    A : ndarray or csr_array
        Matrix of shape ``op.shape``. A CSR matrix whose indices are not sorted, or repeat, is copied.
    op : LinearMap
        Map that should have this matrix.
    order : {"C", "F"}
        Order in which inputs and outputs are flattened.
    rtol, atol : float
        Entries differ if ``abs(a - b) > atol + rtol * abs(b)``, where b is the map's. NaN equals NaN. If A has floats
        of fewer digits than the map, b is rounded to them first.

    Notes
    -----
    A convolution's rows are written slab by slab, and its whole matrix is never built. If patterns agree, all of it
    takes as long as three sums over the arrays of a CSR matrix.
    """
    A = A if isinstance(A, np.ndarray) else canonical(A)
    count, largest, distance = 0, 0.0, 0.0
    first: list[Difference] = []
    for rows in slabs(A, op.nnz if isinstance(op, ConvOperator) else 0):
        slab = _slab(A, op, order, rows)
        numbers, deviations, norm = _deviations(slab, rtol, atol)
        distance = hypot(distance, norm)
        if numbers.size:
            count += numbers.size
            largest = float(np.maximum(largest, deviations.max()))  # which keeps NaN
            first += _differences(slab, numbers[: _LISTED - len(first)], op, order, rows.start)
    return Comparison(count, largest, distance, tuple(first))


def differing_rows(A: Any, op: LinearMap, rtol: float = 0.0, atol: float = 0.0) -> IntArray:
    """Return the rows in which a matrix, as `compare` takes it, differs from a map."""
    A, differing = A if isinstance(A, np.ndarray) else canonical(A), [np.zeros(0, np.int64)]
    for rows in slabs(A, op.nnz if isinstance(op, ConvOperator) else 0):
        slab = _slab(A, op, "C", rows)
        differing.append(np.unique(slab.at(_deviations(slab, rtol, atol)[0], op.shape[1])[0]) + rows.start)
    return np.concatenate(differing)


def rounded(ours: AnyArray, theirs: np.dtype[Any]) -> AnyArray:
    """Return entries of a map in the type in which they are compared with those of a matrix.

    An entry that would overflow there stays as it is, so that it differs from infinity: that is not a rounded number.
    """
    dtype = compared_dtype(ours.dtype, theirs)
    if dtype == ours.dtype:
        return ours
    with np.errstate(all="ignore"):
        narrow = ours.astype(dtype)
        overflows = np.isfinite(ours) & ~np.isfinite(narrow)
    return np.where(overflows, ours, narrow) if overflows.any() else narrow


def compared_dtype(ours: np.dtype[Any], theirs: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which our entries are compared: that of a matrix of floats which has fewer digits, or ours."""
    if theirs.kind not in "fc" or (np.can_cast(ours, theirs) and not (ours.kind in "iu" and ours.itemsize == 8)):
        return ours
    return np.result_type(theirs, np.complex64) if ours.kind == "c" else theirs


def _slab(A: Any, op: LinearMap, order: Order, rows: RowNumbers) -> _Slab:
    """Return rows of a matrix and of a map side by side."""
    ours = rows_of_map(op, order, rows)
    if isinstance(A, np.ndarray):
        dense = A[rows.start : rows.stop] if isinstance(rows, range) else A[rows]
        return _Slab(dense.reshape(-1), rounded(ours.toarray().reshape(-1), A.dtype))
    pointers, columns, data = rows_of(A, rows)
    values = rounded(ours.data, A.dtype)
    if np.array_equal(pointers, ours.indptr) and np.array_equal(columns, ours.indices):
        return _Slab(data, values, columns, pointers)
    width = op.shape[1]
    return _merged(positions(pointers, columns, width), data, positions(ours.indptr, ours.indices, width), values,
                   (len(pointers) - 1, width))  # fmt: skip


def _merged(at: IntArray, theirs: AnyArray, ours_at: IntArray, ours: AnyArray, shape: Shape) -> _Slab:
    """Return entries of two patterns side by side, from their positions; stored zeros are left out."""
    at, theirs = at[theirs != 0], theirs[theirs != 0]
    ours_at, ours = ours_at[ours != 0], ours[ours != 0]
    stored = at
    if not np.array_equal(at, ours_at):
        stored = np.sort(np.concatenate([at, ours_at]), kind="stable")  # merges what is sorted, in linear time
        stored = stored[np.diff(stored, prepend=-1) > 0]
        spread = []
        for places, values in ((at, theirs), (ours_at, ours)):
            line = np.zeros(stored.size, values.dtype)
            line[np.searchsorted(stored, places)] = values
            spread.append(line)
        theirs, ours = spread
    rows, width = shape
    return _Slab(theirs, ours, stored % width, np.searchsorted(stored, np.arange(rows + 1) * width))


def _deviations(slab: _Slab, rtol: float, atol: float) -> tuple[IntArray, AnyArray, float]:
    """Return numbers of entries that differ, by how much, and the norm of all deviations."""
    a, b = slab.theirs, slab.ours
    with np.errstate(all="ignore"):
        numbers = np.flatnonzero(a != b)
        if not numbers.size:
            return numbers, np.zeros(0), 0.0
        a, b = a[numbers], b[numbers]
        deviations = _distances(a, b)
        differs = ~(np.isnan(a) & np.isnan(b))
        norm = float(np.linalg.norm(deviations[differs]))
        if rtol or atol:
            differs &= ~(deviations <= atol + rtol * np.abs(b))
    return numbers[differs], deviations[differs], norm


def _distances(a: AnyArray, b: AnyArray) -> AnyArray:
    """Return distances of numbers in double precision; those of near integers are exact before they are rounded."""
    kind = complex if "c" in (a.dtype.kind, b.dtype.kind) else float
    distances = np.abs(a.astype(kind) - b.astype(kind))
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        near = np.flatnonzero(distances < 2.0**62)
        distances[near] = np.abs(a[near].astype(np.int64) - b[near].astype(np.int64))
    return distances


def _differences(slab: _Slab, numbers: IntArray, op: LinearMap, order: Order, start: int) -> list[Difference]:
    """Return entries of these numbers with their coordinates; ``start`` is the slab's first row."""
    rows, columns = slab.at(numbers, op.shape[1])
    values = slab.theirs[numbers].tolist(), slab.ours[numbers].tolist()
    differences = []
    for row, column, theirs, ours in zip((rows + start).tolist(), columns.tolist(), *values, strict=True):
        output, position = _unravel(row, op.out_shape, order), _unravel(column, op.in_shape, order)
        tap = tap_between(op.geometry, output, position) if isinstance(op, ConvOperator) else None
        differences.append(Difference(output, position, tap, theirs, ours))
    return differences


def _unravel(number: int, shape: Shape, order: Order) -> Shape:
    """Return the coordinates of an entry of a flattened array."""
    return tuple(int(j) for j in np.unravel_index(number, shape, order))


def tap_between(geometry: Geometry, output: Shape, position: Shape) -> Shape | None:
    """Return the place in the kernel array of the first tap through which an output reads an input; None if none does.

    With stride 2 and no pads, output 3 reads input 7 through tap 1.
    """
    (filter_, outputs), (channel, inputs) = (geometry.layout.split(place, 0) for place in (output, position))
    per_f, per_c = geometry.channels_per_group
    if filter_ // per_f != channel // per_c:
        return None
    taps = [np.flatnonzero(axis.read(np.array(o), np.arange(axis.kernel)) == i)
            for axis, o, i in zip(geometry.axes, outputs, inputs, strict=True)]  # fmt: skip
    numbers = np.arange(np.prod(geometry.kernel_shape)).reshape(geometry.kernel_shape)
    joining = taps_of(geometry, numbers)[filter_, channel % per_c][np.ix_(*taps)]
    return _unravel(int(joining.min()), geometry.kernel_shape, "C") if joining.size else None
