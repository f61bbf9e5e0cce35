"""Each kind of preconditioner is the inverse of its definition, built here from scratch, and helps SciPy's solvers."""

import tracemalloc

import numpy as np
import pytest
import scipy.fft
from scipy.sparse.linalg import LinearOperator, cg

import convmtx as cm
from solves.dense import numbers

DAMP = 0.3
RNG = np.random.default_rng(0)
K1 = np.array([0.5, 1, 4, -2, 0.25])
K2 = RNG.standard_normal((3, 5)) + 4 * np.multiply.outer([0, 1, 0], [0, 0, 1, 0, 0])
KINDS = ["embedded", "strang", "tchan", "dct", "kron"]


def toeplitz(k, n, pad=None):
    """The correlation with k of n inputs, as many zeros before them as half of k, with as many outputs."""
    pad = len(k) // 2 if pad is None else pad
    return sum(w * np.eye(n, k=p - pad) for p, w in enumerate(k))


def circulant(k, n, pad=None):
    pad = len(k) // 2 if pad is None else pad
    return sum(w * np.roll(np.eye(n), p - pad, axis=1) for p, w in enumerate(k))


def plane(K, sizes, one):
    """The matrix of a kernel of two axes, of unit kernels along each: a sum of Kronecker products."""
    rows, columns = K.shape
    return sum(
        K[p, q] * np.kron(one(np.eye(rows)[p], sizes[0]), one(np.eye(columns)[q], sizes[1]))
        for p in range(rows)
        for q in range(columns)
    )


def nearest_circulant(T):
    """Its diagonals are the means of those of T that wrap around to each (T. Chan 1988)."""
    n = len(T)
    means = [np.mean([T[i, (i + j) % n] for i in range(n)]) for j in range(n)]
    return sum(w * np.roll(np.eye(n), j, axis=1) for j, w in enumerate(means))


def cosine_of_even(k, n):
    """``C^T diag C`` with the DCT-II of the even part of the kernel."""
    even = (k + k[::-1]) / 2
    half = len(k) // 2
    symbol = sum(w * np.cos(np.pi * np.arange(n) * (p - half) / n) for p, w in enumerate(even))
    C = scipy.fft.dct(np.eye(n), 2, axis=0, norm="ortho")
    return C.T @ (symbol[:, None] * C)


def normal_inverse(C):
    return np.linalg.inv(C.conj().T @ C + DAMP**2 * np.eye(C.shape[1]))


def assert_is(P, expected):
    assert np.abs(P.to_dense() - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize("complex_", [False, True])
def test_strang(complex_):
    k = K1 + 1j * K1[::-1] if complex_ else K1
    op = cm.conv(k, 11, padding="same")
    assert_is(cm.preconditioner(op, "strang", damp=DAMP), normal_inverse(circulant(k, 11)))
    op = cm.conv(K2, (5, 7), padding="same")
    assert_is(cm.preconditioner(op, "strang", damp=DAMP), normal_inverse(plane(K2, (5, 7), circulant)))


@pytest.mark.parametrize("complex_", [False, True])
def test_tchan(complex_):
    k = K1 + 1j * K1[::-1] if complex_ else K1
    op = cm.conv(k, 11, padding="same")
    assert_is(cm.preconditioner(op, "tchan", damp=DAMP), normal_inverse(nearest_circulant(toeplitz(k, 11))))
    op = cm.conv(K2, (5, 7), padding="same")
    near = plane(K2, (5, 7), lambda k, n: nearest_circulant(toeplitz(k, n)))
    assert_is(cm.preconditioner(op, "tchan", damp=DAMP), normal_inverse(near))


def test_tchan_is_the_nearest():
    """No circulant is nearer: the difference is orthogonal to all."""
    T = toeplitz(K1, 11)
    D = T - nearest_circulant(T)
    assert max(abs(np.vdot(np.roll(np.eye(11), j, axis=1), D)) for j in range(11)) < 1e-12


@pytest.mark.parametrize("complex_", [False, True])
def test_dct(complex_):
    k = K1 + 1j * K1[::-1] if complex_ else K1
    op = cm.conv(k, 11, padding="same", boundary="reflect")
    assert_is(cm.preconditioner(op, "dct", damp=DAMP), normal_inverse(cosine_of_even(k, 11)))
    op = cm.conv(K2, (5, 7), padding="same")
    assert_is(cm.preconditioner(op, "dct", damp=DAMP), normal_inverse(plane(K2, (5, 7), cosine_of_even)))


def test_kron():
    u, s, v = np.linalg.svd(K2)
    near = np.kron(toeplitz(u[:, 0] * s[0], 6), toeplitz(v[0], 7))
    op = cm.conv(K2, (6, 7), padding="same")
    assert_is(cm.preconditioner(op, "kron", damp=DAMP), normal_inverse(near))
    assert_is(cm.preconditioner(op, "kron", damp=0, normal=False), np.linalg.inv(near))


@pytest.mark.parametrize("padding", [0, 2, 4])
def test_embedded_on_an_axis(padding):
    """The inverse on a longer circle, and of that what stands at the inputs' positions."""
    n = 11
    op = cm.conv(K1, n, padding=padding)
    P = cm.preconditioner(op, damp=DAMP).to_dense()
    candidates = []
    for length in range(n, n + 16):
        whole = normal_inverse(circulant(K1, length, padding))
        candidates.append(np.abs(P - whole[:n, :n]).max())
    assert min(candidates) <= 1e-13
    assert int(np.argmin(candidates)) + n >= max(n, n + 2 * padding - 4)


def test_embedded_in_the_plane():
    op = cm.conv(K2, (5, 6), padding="same")
    P = cm.preconditioner(op, damp=DAMP).to_dense()
    found = []
    for first in range(5, 12):
        for second in range(6, 14):
            places = np.arange(first * second).reshape(first, second)[:5, :6].ravel()
            whole = normal_inverse(plane(K2, (first, second), circulant))
            found.append(np.abs(P - whole[np.ix_(places, places)]).max())
    assert min(found) <= 1e-13


OPS = {
    "blur": cm.conv(K2, (7, 8), padding="same"),
    "complex": cm.conv(K2 + 1j * K2[::-1], (7, 8), padding="same", boundary="symmetric"),
    "channels": cm.conv(RNG.standard_normal((3, 3, 2, 2)), (5, 6, 2), padding="same"),
    "groups": cm.conv(RNG.standard_normal((3, 3, 1, 4)), (5, 6, 2), padding="same", groups=2),
}
EMBEDDED = {
    "strided": cm.conv(RNG.standard_normal((3, 3, 2, 3)), (7, 6, 2), stride=2, padding=1),
    "transposed": cm.conv_transpose(RNG.standard_normal((3, 3)), (4, 5), stride=2),
    "full": cm.conv(K2, (5, 6), padding="full"),
    "wide": cm.conv(K2, (8, 9)),
}


@pytest.mark.parametrize(("name", "kind"), [(n, k) for n in OPS for k in KINDS] + [(n, "embedded") for n in EMBEDDED])
def test_hermitian_positive_definite(name, kind):
    op = (OPS | EMBEDDED)[name]
    P = cm.preconditioner(op, kind, damp=DAMP)
    D = P.to_dense()
    assert P.in_shape == P.out_shape == op.in_shape
    assert D.dtype == op.dtype
    assert np.abs(D - D.conj().T).max() <= 1e-12 * np.abs(D).max()
    values = np.linalg.eigvalsh(D)
    assert values.min() > 0
    assert values.max() <= (1 + 1e-12) / DAMP**2  # of (C^H C + damp^2)^-1 and what it compresses to
    assert np.abs(P.T.to_dense() - D.T).max() <= 1e-12 * np.abs(D).max()
    assert np.abs(P.H.to_dense() - D).max() <= 1e-12 * np.abs(D).max()
    x = numbers(np.random.default_rng(1), (2, *op.in_shape), "c")
    assert np.abs(P(x).reshape(2, -1) - x.reshape(2, -1) @ D.T).max() <= 1e-11 * np.abs(D).max()


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_iterations_of_cg_on_a_blur(kind):
    g = np.exp(-(np.arange(-6.0, 7) ** 2) / 8)
    K = np.multiply.outer(g, g) / g.sum() ** 2
    op, damp = cm.conv(K + 1e-3 * RNG.standard_normal(K.shape) / 13, (40, 42), padding="same"), 0.02
    b = np.random.default_rng(2).standard_normal(op.shape[0])
    normal = LinearOperator((op.shape[1],) * 2, lambda v: op.H @ (op @ v) + damp**2 * v, dtype=float)
    P, steps = cm.preconditioner(op, kind, damp=damp), {}
    for M in (None, P):
        seen = []
        x, failed = cg(normal, op.H @ b, rtol=1e-6, M=M, maxiter=2000, callback=seen.append)
        assert not failed
        steps[M is P] = len(seen)
    assert steps[True] < steps[False] / 2
    assert np.linalg.norm(op.H @ (op @ x - b) + damp**2 * x) <= 1e-4 * np.linalg.norm(op.H @ b)


@pytest.mark.parametrize("kind", ["strang", "tchan", "dct", "kron"])
def test_of_the_map_itself(kind):
    op = cm.conv(K1, 11, padding="same")
    near = {
        "strang": circulant(K1, 11), "tchan": nearest_circulant(toeplitz(K1, 11)), "dct": cosine_of_even(K1, 11),
        "kron": toeplitz(K1, 11),
    }[kind]  # fmt: skip
    P = cm.preconditioner(op, kind, normal=False)
    assert_is(P, np.linalg.inv(near))
    assert_is(P.T, np.linalg.inv(near).T)


@pytest.mark.parametrize("scale", [1e-130, 1e130])
def test_any_scale(scale):
    """The squares of these numbers are in range, and the fourth powers are not."""
    P = cm.preconditioner(cm.conv(K1 * scale, 11, padding="same"), "strang", damp=DAMP * scale)
    expected = normal_inverse(circulant(K1, 11))
    assert np.abs(P.to_dense() * scale * scale - expected).max() <= 1e-12 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("kind", "op", "text"),
    [
        ("strang", cm.conv(K1, 11), r"Strang's circulant: an axis goes from 11 to 7\. Expected as many outputs"),
        ("tchan", cm.conv(K1, 11, stride=2), r"T\. Chan's circulant: an axis goes from 11 to 4"),
        ("dct", cm.conv([1.0, 2], 11, padding="same"), r"cosine transforms: pads \(0, 1\) of a kernel of 2"),
        ("dct", cm.conv(K1, 11, padding=[(3, 1)]), r"cosine transforms: pads \(3, 1\) of a kernel of 5"),
        ("embedded", cm.permutation((3, 4), "HW", "WH"), "op is a Rearranged, not a single convolution"),
        ("embedded", cm.conv(K1, 11, padding="same", boundary="edge").T, "op is a Transposed, not a single"),
    ],
)
def test_kinds_that_do_not_apply(kind, op, text):
    with pytest.raises(cm.UnsupportedError, match=f"preconditioner: .*{text}"):
        cm.preconditioner(op, kind, damp=0.1)


def test_a_singular_neighbour_is_refused_and_damping_helps():
    op = cm.conv([1.0, -2, 1], 12, padding="same")  # regular, and a circle of the same taps is not
    with pytest.raises(cm.SolveError, match=r"preconditioner: the Strang's circulant is singular"):
        cm.preconditioner(op, "strang")
    assert_is(cm.preconditioner(op, "strang", damp=DAMP), normal_inverse(circulant(np.array([1.0, -2, 1]), 12)))


def peak_of(make):
    tracemalloc.start()
    try:
        make()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


SIZES = {
    "plane": (K2, (300, 400)), "complex": (K2 + 1j * K2[::-1], (300, 400)),
    "channels": (RNG.standard_normal((3, 3, 4, 5)), (80, 80, 4)), "long kernel": (RNG.standard_normal(2001), 3000),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused_before_it_is_made(name, kind, monkeypatch):
    """Where half of what making it takes is there, and all of it as it is known beforehand is not."""
    K, shape = SIZES[name]
    if (name, kind) == ("long kernel", "kron"):
        shape = 2100  # of which singular vectors take seconds
    op, sizes = cm.conv(K, shape, padding="same"), []
    monkeypatch.setattr("convmtx.memory.require_result", lambda _thing, size, _remedy: sizes.append(size))
    cm.preconditioner(cm.conv(K2, (8, 9), padding="same"), kind, damp=DAMP)  # what is imported, is so now
    peak = peak_of(lambda: cm.preconditioner(op, kind, damp=DAMP))
    assert peak <= sizes[-1] <= 6 * peak
    monkeypatch.undo()
    monkeypatch.setattr("convmtx.memory.LARGE", 0)
    monkeypatch.setattr("convmtx.memory.available", lambda: peak // 2)

    def refused():
        with pytest.raises(cm.FormTooLargeError, match=r"preconditioner: .* takes .* Available are"):
            cm.preconditioner(op, kind, damp=DAMP)

    assert peak_of(refused) <= peak / 10 + 1e5


@pytest.mark.parametrize("make", [cm.preconditioner, cm.factorize, cm.pinv, cm.inv])
@pytest.mark.parametrize("side", [10**5, 2**28])
def test_huge_maps_are_refused_at_once(make, side, monkeypatch):
    monkeypatch.setattr("convmtx.memory.available", lambda: 1 << 34)
    op = cm.conv(np.ones((3, 3)), (side, side), padding="same")

    def refused():
        with pytest.raises(cm.FormTooLargeError, match=f"{make.__name__}: .* takes .* Available are"):
            make(op)

    assert peak_of(refused) <= 1e6


@pytest.mark.parametrize("side", [10**5, 2**28])
def test_right_hand_sides_that_are_one_number_repeated_are_measured(side, monkeypatch):
    monkeypatch.setattr("convmtx.memory.available", lambda: 1 << 34)
    op, b = cm.conv(np.ones((3, 3)), (side, side), padding="same", boundary="wrap"), np.broadcast_to(1.0, (side, side))
    for call in (cm.solve, cm.choose_damp, lambda op, b: cm.wiener(op, b, 2.0), lambda op, b: cm.wiener(op, b, b)):
        with pytest.raises(cm.FormTooLargeError, match=r": .* takes .* Available are"):
            call(op, b)
    wide = cm.conv(np.ones(10**6), 10**6)
    with pytest.raises(cm.FormTooLargeError, match=r"solve: a solution of shape \(100000, 1000000\) takes"):
        cm.solve(wide, np.ones((10**5, 1)), method="lsmr")
