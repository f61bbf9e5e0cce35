"""Coefficients in the bases of blocks: orthonormal vectors, and together with the blocks the map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import convmtx as cm
from convmtx.structure import find_blocks
from convmtx.structure.bases import Columns, Cosines, Positions, Waves, WholeSamples
from convmtx.taps import taps_of
from spectra.dense import doubles, rounding

RNG = np.random.default_rng(0)


def applied(blocks, x):
    """``x`` taken to the coefficients, through the matrices and back."""
    return blocks.synthesize(blocks.matrices() @ blocks.analyse(x, True), False)


@given(doubles(dims=(1, 2, 3, 4)), st.booleans(), st.booleans(), st.integers(0, 99))
@settings(max_examples=80)
def test_blocks_together_are_any_map(case, factors, merged, seed):
    op, rng = case.op, np.random.default_rng(seed)
    x = rng.standard_normal((3, *op.in_shape))
    if op.dtype.kind == "c" or not merged:  # of real numbers alone conjugate blocks are left out
        x = x + 1j * rng.standard_normal(x.shape)
    found = find_blocks(op.geometry, taps_of(op.geometry, op.kernel), merged, factors)
    y = sum((applied(blocks, x) for blocks in found), np.zeros((3, *op.out_shape)))
    expected = x.reshape(3, -1) @ case.matrix.T
    assert np.abs(y.reshape(3, -1) - expected).max(initial=0) <= rounding(case.matrix) * np.abs(x).max()


@given(doubles(), st.booleans(), st.integers(0, 99))
@settings(max_examples=60)
def test_lengths_are_kept(case, factors, seed):
    """Of what the bases hold; each occurrence of a block counts."""
    op = case.op
    x = np.random.default_rng(seed).standard_normal((2, *op.in_shape))
    for blocks in find_blocks(op.geometry, taps_of(op.geometry, op.kernel), True, factors):
        y = blocks.analyse(x, True)
        held = blocks.synthesize(y, True)
        copies = np.prod([split.inputs.copies for split in blocks.splits])
        energy = (np.abs(y) ** 2).sum(axis=(1, 2)) @ (blocks.times / copies)
        assert np.isclose(energy, (np.abs(held) ** 2).sum(), rtol=1e-12, atol=1e-14)
        again = blocks.synthesize(blocks.analyse(held, True), True)
        assert np.abs(again - held).max(initial=0) <= 1e-13 * max(np.abs(x).max(), 1)  # a projection


@pytest.mark.parametrize("several", [1, 3])
@pytest.mark.parametrize("shift", [0.0, np.pi / 12, 0.37])
@pytest.mark.parametrize(("length", "held"), [(12, 12), (12, 7), (15, 15)])
def test_waves(length, held, several, shift):
    """As the definition has them, and coefficients of each block are inner products with its vectors."""
    blocks = length // several
    basis = Waves(length, blocks, blocks, held, shift, False)
    q = np.arange(held)
    x = RNG.standard_normal((2, held, 3)) + 1j * RNG.standard_normal((2, held, 3))
    y = basis.analyse(x, 1)
    assert y.shape == (2, length, 3)
    gathered = np.zeros_like(x)
    for block in range(blocks):
        frequencies = block + blocks * np.arange(several)
        vectors = np.exp(1j * np.outer(q, 2 * np.pi * frequencies / length + shift)) / np.sqrt(length)
        assert np.abs(basis.vectors(block) - vectors).max() <= 1e-14
        inside = np.einsum("qv,aqb->avb", vectors.conj(), x)
        assert np.abs(y.reshape(2, blocks, several, 3)[:, block] - inside).max() <= 1e-13
        gathered += np.einsum("qv,avb->aqb", vectors, inside)
    assert np.abs(basis.synthesize(y, 1) - gathered).max() <= 1e-13
    assert np.abs(gathered - x).max() <= 1e-13  # frequencies all around are a tight frame


@pytest.mark.parametrize("several", [1, 2, 3])
@pytest.mark.parametrize("blocks", [1, 2, 5, 6])
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("short", [0, 1])
def test_halved_waves_hold_real_numbers(several, blocks, shifted, short):
    length = several * blocks
    shift = np.pi / length if shifted else 0.0
    count = (blocks + 1) // 2 if shifted else blocks // 2 + 1
    held = max(length - short, 1)
    whole, half = (Waves(length, blocks, n, held, shift, h) for n, h in ((blocks, False), (count, True)))
    x = RNG.standard_normal((2, held, 3))
    y = half.analyse(x, 1)
    kept = whole.analyse(x + 0j, 1).reshape(2, blocks, several, 3)[:, :count].reshape(2, -1, 3)
    assert np.abs(y - kept).max() <= 1e-14
    back = half.synthesize(y, 1)
    assert back.dtype == np.float64
    assert np.abs(back - x).max() <= 1e-14


def orthonormal_bases():
    chosen = np.array([[1, 3], [0, 6], [2, 5]])
    matrix = np.linalg.qr(RNG.standard_normal((7, 4)) + 1j * RNG.standard_normal((7, 4)))[0]
    return {
        "cosine": (Cosines(7, "cosine"), 7),
        "sine": (Cosines(7, "sine"), 7),
        "cosine of one": (Cosines(1, "cosine"), 1),
        "columns": (Columns(lambda: matrix), 4),
        "positions": (Positions(7, chosen), 1),
    }


@pytest.mark.parametrize("name", orthonormal_bases())
def test_orthonormal_bases(name):
    basis, blocks = orthonormal_bases()[name]
    vectors = np.concatenate([basis.vectors(b) for b in range(blocks)], axis=1)
    size = len(vectors)
    assert np.abs(vectors.conj().T @ vectors - np.eye(vectors.shape[1])).max() <= 1e-14
    x = RNG.standard_normal((2, size, 3)) + 1j * RNG.standard_normal((2, size, 3))
    y = basis.analyse(x, 1)
    inside = np.einsum("qv,aqb->avb", vectors.conj(), x)
    assert np.abs(y[:, : vectors.shape[1]] - inside).max() <= 1e-13
    assert np.abs(basis.analyse(basis.synthesize(y, 1), 1) - y).max() <= 1e-13
    units = np.eye(y.shape[1])[: vectors.shape[1]]
    assert np.abs(basis.synthesize(units, 1) - vectors.T).max() <= 1e-14


def test_cosines_and_sines_are_those_of_their_formulas():
    n, q = 7, np.arange(7)
    for f in range(n):
        cosine = np.cos(np.pi * f * (q + 0.5) / n) * np.sqrt((1 if f == 0 else 2) / n)
        sine = np.sin(np.pi * (f + 1) * (q + 1) / (n + 1)) * np.sqrt(2 / (n + 1))
        assert np.abs(Cosines(n, "cosine").vectors(f)[:, 0] - cosine).max() <= 1e-14
        assert np.abs(Cosines(n, "sine").vectors(f)[:, 0] - sine).max() <= 1e-14


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_whole_samples_are_taken_back(n):
    basis = WholeSamples(n)
    V = np.cos(np.pi * np.outer(np.arange(n), np.arange(n)) / max(n - 1, 1))
    y = RNG.standard_normal((2, n, 3))
    x = np.einsum("qv,avb->aqb", V, y)
    assert np.abs(np.concatenate([basis.vectors(f) for f in range(n)], axis=1) - V).max() <= 1e-14
    assert np.abs(basis.synthesize(y, 1) - x).max() <= 1e-13
    assert np.abs(basis.analyse(x, 1) - y).max() <= 1e-13


def test_copies_of_positions():
    chosen = np.array([[1, 3], [0, 6]])
    basis = Positions(8, chosen)
    x = RNG.standard_normal((2, 8))
    assert basis.copies == 2
    assert (basis.analyse(x, 1) == x[:, [1, 3, 0, 6]]).all()
    back = basis.synthesize(basis.analyse(x, 1), 1)
    assert (back == np.where(np.isin(np.arange(8), chosen), x, 0)).all()


def test_large_arrays_by_threads_are_the_same():
    op = cm.conv(RNG.standard_normal((3, 3)), (300, 280), padding="same", boundary="wrap")
    (blocks,) = find_blocks(op.geometry, taps_of(op.geometry, op.kernel))
    x = RNG.standard_normal((2, 300, 280))
    assert np.abs(applied(blocks, x) - op(x)).max() <= 1e-12
