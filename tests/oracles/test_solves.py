"""Solvers of SciPy, PyLops and scikit-image, on the same data."""

import numpy as np
import pytest
import scipy.linalg
from scipy.sparse import eye_array
from scipy.sparse.linalg import lsmr, spsolve

import convmtx as cm

RNG = np.random.default_rng(0)
K1 = np.array([0.5, 1, 6, -2, 1])
K2 = RNG.standard_normal((3, 5)) + 9 * np.eye(3)[1][:, None] * np.eye(5)[2]


def assert_same(found, expected, rtol=1e-12):
    assert found.shape == expected.shape
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected)


@pytest.mark.parametrize("method", ["auto", "band", "sparse", "dense"])
@pytest.mark.parametrize("kind", "fc")
def test_solve_toeplitz(method, kind):
    k = K1 + 1j * K1[::-1] * (kind == "c")
    k = k if kind == "c" else k.real
    op, b = cm.conv(k, 40, padding="same"), RNG.standard_normal(40)
    column, row = np.zeros((2, 40), k.dtype)
    column[:3], row[:3] = k[2::-1], k[2:]
    assert_same(cm.solve(op, b, method=method).x, scipy.linalg.solve_toeplitz((column, row), b))


@pytest.mark.parametrize("method", ["auto", "blocks", "lsmr"])
def test_solve_circulant(method):
    op, b = cm.conv(K1, 40, padding="same", boundary="wrap"), RNG.standard_normal((3, 40))
    column = np.zeros(40)
    column[[0, 1, 2, -1, -2]] = K1[[2, 1, 0, 3, 4]]
    found = cm.solve(op, b, method=method, rtol=1e-13).x
    assert_same(found, scipy.linalg.solve_circulant(column, b, baxis=1, outaxis=1))


@pytest.mark.parametrize("method", ["band", "sparse", "dense"])
@pytest.mark.parametrize("boundary", ["zero", "reflect", "wrap", "edge"])
def test_spsolve(method, boundary):
    op = cm.conv(K2, (12, 11), padding="same", boundary=boundary)
    b = RNG.standard_normal((12, 11))
    assert_same(cm.solve(op, b, method=method).x.ravel(), spsolve(op.to_sparse("csc"), b.ravel()))


@pytest.mark.parametrize("damp", [0.0, 0.5])
@pytest.mark.parametrize("padding", [0, "same", "full"])
def test_lsmr_takes_the_same_steps(damp, padding):
    op = cm.conv(K2, (12, 11), padding=padding)
    b = RNG.standard_normal(op.out_shape)
    s = cm.solve(op, b, damp=damp, method="lsmr", rtol=1e-6)
    x, _, steps, *_ = lsmr(op.to_sparse(), b.ravel(), damp, 1e-6, 1e-6, 0)
    assert abs(s.iterations - steps) <= 1
    assert_same(s.x.ravel(), x, 1e-4)
    s = cm.solve(op, b, damp=damp, method="lsmr", maxiter=5)
    x = lsmr(op.to_sparse(), b.ravel(), damp, 0, 0, 0, 5)[0]
    assert_same(s.x.ravel(), x)


def test_inverses_are_preconditioners_of_scipy():
    op = cm.conv(K2, (12, 11), padding="same")
    A = op.to_sparse("csr")
    b = RNG.standard_normal(op.shape[0])
    damped = spsolve((A.T @ A + 0.25 * eye_array(op.shape[1])).tocsc(), A.T @ b)
    assert_same(cm.pinv(op, damp=0.5) @ b, damped)


@pytest.mark.parametrize("boundary", ["zero", "wrap"])
def test_pylops(boundary):
    pylops = pytest.importorskip("pylops")
    op = cm.conv(K2, (9, 8), padding="same", boundary=boundary)
    R = cm.conv([[0, 1.0, 0], [1, -4, 1], [0, 1, 0]], (9, 8), padding="same", boundary=boundary)
    b = RNG.standard_normal(op.shape[0])
    theirs, penalty = (pylops.MatrixMult(each.to_dense()) for each in (op, R))
    x = pylops.optimization.leastsquares.regularized_inversion(
        theirs, b, [penalty], epsRs=[0.3], damp=0, atol=1e-14, btol=1e-14, iter_lim=2000, show=0
    )[0]
    s = cm.solve(op, b.reshape(9, 8), damp=0.3, regularizer=R)
    assert_same(s.x.ravel(), x, 1e-8)
    x = pylops.optimization.basic.lsqr(theirs, b, damp=0.7, niter=2000, atol=1e-14, btol=1e-14, show=False)[0]
    assert_same(cm.solve(op, b.reshape(9, 8), damp=0.7).x.ravel(), x, 1e-8)


@pytest.mark.parametrize("balance", [0.01, 0.7])
@pytest.mark.parametrize("shape", [(12, 14), (13, 12), (11, 9)])
def test_wiener_of_scikit_image(balance, shape):
    """Whose penalty is a Laplacian around the circle, and whose kernels begin at their first tap where a kernel is an
    impulse response: a convolution, with the kernel's middle at ``size // 2``.
    """
    restoration = pytest.importorskip("skimage.restoration")
    psf, image = np.abs(RNG.standard_normal((5, 3))), RNG.standard_normal(shape)
    wrap = {"padding": "same", "boundary": "wrap"}
    op = cm.conv(psf, shape, flip=True, **wrap)
    laplacian = cm.conv([[0, -1.0, 0], [-1, 4, -1], [0, -1, 0]], shape, **wrap)
    expected = restoration.wiener(image, psf, balance, clip=False)
    s = cm.solve(op, image, damp=balance**0.5, regularizer=laplacian)
    assert s.method.startswith("blocks (fourier x fourier")
    assert_same(s.x, expected, 1e-10)
