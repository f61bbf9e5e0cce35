"""Laws 2 to 4: applying is the matrix product, the adjoint is its adjoint, NaN stays in its windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convmtx as cm
from strategies import DTYPES, cases, small_integers

INTEGERS = [np.int8, np.int64, np.uint16]


def tolerance(dtype, terms):
    """Rounding of a sum of ``terms`` products of numbers below 10: 100 eps each."""
    return 100 * terms * (np.finfo(dtype).eps if np.dtype(dtype).kind in "fc" else 0)


@given(cases(), st.sampled_from(DTYPES), st.sampled_from([(), (1,), (3,), (2, 2), (0,)]))
def test_applying_is_the_matrix_product_in_numpys_result_type(case, dtype, batch):
    rng = np.random.default_rng(0)
    x = small_integers(rng, (*batch, *case.op.in_shape), dtype)
    y = case.op(x)
    wide = case.matrix.astype(np.result_type(case.op.dtype, np.int64))
    expected = x.reshape(-1, case.op.shape[1]).astype(np.result_type(x, np.int64)) @ wide.T

    assert y.dtype == np.result_type(case.op.kernel, x)
    assert y.shape == batch + case.op.out_shape
    # Small integers are exact in every dtype; what overflows int8 wraps as NumPy's integers do.
    assert np.array_equal(y, expected.astype(y.dtype, casting="unsafe").reshape(y.shape))


@given(cases(dtypes=[np.float32, np.float64, np.complex128]))
def test_rounding_is_that_of_a_dot_product(case):
    rng = np.random.default_rng(1)
    op = case.op.with_kernel(rng.standard_normal(case.op.kernel.shape).astype(case.op.dtype))
    x = rng.standard_normal(op.in_shape).astype(np.float32)
    exact = op.to_dense().astype(complex) @ x.ravel().astype(complex)

    assert np.abs(op(x).ravel() - exact).max() <= tolerance(np.result_type(op.dtype, x), op.kernel.size)


@given(cases(), st.sampled_from(DTYPES))
def test_adjoint_for_every_mix_of_types(case, dtype):
    rng = np.random.default_rng(2)
    x = small_integers(rng, case.op.in_shape, np.result_type(dtype, np.int64))
    y = small_integers(rng, case.op.out_shape, np.result_type(dtype, np.int64))
    op = case.op.with_kernel(case.op.kernel.astype(np.result_type(case.op.dtype, np.int64)))

    assert np.vdot(op(x), y) == np.vdot(x, op.H(y))
    assert np.array_equal(op.H(y).ravel(), op.to_dense().conj().T @ y.ravel())
    assert np.array_equal(op.T(y).ravel(), op.to_dense().T @ y.ravel())


@given(cases())
def test_vectors_and_columns(case):
    op, D = case.op, case.matrix.astype(np.result_type(case.op.dtype, np.int64))
    op = op.with_kernel(op.kernel.astype(D.dtype))
    rng = np.random.default_rng(3)
    M, N = op.shape
    v, V, u, U = (rng.integers(-4, 5, shape) for shape in [(N,), (N, 3), (M,), (M, 3)])

    assert np.array_equal(op @ v, D @ v)
    assert np.array_equal(op @ V, D @ V)
    assert np.array_equal(op.matvec(v), D @ v)
    assert np.array_equal(op.matvec(v[:, None]), D @ v[:, None])
    assert np.array_equal(op.matmat(V), D @ V)
    assert np.array_equal(op.rmatvec(u), D.conj().T @ u)
    assert np.array_equal(op.rmatmat(U), D.conj().T @ U)
    assert np.array_equal(op.rmatvec(1j * u), D.conj().T @ (1j * u))
    assert np.array_equal(u @ op, u @ D)
    assert np.array_equal(U.T @ op, U.T @ D)
    assert np.array_equal(op.dot(v), D @ v)


@given(cases(dtypes=[np.float32, np.float64, np.complex128]), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_reaches_exactly_the_outputs_whose_window_holds_it(case, poison):
    op = case.op.with_kernel(np.ones(case.op.kernel.shape, case.op.dtype))
    x = np.zeros(op.in_shape)
    x.flat[op.shape[1] // 2] = poison
    hit = op.to_dense()[:, op.shape[1] // 2] != 0

    with np.errstate(invalid="ignore"):  # inf * (1 + 0j) is nan + inf j, and NumPy says so
        assert np.array_equal(~np.isfinite(op(x)).ravel(), hit)
    y = np.zeros(op.out_shape)
    y.flat[op.shape[0] // 2] = poison
    with np.errstate(invalid="ignore"):
        assert np.array_equal(~np.isfinite(op.T(y)).ravel(), op.to_dense()[op.shape[0] // 2] != 0)


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect"])
def test_a_kernel_that_is_not_finite_reaches_only_outputs_that_use_that_tap(poison, boundary):
    """A tap that falls into the zero padding of an output is no entry of its row."""
    K = np.array([[1.0, 2.0, poison], [1.0, 1.0, 1.0]])
    op = cm.conv(K, (4, 5), padding=(1, 2), boundary=boundary)
    D = op.to_dense()
    row_uses_it = ~np.isfinite(D).all(axis=1)

    assert np.array_equal(~np.isfinite(op(np.ones((4, 5)))).ravel(), row_uses_it)
    column_uses_it = ~np.isfinite(D).all(axis=0)
    assert np.array_equal(~np.isfinite(op.T(np.ones(op.out_shape))).ravel(), column_uses_it)


def test_int64_results_that_no_float_could_hold_are_exact():
    big = 2**62 + 1
    op = cm.conv(np.array([1, 1], np.int64), 3)

    assert op(np.array([big, 0, -1], np.int64)).tolist() == [big, -1]


def test_integers_wrap_around_as_numpys_do():
    op = cm.conv(np.array([100, 100], np.int8), 2)

    assert op(np.array([1, 1], np.int8)).tolist() == [-56]
    assert op(np.array([1, 1], np.int64)).tolist() == [200]


@pytest.mark.parametrize("size", [(300, 310), (5, 4000)])
@pytest.mark.parametrize("layout", ["last", "first"])
def test_images_of_many_tiles(size, layout):
    """Larger than one tile of the engine, in both directions and with a batch."""
    rng = np.random.default_rng(5)
    K = rng.integers(-3, 4, (3, 3, 8, 4)).astype(float)
    x = rng.integers(-3, 4, (2, *size, 8)).astype(float)
    xp = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    expected = sum(xp[:, p : p + size[0], q : q + size[1]] @ K[p, q] for p in range(3) for q in range(3))
    if layout == "first":
        K, x, expected = (np.moveaxis(K, (-1, -2), (0, 1)), np.moveaxis(x, -1, 1), np.moveaxis(expected, -1, 1))
    op = cm.conv(K, x.shape[1:], padding="same", boundary="reflect", channels=layout)

    assert np.array_equal(op(x), expected)
    y = rng.integers(-3, 4, expected.shape).astype(float)
    assert np.vdot(expected, y) == np.vdot(x, op.H(y))
