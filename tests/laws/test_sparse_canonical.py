"""Law 5: sparse matrices are canonical, indices as small as they may be and never overflow."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given

import convmtx as cm
from convmtx.forms import formats, layout, sparse
from convmtx.forms.layout import index_dtype
from convmtx.geometry import Axis
from strategies import cases


@pytest.fixture(scope="module", autouse=True)
def no_pattern_is_kept():
    """Write matrices each time; those from kept patterns are compared with these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "pattern", lambda *_: None)
        yield


@given(cases())
@pytest.mark.parametrize("name", ["csr", "csc", "bsr"])
def test_compressed_formats_are_sorted_without_duplicates(name, case):
    for order in "CF":
        S = case.op.to_sparse(name, order)
        assert S.has_sorted_indices
        assert S.has_canonical_format
        unchecked = type(S)((S.data, S.indices, S.indptr), shape=S.shape)  # SciPy looks for itself
        unchecked.check_format(full_check=True)
        assert unchecked.has_sorted_indices
        assert unchecked.has_canonical_format
        assert S.indices.dtype == S.indptr.dtype == np.int32


@given(cases())
def test_coo_is_in_row_order(case):
    row, column = case.op.to_sparse("coo").coords
    place = row.astype(np.int64) * case.op.shape[1] + column

    assert (np.diff(place) > 0).all()


@given(cases())
def test_dia_holds_each_diagonal_once_in_ascending_order(case):
    assert (np.diff(case.op.to_sparse("dia").offsets) > 0).all()


@given(cases())
def test_chosen_rows_are_canonical(case):
    rows = np.arange(case.op.shape[0])[::-2]
    S = case.op.to_sparse(rows=rows)
    unchecked = type(S)((S.data, S.indices, S.indptr), shape=S.shape)

    assert S.has_canonical_format
    assert unchecked.has_canonical_format


def test_bsr_blocks_are_the_channel_matrices():
    K = np.arange(3 * 3 * 2 * 6.0).reshape(3, 3, 2, 6)
    S = cm.conv(K, (5, 5, 4), groups=2).to_sparse("bsr")

    assert S.blocksize == (3, 2)
    assert S.data.shape == (9 * 9 * 2, 3, 2)


@pytest.mark.parametrize(("rows", "blocks"), [
    (slice(6, 18), (3, 2)), ([9, 10, 11, 0, 1, 2], (3, 2)), (slice(1, 13), (1, 1)), ([1, 0, 2], (1, 1)),
    ([0, 1], (1, 1)),
])  # fmt: skip
def test_bsr_of_rows_has_the_blocks_that_are_whole(rows, blocks):
    op = cm.conv(np.arange(3 * 3 * 2 * 6.0).reshape(3, 3, 2, 6), (5, 5, 4), groups=2)
    S = op.to_sparse("bsr", rows=rows)

    assert S.blocksize == blocks
    assert np.array_equal(S.toarray(), op.to_dense()[rows])
    assert type(S)((S.data, S.indices, S.indptr), shape=S.shape).has_canonical_format


def test_zeros_of_the_kernel_stay_stored():
    S = cm.conv([0.0, 1.0, 0.0], 5).to_sparse()

    assert S.nnz == 9
    assert np.count_nonzero(S.data) == 3


@pytest.mark.parametrize("largest", [2**31 - 1, 2**31, 2**40])
def test_int64_from_the_first_count_that_int32_cannot_hold(largest):
    expected = np.int32 if largest < 2**31 else np.int64

    assert index_dtype(largest, 5) is expected
    assert index_dtype(5, largest) is expected


def test_counts_of_maps_too_large_to_build_are_exact():
    """Python integers all the way: n - k + 1 places squared, times taps, times channel pairs."""
    K = np.broadcast_to(np.float32(1), (3, 3, 64, 64))
    op = cm.conv(K, (224, 224, 64))
    assert op.nnz == 222**2 * 9 * 64 * 64
    assert op.nnz * 2 > 2**31

    n = 1_000_003
    wide = cm.conv(np.ones((3, 3, 3), np.float32), (n, n, n), padding="same")
    assert wide.shape == (n**3, n**3)
    assert wide.nnz == (3 * n - 2) ** 3  # beyond int64's square root many times over
    assert wide.explain().bytes["dense"] == 4 * n**6


@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect"])
def test_rows_of_a_map_too_large_to_build_have_int64_indices(boundary):
    n = 50_021  # n*n columns are more than int32 holds
    op = cm.conv([[1, 2], [3, 4]], (n, n), padding="full", boundary=boundary)
    M, N = op.shape
    m = n + 1
    o = (m // 2, m // 3)
    S = op.to_sparse(rows=[0, o[0] * m + o[1], M - 1, -2])

    assert S.indices.dtype == np.int64
    assert S.indices.max() == N - 1
    # An inner output reads the four pixels up and left of it.
    expected = [(o[0] - 1) * n + o[1] - 1, (o[0] - 1) * n + o[1], o[0] * n + o[1] - 1, o[0] * n + o[1]]
    assert S[[1]].indices.tolist() == expected
    assert S[[1]].data.tolist() == [1, 2, 3, 4]


def test_rows_of_the_vgg_layer_are_built_without_the_rest():
    K = np.random.default_rng(0).standard_normal((64, 64, 3, 3)).astype(np.float32)
    op = cm.conv(K, (64, 224, 224), channels="first", padding=1)
    S = op.to_sparse(rows=slice(op.shape[0] - 3, None))

    assert op.nnz > 1.8e9
    assert S.shape == (3, op.shape[1])
    assert S.nnz == 64 * (6 + 6 + 4)
    assert np.array_equal(S[[2]].data.reshape(64, 2, 2), K[-1, :, :2, :2])


def test_a_kernel_much_longer_than_its_input_costs_what_it_stores():
    h = np.arange(1.0, 1501)
    expected = scipy.linalg.convolution_matrix(h, 5, "full")
    op = cm.conv(h, 5, padding="full", flip=True)
    read = []
    with pytest.MonkeyPatch.context() as patch:
        own = Axis.read
        patch.setattr(Axis, "read", lambda self, *at: read.append(own(self, *at)) or read[-1])
        for S, wanted in (
            (op.to_sparse(), expected),
            (op.to_sparse(rows=slice(1, 1400)), expected[1:1400]),
            (op.to_sparse(rows=np.arange(1400)[::-1] ** 2 % 1500), expected[np.arange(1400)[::-1] ** 2 % 1500]),
            (op.T.to_sparse(rows=np.array([3, 0, 4])), expected.T[[3, 0, 4]]),
        ):
            assert np.array_equal(S.toarray(), wanted)
    assert np.array_equal(cm.convmtx(h, 5, form="dense"), expected)
    assert sum(places.size for places in read) < 8 * op.nnz  # not outputs x taps, 300 times as many


@given(cases())
def test_matrices_written_by_columns_are_the_same(case):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "_FEW_RUNS", 0)
        patch.setattr(layout, "_RUN", 1 << 40)
        patch.setattr(sparse, "first_rows", lambda _rows: None)
        for order in "CF":
            expected = case.matrix_in(order)
            assert np.array_equal(case.op.to_dense(order), expected)
            for name in ("csr", "csc", "coo", "bsr"):
                S = case.op.to_sparse(name, order)
                assert np.array_equal(S.toarray(), expected)
                assert S.nnz == case.op.nnz
                if name != "coo":
                    unchecked = type(S)((S.data, S.indices, S.indptr), shape=S.shape)
                    assert unchecked.has_canonical_format
                    assert S.indices.dtype == S.indptr.dtype == np.int32
