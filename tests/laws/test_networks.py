"""Networks of maps: every form is the matrix that is put together from those of the parts, by every way through."""

import numpy as np
import pytest

import convmtx as cm
from convmtx.maps.network import Network, Node
from matrices import assert_is

TYPES = [np.int64, np.float32, np.float64, np.complex128]


def random_network(seed, dtype):
    """A random graph of convolutions of integers, and its matrix, put together by NumPy."""
    rng = np.random.default_rng(seed)
    shapes = [(int(rng.integers(1, 4)), *rng.integers(2, 5, int(rng.integers(1, 3))).tolist())]
    matrices, nodes = [np.eye(int(np.prod(shapes[0])), dtype=dtype)], []
    for _ in range(int(rng.integers(2, 5))):
        is_joined = bool(rng.integers(2))
        sources = rng.integers(0, len(shapes), int(rng.integers(1, 4))).tolist()
        sources[0] = len(shapes) - 1
        images = [
            image(rng, shapes[source], matrices[source], dtype, is_joined or k) for k, source in enumerate(sources)
        ]
        if not is_joined:  # a sum of tensors of one shape
            first = images[0][1]
            same = [j for j, shape in enumerate(shapes) if shape == first]
            images = images[:1] + [(None, first, matrices[j]) for j in same]
            sources = sources[:1] + same
        rank = len(images[0][1])
        parts = [matrix.reshape(*shape, -1) for _, shape, matrix in images]
        whole = np.concatenate(parts, 0) if is_joined else sum(parts)
        maps = tuple(op for op, _, _ in images)
        nodes.append(Node(maps, tuple(sources), whole.shape[:-1], -rank if is_joined else None))
        shapes.append(whole.shape[:-1])
        matrices.append(whole.reshape(-1, matrices[0].shape[1]))
    return Network(shapes[0], nodes), matrices[-1]


def image(rng, shape, matrix, dtype, may_stay):
    """A convolution of a tensor, or the tensor itself, with its shape and its matrix."""
    if may_stay and rng.random() < 0.4:
        return None, shape, matrix
    size = (int(rng.integers(1, 4)), shape[0], *(int(rng.integers(1, 4)) for _ in shape[1:]))
    kernel = rng.integers(-1, 2, size).astype(dtype)  # so that products stay below 2^24, which float32 has all of
    op = cm.conv(kernel, shape, padding="same", channels="first")
    return op, op.out_shape, op.to_dense() @ matrix


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("seed", range(12))
def test_every_form_is_the_matrix_of_all_ways(seed, dtype):
    network, matrix = random_network(seed, dtype)

    assert network.dtype == dtype
    assert_is(network, matrix, np.random.default_rng(0))


@pytest.mark.parametrize("seed", range(6))
def test_rows_that_fill_up_become_dense_on_the_way(seed, monkeypatch):
    network, matrix = random_network(seed, np.int64)
    monkeypatch.setattr("convmtx.maps.rows._MANY", 0)  # as if every product of sparse matrices took long
    assert_is(network, matrix, np.random.default_rng(0))

    ones = np.ones((1, network.out_shape[0], *(1 for _ in network.out_shape[1:])), int)
    sums = cm.conv(ones, network.out_shape, channels="first") @ network
    expected = matrix.reshape(network.out_shape[0], -1, matrix.shape[1]).sum(0)
    assert_is(sums, expected, np.random.default_rng(0))


def test_a_matrix_of_many_rows_is_built_in_slabs(monkeypatch):
    network, matrix = random_network(1, np.float64)
    monkeypatch.setattr("convmtx.maps.network._SLAB_BYTES", 8 * max(network.shape) * 3)

    assert_is(network, matrix, np.random.default_rng(0))


def test_questions_about_a_network():
    network, matrix = random_network(3, np.float64)
    x = np.random.default_rng(0).standard_normal(network.in_shape)

    np.testing.assert_allclose(cm.norm(network).value, np.linalg.norm(matrix, 2), rtol=1e-10)
    np.testing.assert_array_equal(abs(network).to_dense(), abs(matrix))
    lower, upper = cm.bounds(network, -np.ones_like(x), np.ones_like(x))
    np.testing.assert_allclose(upper.ravel(), abs(matrix).sum(1), rtol=1e-12)
    np.testing.assert_allclose(lower, -upper, rtol=1e-12)


def test_a_network_of_many_ways_applies_every_map_once():
    """Two maps from each of 60 tensors to the next are 2^60 ways."""
    shift, mirror = cm.select(5, [1, 2, 3, 4, 0]), cm.select(5, [4, 3, 2, 1, 0])
    nodes = [Node((shift, mirror, None), (j, j, 0), (5,)) for j in range(60)]
    x = y = np.array([1.0, 2.0, 4.0, 0.0, -3.0])
    for _ in range(60):
        y = y[[1, 2, 3, 4, 0]] + y[::-1] + x

    np.testing.assert_allclose(Network((5,), nodes)(x), y, rtol=1e-14)
