"""Norms that are sums and maxima of entries, in closed form with borders and folded taps.

Maps are `scaled` before, so that squares and sums are in range. Where entries are taps, rows and columns are sums over
ranges of taps, in O((inputs + outputs + taps) log(taps)). Where a boundary folds taps that may cancel, they are summed
run by run, or piece by piece of the matrix of a single long axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from math import gcd, prod

import numpy as np

from convmtx import memory
from convmtx.boundary import NOTHING, WRAP, ZERO
from convmtx.costs import RUN_TAP
from convmtx.geometry import Axis, most_runs, runs, sums
from convmtx.maps.convolution import ConvOperator
from convmtx.structure.symbols import PartSymbols
from convmtx.taps import entries_of, kernel_of, taps_of
from convmtx.typing import AnyArray, IntArray

#: Entries, or a bound of their number, up to which sums of folded taps are computed where sums of magnitudes suffice.
FEW = 1 << 22
#: Numbers of a piece of a matrix: 8 MiB.
PIECE = 1 << 20


def magnitudes(op: ConvOperator) -> ConvOperator:
    """Return the map of the kernel's magnitudes, in whose entries no taps cancel."""
    return op.with_kernel(np.abs(op.kernel))


def shortened(op: ConvOperator) -> ConvOperator:
    """Return a map of the same entries with kernels no longer than the circles around which they go: taps add up."""
    geometry, taps = op.geometry, taps_of(op.geometry, op.kernel)
    axes = []
    for j, axis in enumerate(geometry.axes):
        turn = axis.size // gcd(axis.size, axis.dilation)  # taps after which positions repeat
        if axis.boundary is WRAP and axis.input_dilation == 1 and axis.kernel > turn:
            lines = np.moveaxis(taps, j + 2, 0)
            lines = np.concatenate([lines, np.zeros((-axis.kernel % turn, *lines.shape[1:]), taps.dtype)])
            taps = np.moveaxis(lines.reshape(-1, turn, *lines.shape[1:]).sum(axis=0), 0, j + 2)
            axis = replace(axis, kernel=turn).with_outputs(axis.out)
        axes.append(axis)
    if tuple(axes) == geometry.axes:
        return op
    shorter = replace(geometry, axes=tuple(axes))
    return ConvOperator(shorter, kernel_of(shorter, taps), "auto")


def is_long(op: ConvOperator) -> bool:
    """Whether so many taps read outside, other than once around a circle, that to sum their entries takes long."""
    return prod(most_runs(axis) * axis.kernel for axis in op.geometry.axes if not _is_plain(axis)) > FEW


def roundings(op: ConvOperator) -> float:
    """Return the error of norms of entries in units of eps times those of magnitudes: one for each number summed."""
    axes = sum(2 * axis.kernel + (axis.kernel if is_long(op) else len(sums(axis))) for axis in op.geometry.axes)
    return 8 + sum(op.geometry.channels_per_group) + axes


def frobenius(op: ConvOperator) -> float:
    """Return the root of the sum of squares: each entry's square times the number of places where it occurs."""
    axes = op.geometry.axes
    if all(axis.zero_outside or (axis.input_dilation == 1 and not axis.may_fold) for axis in axes):
        counts = [_count_readers_of_taps(axis) for axis in axes]
        return float(np.sqrt(_sums(np.abs(_taps(op)) ** 2, [_weigh(count[None]) for count in counts]).sum()))
    if _is_piecewise(op):
        return float(np.sqrt(sum((piece**2).sum() for piece in _pieces(op))))
    counts = [_count_in_runs(axis, [run.count for run in runs(axis)]).sum(axis=0) for axis in axes]
    return float(np.sqrt(_sums(_entries(op) ** 2, [_weigh(count[None]) for count in counts]).sum()))


def largest_row(op: ConvOperator) -> float:
    """Return the infinity norm, the largest sum of magnitudes in a row."""
    axes = op.geometry.axes
    if _are_sums_of_taps(op):
        return float(_sums(np.abs(_taps(op)), map(_sum_rows, axes)).sum(axis=2).max(initial=0))
    if _is_piecewise(op):
        return max(float(piece.sum(axis=(2, 4)).max(initial=0)) for piece in _pieces(op))
    counts = [_count_in_runs(axis, [1] * len(runs(axis))) for axis in axes]  # rows of a run are alike
    return float(_sums(_entries(op), map(_weigh, counts)).sum(axis=2).max(initial=0))


def largest_column(op: ConvOperator) -> float:
    """Return the 1-norm, the largest sum of magnitudes in a column."""
    axes = op.geometry.axes
    if _are_sums_of_taps(op):
        return float(_sums(np.abs(_taps(op)), map(_sum_columns, axes)).sum(axis=1).max(initial=0))
    if _is_piecewise(op):
        return float(np.max(sum(piece.sum(axis=(1, 3)) for piece in _pieces(op)), initial=0))
    counts = map(_count_readers, axes)
    return float(_sums(_entries(op), map(_weigh, counts)).sum(axis=1).max(initial=0))


def _taps(op: ConvOperator) -> AnyArray:
    """Return the taps, (G, f, c, k1..kd)."""
    taps = taps_of(op.geometry, op.kernel)
    return taps.reshape(op.geometry.groups, -1, *taps.shape[1:])


def _entries(op: ConvOperator) -> AnyArray:
    """Return magnitudes of taps, and of sums of taps that a boundary folds, (G, f, c, entries1..entriesd)."""
    g = op.geometry
    count = g.out_channels * g.channels_per_group[1] * prod(axis.kernel + len(sums(axis)) for axis in g.axes)
    memory.require_result("the sums of taps that a boundary folds", 32 * count, "Use cm.norm_bound(op)")
    entries = np.abs(entries_of(op.geometry, op.kernel))
    return entries.reshape(op.geometry.groups, -1, *entries.shape[1:])


def _sums(total: AnyArray, by_axis: Iterable[Callable[[AnyArray], AnyArray]]) -> AnyArray:
    """Return sums of numbers (G, f, c, entries1..entriesd), (G, f, c, places1..placesd).

    There is a function for each axis, which sums over the last axis of an array.
    """
    for sum_over in by_axis:
        total = sum_over(np.moveaxis(total, 3, -1))
    return total


def _weigh(counts: IntArray) -> Callable[[AnyArray], AnyArray]:
    """Return the function that sums entries as often as counts (places, entries) say."""
    weights = counts.T.astype(float)
    return lambda total: total @ weights


def _is_plain(axis: Axis) -> bool:
    """Whether no entry is a sum of taps, and the taps of a row or a column are a range or all of them."""
    return axis.zero_outside or (axis.circular and not axis.may_fold)


def _are_sums_of_taps(op: ConvOperator) -> bool:
    """Whether sums of entries are sums of taps, because no taps are folded or because they do not cancel."""
    axes = op.geometry.axes
    if all(map(_is_plain, axes)):
        return True
    if not is_long(op) or not all(axis.zero_outside or axis.input_dilation == 1 for axis in axes):
        return False
    return not any(axis.may_fold for axis in axes) or (op.kernel.dtype.kind != "c" and bool((op.kernel >= 0).all()))


def _count_readers_of_taps(axis: Axis) -> IntArray:
    """Return the number of outputs that read an input through each tap of an axis without sums of taps."""
    return replace(axis, boundary=ZERO).readers_zero() if axis.zero_outside else np.full(axis.kernel, axis.out)


def _sum_rows(axis: Axis) -> Callable[[AnyArray], AnyArray]:
    """Return the function that sums taps over those that each output reads; equal rows are summed once."""
    if not axis.zero_outside:
        return lambda total: total.sum(axis=-1, keepdims=True)
    first, counts, step = _ranges(axis)
    return lambda total: sum_ranges(total, first, counts, step)


@lru_cache(maxsize=16)
def _ranges(axis: Axis) -> tuple[IntArray, IntArray, int]:
    """Return the different ranges of taps that outputs read: first taps, counts and the step."""
    axis = replace(axis, boundary=ZERO)
    begin, end = axis.interior
    inside = range(begin, min(begin + axis.input_dilation, end))  # those after them repeat their ranges
    near = axis.beyond(0, begin)[0], inside, axis.beyond(end, axis.out)[0]  # the others read nothing
    first, counts, step = axis.reading(np.concatenate([np.arange(part.start, part.stop) for part in near]))
    reading = counts > 0
    different = np.unique(first[reading] * (axis.kernel + 1) + counts[reading])
    return *np.divmod(different, axis.kernel + 1), step


def _sum_columns(axis: Axis) -> Callable[[AnyArray], AnyArray]:
    """Return the function that sums taps over the outputs that read each input, or each position outside that holds it.

    The sums are those of rows of the transposed axis, whose taps are reversed.
    """
    if axis.zero_outside:
        mirrored = replace(axis, boundary=ZERO).transposed
        assert mirrored is not None  # under zeros every axis has a transpose
        sum_over = _sum_rows(mirrored)
        return lambda total: sum_over(total[..., ::-1])
    if axis.circular and not axis.may_fold:
        return _sum_rows(axis)
    mirrored = axis.continued.transposed
    assert mirrored is not None
    first, counts, step = mirrored.reading(np.arange(mirrored.out))
    places = axis.source(np.arange(axis.reach[0], axis.reach[1] + 1))
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=NOTHING))

    def sum_over_images(total: AnyArray) -> AnyArray:
        return np.add.reduceat(sum_ranges(total[..., ::-1], first, counts, step)[..., order], starts, axis=-1)

    return sum_over_images


def sum_ranges(numbers: AnyArray, first: IntArray, counts: IntArray, step: int) -> AnyArray:
    """Return sums over ranges ``first, first + step, ...`` of the last axis, ``counts`` numbers each: (..., ranges).

    A range is put together from sums over 1, 2, 4, ... numbers, so that nothing cancels and few roundings add up.
    """
    at, part = first.copy(), numbers  # sums over 2**bit neighbours
    if step > 1:
        order = np.argsort(np.arange(numbers.shape[-1]) % step, kind="stable")
        at = np.argsort(order)[np.minimum(first, order.size - 1)]  # a range of nothing may begin behind the end
        part = numbers[..., order]
    sums = np.zeros((*numbers.shape[:-1], first.size), numbers.dtype)
    for bit in range(int(counts.max(initial=0)).bit_length()):
        if bit:
            half = 1 << (bit - 1)
            part = part[..., :-half] + part[..., half:]
        chosen = np.flatnonzero(counts >> bit & 1)
        sums[..., chosen] += part[..., at[chosen]]
        at[chosen] += 1 << bit
    return sums


def _is_piecewise(op: ConvOperator) -> bool:
    """Whether the matrix of a single axis is summed piece by piece."""
    axis, *others = op.geometry.axes
    if others or _is_plain(axis):
        return False
    return RUN_TAP * most_runs(axis) * axis.kernel > axis.out * (axis.size + axis.kernel)


def _pieces(op: ConvOperator) -> Iterator[AnyArray]:
    """Yield magnitudes of rows of the matrix of a single axis, (G, f, c, outputs, inputs) of some outputs."""
    (axis,), taps = op.geometry.axes, _taps(op)
    step = max(PIECE * axis.kernel // (taps.size * axis.size), 1)
    for start in range(0, axis.out, step):
        outputs = np.arange(start, min(start + step, axis.out))
        rows = PartSymbols(axis, outputs, np.arange(axis.size)).sum_over(taps.reshape(-1, axis.kernel))
        yield np.abs(rows).reshape(*taps.shape[:3], outputs.size, axis.size)


def _count_in_runs(axis: Axis, times: Sequence[int]) -> IntArray:
    """Return counts (runs, entries): the number ``times`` of a run for each entry in its rows, else 0."""
    counts = np.zeros((len(times), axis.kernel + len(sums(axis))), np.int64)
    for row, run, number in zip(counts, runs(axis), times, strict=True):
        row[run.entries] = number
    return counts


@lru_cache(maxsize=16)
def _count_readers(axis: Axis) -> IntArray:
    """Return the number of outputs that read an input through each entry, (different inputs, entries)."""
    entries = axis.kernel + len(sums(axis))
    what = f"counting the outputs that read {axis.size} inputs along an axis"
    memory.require_result(what, 24 * axis.size * entries, "Use a shorter input")
    counts = np.zeros((axis.size, entries), np.int64)
    for run in runs(axis):
        columns = run.columns + run.shift * np.arange(run.count)[:, None]
        np.add.at(counts, (columns, np.broadcast_to(run.entries, columns.shape)), 1)
    return np.unique(counts, axis=0)
