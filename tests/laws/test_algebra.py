"""Sums, multiples, products and transposes are what they are for matrices, and convolutions where they can be."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convmtx as cm
from convmtx.maps.combined import Product, Sum
from convmtx.maps.linear_map import LinearMap
from convmtx.taps import taps_of
from strategies import cases

INT = [np.int64]


def check(op, D):
    """``op`` is the map of the matrix ``D``, in all its members."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (2, *op.in_shape))
    y = rng.integers(-3, 4, op.out_shape)
    assert op.shape == D.shape
    assert op.dtype == D.dtype
    assert np.array_equal(op.to_dense(), D)
    assert np.array_equal(op.to_tensor(), D.reshape(op.out_shape + op.in_shape))
    for form in ("csr", "csc", "coo", "bsr", "dia"):
        assert np.array_equal(op.to_sparse(form).toarray(), D)
    assert np.array_equal(op.to_sparse(rows=slice(None, None, -2)).toarray(), D[::-2])
    # Floats may be applied by factors of the kernel, which are rounded.
    near = 0 if D.dtype.kind in "iu" else 64 * np.finfo(D.dtype).eps * np.abs(D).sum()
    assert np.abs(op(x).reshape(2, -1) - x.reshape(2, -1) @ D.T).max(initial=0) <= near
    assert np.abs(op.H(y).ravel() - D.conj().T @ y.ravel()).max(initial=0) <= near
    assert np.array_equal(op.T.to_dense(), D.T)
    assert np.array_equal(op.H.to_dense(), D.conj().T)
    assert np.array_equal(op.conj().to_dense(), D.conj())
    assert np.array_equal(op.T.T.to_dense(), D)
    assert np.abs(op.rmatvec(y.ravel()) - D.conj().T @ y.ravel()).max(initial=0) <= near
    S = op.to_sparse()
    assert S.has_canonical_format


@given(cases(dtypes=[np.int64, np.complex128]))
def test_transpose_adjoint_and_conjugate(case):
    D = case.matrix
    for op, matrix in [(case.op.T, D.T), (case.op.H, D.conj().T), (case.op.conj(), D.conj())]:
        check(op, matrix)


@given(cases())
def test_the_transpose_is_a_convolution_wherever_it_can_be(case):
    if all(rule == "zero" for rule in case.boundary):
        assert isinstance(case.op.T, cm.ConvOperator)
        assert case.op.T.nnz == case.op.nnz


@pytest.mark.parametrize("boundary", ["wrap", "zero"])
def test_circular_maps_of_stride_one_have_a_convolution_as_transpose(boundary):
    op = cm.conv([1, 2, 4], 7, padding=[(2, 0)], boundary=boundary)

    assert isinstance(op.T, cm.ConvOperator)
    assert np.array_equal(op.T.to_dense(), op.to_dense().T)


def test_column_major_forms_of_combined_maps():
    a = cm.conv(np.arange(6).reshape(2, 3), (4, 5), padding="same", boundary="reflect")
    for op in (a.T, a.T @ a, a + a.T, 2 * (a.T @ a)):
        x = np.arange(20).reshape(4, 5)
        assert np.array_equal(op.to_dense("F") @ x.ravel("F"), op(x).ravel("F"))
        assert np.array_equal(op.to_sparse("csr", "F").toarray(), op.to_dense("F"))


@given(cases(dtypes=[np.int64, np.float64]), st.sampled_from([2, -1.5, 1j, np.float32(3), np.int64(2)]))
def test_multiples(case, a):
    D = case.matrix
    for op, matrix in [(a * case.op, a * D), (case.op * a, D * a), (-case.op, -D), (case.op / 2, D / 2)]:
        assert isinstance(op, cm.ConvOperator)
        check(op, matrix)
    lazy = a * (case.op.T @ case.op)
    check(lazy, a * (D.T @ D))


@given(cases(dtypes=INT))
def test_sums_with_the_same_geometry(case):
    other = case.op.with_kernel(case.op.kernel[::-1])
    for op, D in [(case.op + other, 1), (case.op - other, -1)]:
        assert isinstance(op, cm.ConvOperator)
        check(op, case.matrix + D * other.to_dense())


SUMMANDS = [
    {"kernel": (3,), "padding": 1},
    {"kernel": (5,), "padding": 2},
    {"kernel": (2,), "padding": [(1, 0)]},
    {"kernel": (2,), "padding": [(0, 1)], "flip": True},
    {"kernel": (3,), "dilation": 2, "padding": 2},
    {"kernel": (1,)},
    {"kernel": (2,), "dilation": 7, "padding": [(3, 4)]},
]


@pytest.mark.parametrize(("a", "b"), list(product(range(len(SUMMANDS)), repeat=2)))
@pytest.mark.parametrize("boundary", ["zero", "wrap", "edge"])
def test_sums_of_different_supports(a, b, boundary):
    rng = np.random.default_rng(a + 10 * b)
    ops = []
    for j in (a, b):
        options = dict(SUMMANDS[j])
        ops.append(cm.conv(rng.integers(-5, 6, options.pop("kernel")), 9, boundary=boundary, **options))
    total = ops[0] + ops[1]

    check(total, ops[0].to_dense() + ops[1].to_dense())
    if {a, b} <= {0, 1, 2, 3, 4, 5}:
        assert isinstance(total, cm.ConvOperator)


def test_a_sum_on_a_grid_of_mostly_zeros_stays_a_sum():
    near = cm.conv([1, 2, 3], 50, padding=1)
    far = cm.conv([1, 2, 3], 50, padding=20, dilation=20)

    assert isinstance(near + far, Sum)
    check(near + far, near.to_dense() + far.to_dense())


def test_a_cross_of_two_lines_is_one_kernel():
    row = cm.conv(np.array([[1, 2, 3]]), (6, 6), padding=[0, 1])
    column = cm.conv(np.array([[4], [5], [6]]), (6, 6), padding=[1, 0])
    total = row + column

    assert isinstance(total, cm.ConvOperator)
    assert total.kernel.tolist() == [[0, 4, 0], [1, 7, 3], [0, 6, 0]]
    check(total, row.to_dense() + column.to_dense())


def test_sums_across_groups_channels_first():
    rng = np.random.default_rng(0)
    a = cm.conv(rng.integers(-5, 6, (6, 2, 3)), (4, 8), groups=2, channels="first", padding=1)
    b = cm.conv(rng.integers(-5, 6, (6, 4, 1)), (4, 8), channels="first")
    total = a + b

    assert isinstance(total, cm.ConvOperator)
    assert total.geometry.groups == 1
    check(total, a.to_dense() + b.to_dense())


PRODUCTS = [  # left, right: options of a kernel of 3 taps over 12 positions; whether one convolution must come out
    ({}, {}, True),
    ({"stride": 2}, {"dilation": 2}, True),
    ({}, {"stride": 2}, True),
    ({"dilation": 2}, {"stride": 2}, True),
    ({"padding": "same"}, {"padding": "full"}, True),
    ({"padding": "full"}, {"padding": "full"}, True),
    ({"padding": "full"}, {"padding": 5}, True),
    ({"padding": "full", "flip": True}, {"padding": "full", "stride": 2}, True),
    ({"padding": "same", "boundary": "wrap"}, {"padding": "same", "boundary": "wrap"}, True),
    ({"padding": "same", "boundary": "wrap", "stride": 2}, {"padding": 2, "dilation": 2, "boundary": "wrap"}, True),
    ({}, {"padding": "same", "boundary": "reflect"}, True),
    ({}, {"input_dilation": 2, "padding": 2}, True),
    ({"padding": "same"}, {"padding": "same"}, False),
    ({"padding": "same", "boundary": "edge"}, {"padding": "full"}, False),
    ({"input_dilation": 2}, {}, False),
    ({"padding": 1, "boundary": "wrap"}, {"padding": "full"}, False),
]


@pytest.mark.parametrize(("left", "right", "one"), PRODUCTS)
def test_products(left, right, one):
    rng = np.random.default_rng(0)
    inner = cm.conv(rng.integers(-5, 6, 3), 12, **right)
    outer = cm.conv(rng.integers(-5, 6, 3), inner.out_shape, **left)
    both = outer @ inner

    assert isinstance(both, cm.ConvOperator) is one
    check(both, outer.to_dense() @ inner.to_dense())


@pytest.mark.parametrize("boundary", ["zero", "wrap", "reflect", "edge"])
def test_a_product_with_a_pointwise_map_is_one_convolution_under_any_boundary(boundary):
    rng = np.random.default_rng(0)
    mix = cm.conv(rng.integers(-5, 6, (1, 1, 3, 4)), (5, 6, 3))
    blur = cm.conv(rng.integers(-5, 6, (3, 3, 2, 4)), (5, 6, 4), groups=2, padding=1, boundary=boundary)
    for both, D in [(blur @ mix, blur.to_dense() @ mix.to_dense())]:
        assert isinstance(both, cm.ConvOperator)
        check(both, D)


@given(cases(dtypes=INT, dims=(1, 2)), cases(dtypes=INT, dims=(1, 2)))
def test_products_of_any_two_maps_that_meet(first, second):
    """The second's geometry is put on the first's output, with its own pads and boundary."""
    g = second.op.geometry
    sizes = first.op.geometry
    if len(sizes.axes) != len(g.axes):
        return
    try:
        outer = cm.conv(
            np.moveaxis(taps_of(g, second.op.kernel)[:1, :1], (0, 1), (-1, -2)).repeat(sizes.out_channels, -2),
            (*(a.out for a in sizes.axes), sizes.out_channels),
            stride=[a.stride for a in g.axes], dilation=[a.dilation for a in g.axes],
            input_dilation=[a.input_dilation for a in g.axes], padding=[(a.lo, a.hi) for a in g.axes],
            boundary=[a.boundary.name for a in g.axes],
        )  # fmt: skip
    except cm.ArgumentError:
        return
    if first.op.out_shape != outer.in_shape:
        return
    check(outer @ first.op, outer.to_dense() @ first.matrix)


@given(cases(dtypes=INT))
def test_gram_maps(case):
    D = case.matrix
    check(case.op.T @ case.op, D.T @ D)
    check(case.op @ case.op.T, D @ D.T)
    assert isinstance(case.op.T @ case.op, LinearMap)


def test_products_of_lazy_maps_apply_in_order():
    a = cm.conv([1, 2, 3], 8, padding="same", boundary="reflect")
    b = cm.conv([1, 5], 8, padding=[(1, 0)], boundary="edge")
    c = a.T @ b.T @ a

    assert isinstance(c, Product)
    check(c, a.to_dense().T @ b.to_dense().T @ a.to_dense())


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda op: op + cm.conv([1, 2], 9), ValueError, "op1 + op2: (9,) -> (7,) and (9,) -> (8,)"),
        (lambda op: op - cm.conv([1, 2], 9), ValueError, "op1 - op2"),
        (lambda op: op @ op, ValueError, "op1 @ op2: the right map makes (7,) and the left one takes (9,)"),
        (lambda op: op * np.ones(3), TypeError, "a * op: a has shape (3,)"),
        (lambda op: np.ones(3) * op, TypeError, "a * op: a has shape (3,)"),
        (lambda op: True * op, TypeError, "a * op: a has dtype bool"),
        (lambda op: op * "2", TypeError, "a * op: a has dtype <U1"),
        (lambda op: op + 1, TypeError, "unsupported operand"),
        (lambda op: op @ np.ones(7), ValueError, "op @ v: v has shape (7,). Expected (9,) or (9, k)"),
        (lambda op: op.rmatvec(np.ones(9)), ValueError, "rmatvec: v has shape (9,). Expected (7,) or (7, k)"),
        (lambda op: np.ones((2, 3)) @ op, ValueError, "v @ op"),
    ],
)
def test_operands_that_do_not_fit(make, error, text):
    with pytest.raises(error) as caught:
        make(cm.conv([1, 2, 3], 9))
    assert text in str(caught.value)


EDGE = {"padding": 1, "boundary": "edge"}


def small_maps(dtype):
    """Maps of small integers, each a convolution, a transpose, or what holds an image."""
    K, x = np.array([3, 1, 2], dtype), np.arange(6, dtype=dtype)
    return [cm.conv(K, 6), cm.conv(K, 6, padding=1, boundary="wrap").T, cm.kernel_operator(x, 3, **EDGE)]


@pytest.mark.parametrize("dtype", ["i1", "u1", "u4", "i8"])
@pytest.mark.parametrize("number", [2, 100, np.int64(-7), np.int8(3)])
def test_multiples_of_small_integers_wrap_as_numpys_do(dtype, number):
    for op in small_maps(dtype):
        check(number * op, number * op.to_dense())


@pytest.mark.parametrize("dtype", ["i1", "u1", "u4", "i8"])
def test_negation_and_differences_of_integers_wrap_as_numpys_do(dtype):
    for op in small_maps(dtype):
        D = op.to_dense()
        check(-op, -D)
        if dtype[0] == "i" or not isinstance(op, cm.KernelOperator):  # whose differences are sums of two maps
            check(3 * op - op, 3 * D - D)
            check(op - 2 * op, D - 2 * D)


def test_multiples_of_a_map_that_folds_its_border_are_right_or_refused():
    op = cm.conv(np.array([3, 1, 2], "i1"), 6, **EDGE).T

    check(2 * op, 2 * op.to_dense())
    check(-op, -op.to_dense())
    check(op - 3 * op, op.to_dense() - 3 * op.to_dense())
    with pytest.raises(cm.ArgumentError, match="their sum 144 does not fit in int8"):
        (100 * op).to_dense()
    with pytest.raises(cm.ArgumentError, match=r"a \* op: 300 does not fit in int8\. Expected a number of the map's"):
        300 * op
    check(np.int64(300) * op, 300 * op.to_dense().astype(np.int64))
    unsigned = cm.conv(np.array([3, 1, 2], "u1"), 6, **EDGE).T
    check(3 * unsigned - unsigned, 2 * unsigned.to_dense())
    check(np.int64(-1) * unsigned, -unsigned.to_dense().astype(np.int64))


def test_a_difference_is_taken_in_the_type_of_both():
    small, wide = cm.conv(np.array([200, 1], "u1"), 5), cm.conv(np.array([-3, 4]), 5)
    for one, other in [(small, wide), (wide, small), (small.T, wide.T), (wide.T, small.T)]:
        check(one - other, one.to_dense() - other.to_dense())
    least = cm.conv(np.array([-128, 1], "i1"), 5)  # has no opposite in its own type
    check(wide - least, wide.to_dense() - least.to_dense())
    check(wide.T - least.T, wide.T.to_dense() - least.T.to_dense())


def test_sums_of_unsigned_maps_have_no_negative():
    a, b = cm.conv(np.array([1, 2], "u2"), 5, **EDGE), cm.conv(np.array([1, 2], "u2"), 5, padding=1, boundary="reflect")
    images = cm.kernel_operator(np.arange(6, dtype="u2"), 3)
    for make in (lambda: -(a + b), lambda: -(a.T @ a), lambda: a - b, lambda: a.T - b.T, lambda: images - images):
        with pytest.raises(cm.ArgumentTypeError, match=r"of uint16\. Expected .* negative numbers\. Use .*int64"):
            make()
    check(np.int64(-1) * (a + b), -(a.to_dense().astype(int) + b.to_dense()))
    check(a + np.int64(-1) * b, a.to_dense() - b.to_dense().astype(int))


@pytest.mark.parametrize("divisor", [2, 0.5, 4j, np.float32(8), np.array(2)])
def test_quotients(divisor):
    op = cm.conv([1.0, 2.0, 4.0], 6, **EDGE)
    for each in (op, op.T, op.T @ op, cm.kernel_operator(np.arange(6.0), 3)):
        check(each / divisor, each.to_dense() / divisor)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "a=0. A map cannot be divided by zero"), (0.0, "a=0.0."), (np.int8(0), "A map cannot be divided by zero"),
     (0j, "A map cannot be divided by zero"), (1e-320, "Expected a number whose reciprocal is finite"),
     (10**400, "a=<integer of 1329 bits>. Expected a number that fits in a float")],
)  # fmt: skip
def test_numbers_that_divide_nothing(number, text):
    op = cm.conv([1, 2, 3], 9, **EDGE)
    for each in (op, op.T, op.T @ op, cm.permutation((2, 3), "HW", "WH"), cm.kernel_operator([1, 2, 3], 2)):
        with pytest.raises(cm.ArgumentError) as caught:
            each / number
        assert text in str(caught.value)
    with pytest.raises(cm.ArgumentError, match=r"a \* op: .*<integer of 1329 bits>"):
        10**400 * op.T


def test_scipys_solvers_take_the_operator_as_it_is():
    import scipy.optimize
    import scipy.sparse.linalg as sla

    rng = np.random.default_rng(0)
    op = cm.conv([0.25, 1.0, -0.25], 30, padding=1)
    D, b = op.to_dense(), rng.standard_normal(30)
    x = np.linalg.solve(D, b)
    wrapped = sla.aslinearoperator(op)

    assert wrapped.shape == op.shape
    assert wrapped.dtype == op.dtype
    assert np.allclose(wrapped.T.matvec(b), D.T @ b)
    assert np.allclose(wrapped.rmatmat(np.eye(30)), D.T)
    for solver in (sla.lsmr, sla.lsqr):
        assert np.allclose(solver(op, b, atol=1e-14, btol=1e-14)[0], x)
    for solver in (sla.gmres, sla.bicgstab, sla.qmr):
        assert np.allclose(solver(op, b, rtol=1e-12)[0], x)
    assert np.allclose(sla.cg(op.T @ op, op.T @ b, rtol=1e-13)[0], x)
    assert np.allclose(np.sort(sla.svds(op, 3, v0=b)[1]), np.sort(np.linalg.svd(D)[1])[-3:])
    assert np.allclose(np.sort(sla.eigsh(op.T @ op, 3)[0]), np.sort(np.linalg.eigvalsh(D.T @ D))[-3:])
    assert np.allclose(scipy.optimize.lsq_linear(op, b).x, x)
    assert np.isclose(sla.onenormest(op), np.abs(D).sum(0).max())


def test_long_chains_need_no_deep_stack():
    R = cm.conv([1, 2, 3], 6, padding=1, boundary="reflect")
    total = one = R.T
    for _ in range(3000):
        total = total + R.T
    for _ in range(40):
        one = one @ R.T

    assert np.array_equal(total(np.arange(6)), 3001 * R.T(np.arange(6)))
    assert np.array_equal(one.T.to_dense(), np.linalg.matrix_power(R.to_dense(), 41))
    assert repr(total) == "Sum (6,) -> (6,), int64"


def test_explaining_is_data():
    import dataclasses
    import json

    e = cm.conv(np.ones((3, 3, 2, 4)), (8, 8, 2), stride=2, padding="same", boundary="wrap").explain()
    data = json.loads(json.dumps(dataclasses.asdict(e)))

    assert data["axes"][0] == {
        "size": 8, "kernel": 3, "stride": 2, "dilation": 1, "pads": [0, 1], "input_dilation": 1,
        "boundary": "wrap", "outputs": 4,
    }  # fmt: skip
    assert data["bytes"]["dense"] == 8 * 64 * 128
    assert "axis 1: size 8, kernel 3, stride 2" in str(e)
