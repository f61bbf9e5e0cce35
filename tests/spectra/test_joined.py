"""Spectra of maps that join in: matrices and operators of others, and maps made of maps, beside NumPy's."""

import numpy as np
import pytest
import scipy.linalg as sla
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from scipy.sparse.linalg import aslinearoperator

import convmtx as cm
from matrices import Own
from spectra.dense import singular_values

RNG = np.random.default_rng(0)
JOINED = {"array": lambda A: A, "list": lambda A: A.tolist(), "sparse": sp.csr_array, "operator": aslinearoperator}


@pytest.mark.parametrize("kind", JOINED)
@pytest.mark.parametrize("dtype", [float, complex])
def test_spectra_take_matrices_and_operators(kind, dtype):
    A = RNG.standard_normal((6, 6)).astype(dtype)
    A = A + 1j * RNG.standard_normal((6, 6)) if dtype is complex else A
    A[5] = A[0]
    op, s = JOINED[kind](A), singular_values(A)
    assert np.abs(cm.svdvals(op) - s).max() <= 1e-13
    for order in (1, 2, np.inf, "fro"):
        assert np.isclose(cm.norm(op, order).value, np.linalg.norm(A, order), rtol=1e-13)
    assert int(cm.rank(op)) == 5
    assert cm.smallest_singular_value(op).value <= 1e-14
    (z,) = cm.null_space(op)
    assert np.isclose(np.linalg.norm(z), 1)
    assert np.abs(A @ z).max() <= 1e-13
    assert np.abs(cm.svd(op, 2).s - s[:2]).max() <= 1e-13
    assert np.isclose(cm.trace(op).value, A.trace())
    assert np.isclose(np.sort_complex(cm.eigvals(op).value).sum(), A.trace())
    other = JOINED[kind](A + np.eye(6))
    assert np.isclose(cm.logdet(other).value, np.linalg.slogdet(A + np.eye(6))[1])
    assert np.isclose(cm.cond(other).value, np.linalg.cond(A + np.eye(6)))


def numbers(*shape):
    return RNG.standard_normal(shape)


BLUR = cm.conv(numbers(3, 3), (4, 5), padding="same", boundary="wrap")
WIDE, TALL, OWN = cm.conv(numbers(3), 6), cm.aslinearmap(numbers(7, 5)), Own(numbers(4, 4))
ACROSS, DOWN = (cm.conv(k, (4, 5), padding="same", boundary="wrap") for k in ([[1.0, -1]], [[1.0], [-1]]))
SINGULAR = cm.aslinearmap(np.multiply.outer(numbers(4), numbers(4)))
WEIGHTS = np.array([2.0, 0, -3, 1j, 5])
PLACES = [3, 0, 4]
A = {name: op.to_dense() for name, op in {"blur": BLUR, "wide": WIDE, "tall": TALL, "own": OWN, "1": SINGULAR}.items()}
#: Maps made of maps, and their matrices by SciPy's and NumPy's constructions.
MAPS = {
    "block_diag": (cm.block_diag([BLUR, WIDE, TALL]), sla.block_diag(A["blur"], A["wide"], A["tall"])),
    "block_diag of own maps": (cm.block_diag([OWN, SINGULAR, OWN]), sla.block_diag(A["own"], A["1"], A["own"])),
    "kron": (cm.kron(WIDE, TALL), np.kron(A["wide"], A["tall"])),
    "kron of own maps": (cm.kron(OWN, SINGULAR), np.kron(A["own"], A["1"])),
    "multiple of kron": (-2.5j * cm.kron(OWN, BLUR), -2.5j * np.kron(A["own"], A["blur"])),
    "kron of kron": (cm.kron(OWN, cm.kron(WIDE, SINGULAR)), np.kron(A["own"], np.kron(A["wide"], A["1"]))),
    "kron of the ends of the range": (cm.kron(1e-200 * OWN, 1e200 * WIDE), np.kron(A["own"], A["wide"])),
    "kron of squares": (cm.kron(1e-200j * OWN, 1e200 * BLUR), 1j * np.kron(A["own"], A["blur"])),
    "diagonal": (cm.diagonal(WEIGHTS), np.diag(WEIGHTS)),
    "selection": (cm.select(6, PLACES), np.eye(6)[PLACES]),
    "weighted selection": (cm.diagonal([1, 0, 4.0]) @ cm.select(6, PLACES), np.diag([1, 0, 4]) @ np.eye(6)[PLACES]),
    "repeated selection": (cm.select(3, [0, 0, 1]), np.eye(3)[[0, 0, 1]]),
    "nothing selected": (cm.block_diag([OWN, cm.select(2, np.zeros(2, bool))]), np.pad(A["own"], ((0, 0), (0, 2)))),
    "masked": (BLUR[np.arange(20).reshape(4, 5) % 3 > 0], A["blur"][np.arange(20) % 3 > 0]),
    "permuted": (
        cm.permutation((4, 5), "HW", "WH") @ BLUR @ cm.permutation((5, 4), "HW", "WH"),
        A["blur"].reshape(4, 5, 4, 5).transpose(1, 0, 3, 2).reshape(20, 20),
    ),
    "weighted": (BLUR @ cm.diagonal(np.arange(20.0).reshape(4, 5)), A["blur"] * np.arange(20)),
    "vstack": (cm.vstack([BLUR, 0.5 * cm.identity((4, 5))]), np.concatenate([A["blur"], 0.5 * np.eye(20)])),
    "stack of circles": (cm.vstack([BLUR, ACROSS, 2j * DOWN]),
                         np.concatenate([A["blur"], ACROSS.to_dense(), 2j * DOWN.to_dense()])),
    "differences": (cm.vstack([ACROSS, DOWN]), np.concatenate([ACROSS.to_dense(), DOWN.to_dense()])),
    "wide stack": (cm.vstack([WIDE, 0.3j * cm.identity(6), WIDE]),
                   np.concatenate([A["wide"], 0.3j * np.eye(6), A["wide"]])),
    "wide above identity": (cm.vstack([WIDE, 0.3 * cm.identity(6)]), np.concatenate([A["wide"], 0.3 * np.eye(6)])),
    "hardly an identity": (cm.vstack([SINGULAR, 1e-20 * cm.identity(4)]), np.concatenate([A["1"], 1e-20 * np.eye(4)])),
    "gram": (cm.gram(OWN), A["own"].T @ A["own"]),
}  # fmt: skip


@pytest.mark.parametrize("name", MAPS)
def test_singular_values_of_maps_made_of_maps(name):
    op, matrix = MAPS[name]
    s, near = singular_values(matrix), 1e-13 * max(matrix.shape) * np.linalg.norm(matrix, 2)
    r, norm, least = cm.svdvals(op), cm.norm(op), cm.smallest_singular_value(op)
    for result, value in ((r, s), (norm, s[0]), (least, s[-1])):
        assert result.kind == "exact"
        assert np.abs(result.value - value).max() <= near
        assert (result.lower - near <= value).all()
        assert (value <= result.upper + near).all()
    assert int(cm.rank(op)) == np.linalg.matrix_rank(matrix)
    if s[-1] > 1e-10:
        assert np.isclose(cm.cond(op).value, np.linalg.cond(matrix))


@pytest.mark.parametrize("name", MAPS)
def test_null_spaces_of_maps_made_of_maps(name):
    op, matrix = MAPS[name]
    vectors = cm.null_space(op)
    assert vectors.shape == (matrix.shape[1] - np.linalg.matrix_rank(matrix), *op.in_shape)
    assert vectors.dtype == np.result_type(op.dtype, float)
    flat = vectors.reshape(len(vectors), op.shape[1])
    assert np.abs(flat @ matrix.T).max(initial=0) <= 1e-12 * np.linalg.norm(matrix)
    assert np.abs(flat.conj() @ flat.T - np.eye(len(flat))).max(initial=0) <= 1e-12


def distance(values, others):
    """The largest distance in the best matching of two sets of numbers."""
    distances = np.abs(values[:, None] - others)
    return distances[linear_sum_assignment(distances)].max()


@pytest.mark.parametrize("name", [name for name, (op, _) in MAPS.items() if op.in_shape == op.out_shape])
def test_eigenvalues_and_determinants_of_maps_made_of_maps(name):
    op, matrix = MAPS[name]
    r, near = cm.eigvals(op), 1e-6 * np.linalg.norm(matrix, 2)  # a double zero may be off by the root of eps
    assert distance(r.value, np.linalg.eigvals(matrix)) <= near
    logarithm, expected = cm.logdet(op), np.linalg.slogdet(matrix)[1]
    if np.linalg.matrix_rank(matrix) == len(matrix):
        assert np.isclose(logarithm.value, expected)
        assert logarithm.lower - 1e-9 <= expected <= logarithm.upper + 1e-9
    else:
        assert logarithm.lower == -np.inf
    assert np.isclose(cm.trace(op).value, matrix.trace())


def test_many_values_come_from_the_parts():
    first, second = numbers(60, 50), numbers(70, 80)
    products = np.multiply.outer(singular_values(first), singular_values(second)).ravel()
    products = np.append(-np.sort(-products), np.zeros(500))
    op = cm.kron(first, second)
    assert np.abs(cm.svdvals(op) - products).max() <= 1e-12 * products[0]
    assert np.isclose(cm.norm(op).value, products[0], rtol=1e-13)
    squares = numbers(400, 400), numbers(300, 300)
    assert np.isclose(cm.trace(cm.kron(*squares)).value, squares[0].trace() * squares[1].trace(), rtol=1e-12)
    weights = numbers(10**5)
    weights[::1000] = 0
    both = cm.block_diag([op, cm.diagonal(weights)])
    s = cm.svdvals(both)
    assert np.abs(s - np.sort(np.concatenate([products, np.abs(weights)]))[::-1]).max() <= 1e-12 * products[0]
    assert int(cm.rank(both)) == 3500 + 10**5 - 100
    places = np.flatnonzero(np.abs(cm.null_space(cm.diagonal(weights))).sum(axis=0))
    assert np.array_equal(places, np.arange(0, 10**5, 1000))
    lengths = np.exp(weights)
    assert np.isclose(cm.logdet(cm.diagonal(lengths)).value, weights.sum())
    assert np.array_equal(cm.eigvals(cm.diagonal(lengths)).value, np.sort(lengths)[::-1])


def test_norms_of_large_maps_come_from_the_parts():
    """Of circulants by Fourier; the blocks of the second have a norm that is not known to be a decomposition's."""
    shape = (300, 200)
    kernels = numbers(3, 4), 2 * numbers(5, 5)
    tops = [np.abs(np.fft.fft2(k, shape)).max() for k in kernels]
    circles = [cm.conv(k, shape, padding="same", boundary="wrap") for k in kernels]
    assert np.isclose(cm.norm(cm.block_diag(circles)).value, max(tops), rtol=1e-12)
    weights = np.arange(1.0, 5)
    assert np.isclose(cm.norm(cm.kron(cm.diagonal(weights), circles[0])).value, 4 * tops[0], rtol=1e-12)
    squares = sum(np.abs(np.fft.fft2(k, shape)) ** 2 for k in kernels) + 0.25
    s = cm.svdvals(cm.vstack([*circles, 0.5 * cm.identity(shape)]))
    assert np.allclose(s, np.sort(squares.ravel() ** 0.5)[::-1], rtol=1e-12)
    assert len(cm.null_space(cm.vstack([*circles, 0.5 * cm.identity(shape)]))) == 0
    square = cm.conv(kernels[1], (100, 90), padding="same")
    r, alone = cm.norm(cm.block_diag([square, 0.5 * square, cm.identity(10**4)])), cm.norm(square)
    assert r.kind == "interval"
    assert r.lower <= alone.upper
    assert alone.lower <= r.upper
    assert r.upper - r.lower <= 2e-6 * r.upper
    least = cm.smallest_singular_value(cm.block_diag([square.T @ square + cm.identity(square.in_shape), WIDE.T, WIDE]))
    assert least.value == 0  # 4 x 6 and 6 x 4 below each other have 8 singular values of 10


def test_maps_without_rows_or_columns():
    none = cm.select(3, np.zeros(3, bool))
    for op in (none, none.T, np.zeros((0, 3)), cm.kron(OWN, none)):
        assert cm.svdvals(op).shape == (0,)
        assert cm.norm(op).value == 0
        assert int(cm.rank(op)) == 0
        assert float(cm.cond(op)) == 1
        assert len(cm.null_space(op)) == cm.aslinearmap(op).shape[1]
