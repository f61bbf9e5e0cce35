"""A map as the blocks that the splits of its axes make together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from itertools import product
from math import prod

import numpy as np

from convmtx.geometry import Geometry
from convmtx.structure.bases import Basis
from convmtx.structure.splits import Split, factor, is_mirrored, separate, splits, transform_rule
from convmtx.structure.symbols import ALL, Symbols, Tabled
from convmtx.taps import channels_back, channels_first
from convmtx.typing import AnyArray, IntArray

#: Bytes of the blocks of one piece: large enough that arithmetic outweighs the calls, small beside any memory.
PIECE_BYTES = 1 << 27


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of one size: one for each group and each choice of a block of every axis.

    The rows of a block are filters of the group and outputs of the axes' blocks, its columns channels and inputs.
    """

    geometry: Geometry
    taps: AnyArray
    splits: tuple[Split, ...]

    @property
    def count(self) -> int:
        """Number of different blocks."""
        return self.geometry.groups * prod(s.times.size for s in self.splits)

    @property
    def rows(self) -> int:
        """Number of rows of a block: filters of the group times outputs."""
        return self.geometry.channels_per_group[0] * prod(s.per_output for s in self.splits)

    @property
    def columns(self) -> int:
        """Number of columns of a block: channels of the group times inputs."""
        return self.geometry.channels_per_group[1] * prod(s.per_input for s in self.splits)

    @property
    def bytes(self) -> int:
        """Estimate of the bytes that computing the blocks and solving with them takes."""
        numbers = self.count * self.rows * self.columns
        item = 16 if self.has_fourier or self.taps.dtype.kind == "c" else 8
        # Five arrays like the matrices, and four of real numbers for each block.
        return 5 * item * numbers + 32 * self.count + sum(split.bytes for split in self.splits)

    @cached_property
    def times(self) -> IntArray:
        """Number of times that each block occurs."""
        times = reduce(np.multiply.outer, (s.times for s in self.splits), np.ones(self.geometry.groups, np.int64))
        return times.reshape(-1)

    @property
    def total(self) -> int:
        """Number of blocks, each counted as often as it occurs."""
        return self.geometry.groups * prod(int(s.times.sum()) for s in self.splits)

    @property
    def rule(self) -> str:
        """Words for the rules of the axes, such as ``"fourier x whole"``."""
        return " x ".join(split.rule for split in self.splits)

    @property
    def is_whole(self) -> bool:
        """Whether no axis falls apart."""
        return all(split.is_whole for split in self.splits)

    @property
    def has_fourier(self) -> bool:
        """Whether some axis is split by complex waves, so that blocks of a real map are complex."""
        return any(split.is_fourier for split in self.splits)

    @property
    def has_factor(self) -> bool:
        """Whether some axis is split by singular vectors, because the kernel is an outer product."""
        return any(split.is_factor for split in self.splits)

    @property
    def work(self) -> float:
        """Work of a dense decomposition of all blocks: ``rows * columns * min(rows, columns)`` of each, added up."""
        return float(self.count) * self.rows * self.columns * min(self.rows, self.columns)

    def pieces(self) -> Iterator[Blocks]:
        """Yield the blocks in pieces of at most `PIECE_BYTES`, or of one block along the first axis."""
        first, *others = self.splits
        block_bytes = self.rows * self.columns * prod(s.times.size for s in others) * self.geometry.groups * 16
        step = max(PIECE_BYTES // block_bytes, 1)
        for start in range(0, first.times.size, step):
            chosen = slice(start, start + step)
            part = replace(first, times=first.times[chosen], source=_ChosenSymbols(first.source, chosen))
            yield replace(self, splits=(part, *others))

    def matrices(self) -> AnyArray:
        """Return all different blocks, (count, rows, columns).

        The sum over taps is taken along one axis after the other.
        """
        per_f, per_c = self.geometry.channels_per_group
        total = self.taps.reshape(self.geometry.groups, per_f, per_c, *self.taps.shape[2:])
        for split in self.splits:
            total = _sum_over_taps(total, split.source)
        d = len(self.splits)  # now (G, f, c, B1, r1, i1, ..., Bd, rd, id)
        blocks, outs, ins = (range(3 + j, 3 + 3 * d, 3) for j in range(3))
        total = total.transpose(0, *blocks, 1, *outs, 2, *ins)
        return total.reshape(self.count, self.rows, self.columns)

    def nearest_taps(self, matrices: AnyArray) -> AnyArray:
        """Return the taps whose blocks come nearest to these matrices, by the pseudo-inverse along each axis."""
        per_f, per_c = self.geometry.channels_per_group
        d = len(self.splits)
        outs, ins = ([getattr(s, name) for s in self.splits] for name in ("per_output", "per_input"))
        total = matrices.reshape(self.geometry.groups, *(s.times.size for s in self.splits), per_f, *outs, per_c, *ins)
        axes = [axis for j in range(d) for axis in (1 + j, 2 + d + j, 3 + 2 * d + j)]
        total = total.transpose(0, 1 + d, 2 + 2 * d, *axes)
        total = total.reshape(*total.shape[:3], *(s.times.size * s.per_output * s.per_input for s in self.splits))
        for split in self.splits:
            lines = np.moveaxis(total, 3, -1)
            sums = lines.reshape(-1, split.times.size, split.per_output, split.per_input)
            assert isinstance(split.source, Tabled)
            total = split.source.nearest(sums).reshape(*lines.shape[:-1], -1)
        total = total.reshape(self.taps.shape)
        return total if self.taps.dtype.kind == "c" else total.real

    def inputs(self, block: int, vectors: AnyArray) -> AnyArray:
        """Return vectors (columns, m) of a block's inputs as arrays (m, *in_shape)."""
        bases = [s.inputs for s in self.splits]
        return self._place(block, vectors, self.geometry.channels_per_group[1], self.geometry.in_channels, bases)

    def outputs(self, block: int, vectors: AnyArray) -> AnyArray:
        """Return vectors (rows, m) of a block's outputs as arrays (m, *out_shape)."""
        bases = [s.outputs for s in self.splits]
        return self._place(block, vectors, self.geometry.channels_per_group[0], self.geometry.out_channels, bases)

    def _place(self, block: int, vectors: AnyArray, channels: int, all_channels: int, bases: list[Basis]) -> AnyArray:
        """Return vectors of a block as arrays that are zero in all other groups."""
        group, *at = np.unravel_index(block, (self.geometry.groups, *(s.times.size for s in self.splits)))
        along_axes = [basis.vectors(int(b)) for basis, b in zip(bases, at, strict=True)]
        whole = vectors.T.reshape(-1, channels, *(columns.shape[1] for columns in along_axes))
        for columns in along_axes:
            whole = np.tensordot(whole, columns, ([2], [1]))
        placed = np.zeros((len(whole), all_channels, *whole.shape[2:]), whole.dtype)
        placed[:, group * channels : (group + 1) * channels] = whole
        return channels_back(self.geometry, placed)

    def analyse(self, arrays: AnyArray, inputs: bool) -> AnyArray:
        """Return the coefficients (count, columns, R) of inputs (m, *in_shape); of outputs, (count, rows, R).

        R counts the m arrays and, for each, the copies of blocks.
        """
        y, bases = channels_first(self.geometry, arrays), self._bases(inputs)
        order = sorted(range(len(bases)), key=lambda j: not bases[j].halved)
        for j in order:
            y = bases[j].analyse(y, j + 2, own=j != order[0])
        m, d = len(arrays), len(bases)
        y = y.reshape(m, self.geometry.groups, -1, *self._coefficients(inputs))
        copies, blocks, vectors = (range(3 + j, 3 + 3 * d, 3) for j in range(3))
        y = y.transpose(1, *blocks, 2, *vectors, 0, *copies)
        return y.reshape(self.count, self.columns if inputs else self.rows, -1)

    def synthesize(self, y: AnyArray, inputs: bool) -> AnyArray:
        """Return arrays from coefficients in the order of `analyse`: its inverse if the bases are complete.

        The memory of the coefficients may be written to.
        """
        bases, sizes = self._bases(inputs), self._coefficients(inputs)
        d, groups = len(bases), self.geometry.groups
        copies, blocks, vectors = sizes[0::3], sizes[1::3], sizes[2::3]
        y = y.reshape(groups, *blocks, -1, *vectors, y.shape[2] // prod(copies), *copies)
        by_axis = (axis for j in range(d) for axis in (3 + 2 * d + j, 1 + j, 2 + d + j))
        y = y.transpose(2 + 2 * d, 0, 1 + d, *by_axis)
        y = y.reshape(len(y), -1, *(prod(sizes[3 * j : 3 * j + 3]) for j in range(d)))
        for j in sorted(range(d), key=lambda j: bases[j].halved):
            y = bases[j].synthesize(y, j + 2, own=True)
        return channels_back(self.geometry, y)

    def _bases(self, inputs: bool) -> list[Basis]:
        """Return the bases of all axes."""
        return [split.inputs if inputs else split.outputs for split in self.splits]

    def _coefficients(self, inputs: bool) -> list[int]:
        """Return the numbers of copies, of blocks, and of vectors of a block, for one axis after the other."""
        sizes: list[int] = []
        for split, basis in zip(self.splits, self._bases(inputs), strict=True):
            sizes += [basis.copies, split.times.size, split.per_input if inputs else split.per_output]
        return sizes


def _sum_over_taps(total: AnyArray, symbols: Symbols) -> AnyArray:
    """Return the sums over the fourth axis, and the blocks, outputs and inputs that replace it behind the last one."""
    lines = np.moveaxis(total, 3, -1)
    sums = symbols.sum_over(lines.reshape(-1, lines.shape[-1]))
    return sums.reshape(*lines.shape[:-1], *sums.shape[1:])


@dataclass(frozen=True, eq=False)
class _ChosenSymbols(Symbols):
    """Symbols of some blocks of a split."""

    source: Symbols
    chosen: slice

    @property
    def roundings(self) -> float:
        return self.source.roundings

    def sum_over(self, taps: AnyArray, chosen: slice = ALL) -> AnyArray:
        """Sum for the chosen blocks; a table of all of them is computed once, for all pieces."""
        assert chosen == ALL
        return self.source.sum_over(taps, self.chosen)


def describe(blocks: list[Blocks]) -> str:
    """Return the rule and the sizes of blocks, such as ``"parts x whole: 3 of 4 x 5, 1 of 4 x 6, ..."``."""
    sizes = ", ".join(f"{b.count} of {b.rows} x {b.columns}" for b in blocks[:2]) + (", ..." if blocks[2:] else "")
    return f"{blocks[0].rule if blocks else 'none'}: {sizes}"


def find_blocks(geometry: Geometry, taps: AnyArray, merged: bool = True, factors: bool = False) -> list[Blocks]:
    """Return the map as blocks, by the rules of its axes; what no block covers is zero.

    Blocks of one size are one entry of the list. With ``merged``, equal and conjugate blocks are counted as copies.
    With ``factors``, an axis that no transform splits, and along which the kernel is an outer product, is split by
    singular vectors.
    """
    halved = merged and taps.dtype.kind != "c"
    by_axis: list[tuple[Split, ...]] = []
    for j, axis in reversed(list(enumerate(geometry.axes))):  # transforms of real numbers like the last axis best
        even = is_mirrored(taps, j)
        vector = separate(taps, j)[0] if factors and transform_rule(axis, even) is None else None
        along = splits(axis, even, halved, merged) if vector is None else (factor(axis, vector),)
        # Conjugate frequencies of one axis are conjugate blocks of all.
        halved = halved and not any(split.is_fourier for split in along)
        by_axis.insert(0, along)
    return [Blocks(geometry, taps, chosen) for chosen in product(*by_axis)]


def share_inputs(first: Blocks, second: Blocks) -> bool:
    """Whether the blocks of two maps are in the same vectors of the input."""
    return [split.inputs for split in first.splits] == [split.inputs for split in second.splits]
