"""Resizing: what holds for every library, and what NumPy computes itself."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.resizing import onnx_axis, torch_axis

METHODS = {
    "torch": ["nearest", "nearest-exact", "linear", "cubic", "area"],
    "onnx": ["nearest", "linear", "cubic"],
    "pil": ["nearest", "box", "linear", "hamming", "cubic", "lanczos"],
    "tf": ["nearest", "linear", "cubic", "area", "lanczos3", "lanczos5", "gaussian", "mitchellcubic"],
    "jax": ["nearest", "linear", "cubic", "cubic-pytorch", "lanczos3", "lanczos5", "area"],
}
every_method = pytest.mark.parametrize(
    ("like", "method"), [(like, method) for like, methods in METHODS.items() for method in methods]
)
SIZES = [(1, 1), (1, 6), (6, 1), (7, 4), (4, 7), (5, 10), (10, 5), (37, 11)]
every_size = pytest.mark.parametrize(("n", "m"), SIZES)


@every_method
def test_constants_stay(like, method):
    for n, m in SIZES:
        assert np.allclose(cm.resize(n, m, method, like=like)(np.ones(n)), 1, rtol=0, atol=1e-12)


@every_method
def test_axes_are_resized_one_by_one(like, method):
    op = cm.resize((2, 7, 3, 5), (2, 4, 3, 9), method, like=like)
    first, last = (cm.resize(n, m, method, like=like).to_dense() for n, m in ((7, 4), (5, 9)))
    x = np.random.default_rng(0).standard_normal((2, 7, 3, 5))
    expected = np.einsum("ij,ajbk,lk->aibl", first, x, last)
    assert np.allclose(op(x), expected, rtol=0, atol=1e-13)
    assert np.allclose(op.to_sparse() @ x.ravel(), expected.ravel(), rtol=0, atol=1e-13)
    assert np.vdot(op.H(expected), x) == pytest.approx(np.vdot(expected, expected), rel=1e-12)


@every_method
def test_mirrored_arrays_give_mirrored_ones(like, method):
    if method.startswith("nearest") or method == "box":
        return  # which round in one direction
    for n, m in SIZES:
        W = cm.resize(n, m, method, like=like).to_dense()
        # TensorFlow computes in float32, and reads its cubic window from a table of 1024 distances.
        atol = 2e-3 if (like, method) == ("tf", "cubic") else 1e-5 if like == "tf" else 1e-12
        assert np.allclose(W[::-1, ::-1], W, rtol=0, atol=atol)


@every_method
def test_the_same_shape_is_the_identity(like, method):
    op = cm.resize((3, 4), (3, 4), method, like=like)
    assert np.array_equal(op.to_dense(), np.eye(12))


@every_size
def test_linear_is_interp(n, m):
    at = np.arange(n)
    edges, corners = (np.arange(m) + 0.5) * n / m - 0.5, np.linspace(0, n - 1, m)
    for options, places in (({}, edges), ({"align_corners": True}, corners)):
        expected = np.stack([np.interp(places, at, column) for column in np.eye(n)], axis=1)
        for like in ("torch", "onnx"):
            op = cm.resize(n, m, "bilinear", like=like, **options)
            assert np.allclose(op.to_dense(), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("like", "method"), [("torch", "area"), ("tf", "area"), ("jax", "area"), ("pil", "box")])
def test_blocks_are_averaged(like, method):
    expected = np.kron(np.eye(5), np.full((1, 4), 0.25))
    assert np.array_equal(cm.resize(20, 5, method, like=like).to_dense(), expected)


@pytest.mark.parametrize(("n", "m"), [(7, 4), (4, 7), (37, 11)])
def test_areas_are_parts_of_inputs(n, m):
    # A running sum is linear between positions, so that a mean over part of an axis is a difference of two values.
    sums = np.concatenate([np.zeros((1, n)), np.cumsum(np.eye(n), axis=0)])
    ends = np.arange(m + 1) * n / m
    at = np.stack([np.interp(ends, np.arange(n + 1), column) for column in sums.T], axis=1)
    for like in ("tf", "jax"):
        op = cm.resize(n, m, "area", like=like)
        assert np.allclose(op.to_dense(), np.diff(at, axis=0) * m / n, rtol=0, atol=1e-13)
        assert op.to_sparse().nnz <= n + m - 1


@pytest.mark.parametrize(
    ("like", "antialias", "degree"), [("pil", True, 2), ("jax", False, 2), ("torch", True, 2), ("torch", False, 0)]
)
def test_cubic_interpolation_keeps_polynomials(like, antialias, degree):
    # Of the slopes of Keys's window, -1/2 alone keeps more than constants; near the ends, taps are cut off.
    n, m = 20, 50
    places = (np.arange(m) + 0.5) * n / m - 0.5
    inner = (places >= 1) & (places < n - 2)
    op = cm.resize(n, m, "cubic", like=like, antialias=antialias)
    for power in range(degree + 2):
        kept = np.allclose(op(np.arange(n) ** power)[inner], places[inner] ** power, rtol=1e-12, atol=1e-12)
        assert kept == (power <= degree)


def test_nearest_moves_numbers():
    x = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for like in METHODS:
        op = cm.resize((3, 4), (6, 8), "nearest", like=like)
        assert op.dtype == np.float64  # so that entries of Gram matrices do not overflow
        assert np.array_equal(op(x), np.repeat(np.repeat(x, 2, 0), 2, 1))


def test_gram_matrices_of_enlargements_count_all_entries():
    assert np.array_equal(cm.gram(cm.resize(4, 1024, "nearest")).to_dense(), 256 * np.eye(4))


def test_a_matrix_of_entries_alone():
    op = cm.resize((1 << 22,), (1 << 21,), "linear")  # dense, it would take 64 TB
    assert op.to_sparse(rows=[3]).nnz == 2


def test_spectra_and_solves_take_the_axes_apart():
    op = cm.resize((3, 40, 30), (3, 20, 15), "cubic", like="pil")
    values = [np.linalg.svd(cm.resize(n, m, "cubic", like="pil").to_dense())[1] for n, m in ((40, 20), (30, 15))]
    norm = cm.norm(op)
    assert norm.kind == "exact"
    assert float(norm) == pytest.approx(values[0][0] * values[1][0], rel=1e-12)
    expected = np.sort(np.repeat(np.multiply.outer(*values), 3))[::-1]
    assert np.allclose(cm.svdvals(op), expected, rtol=0, atol=1e-12)
    small = np.random.default_rng(0).standard_normal(op.out_shape)
    solution = cm.solve(op, small)  # the least array that is resized to this one
    assert solution.method.startswith("Kronecker product")
    pseudo_inverses = [np.linalg.pinv(cm.resize(n, m, "cubic", like="pil").to_dense()) for n, m in ((40, 20), (30, 15))]
    assert np.allclose(solution.x, pseudo_inverses[0] @ small @ pseudo_inverses[1].T, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((4, 5, "lanczos"), {}, "method='lanczos' with like='torch'.*torch has 'nearest'.*or like='pil'"),
        ((4, 5, "spline"), {}, "method='spline'. Expected one of 'nearest'"),
        ((4, 5), {"like": "cv2"}, "like='cv2'. Expected one of 'torch', 'onnx', 'pil', 'tf', 'jax'"),
        ((4, 5), {"like": "pil", "antialias": False}, "antialias=False for the method 'linear' of pil"),
        ((4, 5), {"like": "tf", "align_corners": True}, "align_corners=True for the method 'linear' of tf"),
        ((4, 5, "area"), {"antialias": True}, "antialias=True for the method 'area' of torch"),
        (((4, 4), 5), {}, r"in_shape=\(4, 4\) and out_shape=\(5,\). Expected the same number of axes"),
        ((4, 0), {}, "out_shape"),
    ],
)
def test_wrong_calls(arguments, options, message):
    with pytest.raises(ValueError, match=f"^resize: {message}"):
        cm.resize(*arguments, **options)


@pytest.mark.parametrize("options", [{"method": 3}, {"align_corners": 1}, {"antialias": "yes"}, {"like": None}])
def test_wrong_types(options):
    with pytest.raises(TypeError, match=r"^resize: "):
        cm.resize(4, 5, **options)


def test_modes_of_files_are_checked():
    for options in ({"coordinates": "half"}, {"nearest": "up"}):
        with pytest.raises(cm.UnsupportedError, match="Expected one of"):
            onnx_axis(4, 5, "nearest", **options)
    with pytest.raises(cm.UnsupportedError, match="mode='quintic'"):
        onnx_axis(4, 5, "quintic")
    with pytest.raises(cm.UnsupportedError, match="mode='linear2'"):
        torch_axis(4, 5, "linear2")


def test_outputs_outside_the_region_have_no_entries():
    for method in ("nearest", "linear", "cubic"):
        W = onnx_axis(5, 5, method, coordinates="tf_crop_and_resize", roi=(-0.25, 1.25))
        assert np.diff(W.indptr).astype(bool).tolist() == [False, True, True, True, False]
        empty = onnx_axis(5, 5, method, coordinates="tf_crop_and_resize", roi=(float("nan"), 1.0))
        assert empty.nnz == 0


def test_a_matrix_that_does_not_fit_is_refused():
    with pytest.raises(MemoryError, match="the matrix of an axis takes 32 TB"):
        cm.resize(4, 10**12)
