"""Transposed borders: numbers at positions outside an array are added to the inputs that were read there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import numpy as np

from convmtx._xp import gather
from convmtx.boundary import NOTHING
from convmtx.engines.threads import Step
from convmtx.geometry import Axis
from convmtx.typing import AnyArray, Array, IntArray


def fold_back(x: AnyArray, at: int, axis: Axis) -> tuple[list[Step], AnyArray]:
    """Return the steps that add each position of a continued axis to the input it was read from, and the result."""
    start, stop = axis.reach
    before, steps = (slice(None),) * at, list[Step]()
    if axis.input_dilation == 1 and start <= 0 and stop >= axis.size - 1:  # the inputs are a slice of x
        folded = x[(*before, slice(-start, axis.size - start))]
        outside = np.concatenate([np.arange(start, 0), np.arange(axis.size, stop + 1)])
    else:
        folded = np.empty((*x.shape[:at], axis.size, *x.shape[at + 1 :]), x.dtype)
        outside = np.arange(start, stop + 1)
        steps.append(partial(folded.fill, 0))
    for positions, places in slices(outside - start, axis.source(outside)):
        target, added = folded[(*before, places)], x[(*before, positions)]
        if target.shape == added.shape:
            steps.append(partial(np.add, target, added, target))
        else:
            steps.append(partial(_add_sum, target, added, at))
    return steps, folded


def slices(positions: IntArray, places: IntArray) -> Iterator[tuple[slice, slice]]:
    """Yield slices of positions, and of the places that they hold: the same number of them, or one.

    Under "reflect" positions 0 1 hold places 2 1 and positions 5 6 hold 1 0: two pairs of slices, places backwards.
    """
    positions, places = positions[places != NOTHING], places[places != NOTHING]
    moves = np.diff([positions, places])
    # A position begins a slice if it lies otherwise to the one before than that to the one before it.
    turns = np.flatnonzero((moves[:, 1:] != moves[:, :-1]).any(axis=0)) + 2
    for begin, end in pairwise([0, *turns.tolist(), positions.size]):
        if begin < end:
            yield _slice(positions[begin:end]), _slice(places[begin:end])


def _slice(numbers: IntArray) -> slice:
    """Return the slice of an arithmetic progression, which may descend to 0; of equal numbers, of one of them."""
    first, last = int(numbers[0]), int(numbers[-1])
    step = int(numbers[1]) - first if numbers.size > 1 else 0
    stop = last + (1 if step >= 0 else -1)
    return slice(first, stop if stop >= 0 else None, step or 1)


def _add_sum(target: AnyArray, added: AnyArray, at: int) -> None:
    """Add the sum of numbers along an axis to a target of one place."""
    np.add(target, added.sum(axis=at, keepdims=True, dtype=target.dtype), target)


def fold(x: Array, at: int, axis: Axis) -> Array:
    """Return x, which stands on a continued axis, with each position added to the input it was read from.

    It is written for libraries whose arrays are not changed: pairs of positions of one input are added, then pairs of
    these sums, and so on. A border of p positions takes log(p) rounds, each of the size of x at most.
    """
    for first, second in _rounds(axis):
        pairs = gather(x, first, at)
        x = pairs if (second == NOTHING).all() else pairs + gather(x, second, at)
    return x


def _rounds(axis: Axis) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the places of both numbers of each pair, in the array of the round before; `NOTHING` is zero.

    If inputs 0, 1 and 2 are continued to 0 0 0 1 2 (edge), the first round adds places 0 1, 2 -, 3 - and 4 -, and the
    second 0 1, 2 - and 3 -.
    """
    start, stop = axis.reach
    source = axis.source(np.arange(start, stop + 1))
    places = np.argsort(source, kind="stable")[np.count_nonzero(source == NOTHING) :]
    counts = np.bincount(source[places], minlength=axis.size)
    while True:
        pairs = np.maximum((counts + 1) // 2, 1)  # an input that nothing reads is a pair of zeros
        inputs = np.repeat(np.arange(axis.size), pairs)
        # Places of the same input before each pair, and its own place and all that are left of the input from there on.
        before = 2 * (np.arange(inputs.size) - (np.cumsum(pairs) - pairs)[inputs])
        first, left = (np.cumsum(counts) - counts)[inputs] + before, counts[inputs] - before
        padded = np.append(places, [NOTHING, NOTHING])
        yield np.where(left > 0, padded[first], NOTHING), np.where(left > 1, padded[first + 1], NOTHING)
        if pairs.max(initial=1) == 1:
            return
        places, counts = np.arange(inputs.size), pairs
