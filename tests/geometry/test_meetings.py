"""What outputs read together along an axis, against all pairs of reads written out."""

from collections import defaultdict
from itertools import product

import numpy as np
import pytest

import reference
from convmtx.boundary import BY_NAME, NOTHING
from convmtx.geometry import Axis, list_reads, meetings, most_runs, runs

SMALL = list(product(range(1, 5), range(1, 4), range(1, 4), range(1, 3), range(1, 4), (-1, 0, 3), (-1, 0, 4)))
#: Axes of which the middle is left out: of 60 inputs at least 60 - 4*6 - 8.
LONG = list(product((60, 61), (1, 2, 3), (1, 2, 3, 5), (1, 2), (1, 2, 3), (-3, 0, 4), (-2, 0, 7)))


def axes(sizes, boundary):
    for n, k, s, t, e, lo, hi in sizes:
        if (n - 1) * e + 1 + lo + hi >= t * (k - 1) + 1:
            yield Axis(n, k, s, t, e, lo, hi, BY_NAME[boundary])


def pairs_of_taps(axis):
    """For two inputs, the pairs of taps of all outputs that read both: ``{(i, j): [(p, q), ...]}``."""
    together = defaultdict(list)
    for row in axis.table().tolist():
        for (p, i), (q, j) in product(enumerate(row), repeat=2):
            if NOTHING not in (i, j):
                together[i, j].append((p, q))
    return {places: sorted(pairs) for places, pairs in together.items()}


def listed(known, taps):
    """The same from the numbers of entries: those of all runs, and those that are looked up."""
    of_entry = [
        [divmod(pair, taps) for pair in known.pairs[begin:end].tolist()]
        for begin, end in zip(known.starts[:-1], known.starts[1:], strict=True)
    ]
    written = {}
    for run in runs(known.axis):
        for m in range(run.count):
            for column, entry in zip(run.columns + m * run.shift, run.entries, strict=True):
                place = run.start + m * run.step, int(column)
                assert place not in written
                written[place] = of_entry[entry]
    inputs = np.arange(known.axis.size)[::-1]
    lists, _ = list_reads(known.axis, inputs)
    looked_up = {
        (int(i), int(j)): of_entry[entry]
        for m, i in enumerate(inputs)
        for j, entry in zip(*(part[lists.starts[m] : lists.starts[m + 1]] for part in (lists.places, lists.numbers)),
                            strict=True)
    }  # fmt: skip
    assert looked_up == written
    return written


@pytest.mark.parametrize("boundary", reference.PAD_MODES)
@pytest.mark.parametrize("sizes", [SMALL[::2], LONG[::7]], ids=["small", "long"])
def test_entries_are_the_pairs_of_taps_of_all_outputs(boundary, sizes):
    for axis in axes(sizes, boundary):
        known = meetings(axis)
        expected = pairs_of_taps(axis)
        assert listed(known, axis.kernel) == expected, axis
        assert known.axis.entries == len(expected)
        assert known.axis.out == known.axis.size == axis.size
        assert most_runs(known.axis) >= len(runs(known.axis))


@pytest.mark.parametrize("boundary", reference.PAD_MODES)
def test_mirrored_entries_have_mirrored_pairs(boundary):
    for axis in axes(SMALL[::7], boundary):
        known = meetings(axis)
        for entry, mirror in enumerate(known.mirrored.tolist()):
            pairs, others = (
                [divmod(pair, axis.kernel) for pair in known.pairs[known.starts[m] : known.starts[m + 1]].tolist()]
                for m in (entry, mirror)
            )
            assert sorted((q, p) for p, q in pairs) == others


def test_a_long_axis_has_as_few_entries_as_a_short_one():
    short, long = (meetings(Axis(n, 9, lo=4, hi=4)) for n in (40, 10**9))
    assert len(runs(long.axis)) == len(runs(short.axis))
    assert long.axis.kernel == short.axis.kernel
    assert long.axis.entries - short.axis.entries == 17 * (10**9 - 40)


def test_too_many_pairs_are_not_listed():
    assert meetings(Axis(10**6, 10**4)) is None
