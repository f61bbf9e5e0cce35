"""Iterates for many right-hand sides at once, beside SciPy's for one and beside dense least squares."""

import numpy as np
import pytest
from scipy.sparse.linalg import lsmr

import convmtx as cm
from convmtx.solves.methods.lsmr import lsmr as ours
from convmtx.solves.problem import problem_of
from convmtx.structure.precision import EPS

SHAPES = {"tall": (30, 20, 20), "wide": (20, 30, 20), "square": (24, 24, 24), "singular": (30, 24, 9)}
SCALES = np.array([1.0, 1e-5, 1e8, 3.0])


def normal(rng, shape, dtype):
    real = rng.standard_normal(shape)
    return real + 1j * rng.standard_normal(shape) if dtype is complex else real


def problem(name, dtype, count=4):
    """A matrix and right-hand sides, one a row."""
    rows, columns, rank = SHAPES[name]
    rng = np.random.default_rng([rows, columns, dtype is complex])
    A = normal(rng, (rows, rank), dtype) @ normal(rng, (rank, columns), dtype) if name == "singular" else None
    A = normal(rng, (rows, columns), dtype) if A is None else A
    return A, normal(rng, (count, rows), dtype)


def solver(A, b, **kwargs):
    return ours(lambda x: x @ A.T, lambda y: y @ A.conj(), b, **kwargs)


def run(solving, steps=200):
    for _ in range(steps):
        solving.step()
    return solving.x


def least(A, b, damp=0.0):
    stacked = np.concatenate([A, damp * np.eye(A.shape[1])])
    b = np.concatenate([b, np.zeros((len(b), A.shape[1]))], axis=1)
    return np.linalg.lstsq(stacked, b.T, rcond=1e-12)[0].T


def positive(rng, size, dtype):
    X = normal(rng, (size, 2 * size), dtype)
    return X @ X.conj().T / size


def assert_near(x, expected, rtol=1e-10):
    assert x.shape == expected.shape
    assert (np.linalg.norm(x - expected, axis=1) <= rtol * np.linalg.norm(expected, axis=1)).all()


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("damp", [0.0, 0.7, 50.0])
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("count", [1, 4])
def test_iterates_are_those_of_scipy(name, damp, dtype, count):
    A, b = problem(name, dtype, count)
    b *= SCALES[:count, None]
    solving = solver(A, b, damp=damp)
    for k in range(1, 9):
        solving.step()
        assert solving.iterations == k or solving.finished.all()
        for i in np.flatnonzero(~solving.finished):
            x, _, steps, residual, normal_residual, norm, condition, _ = lsmr(A, b[i], damp, 0, 0, 0, k)
            assert steps == k
            assert np.linalg.norm(solving.x[i] - x) <= 1e-11 * np.linalg.norm(x)
            assert np.isclose(solving.residual[i], residual, rtol=1e-11)
            assert abs(solving.normal_residual[i] - normal_residual) <= 1e-12 * norm * np.linalg.norm(b[i])
            assert np.isclose(solving.norm[i], np.sqrt(norm**2 + k * damp**2), rtol=1e-11)  # SciPy's is that of A
            assert np.isclose(solving.condition[i], condition, rtol=1e-8)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("name", SHAPES)
def test_estimates_are_the_norms_of_the_iterates(name, dtype):
    """With a preconditioner in its norm, with damping those of the stacked system."""
    A, b = problem(name, dtype)
    P = positive(np.random.default_rng(1), A.shape[1], dtype)
    for damp in (0.0, 0.8):
        for preconditioner in (None, lambda w: w @ P.T):
            solving = solver(A, b, damp=damp, preconditioner=preconditioner)
            for _ in range(6):
                solving.step()
            r = b - solving.x @ A.T
            g = r @ A.conj() - damp**2 * solving.x
            size = np.linalg.norm(g, axis=1)
            if preconditioner is not None:
                size = np.sqrt(np.vecdot(g, preconditioner(g)).real)
            assert np.allclose(solving.residual**2, (abs(r) ** 2).sum(1) + damp**2 * (abs(solving.x) ** 2).sum(1))
            assert np.allclose(solving.normal_residual, size)


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("name", SHAPES)
def test_the_limit_is_the_least_of_least_squares(name, damp, dtype):
    A, b = problem(name, dtype)
    assert_near(run(solver(A, b, damp=damp)), least(A, b, damp))


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("name", ["tall", "square"])
def test_no_preconditioner_and_no_start_changes_the_limit(name, damp, dtype):
    """In particular it is ``||x||`` that is damped, whatever the preconditioner and the start."""
    A, b = problem(name, dtype)
    rng = np.random.default_rng(2)
    P = positive(rng, A.shape[1], dtype)
    x0 = normal(rng, (len(b), A.shape[1]), dtype)
    for start in (None, x0):
        for preconditioner in (None, lambda w: w @ P.T, lambda w: w):
            solving = solver(A, b, x0=start, damp=damp, preconditioner=preconditioner)
            assert_near(run(solving), least(A, b, damp), 1e-9)
            assert solving.converged(1e-13).all()


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_the_exact_inverse_is_a_preconditioner_of_one_step(damp, dtype):
    A, b = problem("tall", dtype)
    P = np.linalg.inv(A.conj().T @ A + damp**2 * np.eye(A.shape[1]))
    solving = solver(A, b, damp=damp, preconditioner=lambda w: w @ P.T)
    assert not solving.converged(1e-8).any()
    solving.step()
    assert solving.converged(1e-8).all()
    assert_near(solving.x, least(A, b, damp))
    assert_near(run(solving), least(A, b, damp))


def test_a_preconditioner_on_the_right_gives_the_same_iterates():
    """The law of the recurrences: those of ``A L`` with ``P = L L^H``."""
    A, b = problem("tall", complex)
    P = positive(np.random.default_rng(3), A.shape[1], complex)
    L = np.linalg.cholesky(P)
    solving, right = solver(A, b, preconditioner=lambda w: w @ P.T), solver(A @ L, b)
    for _ in range(8):
        solving.step()
        right.step()
        assert_near(solving.x, right.x @ L.T, 1e-11)
        for estimate in ("residual", "normal_residual", "norm", "condition"):
            assert np.allclose(getattr(solving, estimate), getattr(right, estimate), rtol=1e-9)


def test_converged_is_scipys_test():
    rng = np.random.default_rng(10)
    A = rng.standard_normal((150, 50))
    B = np.concatenate([np.ones((1, 50)) @ A.T, rng.standard_normal((4, 150))])  # the first is consistent
    for rtol in (1e-2, 1e-4, 1e-8):
        solving = solver(A, B)
        stopped = np.zeros(len(B), int)
        for k in range(1, 60):
            solving.step()
            stopped[(stopped == 0) & solving.converged(rtol)] = k
        assert list(stopped) == [lsmr(A, row, atol=rtol, btol=rtol, conlim=0, maxiter=60)[2] for row in B]


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_a_solve_is_done_when_all_have_converged(name, count, dtype):
    A, b = problem(name, dtype, count)
    b *= 1e9
    solving = solver(A, b)
    first = np.linalg.norm(b @ A.conj(), axis=1)
    for _ in range(40):
        done = solving.converged(1e-6) | solving.finished
        assert solving.is_done(1e-6) == done.all()
        assert solving.decrease(first) == pytest.approx((solving.normal_residual / first).max())
        solving.step()
    assert solving.is_done(1e-6)


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("preconditioned", [False, True])
def test_right_hand_sides_that_end_early(damp, preconditioned, single):
    """b = 0, b in one step, b that the map cannot reach, beside others; further steps harm none."""
    rng = np.random.default_rng(4)
    A = np.zeros((12, 8))
    A[:8] = np.diag(np.arange(1.0, 9))
    b = np.zeros((6, 12))
    b[1, 2], b[2, 10], b[3], b[4, :8], b[5, [0, 11]] = 5.0, 1.0, rng.standard_normal(12), 1.0, 1.0
    expected = least(A, b, damp)
    for rows in [[i] for i in range(6)] if single else [range(6)]:
        preconditioner = (lambda w: w / (1 + np.arange(8))) if preconditioned else None
        solving = solver(A, b[list(rows)], damp=damp, preconditioner=preconditioner)
        x = run(solving, 500)
        assert solving.finished.all()
        assert solving.converged(1e-14).all()
        assert np.abs(x - expected[list(rows)]).max() <= 1e-13
        for estimate in (solving.residual, solving.normal_residual, solving.norm, solving.condition):
            assert np.isfinite(estimate).all()


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("start", [False, True])
def test_any_scale(start, damp, dtype):
    A, b = problem("tall", dtype)
    P = positive(np.random.default_rng(5), A.shape[1], dtype)
    scales = np.array([1e-200, 1e200, 1.0, 1e-300])[:, None]
    x0 = normal(np.random.default_rng(6), (4, A.shape[1]), dtype) if start else None
    for preconditioner in (None, lambda w: w @ P.T):
        solving = solver(
            A, b * scales, x0=None if x0 is None else x0 * scales, damp=damp, preconditioner=preconditioner
        )
        assert_near(run(solving) / scales, least(A, b, damp), 1e-9)
        assert solving.converged(1e-13).all()
        assert np.isfinite(solving.residual).all()


@pytest.mark.parametrize("scale", [1e-45, 1e45])
def test_maps_of_any_scale(scale):
    A, b = problem("tall", float)
    x = run(solver(scale * A, b, damp=0.5 * scale))
    assert_near(x * scale, least(A, b, 0.5))
    P = np.linalg.inv(A.T @ A) + np.eye(A.shape[1])
    x = run(solver(scale * A, b, damp=0.5 * scale, preconditioner=lambda w: w @ P.T))
    assert_near(x * scale, least(A, b, 0.5))


def test_a_start_at_the_solution_stays_there():
    A, _ = problem("tall", float)
    x0 = np.random.default_rng(7).standard_normal((3, A.shape[1]))
    x0[1] = 0
    solving = solver(A, x0 @ A.T, x0=x0)
    assert solving.finished.all()
    assert_near(run(solving)[[0, 2]], x0[[0, 2]], 4 * EPS)
    assert not solving.x[1].any()


def test_singular_systems_are_not_harmed_by_steps_beyond():
    """The classical trap: rounding makes small singular values of zeros."""
    A, b = problem("singular", float)
    for right in (b, least(A, b) @ A.T):
        assert_near(run(solver(A, right), 1000), least(A, b))


@pytest.mark.parametrize("preconditioned", [False, True])
def test_what_is_finished_stays_while_others_go_on(preconditioned):
    n = 60
    A = 1e4 * (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1))
    A[-2, -3] = A[-3, -2] = 0
    b = np.stack([np.arange(n) // (n - 2) * np.arange(n) * 1.1, np.zeros(n), np.cos(np.arange(n) ** 2)])
    solving = solver(A, b, preconditioner=(lambda w: 2 * w) if preconditioned else None)
    run(solving, 5)
    assert list(solving.finished) == [True, True, False]
    names = ("x", "residual", "normal_residual", "norm", "condition")
    before = [getattr(solving, name)[:2] for name in names]
    assert_near(run(solving), np.linalg.solve(A, b.T).T)
    assert solving.iterations > 100
    for name, value in zip(names, before, strict=True):
        assert (getattr(solving, name)[:2] == value).all()


def test_a_start_from_which_zero_is_to_be_found():
    """Where the residual is never small beside b."""
    n = 60
    A = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    x0 = np.cos(np.arange(n) ** 2)[None]
    for preconditioner in (None, lambda w: w * (1 + np.arange(n) % 3)):
        solving = solver(A, np.zeros((1, n)), x0=x0, preconditioner=preconditioner)
        x = run(solving, 300)
        assert solving.finished.all()
        assert np.abs(x).max() <= 1e-12


def test_shapes_are_kept_and_inputs_left_alone():
    rng = np.random.default_rng(8)
    K, b = rng.standard_normal((6, 4)), rng.standard_normal((3, 6, 5))
    before = b.copy()
    x0 = rng.standard_normal((3, 4, 5)) + 1j * rng.standard_normal((3, 4, 5))

    def forward(x):
        return np.moveaxis(np.tensordot(x, K, (1, 1)), -1, 1)  # which is not contiguous

    def adjoint(y):
        return np.moveaxis(np.tensordot(y, K, (1, 0)), -1, 1)

    expected = np.linalg.pinv(K) @ b
    for start in (None, x0):
        x = run(ours(forward, adjoint, b, x0=start), 60)
        assert x.shape == (3, 4, 5)
        assert x.dtype == (float if start is None else complex)
        assert np.allclose(x, expected)
    assert (b == before).all()


@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_any_order_in_memory(damp):
    A, b = problem("tall", complex)
    x0, expected = np.ones((4, A.shape[1]), complex, order="F"), least(A, b, damp)
    for start in (None, x0):
        solving = ours(
            lambda x: np.asfortranarray(x @ A.T),
            lambda y: np.asfortranarray(y @ A.conj()),
            np.asfortranarray(b),
            x0=start,
            damp=damp,
            preconditioner=lambda w: np.asfortranarray(2 * w),
        )
        assert_near(run(solving), expected)


def test_a_complex_map_of_real_right_hand_sides():
    A, _ = problem("tall", complex)
    b = np.random.default_rng(9).standard_normal((2, A.shape[0]))
    assert_near(run(solver(A, b)), least(A, b))


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_nothing_to_solve(shape):
    solving = ours(lambda x: x, lambda y: y, np.zeros(shape))
    solving.step()
    assert solving.x.shape == shape
    assert solving.converged(1e-6).all()


def test_a_matrix_is_applied_to_empty_batches_as_that_of_numpy():
    op = cm.conv(np.ones((2, 3)), (5, 6))
    applied, A, none = problem_of(op).prepare().applied, op.to_dense(), np.zeros((0, 5, 6))
    image = (none.reshape(0, 30) @ A.T).reshape(0, 4, 4)
    assert np.array_equal(applied.forward(none), image)
    assert np.array_equal(applied.adjoint(image), (image.reshape(0, 16) @ A).reshape(0, 5, 6))
