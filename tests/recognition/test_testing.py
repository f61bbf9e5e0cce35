"""Functions and matrices of others that are the map, or are not: what the assertion says about them."""

import re

import numpy as np
import pytest
import scipy.ndimage
import scipy.sparse
import scipy.sparse.linalg

import convmtx as cm
from convmtx.testing import assert_same_map

pytest_plugins = ["pytester"]
RNG = np.random.default_rng(0)
K = RNG.normal(size=(3, 4))
OP = cm.conv(K, (7, 8), padding="same")


def correlate(x):
    return scipy.ndimage.correlate(x, K, mode="constant", origin=(0, -1))


def im2col(x, K=K, swapped=False):
    """A convolution by hand; with ``swapped``, patches are flattened along their width first."""
    kh, kw = K.shape
    padded = np.pad(x, ((1, 1), (1, 2)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw))
    patches = patches.swapaxes(2, 3) if swapped else patches
    return patches.reshape(*x.shape, kh * kw) @ K.ravel()


def by_transforms(x):
    """Every output has some rounding of every input."""
    spectrum = np.fft.rfft2(np.pad(x, 8)) * np.fft.rfft2(K[::-1, ::-1], (23, 24))
    return np.fft.irfft2(spectrum, (23, 24))[9:16, 10:18]


SAME = {
    "SciPy": correlate, "im2col": im2col, "transforms": by_transforms, "map": OP, "tensor": OP.to_tensor(),
    "affine": cm.Affine(OP, np.zeros(OP.out_shape)), "dense": OP.to_dense(), "coo": OP.to_sparse("coo"),
    "operator": scipy.sparse.linalg.aslinearoperator(OP.to_sparse()), "list": OP.to_dense().tolist(),
}  # fmt: skip


@pytest.mark.parametrize("f", SAME.values(), ids=SAME)
def test_the_same_map(f):
    assert_same_map(f, OP)


def failure(f, op, **tolerances):
    with pytest.raises(AssertionError) as caught:
        assert_same_map(f, op, **tolerances)
    return str(caught.value)


def blur(kernel, centre):
    """A circular blur whose kernel has its centre at a place, in loops: two libraries disagree where that is."""

    def apply(x):
        y = np.zeros_like(x)
        for p in np.ndindex(kernel.shape):
            y += kernel[p] * np.roll(x, [c - q for c, q in zip(centre, p, strict=True)], (0, 1))
        return y

    return apply


def test_two_blurs_of_an_even_kernel():
    kernel = RNG.random((4, 6))
    op = cm.conv(kernel, (9, 8), padding="same_lower", boundary="wrap")
    assert_same_map(blur(kernel, (2, 3)), op)
    said = failure(blur(kernel, (1, 2)), op)
    assert re.search(r"\n  output \(0, 0\), input \(0, 0\), tap \(2, 3\): 0\.\d+ instead of 0\.\d+\n", said)
    assert f"{kernel[1, 2]} instead of {kernel[2, 3]}" in said
    assert said.endswith("f has the matrix with windows shifted by (1, 1)")


def test_an_adjoint_without_conjugate():
    taps = RNG.normal(size=5) + 1j * RNG.normal(size=5)
    op = cm.conv(taps, 12)
    assert_same_map(lambda y: np.convolve(y, taps.conj()[::-1][::-1]), op.H)
    said = failure(lambda y: np.convolve(y, taps), op.H)
    assert f"  output (0,), input (0,), tap (0,): {taps[0]} instead of {taps[0].conj()}\n" in said
    assert said.endswith("f has the matrix conjugated")


def test_column_major_order():
    n, m = (np.arange(np.prod(shape)).reshape(shape).ravel("F") for shape in (OP.out_shape, OP.in_shape))
    said = failure(OP.to_dense()[n][:, m], OP)
    assert said.endswith("f has the matrix with outputs and inputs in column-major order")
    by_reshape = failure(lambda x: OP(x.ravel().reshape(OP.in_shape, order="F")).ravel("F").reshape(OP.out_shape), OP)
    assert by_reshape.endswith("f has the matrix with outputs and inputs in column-major order")


def test_im2col_with_height_and_width_swapped():
    said = failure(lambda x: im2col(x, swapped=True), OP)
    assert said.endswith("f has the matrix with the kernel in column-major order")
    assert re.match(r"f is not ConvOperator \(7, 8\) -> \(7, 8\), kernel \(3, 4\), float64: \d+ entries differ", said)


def test_integers_are_exact():
    op = cm.conv([2**40, 3], 5)
    assert_same_map(lambda x: np.correlate(x, [2**40, 3]), op)
    said = failure(lambda x: np.correlate(x, [2**40 + 1, 3]), op)
    assert "4 entries differ, by at most 1\n  output (0,), input (0,), tap (0,): 1099511627777 instead of 10995" in said


def test_tolerances():
    A = OP.to_dense()
    peak = np.abs(K).max()
    near = A + 1e-6 * peak
    assert_same_map(near, OP, rtol=1.1e-6)
    assert_same_map(near, OP, rtol=0, atol=1.1e-6 * peak)
    assert "differ" in failure(near, OP, rtol=0.9e-6)
    assert "differ" in failure(A + 1e-12 * peak, OP)
    assert_same_map(A.astype(np.float32), OP)
    assert_same_map(lambda x: correlate(x) * (1 + 1e-5), OP, rtol=1e-4)
    with pytest.raises(ValueError, match="assert_same_map: rtol=-1"):
        assert_same_map(A, OP, rtol=-1)
    with pytest.raises(TypeError, match="op is an ndarray"):
        assert_same_map(OP, A)


def test_affine_maps():
    offset = RNG.normal(size=OP.out_shape)
    affine = cm.Affine(OP, offset)
    assert_same_map(lambda x: correlate(x) + offset, affine)
    assert_same_map(affine, affine)
    wrong = offset.copy()
    wrong[2, 3] += 1
    for f in (lambda x: correlate(x) + wrong, cm.Affine(OP, wrong)):
        said = failure(f, affine)
        assert f"f(0) differs from the offset in 1 entries, the first is output (2, 3): {wrong[2, 3]}" in said
    assert "f(0) differs" in failure(lambda x: correlate(x) + offset, OP)


def test_what_is_no_such_map():
    assert "does not take -2 x to -2 f(x)" in failure(lambda x: np.maximum(correlate(x), 0), OP)
    assert "random" in failure(lambda x: correlate(x) * np.random.default_rng().random(), OP)
    assert "f returns arrays of shape (56,)" in failure(lambda x: correlate(x).ravel(), OP)
    assert "its matrix has shape (56, 40), not (56, 56)" in failure(np.zeros((56, 40)), OP)
    assert "f is from (8,) to (7,)" in failure(cm.conv([1.0, 2.0], 8), OP)
    assert "f raises" in failure(lambda x: np.zeros(3) + x, OP)
    transposed = cm.conv(K, (7, 8))
    assert failure(transposed.to_dense().T, transposed).endswith("\nf has the transpose of the matrix")


def test_maps_without_a_kernel():
    op = cm.diagonal(np.arange(1.0, 5))
    assert_same_map(lambda x: x * np.arange(1, 5), op)
    said = failure(lambda x: x * np.arange(5)[1:] ** 2, op)
    assert "3 entries differ, by at most 12\n  output (1,), input (1,): 4.0 instead of 2.0" in said


def test_pytest_shows_the_line_of_the_test(pytester):
    pytester.makepyfile(
        """
        import convmtx as cm
        from convmtx.testing import assert_same_map

        def test_mine():
            assert_same_map(lambda x: 2 * x, cm.conv([3.0], 4))
        """
    )
    lines = pytester.runpytest("-p", "no:randomly", "-p", "no:xdist").stdout
    lines.fnmatch_lines(["*test_pytest_shows*py:5: AssertionError", "*1 failed*"])
    lines.fnmatch_lines(["E *AssertionError: f is not ConvOperator*"])
    lines.no_fnmatch_line("*testing.py*")
