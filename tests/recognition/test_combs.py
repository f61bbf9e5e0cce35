"""Combs of an axis: every output reads at most one tooth of each, and the table says which; all by brute force."""

import itertools

import numpy as np
import pytest

from convmtx.boundary import EDGE, REFLECT, SYMMETRIC, WRAP, ZERO
from convmtx.geometry.axis import Axis
from convmtx.geometry.combs import alone, combs, from_reads

RULES = (ZERO, WRAP, REFLECT, SYMMETRIC, EDGE)


def pairs_of(axis):
    """Outputs and the inputs that they read, from the table of the axis."""
    table = axis.table()
    outputs, taps = np.nonzero(table >= 0)
    return outputs, table[outputs, taps]


def require_law(result, outputs, inputs):
    """Every output finds every input that it reads in the table, so that no two of them have one colour."""
    rows = outputs % len(result.teeth)
    assert (result.teeth[rows, result.colours[inputs]] == inputs).all()


def random_axes(count, seed):
    rng = np.random.default_rng(seed)
    while count:
        size, kernel, stride, dilation, input_dilation = (int(rng.integers(1, most)) for most in (16, 6, 5, 4, 4))
        lo, hi = (int(pad) for pad in rng.integers(-3, 10, 2))
        axis = Axis(size, kernel, stride, dilation, input_dilation, lo, hi, RULES[rng.integers(5)])
        if axis.out > 0:
            count -= 1
            yield axis


def test_random_axes():
    for axis in random_axes(4000, seed=1):
        require_law(combs(axis), *pairs_of(axis))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_colours_are_as_many_as_the_closed_form_says(rule):
    for size, kernel, stride, dilation, pad in itertools.product(
        (9, 20, 31), (1, 2, 3, 5), (1, 2, 3), (1, 2, 3), (0, 2)
    ):
        axis = Axis(size, kernel, stride, dilation, 1, pad, pad, rule)
        if axis.out < 1:
            continue
        if axis.zero_outside:
            expected = min(kernel, -(-size // dilation))
        elif axis.span >= size:
            expected = size
        elif rule is WRAP:
            expected = -(-size // (size // axis.span))
        else:
            expected = axis.span
        assert combs(axis).count == expected, axis


def test_under_zeros_the_longest_row_needs_all_colours():
    for axis in random_axes(2000, seed=2):
        outputs = pairs_of(axis)[0]
        if axis.boundary is ZERO and axis.interior[0] < axis.interior[1] and axis.input_dilation == 1:
            longest = np.bincount(outputs).max()
            assert combs(axis).count == longest


def test_teeth_of_a_mirrored_border():
    result = combs(Axis(7, 3, lo=1, hi=1, boundary=REFLECT))

    assert result.colours.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert result.teeth[0].tolist() == [0, 1, 2]
    assert result.teeth[6].tolist() == [6, 4, 5]


def test_teeth_around_a_circle_are_a_span_apart():
    result = combs(Axis(11, 3, lo=1, hi=1, boundary=WRAP))

    assert result.colours.tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3]
    assert result.teeth[0].tolist() == [0, 1, -1, 10]
    for tooth, other in itertools.combinations(range(11), 2):
        if result.colours[tooth] == result.colours[other]:
            assert min(other - tooth, 11 - other + tooth) >= 3


def test_combs_of_any_pattern():
    rng = np.random.default_rng(3)
    for share in (0.1, 0.3, 0.8):
        reads = rng.random((12, 9)) < share
        require_law(from_reads(reads), *np.nonzero(reads))


def test_combs_of_intervals_and_of_groups_are_few():
    windows = np.arange(10)[:, None] <= np.arange(14)
    windows &= np.arange(14) < np.arange(10)[:, None] + 5
    groups = np.kron(np.eye(4), np.ones((3, 6))) > 0

    assert from_reads(windows).count == 5
    assert from_reads(groups).count == 6
    assert alone(4).count == 4
