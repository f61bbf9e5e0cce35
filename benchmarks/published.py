r"""Published ways to singular values, norms and bounds of a convolution, each from its formula, in NumPy.

Kernels are real, (co, ci, h, w); images n x n; stride and dilation 1 unless an argument says otherwise. ``F(w)`` is the
symbol, the (co, ci) matrix ``sum_j K_j exp(-i j w)``.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

# All singular values, wrap boundary


def circular(K, n):
    """All singular values on the n x n torus: those of the symbols (Sedghi, Gupta, Long, ICLR 2019).

    Exact where n >= h, w; `numpy.fft.fft2` crops larger kernels.
    """
    symbols = np.fft.fft2(K, (n, n)).transpose(2, 3, 0, 1)
    return descending(np.linalg.svd(symbols, compute_uv=False))


def fourier_analysed(K, n):
    """All singular values on the torus, with symbols summed tap by tap.

    Local Fourier analysis (van Betteray, Rottmann, Kahl, ECAI 2025).
    """
    return descending(np.linalg.svd(symbols_at(K, n), compute_uv=False))


def polyphase(K, n, stride):
    """All singular values on the torus with a stride that divides n (Senderovich et al., NeurIPS 2022).

    Pixels of one stride x stride square become channels; what is left has stride 1. Exact where n >= h, w.
    """
    co, ci, h, w = K.shape
    K = np.pad(K, [(0, 0), (0, 0), (0, -h % stride), (0, -w % stride)])
    K = K.reshape(co, ci, K.shape[2] // stride, stride, K.shape[3] // stride, stride).transpose(0, 1, 3, 5, 2, 4)
    return circular(K.reshape(co, ci * stride**2, *K.shape[4:]), n // stride)


# Upper bounds of the norm, zero boundary, proved for every n


def fantastic_four(K):
    """Root of h w times the least norm of four reshapes of the kernel (Singla, Feizi, ICLR 2021), norms exact."""
    return np.sqrt(K.shape[2] * K.shape[3]) * min(np.linalg.norm(matrix, 2) for matrix in reshapes(K))


def lip_grid(K, samples=50):
    """Supremum of the rows of F, row by row, from samples (Araujo et al., AAAI 2021).

    ``sqrt(sum_f max_w |F_f(w)|^2)`` over the grid, times what a trigonometric polynomial of this degree may rise
    between samples (Pfister, Bresler, 2018); the published code leaves that factor out.
    """
    squares = (np.abs(symbols_at(K, samples)) ** 2).sum(axis=3)
    return between_samples(K, samples) * np.sqrt(squares.max(axis=(0, 1)).sum())


def lip_grid_joint(K, samples=50):
    """Supremum of the Frobenius norm of F from samples, with one maximum for all rows."""
    return between_samples(K, samples) * np.sqrt((np.abs(symbols_at(K, samples)) ** 2).sum(axis=(2, 3)).max())


def norm2toep(K, times=5):
    """Largest row sum of the kernel of ``(A^T A)^(2^(t-1))``, its 2^t-th root (Delattre et al., arXiv 2402.00240).

    The kernel of such a power has 2^t (k - 1) + 1 taps along an axis; they are computed on a torus of that size.
    """
    if K.shape[0] < K.shape[1]:
        K = K.transpose(1, 0, 2, 3)
    sizes = [2**times * (k - 1) + 1 for k in K.shape[2:]]
    symbols = np.ascontiguousarray(np.fft.rfft2(K, sizes).transpose(2, 3, 0, 1))
    for _ in range(times):
        symbols = symbols.conj().swapaxes(2, 3) @ symbols
    kernel = np.fft.irfft2(symbols, sizes, axes=(0, 1))
    return np.abs(kernel).sum(axis=(0, 1, 3)).max() ** 2.0**-times


def circular_corrected(K, n):
    """The norm on the torus over ``1 - 2 floor(k / 2) / n`` (Delattre et al., arXiv 2402.00240)."""
    return circular(K, n)[0] / (1 - 2 * (max(K.shape[2:]) // 2) / n)


def young(K):
    """Root of the largest row sum times the largest column sum of the matrix, borders forgotten (Young; Schur)."""
    sums = np.abs(K).sum(axis=(2, 3))
    return np.sqrt(sums.sum(axis=1).max() * sums.sum(axis=0).max())


# No bounds under the zero boundary


def fantastic_four_iterated(K, iterations=50):
    """`fantastic_four` as the published code has it: each norm by power iteration, which comes from below."""
    tops = [power_iteration(lambda x, m=m: m @ x, lambda y, m=m: m.T @ y, m.shape[1], iterations) for m in reshapes(K)]
    return np.sqrt(K.shape[2] * K.shape[3]) * min(tops)


def tensor_norm(K, iterations=100):
    """Root of h w times the complex spectral norm of the kernel as a tensor (Grishina et al., ECCV 2024).

    That would be a bound; alternating maximisation finds a local maximum of it, which may be less.
    """
    rng = np.random.default_rng(0)
    K = K.astype(complex)
    _, v, a, b = (unit(rng.standard_normal(size) + 1j * rng.standard_normal(size)) for size in K.shape)
    for _ in range(iterations):
        channels = K @ b @ a
        u = unit((channels @ v).conj())
        v = unit((u @ channels).conj())
        space = np.tensordot(v, np.tensordot(u, K, 1), 1)
        a = unit((space @ b).conj())
        b = unit((a @ space).conj())
    return np.sqrt(K.shape[2] * K.shape[3]) * abs(a @ space @ b)


def circular_norm(K, n):
    """The norm on the torus of the image's size. With zeros around the image the norm may be larger."""
    return circular(K, n)[0]


def gram_iterated(K, n, times=5):
    """Bound of the norm on the torus: largest ``|F^(t)|_F^(1/2^t)``, where ``F^(t+1) = F^(t)^H F^(t)``.

    Delattre et al., ICML 2023. With zeros around the image the norm may be larger.
    """
    if K.shape[0] < K.shape[1]:
        K = K.transpose(1, 0, 2, 3)
    symbols = np.ascontiguousarray(np.fft.rfft2(K, (n, n)).transpose(2, 3, 0, 1))
    logarithm = np.zeros((*symbols.shape[:2], 1, 1))  # of what was divided out
    for _ in range(times):
        size = frobenius(symbols)
        symbols = symbols / size
        symbols = symbols.conj().swapaxes(2, 3) @ symbols
        logarithm = 2 * (logarithm + np.log(size))
    return np.exp((np.log(frobenius(symbols)) + logarithm).max() / 2**times)


def power_iterated(K, n, iterations=100):
    """Power iteration with the convolution and its transpose (Ryu et al., ICML 2019): comes from below."""
    pads = [((k - 1) // 2, k // 2) for k in K.shape[2:]]
    mirrored, back = K[:, :, ::-1, ::-1].transpose(1, 0, 2, 3), [(hi, lo) for lo, hi in pads]
    return power_iteration(
        lambda x: correlated(x, K, pads), lambda y: correlated(y, mirrored, back), (K.shape[1], n, n), iterations
    )


def reshaped_norm(K):
    """The norm of the (co, ci h w) matrix, `torch.nn.utils.parametrizations.spectral_norm`: another quantity."""
    return np.linalg.norm(K.reshape(len(K), -1), 2)


# What they share


def descending(values):
    return -np.sort(-values, axis=None)


def frobenius(matrices):
    """Frobenius norms, of zeros next to nothing so that it has a logarithm."""
    return np.maximum(np.linalg.norm(matrices, axis=(-2, -1), keepdims=True), np.finfo(float).tiny)


def unit(vector):
    return vector / np.linalg.norm(vector)


def symbols_at(K, n):
    """Symbols on the n x n grid, (n, n, co, ci), summed tap by tap."""
    waves = [np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(k)) / n) for k in K.shape[2:]]
    return np.einsum("fchw,ah,bw->abfc", K, *waves, optimize=True)


def between_samples(K, samples):
    return np.prod([(1 - (k - 1) / samples) ** -0.5 for k in K.shape[2:]])


def reshapes(K):
    co, ci, h, w = K.shape
    yield K.transpose(0, 2, 1, 3).reshape(co * h, ci * w)
    yield K.transpose(0, 3, 1, 2).reshape(co * w, ci * h)
    yield K.reshape(co, ci * h * w)
    yield K.transpose(0, 2, 3, 1).reshape(co * h * w, ci)


def power_iteration(forward, adjoint, shape, iterations):
    x = np.random.default_rng(0).standard_normal(shape)
    for _ in range(iterations):
        x = unit(adjoint(forward(unit(x))))
    return np.linalg.norm(forward(x))


def correlated(x, K, pads):
    windows = sliding_window_view(np.pad(x, [(0, 0), *pads]), K.shape[2:], axis=(1, 2))
    return np.tensordot(K, windows, ((1, 2, 3), (0, 3, 4)))
