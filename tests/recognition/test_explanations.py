"""Explanations of random wrong matrices: each is rebuilt by transposes of NumPy, and the mistake is among them."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

import convmtx as cm
from convmtx.recognition.changes import Change, Kind
from convmtx.recognition.explanations import Reason, explain
from recognition.variants import matrix, names, random_case, six

SIX = ["flipped", "shifted", "boundary", "transposed", "column-major", "layout"]


def explained(case, A, **tolerances):
    """The explanations, all of which are rebuilt and compared."""
    diagnosis = explain(A, case.op, **tolerances)
    if diagnosis is None:
        return []
    dense = A if isinstance(A, np.ndarray) else A.toarray()
    for changes in diagnosis.explanations:
        np.testing.assert_array_equal(matrix(case, changes), dense, err_msg=str(diagnosis))
    assert (diagnosis.reason is None) is (len(diagnosis.explanations) == 1)
    return diagnosis.explanations


@pytest.mark.parametrize("mistake", SIX)
def test_the_six_mistakes(mistake):
    alone = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        case = random_case(rng, square=seed % 4 == 1, symmetric=seed % 4 == 2)
        change = six(case, rng).get(mistake)
        if change is None or np.array_equal(A := matrix(case, [change]), case.op.to_dense()):
            continue
        explanations = explained(case, scipy.sparse.csr_array(A) if seed % 2 else A)
        assert any(names(changes, change) for changes in explanations), (case, explanations)
        alone += len(explanations) == 1
    assert alone >= 3


PAIRS = [
    (Change(Kind.ORDER, (), ("outputs", "inputs")), Change(Kind.FLIPPED, (0, 1))),
    (Change(Kind.TRANSPOSED), Change(Kind.BOUNDARY, (("wrap",), ("wrap",)))),
    (Change(Kind.FLIPPED, (0,)), Change(Kind.SHIFTED, (0, 1))),
    (Change(Kind.SHIFTED, (1, 1)), Change(Kind.BOUNDARY, (("edge",), ("edge",)))),
    (Change(Kind.LAYOUT, (), ("inputs",)), Change(Kind.SCALED, (2,))),
    (Change(Kind.TRANSPOSED), Change(Kind.LAYOUT, (), ("outputs", "inputs"))),
    (Change(Kind.PADDING, ((2, 2), (3, 3))), Change(Kind.FLIPPED, (0, 1))),
    (Change(Kind.KERNEL_ORDER), Change(Kind.ORDER, (), ("outputs",))),
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: " ".join(change.kind.value for change in pair))
@pytest.mark.parametrize("channels", ["last", "first"])
def test_pairs(pair, channels):
    rng = np.random.default_rng(0)
    kernel = rng.integers(-9, 10, (3, 4, 2, 3))
    case = replace(
        random_case(rng), kernel=np.moveaxis(kernel, (-1, -2), (0, 1)) if channels == "first" else kernel,
        shape=(2, 6, 7) if channels == "first" else (6, 7, 2), pads=((1, 1), (1, 2)),
        boundary=("reflect", "reflect"), channels=channels,
    )  # fmt: skip
    assert set(pair) in [set(changes) for changes in explained(case, matrix(case, pair))]


@pytest.mark.parametrize(
    "change",
    [
        Change(Kind.AXES, (1, 0, 2), ("outputs", "inputs")), Change(Kind.ORDER, (), ("inputs",)),
        Change(Kind.LAYOUT, (), ("outputs",)), Change(Kind.ROLLED, (0, 1, 0)), Change(Kind.KERNEL_ORDER),
        Change(Kind.KERNEL_ROLLED, (1, 0)), Change(Kind.KERNEL_CHANNELS), Change(Kind.SHIFTED, (-1, 2)),
        Change(Kind.FLIPPED, (1,)), Change(Kind.PADDING, ((0, 0), (0, 0))), Change(Kind.SCALED, (-3,)),
        Change(Kind.BOUNDARY, (("zero",), ("wrap",))),
    ],
    ids=str,
)  # fmt: skip
def test_single_changes(change):
    case = replace(
        random_case(np.random.default_rng(0)), kernel=np.random.default_rng(0).integers(-9, 10, (3, 4, 2, 2)),
        shape=(6, 7, 2), pads=((1, 1), (1, 2)), boundary=("zero", "zero"), channels="last",
    )  # fmt: skip
    if change == Change(Kind.SHIFTED, (-1, 2)):  # which is none that is tried
        assert explained(case, matrix(case, [change])) == []
        return
    assert explained(case, matrix(case, [change])) == ((change,),)


def test_strides_and_dilations():
    K = np.random.default_rng(0).normal(size=(3, 3))
    for name, kind in (("stride", Kind.STRIDE), ("dilation", Kind.DILATION)):
        op = cm.conv(K, (9, 8), padding="same")
        A = cm.conv(K, (9, 8), padding="same", **{name: 2}).to_dense()
        assert explain(A, op).explanations == ((Change(kind, (2, 2)),),)
    op, A = cm.conv(K, (9, 8), stride=(1, 2)), cm.conv(K, (9, 8), stride=(2, 1)).to_dense()
    assert str(explain(A, op)) == "the matrix with stride (2, 1)"


def test_an_adjoint_that_is_not_conjugated():
    rng = np.random.default_rng(0)
    op = cm.conv(rng.normal(size=5) + 1j * rng.normal(size=5), 9)
    assert explain(op.to_dense().T, op.H).explanations == ((Change(Kind.CONJUGATED),),)
    assert str(explain(op.to_dense().conj().T, op)) == "the transpose of the matrix conjugated"


def test_even_kernels_have_two_centres():
    """Padding "same" and "same_lower" of an even kernel: the same windows, shifted by one."""
    K = np.random.default_rng(0).normal(size=(4, 4))
    op, lower = (cm.conv(K, (8, 9), padding=name) for name in ("same", "same_lower"))
    assert explain(lower.to_dense(), op).explanations == ((Change(Kind.SHIFTED, (-1, -1)),),)
    assert explain(op.to_dense(), lower).explanations == ((Change(Kind.SHIFTED, (1, 1)),),)


def test_factors_and_rounding():
    op = cm.conv(np.random.default_rng(0).normal(size=(3, 3)), (7, 6), padding=1)
    A = op.to_dense()
    assert explain(A / 3, op).explanations[0][0].numbers == pytest.approx((1 / 3,))
    noise = 1e-13 * np.random.default_rng(1).normal(size=A.shape)
    flipped = op.with_kernel(np.flip(op.kernel)).to_dense()
    assert explain(flipped + noise, op) is None
    found = explain(flipped + noise, op, atol=1e-12)
    assert {change.kind for changes in found.explanations for change in changes} == {Kind.FLIPPED, Kind.TRANSPOSED}
    assert found.reason is Reason.TRANSPOSED


def test_rows():
    op = cm.conv(np.random.default_rng(0).normal(size=(3, 3)), (7, 6), padding=1)
    A = op.to_dense()
    empty = A.copy()
    empty[[8, 30]] = 0
    assert explain(empty, op).explanations == ((Change(Kind.EMPTY_ROWS, (2, (1, 2))),),)
    for form in (np.asarray, scipy.sparse.csr_array):
        some = form(np.delete(A, [8, 9, 30], axis=0))
        assert str(explain(some, op)) == "the matrix without 3 of its rows, the first of output (1, 2)"
        some[5, 5] += 1
        assert explain(some, op) is None
    empty[0, 0] += 1
    assert explain(empty, op) is None
    assert explain(0 * A, op) is None


def test_what_nothing_explains():
    rng = np.random.default_rng(0)
    op = cm.conv(rng.normal(size=(3, 2)), (5, 6))
    A = op.to_dense()
    assert explain(A + 1, op) is None
    assert explain(A[:, :7], op) is None
    assert explain(rng.normal(size=A.shape), op) is None
    A[3, 4] += 1
    assert explain(A, op) is None


def test_reasons():
    rng = np.random.default_rng(0)
    K = rng.normal(size=(3, 3))
    cases = {
        Reason.SQUARE: (cm.conv(K, (6, 6)), lambda W: W.reshape(4, 4, 6, 6).transpose(1, 0, 3, 2).reshape(16, 36)),
        Reason.TRANSPOSED: (cm.conv(K, (6, 7), padding=1), lambda W: W.T),
        Reason.SYMMETRIC: (cm.conv(K + K[:, ::-1], (6, 7)), lambda W: W.reshape(4, 5, -1)[::-1, :, :].reshape(20, -1)),
    }
    op, change = cases[Reason.SQUARE]
    assert explain(change(op.to_dense()), op).reason is Reason.SQUARE
    op, change = cases[Reason.TRANSPOSED]
    assert explain(change(op.to_dense()), op).reason is Reason.TRANSPOSED
    op = cases[Reason.SYMMETRIC][0]
    flipped = explain(op.with_kernel(op.kernel[::-1]).to_dense(), op)
    assert flipped.reason is Reason.SYMMETRIC
    assert str(flipped) == (
        "the matrix with the kernel flipped along axes 0 and 1, or the matrix with the kernel flipped along axis 0 "
        "(ambiguous: the kernel is symmetric)"
    )
