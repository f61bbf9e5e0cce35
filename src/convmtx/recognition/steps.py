"""Candidates of stride and input dilation of an axis, from how far equal entries of its matrix are apart."""

from __future__ import annotations

from math import gcd

import numpy as np

from convmtx.recognition.contractions import AxisMatrix
from convmtx.typing import IntArray

#: Rows that are compared with later ones, and entries of each.
_COMPARED, _LENGTH = 24, 64
#: Outputs from a row to those it is compared with; the largest input dilation that is recognized.
_APART = 12
#: Candidates that are tried.
_TRIED = 8


def steps(matrix: AxisMatrix) -> list[tuple[int, int]]:
    """Return candidates of stride and input dilation, coprime: those under which most equal entries meet.

    Row o + e is row o moved by s inputs. Every pair of equal entries of rows o and o + m, which are j inputs apart,
    votes for s/e = j/m. The pair (1, 1) is always a candidate.
    """
    votes: dict[tuple[int, int], float] = {(1, 1): 0.0}
    starts = np.searchsorted(matrix.o, matrix.rows)
    lengths = np.searchsorted(matrix.o, matrix.rows, "right") - starts
    middle = np.argsort(np.abs(2 * np.arange(matrix.rows.size) - matrix.rows.size), kind="stable")
    base = np.sort(middle[lengths[middle] > 0][:_COMPARED])
    for apart in range(1, min(_APART, matrix.outputs - 1) + 1):
        later = np.searchsorted(matrix.rows, matrix.rows[base] + apart)
        exists = later < matrix.rows.size
        exists[exists] = matrix.rows[later[exists]] == matrix.rows[base[exists]] + apart
        first, second = base[exists], later[exists]
        if not first.size:
            continue
        moves, counts = _equal_pairs(matrix, starts, lengths, first, second)
        for move, count in zip(moves, counts, strict=True):
            shared = gcd(int(move), apart)
            step = int(move) // shared, apart // shared
            votes[step] = max(votes.get(step, 0.0), float(count) / first.size)
    return sorted(votes, key=lambda step: (-votes[step], step))[:_TRIED] + [(1, 1)] * (len(votes) > _TRIED)


def _equal_pairs(
    matrix: AxisMatrix, starts: IntArray, lengths: IntArray, first: IntArray, second: IntArray
) -> tuple[IntArray, IntArray]:
    """Return how far equal entries of pairs of rows are apart, for moves forward, the most frequent four, and counts."""
    width = min(int(max(lengths[first].max(), lengths[second].max())), _LENGTH)
    if not width:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    slots = np.arange(width)
    padded = []
    for rows in (first, second):
        at = np.minimum(starts[rows][:, None] + slots, max(matrix.o.size - 1, 0))
        is_there = slots < lengths[rows][:, None]
        padded.append((np.where(is_there, matrix.labels[at], 0), matrix.i[at]))
    (labels, columns), (later_labels, later_columns) = padded
    equal = (labels[:, :, None] == later_labels[:, None, :]) & (labels[:, :, None] > 0)
    moves = (later_columns[:, None, :] - columns[:, :, None])[equal]
    moves, counts = np.unique(moves[moves > 0], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:4]
    return moves[most], counts[most]
