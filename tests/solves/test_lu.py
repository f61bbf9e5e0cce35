"""Direct solutions, beside dense ones."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csr_array, eye_array

import convmtx as cm
from convmtx.solves.methods.by_matrix import price_of_lu
from convmtx.solves.methods.lu import Diagonals, factorize_matrix, prepare_substitution
from convmtx.structure.augmented import LineCholesky, Singular
from solves.dense import distances, matrix_of, near
from spectra.dense import doubles

EPS = np.finfo(float).eps


def numbers(rng, shape, kind):
    values = rng.standard_normal(shape)
    return values + 1j * rng.standard_normal(shape) if kind == "c" else values


def second_difference(n):
    return csr_array(np.diff(np.eye(n), 2, axis=0)) if n > 2 else eye_array(n, format="csr")


def assert_solves(lu, D, rng, rows, kind):
    """As the pseudo-inverse does, of a matrix that damping may have extended below these rows."""
    s, P = np.linalg.svd(D, compute_uv=False), np.linalg.pinv(D, rcond=0)
    condition = s[0] / s[-1]
    b, g = numbers(rng, (3, rows), kind), numbers(rng, (3, D.shape[1]), kind)
    bD = np.pad(b, ((0, 0), (0, D.shape[0] - rows)))
    x, expected = lu.solve(b), bD @ P.T
    residual = np.linalg.norm(bD - expected @ D.T)
    near = 32 * sum(D.shape) * EPS * condition

    assert x.dtype == expected.dtype
    assert np.linalg.norm(x - expected) <= near * (np.linalg.norm(expected) + residual / s[-1])
    assert np.linalg.norm(lu.normal(g) - g @ (P @ P.conj().T).T) <= near * np.linalg.norm(g) / s[-1] ** 2
    least = s[min(rows, len(s)) - 1]  # damping of what a wide matrix does not see is no matter of its condition
    assert s[0] / least / (10 * sum(D.shape)) <= lu.condition <= 10 * sum(D.shape) * condition


@given(
    doubles(),
    st.booleans(),
    st.sampled_from([0.0, 1e-2, 3.0]),
    st.booleans(),
    st.sampled_from("fc"),
    st.integers(0, 99),
)
@settings(max_examples=120)
def test_any_convolution(case, band, damp, regularized, kind, seed):
    A, D = case.op.to_sparse("csr"), case.matrix
    R = second_difference(D.shape[1]) if regularized else None
    if damp:
        D = np.concatenate([D, damp * (np.eye(D.shape[1]) if R is None else R.toarray())])
    s = np.linalg.svd(D, compute_uv=False)
    assume(s[-1] > 1e-6 * s[0])
    assert_solves(factorize_matrix(A, damp, R, band=band), D, np.random.default_rng(seed), len(case.matrix), kind)


@pytest.mark.parametrize("band", [False, True])
@pytest.mark.parametrize("kind", "fc")
@pytest.mark.parametrize("padding", [0, "same", "full"])
@pytest.mark.parametrize("damp", [0.0, 1e-2])
def test_larger(band, kind, padding, damp):
    """Wide, square and tall."""
    rng = np.random.default_rng(0)
    op = cm.conv(numbers(rng, (3, 3, 2, 2), kind) + 5 * np.eye(2), (14, 12, 2), padding=padding)
    D = op.to_dense()
    if damp:
        D = np.concatenate([D, damp * np.eye(D.shape[1])])
    assert_solves(factorize_matrix(op.to_sparse("csr"), damp, band=band), D, rng, op.shape[0], "c")


@pytest.mark.parametrize("band", [False, True])
@pytest.mark.parametrize("powers", [3, 5, 7])
def test_condition_is_not_squared(band, powers):
    """Blurred by (1, 1) that many times; the right-hand side is the image of a known one."""
    K = np.array([1.0])
    for _ in range(powers):
        K = np.convolve(K, [0.5, 0.5])
    op = cm.conv(K, 80, padding="full")
    x = np.random.default_rng(0).standard_normal((1, 80))
    lu, condition = factorize_matrix(op.to_sparse("csr"), 0.0, band=band), np.linalg.cond(op.to_dense())
    assert np.linalg.norm(lu.solve(x @ op.to_dense().T) - x) <= 100 * EPS * condition * np.linalg.norm(x)
    assert condition / 3 < lu.condition < 3 * condition


@pytest.mark.parametrize("damp", [1e-9, 1e-14, 1e-200])
@pytest.mark.parametrize("sizes", [(40, 0), (40, "full")])
@pytest.mark.parametrize("band", [False, True])
def test_little_damping_is_as_none(damp, sizes, band):
    rng = np.random.default_rng(0)
    op = cm.conv([1.0, 5, 2], sizes[0], padding=sizes[1])
    b = rng.standard_normal((1, op.shape[0]))
    x, expected = factorize_matrix(op.to_sparse("csr"), damp, band=band).solve(b), b @ np.linalg.pinv(op.to_dense()).T
    assert np.linalg.norm(x - expected) <= 1e-13 * np.linalg.norm(expected)


def test_beside_levinson():
    op = cm.conv(np.exp(-(np.arange(-3, 4) ** 2) / 2.0), 2048, padding="same")
    A, b = op.to_sparse("csr"), np.random.default_rng(0).standard_normal((1, 2048))
    column = op.to_dense()[:, 0]
    levinson, ours = scipy.linalg.solve_toeplitz(column, b[0]), factorize_matrix(A, 0.0, band=True).solve(b)[0]

    assert np.linalg.norm(A @ ours - b[0]) < np.linalg.norm(A @ levinson - b[0])


@pytest.mark.parametrize("band", [False, True])
def test_where_levinson_fails(band):
    """Of a leading block of odd size the determinant is zero."""
    op = cm.conv([1.0, 0, -1], 64, padding="same")
    A, b = op.to_sparse("csr"), np.random.default_rng(0).standard_normal((1, 64))
    with pytest.raises(np.linalg.LinAlgError):
        scipy.linalg.solve_toeplitz((A[:, [0]].toarray()[:, 0], A[[0]].toarray()[0]), b[0])
    assert_solves(factorize_matrix(A, 0.0, band=band), op.to_dense(), np.random.default_rng(1), 64, "f")


@pytest.mark.parametrize("band", [False, True])
@pytest.mark.parametrize(
    "op",
    [
        cm.conv([1.0, 0, -1], 63, padding="same"),
        cm.conv([1.0, -1], 50, padding="same", boundary="wrap"),
        cm.conv([1.0, 1], 50, padding="same", boundary="wrap"),
        cm.conv([1.0, 2, 1], 50, padding=3, boundary="wrap"),
        cm.conv(np.ones((3, 3)), (12, 12), padding="same", boundary="wrap"),
        cm.conv([1.0, -1], 50, padding=3, boundary="wrap"),
        cm.conv([1.0, -1], 50, padding=3, boundary="wrap").T,
        cm.conv([0.0, 0, 0], 20),
        cm.conv([0.0, 0, 0], 20, padding="same"),
        cm.conv([1.0, -1], 50, padding="same", boundary="edge", stride=1).T @ cm.conv([1.0, -1], 50, padding="same"),
    ],
    ids=range(10),
)
def test_singular(op, band):
    if np.linalg.matrix_rank(op.to_dense()) == min(op.shape):
        pytest.fail("this one is regular")
    with pytest.raises(Singular) as info:
        factorize_matrix(op.to_sparse("csr"), 0.0, band=band)
    assert info.value.condition > 1e8
    lu = factorize_matrix(op.to_sparse("csr"), 0.1, band=band)
    D = np.concatenate([op.to_dense(), 0.1 * np.eye(op.shape[1])])
    assert_solves(lu, D, np.random.default_rng(0), op.shape[0], "f")


@pytest.mark.parametrize("kind", "fc")
@pytest.mark.parametrize("padding", [(0, 2), (2, 0)])
@pytest.mark.parametrize("ordered", [False, True])
def test_triangular(kind, padding, ordered):
    rng = np.random.default_rng(0)
    K = numbers(rng, (3, 3), kind)
    K[(0, 0) if padding[1] else (2, 2)] += 20
    A, order = cm.conv(K, (9, 8), padding=[padding, padding], flip=False).to_sparse("csr"), None
    if ordered:
        order = rng.permutation(72)
        A = A[np.argsort(order)][:, np.argsort(order)]
    for kind_b in "fc":
        assert_solves(prepare_substitution(csr_array(A), order), A.toarray(), rng, 72, kind_b)


def test_singular_triangles():
    for K in [0.0, 1], [1.0, 3], [1e-300, 1]:
        for padding in (0, 1), (1, 0):
            A = cm.conv(K if padding[1] else K[::-1], 100, padding=[padding], flip=False).to_sparse("csr")
            with pytest.raises(Singular):
                prepare_substitution(A)


def test_the_same_again():
    A = cm.conv(np.random.default_rng(0).standard_normal((3, 3)), (9, 9), padding="same").to_sparse("csr")
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - which is to be left alone
    first, again = (factorize_matrix(A, 0.0, band=False).condition for _ in range(2))
    assert first == again
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


def bandwidths(op):
    row, column = op.to_sparse("csr").nonzero()
    return max((row - column).max(), 0), max((column - row).max(), 0)


@pytest.mark.parametrize(
    "op",
    [
        cm.conv(np.ones(7), 2048, padding="same"),
        cm.conv(np.ones(7), 2048, padding=[(6, 0)]),
        cm.conv(np.ones((3, 5)), (32, 30), padding="same"),
        cm.conv(np.ones((3, 3)), (9, 30), padding="same", dilation=(2, 3)),
        cm.conv(np.ones((3, 2, 2)), (500, 2), padding="same"),
        cm.conv(np.ones((3, 3, 1, 3)), (9, 8, 3), padding="same", groups=3),
        cm.conv(np.ones(5), 100, padding="same", boundary="wrap"),
        cm.conv(np.ones((3, 5)), (20, 9), padding="same", boundary=("reflect", "wrap")),
    ],
    ids=range(8),
)
def test_bytes_are_those_of_the_band(op):
    kl, ku = bandwidths(op)
    real, complex_ = (price_of_lu(op.geometry, False, np.dtype(t), band=True) for t in (float, complex))
    assert real.bytes == len(op.to_dense()) * (2 * kl + ku + 1) * 8
    assert complex_.bytes == 2 * real.bytes


@pytest.mark.parametrize(
    "op",
    [
        cm.conv(np.ones(7), 500, padding="same"),
        cm.conv(np.ones(7), 500, padding="full"),
        cm.conv(np.ones(7), 500, stride=2),
        cm.conv(np.ones(7), 200, input_dilation=3),
        cm.conv(np.ones((3, 4, 2)), (500, 4), padding="same"),
        cm.conv(np.ones((3, 3, 2, 6)), (20, 18, 4), groups=2),
        cm.conv(np.ones((5, 3)), (32, 30), padding="full", boundary="reflect"),
        cm.conv(np.ones((5, 3, 3)), (9, 8, 7), padding="same", boundary="wrap"),
    ],
    ids=range(8),
)
def test_bytes_are_about_those_of_the_augmented_band(op, monkeypatch):
    made = []

    def watched(names, dtype):
        gbtrf, gbtrs = get_lapack_funcs(names, dtype=dtype)
        return lambda band, *args, **kw: made.append(band.nbytes) or gbtrf(band, *args, **kw), gbtrs

    monkeypatch.setattr(scipy.linalg, "get_lapack_funcs", watched)
    factorize_matrix(op.to_sparse("csr").astype(float), 0.1, band=True)
    assert made[0] / 1.8 <= price_of_lu(op.geometry, True, np.dtype(float), band=True).bytes <= 1.5 * made[0]


def test_bands_are_for_one_axis_and_small_images_and_not_for_circles():
    def costs(*args, augmented=False, **kw):
        op = cm.conv(*args, padding="same", **kw)
        return [price_of_lu(op.geometry, augmented, op.dtype, band=band) for band in (True, False)]

    for augmented in (False, True):
        for args in (np.ones(7), 2048), (np.ones(3), 30_000), (np.ones((3, 5)), (32, 32)):
            band, sparse = costs(*args, augmented=augmented)
            assert band.build < sparse.build < 1
        band, sparse = costs(np.ones(7), 20_000, boundary="wrap", augmented=augmented)
        assert sparse.build < 1 < 100 * sparse.build < band.build
    band, sparse = costs(np.ones((3, 3)), (1024, 1024))
    assert sparse.build < 100
    assert band.bytes > 2e10


@pytest.mark.parametrize(
    ("K", "factors"),
    [
        ([0.1, 0.2, 1, 0.2, 0.1], "Cholesky"),
        ([0.1j, 1, -0.1j], "Cholesky"),
        ([3, 1, 3.0], "LU"),  # symmetric, and not positive definite
        ([-0.2, -1, -0.2], "LU"),
        ([1, 6, 2, 1.0], "LU"),
        ([1j, 5, -2 + 1j], "LU"),
        ([0, 0, 5, 1, 2.0], "substitution"),
        ([1, -2, 5, 0, 0.0], "substitution"),
        ([2 - 1j, 5j, 0], "substitution"),
    ],
)
@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("n", [15, 57])
def test_bands_of_constant_diagonals_solve_as_lstsq_does(K, factors, dilation, n):
    op = cm.conv(K, n, padding="same", dilation=dilation)
    rng = np.random.default_rng(n)
    A, b = matrix_of(op), numbers(rng, (3, n), "c" if np.iscomplexobj(K) else "f")
    s = cm.solve(op, b, method="band")
    assert s.method == f"band {factors} of {n} unknowns"
    expected = np.stack([np.linalg.lstsq(A, row, rcond=None)[0] for row in b])
    assert (distances(s.x, expected) <= near(A, b)).all()
    moved = s.x + numbers(rng, (3, n), "c")  # residuals of a solution are rounding, so others are measured beside it
    r = b - moved @ A.T
    sides = cm.factorize(op, method="band")._solver.chosen().factors.matrix
    assert np.allclose(b - sides.forward(moved), r)
    assert np.allclose(sides.adjoint(r), r @ A.conj())
    assert np.linalg.norm(s.residual) <= 64 * EPS * np.linalg.norm(A, 2) * np.linalg.norm(s.x)
    assert s.condition == pytest.approx(np.linalg.cond(A, np.inf), rel=0.7)
    F = cm.factorize(op, method="band")
    y = numbers(rng, n, "c")
    assert np.linalg.norm(F.solve(A @ y).x - y) <= 64 * EPS * np.linalg.cond(A) * np.linalg.norm(y)
    assert np.allclose(cm.pinv(op, method="band").H(y), np.linalg.solve(A.conj().T, y))
    assert s.converged


@pytest.mark.parametrize("K", [[1, 3, 1.0], [0.1, 0.2, 1, 0.2, 0.1], [0.3j, 1, -0.3j], [-1, 2.01, -1.0], [1.0]])
@pytest.mark.parametrize("n", [5, 64, 700])
def test_factors_of_constant_diagonals_are_those_of_lapack(K, n):
    half = np.asarray(K)[len(K) // 2 :]
    band = np.zeros((len(half), n), half.dtype)
    band[:] = half[:, None]
    expected = scipy.linalg.cholesky_banded(band, lower=True)
    factor = LineCholesky(half, n)._band
    inside = slice(n - len(half) + 1)  # what reaches beyond the end is not read
    assert np.abs(factor[:, inside] - expected[:, inside]).max() <= 8 * EPS * np.abs(expected).max()
    x = np.random.default_rng(0).standard_normal((2, n))
    A = scipy.linalg.toeplitz(np.pad(half, (0, max(n - len(half), 0)))[:n])
    assert np.abs(LineCholesky(half, n).solve(x @ A.T) - x).max() <= 64 * EPS * np.linalg.cond(A)


def test_a_late_failure_of_constant_diagonals_is_found():
    """Of 1, 1.99, 1 the leading minors are positive up to the 30th."""
    for n, is_definite in ((20, True), (4000, False)):
        (least,) = scipy.linalg.eigvalsh_tridiagonal(np.full(n, 1.99), np.ones(n - 1), select="i", select_range=(0, 0))
        assert is_definite == (least > 0)
        if is_definite:
            LineCholesky(np.array([1.99, 1.0]), n)
        else:
            with pytest.raises(Singular):
                LineCholesky(np.array([1.99, 1.0]), n)


@given(st.integers(1, 5), st.integers(12, 80), st.booleans(), st.integers(0, 10**6))
def test_the_symbol_bounds_the_condition(reach, n, is_complex, seed):
    rng = np.random.default_rng(seed)
    half = numbers(rng, reach + 1, "c" if is_complex else "f")
    half[0] = 2 * np.abs(half[1:]).sum() * rng.uniform(0.3, 1.5)
    line = Diagonals(np.concatenate([half[:0:-1].conj(), half]), reach, n)
    A = scipy.linalg.toeplitz(np.pad(half, (0, n - reach - 1)))
    bound = line.definite_condition
    values = np.linalg.eigvalsh(A)
    assert bound is None or (values[0] > 0 and values[-1] / values[0] <= bound * (1 + 64 * EPS))
    # of a symbol that is clearly positive, the bound is not far off
    w = np.linspace(0, 2 * np.pi, 4001)
    symbol = half[0].real + 2 * (np.exp(-1j * np.outer(w, np.arange(1, reach + 1))) @ half[1:]).real
    if symbol.min() > 0.05 * symbol.max():
        assert bound == pytest.approx(symbol.max() / symbol.min(), rel=0.02)
    elif symbol.min() < 0:
        assert bound is None
