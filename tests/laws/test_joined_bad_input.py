"""Maps that join in refuse what is none in words, and are not moved by odd arrays: empty, shared, or of small types."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator

import convmtx as cm

OP = cm.conv([1.0, 2.0], 4)
OBJECTS = np.array([1, None], object)


def fails(call, kind, text):
    """A row of the table: the error of a call has four parts, and these words."""
    return pytest.param(call, kind, text, id=text[:40])


BAD = [
    fails(lambda: cm.diagonal(None), TypeError, "diagonal: w has dtype object. Expected integers"),
    fails(lambda: cm.diagonal([True]), TypeError, "diagonal: w has dtype bool"),
    fails(lambda: cm.diagonal(np.ma.array([1, 2], mask=[0, 1])), TypeError, "w is a masked array"),
    fails(lambda: cm.diagonal([[1], [1, 2]]), TypeError, "diagonal: w of type list is not an array"),
    fails(lambda: cm.identity(-1), ValueError, "identity: shape=-1"),
    fails(lambda: cm.identity(2.5), TypeError, "identity: shape=2.5"),
    fails(lambda: cm.identity(True), TypeError, "identity: shape=True"),
    fails(lambda: cm.identity(3, bool), TypeError, "identity: dtype=bool. Expected a type of numbers"),
    fails(lambda: cm.identity(3, object), TypeError, "identity: dtype=object"),
    fails(lambda: cm.identity(3, "no"), TypeError, "identity: dtype='no'"),
    fails(lambda: cm.identity(3, np.float16).to_sparse(), TypeError, "to_sparse: the matrix has dtype float16"),
    fails(lambda: cm.select(4, 7), ValueError, "select: key=7 (index 7 is out of bounds"),
    fails(lambda: cm.select(4, [0, -5]), ValueError, "select: key=[0, -5]"),
    fails(lambda: cm.select(4, 1.5), ValueError, "select: key=1.5"),
    fails(lambda: cm.select(4, "a"), ValueError, "select: key='a'"),
    fails(lambda: cm.select(4, slice(None, None, 0)), ValueError, "slice step cannot be zero"),
    fails(lambda: cm.select(4, (..., ...)), ValueError, "Expected an index of an array of shape (4,)"),
    fails(lambda: cm.select(4, OBJECTS), ValueError, "select: key=<ndarray of shape (2,)>"),
    fails(lambda: cm.select((2, 2), np.ones((3, 2), bool)), ValueError, "boolean index did not match"),
    fails(lambda: OP[np.ones((5, 3), bool)], ValueError, "op[key]: key=<ndarray of shape (5, 3)>"),
    fails(lambda: OP[2**70], ValueError, "op[key]: key=11805916207"),
    fails(lambda: cm.vstack(None), TypeError, "vstack: maps=None. Expected at least one map. Pass a list"),
    fails(lambda: cm.vstack(OP), TypeError, "vstack: maps=<ConvOperator"),
    fails(lambda: cm.hstack([]), TypeError, "hstack: maps=[]"),
    fails(lambda: cm.block_diag(()), TypeError, "block_diag: maps=()"),
    fails(lambda: cm.vstack([OP, None]), TypeError, "vstack: A has dtype object"),
    fails(lambda: cm.vstack([OP, cm.Affine(OP, [1, 2, 3])]), TypeError, "Pass A.op, or A.augmented()"),
    fails(lambda: cm.vstack([OP, cm.identity(3)]), ValueError, "vstack: maps[0].in_shape is (4,) and maps[1].in_s"),
    fails(lambda: cm.concat([OP, OP], 1), ValueError, "concat: outputs of (3,), (3,) along axis 1"),
    fails(lambda: cm.concat([OP, OP], 0.5), TypeError, "concat: axis=0.5. Expected an integer"),
    fails(lambda: cm.concat([OP[0], OP[0]]), ValueError, "concat: outputs of (), () along axis 0"),
    fails(lambda: cm.kron(OP, "a"), TypeError, "kron: A has dtype <U1"),
    fails(lambda: cm.gram(OP, [1, 2]), ValueError, "gram: weights have shape (2,). Expected (3,)"),
    fails(lambda: cm.gram(OP, 2.0), ValueError, "gram: weights have shape ()"),
    fails(lambda: cm.gram(OP, [1j, 2, 3]), TypeError, "gram: weights of complex128. Expected real numbers"),
    fails(lambda: cm.gram(OP, [True, False, True]), TypeError, "gram: weights has dtype bool"),
    fails(lambda: cm.aslinearmap(3), ValueError, "aslinearmap: A has shape (). Expected a matrix (M, N)"),
    fails(lambda: cm.aslinearmap(OBJECTS), TypeError, "aslinearmap: A has dtype object"),
    fails(lambda: cm.aslinearmap(sp.eye_array(3, dtype=bool)), TypeError, "aslinearmap: A has dtype bool"),
    fails(lambda: cm.aslinearmap(sp.coo_array([1, 2, 3])), ValueError, "aslinearmap: A has shape (3,)"),
    fails(lambda: cm.aslinearmap(np.ones((2, 3)), (2, 2)), ValueError, "in_shape=(2, 2) with A of shape (2, 3)"),
    fails(lambda: cm.aslinearmap(lambda _: "a", 3), TypeError, "A(0) has dtype <U1"),
    fails(lambda: cm.aslinearmap(lambda x: x + 1, 3), ValueError, "does not take zeros to zeros"),
    fails(lambda: cm.aslinearmap(np.square, 3), ValueError, "does not take -2 x to -2 A(x). Expected a linear one"),
    fails(lambda: cm.aslinearmap(np.abs, 3), ValueError, "A is a function that does not take -2 x"),
    fails(lambda: cm.aslinearmap(lambda x: np.maximum(x, 0), 3), ValueError, "does not take -2 x to -2 A(x)."),
    fails(lambda: cm.aslinearmap(lambda x: x**3, (2, 3)), ValueError, "that does not take -2 x to -2 A(x)"),
    fails(lambda: cm.aslinearmap(lambda x: x, 3, 4), ValueError, "A returns an array of shape (3,). Expected out_sh"),
    fails(lambda: cm.aslinearmap(np.cumsum, 3, adjoint=3), TypeError, "adjoint=3 with A of type"),
    fails(
        lambda: cm.aslinearmap(np.cumsum, 3, adjoint=lambda y: y[:2]).T(np.ones(3)), ValueError,
        "a function returns an array of shape (2,). Expected (3,)",
    ),
    fails(
        lambda: cm.aslinearmap(np.cumsum, 3, adjoint=np.cumsum).to_sparse(rows=[0]), ValueError,
        "_apply_transposed is not the transpose of",
    ),
    fails(
        lambda: cm.norm(cm.aslinearmap(LinearOperator((2, 2), lambda v: 2 * v, lambda v: 3 * v, dtype=float))),
        ValueError, "norm: OperatorMap._apply_transposed is not",
    ),
    fails(lambda: cm.pad(3, -1, "reflect", "odd"), ValueError, "pad: reflect_type='odd' with boundary='reflect'"),
    fails(lambda: cm.pad(3, 1, "edge", "odd"), ValueError, "Expected 'reflect' or 'symmetric', and pads >= 0"),
    fails(lambda: cm.pad(3, "a"), ValueError, "pad: padding='a'"),
    fails(lambda: cm.pad(3, 1, "reflect", "x"), ValueError, "pad: reflect_type='x'"),
    fails(lambda: OP + sp.eye_array(4), ValueError, "op1 + op2: a matrix has shape (4, 4). Expected (3, 4). "),
    fails(lambda: OP @ sp.eye_array(3), ValueError, "op1 @ op2: a matrix has shape (3, 3). Expected (4, N). "),
    fails(lambda: cm.vstack([OP, OP])(np.ones(5)), ValueError, "op(x): x has shape (5,). Expected (*batch, 4)"),
    fails(lambda: cm.kron(OP, OP)(np.ones(16)), ValueError, "Expected (*batch, 4, 4). For a flattened array"),
    fails(lambda: cm.vstack([OP])([True] * 4), TypeError, "op(x): x has dtype bool"),
    fails(lambda: cm.kron(OP, OP).to_sparse(rows=[9]), IndexError, "to_sparse: row 9. The matrix has rows 0 to 8"),
    fails(lambda: cm.kron(OP, OP).to_sparse("lil"), ValueError, "to_sparse: format='lil'"),
    fails(lambda: cm.vstack([OP]).to_dense("K"), ValueError, "to_dense: order='K'"),
    fails(lambda: -cm.vstack([np.uint8([[1]])]), TypeError, "-op: a Stacked of uint8"),
    fails(lambda: cm.norm(cm.diagonal([np.nan])), ValueError, "norm: the weights contains inf or nan"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), BAD)
def test_errors_say_what_was_expected(call, kind, text):
    with pytest.raises(kind) as caught:
        call()
    assert isinstance(caught.value, cm.ConvmtxError)
    assert text in str(caught.value)
    assert len(str(caught.value).split(". ")) >= 3


def test_numbers_and_other_things_are_not_added():
    for other in (1, None, "a", [1]):
        with pytest.raises(TypeError):
            OP + other
    with pytest.raises(TypeError):
        iter(OP)
    with pytest.raises(TypeError):
        OP[0] = 1


def test_maps_of_no_outputs_and_no_inputs():
    none, every = cm.aslinearmap(np.ones((0, 3))), cm.identity(3)
    picked, D = every[[]], np.zeros((0, 3))
    for op in (none, picked, picked[[]], cm.aslinearmap(sp.csr_array((0, 3))), 2 * none, abs(none), none + none):
        assert op.shape == (0, 3)
        assert op.to_dense().shape == (0, 3)
        assert op([1, 2, 3]).shape == (0,)
        assert np.array_equal(op.T([]), np.zeros(3))
        assert np.array_equal(op.T.to_dense(), D.T)
        for order in "CF":
            assert op.to_sparse("csc", order).shape == (0, 3)
            assert op.T.to_sparse("coo", order).shape == (3, 0)
            assert op.to_sparse(rows=[], order=order).shape == (0, 3)
    assert np.array_equal(cm.vstack([none, every]).to_dense(), np.eye(3))
    assert np.array_equal(cm.hstack([none.T, every]).to_dense(), np.eye(3))
    assert np.array_equal(cm.block_diag([none, every, none.T]).to_dense(), np.pad(np.eye(3), ((0, 3), (3, 0))))
    assert cm.kron(none, every).to_dense().shape == (0, 9)
    assert cm.kron(every, none.T)(np.ones((2, 3, 0))).shape == (2, 3, 3)
    assert np.array_equal(cm.gram(none).to_dense(), np.zeros((3, 3)))
    assert [bound.shape for bound in cm.bounds(none, 0, 1)] == [(0,), (0,)]
    empty = cm.diagonal([])
    assert empty([]).shape == (0,)
    assert empty.to_sparse("dia").shape == (0, 0)


def test_arrays_of_no_axes():
    op = cm.diagonal(3.0)
    assert op(2) == 6
    assert op.to_dense().tolist() == [[3]]
    assert op.to_sparse("csc", "F").toarray().tolist() == [[3]]
    entry = cm.conv([[1, 2]], (2, 3))[1, 0]
    assert entry.out_shape == ()
    assert entry([[1, 2, 3], [4, 5, 6]]) == 14
    assert cm.vstack([entry, entry]).to_dense().shape == (2, 6)
    assert cm.kron(entry, entry).out_shape == ()
    total = cm.aslinearmap(np.sum, (2, 3), adjoint=lambda y: np.full((2, 3), y))
    assert total.out_shape == ()
    assert total.T(2.0).tolist() == [[2, 2, 2], [2, 2, 2]]


def test_duplicates_and_negative_numbers_in_an_index():
    op = OP[[0, -1, 0, -3]]
    assert np.array_equal(op.to_dense(), OP.to_dense()[[0, 2, 0, 0]])
    assert op.T([1, 10, 100, 1000]).tolist() == [1101, 2202, 10, 20]
    x = np.arange(8.0).reshape(2, 4)
    assert np.array_equal(op(x), OP(x)[:, [0, 2, 0, 0]])


def test_duplicates_and_unsorted_columns_of_sparse_matrices():
    twice = sp.coo_array(([1, 2, 5], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    assert cm.aslinearmap(twice).to_sparse().nnz == 2
    assert cm.aslinearmap(twice)([1, 1]).tolist() == [3, 5]
    unsorted = sp.csr_array((np.array([1, 2]), np.array([1, 0]), np.array([0, 2])), shape=(1, 2))
    for op in (cm.aslinearmap(unsorted), cm.vstack([unsorted]), cm.kron(unsorted, unsorted), abs(cm.gram(unsorted))):
        assert op.to_sparse().has_canonical_format
    assert unsorted.indices.tolist() == [1, 0]


def test_numbers_that_change_afterwards_change_nothing():
    arrays = [np.arange(1.0, 1 + np.prod(s)).reshape(s) for s in ((4,), (3, 4), (3, 2), (1, 2), (1, 4), (3,))]
    w, A, K, kernels, weights, g = arrays
    sparse, key = sp.csr_array(A), np.array([0, 2])
    maps = [
        cm.diagonal(w), cm.aslinearmap(A), cm.aslinearmap(sparse), cm.local(K, 4), cm.varying(kernels, weights, 4),
        cm.gram(OP, g), OP[key], cm.select(4, key), cm.Affine(OP, g).augmented(),
    ]  # fmt: skip
    before = [op.to_dense() for op in maps]
    for array in (*arrays, sparse.data, key):
        array[...] = 1
    sparse.indices[:] = 0
    for op, matrix in zip(maps, before, strict=True):
        assert np.array_equal(op.to_dense(), matrix)
        x = np.arange(float(op.shape[1])).reshape(op.in_shape)
        assert np.array_equal(op(x).ravel(), matrix @ x.ravel())
        taken = [op.to_sparse().data, op.to_dense(), op(x), op.T(op(x))]
        for array in taken:
            array[...] = 7
        assert np.array_equal(op.to_dense(), matrix)
        assert np.array_equal(op(x).ravel(), matrix @ x.ravel())
        with pytest.raises(AttributeError, match="Maps cannot be changed"):
            op.places = None


def test_arrays_with_gaps_and_read_only_ones():
    x = np.arange(64.0).reshape(8, 8)[::2, ::-2]
    x.setflags(write=False)
    rng = np.random.default_rng(0)
    A = rng.integers(-9, 9, (32, 10)).T[::2, ::2]
    A.setflags(write=False)
    for op in (
        cm.diagonal(x), cm.vstack([cm.conv(x[:2, :2], (4, 4)), cm.identity((4, 4))]), cm.aslinearmap(A, (4, 4)),
        cm.kron(x, x), cm.local(np.broadcast_to(x[:2, :2], (3, 3, 2, 2)), (4, 4)), cm.gram(A, A[:, 0]),
    ):  # fmt: skip
        array = np.broadcast_to(rng.integers(-9, 9, op.in_shape[-1:]), op.in_shape)
        assert np.array_equal(op(array).ravel(), op.to_dense() @ array.ravel())
        assert np.array_equal(op(np.asfortranarray(array)), op(array))
        assert np.array_equal(op.to_sparse().toarray(), op.to_dense())


def test_numbers_in_another_byte_order():
    A = np.arange(6).reshape(2, 3).astype(">i4")
    for op in (cm.aslinearmap(A), cm.diagonal(A), cm.local(A, 4), cm.varying(A[:, :2], A[:, :3], 3)):
        assert op.dtype.isnative
        assert np.array_equal(op.to_sparse().toarray(), op.to_dense())


def test_small_integers_wrap_around_as_numpys_do():
    low = cm.conv(np.int8([-128, 100]), 3)
    stack = cm.vstack([low, cm.diagonal(np.int8([100, -128, 1]))])
    D = stack.to_dense()
    for op, matrix in ((stack, D), (abs(stack), np.abs(D)), (-stack, -D), (cm.kron(stack, low), np.kron(D, D[:2]))):
        assert op.dtype == np.int8
        assert np.array_equal(op.to_dense(), matrix)
        x = np.int8([100, -128, 50, 7, 3, 2, 100, 99, 1])[: op.shape[1]].reshape(op.in_shape)
        assert np.array_equal(op(x).ravel(), matrix @ x.ravel())
    high = cm.gram(np.uint8([[200, 100]]))
    assert high.to_dense().tolist() == [[64, 32], [32, 16]]
    assert abs(cm.vstack([np.uint8([[255]])])).to_dense().tolist() == [[255]]


HALF = np.random.default_rng(0).integers(-3, 4, (3, 4)).astype(np.float16)


@pytest.mark.parametrize(
    "op",
    [
        abs(cm.conv(HALF[:2, :2], (3, 4), padding=1, boundary="edge")), cm.diagonal(HALF), cm.vstack([HALF, HALF]),
        cm.block_diag([HALF, HALF.T]), cm.kron(cm.conv(HALF[0, :2], 3), HALF), cm.aslinearmap(HALF).T, cm.gram(HALF),
        cm.gram(cm.conv(HALF[0, :2], 4), HALF[:, 0]), cm.conv(HALF, (4, 6))[1:, [0, 2, 0]], cm.local(HALF[:, :2], 4),
        cm.local(HALF[:3].T, 4, per="input", padding=1), cm.varying(HALF[:, :2], HALF, 4), cm.identity(3, np.float16),
        cm.concat([cm.aslinearmap(HALF), cm.conv(HALF[0, :3], 4)]), cm.local(HALF[:, :2], 4).T + HALF.T,
    ],
    ids=lambda op: type(op).__name__,
)  # fmt: skip
def test_half_precision(op):
    """SciPy has no sparse arrays of it, so matrices are added and multiplied in float32."""
    D = op.to_dense()
    assert D.dtype == op.dtype == np.float16
    wide = op + np.zeros(op.shape) if op.in_shape == (op.shape[1],) and op.out_shape == (op.shape[0],) else None
    if wide is not None:
        assert np.array_equal(wide.to_dense(), D)
    rng = np.random.default_rng(1)
    for applied, by in ((op, D.T), (op.T, D), (abs(op), abs(D).T)):
        x = rng.integers(-2, 3, (2, *applied.in_shape)).astype(np.float16)
        y = applied(x)
        assert y.dtype == np.float16
        assert np.array_equal(y.reshape(2, -1), x.reshape(2, -1).astype(float) @ by.astype(float))
    assert cm.norm(op).value == pytest.approx(np.linalg.norm(D.astype(float), 2), rel=1e-6)


def test_what_is_not_finite_reaches_the_outputs_that_read_it():
    nan = np.array([np.nan, 0.0, 0.0, 0.0])
    assert np.isnan(cm.vstack([OP, cm.identity(4)])(nan)).tolist() == [True, False, False, True, False, False, False]
    assert np.isnan(cm.local(np.ones((3, 2)), 4)(nan)).tolist() == [True, False, False]
    assert np.isnan(cm.block_diag([OP, OP])(np.tile(nan, 2))).tolist() == [True, False, False] * 2
    assert np.isnan(OP[1:](nan)).tolist() == [False, False]
    assert np.isnan(cm.diagonal([0.0, 1, 1, 1])(nan)).tolist() == [True, False, False, False]
    assert np.isnan(abs(cm.diagonal([np.nan, -np.inf])).to_dense()).sum() == 1
    assert np.isnan(cm.gram(OP, [np.nan, 1, 1]).to_dense()).sum() == 4
    inf = cm.kron(cm.identity(2), OP)([[np.inf, 0, 0, 0], [0, 0, 0, 0]])
    assert np.isposinf(inf).tolist() == [[True, False, False], [False] * 3]


def test_a_function_that_writes_to_its_argument_leaves_the_callers_array():
    def doubled(x):
        y = 2 * x
        x[...] = -1
        return y

    x = np.ones(3)
    assert np.array_equal(cm.aslinearmap(doubled, 3, adjoint=lambda y: 2 * y)(x), [2, 2, 2])
    assert np.array_equal(x, np.ones(3))


def test_outputs_of_functions_and_operators_have_the_type_of_map_and_input():
    twice = cm.aslinearmap(lambda x: 2 * x, 3, adjoint=lambda y: 2 * y)
    assert twice([1, 2, 3]).dtype == twice.to_dense().dtype == np.float64
    turned = LinearOperator((3, 3), matvec=lambda v: 1j * v, rmatvec=lambda v: -1j * v, dtype=float)
    with pytest.raises(TypeError, match="takes float64 to complex128"):
        cm.aslinearmap(turned).to_dense()


def test_an_operator_without_adjoint_says_how_to_give_one():
    with pytest.raises(TypeError, match=r"Expected one that has rmatvec. Pass cm\.aslinearmap\(A\.matvec"):
        cm.aslinearmap(LinearOperator((3, 3), matvec=lambda v: 2 * v, dtype=float)).T(np.ones(3))


def test_maps_can_come_from_any_iterable():
    assert cm.vstack(op for op in (OP, OP)).shape == (6, 4)
    assert cm.hstack({"a": OP, "b": OP}.values()).shape == (3, 8)


def test_a_mask_is_a_weight():
    op = cm.conv(np.ones((3, 3)), (5, 6), padding=1)
    known = np.random.default_rng(0).random(op.out_shape) < 0.7
    S = op.to_sparse()[known.ravel()]
    assert np.array_equal(cm.gram(op, known).to_dense(), (S.T @ S).toarray())
