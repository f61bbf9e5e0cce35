"""Search for what explains that a matrix is not that of the convolution that it should be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property
from itertools import chain, combinations, product
from typing import Any

import numpy as np

from convmtx.geometry import Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.recognition.changes import (
    AXIS_KINDS,
    Change,
    Kind,
    changed,
    changes_of,
    has_outputs,
    noun_phrase,
    rolls,
    same_boundaries,
)
from convmtx.recognition.comparison import compare, rounded
from convmtx.recognition.matrices import positions, rows_of_map
from convmtx.recognition.missing_rows import row_changes
from convmtx.recognition.readings import Readable, Reading, View, other_orders
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, IntArray, Order, Shape

#: Rows that are compared before all others: almost every wrong explanation fails there.
_SAMPLE = 12
#: Axes whose corners are among these rows.
_CORNERED = 3
#: Roundings that a factor explains: its own, and that of each product.
_ROUNDINGS = 4
#: Explanations that a sentence lists.
_LISTED = 3


class Reason(Enum):
    """Reasons why explanations cannot be told apart."""

    TRANSPOSED = "the transpose of this map is the map with the flipped kernel"
    SYMMETRIC = "the kernel is symmetric"
    SQUARE = "axes have equal sizes"
    OUTSIDE = "windows do not reach far enough outside"
    EQUAL = "their matrices are equal"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All explanations, with the fewest changes, why a matrix is not that of a map.

    Each one is exact: with these changes, every entry of the map's matrix is that of the other one.
    """

    explanations: tuple[tuple[Change, ...], ...]
    #: Why there is more than one; None if there is one.
    reason: Reason | None = None

    @property
    def is_ambiguous(self) -> bool:
        """Whether more than one explanation fits."""
        return len(self.explanations) > 1

    def __str__(self) -> str:
        texts = [noun_phrase(changes) for changes in self.explanations[:_LISTED]]
        if self.reason is None:
            return texts[0]
        more = ", or others" if len(self.explanations) > _LISTED else ""
        return f"{', or '.join(texts)}{more} (ambiguous: {self.reason.value})"


@dataclass(frozen=True, slots=True, eq=False)
class _Map:
    """A convolution, and the changes that make it from the one that was expected."""

    changes: tuple[Change, ...]
    op: ConvOperator

    @property
    def key(self) -> tuple[Geometry, int]:
        """Geometry and a hash of the kernel: equal for equal maps."""
        return self.op.geometry, hash(np.ascontiguousarray(self.op.kernel).tobytes())


def diagnose(A: Any, op: ConvOperator, order: Order = "C", rtol: float = 0.0, atol: float = 0.0) -> Diagnosis | None:
    """Return what explains that a matrix is not that of a convolution; None if nothing that is tried does.

    Parameters
    ----------
    A : ndarray or csr_array
        Matrix of any shape, which is not that of ``op``.
    op : ConvOperator
        Map that should have this matrix; its kernel is of NumPy.
    order : {"C", "F"}
        Order in which inputs and outputs should be flattened.
    rtol, atol : float
        Tolerances of entries, as for `compare`.

    Notes
    -----
    Single changes are tried first, then pairs, then pairs of changes of the map in another reading of the matrix. A few
    rows are compared before all.
    """
    search = _Search(Readable(A), op, order, rtol, atol)
    for count in (1, 2, 3):
        fitting = list(dict.fromkeys(search.fitting(count)))
        if count == 1 and not fitting and order == "C":  # larger strides and smaller pads also leave rows out
            fitting = [(change,) for change in row_changes(A, op, rtol, atol)]
        if fitting:
            return Diagnosis(tuple(fitting), _reason(op, fitting) if len(fitting) > 1 else None)
    return None


class _Search:
    """Views of a matrix and changed maps, and which of them fit together."""

    #: Numbers of changes of view and map that are combined, for each number in all; and those where a factor is one.
    _COMBINED: Mapping[int, tuple[tuple[int, int], ...]] = {
        1: ((0, 1), (1, 0)), 2: ((2, 0), (1, 1), (0, 2)), 3: ((1, 2), (2, 1)),
    }  # fmt: skip
    _SCALED: Mapping[int, tuple[tuple[int, int], ...]] = {1: ((0, 0),), 2: ((1, 0), (0, 1)), 3: ((1, 1),)}

    def __init__(self, matrix: Readable, op: ConvOperator, order: Order, rtol: float, atol: float) -> None:
        self.matrix, self.op, self.order, self.rtol, self.atol = matrix, op, order, rtol, atol
        self._samples: dict[Any, tuple[IntArray, AnyArray]] = {}

    def fitting(self, count: int) -> Iterator[tuple[Change, ...]]:
        """Yield the explanations with this number of changes that fit."""
        for views, maps in self._COMBINED[count]:
            for view, other in product(self.views(views), self.maps(maps)):
                if self._fits(view.reading, other.op):
                    yield view.changes + _with_all_names(other)
        for views, maps in self._SCALED[count]:
            for view, other in product(self.views(views), self.maps(maps)):
                if (factor := self._factor(view.reading, other.op)) is not None:
                    yield (*view.changes, *_with_all_names(other), Change(Kind.SCALED, (factor,)))

    def views(self, count: int) -> list[View]:
        """Return the readings with this number of changes."""
        if count:
            return self._single_views if count == 1 else self._double_views
        return [View((), self._expected)]

    def maps(self, count: int) -> list[_Map]:
        """Return the convolutions with this number of changes."""
        if count:
            return self._single_maps if count == 1 else self._double_maps
        return [_Map((), self.op)]

    @cached_property
    def _expected(self) -> Reading:
        """Reading in which the matrix should be that of the map."""
        return Reading.of(len(self.op.out_shape), self.order)

    @cached_property
    def _single_views(self) -> list[View]:
        turned = View((Change(Kind.TRANSPOSED),), replace(self._expected, transposed=True))
        return [turned, *self._reordered, *self._rolled]

    @cached_property
    def _reordered(self) -> list[View]:
        op = self.op
        return other_orders(op.geometry.layout, op.out_shape, op.in_shape, self.order)

    @cached_property
    def _double_views(self) -> list[View]:
        turned = Change(Kind.TRANSPOSED)
        return [View((turned, *view.changes), replace(view.reading, transposed=True)) for view in self._reordered]

    @property
    def _rolled(self) -> list[View]:
        """Readings in which outputs are rolled; where an axis is a circle, that is a shift of windows."""
        geometry, expected = self.op.geometry, self._expected
        sizes = geometry.layout.join(1, tuple(1 if axis.circular else axis.out for axis in geometry.axes))
        views = []
        for offset in rolls(sizes):
            if all(m == 0 or n > 1 for m, n in zip(offset, sizes, strict=True)):
                reading = replace(expected, outputs=replace(expected.outputs, roll=offset))
                views.append(View((Change(Kind.ROLLED, offset),), reading))
        return views

    @cached_property
    def _single_maps(self) -> list[_Map]:
        before = _Map((), self.op).key
        kinds: dict[Any, Kind] = {}
        maps = []
        for change in changes_of(self.op):
            other = _Map((change,), changed(self.op, change))
            if other.key == before or not has_outputs(other.op.geometry):
                continue
            first = kinds.setdefault(other.key, change.kind)
            # A shift can be a padding with a name, and a roll of two taps is a flip: these are two names of one change.
            if first is change.kind or change.kind not in (*AXIS_KINDS, Kind.KERNEL_ROLLED):
                maps.append(other)
        return maps

    @cached_property
    def _double_maps(self) -> list[_Map]:
        shapes = (self.matrix.matrix.shape, self.matrix.matrix.shape[::-1])
        seen = {_Map((), self.op).key, *(single.key for single in self._single_maps)}
        maps = []
        few = [single for single in self._single_maps if _is_common(single.changes[0])]
        for one, other in combinations(few, 2):
            (second,) = other.changes
            if second.kind is one.changes[0].kind:
                continue
            both = _Map(one.changes + other.changes, changed(one.op, second))
            geometry = both.op.geometry
            if has_outputs(geometry) and geometry.shape in shapes and both.key not in seen:
                seen.add(both.key)
                maps.append(both)
        return maps

    def _fits(self, reading: Reading, op: ConvOperator) -> bool:
        """Whether a matrix in a reading is that of a convolution."""
        if self.matrix.shape(reading) != op.shape:
            return False
        theirs, ours = self._theirs(reading, op), self._ours(op)
        if not (np.array_equal(theirs[0], ours[0]) and _are_close(theirs[1], ours[1], self.rtol, self.atol)):
            return False
        return compare(self._read(reading, op), op, "C", self.rtol, self.atol).count == 0

    def _factor(self, reading: Reading, op: ConvOperator) -> Any:
        """Return the number, other than 1, by which a convolution is to be multiplied to fit; None if there is none."""
        if self.matrix.shape(reading) != op.shape:
            return None
        (at, theirs), (ours_at, ours) = self._theirs(reading, op), self._ours(op)
        if not (at.size and np.array_equal(at, ours_at)):
            return None
        largest = np.argmax(np.abs(ours))
        factor = (theirs[largest] / ours[largest]).item()
        dtype = self.matrix.matrix.dtype
        rtol = max(self.rtol, _ROUNDINGS * float(np.finfo(dtype if dtype.kind in "fc" else float).eps))
        if factor == 1 or not np.isfinite(factor) or not _are_close(theirs, ours * factor, rtol, self.atol):
            return None
        if compare(self._read(reading, op), op * factor, "C", rtol, self.atol).count:
            return None
        return int(factor.real) if factor == int(factor.real) else factor

    def _read(self, reading: Reading, op: ConvOperator) -> Any:
        return self.matrix.read(reading, (op.out_shape, op.in_shape))

    def _theirs(self, reading: Reading, op: ConvOperator) -> tuple[IntArray, AnyArray]:
        """Return positions and values of nonzero entries in the rows that are compared first, in a reading."""
        shapes = op.out_shape, op.in_shape
        if (reading, shapes) not in self._samples:
            entries = self.matrix.entries(reading, shapes, _sample(op.out_shape))
            self._samples[reading, shapes] = self._without_zeros(*entries)
        return self._samples[reading, shapes]

    def _ours(self, op: ConvOperator) -> tuple[IntArray, AnyArray]:
        """Return positions and values of nonzero entries of a map in the rows that are compared first."""
        if op not in self._samples:
            rows = rows_of_map(op, "C", _sample(op.out_shape))
            at = positions(rows.indptr, rows.indices, op.shape[1])
            self._samples[op] = self._without_zeros(at, rounded(rows.data, self.matrix.matrix.dtype))
        return self._samples[op]

    def _without_zeros(self, at: IntArray, values: AnyArray) -> tuple[IntArray, AnyArray]:
        kept = ~(np.abs(values) <= self.atol)
        return at[kept], values[kept]


def _with_all_names(other: _Map) -> tuple[Change, ...]:
    """Return the changes of a map; a boundary has the names of all that are the same within reach."""
    names = tuple(same_boundaries(axis) for axis in other.op.geometry.axes)
    return tuple(replace(c, numbers=names) if c.kind is Kind.BOUNDARY else c for c in other.changes)


def _is_common(change: Change) -> bool:
    """Whether a change is combined with others: shifts are if they are by at most one."""
    return change.kind is not Kind.SHIFTED or max(map(abs, change.numbers)) <= 1


def _are_close(theirs: AnyArray, ours: AnyArray, rtol: float, atol: float) -> bool:
    if not (rtol or atol):
        return np.array_equal(theirs, ours)
    return np.allclose(theirs, ours, rtol, atol, equal_nan=True)


def _sample(shape: Shape) -> IntArray:
    """Return some rows: those of the corners, of the middle, and of random outputs."""
    corners = product(*({0, n - 1} for n in shape[:_CORNERED]), *([n // 2] for n in shape[_CORNERED:]))
    chosen = [*corners, tuple(n // 2 for n in shape)]
    rng = np.random.default_rng(0)
    chosen += [tuple(int(rng.integers(n)) for n in shape) for _ in range(_SAMPLE)]
    return np.unique(np.ravel_multi_index(np.array(chosen).T, shape))


def _reason(op: ConvOperator, explanations: list[tuple[Change, ...]]) -> Reason:
    """Return why explanations cannot be told apart."""
    kinds = [{change.kind for change in changes} for changes in explanations]
    if all(Kind.BOUNDARY in of_one for of_one in kinds):
        return Reason.OUTSIDE
    if any(Kind.TRANSPOSED in of_one for of_one in kinds) and any(Kind.FLIPPED in of_one for of_one in kinds):
        return Reason.TRANSPOSED
    taps = taps_of(op.geometry, op.kernel)
    flips = chain.from_iterable(combinations(range(2, taps.ndim), count) for count in range(1, taps.ndim - 1))
    if any(np.array_equal(taps, np.flip(taps, axes)) for axes in flips):
        return Reason.SYMMETRIC
    sizes = [axis.size for axis in op.geometry.axes]
    return Reason.SQUARE if len(set(sizes)) < len(sizes) else Reason.EQUAL
