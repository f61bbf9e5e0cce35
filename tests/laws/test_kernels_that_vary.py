"""Kernels that vary: windows times their own kernels, sums of convolutions, and the layers of other libraries."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
from matrices import FORMATS, assert_is
from strategies import BOUNDARIES, cases, small_integers

EXACT = [np.int8, np.int64, np.float32, np.complex128]


def options_of(op):
    """Arguments of `conv` beside kernel and shape that make an operator's geometry."""
    g = op.geometry
    return {
        "stride": tuple(a.stride for a in g.axes), "dilation": tuple(a.dilation for a in g.axes),
        "padding": [(a.lo, a.hi) for a in g.axes], "boundary": [a.boundary.name for a in g.axes],
        "input_dilation": tuple(a.input_dilation for a in g.axes), "groups": g.groups, "flip": g.flip,
        "channels": {"none": None}.get(g.layout.value, g.layout.value),
    }  # fmt: skip


def positions(op, per):
    return tuple(a.out if per == "output" else a.size for a in op.geometry.axes)


def numbers_of(op, per):
    """The number of the position of each row, or of each column."""
    shape, sizes = (op.out_shape, positions(op, per)) if per == "output" else (op.in_shape, positions(op, per))
    numbers, layout = np.arange(np.prod(sizes)).reshape(sizes), op.geometry.layout.value
    numbers = numbers[..., None] if layout == "last" else numbers[None] if layout == "first" else numbers
    return np.broadcast_to(numbers, shape).ravel()


def by_position(case, K, per):
    """The matrix whose rows, or columns, are those of the convolution with the kernel at their position."""
    D, numbers = np.zeros(case.op.shape, K.dtype), numbers_of(case.op, per)
    for m, kernel in enumerate(K.reshape(-1, *case.op.kernel.shape)):
        at = (numbers == m, slice(None)) if per == "output" else (slice(None), numbers == m)
        D[at] = case.op.with_kernel(kernel).to_dense()[at]
    return D


@settings(max_examples=12)
@given(cases(dims=(1, 2), dtypes=EXACT), st.sampled_from(["output", "input"]), st.integers(0, 2**32))
def test_local_maps_have_the_rows_of_the_kernels_at_their_positions(case, per, seed):
    rng = np.random.default_rng(seed)
    K = small_integers(rng, (*positions(case.op, per), *case.op.kernel.shape), case.op.dtype)
    op = cm.local(K, case.op.in_shape, per=per, **options_of(case.op))
    assert_is(op, by_position(case, K, per), rng)
    assert op.nnz == op.to_sparse().nnz == case.op.nnz


@settings(max_examples=12)
@given(cases(dtypes=[np.float32, np.float64, np.complex64]), st.sampled_from(["output", "input"]))
def test_equal_kernels_are_a_convolution_to_the_last_bit(case, per):
    op, rng = case.op, np.random.default_rng(0)
    K = (rng.standard_normal(op.kernel.shape) * 10).astype(op.dtype)
    op = op.with_kernel(K)
    local = cm.local(np.broadcast_to(K, (*positions(op, per), *K.shape)), op.in_shape, per=per, **options_of(op))
    rows, columns = (rng.integers(0, n, 4 if n else 0) for n in op.shape)
    for order in "CF":
        for name in FORMATS:
            ours, theirs = local.to_sparse(name, order), op.to_sparse(name, order)
            assert ours.nnz == theirs.nnz
            assert np.array_equal(ours.toarray(), theirs.toarray())
        ours, theirs = local.to_sparse("csr", order), op.to_sparse("csr", order)
        for name in ("data", "indices", "indptr"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
            assert getattr(ours, name).dtype == getattr(theirs, name).dtype
        assert np.array_equal(local.to_dense(order), op.to_dense(order))
        for pair, numbers in (((local, op), rows), ((local.T, op.T), columns)):
            first, second = (each.to_sparse(rows=numbers, order=order).toarray() for each in pair)
            assert np.array_equal(first, second)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("layout", ["last", "first", None])
def test_windows_times_their_own_kernels(boundary, layout):
    rng = np.random.default_rng(0)
    n, k, stride, dilation, pads = (7, 6), (3, 2), (2, 1), (1, 2), ((1, 2), (3, 0))
    C, F = (4, 3) if layout else (1, 1)
    x = rng.integers(-9, 10, (2, C, *n))
    padded = np.pad(x, ((0, 0), (0, 0), *pads), {"zero": "constant"}.get(boundary, boundary))
    spans = [t * (m - 1) + 1 for t, m in zip(dilation, k, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, (2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    o = windows.shape[2:4]
    K = rng.integers(-9, 10, (*o, F, C, *k))
    expected = np.einsum("bcxyij,xyfcij->bfxy", windows, K)
    options = {"stride": stride, "dilation": dilation, "padding": pads, "boundary": boundary, "channels": layout}
    if layout == "first":
        assert np.array_equal(cm.local(K, (C, *n), **options)(x), expected)
    elif layout == "last":
        kernels = np.moveaxis(K, (2, 3), (5, 4))
        y = cm.local(kernels, (*n, C), **options)(np.moveaxis(x, 1, -1))
        assert np.array_equal(np.moveaxis(y, -1, 1), expected)
    else:
        assert np.array_equal(cm.local(K[:, :, 0, 0], n, **options)(x[:, 0]), expected[:, 0])


def test_locally_connected_layers_of_pytorch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, K = rng.integers(-9, 10, (2, 3, 8, 7)).astype(float), rng.integers(-9, 10, (4, 4, 5, 3, 3, 2)).astype(float)
    patches = torch.nn.functional.unfold(torch.from_numpy(x), (3, 2), padding=(1, 1), stride=2).numpy()
    expected = np.einsum("bpo,ofp->bfo", patches, K.reshape(16, 5, -1)).reshape(2, 5, 4, 4)
    op = cm.local(K, (3, 8, 7), padding=1, stride=2, channels="first")
    assert np.array_equal(op(x), expected)


def test_locally_connected_layers_of_jax_and_flax():
    """flax.linen.ConvLocal calls this function with a kernel of (outputs, channels * taps, filters)."""
    jax = pytest.importorskip("jax")
    rng = np.random.default_rng(0)
    x, flat = rng.integers(-9, 10, (2, 6, 5, 3)), rng.integers(-9, 10, (3, 5, 3 * 3 * 2, 4))
    names = ("NHWC", "HWIO", "NHWC")
    with jax.enable_x64(True):
        options = {"padding": "SAME", "filter_shape": (3, 2), "dimension_numbers": names}
        expected = jax.lax.conv_general_dilated_local(x.astype(float), flat.astype(float), (2, 1), **options)
    K = np.moveaxis(flat.reshape(3, 5, 3, 3, 2, 4), 2, 4)
    op = cm.local(K, (6, 5, 3), stride=(2, 1), padding=[(0, 1), (0, 1)])
    assert np.array_equal(op(x), expected)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_the_transpose_of_one_kind_is_of_the_other(boundary):
    rng = np.random.default_rng(0)
    K = rng.integers(-9, 10, (6, 5, 3, 3))
    gathers = cm.local(K, (6, 5), padding=1)
    spreads = cm.local(K, (6, 5), padding=1, flip=True, per="input")
    assert np.array_equal(gathers.T.to_dense(), spreads.to_dense())
    circle = {"padding": 1, "boundary": boundary}
    for per in ("output", "input"):
        op = cm.local(K, (6, 5), per=per, **circle)
        y = rng.integers(-9, 10, (6, 5))
        assert np.array_equal(op.T(y).ravel(), op.to_dense().T @ y.ravel())


@settings(max_examples=12)
@given(cases(dims=(1, 2), dtypes=EXACT), st.sampled_from(["output", "input"]), st.integers(0, 2**32))
def test_varying_kernels_are_sums_of_convolutions(case, per, seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 4))
    kernels = small_integers(rng, (count, *case.op.kernel.shape), case.op.dtype)
    weights = small_integers(rng, (count, *positions(case.op, per)), [np.int8, case.op.dtype][rng.integers(2)])
    matrix, numbers = 0, numbers_of(case.op, per)
    for kernel, weight in zip(kernels, weights, strict=True):
        at = weight.ravel()[numbers]
        D = case.op.with_kernel(kernel).to_dense()
        matrix = matrix + (at[:, None] * D if per == "output" else D * at)
    op = cm.varying(kernels, weights, case.op.in_shape, per=per, **options_of(case.op))
    assert_is(op, matrix, rng)
    assert_is(op + op, matrix + matrix, rng)
    for relative, its in ((op, matrix), (op.T, matrix.T), (op.H, matrix.conj().T)):
        assert relative.to_sparse().nnz == case.op.nnz  # one pattern, and not one for each kernel
        assert np.array_equal(relative.to_sparse().toarray(), its)


def hats(size, first, step, count):
    """Weights of linear interpolation between places a step apart, constant beyond the ends: (count, size)."""
    places = first + step * np.arange(count)
    return np.stack([np.interp(np.arange(size), places, unit) for unit in np.eye(count)])


def test_pylops_filters_that_vary_along_an_axis():
    pylops = pytest.importorskip("pylops")
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((4, 5))
    theirs = pylops.signalprocessing.NonStationaryConvolve1D(24, filters, (3, 9, 15, 21))
    ours = cm.varying(filters, hats(24, 3, 6, 4), 24, padding="same", flip=True)
    # Its own todense() is the matrix of its adjoint.
    assert np.allclose(ours.to_dense(), theirs @ np.eye(24), rtol=0, atol=1e-14)
    x = rng.standard_normal(24)
    assert np.allclose(ours(x), theirs @ x, rtol=0, atol=1e-13)
    assert np.allclose(ours.H(x), theirs.H @ x, rtol=0, atol=1e-13)


def test_pylops_filters_that_vary_over_an_image():
    pylops = pytest.importorskip("pylops")
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((3, 2, 3, 5))
    theirs = pylops.signalprocessing.NonStationaryConvolve2D((14, 11), filters, (2, 6, 10), (3, 7))
    weights = hats(14, 2, 4, 3)[:, None, :, None] * hats(11, 3, 4, 2)[:, None]
    kernels = filters.reshape(6, 3, 5)
    ours = cm.varying(kernels, weights.reshape(6, 14, 11), (14, 11), padding="same", flip=True)
    assert np.allclose(ours.to_dense(), theirs.todense(), rtol=0, atol=1e-14)
    mixed = np.tensordot(weights.reshape(6, 14, 11), kernels, (0, 0))
    local = cm.local(mixed, (14, 11), per="input", padding="same", flip=True)
    assert np.allclose(local.to_dense(), theirs.todense(), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: cm.local(np.ones((3, 2)), 5), ValueError, r"Expected \(4,\) first, a kernel for each output"),
        (lambda: cm.local(np.ones((4, 2)), 5, per="input"), ValueError, r"Expected \(5,\) first"),
        (lambda: cm.local(np.ones((4, 2)), 5, per="tap"), ValueError, "per='tap'"),
        (lambda: cm.local(np.ones(4), 5), ValueError, "local: "),
        (lambda: cm.local(np.ones((4, 2), bool), 5), TypeError, "local: K has dtype bool"),
        (lambda: cm.local([["a"]], 1), TypeError, "local: "),
        (lambda: cm.local(np.ones((4, 4, 2, 2, 3, 2)), (5, 5, 2)), ValueError, "local: "),
        (lambda: cm.varying(np.ones((2, 3)), np.ones((3, 5)), 5), ValueError, r"Expected \(2, 5\)"),
        (lambda: cm.varying(np.ones((2, 3)), np.ones((2, 5)), 5, per="output"), ValueError, r"Expected \(2, 3\)"),
        (lambda: cm.varying(np.ones((0, 3)), np.ones((0, 5)), 5), ValueError, "at least one kernel"),
        (lambda: cm.varying(np.ones(3), np.ones(5), 5), ValueError, "varying: "),
        (lambda: cm.varying(3.0, np.ones(5), 5), ValueError, "varying: "),
        (lambda: cm.varying(np.ones((2, 3), bool), np.ones((2, 5)), 5), TypeError, "varying: kernels has dtype bool"),
        (lambda: cm.varying(np.ones((1, 3)), np.ones((1, 5)), 5, engine="no"), ValueError, "engine='no'"),
    ],
)  # fmt: skip
def test_errors_say_what_was_expected(call, error, text):
    with pytest.raises(error, match=text):
        call()
