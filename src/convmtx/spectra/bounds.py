r"""Upper bounds of the largest singular value, each with its proof.

============ ======================================================================================== ===============
method       why it is a bound                                                                        depends on size
============ ======================================================================================== ===============
theta        the map is part of every twisted circulant that is long enough; the least norm of some   yes
gram         as theta, each symbol's norm from above: ``|G^(2^t)|_F^(1/2^(t+1))``, G its Gram matrix  yes
sup          the symbol's norm at any frequency is at most its supremum, bracketed (`supremum`)       no
fantastic4   the map is (gather, a reshape of the kernel, scatter); the product of their norms        hardly
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
from convmtx.costs import SYMBOL_WORK, lanczos_step_work, symbol_norms_work
from convmtx.geometry import Axis, Geometry, count_reads, count_taps
from convmtx.maps.convolution import ConvOperator
from convmtx.spectra import entrywise
from convmtx.spectra.certified import outward
from convmtx.spectra.supremum import coarsest, supremum
from convmtx.structure import Blocks, Larger, batched, relaxations, rounding, size_of
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

#: Largest ratio of the bound by Gram iteration to the norm of a symbol: 1 % more.
GRAM_FACTOR = 1.01


def theta(op: ConvOperator) -> float:
    """Return the least norm among twisted circulants that contain the map."""
    return _least_norm(op, batched.largest)


def gram(op: ConvOperator) -> float:
    """Return the bound `theta` with norms of symbols from above, without any eigenvalue."""
    return _least_norm(op, gram_norms)


def _least_norm(op: ConvOperator, norms_of: Callable[[AnyArray], AnyArray]) -> float:
    """Return the largest over all parts of the map of the least norm among the circulants that contain the part."""
    geometry = op.geometry
    worst, taps = 0.0, taps_of(geometry, op.kernel)
    size = rounding.magnitude(geometry, taps)
    for parts, candidates in relaxations(geometry, taps):
        factor = prod(part.factor for part in parts)
        norms = []
        for blocks in candidates:
            top = max((float(norms_of(piece.matrices()).max(initial=0)) for piece in blocks.pieces()), default=0.0)
            roundings = rounding.of_entries(blocks) + blocks.rows + blocks.columns
            norms.append(outward(factor * top, roundings, factor * size))
        worst = max(worst, min(norms))
    return worst


def theta_work(op: ConvOperator) -> float:
    """Return the work of the bound `theta`: that of all symbols of all circulants."""
    larger = relaxations(op.geometry, taps_of(op.geometry, op.kernel))
    return sum(blocks.work + SYMBOL_WORK * blocks.count for _, candidates in larger for blocks in candidates)


def theta_steps(op: ConvOperator) -> float:
    """Return the number of Lanczos steps that take as long as the bound `theta`."""
    larger = relaxations(op.geometry, taps_of(op.geometry, op.kernel))
    symbols = [blocks for _, candidates in larger for blocks in candidates]
    work = sum(symbol_norms_work(blocks.count, blocks.rows, blocks.columns) for blocks in symbols)
    return work / lanczos_step_work(op.nnz, sum(op.shape))


def gram_norms(matrices: AnyArray) -> AnyArray:
    """Return upper bounds of the largest singular values: ``s^(2^(t+1)) <= |G^(2^t)|_F`` for the Gram matrix G.

    They are at most ``r^(1/2^(t+2))`` times too large, r the smaller side: the Frobenius norm of a matrix of rank r is
    at most ``sqrt(r)`` times its largest singular value. For r = 16 and t = 6 that is 1.011.
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
        norms: AnyArray = np.exp((np.log(np.linalg.norm(g, axis=(1, 2))) + logarithm) / 2 ** (times + 1))
    return norms


def sup(op: ConvOperator, rtol: float = 1e-4) -> float:
    """Return the supremum of the symbol, times the factor by which continuing the input may raise the norm."""
    geometry = op.geometry
    taps = taps_of(geometry, op.kernel)
    factors = {
        tuple(coarsest(part.axis) for part in parts): prod(part.factor for part in parts)
        for parts, _ in relaxations(geometry, taps)
    }
    tops = [factor * supremum(taps, geometry.groups, axes, rtol).upper for axes, factor in factors.items()]
    return max(tops, default=0.0)


def fantastic4(op: ConvOperator) -> float:
    """Return the least product of norms of (gather, reshaped kernel, scatter), over all choices for each axis.

    Taps of an axis are gathered before channels are mixed, or scattered after. If an input is read at most n times,
    gathering has a norm of at most sqrt(n). If an output has at most t taps, and at most m outputs read one input
    through the same tap, scattering has a norm of at most sqrt(t m).
    """
    geometry = op.geometry
    d, taps = len(geometry.axes), taps_of(geometry, op.kernel)
    taps = taps.reshape(geometry.groups, -1, *taps.shape[1:])
    gathered = [int(count_reads(axis).max()) for axis in geometry.axes]
    scattered = [int(count_taps(axis).max()) * _most_readers(axis) for axis in geometry.axes]
    size, products = rounding.magnitude(geometry, taps.reshape(-1, *taps.shape[2:])), []
    for chosen in product((False, True), repeat=d):
        outs = [3 + j for j in range(d) if chosen[j]]
        ins = [3 + j for j in range(d) if not chosen[j]]
        matrix = taps.transpose(0, 1, *outs, 2, *ins)
        matrix = matrix.reshape(geometry.groups, prod(matrix.shape[1 : 2 + len(outs)]), -1)
        factor = prod(scattered[j] if chosen[j] else gathered[j] for j in range(d))
        products.append(float(batched.largest(matrix).max()) * np.sqrt(factor))
    return outward(min(products), taps[0].size, size)


def _most_readers(axis: Axis) -> int:
    """Return the largest number of outputs that read one input through one tap."""
    if axis.zero_outside:
        return 1
    columns = (axis.read(np.arange(axis.out), np.array(tap)) for tap in range(axis.kernel))
    return max(int(np.bincount(column[column != NOTHING], minlength=1).max()) for column in columns)


def young(op: ConvOperator) -> float:
    """Return the geometric mean of the 1-norm and the infinity norm; of magnitudes, if it is quicker to fold those."""
    larger, exact = entrywise.magnitudes(op), entrywise.shortened(op)
    bound = _geometric_mean(larger if entrywise.is_long(exact) else exact)
    return outward(bound, entrywise.roundings(op), _geometric_mean(larger))


def _geometric_mean(op: ConvOperator) -> float:
    """Return the geometric mean of the 1-norm and the infinity norm, with rounding."""
    return float(np.sqrt(entrywise.largest_row(op)) * np.sqrt(entrywise.largest_column(op)))


def interlaced(op: ConvOperator) -> tuple[AnyArray, AnyArray]:
    """Return lower and upper bounds of every singular value, descending.

    If q rows and columns are deleted from a matrix C, ``s_(i+q)(C) <= s_i <= s_i(C)`` for the rest (Thompson, Linear
    Algebra Appl. 5, 1972). Of the bounds by all circulants C the best is taken, and those of all parts of the map are
    sorted together.
    """
    geometry = op.geometry
    count = min(geometry.shape)
    memory.require("bounds", {"bounds": 2 * 8 * count}, 4 * 8 * count)
    lowers, uppers, taps = [np.zeros(count)], [np.zeros(count)], taps_of(geometry, op.kernel)
    size = rounding.magnitude(geometry, taps)
    for parts, candidates in relaxations(geometry, taps):
        lower, upper = _interlaced_part(geometry, parts, candidates, size)
        times = prod(part.times for part in parts)
        lowers.append(np.tile(lower.reshape(-1), times))
        uppers.append(np.tile(upper.reshape(-1), times))
    lower, upper = (-np.sort(-np.concatenate(ends))[:count] for ends in (lowers, uppers))
    return lower, upper


def _interlaced_part(
    geometry: Geometry, parts: tuple[Larger, ...], candidates: list[Blocks], size: float
) -> tuple[AnyArray, AnyArray]:
    """Return the best bounds (groups, values) for a part of the map by the circulants that contain it."""
    rows, columns = size_of(parts, geometry)
    factor, few = prod(part.factor for part in parts), min(rows, columns)
    lower, upper = np.zeros((geometry.groups, few)), np.full((geometry.groups, few), np.inf)
    for blocks in candidates:
        blocks_of_group = int(blocks.times.sum()) // geometry.groups
        values = np.repeat(batched.singular_values(blocks.matrices()), blocks.times, axis=0)
        values = -np.sort(-values.reshape(geometry.groups, -1))
        slack = rounding.of_blocks([blocks], size)
        upper = np.minimum(upper, factor * (values[:, :few] + slack))
        if all(part.inside for part in parts):
            # A circle of 12 outputs and 12 inputs that contains 10 x 9 loses 2 rows and 3 columns: q is 5.
            deleted = (blocks.rows + blocks.columns) * blocks_of_group - rows - columns
            kept = values[:, deleted : deleted + few] - slack
            lower[:, : kept.shape[1]] = np.maximum(lower[:, : kept.shape[1]], kept)
    return lower, upper
