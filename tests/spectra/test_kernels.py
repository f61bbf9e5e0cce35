"""Kernels made to a norm, and norms that are differentiated."""

import sys

import numpy as np
import pytest

import convmtx as cm
from spectra.dense import singular_values

RNG = np.random.default_rng(0)
K = RNG.standard_normal((3, 3, 2, 3))
OPTIONS = [
    {"padding": "same"}, {"padding": "same", "boundary": "wrap"}, {"padding": 1, "stride": 2},
    {"padding": "same", "boundary": "reflect"}, {"padding": "same", "dilation": 2}, {"padding": "full", "flip": True},
]  # fmt: skip


def top(op):
    return float(singular_values(op.to_dense().astype(np.result_type(op.dtype, float)))[0])


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, complex])
def test_norms_are_not_exceeded_and_projections_are_nearer_than_scaling(options, dtype):
    kernel = (K + 1j * K[::-1] if dtype is complex else K).astype(dtype)
    op = cm.conv(kernel, (7, 8, 2), **options)
    limit = 0.6 * top(op)
    clipped, projected, scaled = cm.clip(op, limit), cm.project(op, limit), cm.spectral_normalize(op, limit)
    for each in (clipped, projected, scaled):
        assert each.geometry == op.geometry
        assert each.kernel.dtype == op.kernel.dtype
        rounding = np.finfo(dtype).eps if each is scaled else 0  # of its kernel; the others are made with it in mind
        assert top(each) <= limit * (1 + 1e-14 + rounding)
    far = [np.linalg.norm(each.kernel - op.kernel) for each in (projected, clipped, scaled)]
    assert max(far[:2]) <= far[2] * (1 + 1e-6)
    if options.get("boundary") == "wrap":  # nearest on the circle that the map is
        assert far[0] <= far[1] < 0.9 * far[2]
    assert cm.clip(op, 2 * limit) is op


def test_projection_is_the_nearest_point():
    """No kernel within the limit on the circle is nearer: the condition of a projection, tried in many directions."""
    op = cm.conv(K[:, 0, 0, 0], 8, padding="same", boundary="wrap")
    limit = 0.7 * top(op)
    nearest = cm.project(op, limit, maxiter=3000).kernel
    for _ in range(300):
        other = RNG.standard_normal(3)
        other *= limit / top(op.with_kernel(other)) * RNG.uniform(0.2, 1)
        assert (op.kernel - nearest) @ (other - nearest) <= 1e-5


def test_integers_become_floats():
    op = cm.conv(np.ones((3, 3), int), (8, 8), padding="same")
    assert cm.clip(op, 5.0).kernel.dtype == np.float64


def test_zeros_stay_as_they_are():
    op = cm.conv(np.zeros(3), 8)
    assert cm.spectral_normalize(op) is op
    assert cm.project(op, 1.0) is op


@pytest.mark.parametrize("options", OPTIONS)
def test_gradients_of_the_norm(options):
    torch = pytest.importorskip("torch")
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)

    def value(K):
        return cm.norm(cm.conv(K, (7, 8, 2), **options)).value

    kernel = torch.tensor(K, requires_grad=True)
    assert torch.autograd.gradcheck(value, kernel)
    value(kernel).backward()
    for derivative in (jax.grad(value), jax.jit(jax.grad(value))):
        assert np.allclose(derivative(jax.numpy.asarray(K)), kernel.grad, atol=1e-12)
    normalised = cm.spectral_normalize(cm.conv(kernel, (7, 8, 2), **options))
    assert normalised.kernel.requires_grad
    assert np.isclose(float(cm.norm(normalised)), 1)
    traced = jax.jit(lambda K: cm.spectral_normalize(cm.conv(K, (7, 8, 2), **options)).kernel)(jax.numpy.asarray(K))
    assert np.allclose(traced, normalised.kernel.detach(), atol=1e-12)


def test_other_libraries_are_read_as_numbers():
    torch = pytest.importorskip("torch")
    op = cm.conv(torch.tensor(K), (7, 8, 2))
    assert np.allclose(np.asarray(cm.svdvals(op)), np.asarray(cm.svdvals(cm.conv(K, (7, 8, 2)))))
    assert isinstance(cm.clip(op, 1.0).kernel, torch.Tensor)
    assert isinstance(cm.norm(op).value, torch.Tensor)


def test_progress(monkeypatch, capsys):
    op = cm.conv(RNG.standard_normal((3, 3, 8, 8)), (40, 40, 8), padding="same")
    cm.norm(op, progress=True)
    assert "singular values" in capsys.readouterr().err
    cm.svdvals(cm.conv(np.ones((3, 3)), (8, 8), padding="same", boundary="wrap"), progress=True)
    assert "blocks" in capsys.readouterr().err
    cm.norm(op)
    assert capsys.readouterr().err == ""
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(ImportError, match=r'pip install "convmtx\[progress\]'):
        cm.norm(op, progress=True)


@pytest.mark.parametrize("power", [-1040, -600, 510, 1000])
@pytest.mark.parametrize("nearest", [cm.clip, cm.project])
def test_nearest_kernels_do_not_depend_on_the_scale(nearest, power):
    kernel = np.ones(3)
    wanted = nearest(cm.conv(kernel, 20, padding="same", boundary="wrap"), 2.0).kernel
    found = nearest(cm.conv(kernel * 2.0**power, 20, padding="same", boundary="wrap"), 2.0 * 2.0**power).kernel
    # To double precision, or to the smallest number.
    np.testing.assert_allclose(found, wanted * 2.0**power, rtol=4e-16, atol=5e-324)
    assert 1.9 < top(cm.conv(np.ldexp(found, -power), 20, padding="same", boundary="wrap")) < 2 + 1e-9


@pytest.mark.parametrize("nearest", [cm.clip, cm.project])
def test_subnormal_kernels_come_to_an_end(nearest):
    found = nearest(cm.conv(np.full(3, 1e-310), 20, padding="same", boundary="wrap"), 1e-310).kernel
    assert top(cm.conv(found * 2.0**1000, 20, padding="same", boundary="wrap")) <= 1e-310 * 2.0**1000 * (1 + 1e-12)
