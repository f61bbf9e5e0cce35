"""Time fits of kernels, and long kernels, beside the methods that people write by hand, in one run.

    python benchmarks/kernels.py [--part fits|long] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster. Results are compared.
"""

from functools import partial

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.signal
import scipy.sparse.linalg
from measuring import Times, main, medians

import convmtx as cm


def fits(quick):
    """The kernel that maps a signal to another with the least squared error.

    `cm.fit_kernel`, and `cm.solve` with `cm.kernel_operator`, are compared with what is written by hand: FFT
    autocorrelations and `scipy.linalg.solve_toeplitz` where all windows of the signal count, else the matrix of windows
    and `numpy.linalg.lstsq`, or its normal equations where that would take seconds. Arrays are float64. Aim: other /
    ours at least 0.2 beside FFT and Levinson.
    """
    n, k = (2000, 64) if quick else (16_000, 512)
    yield f"{n} k{k} sweep, full", partial(from_sweep, n, k, False)
    yield f"{n} k{k} sweep, full, solve", partial(from_sweep, n, k, True)
    yield f"{n} k{k} noise, valid", partial(from_noise, n, k)
    side = 64 if quick else 256
    yield f"{side}x{side} k7x7 picture", partial(from_picture, side)
    yield "400 k20 events, 8 drifts, weights", from_events


def from_sweep(n, k, solves, case, repeat):
    x = scipy.signal.chirp(np.arange(n) / n, n * 0.003, 1, n * 0.475, method="logarithmic")
    y = recorded(x, k)
    options = {"padding": [(k - 1, k - 1)], "flip": True}

    def by_levinson():
        size = scipy.fft.next_fast_len(n + k - 1, real=True)
        X, Y = scipy.fft.rfft(x, size), scipy.fft.rfft(y, size)
        row, right = (scipy.fft.irfft(z, size)[:k] for z in (X * X.conj(), X.conj() * Y))
        return scipy.linalg.solve_toeplitz(row, right)

    def ours():
        return cm.solve(cm.kernel_operator(x, k, **options), y).x if solves else cm.fit_kernel(x, y, k, **options)

    return row_of(case, {"ours": ours, "fft + levinson": by_levinson}, repeat, 1e-8)


def from_noise(n, k, case, repeat):
    x = np.random.default_rng(1).standard_normal(n)
    y = recorded(x, k)[k - 1 : n]

    def by_normal_equations():
        W = np.lib.stride_tricks.sliding_window_view(x, k)[:, ::-1]
        return scipy.linalg.solve(W.T @ W, W.T @ y, assume_a="pos")

    ours = partial(cm.fit_kernel, x, y, k, flip=True)
    return row_of(case, {"ours": ours, "normal equations": by_normal_equations}, repeat, 1e-8)


def from_picture(side, case, repeat):
    rng = np.random.default_rng(2)
    x = rng.standard_normal((side, side)).cumsum(0).cumsum(1) / side + rng.standard_normal((side, side))
    K = np.multiply.outer(np.hanning(9)[1:-1], np.hanning(9)[1:-1])
    y = cm.conv(K, x.shape)(x) + rng.standard_normal((side - 6, side - 6))

    def by_lstsq():
        W = np.lib.stride_tricks.sliding_window_view(x, K.shape).reshape(-1, K.size)
        return np.linalg.lstsq(W, y.ravel(), rcond=None)[0].reshape(K.shape)

    ours = partial(cm.fit_kernel, x, y, K.shape)
    return row_of(case, {"ours": ours, "lstsq": by_lstsq}, repeat, 1e-8)


def from_events(case, repeat):
    rng, n, k = np.random.default_rng(3), 400, 20
    x = (rng.random(n) < 0.1).astype(float)
    drifts = np.cos(np.pi * np.outer(range(8), np.arange(n) + 0.5) / n)
    y, weights = recorded(x, k)[:n] + drifts.sum(axis=0), rng.random(n)

    def by_lstsq():
        W = scipy.linalg.toeplitz(x, np.zeros(k))
        root = np.sqrt(weights)[:, None]
        return np.linalg.lstsq(root * np.hstack([W, drifts.T]), root[:, 0] * y, rcond=None)[0][:k]

    ours = partial(
        cm.fit_kernel, x, y, k, padding=[(k - 1, 0)], flip=True, weights=weights, confounds=drifts
    )  # fmt: skip
    return row_of(case, {"ours": ours, "lstsq": by_lstsq}, repeat, 1e-8)


def recorded(x, k):
    """The full response of a decaying kernel, with noise."""
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal(k) * np.exp(-6 * np.arange(k) / k)
    return scipy.signal.oaconvolve(x, kernel) + 1e-3 * rng.standard_normal(len(x) + k - 1)


# Long kernels


def long(quick):
    """Kernels that are as long as a part of the signal.

    48,000 samples with a decaying response of 16,000 taps, white noise in the data, zeros outside. Solutions are
    compared with those of SciPy's lsmr at the same tolerance, which may differ by 1e-3 of their norm, and the norm with
    the largest singular value of SciPy's svds. Both apply the map by FFTs of the padded signal, with that of the kernel
    computed once. On a circle, the other way is the quotient of the FFTs, and the limit two FFTs. Aim: 2 s each, and
    limit / ours at least 0.2.
    """
    n, k = (3000, 1000) if quick else (48_000, 16_000)
    yield f"{n} k{k} full, solve, damp 1", partial(deconvolved, n, k, cm.solve)
    yield f"{n} k{k} full, wiener, snr 1", partial(deconvolved, n, k, cm.wiener)
    yield f"{n} k{k} full, norm", partial(largest, n, k)
    yield f"{n} k{k} full, norm_bound", partial(bounded, n, k)
    n, k = (800, 400) if quick else (8000, 4000)
    yield f"{n} k{k} circle, first solve", partial(around, n, k, False)
    yield f"{n} k{k} circle, later solves", partial(around, n, k, True)


def response(k):
    """A kernel that decays as the sound in a room does, with a first tap that leads."""
    kernel = np.random.default_rng(0).standard_normal(k) * np.exp(-6 * np.arange(k) / k)
    kernel[0] = 0.3 * np.linalg.norm(kernel)
    return kernel


def by_ffts(kernel, n):
    """The full convolution as an operator of SciPy."""
    k = len(kernel)
    size = scipy.fft.next_fast_len(n + k - 1, real=True)
    spectrum = scipy.fft.rfft(kernel, size)
    return scipy.sparse.linalg.LinearOperator(
        (n + k - 1, n), dtype=float,
        matvec=lambda x: scipy.fft.irfft(scipy.fft.rfft(x.ravel(), size) * spectrum, size)[: n + k - 1],
        rmatvec=lambda y: scipy.fft.irfft(scipy.fft.rfft(y.ravel(), size) * spectrum.conj(), size)[:n],
    )  # fmt: skip


def deconvolved(n, k, solve, case, repeat):
    kernel, rng = response(k), np.random.default_rng(1)
    op, theirs = cm.conv(kernel, n, padding="full", flip=True), by_ffts(kernel, n)
    b = op(rng.standard_normal(n)) + 0.1 * rng.standard_normal(op.out_shape)
    ways = {
        "ours": (lambda: cm.solve(op, b, damp=1.0).x) if solve is cm.solve else partial(cm.wiener, op, b, 1.0),
        "lsmr": lambda: scipy.sparse.linalg.lsmr(theirs, b, 1.0, atol=1e-8, btol=1e-8, conlim=0, maxiter=n)[0],
    }
    return row_of(case, ways, min(repeat, 3), 1e-3)


def largest(n, k, case, repeat):
    op, theirs = cm.conv(response(k), n, padding="full", flip=True), by_ffts(response(k), n)
    ways = {
        "ours": lambda: np.array(cm.norm(op).value),
        "svds": lambda: scipy.sparse.linalg.svds(theirs, 1, tol=1e-6, return_singular_vectors=False)[0],
    }
    return row_of(case, ways, min(repeat, 3), 1e-4)


def bounded(n, k, case, repeat):
    op = cm.conv(response(k), n, padding="full", flip=True)
    seconds, results = medians({"ours": partial(cm.norm_bound, op)}, repeat)
    return Times(case, seconds["ours"], more={"bound / norm": results["ours"].value / cm.norm(op).value})


def around(n, k, is_later, case, repeat):
    kernel = response(k)
    op = cm.conv(kernel, n, padding="same", boundary="wrap", flip=True)
    b = op(np.random.default_rng(1).standard_normal(n))
    first = scipy.fft.rfft(np.roll(np.pad(kernel, (0, n - k)), -(k // 2)))

    def fresh():
        return cm.solve(cm.conv(kernel, n, padding="same", boundary="wrap", flip=True), b).x

    def by_division():
        spectrum = first if is_later else scipy.fft.rfft(np.roll(np.pad(kernel, (0, n - k)), -(k // 2)))
        return scipy.fft.irfft(scipy.fft.rfft(b) / spectrum, n)

    limit = medians({"two FFTs": lambda: scipy.fft.irfft(scipy.fft.rfft(b), n)}, repeat)[0]["two FFTs"]
    ways = {"ours": (lambda: cm.solve(op, b).x) if is_later else fresh, "quotient": by_division}
    return row_of(case, ways, repeat, 1e-8, limit)


def row_of(case, ways, repeat, tolerance, limit=None):
    """Row of methods that compute one array."""
    seconds, results = medians(ways, repeat)
    expected = next(result for name, result in results.items() if name != "ours")
    worst = np.linalg.norm(results["ours"] - expected) / np.linalg.norm(expected)
    others = {name: value for name, value in seconds.items() if name != "ours"}
    return Times(case, seconds["ours"], others, limit, worst, bool(worst < tolerance), {})


if __name__ == "__main__":
    main(__doc__, {"fits": fits, "long": long})
