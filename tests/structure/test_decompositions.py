"""Facts of splits, blocks and decompositions, which nobody has to read from their words."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.structure import Rule, choose_decomposition, decompositions, find_blocks
from convmtx.structure.precision import EPS, rank_tolerance, scaled, unit
from convmtx.taps import taps_of

RNG = np.random.default_rng(0)
ANY = RNG.standard_normal((3, 3))
OUTER = np.multiply.outer(RNG.standard_normal(5), RNG.standard_normal(5))
SAME = {"padding": "same"}
CIRCLE = {"padding": "same", "boundary": "wrap"}
HALF_CIRCLE = {"padding": "same", "boundary": ("wrap", "reflect")}


@pytest.mark.parametrize(("kernel", "options", "rules"), [
    (ANY, CIRCLE, (Rule.FOURIER, Rule.FOURIER)),
    (ANY, HALF_CIRCLE, (Rule.FOURIER, Rule.WHOLE)),
    (ANY, SAME, (Rule.WHOLE, Rule.WHOLE)),
    (ANY, {"padding": "same", "dilation": 2}, (Rule.PARTS, Rule.PARTS)),
    (OUTER, SAME, (Rule.FACTOR, Rule.FACTOR)),
])  # fmt: skip
def test_rules_are_facts_and_words(kernel, options, rules):
    op = cm.conv(kernel, (7, 8), **options)
    for blocks in find_blocks(op.geometry, taps_of(op.geometry, op.kernel), factors=kernel is OUTER):
        assert tuple(split.rule for split in blocks.splits) == rules
        assert blocks.rule == " x ".join(rules)
        assert [split.is_whole for split in blocks.splits] == [rule is Rule.WHOLE for rule in rules]
        assert blocks.is_whole == all(rule is Rule.WHOLE for rule in rules)
        assert blocks.has_fourier == any(rule is Rule.FOURIER for rule in rules)
        assert blocks.has_factor == any(rule is Rule.FACTOR for rule in rules)


@pytest.mark.parametrize(("kernel", "options", "apart"), [
    (ANY, CIRCLE, {"blocks": True}),
    (ANY, HALF_CIRCLE, {"blocks": False, "band": False}),
    (ANY, SAME, {"blocks": False}),
    (ANY, {"padding": "same", "dilation": 2}, {"blocks": True}),
    (OUTER, SAME, {"blocks": False, "Kronecker": False}),
    (OUTER, CIRCLE, {"blocks": True}),
])  # fmt: skip
def test_decompositions_say_whether_all_axes_fall_apart(kernel, options, apart):
    op = cm.conv(kernel, (7, 8), **options)
    found = {decomposition.method.split()[0]: decomposition.is_apart for decomposition in decompositions(op)}
    assert found == apart


def test_any_map_has_a_dense_decomposition():
    op = cm.conv(ANY, (5, 6), padding="same", boundary="edge") + cm.conv(ANY, (5, 6), padding="same")
    (only,) = decompositions(op)
    assert (only.method, only.work, only.is_apart) == ("dense", 30.0**3, False)


def test_the_cheapest_is_chosen():
    for kernel, options in ((ANY, CIRCLE), (ANY, HALF_CIRCLE), (OUTER, SAME), (ANY[:1], SAME)):
        op = cm.conv(kernel, (40, 30), **options)
        assert choose_decomposition(op).work == min(decomposition.work for decomposition in decompositions(op))


def test_the_rank_tolerance_is_that_of_numpy():
    D = np.diag([1.0, 8 * EPS, 2 * EPS, 0])
    s = np.linalg.svd(D, compute_uv=False)
    assert (s > rank_tolerance(D.shape, s[0])).sum() == np.linalg.matrix_rank(D) == 2


@pytest.mark.parametrize("largest", [6.0, 1.0, 1e300, 5e-324, 0.0])
def test_units_are_powers_of_two_near_the_largest(largest):
    power = unit(np.array([largest, -largest / 3]))
    assert np.frexp(power)[0] == 0.5
    assert np.isfinite(1 / power)
    assert not largest or largest < 1e-300 or 1 <= largest / power < 2
    op, scale = scaled(cm.conv([largest, 0.0], 5))
    assert np.array_equal(op.kernel * scale, [largest, 0.0])
