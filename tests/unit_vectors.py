"""The matrix of a function by its definition: the images of all unit vectors, one by one."""

from math import prod

import numpy as np


def matrix_of(f, in_shape, dtype=float):
    """Dense matrix of the linear part of a function of arrays of NumPy."""
    size = prod(in_shape)
    zero = np.array(f(np.zeros(in_shape, dtype)))
    columns = []
    for j in range(size):
        unit = np.zeros(size, dtype)
        unit[j] = 1
        columns.append((np.asarray(f(unit.reshape(in_shape))) - zero).ravel())
    return np.stack(columns, axis=1)


def require_probed(op, matrix, most):
    """The matrix of a probe is that of the unit vectors, bit for bit, after at most so many applications."""
    assert op.dtype == matrix.dtype
    assert op.shape == matrix.shape
    np.testing.assert_array_equal(op.to_dense(), matrix)
    assert op.probes <= most, op.probes


def promised(combs, axes, stride=1, dilated=0, exact=False):
    """Applications that the docstring of `probe` promises for a regular function."""
    return combs + 9 + axes * (2 * stride + 1 + (2 if exact else 4)) + 2 * dilated
