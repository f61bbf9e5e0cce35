"""Matrices that the definition writes in loops, and functions, are recognized as the convolutions that they are."""

from dataclasses import dataclass
from math import prod

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator
from tests.recognition import variants
from tests.recognition.variants import BOUNDARIES
from tests.reference import tensor

import convmtx as cm
from convmtx.recognition.changes import Change, Kind


@dataclass(frozen=True)
class Drawn:
    """A convolution by its definition: with channels last, always."""

    W: np.ndarray
    in_shape: tuple
    out_shape: tuple
    kernel: np.ndarray

    @property
    def matrix(self):
        return self.W.reshape(prod(self.out_shape), prod(self.in_shape))


def drawn(rng, sizes=None, channels=True, most_zeros=2):
    """A random convolution of one or two axes, with up to so many steps between neighbours of the input."""
    d = int(rng.integers(1, 3)) if sizes is None else len(sizes)
    groups = int(rng.choice([1, 1, 2])) if channels else 1
    per_c, per_f = rng.integers(1, 3, 2).tolist() if channels else (1, 1)
    while True:
        ns = rng.integers(1, {1: 14, 2: 7}[d], d).tolist() if sizes is None else list(sizes)
        ks = rng.integers(1, 4, d).tolist()
        stride, dilation, e = (rng.integers(1, top, d).tolist() for top in (4, 3, most_zeros + 1))
        pads = rng.integers(-1, 4, (d, 2)).tolist()
        boundary = [BOUNDARIES[j] for j in rng.integers(0, 5, d)]
        spans = [
            (n - 1) * x + 1 + sum(p) - t * (k - 1) for n, x, p, t, k in zip(ns, e, pads, dilation, ks, strict=True)
        ]
        if min(spans) > 0:
            break
    kernel = rng.integers(1, 10, (*ks, per_c, per_f * groups)) * rng.choice(
        [1, -1, 0], (*ks, per_c, per_f * groups), p=[0.5, 0.4, 0.1]
    )
    kernel.flat[0] = kernel.flat[0] or 1
    W = tensor(kernel, ns, stride, dilation, pads, e, boundary, groups, bool(rng.integers(2)))
    return Drawn(W, W.shape[d + 1 :], W.shape[: d + 1], kernel)


def random_kernel(shape, seed=0):
    """Integers from 1 to 9 without an order."""
    return np.random.default_rng(seed).integers(1, 10, shape)


@pytest.mark.parametrize("seed", range(120))
def test_random_geometries_are_exact(seed):
    case = drawn(np.random.default_rng(seed))
    result = cm.recognize(csr_array(case.matrix), case.in_shape, case.out_shape, channels="last")
    assert result.exact, result
    assert not result.count
    assert result.distance == 0
    np.testing.assert_array_equal(result.op.to_dense(), case.matrix)
    assert (result.op.in_shape, result.op.out_shape) == (case.in_shape, case.out_shape)


@pytest.mark.parametrize("seed", range(40))
def test_random_functions_are_exact(seed):
    case = drawn(np.random.default_rng(1000 + seed))
    d = len(case.in_shape)
    result = cm.recognize(lambda x: np.tensordot(case.W, x, d), case.in_shape, channels="last")
    assert result.exact, result
    np.testing.assert_array_equal(result.op.to_dense(), case.matrix)
    assert result.op.dtype == np.int64


@pytest.mark.parametrize("seed", range(40))
def test_one_entry_that_is_changed_is_the_one_that_differs(seed):
    rng = np.random.default_rng(seed)
    case = drawn(rng, sizes=[(40,), (12, 15)][seed % 2], channels=False, most_zeros=1)
    W = case.matrix.copy()
    row, column = (int(rng.integers(n)) for n in W.shape)
    if seed % 4 > 1 and W.any():  # an entry of the pattern
        row, column = (int(n) for n in rng.permutation(np.argwhere(W))[0])
    W[row, column] += 1
    result = cm.recognize(W, case.in_shape[:-1], case.out_shape[:-1])
    assert not result.exact
    assert result.count == 1
    (entry,) = result.differs
    assert np.ravel_multi_index(entry.output, case.out_shape[:-1]) == row
    assert np.ravel_multi_index(entry.input, case.in_shape[:-1]) == column
    assert (entry.theirs, entry.ours) == (W[row, column], W[row, column] - 1)
    assert result.distance == 1
    np.testing.assert_array_equal(result.op.to_dense(), case.matrix)


def test_the_tap_of_an_entry_that_differs():
    W = cm.conv([3, 1, 2], 20).to_dense()
    W[7, 8] = 9
    result = cm.recognize(W, 20)
    assert result.differs[0].tap == (1,)
    assert (result.distance, result.op.kernel.tolist()) == (8, [3, 1, 2])


def test_call_builds_the_convolution():
    options = [
        {"stride": 2, "padding": [(1, 2), (0, 3)], "boundary": ("reflect", "wrap")},
        {"dilation": (2, 3), "padding": "full", "input_dilation": (1, 2)},
        {"padding": "same", "boundary": "edge", "stride": (1, 3)},
    ]
    for option in options:
        op = cm.conv(random_kernel((3, 2)), (9, 10), **option)
        result = cm.recognize(op)
        shape = "K " + str(result.op.kernel.shape)
        assert shape in result.call
        again = eval(result.call.replace(shape, "K"), {"cm": cm, "K": result.op.kernel})
        np.testing.assert_array_equal(again.to_dense(), op.to_dense())
    grouped = cm.conv(random_kernel((4, 1, 3)), (2, 9), groups=2, channels="first")
    assert cm.recognize(grouped).call == "cm.conv(K (4, 1, 3), (2, 9), groups=2, channels='first')"


def test_matrices_of_scipy():
    toeplitz = scipy.linalg.toeplitz([2, 1, 0, 0, 0, 0, 0], [2, 5, 0, 0, 0, 0, 0])
    result = cm.recognize(toeplitz)
    assert (result.exact, result.op.kernel.tolist()) == (True, [1, 2, 5])
    assert result.call == "cm.conv(K (3,), (7,), padding=[(1, 1)])"
    circulant = scipy.linalg.circulant([1, 2, 0, 0, 0, 0, 0])
    assert cm.recognize(circulant).call == "cm.conv(K (2,), (7,), padding=[(1, 0)], boundary='wrap')"
    matrix = scipy.linalg.convolution_matrix([1, 2, 4], 8, mode="full")
    assert cm.recognize(matrix).op.kernel.tolist() == [4, 2, 1]


def test_shapes_that_are_not_passed():
    for op in (cm.conv(random_kernel((3, 3)), (6, 8)), cm.conv(random_kernel((2, 3)), (9, 6), padding="same")):
        for shapes in ((), (op.in_shape,), (None, op.out_shape)):
            result = cm.recognize(op.to_sparse(), *shapes)
            assert result.exact
            assert (result.op.in_shape, result.op.out_shape) == (op.in_shape, op.out_shape)
    op = cm.conv(random_kernel((4, 2, 3, 3)), (2, 7, 6), channels="first")
    result = cm.recognize(op.to_dense(), op.in_shape, op.out_shape)
    assert result.op.geometry == op.geometry
    np.testing.assert_array_equal(result.op.kernel, op.kernel)


def test_any_form_of_a_matrix():
    op = cm.conv(random_kernel((3, 2)), (5, 7), stride=2, padding=1)
    dense = op.to_dense()
    twice = csr_array((np.ones(70), np.tile(np.arange(35), 2), np.arange(0, 71, 2)), shape=(35, 35))  # row i: i, i
    forms = [
        dense,
        dense.tolist(),
        op.to_sparse(),
        op.to_sparse().tocoo(),
        op.to_tensor(),
        op,
        op @ cm.identity((5, 7)),
    ]
    for form in forms:
        result = cm.recognize(form, (5, 7), op.out_shape)
        assert result.exact
        np.testing.assert_array_equal(result.op.to_dense(), dense)
        assert result.applications is None
    twice.indices[:] = np.repeat(np.arange(35), 2)
    assert cm.recognize(twice, (5, 7), (5, 7)).op.kernel.tolist() == [[2.0]]
    affine = cm.recognize(cm.Affine(op, np.arange(prod(op.out_shape)).reshape(op.out_shape)))
    assert affine.exact
    np.testing.assert_array_equal(affine.offset.ravel(), np.arange(prod(op.out_shape)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex128])
def test_floats_are_exact_up_to_rounding(dtype):
    rng = np.random.default_rng(3)
    kernel = rng.normal(size=(4, 3)).astype(dtype)
    if dtype is np.complex128:
        kernel += 1j * rng.normal(size=(4, 3))
    op = cm.conv(kernel, (9, 8), padding=((3, 2), (1, 1)), boundary="reflect")
    result = cm.recognize(op.to_sparse(), (9, 8), op.out_shape)
    assert result.exact
    assert result.op.dtype == dtype
    np.testing.assert_allclose(result.op.kernel, kernel, rtol=0, atol=8 * np.finfo(dtype).eps)
    rounded = op.to_dense() * (1 + np.finfo(dtype).eps * rng.integers(-1, 2, op.shape))
    assert cm.recognize(rounded.astype(dtype), (9, 8), op.out_shape).exact


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("stride", [1, 2])
def test_noise_is_averaged(boundary, stride):
    rng = np.random.default_rng(0)
    op = cm.conv(rng.normal(size=(3, 3)), (12, 14), stride=stride, padding=1, boundary=boundary)
    noisy = op.to_dense()
    noisy += 1e-3 * rng.normal(size=noisy.shape) * (noisy != 0)
    result = cm.recognize(noisy, (12, 14), op.out_shape)
    assert not result.exact
    assert result.op.geometry.axes[0].boundary.name == boundary or boundary in result.boundaries[0]
    design = np.stack([op.with_kernel(unit.reshape(3, 3)).to_dense().ravel() for unit in np.eye(9)], axis=1)
    kernel, left, *_ = np.linalg.lstsq(design, noisy.ravel(), rcond=None)
    np.testing.assert_allclose(result.op.kernel.ravel(), kernel, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.distance, left[0] ** 0.5, rtol=1e-10)


def test_a_matrix_without_structure_is_no_convolution():
    W = np.random.default_rng(0).normal(size=(30, 30))
    result = cm.recognize(W, (5, 6), (5, 6))
    assert not result.exact
    np.testing.assert_allclose(result.distance, np.linalg.norm(W - result.op.to_dense()), rtol=1e-12)
    assert result.distance < np.linalg.norm(W)
    assert result.verdict.startswith("not a convolution; the nearest is cm.conv(K (")


def in_order(W, out_shape, in_shape, outputs=None, inputs=None):
    """The matrix with axes of outputs and inputs flattened in these orders."""
    for side, (shape, axes) in enumerate(((out_shape, outputs), (in_shape, inputs))):
        if axes is not None:
            W = np.take(W, np.arange(prod(shape)).reshape(shape).transpose(axes).ravel(), axis=side)
    return W


def test_orders_explain_a_matrix():
    op = cm.conv(random_kernel((3, 2)), (7, 9))
    first = cm.conv(random_kernel((4, 3, 3, 2)), (3, 7, 8), channels="first")
    both = ("outputs", "inputs")
    for map_, axes, kind, number in (
        (op, (1, 0), Kind.ORDER, ("column-major",)),
        (first, (2, 1, 0), Kind.ORDER, ("column-major",)),
        (first, (1, 2, 0), Kind.LAYOUT, ("last",)),
        (first, (0, 2, 1), Kind.AXES, (0, 2, 1)),
    ):
        channels = None if map_ is op else "first"
        for sides in (both, both[:1], both[1:]):
            W = in_order(map_.to_dense(), map_.out_shape, map_.in_shape, **dict.fromkeys(sides, axes))
            result = cm.recognize(W, map_.in_shape, map_.out_shape, channels=channels)
            (other,) = result.alternatives
            assert other.changes == (Change(kind, number, sides),)
            # Channels moved on one side alone are a convolution too, with more numbers than the kernel has sixty times.
            assert not result.exact or (len(sides) == 1 and result.op.kernel.size > 60 * other.op.kernel.size)
            np.testing.assert_array_equal(other.op.to_dense(), map_.to_dense())
            assert f"it is {str(other.changes[0]).replace('with', 'the matrix with', 1)}, of cm.conv(" in result.verdict
    W = in_order(op.to_dense(), op.out_shape, op.in_shape, (1, 0), (1, 0))
    assert cm.recognize(W, op.in_shape, op.out_shape, order="F").exact


def test_a_transpose_explains_a_matrix():
    op = cm.conv(random_kernel((3, 3)), (9, 8), padding="same", boundary="reflect")
    result = cm.recognize(op.to_dense().T, (9, 8), (9, 8))
    (other,) = result.alternatives
    assert other.changes == (Change(Kind.TRANSPOSED),)
    np.testing.assert_array_equal(other.op.to_dense(), op.to_dense())
    assert "it is the transpose of the matrix, of cm.conv(K (3, 3), (9, 8), " in result.verdict


@pytest.mark.parametrize("row", [0, 5, 40, 71])
def test_missing_rows_explain_a_matrix(row):
    op = cm.conv(random_kernel((3, 3)), (8, 9), padding="same", boundary="reflect")
    place = tuple(int(j) for j in np.unravel_index(row, (8, 9)))
    result = cm.recognize(np.delete(op.to_dense(), row, axis=0), (8, 9), (8, 9))
    assert not result.exact
    assert result.alternatives[0].changes == (Change(Kind.MISSING_ROWS, (1, place)),)
    np.testing.assert_array_equal(result.op.to_dense(), op.to_dense())
    assert result.distance == pytest.approx(np.linalg.norm(op.to_dense()[row]))
    empty = op.to_dense()
    empty[row] = 0
    result = cm.recognize(empty, (8, 9), (8, 9))
    assert result.alternatives[0].changes == (Change(Kind.EMPTY_ROWS, (1, place)),)
    assert f"the matrix with zeros in the row of output {place}, of cm.conv" in result.verdict


def test_variants_are_convolutions_or_explained():
    """Of the six mistakes, a flip, a shift and another boundary are convolutions; orders and transposes are named."""
    rng = np.random.default_rng(5)
    counts = dict.fromkeys(("exact", "named", "ambiguous", "wrong"), 0)
    for _ in range(25):
        case = variants.random_case(rng)
        for change in variants.six(case, rng).values():
            W = variants.matrix(case, [change])
            op = case.op
            shapes = (op.in_shape, op.out_shape) if change.kind is not Kind.TRANSPOSED else (op.out_shape, op.in_shape)
            result = cm.recognize(W, *shapes, channels=case.channels)
            if result.exact:
                np.testing.assert_array_equal(result.op.to_dense(), W)
                counts["exact"] += 1
                continue
            named = [other for other in result.alternatives if other.changes == (change,)]
            kind = "wrong" if not named else "named" if len(result.alternatives) == 1 else "ambiguous"
            counts[kind] += 1
    assert counts["wrong"] == 0, counts
    assert counts["named"] > 5, counts


def test_what_cannot_be_told_apart_is_ambiguous():
    result = cm.recognize(cm.conv([1, 2, 4], 12, padding=1, boundary="symmetric").to_dense())
    assert result.boundaries == (("edge",),)
    assert "ambiguous: boundary edge gives the same matrix along axis 0" in result.verdict
    kernel = random_kernel((3, 3))
    square = cm.recognize(cm.conv(kernel, (8, 8)).to_dense(), (8, 8), (6, 6))
    (other,) = square.alternatives
    assert other.changes == (Change(Kind.ORDER, ("column-major",), ("outputs", "inputs")),)
    np.testing.assert_array_equal(other.op.kernel, kernel.T)
    moved = in_order(other.op.to_dense(), (6, 6), (8, 8), (1, 0), (1, 0))
    np.testing.assert_array_equal(moved, cm.conv(kernel, (8, 8)).to_dense())
    assert "ambiguous: it is the matrix with outputs and inputs in column-major order, of" in square.verdict


def test_taps_that_no_output_shows():
    """With stride 2 on an input with a zero between neighbours, every second tap reads zeros alone."""
    op = cm.conv([5, 9, 7, 9, 3], 12, stride=2, input_dilation=2)
    result = cm.recognize(op.to_dense(), 12, op.out_shape)
    assert result.op.kernel.tolist() == [5, 7, 3]
    assert result.unseen == ((),)
    op = cm.conv([5, 1, 9, 9, 6, 2], 12, stride=3, input_dilation=3, padding=1)
    result = cm.recognize(op.to_dense(), 12, op.out_shape)
    assert result.exact
    folded = cm.recognize(cm.conv([1, 2, 3, 4], 2, padding=2, boundary="edge").to_dense())
    assert folded.exact


def test_functions_of_ndimage_and_the_number_of_applications():
    for f, shape, most in (
        (lambda x: scipy.ndimage.gaussian_filter(x, 1, radius=4), (64, 64), 30),
        (lambda x: scipy.ndimage.uniform_filter(x, 3, mode="wrap"), (40, 50), 30),
        (lambda x: scipy.ndimage.sobel(x, 0, mode="nearest"), (30, 40), 30),
        (lambda x: scipy.ndimage.laplace(x, mode="constant"), (12, 13, 14), 50),
    ):
        calls = 0

        def counted(x, f=f, shape=shape):
            nonlocal calls
            calls += x.size // prod(shape)
            return f(x) if x.shape == shape else np.stack([f(one) for one in x])

        result = cm.recognize(counted, shape)
        assert result.exact, result
        assert result.applications == calls <= most
        x = np.random.default_rng(0).normal(size=shape)
        np.testing.assert_allclose(result.op(x), f(x), rtol=0, atol=1e-13)


def test_functions_that_are_no_convolutions():
    weights = np.linspace(1, 2, 20)
    result = cm.recognize(lambda x: weights * x, 20)
    assert not result.exact
    np.testing.assert_allclose(result.distance, np.linalg.norm(np.diag(weights) - result.op.to_dense()))
    matrix = scipy.linalg.toeplitz([1, 2, 0, 0, 0, 0, 0, 0])
    matrix[3, 4] = 7
    result = cm.recognize(lambda x: matrix @ x, 8)
    assert (result.count, result.differs[0].output, result.differs[0].input) == (1, (3,), (4,))
    rounding = (np.floor, lambda x: np.round(x, 3), lambda x: np.diff(x).astype(int))  # linear for integers
    for f in (np.abs, *rounding):
        with pytest.raises(ValueError, match=r"does not take -2 x to -2 f\(x\)"):
            cm.recognize(f, 20)


def test_a_permutation_is_no_convolution():
    rng = np.random.default_rng(0)
    A = csr_array((np.ones(2500), (np.arange(2500), rng.permutation(2500))))
    result = cm.recognize(A, (50, 50), (50, 50))
    assert not result.exact
    assert result.verdict.startswith("not a convolution; the nearest is ")


def test_sparse_formats_and_operators_with_one_shape():
    op = cm.conv(random_kernel((3, 2)), (6, 8), padding="same")
    for form in ("dok", "lil", "bsr", "dia"):
        assert cm.recognize(op.to_sparse().asformat(form), (6, 8), (6, 8)).exact
    operator = scipy.sparse.linalg.aslinearoperator(op.to_sparse())
    result = cm.recognize(operator, (6, 8))
    np.testing.assert_array_equal(result.op.to_dense(), op.to_dense())
    with pytest.raises(ValueError, match=r"f\(x\) is None\. Expected an array"):
        cm.recognize(lambda x: x.__setitem__(0, 1), 8)


def test_large_integers_differ_by_what_they_differ():
    W = cm.conv([2**58, 2**59], 9).to_dense()
    W[3, 4] += 1
    result = cm.recognize(W, 9)
    assert (result.count, result.distance, result.differs[0].theirs) == (1, 1, 2**59 + 1)


def test_affine_functions_and_operators_of_scipy():
    result = cm.recognize(lambda x: 3 * x[1:] - x[:-1] + 7, 10)
    assert (result.exact, result.op.kernel.tolist(), result.offset.tolist()) == (True, [-1, 3], [7] * 9)
    W = scipy.linalg.toeplitz([1, 2, 0, 0, 0, 0, 0, 0], [1, 5, 0, 0, 0, 0, 0, 0])
    operator = LinearOperator(W.shape, matvec=lambda x: W @ x, rmatvec=lambda x: W.T @ x, dtype=float)
    result = cm.recognize(operator)
    assert result.exact
    assert result.applications > 0
    np.testing.assert_array_equal(result.op.to_dense(), W)
    image = cm.conv(random_kernel((3, 3)), (6, 7), padding="same")
    result = cm.recognize(image.to_pylops() if hasattr(image, "to_pylops") else LinearOperator(
        image.shape, matvec=lambda x: image(x.reshape(6, 7)).ravel(), dtype=float), (6, 7), (6, 7))  # fmt: skip
    np.testing.assert_array_equal(result.op.to_dense(), image.to_dense())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.eye(4), (5,)), ValueError, r"recognize: in_shape=\(5,\) with a matrix of shape \(4, 4\)\. Expected 4 ent"),
        ((np.eye(4), (2, 2), (4,)), ValueError, "Expected equally many axes"),
        ((np.full((2, 2), np.nan),), ValueError, "recognize: A contains inf or nan"),
        ((np.zeros((2, 2, 2)),), ValueError, "Pass in_shape and out_shape for a tensor of both"),
        ((abs,), ValueError, "A is a function, without in_shape"),
        (("text",), TypeError, "recognize: A has dtype"),
        ((np.eye(4), (2, "x")), TypeError, "recognize: in_shape"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        cm.recognize(*arguments)


def test_other_errors():
    with pytest.raises(ValueError, match="recognize: channels="):
        cm.recognize(np.eye(4), (4,), channels="middle")
    with pytest.raises(ValueError, match="recognize: order="):
        cm.recognize(np.eye(4), order="A")
    with pytest.raises(ValueError, match="and a spatial one beside the channels"):
        cm.recognize(np.eye(4), 4, 4, channels="last")
