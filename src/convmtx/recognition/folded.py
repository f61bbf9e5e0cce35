"""Recognizing a short axis whose windows are as long as the array, so that few entries or none show a tap alone.

Positions that a boundary rule maps to the same inputs for every output cannot be told apart: those a period apart, and
those of "edge" beyond what any window reaches. So for a boundary and a stride there are at most a period of different
taps, and whether some window of them explains the matrix is a small least-squares problem for each window.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from convmtx.boundary import NOTHING, WRAP, ZERO, Boundary
from convmtx.geometry import Axis
from convmtx.recognition.axes import BOUNDARIES, AxisFit, fit_taps, fits_with
from convmtx.recognition.contractions import AxisMatrix
from convmtx.typing import AnyArray, IntArray

#: Entries of a matrix of an axis, zeros included, up to which all candidates are tried.
_MOST = 256
#: Largest stride and input dilation that are tried.
_STRIDES, _INPUT_DILATIONS = 9, 3
#: Rows that most candidates contradict already.
_FIRST = 3
#: Positions of taps that are tried for a boundary that folds.
_LONGEST = 36
#: Nonzero entries up to which a convolution may have as many taps as there are entries.
_FEW = 8


def fit_short(matrix: AxisMatrix) -> AxisFit | None:
    """Return an axis that explains all entries, or None if there is none or the matrix is large."""
    if not matrix.is_whole or matrix.outputs * matrix.size > _MOST:
        return None
    for input_dilation in range(1, _INPUT_DILATIONS + 1):
        fits = [fit for fit in _fits(matrix, input_dilation) if fit.wrong == 0 and _is_evident(matrix, fit)]
        if fits:
            return min(fits, key=lambda fit: fit.cost)
    return None


def _is_evident(matrix: AxisMatrix, fit: AxisFit) -> bool:
    """Whether fewer numbers than entries explain the matrix.

    Any matrix of n columns is a convolution of stride n, with a tap for each entry.
    """
    is_line = min(matrix.outputs, matrix.size) == 1
    is_repeated = 4 * fit.offsets.size <= 3 * matrix.v.size or 2 * fit.axis.kernel <= matrix.outputs * matrix.size
    return is_line or matrix.v.size <= _FEW or is_repeated


def _fits(matrix: AxisMatrix, input_dilation: int) -> Iterator[AxisFit]:
    """Yield the axes that explain the matrix, for every boundary and stride."""
    stretched = (matrix.size - 1) * input_dilation + 1
    for stride in range(1, min(_STRIDES, stretched + 1) + 1):
        yield from (fit for fit in fits_with(matrix, stride, input_dilation) if fit.wrong == 0)
        for boundary in BOUNDARIES:
            if boundary is ZERO:
                continue
            fit = _fit(matrix, stride, input_dilation, boundary)
            if fit is not None:
                yield fit


def _fit(matrix: AxisMatrix, stride: int, input_dilation: int, boundary: Boundary) -> AxisFit | None:
    """Return the axis with the shortest window that explains the matrix, or None."""
    axis = Axis(matrix.size, 1, stride, 1, input_dilation, boundary=boundary)
    period = boundary.period(axis.stretched)
    first = 0 if period else -(matrix.outputs - 1) * stride
    offsets = np.arange(first, period if period else axis.stretched)
    if offsets.size > _LONGEST:
        return None
    tables = _tables(axis, matrix.outputs, offsets)
    target = matrix.dense.reshape(-1)
    first_rows = slice(_FIRST * matrix.size)
    if not (_explains(tables[first_rows], target[first_rows]) and _explains(tables, target)):
        return None
    best: tuple[int, int] | None = None
    for start in range(offsets.size):
        longest = offsets.size if period else offsets.size - start
        most = longest if best is None else min(best[0] - 1, longest)
        length = _shortest(tables, target, start, most)
        if length is not None:
            best = length, start
    assert best is not None  # the longest window explains the matrix
    length, start = best
    window = (start + np.arange(length)) % offsets.size
    taps = np.linalg.lstsq(tables[:, window], target, rcond=None)[0]
    kept = np.abs(taps) > 1e-9 * np.abs(taps).max(initial=0)
    chosen = offsets[0] + start + np.arange(length)[kept]
    chosen = chosen if boundary is WRAP else _centred(chosen, matrix, axis, period)
    fit = fit_taps(matrix, chosen, taps[kept], stride, input_dilation, boundary)
    return fit if fit.wrong == 0 else None


def _centred(offsets: IntArray, matrix: AxisMatrix, axis: Axis, period: int) -> IntArray:
    """Return offsets moved by whole periods, so that the pads before and after are as equal as they can be."""
    if not period or not offsets.size:
        return offsets
    pads = (matrix.outputs - 1) * axis.stride + int(offsets[-1] - offsets[0]) + 1 - axis.stretched
    return offsets + round((-2 * int(offsets[0]) - pads) / (2 * period)) * period


def _tables(axis: Axis, outputs: int, offsets: IntArray) -> AnyArray:
    """Return the flattened matrix of each tap, as a column."""
    columns = axis.source(np.arange(outputs)[:, None] * axis.stride + offsets)
    tables = np.zeros((outputs, axis.size, offsets.size))
    o, taps = np.nonzero(columns != NOTHING)
    tables[o, columns[o, taps], taps] = 1
    return tables.reshape(outputs * axis.size, offsets.size)


def _shortest(tables: AnyArray, target: AnyArray, start: int, most: int) -> int | None:
    """Return the length of the shortest window from ``start`` on that explains the target, by bisection."""
    count = tables.shape[1]

    def explains(length: int) -> bool:
        return _explains(tables[:, (start + np.arange(length)) % count], target)

    if most < 1 or not explains(most):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if explains(middle) else (middle + 1, high)
    return low


def _explains(tables: AnyArray, target: AnyArray) -> bool:
    """Whether the target is a combination of the columns, to rounding."""
    from scipy.linalg import lstsq

    taps = lstsq(tables, target, lapack_driver="gelsy", check_finite=False)[0]
    return bool(np.linalg.norm(tables @ taps - target) <= 1e-10 * np.linalg.norm(target))
