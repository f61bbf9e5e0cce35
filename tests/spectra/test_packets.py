"""Bounds of the norm without arrays of the input's size: beside dense norms, and at sizes that no memory holds."""

import tracemalloc

import numpy as np
import pytest

import convmtx as cm
from convmtx.spectra import packets
from spectra.dense import singular_values
from spectra.test_bounds import random_map

RNG = np.random.default_rng(0)
OSCILLATING = np.cumprod(-np.ones(49)).reshape(7, 7) * RNG.random((7, 7))
KERNELS = {
    "random": RNG.random((7, 7)),
    "oscillating": OSCILLATING,
    "cancelling": OSCILLATING - OSCILLATING.mean(),
    "complex": RNG.standard_normal((7, 7)) + 1j * RNG.standard_normal((7, 7)),
    "channels": RNG.standard_normal((3, 3, 6, 4)),
}


@pytest.mark.parametrize("short", [0, 6, 32])
def test_packets_are_no_longer_than_the_norm(short, monkeypatch):
    """Of random maps with anything in them; where only zeros are read outside, the supremum is no shorter."""
    monkeypatch.setattr(packets, "_SHORT", short)
    rng = np.random.default_rng(short)
    is_bounded = 0
    for _ in range(60):
        op = random_map(rng)
        low, high = packets.interval(op, 1e-3)
        top = singular_values(op.to_dense())[0]
        assert low <= top * (1 + 1e-13), op.geometry
        if packets.is_bounded(op.geometry):
            is_bounded += 1
            assert top <= high * (1 + 1e-13), op.geometry
    assert is_bounded > 5


@pytest.mark.parametrize("options", [
    {}, {"stride": 2}, {"dilation": 3}, {"stride": 3, "dilation": 2}, {"input_dilation": 2, "stride": 3},
    {"groups": 2}, {"boundary": "wrap"},
])  # fmt: skip
def test_packets_come_near_to_the_norm(options):
    """The square of taps over positions, for a kernel whose norm is not the same at all frequencies."""
    K = np.random.default_rng(1).random((4, 2 // options.get("groups", 1), 4))
    for n in (60, 600):
        op = cm.conv(K, (n, 2), padding="same", **options)
        low, high = packets.interval(op, 1e-8)
        top = singular_values(op.to_dense())[0]
        span = 3 * options.get("dilation", 1) + 1
        assert top * (1 - (3 * span / n) ** 2) <= low <= top * (1 + 1e-13)
        assert top <= high * (1 + 1e-13)


@pytest.mark.parametrize("d", [1, 2])
@pytest.mark.parametrize("boundary", ["reflect", "symmetric", "edge"])
def test_what_a_boundary_adds_to_the_norm_is_seen(boundary, d):
    """A shift by two repeats inputs at the end: its norm is the root of 2 or 3, and the symbol's is 1."""
    shift = np.array([1.0, 0, 0, 0, 0])
    top = singular_values(cm.conv(shift, 50, padding=2, boundary=boundary).to_dense())[0] ** d
    assert top > 1.4**d
    op = cm.conv(shift if d == 1 else np.outer(shift, shift), (10 ** (9 // d),) * d, padding=2, boundary=boundary)
    r = cm.norm(op)
    assert top * (1 - 1e-12) <= r.lower <= top * (1 + 1e-13) <= r.upper * (1 + 2e-13)


@pytest.mark.parametrize("boundary", ["zero", "wrap"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_norms_beyond_memory(kernel, boundary):
    """The interval at 10^10 unknowns holds the limit, which a fine grid of frequencies comes near to from below."""
    K = KERNELS[kernel]
    channels = K.shape[2:3]
    options = {"padding": K.shape[0] // 2, "boundary": boundary}
    F = np.fft.fft2(K.reshape(*K.shape[:2], *(K.shape[2:] or (1, 1))), (256, 256), (0, 1))
    limit = np.linalg.norm(F, 2, (2, 3)).max()
    tracemalloc.start()
    r = cm.norm(cm.conv(K, (10**5, 10**5, *channels), **options))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert r.kind == "interval"
    assert r.converged
    assert r.iterations == 0
    assert r.upper - r.lower <= 1e-6 * r.upper
    assert limit * (1 - 1e-6) <= r.upper
    assert r.lower <= limit * (1 + (3 * np.pi / 256) ** 2)
    assert peak < 50e6

    small = cm.conv(K, (9, 11, *channels), **options)
    assert singular_values(small.to_dense())[0] <= r.upper


def test_iterations_that_would_take_minutes_are_left_out():
    op = cm.conv(KERNELS["random"], (2000, 2000), padding=3)
    r = cm.norm(op)
    assert r.iterations == 0
    assert not r.converged
    assert r.method.endswith("; wider than rtol=1e-06")
    assert r.upper - r.lower <= 2e-5 * r.upper
    assert cm.norm(op, rtol=1e-4).converged
