"""Engines in the operations of an array library: the same results and derivatives by every name of an engine."""

import os
import subprocess
import sys

import numpy as np
import pytest

import convmtx as cm
from convmtx.engines import libraries, traced

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


def by_jax(op, x, _engine, transposed=False):
    """Apply a map to an array of JAX."""
    return (op.T if transposed else op)(x)


def by_pytorch(op, x, engine, transposed=False):
    """Apply a map by PyTorch's operations: tensors that hold numbers in the main memory have NumPy's engines."""
    apply = libraries.apply_transposed if transposed else libraries.apply
    return apply(op.geometry, op.kernel, x, engine)


#: Every engine by its name, and two maps by the one that should be fastest.
CASES = [(*kind, engine) for engine in ENGINES for kind in KINDS[:: 2 if engine == "auto" else 1]]


@pytest.mark.parametrize(("kernel", "shape", "options", "engine"), CASES)
def test_maps_and_derivatives_of_jax_are_the_matrix(kernel, shape, options, engine):
    rng = np.random.default_rng(0)
    K, x = rng.standard_normal((2, *kernel)), rng.standard_normal((2, *shape))
    D, E = (cm.conv(taps, shape, **options).to_dense() for taps in K)
    y = x.reshape(2, -1) @ D.T
    constant = cm.conv(jnp.asarray(K[0]), shape, engine=engine, **options)

    def apply(taps, x):
        return cm.conv(taps, shape, engine=engine, **options)(x)

    @jax.jit  # all in one program, which is compiled once
    def results(taps, inputs):
        op = cm.conv(taps[0], shape, engine=engine, **options)
        # The map is linear in its kernel, so its derivative times the other kernel is the map of that kernel.
        slopes = [jacobian(apply)(taps[0], inputs[0]) for jacobian in (jax.jacrev, jax.jacfwd)]
        mixed = jax.jacfwd(jax.jacrev(apply, 1), 0)(taps[0], inputs[0])
        return {
            "transposed": op.T(op(inputs)),
            "kernels": jax.vmap(apply, (0, None))(taps, inputs[0])[1],
            "both": jax.vmap(apply)(taps, inputs)[1],
            "jacobians": [jax.jacrev(op)(inputs[0]), jax.jacfwd(op)(inputs[0])],
            "hessian": jax.hessian(lambda x: (apply(taps[0], x) ** 2).sum() / 2)(inputs[0]),
            "slopes": [jnp.tensordot(slope, taps[1], len(kernel)) for slope in slopes],
            "mixed": jnp.tensordot(mixed, taps[1], len(kernel)),
        }

    assert np.allclose(constant(jnp.asarray(x)).reshape(2, -1), y)
    computed = results(jnp.asarray(K), jnp.asarray(x))
    assert np.allclose(computed["transposed"].reshape(2, -1), y @ D)
    assert np.allclose(computed["kernels"].ravel(), E @ x[0].ravel())
    assert np.allclose(computed["both"].ravel(), E @ x[1].ravel())
    assert all(np.allclose(jacobian.reshape(D.shape), D) for jacobian in computed["jacobians"])
    assert np.allclose(computed["hessian"].reshape(D.shape[1], -1), D.T @ D)
    assert all(np.allclose(slope.ravel(), E @ x[0].ravel()) for slope in computed["slopes"])
    assert np.allclose(computed["mixed"].reshape(D.shape), E)


@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "torch"])
@pytest.mark.parametrize(("kernel", "shape", "options"), KINDS)
def test_tensors_are_applied_by_every_engine(kernel, shape, options, engine):
    rng = np.random.default_rng(0)
    K, x = torch.tensor(rng.standard_normal(kernel)), torch.tensor(rng.standard_normal((2, *shape)))
    D = cm.conv(K.numpy(), shape, **options).to_dense()
    op = cm.conv(K, shape, engine=engine, **options)
    assert np.allclose(by_pytorch(op, x, engine).reshape(2, -1), x.numpy().reshape(2, -1) @ D.T)
    jacobian = torch.func.jacrev(lambda x: by_pytorch(op, x[None], engine)[0])(x[0])
    assert np.allclose(jacobian.reshape(D.shape), D)


@pytest.mark.parametrize(("make", "apply"), [(jnp.asarray, by_jax), (torch.tensor, by_pytorch)])
def test_outer_products_are_applied_one_axis_after_the_other(make, apply):
    rng = np.random.default_rng(0)
    K = rng.standard_normal((4, 3, 1, 1)) * np.outer(rng.standard_normal(5), rng.standard_normal(4))
    options = {"channels": "first", "groups": 2, "stride": (1, 2), "padding": 3, "boundary": ("zero", "reflect")}
    x = rng.standard_normal((2, 6, 8, 9))
    D = cm.conv(K, x.shape[1:], **options).to_dense()
    op = cm.conv(make(K), x.shape[1:], engine="separable", **options)
    assert np.allclose(apply(op, make(x), "separable").reshape(2, -1), x.reshape(2, -1) @ D.T)
    rough = cm.conv(make(K + rng.standard_normal(K.shape)), x.shape[1:], engine="separable", **options)
    y = rng.standard_normal((2, *op.out_shape))  # the transpose is not a convolution: it folds the border back
    assert np.allclose(apply(op, make(y), "separable", True).reshape(2, -1), y.reshape(2, -1) @ D)
    for argument, transposed in ((x, False), (y, True)):
        with pytest.raises(ValueError, match="Expected floating point and a constant kernel, an outer product"):
            apply(rough, make(argument), "separable", transposed)


@pytest.mark.parametrize("engine", ["auto", "direct", "fft", "separable"])
@pytest.mark.parametrize(("make", "apply"), [(jnp.asarray, by_jax), (torch.tensor, by_pytorch)])
def test_what_is_not_finite_reaches_its_windows_alone(make, apply, engine):
    x = np.random.default_rng(0).standard_normal((9, 20))
    x[4, 5], x[0, 19] = np.nan, np.inf
    K = np.outer(np.arange(1.0, 4), np.arange(1.0, 6))
    windows = np.lib.stride_tricks.sliding_window_view(x, K.shape)
    expected = (windows * K).sum((-1, -2))
    y = apply(cm.conv(make(K), x.shape, engine=engine), make(x)[None], engine)[0]
    assert np.allclose(y, expected, equal_nan=True)


def test_requested_engines_are_those_that_run(monkeypatch):
    """Every engine gives the same numbers, so the program says which one it is."""
    K, x = jnp.ones((9, 9)), jnp.ones((40, 40))
    names = [engine for engine in ENGINES if engine != "auto"]
    programs = {engine: jax.jit(cm.conv(K, (40, 40), engine=engine)).lower(x).as_text() for engine in names}
    assert ["stablehlo.fft" in programs[engine] for engine in ("direct", "fft", "jax")] == [False, True, False]
    assert ["stablehlo.convolution" in programs[engine] for engine in ("direct", "jax")] == [False, True]
    monkeypatch.setattr(traced, "fft", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        by_pytorch(cm.conv(torch.ones(3), 5, engine="fft"), torch.ones(1, 5), "fft")


def test_explanations_name_the_engine_of_jax():
    rough = jnp.asarray(np.random.default_rng(0).standard_normal((41, 41)))
    assert cm.conv(rough, (512, 512)).explain().engine == "fft"
    assert cm.conv(jnp.outer(rough[0], rough[1]), (512, 512)).explain().engine == "separable"
    assert cm.conv(rough[:3, :3], (512, 512)).explain().engine == "direct"
    assert cm.conv(rough, (512, 512), engine="jax").explain().reason == "requested"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_many_channels_are_left_to_jax(dtype):
    for sizes, engine in (((64, 64, 3, 3), "jax"), ((1, 1, 7, 7), "direct")):
        kernel = jnp.asarray(np.random.default_rng(0).standard_normal(sizes).astype(dtype))
        assert cm.conv(kernel, (sizes[1], 56, 56), channels="first").explain().engine == engine


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.05), ("float16", 5e-3)])
def test_narrow_types_are_kept_and_rounded_once(engine, dtype, tolerance):
    rng = np.random.default_rng(0)
    kernel, x = (jnp.asarray(rng.standard_normal(shape)).astype(dtype) for shape in ((5, 3), (2, 12, 11)))
    op = cm.conv(kernel, (12, 11), padding=2, boundary="reflect", engine=engine)
    D = cm.conv(np.asarray(kernel, float), (12, 11), padding=2, boundary="reflect").to_dense()
    exact = np.asarray(x, float).reshape(2, -1) @ D.T
    y = jax.jit(op)(x)
    back = op.T(y)
    assert y.dtype == back.dtype == kernel.dtype
    assert np.abs(np.asarray(y, float).reshape(2, -1) - exact).max() <= tolerance * np.abs(exact).max()
    exact = np.asarray(y, float).reshape(2, -1) @ D
    assert np.abs(np.asarray(back, float).reshape(2, -1) - exact).max() <= tolerance * np.abs(exact).max()


def test_jax_without_double_precision():
    """The default of JAX: its own process, because the other tests need double precision."""
    code = """
import jax, numpy as np, convmtx as cm
rng = np.random.default_rng(0)
K, x = rng.standard_normal((5, 3)).astype("f4"), rng.standard_normal((2, 9, 10)).astype("f4")
for boundary in ("zero", "reflect"):
    D = cm.conv(K.astype(float), (9, 10), padding=2, boundary=boundary).to_dense()
    for engine in ("auto", "direct", "fft", "jax"):
        op = cm.conv(jax.numpy.asarray(K), (9, 10), padding=2, boundary=boundary, engine=engine)
        y = jax.jit(op)(x)
        assert y.dtype == np.float32
        assert np.allclose(y.reshape(2, -1), x.reshape(2, -1) @ D.T, atol=1e-4)
        assert np.allclose(op.T(y).reshape(2, -1), y.reshape(2, -1) @ D, atol=1e-3)
        assert np.allclose(jax.jacrev(op)(x[0]).reshape(D.shape), D, atol=1e-5)
    outer = cm.conv(jax.numpy.asarray(np.outer(K[:, 0], K[0])), (9, 10), boundary=boundary, engine="separable")
    assert np.allclose(outer(x), cm.conv(np.outer(K[:, 0], K[0]), (9, 10))(x), atol=1e-4)
assert not jax.config.jax_enable_x64
"""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_ENABLE_X64"}
    subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], check=True, env=environment)
