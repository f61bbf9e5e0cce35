"""What NumPy says of the loop reference's matrix."""

import numpy as np

from strategies import cases

FLOATS = [np.float64, np.complex128]


def doubles(dims=(1, 2, 3)):
    """Any convolution in double precision."""
    return cases(dtypes=FLOATS, dims=dims)


def singular_values(matrix):
    return np.linalg.svd(matrix, compute_uv=False)


def rounding(matrix):
    """What a backward stable decomposition may be off by."""
    return 64 * max(matrix.shape) * np.finfo(float).eps * max(np.abs(matrix).sum(), 1)
