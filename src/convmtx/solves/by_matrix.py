"""Solves by factors of the matrix itself: as a band, as a sparse matrix, as a triangle."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np

from convmtx.geometry import Axis, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.solves import lu
from convmtx.solves.problem import Problem, norms
from convmtx.solves.solution import Factors
from convmtx.solves.way import CALL, Way
from convmtx.structure.double import sparse
from convmtx.taps import channels_back, kernel_of, taps_of
from convmtx.typing import AnyArray, IntArray, Shape


class _Matrix(Factors):
    """Of the map's matrix, its arrays brought into the order in which that has a narrow band."""

    def __init__(
        self, problem: Problem, method: str, matrix: Any, found: lu.LU, axes: tuple[IntArray, IntArray] | None
    ) -> None:
        self.problem, self.matrix, self.found, self.axes = problem, matrix, found, axes
        self.method, self.condition, self.norm = method, found.condition, found.norm

    def _moved(self, arrays: AnyArray) -> AnyArray:
        flat = arrays if self.axes is None else arrays.transpose(0, *(1 + self.axes[0]))
        return flat.reshape(len(arrays), -1)

    def _back(self, flat: AnyArray, shape: Shape) -> AnyArray:
        if self.axes is None:
            return flat.reshape(-1, *shape)
        return flat.reshape(-1, *(shape[a] for a in self.axes[0])).transpose(0, *(1 + self.axes[1]))

    def solve(self, b: AnyArray) -> AnyArray:
        return self._back(self.found.solve(self._moved(b)), self.problem.op.in_shape)

    def normal(self, g: AnyArray) -> AnyArray:
        return self._back(self.found.normal(self._moved(g)), self.problem.op.in_shape)

    def image(self, g: AnyArray) -> AnyArray:
        return self._back(self.found.image(self._moved(g)), self.problem.op.out_shape)

    def measured(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """By the matrix that is there: a product with it is quick."""
        right = self._moved(b)
        found = self.found.solve(right)
        r = right - (self.matrix @ found.T).T
        s, x = (self.matrix.T @ r.conj().T).conj().T, self._back(found, self.problem.op.in_shape)
        if self.problem.damp:
            s = s - self._moved(self.problem.penalty(x))
        return x, norms(r), norms(s)


def _in_order(op: ConvOperator) -> tuple[ConvOperator, tuple[IntArray, IntArray] | None]:
    """The same map with channels last and axes from long to short; how arrays get there, and back."""
    geometry = op.geometry
    d = len(geometry.axes)
    order = sorted(range(d), key=lambda j: -geometry.axes[j].size)
    if geometry.layout is not Layout.FIRST and order == list(range(d)):
        return op, None
    layout = Layout.PLAIN if geometry.layout is Layout.PLAIN else Layout.LAST
    moved = replace(geometry, axes=tuple(geometry.axes[j] for j in order), layout=layout, flip=False, transposed=False)
    taps = taps_of(geometry, op.kernel).transpose(0, 1, *(2 + j for j in order))
    spatial = order if geometry.layout is not Layout.FIRST else [1 + j for j in order]
    channel = {Layout.PLAIN: [], Layout.LAST: [d], Layout.FIRST: [0]}[geometry.layout]
    axes = np.array([*spatial, *channel])
    return ConvOperator(moved, kernel_of(moved, taps), "auto"), (axes, np.argsort(axes))


def by_lu(problem: Problem, op: ConvOperator) -> Iterator[Way]:
    """By LU of the matrix as a band, and as a sparse matrix."""
    ordered, axes = _in_order(op)
    regularizer = problem.regularizer
    if isinstance(regularizer, ConvOperator):
        second, other = _in_order(regularizer)
        if not np.array_equal(axes or [0], other or [0]):
            return
    elif regularizer is not None:
        return
    geometry = ordered.geometry
    augmented = problem.damp > 0 or geometry.shape[0] != geometry.shape[1]
    for band, name in ((True, "band"), (False, "sparse")):
        make, each, size = lu.predicted(geometry, augmented, problem.dtype, band=band)

        def factors(band: bool = band, name: str = name) -> Factors:
            penalty, matrix = None if regularizer is None else sparse(second), sparse(ordered)
            found = lu.factored(matrix, problem.damp, penalty, band=band)
            method = f"{name} LU of {found.size} unknowns" + (" (augmented)" if augmented else "")
            return _Matrix(problem, method, matrix, found, axes)

        if np.isfinite(make):
            why = "its matrix is a band" if band else "its matrix is sparse"
            yield Way(name, why, (CALL + make, each), size, factors)


def by_substitution(problem: Problem, op: ConvOperator) -> Iterator[Way]:
    """A causal map: in some order of positions every output reads itself and what comes after."""
    geometry = op.geometry
    if problem.damp or geometry.channels_per_group != (1, 1) or not all(map(_in_place, geometry.axes)):
        return
    used = taps_of(geometry, op.kernel)[:, 0].any(axis=0)
    own = [axis.lo // axis.dilation for axis in geometry.axes]
    for signs in product((1, -1), repeat=used.ndim):
        turned = used[tuple(slice(None, None, sign) for sign in signs)]
        at = [p if sign > 0 else k - 1 - p for p, sign, k in zip(own, signs, used.shape, strict=True)]
        for axes in permutations(range(used.ndim)):
            taps, before = turned.transpose(axes), 0
            for a in axes:
                before = before * used.shape[a] + at[a]
            if taps.flat[before] and not taps.ravel()[:before].any():
                yield _substitution(problem, op, axes, signs)
                return


def _in_place(axis: Axis) -> bool:
    """Whether outputs stand where inputs do, and each reads its own."""
    plain = axis.zero_outside and axis.out == axis.size and axis.stride == axis.input_dilation == 1
    own, rest = divmod(axis.lo, axis.dilation)
    return plain and not rest and 0 <= own < axis.kernel


def _substitution(problem: Problem, op: ConvOperator, axes: tuple[int, ...], signs: tuple[int, ...]) -> Way:
    geometry = op.geometry
    natural = axes == tuple(range(len(axes))) and len(set(signs)) == 1 and geometry.layout is not Layout.FIRST

    def factors() -> Factors:
        places = np.indices([geometry.out_channels, *(a.size for a in geometry.axes)])
        keys = [signs[a] * channels_back(geometry, places[1 + a][None]).ravel() for a in axes]
        order = None if natural else np.lexsort(keys[::-1])
        matrix = sparse(op)
        found = lu.substituted(matrix, order)
        return _Matrix(problem, f"substitution of {found.size} unknowns", matrix, found, None)

    entries = float(geometry.nnz)
    return Way("substitution", "the map is causal", (2e-7 * entries, 1e-8 * entries), 64 * entries, factors)


def by_any_lu(problem: Problem) -> Iterator[Way]:
    """Of the sparse matrix of a map that is no single convolution."""
    rows, columns = problem.op.shape
    regularizer = problem.regularizer

    def factors() -> Factors:
        penalty, matrix = None if regularizer is None else sparse(regularizer), sparse(problem.op)
        found = lu.factored(matrix, problem.damp, penalty, band=False)
        return _Matrix(problem, f"sparse LU of {found.size} unknowns", matrix, found, None)

    unknowns = float(rows + columns)
    yield Way("sparse", "its matrix is sparse", (1e-8 * unknowns**2, 1e-7 * unknowns), 1e3 * unknowns, factors)
