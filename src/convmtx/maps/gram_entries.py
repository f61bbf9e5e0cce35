"""Entries of the matrix ``A^H W A`` of a convolution A, exactly Hermitian."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.geometry import Axis, Geometry, Meetings, meetings
from convmtx.taps import kernel_of
from convmtx.typing import AnyArray, Shape

#: Numbers of different entries, or of kernels, up to which they are computed: 256 MiB of float64. With more channels,
#: sparse matrices are multiplied.
MOST_NUMBERS = 1 << 25
#: Weights that are multiplied by products of taps at once: 8 MiB of float64.
_AT_ONCE = 1 << 20


def met_together(geometry: Geometry) -> list[Meetings] | None:
    """Return what is read together along each axis; None if the different entries of ``A^H A`` are too many."""
    most, axes = geometry.in_channels * geometry.channels_per_group[1], []
    for axis in geometry.axes:
        known = meetings(axis)
        if known is None:
            return None
        axes.append(known)
        most *= max(known.pairs.size, axis.kernel**2)
    return axes if most <= MOST_NUMBERS else None


def gram_geometry(geometry: Geometry, axes: Sequence[Meetings]) -> Geometry:
    """Return the geometry of ``A^H A``, between inputs."""
    c = geometry.in_channels
    return Geometry(tuple(known.axis for known in axes), c, c, geometry.groups, geometry.layout)


def entries_of_gram(geometry: Geometry, taps: AnyArray) -> tuple[Geometry, AnyArray] | None:
    """Return the geometry of ``A^H A``, and its different entries as a kernel; None if they are too many.

    Entry ``(c, i), (c', j)`` is the sum of ``conj(K[f, c, p]) K[f, c', q]`` over filters f and over the pairs of taps
    (p, q) through which an output reads i and j. Along each axis only a few collections of such pairs are different
    (`meetings`), so all products of taps are added up over these, axis after axis.
    """
    axes = met_together(geometry)
    if axes is None:
        return None
    d, groups = len(geometry.axes), geometry.groups
    per_f, per_c = geometry.channels_per_group
    sizes = tuple(axis.kernel for axis in geometry.axes)
    of_group = np.moveaxis(taps.reshape(groups, per_f, per_c * prod(sizes)), 1, 2)  # (groups, taps of it, filters)
    products = np.matmul(of_group.conj(), of_group.swapaxes(1, 2)).reshape(groups, per_c, *sizes, per_c, *sizes)
    # (groups, c, c', p1, q1, .., pd, qd), where pairs of taps become entries axis by axis.
    pairs = [side for j in range(d) for side in (2 + j, 3 + d + j)]
    values = products.transpose(0, 1, 2 + d, *pairs).reshape(groups, per_c, per_c, *(k * k for k in sizes))
    for j, known in enumerate(axes):
        values = np.add.reduceat(values.take(known.pairs, 3 + j), known.starts[:-1], axis=3 + j)
    values = _hermitian(values, axes).reshape(groups * per_c, per_c, *values.shape[3:]).astype(taps.dtype, copy=False)
    listed = gram_geometry(geometry, axes)
    return listed, kernel_of(listed, values)


def _hermitian(values: AnyArray, axes: Sequence[Meetings]) -> AnyArray:
    """Return entries (groups, c, c', e1..ed) of which one of each two mirrored ones is copied from the other.

    Their terms are the same, but not the order in which they are added.
    """
    values = np.ascontiguousarray(values)
    entries = values.reshape(*values.shape[:3], -1)
    numbers = np.arange(entries.shape[-1]).reshape(values.shape[3:])
    mirrored = numbers[np.ix_(*(known.mirrored for known in axes))].reshape(-1)
    is_copied = mirrored < numbers.reshape(-1)
    entries[..., is_copied] = entries[..., mirrored[is_copied]].swapaxes(1, 2).conj()
    own = mirrored == numbers.reshape(-1)  # entries that are their own mirror, as those of i and i
    entries[..., own] = np.moveaxis(hermitian_blocks(np.moveaxis(entries[..., own], 3, 1)), 1, 3)
    return values


def band_of(geometry: Geometry) -> Geometry:
    """Return the geometry of ``A^H W A``: offsets between taps, from ``-(k-1)*t`` to ``(k-1)*t`` along each axis."""
    axes = (
        Axis(a.size, 2 * a.kernel - 1, dilation=a.dilation, lo=a.span - 1).with_outputs(a.size) for a in geometry.axes
    )
    c = geometry.in_channels
    return Geometry(tuple(axes), c, c, geometry.groups, geometry.layout)


def kernels_of_gram(geometry: Geometry, taps: AnyArray, weights: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Return the entries ``(c, i), (c', i + m*t)`` for all offsets m: an array (P, C, C/groups, 2*k1 - 1..2*kd - 1).

    Entry ``(c, i), (c', i + m*t)`` is ``sum_o w_o conj(K[c, p]) K[c', p + m]`` over the outputs o that read i through a
    tap p: the weights of these outputs, for each p, times the products of taps. Half of the offsets is computed, and
    the other half is copied, so the matrix is exactly Hermitian.
    """
    groups, (per_f, per_c) = geometry.groups, geometry.channels_per_group
    shape, sizes = (tuple(part) for part in zip(*((a.size, a.kernel) for a in geometry.axes), strict=True))
    offsets = [m for m in product(*(range(1 - k, k) for k in sizes)) if m >= (0,) * len(sizes)]
    products = _products(taps.astype(dtype, copy=False).reshape(groups, per_f, per_c, *sizes), offsets)
    weights = weights.astype(dtype, copy=False).reshape(groups, per_f, *weights.shape[2:])
    # The offsets from 0 on, in C order, are the last ones of all.
    whole = np.zeros((*shape, groups, per_c, per_c, prod(2 * k - 1 for k in sizes)), dtype)
    lines = max(1, _AT_ONCE // (prod(shape[1:]) * per_f * groups * prod(sizes)))
    for at in range(0, shape[0], lines):
        read = _weights_of_readers(geometry, weights, range(at, min(at + lines, shape[0])))
        part = np.matmul(read, products)  # (groups, inputs, c, c', offsets)
        part = part.reshape(groups, -1, *shape[1:], per_c, per_c, len(offsets))
        whole[at : at + lines, ..., -len(offsets) :] = np.moveaxis(part, 0, -4)
    _mirror(whole, offsets, [a.dilation for a in geometry.axes], sizes)
    return whole.reshape(prod(shape), groups * per_c, per_c, *(2 * k - 1 for k in sizes))


def _products(taps: AnyArray, offsets: Sequence[Shape]) -> AnyArray:
    """Return ``conj(K[f, c, p]) K[f, c', p + m]`` of taps (groups, f, c, p): (groups, (f, p), (c, c', m))."""
    groups, per_f, per_c, *sizes = taps.shape
    products = np.zeros((groups, per_f, *sizes, per_c, per_c, len(offsets)), taps.dtype)
    for j, m in enumerate(offsets):
        here, there = _overlap(m, tuple(sizes))
        pairs = taps[(..., *here)].conj()[:, :, :, None] * taps[(..., *there)][:, :, None]
        products[(slice(None), slice(None), *here, ..., j)] = np.moveaxis(pairs, (2, 3), (-2, -1))
    return products.reshape(groups, per_f * prod(sizes), -1)


def _weights_of_readers(geometry: Geometry, weights: AnyArray, lines: range) -> AnyArray:
    """Return the weights (groups, f, outputs) of the outputs that read each input through each tap, or 0 for none.

    Their shape is (groups, inputs, (f, p)), for the inputs of some lines along the first axis.
    """
    d, read = len(geometry.axes), np.pad(weights, [(0, 0), (0, 0), *[(0, 1)] * len(geometry.axes)])
    for j, axis in enumerate(geometry.axes):
        table = axis.table()
        readers = np.full((axis.size, axis.kernel), NOTHING)  # the last place, where the weight is 0
        outputs, taps = np.nonzero(table != NOTHING)
        readers[table[outputs, taps], taps] = outputs
        read = read.take(readers if j else readers[lines.start : lines.stop], axis=2 + 2 * j)
    inputs, taps_ = tuple(range(2, 2 + 2 * d, 2)), tuple(range(3, 3 + 2 * d, 2))
    return read.transpose(0, *inputs, 1, *taps_).reshape(read.shape[0], prod(read.shape[j] for j in inputs), -1)


def _mirror(whole: AnyArray, offsets: Sequence[Shape], dilations: Sequence[int], sizes: Shape) -> None:
    """Copy entries (n1..nd, groups, c, c', offsets) of offsets from 0 on to their mirrored places."""
    shape, middle = whole.shape[: len(sizes)], len(offsets) - 1
    whole[..., middle] = hermitian_blocks(whole[..., middle])
    for j, m in enumerate(offsets[1:], start=1):
        steps = [n * t for n, t in zip(m, dilations, strict=True)]
        if all(abs(step) < size for step, size in zip(steps, shape, strict=True)):
            here, there = _overlap(steps, shape)
            whole[(*there, ..., middle - j)] = whole[(*here, ..., middle + j)].swapaxes(-1, -2).conj()


def _overlap(shift: Sequence[int], shape: Shape) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the places of an array that a shift keeps inside, and the places where it takes them."""
    pairs = list(zip(shift, shape, strict=True))
    here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in pairs)
    return here, tuple(slice(max(0, s), n + min(0, s)) for s, n in pairs)


def hermitian_blocks(blocks: AnyArray) -> AnyArray:
    """Return Hermitian blocks (..., c, c') from the entries on and above their diagonals."""
    upper = np.triu(blocks, 1)
    diagonal = np.einsum("...cc->...c", blocks).real
    result = upper + upper.swapaxes(-1, -2).conj()
    np.einsum("...cc->...c", result)[...] = diagonal
    return result


def met_offsets(geometry: Geometry) -> AnyArray:
    """Return for each input i and offset m whether an output reads both i and ``i + m*t``: (P, offsets)."""
    d, whole = len(geometry.axes), np.ones((1,) * (2 * len(geometry.axes)), bool)
    for j, axis in enumerate(geometry.axes):
        table, k = axis.table(), axis.kernel
        meet = np.zeros((axis.size, 2 * k - 1), bool)
        for p, q in product(range(k), range(k)):
            both = (table[:, p] >= 0) & (table[:, q] >= 0)
            meet[table[both, p], q - p + k - 1] = True
        inside = np.arange(axis.size)[:, None] + (np.arange(2 * k - 1) - k + 1) * axis.dilation
        meet |= (inside < 0) | (inside >= axis.size)  # there is no such entry to leave out
        whole = whole & meet.reshape([axis.size if i == j else 2 * k - 1 if i == d + j else 1 for i in range(2 * d)])
    return whole.reshape(prod(axis.size for axis in geometry.axes), *whole.shape[d:])
