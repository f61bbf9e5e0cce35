"""A map as the blocks that the splits of its axes make together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import product
from math import prod

import numpy as np

from convmtx.engines.threads import one_blas_thread
from convmtx.geometry import Geometry
from convmtx.structure.bases import Basis
from convmtx.structure.factors import separated
from convmtx.structure.splits import Split, factor, mirrored, splits, transformed
from convmtx.taps import channels_back, channels_first
from convmtx.typing import AnyArray, IntArray

#: Bytes of blocks that are looked at together where only their norms are wanted.
PIECE_BYTES = 1 << 27
#: Pairs of channels that are few.
FEW = 16


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of one size: for each group and each choice of a block of every axis, (rows, columns) with channels."""

    geometry: Geometry
    taps: AnyArray
    splits: tuple[Split, ...]

    @property
    def count(self) -> int:
        """Number of blocks that are different."""
        return self.geometry.groups * prod(s.times.size for s in self.splits)

    @property
    def rows(self) -> int:
        """Rows of a block: filters of the group and outputs."""
        return self.geometry.channels_per_group[0] * prod(s.per_output for s in self.splits)

    @property
    def columns(self) -> int:
        """Columns of a block: channels of the group and inputs."""
        return self.geometry.channels_per_group[1] * prod(s.per_input for s in self.splits)

    @property
    def bytes(self) -> int:
        """Bytes that making the blocks and solving with them takes, about."""
        numbers = self.count * self.rows * self.columns
        # Five arrays like the matrices, and four of real numbers for each block.
        return 80 * numbers + 32 * self.count + sum(split.bytes for split in self.splits)

    @property
    def times(self) -> IntArray:
        """How often each block occurs."""
        each = reduce(np.multiply.outer, (s.times for s in self.splits), np.ones(self.geometry.groups, np.int64))
        return each.reshape(-1)

    @property
    def rule(self) -> str:
        """The rules of the axes."""
        return " x ".join(s.rule for s in self.splits)

    @property
    def work(self) -> float:
        """``rows * columns * min(rows, columns)`` of all blocks together."""
        return float(self.count) * self.rows * self.columns * min(self.rows, self.columns)

    def pieces(self) -> Iterator[Blocks]:
        """The same blocks, of a bounded number of bytes at a time."""
        first, *others = self.splits
        each = self.rows * self.columns * prod(s.times.size for s in others) * self.geometry.groups * 16
        step = max(PIECE_BYTES // each, 1)
        for start in range(0, first.times.size, step):
            some = slice(start, start + step)
            part = replace(first, times=first.times[some], make=partial(_some, first, some))
            yield replace(self, splits=(part, *others))

    def matrices(self) -> AnyArray:
        """All different blocks, (count, rows, columns); the sum over taps taken along one axis after the other."""
        per_f, per_c = self.geometry.channels_per_group
        total = self.taps.reshape(self.geometry.groups, per_f, per_c, *self.taps.shape[2:])
        # Of few channels this is copying rather than arithmetic, and threads of BLAS linger for milliseconds.
        with one_blas_thread() if per_f * per_c <= FEW else nullcontext():
            for split in self.splits:
                total = np.tensordot(total, split.symbols, ([3], [1]))
        d = len(self.splits)  # now (G, f, c, B1, r1, i1, ..., Bd, rd, id)
        blocks, outs, ins = (range(3 + j, 3 + 3 * d, 3) for j in range(3))
        total = total.transpose(0, *blocks, 1, *outs, 2, *ins)
        return total.reshape(self.count, self.rows, self.columns)

    def nearest_taps(self, matrices: AnyArray) -> AnyArray:
        """The taps whose `matrices` come nearest to the given ones, by the pseudo-inverse along each axis."""
        per_f, per_c = self.geometry.channels_per_group
        d = len(self.splits)
        outs, ins = ([getattr(s, name) for s in self.splits] for name in ("per_output", "per_input"))
        total = matrices.reshape(self.geometry.groups, *(s.times.size for s in self.splits), per_f, *outs, per_c, *ins)
        axes = [axis for j in range(d) for axis in (1 + j, 2 + d + j, 3 + 2 * d + j)]
        total = total.transpose(0, 1 + d, 2 + 2 * d, *axes)
        total = total.reshape(*total.shape[:3], *(s.times.size * s.per_output * s.per_input for s in self.splits))
        for split in self.splits:
            table = split.symbols.swapaxes(0, 1).reshape(split.symbols.shape[1], -1)
            total = np.tensordot(total, np.linalg.pinv(table), ([3], [0]))
        total = total.reshape(self.taps.shape)
        return total if self.taps.dtype.kind == "c" else total.real

    def inputs(self, block: int, vectors: AnyArray) -> AnyArray:
        """Vectors (columns, m) of a block's inputs as arrays (m, *in_shape)."""
        bases = [s.inputs for s in self.splits]
        return self._placed(block, vectors, self.geometry.channels_per_group[1], self.geometry.in_channels, bases)

    def outputs(self, block: int, vectors: AnyArray) -> AnyArray:
        """Vectors (rows, m) of a block's outputs as arrays (m, *out_shape)."""
        bases = [s.outputs for s in self.splits]
        return self._placed(block, vectors, self.geometry.channels_per_group[0], self.geometry.out_channels, bases)

    def _placed(self, block: int, vectors: AnyArray, channels: int, all_channels: int, bases: list[Basis]) -> AnyArray:
        group, *at = np.unravel_index(block, (self.geometry.groups, *(s.times.size for s in self.splits)))
        found = [basis.vectors(int(b)) for basis, b in zip(bases, at, strict=True)]
        whole = vectors.T.reshape(-1, channels, *(basis.shape[1] for basis in found))
        for basis in found:
            whole = np.tensordot(whole, basis, ([2], [1]))
        placed = np.zeros((len(whole), all_channels, *whole.shape[2:]), whole.dtype)
        placed[:, group * channels : (group + 1) * channels] = whole
        return channels_back(self.geometry, placed)

    def analysed(self, arrays: AnyArray, inputs: bool) -> AnyArray:
        """Inputs (m, *in_shape), or outputs, in the bases: (count, columns, R), R of m arrays and copies of blocks."""
        y, bases = channels_first(self.geometry, arrays), self._bases(inputs)
        order = sorted(range(len(bases)), key=lambda j: not bases[j].halved)
        for j in order:
            y = bases[j].analysed(y, j + 2, own=j != order[0])
        m, d = len(arrays), len(bases)
        y = y.reshape(m, self.geometry.groups, -1, *self._coefficients(inputs))
        copies, blocks, each = (range(3 + j, 3 + 3 * d, 3) for j in range(3))
        y = y.transpose(1, *blocks, 2, *each, 0, *copies)
        return y.reshape(self.count, self.columns if inputs else self.rows, -1)

    def synthesized(self, y: AnyArray, inputs: bool) -> AnyArray:
        """Arrays from coefficients in the bases, as of `analysed`: its inverse where the bases are complete.

        The coefficients are used up: their memory may be written to.
        """
        bases, sizes = self._bases(inputs), self._coefficients(inputs)
        d, groups = len(bases), self.geometry.groups
        copies, blocks, each = sizes[0::3], sizes[1::3], sizes[2::3]
        y = y.reshape(groups, *blocks, -1, *each, y.shape[2] // prod(copies), *copies)
        each_axis = (axis for j in range(d) for axis in (3 + 2 * d + j, 1 + j, 2 + d + j))
        y = y.transpose(2 + 2 * d, 0, 1 + d, *each_axis)
        y = y.reshape(len(y), -1, *(prod(sizes[3 * j : 3 * j + 3]) for j in range(d)))
        for j in sorted(range(d), key=lambda j: bases[j].halved):
            y = bases[j].synthesized(y, j + 2, own=True)
        return channels_back(self.geometry, y)

    def _bases(self, inputs: bool) -> list[Basis]:
        return [split.inputs if inputs else split.outputs for split in self.splits]

    def _coefficients(self, inputs: bool) -> list[int]:
        """For each axis copies, blocks, and vectors of a block."""
        found: list[int] = []
        for split, basis in zip(self.splits, self._bases(inputs), strict=True):
            found += [basis.copies, split.times.size, split.per_input if inputs else split.per_output]
        return found


def _some(split: Split, blocks: slice) -> AnyArray:
    return split.symbols[blocks]


def decomposed(geometry: Geometry, taps: AnyArray, merged: bool = True, factors: bool = False) -> list[Blocks]:
    """The map in exactly as many blocks as the rules of its axes give; what they leave out is zero.

    With ``factors``, axes of no transform along which the kernel is an outer product are split by singular vectors.
    """
    halved = merged and taps.dtype.kind != "c"
    found: list[tuple[Split, ...]] = []
    for j, axis in reversed(list(enumerate(geometry.axes))):  # transforms of real numbers like the last axis best
        even = mirrored(taps, j)
        vector = separated(taps, j)[0] if factors and transformed(axis, even, halved) is None else None
        each = splits(axis, even, halved, merged) if vector is None else (factor(axis, vector),)
        # Conjugate frequencies of one axis are conjugate blocks of all.
        halved = halved and all(split.rule != "fourier" for split in each)
        found.insert(0, each)
    return [Blocks(geometry, taps, chosen) for chosen in product(*found)]
