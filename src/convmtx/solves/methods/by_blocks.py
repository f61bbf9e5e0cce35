"""Exact solves of a map that falls apart: the pseudo-inverse of each block, between fast transforms.

A dense matrix is a block too, the only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial, reduce
from math import prod
from operator import add
from typing import Any

import numpy as np

from convmtx import costs, rates
from convmtx.engines.threads import one_blas_thread
from convmtx.geometry import Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.solves.factors import Candidate, Factors
from convmtx.solves.methods.coefficients import Coefficients, Entries, coefficients_of
from convmtx.solves.methods.penalties import Matrices, penalty_of
from convmtx.solves.methods.small_matrices import (
    Spectral,
    StackTriplets,
    Vectors,
    energies,
    in_pieces,
    prepare,
    weighted_energy,
)
from convmtx.solves.problem import Problem
from convmtx.structure import Blocks, blocks_with_vectors, describe
from convmtx.structure.double import dense
from convmtx.taps import taps_of
from convmtx.typing import AnyArray


class BlockFactors(Factors):
    """The pseudo-inverse, block by block."""

    def __init__(
        self,
        problem: Problem,
        method: str,
        coefficients: list[Coefficients],
        matrices: list[AnyArray],
        penalties: list[AnyArray] | None = None,
    ) -> None:
        """Prepare the matrices; ``penalties`` are the regularizer's in the same coefficients, times the damping."""
        self.problem, self.method, self.coefficients = problem, method, coefficients
        self.rows = [stack.shape[1] for stack in matrices]
        if penalties is not None:
            matrices = [np.concatenate(pair, axis=1) for pair in zip(matrices, penalties, strict=True)]
        self.stacks = [prepare(stack, problem.ridge, decompose=problem.rcond is not None) for stack in matrices]
        self.norm = max((stack.high for stack in self.stacks), default=0.0)
        n_zero = self._truncate() + (self._missing_values() if penalties is None else 0)
        self.n_zero = 0 if problem.ridge else n_zero
        low = 0.0 if n_zero else min((stack.low for stack in self.stacks), default=0.0)
        largest, least = np.hypot(self.norm, problem.ridge), np.hypot(low, problem.ridge)
        self.condition = max(float(largest / least), 1.0) if least else np.inf

    def _truncate(self) -> int:
        """Take singular values below the cutoff as zero; return their number."""
        limit, n_zero = self.problem.cutoff * self.norm, 0
        for stack, c in zip(self.stacks, self.coefficients, strict=True):
            if isinstance(stack, Spectral):
                has_zeros = stack.low <= limit
                stack.truncate(limit)
                n_zero += stack.count_zeros(c.times) if has_zeros else 0
        return n_zero

    def least(self) -> float:
        return min((stack.low for stack in self.stacks), default=np.inf)

    def _missing_values(self) -> int:
        """Return the number of singular values of the map that no block has, for they are zero."""
        pairs = zip(self.stacks, self.coefficients, strict=True)
        known = sum(c.total * min(stack.matrices.shape[1:]) for stack, c in pairs)
        return max(min(self.problem.op.shape) - known, 0)

    @property
    def _threads(self) -> AbstractContextManager[None]:
        """One thread of BLAS for small products: more make them no faster, and slow down a busy machine."""
        many = any(len(stack.matrices) > 1 and prod(stack.matrices.shape[1:]) > 1 for stack in self.stacks)
        return one_blas_thread() if many else nullcontext()

    def solve(self, b: AnyArray) -> AnyArray:
        with self._threads:
            return self._sum(stack.solve(self._right_side(j, b)) for j, stack in enumerate(self.stacks))

    def image(self, g: AnyArray) -> AnyArray:
        parts = []
        with self._threads:
            for c, stack, rows in zip(self.coefficients, self.stacks, self.rows, strict=True):
                parts.append(c.synthesize(stack.image(c.analyse(g, True))[:, :rows], False))
            return reduce(add, parts)

    def conormal(self, g: AnyArray) -> AnyArray:
        if (
            not all(isinstance(stack, StackTriplets) for stack in self.stacks)
            or not self.coefficients[0].outputs_complete
        ):
            return super().conormal(g)
        (c,), (stack,) = self.coefficients, self.stacks
        assert isinstance(stack, StackTriplets)
        return c.synthesize(stack.conormal(c.analyse(g, False)), False)

    def _right_side(self, j: int, b: AnyArray) -> AnyArray:
        """Return the coefficients of b, with zeros in the rows of a regularizer."""
        y = self.coefficients[j].analyse(b, False)
        below = self.stacks[j].matrices.shape[1] - self.rows[j]
        return np.pad(y, ((0, 0), (0, below), (0, 0))) if below else y

    def _sum(self, coefficients: Iterable[AnyArray]) -> AnyArray:
        """Return the inputs that all coefficients make together."""
        pairs = zip(self.coefficients, coefficients, strict=True)
        return reduce(add, (c.synthesize(y, True) for c, y in pairs))

    def normal(self, g: AnyArray) -> AnyArray:
        with self._threads:
            inside = [c.analyse(g, True) for c in self.coefficients]
            x = self._sum(stack.normal(y) for stack, y in zip(self.stacks, inside, strict=True))
        if self.problem.ridge and not all(c.inputs_complete for c in self.coefficients):
            x = x + (g - self._sum(inside)) / self.problem.ridge**2
        return x

    @property
    def spans_outputs(self) -> bool:
        """Whether every output is a combination of left singular vectors, those of zeros among them."""
        wide = (rows <= stack.matrices.shape[2] for stack, rows in zip(self.stacks, self.rows, strict=True))
        return all(c.outputs_complete for c in self.coefficients) and all(wide)

    def spectrum(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Return singular values, how often each occurs, and the squared length of b along its left vectors."""
        values, times, lengths = [], [], []
        for j, (c, stack) in enumerate(zip(self.coefficients, self.stacks, strict=True)):
            assert isinstance(stack, Spectral)  # of a damped problem
            s, inside = stack.spectrum(self._right_side(j, b))
            values.append(s.ravel())
            times.append(np.repeat(c.times, s.shape[1]))
            lengths.append((energies(inside.swapaxes(1, 2)) * c.weights[:, None]).ravel())
        return np.concatenate(values), np.concatenate(times), np.concatenate(lengths)

    def solve_with_residuals(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Measure residuals in the coefficients, if these are complete: transforms keep lengths."""
        complete = self.coefficients[0].outputs_complete and self.coefficients[0].inputs_complete
        if len(self.stacks) != 1 or not complete:
            return super().solve_with_residuals(b)
        if len(b) == 1 and isinstance(self.stacks[0], Vectors) and self.stacks[0].is_diagonal:
            return self._solve_numbers(b, self.stacks[0])
        with self._threads:
            return self._solve_by_coefficients(b)

    def _solve_numbers(self, b: AnyArray, stack: Vectors) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Solve for one right-hand side where each coefficient of x is that of b times a number."""
        (c,) = self.coefficients
        y = c.analyse(b, False)
        x = y.astype(np.result_type(stack.matrices, y), copy=np.may_share_memory(y, b))
        numbers, weights = x.reshape(len(x), -1), c.weights

        def share(pieces: Iterable[slice]) -> AnyArray:
            squares = np.zeros(2)
            for piece in pieces:
                for j in range(numbers.shape[1]):
                    r, s = stack.solve_numbers(numbers[piece, j], piece)
                    squares += weighted_energy(r, weights[piece]), weighted_energy(s, weights[piece])
            return squares

        residual, normal = np.sqrt(reduce(add, in_pieces(share, stack.matrices)))
        return c.synthesize(x, True), residual[None], normal[None]

    def _solve_by_coefficients(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        (c,), (stack,), (rows,), ridge = self.coefficients, self.stacks, self.rows, self.problem.ridge
        y, weights = self._right_side(0, b), c.weights
        count, _, columns = stack.matrices.shape
        x = np.empty((count, columns, y.shape[2]), np.result_type(stack.matrices, y))
        multiply = np.multiply if stack.matrices.shape[1:] == (1, 1) else np.matmul

        def share(pieces: Iterable[slice]) -> AnyArray:
            squares = np.zeros((2, y.shape[2]))
            for piece in pieces:
                matrices, right = stack.matrices[piece], y[piece]
                x[piece] = solution = stack.solve(right, piece)
                r = multiply(matrices, solution)
                np.subtract(right, r, out=r)
                s = multiply(matrices.conj().swapaxes(1, 2), r)
                if ridge:
                    s -= ridge**2 * solution
                squares[0] += weights[piece] @ energies(r[:, :rows])
                squares[1] += weights[piece] @ energies(s)
            return squares

        squares = reduce(add, in_pieces(share, stack.matrices))
        residual, normal = np.sqrt(squares.reshape(2, len(b), -1).sum(axis=2))
        return c.synthesize(x, True), residual, normal


@dataclass(frozen=True, eq=False)
class SpectralCandidate(Candidate):
    """Method whose factors have singular values and vectors, from which the solution for any damping follows."""

    make: Callable[[], BlockFactors]
    truncates: bool = True


def by_blocks(problem: Problem, op: ConvOperator) -> Iterator[Candidate]:
    """Yield the candidate by fast transforms, sub-lattices of positions, and singular vectors along axes."""
    geometry, taps = op.geometry, taps_of(op.geometry, op.kernel).astype(problem.dtype)
    blocks = blocks_with_vectors(geometry, taps)
    if not blocks:
        return
    penalty = None
    if problem.regularizer is not None:
        penalty = penalty_of(problem, blocks)
        if penalty is None:
            return
    price = _price_of_blocks(geometry, blocks, problem.dtype, problem.damp > 0)
    make = partial(_factors_of_blocks, problem, blocks, penalty)
    if blocks[0].has_factor:
        yield SpectralCandidate("kronecker", "the kernel is an outer product", price, make)
    else:
        yield SpectralCandidate("blocks", "the map falls apart into blocks", price, make)


def _price_of_blocks(geometry: Geometry, stacks: Sequence[Blocks], dtype: np.dtype[Any], damped: bool) -> costs.Price:
    """Price of a map that falls apart into stacks of equal blocks; axes are split alike in all of them."""
    splits = stacks[0].splits
    kind = costs.COMPLEX_PRODUCT if dtype.kind == "c" or stacks[0].has_fourier else 1.0
    build = rates.rate("factors") / 2 + sum(kind * _stack_seconds(stack, damped) for stack in stacks)
    per_rhs = (
        max(split.inputs.slow for split in splits)
        * rates.rate("transformed number")
        * sum(geometry.shape)
        * len(stacks)
    )
    per_rhs += rates.rate("vector number") * sum(kind * stack.count * stack.rows * stack.columns for stack in stacks)
    for split, axis in zip(splits, geometry.axes, strict=True):
        if split.is_factor:
            work = costs.SVD_AXIS * max(axis.size, axis.out) * min(axis.size, axis.out) ** 2
            build += rates.rate("large matrix operation") * work
            per_rhs += rates.rate("large matrix operation") * 2 * sum(geometry.shape) * axis.size
    return costs.Price(build, per_rhs, float(sum(stack.bytes for stack in stacks)))


def _stack_seconds(stack: Blocks, damped: bool) -> float:
    """Return the seconds of decomposing equal blocks, or of inverting them."""
    rows, columns = stack.rows, stack.columns
    if min(rows, columns) == 1:
        return rates.rate("vector number") * stack.count * rows * columns
    work = rows * columns * min(rows, columns) * (1 if rows == columns and not damped else costs.SVD_SMALL)
    operation = rates.rate("small matrix operation" if work < costs.LARGE_MATRIX else "large matrix operation")
    return stack.count * (rates.rate("small matrix") + work * operation)


def _factors_of_blocks(problem: Problem, blocks: list[Blocks], penalty: Matrices | None) -> BlockFactors:
    coefficients: list[Coefficients] = [coefficients_of(b, len(blocks) == 1) for b in blocks]
    matrices = [b.matrices() for b in blocks]
    penalties = None if penalty is None else [penalty()]
    return BlockFactors(problem, f"blocks ({describe(blocks)})", coefficients, matrices, penalties)


def by_dense(problem: Problem) -> SpectralCandidate:
    """Return the candidate by the dense matrix: its singular values, or its inverse."""
    rows, columns = problem.op.shape
    height = rows + (0 if problem.regularizer is None else problem.regularizer.shape[0])
    inverted = rows == columns and not problem.damp
    price = costs.price_of_dense(height, columns, problem.dtype, inverted=inverted)
    return SpectralCandidate("dense", "the matrix is small", price, partial(_factors_of_dense, problem))


def _factors_of_dense(problem: Problem) -> BlockFactors:
    op, regularizer = problem.op, problem.regularizer
    penalties = None if regularizer is None else [problem.damp * dense(regularizer)[None]]
    method = f"dense matrix of {op.shape[0]} x {op.shape[1]}"
    return BlockFactors(problem, method, [Entries(op)], [dense(op)[None]], penalties)
