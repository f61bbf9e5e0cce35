"""Maps made of maps and of other libraries' matrices: every form is NumPy's and SciPy's construction from the parts."""

import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

import convmtx as cm
from strategies import BOUNDARIES, DTYPES, cases, small_integers


def flattened(matrix, op, order):
    """The same matrix for inputs and outputs flattened in an order."""
    if order == "C":
        return matrix
    rows, columns = (
        np.arange(n).reshape(shape).reshape(-1, order="F")
        for n, shape in zip(op.shape, (op.out_shape, op.in_shape), strict=True)
    )
    return matrix[rows][:, columns]


def assert_is(op, matrix, rng):
    """Every form, application and relative of a map is that of this matrix; all numbers are small integers."""
    assert op.shape == matrix.shape
    assert op.dtype == matrix.dtype
    for order in ("C", "F"):
        expected = flattened(matrix, op, order)
        assert np.array_equal(op.to_dense(order), expected)
        for name in ("csr", "csc", "coo", "bsr", "dia"):
            sparse = op.to_sparse(name, order)
            assert sparse.format == name
            assert sparse.dtype == op.dtype
            assert np.array_equal(sparse.toarray(), expected)
        csr = op.to_sparse(order=order)
        assert csr.has_canonical_format
        if len(expected):
            rows = rng.integers(0, len(expected), 4)
            assert np.array_equal(op.to_sparse(rows=rows, order=order).toarray(), expected[rows])
        if expected.shape[1]:
            columns = rng.integers(0, expected.shape[1], 3)
            assert np.array_equal(op.T.to_sparse(rows=columns, order=order).toarray(), expected.T[columns])
    assert np.array_equal(op.H.to_dense(), matrix.conj().T)
    assert np.array_equal(op.conj().to_dense(), matrix.conj())
    sizes = np.abs(matrix)
    assert np.allclose(abs(op).to_dense(), sizes, rtol=1e-6 if matrix.dtype.kind == "c" else 0, atol=0)
    for applied, by in ((op, matrix.T), (op.T, matrix), (op.H, matrix.conj())):
        x = small_integers(rng, (2, *applied.in_shape), op.dtype)
        y = applied(x)
        assert y.dtype == op.dtype
        assert np.array_equal(y.reshape(2, -1), x.reshape(2, -1) @ by)
    assert np.array_equal(pickle.loads(pickle.dumps(op)).to_dense(), matrix)
    assert type(op).__name__ in repr(op)
    assert op._repr_html_()


@st.composite
def parts(draw, in_shape=None):
    """A map of any kind with its matrix; of inputs of this shape."""
    if in_shape is None:
        case = draw(cases(dims=(1, 2)))
        return case.op, case.matrix
    rng, dtype = np.random.default_rng(draw(st.integers(0, 2**32))), draw(st.sampled_from(DTYPES))
    size = int(np.prod(in_shape))
    kind = draw(st.sampled_from(["dense", "sparse", "diagonal", "identity"]))
    if kind in ("dense", "sparse"):
        matrix = small_integers(rng, (draw(st.integers(1, 5)), size), dtype)
        return cm.aslinearmap(matrix if kind == "dense" else sp.csc_array(matrix), in_shape), matrix
    if kind == "identity":
        return cm.identity(in_shape, dtype), np.eye(size, dtype=dtype)
    weights = small_integers(rng, in_shape, dtype)
    return cm.diagonal(weights), np.diag(weights.ravel())


def seeded(draw):
    return np.random.default_rng(draw(st.integers(0, 2**32)))


@settings(max_examples=30)
@given(st.data())
@pytest.mark.parametrize("kind", ["one", "vstack", "hstack", "block_diag", "kron", "concat", "restricted"])
def test_forms_are_those_of_the_parts(kind, data):
    op, matrix = data.draw(parts())
    other, its = data.draw(parts(op.in_shape))
    rng = seeded(data.draw)
    if kind == "one":
        assert_is(other, its, rng)
    elif kind == "vstack":
        assert_is(cm.vstack([op, other]), np.vstack([matrix, its]), rng)
    elif kind == "hstack":
        assert_is(cm.hstack([op.T, other.T]), np.hstack([matrix.T, its.T]), rng)
    elif kind == "block_diag":
        zero = np.zeros((), np.result_type(matrix, its))
        whole = np.block([
            [matrix + zero, np.zeros((len(matrix), its.shape[1])) * zero],
            [np.zeros((len(its), matrix.shape[1])) * zero, its + zero],
        ]).astype(zero.dtype)  # fmt: skip
        assert_is(cm.block_diag([op, other]), whole, rng)
    elif kind == "kron":
        small, of_small = data.draw(parts((2,)))
        assert_is(cm.kron(op, small), np.kron(matrix, of_small), rng)
    elif kind == "concat":
        axis = data.draw(st.integers(-len(op.out_shape), len(op.out_shape) - 1))
        tensors = [m.reshape(*op.out_shape, -1) for m in (matrix, 2 * matrix)]
        joined = np.concatenate(tensors, axis if axis >= 0 else axis - 1)
        assert_is(cm.concat([op, 2 * op], axis), joined.reshape(-1, op.shape[1]), rng)
    else:
        key = rng.random(op.in_shape) < 0.5
        assert_is(op @ cm.select(op.in_shape, key).T, matrix[:, key.ravel()], rng)


@st.composite
def indices(draw, shape):
    """An index of NumPy of an array of this shape."""
    rng = seeded(draw)
    kind = draw(st.sampled_from(["mask", "numbers", "steps", "steps", "ellipsis"]))
    if kind == "mask":
        return rng.random(shape) < 0.6
    if kind == "numbers":
        return rng.integers(-shape[0], shape[0], draw(st.integers(0, 4)))
    steps = [draw(st.one_of(st.integers(-n, n - 1), st.slices(n), st.just(slice(None)))) for n in shape]
    return (Ellipsis, steps[-1]) if kind == "ellipsis" else tuple(steps)


@given(st.data())
def test_an_index_picks_outputs(data):
    op, matrix = data.draw(parts())
    key = data.draw(indices(op.out_shape))
    places = np.arange(len(matrix)).reshape(op.out_shape)[key]
    assert op[key].out_shape == places.shape
    assert_is(op[key], matrix[places.ravel()], seeded(data.draw))


def test_crops_and_steps_of_a_convolution_are_convolutions():
    op = cm.conv(np.arange(1.0, 25).reshape(2, 2, 2, 3), (9, 8, 2), padding="same", boundary="reflect")
    for key in (np.s_[2:7], np.s_[::2, 1:], np.s_[..., 1:], np.s_[-3:, ::3, ::2]):
        assert isinstance(op[key], cm.ConvOperator)
    assert not isinstance(op[::-1], cm.ConvOperator)


@settings(max_examples=30)
@given(cases(dims=(1, 2), dtypes=[np.int64, np.float64, np.complex128]), st.integers(0, 2**32))
def test_sparse_matrices_and_operators_join_in(case, seed):
    op, matrix, rng = case.op, case.matrix, np.random.default_rng(seed)
    sparse = sp.coo_array(matrix)
    assert_is(op + sparse, 2 * matrix, rng)
    assert_is(op - matrix, 0 * matrix, rng)
    assert_is(op @ sparse.T, matrix @ matrix.T, rng)
    operator = cm.aslinearmap(aslinearoperator(matrix), op.in_shape, op.out_shape)
    x, y = (small_integers(rng, shape, op.dtype) for shape in (op.in_shape, op.out_shape))
    assert np.array_equal(operator(x).ravel(), matrix @ x.ravel())
    assert np.array_equal(operator.H(y).ravel(), matrix.conj().T @ y.ravel())
    assert np.array_equal((op + operator).to_dense(), 2 * matrix)


def test_functions_and_operators_are_maps():
    total = cm.aslinearmap(np.cumsum, 5, adjoint=lambda y: np.cumsum(y[::-1])[::-1])
    assert np.array_equal(total.to_dense(), np.tri(5))
    assert np.array_equal(total.T.to_dense(), np.tri(5).T)
    assert np.array_equal((cm.conv([-1, 1], 5) @ total).to_dense(), np.eye(5)[1:])
    assert cm.norm(total).value == pytest.approx(np.linalg.norm(np.tri(5), 2))
    pylops = pytest.importorskip("pylops")
    gradient = cm.aslinearmap(pylops.FirstDerivative((4, 6), axis=0))
    assert gradient.in_shape == gradient.out_shape == (4, 6)
    x = np.arange(24.0).reshape(4, 6) ** 2
    assert np.allclose(gradient(x), pylops.FirstDerivative((4, 6), axis=0) * x)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: cm.aslinearmap(np.ones(3)), ValueError, "Expected a matrix"),
        (lambda: cm.aslinearmap(np.ones((2, 3)), (2, 2)), ValueError, "Expected 3 entries"),
        (lambda: cm.aslinearmap(np.exp, 3), ValueError, "does not take zeros to zeros"),
        (lambda: cm.aslinearmap(np.cumsum), ValueError, "Pass in_shape"),
        (lambda: cm.aslinearmap(np.cumsum, 3).T(np.ones(3)), ValueError, "adjoint="),
        (lambda: cm.aslinearmap(np.ones((2, 2)), adjoint=np.cumsum), TypeError, "Leave adjoint out"),
        (lambda: cm.aslinearmap(cm.Affine(cm.conv([1], 2), [0, 0])), TypeError, "Pass A.op"),
        (lambda: cm.vstack([]), TypeError, "at least one map"),
        (lambda: cm.vstack([cm.identity(2), cm.identity(3)]), ValueError, "in_shape is"),
        (lambda: cm.hstack([cm.identity(2), cm.identity(3)]), ValueError, "out_shape is"),
        (lambda: cm.concat([cm.identity((2, 3)), cm.conv([[1, 1]], (2, 3))], 0), ValueError, "along axis 0"),
        (lambda: cm.select((2, 3), (0, 0, 0)), ValueError, "what x"),
        (lambda: cm.conv([1, 1], 4)[7], ValueError, "Expected an index"),
        (lambda: cm.identity(3, str), TypeError, "a type of numbers"),
        (lambda: cm.pad(3, 1, "edge", "odd"), ValueError, "'reflect' or 'symmetric'"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected(call, error, text):
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    ("mode", "kind"),
    [*((mode, "even") for mode in BOUNDARIES), ("reflect", "odd"), ("symmetric", "odd")],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_padding_is_that_of_numpy(size, mode, kind):
    x = np.random.default_rng(0).integers(-9, 9, size)
    options = {"reflect_type": kind} if mode in ("reflect", "symmetric") else {}
    for lo in range(11):
        for hi in (0, 1, 4, 9):
            expected = np.pad(x, (lo, hi), {"zero": "constant"}.get(mode, mode), **options)
            assert np.array_equal(cm.pad(size, [(lo, hi)], mode, kind)(x), expected)


def test_a_convolution_after_padding_is_one_convolution():
    for boundary in BOUNDARIES:
        whole = cm.conv([[1, 2], [3, 4]], (7, 8)) @ cm.pad((5, 5), [1, (2, 1)], boundary)
        assert isinstance(whole, cm.ConvOperator)
        same = cm.conv([[1, 2], [3, 4]], (5, 5), padding=[1, (2, 1)], boundary=boundary)
        assert np.array_equal(whole.to_dense(), same.to_dense())


def test_a_map_of_a_class_of_ones_own_takes_part():
    class Reversed(cm.LinearMap):
        in_shape, out_shape, dtype = (3,), (3,), np.dtype(float)

        def _apply(self, x):
            return x[:, ::-1] * 1.0

        def _apply_transposed(self, y):
            return y[:, ::-1] * 1.0

    own, rng, matrix = Reversed(), np.random.default_rng(0), np.eye(3)[::-1]
    assert_is(cm.vstack([own, own]), np.vstack([matrix, matrix]), rng)
    assert_is(cm.kron(own, own), np.kron(matrix, matrix), rng)
    assert_is(own[1:], matrix[1:], rng)
    assert_is(cm.gram(own, [1.0, 2.0, 3.0]), matrix.T @ np.diag([1.0, 2, 3]) @ matrix, rng)
