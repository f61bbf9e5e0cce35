"""SciPy's and NumPy's convolutions, and MATLAB's law for its matrix."""

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import scipy.signal

import convmtx as cm

from .agreement import assert_same_map, whole

# Sizes of array and kernel: odd and even taps, fewer than the array has entries, as many, and more.
FITTING = [
    ((6,), (3,)), ((5,), (4,)), ((4,), (4,)), ((1,), (1,)),
    ((5, 6), (3, 3)), ((4, 5), (2, 4)), ((6, 4), (3, 2)), ((3, 4), (3, 1)),
    ((4, 3, 5), (3, 2, 2)), ((3, 4, 2), (2, 3, 1)),
]  # fmt: skip
WIDER = [((3,), (6,)), ((1,), (4,)), ((3, 2), (4, 5)), ((1, 3), (2, 8)), ((2, 3, 1), (3, 4, 2))]
MIXED = [((2, 6), (5, 3)), ((1, 4), (4, 2)), ((5, 2, 3), (2, 3, 3))]
PLANE = [(n, k) for n, k in FITTING + WIDER + MIXED if len(n) == 2]

fitting = pytest.mark.parametrize(("n", "k"), FITTING, ids=str)
every_size = pytest.mark.parametrize(("n", "k"), FITTING + WIDER + MIXED, ids=str)
every_plane = pytest.mark.parametrize(("n", "k"), PLANE, ids=str)
every_dtype = pytest.mark.parametrize("dtype", [float, complex, int])
every_mode = pytest.mark.parametrize("mode", ["full", "same", "valid"])


def each(function, x):
    """``function`` of each array of the batch."""
    return np.stack([function(image) for image in x])


@every_size
@every_dtype
@pytest.mark.parametrize(("mode", "padding"), [("full", "full"), ("same", "same_lower")])
def test_signal_convolve_and_correlate(n, k, dtype, mode, padding):
    h, x = whole(*k, dtype=dtype), whole(2, *n, dtype=dtype)
    convolved = each(lambda x: scipy.signal.convolve(x, h, mode, method="direct"), x)
    assert_same_map(cm.conv(h, n, padding=padding, flip=True), x, convolved)
    correlated = each(lambda x: scipy.signal.correlate(x, h, mode, method="direct"), x)
    assert_same_map(cm.conv(h.conj(), n, padding=padding), x, correlated)


@fitting
@every_dtype
def test_signal_valid(n, k, dtype):
    h, x = whole(*k, dtype=dtype), whole(2, *n, dtype=dtype)
    convolved = each(lambda x: scipy.signal.convolve(x, h, "valid", method="direct"), x)
    assert_same_map(cm.conv(h, n, flip=True), x, convolved)
    correlated = each(lambda x: scipy.signal.correlate(x, h, "valid", method="direct"), x)
    assert_same_map(cm.conv(h.conj(), n), x, correlated)


@every_plane
@pytest.mark.parametrize(("theirs", "ours"), [("fill", "zero"), ("wrap", "wrap"), ("symm", "symmetric")])
@pytest.mark.parametrize("dtype", [float, complex])
@every_mode
def test_convolve2d_and_correlate2d_boundaries(n, k, theirs, ours, dtype, mode):
    if mode == "valid" and np.any(np.less(n, k)):
        n = tuple(np.maximum(n, k).tolist())
    h, x = whole(*k, dtype=dtype), whole(2, *n, dtype=dtype)
    convolved = each(lambda x: scipy.signal.convolve2d(x, h, mode, theirs), x)
    padding = "same_lower" if mode == "same" else mode
    assert_same_map(cm.conv(h, n, padding=padding, boundary=ours, flip=True), x, convolved)
    # Where taps are even in number, correlate2d starts one later than correlate: its 'same' is the frameworks'.
    correlated = each(lambda x: scipy.signal.correlate2d(x, h, mode, theirs), x)
    assert_same_map(cm.conv(h.conj(), n, padding=mode, boundary=ours), x, correlated)


@every_size
@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("constant", "zero"), ("grid-constant", "zero"), ("wrap", "wrap"), ("grid-wrap", "wrap"),
        ("mirror", "reflect"), ("reflect", "symmetric"), ("grid-mirror", "symmetric"), ("nearest", "edge"),
    ],
)  # fmt: skip
def test_ndimage_modes(n, k, theirs, ours):
    h, x = whole(*k), whole(2, *n)
    correlated = each(lambda x: scipy.ndimage.correlate(x, h, mode=theirs), x)
    assert_same_map(cm.conv(h, n, padding="same_lower", boundary=ours), x, correlated)
    convolved = each(lambda x: scipy.ndimage.convolve(x, h, mode=theirs), x)
    assert_same_map(cm.conv(h, n, padding="same", boundary=ours, flip=True), x, convolved)


@pytest.mark.parametrize("boundary", ["zero", "wrap", "edge"])
def test_ndimage_modes_may_differ_from_axis_to_axis(boundary):
    theirs = {"zero": "constant", "wrap": "wrap", "edge": "nearest"}[boundary]
    h, x = whole(3, 4), whole(2, 5, 3)
    rows = each(lambda x: scipy.ndimage.correlate(x, h[:, :1], mode="mirror"), x)
    both = each(lambda x: scipy.ndimage.correlate(x, h[:1], mode=theirs), rows)
    separable = h[:, :1] * h[:1]
    assert_same_map(cm.conv(separable, (5, 3), padding="same_lower", boundary=("reflect", boundary)), x, both)


@pytest.mark.parametrize("origin", [-1, 0, 1])
def test_ndimage_origin_moves_pads_from_one_side_to_the_other(origin):
    h, x = whole(4, 3), whole(2, 5, 6)
    y = each(lambda x: scipy.ndimage.correlate(x, h, mode="nearest", origin=origin), x)
    pads = [(k // 2 + origin, k - 1 - k // 2 - origin) for k in h.shape]
    assert_same_map(cm.conv(h, (5, 6), padding=pads, boundary="edge"), x, y)


def both_forms(h, n, mode, order="C"):
    """The dense matrix, after seeing that the sparse one is the same."""
    dense = cm.convmtx(h, n, mode, form="dense", order=order)
    np.testing.assert_array_equal(cm.convmtx(h, n, mode, order=order).toarray(), dense, strict=True)
    return dense


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
@every_mode
@every_dtype
def test_convmtx_is_convolution_matrix(k, n, mode, dtype):
    h, x = whole(k, dtype=dtype), whole(n, seed=1, dtype=dtype)
    T = both_forms(h, n, mode)
    np.testing.assert_array_equal(T, scipy.linalg.convolution_matrix(h, n, mode), strict=True)
    np.testing.assert_array_equal(T @ x, np.convolve(h, x, mode), strict=True)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_numpy_convolve_and_correlate(k, n):
    h, x = whole(k, dtype=complex), whole(2, n, dtype=complex)
    assert_same_map(cm.conv(h, n, padding="full", flip=True), x, each(lambda x: np.convolve(x, h), x))
    assert_same_map(cm.conv(h.conj(), n, padding="full"), x, each(lambda x: np.correlate(x, h, "full"), x))
    if k <= n:  # beyond, NumPy swaps the two
        y = each(lambda x: np.convolve(x, h, "same"), x)
        assert_same_map(cm.conv(h, n, padding="same_lower", flip=True), x, y)
        y = each(lambda x: np.correlate(x, h, "same"), x)
        assert_same_map(cm.conv(h.conj(), n, padding="same_lower"), x, y)
        assert_same_map(cm.conv(h, n, flip=True), x, each(lambda x: np.convolve(x, h, "valid"), x))
        assert_same_map(cm.conv(h.conj(), n), x, each(lambda x: np.correlate(x, h, "valid"), x))


@every_mode
@every_dtype
@pytest.mark.parametrize(("n", "k"), FITTING + WIDER, ids=str)
def test_convmtx_in_more_axes_is_signal_convolve(n, k, mode, dtype):
    h, x = whole(*k, dtype=dtype), whole(*n, seed=1, dtype=dtype)
    # SciPy's "same" is of the size of its first argument; here it is of the larger one.
    first, second = (x, h) if np.all(np.less_equal(k, n)) else (h, x)
    y = scipy.signal.convolve(first, second, mode, method="direct")
    np.testing.assert_array_equal(both_forms(h, n, mode) @ x.ravel(), y.ravel(), strict=True)


@pytest.mark.parametrize(("n", "k"), MIXED, ids=str)
def test_convmtx_is_signal_convolve_where_neither_holds_the_other(n, k):
    h, x = whole(*k), whole(*n, seed=1)
    full = scipy.signal.convolve(x, h, "full", method="direct")
    np.testing.assert_array_equal(both_forms(h, n, "full") @ x.ravel(), full.ravel(), strict=True)


@every_size
@every_dtype
def test_matlab_law_of_column_major_order(n, k, dtype):
    h, X = whole(*k, dtype=dtype), whole(*n, seed=1, dtype=dtype)
    T = both_forms(h, n, "full", order="F")
    Y = scipy.signal.convolve(X, h, "full", method="direct")
    np.testing.assert_array_equal((T @ X.ravel(order="F")).reshape(Y.shape, order="F"), Y, strict=True)
