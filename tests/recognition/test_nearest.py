"""Nearest kernels against least squares on the explicit design matrix: a column for each tap, by the loop reference."""

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse

import convmtx as cm
import reference
from convmtx.recognition.nearest import nearest

BOUNDARIES = list(reference.PAD_MODES)


def random_geometry(rng, boundary):
    """Arguments of `reference.tensor` after the kernel, and the kernel's shape, channels last."""
    d = int(rng.integers(1, 3))
    sizes, kernel = (tuple(rng.integers(1, n, d).tolist()) for n in (6, 5))
    stride, dilation, stretch = (tuple(rng.integers(1, 3, d).tolist()) for _ in range(3))
    pads = []
    for n, k, t, e in zip(sizes, kernel, dilation, stretch, strict=True):
        lo, hi = rng.integers(-1, 4, 2).tolist()
        pads.append((lo, hi + max(t * (k - 1) + 1 - ((n - 1) * e + 1 + lo + hi), 0)))
    groups, per_c, per_f = rng.integers(1, 3, 3).tolist()
    boundaries = [boundary] * d
    return (sizes, stride, dilation, pads, stretch, boundaries, groups), (*kernel, per_c, per_f * groups)


def convolution(geometry, K, flip):
    sizes, stride, dilation, padding, stretch, boundary, groups = geometry
    options = {"stride": stride, "dilation": dilation, "padding": padding, "boundary": boundary, "groups": groups}
    return cm.conv(K, (*sizes, K.shape[-2] * groups), flip=flip, input_dilation=stretch, channels="last", **options)


def design_matrix(geometry, shape, flip):
    """A row for each entry of the matrix, a column for each entry of the kernel."""
    units = np.eye(np.prod(shape)).reshape(-1, *shape)
    return np.stack([reference.tensor(unit, *geometry, flip).ravel() for unit in units], axis=1)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("kind", ["dense", "csr", "tensor", "complex", "transposed"])
def test_least_squares(boundary, kind):
    rng = np.random.default_rng(BOUNDARIES.index(boundary))
    for _ in range(8):
        geometry, shape = random_geometry(rng, boundary)
        flip = bool(rng.integers(2))
        like = convolution(geometry, np.zeros(shape), flip)
        design = design_matrix(geometry, shape, flip)
        A = rng.normal(size=like.shape)
        if kind == "complex":
            A = A + 1j * rng.normal(size=like.shape)
        if kind == "csr":
            A[rng.random(like.shape) < 0.5] = 0
        K, *_ = np.linalg.lstsq(design, A.ravel())
        distance = np.linalg.norm(A.ravel() - design @ K)
        if kind == "transposed":
            if not isinstance(like.T, cm.ConvOperator):
                continue
            A, like = A.T.copy(), like.T
        shape = like.out_shape + like.in_shape if kind == "tensor" else like.shape
        op, got = nearest(scipy.sparse.csr_array(A) if kind == "csr" else A.reshape(shape), like)
        assert op.geometry == like.geometry
        assert op.dtype == A.dtype
        # A pseudoinverse of a condition below 100, and sums of a few hundred numbers of size 1.
        np.testing.assert_allclose(op.kernel.ravel(), K, rtol=0, atol=1e-12)
        assert got == pytest.approx(distance, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int64, np.float32, np.float64, np.complex64])
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_matrices_of_convolutions_come_back_to_the_last_bit(boundary, dtype):
    rng, compared = np.random.default_rng(0), 0
    for _ in range(20):
        geometry, shape = random_geometry(rng, boundary)
        design = design_matrix(geometry, shape, flip=False)
        if not design[design.sum(axis=1) == 1].any(axis=0).all():  # a tap that stands alone nowhere
            continue
        compared += 1
        K = (rng.normal(size=shape) if np.dtype(dtype).kind in "fc" else rng.integers(0, 30, shape)).astype(dtype)
        K = K * np.asarray(1 + 2j, dtype) if dtype == np.complex64 else K
        op = convolution(geometry, K, flip=False)
        again, distance = nearest(op.to_sparse(), op)
        assert distance == 0
        assert again.dtype == dtype
        assert np.array_equal(again.kernel, K)
    assert compared >= 3


def test_integers():
    op = cm.conv(np.array([3, -4], np.int16), 6)
    A = op.to_dense()
    assert nearest(A, op)[0].dtype == np.int16
    A[0, 0] += 5  # five places: the mean is one more
    again, distance = nearest(A, op)
    assert again.kernel.tolist() == [4, -4]
    assert again.dtype == float
    assert distance == pytest.approx(np.sqrt(4 * 1 + 16))
    large = cm.conv([2**62 + 1, 3], 6)
    assert nearest(large.to_dense(), large)[0].kernel.tolist() == [2**62 + 1, 3]
    split, distance = nearest(np.array([[2, 1], [1, 2]]), cm.conv([1, 1, 1], 2, padding=[(1, 1)], boundary="wrap"))
    assert [*split.kernel, distance] == pytest.approx(
        [0.5, 2, 0.5, 0], abs=1e-15
    )  # of all kernels that fit, the shortest


def test_t_chans_circulant():
    A = np.random.default_rng(0).normal(size=(7, 7))
    op, distance = nearest(A, cm.conv(np.zeros(7), 7, padding=[(0, 6)], boundary="wrap"))
    column = [np.mean([A[(i + j) % 7, i] for i in range(7)]) for j in range(7)]
    np.testing.assert_allclose(op.to_dense(), scipy.linalg.circulant(column), atol=1e-15)
    assert distance == pytest.approx(np.linalg.norm(A - scipy.linalg.circulant(column)))


def test_means_of_diagonals():
    A = np.random.default_rng(0).normal(size=(6, 6))
    op, _ = nearest(A, cm.conv(np.zeros(11), 6, padding=5))
    np.testing.assert_allclose(op.kernel, [np.mean(np.diag(A, k)) for k in range(-5, 6)], atol=1e-15)


def test_taps_that_no_output_shows():
    like = cm.conv(np.zeros(4), 4, padding=[(0, 1)], stride=2)
    op, _ = nearest(np.arange(1.0, 5).reshape(1, 4), like)
    assert op.kernel.tolist() == [1, 2, 3, 4]
    like = cm.conv(np.zeros(3), 1, padding=2)
    op, _ = nearest(np.ones((3, 1)), like)
    assert op.kernel.tolist() == [1, 1, 1]
    like = cm.conv(np.zeros(3), 1, padding=1)
    op, _ = nearest(np.ones((1, 1)), like)
    assert op.kernel.tolist() == [0, 1, 0]


def test_slabs_make_no_difference(monkeypatch):
    rng = np.random.default_rng(0)
    like = cm.conv(np.zeros((4, 3, 2, 2)), (7, 8, 2), padding=3, boundary="reflect")
    S = scipy.sparse.random_array(like.shape, density=0.5, rng=rng)
    whole, distance = nearest(S, like)
    monkeypatch.setattr("convmtx.recognition.matrices.SLAB", 700)
    pieces, other = nearest(S, like)
    np.testing.assert_allclose(pieces.kernel, whole.kernel, rtol=0, atol=1e-15)
    assert other == pytest.approx(distance, rel=1e-14)


def test_maps():
    op = cm.conv([1.0, 2.0, 1.0], 8, padding=1)
    again, distance = nearest(op.T @ op, cm.conv(np.zeros(5), 8, padding=2))
    full = np.convolve([1, 2, 1], [1, 2, 1])
    A = (op.T @ op).to_dense()
    assert again.kernel.tolist() == [np.mean(np.diag(A, k)) for k in range(-2, 3)]
    assert np.allclose(again.kernel[[0, 1, 3, 4]], full[[0, 1, 3, 4]])
    assert distance == pytest.approx(np.linalg.norm(A - again.to_dense()))


def test_refusals():
    like = cm.conv([1.0, 2.0], 4)
    with pytest.raises(TypeError, match=r"nearest: like is a Diagonal\. Expected a convolution\."):
        nearest(np.eye(4), cm.identity(4))
    with pytest.raises(ValueError, match=r"nearest: A has shape \(4, 4\)\. Expected \(3, 4\)\."):
        nearest(np.eye(4), like)
    with pytest.raises(ValueError, match="contains inf or nan"):
        nearest(np.full((3, 4), np.nan), like)
    with pytest.raises(TypeError, match="A"):
        nearest(np.full((3, 4), "a"), like)
    assert nearest(np.eye(4)[:3].astype(np.float16), like)[0].dtype == np.float16
