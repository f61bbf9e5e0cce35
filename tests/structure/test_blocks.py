"""Blocks in known bases: together they are the map."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

import convmtx as cm
from convmtx.boundary import NOTHING
from convmtx.structure import find_blocks, relaxations, size_of
from convmtx.structure.precision import EPS
from convmtx.structure.splits import is_connected, separate
from convmtx.taps import taps_of
from spectra.dense import doubles, rounding, singular_values

RNG = np.random.default_rng(0)
EVEN = np.add(*(lambda K: (K, K[::-1]))(RNG.standard_normal((3, 5, 2, 3))))
EVEN = EVEN + EVEN[:, ::-1]
ANY = RNG.standard_normal((3, 5, 2, 3))
COMPLEX = ANY + 1j * RNG.standard_normal(ANY.shape)


def around(n, stride, dilation, kernel, lo):
    """Pads that give outputs once around a circle."""
    return lo, stride * (n // stride - 1) + dilation * (kernel - 1) + 1 - n - lo


CASES = {
    "circle": (ANY, (6, 7), {"padding": "same", "boundary": "wrap"}, "fourier x fourier"),
    "complex circle": (COMPLEX, (6, 7), {"padding": "same", "boundary": "wrap"}, "fourier x fourier"),
    "kernel larger than the circle": (ANY, (2, 3), {"padding": "same", "boundary": "wrap"}, "fourier x fourier"),
    "strided circle": (ANY, (6, 8), {"stride": (2, 4), "padding": [around(6, 2, 1, 3, 1), around(8, 4, 1, 5, 0)],
                                     "boundary": "wrap"}, "fourier x fourier"),
    "strided and dilated circle": (ANY, (6, 8), {"stride": 2, "dilation": (3, 2), "boundary": "wrap", "padding": [
        around(6, 2, 3, 3, 1), around(8, 2, 2, 5, -1)]}, "fourier x fourier"),
    "dilated circle": (ANY, (6, 8), {"dilation": (2, 3), "padding": "same", "boundary": "wrap"}, "fourier x fourier"),
    "symmetric": (EVEN, (6, 7), {"padding": "same", "boundary": "symmetric"}, "cosine x cosine"),
    "dilated symmetric": (EVEN, (6, 7), {"dilation": 2, "padding": "same", "boundary": "symmetric"}, "cosine x cosine"),
    "symmetric and circle": (EVEN, (6, 7), {"padding": "same", "boundary": ("symmetric", "wrap")}, "cosine x fourier"),
    "sine": (EVEN[:, 1:4], (6, 7), {"padding": "same"}, "sine x sine"),
    "sine and any": (EVEN, (6, 7), {"padding": "same"}, "sine x whole"),
    "lattices": (ANY, (6, 7), {"dilation": (2, 3), "padding": "same"}, "parts x parts"),
    "circle and border": (ANY, (6, 7), {"padding": "same", "boundary": ("wrap", "reflect")}, "fourier x whole"),
}  # fmt: skip


def all_values(op, merged):
    """Singular values of all blocks, and zeros besides."""
    found = [np.zeros(min(op.shape))]
    for blocks in find_blocks(op.geometry, taps_of(op.geometry, op.kernel), merged):
        found.append(np.repeat(singular_values(blocks.matrices()), blocks.times, axis=0).ravel())
    return -np.sort(-np.concatenate(found))


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("merged", [True, False])
def test_rules_and_singular_values(name, merged):
    K, shape, options, rule = CASES[name]
    op = cm.conv(K, (*shape, 2), **options)
    found = find_blocks(op.geometry, taps_of(op.geometry, op.kernel), merged)
    expected = singular_values(op.to_dense())
    values = all_values(op, merged)

    assert found[0].rule == rule
    assert np.abs(values[: expected.size] - expected).max() <= rounding(op.to_dense())
    assert np.abs(values[expected.size :]).max() <= rounding(op.to_dense())


@pytest.mark.parametrize("name", CASES)
def test_bases_are_orthonormal_and_take_blocks_to_the_map(name):
    K, shape, options, _ = CASES[name]
    op = cm.conv(K, (*shape, 2), **options)
    matrix, total = op.to_dense(), np.zeros(op.shape, complex)
    for blocks in find_blocks(op.geometry, taps_of(op.geometry, op.kernel), merged=False):
        for j, block in enumerate(blocks.matrices()):
            U = blocks.outputs(j, np.eye(blocks.rows)).reshape(blocks.rows, -1).T
            V = blocks.inputs(j, np.eye(blocks.columns)).reshape(blocks.columns, -1).T
            assert np.allclose(U.conj().T @ U, np.eye(blocks.rows), atol=1e-13)
            assert np.allclose(V.conj().T @ V, np.eye(blocks.columns), atol=1e-13)
            total += U @ block @ V.conj().T
    assert np.abs(total - matrix).max() <= rounding(matrix)


@given(doubles(dims=(1, 2, 3, 4)))
@settings(max_examples=80)
def test_blocks_of_any_map_have_its_singular_values(case):
    expected = singular_values(case.matrix)
    for merged in (True, False):
        values = all_values(case.op, merged)
        assert np.abs(values[: expected.size] - expected).max(initial=0) <= rounding(case.matrix)
        assert np.abs(values[expected.size :]).max(initial=0) <= rounding(case.matrix)


@given(doubles())
@settings(max_examples=60)
def test_larger_maps_are_larger_and_give_their_taps_back(case):
    """The pseudo-inverse along each axis: what it gives has the same blocks."""
    op = case.op
    taps = taps_of(op.geometry, op.kernel)
    for parts, candidates in relaxations(op.geometry, taps):
        rows, columns = size_of(parts, op.geometry)
        for blocks in candidates:
            of_group = blocks.times.sum() // op.geometry.groups
            assert rows <= blocks.rows * of_group
            assert columns <= blocks.columns * of_group
            if (blocks.times == 1).all():
                matrices = blocks.matrices()
                again = replace(blocks, taps=blocks.nearest_taps(matrices)).matrices()
                assert np.abs(again - matrices).max(initial=0) <= rounding(case.matrix)


@pytest.mark.parametrize("input_dilation", [1, 2, 3])
@pytest.mark.parametrize("boundary", ["zero", "reflect", "edge", "wrap"])
def test_an_axis_that_is_surely_one_part_is_one(input_dilation, boundary):
    """Outputs and inputs that taps join are the connected components of a graph: SciPy counts them."""
    connected = 0
    for size, kernel, stride, pads in product((1, 2, 5), range(1, 7), (1, 2, 3), ((0, 0), (1, 2), (4, 0))):
        options = {"stride": stride, "padding": [pads], "input_dilation": input_dilation, "boundary": boundary}
        if (size - 1) * input_dilation + 1 + sum(pads) < kernel:
            continue
        (axis,) = cm.conv(np.ones(kernel), size, **options).geometry.axes
        table = axis.table()
        outputs, taps = np.nonzero(table != NOTHING)
        places = (outputs, axis.out + table[outputs, taps])
        graph = coo_array((np.ones(outputs.size), places), shape=(axis.out + axis.size,) * 2)
        _, labels = connected_components(graph, directed=False)
        parts = np.unique(labels[np.concatenate(places)]).size
        assert parts <= 1 or not is_connected(axis)
        connected += is_connected(axis)
    assert connected > 20


@pytest.mark.parametrize("off", [0.0, 1e-17, 1e-16, 1e-15, 1e-14, 1e-12, 1e-3])
@pytest.mark.parametrize("kind", [float, complex])
@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (2, 3, 3, 4), (1, 1, 1, 6)])
def test_outer_products_are_those_of_the_singular_values(off, kind, shape):
    rng = np.random.default_rng(7)
    for scale in (1.0, 1e-200, 1e200):
        line, rest = rng.standard_normal(shape[3]).astype(kind), rng.standard_normal(shape[:3]).astype(kind)
        taps = scale * (rest[..., None] * line + off * rng.standard_normal(shape))
        s = np.linalg.svd(np.moveaxis(taps, 3, 0).reshape(shape[3], -1), compute_uv=False)
        vector, _ = separate(taps, 1)
        assert (vector is not None) == (s[1:].sum() <= 4 * EPS * s[0] * taps.size**0.5)
    assert separate(np.zeros(shape, kind), 1)[0] is None


def test_large_symbols_are_those_of_numpy():
    """Threads share the sum over the taps of the last axis."""
    K = np.random.default_rng(0).standard_normal((5, 3, 2, 3))
    op = cm.conv(K, (90, 300, 2), padding="same", boundary="wrap")
    (blocks,) = find_blocks(op.geometry, taps_of(op.geometry, op.kernel), merged=False)
    values = np.linalg.svd(blocks.matrices(), compute_uv=False)
    spectrum = np.fft.fft2(np.pad(K, ((0, 85), (0, 297), (0, 0), (0, 0))), axes=(0, 1)).reshape(-1, 2, 3)
    expected = np.linalg.svd(spectrum, compute_uv=False)
    assert np.abs(np.sort(values.ravel()) - np.sort(expected.ravel())).max() <= 1e-13 * expected.max()
