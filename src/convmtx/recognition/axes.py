"""Recognizing one axis: stride, input dilation, taps and boundary, from the matrix of the axis.

Where a window is inside the array, output o reads input i through the tap at ``i*e - o*s``. So entries with equal
``i*e - o*s`` are equal, and most of them show the tap itself. Near the ends a boundary adds other taps to some of them.
A candidate (s, e) is judged by how many entries its taps, with the best of the boundaries, leave unexplained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np

from convmtx.boundary import EDGE, NOTHING, REFLECT, SYMMETRIC, WRAP, ZERO, Boundary
from convmtx.geometry import Axis
from convmtx.recognition.contractions import AxisMatrix
from convmtx.typing import AnyArray, IntArray

#: Numbers of a kernel that an entry which it does not explain counts as. With one wrong entry, almost every matrix is
#: a convolution of a stride as large as the array, with a tap for each entry; that does not explain it.
EXCEPTION = 2
#: Boundaries from the simplest on: of those that fit equally, the first is chosen.
BOUNDARIES = (ZERO, WRAP, REFLECT, SYMMETRIC, EDGE)
#: Rows that are compared with later ones for candidates of stride and input dilation, and entries of each.
_COMPARED, _LENGTH = 24, 64
#: Outputs from a row to those it is compared with; the largest input dilation that is recognized.
_APART = 12
#: Candidates of stride and input dilation that are tried.
_TRIED = 8
#: Numbers that are compared at once while positions are counted, 8 MB.
_CHUNK = 1 << 20


@dataclass(frozen=True)
class AxisFit:
    """An axis and its taps, and how well they explain the matrix of the axis."""

    axis: Axis
    #: Position of each tap that is not zero, relative to the window of output 0, and its value.
    offsets: IntArray
    taps: AnyArray
    #: Number of entries that differ.
    wrong: int
    #: Other boundaries that fit equally.
    equals: tuple[Boundary, ...] = ()

    @property
    def cost(self) -> tuple[int, bool, int, int]:
        """Order of preference: the fewest taps and exceptions, then no exception, then the smallest steps."""
        axis = self.axis
        return self.offsets.size + EXCEPTION * self.wrong, self.wrong > 0, axis.input_dilation, axis.stride


def fit_axis(matrix: AxisMatrix) -> AxisFit:
    """Return the axis that explains the most entries, by the entries inside that agree."""
    tried = steps(matrix)
    best = min((fit for s, e in tried for fit in fits_with(matrix, s, e)), key=lambda fit: fit.cost)
    if best.wrong:
        # A boundary of the stretched input repeats after (n - 1)*e + 1 positions, so there 2/2 is not 1/1.
        more = [fit for s, e in tried[:2] for m in (2, 3) for fit in fits_with(matrix, m * s, m * e)]
        best = min([best, *more], key=lambda fit: fit.cost)
    return best


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


def fits_with(matrix: AxisMatrix, stride: int, input_dilation: int) -> Iterator[AxisFit]:
    """Yield what fits with a stride and an input dilation: for lines with the best boundary, and for a circle."""
    stretched = (matrix.size - 1) * input_dilation + 1
    for period in (0, stretched):
        offsets, taps = _common_taps(matrix, stride, input_dilation, period)
        rules = (WRAP,) if period else (ZERO, REFLECT, SYMMETRIC, EDGE)
        fits = [fit_taps(matrix, offsets, taps, stride, input_dilation, rule) for rule in rules]
        if not period and not fits[0].axis.reads_outside:
            fits = fits[:1]
        best = min(fit.wrong for fit in fits)
        equal = [fit for fit in fits if fit.wrong == best]
        rules = tuple(fit.axis.boundary for fit in equal[1:])
        yield AxisFit(equal[0].axis, equal[0].offsets, equal[0].taps, best, rules)


def _common_taps(
    matrix: AxisMatrix, stride: int, input_dilation: int, period: int
) -> tuple[IntArray, AnyArray]:
    """Return the offsets ``i*e - o*s`` (around a circle if it has a period) at which most entries agree, and their value.

    Offsets at which most entries are zero are left out.
    """
    keys = matrix.i * input_dilation - matrix.o * stride
    keys = keys % period if period else keys
    order = np.lexsort((matrix.labels, keys))
    keys, labels = keys[order], matrix.labels[order]
    is_first = np.ones(keys.size, bool)
    is_first[1:] = (keys[1:] != keys[:-1]) | (labels[1:] != labels[:-1])
    runs = np.flatnonzero(is_first)
    counts = np.diff(np.append(runs, keys.size))
    offsets, of_run = np.unique(keys[runs], return_inverse=True)
    best = np.lexsort((-counts, of_run))
    best = best[np.diff(of_run[best], prepend=-1) > 0]  # the longest run of each offset
    stored = np.bincount(of_run, counts, offsets.size)
    zeros = _count_places(matrix, offsets, stride, input_dilation, period) - stored
    agrees = counts[best] >= zeros
    return offsets[agrees], matrix.v[order[runs[best[agrees]]]]


def _count_places(
    matrix: AxisMatrix, offsets: IntArray, stride: int, input_dilation: int, period: int
) -> IntArray:
    """Return how many places (o, i) in the known rows have each offset."""
    counts = np.zeros(offsets.size, np.int64)
    step = max(_CHUNK // max(matrix.rows.size, 1), 1)
    for start in range(0, offsets.size, step):
        places = offsets[start : start + step, None] + matrix.rows * stride
        places = places % period if period else places
        inside = (places >= 0) & (places % input_dilation == 0) & (places < matrix.size * input_dilation)
        counts[start : start + step] = inside.sum(axis=1)
    return counts


def fit_taps(
    matrix: AxisMatrix, offsets: IntArray, taps: AnyArray, stride: int, input_dilation: int, boundary: Boundary
) -> AxisFit:
    """Return the axis with these taps, and how many of the known entries differ from its matrix."""
    axis, offsets, order = _axis_of(matrix, offsets, stride, input_dilation, boundary)
    taps = taps[order]
    columns = axis.source(matrix.rows[:, None] * stride + offsets)
    reads = columns != NOTHING
    flat = (matrix.rows[:, None] * matrix.size + columns)[reads]
    values = np.broadcast_to(taps, columns.shape)[reads]
    places, owners = np.unique(np.concatenate([flat, matrix.flat]), return_inverse=True)
    difference = np.bincount(owners, np.concatenate([values, -matrix.v]), places.size)
    wrong = int(np.count_nonzero(np.abs(difference) > matrix.tolerance * max(taps.size, 1)))
    return AxisFit(axis, offsets, taps, wrong)


def _axis_of(
    matrix: AxisMatrix, offsets: IntArray, stride: int, input_dilation: int, boundary: Boundary
) -> tuple[Axis, IntArray, IntArray]:
    """Return the axis with taps at these offsets, the offsets as they stand in it, and the order that sorts them.

    Around a circle the window begins behind the largest gap, as near to the middle of the array's pads as it can.
    """
    order = np.argsort(offsets, kind="stable")
    offsets = offsets[order]
    if not offsets.size:
        offsets, order = np.zeros(1, np.int64)[:0], order
    plain = Axis(matrix.size, 1, stride, 1, input_dilation, boundary=boundary)
    if boundary is WRAP and offsets.size:
        offsets, turned = _around(offsets, plain.stretched)
        order = order[turned]
        span = int(offsets[-1] - offsets[0]) + 1
        pads = (matrix.outputs - 1) * stride + span - plain.stretched
        turns = round((-2 * int(offsets[0]) - pads) / (2 * plain.stretched))
        offsets = offsets + turns * plain.stretched
    if not offsets.size:
        return plain.with_outputs(matrix.outputs), offsets, order
    dilation = int(np.gcd.reduce(np.diff(offsets))) if offsets.size > 1 else 1
    kernel = int(offsets[-1] - offsets[0]) // dilation + 1
    axis = Axis(matrix.size, kernel, stride, dilation, input_dilation, -int(offsets[0]), 0, boundary)
    return axis.with_outputs(matrix.outputs), offsets, order


def _around(offsets: IntArray, period: int) -> tuple[IntArray, IntArray]:
    """Return offsets on a circle as the shortest window that holds them, and the order in which they stand in it."""
    gaps = np.diff(offsets, prepend=offsets[-1] - period)
    start = int(np.argmax(gaps))
    turned = np.roll(np.arange(offsets.size), -start)
    return np.where(turned < start, period, 0) + offsets[turned], turned
