"""Singular values of convolutions along one axis, from the eigenvalues of band matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.boundary import NOTHING
from convmtx.costs import BAND_DIAGONAL_WORK, BAND_ROW_WORK
from convmtx.structure.augmented import interleave
from convmtx.structure.blocks import Blocks
from convmtx.structure.splits import Symbols
from convmtx.typing import AnyArray, IntArray


class BandMatrices:
    """Each block as the band matrix ``[[0, A], [A^H, 0]]``, outputs and inputs sorted by where they lie.

    Its eigenvalues are the singular values, their negatives and zeros. So small singular values are as exact as those
    of a dense decomposition; the Gram matrix would square them (Golub, Kahan, SIAM J. Numer. Anal. 2, 1965).
    """

    def __init__(self, blocks: Blocks, axis: int) -> None:
        self.blocks, self.axis = blocks, axis
        table = blocks.splits[axis].table
        assert table is not None  # an axis without blocks of one number is of parts
        per_f, per_c = blocks.geometry.channels_per_group
        outputs, self.taps = np.nonzero(table != NOTHING)
        inputs = table[outputs, self.taps]
        rank_out, rank_in = _ranks(outputs, inputs, blocks.rows // per_f, blocks.columns // per_c, per_f, per_c)
        rows, columns = np.broadcast_arrays(rank_out[outputs][:, :, None], rank_in[inputs][:, None, :])
        self.below = rows > columns
        self.column = np.minimum(rows, columns)
        self.diagonal = np.maximum(rows, columns) - self.column
        self.width, self.size = int(self.diagonal.max()), blocks.rows + blocks.columns

    @property
    def work(self) -> float:
        """Work of all eigenvalues, in the unit of a dense decomposition."""
        return float(self.blocks.count) * self.size**2 * (BAND_ROW_WORK + BAND_DIAGONAL_WORK * self.width)

    def values(self, bar: Any = None) -> Iterator[AnyArray]:
        """Yield the singular values of one block after the other, as often as the block occurs."""
        from scipy.linalg import eigvals_banded

        memory.require("band", {"band": 3 * (self.width + 1) * self.size * 16})
        few = min(self.blocks.rows, self.blocks.columns)
        for matrices, times in zip(_channel_matrices(self.blocks, self.axis), self.blocks.times, strict=True):
            # The lower half of the matrix: entry [d, j] of the band lies d below the diagonal in column j.
            band = np.zeros((self.width + 1, self.size), matrices.dtype)
            entries = matrices[self.taps]  # (outputs that read, f, c)
            np.add.at(band, (self.diagonal, self.column), np.where(self.below, entries, entries.conj()))
            eigenvalues = eigvals_banded(band, lower=True)[::-1]
            yield np.repeat(np.abs(eigenvalues[:few]), times)
            if bar is not None:
                bar.update(1)


def _ranks(
    outputs: IntArray, inputs: IntArray, outs: int, ins: int, per_f: int, per_c: int
) -> tuple[IntArray, IntArray]:
    """Return ranks of outputs and filters (outs, f), and of inputs and channels (ins, c), sorted by place."""
    first, last = np.full(outs, ins), np.zeros(outs)
    np.minimum.at(first, outputs, inputs)
    np.maximum.at(last, outputs, inputs)
    rank = interleave(first, last, ins, per_f, per_c)
    return rank[: outs * per_f].reshape(outs, per_f), rank[outs * per_f :].reshape(ins, per_c)


@dataclass(frozen=True)
class _EachTap(Symbols):
    """Symbols that leave an axis as it is: block p has a one for tap p."""

    taps: int

    def compute(self) -> AnyArray:
        """Return the identity as (1, k, k, 1): one row for each tap."""
        return np.eye(self.taps)[None, :, :, None]


def _channel_matrices(blocks: Blocks, axis: int) -> AnyArray:
    """Return the matrix of channels of each tap along an axis, for each block of the other axes: (count, k, f, c)."""
    taps = blocks.taps.shape[axis + 2]
    kept = replace(blocks.splits[axis], per_output=taps, per_input=1, source=_EachTap(taps))
    splits = (*blocks.splits[:axis], kept, *blocks.splits[axis + 1 :])
    matrices = replace(blocks, splits=splits).matrices()
    return matrices.reshape(len(matrices), -1, taps, matrices.shape[2]).swapaxes(1, 2)
