"""Solves on arrays of Dask of very small and very large numbers, and of those that are not finite."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.solves import chunked

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")


@pytest.fixture(autouse=True)
def in_this_thread():
    with dask.config.set(scheduler="synchronous"):
        yield


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def blur():
    return cm.conv(np.outer([1, 4, 6, 4, 1], [1, 2, 1]) / 64, (30, 20), padding="same")


def small(dtype=float, scale=1.0):
    return cm.conv((normal(3, 4) * scale).astype(dtype), (20, 24), padding="same", boundary="reflect")


def gap(x, other):
    return np.linalg.norm(x - other) / np.linalg.norm(other)


RIGHT = normal(20, 24, seed=1)


@pytest.mark.parametrize("size", [1e-300, 1e-155, 1e-62, 1e62, 1e155])
def test_right_hand_sides_whose_squares_are_not_in_range_are_refused(size):
    chunks = da.from_array(RIGHT, chunks=(10, 24)) * size
    for b in (chunks, da.stack([chunks, da.zeros_like(chunks), chunks / size])):
        with pytest.raises(ValueError, match=r"b has numbers near .*e[+-]\d+\. Expected those from 1e-60 to 1e\+60"):
            cm.solve(small(), b, damp=0.1)
    with pytest.raises(ValueError, match="b times the roots of weights has numbers near"):
        cm.solve(small(), chunks, damp=0.1, weights=np.full((20, 24), 4.0))
    b = da.from_array(RIGHT.astype(np.float32), chunks=(10, 24)) * np.float32(1e-22 if size < 1 else 1e22)
    with pytest.raises(ValueError, match="in single precision"):
        cm.solve(small(np.float32), b, damp=0.1)


@pytest.mark.parametrize("sizes", [(1e-58, 1e58), (1e58, 1e-58), (1e-58, 1e-58), (1e58, 1e58)])
def test_numbers_at_the_ends_of_the_range_are_solved_for(sizes):
    size, scale = sizes
    exact = np.linalg.lstsq(np.vstack([small().to_dense(), 4 * np.eye(480)]), np.append(RIGHT, np.zeros(480)))[0]
    b = da.from_array(RIGHT * size, chunks=(10, 24))
    s = cm.solve(small() * scale, b, damp=4 * scale, rtol=1e-12)
    assert s.converged
    assert gap(s.x.compute().ravel() * (scale / size), exact) <= max(s.error, 1e-12) < 1e-8


@pytest.mark.parametrize("scale", [1e-20, 1e-7, 1e5, 1e20])
def test_maps_out_of_the_range_of_single_precision_are_applied_in_double(scale):
    op = small(np.float32, scale)
    b = RIGHT.astype(np.float32)
    s = cm.solve(op, da.from_array(b, chunks=(10, 24)), damp=4 * scale)
    assert s.converged
    assert s.x.dtype == (np.float32 if 1e-6 < scale < 1e6 else np.float64)
    assert gap(s.x.compute(), cm.solve(op, b.astype(float), damp=4 * scale).x) <= s.error < 1e-3
    one = small(np.float32)
    weights, multiple = np.full((20, 24), scale**2), cm.identity((20, 24)) * scale
    for options in ({"damp": 4 * scale, "weights": weights}, {"damp": 4 / scale, "regularizer": multiple}):
        s = cm.solve(one, da.from_array(b, chunks=(10, 24)), **options)
        assert s.converged
        assert gap(s.x.compute(), cm.solve(one, b.astype(float), **options).x) < 1e-3


def test_a_step_that_is_not_finite_ends_at_once(monkeypatch):
    adjoint, factors = chunked.Equations.adjoint, []
    monkeypatch.setattr(chunked.Equations, "adjoint", lambda self, u: adjoint(self, u) * (np.inf if factors else 1.0))
    with pytest.raises(np.linalg.LinAlgError, match="a norm of step 2 is not finite"):
        cm.solve(
            blur(), da.from_array(normal(30, 20), chunks=(16, 11)), damp=0.01, callback=lambda _: factors.append(1)
        )


@pytest.mark.filterwarnings("error")
def test_what_is_refused_or_masked_warns_of_nothing(tmp_path):
    b, mask = normal(30, 20), np.ones((30, 20), bool)
    b[3, 4], b[20, 7] = np.inf, -np.inf
    mask[3, 4] = mask[20, 7] = False
    for bad in (b, 1e200 * normal(30, 20), b.astype(np.float32), b.astype(complex)):
        for path in (None, tmp_path / "run"):
            with pytest.raises(ValueError, match=r"b or x0 contains inf or nan|b has numbers near"):
                cm.solve(blur(), da.from_array(bad, chunks=(16, 11)), damp=0.1, checkpoint=path)
    masked = cm.solve(blur(), da.from_array(b, chunks=(16, 11)), damp=1.0, mask=mask)
    assert gap(masked.x.compute(), cm.solve(blur(), b, damp=1.0, mask=mask).x) < 1e-6
