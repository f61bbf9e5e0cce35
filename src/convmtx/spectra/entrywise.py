"""Norms that are sums and maxima of entries, in closed form with borders and folded taps.

Maps are `scaled` before, so that squares and sums are in range.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from convmtx.geometry import Axis, runs, sums
from convmtx.maps.convolution import ConvOperator
from convmtx.structure.double import require_along
from convmtx.taps import entries_of
from convmtx.typing import AnyArray, IntArray


def magnitudes(op: ConvOperator) -> ConvOperator:
    """Return the map of the kernel's magnitudes, in whose entries no taps cancel."""
    return op.with_kernel(np.abs(op.kernel))


def roundings(op: ConvOperator) -> float:
    """Return the error of norms of entries in units of eps times those of magnitudes: one for each number summed."""
    axes = sum(2 * axis.kernel + len(sums(axis)) for axis in op.geometry.axes)
    return 8 + sum(op.geometry.channels_per_group) + axes


def frobenius(op: ConvOperator) -> float:
    """Return the root of the sum of squares: each entry's square times the number of places where it occurs."""
    counts = [_count_in_runs(axis, [run.count for run in runs(axis)]).sum(axis=0)[None] for axis in op.geometry.axes]
    return float(np.sqrt(_sums(op, 2, counts).sum()))


def largest_row(op: ConvOperator) -> float:
    """Return the infinity norm, the largest sum of magnitudes in a row. Rows of a run are alike."""
    counts = [_count_in_runs(axis, [1] * len(runs(axis))) for axis in op.geometry.axes]
    return float(_sums(op, 1, counts).sum(axis=2).max(initial=0))


def largest_column(op: ConvOperator) -> float:
    """Return the 1-norm, the largest sum of magnitudes in a column."""
    return float(_sums(op, 1, [_count_readers(axis) for axis in op.geometry.axes]).sum(axis=1).max(initial=0))


def _sums(op: ConvOperator, power: int, counts: Sequence[IntArray]) -> AnyArray:
    """Return sums of entries' magnitudes to a power, (G, f, c, places1..placesd).

    ``counts`` (places, entries) says how often each entry counts at each place along an axis.
    """
    geometry = op.geometry
    total = np.abs(entries_of(geometry, op.kernel)) ** power
    total = total.reshape(geometry.groups, -1, *total.shape[1:])
    for count in counts:
        total = np.tensordot(total, count.astype(float), ([3], [1]))
    return total


def _count_in_runs(axis: Axis, times: Sequence[int]) -> IntArray:
    """Return counts (runs, entries): the number ``times`` of a run for each entry in its rows, else 0."""
    counts = np.zeros((len(times), axis.kernel + len(sums(axis))), np.int64)
    for row, run, number in zip(counts, runs(axis), times, strict=True):
        row[run.entries] = number
    return counts


@lru_cache(maxsize=16)
def _count_readers(axis: Axis) -> IntArray:
    """Return the number of outputs that read an input through each entry, (different inputs, entries)."""
    mirrored = axis.transposed
    if axis.zero_outside and mirrored is not None:
        return _count_in_runs(mirrored, [1] * len(runs(mirrored)))[:, ::-1]
    require_along(axis)
    counts = np.zeros((axis.size, axis.kernel + len(sums(axis))), np.int64)
    for run in runs(axis):
        columns = run.columns + run.shift * np.arange(run.count)[:, None]
        np.add.at(counts, (columns, np.broadcast_to(run.entries, columns.shape)), 1)
    return np.unique(counts, axis=0)
