"""The matrix of a function is that of its unit vectors, bit for bit, after as few applications as promised."""

from importlib import import_module

import numpy as np
import pytest
import scipy.ndimage as ndi
import scipy.signal

import convmtx as cm
from convmtx.recognition.functions import Box, random_arrays
from matrices import assert_is
from unit_vectors import matrix_of, promised, require_probed

MODES = ("reflect", "mirror", "nearest", "constant", "wrap")
SHAPE = (22, 19)


def around(n, span):
    """Colours around a circle."""
    return -(-n // (n // span))


def function_of(op):
    """A function that multiplies by the matrix of a map."""
    matrix = op.to_sparse()
    return lambda x: (matrix @ x.ravel()).reshape(op.out_shape)


def check(f, in_shape, most, **options):
    op = cm.probe(f, in_shape, **options)
    require_probed(op, matrix_of(f, op.in_shape, options.get("dtype", float)), most)
    return op


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("f", "span"),
    [
        (lambda x, mode: ndi.gaussian_filter(x, 1, mode=mode, radius=3), 7),
        (lambda x, mode: ndi.uniform_filter(x, 4, mode=mode), 4),
        (lambda x, mode: ndi.sobel(x, mode=mode), 3),
        (lambda x, mode: ndi.laplace(x, mode=mode), 3),
        (lambda x, mode: ndi.gaussian_laplace(x, 0.6, mode=mode), 5),
    ],
    ids=["gaussian", "uniform", "sobel", "laplace", "gaussian_laplace"],
)
def test_filters_of_scipy(f, span, mode):
    combs = np.prod([around(n, span) for n in SHAPE]) if mode == "wrap" else span**2
    op = check(lambda x: f(x, mode), SHAPE, promised(combs, 2, dilated=2))

    assert op.offset is None


@pytest.mark.parametrize("mode", MODES)
def test_integers_are_exact(mode):
    taps = np.random.default_rng(0).integers(-9, 10, (3, 5))
    combs = 3 * 5 if mode != "wrap" else around(22, 3) * around(19, 5)

    op = check(lambda x: ndi.correlate(x, taps, mode=mode), SHAPE, promised(combs, 2, exact=True), dtype=int)

    assert op.noise == 0
    assert op.dtype == int


@pytest.mark.parametrize("mode", ["interp", "mirror", "nearest", "constant", "wrap"])
def test_savgol_filter(mode):
    combs = around(40, 7) if mode == "wrap" else 7
    check(lambda x: scipy.signal.savgol_filter(x, 7, 3, mode=mode), 40, promised(combs, 1))
    check(lambda x: scipy.signal.savgol_filter(x, 7, 3, axis=0, mode=mode), (40, 3), promised(combs, 2))


@pytest.mark.parametrize("boundary", ["zero", "reflect", "symmetric", "edge", "wrap"])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_strides_and_dilations(boundary, stride, dilation):
    """A map of convmtx, as a function: its dense matrix comes from the kernel alone."""
    rng = np.random.default_rng(1)
    options = {"padding": dilation, "stride": stride, "dilation": dilation, "boundary": boundary, "channels": "first"}
    ours = cm.conv(rng.integers(1, 9, (2, 3, 3, 3)), (3, 19, 23), **options)
    op = cm.probe(function_of(ours), ours.in_shape, dtype=int)

    np.testing.assert_array_equal(op.to_dense(), ours.to_dense())
    if boundary == "wrap":
        combs = 3 * around(19, 2 * dilation + 1) * around(23, 2 * dilation + 1)
    else:
        combs = 3 * (3 if boundary == "zero" else 2 * dilation + 1) ** 2
    assert op.probes <= promised(combs, 3, stride, dilated=2, exact=True)


def test_transposed_and_depthwise_maps_take_few():
    rng = np.random.default_rng(2)
    up = cm.conv_transpose(rng.integers(1, 9, (4, 4)), (13, 11), stride=2, padding=1)
    each_channel = cm.conv(rng.integers(1, 9, (30, 1, 3)), (30, 40), channels="first", groups=30)
    for ours, combs in ((up, 4), (each_channel, 3)):
        op = cm.probe(function_of(ours), ours.in_shape, dtype=int)
        np.testing.assert_array_equal(op.to_dense(), ours.to_dense())
        assert op.probes <= promised(combs, 2, exact=True)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: ndi.correlate(x, np.arange(1, 10.0).reshape(3, 3))[::-1].T,
        lambda x: ndi.correlate(x, np.arange(1, 10.0).reshape(3, 3)).ravel(),
        lambda x: ndi.zoom(x, 1.7, order=1),
        lambda x: ndi.rotate(x, 30, order=1),
        lambda x: ndi.gaussian_filter(x, 1, radius=2)[np.random.default_rng(3).random(SHAPE) > 0.8],
        lambda x: x[3:7, 2:9],
        lambda x: np.cumsum(x, axis=0),
        lambda x: np.roll(x, 3, 1),
        lambda x: np.asarray(np.gradient(x)),
        lambda x: 0 * x,
        np.sum,
        np.triu,
    ],
    ids=[
        "flipped",
        "flattened",
        "zoom",
        "rotate",
        "masked",
        "crop",
        "cumsum",
        "roll",
        "gradient",
        "zero",
        "sum",
        "triu",
    ],
)
def test_functions_of_other_patterns(f):
    """All places of an axis that is not regular are read, and never more than all unit vectors beside the checks."""
    check(f, SHAPE, np.prod(SHAPE) + 9 + 2 * (4 + max(SHAPE)))


def test_outputs_that_read_further_than_others_are_noticed():
    """Neither the middle nor the ends show the one entry that the check misses."""

    def f(x):
        y = ndi.uniform_filter(x, 3)
        y[5, 4] += 1e-9 * x[17, 15]
        return y

    op = check(f, SHAPE, np.prod(SHAPE))

    assert op.to_dense()[5 * 19 + 4, 17 * 19 + 15] == 1e-9


def test_numbers_that_decay_are_not_noise():
    """An exponential filter reaches all inputs before; its entries go down to 0.5**59."""
    op = check(lambda x: scipy.signal.lfilter([1], [1, -0.5], x), 60, 60 + 9 + 4 + 20)

    assert op.noise == 0
    assert op.to_dense()[59, 0] == 0.5**59


def test_noise_of_fourier_transforms_is_left_out():
    taps = np.random.default_rng(4).standard_normal((3, 3))
    op = cm.probe(lambda x: scipy.signal.fftconvolve(x, taps, "same"), SHAPE)
    expected = cm.conv(taps, SHAPE, padding="same", flip=True).to_sparse()

    assert 0 < op.noise < 1e-14
    assert op.to_sparse().nnz == expected.nnz
    assert abs(op.to_sparse() - expected).max() <= op.noise
    assert op.probes <= promised(9, 2)


def test_an_affine_function():
    offset = np.arange(20.0)
    op = check(lambda x: 3 * x[::-1] + offset, 20, promised(1, 1))

    np.testing.assert_array_equal(op.offset, offset)
    x = np.random.default_rng(5).standard_normal(20)
    np.testing.assert_allclose(cm.Affine(op, op.offset)(x), 3 * x[::-1] + offset, rtol=1e-14)


def test_complex_functions():
    rng = np.random.default_rng(6)
    taps = rng.standard_normal((3, 3)) + 1j * rng.standard_normal((3, 3))
    check(lambda x: ndi.correlate(x, taps), SHAPE, promised(9, 2), dtype=complex)
    check(np.fft.rfft, 16, 16 + promised(0, 1))


def test_a_function_that_writes_to_its_input():
    def f(x):
        x *= 2
        x[1:] += x[:-1]
        return x

    check(f, 9, 9 + promised(0, 1))


def test_rows_are_probed_where_they_are_fewer():
    rng = np.random.default_rng(7)
    ours = cm.conv(rng.integers(1, 9, (1, 16, 4, 4)), (16, 24, 24), stride=4, channels="first")
    columns = cm.probe(function_of(ours), ours.in_shape, dtype=int)
    rows = cm.probe(function_of(ours), ours.in_shape, adjoint=function_of(ours.H), dtype=int)

    for op in (columns, rows):
        np.testing.assert_array_equal(op.to_dense(), ours.to_dense())
    assert columns.probes >= 16 * 16
    assert rows.probes <= 16 + 2 * promised(1, 3, 4)


def test_an_adjoint_of_a_complex_function():
    rng = np.random.default_rng(8)
    taps = rng.standard_normal(7) + 1j * rng.standard_normal(7)
    ours = cm.conv(taps, 30, stride=7)
    op = cm.probe(function_of(ours), 30, adjoint=function_of(ours.H), dtype=complex)

    np.testing.assert_array_equal(op.to_dense(), ours.to_dense())
    assert op.probes < 30 + 9  # so that rows were right, and no columns were probed


def test_reach():
    def f(x):
        return ndi.uniform_filter(x, 3)

    check(f, SHAPE, promised(9, 2), reach=3)
    check(f, SHAPE, promised(5 * 3, 2), reach=(5, 3))
    with pytest.raises(cm.ArgumentError, match=r"probe: reach=2 along axis 1, where an output reads 3 inputs"):
        cm.probe(f, SHAPE, reach=(3, 2))
    with pytest.raises(cm.ArgumentError, match="reach"):
        cm.probe(f, SHAPE, reach=(3, 3, 3))


def test_reach_helps_where_the_middle_shows_too_little():
    """Outputs read one input in the middle and at the ends, and three elsewhere."""
    weights = np.where(np.abs(np.arange(40) - 12) < 3, 1.0, 0.0)

    def f(x):
        y = 2 * x
        y[1:-1] += weights[1:-1] * (x[:-2] + x[2:])
        return y

    alone = check(f, 40, 40 + 2 * promised(1, 1))
    helped = check(f, 40, promised(3, 1), reach=3)

    assert helped.probes < alone.probes


def test_it_is_a_map_like_any_other():
    taps = np.random.default_rng(9).integers(-9, 10, (2, 3))
    op = cm.probe(lambda x: ndi.correlate(x, taps, mode="constant"), (4, 5), dtype=int)

    assert_is(op, matrix_of(lambda x: ndi.correlate(x, taps, mode="constant"), (4, 5), int), np.random.default_rng(10))


def test_errors_name_the_call():
    for f, match in (
        (lambda x: np.maximum(x, 0), "a function that does not take -2 x to"),
        (lambda x: ndi.median_filter(x, 3), "a function that does not take x"),
        (lambda x: x * np.random.default_rng().random(9), "random"),
    ):
        with pytest.raises(cm.ArgumentError, match=f"probe: f is {match}"):
            cm.probe(f, 9)
    with pytest.raises(cm.ArgumentError, match="probe: f is real-linear only"):
        cm.probe(np.conj, 9, dtype=complex)


def test_few_applications_for_a_large_function(monkeypatch):
    """Blocks of combs are bounded: of this function one input and one output take a quarter of a block."""
    monkeypatch.setattr("convmtx.recognition.functions._BLOCK_BYTES", 2 * 4 * 8 * 128**2)
    largest = []
    apply = Box._images

    def spy(self, X):
        largest.append(len(X))
        return apply(self, X)

    monkeypatch.setattr(Box, "_images", spy)
    op = cm.probe(lambda x: ndi.gaussian_filter(x, 1), (128, 128))

    assert op.probes == promised(81, 2)
    assert max(largest) == 4
    x = np.random.default_rng(11).standard_normal((128, 128))
    np.testing.assert_allclose(op(x), ndi.gaussian_filter(x, 1), rtol=1e-13, atol=1e-15)


def test_blocks_of_combs_and_of_outputs(monkeypatch):
    """Blocks of two combs and of seven outputs, with a shorter last one of each."""
    monkeypatch.setattr("convmtx.recognition.functions._BLOCK_BYTES", 2 * 2 * 8 * np.prod(SHAPE))
    monkeypatch.setattr(import_module("convmtx.recognition.probe"), "_ENTRIES", 7 * 25 + 3)
    for mode in ("mirror", "constant"):
        check(lambda x, mode=mode: ndi.gaussian_filter(x, 1, mode=mode, radius=2), SHAPE, promised(25, 2))


def test_the_matrix_is_as_scipy_has_it():
    """Indices ascend, take four bytes, and stand for no zeros."""
    op = cm.probe(lambda x: ndi.gaussian_filter(x, 1, mode="wrap", radius=2), SHAPE)

    assert op.matrix.has_canonical_format
    assert op.matrix.indices.dtype == op.matrix.indptr.dtype == np.int32
    assert op.matrix.data.all()
    np.testing.assert_array_equal(np.diff(op.matrix.indptr), 25)


def test_terms_that_cancel_in_the_check_differ_by_their_roundings():
    """The image of the first random input is a rounding of its terms, which f adds up in another order."""
    x = random_arrays(2, (4,), np.dtype(float))[0]
    taps = np.array([0.1, 0.7, 0.3, 0])
    taps[3] = -(taps @ x) / x[3]

    def f(x):
        return (taps * x)[::-1].cumsum()[-1:]

    assert f(x)[0] != (taps * x).cumsum()[-1]
    check(f, 4, 4 + promised(0, 1))


def test_what_does_not_fit_in_memory_is_refused(monkeypatch):
    monkeypatch.setattr("convmtx.memory.available", lambda: 1 << 26)
    with pytest.raises(cm.FormTooLargeError, match=r"probe: the matrix of f takes 127 MB"):
        cm.probe(lambda x: ndi.gaussian_filter(x, 1), (256, 256))
