"""Parts of an axis: some outputs of it, what they read, and who list_reads an input; each beside the whole table."""

import random
from itertools import product
from math import prod

import numpy as np
import pytest

import reference
from convmtx.boundary import BY_NAME, NOTHING
from convmtx.forms.boxes import boxes
from convmtx.geometry import Axis, list_readers, list_reads, runs
from geometry.small import small_numbers

SMALL = small_numbers((1, 2, 3, 5), range(1, 4), range(1, 4), range(1, 3), range(1, 3))


@pytest.fixture(params=list(reference.PAD_MODES))
def axes(request):
    return [Axis(*numbers, BY_NAME[request.param]) for numbers in SMALL]


def test_some_outputs_are_an_axis_of_their_own(axes):
    rng = random.Random(0)
    for axis in axes:
        first = rng.randrange(axis.out)
        outputs = range(first, rng.randint(first + 1, axis.out), rng.randint(1, 3))
        part = axis.restricted(outputs)
        table = axis.table()[list(outputs)]

        assert part.out == len(outputs)
        assert np.array_equal(part.table(), table)
        counted = sum(len(set(row) - {NOTHING}) for row in table.tolist())
        assert part.entries == sum(run.count * run.columns.size for run in runs(part)) == counted


def test_lists_hold_the_pairs_of_the_table(axes):
    rng = np.random.default_rng(0)
    for axis in axes:
        taps = {}
        for (o, p), i in np.ndenumerate(axis.table()):
            if i != NOTHING:
                taps.setdefault((o, int(i)), []).append(p)
        for look_up, size, others in ((list_reads, axis.out, axis.size), (list_readers, axis.size, axis.out)):
            chosen = rng.integers(0, size, 3)
            lists, sums = look_up(axis, chosen)
            for m, place in enumerate(chosen.tolist()):
                pairs = [(place, x) if look_up is list_reads else (x, place) for x in range(others)]
                expected = [(x, tuple(taps[pair])) for x, pair in enumerate(pairs) if pair in taps]
                own = slice(lists.starts[m], lists.starts[m + 1])
                entries = [(n,) if n < axis.kernel else sums[n - axis.kernel] for n in lists.numbers[own].tolist()]
                assert list(zip(lists.places[own].tolist(), entries, strict=True)) == expected, (axis, place)


def test_readers_of_a_long_signal_are_found_without_it():
    for rule in reference.PAD_MODES:
        axis = Axis(10**15, 3, lo=1, hi=1, boundary=BY_NAME[rule])
        lists, _ = list_readers(axis, np.array([5 * 10**14, 0]))
        assert lists.places[:3].tolist() == [5 * 10**14 - 1, 5 * 10**14, 5 * 10**14 + 1]


def test_ranges_of_rows_are_few_boxes():
    rng = random.Random(0)
    for _ in range(3000):
        sizes = tuple(rng.randint(1, 5) for _ in range(rng.randint(1, 4)))
        first = rng.randrange(prod(sizes))
        rows = range(first, rng.randint(first + 1, prod(sizes)), rng.randint(1, 7))
        cut = boxes(sizes, rows)
        if rows.step == 1:
            assert len(cut) <= 2 * len(sizes) - 1
        if cut is not None:
            listed = [np.ravel_multi_index(digits, sizes) for box in cut for digits in product(*box)]
            assert listed == list(rows)
