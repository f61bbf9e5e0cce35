"""Exact solves of a map that falls apart: the pseudo-inverse of each block, between fast transforms.

A block is decomposed into singular values, except where its side is 1, or where it is so well conditioned that an
inverse does. Every dense matrix is a block too, the only one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import reduce
from math import prod
from operator import add
from typing import NamedTuple, TypeVar

import numpy as np

from convmtx.engines.threads import one_blas_thread, spread
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.problem import Problem
from convmtx.solves.solution import Factors
from convmtx.structure import Blocks, batched
from convmtx.typing import AnyArray

Result = TypeVar("Result")
EVERY = slice(None)
#: Condition up to which a block is inverted rather than decomposed, and numbers of a piece that stays in cache.
INVERTED, PIECE = 1e6, 1 << 14


class Frame(NamedTuple):
    """Coefficients in which a map is (count, rows, columns) matrices."""

    analysed: Callable[[AnyArray, bool], AnyArray]
    synthesized: Callable[[AnyArray, bool], AnyArray]
    #: How often each block occurs, and how many of these occurrences have coefficients of their own.
    times: AnyArray
    copies: int
    #: Whether every output, and every input, is a combination of coefficients.
    outputs_complete: bool
    inputs_complete: bool


def frame_of(blocks: Blocks, alone: bool) -> Frame:
    """Of blocks; ``alone`` says that these are all blocks of the map."""
    times = blocks.times
    rows, columns = (times.sum() * size for size in (blocks.rows, blocks.columns))
    complete = (alone and rows == blocks.geometry.shape[0], alone and columns == blocks.geometry.shape[1])
    copies = prod(split.inputs.copies for split in blocks.splits)
    return Frame(blocks.analysed, blocks.synthesized, times, copies, *complete)


def whole_frame(op: LinearMap) -> Frame:
    """Of a map as one dense matrix."""

    def analysed(arrays: AnyArray, _inputs: bool) -> AnyArray:
        return arrays.reshape(1, len(arrays), -1).swapaxes(1, 2)

    def synthesized(y: AnyArray, inputs: bool) -> AnyArray:
        return y[0].T.reshape(-1, *(op.in_shape if inputs else op.out_shape))

    return Frame(analysed, synthesized, np.ones(1, int), 1, True, True)


class Part(ABC):
    """Matrices (count, rows, columns), those of a regularizer below them, made ready; all singular values count."""

    #: Least and largest singular value.
    low: float
    high: float

    def __init__(self, matrices: AnyArray, damp: float) -> None:
        self.matrices, self.damp = matrices, damp

    @abstractmethod
    def solve(self, b: AnyArray, some: slice = EVERY) -> AnyArray:
        """``H^+ M^H b`` of coefficients (count, rows, R), of some of the blocks."""

    @abstractmethod
    def normal(self, g: AnyArray) -> AnyArray:
        """``H^+ g`` of coefficients (count, columns, R)."""

    @abstractmethod
    def image(self, g: AnyArray) -> AnyArray:
        """``M H^+ g`` of coefficients (count, columns, R)."""


class Spectral(Part):
    """One that knows singular values and vectors."""

    @abstractmethod
    def cut(self, limit: float, times: AnyArray) -> int:
        """Take singular values up to a limit as zero, and say how many these are."""

    @abstractmethod
    def spectrum(self, b: AnyArray) -> tuple[AnyArray, AnyArray]:
        """Singular values (count, k) and coefficients of b in their left vectors (count, k, R)."""


class Vectors(Spectral):
    """Matrices of one row or one column: ``M^H / (|M|^2 + damp^2)``."""

    def __init__(self, matrices: AnyArray, damp: float) -> None:
        super().__init__(matrices, damp)
        self.squares = np.empty((len(matrices), 1, 1))

        def share(pieces: Iterable[slice]) -> None:
            for some in pieces:
                each = matrices[some]
                self.squares[some, 0] = _energies(each.reshape(len(each), -1, 1))

        _in_pieces(share, matrices)
        self.low, self.high = (float(np.sqrt(end)) for end in (self.squares.min(), self.squares.max()))
        self.limit = 0.0

    def cut(self, limit: float, times: AnyArray) -> int:
        self.limit = limit**2
        return int(times[self.squares[:, 0, 0] <= self.limit].sum()) if self.low <= limit else 0

    def _inverse(self, some: slice = EVERY) -> AnyArray:
        """``1 / (|M|^2 + damp^2)``, 0 for what is cut off."""
        squares = self.squares[some]
        if self.damp:
            return 1 / (squares + self.damp**2)
        kept = squares > self.limit
        return np.divide(1, squares, out=np.zeros_like(squares), where=kept)

    def solve(self, b: AnyArray, some: slice = EVERY) -> AnyArray:
        weights = self.matrices[some].conj().swapaxes(1, 2) * self._inverse(some)
        return weights * b if b.shape[1] == 1 else weights @ b

    def normal(self, g: AnyArray) -> AnyArray:
        if self.matrices.shape[2] == 1:
            return g * self._inverse()
        images, adjoint = self.matrices @ g, self.matrices.conj().swapaxes(1, 2)
        if not self.damp:
            return adjoint @ (images * self._inverse() ** 2)
        return (g - adjoint @ (images * self._inverse())) / self.damp**2

    def image(self, g: AnyArray) -> AnyArray:
        return self.matrices @ g * self._inverse()

    def spectrum(self, b: AnyArray) -> tuple[AnyArray, AnyArray]:
        values = np.sqrt(self.squares[:, 0])
        if self.matrices.shape[1] == 1:
            return values, b
        units = self.matrices / np.where(values > 0, values, 1)[..., None]
        return values, units.conj().swapaxes(1, 2) @ b


class Triplets(Spectral):
    """Singular value decompositions, applied one factor after the other: residuals stay small at any condition."""

    def __init__(self, matrices: AnyArray, damp: float) -> None:
        super().__init__(matrices, damp)
        self.u, self.s, self.vh = batched.shared_out(lambda some: np.linalg.svd(some, full_matrices=False), matrices)
        self.low, self.high = float(self.s.min()), float(self.s.max())
        self.kept = np.ones_like(self.s, bool)

    def cut(self, limit: float, times: AnyArray) -> int:
        self.kept = self.s > limit
        return int((~self.kept).sum(axis=1) @ times)

    def _inverse(self) -> AnyArray:
        """``1 / (s^2 + damp^2)``, 0 for what is cut off."""
        squares = self.s**2 + self.damp**2
        return np.divide(1, squares, out=np.zeros_like(squares), where=self.kept | (self.damp > 0))[..., None]

    def _filters(self) -> AnyArray:
        """``s / (s^2 + damp^2)``, 0 for what is cut off."""
        return self._inverse() * self.s[..., None] if self.damp else _reciprocal(self.s, self.kept)[..., None]

    def solve(self, b: AnyArray, some: slice = EVERY) -> AnyArray:
        inside = self.u[some].conj().swapaxes(1, 2) @ b
        return self.vh[some].conj().swapaxes(1, 2) @ (self._filters()[some] * inside)

    def image(self, g: AnyArray) -> AnyArray:
        return self.u @ (self._filters() * (self.vh @ g))

    def normal(self, g: AnyArray) -> AnyArray:
        return self._squared(self.vh.conj().swapaxes(1, 2), g)

    def conormal(self, g: AnyArray) -> AnyArray:
        """``(M M^H + damp^2)^+ g``."""
        return self._squared(self.u, g)

    def _squared(self, vectors: AnyArray, g: AnyArray) -> AnyArray:
        """G divided by ``s^2 + damp^2`` in these vectors, and by ``damp^2`` outside, where there is an outside."""
        inside = vectors.conj().swapaxes(1, 2) @ g
        if not self.damp:
            return vectors @ (_reciprocal(self.s, self.kept)[..., None] ** 2 * inside)
        found = vectors @ (self._inverse() * inside)
        if vectors.shape[1] > vectors.shape[2]:
            found += (g - vectors @ inside) / self.damp**2
        return found

    def spectrum(self, b: AnyArray) -> tuple[AnyArray, AnyArray]:
        return self.s, self.u.conj().swapaxes(1, 2) @ b


def _reciprocal(values: AnyArray, kept: AnyArray) -> AnyArray:
    return np.divide(1, values, out=np.zeros_like(values), where=kept)


def _bound(matrices: AnyArray) -> float:
    """An upper bound of the 2-norms, not far off."""
    sizes = np.abs(matrices)
    sums = np.sqrt(sizes.sum(axis=1).max(axis=1) * sizes.sum(axis=2).max(axis=1))
    return float(np.minimum(sums, np.linalg.norm(matrices, axis=(1, 2))).max())


class Inverses(Part):
    """Inverses of square matrices that are well conditioned, with one step of refinement."""

    def __init__(self, matrices: AnyArray) -> None:
        super().__init__(matrices, 0.0)
        (self.inverse,) = batched.shared_out(lambda some: (np.linalg.inv(some),), matrices)
        self.low, self.high = 1 / _bound(self.inverse), _bound(matrices)

    def solve(self, b: AnyArray, some: slice = EVERY) -> AnyArray:
        inverse = self.inverse[some]
        x = inverse @ b
        return x + inverse @ (b - self.matrices[some] @ x)

    def normal(self, g: AnyArray) -> AnyArray:
        return self.solve(self.image(g))

    def image(self, g: AnyArray) -> AnyArray:
        adjoint, inverse = (each.conj().swapaxes(1, 2) for each in (self.matrices, self.inverse))
        y = inverse @ g
        return y + inverse @ (g - adjoint @ y)


def _energies(numbers: AnyArray) -> AnyArray:
    """Squared lengths along the second axis of three, (count, R)."""
    squares = numbers.real**2
    if numbers.dtype.kind == "c":
        squares += numbers.imag**2
    return squares[:, 0] if squares.shape[1] == 1 else squares.sum(axis=1)  # to sum one number takes longer


def _part(matrices: AnyArray, damp: float) -> Part:
    _, rows, columns = matrices.shape
    if min(rows, columns) == 1:
        return Vectors(matrices, damp)
    if rows == columns and not damp:
        try:
            found = Inverses(matrices)
        except np.linalg.LinAlgError:
            pass
        else:
            if found.high < INVERTED * found.low:
                return found
    return Triplets(matrices, damp)


def _in_pieces(share: Callable[[Iterable[slice]], Result], matrices: AnyArray) -> list[Result]:
    """Pieces of a stack of matrices that stay in cache, by several threads where these are many."""
    step = max(PIECE // max(prod(matrices.shape[1:]), 1), 1)
    pieces = [slice(first, first + step) for first in range(0, len(matrices), step)]
    return spread(share, pieces, parallel=len(pieces) > 4)


class BlockFactors(Factors):
    """The pseudo-inverse, block by block."""

    def __init__(
        self,
        problem: Problem,
        method: str,
        frames: list[Frame],
        stacks: list[AnyArray],
        penalties: list[AnyArray] | None = None,
    ) -> None:
        """``penalties`` are the regularizer's matrices in the same coefficients, times the damping."""
        self.problem, self.method, self.frames = problem, method, frames
        self.rows = [stack.shape[1] for stack in stacks]
        self.damp = problem.damp if penalties is None else 0.0
        if penalties is not None:
            stacks = [np.concatenate(pair, axis=1) for pair in zip(stacks, penalties, strict=True)]
        self.parts = [_part(stack, self.damp) for stack in stacks]
        self.norm = max((part.high for part in self.parts), default=0.0)
        limit = problem.cutoff * self.norm
        pairs = zip(self.parts, frames, strict=True)
        cut = sum(part.cut(limit, frame.times) for part, frame in pairs if isinstance(part, Spectral))
        held = sum(int(frame.times.sum()) * min(stack.shape[1:]) for frame, stack in zip(frames, stacks, strict=True))
        cut += max(min(problem.op.shape) - held, 0) if penalties is None else 0
        self.missing = 0 if self.damp else cut
        low = 0.0 if cut else min((part.low for part in self.parts), default=0.0)
        ends = np.hypot(self.norm, self.damp), np.hypot(low, self.damp)
        self.condition = float(ends[0] / ends[1]) if ends[1] else np.inf

    @property
    def _blas(self) -> AbstractContextManager[None]:
        """Threads of BLAS do small products no good, and a busy machine harm."""
        return one_blas_thread() if any(len(part.matrices) > 1 for part in self.parts) else nullcontext()

    def solve(self, b: AnyArray) -> AnyArray:
        with self._blas:
            return self._sum(part.solve(self._right(j, b)) for j, part in enumerate(self.parts))

    def image(self, g: AnyArray) -> AnyArray:
        every = zip(self.frames, self.parts, self.rows, strict=True)
        with self._blas:
            return reduce(add, (f.synthesized(p.image(f.analysed(g, True))[:, :rows], False) for f, p, rows in every))

    def conormal(self, g: AnyArray) -> AnyArray:
        if not all(isinstance(part, Triplets) for part in self.parts) or not self.frames[0].outputs_complete:
            return super().conormal(g)
        (frame,), (part,) = self.frames, self.parts
        assert isinstance(part, Triplets)
        return frame.synthesized(part.conormal(frame.analysed(g, False)), False)

    def _right(self, j: int, b: AnyArray) -> AnyArray:
        """Coefficients of b, with zeros where a regularizer's rows are."""
        y = self.frames[j].analysed(b, False)
        below = self.parts[j].matrices.shape[1] - self.rows[j]
        return np.pad(y, ((0, 0), (0, below), (0, 0))) if below else y

    def _sum(self, coefficients: Iterable[AnyArray]) -> AnyArray:
        pairs = zip(self.frames, coefficients, strict=True)
        return reduce(add, (frame.synthesized(each, True) for frame, each in pairs))

    def normal(self, g: AnyArray) -> AnyArray:
        with self._blas:
            inside = [frame.analysed(g, True) for frame in self.frames]
            found = self._sum(part.normal(each) for part, each in zip(self.parts, inside, strict=True))
        if self.damp and not all(frame.inputs_complete for frame in self.frames):
            found = found + (g - self._sum(inside)) / self.damp**2
        return found

    @property
    def spans_outputs(self) -> bool:
        """Whether every output is a combination of left singular vectors, those of zeros among them."""
        wide = (rows <= part.matrices.shape[2] for part, rows in zip(self.parts, self.rows, strict=True))
        return all(frame.outputs_complete for frame in self.frames) and all(wide)

    def spectrum(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Singular values, how often each occurs, and the squared length of what a batch has of their left vectors."""
        found = []
        for j, (frame, part) in enumerate(zip(self.frames, self.parts, strict=True)):
            assert isinstance(part, Spectral)  # of a damped problem
            values, inside = part.spectrum(self._right(j, b))
            energies = _energies(inside.swapaxes(1, 2)) * (frame.times / frame.copies)[:, None]
            found.append((values.ravel(), np.repeat(frame.times, values.shape[1]), energies.ravel()))
        values, times, energies = (np.concatenate(each) for each in zip(*found, strict=True))
        return values, times, energies

    def measured(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """In the coefficients, where these are complete: transforms keep lengths."""
        if len(self.parts) != 1 or not (self.frames[0].outputs_complete and self.frames[0].inputs_complete):
            return super().measured(b)
        with self._blas:
            return self._by_coefficients(b)

    def _by_coefficients(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        frame, part = self.frames[0], self.parts[0]
        y, weights = self._right(0, b), frame.times / frame.copies
        count, _, columns = part.matrices.shape
        x = np.empty((count, columns, y.shape[2]), np.result_type(part.matrices, y))
        times = np.multiply if part.matrices.shape[1:] == (1, 1) else np.matmul

        def share(pieces: Iterable[slice]) -> AnyArray:
            total = np.zeros((2, y.shape[2]))
            for some in pieces:
                matrices, right = part.matrices[some], y[some]
                x[some] = found = part.solve(right, some)
                r = right - times(matrices, found)
                s = times(matrices.conj().swapaxes(1, 2), r)
                s -= self.damp**2 * found
                for j, each in enumerate((r[:, : self.rows[0]], s)):
                    total[j] += weights[some] @ _energies(each)
            return total

        squares = reduce(add, _in_pieces(share, part.matrices))
        residual, normal = np.sqrt(squares.reshape(2, len(b), -1).sum(axis=2))
        return frame.synthesized(x, True), residual, normal
