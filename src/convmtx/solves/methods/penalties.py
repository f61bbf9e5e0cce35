"""Regularizers in the coefficients of a map: a penalty that is small matrices there too is solved with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from convmtx.engines.products import norms
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.methods.coefficients import BlockCoefficients, coefficients_of
from convmtx.solves.problem import Problem
from convmtx.structure import Blocks, find_blocks, share_inputs
from convmtx.structure.precision import EPS
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

#: Columns of a block up to which a regularizer is applied once for each, to learn what it is in the coefficients.
MOST_PROBES = 16
#: Difference of two images, relative to them, that is rounding: transforms of 10^7 numbers leave about 1e-14.
ROUNDING = 1e-11

#: Function that returns the regularizer's matrices, (count, rows, columns), times the damping.
Matrices = Callable[[], AnyArray]


def penalty_of(problem: Problem, blocks: list[Blocks]) -> Matrices | None:
    """Return a function for the regularizer's matrices in the coefficients of a map; None if it couples them.

    The law needs ``R^H R`` alone. So the matrices are those of R, or any whose Gram matrices are the blocks of
    ``R^H R``. For example the differences of neighbours, which have no transform of their own: under symmetric borders
    ``R^H R`` is diagonal in the cosine basis.
    """
    if len(blocks) != 1:
        return None
    (first,) = blocks
    coefficients = coefficients_of(first, alone=True)
    if (penalties := _shared_blocks(problem, first, coefficients)) is not None:
        return partial(stack_penalties, problem, penalties, first.count, first.columns)
    regularizer = problem.regularizer
    if regularizer is None or not coefficients.inputs_complete or first.columns > MOST_PROBES:
        return None
    grams = _probe(regularizer, coefficients, problem.dtype)
    return None if grams is None else partial(_roots, grams, problem.damp)


def _shared_blocks(problem: Problem, first: Blocks, coefficients: BlockCoefficients) -> list[Blocks] | None:
    """Return the blocks of the regularizer's maps, if they are convolutions in the same vectors of the input."""
    maps, ridge = problem.penalties
    if ridge and not coefficients.inputs_complete:
        return None
    penalties = []
    for part in maps:
        if not isinstance(part, ConvOperator) or part.geometry.groups != first.geometry.groups:
            return None
        of_part = find_blocks(part.geometry, taps_of(part.geometry, part.kernel).astype(problem.dtype))
        if len(of_part) != 1 or not share_inputs(first, of_part[0]):
            return None
        penalties += of_part
    return penalties


def stack_penalties(problem: Problem, penalties: Sequence[Blocks], count: int, columns: int) -> AnyArray:
    """Return the matrices of a regularizer's maps below each other, times the damping."""
    stacked, ridge = [problem.damp * blocks.matrices() for blocks in penalties], problem.penalties.ridge
    if ridge:
        stacked.append(np.broadcast_to(ridge * np.eye(columns), (count, columns, columns)))
    return np.concatenate(stacked, axis=1)


def _probe(regularizer: LinearMap, coefficients: BlockCoefficients, dtype: np.dtype) -> AnyArray | None:
    """Return the blocks of ``R^H R`` in coefficients, (count, columns, columns); None if it couples blocks.

    An array whose coefficients are all 1 in column j is mapped to one with column j of every block. That the blocks are
    all there is shows with two random arrays: a map that differs anywhere maps them elsewhere.
    """
    count, columns = coefficients.blocks.count, coefficients.blocks.columns

    def image(x: AnyArray) -> AnyArray:
        return regularizer.H._image(regularizer._image(x))

    kind = complex if coefficients.blocks.has_fourier else dtype
    grams = np.empty((count, columns, columns), np.result_type(kind, dtype))
    for j in range(columns):
        ones = np.zeros((count, columns, coefficients.copies), grams.dtype)
        ones[:, j] = 1
        x = coefficients.synthesize(ones, True)
        grams[:, :, j] = coefficients.analyse(image(x.astype(dtype, copy=False)), True)[:, :, 0]
    grams = (grams + grams.conj().swapaxes(1, 2)) / 2
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, *regularizer.in_shape)).astype(dtype)
    if dtype.kind == "c":
        x += 1j * rng.standard_normal(x.shape)
    expected = image(x)
    off = norms(expected - coefficients.synthesize(grams @ coefficients.analyse(x, True), True))
    return grams if (off <= ROUNDING * norms(expected)).all() else None


def _roots(grams: AnyArray, damp: float) -> AnyArray:
    """Return matrices whose Gram matrices these are, times the damping; what is rounding of 0 is 0."""
    values, vectors = np.linalg.eigh(grams)
    values[values <= EPS * values.shape[1] * values.max(initial=0)] = 0
    roots: AnyArray = damp * np.sqrt(values)[..., None] * vectors.conj().swapaxes(1, 2)
    return roots
