"""Direct ways to solve a problem, each with what it should take: by structure, by factorisation, by substitution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import permutations, product
from math import prod
from typing import Any, NamedTuple

import numpy as np

from convmtx import memory
from convmtx.composites import Transposed
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.operator import ConvOperator
from convmtx.solves import lu
from convmtx.solves.by_blocks import BlockFactors, frame_of, whole_frame
from convmtx.solves.problem import Problem, norms
from convmtx.solves.solution import Factors
from convmtx.structure import Blocks, decomposed, sublattices
from convmtx.structure.factors import separated
from convmtx.structure.splits import connected, mirrored, transformed
from convmtx.structure.subject import dense, sparse
from convmtx.taps import channels_back, channels_first, kernel_of, taps_of
from convmtx.typing import AnyArray, IntArray

#: Seconds of one operation, measured: of decompositions of large and of small matrices, of each small matrix, of each
#: number in a transform, of each number in vectors.
LARGE, SMALL, MATRIX, TRANSFORM, NUMBER = 4e-11, 2e-10, 3e-6, 2e-9, 5e-9
#: Seconds that making anything takes, however small.
CALL = 5e-4
#: Bytes that are always there.
ALWAYS = 1 << 25


class Way(NamedTuple):
    """A direct way; it may turn out to be none, and then `Singular` is raised when it is made."""

    name: str
    why: str
    #: To make it ready, and for each right-hand side.
    seconds: tuple[float, float]
    bytes: float
    make: Callable[..., Factors]

    @property
    def fits(self) -> bool:
        """Whether there is memory for it; to ask takes as long as a small solve."""
        return self.bytes <= ALWAYS or self.bytes <= 0.8 * memory.available()

    def total(self, several: int) -> float:
        """Seconds for so many right-hand sides."""
        return self.seconds[0] + several * self.seconds[1]


def ways(problem: Problem) -> Iterator[Way]:
    """All that apply."""
    op = problem.op
    if isinstance(op, ConvOperator):
        yield from _by_blocks(problem, op)
        yield from _by_lattices(problem, op)
        yield from _by_substitution(problem, op)
        yield from _by_lu(problem, op)
    elif isinstance(op, Transposed) and problem.regularizer is None:
        for way in ways(replace(problem, op=op.op)):
            yield way._replace(make=lambda way=way: _Transpose(problem, way.make()))
        return
    else:
        yield from _by_any_lu(problem)
    yield _dense(problem)


class _Transpose(Factors):
    """Of a transpose ``A^T``, by what was made for A: ``conj(A (A^H A + d^2)^-1 conj(b))``."""

    def __init__(self, problem: Problem, factors: Factors) -> None:
        self.problem, self.factors = problem, factors
        self.method, self.missing = factors.method, factors.missing
        self.condition, self.norm = factors.condition, factors.norm

    def solve(self, b: AnyArray) -> AnyArray:
        return self.factors.problem.op(self.factors.normal(b.conj())).conj()

    def normal(self, g: AnyArray) -> AnyArray:
        op, inside = self.factors.problem.op, self.factors.solve(g.conj())
        if self.problem.damp:
            return (g - op(inside).conj()) / self.problem.damp**2
        return op(self.factors.normal(inside)).conj()


def _splittable(taps: AnyArray, j: int, axis: Axis) -> bool:
    """Whether an axis may fall apart; that of a single one is an outer product does not count, for it is the matrix."""
    if not connected(axis) or transformed(axis, mirrored(taps, j), False) is not None:
        return True
    return taps.ndim > 3 and separated(taps, j)[0] is not None


def _by_blocks(problem: Problem, op: ConvOperator) -> Iterator[Way]:
    """By fast transforms, sub-lattices of positions, and singular vectors of an outer product's factors."""
    geometry, taps = op.geometry, taps_of(op.geometry, op.kernel).astype(problem.dtype)
    if not any(_splittable(taps, j, axis) for j, axis in enumerate(geometry.axes)):
        return
    found = decomposed(geometry, taps, factors=True)
    if not found or all(split.rule == "whole" for split in found[0].splits):
        return
    second = _alike(problem, found)
    if second is None:
        return
    kind = 4.0 if taps.dtype.kind == "c" or "fourier" in found[0].rule else 1.0
    make = sum(kind * _small(blocks, problem.damp) for blocks in found)
    each = TRANSFORM * sum(geometry.shape) * len(found) + NUMBER * sum(
        kind * b.count * b.rows * b.columns for b in found
    )
    for split, axis in zip(found[0].splits, geometry.axes, strict=True):
        if split.rule == "factor":
            make += LARGE * 8 * max(axis.size, axis.out) * min(axis.size, axis.out) ** 2
            each += LARGE * 2 * sum(geometry.shape) * axis.size
    size = 16 * sum(3.0 * b.count * b.rows * b.columns for b in found)
    factored = "factor" in found[0].rule
    told = ", ".join(f"{b.count} of {b.rows} x {b.columns}" for b in found[:2]) + (", ..." if found[2:] else "")

    def factors(spectral: bool = False) -> Factors:
        frames = [frame_of(blocks, len(found) == 1) for blocks in found]
        penalties = [problem.damp * blocks.matrices() for blocks in second] if second else None
        method = f"blocks ({found[0].rule}: {told})"
        return BlockFactors(problem, method, frames, [b.matrices() for b in found], penalties, spectral)

    why = "the kernel is an outer product" if factored else "the map falls apart into blocks"
    yield Way("kronecker" if factored else "blocks", why, (CALL / 2 + make, each), size, factors)


def _small(blocks: Blocks, damp: float) -> float:
    """Seconds for decomposing the blocks, or for inverting them."""
    rows, columns = blocks.rows, blocks.columns
    if min(rows, columns) == 1:
        return NUMBER * blocks.count * rows * columns
    work = rows * columns * min(rows, columns) * (1 if rows == columns and not damp else 12)
    return blocks.count * (MATRIX + work * (SMALL if work < 1e6 else LARGE))


def _alike(problem: Problem, found: list[Blocks]) -> list[Blocks] | None:
    """The regularizer in the same vectors of the input: none where there is none, None where that cannot be."""
    regularizer = problem.regularizer
    if regularizer is None:
        return []
    if not isinstance(regularizer, ConvOperator) or regularizer.geometry.groups != found[0].geometry.groups:
        return None
    taps = taps_of(regularizer.geometry, regularizer.kernel).astype(problem.dtype)
    second = decomposed(regularizer.geometry, taps)
    pairs = [[[split.inputs for split in blocks.splits] for blocks in each] for each in (found, second)]
    return second if len(found) == len(second) == 1 and pairs[0] == pairs[1] else None


def _by_lattices(problem: Problem, op: ConvOperator) -> Iterator[Way]:
    """A dilated map of the zero boundary as maps without dilation, each solved in its best way."""
    geometry = op.geometry
    each = [sublattices(axis) if axis.zero_outside else {axis: [(slice(None),) * 2]} for axis in geometry.axes]
    counts = [sum(map(len, parts.values())) for parts in each]
    if problem.regularizer is not None or prod(counts) < 2:
        return
    taps = taps_of(geometry, op.kernel)
    chosen: list[tuple[Way, list[tuple[tuple[slice, slice], ...]]]] = []
    for axes in product(*each):
        part = Geometry(axes, geometry.in_channels, geometry.out_channels, geometry.groups, Layout.FIRST)
        direct = [way for way in ranked(replace(problem, op=ConvOperator(part, taps, "auto")), 1) if way.fits]
        if not direct:
            return
        chosen.append((direct[0], list(product(*(parts[axis] for parts, axis in zip(each, axes, strict=True))))))
    make = sum(way.seconds[0] for way, _ in chosen)
    every = sum(way.seconds[1] * len(places) for way, places in chosen)
    size = sum(way.bytes for way, _ in chosen)
    yield Way("lattices", "the kernel is dilated", (make, every), size, lambda: _Lattices(problem, chosen))


class _Lattices(Factors):
    """Factors of each sub-lattice, those that are equal made once."""

    def __init__(self, problem: Problem, chosen: list[tuple[Way, list[tuple[tuple[slice, slice], ...]]]]) -> None:
        self.problem = problem
        self.parts = [(way.make(), places) for way, places in chosen]
        count = sum(len(places) for _, places in chosen)
        self.method = f"{count} sub-lattices ({self.parts[0][0].method})"
        self.norm = max(part.norm for part, _ in self.parts)
        lacking = min(problem.op.shape) - sum(min(part.problem.op.shape) * len(places) for part, places in self.parts)
        if not problem.damp:
            self.missing = lacking + sum(part.missing * len(places) for part, places in self.parts)
        lows = [np.hypot(part.norm, problem.damp) / part.condition for part, _ in self.parts]
        low = problem.damp if lacking or self.missing else min(lows)
        self.condition = float(np.hypot(self.norm, problem.damp) / low) if low else np.inf

    def _apart(self, arrays: AnyArray, side: int, solve: Callable[[Factors, AnyArray], AnyArray]) -> AnyArray:
        """What each part finds of its outputs (side 0) or inputs (side 1), in its inputs' places."""
        op = self.problem.op
        assert isinstance(op, ConvOperator)
        y = channels_first(op.geometry, arrays)
        x = np.zeros(
            (len(y), op.geometry.in_channels, *(a.size for a in op.geometry.axes)), np.result_type(y, op.dtype)
        )
        if side and self.problem.damp:
            x += y / self.problem.damp**2  # inputs that nobody reads
        for part, places in self.parts:
            several = np.concatenate([y[(slice(None), slice(None), *(each[side] for each in p))] for p in places])
            for p, found in zip(places, np.split(solve(part, several), len(places)), strict=True):
                x[(slice(None), slice(None), *(each[1] for each in p))] = found
        return channels_back(op.geometry, x)

    def solve(self, b: AnyArray) -> AnyArray:
        return self._apart(b, 0, lambda part, some: part.solve(some))

    def normal(self, g: AnyArray) -> AnyArray:
        return self._apart(g, 1, lambda part, some: part.normal(some))


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

    def _back(self, flat: AnyArray) -> AnyArray:
        shape = self.problem.op.in_shape
        if self.axes is None:
            return flat.reshape(-1, *shape)
        return flat.reshape(-1, *(shape[a] for a in self.axes[0])).transpose(0, *(1 + self.axes[1]))

    def solve(self, b: AnyArray) -> AnyArray:
        return self._back(self.found.solve(self._moved(b)))

    def normal(self, g: AnyArray) -> AnyArray:
        return self._back(self.found.normal(self._moved(g)))

    def measured(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """By the matrix that is there: a product with it is quick."""
        right = self._moved(b)
        found = self.found.solve(right)
        r = right - (self.matrix @ found.T).T
        s, x = (self.matrix.T @ r.conj().T).conj().T, self._back(found)
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


def _by_lu(problem: Problem, op: ConvOperator) -> Iterator[Way]:
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


def _by_substitution(problem: Problem, op: ConvOperator) -> Iterator[Way]:
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


def _by_any_lu(problem: Problem) -> Iterator[Way]:
    """Of the sparse matrix of a map that is no single convolution."""
    rows, columns = problem.op.shape
    regularizer = problem.regularizer

    def factors() -> Factors:
        penalty, matrix = None if regularizer is None else sparse(regularizer), sparse(problem.op)
        found = lu.factored(matrix, problem.damp, penalty, band=False)
        return _Matrix(problem, f"sparse LU of {found.size} unknowns", matrix, found, None)

    unknowns = float(rows + columns)
    yield Way("sparse", "its matrix is sparse", (1e-8 * unknowns**2, 1e-7 * unknowns), 1e3 * unknowns, factors)


def _dense(problem: Problem) -> Way:
    """By the singular values of the whole matrix."""
    op, regularizer = problem.op, problem.regularizer
    rows, columns = op.shape
    height = rows + (0 if regularizer is None else regularizer.shape[0])
    kind = 4 if problem.dtype.kind == "c" else 1
    work = float(height) * columns * min(height, columns)

    def factors(spectral: bool = False) -> Factors:
        penalties = None if regularizer is None else [problem.damp * dense(regularizer)[None]]
        method = f"dense matrix of {rows} x {columns}"
        return BlockFactors(problem, method, [whole_frame(op)], [dense(op)[None]], penalties, spectral)

    inverted = rows == columns and not problem.damp
    seconds = CALL / 2 + kind * LARGE * work * (3 if inverted else 15), kind * LARGE * 2 * height * columns
    return Way("dense", "the matrix is small", seconds, 16.0 * kind * height * columns, factors)


def ranked(problem: Problem, several: int) -> list[Way]:
    """All, the least time for so many right-hand sides first."""
    return sorted(ways(problem), key=lambda way: way.total(several))
