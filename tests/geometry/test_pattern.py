"""Counts of coarse cells, against the reference's matrix cut into the same cells."""

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convmtx as cm
from convmtx.geometry.pattern import pattern
from strategies import cases


def stored(op):
    """Where the matrix has entries, from the loop reference's rule: the pattern of a kernel of ones is not zero."""
    return op.with_kernel(np.ones(op.kernel.shape)).to_dense() != 0


def binned(matrix, rows, columns):
    return np.add.reduceat(np.add.reduceat(matrix.astype(np.int64), rows[:-1], axis=0), columns[:-1], axis=1)


def check(op, matrix, cells):
    found = pattern(op.geometry, cells)
    for edges, size in ((found.row_edges, op.shape[0]), (found.column_edges, op.shape[1])):
        assert (edges[0], edges[-1]) == (0, size)
        assert (np.diff(edges) > 0).all()
        assert edges.size - 1 <= cells
        if size <= cells:
            assert edges.size - 1 == size
    assert found.counts.dtype == np.int64
    assert np.array_equal(found.counts, binned(matrix, found.row_edges, found.column_edges))


@given(cases(), st.integers(1, 40))
def test_counts_are_those_of_the_matrix(case, cells):
    check(case.op, stored(case.op), cells)


@given(cases(boundaries=["zero"]), st.integers(1, 40))
def test_counts_of_a_transpose(case, cells):
    check(case.op.T, stored(case.op).T, cells)


@pytest.mark.parametrize("options", [
    {"padding": "same"}, {"padding": "same", "boundary": "wrap"}, {"padding": 300, "boundary": "reflect", "stride": 3},
    {"padding": 300, "boundary": "edge"}, {"padding": 61, "boundary": "symmetric", "dilation": 5, "input_dilation": 2},
    {"padding": "full", "stride": 4, "input_dilation": 6}, {"padding": "same_lower", "boundary": "reflect"},
])  # fmt: skip
@pytest.mark.parametrize("cells", [1, 7, 50])
def test_counts_of_a_longer_axis(options, cells):
    op = cm.conv(np.ones(31), 120, **options)

    check(op, stored(op), cells)


@pytest.mark.parametrize("channels", ["first", "last"])
def test_groups_are_blocks_on_a_diagonal(channels):
    shape, kernel = ((12, 9), (18, 4, 3)) if channels == "first" else ((9, 12), (3, 4, 18))
    op = cm.conv(np.ones(kernel), shape, groups=3, channels=channels)

    for cells in (5, 11, 30):
        check(op, stored(op), cells)


def test_a_long_axis_is_counted_without_listing_it():
    op = cm.conv(np.ones(101), 10**7, padding="same")
    found = pattern(op.geometry, 400)

    assert found.counts.shape == (400, 400)
    assert found.counts.sum() == op.nnz == 101 * 10**7 - 2 * sum(range(1, 51))


@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect", "symmetric", "edge"])
def test_a_huge_map_is_counted_exactly(boundary):
    op = cm.conv(np.ones((3, 5, 2, 4)), (2**28, 2**27, 2), padding="same", boundary=boundary)
    found = pattern(op.geometry, 48)

    assert op.shape == (2**57, 2**56)
    assert found.row_edges[-1] == 2**57
    total = sum(int(n) for n in found.counts.ravel())
    assert total == op.nnz > 2**60


def test_counts_past_64_bits_are_exact_integers():
    op = cm.conv(np.ones((65, 65)), (2**30, 2**30), padding="same", boundary="wrap")
    found = pattern(op.geometry, 10)

    assert found.counts.dtype == object
    assert sum(found.counts.ravel()) == 65 * 65 * 2**60 == op.nnz


def test_cells_are_cut_along_whole_digits():
    op = cm.conv(np.ones((2, 3, 3, 3)), (3, 100, 10), channels="first", padding="same")
    found = pattern(op.geometry, 31)

    assert found.row_edges.size - 1 == 2 * 15  # both filters kept, 100 rows cut in 15, pixels summed over
    assert found.column_edges.size - 1 == 3 * 10
    assert all(edge % 10 == 0 for edge in found.row_edges)
    assert prod(op.in_shape) == found.column_edges[-1]
