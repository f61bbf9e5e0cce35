"""Decompositions of a map, with what each costs: singular values come from them, and some methods of solving too.

A convolution falls apart into blocks, is a Kronecker product if its kernel is an outer product, and is banded along an
axis for which no rule holds. A map made of maps has the singular values of its parts. Any map has a dense matrix. All
of these are exact to rounding, and `choose_decomposition` takes the one of least work. Solvers and preconditioners need
singular vectors too, in bases with fast transforms: those are the blocks of `blocks_with_vectors`, where a Kronecker
product is an axis split by vectors. The methods of solving are listed in `solves.select`; those by LU, by substitution
and by iteration decompose nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.structure import batched, rounding
from convmtx.structure.banded import BandMatrices
from convmtx.structure.blocks import Blocks, describe, find_blocks
from convmtx.structure.double import dense, direct, lone_entries, require_along
from convmtx.structure.precision import EPS, scaled
from convmtx.structure.splits import is_connected, is_mirrored, separate, transform_rule
from convmtx.taps import taps_of
from convmtx.typing import AnyArray


@dataclass(frozen=True, eq=False)
class Decomposition(ABC):
    """Decomposition that gives all singular values of a map, exact to rounding."""

    #: Words that name it in results.
    method: str
    #: Price, in the unit ``rows * columns * min(rows, columns)`` of a dense matrix.
    work: float
    #: Number of blocks that are decomposed one after the other.
    n_blocks: int
    #: Number that bounds how far rounding can have moved each singular value.
    slack: float
    #: Upper bound of the norm of the map of magnitudes.
    size: float

    @property
    @abstractmethod
    def is_apart(self) -> bool:
        """Whether every axis falls apart, so that neither a whole axis nor the whole matrix is decomposed."""

    @abstractmethod
    def values(self, bar: Any = None) -> AnyArray:
        """Return all min(M, N) singular values, descending; a progress bar counts the blocks that are done."""

    def largest(self) -> float:
        """Return the largest singular value."""
        return float(self.values().max(initial=0))


@dataclass(frozen=True, eq=False)
class Dense(Decomposition):
    """The singular values of the dense matrix of any map."""

    op: LinearMap

    @property
    def is_apart(self) -> bool:
        """Whether every axis falls apart: no, the matrix is decomposed as a whole."""
        return False

    def values(self, _bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        values: AnyArray = np.linalg.svd(dense(self.op), compute_uv=False)
        return values


@dataclass(frozen=True, eq=False)
class Blockwise(Decomposition):
    """The singular values of all blocks; their vectors are those of the blocks, placed by `Blocks.outputs`."""

    geometry: Geometry
    blocks: list[Blocks]

    @property
    def is_apart(self) -> bool:
        """Whether every axis falls apart; an axis that does not is whole in all blocks."""
        return not any(split.is_whole for blocks in self.blocks[:1] for split in blocks.splits)

    def values(self, bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        count = min(self.geometry.shape)
        _require(f"finding {count} singular values", 3 * count * 8)
        by_piece = []
        for piece in self._pieces():
            by_piece.append(np.repeat(batched.singular_values(piece.matrices()), piece.times, axis=0))
            if bar is not None:
                bar.update(piece.count)
        return _sort(self.geometry.shape, by_piece)

    def largest(self) -> float:
        """Return the largest singular value, by the Gram matrices of blocks."""
        return max((float(batched.largest(piece.matrices()).max()) for piece in self._pieces()), default=0.0)

    def _pieces(self) -> Iterator[Blocks]:
        for blocks in self.blocks:
            for piece in blocks.pieces():
                size = 3 * piece.count * piece.rows * piece.columns * 16
                _require(f"decomposing blocks of {piece.rows} x {piece.columns}", size)
                yield piece


@dataclass(frozen=True, eq=False)
class Banded(Decomposition):
    """The eigenvalues of band matrices along one axis, one for each block of the others."""

    geometry: Geometry
    matrices: list[BandMatrices]

    @property
    def is_apart(self) -> bool:
        """Whether every axis falls apart: no, one is whole."""
        return False

    def values(self, bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        return _sort(self.geometry.shape, chain.from_iterable(matrices.values(bar) for matrices in self.matrices))


@dataclass(frozen=True, eq=False)
class Kronecker(Decomposition):
    """The products of the singular values of two factors.

    The factors of a convolution are one axis and the others. Its singular vectors are those of the split by
    `convmtx.structure.splits.factor`.
    """

    shape: tuple[int, int]
    first: Decomposition
    others: Decomposition

    @property
    def is_apart(self) -> bool:
        """Whether every axis falls apart."""
        return self.first.is_apart and self.others.is_apart

    def values(self, bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        _require(f"finding {min(self.shape)} singular values", 3 * min(self.shape) * 8)
        return _sort(self.shape, [np.multiply.outer(self.first.values(bar), self.others.values(bar))])

    def largest(self) -> float:
        """Return the product of the factors' largest singular values."""
        return self.first.largest() * self.others.largest()


@dataclass(frozen=True, eq=False)
class DirectSum(Decomposition):
    """The singular values of all maps on the diagonal of a matrix."""

    shape: tuple[int, int]
    parts: list[Decomposition]

    @property
    def is_apart(self) -> bool:
        """Whether every map falls apart."""
        return all(part.is_apart for part in self.parts)

    def values(self, bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        return _sort(self.shape, (part.values(bar) for part in self.parts))

    def largest(self) -> float:
        """Return the largest singular value of any map on the diagonal."""
        return max(part.largest() for part in self.parts)


@dataclass(frozen=True, eq=False)
class Multiple(Decomposition):
    """The singular values of a map, each times a number > 0."""

    part: Decomposition
    number: float

    @property
    def is_apart(self) -> bool:
        """Whether every axis falls apart."""
        return self.part.is_apart

    def values(self, bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        return self.number * self.part.values(bar)

    def largest(self) -> float:
        """Return the largest singular value."""
        return self.number * self.part.largest()


@dataclass(frozen=True, eq=False)
class Lone(Decomposition):
    """The magnitudes of entries that are alone in their rows and columns."""

    op: LinearMap

    @property
    def is_apart(self) -> bool:
        """Whether every axis falls apart: yes, into numbers."""
        return True

    def values(self, _bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        return _sort(self.op.shape, [np.abs(lone_entries(self.op).values)])


def choose_decomposition(op: LinearMap) -> Decomposition:
    """Return the decomposition of least work; its ``method`` says which it is."""
    return _cheapest(decompositions(op))


def _cheapest(candidates: Iterator[Decomposition]) -> Decomposition:
    return min(candidates, key=lambda candidate: candidate.work)


def decompositions(op: LinearMap) -> Iterator[Decomposition]:
    """Yield all decompositions of a map, in double precision and `scaled`, that apply."""
    if isinstance(op, ConvOperator):
        require_along(*op.geometry.axes, split=True)
        yield from _decompositions(op.geometry, taps_of(op.geometry, op.kernel))
        return
    (rows, columns), size = op.shape, rounding.size_of(op)
    work = float(rows) * columns * min(rows, columns)
    yield Dense("dense", work, 1, rounding.of_dense(op, size), size, op)
    if op._has_lone_entries:
        yield Lone("entries", float(sum(op.shape)), 1, rounding.of_entry(op, size), size, op)
    if len(parts := op._summands) > 1:
        yield _by_summands(op, parts)
    if len(parts := op._kronecker_factors) > 1:
        yield _by_kronecker_factors(op, parts)


def _by_summands(op: LinearMap, parts: Sequence[LinearMap]) -> Decomposition:
    chosen = [_choose_for_part(part) for part in parts]
    work, count = sum(part.work for part in chosen), sum(part.n_blocks for part in chosen)
    slack, size = max(part.slack for part in chosen), max(part.size for part in chosen)
    method = f"{len(chosen)} maps on the diagonal: {describe_alike(part.method for part in chosen)}"
    return DirectSum(method, work, count, slack, size, op.shape, chosen)


def _by_kronecker_factors(op: LinearMap, parts: Sequence[LinearMap]) -> Decomposition:
    first, others = (_choose_for_part(part) for part in parts)
    method = f"Kronecker product of {first.method} and {others.method}"
    return _kronecker(method, op.shape, first, others)


def _choose_for_part(op: LinearMap) -> Decomposition:
    """Return the decomposition of least work of a map that need not be `scaled`."""
    operator, scale = scaled(direct(op))
    part = choose_decomposition(operator)
    if scale == 1:
        return part
    return Multiple(part.method, part.work, part.n_blocks, scale * part.slack, scale * part.size, part, scale)


def describe_alike(texts: Iterable[str]) -> str:
    """Return texts in one, equal ones once, and no more than three."""
    different = list(dict.fromkeys(texts))
    return ", ".join(different[:3]) + (", ..." if len(different) > 3 else "")


def blocks_with_vectors(geometry: Geometry, taps: AnyArray) -> list[Blocks]:
    """Return the blocks of a convolution for solvers, or none if it does not fall apart.

    An axis that no transform splits, and along which the kernel is an outer product, is split by singular vectors.
    """
    if not any(_may_split(taps, j, axis) for j, axis in enumerate(geometry.axes)):
        return []
    blocks = find_blocks(geometry, taps, factors=True)
    return [] if blocks and blocks[0].is_whole else blocks


def _may_split(taps: AnyArray, j: int, axis: Axis) -> bool:
    """Whether an axis may fall apart.

    The kernel of a map with a single axis is always an outer product. That does not count: it gives the dense matrix.
    """
    if not is_connected(axis) or (transform_rule(axis, True) and transform_rule(axis, is_mirrored(taps, j))):
        return True
    return taps.ndim > 3 and separate(taps, j)[0] is not None


def _decompositions(geometry: Geometry, taps: AnyArray) -> Iterator[Decomposition]:
    """Yield those of a convolution: blocks, and if they are larger than one number, bands and Kronecker products."""
    all_blocks, size = find_blocks(geometry, taps), rounding.magnitude(geometry, taps)
    yield _by_blocks(geometry, all_blocks, size)
    if any(blocks.rows * blocks.columns > prod(geometry.channels_per_group) for blocks in all_blocks):
        yield from _by_bands(geometry, all_blocks, size)
        yield from _by_factors(geometry, taps, size)


def _by_blocks(geometry: Geometry, all_blocks: list[Blocks], size: float) -> Decomposition:
    work, count = sum(blocks.work for blocks in all_blocks), sum(blocks.count for blocks in all_blocks)
    method = f"blocks ({describe(all_blocks)})"
    return Blockwise(method, work, count, rounding.of_blocks(all_blocks, size), size, geometry, all_blocks)


def _by_bands(geometry: Geometry, all_blocks: list[Blocks], size: float) -> Iterator[Decomposition]:
    """Yield band matrices along an axis if the blocks of all other axes are of one number each."""
    splits = [(j, split) for blocks in all_blocks for j, split in enumerate(blocks.splits)]
    wide = {j for j, split in splits if split.per_output * split.per_input > 1}
    if len(wide) != 1 or any(split.table is None for j, split in splits if j in wide):
        return
    (j,) = wide
    matrices = [BandMatrices(blocks, j) for blocks in all_blocks]
    work, count = sum(band.work for band in matrices), sum(blocks.count for blocks in all_blocks)
    slack = 2 * rounding.of_blocks(all_blocks, size)  # of matrices of twice the size
    yield Banded(f"band matrices along axis {j}", work, count, slack, size, geometry, matrices)


def _by_factors(geometry: Geometry, taps: AnyArray, size: float) -> Iterator[Decomposition]:
    """Yield a Kronecker product if the kernel is the outer product of a vector and a kernel along the other axes.

    The factor along the other axes may be a Kronecker product again.
    """
    if len(geometry.axes) == 1:
        return
    for j, axis in enumerate(geometry.axes):
        vector, rest = separate(taps, j)
        if vector is None:
            continue
        axes = geometry.axes[:j] + geometry.axes[j + 1 :]
        remaining = replace(geometry, axes=axes, layout=Layout.FIRST, flip=False, transposed=False)
        first = _cheapest(_decompositions(Geometry((axis,)), vector[None, None]))
        others = _cheapest(_decompositions(remaining, rest))
        method = f"Kronecker product: axis {j} by {first.method}, the others by {others.method}"
        whole = _kronecker(method, geometry.shape, first, others)
        yield replace(whole, slack=whole.slack + _left_over(geometry, taps, j, vector, rest), size=size)
        return


def _kronecker(method: str, shape: tuple[int, int], first: Decomposition, others: Decomposition) -> Kronecker:
    """Return the Kronecker product of two decompositions."""
    # (s + e) (t + f) - s t is e t + s f to first order; the second order is far below rounding.
    slack = first.slack * others.size + others.slack * first.size + 2 * EPS * first.size * others.size
    work, count = first.work + others.work, first.n_blocks + others.n_blocks
    return Kronecker(method, work, count, slack, first.size * others.size, shape, first, others)


def _left_over(geometry: Geometry, taps: AnyArray, axis: int, vector: AnyArray, rest: AnyArray) -> float:
    """Return a bound of the norm of the map of the taps minus the outer product of a vector and the rest."""
    product = np.moveaxis(np.multiply.outer(vector, rest), 0, axis + 2)
    return rounding.magnitude(geometry, np.abs(taps - product) + 2 * EPS * np.abs(taps))


def _sort(shape: tuple[int, int], values: Any) -> AnyArray:
    """Return singular values, and as many zeros as the matrix has besides, descending."""
    count = min(shape)
    present = np.concatenate([np.zeros(0), *(part.reshape(-1) for part in values)])
    present.sort()
    return np.pad(present[::-1][:count], (0, max(count - present.size, 0)))


def _require(what: str, size: int) -> None:
    """Refuse what does not fit in memory."""
    memory.require_result(what, size, "Ask for some of them, as with cm.svdvals(op, 10)")
