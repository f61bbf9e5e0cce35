"""Counts over all windows against the table of what every output reads through every tap."""

import random

import numpy as np
import pytest

import reference
from convmtx.boundary import BY_NAME, NOTHING
from convmtx.geometry import Axis, count_own, count_reads, count_taps


@pytest.fixture(params=list(reference.PAD_MODES))
def tables(request):
    """Axes of every kind, short kernels and kernels longer than the input, with their tables."""
    rng = random.Random(1)
    pairs = []
    while len(pairs) < 250:
        sizes = [rng.randint(1, 12), rng.randint(1, 14), *(rng.randint(1, 4) for _ in range(3))]
        axis = Axis(*sizes, rng.randint(-4, 20), rng.randint(-4, 20), BY_NAME[request.param])
        if axis.stretched + axis.lo + axis.hi >= axis.span:
            pairs.append((axis, axis.table()))
    return pairs


def test_windows_extend_from_their_first_input_to_their_last(tables):
    for axis, table in tables:
        first = np.where(table == NOTHING, axis.size, table).min(axis=1)
        last = table.max(axis=1)
        first[last == NOTHING] = NOTHING

        assert np.array_equal(axis.extent(np.arange(axis.out)), [first, last]), axis


def test_reads_are_counted_for_inputs_and_for_outputs(tables):
    rng = np.random.default_rng(0)
    for axis, table in tables:
        among = rng.random(axis.size) < 0.4

        assert np.array_equal(count_reads(axis), np.bincount(table[table != NOTHING], minlength=axis.size)), axis
        assert np.array_equal(count_taps(axis), (table != NOTHING).sum(axis=1)), axis
        assert np.array_equal(count_taps(axis, among), ((table != NOTHING) & among[table]).sum(axis=1)), axis
        assert np.array_equal(count_own(axis), (table == np.arange(axis.out)[:, None]).sum(axis=0)), axis


def test_long_windows_with_gaps_extend_at_least_as_far():
    """They are not listed: the inputs between those that they read count too."""
    for boundary in ("wrap", "reflect", "symmetric", "edge"):
        axis = Axis(900, 1500, dilation=2, lo=1000, hi=2500, boundary=BY_NAME[boundary])
        table = axis.table()
        first, last = axis.extent(np.arange(axis.out))

        assert (first <= table.min(axis=1)).all()
        assert (last >= table.max(axis=1)).all()
