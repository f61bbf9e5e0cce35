"""Variances of solutions, beside the diagonal of NumPy's inverse of the normal matrix."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.solves import variance as variance_module
from solves.dense import matrix_of

RNG = np.random.default_rng(0)
BELL, SKEW = np.array([1.0, 3, 1]), np.array([0.5, 2, 1])
CASES = {  # map, options, whether there is structure to use
    "circle": (cm.conv(SKEW, 12, padding="same", boundary="wrap"), {}, True),
    "even circle of channels": (
        cm.conv(RNG.standard_normal((3, 3, 2, 3)), (6, 5, 2), padding="same", boundary="wrap"), {"damp": 0.3}, True),
    "groups": (
        cm.conv(RNG.standard_normal((3, 1, 4)), (8, 2), padding="same", boundary="wrap", groups=2),
        {"damp": 0.1}, True),
    "complex circle": (cm.conv(SKEW * 1j**SKEW, 9, padding="same", boundary="wrap"), {"damp": 0.2}, True),
    "cosines": (cm.conv(np.outer(BELL, BELL), (7, 6), padding="same", boundary="symmetric"), {"damp": 0.1}, True),
    "sines": (cm.conv(BELL, 11, padding="same"), {}, True),
    "outer product": (
        cm.conv(np.outer(SKEW, BELL), (7, 6), padding="same"), {"damp": 0.1, "method": "kronecker"}, True),
    "gradient on a circle": (
        cm.conv(SKEW, 12, padding="same", boundary="wrap"),
        {"damp": 0.4, "regularizer": cm.conv([1.0, -1], 12, padding="same", boundary="wrap")}, True),
    "strided circle": (cm.conv(SKEW, 12, padding=1, stride=2, boundary="wrap"), {"damp": 0.4}, False),
    "band": (cm.conv(SKEW, 30, padding="same", boundary="reflect"), {}, False),
    "singular": (cm.conv([1.0, -1], 9, padding="same", boundary="wrap"), {}, True),
    "wide": (cm.conv(SKEW, 12), {"method": "dense"}, False),
    "tall": (cm.conv(SKEW, 12, padding="full"), {}, False),
    "smooth": (cm.conv(SKEW, 12), {"damp": 0.2, "regularizer": cm.conv([1.0, -2, 1], 12)}, False),
    "tiny": (cm.conv(1e-100 * SKEW, 12, padding="same", boundary="wrap"), {"damp": 1e-101}, True),
}  # fmt: skip


def dense(op, options):
    scale = np.abs(op.kernel).max()
    A, damp = matrix_of(op) / scale, options.get("damp", 0.0) / scale
    R = matrix_of(options["regularizer"]) if "regularizer" in options else np.eye(A.shape[1])
    inverse = np.linalg.pinv(A.conj().T @ A + damp**2 * R.conj().T @ R, rcond=1e-12)
    return (np.diag(inverse).real / scale**2).reshape(op.in_shape)


@pytest.mark.parametrize("name", CASES)
def test_variance_is_the_diagonal_of_the_inverse(name):
    op, options, has_structure = CASES[name]
    options = ({"method": "blocks"} if has_structure else {}) | options
    v = cm.factorize(op, **options).variance(0.5)
    assert np.allclose(v.values, 0.25 * dense(op, options), rtol=1e-8, atol=0)
    assert v.kind == "exact"
    assert ("transforms" in v.method) is has_structure
    assert not v.standard_error.any()
    assert v.values.shape == v.standard_error.shape == op.in_shape
    assert v.kind in repr(v)


@pytest.mark.parametrize("name", ["band", "smooth", "tall"])
def test_estimates_are_as_far_off_as_they_say(name, monkeypatch):
    monkeypatch.setattr(variance_module, "UNITS", 0)
    op, options, _ = CASES[name]
    exact, v = dense(op, options), cm.factorize(op, **options).variance(probes=400)
    assert v.kind == "estimate"
    assert "400 solves" in v.method
    off = (v.values - exact) / v.standard_error
    assert np.abs(off).max() < 5
    assert 0.5 < np.sqrt((off**2).mean()) < 1.6
    few = cm.factorize(op, **options).variance(probes=100).standard_error
    assert 1.4 < np.median(few / v.standard_error) < 2.8


def test_variance_is_that_of_many_solutions():
    """Without damping, of estimates from data with noise; by the spread of solutions."""
    op, rng = cm.conv(np.array([0.2, 1, 0.4]), 20, padding="full"), np.random.default_rng(1)
    F = cm.factorize(op)
    x = F.solve(0.3 * rng.standard_normal((20_000, *op.out_shape))).x
    assert np.allclose(x.var(axis=0), F.variance(0.3).values, rtol=0.06)


def test_variance_refuses():
    F = cm.factorize(CASES["circle"][0])
    for call, text in (
        (lambda: F.variance(-1.0), "variance: noise=-1.0. Expected a finite number >= 0"),
        (lambda: F.variance(probes=1), "variance: probes=1"),
    ):
        with pytest.raises(cm.ArgumentError, match=text):
            call()
