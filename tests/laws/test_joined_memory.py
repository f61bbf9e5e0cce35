"""Maps that join in are refused before anything of their size is allocated, and a few rows of them are built."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

import convmtx as cm
from convmtx import memory
from matrices import FORMATS

SIDE = 10**6
LINE = cm.conv(np.ones(3), 10**5, padding="same")
LARGE = cm.conv(np.ones((3, 3)), (SIDE, SIDE), padding="same")
SAME = cm.identity((SIDE, SIDE))
EYE = cm.aslinearmap(sp.eye_array(10**5, format="csr"))
TALL = cm.aslinearmap(np.ones((10**5, 2)))
MAPS = {
    "kron": lambda: cm.kron(LINE, LINE),
    "kron of three": lambda: cm.kron(cm.kron(LINE, LINE), LINE),
    "kron of sparse matrices": lambda: cm.kron(EYE, EYE),
    "kron of dense matrices": lambda: cm.kron(TALL, TALL.T),
    "identity": lambda: SAME,
    "multiple": lambda: 2 * cm.kron(LINE, LINE),
    "sum": lambda: SAME + cm.permutation((SIDE, SIDE), "HW", "WH"),
    "vstack": lambda: cm.vstack([LARGE, SAME]),
    "hstack": lambda: cm.hstack([LARGE, SAME]),
    "block_diag": lambda: cm.block_diag([LARGE, SAME]),
    "permutation": lambda: cm.permutation((SIDE, SIDE), "HW", "WH"),
    "padding": lambda: cm.pad((SIDE, SIDE), 3, "reflect"),
    "odd padding": lambda: cm.pad((10**5, 10**5), 3, "reflect", "odd"),
    "abs": lambda: abs(cm.kron(LINE, LINE)),
    "transpose": lambda: cm.vstack([LARGE, SAME]).T,
    "product": lambda: SAME @ SAME,
    "product of stacks": lambda: cm.hstack([SAME, SAME]) @ cm.vstack([SAME, SAME]),
    "product with a convolution": lambda: LARGE @ cm.identity((SIDE, SIDE)),
    "gram": lambda: cm.gram(LARGE),
    "gram of a stack": lambda: cm.gram(cm.vstack([LARGE, SAME])),
}


def refused(call, text="takes"):
    """The error of a call that must allocate nothing of the size of what it is asked for."""
    tracemalloc.start()
    try:
        with pytest.raises(cm.FormTooLargeError, match=text) as caught:
            call()
        assert tracemalloc.get_traced_memory()[1] < 1e8
    finally:
        tracemalloc.stop()
    return str(caught.value)


@pytest.mark.parametrize("name", MAPS)
def test_sparse_matrices_of_terabytes_are_refused_at_once(name):
    op = MAPS[name]()
    assert refused(op.to_sparse).startswith("to_sparse: the csr form takes ")
    assert refused(lambda: op.to_sparse("dia", "F")).startswith("to_sparse: the ")
    assert refused(op.to_dense, "the dense form takes").startswith("to_dense: ")
    assert refused(op.to_tensor).startswith("to_tensor: ")


@pytest.mark.parametrize("name", MAPS)
def test_outputs_of_terabytes_are_refused_at_once(name):
    op = MAPS[name]()
    for applied in (op, op.T):
        x = np.broadcast_to(1.0, applied.in_shape)
        if applied.shape[0] * 8 > 10**11:
            assert "an output of shape" in refused(lambda: applied(x))  # noqa: B023


@pytest.mark.parametrize("name", ["kron", "identity", "vstack", "permutation", "hstack", "block_diag", "odd padding"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_them_are_built(name, order):
    op = MAPS[name]()
    rows = op.to_sparse(rows=[5, op.shape[0] - 1], order=order)
    assert rows.shape == (2, op.shape[1])
    assert 1 < rows.nnz < 30


def test_what_they_list_is_refused_too():
    assert refused(lambda: cm.select((SIDE, SIDE), np.s_[::2])).startswith(
        "select: the numbers of the entries that are picked takes"
    )
    assert refused(lambda: SAME[::2]).startswith("op[key]: ")
    assert SAME[5, 7].to_sparse().nnz == 1
    assert refused(lambda: cm.concat([LARGE, SAME], 1)).startswith("concat: the numbers of all outputs")
    assert refused(lambda: cm.pad(10, 10**12, "reflect", "odd")).startswith("pad: the padded positions")
    assert refused(lambda: cm.bounds(LARGE, 0, 1)).startswith("bounds: the box and its bounds")
    assert refused(lambda: cm.bounds(cm.kron(LINE, LINE), 0, 1)).startswith("bounds: ")
    assert refused(lambda: cm.fuse(LARGE @ LARGE)).startswith("fuse: the outputs at the border")
    kernels = np.broadcast_to(1.0, (10**5, 10**5, 3, 3))
    assert refused(lambda: cm.local(kernels, (10**5 + 2, 10**5 + 2))).startswith("local: a copy of the kernel")
    weights = np.broadcast_to(1.0, (2, 10**6, 10**6))
    assert refused(lambda: cm.varying(np.ones((2, 3, 3)), weights, (10**6, 10**6))).startswith("varying: a copy of the")
    assert refused(lambda: cm.diagonal(np.broadcast_to(1.0, (10**6, 10**6)))).startswith("diagonal: a copy of the wei")
    assert refused(lambda: cm.aslinearmap(np.broadcast_to(1.0, (10**6, 10**6)))).startswith("aslinearmap: a copy of")
    assert refused(lambda: cm.gram(LARGE, np.broadcast_to(1.0, (SIDE, SIDE)))).startswith("gram: a copy of the weights")


SMALL = cm.conv(np.ones((5, 5)), (100, 100), padding="same")
CROPPED = cm.conv(np.ones((5, 5)), (100, 100))
KERNELS = np.ones((100, 100, 5, 5))


@pytest.mark.parametrize(
    ("op", "stored"),
    [
        (cm.kron(cm.conv(np.ones(5), 100), cm.conv(np.ones(5), 100)), 230_400),
        (cm.vstack([SMALL, CROPPED]), SMALL.nnz + CROPPED.nnz),
        (cm.block_diag([SMALL, CROPPED]), SMALL.nnz + CROPPED.nnz),
        (cm.hstack([SMALL, SMALL]), 2 * SMALL.nnz),
        (cm.local(KERNELS, (100, 100), padding="same"), SMALL.nnz),
        (cm.local(KERNELS, (100, 100), padding="same", per="input"), SMALL.nnz),
        (cm.varying(np.ones((2, 5, 5)), np.ones((2, 100, 100)), (100, 100), padding="same"), SMALL.nnz),
        (abs(cm.conv(np.ones((5, 5)), (100, 100), padding="same", boundary="edge")), 25 * 100**2 - 1000),
        (cm.aslinearmap(np.ones((400, 600))), 240_000),
        (cm.gram(SMALL), (9 * 100 - 20) ** 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_limit_of_a_form_is_its_size(monkeypatch, op, stored):
    """Refused with less memory than the entries take, built with a few times as much."""
    monkeypatch.setattr(memory, "available", lambda: 12 * stored - 100_000)
    for name in FORMATS:
        with pytest.raises(cm.FormTooLargeError, match=f"to_sparse: the {name} form takes"):
            op.to_sparse(name)
    assert op.to_sparse(rows=[0]).shape == (1, op.shape[1])
    monkeypatch.setattr(memory, "available", lambda: 80 * stored)
    assert op.to_sparse().nnz <= stored


def test_rows_of_products_cost_what_they_read():
    """Of maps between 10^10 entries: neither all rows nor all columns are listed."""
    wide = cm.conv(np.ones((3, 3)), (10**5, 10**5), padding="same")
    few = (wide @ wide @ cm.identity(wide.in_shape)).to_sparse(rows=[0])
    assert few.shape == (1, 10**10)
    assert np.array_equal(few.toarray() if few.shape[1] < 10**6 else few.indices % 10**5, [0, 1, 2] * 3)
    assert np.array_equal(few.data, np.outer([2, 2, 1], [2, 2, 1]).ravel())
    assert np.array_equal((wide.T + wide.T).T.T.to_sparse(rows=[0]).data, [2] * 4)
    two = wide[[0, 1], [2, 3]]
    assert np.array_equal(two.to_sparse().sum(axis=1), [6, 9])


def test_rows_of_weighted_gram_maps_are_those_of_the_parts():
    op = cm.conv(np.arange(9).reshape(3, 3), (40, 50), padding=1)
    weights = np.arange(2000).reshape(40, 50)
    S, rows = op.to_sparse(), [0, 777, 1999]
    expected = (S.T @ (weights.reshape(-1, 1) * S)).tocsr()[rows]
    assert np.array_equal(cm.gram(op, weights).to_sparse(rows=rows).toarray(), expected.toarray())
