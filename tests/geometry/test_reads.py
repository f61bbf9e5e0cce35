"""What ranges of outputs read and ranges of inputs gather, each beside the whole table."""

import random

import numpy as np
import pytest

import reference
from convmtx.boundary import BY_NAME, NOTHING
from convmtx.geometry import Axis, copies, halo, halved, halved_back, pieces, window
from geometry.small import small_numbers

SMALL = small_numbers((1, 2, 3, 7), range(1, 5), range(1, 4), range(1, 3), range(1, 4))


@pytest.fixture(params=list(reference.PAD_MODES))
def axes(request):
    return [Axis(*numbers, BY_NAME[request.param]) for numbers in SMALL]


def written(found, length, size):
    """What stands at each place; no place is written twice."""
    places = np.full(length, NOTHING)
    for copy in found:
        assert (places[copy.places] == NOTHING).all()
        places[copy.places] = np.arange(size)[copy.inputs]
    return places


def some_range(rng, size):
    first = rng.randrange(size)
    return range(first, rng.randint(first + 1, size))


def test_copies_say_what_stands_at_positions(axes):
    for axis in axes:
        first, last = axis.reach[0] - 2, axis.reach[1] + 3
        found = [copy.moved(first) for copy in copies(axis, first, last)]
        positions = np.arange(first, last)
        assert np.array_equal(written(found, last - first, axis.size), axis.source(positions)), axis


def test_a_range_of_outputs_is_a_convolution_of_what_it_reads(axes):
    rng = random.Random(0)
    for axis in axes:
        outputs = some_range(rng, axis.out)
        part = window(axis, outputs)
        assert part.axis.out == len(outputs)
        assert part.axis.zero_outside
        held = written(part.copies, part.axis.size, axis.size)
        inner = part.axis.table()
        table = np.where(inner == NOTHING, NOTHING, held[inner])
        assert np.array_equal(table, axis.table()[list(outputs)]), (axis, outputs)


def test_pieces_gather_each_tap_of_a_range_of_inputs_once(axes):
    rng = random.Random(0)
    for axis in axes:
        inputs = some_range(rng, axis.size)
        expected = sorted((o, p, i) for (o, p), i in np.ndenumerate(axis.table()) if i in inputs)
        met = []
        for piece in pieces(axis, inputs):
            held = written(piece.copies, piece.axis.size, axis.size)
            inner = piece.axis.table()
            met += [(piece.outputs[o], p, held[q]) for (o, p), q in np.ndenumerate(inner) if q != NOTHING]
        assert sorted(met) == expected, (axis, inputs)


def test_interior_ranges_gather_one_piece_and_borders_few():
    for rule in reference.PAD_MODES:
        axis = Axis(10**12, 7, lo=3, hi=3, boundary=BY_NAME[rule])
        counts = [len(pieces(axis, inputs)) for inputs in (range(10**6, 2 * 10**6), range(10**6))]
        assert counts[0] == 1
        assert counts[1] <= 2


def test_a_circle_reads_a_strip_of_its_far_end_and_not_all_of_it():
    part = window(Axis(1000, 7, lo=3, hi=3, boundary=BY_NAME["wrap"]), range(100))
    assert [copy.interval for copy in part.copies] == [(997, 1000), (0, 103)]


def test_edges_halve_what_lies_beyond_them():
    axis = Axis(100, 5, lo=2, hi=2)
    assert halved(axis, (0, 30, 100)) == (0, 30, 100)
    assert halved_back(axis, (0, 30, 100)) == (0, 30, 100)
    assert halo(axis, 30) == (2, 2)
    assert halo(Axis(100, 4, lo=1, hi=2), 30) == (1, 2)
    assert halo(Axis(100, 1, 3), 30) == (0, 0)
    strided = Axis(100, 3, 2, lo=1, hi=1)
    assert halved(strided, (0, 31, 33, 34, 100)) == (0, 16, 17, 50)
    assert halved_back(strided, (0, 16, 50)) == (0, 32, 100)
