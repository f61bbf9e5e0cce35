"""Singular values of a convolution along one axis: the eigenvalues of a band matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from convmtx import memory
from convmtx.boundary import NOTHING
from convmtx.structure import Blocks
from convmtx.typing import AnyArray, IntArray


class Banded(NamedTuple):
    """Band matrices of one pattern."""

    #: In the unit of a dense singular value decomposition, fitted to measured times.
    work: float
    values: Callable[..., list[AnyArray]]


def banded(blocks: Blocks, axis: int) -> Banded:
    """Each block as the band matrix ``[[0, A], [A^H, 0]]``, outputs and inputs sorted by where they lie.

    Its eigenvalues are the singular values, their negatives and zeros, so small ones are as exact as with a dense
    decomposition; the Gram matrix would square them (Golub, Kahan, SIAM J. Numer. Anal. 2, 1965).
    """
    table = blocks.splits[axis].table
    assert table is not None  # an axis without blocks of one number is of parts
    per_f, per_c = blocks.geometry.channels_per_group
    outputs, taps = np.nonzero(table != NOTHING)
    inputs = table[outputs, taps]
    rank_out, rank_in = _ranks(outputs, inputs, blocks.rows // per_f, blocks.columns // per_c, per_f, per_c)
    rows, columns = np.broadcast_arrays(rank_out[outputs][:, :, None], rank_in[inputs][:, None, :])
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    width, size = int((high - low).max()), blocks.rows + blocks.columns
    work = float(blocks.count) * size**2 * (90 + 8 * width)

    def values(bar: Any = None) -> list[AnyArray]:
        from scipy.linalg import eigvals_banded

        memory.require("band", {"band": 3 * (width + 1) * size * 16})
        found = []
        for matrices, times in zip(_of_taps(blocks, axis), blocks.times, strict=True):
            band = np.zeros((width + 1, size), matrices.dtype)
            entries = matrices[taps]  # (outputs that read, f, c)
            np.add.at(band, (high - low, low), np.where(rows > columns, entries, entries.conj()))
            eigenvalues = eigvals_banded(band, lower=True)[::-1]
            found.append(np.repeat(np.abs(eigenvalues[: min(blocks.rows, blocks.columns)]), times))
            if bar is not None:
                bar.update(1)
        return found

    return Banded(work, values)


def _ranks(
    outputs: IntArray, inputs: IntArray, outs: int, ins: int, per_f: int, per_c: int
) -> tuple[IntArray, IntArray]:
    """Places of outputs and filters (outs, f), and of inputs and channels (ins, c); outputs amid what they read."""
    first, last = np.full(outs, ins), np.zeros(outs)
    np.minimum.at(first, outputs, inputs)
    np.maximum.at(last, outputs, inputs)
    places = np.concatenate([np.repeat((first + last) / 2, per_f), np.repeat(np.arange(ins), per_c)])
    rank = np.empty(places.size, np.int64)
    rank[np.argsort(places, kind="stable")] = np.arange(places.size)
    return rank[: outs * per_f].reshape(outs, per_f), rank[outs * per_f :].reshape(ins, per_c)


def _of_taps(blocks: Blocks, axis: int) -> AnyArray:
    """For each block of the other axes the matrix of channels of each tap, (count, k, f, c)."""
    split = blocks.splits[axis]
    taps = blocks.taps.shape[axis + 2]
    apart = replace(split, per_output=taps, per_input=1, make=lambda: np.eye(taps)[None, :, :, None])
    splits = (*blocks.splits[:axis], apart, *blocks.splits[axis + 1 :])
    matrices = replace(blocks, splits=splits).matrices()
    return matrices.reshape(len(matrices), -1, taps, matrices.shape[2]).swapaxes(1, 2)
