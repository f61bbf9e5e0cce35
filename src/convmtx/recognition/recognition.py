"""Results of recognition, and the words for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.recognition.axes import EXCEPTION
from convmtx.recognition.changes import Change, noun_phrase, same_boundaries
from convmtx.recognition.comparison import Comparison, Difference, entries_differ
from convmtx.recognition.kernels import tap_entries
from convmtx.typing import AnyArray, Shape

#: Alternatives that a sentence lists.
_LISTED = 3


@dataclass(frozen=True, eq=False)
class Recognition:
    """Convolution that a matrix, map or function is, or the nearest one, as `recognize` returns it.

    Attributes
    ----------
    op : ConvOperator
        The convolution. Of all with the same matrix that were tried, it has the fewest taps. If ``exact`` is False, it
        is the one that most entries agree with, or, if less than half of them agree with any, the one whose matrix is
        nearest in the Frobenius norm for its geometry.
    exact : bool
        Whether its matrix is the one that was passed: for integers in every entry, and for floats up to 8 roundings of
        the largest tap. The matrix of a function is then known by its images of random inputs.
    distance : float
        Frobenius norm of the matrix that was passed minus the matrix of ``op``; 0 for a function that is exact.
    differs : tuple of Difference
        The first three entries that differ, in row-major order of the matrix: ``output``, ``input`` and ``tap`` are
        coordinates, ``theirs`` and ``ours`` the entries of the matrix and of ``op``.
    count : int
        Number of entries that differ.
    changes : tuple of Change
        How the matrix was changed from that of ``op``; empty if it was not. Only alternatives have changes: a matrix is
        first taken as it was passed.
    alternatives : tuple of Recognition
        If ``exact`` is True, what cannot be told from ``op``: other layouts and shapes, and other orders of axes of
        equal sizes; and a convolution of fewer numbers, counting two for each entry that differs, which is not exact.
        Otherwise, what explains that the matrix is not a convolution: with which changes it is one.
    applications : int or None
        Number of inputs to which a function was applied; None for a matrix or map.
    offset : ndarray or None
        Image of zeros under an affine function, which ``op`` leaves out; None if it is zero.
    """

    op: ConvOperator
    exact: bool
    distance: float
    differs: tuple[Difference, ...] = ()
    count: int = 0
    changes: tuple[Change, ...] = ()
    alternatives: tuple[Recognition, ...] = ()
    applications: int | None = None
    offset: AnyArray | None = None

    @classmethod
    def of(cls, op: ConvOperator, comparison: Comparison, changes: tuple[Change, ...] = ()) -> Recognition:
        """Return the result of comparing a matrix, changed or not, with that of a convolution."""
        return cls(op, not comparison.count, comparison.distance, comparison.differs, comparison.count, changes)

    def __repr__(self) -> str:
        return f"Recognition({self.verdict})"

    @cached_property
    def boundaries(self) -> tuple[tuple[str, ...], ...]:
        """Other boundaries with which windows read the same inputs, for each axis."""
        others = []
        for axis in self.op.geometry.axes:
            names = same_boundaries(axis) if axis.reads_outside else ()
            others.append(tuple(name for name in names if name != axis.boundary.name))
        return tuple(others)

    @cached_property
    def unseen(self) -> tuple[Shape, ...]:
        """Taps that the matrix does not determine, for each axis: ``op`` has 0 there, and others would do as well.

        No output reads through them, or only sums of them show.
        """
        return tuple(
            tuple(np.setdiff1d(np.arange(axis.kernel), tap_entries(axis).taps).tolist())
            for axis in self.op.geometry.axes
        )

    @property
    def call(self) -> str:
        """Call of `convmtx.conv` that builds the convolution from its kernel K."""
        return _write_call(self.op.geometry)

    @property
    def cost(self) -> tuple[int, int]:
        """Nonzero numbers of the kernel, plus two for each entry that differs, and then all numbers of the kernel."""
        return int(np.count_nonzero(self.op.kernel)) + EXCEPTION * self.count, self.op.kernel.size

    @property
    def verdict(self) -> str:
        """One sentence: the convolution, or why there is none."""
        if self.exact:
            return "; ".join([self._noun, *self._ambiguities()])
        listed = self.alternatives[:_LISTED]
        reasons = ", or ".join(other._noun for other in listed)
        if reasons:
            return f"not a convolution as passed; {'ambiguous: ' if len(listed) > 1 else ''}it is {reasons}"
        return (
            f"not a convolution; the nearest is {self.call}, at distance {self.distance:.3g}; {self._first_difference}"
        )

    @property
    def _first_difference(self) -> str:
        """Number of entries that differ, and the first one, in words."""
        return f"{entries_differ(self.count)}, first at {self.differs[0]}"

    @property
    def _noun(self) -> str:
        """The convolution, or the matrix that it has after changes, in words."""
        return f"{noun_phrase(self.changes)}, of {self.call}" if self.changes else self.call

    def _ambiguities(self) -> list[str]:
        """Return what the matrix does not tell apart, in words."""
        words = [
            f"ambiguous: it is {other._noun} too" if other.exact else f"or {other.call}, but {other._first_difference}"
            for other in self.alternatives[:_LISTED]
        ]
        for axis, names in enumerate(self.boundaries):
            if names:
                words.append(f"ambiguous: boundary {' or '.join(names)} gives the same matrix along axis {axis}")
        for axis, taps in enumerate(self.unseen):
            if taps:
                numbers = ", ".join(map(str, taps))
                words.append(f"no entry determines tap{'s' if len(taps) > 1 else ''} {numbers} along axis {axis}")
        return words


def _write_call(geometry: Geometry) -> str:
    """Return the call of `convmtx.conv` of a geometry, with the options that are not the usual ones."""
    axes = geometry.axes
    options = []
    for name, values, usual in (
        ("stride", [a.stride for a in axes], 1),
        ("dilation", [a.dilation for a in axes], 1),
        ("padding", [(a.lo, a.hi) for a in axes], (0, 0)),
        ("boundary", [a.boundary.name if a.reads_outside else "zero" for a in axes], "zero"),
        ("input_dilation", [a.input_dilation for a in axes], 1),
    ):
        if any(value != usual for value in values):
            is_one = len(set(values)) == 1 and name != "padding"  # which would read one pair as those of two axes
            options.append(f"{name}={(values[0] if is_one else values)!r}")
    if geometry.groups > 1:
        options.append(f"groups={geometry.groups}")
    if geometry.layout is Layout.FIRST:
        options.append("channels='first'")
    kernel = f"K {geometry.kernel_shape}"
    return f"cm.conv({', '.join([kernel, str(geometry.in_shape), *options])})"
