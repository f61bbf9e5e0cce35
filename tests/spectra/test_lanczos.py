"""The Lanczos process on spectra that make vectors lose their orthogonality, beside dense decompositions."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.spectra import condition, norms, values
from convmtx.spectra.lanczos import REFUTED, SEMIORTHOGONAL, Lanczos
from spectra.dense import singular_values

RNG = np.random.default_rng(0)
SPECTRA = {
    "one value": np.ones(120),
    "zeros": np.zeros(120),
    "two values": np.repeat([1.0, 0.0], 60),
    "above a plateau": np.concatenate([[1.25, 1.25], np.ones(70), np.zeros(48)]),
    "a few far above": np.concatenate([[1e6, 1e6 - 1, 1e5, 1e3, 10], RNG.random(115)]),
    "a cluster at the top": np.concatenate([1 + 1e-9 * RNG.random(20), RNG.random(100)]),
    "many at once": np.concatenate([1 + np.arange(20.0), 1e-4 * RNG.random(100)]),
    "nearly a plateau": 1 + 1e-13 * RNG.random(120),
    "down to nothing": np.logspace(0, -40, 120),
    "evenly": np.arange(120.0),
}


@pytest.fixture
def iterated(monkeypatch):
    """Every decomposition is said to be too much work."""
    for module in (values, norms, condition):
        monkeypatch.setattr(module, "SMALL_SPECTRUM_WORK", 0)
    monkeypatch.setattr(norms, "BESIDE_LANCZOS_WORK", 0)


def gram(name, kind):
    numbers = RNG.standard_normal((120, 120)) + (1j * RNG.standard_normal((120, 120)) if kind is complex else 0)
    Q = np.linalg.qr(numbers)[0]
    return (Q * SPECTRA[name]) @ Q.conj().T


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("name", SPECTRA)
def test_the_process_keeps_its_promise_on_any_spectrum(name, kind):
    """Vectors that are nearly orthogonal, a matrix that is as if they were quite, bounds that hold."""
    G, expected = gram(name, kind), np.sort(SPECTRA[name])
    near = 1e-13 * expected[-1]
    process = Lanczos(lambda v: G @ v, 120, np.dtype(kind))
    while process.order < process.size:
        process.advance(10)
        V = process.vectors[: process.order]
        upper, lower = process.bounds()
        assert np.abs(V.conj() @ V.T - np.eye(len(V))).max() <= 10 * SEMIORTHOGONAL
        assert process.ritz(len(V) - 1, len(V) - 1)[0] <= expected[-1] + near
        assert lower <= expected[0] + near
        assert expected[-1] - near <= upper
    found, coefficients, residuals = process.ritz(0, 119)
    assert np.abs(found - expected).max() <= near
    assert upper - expected[-1] <= 10 * near
    assert not residuals.any()
    vectors = process.combine(coefficients)
    assert np.abs(G @ vectors.T - vectors.T * found).max() <= 10 * SEMIORTHOGONAL * expected[-1]


@pytest.mark.parametrize("name", ["one value", "two values", "above a plateau"])
def test_runs_from_several_starts_soon_leave_no_doubt(name):
    G = gram(name, float)
    process = Lanczos(lambda v: G @ v, 120, np.dtype(float))
    process.advance(30)
    assert len(process.finished) > 5
    assert process.bounds()[0] <= SPECTRA[name].max() * (1 + 1e-9)


def test_an_estimate_that_was_refuted_ends_estimates(monkeypatch):
    """Where products are far less exact than rounding explains, inner products outgrow what is estimated."""
    G, noise = gram("many at once", float), np.random.default_rng(1)
    process = Lanczos(lambda v: G @ v + 1e-8 * noise.standard_normal(120), 120, np.dtype(float))
    process.advance(60)
    V = process.vectors[: process.order]
    assert process.every
    assert np.abs(V @ V.T - np.eye(len(V))).max() <= REFUTED * SEMIORTHOGONAL
    assert abs(process.ritz(process.order - 1, process.order - 1)[0][0] - 20) <= 1e-6


def few_taps(rng):
    """A small convolution with one to six taps that are not 0, the numbers of which repeat."""
    while True:
        d = int(rng.integers(1, 3))
        per_c, per_f, groups = (int(n) for n in rng.integers(1, (4, 4, 3)))
        K = np.zeros((*rng.integers(1, 4, d), per_c, per_f * groups))
        places = rng.choice(K.size, min(int(rng.integers(1, 7)), K.size), replace=False)
        numbers = [[1.0, 0.5, 0.2, 0.1, -1.0], [1.0, -1.0, 2.0], [1.0, 1e-4, 1e-9, 1e-14]][rng.integers(3)]
        K.reshape(-1)[places] = rng.choice(numbers, places.size)
        K = K * np.exp(2j * np.pi * rng.choice([0.25, 0.3])) if rng.random() < 0.15 else K
        rules = rng.choice(["zero", "zero", "wrap", "reflect", "symmetric", "edge"], d).tolist()
        try:
            op = cm.conv(
                K, (*rng.integers(4, 13 if d == 2 else 60, d).tolist(), per_c * groups), boundary=rules, groups=groups,
                stride=rng.choice([1, 1, 2], d).tolist(), dilation=rng.choice([1, 1, 2], d).tolist(),
                padding=str(rng.choice(["same", "valid", "full"])),
            )  # fmt: skip
        except cm.ConvmtxError:  # the kernel does not fit, or a boundary has nothing to mirror
            continue
        if min(op.shape) >= 4 and max(op.shape) <= 400:
            return op


@pytest.mark.parametrize("seed", range(0, 200, 10))
@pytest.mark.usefixtures("iterated")
def test_values_of_few_taps(seed):
    """Ten random maps each: k largest values as often as they occur, the norm, and singular tensors."""
    rng = np.random.default_rng(seed)
    for _ in range(10):
        op = few_taps(rng)
        D = op.to_dense()
        expected = singular_values(D)
        k, near = min(int(rng.integers(1, 9)), len(expected)), 2e-9 * expected[0]
        r, (U, s, V) = cm.norm(op), cm.svd(op, k)
        U, V = U.reshape(k, -1), V.reshape(k, -1)

        assert r.converged
        assert s.converged
        assert r.lower * (1 - 1e-13) <= expected[0] <= r.upper * (1 + 1e-13)
        assert r.upper - r.lower <= 1.0001e-6 * r.upper
        assert np.abs(np.asarray(s) - expected[:k]).max() <= near
        assert (s.lower * (1 - 1e-13) <= expected[:k]).all()
        assert (expected[:k] <= s.upper * (1 + 1e-13)).all()
        assert np.abs(V.conj() @ V.T - np.eye(k)).max() <= 1e-9
        assert np.abs(U.conj() @ U.T - np.eye(k)).max() <= 1e-9
        assert np.abs(D @ V.T - U.T * np.asarray(s)).max() <= 1e-6 * expected[0]


TAPS = np.zeros((2, 3, 1, 2))
TAPS[0, 0, 0, 0], TAPS[0, 1, 0, 1], TAPS[0, 2, 0, 1], TAPS[1, 1, 0, 1] = 1.0, 0.2, 0.1, 0.2


@pytest.mark.parametrize("n", [38, 40])
def test_half_of_all_values_converge_at_once(n):
    """The largest values are next to one, which is a value n times; of this size as anyone would ask."""
    op = cm.conv(TAPS, (n, n, 1), padding="same")
    matrix = op.to_dense()
    expected = np.sqrt(np.linalg.eigvalsh(matrix.T @ matrix)[::-1])
    permuted = cm.permutation(op.out_shape, "HWC", "CHW") @ op

    for found in (cm.norm(op), cm.norm(permuted)):
        assert found.converged
        assert found.lower * (1 - 1e-13) <= expected[0] <= found.upper * (1 + 1e-13)
        assert found.upper - found.lower <= 1e-6 * found.upper
    assert np.allclose(np.asarray(cm.svdvals(op, 6)), expected[:6], rtol=1e-10)
    condition = cm.cond(op)
    assert condition.lower * (1 - 1e-12) <= expected[0] / expected[-1] <= condition.upper * (1 + 1e-12)
    assert condition.upper <= 1.0001 * condition.lower
