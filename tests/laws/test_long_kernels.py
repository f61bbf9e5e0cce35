"""Kernels as long as the signal and longer: NumPy's matrices and transforms give the same, in O(n + k) memory."""

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
import scipy.fft
import scipy.linalg
import scipy.signal  # what modules take is not counted

import convmtx as cm
from convmtx.spectra import entrywise
from convmtx.structure.splits import fourier

MODES = {"zero": "constant", "wrap": "wrap", "reflect": "reflect", "symmetric": "symmetric", "edge": "edge"}


@contextmanager
def at_most(megabytes):
    """Fail if more memory than that is in use at any time inside."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    assert peak <= megabytes


def matrix_of(h, n, lo, hi, boundary):
    """The matrix of a correlation, column by column, from padded unit vectors."""
    padded = np.pad(np.eye(n), ((0, 0), (lo, hi)), mode=MODES[boundary])
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(h), axis=1)
    return (windows @ h).T


def transformed(h, shift, n):
    """The symbol of a correlation on a circle of n, whose first tap reads ``shift`` positions before the output."""
    around = np.zeros(n, complex)
    np.add.at(around, (np.arange(len(h)) - shift) % n, h)
    return n * np.fft.ifft(around)


@pytest.mark.parametrize("k", [101, 290])
@pytest.mark.parametrize("boundary", MODES)
def test_spectra_are_those_of_the_dense_matrix(boundary, k):
    rng = np.random.default_rng(k)
    n, lo, hi = 200, k // 2, k - 1 - k // 2
    h = rng.standard_normal(k)
    h[lo] += 60
    op = cm.conv(h, n, padding=[(lo, hi)], boundary=boundary)
    matrix = matrix_of(h, n, lo, hi, boundary)
    assert boundary != "zero" or np.array_equal(matrix, scipy.linalg.toeplitz(*_first_column_and_row(h, n, lo)))
    s = np.linalg.svd(matrix, compute_uv=False)
    close = {"rtol": 0, "atol": 1e-9 * s[0]}
    with at_most(20):  # the matrix takes 0.3 MB; 101 matrices of zeros and ones took 32
        values, rank, log = cm.svdvals(op), cm.rank(op), cm.logdet(op)
        norm, condition, bounds = cm.norm(op), cm.cond(op), [cm.norm_bound(op, m) for m in ("theta", "sup", "young")]
    assert np.allclose(np.asarray(values), s, **close)
    assert norm.lower <= s[0] * (1 + 1e-12) <= norm.upper * (1 + 2e-12)
    assert all(bound.upper >= s[0] * (1 - 1e-12) for bound in bounds)
    assert int(rank) == n
    assert float(log) == pytest.approx(np.linalg.slogdet(matrix)[1], rel=1e-9)
    assert float(condition) == pytest.approx(s[0] / s[-1], rel=1e-8)

    y = rng.standard_normal(n)
    expected = np.linalg.solve(matrix.T @ matrix + 25 * np.eye(n), matrix.T @ y)
    for x in (cm.solve(op, y, damp=5.0).x, cm.wiener(op, y, 0.04)):
        assert np.allclose(x, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def _first_column_and_row(h, n, lo):
    row, column = np.zeros(n), np.zeros(n)
    row[: min(len(h) - lo, n)] = h[lo : lo + n]
    column[: min(lo + 1, n)] = h[lo::-1][:n]
    return column, row


@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize(("n", "k", "dilation"), [(3000, 2000, 1), (3000, 7000, 1), (2003, 1500, 1), (3000, 2000, 2)])
def test_a_circle_is_its_transforms(n, k, dilation, kind):
    """Also a kernel that goes around more than once, a prime number of samples, and taps that skip samples."""
    rng = np.random.default_rng(0)
    h, y = (rng.standard_normal(m).astype(kind) for m in (k, n))
    h = h + 1j * rng.standard_normal(k) if kind is complex else h
    lo = dilation * (k // 3)
    padding = [(lo, dilation * (k - 1) - lo)]
    op = cm.conv(h, n, padding=padding, boundary="wrap", dilation=dilation)
    apart = np.zeros(dilation * (k - 1) + 1, h.dtype)
    apart[::dilation] = h
    symbol = transformed(apart, lo, n)
    with at_most(4 if dilation == 1 else 30):  # a table of waves takes 96 MB
        x = cm.solve(op, y, damp=3.0).x
        filtered = cm.wiener(op, y, 1 / 9)
        values, norm, bound = cm.svdvals(op), cm.norm(op), cm.norm_bound(op)
    expected = np.fft.ifft(np.fft.fft(y) * symbol.conj() / (np.abs(symbol) ** 2 + 9))
    assert np.allclose(x, expected, rtol=0, atol=1e-12)
    assert np.allclose(filtered, expected, rtol=0, atol=1e-12)
    assert np.allclose(np.asarray(values), np.sort(np.abs(symbol))[::-1], rtol=0, atol=1e-9)
    top = np.abs(symbol).max()
    assert norm.lower <= top * (1 + 1e-13) <= norm.upper * (1 + 2e-13)
    assert top <= bound.upper <= top * (1 + 1e-9)


@pytest.mark.parametrize(("stride", "input_dilation"), [(2, 1), (1, 3), (2, 3), (2, 2)])
def test_long_symbols_of_strides_are_those_of_tables(stride, input_dilation, monkeypatch):
    rng = np.random.default_rng(0)
    h = rng.standard_normal((80, 2, 2))
    op = cm.conv(h, (60, 2), stride=stride, input_dilation=input_dilation, padding=[(30, 40)])
    long = cm.symbol(op, 240, shift=0.3)
    split = fourier(op.geometry.axes[0], 240, 0.3, halved=False)
    sums = rng.standard_normal((3, split.times.size, split.per_output, split.per_input))
    nearest = split.source.nearest(sums)
    monkeypatch.setattr("convmtx.structure.symbols.LONG_KERNEL", 1 << 60)
    assert np.allclose(long, cm.symbol(op, 240, shift=0.3), rtol=0, atol=1e-12 * np.abs(h).sum())
    assert np.allclose(nearest, split.source.nearest(sums), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("boundary", "values"), [("symmetric", np.linalg.eigvalsh), ("reflect", np.linalg.eigvals)])
def test_even_kernels_are_diagonal_in_cosines(boundary, values):
    n, k = 200, 121
    h = np.random.default_rng(0).standard_normal(k)
    h = h + h[::-1]
    op = cm.conv(h, n, padding="same", boundary=boundary)
    matrix = matrix_of(h, n, k // 2, k // 2, boundary)
    with at_most(3):  # cosines of all taps and frequencies take 0.2 MB, matrices of zeros and ones 39
        eigenvalues = np.asarray(cm.eigvals(op))
    assert np.allclose(np.sort(eigenvalues.real), np.sort(values(matrix).real), rtol=0, atol=1e-10 * np.abs(h).sum())


@pytest.mark.parametrize("boundary", MODES)
def test_a_kernel_longer_than_the_signal_is_applied_by_transforms(boundary):
    rng = np.random.default_rng(0)
    n, k, length = 4000, 6000, 1 << 15
    h, x = rng.standard_normal(k), rng.standard_normal(n)
    op = cm.conv(h, n, padding=[(k - 1, k // 2)], boundary=boundary)
    y = rng.standard_normal(op.out_shape)
    padded = np.pad(x, (k - 1, k // 2), mode=MODES[boundary])
    spectrum = scipy.fft.rfft(padded, length) * scipy.fft.rfft(h, length).conj()
    expected = scipy.fft.irfft(spectrum, length)[: y.size]
    op(x)  # imports
    with at_most(4):  # a table of what outputs read takes 190 MB
        image, back = op(x), op.T(y)
    assert np.allclose(image, expected, rtol=0, atol=1e-9)
    assert np.isclose(y @ expected, back @ x, rtol=1e-10)
    assert op.nnz <= y.size * n


@pytest.mark.parametrize("phase", [1, 1j])
@pytest.mark.parametrize("lower", [True, False])
def test_a_long_causal_kernel_is_inverted_without_its_band(lower, phase):
    rng, n, k = np.random.default_rng(0), 3000, 2000
    h, x = rng.standard_normal(k) * np.exp(-np.arange(k) / 300) * phase, rng.standard_normal((2, n))
    h[0] = 60
    op = cm.conv(h, n, padding=[(k - 1, 0)], flip=True) if lower else cm.conv(h, n, padding=[(0, k - 1)])
    b = np.stack([np.convolve(row, h)[:n] if lower else np.convolve(row, h[::-1])[k - 1 :] for row in x])
    with at_most(8):  # its band takes 48 MB
        s = cm.solve(op, b, method="band")
    assert s.converged
    assert np.allclose(s.x, x, rtol=0, atol=1e-12)
    factors = cm.factorize(op, method="band")
    g = rng.standard_normal(n)
    assert np.vdot(g, factors.solve(b).x[0]) == pytest.approx(np.vdot(g, x[0]), abs=1e-9)
    assert 1 <= s.condition < 100


@pytest.mark.parametrize("boundary", ["edge", "reflect"])
def test_long_borders_are_folded_in_arrays_that_do_not_change(boundary):
    jax = pytest.importorskip("jax")
    rng, n, k = np.random.default_rng(0), 4000, 3000
    h, y, x = (rng.standard_normal(size) for size in (k, n, n))
    op = cm.conv(jax.numpy.asarray(h), n, padding="same", boundary=boundary)
    op.T(jax.numpy.asarray(y))  # compiled
    with at_most(8):  # places of each input's readers, one array for each position of the border, took 48 MB
        adjoint = np.asarray(op.T(jax.numpy.asarray(y)))
    image = np.correlate(np.pad(x, ((k - 1) // 2, k // 2), mode=MODES[boundary]), h, "valid")
    rounding = 8 * np.finfo(adjoint.dtype).eps * np.linalg.norm(y) * np.linalg.norm(image)  # JAX may be in single
    assert np.vdot(adjoint, x) == pytest.approx(np.vdot(y, image), abs=rounding)


def test_the_response_of_a_room():
    """4,000 taps on 12,000 samples: what was refused, or took 1.5 GB for a table."""
    rng = np.random.default_rng(0)
    k, n, damp, length = 4000, 12000, 8.0, 1 << 14
    h = rng.standard_normal(k) * np.exp(-np.arange(k) / 500)
    op = cm.conv(h, n, padding="full", flip=True)
    spectrum = scipy.fft.rfft(h, length)
    y = scipy.fft.irfft(spectrum * scipy.fft.rfft(rng.standard_normal(n), length), length)[: n + k - 1]
    top = np.abs(scipy.fft.rfft(h, 1 << 18)).max()  # no map of this kernel has a larger norm
    with at_most(40):
        norm, bound, least = cm.norm(op), cm.norm_bound(op), cm.norm(op, 1)
        solutions = cm.solve(op, y, damp=damp).x, cm.wiener(op, y, damp**-2)
    assert 0.9 * top < norm.lower <= norm.upper <= 1.001 * top
    assert norm.lower <= bound.upper <= 1.1 * top
    assert float(least) == pytest.approx(np.abs(h).sum(), rel=1e-12)
    for x in solutions:
        left = y - scipy.fft.irfft(spectrum * scipy.fft.rfft(x, length), length)[: y.size]
        gradient = scipy.fft.irfft(spectrum.conj() * scipy.fft.rfft(left, length), length)[:n] - damp**2 * x
        assert np.linalg.norm(gradient) < 1e-5 * top * np.linalg.norm(y)


def test_a_kernel_operator_of_a_long_kernel():
    rng = np.random.default_rng(0)
    k, n, length = 3000, 5000, 1 << 13
    x, h, y = (rng.standard_normal(m) for m in (n, k, n + k - 1))
    op = cm.kernel_operator(x, (k,), padding="full", flip=True)
    op(h), op.T(y)  # imports
    with at_most(4):
        image, back = op(h), op.T(y)
    spectrum = scipy.fft.rfft(x, length)
    expected = scipy.fft.irfft(spectrum * scipy.fft.rfft(h, length), length)[: y.size]
    gradient = scipy.fft.irfft(spectrum.conj() * scipy.fft.rfft(y, length), length)[:k]
    assert np.allclose(image, expected, rtol=0, atol=1e-9)
    assert np.allclose(back, gradient, rtol=0, atol=1e-9)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("boundary", MODES)
def test_sums_of_entries_of_long_kernels(boundary, sign, monkeypatch):
    """In closed form, or in pieces of the matrix where a boundary folds taps of both signs."""
    monkeypatch.setattr(entrywise, "FEW", 500)
    monkeypatch.setattr(entrywise, "PIECE", 3000)
    h = np.random.default_rng(0).standard_normal(70)
    h = np.abs(h) if sign > 0 else h
    for lo, hi in ((30, 39), (69, 69), (0, 20)):
        op, matrix = cm.conv(h, 50, padding=[(lo, hi)], boundary=boundary), matrix_of(h, 50, lo, hi, boundary)
        for order in (1, np.inf, "fro"):
            assert float(cm.norm(op, order)) == pytest.approx(np.linalg.norm(matrix, order), rel=1e-13)
        assert cm.norm_bound(op, "young").upper >= np.linalg.norm(matrix, 2)
        if lo + hi == 69:
            assert float(cm.trace(op)) == pytest.approx(matrix.trace(), rel=1e-12)


def test_clipping_a_long_kernel_clips_its_transform():
    n = 256
    h = np.random.default_rng(0).standard_normal(n)
    op = cm.conv(h, n, padding=[(0, n - 1)], boundary="wrap")
    symbol = transformed(h, 0, n)
    clipped = symbol * np.minimum(1, 10 / np.abs(symbol))
    expected = np.fft.fft(clipped).real / n
    assert np.allclose(cm.clip(op, 10.0).kernel, expected, rtol=0, atol=1e-10)


def test_parts_of_a_long_dilated_kernel():
    """Every second sample is a map of its own: two equal Toeplitz matrices."""
    rng = np.random.default_rng(0)
    k, n = 101, 240
    h = rng.standard_normal(k)
    op = cm.conv(h, n, padding="same", dilation=2)
    matrix = scipy.linalg.toeplitz(*_first_column_and_row(h, n // 2, k // 2))
    values = np.repeat(np.linalg.svd(matrix, compute_uv=False), 2)
    with at_most(10):
        assert np.allclose(np.asarray(cm.svdvals(op)), values, rtol=0, atol=1e-10 * values[0])


@pytest.mark.parametrize("size", [400, 401, 2 * 307])
def test_transforms_round_no_more_than_promised(size):
    """Lengths of small primes, a prime, and one with a large prime factor, against sums in extended precision."""
    k = 60
    op = cm.conv(np.ones(k), size, padding=[(0, k - 1)], boundary="wrap")
    split = fourier(op.geometry.axes[0], size, 0.0, halved=True)
    h = np.random.default_rng(0).standard_normal(k)
    turns = np.multiply.outer(np.arange(size // 2 + 1), np.arange(k)) % size
    angles = 2 * np.arccos(np.longdouble(-1)) * (turns / np.longdouble(size))
    exact = (h * np.cos(angles)).sum(axis=1), (h * np.sin(angles)).sum(axis=1)
    symbol = split.source.sum_over(h[None])[0, :, 0, 0]
    assert split.source.is_long
    error = max(float(np.abs(part - own).max()) for part, own in zip(exact, (symbol.real, symbol.imag), strict=True))
    assert error <= split.source.roundings * np.finfo(float).eps * np.abs(h).sum()
