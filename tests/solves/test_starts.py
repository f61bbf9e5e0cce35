"""Where iterations start changes how soon they end, and not where: beside NumPy's least squares."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
from convmtx.solves.methods.iterated import dominance
from convmtx.solves.solve import METHODS
from solves.dense import matrix_of, numbers, stacked
from spectra.dense import doubles

RNG = np.random.default_rng(0)
K = RNG.standard_normal((3, 3))
STRONG = np.array([[0.5, 1, 0], [1, 6, -1], [2, 0, 1.0]])
SAME = {"padding": "same"}
#: A map, damping and regularizer with more than one x that fits as well, or almost as well.
OPEN = {
    "wide": (cm.conv(K, (8, 9)), 0.0, None),
    "complex": (cm.conv(K + 1j * K.T, (8, 9)), 0.0, None),
    "strided": (cm.conv(K, (8, 9), stride=2, **SAME), 0.0, None),
    "channels": (cm.conv(RNG.standard_normal((3, 3, 3, 2)), (6, 5, 3), **SAME), 0.0, None),
    "transpose": (cm.conv(K, (5, 6), padding="full").T, 0.0, None),
    "sum": (cm.conv(K, (8, 9)) + cm.conv(K.T, (8, 9)), 0.0, None),
    "singular": (cm.conv([1.0, 0, -1], 9, **SAME), 0.0, None),
    "circle": (cm.conv([[1.0, -1]], (6, 7), padding="same", boundary="wrap"), 0.0, None),
    "regularizer": (cm.conv([[1.0, -1]], (6, 7)), 0.3, cm.conv([[1.0], [-1]], (6, 7))),
    "little damping": (cm.conv(K, (8, 9)), 1e-6, None),
}
#: Those with one.
CLOSED = {
    "damped": (cm.conv(K, (8, 9)), 0.1, None),
    "one tap outweighs the others": (cm.conv(STRONG, (7, 6), **SAME), 0.0, None),
    "tall": (cm.conv(1j * STRONG, (5, 6), padding="full"), 0.0, None),
    "edge": (cm.conv(np.add(np.ones((3, 3)), 20 * np.eye(3)[1] * np.eye(3)[:, 1:2]), (7, 6), padding="same",
                     boundary="edge"), 0.0, None),
}  # fmt: skip


def least(op, damp, R, b):
    D = stacked(matrix_of(op), damp, None if R is None else matrix_of(R))
    flat = np.pad(b.reshape(len(b), -1), ((0, 0), (0, len(D) - op.shape[0])))
    return np.linalg.lstsq(D, flat.T, rcond=1e-11)[0].T.reshape(len(b), *op.in_shape)


@pytest.mark.parametrize("name", [*OPEN, *CLOSED])
@pytest.mark.parametrize("kind", "fc")
@pytest.mark.parametrize("method", METHODS)
def test_every_start_leads_to_the_shortest_solution(name, kind, method):
    op, damp, R = (OPEN | CLOSED)[name]
    b, x0 = numbers(RNG, (2, *op.out_shape), kind), 10 * numbers(RNG, (2, *op.in_shape), kind)
    expected = least(op, damp, R, b)
    try:
        F = cm.factorize(op, damp=damp, regularizer=R, method=method)
    except (ValueError, cm.SolveError):
        assert method != "lsmr"
        return
    options = {"rtol": 1e-12, "maxiter": 5000}
    for start in (x0, expected + x0[0]):
        s = cm.solve(op, b, damp=damp, regularizer=R, method=method, x0=start, **options)
        again, cold = F.solve(b, x0=start, **options), F.solve(b, **options)
        if method == "preconditioned" and name in OPEN:  # which alone finds another than the shortest
            assert np.abs(s.x - cold.x).max() <= 1e-6 * np.abs(cold.x).max()
            continue
        assert np.abs(s.x - expected).max() <= 1e-7 * np.abs(expected).max()
        assert np.abs(again.x - expected).max() <= 1e-7 * np.abs(expected).max()
        if "LSMR" in s.method:
            assert ("x0 is not used" in s.reason) == (name in OPEN and s.converged)


def test_starts_where_all_right_hand_sides_are_reached():
    """Nothing tells then that the map is singular, and a start would keep its part in the null space."""
    for name in OPEN:
        op, damp, R = OPEN[name]
        b = op(numbers(RNG, (2, *op.in_shape), op.dtype.kind))
        s = cm.solve(op, b, damp=damp, regularizer=R, method="lsmr", x0=RNG.standard_normal(op.in_shape), rtol=1e-12)
        assert s.converged
        assert np.abs(s.x - least(op, damp, R, b)).max() <= 1e-7 * np.abs(s.x).max()


@pytest.mark.parametrize("name", CLOSED)
def test_a_start_near_the_only_solution_saves_iterations(name):
    op, damp, R = CLOSED[name]
    b = numbers(RNG, (1, *op.out_shape), op.dtype.kind)
    x = least(op, damp, R, b)
    cold, warm = (cm.solve(op, b, damp=damp, method="lsmr", x0=x0) for x0 in (None, x + 1e-5 * RNG.random(x.shape)))
    assert warm.iterations < cold.iterations
    exact = cm.solve(op, b, damp=damp, method="lsmr", x0=x)
    assert exact.iterations <= 2  # one step alone does not show how far x may be off


def test_a_start_in_another_library():
    torch = pytest.importorskip("torch")
    op = cm.conv(torch.tensor(K, dtype=torch.float32), (8, 9))
    b = torch.tensor(RNG.standard_normal(op.out_shape), dtype=torch.float32)
    s = cm.solve(op, b, method="lsmr", x0=torch.tensor(RNG.standard_normal((8, 9))), rtol=1e-12)
    expected = least(cm.conv(K.astype(np.float32), (8, 9)), 0.0, None, np.asarray(b, float)[None])[0]
    assert np.abs(np.asarray(s.x) - expected).max() <= 1e-6


@given(doubles(), st.integers(0, 99), st.floats(0, 50))
@settings(max_examples=80)
def test_the_bound_by_dominance_is_below_the_least_singular_value(case, seed, more):
    K = np.array(case.op.kernel)
    K.flat[seed % K.size] += more
    op = case.op.with_kernel(K)
    values = np.linalg.svd(matrix_of(op), compute_uv=False)
    least = 0.0 if op.shape[0] < op.shape[1] else values[-1]
    assert 0 <= dominance(op) <= least + 1e-12 * values[0]


def test_the_bound_by_dominance_is_attained():
    op = cm.conv([-1.0, 5, -1], 1000, **SAME)
    assert np.isclose(dominance(op), 3)
    assert dominance(cm.conv([1.0, 5j, 1], 1000, **SAME)) >= 5 - 1e-12  # the others are skew beside it
    assert dominance(cm.conv([1.0, 1.5, 1], 1000, **SAME)) == 0
