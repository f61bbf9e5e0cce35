"""Where the entries of a row begin, and which row holds an entry, beside the pointers of whole sparse matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
import reference
from convmtx.forms.offsets import entries_before, rows_of_entries
from strategies import cases


def assert_offsets(geometry, order, indptr, transposed):
    """The offsets of all rows are the pointers, and each entry is in the row between whose pointers it lies."""
    assert np.array_equal(entries_before(geometry, order, np.arange(indptr.size), transposed), indptr)
    holding = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
    assert np.array_equal(rows_of_entries(geometry, order, np.arange(indptr[-1]), transposed), holding)


@settings(max_examples=150)
@given(cases(), st.sampled_from("CF"), st.booleans())
def test_offsets_are_the_pointers(case, order, transposed):
    op = case.op.T if transposed else case.op
    assert_offsets(case.op.geometry, order, op.to_sparse("csr", order).indptr.astype(np.int64), transposed)


@pytest.mark.parametrize("boundary", reference.PAD_MODES)
def test_offsets_of_windows_that_go_around_many_times(boundary):
    """Beyond two turns of the rule, outputs a turn apart are one run."""
    options = {"stride": (2, 1), "dilation": (1, 3), "padding": ((90, 41), 2), "input_dilation": (1, 2)}
    op = cm.conv(np.ones((5, 3)), (7, 6), boundary=boundary, **options)
    for order in "CF":
        for transposed in (False, True):
            W = (op.T if transposed else op).to_sparse("csr", order)
            assert_offsets(op.geometry, order, W.indptr.astype(np.int64), transposed)


def test_offsets_beyond_memory():
    """A 10^10 x 10^10 matrix: its interior rows have 49 entries, and its first and last 3 lines and columns fewer."""
    n = 10**5
    op = cm.conv(np.ones((7, 7)), (n, n), padding=3)
    along = np.full(n, 7)
    along[:3], along[-3:] = (4, 5, 6), (6, 5, 4)
    before = np.concatenate([[0], np.cumsum(along)])
    rng = np.random.default_rng(0)
    rows = np.concatenate([[0, n * n], rng.integers(0, n * n, 1000)])
    line, place = np.divmod(rows, n)
    expected = before[line] * before[-1] + np.append(along, 0)[line] * before[place]

    offsets = entries_before(op.geometry, "C", rows)
    assert offsets.dtype == np.int64
    assert np.array_equal(offsets, expected)
    assert offsets[1] == op.nnz == (7 * n - 12) ** 2
    assert np.array_equal(rows_of_entries(op.geometry, "C", offsets[2:]), rows[2:])
    assert np.array_equal(rows_of_entries(op.geometry, "C", offsets[2:] - 1), rows[2:] - 1)


def test_offsets_beyond_64_bits():
    """Entries that 64 bits cannot count are counted by Python's integers."""
    n = 10**6
    op = cm.conv(np.ones((3, 3, 3)), (n, n, n), padding=1)
    rows = [0, n**3 // 3, n**3]
    offsets = entries_before(op.geometry, "C", rows)
    assert offsets[-1] == op.nnz == (3 * n - 2) ** 3
    assert rows_of_entries(op.geometry, "C", offsets[:2]).tolist() == rows[:2]
