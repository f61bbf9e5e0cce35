"""Fits of kernels beside least squares of NumPy on the joined matrix of windows, penalties and confounds."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg

import convmtx as cm
from convmtx import fitting
from slides import slide

RNG = np.random.default_rng


def least(D, y, weights=None, Z=None, P=None):
    """The first entries of the shortest solution of the joined problem, by NumPy."""
    root = np.ones(len(D)) if weights is None else np.sqrt(np.ravel(weights))
    Z = np.zeros((len(D), 0)) if Z is None else np.reshape(Z, (-1, len(D))).T
    P = np.zeros((0, D.shape[1])) if P is None else P
    joined = np.block([[root[:, None] * D, root[:, None] * Z], [P, np.zeros((len(P), Z.shape[1]))]])
    right = np.concatenate([np.where(root > 0, root * np.where(root > 0, np.ravel(y), 0), 0), np.zeros(len(P))])
    return np.linalg.lstsq(joined, right, rcond=None)[0][: D.shape[1]]


def gram_alone(monkeypatch):
    """Refuse QR factors: a fit has to come from Gram matrices."""
    monkeypatch.setattr(fitting, "TriangleFactors", None)


@pytest.mark.parametrize("complex_", [False, True])
def test_a_response_to_events_with_drifts(complex_, monkeypatch):
    """As in functional MRI: events, a finite impulse response, slow cosines and outliers that do not count."""
    gram_alone(monkeypatch)
    rng, n, k = RNG(0), 180, 14
    x = (rng.random(n) < 0.15).astype(float)
    drifts = np.cos(np.pi * np.outer(range(4), np.arange(n) + 0.5) / n)
    h = np.sin(np.arange(k) / 3) * np.exp(-np.arange(k) / 6)
    y = np.convolve(x, h)[:n] + drifts.T @ [100, -20, 10, 5] + 0.1 * rng.standard_normal(n)
    if complex_:
        x, y = x + 0.5j * x[::-1], y + 1j * y[::-1]
    weights = rng.random(n)
    weights[[3, 50, 51]] = 0
    y[[3, 50, 51]] = np.nan
    W = slide(x[None, None], [k], stride=[1], dilation=[1], boundary=["zero"], padding=[(k - 1, 0)])[:, ::-1]
    P = 0.3 * np.diff(np.eye(k), 2, axis=0)
    R = cm.conv([1.0, -2.0, 1.0], k)
    options = {"padding": [(k - 1, 0)], "flip": True, "weights": weights, "confounds": drifts}

    assert np.allclose(cm.fit_kernel(x, y, k, **options), least(W, y, weights, drifts), rtol=1e-9)
    smooth = cm.fit_kernel(x, y, k, damp=0.3, regularizer=R, **options)
    assert np.allclose(smooth, least(W, y, weights, drifts, P), rtol=1e-9)
    ridge = cm.fit_kernel(x, y, k, damp=0.3, **options)
    assert np.allclose(ridge, least(W, y, weights, drifts, 0.3 * np.eye(k)), rtol=1e-9)


@pytest.mark.parametrize("flat", [False, True])
def test_channels_have_weights_and_confounds_of_their_own(flat):
    """With a regularizer that joins filters, and windows that are singular along one axis (``flat``)."""
    rng = RNG(1)
    x = rng.standard_normal((2, 9, 8, 3))
    if flat:
        x[...] = x[:, :, :1]
    op = cm.kernel_operator(x, (2, 3, 3, 4), input_shape=(9, 8, 3), channels="last", padding=1, boundary="edge")
    weights = rng.integers(0, 3, op.out_shape)
    y = np.where(weights, rng.standard_normal(op.out_shape), np.nan)
    confounds = rng.standard_normal((2, 2, *op.out_shape[1:3]))
    Z = np.zeros((2, 4, *op.out_shape))
    for f in range(4):
        Z[:, f, ..., f] = confounds
    D, R = op.to_dense(), cm.conv(np.array([1.0, -1.0]).reshape(1, 1, 1, 2), op.in_shape)
    options = {"input_shape": (9, 8, 3), "channels": "last", "padding": 1, "boundary": "edge", "weights": weights}
    for chosen, P in (({}, None), ({"damp": 20, "regularizer": R}, 20 * R.to_dense())):
        K = cm.fit_kernel(x, y, op.in_shape, confounds=confounds, **chosen, **options)
        assert np.allclose(K.ravel(), least(D, y, weights, Z, P), rtol=1e-7, atol=1e-9)


def test_a_room_response_from_a_sweep_is_that_of_levinson(monkeypatch):
    gram_alone(monkeypatch)
    rng, n, k = RNG(2), 2000, 120
    t = np.arange(n) / n
    x = np.sin(2 * np.pi * n * (0.01 * t + 0.2 * t**2))
    y = np.convolve(x, rng.standard_normal(k) * np.exp(-np.arange(k) / 20)) + 0.01 * rng.standard_normal(n + k - 1)
    row = np.correlate(np.pad(x, k - 1), x, "valid")[k - 1 :]
    right = np.correlate(y, x, "valid")
    for damp in (0.0, 2.0):
        expected = scipy.linalg.solve_toeplitz(row + damp**2 * (np.arange(k) == 0), right)
        fitted = cm.fit_kernel(x, y, k, padding=[(k - 1, k - 1)], flip=True, damp=damp)
        assert np.linalg.norm(fitted - expected) <= 1e-9 * np.linalg.norm(expected)


def test_refined_solutions_are_those_of_extended_precision(monkeypatch):
    """Of a random walk, whose Gram matrix has a condition of 1e9: corrections give back the digits that it loses."""
    gram_alone(monkeypatch)
    x = np.cumsum(RNG(3).standard_normal(4000))
    k = 24
    W = slide(x[None, None], [k], stride=[1], dilation=[1], boundary=["zero"], padding=[(0, 0)])
    y = RNG(4).standard_normal(len(W))
    damp = 1e-3 * np.linalg.norm(W, 2)
    wide = W.astype(np.longdouble)
    H, g = wide.T @ wide + np.longdouble(damp) ** 2 * np.eye(k), wide.T @ y
    for j in range(k):  # Gauss, without pivots: H is positive definite
        factors = H[j + 1 :, j] / H[j, j]
        H[j + 1 :] -= factors[:, None] * H[j]
        g[j + 1 :] -= factors * g[j]
    for j in reversed(range(k)):
        g[j] = (g[j] - H[j, j + 1 :] @ g[j + 1 :]) / H[j, j]
    assert 1e5 < np.linalg.cond(W.T @ W + damp**2 * np.eye(k)) < 1e10
    assert np.linalg.norm(cm.fit_kernel(x, y, k, damp=damp) - g) <= 1e-12 * np.linalg.norm(g)
    D = cm.kernel_operator(x, k)
    assert np.linalg.norm(cm.solve(D, y, damp=damp, method="windows").x - g) <= 1e-12 * np.linalg.norm(g)


def test_the_shortest_of_many_kernels(monkeypatch):
    gram_alone(monkeypatch)
    rng = RNG(5)
    x, y = rng.standard_normal((2, 30)), rng.standard_normal((2, 6))
    W = slide(x[:, None], [25], stride=[1], dilation=[1], boundary=["zero"], padding=[(0, 0)])
    fitted = cm.fit_kernel(x, y, 25, input_shape=30)
    assert np.allclose(fitted, np.linalg.pinv(W) @ y.ravel(), rtol=1e-10)
    damped = cm.fit_kernel(x, y, 25, input_shape=30, damp=0.5)
    assert np.allclose(damped, least(W, y, P=0.5 * np.eye(25)), rtol=1e-10)


def test_long_kernels_take_memory_like_their_signals():
    rng, n, k = RNG(6), 2500, 4000
    x, h = rng.standard_normal(n), rng.standard_normal(k)
    y = scipy.signal.fftconvolve(x, h)
    tracemalloc.start()
    fitted = cm.fit_kernel(x, y, k, padding=[(k - 1, k - 1)], flip=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.allclose(fitted, h, rtol=0, atol=1e-10)
    assert peak < 40 * 8 * (n + 2 * k)  # 4 MB: a Gram matrix would take 128


def test_masked_outputs_and_huge_inputs_that_do_not_count():
    x, K = RNG(7).standard_normal(60), np.array([1.0, -2.0, 0.5])
    y = np.correlate(x, K, "valid")
    x[20] = 1e18
    y = np.ma.MaskedArray(y, np.isin(np.arange(len(y)), [18, 19, 20]))
    y.data[18:21] = np.nan
    assert np.allclose(cm.fit_kernel(x, y, 3), K, rtol=1e-10)


def test_a_mask_leaves_the_rows_that_were_measured():
    """Beside least squares of NumPy on these rows of windows; with weights, a list of regularizers, and without."""
    rng, k = RNG(11), 4
    x, mask = rng.standard_normal((2, 20)), rng.random((2, 17)) > 0.3
    y, weights = rng.standard_normal(mask.shape), rng.random(mask.shape)
    W = slide(x[:, None], [k], stride=[1], dilation=[1], boundary=["zero"], padding=[(0, 0)])[mask.ravel()]
    holes = np.where(mask, y, np.nan)
    Rs = [cm.conv([1.0, -1.0], k), cm.identity(k)]
    P = 0.5 * np.vstack([R.to_dense() for R in Rs])
    options = {"input_shape": 20, "mask": mask}

    assert np.allclose(cm.fit_kernel(x, holes, k, **options), least(W, y[mask]), rtol=1e-9)
    fitted = cm.fit_kernel(x, holes, k, weights=weights, damp=0.5, regularizer=Rs, **options)
    assert np.allclose(fitted, least(W, y[mask], weights[mask], P=P), rtol=1e-9)
    half = np.ma.MaskedArray(y, np.indices(y.shape)[1] % 2 == 0)
    rows = (mask & ~half.mask)[mask]
    assert np.allclose(cm.fit_kernel(x, half, k, **options), least(W[rows], y[mask][rows]), rtol=1e-9)


def test_an_empty_list_of_confounds_is_that_of_none():
    x, y = RNG(12).standard_normal((2, 9))
    D = cm.kernel_operator(x, 2).to_dense()
    for weights in (None, np.arange(8.0)):
        fitted = cm.fit_kernel(x, y[:8], 2, weights=weights, confounds=np.zeros((0, 8)))
        assert np.allclose(fitted, least(D, y[:8], weights), rtol=1e-9)


def fits():
    """Inputs, outputs and options of fits that are differentiated."""
    rng = RNG(8)
    x, weights = rng.standard_normal((2, 9)), np.array([1.0, 0, 2, 1, 3, 1, 1])
    confounds = rng.standard_normal((1, 2, 7))
    R = cm.conv([1.0, -1.0], 3)
    yield "plain", x, (2, 7), 3, {}
    yield "everything", x, (2, 7), 3, {"weights": weights, "confounds": confounds, "damp": 0.4, "regularizer": R}
    yield "shortest", x, (2, 2), 8, {}
    yield "toeplitz", x, (2, 13), 5, {"padding": [(4, 4)]}
    flat = x.copy()
    flat[:] = flat[:1]
    yield "singular, damped", flat, (2, 7), 3, {"damp": 0.1}
    yield "complex", x + 1j * x[:, ::-1], (2, 7), 3, {"damp": 0.1, "weights": weights}


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("case", list(fits()), ids=lambda case: case[0])
def test_gradients_are_those_of_differences(case, library):
    torch = pytest.importorskip(library) if library == "torch" else None
    _, x, shape, k, options = case
    rng = RNG(9)
    y, c = rng.standard_normal(shape), rng.standard_normal(k)
    if np.iscomplexobj(x):
        y = y - 1j * rng.standard_normal(shape)

    def loss(x, y):
        return (cm.fit_kernel(x, y, k, input_shape=9, **options).real * c).sum()

    if torch:
        arrays = [torch.tensor(array, requires_grad=True) for array in (x, y)]
        cm.fit_kernel(*arrays, k, input_shape=9, **options).real.mul(torch.tensor(c)).sum().backward()
        gradients = [array.grad.numpy() for array in arrays]
    else:
        jax = pytest.importorskip("jax")
        jax.config.update("jax_enable_x64", True)
        gradients = [np.conj(g) for g in jax.jit(jax.grad(loss, (0, 1)))(x, y)]
    steps = [1e-6 * rng.standard_normal(array.shape) * (1j if np.iscomplexobj(array) else 1) for array in (x, y)]
    expected = loss(x + steps[0], y + steps[1]) - loss(x - steps[0], y - steps[1])
    product = 2 * sum(np.vdot(g, step).real for g, step in zip(gradients, steps, strict=True))
    assert np.isclose(product, expected, rtol=1e-5, atol=1e-13)


def test_gradients_keep_the_rank_of_windows():
    """Two channels that are equal: of the many kernels the shortest is followed, as pseudo-inverses of NumPy show."""
    torch = pytest.importorskip("torch")
    rng = RNG(10)
    half, y, c = rng.standard_normal((1, 12)), rng.standard_normal((1, 10)), rng.standard_normal((1, 2, 3))

    def fit(half, y):
        return cm.fit_kernel(
            half.repeat(2, 1) if torch.is_tensor(half) else np.tile(half, (2, 1)), y, (1, 2, 3), channels="first"
        )

    tensors = [torch.tensor(array, requires_grad=True) for array in (half, y)]
    (fit(*tensors) * torch.tensor(c)).sum().backward()
    step = 1e-6 * rng.standard_normal(half.shape)
    difference = ((fit(half + step, y) - fit(half - step, y)) * c).sum()
    assert np.isclose(2 * np.vdot(tensors[0].grad.numpy(), step), difference, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": np.ones(4)}, r"weights has shape \(4,\)\. Expected \(5,\)"),
        ({"weights": -np.ones(5)}, "weights are not all finite real numbers >= 0"),
        ({"weights": np.zeros(5)}, "no output was measured. Expected some weight above 0"),
        (
            {"confounds": np.ones(5)},
            r"confounds have shape \(5,\)\. Expected \(n, 5\).* A single one is confounds\[None\]",
        ),
        ({"confounds": [[1, np.nan, 0, 0, 0]]}, "confounds contain inf or nan"),
        ({"confounds": [[1j, 0, 0, 0, 0]]}, "confounds are complex, and x and y are real"),
        ({"damp": -1}, "damp=-1. Expected a finite number >= 0"),
        ({"regularizer": cm.identity(3), "damp": 1}, r"regularizer takes \(3,\) and op takes \(2,\)"),
        ({"regularizer": cm.identity(2)}, "a regularizer with damp=0"),
        (
            {"y": np.array([np.nan, 0, 0, 0, 0])},
            r"y contains inf or nan. Expected finite numbers. Pass mask=numpy.isfinite\(y\)",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=rf"^fit_kernel: {message}"):
        cm.fit_kernel(np.arange(6.0), kernel_shape=2, **{"y": np.ones(5), **options})
