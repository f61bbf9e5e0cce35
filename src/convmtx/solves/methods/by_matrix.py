"""Solves by factors of the matrix itself: as a band, as a sparse matrix, as a triangle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache, partial
from itertools import permutations, product
from typing import Any

import numpy as np

from convmtx import costs, rates
from convmtx.boundary import NOTHING
from convmtx.engines.products import norms
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.solves.factors import Candidate, Factors
from convmtx.solves.methods import lu
from convmtx.solves.problem import Problem, multiply
from convmtx.structure.augmented import LU, BandLU, BandTriangle, LineCholesky, LineTriangle
from convmtx.structure.double import sparse
from convmtx.taps import channels_back, kernel_of, taps_of
from convmtx.typing import AnyArray, IntArray, Shape


@dataclass(frozen=True, eq=False)
class AxisOrder:
    """The order of a map's axes in which its matrix has a narrow band: long axes first, channels last."""

    #: Where each axis was before, and the permutation back; None if no axis moves.
    axes: IntArray | None = None
    back: IntArray | None = None

    def flat(self, arrays: AnyArray) -> AnyArray:
        """Return arrays with their axes moved, flattened."""
        moved = arrays if self.axes is None else arrays.transpose(0, *(1 + self.axes))
        return moved.reshape(len(arrays), -1)

    def shaped(self, flat: AnyArray, shape: Shape) -> AnyArray:
        """Return arrays with their axes moved back, which gives them a shape."""
        if self.axes is None or self.back is None:
            return flat.reshape(-1, *shape)
        return flat.reshape(-1, *(shape[a] for a in self.axes)).transpose(0, *(1 + self.back))

    def equals(self, other: AxisOrder) -> bool:
        """Whether two maps have their axes moved alike."""
        if self.axes is None or other.axes is None:
            return self.axes is other.axes
        return np.array_equal(self.axes, other.axes)


def narrow_band(op: ConvOperator) -> tuple[ConvOperator, AxisOrder]:
    """Return the map with its axes moved, and their order."""
    geometry = op.geometry
    d = len(geometry.axes)
    order = sorted(range(d), key=lambda j: -geometry.axes[j].size)
    if geometry.layout is not Layout.FIRST and order == list(range(d)):
        return op, AxisOrder()
    layout = Layout.PLAIN if geometry.layout is Layout.PLAIN else Layout.LAST
    moved = replace(geometry, axes=tuple(geometry.axes[j] for j in order), layout=layout, flip=False, transposed=False)
    taps = taps_of(geometry, op.kernel).transpose(0, 1, *(2 + j for j in order))
    spatial = order if geometry.layout is not Layout.FIRST else [1 + j for j in order]
    channel = {Layout.PLAIN: [], Layout.LAST: [d], Layout.FIRST: [0]}[geometry.layout]
    axes = np.array([*spatial, *channel])
    return ConvOperator(moved, kernel_of(moved, taps), "auto"), AxisOrder(axes, np.argsort(axes))


class MatrixFactors(Factors):
    """Factors of the matrix of a map, whose axes may have been moved."""

    def __init__(self, problem: Problem, method: str, matrix: Any, factors: lu.LeastSquares, order: AxisOrder) -> None:
        self.problem, self.matrix, self.factors, self.order = problem, matrix, factors, order
        self.method, self.condition, self.norm = method, factors.condition, factors.norm

    @cached_property
    def _adjoint(self) -> Any:
        """Conjugate transpose of the matrix; to make it takes as long as a product."""
        return self.matrix.conj(copy=False).T

    def solve(self, b: AnyArray) -> AnyArray:
        return self.order.shaped(self.factors.solve(self.order.flat(b)), self.problem.op.in_shape)

    def normal(self, g: AnyArray) -> AnyArray:
        return self.order.shaped(self.factors.normal(self.order.flat(g)), self.problem.op.in_shape)

    def image(self, g: AnyArray) -> AnyArray:
        return self.order.shaped(self.factors.image(self.order.flat(g)), self.problem.op.out_shape)

    def solve_with_residuals(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Measure residuals with the matrix, which is there: a product with it is fast."""
        right = self.order.flat(b)
        solution = self.factors.solve(right)
        r = right - multiply(self.matrix, right.shape[1:], solution)
        s = multiply(self._adjoint, solution.shape[1:], r)
        x = self.order.shaped(solution, self.problem.op.in_shape)
        if self.problem.damp:
            s = s - self.order.flat(self.problem.penalty(x))
        return x, norms(r), norms(s)


class LineFactors(MatrixFactors):
    """Factors of a matrix of constant diagonals, which are applied by sliding them along."""

    matrix: lu.Diagonals

    def solve_with_residuals(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        right = self.order.flat(b)
        solution = self.factors.solve(right)
        r = right - self.matrix.forward(solution)
        return self.order.shaped(solution, self.problem.op.in_shape), norms(r), norms(self.matrix.adjoint(r))


def by_lu(problem: Problem, op: ConvOperator) -> Iterator[Candidate]:
    """Yield the candidates by LU of the matrix, as a band and as a sparse matrix."""
    diagonals = _diagonals(problem, op)
    if diagonals is not None:
        price = _price_of_line(diagonals)
        yield Candidate("band", "its matrix is a band", price, partial(_factors_of_line, problem, diagonals))
    moved, order = narrow_band(op)
    regularizer = None
    if problem.regularizer is not None:
        if not isinstance(problem.regularizer, ConvOperator):
            yield from by_any_lu(problem)
            return
        regularizer, other = narrow_band(problem.regularizer)
        if not order.equals(other):
            yield from by_any_lu(problem)
            return
    rows, columns = moved.shape
    augmented = problem.damp > 0 or rows != columns
    for band, name, why in ((True, "band", "its matrix is a band"), (False, "sparse", "its matrix is sparse")):
        if band and diagonals is not None:
            continue
        price = price_of_lu(moved.geometry, augmented, problem.dtype, band=band)
        if np.isfinite(price.build):
            yield Candidate(name, why, price, partial(_factors_by_lu, problem, moved, order, regularizer, band))


def _diagonals(problem: Problem, op: ConvOperator) -> lu.Diagonals | None:
    """Return the diagonals of an undamped map of one channel along one axis with zeros outside; None for others."""
    geometry = op.geometry
    if problem.damp or len(geometry.axes) != 1 or geometry.in_channels * geometry.out_channels != 1:
        return None
    (axis,), size = geometry.axes, geometry.shape[0]
    first, last = axis.interior
    if not axis.zero_outside or axis.stride * axis.input_dilation != 1 or axis.out != axis.size or first == last:
        return None
    offsets = first - axis.read(np.asarray(first), np.arange(axis.kernel))  # those of any output inside
    above, below = max(-int(offsets.min()), 0), max(int(offsets.max()), 0)
    line = np.zeros(above + below + 1, problem.dtype)
    line[above + offsets] = taps_of(geometry, op.kernel)[0, 0]
    used = np.flatnonzero(line)
    first, last = (min(int(used[0]), above), max(int(used[-1]), above)) if used.size else (above, above)
    return lu.Diagonals(line[first : last + 1], above - first, size)


def _price_of_line(diagonals: lu.Diagonals) -> costs.Price:
    """Price of the factors of constant diagonals: that of `price_of_lu` without what it takes to write the matrix."""
    kl, ku, size, dtype = diagonals.below, diagonals.above, diagonals.size, diagonals.line.dtype
    if diagonals.is_long_triangle:
        return costs.price_of_recursion(size, kl + ku + 1, dtype)
    n_bytes = float(size * (2 * kl + ku + 1) * dtype.itemsize)
    half = 0.0 if diagonals.is_triangular else math.sqrt(kl * (kl + ku) / 2)
    is_definite = diagonals.may_be_definite
    return costs.price_of_line(size, half, n_bytes, dtype, is_definite=is_definite)


def _factors_of_line(problem: Problem, diagonals: lu.Diagonals) -> LineFactors:
    factors = diagonals.factorize()
    kinds: dict[type[LU], str] = {
        BandLU: "LU", LineCholesky: "Cholesky", BandTriangle: "substitution", LineTriangle: "substitution"
    }  # fmt: skip
    kind = kinds[type(factors.lu)]
    return LineFactors(problem, f"band {kind} of {factors.size} unknowns", diagonals, factors, AxisOrder())


def price_of_lu(geometry: Geometry, augmented: bool, dtype: np.dtype[Any], *, band: bool) -> costs.Price:
    """Price of LU of a convolution's matrix, or of its augmented system, from the geometry alone."""
    return _price_of_lu(rates.current(), geometry, augmented, dtype, band)


@lru_cache(maxsize=256)
def _price_of_lu(
    _rates: rates.Rates, geometry: Geometry, augmented: bool, dtype: np.dtype[Any], band: bool
) -> costs.Price:
    """Price of LU, kept for these rates."""
    if not band:
        positions = max(math.prod(a.size for a in geometry.axes), math.prod(a.out for a in geometry.axes))
        channels = math.sqrt(math.prod(geometry.channels_per_group))
        sizes = (positions, math.prod(a.kernel for a in geometry.axes), channels)
        axes = min(len(geometry.axes), 3)
        return costs.price_of_sparse_lu(axes, sizes, geometry.groups, dtype, augmented=augmented)
    kl, ku = _bandwidths(geometry, augmented)
    size, half = sum(geometry.shape) if augmented else geometry.shape[1], math.sqrt(kl * (kl + ku) / 2)
    n_bytes = float(size * (2 * kl + ku + 1) * dtype.itemsize)
    return costs.price_of_band_lu(size, half, n_bytes, dtype, augmented=augmented)


def _bandwidths(geometry: Geometry, augmented: bool) -> tuple[int, int]:
    """Return how far entries lie below and above the diagonal.

    Of the augmented system that is an estimate: outputs crowd a little at the ends of an axis.
    """
    rows, columns = geometry.shape
    below = above = width = 0
    for axis in geometry.axes:
        lower, upper, reach = _reach(axis)
        below, above, width = below * axis.size + lower, above * axis.size + upper, width * axis.size + reach
    per = max(geometry.channels_per_group) - 1
    if augmented:
        half = (width * geometry.in_channels + per) * (rows + columns) // (2 * columns) + per + 1
        return (min(half, rows + columns - 1),) * 2
    if any(axis.out != axis.size for axis in geometry.axes):
        return rows - 1, rows - 1
    low, high = (min(max(side * geometry.in_channels + per, 0), rows - 1) for side in (below, above))
    return low, high


def _reach(axis: Axis) -> tuple[int, int, int]:
    """Return how far outputs read before and after their own place, and from the first to the last input at most."""
    outputs = _typical_outputs(axis)
    low, high = axis.extent(outputs)
    reading = high != NOTHING
    outputs, low, high = outputs[reading], low[reading], high[reading]
    if not outputs.size:
        return 0, 0, 0
    return int((outputs - low).max()), int((high - outputs).max()), int((high - low).max())


def _typical_outputs(axis: Axis) -> IntArray:
    """Return the outputs near the border, and a few of those inside, which are all alike."""
    first, last = axis.interior
    outputs = np.arange(axis.out)
    return outputs[(outputs < first + axis.input_dilation) | (outputs >= last - axis.input_dilation)]


def _factors_by_lu(
    problem: Problem, moved: ConvOperator, order: AxisOrder, regularizer: ConvOperator | None, band: bool
) -> MatrixFactors:
    matrix, penalty = sparse(moved), None if regularizer is None else sparse(regularizer)
    factors = lu.factorize_matrix(matrix, problem.damp, penalty, band=band)
    method = f"{'band' if band else 'sparse'} LU of {factors.size} unknowns"
    if problem.damp > 0 or matrix.shape[0] != matrix.shape[1]:
        method += " (augmented)"
    return MatrixFactors(problem, method, matrix, factors, order)


def by_any_lu(problem: Problem) -> Iterator[Candidate]:
    """Yield the candidate by sparse LU of a map that is not a single convolution."""
    price = costs.price_of_any_sparse_lu(float(sum(problem.op.shape)))
    yield Candidate("sparse", "its matrix is sparse", price, partial(_factors_by_any_lu, problem))


def _factors_by_any_lu(problem: Problem) -> MatrixFactors:
    matrix = sparse(problem.op)
    penalty = None if problem.regularizer is None else sparse(problem.regularizer)
    factors = lu.factorize_matrix(matrix, problem.damp, penalty, band=False)
    method = f"sparse LU of {factors.size} unknowns"
    return MatrixFactors(problem, method, matrix, factors, AxisOrder())


def by_substitution(problem: Problem, op: ConvOperator) -> Iterator[Candidate]:
    """Yield the candidate for a causal map: in some order of positions, every output reads itself and later inputs.

    Axes and the directions along them are tried in every order; in that order, no tap may come before the output's own.
    """
    geometry = op.geometry
    if problem.damp or geometry.channels_per_group != (1, 1) or not all(map(_in_place, geometry.axes)):
        return
    used = taps_of(geometry, op.kernel)[:, 0].any(axis=0)
    own = [axis.lo // axis.dilation for axis in geometry.axes]
    corner = all(p in (0, k - 1) for p, k in zip(own, used.shape, strict=True))
    if used.all() and not corner:  # some tap comes before its own in every order
        return
    for signs in product((1, -1), repeat=used.ndim):
        turned = used[tuple(slice(None, None, sign) for sign in signs)]
        at = [p if sign > 0 else k - 1 - p for p, sign, k in zip(own, signs, used.shape, strict=True)]
        for axes in permutations(range(used.ndim)):
            taps = turned.transpose(axes)
            before = np.ravel_multi_index([at[a] for a in axes], taps.shape)  # the number of taps before its own
            if taps.flat[before] and not taps.ravel()[:before].any():
                price = costs.price_of_substitution(float(geometry.nnz))
                make = partial(_factors_by_substitution, problem, op, axes, signs)
                yield Candidate("substitution", "the map is causal", price, make)
                return


def _in_place(axis: Axis) -> bool:
    """Whether outputs stand where inputs do, and each reads its own."""
    plain = axis.zero_outside and axis.out == axis.size and axis.stride == axis.input_dilation == 1
    own, rest = divmod(axis.lo, axis.dilation)
    return plain and not rest and 0 <= own < axis.kernel


def _factors_by_substitution(
    problem: Problem, op: ConvOperator, axes: tuple[int, ...], signs: tuple[int, ...]
) -> MatrixFactors:
    geometry = op.geometry
    places = np.indices([geometry.out_channels, *(a.size for a in geometry.axes)])
    keys = [signs[a] * channels_back(geometry, places[1 + a][None]).ravel() for a in axes]
    in_order = axes == tuple(range(len(axes))) and len(set(signs)) == 1 and geometry.layout is not Layout.FIRST
    matrix = sparse(op)
    factors = lu.prepare_substitution(matrix, None if in_order else np.lexsort(keys[::-1]))
    return MatrixFactors(problem, f"substitution of {factors.size} unknowns", matrix, factors, AxisOrder())
