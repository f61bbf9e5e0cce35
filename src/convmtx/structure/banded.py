"""Singular values of convolutions along one axis, from the eigenvalues of band matrices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.costs import BAND_DIAGONAL_WORK, BAND_ROW_WORK
from convmtx.structure.augmented import interleave
from convmtx.structure.blocks import Blocks
from convmtx.structure.symbols import ALL, Symbols
from convmtx.typing import AnyArray


class BandMatrices:
    """Each block as the band matrix ``[[0, A], [A^H, 0]]``, outputs and inputs sorted by where they lie.

    Its eigenvalues are the singular values, their negatives and zeros. So small singular values are as exact as those
    of a dense decomposition; the Gram matrix would square them (Golub, Kahan, SIAM J. Numer. Anal. 2, 1965).
    """

    def __init__(self, blocks: Blocks, axis: int) -> None:
        self.blocks, self.axis = blocks, axis
        part = blocks.splits[axis].part
        assert part is not None  # an axis without blocks of one number is of parts
        per_f, per_c = blocks.geometry.channels_per_group
        first, last = part.extent()
        rank = interleave(first, last, part.inputs.size, per_f, per_c)
        # Ranks of outputs and filters (outs, f), and of inputs and channels (ins, c), sorted by place.
        self.of_outputs = rank[: part.outputs.size * per_f].reshape(-1, per_f)
        self.of_inputs = rank[part.outputs.size * per_f :].reshape(-1, per_c)
        self.part, self.size = part, blocks.rows + blocks.columns
        # Ranks of inputs ascend, so an output is the farthest from the first or from the last that it reads.
        before = np.abs(self.of_outputs[:, [0, -1]] - self.of_inputs[first, :1])
        behind = np.abs(self.of_inputs[last, -1:] - self.of_outputs[:, [0, -1]])
        self.width = int(max(before.max(), behind.max()))

    @property
    def work(self) -> float:
        """Work of all eigenvalues, in the unit of a dense decomposition."""
        return float(self.blocks.count) * self.size**2 * (BAND_ROW_WORK + BAND_DIAGONAL_WORK * self.width)

    def values(self, bar: Any = None) -> Iterator[AnyArray]:
        """Yield the singular values of one block after the other, as often as the block occurs."""
        from scipy.linalg import eigvals_banded

        memory.require("band", {"band": 3 * (self.width + 1) * self.size * 16})
        few = min(self.blocks.rows, self.blocks.columns)
        outputs, inputs, taps = self.part.entries()
        rows, columns = np.broadcast_arrays(self.of_outputs[outputs][:, :, None], self.of_inputs[inputs][:, None, :])
        below, column = rows > columns, np.minimum(rows, columns)
        diagonal = np.maximum(rows, columns) - column
        for matrices, times in zip(_channel_matrices(self.blocks, self.axis), self.blocks.times, strict=True):
            # The lower half of the matrix: entry [d, j] of the band lies d below the diagonal in column j.
            band = np.zeros((self.width + 1, self.size), matrices.dtype)
            entries = matrices[taps]  # (outputs that read, f, c)
            np.add.at(band, (diagonal, column), np.where(below, entries, entries.conj()))
            eigenvalues = eigvals_banded(band, lower=True)[::-1]
            yield np.repeat(np.abs(eigenvalues[:few]), times)
            if bar is not None:
                bar.update(1)


@dataclass(frozen=True)
class _EachTap(Symbols):
    """Symbols that leave an axis as it is: output p of its only block is tap p."""

    roundings = 0.0

    def sum_over(self, taps: AnyArray, chosen: slice = ALL) -> AnyArray:
        """Return the taps themselves."""
        return taps[:, None, :, None][:, chosen]


def _channel_matrices(blocks: Blocks, axis: int) -> AnyArray:
    """Return the matrix of channels of each tap along an axis, for each block of the other axes: (count, k, f, c)."""
    taps = blocks.taps.shape[axis + 2]
    kept = replace(blocks.splits[axis], per_output=taps, per_input=1, source=_EachTap())
    splits = (*blocks.splits[:axis], kept, *blocks.splits[axis + 1 :])
    matrices = replace(blocks, splits=splits).matrices()
    return matrices.reshape(len(matrices), -1, taps, matrices.shape[2]).swapaxes(1, 2)
