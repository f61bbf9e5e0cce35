"""Counts over all windows of an axis, in memory O(inputs + outputs + taps): no table of outputs and taps is listed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convmtx.boundary import NOTHING, ZERO
from convmtx.geometry.axis import Axis
from convmtx.geometry.lookup import read_entries
from convmtx.typing import AnyArray, IntArray


def count_reads(axis: Axis) -> IntArray:
    """Return how often each input is read: the number of pairs of an output and a tap that hold it."""
    first, counts, step = _progressions(axis)
    if axis.boundary is ZERO:
        return _cover(first, counts, step, axis.size)
    start = axis.reach[0]
    often = _cover(first - start, counts, step, axis.reach[1] - start + 1)
    places = axis.source(np.arange(start, start + often.size))
    reads = np.zeros(axis.size, np.int64)
    np.add.at(reads, places[places != NOTHING], often[places != NOTHING])
    return reads


def count_taps(axis: Axis, among: AnyArray | None = None) -> IntArray:
    """Return the number of taps through which each output reads an input; with ``among``, one of some inputs."""
    first, counts, step = _progressions(axis)
    if among is None and (axis.boundary is ZERO or axis.input_dilation == 1):
        return counts
    holds = np.ones(axis.size, bool) if among is None else among
    if axis.boundary is not ZERO:
        start, stop = axis.reach[0], axis.reach[1] + 1
        first, holds = first - start, np.append(holds, False)[axis.source(np.arange(start, stop))]
    step = min(step, holds.size)  # a progression of more than one number has a smaller step than that
    holds = np.pad(holds, (step, -holds.size % step))
    before = holds.reshape(-1, step).cumsum(axis=0).ravel()  # entry step + q counts what q, q - step, ... hold
    among_counts: IntArray = before[first + counts * step] - before[first]
    return among_counts


def count_own(axis: Axis) -> IntArray:
    """Return the number of outputs that read the input of their own number through each tap."""
    places = np.arange(min(axis.out, axis.size))
    owners, held = axis.boundary.images(places * axis.input_dilation, axis.stretched, *axis.reach)
    taps, rest = np.divmod(held + axis.lo - owners * axis.stride, axis.dilation)
    return np.bincount(taps[(rest == 0) & (taps >= 0) & (taps < axis.kernel)], minlength=axis.kernel)


def join_places(axis: Axis) -> tuple[IntArray, IntArray]:
    """Return pairs of places that join what taps join, directly or through others; inputs count on after outputs.

    A window's inputs are a chain: it is enough to join each output to the first of them, and each input to the next one
    in some window. With 3 taps and dilation 2, output 0 reads inputs 0 2 4, and the chain is 0-2, 2-4. A dilated input
    that is continued otherwise than by zeros has no such chains: all that is read is listed.
    """
    if axis.zero_outside:
        axis = replace(axis, boundary=ZERO)
    if axis.boundary is not ZERO and axis.input_dilation > 1:
        outputs, inputs, _ = read_entries(axis, np.arange(axis.out))
        return outputs, axis.out + inputs
    first, counts, step = _progressions(axis)
    start, stop = (0, axis.size) if axis.boundary is ZERO else (axis.reach[0], axis.reach[1] + 1)
    here = np.flatnonzero(_cover(first - start, counts - 1, step, stop - start)) + start
    there, reading = here + step, np.flatnonzero(counts)
    first = first[reading]
    if axis.boundary is not ZERO:
        first, here, there = (axis.source(positions) for positions in (first, here, there))
    return np.concatenate([reading, axis.out + here]), axis.out + np.concatenate([first, there])


def _progressions(axis: Axis) -> tuple[IntArray, IntArray, int]:
    """Return the arithmetic progression that each output reads: its first number, their count and the step.

    Under zeros the numbers are those of inputs. Under other rules they are stretched positions, inside and outside.
    """
    outputs = np.arange(axis.out)
    first, counts, step = axis.reading(outputs)
    start = outputs * axis.stride - axis.lo + first * axis.dilation
    if axis.boundary is not ZERO:
        return start, counts, axis.dilation
    return np.where(counts > 0, start // axis.input_dilation, 0), counts, step * axis.dilation // axis.input_dilation


def _cover(first: IntArray, counts: IntArray, step: int, size: int) -> IntArray:
    """Return how many arithmetic progressions hold each number below ``size``; all of theirs are below it.

    Each begins and ends once, and is counted in between: starts 0 and 2, counts 3 and 1, step 2 and size 6 give
    1 0 2 0 1 0.
    """
    step = min(step, size)  # a progression of more than one number has a smaller step than that
    changes = np.zeros(-(-size // step) * step, np.int64)
    some = counts > 0
    np.add.at(changes, first[some], 1)
    ends = first[some] + counts[some] * step
    np.add.at(changes, ends[ends < changes.size], -1)
    covered: IntArray = changes.reshape(-1, step).cumsum(axis=0).ravel()[:size]
    return covered
