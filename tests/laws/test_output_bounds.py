"""Bounds of outputs over a box: the extremes over all its corners, and outwards those of real numbers."""

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
from strategies import BOUNDARIES, cases, small_integers

REAL = [np.int8, np.int64, np.uint16, np.float32, np.float64]


def corners(low, high):
    """All corners of a box, one in each row."""
    takes_high = np.array(list(product([False, True], repeat=low.size)), bool).reshape(-1, low.size)
    return np.where(takes_high, high, low)


def extremes(matrix, low, high):
    """Least and largest output over all corners, by NumPy's product of each."""
    images = corners(low.ravel(), high.ravel()) @ matrix.T.astype(np.result_type(matrix, low))
    return images.min(axis=0), images.max(axis=0)


def boxes(rng, shape, batch=()):
    low = rng.integers(-4, 5, batch + shape)
    return low, low + rng.integers(0, 4, batch + shape)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("signs", list(product([-1, 1], repeat=3)))
def test_every_boundary_and_sign(boundary, signs):
    """Pads of twice the input fold several taps onto each input."""
    rng = np.random.default_rng(0)
    for size, pads, stride in ((1, 2, 1), (3, 4, 1), (4, 1, 2), (12, 1, 3)):
        op = cm.conv(np.array(signs) * [3, 1, 2], size, padding=pads, boundary=boundary, stride=stride)
        low, high = boxes(rng, op.in_shape)
        least, most = cm.bounds(op, low, high)
        expected = extremes(op.to_dense(), low, high)
        assert least.dtype == most.dtype == np.int64
        assert np.array_equal(least, expected[0])
        assert np.array_equal(most, expected[1])


def joined(case, rng):
    """The convolution, and a map of every other kind that is made of it, with their matrices."""
    op, D = case.op, case.matrix
    w = rng.integers(-3, 4, op.in_shape)
    K = rng.integers(-3, 4, (*op.in_shape, *(1 for _ in op.in_shape)))
    yield op, D
    yield op @ cm.diagonal(w), D * w.ravel()
    yield cm.vstack([op, cm.diagonal(w)]), np.vstack([D, np.diag(w.ravel())])
    yield cm.block_diag([op, sp.csr_array([[2, -1]])]), sp.block_diag([sp.coo_array(D), [[2, -1]]]).toarray()
    yield op[..., ::2], D.reshape(*op.out_shape, -1)[..., ::2, :].reshape(-1, D.shape[1])
    yield cm.local(K, op.in_shape), np.diag(K.ravel())
    yield op.T, D.T


@settings(max_examples=25)
@given(cases(dims=(1, 2), dtypes=REAL), st.integers(0, 2**32))
def test_every_kind_of_map(case, seed):
    rng = np.random.default_rng(seed)
    for op, matrix in joined(case, rng):
        if op.shape[1] > 12:
            continue
        low, high = boxes(rng, op.in_shape, (2,))
        offset = rng.integers(-5, 6, op.out_shape)
        least, most = cm.bounds(cm.Affine(op, offset), low, high)
        for b in range(2):
            first, last = extremes(matrix, low[b], high[b])
            assert np.array_equal(least[b].ravel(), first + offset.ravel())
            assert np.array_equal(most[b].ravel(), last + offset.ravel())


def test_a_box_can_be_numbers_one_input_or_a_batch():
    op = cm.conv([[1, -2], [3, 0]], (3, 4))
    parts = [cm.bounds(op, 0, 1), cm.bounds(op, np.zeros((3, 4), int), 1), cm.bounds(op, 0, np.ones(4, int))]
    for part in parts:
        assert np.array_equal(part, parts[0])
    batch = cm.bounds(op, np.zeros((5, 2, 3, 4), int), np.ones((2, 1, 1), int))
    assert batch[0].shape == (5, 2, *op.out_shape)
    assert (batch[0] == parts[0][0]).all()
    x = np.arange(12).reshape(3, 4)
    assert np.array_equal(cm.bounds(op, x, x), [op(x), op(x)])
    assert cm.bounds(op, np.zeros((0, 3, 4)), 1)[0].shape == (0, *op.out_shape)
    assert np.array_equal(cm.bounds([[1.0, -1.0]], [0, 0], [2, 3]), [[-3.0], [2.0]])


def test_taps_that_fold_onto_one_input_are_added_first():
    op = cm.conv([1, -1], 1, padding=1, boundary="edge")
    assert np.array_equal(cm.bounds(op, 0, 1), np.zeros((2, 2)))


def test_ends_can_be_infinite():
    op = cm.conv([1.0, 0.0, -1.0], 4)
    assert np.array_equal(cm.bounds(op, 0, np.inf), [[-np.inf] * 2, [np.inf] * 2])
    assert np.array_equal(cm.bounds(op, [0, -np.inf, 0, 0], [1, np.inf, 1, 1]), [[-1, -np.inf], [1, np.inf]])
    assert np.array_equal(cm.bounds(op, -np.inf, [1, 1, 1, 1]), [[-np.inf] * 2, [np.inf] * 2])
    ones = cm.conv([1.0, 1.0], 3)
    assert np.array_equal(cm.bounds(ones, 1, np.inf), [[2, 2], [np.inf, np.inf]])
    assert np.array_equal(cm.bounds(ones, 1, np.inf, rounding="outward")[1], [np.inf, np.inf])


def fractions(array):
    return [Fraction(int(v)) if np.asarray(array).dtype.kind in "iu" else Fraction(float(v)) for v in np.ravel(array)]


def true_extremes(rows, low, high, offset):
    """Least and largest outputs in rational numbers; ``rows`` are lists of entries."""
    least, most = list(offset), list(offset)
    for r, row in enumerate(rows):
        for a, x, y in zip(row, low, high, strict=True):
            least[r] += a * (x if a > 0 else y)
            most[r] += a * (y if a > 0 else x)
    return least, most


def assert_outward(op, rows, low, high, offset, width, magnitudes=None):
    """``magnitudes`` are rows of the sums of magnitudes, where entries are sums that cancel."""
    a, b = cm.bounds(cm.Affine(op, offset), low, high, rounding="outward")
    exact = true_extremes(rows, fractions(low), fractions(high), fractions(offset))
    least, most = a.ravel(), b.ravel()
    for r in range(len(rows)):
        ends = zip((magnitudes or rows)[r], *map(fractions, (low, high)), strict=True)
        size = sum(abs(entry) * max(abs(x), abs(y)) for entry, x, y in ends)
        margin = width * (size + abs(fractions(offset)[r])) + Fraction(2) ** -1000
        assert exact[0][r] - margin <= Fraction(float(least[r])) <= exact[0][r]
        assert exact[1][r] <= Fraction(float(most[r])) <= exact[1][r] + margin


@settings(max_examples=40)
@given(st.data())
def test_outward_bounds_hold_for_real_numbers(data):
    """Kernels and boxes of all magnitudes, subnormal ones and integers that double precision rounds among them."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n, k = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    boundary, pads = data.draw(st.sampled_from(BOUNDARIES)), int(rng.integers(0, 3))
    scale = data.draw(st.sampled_from([0, 1e-3, 1e3, 1e-160, 1e150]))
    if scale:
        K = rng.standard_normal(k) * scale ** rng.random(k)
        ends = np.sort(rng.standard_normal((2, n)) * scale ** rng.random((2, n)), axis=0)
        offset = rng.standard_normal(n + 2 * pads + 1 - k if n + 2 * pads >= k else 1) * scale
    else:
        K = rng.integers(-(2**62), 2**62, k)
        ends = np.sort(rng.integers(-(2**62), 2**62, (2, n)), axis=0)
        offset = rng.integers(-(2**62), 2**62, max(n + 2 * pads + 1 - k, 1))
    if n + 2 * pads < k:
        return
    op = cm.conv(K, n, padding=pads, boundary=boundary)
    numbers = cm.conv(np.arange(k), n, padding=pads, boundary=boundary)
    rows, magnitudes = ([[Fraction(0)] * n for _ in range(op.shape[0])] for _ in range(2))
    for p, tap in enumerate(fractions(K)):
        reads = numbers.with_kernel((np.arange(k) == p).astype(int)).to_dense()
        for r, c in zip(*np.nonzero(reads), strict=True):
            rows[r][c] += int(reads[r, c]) * tap
            magnitudes[r][c] += int(reads[r, c]) * abs(tap)
    assert_outward(op, rows, *ends, offset, Fraction(1, 2**45), magnitudes)


def test_outward_bounds_of_products_hold_what_cancels():
    rng = np.random.default_rng(0)
    for _ in range(20):
        A, B = rng.standard_normal((3, 5)), rng.standard_normal((5, 4))
        A[:, 1], B[1] = -A[:, 0], B[0] * (1 + 2.0**-50)
        left, right = ([[Fraction(v) for v in row] for row in M] for M in (A, B))
        rows = [[sum(a * b[c] for a, b in zip(row, right, strict=True)) for c in range(4)] for row in left]
        op = cm.aslinearmap(A) @ cm.aslinearmap(B)
        low = rng.standard_normal(4)
        a, b = cm.bounds(op, low, low + 1, rounding="outward")
        least, most = true_extremes(rows, fractions(low), fractions(low + 1), [Fraction(0)] * 3)
        for r in range(3):
            assert Fraction(a[r]) <= least[r]
            assert most[r] <= Fraction(b[r])
            assert most[r] - least[r] + Fraction(1e-12) >= Fraction(b[r]) - Fraction(a[r])


def test_outward_bounds_that_overflow_are_infinite_and_not_wrong():
    for K, low, high in (([1e308, 1e308], 1.0, 2.0), ([1e308, -1e308], -10.0, 10.0), ([1e200, -1e200], 1e200, 2e200)):
        op = cm.conv(K, 2)
        least, most = cm.bounds(op, low, high, rounding="outward")
        rows = [[Fraction(v) for v in K]]
        exact = true_extremes(rows, [Fraction(low)] * 2, [Fraction(high)] * 2, [Fraction(0)])
        assert least[0] == -np.inf or Fraction(least[0]) <= exact[0][0]
        assert most[0] == np.inf or exact[1][0] <= Fraction(most[0])


def test_an_infinite_end_is_not_lost_where_entries_round_to_zero():
    """0.1 + 0.2 - 0.3 is 0 in some order of rounding, but not in real numbers."""
    for K in ([0.1, 0.2, -0.30000000000000004], [1e16, 1.0, -1e16], [-1e16, 1.0, 1e16]):
        op = cm.conv(K, 1, padding=1, boundary="edge")
        entry = sum(map(Fraction, K))
        least, most = cm.bounds(op, 0, np.inf, rounding="outward")
        assert (entry <= 0) or most[0] == np.inf
        assert (entry >= 0) or least[0] == -np.inf


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda op: cm.bounds(op, 1, 0), ValueError, "a lower end above the upper one"),
        (lambda op: cm.bounds(op, np.nan, 0.0), ValueError, "or nan"),
        (lambda op: cm.bounds(op, np.inf, np.inf), ValueError, "Expected real numbers between"),
        (lambda op: cm.bounds(op, np.zeros(5), 1), ValueError, "Expected shapes that broadcast to"),
        (lambda op: cm.bounds(op, 0, "1"), TypeError, "upper"),
        (lambda op: cm.bounds(1j * op, 0, 1), TypeError, "Bound its parts apart"),
        (lambda op: cm.bounds(op, 0, 1j), TypeError, "Expected real numbers"),
        (lambda op: cm.bounds(op, 0, 1, rounding="up"), ValueError, "rounding='up'"),
        (lambda _: cm.bounds("op", 0, 1), TypeError, "bounds: "),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected(call, error, text):
    with pytest.raises(error, match=text):
        call(cm.conv([1.0, 2.0], 4))


def test_bounds_in_the_type_of_the_map_and_box():
    low, high = small_integers(np.random.default_rng(0), (2, 4), np.int8)
    low, high = np.minimum(low, high), np.maximum(low, high)
    for kernel, expected in ((np.int8, np.int64), (np.float32, np.float32), (np.uint16, np.int64)):
        for bound in cm.bounds(cm.conv(np.array([1, 3], kernel), 4), low, high):
            assert bound.dtype == expected
    assert np.array_equal(cm.bounds(cm.conv(np.int8([100, 100]), 2), np.int8(-100), np.int8(100)), [[-20000], [20000]])


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_outward_bounds_hold_for_the_entries_that_are_rounded_too(dtype):
    """0.1 + 0.2 is another number in single precision than in double."""
    op = cm.conv(np.array([0.1, 0.2], dtype), 1, padding=[(0, 1)], boundary="edge")
    entry = float(op.to_dense()[0, 0])
    exact = sum(Fraction(float(tap)) for tap in op.kernel)
    least, most = cm.bounds(op, 1.0, 1.0, rounding="outward")
    assert least[0] <= entry <= most[0]
    assert Fraction(float(least[0])) <= exact <= Fraction(float(most[0]))
    assert most[0] - least[0] < 100 * np.finfo(dtype).eps
    alone = cm.bounds(cm.conv(np.array([0.1, 0.2], dtype), 2), 1.0, 1.0, rounding="outward")
    assert alone[1][0] - alone[0][0] < 1e-14


def test_nan_in_a_map_is_not_lost():
    for op in (cm.conv([np.nan, 1], 3), cm.aslinearmap([[np.nan, 1.0]]), cm.Affine(cm.conv([np.nan, 1], 3), [0, 0])):
        assert np.isnan(cm.bounds(op, 0, 1)).all()


def test_a_complex_offset_is_refused():
    with pytest.raises(TypeError, match="a complex map, offset or box"):
        cm.bounds(cm.Affine(cm.conv([1.0, 2.0], 3), [1j, 0]), 0, 1)
