"""Ends of what is computed: the exact value, by fractions and long double, lies between them."""

from fractions import Fraction
from math import log

import numpy as np
import pytest

import convmtx as cm
import reference

LONG, TINY = np.longdouble, np.longdouble(2) ** -60  # what long double loses, relative to sums of magnitudes


def exactly(kernel, size, pads, boundary):
    """The matrix of a convolution along one axis in fractions, by the loops of the definition."""
    taps = np.array([Fraction(float(tap)) for tap in kernel], object).reshape(-1, 1, 1)
    return reference.tensor(taps, [size], [1], [1], [pads], [1], [boundary], 1, flip=False)[:, 0, :, 0]


def jacobi(A):
    """Singular values, descending, by rotations of columns in long double (one-sided Jacobi)."""
    A = np.array(A.T if A.shape[0] < A.shape[1] else A, LONG)
    for _ in range(40):
        rotated = False
        for p in range(A.shape[1] - 1):
            for q in range(p + 1, A.shape[1]):
                a, b, c = (A[:, p] ** 2).sum(), (A[:, q] ** 2).sum(), A[:, p] @ A[:, q]
                if abs(c) <= LONG(2) ** -63 * np.sqrt(a) * np.sqrt(b):
                    continue
                z = (b - a) / (2 * c)
                t = (1 if z >= 0 else -1) / (abs(z) + np.sqrt(1 + z * z))
                cosine = 1 / np.sqrt(1 + t * t)
                A[:, p], A[:, q] = cosine * (A[:, p] - t * A[:, q]), cosine * (t * A[:, p] + A[:, q])
                rotated = True
        if not rotated:
            break
    return np.sort(np.sqrt((A**2).sum(axis=0)))[::-1]


def log_of_determinant(rows):
    """Logarithm of its magnitude, by elimination in fractions."""
    rows, total = [list(row) for row in rows], 0.0
    for i in range(len(rows)):
        pivot = next((r for r in range(i, len(rows)) if rows[r][i]), None)
        if pivot is None:
            return -np.inf
        rows[i], rows[pivot] = rows[pivot], rows[i]
        total += log(abs(rows[i][i].numerator)) - log(rows[i][i].denominator)
        for r in range(i + 1, len(rows)):
            if rows[r][i]:
                factor = rows[r][i] / rows[i][i]
                rows[r] = [x - factor * y if y else x for x, y in zip(rows[r], rows[i], strict=True)]
    return total


def cases(count):
    """Small maps along one axis whose taps cancel, differ by orders of magnitude, or are anything."""
    rng = np.random.default_rng(5)
    for number in range(count):
        size, k = int(rng.integers(1, 8)), int(rng.integers(1, 6))
        kernel = [
            rng.standard_normal(k), rng.choice([0.1, 0.2, -0.3, 1e8, -1e8, 0.0], k),
            np.exp(rng.normal(0, 3, k)) * rng.choice([-1, 1], k), rng.standard_normal(k) * 2.0 ** rng.integers(-900, 9),
        ][number % 4]  # fmt: skip
        boundary = str(rng.choice(["zero", "wrap", "reflect", "symmetric", "edge"]))
        lo = int(rng.integers(0, k))
        yield (
            cm.conv(kernel, size, padding=[(lo, k - 1 - lo)], boundary=boundary),
            exactly(kernel, size, (lo, k - 1 - lo), boundary),
        )


@pytest.mark.skipif(np.finfo(LONG).eps > 2e-19, reason="long double is double here")
def test_ends_hold_the_exact_values():
    for op, F in cases(400):
        A = np.array([[LONG(x.numerator) / LONG(x.denominator) if x else LONG(0) for x in row] for row in F])
        near = TINY * np.abs(np.asarray(op.kernel, LONG)).sum() * len(A)
        s = jacobi(A)[: min(A.shape)]
        r = cm.svdvals(op)
        assert r.kind == "exact"
        for lower, true, upper in (
            (r.lower, s, r.upper), *((q.lower, true, q.upper) for q, true in (
                (cm.norm(op), s[0]), (cm.smallest_singular_value(op), s[-1]), (cm.svd(op, 1).s, s[:1]),
                (cm.norm(op, 1), np.abs(A).sum(axis=0).max()), (cm.norm(op, np.inf), np.abs(A).sum(axis=1).max()),
                (cm.trace(op), np.trace(A)), (cm.singular_value_bounds(op), s),
                *((cm.norm_bound(op, name), s[0]) for name in ("best", "theta", "gram", "fantastic4", "young")),
            )),
        ):  # fmt: skip
            assert (lower <= true + near).all()
            assert (true - near <= upper).all()
        c, ranks = cm.cond(op), cm.rank(op, float(s[-1]))
        assert not s[0] or np.isposinf(c.lower) or c.lower * max(s[-1] - near, LONG(0)) <= s[0] + near
        assert not s[0] or s[0] - near <= LONG(c.upper) * (s[-1] + near)
        assert ranks.lower <= (s > LONG(float(s[-1]))).sum() + (s < LONG(float(s[-1])) + near).sum()
        assert (s > LONG(float(s[-1])) + near).sum() <= ranks.upper


@pytest.mark.parametrize("kernel", [[0.1, 0.2, -0.30000000000000004], [0.1, 0.2, -0.3], [1e16, 1.0, -1e16]])
def test_taps_that_cancel_on_one_pixel(kernel):
    """The matrix is one number, the sum of the taps, of which double precision keeps nothing."""
    op = cm.conv(kernel, 1, padding=1, boundary="wrap")
    true = abs(sum(map(Fraction, kernel)))
    for r in (
        cm.norm(op),
        cm.norm(op, 1),
        cm.norm(op, "fro"),
        *map(cm.norm_bound, [op] * 4, ["best", "theta", "gram", "young"]),
    ):
        assert Fraction(float(r.lower)) <= true <= Fraction(float(r.upper))


def test_the_smallest_of_an_ill_conditioned_map():
    op = cm.conv([1.0, -2.0, 1.0], 60, padding="full") @ cm.conv([1.0, -2.0, 1.0], 58, padding="full")
    r = cm.svdvals(op)
    assert (r.upper - r.lower <= 1e-12 * r.value[0]).all()
    assert (r.lower < r.upper).all()
    assert r.lower[-1] <= r.value[-1] <= r.upper[-1]


@pytest.mark.parametrize(("kernel", "n"), [
    ([3.0, 1.0, 0.2], 60), ([1.0, 3.0, 0.2, 0.1, 0.0], 60), ([0.2, 1.0, 3.0], 25), ([1.0, 0.0, -1.0], 24),
    ([5.0, 1.0, 1.0], 40), ([1.0, 1e-3, 1e-6], 30), ([1e-3, 1.0, 1e3], 30), ([1.0, 2.0, 0.0], 9), ([0.0, 0.0, 1.0], 6),
])  # fmt: skip
def test_determinants_far_from_normal(kernel, n):
    true = log_of_determinant(exactly(kernel, n, (len(kernel) // 2,) * 2, "zero"))
    r = cm.logdet(cm.conv(kernel, n, padding="same"))
    assert r.lower <= true <= r.upper
    assert r.kind == "exact"
    assert np.isclose(float(r), true, rtol=1e-9, atol=1e-8)


def test_determinants_of_anything():
    for op, F in cases(200):
        if F.shape[0] == F.shape[1]:
            r, true = cm.logdet(op), log_of_determinant(F)
            slack = 1e-12 * (1 + abs(true)) if np.isfinite(true) else 0
            assert r.lower - slack <= true <= r.upper + slack
            assert r.kind != "exact" or np.isclose(float(r), true, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("kernel", "n"), [([3.0, 1.0, 0.2], 80), ([1e-4, 2.0, 1e4], 30), ([1.0, 0.5, -4.0], 40)])
def test_eigenvalues_of_tridiagonal_maps(kernel, n):
    """``b + 2 sqrt(a c) cos(pi k / (n + 1))``; a dense solver is off by the norm."""
    a, b, c = map(LONG, kernel)
    root = np.sqrt(np.clongdouble(a * c))
    true = b + 2 * root * np.cos(LONG(np.pi) * np.arange(1, n + 1) / (n + 1))
    r = cm.eigvals(cm.conv(kernel, n, padding="same"))
    order = np.argsort(true.real + true.imag)
    found = np.argsort(np.real(r.value) + np.imag(r.value))
    assert r.kind == "exact"
    assert np.abs(np.asarray(r)[found] - true[order]).max() <= 1e-13 * max(map(abs, true))
    assert (r.lower[found].real <= true[order].real + 1e-15).all()
    assert (true[order].real <= r.upper[found].real + 1e-15).all()


def test_eigenvalues_that_nobody_knows_are_estimates():
    """Five taps out of balance: the eigenvalues that a dense solver finds are those of another matrix."""
    r = cm.eigvals(cm.conv([9.0, 3.0, 0.2, 0.0, 1e-3], 60, padding="same"))
    assert r.kind in ("interval", "estimate")
    assert (r.lower.real <= r.value.real).all()
    assert (r.upper.imag >= r.value.imag).all()


def test_causal_maps_have_their_diagonal_for_eigenvalues():
    for op in (
        cm.conv([3.0, 1.0, 2.0], 50, padding=[(2, 0)]),
        cm.conv([[1.0, 2], [7, 2]], (6, 5), padding=[(1, 0), (1, 0)]),
    ):
        r, d = cm.eigvals(op), cm.logdet(op)
        assert (r.lower == 2).all()
        assert (r.upper == 2).all()
        assert np.isclose(float(d), op.shape[0] * np.log(2), rtol=1e-14)


def test_a_rank_that_rounding_hides_is_an_interval():
    r = cm.rank(cm.conv([0.1, 0.2, -0.3], 4, padding="same", boundary="wrap"), tol=1e-18)
    assert (int(r.lower), int(r.upper), r.kind) == (3, 4, "interval")
    assert cm.rank(cm.conv([1.0, -1.0], 64, padding="same", boundary="wrap")).kind == "exact"


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect"])
def test_norms_in_single_precision_lie_between_their_ends(library, boundary):
    asarray = pytest.importorskip("torch").tensor if library == "torch" else pytest.importorskip("jax.numpy").asarray
    rng = np.random.default_rng(0)
    for _ in range(8):
        K = rng.standard_normal((3, 3, 2, 2)).astype(np.float32)
        r = cm.norm(cm.conv(asarray(K), (6, 6, 2), padding="same", boundary=boundary))
        true = np.linalg.norm(cm.conv(K.astype(float), (6, 6, 2), padding="same", boundary=boundary).to_dense(), 2)
        assert r.lower <= float(r) <= r.upper
        assert r.lower <= true <= r.upper
        assert r.upper - r.lower <= 1e-6 * true


@pytest.mark.parametrize("n", [3, 10, 20, 40])
def test_ends_hold_what_a_decomposition_takes_for_zero(n):
    """Rayleigh quotients in fractions are below the largest value, and above the smallest."""
    tap = 1e-14
    op = cm.conv([1.0, tap], n, padding="same")
    s = cm.svdvals(op)
    wave = [Fraction(float(w)) for w in np.sin(np.pi * np.arange(1, n + 1) / (n + 1))]
    for sign, inside in (
        (1, lambda q: q <= Fraction(float(s.upper[0])) ** 2),
        (-1, lambda q: q >= Fraction(float(s.lower[-1])) ** 2),
    ):
        v = [w * sign**i for i, w in enumerate(wave)]
        image = [v[i] + (Fraction(tap) * v[i + 1] if i + 1 < n else 0) for i in range(n)]
        assert inside(sum(y * y for y in image) / sum(w * w for w in v))
    least = cm.smallest_singular_value(op)
    assert (least.lower, least.upper) == (s.lower[-1], s.upper[-1])


def test_the_supremum_of_long_kernels():
    """The mean of 30000 taps has its supremum at frequency 0; a difference of two far apart at half a turn."""
    mean = cm.sup_norm(np.ones(30_000))
    assert mean.lower <= 30_000 <= mean.upper < 30_000.1
    apart = np.zeros(2_001)
    apart[0], apart[-1] = 1, -3
    r = cm.sup_norm(apart)
    assert r.lower <= 4 <= r.upper < 4.1  # as large at 2000 frequencies, so work runs out
    strided = cm.sup_norm(np.ones((9_000, 1, 1)), stride=3)
    assert strided.lower <= 9_000 / 3**0.5 <= strided.upper * (1 + 1e-12)


def test_axes_that_cannot_be_listed_are_refused_before(monkeypatch):
    monkeypatch.setattr("convmtx.memory.available", lambda: 6 * 10**9)
    op = cm.conv([[1.0]], (10**8, 10**8))
    for question in (lambda: cm.svdvals(op, 3), lambda: cm.cond(op), lambda: cm.null_space(op)):
        with pytest.raises(cm.FormTooLargeError, match=r"along an axis takes 25\.6 GB"):
            question()
    with pytest.raises(cm.FormTooLargeError, match="sup_norm: the symbol of 100000000 taps"):
        cm.sup_norm(np.broadcast_to(1.0, (10**4, 10**4)))


@pytest.mark.parametrize("call", [cm.project, cm.clip, cm.spectral_normalize, cm.rank, cm.null_space])
@pytest.mark.parametrize("value", [10**400, -(10**5000), float("nan"), "2", True, 1j], ids=list("abcdef"))
def test_limits_that_are_not_numbers(call, value):
    with pytest.raises(cm.ArgumentError, match=r"(max|tol)=.*Expected a (positive )?number") as caught:
        call(cm.conv([1.0, 2.0], 5), value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("stride", [3, 7, 2**39])
def test_the_supremum_where_no_two_outputs_read_one_input(stride):
    """The matrix has a row of blocks for each output, so its norm is that of the taps as one matrix."""
    kernel = np.random.default_rng(0).standard_normal((4, 2, 3, 2))  # filters, channels, taps
    r = cm.sup_norm(kernel, stride=stride, channels="first", rtol=1e-6)
    assert r.lower <= np.linalg.norm(kernel.reshape(4, -1), 2) <= r.upper


def test_a_supremum_of_endless_symbols_is_refused_before_it_is_computed():
    with pytest.raises(cm.FormTooLargeError, match="sup_norm: the symbol of 4 taps at one frequency takes"):
        cm.sup_norm(np.ones((2, 2)), input_dilation=2**40)
