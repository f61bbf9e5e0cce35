"""What a map takes to zero, beside SciPy's."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings

import convmtx as cm
from spectra.dense import doubles

RCOND = 1e-12  # singular values of matrices of small integers are zero to rounding, or far above this


def assert_null_space(Z, op, A):
    expected = scipy.linalg.null_space(A, rcond=RCOND)
    k = expected.shape[1]
    assert Z.shape == (k, *op.in_shape)
    assert Z.dtype == A.dtype
    V = Z.reshape(k, A.shape[1])
    assert np.abs(V.conj() @ V.T - np.eye(k)).max(initial=0) <= 1e-12
    assert np.abs(A @ V.T).max(initial=0) <= 1e-12 * max(np.abs(A).sum(), 1)
    assert np.abs(V.T @ V.conj() - expected @ expected.conj().T).max(initial=0) <= 1e-9  # the same span
    return k


@given(doubles())
@settings(max_examples=80)
def test_any_convolution(case):
    k = assert_null_space(cm.null_space(case.op), case.op, case.matrix)
    assert k == case.op.shape[1] - int(cm.rank(case.op))


RNG = np.random.default_rng(0)
OPS = {
    "differences around a circle": (cm.conv([1.0, -1], 9, padding="same", boundary="wrap"), 1),
    "second differences": (cm.conv([1.0, -2, 1], 9), 2),
    "means of two": (cm.conv(np.ones((2, 2)), (6, 8), padding="same", boundary="wrap"), 13),
    "complex": (cm.conv(np.array([1, 1j]), 8, padding="same", boundary="wrap"), 1),
    "symmetric": (cm.conv([1.0, 0, 1], 9, padding="same", boundary="symmetric"), 0),
    "channels": (cm.conv(RNG.standard_normal((3, 3, 3, 2)), (5, 6, 3), padding="same", boundary="wrap"), 30),
    "unread inputs": (cm.conv([1.0, 2], 9, stride=3), 6),
    "dilated": (cm.conv([1.0, 0, -1], 10, dilation=2, padding="same"), 2),
    "transpose of no convolution": (cm.conv([1.0, 2, 3], 9, padding=3, boundary="edge").T, 4),
    "product": (cm.conv([1.0, -1], 8) @ cm.conv([1.0, 1], 9), 2),
}


@pytest.mark.parametrize("name", OPS)
def test_named_maps(name):
    op, k = OPS[name]
    A = op.to_dense()
    assert assert_null_space(cm.null_space(op), op, A) == k
    assert k == A.shape[1] - np.linalg.matrix_rank(A)


def test_tolerance():
    op = cm.conv([1.0, -1], 40, padding="same", boundary="wrap")
    s = np.linalg.svd(op.to_dense(), compute_uv=False)
    for tol in (0.5, 1.0, 3.0):
        Z = cm.null_space(op, tol)
        assert len(Z) == (s <= tol).sum()
        assert np.linalg.norm(op(Z), axis=1).max() <= tol * (1 + 1e-12)
        assert np.abs(Z @ Z.T - np.eye(len(Z))).max() <= 1e-12
    with pytest.raises(cm.ArgumentError, match=r"null_space: tol=-1. Expected a number >= 0"):
        cm.null_space(op, -1)


def test_of_float32_in_double():
    Z = cm.null_space(cm.conv(np.array([1, -1], np.float32), 9, padding="same", boundary="wrap"))
    assert Z.dtype == np.float64
    assert np.abs(Z / Z[0, 0] - 1).max() <= 1e-14


def test_what_takes_too_long_is_refused():
    with pytest.raises(cm.UnsupportedError, match=r"null_space: .*takes too long. Use cm.svd"):
        cm.null_space(cm.conv(RNG.standard_normal((3, 3, 3, 3)), (512, 512, 3), padding="same"))
