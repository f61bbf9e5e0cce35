"""Matching a matrix, under one choice of shapes and in one reading, with a convolution."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Any

import numpy as np

from convmtx.geometry import Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.own_maps import eps_of
from convmtx.recognition.axes import EXCEPTION, AxisFit, fit_axis, fit_pattern, fit_simpler
from convmtx.recognition.comparison import compare
from convmtx.recognition.contractions import AxisMatrix, contract
from convmtx.recognition.entries import Entries
from convmtx.recognition.folded import fit_short
from convmtx.recognition.kernels import read_kernel
from convmtx.recognition.nearest import nearest
from convmtx.recognition.readings import Readable, Reading, View
from convmtx.recognition.recognition import Recognition
from convmtx.recognition.shapes import Shapes
from convmtx.typing import Order

#: Places between the ends of an axis at which kernels are read where entries contradict each other: an odd number.
_PLACES = (0.5, 0.1, 0.3, 0.7, 0.9)
#: Entries that are looked at for each axis, at first and where the first ones do not decide.
_BUDGETS = (200_000, 5_000_000)
#: Entries that are looked at to compare shapes that are guessed, and the likeliest of these that are matched.
_FIRST_BUDGET, _GUESSES = 50_000, 3
#: Entries for each number of a kernel that leave no doubt.
_VERY_FEW = 100
#: Share of entries that are not explained, beyond which more of them do not decide.
_MOST_UNEXPLAINED = 0.5
#: Pairs of outputs and inputs that windows join, for each stored entry, and beyond these: zeros inside a kernel.
_MOST_TIMES, _ALWAYS = 64, 1_000_000
#: Rounding of sums of taps that an entry may have, in eps of the largest tap.
_ROUNDINGS = 8


@dataclass(frozen=True, eq=False)
class Matcher:
    """A matrix whose inputs and outputs are flattened in one order, and noise that its entries may have."""

    matrix: Readable
    order: Order
    noise: float = 0.0

    @property
    def passed(self) -> Any:
        """The matrix as it was passed."""
        return self.matrix.matrix

    def usual(self, shapes: Shapes) -> Reading:
        """Return the reading in which the matrix was passed."""
        return Reading.of(len(shapes.in_shape), self.order)

    def likeliest(self, shapes: list[Shapes]) -> list[Shapes]:
        """Return the few shapes under which the matrix takes the fewest numbers to write, or one of very few."""
        count = self.matrix.n_nonzero
        numbers: list[float] = []
        for candidate in shapes:
            attempt = self._attempt(candidate, self.usual(candidate), _FIRST_BUDGET, is_sure=False)
            taps = prod(fit.offsets.size for fit in attempt.fits) * candidate.in_channels * candidate.out_channels
            if not attempt.unexplained and taps * _VERY_FEW <= count:
                return [candidate]
            numbers.append(taps + EXCEPTION * count * attempt.unexplained)
        return [shapes[j] for j in np.argsort(numbers, kind="stable")[:_GUESSES]]

    def match(self, shapes: Shapes, view: View) -> Recognition | None:
        """Return the convolution that the matrix is in another reading, up to rounding; None if it is none."""
        for budget in _BUDGETS:
            attempt = self._attempt(shapes, view.reading, budget, is_sure=False)
            if attempt.wrong:
                return None
            op = attempt.read()
            matrix = self.matrix.read(view.reading, (op.out_shape, op.in_shape))
            result = Recognition.of(op, compare(matrix, op, atol=self.tolerance(op)), view.changes)
            if result.exact:
                return result
            if self.matrix.n_stored <= budget:
                break
        return None

    def nearest(self, shapes: Shapes) -> Recognition:
        """Return the convolution that the matrix is as passed, or the one that is nearest to it."""
        reading = self.usual(shapes)
        for budget in _BUDGETS:
            attempt = self._attempt(shapes, reading, budget, is_sure=True)
            result = self.compared(attempt.read())
            is_hopeless = attempt.unexplained > _MOST_UNEXPLAINED
            if result.exact or is_hopeless or self.matrix.n_stored <= budget:
                break
        attempts = [] if is_hopeless else [*([] if result.exact else [attempt]), *attempt.others()]
        results = [self._by_most_entries(other) for other in attempts]
        best = min([result, *results], key=lambda result: result.cost)
        if result.exact and not best.exact:
            return replace(result, alternatives=(best,))
        if self.is_noise(best):  # of which the mean is nearest
            best = self.compared(nearest(self.matrix.read(reading, (shapes.out_shape, shapes.in_shape)), best.op)[0])
        return best

    def compared(self, op: ConvOperator) -> Recognition:
        """Return how the matrix as passed differs from a convolution."""
        return Recognition.of(op, compare(self.passed, op, self.order, atol=self.tolerance(op)))

    def is_noise(self, result: Recognition) -> bool:
        """Whether most entries differ."""
        return 2 * result.count > self.matrix.n_nonzero

    def _attempt(self, shapes: Shapes, reading: Reading, budget: int, *, is_sure: bool) -> _Attempt:
        """Return the geometry that explains most of the matrix; if not is_sure, by what is inside alone."""
        entries = Entries.of(self.matrix, shapes, reading)
        fits: list[AxisFit] = []
        matrices = []
        passed_over: list[AxisFit | None] = [None] * len(shapes.sizes)
        for axis in range(len(shapes.sizes)):
            contracted = contract(entries, axis, budget=budget)
            matrices.append(contracted)
            fit = fit_axis(contracted)
            if fit.wrong and is_sure:
                short = fit_short(contracted)
                fit, passed_over[axis] = (fit, short) if short is None or fit.cost <= short.cost else (short, None)
            if fit.wrong and is_sure and fit.cost[0] >= contracted.v.size:  # noise
                fit = fit_pattern(contracted) or fit
            fits.append(fit)
        return _Attempt(shapes, tuple(matrices), tuple(fits), tuple(passed_over), entries)

    def tolerance(self, op: ConvOperator) -> float:
        """Return the rounding that an entry may have if the matrix is that of a convolution; 0 for integers."""
        return _ROUNDINGS * eps_of(self.passed.dtype) * float(np.abs(op.kernel).max(initial=0)) + self.noise

    def _by_most_entries(self, attempt: _Attempt) -> Recognition:
        """Return the convolution with the median of kernels read at several places, or with a better one of these."""
        ops = [attempt.read(place) for place in _PLACES]
        if len({op.geometry for op in ops}) == 1:
            kernels = np.stack([op.kernel for op in ops])
            median = np.median(kernels.real, axis=0)
            if kernels.dtype.kind == "c":
                median = median + 1j * np.median(kernels.imag, axis=0)
            ops.insert(0, ops[0].with_kernel(median.astype(kernels.dtype)))
        return min(map(self.compared, ops), key=lambda result: result.count)


@dataclass(frozen=True, eq=False)
class _Attempt:
    """Geometry that explains a matrix, as far as it does."""

    shapes: Shapes
    matrices: tuple[AxisMatrix, ...]
    fits: tuple[AxisFit, ...]
    #: Fits that explain all entries of an axis, but with more taps than exceptions cost; None where there is none.
    passed_over: tuple[AxisFit | None, ...]
    entries: Entries

    @property
    def wrong(self) -> int:
        """Number of entries of matrices of axes that are not explained."""
        return sum(fit.wrong for fit in self.fits)

    @property
    def unexplained(self) -> float:
        """Share of the entries that are not explained, along the axis where it is largest."""
        pairs = zip(self.fits, self.matrices, strict=True)
        return max(fit.wrong / max(matrix.v.size, 1) for fit, matrix in pairs)

    def others(self) -> list[_Attempt]:
        """Return the geometries with more or fewer taps along some axes, which leave fewer or more entries unexplained.

        Only the whole kernel tells which of them takes the fewest numbers.
        """
        fits = []
        for matrix, fit, exact in zip(self.matrices, self.fits, self.passed_over, strict=True):
            fits.append([fit, *(other for other in (fit_simpler(matrix, fit), exact) if other is not None)])
        return [replace(self, fits=chosen) for chosen in product(*fits)][1:]

    def read(self, place: float = 0.5) -> ConvOperator:
        """Return the convolution whose kernel some entries of the matrix show, at a relative place of each axis.

        If its matrix would have far more entries than this one, it is that of a zero.
        """
        s = self.shapes
        geometry = Geometry(tuple(fit.axis for fit in self.fits), s.in_channels, s.out_channels, 1, s.layout)
        pairs = prod(axis.entries for axis in geometry.axes) * s.in_channels * s.out_channels
        few = self.entries.row_length * self.entries.outs.count * max(s.in_channels, s.out_channels)  # with groups
        if pairs > _MOST_TIMES * few + _ALWAYS:
            axes = tuple(replace(a, kernel=1, lo=0).with_outputs(a.out) for a in geometry.axes)
            geometry = replace(geometry, axes=axes)
        return read_kernel(self.entries, geometry, (place,) * len(self.fits))
