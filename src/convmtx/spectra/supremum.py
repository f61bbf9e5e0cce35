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
from convmtx.errors import UnsupportedError, sentence
from convmtx.geometry import Axis
from convmtx.geometry.compose import positions
from convmtx.spectra.certified import EPS
from convmtx.spectra.rounding import of_decomposition
from convmtx.structure import coupled, small
from convmtx.typing import AnyArray

#: Radians that types times half-widths of a first cell add up to, at most.
FIRST = 0.4
#: ``rows * columns * min(rows, columns)`` of all symbols looked at before the bracket is returned as it is, and what
#: each symbol takes besides, and each tap in it.
WORK, OVERHEAD, TAP = 2e9, 4e3, 4
#: Bytes of symbols on the first grid that one transform makes, where sums over taps would do.
TRANSFORMED = 1 << 28
#: Taps times frequencies that are summed on the first grid, some minutes of work.
LONGEST = 1e11
#: Numbers of symbols that are made together.
PIECE = 1 << 22


def supremum(taps: AnyArray, groups: int, axes: Sequence[Axis], rtol: float) -> tuple[float, float]:
    """Lower and upper bound over all frequencies of `coarsest` axes."""
    d = len(axes)
    several = [lcm(axis.stride, axis.input_dilation) for axis in axes]
    types = np.array([(axis.span - 1) / (2 * n) for axis, n in zip(axes, several, strict=True)])
    counts = [max(ceil(pi * d * kind / FIRST), 1) for kind in types]
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
    several = prod(lcm(axis.stride, axis.input_dilation) for axis in axes)
    return EPS * (roundings + of_decomposition(taps.shape[0] // groups * several, taps.shape[1] * several)) * float(size)


def _centres(at: AnyArray, counts: Sequence[int]) -> AnyArray:
    """Frequencies in the middle of cells of the first grid."""
    return np.stack([pi / n * (2 * m + 1) for n, m in zip(counts, np.unravel_index(at, counts), strict=True)], axis=-1)


def _on_grid(taps: AnyArray, groups: int, axes: Sequence[Axis], counts: Sequence[int]) -> AnyArray:
    """Norms of the symbol in the middle of all cells of the first grid; of real taps half of them, for symmetry."""
    real = taps.dtype.kind != "c"  # conjugate frequencies have conjugate symbols
    first = (counts[0] + 1) // 2 if real else counts[0]
    count = first * prod(counts[1:])
    size = 16 * prod(taps.shape[:2]) * prod(counts)
    plain = all(axis.stride == axis.dilation == axis.input_dilation == 1 for axis in axes)
    if plain and (size <= TRANSFORMED or count * taps.size > LONGEST):
        memory.require("sup_norm", "symbol", {"symbol": size}, 2 * size)
        symbols = _transformed(taps, counts)[:, :, :first]
        matrices = symbols.reshape(groups, -1, taps.shape[1], count).transpose(0, 3, 1, 2)
        return np.max([small.largest(each) for each in matrices], axis=0)
    if count * taps.size > LONGEST:
        got = f"a kernel of {taps.size} taps"
        wanted = f"Its symbol at {count} frequencies takes too long"
        raise UnsupportedError(sentence("sup_norm", got, wanted, "Use cm.norm_bound(op, 'young')"))
    return symbol_norms(taps, groups, axes, _centres(np.arange(count), counts))


def _transformed(taps: AnyArray, counts: Sequence[int]) -> AnyArray:
    """The symbol in the middle of all cells of the first grid, (F, C/groups, *counts)."""
    from scipy import fft

    for j, n in enumerate(counts):
        taps = taps * np.exp(1j * pi / n * np.arange(taps.shape[j + 2])).reshape(-1, *(1,) * (len(counts) - 1 - j))
    transformed: AnyArray = fft.ifftn(taps, counts, range(2, 2 + len(counts)), norm="forward", overwrite_x=True)
    return transformed


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
    several = [lcm(axis.stride, axis.input_dilation) for axis in axes]
    numbers = taps.size * several[0] + sum(n**2 * axis.kernel for n, axis in zip(several, axes, strict=True))
    size = max(1, PIECE // numbers)
    for first in range(0, len(points), size):
        some = points[first : first + size]
        symbols = [_symbols(axis, some[:, j]) for j, axis in enumerate(axes)]
        matrices = reduce(_contracted, symbols, total)
        g, n, f, o, c, i = matrices.shape
        norms = small.largest(matrices.reshape(g * n, f * o, c * i)).reshape(g, n)
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
