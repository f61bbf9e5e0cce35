"""The question this began with, on its two examples, against loops and fancy indexing."""

import numpy as np
import pytest

import convmtx as cm


def output_by_loops(K, A):
    """B by its definition: one window and one filter at a time."""
    k1, k2, _, filters = K.shape
    m1, m2, _ = A.shape
    B = np.zeros((m1 - k1 + 1, m2 - k2 + 1, filters))
    for i in range(m1 - k1 + 1):
        for j in range(m2 - k2 + 1):
            for f in range(filters):
                B[i, j, f] = (A[i : i + k1, j : j + k2] * K[..., f]).sum()
    return B


def tensor_by_loops(K, shape):
    """W by its definition: the kernel laid onto each window."""
    k1, k2, channels, filters = K.shape
    m1, m2, _ = shape
    W = np.zeros((m1 - k1 + 1, m2 - k2 + 1, filters, m1, m2, channels))
    for i in range(m1 - k1 + 1):
        for j in range(m2 - k2 + 1):
            for f in range(filters):
                W[i, j, f, i : i + k1, j : j + k2] = K[..., f]
    return W


def tensor_by_fancy_indexing(K, shape):
    """W without loops: index arrays for each axis, and one assignment."""
    k1, k2, channels, filters = K.shape
    m1, m2, _ = shape
    i, j, f, p, q, c = np.ogrid[: m1 - k1 + 1, : m2 - k2 + 1, :filters, :k1, :k2, :channels]
    W = np.zeros((m1 - k1 + 1, m2 - k2 + 1, filters, m1, m2, channels))
    W[i, j, f, i + p, j + q, c] = np.einsum("pqcf->fpqc", K)
    return W


@pytest.mark.parametrize(("shape", "kernel"), [((5, 5, 3), (2, 2, 3, 2)), ((5, 6, 3), (2, 4, 3, 2))])
def test_the_question(shape, kernel):
    rng = np.random.default_rng(0)
    A, K = rng.standard_normal(shape), rng.standard_normal(kernel)
    m1, m2, n_channel = shape
    k1, k2, _, n_filter = kernel

    op = cm.conv(K, A.shape)
    W_K = op.to_tensor()

    assert W_K.shape == (m1 - k1 + 1, m2 - k2 + 1, n_filter, m1, m2, n_channel)
    assert np.array_equal(W_K, tensor_by_loops(K, shape))
    assert np.array_equal(W_K, tensor_by_fancy_indexing(K, shape))
    assert np.array_equal(W_K, op.tensor_view())
    B = np.tensordot(W_K, A, 3)
    np.testing.assert_allclose(B, output_by_loops(K, A), rtol=0, atol=1e-13)
    np.testing.assert_allclose(op(A), output_by_loops(K, A), rtol=0, atol=1e-13)
    np.testing.assert_allclose(op.to_dense() @ A.ravel(), B.ravel(), rtol=0, atol=1e-13)
    np.testing.assert_allclose(op.to_sparse("csr") @ A.ravel(), B.ravel(), rtol=0, atol=1e-13)
