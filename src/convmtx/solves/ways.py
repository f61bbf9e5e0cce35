"""Direct ways to solve a problem, each with what it should take: by structure, by factorisation, by substitution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from convmtx.geometry import Axis
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import Transposed
from convmtx.solves.by_blocks import BlockFactors, frame_of, whole_frame
from convmtx.solves.by_lattices import by_lattices
from convmtx.solves.by_matrix import by_any_lu, by_lu, by_substitution
from convmtx.solves.problem import Problem
from convmtx.solves.solution import Factors
from convmtx.solves.way import CALL, Way
from convmtx.structure import Blocks, decomposed
from convmtx.structure.double import dense
from convmtx.structure.splits import connected, mirrored, separated, transformed
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

#: Seconds of one operation, measured: of decompositions of large and of small matrices, of each small matrix, of each
#: number in a transform, of each number in vectors.
LARGE, SMALL, MATRIX, TRANSFORM, NUMBER = 4e-11, 2e-10, 3e-6, 2e-9, 5e-9


def ways(problem: Problem) -> Iterator[Way]:
    """All that apply."""
    op = problem.op
    if isinstance(op, ConvOperator):
        yield from _by_blocks(problem, op)
        yield from by_lattices(problem, op, ranked)
        yield from by_substitution(problem, op)
        yield from by_lu(problem, op)
    elif isinstance(op, Transposed) and problem.regularizer is None:
        for way in ways(replace(problem, op=op.op)):
            yield way._replace(make=lambda way=way: _Transpose(problem, way.make()))
        return
    else:
        yield from by_any_lu(problem)
    yield dense_way(problem)


class _Transpose(Factors):
    """Of a transpose ``A^T``, by what was made for A: ``conj(A (A^H A + d^2)^-1 conj(b))``."""

    def __init__(self, problem: Problem, factors: Factors) -> None:
        self.problem, self.factors = problem, factors
        self.method, self.missing = factors.method, factors.missing
        self.condition, self.norm = factors.condition, factors.norm

    def solve(self, b: AnyArray) -> AnyArray:
        return self.factors.image(b.conj()).conj()

    def normal(self, g: AnyArray) -> AnyArray:
        return self.factors.conormal(g.conj()).conj()

    def image(self, g: AnyArray) -> AnyArray:
        return self.factors.solve(g.conj()).conj()


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
    slow = max(split.inputs.slow for split in found[0].splits)
    each = slow * TRANSFORM * sum(geometry.shape) * len(found)
    each += NUMBER * sum(kind * blocks.count * blocks.rows * blocks.columns for blocks in found)
    for split, axis in zip(found[0].splits, geometry.axes, strict=True):
        if split.rule == "factor":
            make += LARGE * 8 * max(axis.size, axis.out) * min(axis.size, axis.out) ** 2
            each += LARGE * 2 * sum(geometry.shape) * axis.size
    size = float(sum(blocks.bytes for blocks in found))
    factored = "factor" in found[0].rule
    told = ", ".join(f"{b.count} of {b.rows} x {b.columns}" for b in found[:2]) + (", ..." if found[2:] else "")

    def factors() -> Factors:
        frames = [frame_of(blocks, len(found) == 1) for blocks in found]
        penalties = [problem.damp * blocks.matrices() for blocks in second] if second else None
        method = f"blocks ({found[0].rule}: {told})"
        return BlockFactors(problem, method, frames, [b.matrices() for b in found], penalties)

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


def dense_way(problem: Problem) -> Way:
    """By the singular values of the whole matrix."""
    op, regularizer = problem.op, problem.regularizer
    rows, columns = op.shape
    height = rows + (0 if regularizer is None else regularizer.shape[0])
    kind = 4 if problem.dtype.kind == "c" else 1
    work = float(height) * columns * min(height, columns)

    def factors() -> Factors:
        penalties = None if regularizer is None else [problem.damp * dense(regularizer)[None]]
        method = f"dense matrix of {rows} x {columns}"
        return BlockFactors(problem, method, [whole_frame(op)], [dense(op)[None]], penalties)

    inverted = rows == columns and not problem.damp
    seconds = CALL / 2 + kind * LARGE * work * (3 if inverted else 15), kind * LARGE * 2 * height * columns
    return Way("dense", "the matrix is small", seconds, 16.0 * kind * height * columns, factors)


def ranked(problem: Problem, several: int) -> list[Way]:
    """All, the least time for so many right-hand sides first."""
    return sorted(ways(problem), key=lambda way: way.total(several))
