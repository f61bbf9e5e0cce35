"""Choice of damping with regularizers and weights, exact and estimated, beside dense solutions."""

import numpy as np
import pytest
import scipy.ndimage
import scipy.optimize

import convmtx as cm
from convmtx.solves import damping as damping_module
from convmtx.solves.curves import estimated
from solves.dense import matrix_of, numbers

SIGMA = 0.05
MOTION = np.diag([1.0, 1, 1, 0.5, 0.25])
SLOPES = cm.vstack([cm.conv(np.array([[1.0, -1]]), (10, 8)), cm.conv(np.array([[1.0], [-1]]), (10, 8))])
SECTION = cm.conv(np.array([[2.0], [1], [-0.5]]), (10, 8), padding=[(2, 0), 0], flip=True)
ACROSS, ACROSS_FEWER = (cm.conv(np.array([[1.0, -1]]), shape) for shape in ((10, 8), (8, 7)))
LAPLACE = np.array([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])
CASES = {  # map, regularizer, whether some outputs have other weights
    "motion": (cm.conv(MOTION, (10, 8), padding="same", boundary="reflect"), None, False),
    "missing": (cm.conv(MOTION, (10, 8), padding="same", boundary="reflect"), None, True),
    "valid": (cm.conv(MOTION, (10, 8)), None, False),
    "tall": (cm.conv(MOTION * 1j**MOTION, (8, 7), padding="full"), None, False),
    "strided channels": (
        cm.conv(np.random.default_rng(2).standard_normal((3, 2, 2, 3)), (8, 7, 2), stride=2), None, False),
    "slopes": (cm.conv(MOTION, (10, 8), padding="same", boundary="edge"), SLOPES, False),
    "slopes, missing": (cm.conv(MOTION, (10, 8), padding="same", boundary="zero"), SLOPES, True),
    "curvature": (  # the regularizer leaves 32 of 80 directions free
        cm.conv(MOTION, (10, 8), padding="same", boundary="reflect"), cm.conv(LAPLACE, (10, 8)), False),
    "own matrix": (
        cm.conv(np.ones(4), 36, padding="full"),
        cm.aslinearmap(np.random.default_rng(3).standard_normal((40, 36))), False),
    "circle": (
        cm.conv(MOTION, (10, 8), padding="same", boundary="wrap"),
        cm.conv(LAPLACE, (10, 8), padding="same", boundary="wrap"), False),
    "section": (SECTION, cm.vstack([cm.identity((10, 8)), 3 * ACROSS]), False),
    "section, free": (cm.conv(np.array([[1j], [2], [0.5]]), (8, 7), padding=[2, 0]), 2 * ACROSS_FEWER, False),
    "line": (cm.conv([1.0, 2, 3, 2, 1], 36, padding="same"), cm.conv([1.0, -2, 1], 36, padding="same"), True),
}  # fmt: skip


def data(name, batch=()):
    op, R, is_weighted = CASES[name]
    rng = np.random.default_rng(1)
    b = op(np.cumsum(rng.standard_normal((*batch, *op.in_shape)), axis=len(batch)) / 3)
    weights = rng.random(op.out_shape) * (rng.random(op.out_shape) > 0.2) if is_weighted else None
    scale = 1 if weights is None else np.where(weights > 0, weights, 1) ** -0.5
    b = b + SIGMA * scale * numbers(rng, b.shape, b.dtype.kind) / (np.sqrt(2) if b.dtype.kind == "c" else 1)
    return op, b, R, weights


class Dense:
    """All that the rules look at, by NumPy's solutions of the stacked dense matrix."""

    def __init__(self, op, b, R, weights):
        w = np.ones(op.out_shape) if weights is None else weights
        kept, roots = w.ravel() > 0, np.sqrt(w.ravel())
        self.A = (roots[:, None] * matrix_of(op))[kept]
        self.R = np.eye(op.shape[1]) if R is None else matrix_of(R)
        self.b = (b.reshape(-1, op.shape[0]) * roots)[:, kept].T
        self.noise = SIGMA * self.b.size**0.5

    def inverse(self, damp):
        return np.linalg.pinv(np.concatenate([self.A, damp * self.R]))[:, : len(self.A)]

    def lengths(self, damp):
        x = self.inverse(damp) @ self.b
        return np.linalg.norm(self.b - self.A @ x), np.linalg.norm(self.R @ x)

    def validation(self, damp):
        trace = np.trace(self.A @ self.inverse(damp)).real
        return self.lengths(damp)[0] ** 2 / (len(self.A) - trace) ** 2

    def robust_validation(self, damp):
        F = self.A @ self.inverse(damp)
        return self.validation(damp) * (0.02 + 0.98 * np.trace(F @ F).real / len(F))


@pytest.fixture(params=["exact", "estimate"])
def kind(request, monkeypatch):
    """Small maps are estimated too, if nothing says that their spectrum is computed fast."""
    if request.param == "estimate":
        monkeypatch.setattr(damping_module, "exact_curve", lambda *_: None)
    return request.param


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule", ["gcv", "rgcv", "lcurve", "discrepancy"])
def test_curves_are_those_of_dense_solutions(name, rule, kind):
    op, b, R, weights = data(name, (2,) if name == "motion" else ())
    noise = SIGMA if rule == "discrepancy" else None
    r, dense = cm.choose_damp(op, b, rule, noise=noise, regularizer=R, weights=weights), Dense(op, b, R, weights)
    assert r.kind == kind
    assert ("estimated from" in r.reason) is (kind == "estimate")
    assert (r.steps > 0) is (kind == "estimate")
    assert (r.probes > 0) is (kind == "estimate" and rule in ("gcv", "rgcv"))
    assert (np.diff(r.damps) > 0).all()
    tolerance = 1e-6 if kind == "exact" else 1e-3
    for j in range(0, 200, 33):
        if r.damps[j] > 1e-5 * r.damps[-1]:
            residual, size = dense.lengths(r.damps[j])
            assert abs(r.residuals[j] - residual) <= tolerance * residual + 1e-12 * np.linalg.norm(b)
            assert abs(r.sizes[j] - size) <= tolerance * size + 1e-9 * r.sizes[0]
            if rule == "gcv" and kind == "exact" and r.damps[j] > 1e-3 * r.damps[-1]:
                assert np.isclose(r.scores[j], dense.validation(r.damps[j]), rtol=1e-6)
            if rule == "rgcv" and kind == "exact" and r.damps[j] > 1e-3 * r.damps[-1]:
                assert np.isclose(r.scores[j], dense.robust_validation(r.damps[j]), rtol=1e-6)
    if rule == "discrepancy":
        wanted = scipy.optimize.brentq(lambda damp: dense.lengths(damp)[0] - dense.noise, 1e-5, 1e5)
        assert np.isclose(r.damp, wanted, rtol=1e-6 if kind == "exact" else 2e-3)
    lowest = 1e-4 * np.linalg.norm(dense.A, 2) / np.linalg.norm(dense.R, 2)
    if rule == "gcv" and r.damp > lowest:  # below, the reference divides rounding by rounding
        inside = r.damps[r.damps > lowest][::10]
        least = min(dense.validation(damp) for damp in inside)
        assert dense.validation(r.damp) <= least * (1 + (1e-6 if kind == "exact" else 2e-2))


@pytest.mark.parametrize("name", ["motion", "slopes"])
def test_a_bar_counts_the_steps(name, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    counted = []
    monkeypatch.setattr(tqdm.tqdm, "update", lambda _, n=1: counted.append(n))
    monkeypatch.setattr(damping_module, "exact_curve", lambda *_: None)
    op, b, R, _ = data(name)
    assert cm.choose_damp(op, b, regularizer=R, progress=True).steps == sum(counted) > 0


def test_a_section_has_an_exact_curve():
    op = cm.conv(np.hanning(9)[1:-1, None], (64, 48), padding=[(6, 0), 0], flip=True)
    across = cm.vstack([cm.identity(op.in_shape), 3 * cm.conv(np.array([[1.0, -1]]), op.in_shape)])
    rng = np.random.default_rng(4)
    b = op(np.cumsum(rng.standard_normal(op.in_shape), axis=1)) + rng.standard_normal(op.out_shape)
    r = cm.choose_damp(op, b, "discrepancy", noise=1.0, regularizer=across)
    assert r.kind == "exact"
    assert np.isclose(cm.solve(op, b, damp=r, regularizer=across).residual, b.size**0.5, rtol=1e-9)


def test_degrees_of_freedom_from_probes(monkeypatch):
    """The score of cross-validation is off by no more than random signs explain."""
    monkeypatch.setattr(damping_module, "exact_curve", lambda *_: None)
    for name in ("motion", "slopes", "missing"):
        op, b, R, weights = data(name)
        r, dense = cm.choose_damp(op, b, regularizer=R, weights=weights), Dense(op, b, R, weights)
        for j in range(0, 200, 20):
            F = dense.A @ dense.inverse(r.damps[j])
            left = len(F) - np.trace(F)
            spread = np.sqrt(2 * (np.linalg.norm(F) ** 2 - (np.diag(F) ** 2).sum()) / r.probes)
            estimate = r.residuals[j] / np.sqrt(r.scores[j])
            assert abs(estimate - left) <= 4 * spread + 1e-3 * left + 1e-6


@pytest.mark.parametrize("name", ["slopes", "curvature", "line"])
def test_an_estimate_chooses_what_the_exact_curve_chooses(name, monkeypatch):
    op, b, R, weights = data(name)
    for rule, noise, ratio in (("gcv", None, 1.3), ("lcurve", None, 1.05), ("discrepancy", SIGMA, 1.005)):
        exact = cm.choose_damp(op, b, rule, noise=noise, regularizer=R, weights=weights)
        with monkeypatch.context() as patch:
            patch.setattr(damping_module, "exact_curve", lambda *_: None)
            r = cm.choose_damp(op, b, rule, noise=noise, regularizer=R, weights=weights)
        assert not r.at_end
        assert 1 / ratio < r.damp / exact.damp < ratio


def test_a_photograph_without_a_fast_spectrum():
    """Beside the best of many dampings, which only the scene knows."""
    rng = np.random.default_rng(0)
    scene = scipy.ndimage.gaussian_filter(rng.standard_normal((72, 72)), 1.5) * 4
    op = cm.conv(MOTION / MOTION.sum(), scene.shape, padding="same", boundary="reflect")
    b = op(scene) + 0.02 * rng.standard_normal(scene.shape)
    r = cm.choose_damp(op, b)
    assert r.kind == "estimate"
    assert not r.at_end

    def error(damp):
        return np.linalg.norm(cm.solve(op, b, damp=damp, method="lsmr").x - scene)

    best = min(map(error, np.geomspace(0.01, 0.3, 10)))
    assert error(r.damp) <= 1.1 * best
    assert error(cm.choose_damp(op, b, "rgcv").damp) <= 1.1 * best
    level = cm.choose_damp(op, b, "discrepancy", noise=0.02)
    residual = cm.solve(op, b, damp=level, method="lsmr").residual
    assert np.isclose(residual, 0.02 * b.size**0.5, rtol=1e-4)


def test_an_estimate_that_ends_before_its_curve_settles_is_told(monkeypatch):
    """Nearly no noise: the best damping is far below what few steps make known."""
    monkeypatch.setattr(damping_module, "exact_curve", lambda *_: None)
    monkeypatch.setattr(estimated, "FEWEST", 20)
    monkeypatch.setattr(estimated, "MOST", 20)
    op = cm.conv(np.ones((5, 5)) / 25, (24, 24), padding="same", boundary="reflect")
    b = op(np.random.default_rng(0).random((24, 24)))
    for rule, noise in (("gcv", None), ("discrepancy", 1e-9)):
        r = cm.choose_damp(op, b, rule, noise=noise)
        assert r.at_end
        assert "an end of the curve: the least that 20 steps make known" in r.reason
        assert np.isclose(r.damp, r.damps[0], rtol=0.2)


def test_scales_of_map_and_regularizer_do_not_matter(kind):
    op, b, R, _ = data("slopes")
    plain = cm.choose_damp(op, b, regularizer=R)
    for of_op, of_R in ((2.0**-330, 1.0), (1.0, 2.0**330), (2.0**330, 2.0**-330)):  # which round nothing
        other = cm.choose_damp(op.with_kernel(op.kernel * of_op), b, regularizer=R * of_R)
        assert np.isclose(other.damp / of_op * of_R, plain.damp, rtol=3e-3)
        assert np.allclose(other.sizes / of_R * of_op, plain.sizes, rtol=1e-2)


def test_data_that_were_not_measured_do_not_count():
    op, b, _, weights = data("missing")
    plain = cm.choose_damp(op, b, weights=(weights > 0).astype(float))
    for kwargs in ({"mask": weights > 0}, {}):
        hidden = np.where(weights > 0, b, np.nan)
        seen = hidden if kwargs else np.ma.masked_invalid(hidden)
        assert np.isclose(cm.choose_damp(op, seen, **kwargs).damp, plain.damp, rtol=1e-10)


def test_estimates_of_what_has_no_solution(monkeypatch):
    monkeypatch.setattr(damping_module, "exact_curve", lambda *_: None)
    difference = cm.conv([1.0, -1], 8, padding="same", boundary="wrap")
    for op, b, text in (
        (difference, np.ones(8), "b has no part in the range of op"),
        (difference, np.zeros(8), "op or b is zero"),
        (cm.conv([0.0, 0], 8), np.ones(7), "op or b is zero"),
    ):
        with pytest.raises(cm.ArgumentError, match=f"choose_damp: {text}"):
            cm.choose_damp(op, b)
    with pytest.raises(cm.ArgumentError, match="choose_damp: regularizer is zero"):
        cm.choose_damp(difference, np.arange(8.0), regularizer=0 * cm.identity(8))
    with pytest.raises(cm.ArgumentError, match="choose_damp: the noise makes a residual of"):
        cm.choose_damp(difference, np.arange(8.0), "discrepancy", noise=1e3)
    with pytest.raises(cm.ArgumentError, match="choose_damp: regularizer takes"):
        cm.choose_damp(difference, np.arange(8.0), regularizer=cm.identity(7))


@pytest.mark.parametrize("rule", ["gcv", "lcurve", "discrepancy"])
def test_dampings_without_an_effect_are_refused(rule):
    op, others = cm.select((6,), np.arange(3)), cm.select((6,), np.arange(3, 6))
    options = {"noise": 0.1} if rule == "discrepancy" else {}
    with pytest.raises(cm.ArgumentError, match="the regularizer is 0 for all that op sees, so that damping has no eff"):
        cm.choose_damp(op, np.arange(1.0, 4.0), rule, regularizer=others, **options)
    with pytest.raises(cm.ArgumentError, match="op or b is zero"):
        cm.choose_damp(cm.conv([0.0, 0.0], 6), np.ones(5), rule, **options)
