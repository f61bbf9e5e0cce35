"""Maps made of maps and of other libraries' matrices: every form is NumPy's and SciPy's construction from the parts."""

from functools import partial

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

import convmtx as cm
from convmtx.maps.diagonal import Diagonal
from matrices import assert_is
from strategies import BOUNDARIES, DTYPES, cases, small_integers


class Own(cm.LinearMap):
    """A matrix in a class of a user's own, with the fewest methods."""

    in_shape = out_shape = dtype = None

    def __init__(self, matrix, in_shape, out_shape):
        self.matrix, self.in_shape, self.out_shape, self.dtype = matrix, in_shape, out_shape, matrix.dtype

    def _apply(self, x):
        return (x.reshape(len(x), self.matrix.shape[1]) @ self.matrix.T).reshape(len(x), *self.out_shape)

    def _apply_transposed(self, y):
        return (y.reshape(len(y), len(self.matrix)) @ self.matrix).reshape(len(y), *self.in_shape)


def times(matrix, shape, x):
    return (matrix @ x.reshape(-1)).reshape(shape)


def of_function(matrix, in_shape, out_shape):
    """A matrix as two functions; the image of zeros of float64 tells the type, so it is one of floats."""
    adjoint = partial(times, matrix.conj().T, in_shape)
    return cm.aslinearmap(partial(times, matrix, out_shape), in_shape, adjoint=adjoint)


OF_MATRIX = {
    "dense": cm.aslinearmap,
    "csc": lambda matrix, *shapes: cm.aslinearmap(sp.csc_array(matrix), *shapes),
    "coo": lambda matrix, *shapes: cm.aslinearmap(sp.coo_matrix(matrix), *shapes),
    "operator": lambda matrix, *shapes: cm.aslinearmap(aslinearoperator(matrix), *shapes),
    "function": of_function,
    "own": Own,
    "own transposed": lambda matrix, *shapes: Own(matrix.T, *shapes[::-1]).T,
}
#: Kinds whose matrix comes with them.
KNOWN = ["identity", "diagonal", "broadcast", "selection", "padding", "permutation"]


def rng_of(draw):
    return np.random.default_rng(draw(st.integers(0, 2**32)))


@st.composite
def parts(draw, in_shape=None, kind=None):
    """A map of any kind, or of this, that is not made of maps, with its matrix; of inputs of this shape, or of any."""
    if kind is None and in_shape is None and draw(st.booleans()):
        case = draw(cases(dims=(1, 2)))
        return case.op, case.matrix
    rng, dtype = rng_of(draw), draw(st.sampled_from(DTYPES))
    shape = in_shape or tuple(int(n) for n in rng.integers(1, 5, rng.integers(1, 4)))
    size, kind = int(np.prod(shape)), kind or draw(st.sampled_from([*OF_MATRIX, *KNOWN]))
    if kind in OF_MATRIX:
        out_shape = draw(st.sampled_from([(1,), (3,), (2, 2), (1, 3, 1)]))
        dtype = np.result_type(dtype, float) if kind == "function" else dtype
        matrix = small_integers(rng, (int(np.prod(out_shape)), size), dtype)
        matrix[rng.random(matrix.shape) < 0.3] = 0
        return OF_MATRIX[kind](matrix, shape, out_shape), matrix
    return known(kind, shape, dtype, rng)


def known(kind, shape, dtype, rng):
    """A map of a kind with its matrix, which NumPy makes by what the map does to the numbers of the inputs."""
    numbers = np.arange(np.prod(shape)).reshape(shape)
    unit = np.eye(numbers.size, dtype=np.int8)
    if kind == "identity":
        return cm.identity(shape, dtype), np.eye(numbers.size, dtype=dtype)
    if kind == "diagonal":
        weights = small_integers(rng, shape, dtype)
        return cm.diagonal(weights), np.diag(weights.ravel())
    if kind == "broadcast":  # weights that all channels share
        weights = small_integers(rng, (*shape[:-1], 1), dtype)
        return Diagonal(weights, shape), np.diag(np.broadcast_to(weights, shape).ravel())
    if kind == "selection":
        key = tuple(slice(int(rng.integers(0, n)), None, int(rng.integers(1, 3))) for n in shape)
        return cm.select(shape, key), unit[numbers[key].ravel()]
    if kind == "padding":
        pads = [tuple(int(n) for n in rng.integers(0, 4, 2)) for _ in shape]
        mode = ("reflect", "symmetric")[rng.integers(2)]
        columns = [np.pad(u.reshape(shape), pads, mode, reflect_type="odd").ravel() for u in np.eye(numbers.size)]
        op = cm.pad(shape, pads, mode, "odd")
        return op, np.stack(columns, axis=1).astype(op.dtype)
    axes = rng.permutation(len(shape))
    letters = "ABC"[: len(shape)]
    op = cm.permutation(shape, letters, "".join(letters[a] for a in axes))
    return op, unit[numbers.transpose(axes).ravel()]


@settings(max_examples=4)
@given(st.data())
@pytest.mark.parametrize("kind", [*OF_MATRIX, *KNOWN])
def test_parts_are_their_matrices(kind, data):
    op, matrix = data.draw(parts(kind=kind))
    assert_is(op, matrix, rng_of(data.draw))


@settings(max_examples=8)
@given(st.data())
@pytest.mark.parametrize("kind", ["vstack", "hstack", "block_diag", "kron", "concat", "restricted", "gram", "nested"])
def test_maps_of_maps_are_made_of_their_matrices(kind, data):
    op, matrix = data.draw(parts())
    other, its = data.draw(parts(op.in_shape))
    rng = rng_of(data.draw)
    zero = np.zeros((), np.result_type(matrix, its))
    if kind == "vstack":
        assert_is(cm.vstack([op, other]), np.vstack([matrix, its]), rng)
    elif kind == "hstack":
        assert_is(cm.hstack([op.T, other.T]), np.hstack([matrix.T, its.T]), rng)
    elif kind == "block_diag":
        whole = sp.block_diag([sp.coo_array(matrix + zero), its + zero]).toarray().astype(zero.dtype)
        assert_is(cm.block_diag([op, other]), whole, rng)
    elif kind == "kron":
        small, of_small = data.draw(parts((2,)))
        assert_is(cm.kron(op, small), np.kron(matrix, of_small), rng)
    elif kind == "concat":
        axis = data.draw(st.integers(-len(op.out_shape), len(op.out_shape) - 1))
        tensors = [m.reshape(*op.out_shape, -1) for m in (matrix, matrix + matrix)]
        joined = np.concatenate(tensors, axis if axis >= 0 else axis - 1)
        assert_is(cm.concat([op, op + op], axis), joined.reshape(-1, op.shape[1]), rng)
    elif kind == "restricted":
        key = rng.random(op.in_shape) < 0.5
        assert_is(op @ cm.select(op.in_shape, key).T, matrix[:, key.ravel()], rng)
    elif kind == "gram":
        weights = small_integers(rng, op.out_shape, np.int64)
        weighted = (matrix.conj().T @ (weights.reshape(-1, 1) * matrix)).astype(np.result_type(matrix, np.int64))
        assert_is(cm.gram(op), matrix.conj().T @ matrix, rng)
        assert_is(cm.gram(op, weights), weighted, rng)
    else:
        stack, of_stack = cm.vstack([op, other]), np.vstack([matrix + zero, its + zero])
        inner = sp.block_diag([sp.coo_array(of_stack.T), matrix + zero]).toarray().astype(zero.dtype)
        assert_is(cm.block_diag([stack.T, op]), inner, rng)
        assert_is((2 * stack)[1:] - stack[1:], of_stack[1:], rng) if zero.dtype.kind != "u" else None


@st.composite
def indices(draw, shape):
    """An index of NumPy of an array of this shape."""
    rng = rng_of(draw)
    kind = draw(st.sampled_from(["mask", "mask of an axis", "numbers", "lists", "steps", "steps", "ellipsis", "none"]))
    if kind == "mask":
        return rng.random(shape) < 0.6
    if kind == "mask of an axis":
        return rng.random(shape[0]) < 0.6
    if kind == "numbers":
        return rng.integers(-shape[0], shape[0], (draw(st.integers(0, 4)), 2))
    if kind == "lists":
        return tuple(rng.integers(-n, n, 3).tolist() for n in shape)
    steps = [draw(st.one_of(st.integers(-n, n - 1), st.slices(n), st.just(slice(None)))) for n in shape]
    return {"ellipsis": (Ellipsis, steps[-1]), "none": (None, *steps)}.get(kind, tuple(steps))


@settings(max_examples=25)
@given(st.data())
def test_an_index_picks_outputs(data):
    op, matrix = data.draw(parts())
    key = data.draw(indices(op.out_shape))
    places = np.arange(len(matrix)).reshape(op.out_shape)[key]
    assert op[key].out_shape == places.shape
    assert_is(op[key], matrix[places.ravel()], rng_of(data.draw))


def test_crops_and_steps_of_a_convolution_are_convolutions():
    op = cm.conv(np.arange(1.0, 25).reshape(2, 2, 2, 3), (9, 8, 2), padding="same", boundary="reflect")
    for key in (np.s_[2:7], np.s_[::2, 1:], np.s_[..., 1:], np.s_[-3:, ::3, ::2]):
        assert isinstance(op[key], cm.ConvOperator)
        assert np.array_equal(
            op[key].to_dense(), op.to_dense()[np.arange(op.shape[0]).reshape(op.out_shape)[key].ravel()]
        )
    assert not isinstance(op[::-1], cm.ConvOperator)


@settings(max_examples=8)
@given(cases(dims=(1, 2), dtypes=[np.int64, np.float64, np.complex128]), st.integers(0, 2**32))
def test_sparse_matrices_and_operators_join_in(case, seed):
    op, matrix, rng = case.op, case.matrix, np.random.default_rng(seed)
    sparse = sp.coo_array(matrix)
    assert_is(op + sparse, 2 * matrix, rng)
    assert_is(sparse + op, 2 * matrix, rng)
    assert_is(op - matrix, 0 * matrix, rng)
    assert_is(matrix - op, 0 * matrix, rng)
    assert_is(op @ sparse.T, matrix @ matrix.T, rng)
    assert np.array_equal(sparse.T @ op, matrix.T @ matrix)  # SciPy takes the dense matrix
    assert_is(op + aslinearoperator(matrix), 2 * matrix, rng)


def test_functions_and_operators_are_maps():
    total = cm.aslinearmap(np.cumsum, 5, adjoint=lambda y: np.cumsum(y[::-1])[::-1])
    assert np.array_equal(total.to_dense(), np.tri(5))
    assert np.array_equal(total.T.to_dense(), np.tri(5).T)
    assert np.array_equal((cm.conv([-1, 1], 5) @ total).to_dense(), np.eye(5)[1:])
    assert cm.norm(total).value == pytest.approx(np.linalg.norm(np.tri(5), 2))
    pylops = pytest.importorskip("pylops")
    gradient = cm.aslinearmap(pylops.FirstDerivative((4, 6), axis=0))
    assert gradient.in_shape == gradient.out_shape == (4, 6)
    x = np.arange(24.0).reshape(4, 6) ** 2
    assert np.allclose(gradient(x), pylops.FirstDerivative((4, 6), axis=0) * x)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [*((mode, "even") for mode in BOUNDARIES), ("reflect", "odd"), ("symmetric", "odd")],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_padding_is_that_of_numpy(size, mode, kind):
    x = np.random.default_rng(0).integers(-9, 9, size)
    options = {"reflect_type": kind} if mode in ("reflect", "symmetric") else {}
    for lo in range(11):
        for hi in (0, 1, 4, 9):
            expected = np.pad(x, (lo, hi), {"zero": "constant"}.get(mode, mode), **options)
            assert np.array_equal(cm.pad(size, [(lo, hi)], mode, kind)(x), expected)


def test_a_convolution_after_padding_is_one_convolution():
    for boundary in BOUNDARIES:
        whole = cm.conv([[1, 2], [3, 4]], (7, 8)) @ cm.pad((5, 5), [1, (2, 1)], boundary)
        assert isinstance(whole, cm.ConvOperator)
        same = cm.conv([[1, 2], [3, 4]], (5, 5), padding=[1, (2, 1)], boundary=boundary)
        assert np.array_equal(whole.to_dense(), same.to_dense())


@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.int64])
def test_a_map_of_a_class_of_ones_own_takes_part(dtype):
    rng = np.random.default_rng(0)
    matrix = small_integers(rng, (4, 6), dtype)
    own, conv = Own(matrix, (2, 3), (4,)), cm.conv(small_integers(rng, (1, 2), dtype), (2, 3), padding=[0, (1, 0)])
    M = conv.to_dense()
    weights = np.array([1, -2, 0, 3])
    layer = cm.aslinearmap(own, out_shape=(2, 2))
    for op, expected in [
        (own, matrix),
        (layer, matrix),
        (abs(2 * own), np.abs(2 * matrix)) if dtype is not np.complex128 else (own, matrix),
        (own[[3, 0, 0]], matrix[[3, 0, 0]]),
        (own @ cm.select((2, 3), np.s_[:, 1:]).T, matrix[:, [1, 2, 4, 5]]),
        (own @ cm.diagonal(weights[[0, 1, 1, 3, 3, 0]].reshape(2, 3)), matrix * weights[[0, 1, 1, 3, 3, 0]]),
        (cm.vstack([own, conv]), np.vstack([matrix, M])),
        (cm.hstack([own.T, conv.T]), np.hstack([matrix.T, M.T])),
        (cm.block_diag([own, conv]), sp.block_diag([sp.coo_array(matrix), M]).toarray()),
        (cm.concat([layer, layer], 1),
         np.concatenate([matrix.reshape(2, 2, 6)] * 2, axis=1).reshape(8, 6)),
        (cm.kron(own, conv), np.kron(matrix, M)),
        (cm.gram(own), matrix.conj().T @ matrix),
        (cm.gram(own, weights), matrix.conj().T @ (weights[:, None] * matrix)),
        (own @ conv - own @ conv, 0 * matrix),
    ]:  # fmt: skip
        assert_is(op, expected, rng)
    if dtype is not np.complex128:
        low, high = cm.bounds(own, -1, 2)
        assert np.array_equal(high, np.where(matrix > 0, 2 * matrix, -matrix).sum(1))
        assert np.array_equal(low, np.where(matrix < 0, 2 * matrix, -matrix).sum(1))
    with pytest.raises(TypeError, match=r"fuse: a factor is an Own\. Expected a convolution"):
        cm.fuse(own @ conv)
