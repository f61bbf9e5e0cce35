"""Some rows: those of the whole matrix, whatever the map, at the cost of these rows alone."""

import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
import reference
from convmtx.forms import filling, formats, row_lookup
from convmtx.forms.row_ranges import can_cut
from convmtx.maps.along_axis import AlongAxis
from convmtx.maps.rearranged import Rearranged
from matrices import flattened
from strategies import cases

FORMATS = ["csr", "csc", "coo", "bsr", "dia"]
BOUNDARIES = list(reference.PAD_MODES)


@st.composite
def keys(draw, count):
    """Slices of any step, row numbers in any order, and masks."""
    kind = draw(st.sampled_from(["slice", "step", "back", "numbers", "mask"]))
    first, last = sorted(draw(st.tuples(st.integers(0, count), st.integers(0, count))))
    if kind in ("slice", "step", "back"):
        step = {"slice": 1, "step": draw(st.integers(2, 7)), "back": -draw(st.integers(1, 3))}[kind]
        return slice(first, last, step) if step > 0 else slice(last, first, step)
    rng = np.random.default_rng(first * 1000 + last)
    return rng.integers(-count, count, 7) if kind == "numbers" else rng.random(count) < 0.5


@given(st.data())
@settings(max_examples=60)
def test_rows_of_a_map_and_of_its_transpose(data):
    case = data.draw(cases())
    order, name = data.draw(st.sampled_from("CF")), data.draw(st.sampled_from(FORMATS))
    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):  # many pieces, and none that are kept
            patch.setattr(row_lookup, "_LOOKED", 40)
            patch.setattr(row_lookup, "_SPREAD", 7)
            patch.setattr(filling, "_KEPT", 0)
            patch.setattr(filling, "first_rows", lambda _rows: None)
        for op, matrix in ((case.op, case.matrix_in(order)), (case.op.T, case.matrix_in(order).T)):
            key = data.draw(keys(op.shape[0]))
            S = op.to_sparse(name, order, rows=key)

            assert S.dtype == op.dtype
            assert np.array_equal(S.toarray(), matrix[key])
            if name in ("csr", "csc", "bsr"):
                unchecked = type(S)((S.data, S.indices, S.indptr), shape=S.shape)
                unchecked.check_format(full_check=True)
                assert unchecked.has_canonical_format


def loop(K, n, boundary, padding):
    """The matrix of a plain map of one axis or two, from the definition."""
    d = K.ndim
    ones = (1,) * d
    W = reference.tensor(K[..., None, None], n, ones, ones, [(padding, padding)] * d, ones, [boundary] * d, 1, False)
    return W.reshape(-1, np.prod(n))


def combine(make, library_of):
    """Maps of every class, with their matrices from loops and NumPy alone."""
    rng = np.random.default_rng(0)
    K, L = rng.integers(1, 9, (2, 3, 3)).astype(float)
    x = rng.integers(1, 9, (5, 6)).astype(float)
    M = rng.integers(1, 9, (4, 5)).astype(float)
    a, b = (cm.conv(make(k), (5, 6), padding=1, boundary=rule) for k, rule in ((K, "reflect"), (L, "edge")))
    A, B = loop(K, (5, 6), "reflect", 1), loop(L, (5, 6), "edge", 1)
    P = np.eye(30)[np.arange(30).reshape(5, 6).T.ravel()]
    along = np.kron(M, np.eye(6))
    turn = Rearranged((5, 6), (1, 0), (3, 10), like=library_of)
    windows = np.stack(
        [np.pad(x, 1, mode="symmetric")[i : i + 5, j : j + 6].ravel() for i, j in product(range(3), repeat=2)]
    )
    moment = cm.kernel_operator(make(x), (3, 3), padding=1, boundary="symmetric")
    affine = cm.Affine(a, make(x)).augmented()
    return [
        (a.T + b.T, (A + B).T), (3 * (a + b).T, 3 * (A + B).T), (a.T @ b, A.T @ B), (a @ b.T @ a, A @ B.T @ A),
        (turn, P), (turn.T, P.T), (turn @ a.T, P @ A.T), (AlongAxis(make(M), (5, 6), 0), along),
        (AlongAxis(make(M), (5, 6), 0).T, along.T), (moment, windows.T), (moment.T, windows),
        (affine, np.c_[A, x.ravel()]), (affine.T, np.c_[A, x.ravel()].T),
    ]  # fmt: skip


def dense(matrix):
    if hasattr(matrix, "todense") and not hasattr(matrix, "toarray"):
        return np.asarray(matrix.todense())
    return matrix.to_dense().numpy() if hasattr(matrix, "to_dense") else matrix.toarray()


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
@pytest.mark.parametrize("number", range(13))
def test_rows_of_maps_made_of_maps(number, name):
    make = np.array
    if name != "numpy":
        module = pytest.importorskip(name)
        make = module.tensor if name == "torch" else module.numpy.asarray
    op, matrix = combine(make, make([1.0]))[number]
    M = len(matrix)
    keys = [slice(3, M - 2), [2, 0, -1, 2], slice(None, None, -3), slice(1, None, 2), slice(0, 0)]
    for key in keys[: 2 if name == "jax" else None]:  # JAX compiles anew for every number of rows
        assert np.array_equal(dense(op.to_sparse("coo", rows=key)), matrix[np.arange(M)[key]])


def test_rows_of_an_inverse():
    op = cm.conv([4.0, 1.0, 2.0], 9, padding=1, boundary="symmetric")
    inverse = np.linalg.inv(op.to_dense())

    assert np.allclose(cm.inv(op).to_sparse(rows=[3, 0]).toarray(), inverse[[3, 0]], rtol=0, atol=1e-12)


def peak(call):
    tracemalloc.start()
    result = call()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return result, most


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("rows", [slice(700, 15_000), slice(None, None, 2), slice(5, None, 3), slice(None, None, -1)])
def test_memory_of_rows_is_that_of_the_result(rows, boundary):
    op = cm.conv(np.ones((9, 9)), (132, 128), padding="same", boundary=boundary)
    S, most = peak(lambda: op.to_sparse(rows=rows))

    assert most < 1.2 * (S.data.nbytes + S.indices.nbytes + S.indptr.nbytes) + 2e6


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_rows_of_what_is_too_large_cost_themselves(name, boundary):
    """A million times a million positions: the row is that of the same place in a small map, moved there."""
    make = np.array
    if name != "numpy":
        module = pytest.importorskip(name)
        if name == "jax":
            module.config.update("jax_enable_x64", True)
        make = module.tensor if name == "torch" else module.numpy.asarray
    n, m, K = 10**6, 12, np.arange(1.0, 10).reshape(3, 3)
    matrix = loop(K, (m, m), boundary, 1)
    large = cm.conv(make(K), (n, n), padding=1, boundary=boundary)
    for op, small in (
        (large, matrix),
        (large.T, matrix.T),
        (2 * large.T, 2 * matrix.T),
        (large.T + large.T, 2 * matrix.T),
    ):
        for i, j in ((0, 0), (1, n - 1), (n - 1, n - 2), (500_000, 5)):
            places = [place if place < m // 2 else max(place - n + m, m // 2) for place in (i, j)]
            row = small[places[0] * m + places[1]]
            (S, most) = peak(lambda op=op, i=i, j=j: op.to_sparse("coo", rows=[i * n + j]))

            assert most < 3e6
            values, columns = S.data, None
            if name == "numpy":
                columns = S.coords[1]
            elif name == "torch":
                values, columns = S.values().numpy(), S.indices()[1].numpy()
            else:
                values, columns = np.asarray(S.data), np.asarray(S.indices)[:, 1]
            assert values.tolist() == row[row != 0].tolist()
            back = [np.divmod(columns, n)[at] - (i, j)[at] + places[at] for at in (0, 1)]
            if boundary != "wrap":  # around the circle, columns are as far away as the map is large
                assert (back[0] * m + back[1]).tolist() == np.flatnonzero(row).tolist()


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"input_dilation": 3, "stride": (1, 2)}, {"dilation": 2}])
def test_ranges_of_the_transpose_are_written_in_closed_form(boundary, options, monkeypatch):
    """Ranges that begin and end inside lines, with every step that boxes can have."""
    rng = np.random.default_rng(0)
    K = rng.integers(1, 9, (2, 3, 2, 4))
    op = cm.conv(K, (4, 24, 4), groups=2, padding=((1, 1), (2, 3)), boundary=boundary, **options)
    expected = {order: flattened(op.to_dense(), op, order).T for order in "CF"}
    monkeypatch.setattr(formats, "compress", None)
    count = 0
    for order, step in product("CF", (1, 2, 3, 4, 8, 12, 96)):
        for _ in range(3):
            first, last = sorted(rng.integers(0, op.shape[1] + 1, 2).tolist())
            if can_cut(range(first, last, step), op.geometry, order, transposed=True):
                count += 1
                S = op.T.to_sparse(order=order, rows=slice(first, last, step))
                assert np.array_equal(S.toarray(), expected[order][first:last:step])
                assert S.has_canonical_format
    assert count > 20


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_slabs_of_a_large_map_cost_themselves(boundary):
    """A hundred million rows: a slab that begins and ends inside lines, of the map, its transpose and a stack."""
    n = 10**4
    op = cm.conv(np.ones((3, 3)), (n, n), padding=1, boundary=boundary)
    rows = slice(2 * n - 77, 30 * n + 5)
    for each, times in ((op, 2), (op.T, 2), (2 * op, 3), (cm.vstack([op, op]), 4)):
        S, most = peak(lambda each=each: each.to_sparse(rows=rows))
        assert S.shape[0] == rows.stop - rows.start
        assert most < times * (S.data.nbytes + S.indices.nbytes + S.indptr.nbytes)


def test_rows_of_a_product_have_the_small_indices_of_its_matrix():
    op = cm.conv([1.0, 2.0, 3.0], 10)
    for matrix in ((op.T @ op).to_sparse(), (op.T @ op).to_sparse(rows=[1, 0])):
        assert matrix.indices.dtype == matrix.indptr.dtype == np.int32


def test_a_product_takes_the_rows_that_take_part():
    op = cm.conv([1.0, 2.0, 3.0], 10**7, padding=1, boundary="reflect")
    gram, most = peak(lambda: (op.T @ op).to_sparse(rows=[0, 5 * 10**6]))

    assert most < 1e6
    small = loop(np.array([1.0, 2.0, 3.0]), (20,), "reflect", 1)
    assert gram[[0]].data.tolist() == [v for v in (small.T @ small)[0] if v]
    assert gram[[1]].data.tolist() == [v for v in (small.T @ small)[10] if v]


def test_more_rows_than_there_is_memory_for_are_refused_in_every_way(monkeypatch):
    from convmtx import memory

    monkeypatch.setattr(memory, "available", lambda: 1_100_000)
    op = cm.conv(np.ones((5, 5)), (200, 200), padding="same", boundary="reflect")
    for each, rows in product((op, op.T), (slice(None), slice(None, None, -1), slice(5, None, 3))):
        with pytest.raises(cm.FormTooLargeError, match=r"to_sparse: the (rows|csr|csc) form takes"):
            each.to_sparse(rows=rows)


@pytest.mark.parametrize(
    "rows", [range(0), range(2, 9, 3), range(9, 1, -2), range(-3, -1), range(-1, -5, -2), range(-2, 3)]
)
def test_ranges_are_rows(rows):
    op = cm.conv([1, 2, 3], 10, padding="same")
    for each in (op, op.T, op.T @ op):
        assert np.array_equal(each.to_sparse(rows=rows).toarray(), each.to_dense()[np.array(rows, dtype=int)])
