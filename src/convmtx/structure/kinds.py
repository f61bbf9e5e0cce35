"""Kinds of decompositions: what each computes singular values from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.geometry import Geometry
from convmtx.maps.linear_map import LinearMap
from convmtx.structure import batched
from convmtx.structure.banded import BandMatrices
from convmtx.structure.blocks import Blocks
from convmtx.structure.double import dense, lone_entries
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
class StackedBlocks(Decomposition):
    """The singular values of the blocks of convolutions below each other, which are in the same vectors of inputs."""

    shape: tuple[int, int]
    blocks: list[Blocks]

    @property
    def is_apart(self) -> bool:
        """Whether every axis falls apart."""
        return not any(split.is_whole for split in self.blocks[0].splits)

    def values(self, _bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        size = sum(3 * blocks.count * blocks.rows * blocks.columns * 16 for blocks in self.blocks)
        _require("decomposing blocks below each other", size)
        matrices = np.concatenate([blocks.matrices() for blocks in self.blocks], axis=1)
        return _sort(self.shape, [np.repeat(batched.singular_values(matrices), self.blocks[0].times, axis=0)])


@dataclass(frozen=True, eq=False)
class WithIdentity(Decomposition):
    """The singular values of a map above a multiple of the identity: the roots of the sums of both squares."""

    columns: int
    part: Decomposition
    ridge: float

    @property
    def is_apart(self) -> bool:
        """Whether every axis falls apart."""
        return self.part.is_apart

    def values(self, bar: Any = None) -> AnyArray:
        """Return all singular values, descending."""
        values = self.part.values(bar)
        return np.hypot(np.pad(values, (0, self.columns - values.size)), self.ridge)

    def largest(self) -> float:
        """Return the largest singular value."""
        return float(np.hypot(self.part.largest(), self.ridge))


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


def _sort(shape: tuple[int, int], values: Any) -> AnyArray:
    """Return singular values, and as many zeros as the matrix has besides, descending."""
    count = min(shape)
    present = np.concatenate([np.zeros(0), *(part.reshape(-1) for part in values)])
    present.sort()
    return np.pad(present[::-1][:count], (0, max(count - present.size, 0)))


def _require(what: str, size: int) -> None:
    """Refuse what does not fit in memory."""
    memory.require_result(what, size, "Ask for some of them, as with cm.svdvals(op, 10)")
