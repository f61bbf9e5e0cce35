"""DIA arrays that are written in closed form hold each diagonal of the reference, with zeros elsewhere."""

import numpy as np
import pytest
from hypothesis import given

import convmtx as cm
from convmtx.forms import diagonals, formats, lines
from strategies import cases


def check(op, matrix, rows=None, order="C"):
    """Compare a DIA array with the diagonals of a dense matrix, and its offsets with those of SciPy's COO array."""
    S = op.to_sparse("dia", order, rows)
    row, column = op.to_sparse("coo", order, rows).coords
    expected = np.zeros_like(S.data)
    for line, offset in zip(expected, S.offsets.tolist(), strict=True):
        diagonal = np.diagonal(matrix, offset)
        line[max(offset, 0) : max(offset, 0) + diagonal.size] = diagonal

    assert S.offsets.tolist() == sorted(set((column - row).tolist()))
    assert S.offsets.dtype == np.int32
    assert S.data.shape == (S.offsets.size, matrix.shape[1])
    assert S.data.dtype == op.dtype
    assert np.array_equal(S.data, expected)
    assert np.array_equal(S.toarray(), matrix)


@pytest.fixture(scope="module", params=["in closed form", "searched"], autouse=True)
def method(request):
    """Let every map be written by one method, however slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "pattern", lambda *_: None)
        patch.setattr(diagonals, "_CELLS", 0 if request.param == "searched" else 1 << 30)
        patch.setattr(lines, "_PER_PAIR", 0)
        patch.setattr(lines, "_PER_CALL", 0)
        lines._kept.cache_clear()  # of lines that are as long as is wanted elsewhere
        yield request.param
    lines._kept.cache_clear()


@given(cases())
def test_diagonals_are_those_of_the_matrix(case):
    for order in "CF":
        check(case.op, case.matrix_in(order), order=order)


@given(cases())
def test_diagonals_of_rows_are_those_of_the_rows(case):
    count = case.op.shape[0]
    for rows in (slice(count // 2, None), slice(count // 3, count // 3 + 1), slice(0, count, 2)):
        check(case.op, case.matrix[rows], rows)


def test_negative_zeros_and_empty_diagonals_are_kept():
    S = cm.conv([-0.0, 1.0, 0.0], 500, padding="same").to_sparse("dia")

    assert S.offsets.tolist() == [-1, 0, 1]
    assert np.signbit(S.data[0, :-1]).all()
    assert not np.signbit(S.data[2]).any()


@given(cases())
def test_bytes_are_known_before(case):
    op = case.op
    S = op.to_sparse("dia")
    assert formats.size_of_dia(op.geometry, op.kernel) == S.data.nbytes + S.offsets.nbytes
