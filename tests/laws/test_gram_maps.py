"""Gram maps: SciPy's product of the sparse matrices, exactly Hermitian, with its pattern."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
from matrices import assert_is
from strategies import cases, small_integers

DTYPES = [np.int64, np.float32, np.float64, np.complex128]


def product(op, weights):
    """``A^H W A`` by SciPy, and how many of its entries have a term."""
    S = op.to_sparse()
    W = (
        sp.eye_array(len(S.indptr) - 1, dtype=np.int8)
        if weights is None
        else sp.diags_array(weights.ravel(), dtype=weights.dtype)
    )
    ones = sp.csr_array((np.ones(S.nnz, np.int64), S.indices, S.indptr), S.shape)
    return (S.conj().T @ (W @ S)).toarray(), (ones.T @ ones).tocsr()


def weights_of(rng, shape, dtype, kind):
    """Weights of both signs, of 0 and 1 as of a mask, or none."""
    if kind == "none":
        return None
    weights = rng.integers(0, 2, shape) if kind == "mask" else rng.integers(-3, 4, shape)
    return weights.astype(np.int64 if np.dtype(dtype).kind == "i" else np.float32)


def is_closed(op, weights):
    """Whether the pattern is that of the geometry: without weights, or with zeros outside and no stretched inputs."""
    is_plain = all(axis.boundary.name == "zero" and axis.input_dilation == 1 for axis in op.geometry.axes)
    return weights is None or is_plain


@settings(max_examples=25)
@given(cases(dims=(1, 2, 3), dtypes=DTYPES), st.sampled_from(["none", "mask", "signs"]), st.integers(0, 2**32))
def test_every_entry_of_a_convolution(case, kind, seed):
    rng = np.random.default_rng(seed)
    weights = weights_of(rng, case.op.out_shape, case.op.dtype, kind)
    op = cm.gram(case.op, weights)
    expected, together = product(case.op, weights)
    matrix = op.to_sparse()
    assert np.array_equal(op.to_dense(), expected)  # small integers: nothing rounds
    assert op.dtype == expected.dtype
    assert matrix.has_canonical_format
    assert not set(zip(*matrix.nonzero(), strict=True)) - set(zip(*together.nonzero(), strict=True))
    if is_closed(case.op, weights) and not isinstance(op, cm.ConvOperator):
        assert np.array_equal(matrix.indices, together.sorted_indices().indices)
        assert np.array_equal(matrix.indptr, together.indptr)
    rows = rng.integers(0, op.shape[0], 5)
    for order in "CF":
        assert np.array_equal(op.to_sparse(rows=rows, order=order).toarray(), op.to_dense(order)[rows])
    x = small_integers(rng, (2, *op.in_shape), op.dtype)
    assert np.array_equal(op(x).reshape(2, -1), x.reshape(2, -1) @ expected.T)
    assert np.array_equal(op.T.to_dense(), expected.T)
    assert np.array_equal(op.H.to_dense(), expected)


@settings(max_examples=25)
@given(
    cases(dims=(1, 2), dtypes=[np.float32, np.float64, np.complex64, np.complex128]),
    st.booleans(), st.sampled_from(["one", "crop", "numbers", "sum", "stack"]), st.integers(0, 2**32),
)  # fmt: skip
def test_hermitian_to_the_last_bit(case, has_weights, kind, seed):
    rng, op = np.random.default_rng(seed), case.op
    K = rng.standard_normal(op.kernel.shape)
    K = K + 1j * rng.standard_normal(K.shape) if op.dtype.kind == "c" else K
    op = op.with_kernel(K.astype(op.dtype))
    op = {
        "one": lambda: op, "crop": lambda: op[..., ::2], "numbers": lambda: op[rng.integers(0, op.out_shape[0], 4)],
        "sum": lambda: op + cm.aslinearmap(op.to_dense(), op.in_shape, op.out_shape),
        "stack": lambda: cm.vstack([op, cm.diagonal(rng.standard_normal(op.in_shape))]),
    }[kind]()  # fmt: skip
    weights = rng.standard_normal(op.out_shape).astype(np.float32) if has_weights else None
    gram = cm.gram(op, weights)
    for order in "CF":
        matrix = gram.to_dense(order)
        assert np.array_equal(matrix, matrix.conj().T)
    D = op.to_dense().astype(np.result_type(op.dtype, float))
    W = 1.0 if weights is None else weights.reshape(-1, 1).astype(float)
    near = 64 * np.finfo(gram.dtype).eps * (np.abs(D).T @ (np.abs(W) * np.abs(D))) + 1e-300
    assert (np.abs(gram.to_dense() - D.conj().T @ (W * D)) <= near).all()


@pytest.mark.parametrize("weights", [False, True])
def test_a_mask_and_its_weights_are_the_same(weights):
    """Pixels that are missing: the Gram map of the rows kept, or weights of 0 and 1."""
    rng = np.random.default_rng(0)
    op = cm.conv(rng.integers(-4, 5, (5, 5)), (12, 11), padding="same")
    mask, w = rng.random(op.out_shape) < 0.7, rng.integers(1, 5, op.out_shape)
    kept = cm.gram(op[mask], w[mask]) if weights else cm.gram(op[mask])
    whole = cm.gram(op, mask * w if weights else mask.astype(int))
    assert np.array_equal(kept.to_dense(), whole.to_dense())
    assert_is(kept, whole.to_dense(), rng)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_on_a_circle_it_is_a_convolution(dtype):
    rng = np.random.default_rng(0)
    K = rng.standard_normal((3, 3, 2, 4)).astype(dtype) * (1 if dtype is np.float64 else 1 + 2j)
    op = cm.conv(K, (5, 6, 2), padding="same", boundary="wrap")
    gram = cm.gram(op)
    assert isinstance(gram, cm.ConvOperator)
    D = gram.to_dense()
    assert np.array_equal(D, D.conj().T)
    assert np.allclose(D, op.to_dense().conj().T @ op.to_dense())


def test_weights_of_outputs_that_are_chosen_twice_are_added_exactly():
    op, weights = cm.aslinearmap(np.array([[300, 1], [2, 3]])), np.int8([100, 100, 1, 100])
    D = op.to_dense()[[0, 0, 1, 0]]
    assert np.array_equal(cm.gram(op[[0, 0, 1, 0]], weights).to_dense(), D.T @ (weights[:, None] * D))
    D = op.to_dense()[[0, 0]] * (1.0 + 1j)
    tenth = np.float32([0.1, 0.7])
    gram = cm.gram((op * (1.0 + 1j))[[0, 0]], tenth).to_dense()
    assert np.allclose(gram, D.conj().T @ (tenth[:, None].astype(float) * D), rtol=1e-14)


def test_factors_of_a_quadratic_program_are_exact():
    """Entries of large integers, which products of floats would round."""
    K = np.array([[2**20 + 1, -3], [5, 2**21 - 1]])
    op = cm.conv(K, (4, 5), stride=(2, 1), padding=1)
    weights = np.random.default_rng(0).integers(-(2**10), 2**10, op.out_shape)
    D = op.to_dense().astype(object)
    exact = D.T @ (weights.reshape(-1, 1).astype(object) * D)
    assert (cm.gram(op, weights).to_dense().astype(object) == exact).all()
    assert (cm.gram(op, weights).to_sparse().toarray().astype(object) == exact).all()
