"""Solves of maps that join in: matrices and operators of others, and maps made of maps, beside dense least squares."""

import numpy as np
import pytest
import scipy.linalg as sla
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

import convmtx as cm
from matrices import Own
from solves.dense import distances, has_full_rank, least, near, numbers, stacked

RNG = np.random.default_rng(0)
TALL, SQUARE = RNG.standard_normal((7, 4)), RNG.standard_normal((5, 5)) + 1j * RNG.standard_normal((5, 5))
#: What `aslinearmap` takes, of a matrix.
JOINED = {
    "array": lambda A: A,
    "list": lambda A: A.tolist(),
    "csr": sp.csr_array,
    "coo matrix": sp.coo_matrix,
    "operator": aslinearoperator,
    "map": cm.aslinearmap,
}


@pytest.mark.parametrize("kind", JOINED)
@pytest.mark.parametrize("A", [TALL, TALL.T, SQUARE], ids=["tall", "wide", "square"])
def test_solves_take_matrices_and_operators(kind, A):
    op, b = JOINED[kind](A), numbers(np.random.default_rng(1), (3, len(A)), A.dtype.kind)
    expected = b @ np.linalg.pinv(A).T
    for x in (cm.solve(op, b).x, cm.factorize(op).solve(b).x, cm.pinv(op)(b)):
        assert np.abs(x - expected).max() <= 1e-13 * np.abs(expected).max()
    damped = b @ np.linalg.solve(A.conj().T @ A + 0.25 * np.eye(A.shape[1]), A.conj().T).T
    assert np.abs(cm.solve(op, b, damp=0.5).x - damped).max() <= 1e-13
    assert np.abs(cm.wiener(op, b, 4.0) - damped).max() <= 1e-13
    assert cm.choose_damp(op, b[:1]).damp > 0


@pytest.mark.parametrize("kind", JOINED)
def test_regularizers_may_be_matrices_and_operators(kind):
    op, D = cm.conv([1.0, 2.0, 1.0], 6), np.diff(np.eye(6), axis=0)
    b = RNG.standard_normal(4)
    expected = np.linalg.lstsq(np.concatenate([op.to_dense(), 0.3 * D]), np.pad(b, (0, 5)))[0]
    x = cm.solve(op, b, damp=0.3, regularizer=JOINED[kind](D)).x
    assert np.abs(x - expected).max() <= 1e-12


def test_rows_of_a_map_are_solved_as_they_are():
    op, rows = cm.conv(RNG.standard_normal((3, 3)), (6, 7), padding="same"), [3, 0, 17, 40]
    b = RNG.standard_normal(4)
    expected = np.linalg.pinv(op.to_dense()[rows]) @ b
    assert np.abs(cm.solve(op.to_sparse(rows=rows), b).x - expected).max() <= 1e-13 * np.abs(expected).max()


SHAPE = (5, 6)
CIRCLE = cm.conv(RNG.standard_normal((3, 3)), SHAPE, padding="same", boundary="wrap")
BLUR = cm.conv(np.array([[1, 2, 1], [0, 9, 3], [1, 2, 0.5]]), SHAPE, padding="same")
WIDE, OWN = cm.conv(RNG.standard_normal(3), 7), Own(RNG.standard_normal((4, 4)) + 3 * np.eye(4))
TURNED = cm.conv(RNG.standard_normal(2) + 1j * RNG.standard_normal(2), 6, padding="same")
OWN_TALL = Own(RNG.standard_normal((7, 5)))
SINGULAR = cm.aslinearmap(np.multiply.outer(RNG.standard_normal(4), RNG.standard_normal(5)))
LAPLACE = cm.conv([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]], SHAPE, padding="same", boundary="wrap")
WEIGHTS, MASK = RNG.uniform(1, 2, SHAPE) * np.exp(1j * RNG.uniform(0, 6, SHAPE)), np.arange(30).reshape(SHAPE) % 7 > 0
M = {
    "circle": CIRCLE.to_dense(), "blur": BLUR.to_dense(), "wide": WIDE.to_dense(), "own": OWN.matrix,
    "tall": OWN_TALL.matrix, "singular": SINGULAR.to_dense(), "laplace": LAPLACE.to_dense(),
    "turned": TURNED.to_dense(), "1": np.eye(30),
}  # fmt: skip
#: Maps made of maps, their matrices by NumPy and SciPy, the method that their parts give, and the one with damping.
MAPS = {
    "block_diag": (cm.block_diag([BLUR, WIDE, OWN]), sla.block_diag(M["blur"], M["wide"], M["own"]), "parts", "parts"),
    "singular block_diag": (cm.block_diag([SINGULAR, OWN]), sla.block_diag(M["singular"], M["own"]), "parts", "parts"),
    "tall and wide": (cm.block_diag([OWN_TALL, WIDE]), sla.block_diag(M["tall"], M["wide"]), "parts", "parts"),
    "kron": (cm.kron(OWN, CIRCLE), np.kron(M["own"], M["circle"]), "kronecker", "kronecker"),
    "wide kron": (cm.kron(WIDE, OWN_TALL), np.kron(M["wide"], M["tall"]), "kronecker", "kronecker"),
    "singular kron": (cm.kron(SINGULAR, WIDE), np.kron(M["singular"], M["wide"]), "kronecker", "kronecker"),
    "complex kron": (cm.kron(1j * WIDE, TURNED), 1j * np.kron(M["wide"], M["turned"]), "kronecker", "kronecker"),
    "ends of the range": (cm.kron(1e-200 * OWN, 1e200 * WIDE), np.kron(M["own"], M["wide"]), "kronecker", "kronecker"),
    "diagonal": (cm.diagonal(WEIGHTS), np.diag(WEIGHTS.ravel()), "parts", "parts"),
    "singular diagonal": (cm.diagonal([1.0, 0, -2]), np.diag([1.0, 0, -2]), "parts", "parts"),
    "selection": (cm.select(SHAPE, MASK), M["1"][MASK.ravel()], "parts", "parts"),
    "spread selection": (-2 * cm.select(SHAPE, MASK).T, -2 * M["1"][:, MASK.ravel()], "parts", "parts"),
    "sparse diagonal": (cm.aslinearmap(sp.csr_array(([2.0, 3], ([0, 2], [3, 1])), (4, 4))),
                        2 * np.outer(np.eye(4)[0], np.eye(4)[3]) + 3 * np.outer(np.eye(4)[2], np.eye(4)[1]),
                        "parts", "parts"),
    "weights before": (BLUR @ cm.diagonal(WEIGHTS), M["blur"] * WEIGHTS.ravel(), "parts", None),
    "weights behind": (cm.diagonal(WEIGHTS) @ CIRCLE, WEIGHTS.reshape(-1, 1) * M["circle"], "parts", None),
    "gram": (cm.gram(OWN), M["own"].T @ M["own"], "parts", None),
    "tall after square": (OWN_TALL @ cm.diagonal([1.0, 2, 3, 4, 5]),
                          M["tall"] * [1, 2, 3, 4, 5], "parts", None),
    "full rank factors": (OWN_TALL @ WIDE, M["tall"] @ M["wide"], "parts", None),
    "permuted": (cm.select(SHAPE, np.arange(5)[::-1]) @ CIRCLE @ cm.select(SHAPE, np.arange(5)[::-1]),
                 M["circle"].reshape(SHAPE * 2)[::-1, :, ::-1].reshape(30, 30), "parts", "parts"),
    "permuted and singular": (cm.select(SHAPE, np.arange(5)[::-1]) @ LAPLACE,
                              M["laplace"].reshape(SHAPE * 2)[::-1].reshape(30, 30), "parts", "parts"),
    "masked": (BLUR[MASK], M["blur"][MASK.ravel()], None, None),
    "stack with identity": (cm.vstack([CIRCLE, 0.3j * cm.identity(SHAPE)]),
                            np.concatenate([M["circle"], 0.3j * M["1"]]), "blocks", "blocks"),
    "identity first": (cm.vstack([0.3 * cm.identity(SHAPE), CIRCLE]),
                       np.concatenate([0.3 * M["1"], M["circle"]]), "blocks", "blocks"),
    "stack": (2 * cm.vstack([CIRCLE, LAPLACE, 0.1 * cm.identity(SHAPE)]),
              2 * np.concatenate([M["circle"], M["laplace"], 0.1 * M["1"]]), "blocks", "blocks"),
    "singular stack": (cm.vstack([LAPLACE, 2 * LAPLACE]),
                       np.concatenate([M["laplace"], 2 * M["laplace"]]), "blocks", "blocks"),
    "masked stack": (cm.vstack([BLUR[MASK], 0.5 * LAPLACE]),
                     np.concatenate([M["blur"][MASK.ravel()], 0.5 * M["laplace"]]), None, None),
}  # fmt: skip


@pytest.mark.parametrize("damp", [0.0, 0.4])
@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("kind", "fc")
def test_maps_made_of_maps_are_solved(name, damp, kind):
    """By the method that their parts give, and by the one that is chosen: shortest least-squares solutions."""
    op, matrix, *methods = MAPS[name]
    b = numbers(np.random.default_rng(1), (3, *op.out_shape), kind)
    expected = least(matrix, b.reshape(3, -1), damp)
    limit = 4 * near(stacked(matrix, damp), b)
    for method in {"auto", methods[damp > 0]} - {None}:
        F = cm.factorize(op, damp=damp, method=method)
        for s in (F.solve(b), cm.solve(op, b, damp=damp, method=method)):
            assert (distances(s.x.reshape(3, -1), expected) <= limit).all(), (method, s.method)
            assert s.converged == (damp > 0 or has_full_rank(matrix))
            residual = b.reshape(3, -1) - s.x.reshape(3, -1) @ matrix.T
            assert np.allclose(s.residual, np.linalg.norm(residual, axis=1), atol=1e-12 * np.linalg.norm(b))


@pytest.mark.parametrize("damp", [0.0, 0.4])
@pytest.mark.parametrize("name", [name for name, (*_, method, _) in MAPS.items() if method])
def test_inverses_of_maps_made_of_maps(name, damp):
    """The pseudo-inverse, its adjoint, and ``H^+ g``, of which gradients are made."""
    op, matrix, *methods = MAPS[name]
    if methods[damp > 0] is None:
        return
    P = np.linalg.pinv(stacked(matrix, damp), rcond=1e-10)
    inverse, small = cm.pinv(op, damp=damp, method=methods[damp > 0]), 1e-11 * np.abs(P).max()
    assert np.abs(inverse.to_dense() - P[:, : len(matrix)]).max() <= small
    assert np.abs(inverse.H.to_dense() - P[:, : len(matrix)].conj().T).max() <= small
    factors = inverse.factors
    units = np.eye(op.shape[1]).reshape(-1, *op.in_shape).astype(factors.problem.dtype)
    normal = factors.normal(units).reshape(op.shape[1], -1).T / factors.problem.scale**2
    assert np.abs(normal - P @ P.conj().T).max() <= 1e-11 * np.abs(P).max() ** 2 * op.shape[1]


def test_what_is_small_beside_other_parts_counts_as_zero():
    """As in the matrix: the cutoff is that of the largest singular value of all parts."""
    b = RNG.standard_normal(8)
    for op in (cm.block_diag([1e-20 * OWN, OWN]), cm.diagonal(np.repeat([1e-20, 3.0], 4))):
        s = cm.solve(op, b)
        assert not s.converged
        assert not s.x[:4].any()
        assert np.allclose(s.x[4:], np.linalg.solve(op.to_dense()[4:, 4:], b[4:]), rtol=1e-12)


LARGE = (300, 200)
K = np.array([[0.1, 0.2, 0.1], [0.2, 1.5, 0.15], [0.1, 0.2, 0.12]])
LARGE_MAPS = {
    "kron": (cm.kron(cm.conv([1.0, 4, 1], 300, padding="same"), cm.conv([5.0, 2], 200, padding="full")), "Kronecker"),
    "kron with a small map": (cm.kron(cm.conv(K, (60, 70), padding="same", boundary="wrap"), OWN), "Kronecker"),
    "block_diag": (cm.block_diag([cm.conv(K, LARGE, padding="same", boundary="wrap"), OWN]), "2 maps on the diagonal"),
    "weights": (cm.conv(K, LARGE, padding="same", boundary="wrap") @ cm.diagonal(RNG.uniform(1, 2, LARGE)), "in turn"),
    "diagonal": (cm.diagonal(RNG.uniform(1, 2, 10**5)), "division by 100000 entries"),
    "stack": (cm.vstack([cm.conv(K, LARGE, padding="same", boundary="wrap"), cm.identity(LARGE)]), "blocks"),
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE_MAPS)
def test_large_maps_are_solved_by_their_parts(name):
    op, method = LARGE_MAPS[name]
    x = RNG.standard_normal(op.in_shape)
    s = cm.solve(op, op(x))
    assert method in s.method
    assert s.iterations == 0
    assert s.converged
    assert np.abs(s.x - x).max() <= 1e-12


def psf(rng):
    """A smooth kernel that is not an outer product."""
    g = np.exp(-(np.arange(-4.0, 5) ** 2) / 4.5)
    kernel = np.multiply.outer(g, g) * (1 + 0.2 * rng.random((9, 9)))
    return kernel / kernel.sum()


@pytest.mark.parametrize("damp", [1e-1, 3e-2, 1e-2])
def test_missing_pixels_take_at_most_twice_the_iterations(damp):
    rng = np.random.default_rng(0)
    op, mask = cm.conv(psf(rng), (256, 256), padding="same"), rng.random((256, 256)) > 0.1
    b = op(np.kron(rng.random((16, 16)), np.ones((16, 16)))) + 1e-3 * rng.standard_normal((256, 256))
    whole, masked = cm.solve(op, b, damp=damp), cm.solve(op[mask], b[mask], damp=damp)
    assert whole.converged
    assert masked.converged
    assert masked.iterations <= 2 * whole.iterations
    if damp < 0.1:
        assert masked.method == "LSMR, embedded circulant"
    r = b[mask] - op[mask](masked.x)
    assert np.linalg.norm(op[mask].T(r) - damp**2 * masked.x) <= 1e-7 * np.linalg.norm(b)


@pytest.mark.parametrize("weight", [0.1, 0.01])
def test_a_stack_is_solved_as_the_regularized_problem_that_it_is(weight):
    rng = np.random.default_rng(0)
    shape = (96, 96)
    op, D = cm.conv(psf(rng), shape, padding="same"), cm.conv(LAPLACE.kernel, shape, padding="same")
    b, mask = rng.standard_normal(shape), rng.random(shape) > 0.1
    zeros = np.zeros(b.size)
    for first, right in ((op, b), (op[mask], b[mask])):
        for penalty, options in ((D, {"regularizer": D}), (cm.identity(shape), {})):
            s = cm.solve(cm.vstack([first, weight * penalty]), np.concatenate([right.ravel(), zeros]))
            expected = cm.solve(first, right, damp=weight, **options)
            assert (s.method, s.iterations, s.converged) == (expected.method, expected.iterations, True)
            assert np.abs(s.x - expected.x).max() <= 1e-9 * np.abs(expected.x).max()
            penalized = weight * np.linalg.norm(expected.x if not options else D(expected.x))
            assert np.isclose(s.residual, np.hypot(expected.residual, penalized))


def test_a_stack_with_data_in_all_parts():
    """Two pictures of one scene, which lack some frequencies, and what the scene is expected to be."""
    rng = np.random.default_rng(0)
    shape = (12, 12)
    boxes = [cm.conv(np.ones(k) / 16, shape, padding="same", boundary="wrap") for k in ((4, 4), (4, 6))]
    op = cm.vstack([*boxes, 1e-4 * cm.identity(shape)])
    x, matrix = rng.standard_normal(shape), op.to_dense()
    s = cm.solve(op, op(x), method="blocks")
    assert s.condition > 1e4
    assert s.converged
    assert np.abs(s.x - x).max() <= 1e-10  # the normal equations alone would leave 1e-8
    b = rng.standard_normal(op.out_shape)
    expected = np.linalg.lstsq(matrix, b)[0].reshape(shape)
    assert np.abs(cm.solve(op, b, method="blocks").x - expected).max() <= 1e-9 * np.abs(expected).max()


@pytest.mark.parametrize("boundary", ["zero", "wrap"])
def test_regularizers_may_be_stacks(boundary):
    """As those of total variation are: differences along both axes."""
    op = cm.conv(psf(RNG), (14, 13), padding="same", boundary=boundary)
    across, down = (
        cm.conv(k, op.in_shape, padding="same", boundary=boundary) for k in ([[1.0, -1, 0]], [[1.0], [-1], [0]])
    )
    R = cm.vstack([across, down, 0.5 * cm.identity(op.in_shape)])
    b = RNG.standard_normal((2, *op.out_shape))
    expected = least(op.to_dense(), b.reshape(2, -1), 0.3, R.to_dense())
    for method in ("auto", "preconditioned", *(["blocks"] if boundary == "wrap" else [])):
        s = cm.solve(op, b, damp=0.3, regularizer=R, method=method, rtol=1e-13)
        assert s.converged
        assert (distances(s.x.reshape(2, -1), expected) <= 1e-9 * np.linalg.norm(expected)).all()


def test_damping_is_chosen_for_maps_made_of_maps():
    rng = np.random.default_rng(2)
    for op in (cm.kron(OWN_TALL, WIDE), cm.diagonal(np.geomspace(1, 1e-3, 40)), cm.select(SHAPE, MASK)):
        b = rng.standard_normal(op.out_shape)
        noise = 0.9 * np.linalg.norm(b) / b.size**0.5
        r = cm.choose_damp(op, b, "discrepancy", noise=noise)
        expected = cm.choose_damp(op.to_dense(), b.ravel(), "discrepancy", noise=noise)
        assert np.allclose(r.residuals, expected.residuals, rtol=1e-9, atol=1e-12)
        assert np.isclose(r.damp, expected.damp, rtol=1e-6)


def test_the_preconditioner_of_some_outputs():
    """That of the convolution, with a part of its energy and twice the damping: see convmtx.solves.preconditioners."""
    op = BLUR[MASK]
    share = MASK.mean() ** 0.5
    expected = cm.preconditioner(share * BLUR, damp=0.6).to_dense()
    assert np.abs(cm.preconditioner(op, damp=0.3).to_dense() - expected).max() <= 1e-12


@pytest.mark.parametrize("damp", [0.0, 0.2])
def test_preconditioned_solves_of_some_outputs(damp):
    whole = cm.conv(BLUR.kernel, SHAPE, padding="full")
    mask = np.arange(56).reshape(whole.out_shape) % 9 > 0
    weights = RNG.uniform(1, 2, whole.out_shape)[mask]
    for op in (whole[mask], cm.diagonal(weights) @ whole[mask], cm.vstack([whole[mask], 0.5 * LAPLACE])):
        b = RNG.standard_normal((2, *op.out_shape))
        s = cm.solve(op, b, damp=damp, method="preconditioned", rtol=1e-13)
        assert s.converged
        assert s.method == "LSMR, embedded circulant"
        assert np.allclose(s.x.reshape(2, -1), least(op.to_dense(), b, damp), rtol=1e-9, atol=1e-10)


def test_starts_of_stacks():
    """A multiple of the identity in a stack makes the solution unique, as damping does."""
    rng = np.random.default_rng(0)
    for below in (np.zeros(30), rng.standard_normal(30)):
        op = cm.vstack([BLUR[MASK], 0.5 * cm.identity(SHAPE)])
        b, x0 = np.append(rng.standard_normal(op.shape[0] - 30), below), 5 * rng.standard_normal(SHAPE)
        s = cm.solve(op, b, x0=x0, method="lsmr", rtol=1e-12)
        assert "x0 is not used" not in s.reason
        assert np.allclose(s.x.ravel(), np.linalg.lstsq(op.to_dense(), b)[0], rtol=1e-8, atol=1e-9)
    s = cm.solve(BLUR[MASK], b[: op.shape[0] - 30], x0=x0, method="lsmr", rtol=1e-12)
    assert "x0 is not used" in s.reason
    assert np.allclose(
        s.x.ravel(), np.linalg.pinv(M["blur"][MASK.ravel()]) @ b[: op.shape[0] - 30], rtol=1e-8, atol=1e-9
    )


def test_gradients_through_a_mask():
    torch = pytest.importorskip("torch")
    kernel, b = torch.tensor(BLUR.kernel, requires_grad=True), torch.tensor(RNG.standard_normal(int(MASK.sum())))
    for damp in (0.0, 0.3):
        op = cm.conv(kernel, SHAPE, padding="same")[MASK]
        (cm.solve(op, b, damp=damp, rtol=1e-13).x ** 2).sum().backward()
        found, kernel.grad = kernel.grad, None
        A = op.to_dense()
        G = A @ A.T + damp**2 * torch.eye(len(A), dtype=A.dtype)
        ((A.T @ torch.linalg.solve(G, b)) ** 2).sum().backward()
        assert torch.allclose(found, kernel.grad, rtol=1e-7, atol=1e-9)
        kernel.grad = None


def test_methods_of_parts_do_not_apply_to_others():
    for op in (BLUR, BLUR[MASK], OWN):
        with pytest.raises(cm.ArgumentError, match=r"method='parts'\. It does not apply to this problem"):
            cm.solve(op, np.zeros(op.out_shape), method="parts")


@pytest.mark.parametrize("damp", [0.0, 0.5])
def test_maps_without_rows_or_columns_are_solved(damp):
    none = cm.select(3, np.zeros(3, bool))
    for op in (none, none.T, WIDE[[]], np.zeros((0, 3)), cm.block_diag([OWN, none]), cm.kron(OWN, none.T)):
        matrix = cm.aslinearmap(op).to_dense().astype(float)
        b = RNG.standard_normal((2, *cm.aslinearmap(op).out_shape))
        for s in (cm.solve(op, b, damp=damp), cm.factorize(op, damp=damp).solve(b)):
            expected = least(matrix, b.reshape(2, len(matrix)), damp) if matrix.size else np.zeros(s.x.shape)
            assert s.converged
            assert np.allclose(s.x.reshape(expected.shape), expected)
