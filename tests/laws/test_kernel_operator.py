"""The map of the kernel: the same convolution, read the other way."""

import numpy as np
import pytest
from hypothesis import given

import convmtx as cm
from convmtx.maps.kernel_operator import KernelOperator
from convmtx.structure import windows
from strategies import cases, small_integers


def of(case, x):
    op = case.op
    return KernelOperator(op.geometry, x, x.shape[: x.ndim - len(op.in_shape)], "auto")


@given(cases(dtypes=[np.int64, np.float64, np.complex128], dims=(1, 2, 3)))
def test_every_form_is_the_map_of_the_kernel(case):
    rng = np.random.default_rng(0)
    x = small_integers(rng, (2, *case.op.in_shape), case.op.dtype)
    K = np.asarray(case.op.kernel)
    op, expected = of(case, x), case.op(x)
    D, y = op.to_dense(), small_integers(rng, (3, *op.out_shape), np.int64)

    assert np.array_equal(op(K), expected)
    assert np.array_equal(op(np.stack([K, 2 * K]))[1], 2 * expected)
    assert np.array_equal(D @ K.ravel(), expected.ravel())
    assert np.array_equal(op.to_dense("F") @ K.ravel("F"), expected.ravel("F"))
    assert np.array_equal(op.to_tensor().reshape(D.shape), D)
    assert np.array_equal(op.to_sparse(rows=[0, -1]).toarray(), D[[0, -1]])
    assert np.array_equal(op.T(y).reshape(3, -1), y.reshape(3, -1) @ D)
    assert np.array_equal(op.H(y).reshape(3, -1), y.reshape(3, -1) @ D.conj())


@given(cases(dtypes=[np.float64, np.complex128], dims=(1, 2)))
def test_fitted_kernels_are_those_of_least_squares(case):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *case.op.in_shape))
    op = of(case, x)
    y = rng.standard_normal(op.out_shape)
    g, D = case.op.geometry, op.to_dense()
    kind = {
        "stride": [a.stride for a in g.axes], "dilation": [a.dilation for a in g.axes],
        "input_dilation": [a.input_dilation for a in g.axes], "padding": [(a.lo, a.hi) for a in g.axes],
        "boundary": [a.boundary.name for a in g.axes], "groups": g.groups, "flip": g.flip,
        "channels": None if g.layout.value == "none" else g.layout.value,
    }  # fmt: skip
    if g.transposed:
        return
    K = cm.fit_kernel(x, y, op.in_shape, input_shape=case.op.in_shape, **kind)

    assert np.allclose(K.ravel(), np.linalg.lstsq(D, y.ravel(), rcond=None)[0], rtol=1e-6, atol=1e-7)


def test_a_fit_is_the_same_in_blocks_and_gives_the_kernel_back(monkeypatch):
    rng = np.random.default_rng(0)
    K, x = rng.standard_normal((4, 2, 3, 3)), rng.standard_normal((5, 4, 12, 11))
    options = {"channels": "first", "groups": 2, "padding": 1, "boundary": "reflect"}
    y = cm.conv(K, (4, 12, 11), **options)(x)
    monkeypatch.setattr(windows, "BLOCK_BYTES", 1 << 14)

    assert np.allclose(cm.fit_kernel(x, y, K.shape, input_shape=(4, 12, 11), **options), K, rtol=0, atol=1e-12)


def test_kernels_are_fitted_to_half_precision_in_single():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    x, K = np.arange(12.0) ** 2 % 7, np.array([1.0, -2.0, 0.5])
    y = np.correlate(x, K, "valid")
    for make in (
        np.float16,
        lambda array: torch.tensor(array, dtype=torch.bfloat16),
        lambda array: torch.tensor(array, dtype=torch.float16),
        lambda array: jax.numpy.asarray(array, "bfloat16"),
    ):
        fitted = cm.fit_kernel(make(x), make(y), 3)
        assert str(fitted.dtype).endswith("float32")
        assert np.allclose(np.asarray(fitted), K, atol=1e-5)


def photographed(side, kind=np.float32):
    """A smooth picture in single precision, as photographs are, and what a blur makes of it."""
    x = np.cumsum(np.cumsum(np.random.default_rng(0).standard_normal((side, side)), 0), 1)
    x = ((x - x.min()) / np.ptp(x)).astype(kind)
    K = np.multiply.outer(np.hanning(9)[1:-1], np.hanning(9)[1:-1])
    return x, sum(w * x[p : side - 6 + p, q : side - 6 + q].astype(float) for (p, q), w in np.ndenumerate(K)).astype(
        kind
    )


def by_lstsq(x, y):
    """NumPy's least squares in double precision on all windows of 7 x 7."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (7, 7)).reshape(-1, 49)
    wide = np.result_type(x, np.float64)
    return np.linalg.lstsq(windows.astype(wide), y.ravel().astype(wide), rcond=None)[0].reshape(7, 7)


@pytest.mark.parametrize("side", [40, 160])
@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("complex_", [False, True])
def test_kernels_fitted_in_single_precision_are_those_of_double(side, library, complex_):
    """At any size: singular values of windows of smooth pictures go down to rounding errors of single precision."""
    make = {"numpy": lambda: np.asarray, "torch": lambda: pytest.importorskip("torch").tensor,
            "jax": lambda: pytest.importorskip("jax").numpy.asarray}[library]()  # fmt: skip
    x, y = photographed(side)
    if complex_:
        x, y = x + 1j * x.T, y + 1j * y.T
    assert x.dtype.itemsize == (8 if complex_ else 4)
    fitted, wanted = np.asarray(cm.fit_kernel(make(x), make(y), (7, 7))), by_lstsq(x, y)
    assert fitted.dtype == x.dtype
    assert np.linalg.norm(fitted - wanted) <= 1e-6 * np.linalg.norm(wanted)


def test_kernels_are_fitted_in_double_whatever_the_type():
    x, y = photographed(40, np.float16)
    assert np.abs(cm.fit_kernel(x, y, (7, 7)) - by_lstsq(x, y)).max() <= 1e-6 * np.abs(by_lstsq(x, y)).max()
    x, y = photographed(40, np.longdouble)
    fitted = cm.fit_kernel(x, y, (7, 7))
    assert fitted.dtype == np.float64
    assert np.allclose(fitted, by_lstsq(x.astype(float), y.astype(float)), rtol=1e-6)


def test_gradients_of_kernels_that_jax_fits_without_double_precision():
    """Beside differences of the fit in double precision."""
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        x, y = (jax.numpy.asarray(each) for each in photographed(24))
        gradient = jax.jit(jax.grad(lambda x: cm.fit_kernel(x, y, (7, 7))[2, 3]))(x)
        assert gradient.dtype == np.float32
        x, y, gradient = (np.asarray(each, float) for each in (x, y, gradient))
    finally:
        jax.config.update("jax_enable_x64", before)
    step = gradient / np.linalg.norm(gradient) * 1e-7
    difference = (by_lstsq(x + step, y) - by_lstsq(x - step, y))[2, 3] / 2e-7
    assert np.isclose(difference, np.linalg.norm(gradient), rtol=1e-4)


def test_more_taps_than_memory_are_refused_before_anything_is_made(monkeypatch):
    monkeypatch.setattr("convmtx.memory.available", lambda: 1 << 34)
    with pytest.raises(MemoryError, match=r"fit_kernel: factorizing windows of 160000 taps takes .* Fit fewer taps"):
        cm.fit_kernel(np.ones((900, 900)), np.ones((501, 501)), (400, 400))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_fitted(bad):
    torch = pytest.importorskip("torch")
    x, y = np.arange(6.0), np.arange(5.0)
    for make in (np.array, torch.tensor):
        with pytest.raises(cm.ArgumentError, match="x contains inf or nan"):
            cm.fit_kernel(make([bad, *x[1:]]), make(y), 2)
        with pytest.raises(cm.ArgumentError, match="y contains inf or nan"):
            cm.fit_kernel(make(x), make([bad, *y[1:]]), 2)


def test_kernels_of_torch_and_jax():
    torch, jax = pytest.importorskip("torch"), pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    rng = np.random.default_rng(0)
    K, x = rng.standard_normal((4, 1, 2, 3)), rng.standard_normal((2, 5, 6))
    kind = {"channels": "first", "groups": 2, "padding": 2, "boundary": "edge", "stride": (1, 2)}
    here = cm.kernel_operator(x, K.shape, **kind)
    y = rng.standard_normal(here.out_shape)
    for make in (torch.tensor, jax.numpy.asarray):
        op = cm.kernel_operator(make(x), K.shape, **kind)
        assert np.allclose(np.asarray(op(make(K))), here(K))
        assert np.allclose(np.asarray(op.H(make(y))), here.H(y))
        assert np.allclose(np.asarray(op.to_dense()), here.to_dense())
        assert np.allclose(
            np.asarray(cm.fit_kernel(make(x), make(y), K.shape, **kind)), cm.fit_kernel(x, y, K.shape, **kind)
        )
    inputs = torch.tensor(x, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, K: cm.kernel_operator(x, K.shape, **kind)(K), (inputs, torch.tensor(K)))


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match=r"x has shape \(5,\)\. Expected \(\*batch, 4\)"):
        cm.kernel_operator(np.ones(5), 2, input_shape=4)
    with pytest.raises(ValueError, match=r"y has shape \(3,\)\. Expected \(4,\), the outputs of x"):
        cm.fit_kernel(np.ones(5), np.ones(3), 2)
    with pytest.raises(ValueError, match="Expected at least one output"):
        cm.fit_kernel(np.ones((0, 5)), np.ones((0, 4)), 2, input_shape=5)
    with pytest.raises(
        ValueError, match=r"^fit_kernel: kernel of shape \(8, 3, 3, 3\) .* pass input_shape=\(3, 8, 8\)\.$"
    ):
        cm.fit_kernel(np.ones((16, 3, 8, 8)), np.ones((16, 8, 6, 6)), (8, 3, 3, 3), channels="first")
    with pytest.raises(ValueError, match=r"^fit_kernel: x has shape \(5,\)\. Expected \(\*batch, 6\)"):
        cm.fit_kernel(np.ones(5), np.ones(4), 2, input_shape=6)
    with pytest.raises(TypeError, match=r"^fit_kernel: x has dtype bool"):
        cm.fit_kernel(np.ones(5, bool), np.ones(4), 2)
    with pytest.raises(ValueError, match=r"^kernel_operator: axis 0 has 5 positions"):
        cm.kernel_operator(np.ones(5), 6)
