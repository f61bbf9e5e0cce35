"""Symbols, condition, rank, the smallest, trace, determinants, eigenvalues."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from scipy.optimize import linear_sum_assignment

import convmtx as cm
from convmtx.spectra import condition, determinant, eigenvalues
from spectra.dense import doubles, rounding, singular_values

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(("stride", "dilation", "groups"), [(1, 1, 1), (2, 1, 2), (2, 3, 1), (1, 2, 2), ((4, 1), 3, 1)])
def test_symbol_has_the_singular_values_of_the_circle(stride, dilation, groups):
    K = RNG.standard_normal((3, 4, 2, 4))
    op = cm.conv(K, (13, 13, 2 * groups), stride=stride, dilation=dilation, groups=groups, padding="same")
    pads = [(a.lo, a.stride * (n // a.stride - 1) + a.span - n - a.lo)
            for a, n in zip(op.geometry.axes, (8, 12), strict=True)]  # fmt: skip
    circle = cm.conv(K, (8, 12, 2 * groups), stride=stride, dilation=dilation, groups=groups, padding=pads,
                     boundary="wrap")  # fmt: skip
    F = cm.symbol(op, (8, 12))
    steps = np.broadcast_to(stride, 2)
    values = -np.sort(-np.linalg.svd(F, compute_uv=False).ravel())
    expected = singular_values(circle.to_dense())

    assert F.shape == (8 // steps[0], 12 // steps[1], 4, 2 * groups * steps.prod())
    assert np.abs(values[: expected.size] - expected).max() <= rounding(circle.to_dense())


def test_symbol_is_the_sum_over_taps():
    K = RNG.standard_normal((3, 2, 3))
    op = cm.conv(K, (9, 2), padding=[(2, 1)], dilation=2)
    for m, w in enumerate(2 * np.pi * np.arange(5) / 5 + 0.3):
        expected = sum(K[p].T * np.exp(1j * w * (2 * p - 2)) for p in range(3))
        assert np.allclose(cm.symbol(op, 5, 0.3)[m], expected)


@given(doubles())
@settings(max_examples=80)
def test_condition_rank_and_the_smallest(case):
    expected = singular_values(case.matrix)
    near = rounding(case.matrix)
    smallest = cm.smallest_singular_value(case.op)
    assert smallest.kind == "exact"
    assert abs(float(smallest) - expected[-1]) <= near
    if expected[-1] > 1e3 * near:
        assert np.isclose(float(cm.cond(case.op)), expected[0] / expected[-1], rtol=1e-3)
    clear = (expected > 1e3 * near) | (expected < near)
    if clear.all():
        assert int(cm.rank(case.op, tol=30 * near)) == (expected > 30 * near).sum()


@pytest.mark.parametrize(("options", "tight"), [
    ({"padding": "full"}, True), ({"padding": "valid"}, False), ({"padding": "same", "boundary": "reflect"}, True),
    ({"stride": 2, "padding": 1}, True), ({"padding": "same", "dilation": 2}, True),
])  # fmt: skip
def test_the_smallest_between_bounds(options, tight, monkeypatch):
    monkeypatch.setattr(condition, "SMALL_SPECTRUM_WORK", 0)
    K = np.random.default_rng(0).standard_normal((3, 3, 2, 4))
    K[1, 1, :, :2] += 9 * np.eye(2)
    op = cm.conv(K, (8, 9, 2), **options)
    expected = singular_values(op.to_dense())
    r, c = cm.smallest_singular_value(op), cm.cond(op)

    assert r.kind == c.kind == "interval"
    assert r.lower * (1 - 1e-9) <= expected[-1] <= r.upper * (1 + 1e-9)
    assert not tight or r.lower > 0.85 * r.upper
    assert c.lower * (1 - 1e-9) <= expected[0] / expected[-1] <= c.upper * (1 + 1e-9)


def test_singular_maps():
    op = cm.conv([1.0, -1.0], 6, padding="same", boundary="wrap")
    assert int(cm.rank(op)) == 5
    assert float(cm.cond(op)) > 1e15
    assert float(cm.logdet(op)) < -30
    assert float(cm.cond(cm.conv([0.0], 4))) == np.inf
    assert float(cm.logdet(cm.conv([0.0], 4))) == -np.inf
    assert int(cm.rank(cm.conv([0.0], 4))) == 0


def test_a_condition_that_is_rounding_is_no_exact_one():
    """The mean of 5 x 5 pixels on 32 x 32 takes something to zero: its kernel has rank 31 along each axis."""
    op = cm.conv(np.full((5, 5), 1 / 25), (32, 32), padding="same")
    one = cm.conv(np.ones(5), 32, padding="same").to_dense()
    c = cm.cond(op)

    assert np.linalg.matrix_rank(one) == 31
    assert (c.kind, c.upper) == ("interval", np.inf)
    assert 1e12 < c.lower < np.inf
    assert cm.cond(cm.conv([1e-6, 1.0], 6, padding="same", boundary="wrap")).kind == "exact"


def test_rank_between_bounds(monkeypatch):
    monkeypatch.setattr(condition, "PATIENT_WORK", 0)
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 3)), (9, 9), padding="full")
    r = cm.rank(op, tol=2.5)
    assert r.kind == "interval"
    assert r.lower <= (singular_values(op.to_dense()) > 2.5).sum() <= r.upper


@given(doubles())
@settings(max_examples=60)
def test_square_maps(case):
    op, D = case.op, case.matrix
    assume(op.in_shape == op.out_shape)
    near = rounding(D)
    assert abs(complex(cm.trace(op)) - np.trace(D)) <= near
    _, expected = np.linalg.slogdet(D)
    if singular_values(D)[-1] > 1e3 * near:
        assert np.isclose(float(cm.logdet(op)), expected, atol=1e-6)
    e, w = np.asarray(cm.eigvals(op)), np.linalg.eigvals(D)
    for power in (1, 2, 3):  # eigenvalues of maps far from normal move, and their power sums do not
        assert abs((e**power).sum() - (w**power).sum()) <= 10 * near * max(1, np.linalg.norm(D, 2)) ** (power - 1)


def test_traces_beyond_floats_lie_between_their_ends():
    above, below, apart = (
        cm.trace(cm.conv([1.0, tap, 1.0], 5, padding="same")) for tap in (1e308, -1e308, 1e308 - 1e308j)
    )

    assert (above.kind, above.lower, above.upper) == ("interval", np.finfo(float).max, np.inf)
    assert (below.kind, below.lower, below.upper) == ("interval", -np.inf, -np.finfo(float).max)
    assert below.lower <= below.value <= below.upper
    assert (apart.kind, apart.upper.real, apart.lower.imag) == ("interval", np.inf, -np.inf)
    assert (apart.lower.real, apart.upper.imag) == (np.finfo(float).max, -np.finfo(float).max)


EVEN = (
    np.multiply.outer([1.0, 2, 5, 2, 1], [1.0, 3, 9, 3, 1])
    + np.diag([1.0, 0, 0, 0, 1])
    + np.diag([1.0, 0, 0, 0, 1])[::-1]
)


@pytest.mark.parametrize(("kernel", "options", "rule"), [
    (EVEN, {"boundary": "reflect"}, "whole sample x whole sample"),
    (EVEN, {"boundary": "symmetric"}, "cosine x cosine"),
    (EVEN, {"boundary": ("reflect", "wrap")}, "whole sample x fourier"),
    (EVEN[1:4, 1:4], {}, "sine x sine"),
    (EVEN[1:4, 1:4], {"dilation": 2}, "parts x parts"),
    (RNG.standard_normal((3, 3)), {"boundary": "wrap"}, "fourier x fourier"),
    (RNG.standard_normal((3, 3)), {"boundary": "edge"}, "whole x whole"),
])  # fmt: skip
def test_eigenvalues(kernel, options, rule):
    op = cm.conv(kernel, (7, 6), padding="same", **options)
    e, w = cm.eigvals(op), np.linalg.eigvals(op.to_dense())
    far = np.abs(np.asarray(e)[:, None] - w)

    assert rule in e.method
    assert far[linear_sum_assignment(far)].max() <= 1e-10 * np.abs(w).max()
    assert (np.diff(np.abs(np.asarray(e))) <= 1e-12 * np.abs(w).max()).all()


def test_block_triangular_maps():
    """A masked kernel: what lies after an output is not read."""
    K = np.random.default_rng(1).standard_normal((3, 3, 2, 2))
    K[1, 1] += 4 * np.eye(2)  # or the dense determinant would be the inexact one
    K[1, 2], K[2] = 0, 0
    op = cm.conv(K, (5, 6, 2), padding="same")
    D = op.to_dense()
    far = np.abs(np.asarray(cm.eigvals(op))[:, None] - np.repeat(np.linalg.eigvals(K[1, 1].T), 30))

    assert cm.logdet(op).method == cm.eigvals(op).method == "block triangular"
    assert np.isclose(float(cm.logdet(op)), np.linalg.slogdet(D)[1])
    assert far[linear_sum_assignment(far)].max() < 1e-12


def test_sparse_determinant(monkeypatch):
    monkeypatch.setattr(determinant, "PATIENT_WORK", 0)
    monkeypatch.setattr(eigenvalues, "PATIENT_WORK", 0)
    op = cm.conv(RNG.standard_normal((3, 3, 2, 2)), (7, 7, 2), padding="same", boundary="edge")
    r = cm.logdet(op)
    expected = np.linalg.slogdet(op.to_dense())[1]
    assert r.method == "sparse LU"
    assert r.kind != "estimate"
    assert np.isclose(float(r), expected)
    assert r.lower < expected < r.upper < r.lower + 1e-4
    hidden = cm.logdet(cm.conv([1.0, -1.0], 9, padding="same", boundary="wrap"))  # singular, and rounding hides it
    assert (hidden.kind, hidden.lower) == ("estimate", -np.inf)
    assert hidden.upper <= 9 * np.log(2**0.5) * (1 + 1e-12)
    with pytest.raises(cm.UnsupportedError, match="98 rows without structure"):
        cm.eigvals(op)


def test_maps_of_every_class():
    a = cm.conv(RNG.standard_normal((3, 3)), (6, 5), padding="same", boundary="edge")
    P = cm.permutation((6, 5), "HW", "WH")
    for op in (a.T, a + a.T, P @ a, 2 * a.T):
        D = op.to_dense()
        assert np.isclose(float(cm.norm(op)), np.linalg.norm(D, 2))
        assert np.isclose(float(cm.norm(op, "fro")), np.linalg.norm(D))
        assert np.isclose(float(cm.trace(op)), np.trace(D))
        assert np.isclose(float(cm.cond(op)), np.linalg.cond(D))
        assert np.isclose(float(cm.logdet(op)), np.linalg.slogdet(D)[1])
        assert int(cm.rank(op)) == 30


OP = cm.conv(np.ones((3, 3)), (6, 6))
SUM = OP.T @ OP + cm.permutation((6, 6), "HW", "WH")
WRONG = [
    (lambda: cm.norm(OP, 3), "norm: ord=3. Expected 2, 1, inf or 'fro'"),
    (lambda: cm.norm(OP, rtol=0), "norm: rtol=0. Expected a number between 0 and 1"),
    (lambda: cm.norm(OP.kernel[0]), "norm: op has shape (3,). Expected a matrix (M, N)"),
    (lambda: cm.norm(3), "norm: op is an int. Expected a map of convmtx, a matrix or an operator"),
    (lambda: cm.norm(cm.Affine(OP, np.zeros((4, 4)))), "norm: op is an Affine. Expected a map of convmtx, a matrix or"),
    (lambda: cm.norm(cm.conv([np.nan, 1.0], 4)), "norm: the kernel contains inf or nan"),
    (lambda: cm.svdvals(OP, 17), "svdvals: k=17. The matrix has 16 singular values"),
    (lambda: cm.svdvals(OP, 0), "svdvals: k=0. Expected an integer >= 1"),
    (lambda: cm.svdvals(OP, 2, "last"), "svdvals: which='last'"),
    (lambda: cm.svd(OP, 17), "svd: k=17. The matrix has 16 singular values"),
    (lambda: cm.norm_bound(OP, "magic"), "norm_bound: method='magic'"),
    (lambda: cm.norm_bound(SUM), "norm_bound: op is a Sum, which is not a single convolution"),
    (lambda: cm.norm(cm.conv([np.inf, 1.0], 4).T @ cm.conv([np.inf, 1.0], 4) + cm.conv([1.0], 4)), "contains inf"),
    (lambda: cm.sup_norm(OP), "sup_norm: kernel is a ConvOperator. Expected a kernel"),
    (lambda: cm.symbol(OP, 4, "x"), "symbol: shift='x'. Expected a finite number, or 2 of them"),
    (lambda: cm.sup_norm(3.0), "a kernel of 0 axes|Expected at least one"),
    (lambda: cm.symbol(cm.conv([1.0, 2.0], 8, stride=2), 5), "symbol: grid=(5,) with stride 2 and input dilation 1"),
    (lambda: cm.trace(OP), "trace: op has 16 rows and 36 columns. Expected a square map"),
    (lambda: cm.rank(OP, -1), "rank: tol=-1. Expected a number >= 0"),
    (lambda: cm.clip(OP, 0), "clip: max=0. Expected a positive number"),
    (lambda: cm.project(SUM, 1), "project: op is a Sum"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), WRONG)
def test_errors_say_what_came_and_what_was_wanted(call, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        call()
    assert any(part in str(caught.value) for part in message.split("|"))
    assert isinstance(caught.value, cm.ConvmtxError)
