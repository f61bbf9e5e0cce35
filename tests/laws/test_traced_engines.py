"""Engines in the operations of an array library: the same results and derivatives by every name of an engine."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.engines import traced

jax = pytest.importorskip("jax")
torch = pytest.importorskip("torch")
jax.config.update("jax_enable_x64", True)
jnp = jax.numpy
KINDS = [
    ((3, 2), (5, 4), {"stride": 2, "padding": 2, "boundary": "reflect"}),
    ((5, 9), (4, 6), {"padding": 4, "boundary": "wrap", "stride": 2}),
    ((4, 1, 3, 2), (2, 5, 6), {"channels": "first", "groups": 2, "stride": (2, 1), "dilation": (1, 2),
                               "input_dilation": (2, 1), "padding": [(3, -1), (2, 4)],
                               "boundary": ("zero", "edge")}),
    ((3, 2, 3, 3), (2, 4, 5), {"channels": "first", "padding": "full", "boundary": "symmetric"}),
]  # fmt: skip
ENGINES = ("auto", "direct", "fft", "jax")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("kernel", "shape", "options"), KINDS)
def test_maps_and_derivatives_of_jax_are_the_matrix(kernel, shape, options, engine):
    rng = np.random.default_rng(0)
    K, x = rng.standard_normal((2, *kernel)), rng.standard_normal((2, *shape))
    D, E = (cm.conv(taps, shape, **options).to_dense() for taps in K)
    y = x.reshape(2, -1) @ D.T
    taps, inputs = jnp.asarray(K), jnp.asarray(x)

    def apply(taps, x):
        return cm.conv(taps, shape, engine=engine, **options)(x)

    op = cm.conv(taps[0], shape, engine=engine, **options)
    assert np.allclose(jax.jit(op)(inputs).reshape(2, -1), y)
    assert np.allclose(op.T(op(inputs)).reshape(2, -1), y @ D)
    assert np.allclose(jax.vmap(apply, (0, None))(taps, inputs[0])[1].ravel(), E @ x[0].ravel())
    assert np.allclose(jax.vmap(apply)(taps, inputs)[1].ravel(), E @ x[1].ravel())
    assert np.allclose(jax.jacrev(op)(inputs[0]).reshape(D.shape), D)
    assert np.allclose(jax.jacfwd(op)(inputs[0]).reshape(D.shape), D)
    energy = jax.hessian(lambda x: (apply(taps[0], x) ** 2).sum() / 2)
    assert np.allclose(energy(inputs[0]).reshape(D.shape[1], -1), D.T @ D)
    # The map is linear in its kernel, so its derivative times the other kernel is the map of that kernel.
    for jacobian in (jax.jacrev, jax.jacfwd):
        slope = jacobian(apply)(taps[0], inputs[0])
        assert np.allclose(jnp.tensordot(slope, taps[1], len(kernel)).ravel(), E @ x[0].ravel())
    mixed = jax.jacfwd(jax.jacrev(apply, 1), 0)(taps[0], inputs[0])
    assert np.allclose(jnp.tensordot(mixed, taps[1], len(kernel)).reshape(D.shape), E)


@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "torch"])
@pytest.mark.parametrize(("kernel", "shape", "options"), KINDS)
def test_tensors_are_applied_by_every_engine(kernel, shape, options, engine):
    rng = np.random.default_rng(0)
    K, x = torch.tensor(rng.standard_normal(kernel)), torch.tensor(rng.standard_normal((2, *shape)))
    D = cm.conv(K.numpy(), shape, **options).to_dense()
    op = cm.conv(K, shape, engine=engine, **options)
    assert np.allclose(op(x).reshape(2, -1), x.numpy().reshape(2, -1) @ D.T)
    assert np.allclose(torch.func.jacrev(op)(x[0]).reshape(D.shape), D)


@pytest.mark.parametrize("make", [jnp.asarray, torch.tensor])
def test_outer_products_are_applied_one_axis_after_the_other(make):
    rng = np.random.default_rng(0)
    K = rng.standard_normal((4, 3, 1, 1)) * np.outer(rng.standard_normal(5), rng.standard_normal(4))
    options = {"channels": "first", "groups": 2, "stride": (1, 2), "padding": 3, "boundary": ("zero", "reflect")}
    x = rng.standard_normal((2, 6, 8, 9))
    D = cm.conv(K, x.shape[1:], **options).to_dense()
    op = cm.conv(make(K), x.shape[1:], engine="separable", **options)
    assert np.allclose(op(make(x)).reshape(2, -1), x.reshape(2, -1) @ D.T)
    with pytest.raises(ValueError, match="Expected floating point and a constant kernel, an outer product"):
        cm.conv(make(K + rng.standard_normal(K.shape)), x.shape[1:], engine="separable", **options)(make(x))


@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "separable"])
@pytest.mark.parametrize("make", [jnp.asarray, torch.tensor])
def test_what_is_not_finite_reaches_its_windows_alone(make, engine):
    x = np.random.default_rng(0).standard_normal((9, 20))
    x[4, 5], x[0, 19] = np.nan, np.inf
    K = np.outer(np.arange(1.0, 4), np.arange(1.0, 6))
    windows = np.lib.stride_tricks.sliding_window_view(x, K.shape)
    expected = (windows * K).sum((-1, -2))
    assert np.allclose(cm.conv(make(K), x.shape, engine=engine)(make(x)), expected, equal_nan=True)


def test_requested_engines_are_those_that_run(monkeypatch):
    """Every engine gives the same numbers, so the program says which one it is."""
    K, x = jnp.ones((9, 9)), jnp.ones((40, 40))
    names = [engine for engine in ENGINES if engine != "auto"]
    programs = {engine: jax.jit(cm.conv(K, (40, 40), engine=engine)).lower(x).as_text() for engine in names}
    assert ["stablehlo.fft" in programs[engine] for engine in ("direct", "fft", "jax")] == [False, True, False]
    assert ["stablehlo.convolution" in programs[engine] for engine in ("direct", "jax")] == [False, True]
    monkeypatch.setattr(traced, "fft", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cm.conv(torch.ones(3), 5, engine="fft")(torch.ones(5))


def test_explanations_name_the_engine_of_jax():
    rough = jnp.asarray(np.random.default_rng(0).standard_normal((41, 41)))
    assert cm.conv(rough, (512, 512)).explain().engine == "fft"
    assert cm.conv(jnp.outer(rough[0], rough[1]), (512, 512)).explain().engine == "separable"
    assert cm.conv(rough[:3, :3], (512, 512)).explain().engine == "direct"
    assert cm.conv(rough, (512, 512), engine="jax").explain().reason == "requested"
