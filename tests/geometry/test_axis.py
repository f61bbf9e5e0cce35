"""One axis, with all numbers that are small: every form rests on these integers."""

from itertools import product

import numpy as np
import pytest

import reference
from convmtx.boundary import BY_NAME, NOTHING
from convmtx.geometry import Axis, most_reader_runs, reader_runs, runs, sums
from convmtx.geometry.padding import pads
from geometry.small import small_numbers

SMALL = small_numbers(range(1, 5), range(1, 4), range(1, 4), range(1, 4), range(1, 4))


def small_axes(boundary):
    return [Axis(*numbers, BY_NAME[boundary]) for numbers in SMALL]


@pytest.fixture(params=list(reference.PAD_MODES))
def boundary(request):
    return request.param


def test_the_table_is_the_definition(boundary):
    sources = {}
    for a in small_axes(boundary):
        for o, p in product(range(a.out), range(a.kernel)):
            q = o * a.stride - a.lo + p * a.dilation
            key = (a.size, a.input_dilation, q)
            if key not in sources:
                sources[key] = reference.source(a.size, a.input_dilation, boundary, q)
            expected = NOTHING if sources[key] is None else sources[key]
            assert a.read(np.asarray(o), np.asarray(p)) == expected, (a, o, p)


def test_outputs_are_the_windows_that_fit(boundary):
    for a in small_axes(boundary):
        padded = a.stretched + a.lo + a.hi
        assert a.out == len(range(0, padded - a.span + 1, a.stride))


def test_runs_rebuild_the_table(boundary):
    for a in small_axes(boundary):
        seen = np.zeros(a.out, int)
        table = a.table()
        for run in runs(a):
            assert (np.diff(run.columns) > 0).all()
            assert (np.diff(run.taps) > 0).all()
            assert set(run.slots.tolist()) == set(range(run.columns.size))
            for j in range(run.count):
                o = run.start + j * run.step
                seen[o] += 1
                row = np.full(a.kernel, NOTHING)
                row[run.taps] = run.columns[run.slots] + j * run.shift
                assert np.array_equal(row, table[o]), (a, o)
            rebuilt = [c + m * step for _, n, c, step in run.segments() for m in range(n)]
            assert rebuilt == run.columns.tolist()
        assert (seen == 1).all()


def test_reader_runs_rebuild_the_table_by_columns(boundary):
    for a in small_axes(boundary):
        expected = [{} for _ in range(a.size)]  # of each input the outputs that read it, and through which taps
        for (o, p), i in np.ndenumerate(a.table()):
            if i != NOTHING:
                expected[i].setdefault(o, []).append(p)
        taps = [(p,) for p in range(a.kernel)] + list(sums(a))
        assert len(reader_runs(a)) <= most_reader_runs(a)
        seen = np.zeros(a.size, int)
        for run in reader_runs(a):
            assert (np.diff(run.columns) > 0).all()
            for j in range(run.count):
                i = run.start + j * run.step
                seen[i] += 1
                outputs = (run.columns + j * run.shift).tolist()
                read = {o: list(taps[m]) for o, m in zip(outputs, run.entries.tolist(), strict=True)}
                assert read == expected[i], (a, i)
        assert (seen == 1).all()


def test_reader_runs_of_a_long_signal_are_found_without_it(boundary):
    axis = Axis(10**15, 3, lo=1, hi=1, boundary=BY_NAME[boundary])
    assert sum(run.count for run in reader_runs(axis)) == 10**15
    assert len(reader_runs(axis)) < 10


def test_entries_count_the_pairs_that_are_joined(boundary):
    for a in small_axes(boundary):
        expected = sum(len(set(row) - {NOTHING}) for row in a.table().tolist())
        assert a.entries == expected, a


def test_interior_outputs_read_nothing_outside(boundary):
    for a in small_axes(boundary):
        first, last = a.interior
        for o in range(a.out):
            window = range(o * a.stride - a.lo, o * a.stride - a.lo + a.span)
            inside = window[0] >= 0 and window[-1] < a.stretched
            assert inside is (first <= o < last)


def test_the_transposed_axis_joins_the_same_pairs(boundary):
    for a in small_axes(boundary):
        t = a.transposed
        if t is None:
            assert boundary != "zero"
            continue
        assert (t.size, t.out) == (a.out, a.size)
        table, mirrored = a.table(), t.table()
        pairs = {(o, i, p) for (o, p), i in np.ndenumerate(table) if i != NOTHING}
        back = {(o, i, a.kernel - 1 - p) for (i, p), o in np.ndenumerate(mirrored) if o != NOTHING}
        assert pairs == back
        assert t.transposed is not None
        assert np.array_equal(t.transposed.table(), table)


def test_a_long_signal_with_a_long_kernel_is_counted_at_once():
    a = Axis(10**9, 10**5, lo=10**5 - 1, hi=10**5 - 1)

    assert a.entries == 10**9 * 10**5


@pytest.mark.parametrize("name", ["same", "same_lower"])
def test_same_makes_the_ceiling_of_size_over_stride(name):
    for n, k, s, t, e in product(range(1, 7), range(1, 5), range(1, 4), range(1, 4), range(1, 3)):
        bare = Axis(n, k, s, t, e)
        [(lo, hi)] = pads(name, [bare])
        a = Axis(n, k, s, t, e, lo, hi)
        assert a.out == -(-bare.stretched // s)
        assert (hi - lo) in ((0, 1) if name == "same" else (0, -1))


def test_pads_wide_enough_to_turn_many_times(boundary):
    for n, lo, hi in product(range(1, 5), (0, 13), (17, 40)):
        a = Axis(n, 2, lo=lo, hi=hi, boundary=BY_NAME[boundary])
        sources = (reference.source(n, 1, boundary, q) for q in range(-lo, n + hi))
        padded = np.array([NOTHING if source is None else source for source in sources])
        expected = np.lib.stride_tricks.sliding_window_view(padded, 2)
        assert np.array_equal(a.table(), expected)
        assert sum(run.count for run in runs(a)) == a.out
