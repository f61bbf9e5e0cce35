r"""The supremum of a symbol's norm over all frequencies: certified, to any tolerance.

For unit vectors u, v the function ``g(w) = Re(exp(i(phi - c w)) u^H F(w) v)`` is, along each axis, of exponential type
half the distance of the first and last tap (c is their middle). If it is bounded by M, then ``arccos(g / M)`` changes
by no more than the type times the way (Bernstein-Szego; Duffin, Schaeffer, Bull. AMS 44, 1938). So where the supremum
M lies in a cell with centre w and half-widths h, ``M <= |F(w)| / cos(sum_j type_j h_j)``: cells where that is less
than a value already seen cannot hold it, and the others are halved.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import ceil, gcd, lcm, pi, prod

import numpy as np

from convmtx import memory
from convmtx.geometry import Axis
from convmtx.geometry.compose import positions
from convmtx.spectra.certified import EPS
from convmtx.spectra.rounding import of_decomposition
from convmtx.structure import batched, coupled
from convmtx.typing import AnyArray

#: Radians that types times half-widths of a first cell add up to, at most.
FIRST = 0.4
#: ``rows * columns * min(rows, columns)`` of all symbols looked at before the bracket is returned as it is, and what
#: each symbol takes besides, and each tap in it.
WORK, OVERHEAD, TAP = 2e9, 4e3, 4
#: Bytes of symbols on the first grid that one transform makes, where sums over taps would do.
TRANSFORMED = 1 << 28
#: Taps times frequencies that are summed on the first grid, at most: some seconds of work.
SUMMED = 1e10
#: Numbers of symbols that are made together.
PIECE = 1 << 22


def supremum(taps: AnyArray, groups: int, axes: Sequence[Axis], rtol: float) -> tuple[float, float]:
    """Lower and upper bound over all frequencies of `coarsest` axes."""
    from scipy.fft import next_fast_len

    d = len(axes)
    several = _several(axes)
    types = np.array([(axis.span - 1) / (2 * n) for axis, n in zip(axes, several, strict=True)])
    counts = [next_fast_len(max(ceil(pi * d * kind / FIRST), 1)) for kind in types]
    half = np.array([pi / n for n in counts])
    each = OVERHEAD + prod(taps.shape[:2]) * min(taps.shape[0] // groups, taps.shape[1]) * prod(several)
    each += TAP * taps.size * prod(several)
    values = _on_grid(taps, groups, axes, counts)
    cells = None
    lower, upper, spent = 0.0, np.inf, 0.0
    while True:
        limits = values / np.cos(types @ half)
        lower, upper = max(lower, float(values.max())), min(upper, float(limits.max()))
        kept = np.flatnonzero(limits >= lower)
        if upper - lower <= rtol * upper or len(kept) * each * 2**d + spent > WORK:
            slack = _slack(taps, groups, axes)
            return max(lower - slack, 0.0), upper + 3 * slack  # a cell may have been left out for rounding
        centres = _centres(kept, counts) if cells is None else cells[kept]
        half = half / 2
        signs = np.stack(np.meshgrid(*[(-1, 1)] * d, indexing="ij"), axis=-1).reshape(-1, d)
        cells = (centres[:, None] + signs * half).reshape(-1, d)
        values = symbol_norms(taps, groups, axes, cells)
        spent += len(cells) * each


def _slack(taps: AnyArray, groups: int, axes: Sequence[Axis]) -> float:
    """Error of a symbol's norm: angles of taps far away are the least certain."""
    sizes = np.abs(taps).reshape(groups, -1, *taps.shape[1:])
    space = tuple(range(3, sizes.ndim))
    size = np.sqrt(sizes.sum(axis=(2, *space)).max()) * np.sqrt(sizes.sum(axis=(1, *space)).max())
    roundings = sum(axis.kernel + 10 * int(np.abs(positions(axis)).max()) + 10 for axis in axes)
    several = prod(_several(axes))
    return (
        EPS * (roundings + of_decomposition(taps.shape[0] // groups * several, taps.shape[1] * several)) * float(size)
    )


def _centres(at: AnyArray, counts: Sequence[int]) -> AnyArray:
    """Frequencies in the middle of cells of the first grid."""
    return np.stack([pi / n * (2 * m + 1) for n, m in zip(counts, np.unravel_index(at, counts), strict=True)], axis=-1)


def _on_grid(taps: AnyArray, groups: int, axes: Sequence[Axis], counts: Sequence[int]) -> AnyArray:
    """Norms of the symbol in the middle of all cells of the first grid; of real taps half of them, for symmetry."""
    first = counts[0] if taps.dtype.kind == "c" else (counts[0] + 1) // 2  # conjugate frequencies, conjugate symbols
    count = first * prod(counts[1:])
    lengths = [n * turns for n, turns in zip(counts, _several(axes), strict=True)]
    size = 16 * prod(taps.shape[:2]) * prod(lengths)
    if size > TRANSFORMED and float(count) * taps.size <= SUMMED:
        return symbol_norms(taps, groups, axes, _centres(np.arange(count), counts))
    remedy = "Use cm.norm_bound(op, 'young'), which looks at no frequencies"
    memory.require_result(f"the symbol of {taps.size} taps", 4 * size, remedy)
    matrices = _transformed(taps, groups, axes, counts, lengths)[:, :first]
    matrices = matrices.reshape(groups, count, *matrices.shape[-2:])
    norms: AnyArray = np.max([batched.largest(each) for each in matrices], axis=0)
    return norms


def _transformed(
    taps: AnyArray, groups: int, axes: Sequence[Axis], counts: Sequence[int], lengths: Sequence[int]
) -> AnyArray:
    """The symbol in the middle of all cells of the first grid, (groups, *counts, rows, columns), by one transform.

    With the lcm L of stride and input dilation, n cells and ``frequency / L = 2 pi (m + 1/2) / (n L)``, all that are
    coupled are one transform of length ``n L``.
    """
    from scipy import fft

    d, several = len(axes), _several(axes)
    spread = taps.astype(complex)
    for j, (axis, length) in enumerate(zip(axes, lengths, strict=True)):
        waves = np.exp(1j * np.pi * (positions(axis) / length)).reshape(-1, *(1,) * (d - 1 - j))
        placed = np.zeros((*spread.shape[: j + 2], length, *spread.shape[j + 3 :]), complex)
        placed[(slice(None),) * (j + 2) + (positions(axis) % length,)] = spread * waves  # a window is no longer
        spread = placed
    total = fft.ifftn(spread, axes=range(2, 2 + d), norm="forward", overwrite_x=True)
    split = [number for pair in zip(several, counts, strict=True) for number in pair]
    total = total.reshape(groups, -1, taps.shape[1], *split)
    for j, (axis, turns) in enumerate(zip(axes, several, strict=True)):
        outs, ins = turns // axis.stride, turns // axis.input_dilation
        turn = np.arange(turns)
        table = np.zeros((turns, outs, ins))
        table[turn, turn % outs, turn % ins] = 1 / np.sqrt(axis.stride * axis.input_dilation)
        total = np.tensordot(total, table, ([3 + j], [0]))
    behind = range(3 + d, 3 + 3 * d)  # (G, f, c, n1..nd, outs1, ins1, ...)
    total = total.transpose(0, *range(3, 3 + d), 1, *behind[0::2], 2, *behind[1::2])
    return total.reshape(groups, *counts, prod(total.shape[1 + d : 2 + 2 * d]), -1)


def _several(axes: Sequence[Axis]) -> list[int]:
    """Frequencies that are coupled along each axis."""
    return [lcm(axis.stride, axis.input_dilation) for axis in axes]


def coarsest(axis: Axis) -> Axis:
    """What the supremum depends on, with the smallest steps: a divisor of stride and dilation only skips inputs."""
    s, t, e = axis.stride, axis.dilation, axis.input_dilation
    if e > 1:
        return Axis(axis.kernel, axis.kernel, s, t, e, lo=axis.lo % lcm(s, e))  # which taps meet inputs depends on lo
    shared = gcd(s, t) if s > 1 else t
    return Axis(axis.kernel, axis.kernel, max(s // shared, 1), t // shared)


def symbol_norms(taps: AnyArray, groups: int, axes: Sequence[Axis], points: AnyArray) -> AnyArray:
    """The norm of the symbol, the largest of all groups, at each of the points (count, d)."""
    per_f, per_c = taps.shape[0] // groups, taps.shape[1]
    total = taps.reshape(groups, 1, per_f, 1, per_c, 1, *taps.shape[2:])  # (G, point, f, outs, c, ins, k1..kd)
    found = []
    several = _several(axes)
    numbers = taps.size * several[0] + sum(n**2 * axis.kernel for n, axis in zip(several, axes, strict=True))
    size = max(1, PIECE // numbers)
    for first in range(0, len(points), size):
        some = points[first : first + size]
        symbols = [_symbols(axis, some[:, j]) for j, axis in enumerate(axes)]
        matrices = reduce(_contracted, symbols, total)
        g, n, f, o, c, i = matrices.shape
        norms = batched.largest(matrices.reshape(g * n, f * o, c * i)).reshape(g, n)
        found.append(norms.max(axis=0))
    return np.concatenate(found)


def _symbols(axis: Axis, w: AnyArray) -> AnyArray:
    several = lcm(axis.stride, axis.input_dilation)
    frequencies = (w[:, None] + 2 * pi * np.arange(several)) / several
    return coupled(axis, frequencies[..., None] * positions(axis))


def _contracted(total: AnyArray, symbols: AnyArray) -> AnyArray:
    """The next axis of taps summed over at each point, its outputs and inputs joined to those there are."""
    g, n, f, o, c, i, k, *rest = total.shape
    points, _, p, q = symbols.shape
    tables = symbols.transpose(0, 2, 3, 1).reshape(points, 1, p * q, k)
    summed = tables @ total.reshape(g, n, f * o * c * i, k, prod(rest))
    summed = summed.reshape(g, points, f, o, c, i, p, q, *rest)
    summed = np.moveaxis(summed, (6, 7), (4, 6))
    return summed.reshape(g, points, f, o * p, c, i * q, *rest)
