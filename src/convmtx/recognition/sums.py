"""Taps that entries show only in sums, from systems of linear equations.

Outside the array an entry is a sum of taps: of those whose positions the boundary maps to its input. So for an axis
without its taps, entries are a table of zeros and ones times the taps at all positions that may have one.
"""

from __future__ import annotations

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.geometry import Axis
from convmtx.recognition.contractions import AxisMatrix
from convmtx.typing import AnyArray, IntArray

#: Length of what is left of a column of a table of zeros and ones, up to which it depends on those before it. Columns
#: have lengths of at least 1, and rounding is about 1e-15.
_NOTHING_LEFT = 1e-7


def equations(matrix: AxisMatrix, axis: Axis, rows: IntArray, offsets: IntArray) -> tuple[AnyArray, AnyArray]:
    """Return the table (entries x offsets) of what entries of some rows read, and the entries.

    These are the entries that read through any of the offsets; all others should be zero.
    """
    columns = axis.source(rows[:, None] * axis.stride + offsets)
    o, taps = np.nonzero(columns != NOTHING)
    places, owners = np.unique(rows[o] * matrix.size + columns[o, taps], return_inverse=True)
    table = np.zeros((places.size, offsets.size))
    table[owners, taps] = 1
    at = np.minimum(np.searchsorted(matrix.flat, places), max(matrix.flat.size - 1, 0))
    is_stored = matrix.flat[at] == places if matrix.flat.size else np.zeros(places.size, bool)
    return table, np.where(is_stored, matrix.v[at] if matrix.flat.size else 0.0, 0.0)


def solve(table: AnyArray, entries: AnyArray) -> tuple[AnyArray, float]:
    """Return taps by least squares, and the length of what they leave of the entries."""
    from scipy.linalg import lstsq

    if not table.size:
        return np.zeros(table.shape[1]), float(np.linalg.norm(entries))
    taps = lstsq(table, entries, lapack_driver="gelsy", check_finite=False)[0]
    return taps, float(np.linalg.norm(table @ taps - entries))


def shortest_window(
    table: AnyArray, entries: AnyArray, is_circle: bool, tolerance: float, longest: int
) -> tuple[IntArray, AnyArray] | None:
    """Return the shortest run of columns, around a circle if they are on one, that explains the entries, and its taps.

    None if not even all columns together do, or, where columns depend on each other, only a run longer than wanted.
    """
    from scipy.linalg import qr, solve_triangular

    count = table.shape[1]
    limit = tolerance * np.sqrt(entries.size)
    q, r, order = qr(table, mode="economic", pivoting=True, check_finite=False)
    rank = int(np.count_nonzero(np.abs(np.diag(r)) > _NOTHING_LEFT))
    target = q[:, :rank].T @ entries
    if np.linalg.norm(entries - q[:, :rank] @ target) > limit:
        return None
    if rank == count:  # taps are unique
        taps = np.zeros(count)
        taps[order] = solve_triangular(r[:rank], target, check_finite=False)
        shown = np.flatnonzero(np.abs(taps) > tolerance)
        if shown.size and is_circle:
            shown = around(shown, count)[0]
        window = np.arange(shown[0], shown[-1] + 1) % count if shown.size else shown
        return window, taps[window]
    columns = np.zeros((count, rank))
    columns[order] = r[:rank].T
    window = _first_run(columns, target, is_circle, limit, min(longest, count))
    return None if window is None else (window, solve(columns[window].T, target)[0])


def around(offsets: IntArray, period: int) -> tuple[IntArray, IntArray]:
    """Return offsets on a circle as the shortest window that holds them, and the order in which they stand in it."""
    gaps = np.diff(offsets, prepend=offsets[-1] - period)
    start = int(np.argmax(gaps))
    turned = np.roll(np.arange(offsets.size), -start)
    return np.where(turned < start, period, 0) + offsets[turned], turned


def _first_run(
    columns: AnyArray, target: AnyArray, is_circle: bool, limit: float, longest: int
) -> IntArray | None:
    """Return the shortest run of columns, here the rows of an array, whose combinations include the target.

    From all starts at once, columns are made orthogonal to those before, until what is left of the target is shorter
    than the limit. The first start that arrives has the shortest run.
    """
    count, rank = columns.shape
    starts = np.arange(count)
    left = np.tile(target, (count, 1))
    basis = np.zeros((count, rank + 1, rank))
    used = np.zeros(count, np.int64)
    for length in range(1, longest + 1):
        at = starts + length - 1
        fresh = columns[at % count]
        if not is_circle:
            fresh = np.where((at < count)[:, None], fresh, 0)
        before = basis[:, : int(used.max())]
        for _ in range(2):  # twice is enough to make them orthogonal to rounding
            fresh = fresh - ((before @ fresh[:, :, None]).transpose(0, 2, 1) @ before)[:, 0]
        size = np.linalg.norm(fresh, axis=1, keepdims=True)
        is_new = size > _NOTHING_LEFT
        fresh = np.where(is_new, fresh / np.where(is_new, size, 1), 0)
        basis[starts, used] = fresh
        used += is_new[:, 0]
        left = left - (left * fresh).sum(axis=1, keepdims=True) * fresh
        arrived = np.flatnonzero((left * left).sum(axis=1) <= limit**2)
        if arrived.size:
            return (arrived[0] + np.arange(length)) % count
    return None
