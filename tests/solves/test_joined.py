"""Solves of maps that join in: matrices and operators of others, and maps made of maps, beside dense least squares."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import aslinearoperator

import convmtx as cm
from solves.dense import numbers

RNG = np.random.default_rng(0)
TALL, SQUARE = RNG.standard_normal((7, 4)), RNG.standard_normal((5, 5)) + 1j * RNG.standard_normal((5, 5))
#: What `aslinearmap` takes, of a matrix.
JOINED = {
    "array": lambda A: A,
    "list": lambda A: A.tolist(),
    "csr": sp.csr_array,
    "coo matrix": sp.coo_matrix,
    "operator": aslinearoperator,
    "map": cm.aslinearmap,
}


@pytest.mark.parametrize("kind", JOINED)
@pytest.mark.parametrize("A", [TALL, TALL.T, SQUARE], ids=["tall", "wide", "square"])
def test_solves_take_matrices_and_operators(kind, A):
    op, b = JOINED[kind](A), numbers(np.random.default_rng(1), (3, len(A)), A.dtype.kind)
    expected = b @ np.linalg.pinv(A).T
    for x in (cm.solve(op, b).x, cm.factorize(op).solve(b).x, cm.pinv(op)(b)):
        assert np.abs(x - expected).max() <= 1e-13 * np.abs(expected).max()
    damped = b @ np.linalg.solve(A.conj().T @ A + 0.25 * np.eye(A.shape[1]), A.conj().T).T
    assert np.abs(cm.solve(op, b, damp=0.5).x - damped).max() <= 1e-13
    assert np.abs(cm.wiener(op, b, 4.0) - damped).max() <= 1e-13
    assert cm.choose_damp(op, b[:1]).damp > 0


@pytest.mark.parametrize("kind", JOINED)
def test_regularizers_may_be_matrices_and_operators(kind):
    op, D = cm.conv([1.0, 2.0, 1.0], 6), np.diff(np.eye(6), axis=0)
    b = RNG.standard_normal(4)
    expected = np.linalg.lstsq(np.concatenate([op.to_dense(), 0.3 * D]), np.pad(b, (0, 5)))[0]
    x = cm.solve(op, b, damp=0.3, regularizer=JOINED[kind](D)).x
    assert np.abs(x - expected).max() <= 1e-12


def test_rows_of_a_map_are_solved_as_they_are():
    op, rows = cm.conv(RNG.standard_normal((3, 3)), (6, 7), padding="same"), [3, 0, 17, 40]
    b = RNG.standard_normal(4)
    expected = np.linalg.pinv(op.to_dense()[rows]) @ b
    assert np.abs(cm.solve(op.to_sparse(rows=rows), b).x - expected).max() <= 1e-13 * np.abs(expected).max()
