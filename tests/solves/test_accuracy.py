"""How far solutions are from the minimizers: what is claimed is not exceeded, against dense least squares of NumPy."""

import numpy as np
import pytest
from scipy.sparse.linalg import spsolve

import convmtx as cm
from convmtx.solves.accuracy import Lengths, error_from, error_of_rounding, least_eigenvalue

SECOND = np.array([1.0, -2.0, 1.0])


def minimizer(op, b, damp, penalty=None):
    """The least squares of the stacked matrix, and its condition number."""
    matrix = op.to_dense()
    below = damp * (np.eye(matrix.shape[1]) if penalty is None else penalty.to_dense())
    stacked = np.vstack([matrix, below]) if damp else matrix
    right = np.concatenate([b.ravel(), np.zeros(len(stacked) - b.size)])
    x, _, _, values = np.linalg.lstsq(stacked, right, rcond=None)
    return x.reshape(op.in_shape), values[0] / values[-1]


def relative(x, expected):
    return np.linalg.norm(x - expected) / np.linalg.norm(expected)


def test_a_response_as_long_as_the_signal_and_smooth():
    """The residual of LSMR is small after 30 steps, and x is off by all of its norm for thousands."""
    n = 401
    t = np.arange(n) / 20
    edge, response = 1 / (1 + np.exp(-3 * (t - 10))), np.exp(-((t - 10) ** 2) / 2)
    op, penalty = cm.conv(edge, n, padding=[(n - 1, 0)], flip=True), cm.conv(SECOND, n, padding="same")
    b = op(response / response.sum()) + 1e-3 * np.random.default_rng(1).standard_normal(n)
    expected, _ = minimizer(op, b, 0.01, penalty)
    s = cm.solve(op, b, damp=0.01, regularizer=penalty)
    assert s.converged
    assert relative(s.x, expected) <= s.error <= 1e-3
    few = cm.solve(op, b, damp=0.01, regularizer=penalty, method="lsmr", maxiter=40)
    assert not few.converged


@pytest.mark.parametrize("method", ["lsmr", "preconditioned", "auto", "dense", "sparse"])
@pytest.mark.parametrize("damp", [0.01, 0.1])
def test_errors_are_not_larger_than_what_is_claimed(method, damp):
    op = cm.conv(np.eye(5) / 5, (14, 15), padding="same", boundary="reflect")
    penalty = cm.conv(SECOND[:, None] * SECOND, (14, 15), padding="same")
    rng = np.random.default_rng(0)
    b = op(rng.random(op.in_shape)) + 1e-3 * rng.standard_normal(op.out_shape)
    for regularizer in (None, [penalty, cm.identity((14, 15))]):
        whole = None if regularizer is None else cm.vstack(regularizer)
        expected, condition = minimizer(op, b, damp, whole)
        s = cm.solve(op, b, damp=damp, regularizer=regularizer, method=method)
        off = relative(s.x, expected)
        assert s.converged
        assert off <= s.error + 1e-15 * condition**2
        assert s.error <= 1e-3
        assert s.error_kind == ("estimate" if method in ("dense", "sparse") else s.error_kind)


def test_damping_bounds_the_error():
    op = cm.conv([1.0, 4.0, 2.0], 50, padding="same", boundary="edge")
    b = np.random.default_rng(0).standard_normal((3, 50))
    s = cm.solve(op, b, damp=1.0, method="lsmr", rtol=1e-6)
    assert s.error_kind == "bound"
    assert s.error.shape == (3,)
    assert np.allclose(s.error, s.normal_residual / np.linalg.norm(s.x, axis=1))
    for x, right, error in zip(s.x, b, s.error, strict=True):
        assert relative(x, minimizer(op, right, 1.0)[0]) <= error


def test_xtol_is_what_iterations_reach():
    """The tests of residuals alone would end much earlier."""
    op = cm.conv(np.exp(-(np.linspace(-2, 2, 9) ** 2)), 120, padding="same", boundary="reflect")
    penalty = cm.conv(SECOND, 120, padding="same", boundary="symmetric")
    b = op(np.sin(np.arange(120.0))) + 0.01 * np.random.default_rng(0).standard_normal(120)
    expected, _ = minimizer(op, b, 0.3, penalty)
    steps = []
    for xtol in (1e9, 1e-3, 1e-7):
        s = cm.solve(op, b, damp=0.3, regularizer=penalty, method="lsmr", rtol=1e-3, xtol=xtol)
        assert s.converged
        assert relative(s.x, expected) <= xtol
        assert len(s.history) == s.iterations
        steps.append(s.iterations)
    assert steps[0] < steps[1] < steps[2]


def test_an_error_that_is_far_from_xtol_is_worth_a_preconditioner():
    """The residuals that are requested take some dozen steps, and x takes hundreds more."""
    motion, laplacian = np.eye(9) / 9, [[0, -1, 0], [-1, 4, -1], [0, -1, 0]]
    camera, rough = cm.conv(motion, (48, 48)), cm.conv(laplacian, (48, 48), padding="same", boundary="symmetric")
    scene = np.random.default_rng(1).standard_normal((48, 48)).cumsum(0).cumsum(1) / 40
    b = camera(scene) + 0.005 * np.random.default_rng(0).standard_normal((40, 40))
    A, R = camera.to_sparse(), rough.to_sparse()
    expected = spsolve((A.T @ A + 0.03**2 * R.T @ R).tocsc(), A.T @ b.ravel()).reshape(48, 48)
    s = cm.solve(camera, b, damp=0.03, regularizer=rough, rtol=1e-4)
    assert "embedded circulant" in s.method
    assert relative(s.x, expected) <= s.error <= 1e-3


def test_what_iterations_cannot_reach_has_not_converged():
    op = cm.conv(np.exp(-(np.linspace(-2, 2, 31) ** 2)), 100, padding="same", boundary="edge")
    b = op(np.ones(100)) + 0.01 * np.random.default_rng(0).standard_normal(100)
    s = cm.solve(op, b, damp=1e-9, method="lsmr", maxiter=200)
    assert not s.converged
    assert s.verdict in ("inexact", "out of steps", "stalled")
    assert cm.solve(op, b, damp=1e-2).converged


def test_a_map_that_sees_less_than_there_is():
    """One direction is left to a penalty of 1e-13: the steps that explain b do not meet it."""
    op, penalty = cm.conv([1.0, -0.7], 120), cm.conv(SECOND, 120, padding="same")
    b = op(np.cumsum(np.random.default_rng(0).standard_normal(120)))
    expected, _ = minimizer(op, b, 3e-7, penalty)
    s = cm.solve(op, b, damp=3e-7, regularizer=penalty, method="lsmr")
    assert not s.converged or relative(s.x, expected) <= 1e-3


@pytest.mark.parametrize("shape", [(8, 12), (12, 8), (9, 9)])
@pytest.mark.parametrize("damp", [1e-2, 1e-3])
@pytest.mark.parametrize("method", ["lsmr", "preconditioned"])
def test_directions_that_few_steps_do_not_meet(shape, damp, method):
    """The first step explains all but a thousandth of b, and that is most of x."""
    op = cm.conv(np.poly(-np.ones(4)) / 16, shape[1], padding=[((shape[0] - shape[1] + 4) // 2,) * 2])
    assert op.shape == shape
    u, _, _ = np.linalg.svd(op.to_dense())
    for b in (u[:, 0] + 1e-3 * u[:, min(shape) - 1], u[:, 0]):
        for rtol in (1e-3, 1e-8):
            s = cm.solve(op, b, damp=damp, method=method, rtol=rtol, xtol=0.5)
            assert not s.converged or relative(s.x, minimizer(op, b, damp)[0]) <= 1.5 * s.error + 1e-13


def test_rounding_is_a_part_of_the_error():
    """Zeros of the map are rounding here, and damping makes x of them as large as what b has there."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    A = q @ np.diag([1.0, 1, 1, 1, 1, 0, 0, 0]) @ q.T
    op, b, damp = cm.aslinearmap(A), q[:, 0] + 1e-3 * q[:, -1], 1e-8
    for method in ("lsmr", "dense"):
        s = cm.solve(op, b, damp=damp, method=method, xtol=1e-9)
        assert not s.converged
        assert s.error > 1e-9


def test_what_nothing_decides_leaves_the_error_of_the_rest():
    """Neither the map nor the regularizer sees one direction, and of what the regularizer alone sees x is rounding."""
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.standard_normal((8, 8)))
    op = cm.aslinearmap(q @ np.diag([1.0, 1, 1, 0, 0, 0, 0, 0]) @ q.T)
    penalty = cm.aslinearmap(rng.standard_normal((4, 8)))
    b = rng.standard_normal(8)
    poor = cm.solve(op, b, damp=1e-9, regularizer=penalty, method="dense")
    assert not poor.converged
    assert poor.error > 1e-3
    good = cm.solve(op, b, damp=0.1, regularizer=penalty, method="dense")
    assert good.converged
    assert relative(good.x, minimizer(op, b, 0.1, penalty)[0]) <= good.error <= 1e-10


@pytest.mark.parametrize("method", ["auto", "lsmr"])
def test_a_scene_that_goes_on_has_its_error_in_the_picture(method):
    """Nearly all of the scene's solution is beyond the picture, and so is what its error is relative to."""
    kernel, n, damp, rng = np.exp(-((np.arange(9.0) - 4) ** 2) / 4), 4, 1e-2, np.random.default_rng(0)
    op, scene = cm.conv(kernel, n, padding="full"), cm.conv(kernel, n + 16)
    inside = np.pad(np.ones(n), 8) * 1e-4
    b = scene(np.where(inside > 0, inside, rng.random(n + 16)))
    expected = minimizer(scene, b, damp)[0]
    for rtol, xtol in ((1e-3, 1.0), (1e-8, 1e-3)):
        s = cm.solve(op, b, damp=damp, border="free", method=method, rtol=rtol, xtol=xtol)
        whole = cm.solve(scene, b, damp=damp, method=method, rtol=rtol, xtol=xtol)
        assert np.isclose(s.error * np.linalg.norm(s.x), whole.error * np.linalg.norm(whole.x))
        assert s.error > whole.error
        assert s.converged == (s.error <= xtol)
        assert relative(s.x, expected[8:-8]) <= 1.5 * s.error + 1e-13
        assert "inside the picture" in s.reason or s.converged


def test_what_is_not_known_is_said():
    op = cm.conv([1.0, 2.0, 1.0], 8, padding="same")
    truncated = cm.solve(op, np.arange(8.0), rcond=0.1)
    assert truncated.error_kind == "unknown"
    assert truncated.reason.endswith("how far x is off is not known")
    assert "no step has met do not show" in cm.solve(op, np.arange(8.0), method="lsmr").reason
    assert "there is a shorter solution" in cm.solve(op, np.arange(8.0), method="preconditioned").reason
    smooth = cm.solve(op, np.arange(8.0), damp=0.1, regularizer=cm.conv(SECOND, 8), method="preconditioned")
    assert smooth.reason.endswith("there is a shorter solution")
    for method in ("lsmr", "preconditioned"):
        assert cm.solve(op, np.arange(8.0), damp=0.1, method=method).reason == "requested"


def test_errors_beyond_the_range_of_floats_are_infinite():
    one = np.ones(1)
    with np.errstate(all="raise"):
        assert error_from(np.array([1e200]), None, 1e-200) == np.inf
        assert error_of_rounding(Lengths(one, one, 1e200 * one, one), 1.0, 1e-200) == np.inf
        assert error_of_rounding(Lengths(0 * one, one, one, one), 1.0, 0.0) == 0


def test_a_solution_beyond_the_range_of_floats_has_not_converged():
    op = cm.conv([1.0, 3.0, 1.0], 8, padding="same") * 1e-3
    s = cm.solve(op, np.full(8, 1e308))
    assert not s.converged
    assert s.verdict == "beyond range"


def test_zero_is_no_error():
    op = cm.conv([1.0, 3.0, 1.0], 8, padding="same")
    for method in ("auto", "lsmr", "dense"):
        s = cm.solve(op, np.zeros(8), damp=0.1, method=method)
        assert s.converged
        assert s.error == 0
    singular = cm.solve(cm.conv([1.0, 1.0], 8, padding="same", boundary="wrap"), np.arange(8.0))
    assert not singular.converged


def test_complex_problems_join_the_errors_of_their_parts():
    op = cm.conv([1.0, 4.0, 2.0], 50, padding="same", boundary="edge")
    rng = np.random.default_rng(0)
    b = rng.standard_normal((2, 50)) + 1j * rng.standard_normal((2, 50))
    s = cm.solve(op, b, damp=1.0, method="lsmr", rtol=1e-6)
    for x, right, error in zip(s.x, b, s.error, strict=True):
        expected = minimizer(op, right.real, 1.0)[0] + 1j * minimizer(op, right.imag, 1.0)[0]
        assert relative(x, expected) <= error


def test_the_least_eigenvalue_of_a_bidiagonal_matrix_is_not_overestimated():
    rng = np.random.default_rng(0)
    for steps in (1, 2, 3, 40):
        alphas, betas = rng.random(steps + 1) + 0.5, rng.random(steps)
        matrix = np.zeros((steps + 1, steps))
        matrix[np.arange(steps), np.arange(steps)], matrix[np.arange(steps) + 1, np.arange(steps)] = alphas[:-1], betas
        least = np.linalg.svd(matrix, compute_uv=False)[-1] ** 2
        assert least_eigenvalue(alphas, betas) <= least * (1 + 1e-9)
    assert np.isnan(least_eigenvalue(alphas[:1], betas[:0]))
