"""Norms that are sums and maxima of entries: in closed form, borders and folded taps included.

Squares and sums are to be in range: maps are `scaled` before.
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
    """The map of the kernel's magnitudes: what its entries sum does not cancel."""
    return op.with_kernel(np.abs(op.kernel))


def roundings(op: ConvOperator) -> float:
    """Error of the sums below in units of eps times those of magnitudes: one for each number summed along an axis."""
    axes = sum(2 * axis.kernel + len(sums(axis)) for axis in op.geometry.axes)
    return 8 + sum(op.geometry.channels_per_group) + axes


def frobenius(op: ConvOperator) -> float:
    """Root of the sum of squares: each entry's square as often as the entry occurs."""
    counts = [_of_runs(axis, [run.count for run in runs(axis)]).sum(axis=0)[None] for axis in op.geometry.axes]
    return float(np.sqrt(_sums(op, 2, counts).sum()))


def largest_row(op: ConvOperator) -> float:
    """The infinity norm: the largest sum of magnitudes in a row. Rows of a run are alike."""
    counts = [_of_runs(axis, [1] * len(runs(axis))) for axis in op.geometry.axes]
    return float(_sums(op, 1, counts).sum(axis=2).max(initial=0))


def largest_column(op: ConvOperator) -> float:
    """The 1-norm: the largest sum of magnitudes in a column."""
    return float(_sums(op, 1, [_readers(axis) for axis in op.geometry.axes]).sum(axis=1).max(initial=0))


def _sums(op: ConvOperator, power: int, counts: Sequence[IntArray]) -> AnyArray:
    """Magnitudes of entries, each as often as ``counts`` (places, entries) say: (G, f, c, places1..placesd)."""
    geometry = op.geometry
    total = np.abs(entries_of(geometry, op.kernel)) ** power
    total = total.reshape(geometry.groups, -1, *total.shape[1:])
    for count in counts:
        total = np.tensordot(total, count.astype(float), ([3], [1]))
    return total


def _of_runs(axis: Axis, times: Sequence[int]) -> IntArray:
    """(runs, entries): where a run's rows hold the entry, how often that counts."""
    counts = np.zeros((len(times), axis.kernel + len(sums(axis))), np.int64)
    for row, run, each in zip(counts, runs(axis), times, strict=True):
        row[run.entries] = each
    return counts


@lru_cache(maxsize=16)
def _readers(axis: Axis) -> IntArray:
    """How many outputs read an input through each entry, (different inputs, entries)."""
    mirrored = axis.transposed
    if axis.zero_outside and mirrored is not None:
        return _of_runs(mirrored, [1] * len(runs(mirrored)))[:, ::-1]
    require_along(axis)
    counts = np.zeros((axis.size, axis.kernel + len(sums(axis))), np.int64)
    for run in runs(axis):
        columns = run.columns + run.shift * np.arange(run.count)[:, None]
        np.add.at(counts, (columns, np.broadcast_to(run.entries, columns.shape)), 1)
    return np.unique(counts, axis=0)
