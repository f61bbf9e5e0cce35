"""Penalties whose structure makes a problem direct, against dense least squares of NumPy."""

import numpy as np
import pytest

import convmtx as cm

RNG = np.random.default_rng(0)
EVEN = np.outer([1.0, 2.0, 1.0], [1.0, 3.0, 1.0]) + np.array([[0.2, 0, 0.2], [0, 0, 0], [0.2, 0, 0.2]])


@pytest.fixture(autouse=True)
def same_numbers_in_any_order():
    """Begin each test with the same random numbers: a few kernels among all are nearly singular."""
    RNG.bit_generator.state = np.random.default_rng(0).bit_generator.state


def check(op, regularizer, damp, expected_method, **options):
    maps = regularizer if isinstance(regularizer, list) else [regularizer]
    penalty = np.vstack([part.to_dense() for part in maps])
    b = RNG.standard_normal((2, *op.out_shape))
    s = cm.solve(op, b, damp=damp, regularizer=regularizer, **options)
    stacked = np.vstack([op.to_dense(), damp * penalty])
    right = np.hstack([b.reshape(2, -1), np.zeros((2, len(penalty)))])
    expected = np.linalg.lstsq(stacked, right.T, rcond=None)[0].T
    assert s.converged
    assert s.method.startswith(expected_method), s.method
    assert np.abs(s.x.reshape(2, -1) - expected).max() <= 1e-9 * np.abs(expected).max()
    return s


def differences(shape, boundary="zero", padding="valid"):
    """The differences of neighbours along each axis."""
    along = []
    for axis in range(len(shape)):
        kernel = np.array([1.0, -1.0]).reshape([2 if j == axis else 1 for j in range(len(shape))])
        along.append(cm.conv(kernel, shape, padding=padding, boundary=boundary))
    return along


@pytest.mark.parametrize("shape", [(9, 8), (2, 3), (2, 2)])
def test_differences_are_diagonal_in_cosines(shape):
    """Neither of the two has a transform of its own."""
    op = cm.conv(EVEN, shape, padding="same", boundary="symmetric")
    check(op, differences(shape), 0.3, "blocks (cosine x cosine", method="blocks")
    check(op, cm.vstack(differences(shape)), 0.3, "blocks (cosine x cosine", method="blocks")


def test_padded_differences_are_diagonal_in_sines():
    op = cm.conv([1.0, 3.0, 1.0], 12, padding="same")
    check(op, cm.conv([1.0, -1.0], 12, padding="full"), 0.3, "blocks (sine", method="blocks")


def test_a_penalty_along_one_axis_of_a_circle():
    op = cm.conv(EVEN * [[1, 2, 3]], (6, 8), padding="same", boundary="wrap")
    penalty = cm.conv([[1.0], [-1.0]], (6, 8), padding=[(0, 1), (0, 0)], boundary="wrap")
    check(op, penalty, 0.5, "blocks (fourier x fourier", method="blocks")
    check(op, [penalty, 0.3 * cm.identity((6, 8))], 0.5, "blocks (fourier x fourier", method="blocks")


def test_matrices_and_channels_are_blocks_too():
    """A circulant matrix is no convolution to look at; applied to arrays it shows what it is."""
    op = cm.conv(RNG.standard_normal((3, 2, 3)), (7, 2), padding="same", boundary="wrap")
    circulant = np.stack([np.roll([2.0, -1, 0, 0, 0, 0, -1], j) for j in range(7)])
    mixing = np.array([[1.0, 0.5], [0.0, 2.0]])
    penalty = cm.kron(cm.aslinearmap(circulant), cm.aslinearmap(mixing))
    matrix = cm.aslinearmap(np.kron(circulant, mixing), in_shape=(7, 2), out_shape=(7, 2))
    assert np.allclose(penalty.to_dense(), matrix.to_dense())
    check(op, matrix, 0.4, "blocks (fourier", method="blocks")


def test_a_penalty_that_differs_in_one_entry_is_no_blocks():
    op = cm.conv(EVEN, (9, 8), padding="same", boundary="symmetric")
    weights = np.ones((9, 8))
    weights[4, 4] = 1.0001
    uneven = cm.diagonal(weights)
    with pytest.raises(cm.ArgumentError, match="method='blocks'"):
        cm.solve(op, np.ones((9, 8)), damp=0.3, regularizer=uneven, method="blocks")
    check(op, uneven, 0.3, "", rtol=1e-13)
    check(op, differences((9, 8), padding="full"), 0.3, "", rtol=1e-13)


def test_sections_are_deconvolved_along_one_axis_and_smoothed_along_the_other():
    shape = (14, 17)
    along = cm.conv(RNG.random((1, 5)), shape, padding="same")
    across = cm.conv([[1.0], [-2.0], [1.0]], shape, padding="same")
    rows, columns = differences(shape)
    for penalty in (across, rows, [rows, columns], [across, columns, 2 * cm.identity(shape)], [rows, rows, columns]):
        check(along, penalty, 0.3, "vectors of 2 axes", method="kronecker")


@pytest.mark.parametrize("dtype", ["f8", "c16"])
def test_outer_products_of_both_are_kronecker_sums(dtype):
    shape = (9, 11)
    vectors = [RNG.random(3) + 1, RNG.random(5)]
    if dtype == "c16":
        vectors = [v + 1j * RNG.random(v.size) for v in vectors]
    op = cm.conv(np.outer(*vectors), shape, padding="same", boundary="reflect", stride=(1, 2))
    penalty = cm.conv(np.outer([1.0, 3.0, 1.0], [1.0, -4.0, 1.0]), shape, padding="same")
    check(op, penalty, 0.3, "vectors of 2 axes", method="kronecker")
    three = (5, 6, 7)
    time = cm.conv(RNG.random((1, 1, 4)), three, padding="same")
    check(time, differences(three)[:2], 0.3, "vectors of 3 axes", method="kronecker")


def test_sums_that_are_none_are_solved_otherwise():
    """Three different Gram matrices along an axis have no vectors in common."""
    shape = (8, 9)
    op = cm.conv(np.outer([1.0, 2.0], [1.0, 1.0, 3.0]), shape, padding="same")
    rows, columns = differences(shape)
    with pytest.raises(cm.ArgumentError, match="method='kronecker'"):
        cm.solve(op, np.ones(shape), damp=1.0, regularizer=[rows, columns], method="kronecker")
    check(op, [rows, columns], 1.0, "")
    blind = cm.conv([[1.0, -1.0]], shape)
    constant = cm.solve(blind, np.ones(blind.out_shape), damp=1.0, regularizer=rows)
    assert not constant.converged or np.isfinite(constant.x).all()


def test_a_channel_of_the_map_may_be_an_axis_of_the_regularizer():
    shape = (5, 6, 1)
    op = cm.conv(np.outer([1.0, 2.0], [1.0, 1.0, 3.0])[..., None, None], shape, padding="same")
    check(op, cm.conv(np.ones((3, 3, 3)), shape, padding="same"), 0.3, "")


def test_lists_of_regularizers():
    op = cm.conv(EVEN, (6, 7), padding="same")
    maps = [cm.conv([[1.0, -1.0]], (6, 7)), cm.aslinearmap(np.diag(np.arange(42.0)), in_shape=(6, 7), out_shape=(6, 7))]
    check(op, maps, 0.2, "", rtol=1e-13)
    F = cm.factorize(op, damp=0.2, regularizer=maps)
    b = RNG.standard_normal((6, 7))
    assert np.allclose(F.solve(b).x, cm.solve(op, b, damp=0.2, regularizer=cm.vstack(maps), rtol=1e-13).x)
    damp = float(cm.choose_damp(op, b, "discrepancy", noise=0.3, regularizer=maps))
    stacked = np.vstack([op.to_dense(), *(damp * part.to_dense() for part in maps)])
    x = np.linalg.lstsq(stacked, np.pad(b.ravel(), (0, len(stacked) - 42)), rcond=None)[0]
    assert np.isclose(np.linalg.norm(op.to_dense() @ x - b.ravel()), 0.3 * 42**0.5, rtol=1e-6)
    with pytest.raises(cm.ArgumentError, match=r"regularizer\[1\] takes \(42,\)"):
        cm.solve(op, b, damp=0.2, regularizer=[maps[0], np.eye(42)])
    with pytest.raises(cm.ArgumentError, match="regularizer"):
        cm.solve(op, b, damp=0.2, regularizer=[])
