"""Singular values and tensors, beside a dense decomposition."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.sparse.linalg import svds

import convmtx as cm
from convmtx.spectra import values
from convmtx.structure import choose_decomposition, decompositions
from spectra.dense import doubles, rounding, singular_values

RNG = np.random.default_rng(0)
K = RNG.standard_normal((3, 3, 2, 3))
SEPARABLE = np.multiply.outer(RNG.standard_normal(5), RNG.standard_normal(3))
OPS = {
    "dense": cm.conv(K, (8, 9, 2)),
    "circle": cm.conv(K, (12, 12, 2), padding="same", boundary="wrap"),
    "strided circle": cm.conv(K, (12, 12, 2), padding=1, stride=2, boundary="wrap"),
    "zero": cm.conv(K, (12, 13, 2), padding="same"),
    "wide": cm.conv(K.swapaxes(2, 3), (12, 13, 3), padding="same"),
    "groups": cm.conv(RNG.standard_normal((3, 3, 2, 4)), (9, 8, 4), padding="same", groups=2),
    "factors": cm.conv(SEPARABLE, (20, 15), padding="same", boundary=("zero", "reflect")),
    "strided factors": cm.conv(np.einsum("ij,cf->ijcf", SEPARABLE, RNG.standard_normal((2, 3))), (12, 10, 2), stride=2),
    "band": cm.conv(RNG.standard_normal(7), 200, padding="same"),
    "band in blocks": cm.conv(RNG.standard_normal((3, 3)), (60, 6), padding="same", boundary=("zero", "wrap")),
    "complex": cm.conv(K + 1j * K[::-1], (8, 8, 2), padding="same", boundary="reflect"),
    "complex circle": cm.conv(K + 1j * K[::-1], (8, 8, 2), padding="same", boundary="wrap"),
    "float32": cm.conv(K.astype(np.float32), (8, 8, 2), padding="same"),
    "integers": cm.conv(np.array([[1, 2], [3, 4]]), (9, 9), padding="same"),
    "transpose of no convolution": cm.conv(K, (8, 8, 2), padding="same", boundary="edge").T,
    "sum": cm.conv(K, (7, 7, 2), padding="same", boundary="edge") + cm.conv(K, (7, 7, 2), padding="same"),
    "product": cm.conv(SEPARABLE, (9, 9), padding="same", boundary="edge") @ cm.permutation((9, 9), "HW", "WH"),
}  # fmt: skip


def matrix_of(op):
    """In double precision, as the singular values are."""
    return op.to_dense().astype(np.result_type(op.dtype, np.float64))


@given(doubles())
@settings(max_examples=100)
def test_every_decomposition_gives_the_singular_values_of_any_map(case):
    expected, near = singular_values(case.matrix), rounding(case.matrix)
    for decomposition in decompositions(case.op):
        assert np.abs(decomposition.values() - expected).max(initial=0) <= near
        assert abs(decomposition.largest() - expected.max(initial=0)) <= near


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_decomposed(name, which):
    op = OPS[name]
    expected, near = singular_values(matrix_of(op)), rounding(matrix_of(op))
    s = cm.svdvals(op)
    some = cm.svdvals(op, 4, which)

    assert s.kind == some.kind == "exact"
    assert np.abs(np.asarray(s) - expected).max() <= near
    assert np.abs(np.asarray(some) - (expected[:4] if which == "largest" else expected[-4:])).max() <= near
    assert_tensors(op, *cm.svd(op, 4, which), near)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("which", ["largest", "smallest"])
def test_iterated(name, which, monkeypatch):
    """The same where every decomposition is said to be too much work."""
    op = OPS[name]
    expected = singular_values(matrix_of(op))
    monkeypatch.setattr(values, "SMALL_SPECTRUM_WORK", 0)
    s = cm.svdvals(op, 3, which)
    wanted = expected[:3] if which == "largest" else expected[-3:]
    near = 1e-9 * expected[0]

    assert s.kind == "estimate"
    assert np.abs(np.asarray(s) - wanted).max() <= near
    assert (s.lower <= wanted + near).all()
    assert (wanted <= s.upper + near).all()
    U, s, V = cm.svd(op, 3, which)
    assert np.abs(np.asarray(s) - wanted).max() <= near
    if which == "largest":
        assert_tensors(op, U, s, V, 1e-6 * expected[0])


def assert_tensors(op, U, s, V, near):
    count = len(s)
    s = np.asarray(s)
    assert U.shape == (count, *op.out_shape)
    assert V.shape == (count, *op.in_shape)
    assert (V.dtype.kind == "c") == (op.dtype.kind == "c")
    U, V = U.reshape(count, -1), V.reshape(count, -1)
    D = matrix_of(op)
    assert np.abs(V.conj() @ V.T - np.eye(count)).max() <= 1e-9
    assert np.abs(U.conj() @ U.T - np.eye(count)).max() <= 1e-9
    assert np.abs(D @ V.T - U.T * s).max() <= near
    assert np.abs(D.conj().T @ U.T - V.T * s).max() <= near


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.complex64, np.int8])
def test_products_are_in_double_precision(dtype):
    kernel = RNG.integers(-9, 9, (3, 3)).astype(dtype) / (1 if dtype is np.int8 else dtype(8))
    kernel = kernel.astype(dtype)
    op, exactly = (cm.conv(K, (6, 6), padding="same", boundary="reflect") for K in (kernel, kernel * np.float64(1)))
    P = 2 * (op.T @ op + cm.permutation((6, 6), "HW", "WH"))
    D = 2 * (exactly.to_dense().T @ exactly.to_dense() + cm.permutation((6, 6), "HW", "WH").to_dense())
    assert np.abs(np.asarray(cm.svdvals(P)) - singular_values(D)).max() <= rounding(D)
    assert np.isclose(float(cm.norm(P, 1)), np.abs(D).sum(axis=0).max(), rtol=1e-14)
    assert np.isclose(complex(cm.trace(P)), np.trace(D), rtol=1e-14)
    assert_tensors(exactly.T @ exactly, *cm.svd(op.T @ op, 3), rounding(D))


def test_equal_singular_values_are_all_found(monkeypatch):
    """A process from one start sees one vector of each; a kernel that is its own transpose has pairs."""
    monkeypatch.setattr(values, "SMALL_SPECTRUM_WORK", 0)
    op = cm.conv([[1.0, 2, 1], [2, 7, 2], [1, 2, 1]], (14, 14))
    expected = singular_values(op.to_dense())

    assert np.abs(np.asarray(cm.svdvals(op, 8)) - expected[:8]).max() <= 1e-9 * expected[0]


def test_structure_beats_size():
    """All of 200,000 singular values; a dense matrix of them would take 300 GB."""
    K = RNG.standard_normal((3, 3, 3, 3))
    s = cm.svdvals(cm.conv(K, (256, 256, 3), padding="same", boundary="wrap"))
    F = np.fft.fft2(K, (256, 256), (0, 1))
    expected = -np.sort(-np.linalg.svd(F, compute_uv=False).ravel())

    assert np.abs(np.asarray(s) - expected).max() <= 1e-12 * expected[0]


def test_what_takes_hours_or_does_not_fit_is_refused_at_once(monkeypatch):
    op = cm.conv(RNG.standard_normal((3, 3, 3, 3)), (512, 512, 3), padding="same")
    with pytest.raises(cm.UnsupportedError, match=r"some 24319 hours. Ask for some of them, as with k=10"):
        cm.svdvals(op)
    monkeypatch.setattr(values, "HOUR_OF_WORK", np.inf)
    with pytest.raises(MemoryError, match=r"svdvals|singular values: .* Ask for some of them, as with cm.svdvals"):
        cm.svdvals(op)
    with pytest.raises(MemoryError, match=r"cm\.sup_norm, which do not depend on the size"):
        cm.svdvals(cm.conv(np.ones((3, 3)) + np.eye(3), (100_000, 100_000), padding="same"), 2)


@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect", "symmetric", "edge"])
def test_axes_that_cannot_be_listed_are_refused_in_words(boundary):
    """At the largest size there is: 9 TB for each list of positions."""
    op = cm.conv([1.0, 2.0, 3.0], 2**40, padding="same", boundary=boundary)
    bounds = [partial(cm.norm_bound, method=name) for name in ("theta", "gram", "sup", "fantastic4", "best")]
    for question in (
        cm.svdvals, partial(cm.svdvals, k=3), partial(cm.svdvals, k=3, which="smallest"), partial(cm.svd, k=3),
        cm.cond, cm.rank, cm.smallest_singular_value, cm.singular_value_bounds, partial(cm.symbol, grid=2**40),
        cm.eigvals, cm.logdet, cm.trace, cm.null_space, partial(cm.project, max=1.0), *bounds,
    ):  # fmt: skip
        with pytest.raises(cm.FormTooLargeError, match="Available are"):
            question(op)
    assert float(cm.norm(op, np.inf)) == 6


@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect"])
def test_planes_of_which_no_vector_fits_are_refused_in_words(boundary):
    op = cm.conv([[1.0, 2.0], [0.0, 4.0]], (2**18, 2**18), padding="same", boundary=boundary)
    for question in (cm.rank, cm.smallest_singular_value, cm.singular_value_bounds, cm.eigvals,
                     partial(cm.project, max=1.0)):  # fmt: skip
        with pytest.raises(cm.FormTooLargeError, match="Available are"):
            question(op)


def test_beside_arpack():
    op = cm.conv(RNG.standard_normal((3, 3, 4, 4)), (40, 40, 4), padding="same")
    s = cm.svdvals(op, 5)
    expected = np.sort(svds(op.to_sparse(), 5, return_singular_vectors=False, random_state=0))[::-1]

    assert s.kind == "estimate"
    assert np.abs(np.asarray(s) - expected).max() <= 1e-9 * expected[0]


def test_values_that_occur_more_often_than_not():
    """The process from one start ends after as many steps as values differ; each further start finds one more."""
    thinned = cm.conv([[2.0]], (50, 50), padding=-1, input_dilation=2, boundary="reflect")
    op = thinned.T @ thinned
    expected = np.sort(np.diag(op.to_dense()))[::-1]  # the matrix is diagonal
    for k in (3, 20):
        found = cm.svdvals(op, k)
        assert found.kind == "estimate"
        assert np.allclose(np.asarray(found), expected[:k], rtol=1e-12)


def test_a_map_that_reads_nothing_has_singular_tensors():
    op = cm.conv([1.0, 2.0], 5000, padding=[(8000, -5000)])
    U, s, V = cm.svd(op, 2)
    assert op.nnz == 0
    assert not np.asarray(s).any()
    assert np.allclose(V @ V.T, np.eye(2))
    assert np.allclose(U @ U.T, np.eye(2))


def test_chosen_decompositions():
    names = ("circle", "factors", "band in blocks")
    methods = {name: choose_decomposition(OPS[name]).method.partition(" ")[0] for name in names}
    assert methods == {"circle": "blocks", "factors": "Kronecker", "band in blocks": "blocks"}
    assert choose_decomposition(cm.conv(np.ones(7), 5000, padding="same")).method.startswith("band")


def test_results_are_numbers_and_arrays():
    op = OPS["band"]
    s, top = cm.svdvals(op), cm.norm(op)
    assert top.lower < float(top) < top.upper < top.lower + 1e-12
    assert np.isclose(float(top), np.asarray(s).max(), rtol=1e-14)
    assert (2 * s)[0] == 2 * s[0]
    assert len(s) == 200
    assert list(s)[:2] == [s[0], s[1]]
    assert top > 0
    assert f"{top:.3f}" == f"{float(top):.3f}"
    assert "exact" in repr(s)
    assert bool(top)
    assert round(top, 2) == round(float(top), 2)
    assert "5j" in repr(cm.trace(cm.conv([1j], 5)))
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(s)[0] = 99
    with pytest.raises(cm.ImmutableError, match="Results cannot be changed"):
        top.kind = "upper"
    assert pickle.loads(pickle.dumps(top)).upper == top.upper


def test_vectors_that_do_not_fit_end_the_search_and_the_result_says_so(monkeypatch):
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 3)), (40, 40), padding="same")
    expected = singular_values(op.to_dense())[:8]
    too_much = replace(choose_decomposition(op), work=np.inf)
    monkeypatch.setattr(values, "choose_decomposition", lambda _op: too_much)
    monkeypatch.setattr("convmtx.memory.available", lambda: 21 * 1600 * 16)

    assert_stopped(cm.svdvals(op, 8), "memory", expected)


def assert_stopped(found, by, expected):
    """It says what stopped it, and its ends hold all the same."""
    assert found.method.endswith(f"; stopped by {by} before rtol=1e-09 was met")
    assert not found.converged
    assert found.shape == expected.shape
    assert (found.lower <= expected * (1 + 1e-13)).all()
    assert (expected <= found.upper * (1 + 1e-13)).all()


@pytest.mark.parametrize("maxiter", [1, 10, 40])
def test_steps_that_run_out_end_the_search_and_the_result_says_so(maxiter, monkeypatch):
    """The k vectors that are asked for take k steps at least."""
    monkeypatch.setattr(values, "SMALL_SPECTRUM_WORK", 0)
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 3)), (20, 20), padding="same")
    expected = singular_values(op.to_dense())[:5]
    found = cm.svdvals(op, 5, maxiter=maxiter)

    assert_stopped(found, "maxiter", expected)
    assert found.iterations == max(maxiter, 5)
    U, s, V = cm.svd(op, 5, maxiter=maxiter)
    assert not s.converged
    assert np.allclose(U.reshape(5, -1) @ U.reshape(5, -1).T, np.eye(5))
    assert np.allclose(V.reshape(5, -1) @ V.reshape(5, -1).T, np.eye(5))
    assert cm.svdvals(op, 5).converged
