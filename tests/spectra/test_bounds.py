"""Norms and bounds, beside dense norms; and the traps that published codes fall into."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

import convmtx as cm
from convmtx.spectra import bounds, condition, norms, packets, values
from spectra.dense import doubles, rounding, singular_values

METHODS = ["theta", "gram", "sup", "fantastic4", "young", "best"]
LAPLACIAN = np.array([[0.0, -1, 0], [-1, 4, -1], [0, -1, 0]])


def random_map(rng):
    """A small convolution of one or two axes with anything in it."""
    d = rng.integers(1, 3)
    size, k = rng.integers(2, 10, d), rng.integers(1, 5, d)
    stride, dilation, stretch = (rng.integers(1, most, d) for most in (4, 3, 3))
    groups, per_c, per_f = rng.integers(1, 3, 3)
    rule = [str(each) for each in rng.choice(["zero", "zero", "wrap", "reflect", "symmetric", "edge"], d)]
    short = dilation * (k - 1) + 1 - ((size - 1) * stretch + 1)
    lo, hi = rng.integers(0, 3, d), rng.integers(0, 3, d) + np.maximum(short, 0)
    kernel = [rng.standard_normal, lambda shape: rng.uniform(0, 1, shape)][rng.integers(2)]
    K = kernel((*k, per_c, per_f * groups))
    return cm.conv(
        K, (*map(int, size), int(per_c * groups)), stride=stride.tolist(), dilation=dilation.tolist(),
        input_dilation=stretch.tolist(), padding=[(int(a), int(b)) for a, b in zip(lo, hi, strict=True)],
        boundary=rule, groups=int(groups),
    )  # fmt: skip


def test_no_bound_is_violated(capsys):
    """Over hundreds of random kernels; the counts are printed."""
    rng = np.random.default_rng(0)
    violations, looseness = dict.fromkeys(METHODS, 0), {name: [] for name in METHODS}
    count = 400
    for number in range(count):
        op = random_map(rng)
        top = float(singular_values(op.to_dense())[0])
        for name in METHODS:
            if name == "sup" and number % 10:
                continue
            r = cm.norm_bound(op, name)
            assert r.kind == "upper"
            violations[name] += r.upper < top * (1 - 1e-14)
            if top:
                looseness[name].append(float(r) / top)
    with capsys.disabled():
        print(f"\nbounds violated, of {count} (sup {count // 10}): {violations}")
        print({name: f"{np.mean(each):.3f} mean, {np.max(each):.3f} worst" for name, each in looseness.items()})
    assert not any(violations.values())


@given(doubles())
@settings(max_examples=80)
def test_intervals_of_all_singular_values_hold_them(case):
    expected, near = singular_values(case.matrix), rounding(case.matrix)
    r = cm.singular_value_bounds(case.op)
    lower, upper = bounds.interlaced(case.op)
    for low, high in ((r.lower, r.upper), (lower, upper)):
        assert (low <= expected + near).all()
        assert (expected <= high + near).all()


def test_lower_ends_of_intervals_are_of_use():
    r = cm.singular_value_bounds(cm.conv([1.0, 3.0, 1.0], 60, padding="full"))
    expected = singular_values(cm.conv([1.0, 3.0, 1.0], 60, padding="full").to_dense())
    assert r.lower[-1] > 0.99 * expected[-1]


@given(doubles())
@settings(max_examples=80)
def test_norms_of_entries(case):
    D = np.abs(case.matrix)
    for kind, expected in ((1, D.sum(0).max()), (np.inf, D.sum(1).max()), ("fro", np.linalg.norm(D))):
        r = cm.norm(case.op, kind)
        assert r.kind == "exact"
        assert np.isclose(float(r), expected, rtol=1e-13)


@pytest.mark.parametrize("options", [
    {"padding": "same"}, {"padding": "valid", "stride": 2}, {"padding": "full", "dilation": 2},
    {"padding": "same", "boundary": "reflect"}, {"padding": "same", "boundary": ("wrap", "edge"), "groups": 2},
])  # fmt: skip
@pytest.mark.parametrize("kind", [float, complex])
def test_interval_of_the_norm(options, kind, monkeypatch):
    monkeypatch.setattr(norms, "SMALL_SPECTRUM_WORK", 0)
    monkeypatch.setattr(norms, "BESIDE_LANCZOS_WORK", 0)
    monkeypatch.setattr(packets, "nearness", lambda _: 1)
    rng = np.random.default_rng(0)
    K = rng.standard_normal((3, 4, 4 // options.get("groups", 1), 6))
    K = K + 1j * rng.standard_normal(K.shape) if kind is complex else K
    op = cm.conv(K, (9, 8, 4), **options)
    r, top = cm.norm(op), float(singular_values(op.to_dense())[0])

    assert r.kind == "interval"
    assert r.lower * (1 - 1e-13) <= top <= r.upper
    assert r.upper - r.lower <= 1e-6 * r.upper
    assert r.iterations > 0


def test_the_interval_is_no_luck():
    """From a hundred starts the upper end holds, also when the process is stopped long before it has converged."""
    from convmtx.spectra.lanczos import Lanczos

    op = cm.conv(np.random.default_rng(0).standard_normal((3, 3)), (12, 12), padding="same")
    G = op.to_dense().T @ op.to_dense()
    top, bottom = np.linalg.eigvalsh(G)[[-1, 0]]
    for seed in range(100):
        process = Lanczos(lambda v: G @ v, len(G), np.dtype(float), seed)
        for _ in range(6):
            process.advance(5)
            upper, lower = process.bounds()
            assert process.ritz(process.order - 1, process.order - 1)[0] <= top * (1 + 1e-13) <= upper * (1 + 2e-13)
            assert lower <= bottom * (1 + 1e-9)


def test_the_interval_holds_where_few_values_differ(monkeypatch):
    """There the process ends early, and what rounding leaves of a step is orthogonal to nothing."""
    monkeypatch.setattr(norms, "SMALL_SPECTRUM_WORK", 0)
    rng = np.random.default_rng(1)
    for _ in range(300):
        op = random_map(rng)
        op = op.with_kernel(np.round(2 * op.kernel))
        r, top = cm.norm(op), float(singular_values(op.to_dense())[0])
        assert r.lower * (1 - 1e-13) <= top <= r.upper * (1 + 1e-13)


@pytest.mark.parametrize("seed", [21, 81, 112])
def test_the_lower_end_is_true_of_the_map_whatever_rounding_did(seed, monkeypatch):
    """Copies of values converge within few steps here, and the process loses its way before anyone looks."""
    monkeypatch.setattr(norms, "SMALL_SPECTRUM_WORK", 0)
    monkeypatch.setattr(norms, "BESIDE_LANCZOS_WORK", 0)
    rng = np.random.default_rng(seed)
    K = rng.standard_normal((2, 1, 2, 1)) + 1j * rng.standard_normal((2, 1, 2, 1))
    op = cm.conv(K, (2, 4, 5), groups=2, channels="first", padding=[(2, 0), (-1, 3)], boundary="symmetric")
    r, top = cm.norm(op), float(singular_values(op.to_dense())[0])
    assert r.lower * (1 - 1e-13) <= top <= r.upper * (1 + 1e-13)


def test_the_interval_is_wider_when_steps_run_out():
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 3, 8, 8)), (40, 40, 8), padding="same")
    r = cm.norm(op, rtol=1e-12, maxiter=20)
    assert r.iterations == 20
    assert r.lower < r.upper < 1.1 * r.lower
    assert not r.converged
    assert r.method.endswith("; stopped by maxiter before rtol=1e-12 was met")


@pytest.mark.parametrize(("kernel", "options", "size"), [
    (np.array([1.0, -2, 1]), {}, 500),
    (np.random.default_rng(0).standard_normal((3, 4)), {}, 40),
    (np.random.default_rng(1).standard_normal((4, 3, 2, 3)), {"stride": 2}, 24),
    (np.random.default_rng(2).standard_normal((3, 3, 2, 2)), {"stride": 2, "dilation": 4}, 60),
    (np.random.default_rng(3).standard_normal((5, 2, 3)), {"stride": 2, "dilation": 3, "groups": 3}, 300),
    (np.random.default_rng(4).standard_normal((3, 2, 3)), {"input_dilation": 3}, 100),
])  # fmt: skip
def test_supremum_is_a_bound_for_every_size_and_its_limit(kernel, options, size):
    d = kernel.ndim - (2 if kernel.ndim > 2 else 0)
    r = cm.sup_norm(kernel, **options)
    inputs = () if kernel.ndim < 3 else (kernel.shape[-2] * options.get("groups", 1),)
    for n in (1, 2, 3, 5, 8, size):
        op = cm.conv(kernel, (n,) * d + inputs, padding="full", **options)
        top = float(cm.norm(op, rtol=1e-4).lower)
        assert top <= r.upper
    assert r.lower <= r.upper <= (1 + 1e-6) * r.lower
    assert top > 0.98 * r.upper


def test_supremum_of_a_flat_symbol_is_bracketed():
    """Orthogonal kernels: every frequency is as good as any, so the bracket stays, and the work is bounded."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((16, 16)))[0]
    r = cm.sup_norm(np.einsum("ij,cf->ijcf", [[0, 1.0], [0, 0]], Q))
    assert r.lower <= 1 + 1e-14 <= r.upper + 1e-13
    assert r.upper < 1.01


@pytest.mark.parametrize("iterated", [False, True])
@pytest.mark.parametrize("scale", [1e-200, 1e-160, 1.0, 1e150, 1e300])
def test_scales_whose_squares_are_out_of_range(scale, iterated, monkeypatch):
    if iterated:
        for module in (norms, values, condition):
            monkeypatch.setattr(module, "SMALL_SPECTRUM_WORK", 0)
    op = cm.conv(scale * np.array([1.0, 3.0, 0.5]), 40)
    expected = scale * singular_values(op.to_dense() / scale)
    assert np.isclose(float(cm.norm(op)) / expected[0], 1)
    assert np.isclose(float(cm.smallest_singular_value(op)) / expected[-1], 1)
    assert np.allclose(np.asarray(cm.svdvals(op, 3)) / expected[:3], 1)
    assert np.isclose(float(cm.norm(op, "fro")) / scale, np.linalg.norm(op.to_dense() / scale))
    for name in METHODS:
        assert 1 <= cm.norm_bound(op, name).upper / expected[0] < 1.3


SHAPES = {
    "zero": ((3, 4, 2, 2), (5, 6, 2), {"padding": "same"}),
    "wrap": ((3, 4, 2, 2), (5, 6, 2), {"padding": "same", "boundary": "wrap"}),
    "reflect": ((3, 4, 2, 2), (5, 6, 2), {"padding": "same", "boundary": ("reflect", "edge")}),
    "other shape": ((2, 2, 4), (6, 2), {"stride": 2}),
}


@pytest.mark.parametrize("power", [-1074, -1040, -540, 540, 1015])
@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("name", list(SHAPES))
def test_a_power_of_two_multiplies_everything(name, kind, power):
    """From the smallest number there is to nearly the largest; kernels of whole numbers are exact there too."""
    rng = np.random.default_rng(3)
    shape, sizes, options = SHAPES[name]
    K = rng.integers(-3, 4, shape) * (1 + 1j if kind is complex else 1.0)
    halves = 2.0 ** (power // 2), 2.0 ** (power - power // 2)  # one alone cannot be divided by
    plain, op = (cm.conv(kernel, sizes, **options) for kernel in (K, K * halves[0] * halves[1]))
    D = plain.to_dense()
    s, near = singular_values(D), rounding(D) + 2.0 ** max(-1073 - power, -60)

    def of_plain(found):
        return np.asarray(found) / halves[0] / halves[1]

    for found, expected in (
        (cm.svdvals(op), s), (cm.svd(op, 3).s, s[:3]), (cm.norm(op), s[0]), (cm.smallest_singular_value(op), s[-1]),
        (cm.norm(op, 1), np.linalg.norm(D, 1)), (cm.norm(op, np.inf), np.linalg.norm(D, np.inf)),
        (cm.norm(op, "fro"), np.linalg.norm(D)), (cm.norm(op.T, "fro"), np.linalg.norm(D)),
        (cm.symbol(op, 8), cm.symbol(plain, 8)), (cm.trace(op), np.trace(D)),
    ):  # fmt: skip
        assert np.abs(of_plain(found) - expected).max() <= near
    if name != "other shape":
        assert np.abs(of_plain(cm.eigvals(op)).sum() - np.trace(D)) <= len(D) * near
    assert np.isclose(float(cm.cond(op)), float(cm.cond(plain)))
    assert int(cm.rank(op)) == int(cm.rank(plain))
    assert int(cm.rank(op, tol=float(cm.norm(op, "fro")))) == 0
    assert len(cm.null_space(op)) == len(cm.null_space(plain))
    assert np.isclose(float(cm.logdet(op)), float(cm.logdet(plain)) + power * len(D) * np.log(2))
    assert np.isclose(float(cm.norm(cm.spectral_normalize(op))), 1)
    r = cm.singular_value_bounds(op)
    assert (of_plain(r.lower) - near <= s).all()
    assert (s <= of_plain(r.upper) + near).all()
    uppers = [cm.norm_bound(op, method).upper for method in METHODS]
    if name != "reflect":
        uppers.append(cm.sup_norm(op.kernel, stride=options.get("stride", 1)).upper)
    for upper in uppers:
        ratio = Fraction(float(upper)) / Fraction(2) ** power / Fraction(float(s[0]))
        assert 1 - 1e-14 <= ratio < 4


def test_ends_beyond_the_numbers_are_rounded_outward():
    largest = np.finfo(float).max
    op = cm.conv([largest, largest, largest / 2], 40)
    r = cm.singular_value_bounds(op)

    assert (r.upper[0], r.lower[0]) == (np.inf, largest)
    assert all(cm.norm_bound(op, name).upper == np.inf for name in METHODS)
    assert all(cm.norm_bound(cm.conv([0.0, 5e-324], 40), name).upper == 1e-323 for name in METHODS if name != "sup")
    assert np.isclose(float(cm.norm(cm.conv([0.6 * largest * (1 + 1j)], 3))), 2**0.5 * 0.6 * largest, rtol=1e-15)


@pytest.mark.parametrize("iterated", [False, True])
def test_zeros_and_identities(iterated, monkeypatch):
    """Where a process ends at once: one step spans all that there is."""
    if iterated:
        for module in (norms, values, condition):
            monkeypatch.setattr(module, "SMALL_SPECTRUM_WORK", 0)
    for op, expected in ((cm.conv(np.zeros(3), 9), 0), (cm.conv([2.0], 7), 2), (cm.conv(np.eye(3)[None], (4, 3)), 1)):
        assert np.isclose(float(cm.norm(op)), expected)
        assert cm.norm(op).upper <= expected * (1 + 1e-12)
        assert np.isclose(float(cm.smallest_singular_value(op)), expected)
        assert np.allclose(np.asarray(cm.svdvals(op, 3)), expected)
        assert np.allclose(np.asarray(cm.svdvals(op, 3, "smallest")), expected)


# Traps


def test_trap_the_circle_of_the_inputs_own_size_is_no_bound():
    """Laplacian on 15 x 15: 7.91 on the circle, 7.92 with zeros; codes for zero padding return the former."""
    op = cm.conv(LAPLACIAN, (15, 15), padding="same")
    circle = float(cm.norm(cm.conv(LAPLACIAN, (15, 15), padding="same", boundary="wrap")))
    exact = 4 + 4 * np.cos(np.pi / 16)

    assert circle < exact
    assert np.isclose(float(cm.norm(op)), exact, rtol=1e-14)
    assert exact <= cm.norm_bound(op, "theta").upper <= exact * (1 + 1e-12)


def test_trap_whole_samples_have_eigenvalues_by_cosines_and_other_singular_values():
    K = np.array([1.0, 3.0, 7.0, 3.0, 1.0])
    op = cm.conv(K, 9, padding="same", boundary="reflect")
    D = op.to_dense()
    eigenvalues = cm.eigvals(op)

    assert "whole sample" in eigenvalues.method
    assert np.allclose(np.sort(np.asarray(eigenvalues)), np.sort(np.linalg.eigvals(D).real))
    assert np.abs(np.asarray(cm.svdvals(op)) - singular_values(D)).max() <= rounding(D)
    assert np.abs(np.abs(np.asarray(eigenvalues)) - singular_values(D)).max() > 0.1


def test_trap_kernels_larger_than_the_circle_are_folded():
    K = np.random.default_rng(0).standard_normal((7, 5, 2, 2))
    op = cm.conv(K, (3, 4, 2), padding="same", boundary="wrap")
    expected = singular_values(op.to_dense())
    cropped = np.linalg.svd(np.fft.fft2(K, (3, 4), (0, 1)), compute_uv=False).max()

    assert np.abs(np.asarray(cm.svdvals(op)) - expected).max() <= rounding(op.to_dense())
    assert abs(cropped - expected[0]) > 0.1


def test_trap_strides_that_do_not_divide_the_circle():
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 2, 3)), (7, 2), stride=2, padding=1, boundary="wrap")
    expected = singular_values(op.to_dense())
    assert np.abs(np.asarray(cm.svdvals(op)) - expected).max() <= rounding(op.to_dense())
    for name in METHODS:
        assert cm.norm_bound(op, name).upper >= expected[0]


def test_trap_a_reshaped_kernel_is_no_bound():
    K = np.ones((3, 3, 1, 1))
    op = cm.conv(K, (32, 32, 1), padding="same")
    assert np.linalg.norm(K.reshape(-1, 1)) < 0.4 * float(cm.norm(op))
    assert float(cm.norm(cm.spectral_normalize(op))) == pytest.approx(1, rel=1e-6)


def test_trap_groups_have_the_largest_norm_and_not_the_product():
    K = np.random.default_rng(0).standard_normal((3, 3, 2, 4))
    op = cm.conv(K, (6, 6, 4), groups=2, padding="same")
    parts = [float(cm.norm(cm.conv(K[..., 2 * g : 2 * g + 2], (6, 6, 2), padding="same"))) for g in range(2)]
    assert np.isclose(float(cm.norm(op)), max(parts))
    assert cm.norm_bound(op).upper < 1.1 * max(parts)


def test_zero_boundary_is_never_given_a_circles_values():
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 3, 2, 2)), (12, 12, 2), padding="same")
    for r in (cm.svdvals(op), cm.norm(op)):
        assert "fourier" not in r.method


def test_the_slow_bound_waits_until_the_process_took_as_long(monkeypatch):
    monkeypatch.setattr(norms, "SMALL_SPECTRUM_WORK", 0)
    op = cm.conv(np.random.default_rng(0).standard_normal((3, 3, 2, 2)), (12, 12, 2), padding="same")
    top, ceiling = float(singular_values(op.to_dense())[0]), cm.norm_bound(op, "theta").upper
    short = cm.norm(op, rtol=1e-9, maxiter=10)
    assert not short.converged
    assert top <= short.upper <= ceiling * (1 + 1e-12)
    assert "a bound by structure" in short.method

    def refuse(_op):
        pytest.fail("It was not needed")

    monkeypatch.setattr(bounds, "theta", refuse)
    monkeypatch.setattr(norms, "THETA_PATIENCE", np.inf)
    r = cm.norm(op)
    assert r.lower * (1 - 1e-13) <= top <= r.upper <= r.lower * (1 + 2e-6)


def test_the_slow_bound_ends_the_process_where_it_is_close(monkeypatch):
    """1 plus a skew map of norm 2 cos(t): a bound 3e-7 above the norm. The process alone would need more steps."""
    monkeypatch.setattr(norms, "SMALL_SPECTRUM_WORK", 0)
    monkeypatch.setattr(packets, "nearness", lambda _: 1)
    op = cm.conv([1.0, 1.0, -1.0], 4000, padding="same")
    r, expected = cm.norm(op), np.hypot(1, 2 * np.cos(np.pi / 4001))
    assert "a bound by structure" in r.method
    assert r.lower * (1 - 1e-13) <= expected <= r.upper
    assert r.upper - r.lower <= 1e-6 * r.upper
