"""Axes are recognized from their matrices, which the definition in loops makes."""

from dataclasses import replace

import numpy as np
import pytest

import reference
from convmtx.boundary import EDGE, REFLECT, SYMMETRIC, WRAP, ZERO, Boundary
from convmtx.geometry import Axis
from convmtx.recognition.axes import AxisFit, fit_axis
from convmtx.recognition.contractions import AxisMatrix, contract
from convmtx.recognition.entries import Digits, Entries
from convmtx.recognition.folded import fit_short

#: Rounding of float64, as `contract` allows for it.
EXACT = 2.0**-40
RULES = (ZERO, WRAP, REFLECT, SYMMETRIC, EDGE)


def dense(axis: Axis, taps: np.ndarray) -> np.ndarray:
    """Return the matrix (outputs x inputs) of an axis by the definition."""
    a = axis
    W = reference.tensor(
        np.asarray(taps).reshape(-1, 1, 1), [a.size], [a.stride], [a.dilation], [(a.lo, a.hi)], [a.input_dilation],
        [a.boundary.name], groups=1, flip=False,
    )  # fmt: skip
    return W[:, 0, :, 0]


def axis_matrix(V: np.ndarray, tolerance: float = EXACT) -> AxisMatrix:
    """Return a dense matrix as the matrix of an axis."""
    o, i = np.nonzero(V)
    scale = float(np.abs(V).max(initial=0))
    return AxisMatrix(*V.shape, np.arange(len(V)), o, i, V[o, i], tolerance * scale)


def rows_of(A: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return where the entries of some rows of a matrix end, their columns and values."""
    owners, columns = np.nonzero(A[numbers])
    return np.searchsorted(owners, np.arange(numbers.size), "right"), columns, A[numbers[owners], columns]


def rebuilt(fit: AxisFit) -> np.ndarray:
    """Return the matrix of a fit by the definition."""
    taps = np.zeros(fit.axis.kernel)
    if fit.offsets.size:
        taps[(fit.offsets - fit.offsets[0]) // fit.axis.dilation] = fit.taps
    return dense(fit.axis, taps)


def explain(V: np.ndarray, tolerance: float = EXACT) -> AxisFit:
    """Return the axis that explains all of a matrix."""
    matrix = axis_matrix(V, tolerance)
    fit = fit_axis(matrix)
    if fit.wrong:
        short = fit_short(matrix)
        assert short is not None
        fit = min(fit, short, key=lambda fit: fit.cost)
    assert fit.wrong == 0
    return fit


#: Axes whose taps show in sums, or outside alone: of size, kernel, stride, dilation, input dilation and pads.
HARD = [
    Axis(16, 3, 3, 1, 3, 2, 2, SYMMETRIC),  # of three taps, one shows inside
    Axis(14, 4, 2, 1, 2, 3, 3, EDGE),
    Axis(7, 3, 3, 2, 3, 1, -1, EDGE),
    Axis(37, 4, 3, 1, 3, 1, 1, SYMMETRIC),
    Axis(200, 2, 2, 1, 2, 2, 1, EDGE),  # the two last taps show in one entry each
    Axis(39, 3, 3, 1, 3, 0, 1, EDGE),
    Axis(9, 1, 1, 1, 1, 10, 11, REFLECT),  # pads wider than the array
    Axis(10, 3, 1, 1, 1, 9, 10, REFLECT),
    Axis(4, 4, 1, 2, 2, 0, 2, EDGE),
    Axis(5, 3, 1, 3, 1, 3, 1, SYMMETRIC),  # windows longer than the array
    Axis(3, 5, 1, 2, 1, 4, 4, SYMMETRIC),
    Axis(5, 2, 2, 3, 2, 1, 2, WRAP),
]


@pytest.mark.parametrize("axis", HARD, ids=repr)
def test_taps_that_only_sums_show_are_separated(axis: Axis) -> None:
    V = dense(axis, np.random.default_rng(0).uniform(1, 2, axis.kernel))
    assert np.allclose(rebuilt(explain(V)), V, rtol=0, atol=1e-10)


@pytest.mark.parametrize("axis", HARD, ids=repr)
def test_entries_of_single_precision_are_equal_up_to_their_rounding(axis: Axis) -> None:
    V = dense(axis, np.random.default_rng(0).uniform(1, 2, axis.kernel))
    V = V * (1 + 2.0**-23 * np.random.default_rng(1).uniform(-1, 1, V.shape))
    tolerance = 64 * 2.0**-23
    assert np.allclose(rebuilt(explain(V, tolerance)), V, rtol=0, atol=axis.kernel * tolerance * V.max())


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize(("stride", "input_dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_one_wrong_entry_inside_is_an_exception(rule: Boundary, stride: int, input_dilation: int) -> None:
    axis = Axis(24, 3, stride, 1, input_dilation, 1, 1, rule)
    V = dense(axis, np.array([2.0, -3.5, 1.25]))
    V[len(V) // 2, 12] += 1
    fit = fit_axis(axis_matrix(V))
    assert fit.wrong == 1
    assert np.count_nonzero(rebuilt(fit) != V) == 1


@pytest.mark.parametrize("line", [np.ones((5, 1)), np.ones((1, 5))])
def test_of_one_input_or_output_each_number_is_a_tap(line: np.ndarray) -> None:
    line.flat[-1] = 0
    fit = fit_axis(axis_matrix(line))
    assert fit.wrong == 0
    assert np.array_equal(rebuilt(fit), line)


def test_a_box_kernel_is_not_fewer_taps_and_an_exception() -> None:
    V = dense(Axis(8, 5, 2, 2, 1, 2, 1, EDGE), np.ones(5))
    assert np.array_equal(np.round(rebuilt(explain(V)), 9), V)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize(
    ("lo", "hi", "rule"),
    [(0, 0, ZERO), (2, 2, ZERO), (2, 2, WRAP), (2, 2, REFLECT), (2, 2, SYMMETRIC), (2, 2, EDGE)],
)
def test_axes_of_noisy_matrices_are_those_that_cover_the_entries(
    stride: int, dilation: int, lo: int, hi: int, rule: Boundary
) -> None:
    rng = np.random.default_rng(0)
    axes = [Axis(13, 3, stride, dilation, 1, lo, hi, rule), Axis(10, 3, 1, dilation, 1, lo, hi, rule)]
    axes = [axis.with_outputs(axis.out) for axis in axes]
    first, second = (dense(axis, rng.standard_normal(3)) for axis in axes)
    A = np.kron(first, second)
    A *= 1 + 1e-3 * rng.standard_normal(A.shape)
    outs, ins = (Digits((1, *sizes), (0, 1, 2)) for sizes in zip(first.shape, second.shape, strict=True))
    entries = Entries(lambda numbers: rows_of(A, numbers), outs, ins, np.count_nonzero(A) / len(A))
    for number, axis in enumerate(axes):
        fit = fit_axis(contract(entries, number))
        assert fit.wrong > 0
        assert fit.offsets.size == 3
        if not axis.reads_outside:
            axis = replace(axis, boundary=fit.axis.boundary)
        assert fit.axis.with_outputs(axis.out) == axis
