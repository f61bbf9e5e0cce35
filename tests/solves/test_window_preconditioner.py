"""Maps of kernels whose Gram matrix takes long: the preconditioner by mean power of windows, beside dense solutions."""

import numpy as np
import pytest
import scipy.signal

import convmtx as cm
from convmtx import fitting
from convmtx.solves.methods.iterated_windows import IteratedFit
from solves.dense import matrix_of

rng = np.random.default_rng(0)
SIGNAL = scipy.signal.lfilter([1], [1, -0.9], rng.standard_normal(1200))
STEREO = scipy.signal.lfilter([1], [1, -0.9], rng.standard_normal((1000, 2)), axis=0)
PICTURE = scipy.signal.lfilter([1], [1, -0.9], rng.standard_normal((60, 60)), axis=1)
CASES = {  # input, shape of the kernel, options
    "valid": (SIGNAL, (200,), {}),
    "stride": (SIGNAL, (200,), {"stride": 2, "dilation": 2}),
    "channels": (STEREO, (100, 2, 3), {}),
    "groups": (STEREO, (100, 1, 2), {"groups": 2}),
    "picture": (PICTURE, (14, 15), {}),
    "complex": (PICTURE + 1j * PICTURE[::-1], (11, 12), {"stride": (1, 2), "padding": "same", "boundary": "reflect"}),
}


def problem(name):
    x, shape, options = CASES[name]
    op = cm.kernel_operator(x, shape, **options)
    numbers = np.random.default_rng(1)
    K = numbers.standard_normal(shape)
    return op, op(K) + 0.01 * numbers.standard_normal(op.out_shape)


def least_squares(op, y, damp=0.0, R=None, weights=None, columns=None):
    """Return the kernel by NumPy, with other columns fitted too."""
    A, n = matrix_of(op), op.shape[1]
    if columns is not None:
        A = np.concatenate([A, columns], axis=1)
    root = np.ones(op.shape[0]) if weights is None else np.sqrt(weights.ravel())
    penalty = damp * (np.eye(n) if R is None else matrix_of(R))
    below = np.pad(penalty, ((0, 0), (0, A.shape[1] - n)))
    right = np.concatenate([root * y.ravel(), np.zeros(len(below))])
    return np.linalg.lstsq(np.concatenate([root[:, None] * A, below]), right, rcond=None)[0][:n].reshape(op.in_shape)


@pytest.mark.parametrize("name", CASES)
def test_fewer_steps_to_the_same_kernel(name):
    op, y = problem(name)
    exact = least_squares(op, y, 1.0)
    plain = cm.solve(op, y, damp=1.0, method="lsmr", rtol=1e-10)
    s = cm.solve(op, y, damp=1.0, method="preconditioned", rtol=1e-10)
    assert s.converged
    assert "mean circulant" in s.method
    assert np.linalg.norm(s.x - exact) <= min(s.error, 1e-6) * np.linalg.norm(exact)
    assert s.iterations <= 0.55 * plain.iterations


def test_weights_and_a_regularizer():
    op, y = problem("valid")
    w = rng.random(op.out_shape) * (rng.random(op.out_shape) > 0.1)
    R = cm.conv([1.0, -2, 1], 200, padding="same")
    for damp, regularizer in ((1.0, None), (10.0, R)):
        s = cm.solve(op, y, damp=damp, regularizer=regularizer, weights=w, method="preconditioned", rtol=1e-10)
        exact = least_squares(op, y, damp, regularizer, w)
        assert s.converged
        assert np.linalg.norm(s.x - exact) <= 1e-6 * np.linalg.norm(exact)
        assert s.iterations <= 100


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("damp", [0.0, 1.0])
def test_kernels_fitted_by_iteration(name, damp, monkeypatch):
    """As those whose Gram matrix would take longer than the limit."""
    runs = []
    monkeypatch.setattr(fitting, "LONGEST_SOLVE", -1.0)
    monkeypatch.setattr(IteratedFit, "solve", lambda self, b, solve=IteratedFit.solve: runs.append(0) or solve(self, b))
    (x, shape, options), (op, y) = CASES[name], problem(name)
    fitted = cm.fit_kernel(x, y, shape, damp=damp, **options)
    assert runs
    exact = least_squares(op, y, damp)
    assert np.linalg.norm(fitted - exact) <= 1e-9 * np.linalg.norm(exact)


def test_confounds_and_gradients_of_a_kernel_fitted_by_iteration(monkeypatch):
    torch = pytest.importorskip("torch")
    op, y = problem("valid")
    w, drift = rng.random(op.out_shape), np.linspace(-1, 1, op.shape[0])
    exact = least_squares(op, y + 5 * drift, 1.0, None, w, drift[:, None])
    g = torch.tensor(rng.standard_normal(op.in_shape))

    def fitted():
        x, outputs = (torch.tensor(array, requires_grad=True) for array in (SIGNAL, y + 5 * drift))
        kernel = cm.fit_kernel(x, outputs, 200, damp=1.0, weights=torch.tensor(w), confounds=torch.tensor(drift[None]))
        (kernel * g).sum().backward()
        return kernel.detach().numpy(), x.grad.numpy(), outputs.grad.numpy()

    direct = fitted()
    monkeypatch.setattr(fitting, "LONGEST_SOLVE", -1.0)
    iterated = fitted()
    assert not np.array_equal(iterated[0], direct[0])
    assert np.linalg.norm(iterated[0] - exact) <= 1e-9 * np.linalg.norm(exact)
    for one, other in zip(direct, iterated, strict=True):
        assert np.linalg.norm(one - other) <= 1e-8 * np.linalg.norm(one)


def test_of_many_kernels_the_shortest_is_fitted(monkeypatch):
    """Tap 2 reads zeros alone, so that iterations with a preconditioner would leave something there."""
    monkeypatch.setattr(fitting, "LONGEST_SOLVE", -1.0)
    x, y = np.array([1.0, 3.0]), np.array([2.0, 5.0])
    K = cm.fit_kernel(x, y, 3, padding=[(0, 2)])
    assert np.allclose(K, least_squares(cm.kernel_operator(x, 3, padding=[(0, 2)]), y))
