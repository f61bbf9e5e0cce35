"""A matrix along one axis: a sparse one is the same map as a dense one, and stays sparse."""

from itertools import product

import numpy as np
import pytest
from scipy.sparse import csr_array

import convmtx as cm
from convmtx._xp import as_numpy, library
from convmtx.interop import layers
from convmtx.maps.along_axis import AlongAxis, along_axes, picking_matrix

MATRIX = np.array([[1.0, 0, 2, 0, 0], [0, 0, 0, 0, 0], [0, -3, 0, 0, 4], [5, 0, 0, 6, 0]])
PLACES = [((5, 6), 0), ((3, 5, 2), 1), ((2, 3, 5), 2)]


def maker(name):
    """Return how a library makes an array."""
    if name == "numpy":
        return np.asarray
    module = pytest.importorskip(name)
    return module.tensor if name == "torch" else module.numpy.asarray


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
@pytest.mark.parametrize(("shape", "axis"), PLACES)
def test_sparse_is_dense(name, shape, axis):
    make = maker(name)
    op = along_axes(shape, {axis: csr_array(MATRIX)}, make(np.float32([0])))
    before, after = np.eye(int(np.prod(shape[:axis]))), np.eye(int(np.prod(shape[axis + 1 :])))
    expected = np.kron(np.kron(before, MATRIX), after)
    x, y = (np.arange(2 * n, dtype=np.float32).reshape(2, -1) for n in expected.shape[::-1])
    image, back = op(make(x.reshape(2, *shape))), op.T(make(y.reshape(2, *op.out_shape)))
    assert np.array_equal(as_numpy(image).reshape(2, -1), x @ expected.T)
    assert np.array_equal(as_numpy(back).reshape(2, -1), y @ expected)
    assert library(image) == library(op.to_dense()) == library(make([1.0]))
    columns = np.arange(expected.shape[1]).reshape(shape).ravel(order="F")
    rows = np.arange(expected.shape[0]).reshape(op.out_shape).ravel(order="F")
    for order, matrix in (("C", expected), ("F", expected[np.ix_(rows, columns)])):
        assert np.array_equal(as_numpy(op.to_dense(order)), matrix)
        few = op.to_sparse("coo", order, rows=[2, 0, -1])
        assert np.array_equal(
            as_numpy(few.todense() if hasattr(few, "todense") else few.to_dense()), matrix[[2, 0, -1]]
        )
    assert np.array_equal(as_numpy((op.T.H.conj() @ op.T).to_dense()), expected @ expected.T)
    assert np.array_equal(abs(AlongAxis(csr_array(MATRIX), shape, axis)).to_dense(), abs(expected))


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_gradients_in_the_input(name):
    module = pytest.importorskip(name)
    op = AlongAxis(csr_array(MATRIX), (3, 5, 2), 1)
    x = np.arange(30, dtype=np.float32).reshape(3, 5, 2)
    expected = 2 * op.T(op(x))
    if name == "torch":
        leaf = module.tensor(x, requires_grad=True)
        (op(leaf) ** 2).sum().backward()
        assert np.array_equal(leaf.grad.numpy(), expected)
    else:
        gradient = module.jit(module.grad(lambda x: (op(x) ** 2).sum()))
        assert np.array_equal(gradient(module.numpy.asarray(x)), expected)


def test_types_of_outputs():
    op = layers.take_along((4, 5), 1, [0, 0, 4])
    for dtype in (np.float16, np.float32, np.int8, np.complex64):
        x = np.arange(20).reshape(4, 5).astype(dtype)
        y = op(x)
        assert y.dtype == dtype
        assert np.array_equal(y, x[:, [0, 0, 4]])
    half = along_axes((5, 2), {0: csr_array(MATRIX)}, np.empty(0, np.float16))
    assert half.dtype == half(np.ones((5, 2), np.float16)).dtype == half.to_dense().dtype == np.float16
    assert np.array_equal(half.to_dense(), np.kron(MATRIX, np.eye(2)))


def test_the_matrix_is_a_copy():
    matrix = csr_array(MATRIX)
    op = AlongAxis(matrix, (5,), 0)
    matrix.data[:] = 0
    assert np.array_equal(op.to_dense(), MATRIX)
    with pytest.raises(ValueError, match="read-only"):
        op.matrix.data[0] = 1


def test_means_and_enlargements_take_memory_for_their_entries():
    n = 1 << 20  # a dense matrix would have 2^40 entries
    op = layers.take_along((n,), 0, np.arange(n) // 2 * 2)
    assert op.to_sparse(rows=[5]).indices.tolist() == [4]
    op = layers.adaptive_average((n, 2), {0: n // 2}, np.empty(0, np.float32))
    assert np.array_equal(op(np.arange(2 * n, dtype=np.float32).reshape(n, 2))[3], [13, 14])


@pytest.mark.parametrize(("n", "m"), [*product((1, 4, 5, 10), (1, 3, 4, 7))])
def test_adaptive_windows(n, m):
    op = layers.adaptive_average((n,), {0: m}, np.empty(0))
    for i, row in enumerate(op.to_dense()):
        window = slice(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
        expected = np.zeros(n)
        expected[window] = 1 / len(range(n)[window])
        assert np.array_equal(row, expected)


def test_zero_rows_are_picked_by_minus_one():
    assert picking_matrix(3, [2, -1, 0]).toarray().tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_products_join_with_convolutions():
    op = cm.conv([1.0, 2.0], (5, 3)[:1]) @ AlongAxis(csr_array(MATRIX.T), (4,), 0)
    assert np.array_equal(op.to_dense(), cm.conv([1.0, 2.0], 5).to_dense() @ MATRIX.T)
