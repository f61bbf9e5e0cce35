"""Bounds of the norm by that of a smaller input with the same boundaries, beside dense norms of both."""

import numpy as np
import pytest
from scipy.sparse.linalg import svds

import convmtx as cm
from convmtx.spectra import smaller
from spectra.dense import singular_values


def top(op):
    return singular_values(op.to_dense())[0]


def random_axis(rng):
    """A map of one long axis, with channels."""
    n, (k, stride, dilation, stretch) = int(rng.integers(150, 250)), rng.integers(1, [5, 4, 3, 3]).tolist()
    pads = tuple(rng.integers(-1, 6, 2).tolist())
    rule = str(rng.choice(["zero", "wrap", "reflect", "symmetric", "edge"]))
    draw = [rng.standard_normal, rng.random][rng.integers(2)]
    return cm.conv(
        draw((k, 2, 1)), (n, 2), stride=stride, dilation=dilation, input_dilation=stretch, padding=[pads], boundary=rule
    )


def test_norms_of_two_sizes_are_as_close_as_they_say(monkeypatch):
    rng, count = np.random.default_rng(0), 0
    for _ in range(120):
        op = random_axis(rng)
        monkeypatch.setattr(smaller, "_LONGEST", int(rng.integers(2, 7)))
        monkeypatch.setattr(smaller, "_MOST", sum(op.shape) - 1)
        near = smaller.smaller(op)
        if near is None:
            assert op.geometry.axes[0].boundary.period(5) == 5  # around a circle, otherwise than once
            continue
        count += 1
        small, large = top(near.op), top(op)
        assert large**2 <= (small**2 + near.below) * (1 + 1e-13), op.geometry
        assert small**2 <= (large**2 + near.above) * (1 + 1e-13), op.geometry
    assert count > 80


@pytest.mark.parametrize("boundary", ["reflect", ("edge", "wrap"), ("zero", "symmetric")])
def test_norms_of_two_planes(boundary, monkeypatch):
    K = np.random.default_rng(1).random((3, 3))
    op = cm.conv(K, (70, 66), padding=1, boundary=boundary)
    monkeypatch.setattr(smaller, "_LONGEST", 3)
    monkeypatch.setattr(smaller, "_MOST", 2500)
    near = smaller.smaller(op)
    assert max(near.op.in_shape) < 40
    start = np.random.default_rng(0).random(min(op.shape))
    large, small = (svds(each.to_sparse(), 1, v0=start[: min(each.shape)])[1][0] for each in (op, near.op))
    assert large**2 <= small**2 + near.below
    assert small**2 <= large**2 + near.above


@pytest.mark.parametrize("boundary", ["reflect", "symmetric", "edge"])
def test_norms_beyond_memory_with_every_boundary(boundary):
    """Outer products: the norm is the product of those along the axes, which a dense matrix of 600 inputs has."""
    k = np.random.default_rng(2).random(5)
    along = top(cm.conv(k, 600, padding=2, boundary=boundary))
    r = cm.norm(cm.conv(np.outer(k, k), (10**5, 10**5), padding=2, boundary=boundary))
    assert r.lower <= r.upper <= 1.002 * r.lower
    change = (np.pi / 2 / 290) ** 2 / 2 * 4**2 * k.sum() ** 2 * 3  # of windows over 600 inputs; 3 readers by one tap
    assert r.lower <= along**2 + change
    assert along**2 - change <= r.upper
