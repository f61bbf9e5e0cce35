"""Law 1: every form holds the loop reference's entries, exactly."""

import numpy as np
import pytest
from hypothesis import given

import convmtx as cm
from convmtx.forms import formats
from convmtx.forms.view import embed
from strategies import cases

FORMATS = ["csr", "csc", "coo", "bsr", "dia"]


@pytest.fixture(scope="module", autouse=True)
def no_pattern_is_kept():
    """Write matrices each time; those from kept patterns are compared with these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "pattern", lambda *_: None)
        yield


@given(cases())
def test_tensor_and_dense_equal_the_definition(case):
    W = case.op.to_tensor()

    assert W.dtype == case.op.dtype == case.op.kernel.dtype
    assert W.shape == case.op.out_shape + case.op.in_shape
    assert np.array_equal(W, case.tensor)
    for order in "CF":
        assert np.array_equal(case.op.to_dense(order), case.matrix_in(order))


@given(cases())
@pytest.mark.parametrize("order", ["C", "F"])
def test_sparse_formats_equal_the_definition(order, case):
    for name in FORMATS:
        S = case.op.to_sparse(name, order)

        assert S.format == name
        assert S.dtype == case.op.dtype
        assert np.array_equal(S.toarray(), case.matrix_in(order))


@given(cases())
def test_view_equals_the_tensor_wherever_the_map_is_toeplitz(case):
    try:
        V = case.op.tensor_view()
    except cm.NotToeplitzError:
        assert any(rule not in ("zero", "wrap") for rule in case.boundary)
        return

    assert np.array_equal(V, case.tensor)
    assert not V.flags.writeable


@given(cases(boundaries=["zero", "wrap"]))
def test_zero_and_wrap_always_have_a_view(case):
    assert np.array_equal(case.op.tensor_view(), case.tensor)


@given(cases())
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_are_the_rows_of_the_whole(order, case):
    M = case.op.shape[0]
    rng = np.random.default_rng(M)
    D = case.matrix_in(order)
    mask = rng.random(M) < 0.5
    for rows in (slice(None), slice(1, None, 2), slice(None, None, -1), rng.integers(-M, M, 7), mask, [], [0]):
        wanted = D[np.asarray(rows, dtype=int)] if isinstance(rows, list) else D[rows]
        for name in ("csr", "coo", "dia"):
            assert np.array_equal(case.op.to_sparse(name, order, rows=rows).toarray(), wanted)


@given(cases())
def test_nnz_and_the_pattern_depend_on_the_geometry_only(case):
    S = case.op.to_sparse()
    zeros = case.op.with_kernel(np.zeros(case.op.kernel.shape))
    pattern = zeros.to_sparse()

    assert case.op.nnz == S.nnz == pattern.nnz
    assert np.array_equal(S.indices, pattern.indices)
    assert np.array_equal(S.indptr, pattern.indptr)
    ones = case.op.with_kernel(np.ones(case.op.kernel.shape, np.int64))
    assert case.op.nnz == np.count_nonzero(ones.to_dense())


@given(cases())
def test_explain_knows_the_bytes_of_each_form(case):
    sizes = case.op.explain().bytes
    for name in ("csr", "csc", "bsr"):
        S = case.op.to_sparse(name)
        assert sizes[name] == S.data.nbytes + S.indices.nbytes + S.indptr.nbytes
    coo = case.op.to_sparse("coo")
    assert sizes["coo"] == coo.data.nbytes + sum(c.nbytes for c in coo.coords)
    assert sizes["dense"] == sizes["tensor"] == case.op.to_dense().nbytes
    if "view" in sizes:
        assert embed(case.op.geometry, case.op.kernel).nbytes == sizes["view"]


@given(cases(dtypes=[np.float32, np.float64, np.complex64]))
def test_forms_agree_to_the_last_bit_where_entries_are_rounded_sums(case):
    rng = np.random.default_rng(0)
    op = case.op.with_kernel((rng.standard_normal(case.op.kernel.shape) * 1.7).astype(case.op.dtype))
    D = op.to_dense()

    assert np.array_equal(op.to_tensor().reshape(D.shape), D)
    for name in FORMATS:
        assert np.array_equal(op.to_sparse(name).toarray(), D)
    assert np.array_equal(op.to_sparse(rows=slice(None, None, -1)).toarray(), D[::-1])
    assert np.array_equal(op.T.to_dense(), D.T)
    assert np.array_equal(op.T.to_sparse().toarray(), D.T)
    if op.geometry.toeplitz:
        assert np.array_equal(op.tensor_view().reshape(D.shape), D)
