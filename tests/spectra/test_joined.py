"""Spectra of maps that join in: matrices and operators of others, and maps made of maps, beside NumPy's."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

import convmtx as cm
from spectra.dense import singular_values

RNG = np.random.default_rng(0)
JOINED = {"array": lambda A: A, "list": lambda A: A.tolist(), "sparse": sp.csr_array, "operator": aslinearoperator}


@pytest.mark.parametrize("kind", JOINED)
@pytest.mark.parametrize("dtype", [float, complex])
def test_spectra_take_matrices_and_operators(kind, dtype):
    A = RNG.standard_normal((6, 6)).astype(dtype)
    A = A + 1j * RNG.standard_normal((6, 6)) if dtype is complex else A
    A[5] = A[0]
    op, s = JOINED[kind](A), singular_values(A)
    assert np.abs(cm.svdvals(op) - s).max() <= 1e-13
    for order in (1, 2, np.inf, "fro"):
        assert np.isclose(cm.norm(op, order).value, np.linalg.norm(A, order), rtol=1e-13)
    assert int(cm.rank(op)) == 5
    assert cm.smallest_singular_value(op).value <= 1e-14
    (z,) = cm.null_space(op)
    assert np.isclose(np.linalg.norm(z), 1)
    assert np.abs(A @ z).max() <= 1e-13
    assert np.abs(cm.svd(op, 2).s - s[:2]).max() <= 1e-13
    assert np.isclose(cm.trace(op).value, A.trace())
    assert np.isclose(np.sort_complex(cm.eigvals(op).value).sum(), A.trace())
    other = JOINED[kind](A + np.eye(6))
    assert np.isclose(cm.logdet(other).value, np.linalg.slogdet(A + np.eye(6))[1])
    assert np.isclose(cm.cond(other).value, np.linalg.cond(A + np.eye(6)))
