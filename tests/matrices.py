"""A map beside the matrix that it should be, in every form, application and relative."""

import copy
import pickle

import numpy as np

import convmtx as cm
from strategies import small_integers

FORMATS = ("csr", "csc", "coo", "bsr", "dia")


def flattened(matrix, op, order):
    """The same matrix for inputs and outputs flattened in an order."""
    if order == "C":
        return matrix
    rows, columns = (
        np.arange(n).reshape(shape).reshape(-1, order="F")
        for n, shape in zip(op.shape, (op.out_shape, op.in_shape), strict=True)
    )
    return matrix[rows][:, columns]


def assert_is(op, matrix, rng, copies=True):
    """The map is that of this matrix, to the last bit; all numbers are small integers, so nothing rounds."""
    assert op.shape == matrix.shape
    assert op.dtype == matrix.dtype
    assert type(op).__name__ in repr(op)
    assert_forms(op, matrix, rng)
    assert_relatives(op, matrix)
    for applied, by in ((op, matrix.T), (op.T, matrix), (op.H, matrix.conj())):
        assert_applies(applied, by, rng)
    for again in (copy.deepcopy(op), pickle.loads(pickle.dumps(op))) if copies else ():
        assert np.array_equal(again.to_dense(), matrix)
        assert_applies(again, matrix.T, rng)


def assert_forms(op, matrix, rng):
    for order in ("C", "F"):
        expected = flattened(matrix, op, order)
        dense = op.to_dense(order)
        assert dense.dtype == matrix.dtype
        assert np.array_equal(dense, expected)
        for name in FORMATS:
            sparse = op.to_sparse(name, order)
            assert sparse.format == name
            assert sparse.dtype == op.dtype
            assert np.array_equal(sparse.toarray(), expected)
        csr = op.to_sparse(order=order)
        assert csr.has_canonical_format
        if not len(expected):
            continue
        rows, columns = (rng.integers(-n, n, 4 if n else 0) for n in op.shape)
        for kind in (rows, slice(1, None, 2), np.arange(op.shape[0]) % 3 > 0):
            name = FORMATS[rng.integers(5)]
            some = op.to_sparse(name, order, rows=kind)
            assert some.format == name
            assert some.dtype == op.dtype
            assert np.array_equal(some.toarray(), expected[kind])
        assert np.array_equal(op.T.to_sparse(rows=columns, order=order).toarray(), expected.T[columns])
    assert np.array_equal(op.to_tensor(), matrix.reshape(op.out_shape + op.in_shape))


def assert_relatives(op, matrix):
    for relative, expected in ((op.T, matrix.T), (op.H, matrix.conj().T), (op.conj(), matrix.conj()), (op.T.T, matrix)):
        assert relative.dtype == matrix.dtype
        assert np.array_equal(relative.to_dense(), expected)
    near = 1e-6 if matrix.dtype.kind == "c" else 0  # of square roots
    with np.errstate(over="ignore"):
        assert np.allclose(abs(op).to_dense(), np.abs(matrix), rtol=near, atol=0)


def assert_applies(op, by, rng):
    """A map takes one input, batches and columns to their products with the transposed matrix."""
    for batch in ((), (0,), (2, 3)):
        count, x = int(np.prod(batch)), small_integers(rng, (*batch, *op.in_shape), op.dtype)
        y = op(x)
        assert y.dtype == op.dtype
        assert y.shape == (*batch, *op.out_shape)
        assert np.array_equal(y.reshape(count, op.shape[0]), x.reshape(count, op.shape[1]) @ by)
    columns = small_integers(rng, (op.shape[1], 3), op.dtype)
    assert np.array_equal(op @ columns, (columns.T @ by).T)
    assert np.array_equal(op @ columns[:, 0], columns[:, 0] @ by)
    wide = small_integers(rng, op.in_shape, np.float64)
    assert op(wide).dtype == np.result_type(op.dtype, float)
    if op.dtype.itemsize > 2:  # entries of a product of small integers wrap around, and its factors do not
        assert np.array_equal(op(wide).ravel(), wide.ravel() @ by)


class Own(cm.LinearMap):
    """A matrix, applied by NumPy, as a class of a user."""

    def __init__(self, matrix):
        self.matrix = matrix

    in_shape = property(lambda self: (self.matrix.shape[1],))
    out_shape = property(lambda self: (self.matrix.shape[0],))
    dtype = property(lambda self: self.matrix.dtype)

    def _apply(self, x):
        return x @ self.matrix.T

    def _apply_transposed(self, y):
        return y @ self.matrix
