r"""Upper bounds of the largest singular value, each with its proof.

============ ======================================================================================== ===============
method       why it is a bound                                                                        depends on size
============ ======================================================================================== ===============
theta        the map is part of every twisted circulant that is long enough; the least of several     yes
gram         the same, each symbol's norm from above: ``|G^(2^t)|_F^(1/2^(t+1))``, G its Gram matrix  yes
sup          the symbol's norm at any frequency is at most its supremum, bracketed (`supremum`)       no
fantastic4   the map is (gather, a reshape of the kernel, scatter); the norms of these multiplied     hardly
young        Schur's test: ``|A|^2 <= |A|_1 |A|_inf``                                                 borders
============ ======================================================================================== ===============

Proofs are in docs/how/spectra.md. gram: Delattre et al., ICML 2023, here on twisted circles; fantastic4: Singla, Feizi,
ICLR 2021, here for any number of axes, stride and boundary, with exact norms of the reshapes; young: Schur, 1911.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import ceil, log, log2, prod

import numpy as np

from convmtx import memory
from convmtx.boundary import NOTHING
from convmtx.maps.convolution import ConvOperator
from convmtx.spectra import entrywise, rounding
from convmtx.spectra.certified import outward
from convmtx.spectra.supremum import coarsest, supremum
from convmtx.structure import batched, relaxations, size_of
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

#: How far the Gram iteration goes: its factor over the norm of each symbol is at most this.
GRAM_FACTOR = 1.01
#: What each symbol takes besides.
EACH = 300


def theta(op: ConvOperator) -> float:
    """The least norm among twisted circulants that hold the map."""
    return _least(op, batched.largest)


def gram(op: ConvOperator) -> float:
    """The same with norms of symbols from above, without any eigenvalue."""
    return _least(op, gram_iterated)


def _least(op: ConvOperator, norms_of: Callable[[AnyArray], AnyArray]) -> float:
    geometry = op.geometry
    worst, taps = 0.0, taps_of(geometry, op.kernel)
    size = rounding.magnitude(geometry, taps)
    for parts, candidates in relaxations(geometry, taps):
        factor = prod(part.factor for part in parts)
        found = []
        for blocks in candidates:
            top = max((float(norms_of(some.matrices()).max(initial=0)) for some in blocks.pieces()), default=0.0)
            roundings = rounding.of_entries(blocks) + blocks.rows + blocks.columns
            found.append(outward(factor * top, roundings, factor * size))
        worst = max(worst, min(found))
    return worst


def theta_work(op: ConvOperator) -> float:
    """``rows * columns * min(rows, columns)`` of all blocks that `theta` looks at."""
    geometry = op.geometry
    found = relaxations(geometry, taps_of(geometry, op.kernel))
    return sum(blocks.work + EACH * blocks.count for _, candidates in found for blocks in candidates)


def gram_iterated(matrices: AnyArray) -> AnyArray:
    """Upper bounds of the largest singular values: ``s^(2^t) <= |G^(2^(t-1))|_F`` for the Gram matrix G.

    They are at most ``r^(1/2^(t+1))`` times too large, r the smaller side.
    """
    g = batched.gram(matrices)
    side = g.shape[1]
    times = max(ceil(log2(log(max(side, 2)) / log(GRAM_FACTOR))) - 1, 1)
    logarithm = np.zeros(len(g))  # of what was divided out, as a power of the current G
    for _ in range(times):
        size = np.linalg.norm(g, axis=(1, 2))
        size[size == 0] = 1
        g = g / size[:, None, None]
        logarithm = 2 * (logarithm + np.log(size))
        g = g @ g
    with np.errstate(divide="ignore"):
        found: AnyArray = np.exp((np.log(np.linalg.norm(g, axis=(1, 2))) + logarithm) / 2 ** (times + 1))
    return found


def sup(op: ConvOperator, rtol: float = 1e-4) -> float:
    """The supremum of the symbol, times what continuing the input may multiply."""
    geometry = op.geometry
    taps = taps_of(geometry, op.kernel)
    found = {
        tuple(coarsest(part.axis) for part in parts): prod(part.factor for part in parts)
        for parts, _ in relaxations(geometry, taps)
    }
    tops = [factor * supremum(taps, geometry.groups, axes, rtol)[1] for axes, factor in found.items()]
    return max(tops, default=0.0)


def fantastic4(op: ConvOperator) -> float:
    """The least over all ways to cut the taps' axes in two: gathered before the channels are mixed, or scattered after.

    Gathering along an axis has a norm of the root of how often an input is read; scattering, of no more than the root
    of how many taps an output has times how many outputs read one input through the same tap.
    """
    geometry = op.geometry
    d, taps = len(geometry.axes), taps_of(geometry, op.kernel)
    taps = taps.reshape(geometry.groups, -1, *taps.shape[1:])
    tables = [axis.table() for axis in geometry.axes]
    gathered, scattered = [_gathers(table) for table in tables], [_scatters(table) for table in tables]
    size, found = rounding.magnitude(geometry, taps.reshape(-1, *taps.shape[2:])), []
    for chosen in product((False, True), repeat=d):
        outs = [3 + j for j in range(d) if chosen[j]]
        ins = [3 + j for j in range(d) if not chosen[j]]
        matrix = taps.transpose(0, 1, *outs, 2, *ins)
        matrix = matrix.reshape(geometry.groups, prod(matrix.shape[1 : 2 + len(outs)]), -1)
        factor = prod(scattered[j] if chosen[j] else gathered[j] for j in range(d))
        found.append(float(batched.largest(matrix).max()) * np.sqrt(factor))
    return outward(min(found), taps[0].size, size)


def _gathers(table: AnyArray) -> int:
    return int(np.bincount(table[table != NOTHING], minlength=1).max())


def _scatters(table: AnyArray) -> int:
    taps = int((table != NOTHING).sum(axis=1).max())
    same = max(int(np.bincount(column[column != NOTHING], minlength=1).max()) for column in table.T)
    return taps * same


def young(op: ConvOperator) -> float:
    """The geometric mean of the 1-norm and the infinity norm."""

    def found(of: ConvOperator) -> float:
        return float(np.sqrt(entrywise.largest_row(of)) * np.sqrt(entrywise.largest_column(of)))

    return outward(found(op), entrywise.roundings(op), found(entrywise.magnitudes(op)))


def interlaced(op: ConvOperator) -> tuple[AnyArray, AnyArray]:
    """Lower and upper bounds of every singular value, descending.

    Where q rows and columns are deleted from a matrix C, ``s_(i+q)(C) <= s_i <= s_i(C)`` (Thompson, Linear Algebra
    Appl. 5, 1972). Several C give the best of their bounds, and those of parts of the map are sorted together.
    """
    geometry = op.geometry
    count = min(geometry.shape)
    memory.require("bounds", {"bounds": 2 * 8 * count}, 4 * 8 * count)
    lowers, uppers, taps = [np.zeros(count)], [np.zeros(count)], taps_of(geometry, op.kernel)
    size = rounding.magnitude(geometry, taps)
    for parts, candidates in relaxations(geometry, taps):
        rows, columns = size_of(parts, geometry)
        factor, times = prod(part.factor for part in parts), prod(part.times for part in parts)
        some = min(rows, columns)
        lower, upper = np.zeros((geometry.groups, some)), np.full((geometry.groups, some), np.inf)
        for blocks in candidates:
            of_group = int(blocks.times.sum()) // geometry.groups
            values = np.repeat(batched.singular_values(blocks.matrices()), blocks.times, axis=0)
            values = -np.sort(-values.reshape(geometry.groups, -1))
            slack = rounding.of_blocks([blocks], size)
            deleted = (blocks.rows + blocks.columns) * of_group - rows - columns
            upper = np.minimum(upper, factor * (values[:, :some] + slack))
            if all(part.inside for part in parts):
                kept = values[:, deleted : deleted + some] - slack
                lower[:, : kept.shape[1]] = np.maximum(lower[:, : kept.shape[1]], kept)
        lowers.append(np.tile(lower.reshape(-1), times))
        uppers.append(np.tile(upper.reshape(-1), times))
    lower, upper = (-np.sort(-np.concatenate(each))[:count] for each in (lowers, uppers))
    return lower, upper
