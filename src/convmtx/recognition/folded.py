"""Recognizing an axis of which few entries or none show a tap alone: a boundary folds its windows, or is all they show.

Positions that a boundary maps to the same inputs for every output cannot be told apart: those a period apart, and those
of "edge" beyond what any window reaches. So for a boundary and a stride there are at most a period of different taps,
and whether some window of them explains the matrix is a small problem of linear algebra. Of a long axis, only taps near
those that show inside are sought.

With e - 1 zeros between neighbours, boundaries continue the zeros too: under "edge", all positions before the array
hold input 0, and only every e-th one inside holds an input. So stride 3 with input dilation 3 is not stride 1: taps at
other than each third position read inputs outside alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import gcd

import numpy as np

from convmtx.engines.threads import one_blas_thread
from convmtx.geometry import Axis
from convmtx.recognition.axes import FEW, FOLDING, AxisFit, common_taps, fit_taps, fits_with
from convmtx.recognition.contractions import AxisMatrix
from convmtx.recognition.steps import steps
from convmtx.recognition.sums import equations, shortest_window, solve
from convmtx.typing import IntArray

#: Entries of a matrix of an axis, zeros included, up to which all strides and input dilations below are tried; and
#: positions of taps for these.
_MOST, _FEW_POSITIONS = 256, 36
_STRIDES, _INPUT_DILATIONS = 9, 3
#: Entries up to which all positions are tried for the likely steps, and positions.
_MOST_LIKELY, _MOST_POSITIONS = 2048, 128
#: Likely steps, and their multiples, that are tried.
_LIKELY = 3
#: Equations beyond the number of taps that most candidates contradict already.
_MORE = 16


def fit_short(matrix: AxisMatrix) -> AxisFit | None:
    """Return an axis that explains all entries by fewer numbers, or None."""
    if matrix.is_chaos:
        return None
    with one_blas_thread():  # equations are small: with threads that wait for each other, ten times as long
        likely = {(m * s, m * e) for s, e in steps(matrix)[:_LIKELY] for m in (1, 2, 3)}
        fits = [fit for step in sorted(likely) for fit in _fits(matrix, *step, is_likely=True)]
        if matrix.is_whole and matrix.outputs * matrix.size <= _MOST:
            for s, e in product(range(1, _STRIDES + 1), range(1, _INPUT_DILATIONS + 1)):
                if s <= (matrix.size - 1) * e + 2 and (s, e) not in likely:
                    fits += _fits(matrix, s, e, is_likely=False)
    fits = [fit for fit in fits if fit.wrong == 0 and _is_evident(matrix, fit)]
    return min(fits, key=lambda fit: fit.cost) if fits else None


def _is_evident(matrix: AxisMatrix, fit: AxisFit) -> bool:
    """Whether fewer numbers than entries explain the matrix.

    Any matrix of n columns is a convolution of stride n, with a tap for each entry.
    """
    is_line = min(matrix.outputs, matrix.size) == 1
    is_repeated = 4 * fit.offsets.size <= 3 * matrix.v.size or 2 * fit.axis.kernel <= matrix.outputs * matrix.size
    return is_line or matrix.v.size <= FEW or is_repeated


def _fits(matrix: AxisMatrix, stride: int, input_dilation: int, is_likely: bool) -> Iterator[AxisFit]:
    """Yield axes that may explain the matrix."""
    yield from fits_with(matrix, stride, input_dilation, rules=())
    for boundary in FOLDING:
        axis = Axis(matrix.size, 1, stride, 1, input_dilation, boundary=boundary)
        offsets = _positions(matrix, axis, is_likely)
        fit = _fit(matrix, axis, offsets) if offsets.size else None
        if fit is not None:
            yield fit


def _positions(matrix: AxisMatrix, axis: Axis, is_likely: bool) -> IntArray:
    """Return positions, relative to the window of output 0, of all taps that can be told apart, or of likely ones."""
    period = axis.boundary.period(axis.stretched)
    first = 0 if period else -(matrix.outputs - 1) * axis.stride
    last = period if period else axis.stretched
    entries = matrix.outputs * matrix.size
    most = _FEW_POSITIONS if entries <= _MOST else 0
    if is_likely and entries <= _MOST_LIKELY:
        most = max(most, min(_MOST_POSITIONS, entries // 2))
    if matrix.is_whole and last - first <= most:
        return np.arange(first, last)
    if not is_likely:
        return np.arange(0)
    shown = common_taps(matrix, axis.stride, axis.input_dilation, 0)[0]
    if not shown.size:
        return shown
    # With stride 3 and input dilation 3, each third tap shows inside: of dilation 2, up to 4 positions from the others.
    margin = 2 * axis.input_dilation if gcd(axis.stride, axis.input_dilation) > 1 else 0
    first, last = int(shown.min()) - margin, int(shown.max()) + margin
    return np.arange(first, last + 1 if last - first < _FEW_POSITIONS else first)


def _fit(matrix: AxisMatrix, axis: Axis, offsets: IntArray) -> AxisFit | None:
    """Return the axis with taps at some of these positions, in the shortest window that explains the matrix."""
    period = axis.boundary.period(axis.stretched)
    is_whole_circle = offsets.size == period
    few = _from_the_ends(matrix.rows)[: -(-(offsets.size + _MORE) // matrix.size) + 2]
    rows = _telling(matrix, axis, offsets)
    if 2 * few.size < rows.size:
        table, entries = equations(matrix, axis, np.sort(few), offsets)
        if solve(table, entries)[1] > matrix.tolerance * np.sqrt(entries.size):
            return None
    table, entries = equations(matrix, axis, rows, offsets)
    n_entries = matrix.outputs * matrix.size
    longest = 3 * n_entries // 4 if matrix.v.size > FEW else n_entries
    shown = shortest_window(table, entries, is_whole_circle, matrix.tolerance, longest)
    if shown is None:
        return None
    window, taps = shown
    kept = np.flatnonzero(np.abs(taps) > matrix.tolerance)
    chosen = offsets[window[0]] + kept if kept.size else kept
    chosen = _centred(chosen, matrix, axis, period if is_whole_circle else 0)
    return fit_taps(matrix, chosen, taps[kept], axis.stride, axis.input_dilation, axis.boundary)


def _from_the_ends(rows: IntArray) -> IntArray:
    """Return rows from both ends inwards: 0 1 2 3 4 as 0 4 1 3 2."""
    order = np.arange(rows.size)
    return rows[np.argsort(np.minimum(order, order[::-1]), kind="stable")]


def _telling(matrix: AxisMatrix, axis: Axis, offsets: IntArray) -> IntArray:
    """Return rows that read outside, which tell taps apart, and some that do not; all rows if they are few."""
    if matrix.rows.size <= 2 * offsets.size:
        return matrix.rows
    first = matrix.rows * axis.stride + offsets[0]
    outside = (first < 0) | (first + offsets.size > axis.stretched)
    inside = np.flatnonzero(~outside)
    outside[inside[:: max(inside.size // 8, 1)]] = True
    return matrix.rows[np.flatnonzero(outside)]


def _centred(offsets: IntArray, matrix: AxisMatrix, axis: Axis, period: int) -> IntArray:
    """Return offsets moved by whole periods, so that the pads before and after are as equal as they can be."""
    if not period or not offsets.size:
        return offsets
    pads = (matrix.outputs - 1) * axis.stride + int(offsets[-1] - offsets[0]) + 1 - axis.stretched
    return offsets + round((-2 * int(offsets[0]) - pads) / (2 * period)) * period
