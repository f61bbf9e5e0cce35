"""Gram matrices and products of windows, beside windows that NumPy pads and slides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import convmtx as cm
from convmtx.geometry import Axis
from convmtx.structure import windows
from convmtx.structure.windows import Windows, has_toeplitz_gram, windows_of
from slides import MODES, slide


@st.composite
def examples(draw):
    """Arrays with channels and samples, and how windows lie in them along each axis."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    d = draw(st.integers(1, 2))
    axes = [
        {"kernel": draw(st.integers(1, 5)), "stride": draw(st.integers(1, 3)), "dilation": draw(st.integers(1, 3)),
         "boundary": draw(st.sampled_from(sorted(MODES)))} for _ in range(d)
    ]  # fmt: skip
    sizes = [(a["kernel"] - 1) * a["dilation"] + draw(st.integers(1, 6)) for a in axes]
    for a, n in zip(axes, sizes, strict=True):
        a["padding"] = draw(st.tuples(*2 * [st.integers(0, n - 1)]))
    x = rng.standard_normal((draw(st.integers(1, 2)), draw(st.integers(1, 2)), *sizes))
    if draw(st.booleans()):
        x = x + 1j * rng.standard_normal(x.shape)
    options = {key: [a[key] for a in axes] for key in ("stride", "dilation", "boundary", "padding")}
    return x, [a["kernel"] for a in axes], options, draw(st.integers(0, 2))


@given(examples())
def test_every_way_to_the_gram_matrix_is_the_product_of_windows(example):
    x, kernel, options, kind = example
    op = cm.kernel_operator(x, (1, x.shape[1], *kernel), input_shape=x.shape[1:], channels="first", **options)
    W = slide(x, kernel, **options)
    w, rng = windows_of(op), np.random.default_rng(1)
    shape = (len(x), *w.outs)
    weights = [None, rng.integers(0, 3, shape).astype(float), np.ones(shape)][kind]
    v = np.ones(len(W)) if weights is None else weights.ravel()
    expected = W.conj().T @ (v[:, None] * W)
    near = {"rtol": 0, "atol": 1e-12 * max(np.linalg.norm(W) ** 2, 1)}
    ways = [w._gram_by_blocks(weights), w.gram(weights), *(w._gram_by_step(weights, step) for step in w._steps())]
    for way in ways:
        assert np.allclose(way[0], expected, **near)
    assert np.allclose(w.first_row(weights)[0], expected[0], **near)
    assert np.allclose(w.transposed.gram(None)[0], (W @ W.conj().T).conj(), **near)
    h, y = rng.standard_normal(W.shape[1]), rng.standard_normal(len(W))
    assert np.allclose(w.forward(h.reshape(1, 1, -1, *kernel)).ravel(), W @ h)
    assert np.allclose(w.adjoint(y.reshape(1, 1, *shape)).ravel(), W.conj().T @ y)


def test_gram_matrices_are_the_same_in_blocks(monkeypatch):
    x = np.random.default_rng(0).standard_normal((2, 3, 9, 8))
    w = Windows(x[None], (Axis(9, 3), Axis(8, 2)))
    weights = np.random.default_rng(1).random((2, 7, 7))
    whole = w.gram(weights)
    monkeypatch.setattr(windows, "BLOCK_BYTES", 1 << 10)
    assert len(w.blocks()) > 2
    for way in (w._gram_by_blocks(weights), *(w._gram_by_step(weights, step) for step in w._steps())):
        assert np.allclose(way, whole, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"padding": [(4, 4)]}, True),
        ({"padding": [(6, 5)]}, True),
        ({"padding": "same", "boundary": "wrap"}, True),
        ({"padding": [(8, 8)], "dilation": 2}, True),
        ({"padding": [(4, 3)]}, False),
        ({"padding": "valid"}, False),
        ({"padding": [(4, 4)], "boundary": "reflect"}, False),
        ({"padding": [(4, 4)], "stride": 2}, False),
    ],
)
def test_gram_matrices_of_all_windows_are_toeplitz(options, expected):
    x = np.random.default_rng(0).standard_normal(12)
    op = cm.kernel_operator(x, 5, **options)
    D = op.to_dense()
    G = D.T @ D
    assert np.allclose(G[1:, 1:], G[:-1, :-1]) is expected
    assert has_toeplitz_gram(op._geometry) is expected


def test_what_no_output_reads_does_not_matter():
    x = np.random.default_rng(0).standard_normal(40)
    x[[1, 4]] = 1e20
    op = cm.kernel_operator(x, 1, stride=3)
    assert np.abs(windows_of(op).only_read(None).arrays).max() < 10
    x[30] = 1e20
    seen = np.ones((1, 36), bool)
    seen[0, [*range(5), *range(26, 31)]] = False
    w = windows_of(cm.kernel_operator(x, 5)).only_read(seen)
    assert np.abs(w.arrays).max() < 10
    assert np.array_equal(w.arrays[0, 0, 0, 5:30], x[5:30])
