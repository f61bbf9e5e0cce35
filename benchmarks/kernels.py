"""Time fits of kernels beside the methods that people write by hand, in one run, and compare the results.

    python benchmarks/kernels.py [--part fits] [--only TEXT] [--quick] [--json FILE]

``other / ours`` above 1 means that ours is the faster.
"""

from functools import partial

import numpy as np
import scipy.fft
import scipy.linalg
import scipy.signal
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


def row_of(case, ways, repeat, tolerance):
    """Row of methods that compute one kernel."""
    seconds, results = medians(ways, repeat)
    expected = next(result for name, result in results.items() if name != "ours")
    worst = np.linalg.norm(results["ours"] - expected) / np.linalg.norm(expected)
    others = {name: value for name, value in seconds.items() if name != "ours"}
    return Times(case, seconds["ours"], others, None, worst, bool(worst < tolerance), {})


if __name__ == "__main__":
    main(__doc__, {"fits": fits})
