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

from convmtx.geometry import Axis
from convmtx.geometry.compose import positions
from convmtx.structure import coupled, small
from convmtx.typing import AnyArray

#: Radians that types times half-widths of a first cell add up to, at most.
FIRST = 0.4
#: ``rows * columns * min(rows, columns)`` of all symbols looked at before the bracket is given as it is, and what each
#: symbol takes besides.
WORK, OVERHEAD = 2e9, 4e3


def supremum(taps: AnyArray, groups: int, axes: Sequence[Axis], rtol: float) -> tuple[float, float]:
    """Lower and upper bound over all frequencies of `coarsest` axes."""
    d = len(axes)
    several = [lcm(axis.stride, axis.input_dilation) for axis in axes]
    types = np.array([(axis.span - 1) / (2 * n) for axis, n in zip(axes, several, strict=True)])
    counts = [max(ceil(pi * d * kind / FIRST), 1) for kind in types]
    half = np.array([pi / n for n in counts])
    grids = [half[j] * (2 * np.arange(n) + 1) for j, n in enumerate(counts)]
    if taps.dtype.kind != "c":  # conjugate frequencies have conjugate symbols
        grids[0] = grids[0][: (counts[0] + 1) // 2]
    cells = np.stack(np.meshgrid(*grids, indexing="ij"), axis=-1).reshape(-1, d)
    each = OVERHEAD + prod(taps.shape[:2]) * min(taps.shape[0] // groups, taps.shape[1]) * prod(several)
    lower, upper, spent = 0.0, np.inf, 0.0
    while True:
        values = symbol_norms(taps, groups, axes, cells)
        spent += len(cells) * each
        bounds = values / np.cos(types @ half)
        lower, upper = max(lower, float(values.max())), min(upper, float(bounds.max()))
        kept = cells[bounds >= lower]
        half = half / 2
        if upper - lower <= rtol * upper or len(kept) * each * 2**d + spent > WORK:
            return lower, upper
        signs = np.stack(np.meshgrid(*[(-1, 1)] * d, indexing="ij"), axis=-1).reshape(-1, d)
        cells = (kept[:, None] + signs * half).reshape(-1, d)


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
    size = max(1, (1 << 22) // max(prod(taps.shape[:2]), 1))
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
