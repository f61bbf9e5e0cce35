"""Wiener's filter, by Fourier's formula; and the choice of damping, by brute force from singular values."""

import numpy as np
import pytest

import convmtx as cm
from solves.dense import least, matrix_of, numbers

RNG = np.random.default_rng(0)
WRAP = {"padding": "same", "boundary": "wrap"}
G = np.exp(-(np.arange(-3.0, 4) ** 2) / 3)
K1, K2 = G / G.sum(), np.multiply.outer(G, G[1:-1]) / G.sum() ** 2


def transfer(k, shape):
    """What each frequency is multiplied with: taps at their offsets from the middle, correlated."""
    image = np.zeros(shape, np.result_type(k, float))
    for at, value in np.ndenumerate(k):
        image[tuple((n - (p - size // 2)) % n for p, size, n in zip(at, k.shape, shape, strict=True))] += value
    return np.fft.fftn(image)


@pytest.mark.parametrize("k", [K1, K2, K2 + 1j * K2**2], ids=["1-D", "2-D", "complex"])
@pytest.mark.parametrize("kind", "fc")
@pytest.mark.parametrize("snr", ["number", "array"])
def test_wiener_by_fourier(k, kind, snr):
    shape = (14, 15)[: k.ndim]
    op, F = cm.conv(k, shape, **WRAP), transfer(k, shape)
    x = numbers(RNG, shape, "c")
    assert np.allclose(np.fft.fftn(op(x)), F * np.fft.fftn(x))  # else the formula below is of another map
    f = np.meshgrid(*(np.fft.fftfreq(n) for n in shape), indexing="ij")
    ratio = 50.0 if snr == "number" else 100 / (1 + 50 * sum(each**2 for each in f))
    if snr == "array" and k.dtype.kind == "c":
        ratio = ratio * np.exp(RNG.standard_normal(shape))  # of any symmetry
    b = numbers(RNG, (2, *shape), kind)
    axes = tuple(range(1, 1 + k.ndim))
    expected = np.fft.ifftn(F.conj() / (np.abs(F) ** 2 + 1 / ratio) * np.fft.fftn(b, axes=axes), axes=axes)
    found = cm.wiener(op, b, ratio)
    assert found.dtype == np.result_type(k, b)
    assert np.abs(found - expected).max() <= 1e-13 * np.abs(expected).max()


@pytest.mark.parametrize("scale", [1e-100, 1e100])
@pytest.mark.parametrize("shape", [(), (12,)])
def test_wiener_of_any_scale(scale, shape):
    b, F = RNG.standard_normal(12), transfer(K1, (12,))
    expected = np.fft.ifft(F.conj() / (np.abs(F) ** 2 + 0.02) * np.fft.fft(b)).real
    found = cm.wiener(cm.conv(K1 * scale, 12, **WRAP), b, np.full(shape, 50.0) / scale**2)
    assert np.abs(found * scale - expected).max() <= 1e-13


@pytest.mark.parametrize("groups", [1, 2])
def test_wiener_with_channels(groups):
    """Of each frequency a small matrix: ``(F^H F + 1/snr)^-1 F^H``."""
    K = RNG.standard_normal((3, 3, 4 // groups, 6))
    op = cm.conv(K, (5, 6, 4), groups=groups, **WRAP)
    ratio = 3 + np.cos(2 * np.pi * np.fft.fftfreq(5))[:, None] + np.cos(2 * np.pi * np.fft.fftfreq(6))
    A, W = matrix_of(op), np.kron(np.fft.ifftn(np.eye(30).reshape(30, 5, 6), axes=(1, 2)).reshape(30, 30), np.eye(4))
    W = W * np.sqrt(30)  # unitary: columns are waves of a channel
    D = np.concatenate([A, (W * np.repeat(ratio.ravel() ** -0.5, 4)) @ W.conj().T])
    b = RNG.standard_normal((2, *op.out_shape))
    expected = np.linalg.lstsq(D, np.pad(b.reshape(2, -1), ((0, 0), (0, 120))).T + 0j)[0].T.real
    found = cm.wiener(op, b, ratio)
    assert np.abs(found.reshape(2, -1) - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("boundary", ["zero", "reflect", "wrap"])
def test_wiener_of_one_number_is_damping(boundary):
    op = cm.conv(K2, (9, 8), padding="same", boundary=boundary)
    b = RNG.standard_normal((9, 8))
    expected = least(matrix_of(op), b.ravel(), 25**-0.5).reshape(9, 8)
    assert np.abs(cm.wiener(op, b, 25) - expected).max() <= 1e-12


def test_wiener_refuses():
    circle, square = cm.conv(K1, 12, **WRAP), cm.conv(K1, 12, padding="same")
    lopsided = np.arange(1.0, 13)
    for op, snr, error, text in (
        (circle, 0, cm.ArgumentError, "snr is not a finite real number > 0"),
        (circle, -1.0, cm.ArgumentError, "snr is not a finite"),
        (circle, np.inf, cm.ArgumentError, "snr is not a finite"),
        (circle, 1j, cm.ArgumentError, "snr is not a finite real"),
        (circle, np.ones(11), cm.ArgumentError, r"snr has shape \(11,\)\. Expected \(12,\), as numpy.fft.fftn has"),
        (circle, lopsided, cm.ArgumentError, "snr differs between frequencies and their negatives"),
        (square, np.ones(12), cm.UnsupportedError, "snr is an array and op is not a circular convolution"),
    ):
        with pytest.raises(error, match=f"wiener: {text}"):
            cm.wiener(op, np.ones(12), snr)


BLURS = {
    "circle": cm.conv(K2, (12, 10), **WRAP),
    "outer product": cm.conv(K2, (12, 10), padding="same"),
    "symmetric": cm.conv(K1, 60, padding="same", boundary="symmetric"),
    "tall": cm.conv(K1, 60, padding="full"),
    "wide": cm.conv(K1, 60),
    "dense": cm.conv(K2 + 0.01 * RNG.standard_normal(K2.shape), (11, 9), padding="same", boundary="edge"),
    "complex circle": cm.conv(K2 * np.exp(1j * np.arange(5.0)), (9, 10), **WRAP),
    "channels": cm.conv(RNG.standard_normal((3, 2, 2)), (15, 2), **WRAP),
    "strided circle": cm.conv(K1, 24, stride=2, boundary="wrap", padding=[(3, 2)]),
}
SIGMA = 0.02


def data(name, batch=()):
    op, rng = BLURS[name], np.random.default_rng(1)
    shape = (*batch, *op.in_shape)
    x = np.cumsum(rng.standard_normal(shape), axis=len(batch)) / 3
    b = op(x)
    noise = SIGMA * numbers(rng, b.shape, b.dtype.kind) / (np.sqrt(2) if b.dtype.kind == "c" else 1)
    return op, b + noise


class Dense:
    """All that the rules look at, by the singular value decomposition of the dense matrix."""

    def __init__(self, op, b):
        self.A, self.b = matrix_of(op), b.reshape(-1, op.shape[0])

    def solution(self, damp):
        return least(self.A, self.b, damp)

    def residual(self, damp):
        return np.linalg.norm(self.b - self.solution(damp) @ self.A.T)

    def validation(self, damp):
        """``|b - A x|^2 / trace(I - A (A^H A + damp^2)^-1 A^H)^2``."""
        A = self.A
        inside = A @ np.linalg.solve(A.conj().T @ A + damp**2 * np.eye(A.shape[1]), A.conj().T)
        return self.residual(damp) ** 2 / np.trace(np.eye(len(A)) - inside).real ** 2


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize("rule", ["gcv", "lcurve", "discrepancy"])
@pytest.mark.parametrize("batch", [(), (3,)])
def test_the_curve_is_that_of_dense_solutions(name, rule, batch):
    op, b = data(name, batch)
    r, dense = cm.choose_damp(op, b, rule, noise=SIGMA if rule == "discrepancy" else None), Dense(op, b)
    assert (np.diff(r.damps) > 0).all()
    assert np.isclose(r.damps[-1], np.linalg.norm(dense.A, 2), rtol=1e-10)
    for at in (0, 60, 100, 150, 199):
        x = dense.solution(r.damps[at])
        scale = np.linalg.norm(b)
        # Of small dampings the normal equations of the reference are as good as their condition.
        assert abs(r.residuals[at] - np.linalg.norm(dense.b - x @ dense.A.T)) <= 1e-9 * scale
        assert abs(r.sizes[at] - np.linalg.norm(x)) <= 1e-6 * np.linalg.norm(x)
        if rule == "gcv" and r.damps[at] > 1e-4:
            wanted = dense.validation(r.damps[at]) / dense.validation(r.damps[199])
            assert np.isclose(r.scores[at] / r.scores[199], wanted, rtol=1e-6)
    assert float(r) == r.damp
    assert rule in repr(r)
    s = cm.solve(op, b, damp=r.damp)
    assert s.converged


@pytest.mark.parametrize("name", BLURS)
def test_cross_validation_finds_the_least(name):
    op, b = data(name)
    r, dense = cm.choose_damp(op, b, "gcv"), Dense(op, b)
    inside = r.damps[(r.damps > 1e-4) & (r.damps < r.damps[-1])]
    scores = [dense.validation(damp) for damp in inside]
    if r.damp > 2e-4:
        assert dense.validation(r.damp) <= min(scores) * (1 + 1e-6)


@pytest.mark.parametrize("name", [n for n in BLURS if n != "channels"])
def test_residuals_are_as_large_as_the_noise(name):
    op, b = data(name, (2,))
    r = cm.choose_damp(op, b, "discrepancy", noise=SIGMA)
    assert np.isclose(Dense(op, b).residual(r.damp), SIGMA * np.sqrt(b.size), rtol=1e-8)
    assert np.isclose(np.linalg.norm(cm.solve(op, b, damp=r.damp).residual), SIGMA * np.sqrt(b.size), rtol=1e-8)


@pytest.mark.parametrize("name", BLURS)
@pytest.mark.parametrize("kind", [np.complex128, np.complex64])
@pytest.mark.parametrize("batch", [(), (2,)])
def test_choices_for_complex_data(name, kind, batch):
    """Beside the singular value decomposition of the dense matrix, whatever transforms the map falls apart by."""
    op, b = data(name, batch)
    other = data(name, batch)[1][..., ::-1] if op.out_shape[-1] > 2 else b
    b = ((b + 1j * other) if b.dtype.kind != "c" else b).astype(kind)
    A, flat = matrix_of(op), b.reshape(-1, op.shape[0]).astype(complex)
    U, s, _ = np.linalg.svd(A)
    s = np.pad(s, (0, len(U) - len(s)))
    energies = (abs(flat @ U.conj()) ** 2).sum(axis=0)
    left = [damp**2 / (s**2 + damp**2) for damp in cm.choose_damp(op, b).damps]
    r = cm.choose_damp(op, b, "gcv")
    assert np.allclose(r.residuals, [np.sqrt(each**2 @ energies) for each in left], rtol=1e-5, atol=1e-9)
    scores = np.array([each**2 @ energies / each.sum() ** 2 for each in left])
    trusted = r.damps > 1e-5 * r.damps[-1]
    assert np.allclose(r.scores[trusted], scores[trusted], rtol=1e-5)
    noise = 0.5 * np.sqrt((abs(flat) ** 2).mean())
    damp = cm.choose_damp(op, b, "discrepancy", noise=noise).damp
    assert np.isclose(np.sqrt((damp**2 / (s**2 + damp**2)) ** 2 @ energies), noise * np.sqrt(b.size), rtol=1e-6)
    assert np.isclose(np.linalg.norm(b - op(cm.solve(op, b, damp=damp).x)), noise * np.sqrt(b.size), rtol=1e-4)
    curve = cm.choose_damp(op, b, "lcurve")
    sizes = [np.sqrt((s**2 / (s**2 + damp**2) ** 2) @ energies) for damp in curve.damps]
    assert np.allclose(curve.sizes, sizes, rtol=1e-5)


def test_scores_are_those_of_the_data_as_they_are():
    op, b = data("circle")
    dense, r = Dense(op, b), cm.choose_damp(op, b, "gcv")
    assert np.isclose(r.scores[150], dense.validation(r.damps[150]), rtol=1e-6)
    r = cm.choose_damp(op, b, "discrepancy", noise=SIGMA)
    assert np.allclose(r.scores, r.residuals - SIGMA * np.sqrt(b.size), rtol=1e-10, atol=1e-12)


def test_the_corner_of_the_curve():
    """Where it turns most, by finite differences on the dense curve."""
    op, b = data("symmetric")
    r, dense = cm.choose_damp(op, b, "lcurve"), Dense(op, b)
    t = np.log(r.damps)
    x = np.log([dense.residual(d) for d in r.damps])
    y = np.log([np.linalg.norm(dense.solution(d)) for d in r.damps])
    dx, dy = np.gradient(x, t), np.gradient(y, t)
    turn = (dx * np.gradient(dy, t) - dy * np.gradient(dx, t)) / (dx**2 + dy**2) ** 1.5
    assert abs(int(turn.argmax()) - int(r.scores.argmax())) <= 1
    assert r.damp == r.damps[r.scores.argmax()]
    assert 1e-3 < r.damp < 0.5


def test_an_end_of_the_curve_is_no_corner():
    """However sharp it turns: below the least singular value damping changes nothing, and the last bit is rounding."""
    rng = np.random.default_rng(1)
    op = cm.conv(np.array([0.1, 0.3, 0.35, 0.25]), 64, **WRAP)
    x = np.cumsum(rng.standard_normal(64)) / 3
    r, s = cm.choose_damp(op, op(x) + 1e-3, "lcurve"), np.linalg.svd(matrix_of(op), compute_uv=False)
    moved = abs(np.log(r.sizes / r.sizes[0])) + abs(np.log(r.residuals / r.residuals[0]))
    assert r.at_end == (r.damp <= r.damps[1] or moved[np.searchsorted(r.damps, r.damp)] < 0.01)
    assert r.at_end or r.damp > s[-1] / 100


@pytest.mark.parametrize("rule", ["gcv", "lcurve"])
def test_what_has_no_corner_and_no_least_says_so(rule):
    """White noise, of which cross-validation keeps nothing, and the L-curve all."""
    op = cm.conv(np.ones((3, 3)) / 9, (12, 12), padding="same", boundary="zero")
    noise = np.random.default_rng(0).standard_normal((12, 12))
    r = cm.choose_damp(op, noise, rule)
    assert r.at_end is True
    words, at = ("the largest that is tried, the norm of op", -1) if rule == "gcv" else ("the least that is tried", 0)
    assert words in r.reason
    assert words in repr(r)
    assert np.isclose(r.damp, r.damps[at], rtol=0.2)


@pytest.mark.parametrize("rule", ["gcv", "lcurve", "discrepancy"])
def test_choices_inside_their_curves(rule):
    op, b = data("symmetric")
    r = cm.choose_damp(op, b, rule, noise=SIGMA if rule == "discrepancy" else None)
    assert r.at_end is False
    assert "an end of the curve" not in r.reason


@pytest.mark.parametrize("seed", range(3))
def test_a_corner_that_leaves_the_undamped_solution_is_told(seed):
    """A picture blurred and rounded to 8 bits: its curve turns sharply where damping no longer changes the solution."""
    rng = np.random.default_rng(seed)
    x = np.kron(rng.random((7, 7)), np.ones((5, 5))) * 0.8 + 0.1
    K = np.array([[0, 0, 0.1, 0.2, 0.1], [0.05, 0.1, 0.2, 0.1, 0.05], [0.05, 0.05, 0, 0, 0]])
    op = cm.conv(K, x.shape, **WRAP)
    b = np.round(255 * op(x)) / 255
    r, undamped = cm.choose_damp(op, b, "lcurve"), np.linalg.solve(matrix_of(op), b.ravel())
    x = least(matrix_of(op), b.ravel(), r.damp)
    assert np.linalg.norm(x - undamped) < 1e-3 * np.linalg.norm(undamped)
    assert r.at_end


def test_data_that_the_map_does_not_make():
    op = cm.conv([1.0, -1], 8, **WRAP)
    for rule in ("gcv", "lcurve"):
        with pytest.raises(cm.ArgumentError, match="choose_damp: b has no part in the range of op"):
            cm.choose_damp(op, np.ones(8), rule)


@pytest.mark.parametrize(("op_scale", "b_scale"), [(1e-100, 1.0), (1e100, 1e-100), (1.0, 1e200), (1.0, 1e-200)])
@pytest.mark.parametrize("rule", ["gcv", "lcurve", "discrepancy"])
def test_choices_of_any_scale(op_scale, b_scale, rule):
    op, b = data("outer product")
    noise = SIGMA if rule == "discrepancy" else None
    plain = cm.choose_damp(op, b, rule, noise=noise)
    other = cm.choose_damp(
        op.with_kernel(op.kernel * op_scale), b * b_scale, rule, noise=None if noise is None else noise * b_scale
    )
    assert np.isclose(other.damp / op_scale, plain.damp, rtol=1e-6)
    assert np.allclose(other.residuals / b_scale, plain.residuals, rtol=1e-6)


def test_choices_that_cannot_be_made():
    op, b = data("circle")
    for call, error, text in (
        (lambda: cm.choose_damp(op, b, "discrepancy"), cm.ArgumentError, "rule='discrepancy' with noise=None"),
        (lambda: cm.choose_damp(op, b, "gcv", noise=1.0), cm.ArgumentError, "rule='gcv' with noise=1.0"),
        (lambda: cm.choose_damp(op, b, "discrepancy", noise=-1.0), cm.ArgumentError, r"noise=-1.0. Expected a finite"),
        (lambda: cm.choose_damp(op, b, "discrepancy", noise=1e3), cm.ArgumentError, "the noise makes a residual of"),
        (lambda: cm.choose_damp(op, 0 * b), cm.ArgumentError, "op or b is zero"),
        (lambda: cm.choose_damp(op, b, "best"), cm.ArgumentError, "rule='best'. Expected one of 'gcv'"),
    ):  # fmt: skip
        with pytest.raises(error, match=f"choose_damp: .*{text}"):
            call()
