"""Recognizing one axis: stride, input dilation, taps and boundary, from the matrix of the axis.

Where a window is inside the array, output o reads input i through the tap at ``i*e - o*s``. So entries with equal
``i*e - o*s`` are equal, and most of them show the tap itself. Near the ends a boundary adds other taps to some of them.
A candidate (s, e) is judged by how many entries its taps, with the best of the boundaries, leave unexplained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from convmtx.boundary import EDGE, NOTHING, REFLECT, SYMMETRIC, WRAP, ZERO, Boundary
from convmtx.geometry import Axis
from convmtx.recognition.contractions import AxisMatrix
from convmtx.recognition.steps import steps
from convmtx.recognition.sums import around, equations, solve
from convmtx.typing import AnyArray, IntArray

#: Numbers of a kernel that an entry which it does not explain counts as. With one wrong entry, almost every matrix is
#: a convolution of a stride as large as the array, with a tap for each entry; that does not explain it.
EXCEPTION = 2
#: Boundaries from the simplest on: of those that fit equally, the first is chosen.
BOUNDARIES = (ZERO, WRAP, REFLECT, SYMMETRIC, EDGE)
#: Boundaries under which one entry may be a sum of taps of a window shorter than the array.
FOLDING = (REFLECT, SYMMETRIC, EDGE)
#: Nonzero entries up to which a convolution may have as many taps as there are entries.
FEW = 8
#: Taps that are fitted by least squares.
_MOST_SOLVED = 128
#: Rows times taps beyond which boundaries are tried only if most entries are explained without them.
_LARGE = 1 << 14
#: Rows times offsets beyond which no offset is taken as a tap: 32 MB for each step of the comparison.
_LARGEST = 1 << 22
#: Taps of the longest window, zeros included, beyond 64 for each one that is not zero: an echo after a thousand samples
#: is a convolution, and three entries anywhere in a large matrix are none.
_LONGEST = 4096


@dataclass(frozen=True)
class AxisFit:
    """An axis and its taps, and how well they explain the matrix of the axis."""

    axis: Axis
    #: Position of each tap that is not zero, relative to the window of output 0, and its value.
    offsets: IntArray
    taps: AnyArray
    #: Number of entries that differ.
    wrong: int

    @property
    def cost(self) -> tuple[int, bool, int, int]:
        """Order of preference: the fewest taps and exceptions, then no exception, then the smallest steps."""
        axis = self.axis
        return self.offsets.size + EXCEPTION * self.wrong, self.wrong > 0, axis.input_dilation, axis.stride


def fit_axis(matrix: AxisMatrix) -> AxisFit:
    """Return the axis that explains the most entries, by the entries inside that agree."""
    if matrix.is_chaos:
        return _best(matrix, [(1, 1)])
    tried = steps(matrix)
    if matrix.v.size <= FEW:
        tried.append((max(matrix.size, 2), 1))  # a window for each output: any few entries are taps
    best = _best(matrix, tried)
    if best.wrong:
        # A boundary of the stretched input repeats after (n - 1)*e + 1 positions, so there 2/2 is not 1/1.
        best = min(best, _best(matrix, [(m * s, m * e) for s, e in tried[:2] for m in (2, 3)]), key=_cost_of(matrix))
    return best


def fit_simpler(matrix: AxisMatrix, fit: AxisFit) -> AxisFit | None:
    """Return the best fit of fewer taps than another one, which leaves more entries unexplained; None if none is good.

    As taps of an axis are numbers of the kernel for each tap of the other axes, it may cost twice as much.
    """
    if matrix.is_chaos:
        return None
    most = 2 * fit.cost[0]
    fits = [other for s, e in steps(matrix) for least in (1, 2) for other in fits_with(matrix, s, e, least=least)]
    simpler = [other for other in fits if other.offsets.size < fit.offsets.size and other.cost[0] <= most]
    return min(simpler, key=lambda other: other.cost, default=None)


def _best(matrix: AxisMatrix, tried: list[tuple[int, int]]) -> AxisFit:
    """Return the best fit for some strides and input dilations, with a window that is not too long."""
    fits = [fit for s, e in tried for fit in fits_with(matrix, s, e)]
    fits = [fit for fit in fits if fit.axis.kernel <= _LONGEST + 64 * fit.offsets.size]
    if not fits:
        nothing = np.zeros(0, np.int64)
        fits.append(fit_taps(matrix, nothing, matrix.v[:0], 1, 1, ZERO))
    return min(fits, key=_cost_of(matrix))


def _cost_of(matrix: AxisMatrix) -> Callable[[AxisFit], tuple[bool, tuple[int, bool, int, int]]]:
    """Return the order of preference among fits; of one output or input no number is an exception, but a tap."""
    is_line = min(matrix.outputs, matrix.size) == 1
    return lambda fit: (is_line and fit.wrong > 0, fit.cost)


def fit_pattern(matrix: AxisMatrix) -> AxisFit | None:
    """Return the axis whose positions cover the entries, for a matrix of which no entries are equal, or None.

    Three taps at every other input of stride 1 cover what two of stride 2 and input dilation 3 do, so patterns alone do
    not tell. Of those with at most half as many taps as entries, and of the boundaries, that with the fewest taps is
    returned which leaves at most twice the least that any leaves by least squares.
    """
    if min(matrix.outputs, matrix.size) == 1:
        return None
    pattern = replace(matrix, v=np.ones(matrix.v.size), tolerance=0.5)
    covers = [fit for s, e in steps(pattern) for fit in fits_with(pattern, s, e, rules=())]
    covers = [fit for fit in covers if fit.cost[0] <= min(matrix.v.size // 2, _MOST_SOLVED)]
    solved = []
    for axis, offsets in ((cover.axis, cover.offsets) for cover in covers):
        is_line = axis.reads_outside and axis.boundary is ZERO
        for rule in (ZERO, *FOLDING) if is_line else (axis.boundary,):
            ruled = replace(axis, boundary=rule)
            table, entries = equations(matrix, ruled, matrix.rows, offsets)
            taps, left = solve(table, entries)
            missed = float(matrix.v @ matrix.v - entries @ entries)  # of entries at none of the positions
            solved.append((float(np.sqrt(left**2 + max(missed, 0.0))), ruled, offsets, taps))
    if not solved:
        return None
    most = 2 * max(min(left for left, *_ in solved), matrix.tolerance)
    kept = [result for result in solved if result[0] <= most]
    _, axis, offsets, taps = min(kept, key=lambda result: (result[3].size, result[0]))
    return fit_taps(matrix, offsets, taps, axis.stride, axis.input_dilation, axis.boundary)


def fits_with(
    matrix: AxisMatrix, stride: int, input_dilation: int, rules: tuple[Boundary, ...] = FOLDING, least: int = 1
) -> Iterator[AxisFit]:
    """Yield what fits with a stride and an input dilation: under zeros or the best of other rules, and for a circle.

    Taps are those that at least so many entries show.
    """
    taps = common_taps(matrix, stride, input_dilation, 0, least)
    fit = fit_taps(matrix, *taps, stride, input_dilation, ZERO)
    is_large = matrix.rows.size * fit.offsets.size > _LARGE
    if fit.wrong and fit.axis.reads_outside and not (is_large and 2 * fit.wrong > matrix.v.size):
        others = (fit_taps(matrix, *taps, stride, input_dilation, rule) for rule in rules)
        fit = min([fit, *others], key=lambda fit: fit.wrong)
    yield fit
    taps = common_taps(matrix, stride, input_dilation, fit.axis.stretched, least)
    yield fit_taps(matrix, *taps, stride, input_dilation, WRAP)


def common_taps(
    matrix: AxisMatrix, stride: int, input_dilation: int, period: int, least: int = 1
) -> tuple[IntArray, AnyArray]:
    """Return the offsets ``i*e - o*s``, around a circle if there is one, at which most entries agree, and their value.

    Offsets at which most entries are zero, or fewer than ``least`` agree, are left out.
    """
    keys = matrix.i * input_dilation - matrix.o * stride
    keys = keys % period if period else keys
    order = np.lexsort((matrix.labels, keys))
    keys, labels = keys[order], matrix.labels[order]
    is_first = np.ones(keys.size, bool)
    is_first[1:] = (keys[1:] != keys[:-1]) | (labels[1:] != labels[:-1])
    runs = np.flatnonzero(is_first)
    counts = np.diff(np.append(runs, keys.size))
    offsets, of_run = np.unique(keys[runs], return_inverse=True)
    best = np.lexsort((-counts, of_run))
    best = best[np.diff(of_run[best], prepend=-1) > 0]  # the longest run of each offset
    if matrix.rows.size * offsets.size > _LARGEST:
        return offsets[:0], matrix.v[:0]
    stored = np.bincount(of_run, counts, offsets.size)
    zeros = _count_places(matrix, offsets, stride, input_dilation, period) - stored
    counts = counts[best]
    agrees = (counts > zeros) & (counts >= least)  # otherwise a tap and its zeros cost more than its entries
    return offsets[agrees], matrix.v[order[runs[best[agrees]]]]


def _count_places(matrix: AxisMatrix, offsets: IntArray, stride: int, input_dilation: int, period: int) -> IntArray:
    """Return how many places (o, i) in the known rows have each offset, ``i*e - o*s``, around a circle or not.

    Those of one offset q are the outputs with ``0 <= q + o*s <= (n - 1)*e`` for which e divides ``q + o*s``: every
    (e/g)-th one, if g = gcd(s, e) divides q, and none otherwise.
    """
    if period and input_dilation == 1:
        return np.full(offsets.size, matrix.rows.size)  # each output reads each input once around
    last = (matrix.size - 1) * input_dilation
    turns = (int(matrix.rows[-1]) * stride + period) // period + 1 if period else 1
    positions = offsets[:, None] - period * np.arange(turns)
    shared = gcd(stride, input_dilation)
    step = input_dilation // shared
    inverse = pow(stride // shared, -1, step) if step > 1 else 0
    residues = -(positions // shared) * inverse % step
    counts = np.zeros(positions.shape, np.int64)
    starts = np.flatnonzero(np.diff(matrix.rows, prepend=-2) > 1)
    for run in np.split(matrix.rows, starts[1:]):
        begin = np.maximum(-(positions // stride), run[0])
        end = np.maximum(np.minimum((last - positions) // stride + 1, run[-1] + 1), begin)
        counts += (end - 1 - residues) // step - (begin - 1 - residues) // step
    return np.where(positions % shared == 0, counts, 0).sum(axis=1)


def fit_taps(
    matrix: AxisMatrix, offsets: IntArray, taps: AnyArray, stride: int, input_dilation: int, boundary: Boundary
) -> AxisFit:
    """Return the axis with these taps, and how many of the known entries differ from its matrix."""
    axis, offsets, order = _axis_of(matrix, offsets, stride, input_dilation, boundary)
    taps = taps[order]
    columns = axis.source(matrix.rows[:, None] * stride + offsets)
    reads = columns != NOTHING
    flat = (matrix.rows[:, None] * matrix.size + columns)[reads]
    values = np.broadcast_to(taps, columns.shape)[reads]
    places, owners = np.unique(np.concatenate([flat, matrix.flat]), return_inverse=True)
    difference = np.bincount(owners, np.concatenate([values, -matrix.v]), places.size)
    wrong = int(np.count_nonzero(np.abs(difference) > matrix.tolerance * max(taps.size, 1)))
    return AxisFit(axis, offsets, taps, wrong)


def _axis_of(
    matrix: AxisMatrix, offsets: IntArray, stride: int, input_dilation: int, boundary: Boundary
) -> tuple[Axis, IntArray, IntArray]:
    """Return the axis with taps at these offsets, the offsets as they stand in it, and the order that sorts them.

    Around a circle the window begins behind the largest gap, as near to the middle of the array's pads as it can.
    """
    order = np.argsort(offsets, kind="stable")
    offsets = offsets[order]
    plain = Axis(matrix.size, 1, stride, 1, input_dilation, boundary=boundary)
    if boundary is WRAP and offsets.size:
        offsets, turned = around(offsets, plain.stretched)
        order = order[turned]
        span = int(offsets[-1] - offsets[0]) + 1
        pads = (matrix.outputs - 1) * stride + span - plain.stretched
        turns = round((-2 * int(offsets[0]) - pads) / (2 * plain.stretched))
        offsets = offsets + turns * plain.stretched
    if not offsets.size:
        return plain.with_outputs(matrix.outputs), offsets, order
    dilation = int(np.gcd.reduce(np.diff(offsets))) if offsets.size > 1 else 1
    kernel = int(offsets[-1] - offsets[0]) // dilation + 1
    axis = Axis(matrix.size, kernel, stride, dilation, input_dilation, -int(offsets[0]), 0, boundary)
    return axis.with_outputs(matrix.outputs), offsets, order
