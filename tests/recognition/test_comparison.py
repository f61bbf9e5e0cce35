"""Entries that differ: numbers against NumPy on dense matrices, coordinates against the loop reference."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
import reference
from convmtx.recognition.comparison import compare, tap_between
from strategies import cases

FORMS = {
    "dense": np.asarray,
    "csr": scipy.sparse.csr_array,
    "stored zeros": lambda A: scipy.sparse.csr_array(
        (A.ravel(), np.tile(np.arange(A.shape[1]), len(A)), np.arange(len(A) + 1) * A.shape[1]), A.shape
    ),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@settings(max_examples=40, deadline=None)
@given(case=cases(dims=(1, 2)), order=st.sampled_from("CF"), seed=st.integers(0, 2**32))
def test_entries_that_differ(form, case, order, seed):
    rng = np.random.default_rng(seed)
    matrix = case.matrix_in(order)
    assert compare(form(matrix), case.op, order).count == 0
    wrong = matrix.copy()
    changed = rng.permutation(matrix.size)[: rng.integers(1, 5)]
    wrong.flat[changed] += 1
    comparison = compare(form(wrong), case.op, order)
    assert comparison.count == changed.size
    assert comparison.largest == 1
    assert comparison.distance == pytest.approx(changed.size**0.5, rel=1e-15)
    first = [np.unravel_index(flat, matrix.shape) for flat in np.sort(changed)[:3]]
    assert [(d.output, d.input, d.theirs, d.ours) for d in comparison.differs] == [
        (np.unravel_index(row, case.op.out_shape, order), np.unravel_index(column, case.op.in_shape, order),
         wrong[row, column], matrix[row, column])
        for row, column in first
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(case=cases(dims=(1, 2)), seed=st.integers(0, 2**32))
def test_taps(case, seed):
    """A kernel with a one at the tap alone reads the input; without folds no other tap does."""
    op, rng = case.op, np.random.default_rng(seed)
    output, position = (tuple(rng.integers(shape).tolist()) for shape in (op.out_shape, op.in_shape))
    place = tap_between(op.geometry, output, position)
    readers = []
    for tap in np.ndindex(op.kernel.shape):
        one = np.zeros(op.kernel.shape)
        one[tap] = 1
        if op.with_kernel(one).to_tensor()[output + position]:
            readers.append(tap)
    assert place == (readers[0] if readers else None)


def test_tolerances_are_those_of_numpy():
    op = cm.conv([1.0, -100.0], 4)
    A = op.to_dense() + np.array([[0.1, 0, 0, 0.1], [0, 0.1, 0.9, 0], [0, 0, 0, 0]])
    expected = np.argwhere(~np.isclose(A, op.to_dense(), rtol=1e-2, atol=0.01))
    comparison = compare(scipy.sparse.csr_array(A), op, rtol=1e-2, atol=0.01)
    assert [(*d.output, *d.input) for d in comparison.differs] == [*map(tuple, expected)]
    assert comparison.distance == pytest.approx(np.linalg.norm(A - op.to_dense()))


def test_numbers_without_order():
    op = cm.conv([np.nan, np.inf, 1e300, 2.0], 4)
    assert compare(op.to_dense(), op).count == 0
    single = compare(np.array([[np.nan, np.inf, np.inf, 2]], np.float32), op)  # 1e300 overflows: that is no rounding
    assert [(d.input, d.tap, d.theirs, d.ours) for d in single.differs] == [((2,), (2,), np.inf, 1e300)]
    assert np.isnan(compare(np.array([[np.nan, np.nan, 1e300, 2]]), op).largest)
    large = cm.conv([2**53, 1], 2)
    assert compare(np.array([[2**53 + 1, 1]]), large).count == 1  # in double precision they are equal


def test_unsorted_and_repeated_indices(monkeypatch):
    op = cm.conv(np.arange(1, 7).reshape(2, 3), (30, 31), padding=1)
    coo = op.to_sparse("coo")
    order = np.random.default_rng(0).permutation(coo.nnz)
    rows = coo.coords[0][order]
    by_row = order[np.argsort(rows, kind="stable")]
    S = scipy.sparse.csr_array((coo.data[by_row], coo.coords[1][by_row], op.to_sparse().indptr), shape=op.shape)
    assert compare(S, op).count == 0
    assert not S.has_sorted_indices
    monkeypatch.setattr("convmtx.recognition.matrices.SLAB", 100)
    S = op.to_sparse()
    S.data[[7, -1]] += 1
    comparison = compare(S, op)
    assert comparison.count == 2
    assert comparison.differs[-1].output == (30, 30)


def test_maps_without_a_kernel():
    op = cm.diagonal([[1, 2], [3, 4]])
    A = np.diag([1, 2, 9, 4])
    (difference,) = compare(A, op).differs
    assert (difference.output, difference.input, difference.tap) == ((1, 0), (1, 0), None)


def test_reference_agrees_about_groups():
    K = np.arange(1, 13).reshape(3, 2, 2)
    tensor = reference.tensor(K, (4,), (1,), (1,), [(0, 0)], (1,), ["zero"], 2, False)
    op = cm.conv(K, (4, 4), groups=2)
    for place in np.ndindex(tensor.shape):
        tap = tap_between(op.geometry, place[:2], place[2:])
        assert tensor[place] == (0 if tap is None else K[tap])
