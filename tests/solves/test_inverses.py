"""Problems made ready, and inverses as maps, beside NumPy's."""

import numpy as np
import pytest

import convmtx as cm
from solves.dense import condition, least, matrix_of, numbers, stacked

RNG = np.random.default_rng(0)
K = np.array([[0.5, 1, 0], [1, 6, -1], [2, 0, 1.0]])
SAME = {"padding": "same"}
SQUARE = {
    "band": cm.conv(K, (5, 6), **SAME),
    "circle": cm.conv(K, (5, 6), padding="same", boundary="wrap"),
    "complex": cm.conv(K + 1j * K.T, (5, 6), padding="same", boundary="reflect"),
    "complex circle": cm.conv(K + 1j * K.T, (5, 6), padding="same", boundary="wrap"),
    "channels": cm.conv(RNG.standard_normal((3, 3, 2, 2)) + 5 * np.eye(2), (4, 5, 2), **SAME),
    "outer product": cm.conv(np.multiply.outer([1.0, 4, 2], [1j, 3, 1]), (5, 6), padding="same", boundary="edge"),
    "lattices": cm.conv(K, (5, 6), dilation=2, **SAME),
    "causal": cm.conv([1.0, 2, 4], 9, padding=[(2, 0)]),
    "float32": cm.conv(K.astype(np.float32), (5, 6), **SAME),
}
OPS = SQUARE | {
    "tall": cm.conv(K + 1j * K.T, (4, 5), padding="full"),
    "wide": cm.conv(K, (6, 7)),
    "strided": cm.conv(RNG.standard_normal((3, 3, 2, 3)), (6, 5, 2), stride=2),
    "singular": cm.conv([1.0, -2, 1], 8, padding="same", boundary="wrap"),
    "transpose of no convolution": cm.conv(K, (5, 4), padding="same", boundary="edge").T,
    "sum": cm.conv(K, (5, 5), padding="same", boundary="edge") + cm.conv(1j * K, (5, 5), **SAME),
}


def tikhonov(A, damp):
    return np.linalg.pinv(stacked(A, damp), rcond=1e-12)[:, : len(A)]


def in_order(matrix, rows, columns, order):
    """A matrix for arrays flattened in C order as one for another order."""
    if order == "C":
        return matrix
    tensor = matrix.reshape(rows + columns)
    d = len(rows)
    axes = [*reversed(range(d)), *reversed(range(d, tensor.ndim))]
    return tensor.transpose(axes).reshape(matrix.shape)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("damp", [0.0, 0.4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_pinv_is_numpys(name, damp, order):
    op = OPS[name]
    P, P_dense = cm.pinv(op, damp=damp), tikhonov(matrix_of(op), damp)
    assert (P.in_shape, P.out_shape) == (op.out_shape, op.in_shape)
    limit = 1e-12 * np.abs(P_dense).max()

    def assert_is(found, expected, rows, columns):
        assert found.dtype == expected.dtype
        assert np.abs(found.to_dense(order) - in_order(expected, rows, columns, order)).max() <= limit

    there, back = op.in_shape, op.out_shape
    assert_is(P, P_dense, there, back)
    assert_is(P.T, P_dense.T, back, there)
    assert_is(P.H, P_dense.conj().T, back, there)
    assert_is(P.conj(), P_dense.conj(), there, back)
    assert_is(P.conj().T, P_dense.conj().T, back, there)
    assert_is(P.T.T, P_dense, there, back)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("kind", "fc")
def test_pinv_applied(name, kind):
    op, rng = OPS[name], np.random.default_rng(1)
    A, P = matrix_of(op), cm.pinv(op)
    b, x = numbers(rng, (2, 3, *op.out_shape), kind), numbers(rng, (2, *op.in_shape), kind)
    expected = b.reshape(2, 3, -1) @ tikhonov(A, 0.0).T
    assert np.abs(P(b).reshape(expected.shape) - expected).max() <= 1e-12 * np.abs(expected).max() * condition(A)
    transposed = x.reshape(2, -1) @ tikhonov(A, 0.0)
    assert np.abs(P.T(x).reshape(2, -1) - transposed).max() <= 1e-12 * np.abs(transposed).max() * condition(A)
    y = P @ b[0, 0].ravel()
    assert np.abs(y - expected[0, 0]).max() <= 1e-12 * np.abs(expected).max() * condition(A)


def test_algebra_of_inverses():
    op = SQUARE["complex"]
    A, P = matrix_of(op), cm.pinv(op)
    B = np.linalg.inv(A)
    for found, expected in (
        (P @ op, np.eye(30)),
        (op @ P, np.eye(30)),
        (2j * P, 2j * B),
        (P + op, B + A),
        (P.H @ P, B.conj().T @ B),
        ((P @ op.T).T, A @ B.T),
    ):
        assert np.abs(found.to_dense() - expected).max() <= 1e-12 * np.abs(expected).max()


def test_sparse_form_of_an_inverse():
    P, B = cm.pinv(SQUARE["causal"]), np.linalg.inv(matrix_of(SQUARE["causal"]))
    assert np.abs(P.to_sparse().toarray() - B).max() <= 1e-14
    assert np.abs(P.to_sparse(rows=[2, 0]).toarray() - B[[2, 0]]).max() <= 1e-14


@pytest.mark.parametrize("name", SQUARE)
def test_inv(name):
    op = SQUARE[name]
    found, expected = cm.inv(op).to_dense(), np.linalg.inv(matrix_of(op))
    assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_inverses_of_any_scale(scale):
    op = SQUARE["band"]
    found, expected = cm.inv(op.with_kernel(K * scale)).to_dense(), np.linalg.inv(matrix_of(op))
    assert np.abs(found * scale - expected).max() <= 1e-13
    damped = cm.pinv(op.with_kernel(K * scale), damp=0.4 * scale).T.to_dense()
    assert np.abs(damped * scale - tikhonov(matrix_of(op), 0.4).T).max() <= 1e-13


@pytest.mark.parametrize("method", ["lsmr", "band", "sparse", "dense"])
@pytest.mark.parametrize("damp", [0.0, 0.4])
def test_methods_of_inverses(method, damp):
    op = OPS["tall"]
    P = cm.pinv(op, damp=damp, method=method)
    expected = tikhonov(matrix_of(op), damp)
    assert ("LSMR" if method == "lsmr" else method) in P.method
    assert P.reason == "requested"
    assert np.abs(P.to_dense() - expected).max() <= 1e-10
    assert np.abs(P.T.to_dense() - expected.T).max() <= 1e-10


def test_inv_refuses_what_has_none():
    with pytest.raises(cm.ArgumentError, match=r"inv: op has a matrix of 20 x 42. Expected a square one. Use cm.pinv"):
        cm.inv(OPS["wide"])
    with pytest.raises(cm.SolveError, match=r"inv: op is singular: 1 of 8 singular values are 0 to rounding"):
        cm.inv(OPS["singular"])
    with pytest.raises(np.linalg.LinAlgError, match="singular or ill-conditioned"):
        cm.inv(cm.conv([1.0, 0, -1], 9, padding="same"), method="band")


def test_an_inverse_says_what_it_is():
    P = cm.pinv(SQUARE["circle"], method="blocks")
    assert P.method in repr(P)
    assert P.reason == "requested"
    assert np.isclose(P.condition, np.linalg.cond(matrix_of(SQUARE["circle"])), rtol=1e-10)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("damp", [0.0, 0.4])
def test_factorize_gives_what_solve_gives(name, damp):
    op, rng = OPS[name], np.random.default_rng(2)
    F = cm.factorize(op, damp=damp)
    for shape in ((), (3,), (2, 2)):
        b = numbers(rng, (*shape, *op.out_shape), "c")
        s, expected = F.solve(b), cm.solve(op, b, damp=damp)
        dense = least(matrix_of(op), b.reshape(*shape, -1), damp).reshape(*shape, *op.in_shape)
        assert s.x.dtype == expected.x.dtype
        assert np.allclose(s.x, dense, rtol=0, atol=1e-5 if s.x.dtype == np.complex64 else 1e-10)
        assert np.allclose(s.x, expected.x, rtol=0, atol=1e-6)
        assert s.converged == expected.converged
        assert np.allclose(s.residual, expected.residual, atol=1e-6)
    assert (F.method, F.condition) == (s.method, s.condition)
    assert F.method in repr(F)


def test_factors_are_made_once(monkeypatch):
    made = []
    inv = np.linalg.inv
    monkeypatch.setattr(np.linalg, "inv", lambda A: made.append(A.shape) or inv(A))
    F = cm.factorize(SQUARE["band"], method="dense")
    for _ in range(3):
        F.solve(np.ones((5, 6)))
    assert len(made) == 1


def test_factorize_with_options_of_solve():
    op, seen = OPS["tall"], []
    F = cm.factorize(op, damp=0.4, method="lsmr")
    b = np.random.default_rng(3).standard_normal(op.out_shape)
    s = F.solve(b, rtol=1e-12, callback=lambda _: seen.append(0))
    assert len(seen) == s.iterations
    assert F.solve(b, x0=s.x, rtol=1e-8).iterations <= 1
    assert F.solve(b, maxiter=2).iterations == 2
