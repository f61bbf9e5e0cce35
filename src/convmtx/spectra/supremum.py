r"""The supremum of a symbol's norm over all frequencies, certified to any tolerance.

For unit vectors u, v let ``g(w) = Re(exp(i(phi - c w)) u^H F(w) v)``, with c the middle of the first and last tap.
Along each axis g is of exponential type half their distance. If M bounds g, then ``arccos(g / M)`` changes by at most
the type times the step (Bernstein-Szego; Duffin, Schaeffer, Bull. AMS 44, 1938). So if the supremum M lies in a cell
with centre w and half-widths h, ``M <= |F(w)| / cos(sum_j type_j h_j)``. A cell for which that is less than a value of
the symbol's norm cannot contain the supremum. All other cells are halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import ceil, gcd, lcm, pi, prod
from typing import NamedTuple

import numpy as np

from convmtx import memory
from convmtx.costs import SUPREMUM_FREQUENCY_WORK, SUPREMUM_SUMMED_WORK, SUPREMUM_TAP_WORK, SUPREMUM_WORK
from convmtx.geometry import Axis
from convmtx.geometry.compose import positions
from convmtx.structure import batched, couple_frequencies
from convmtx.structure.precision import EPS
from convmtx.structure.rounding import of_decomposition
from convmtx.typing import AnyArray

#: Largest sum of types times half-widths of a cell of the first grid, in radians: ``1 / cos(0.4)`` is 1.09, so the
#: first bracket is 9 % wide.
FIRST_ANGLE = 0.4
#: Bytes of symbols on the first grid up to which one transform computes them; above it, sums over taps if they are not
#: too many.
TRANSFORM_BYTES = 1 << 28
#: Numbers in the symbols that are computed together: 64 MiB.
PIECE = 1 << 22


class Supremum(NamedTuple):
    """A lower and an upper bound of a symbol's supremum, and the frequencies at which the lower one is taken."""

    lower: float
    upper: float
    at: AnyArray


def supremum(taps: AnyArray, groups: int, axes: Sequence[Axis], rtol: float) -> Supremum:
    """Return bounds of the supremum over all frequencies of `coarsest` axes."""
    from scipy.fft import next_fast_len

    d = len(axes)
    n_coupled = _count_coupled(axes)
    types = np.array([(axis.span - 1) / (2 * n) for axis, n in zip(axes, n_coupled, strict=True)])
    counts = [next_fast_len(max(ceil(pi * d * kind / FIRST_ANGLE), 1)) for kind in types]
    half = np.array([pi / n for n in counts])
    of_symbol = prod(taps.shape[:2]) * min(taps.shape[0] // groups, taps.shape[1])
    work = SUPREMUM_FREQUENCY_WORK + (of_symbol + SUPREMUM_TAP_WORK * taps.size) * prod(n_coupled)
    values = _norms_on_grid(taps, groups, axes, counts)
    cells = None
    lower, upper, spent, at = -1.0, np.inf, 0.0, np.zeros(d)
    while True:
        limits, best = values / np.cos(types @ half), int(np.argmax(values))
        if values[best] > lower:
            lower, at = float(values[best]), _centres(np.array(best), counts) if cells is None else cells[best]
        upper = min(upper, float(limits.max()))
        kept = np.flatnonzero(limits >= lower)
        if upper - lower <= rtol * upper or len(kept) * work * 2**d + spent > SUPREMUM_WORK:
            slack = slack_of(taps, groups, axes)
            # Rounding may have ruled out the cell of the supremum.
            return Supremum(max(lower - slack, 0.0), upper + 3 * slack, at)
        centres = _centres(kept, counts) if cells is None else cells[kept]
        half = half / 2
        signs = np.stack(np.meshgrid(*[(-1, 1)] * d, indexing="ij"), axis=-1).reshape(-1, d)
        cells = (centres[:, None] + signs * half).reshape(-1, d)
        values = symbol_norms(taps, groups, axes, cells)
        spent += len(cells) * work


def slack_of(taps: AnyArray, groups: int, axes: Sequence[Axis]) -> float:
    """Return the error of a symbol's norm. Taps far away add most of it, because their angles are large."""
    sizes = np.abs(taps).reshape(groups, -1, *taps.shape[1:])
    space = tuple(range(3, sizes.ndim))
    size = np.sqrt(sizes.sum(axis=(2, *space)).max()) * np.sqrt(sizes.sum(axis=(1, *space)).max())
    roundings = sum(axis.kernel + 10 * int(np.abs(positions(axis)).max()) + 10 for axis in axes)
    n_coupled = prod(_count_coupled(axes))
    decomposing = of_decomposition(taps.shape[0] // groups * n_coupled, taps.shape[1] * n_coupled)
    return EPS * (roundings + decomposing) * float(size)


def _centres(at: AnyArray, counts: Sequence[int]) -> AnyArray:
    """Return the frequencies in the middle of cells of the first grid."""
    return np.stack([pi / n * (2 * m + 1) for n, m in zip(counts, np.unravel_index(at, counts), strict=True)], axis=-1)


def _norms_on_grid(taps: AnyArray, groups: int, axes: Sequence[Axis], counts: Sequence[int]) -> AnyArray:
    """Return norms of the symbol in the middle of all cells of the first grid; half of them for real taps."""
    first = counts[0] if taps.dtype.kind == "c" else (counts[0] + 1) // 2  # conjugate frequencies, conjugate symbols
    count = first * prod(counts[1:])
    lengths = [n * turns for n, turns in zip(counts, _count_coupled(axes), strict=True)]
    size = 16 * prod(taps.shape[:2]) * prod(lengths)
    if size > TRANSFORM_BYTES and float(count) * taps.size <= SUPREMUM_SUMMED_WORK:
        return symbol_norms(taps, groups, axes, _centres(np.arange(count), counts))
    remedy = "Use cm.norm_bound(op, 'young'), which needs no frequencies"
    memory.require_result(f"the symbol of {taps.size} taps", 4 * size, remedy)
    matrices = _transform(taps, groups, axes, counts, lengths)[:, :first]
    matrices = matrices.reshape(groups, count, *matrices.shape[-2:])
    norms: AnyArray = np.max([batched.largest(of_group) for of_group in matrices], axis=0)
    return norms


def _transform(
    taps: AnyArray, groups: int, axes: Sequence[Axis], counts: Sequence[int], lengths: Sequence[int]
) -> AnyArray:
    """Return the symbol in the middle of all cells of the first grid, (groups, *counts, rows, columns).

    With the lcm L of stride and input dilation and n cells, the frequencies are ``2 pi (m + 1/2) / (n L)``. Those that
    are coupled are all in one transform of length ``n L``.
    """
    from scipy import fft

    d, n_coupled = len(axes), _count_coupled(axes)
    spread = taps.astype(complex)
    for j, (axis, length) in enumerate(zip(axes, lengths, strict=True)):
        waves = np.exp(1j * np.pi * (positions(axis) / length)).reshape(-1, *(1,) * (d - 1 - j))
        placed = np.zeros((*spread.shape[: j + 2], length, *spread.shape[j + 3 :]), complex)
        placed[(slice(None),) * (j + 2) + (positions(axis) % length,)] = spread * waves  # a window is no longer
        spread = placed
    total = fft.ifftn(spread, axes=range(2, 2 + d), norm="forward", overwrite_x=True)
    split = [number for pair in zip(n_coupled, counts, strict=True) for number in pair]
    total = total.reshape(groups, -1, taps.shape[1], *split)
    for j, (axis, turns) in enumerate(zip(axes, n_coupled, strict=True)):
        outs, ins = turns // axis.stride, turns // axis.input_dilation
        turn = np.arange(turns)
        table = np.zeros((turns, outs, ins))
        table[turn, turn % outs, turn % ins] = 1 / np.sqrt(axis.stride * axis.input_dilation)
        total = np.tensordot(total, table, ([3 + j], [0]))
    behind = range(3 + d, 3 + 3 * d)  # (G, f, c, n1..nd, outs1, ins1, ...)
    total = total.transpose(0, *range(3, 3 + d), 1, *behind[0::2], 2, *behind[1::2])
    return total.reshape(groups, *counts, prod(total.shape[1 + d : 2 + 2 * d]), -1)


def _count_coupled(axes: Sequence[Axis]) -> list[int]:
    """Return the number of frequencies that are coupled along each axis."""
    return [lcm(axis.stride, axis.input_dilation) for axis in axes]


def coarsest(axis: Axis) -> Axis:
    """Return the axis with the smallest steps that has the same supremum.

    A common divisor of stride and dilation only skips inputs: stride 2 with dilation 2 is stride 1 with dilation 1. A
    stride of at least the window is that of the window: in either case no two outputs read the same input.
    """
    s, t, e = axis.stride, axis.dilation, axis.input_dilation
    if e > 1:
        return Axis(axis.kernel, axis.kernel, s, t, e, lo=axis.lo % lcm(s, e))  # which taps meet inputs depends on lo
    shared = gcd(s, t) if s > 1 else t
    window = (axis.kernel - 1) * (t // shared) + 1
    return Axis(axis.kernel, axis.kernel, min(max(s // shared, 1), window), t // shared)


def symbol_norms(taps: AnyArray, groups: int, axes: Sequence[Axis], points: AnyArray) -> AnyArray:
    """Return the norm of the symbol, the largest of all groups, at each of the points (count, d)."""
    per_f, per_c = taps.shape[0] // groups, taps.shape[1]
    total = taps.reshape(groups, 1, per_f, 1, per_c, 1, *taps.shape[2:])  # (G, point, f, outs, c, ins, k1..kd)
    n_coupled = _count_coupled(axes)
    numbers = taps.size * n_coupled[0] + sum(n**2 * axis.kernel for n, axis in zip(n_coupled, axes, strict=True))
    remedy = "Use cm.norm_bound(op, 'young'), which needs no frequencies"
    memory.require_result(f"the symbol of {taps.size} taps at one frequency", 16 * numbers, remedy)
    size = max(1, PIECE // numbers)
    by_piece = []
    for first in range(0, len(points), size):
        piece = points[first : first + size]
        symbols = [_symbols(axis, piece[:, j]) for j, axis in enumerate(axes)]
        matrices = reduce(_contract, symbols, total)
        g, n, f, o, c, i = matrices.shape
        norms = batched.largest(matrices.reshape(g * n, f * o, c * i)).reshape(g, n)
        by_piece.append(norms.max(axis=0))
    return np.concatenate(by_piece)


def _symbols(axis: Axis, w: AnyArray) -> AnyArray:
    """Return the symbols of an axis at frequencies w, (points, k, outputs, inputs)."""
    n_coupled = lcm(axis.stride, axis.input_dilation)
    frequencies = (w[:, None] + 2 * pi * np.arange(n_coupled)) / n_coupled
    return couple_frequencies(axis, np.exp(1j * frequencies[..., None] * positions(axis)))


def _contract(total: AnyArray, symbols: AnyArray) -> AnyArray:
    """Sum over the next axis of taps at each point, and join its outputs and inputs to those before."""
    g, n, f, o, c, i, k, *rest = total.shape
    points, _, p, q = symbols.shape
    tables = symbols.transpose(0, 2, 3, 1).reshape(points, 1, p * q, k)
    summed = tables @ total.reshape(g, n, f * o * c * i, k, prod(rest))
    summed = summed.reshape(g, points, f, o, c, i, p, q, *rest)
    summed = np.moveaxis(summed, (6, 7), (4, 6))
    return summed.reshape(g, points, f, o * p, c, i * q, *rest)
