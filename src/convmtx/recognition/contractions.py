"""One axis of a matrix: all other axes contracted with random numbers.

The matrix of a convolution is a sum over taps of ``K[p, c, f]`` times the tensor product of the tables of its axes. So
with fixed numbers for every other coordinate, the sum over these coordinates is the matrix of a convolution along one
axis, whose taps are sums of K with random weights: none of them is zero, and no two are equal, except by an accident of
probability zero, unless they are so in all of K.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from convmtx.maps.own_maps import eps_of
from convmtx.recognition.entries import Entries, Listed
from convmtx.typing import AnyArray, IntArray

#: Entries that are looked at for one axis: some milliseconds, 5 MB.
_BUDGET = 200_000
#: Most outputs along the axis whose rows are looked at: those at both ends, which read outside, and some between.
_MOST = 512
#: Entries of an axis that are many.
_MANY = 256
#: Rounding of sums of products, relative to the largest number: far above 200,000 roundings, far below any tap.
ROUNDING = 2.0**-40


@dataclass(frozen=True)
class AxisMatrix:
    """Matrix (outputs x size) of one axis, of which some rows are known, as its nonzero entries in row-major order."""

    outputs: int
    size: int
    #: Outputs whose rows are known, in ascending order.
    rows: IntArray
    o: IntArray
    i: IntArray
    v: AnyArray
    #: Numbers that differ by less are equal.
    tolerance: float

    @property
    def is_whole(self) -> bool:
        """Whether all rows are known."""
        return self.rows.size == self.outputs

    @cached_property
    def flat(self) -> IntArray:
        """Flat index of each entry, in ascending order."""
        return self.o * self.size + self.i

    @cached_property
    def labels(self) -> IntArray:
        """Number of each entry's value: entries with equal values have equal numbers, from 1 on."""
        order = np.argsort(self.v)
        steps = np.diff(self.v[order], prepend=-np.inf) > self.tolerance
        labels = np.empty(self.v.size, np.int64)
        labels[order] = np.cumsum(steps)
        return labels

    @property
    def is_chaos(self) -> bool:
        """Whether the entries are many, and hardly any two are equal, so that they are those of no axis."""
        return self.v.size > _MANY and 2 * int(self.labels.max()) > self.v.size


def contract(entries: Entries, axis: int, seed: int = 0, budget: int = _BUDGET) -> AxisMatrix:
    """Return the matrix of one axis, numbered from 0, from some or all of the rows of a matrix."""
    rng = np.random.default_rng([seed, axis])
    rows, grid = _chosen_outputs(entries, axis, budget, rng)
    listed = entries.list(list(np.ix_(*grid)))
    values = _weighted(entries, listed, axis, rng)
    flat = listed.outputs[axis + 1] * entries.ins.sizes[axis + 1] + listed.inputs[axis + 1]
    places, owners = np.unique(flat, return_inverse=True)
    v = np.bincount(owners, values, places.size)
    scale = float(np.bincount(owners, np.abs(values), places.size).max(initial=0))
    tolerance = scale * max(ROUNDING, 64 * eps_of(listed.values.dtype))
    kept = np.abs(v) > tolerance * ROUNDING
    o, i = np.divmod(places[kept], entries.ins.sizes[axis + 1])
    return AxisMatrix(entries.outs.sizes[axis + 1], entries.ins.sizes[axis + 1], rows, o, i, v[kept], tolerance)


def _chosen_outputs(
    entries: Entries, axis: int, budget: int, rng: np.random.Generator
) -> tuple[IntArray, list[IntArray]]:
    """Return the outputs along the axis whose rows are looked at, and the outputs of every digit."""
    sizes = entries.outs.sizes
    n_rows = max(int(budget / max(entries.row_length, 1)), 64)
    if entries.outs.count <= n_rows:
        return np.arange(sizes[axis + 1]), [np.arange(n) for n in sizes]
    along = _ends_and_middle(sizes[axis + 1], min(_MOST, n_rows))
    others = [j for j, n in enumerate(sizes) if j != axis + 1 and n > 1]
    left = max(n_rows // along.size, 1)
    grid = [np.arange(1)] * len(sizes)
    grid[axis + 1] = along
    for number, j in enumerate(sorted(others, key=lambda j: sizes[j])):
        share = max(int(left ** (1 / (len(others) - number))), 1)
        grid[j] = np.sort(rng.permutation(sizes[j])[:share]) if share > 1 else np.array([sizes[j] // 2])
        if 1 < share < sizes[j]:
            grid[j] = np.unique(np.append(grid[j][1:], sizes[j] // 2))  # an output inside reads through all taps
        left = max(left // grid[j].size, 1)
    return along, grid


def _ends_and_middle(size: int, most: int) -> IntArray:
    """Return at most so many outputs: the first ones, some in the middle, and the last ones."""
    if size <= most:
        return np.arange(size)
    end = 3 * most // 8
    middle = size // 2 - most // 8
    pieces = np.arange(end), np.arange(middle, middle + most // 4), np.arange(size - end, size)
    return np.unique(np.concatenate(pieces))


def _weighted(entries: Entries, listed: Listed, axis: int, rng: np.random.Generator) -> AnyArray:
    """Return entries times random numbers, one for each coordinate that is contracted."""
    dtype = np.complex128 if listed.values.dtype.kind == "c" else np.float64
    values = listed.values.astype(dtype)
    for digits, sizes in ((listed.outputs, entries.outs.sizes), (listed.inputs, entries.ins.sizes)):
        for j, size in enumerate(sizes):
            if j != axis + 1 and size > 1:
                values *= (rng.choice([-1, 1], size) * rng.uniform(0.5, 1.5, size))[digits[j]]
    return values if dtype is np.float64 else values.real + values.imag * rng.uniform(0.5, 1.5)
