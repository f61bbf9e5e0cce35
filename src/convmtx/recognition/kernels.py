"""Reading the kernel from the entries of a matrix whose geometry is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from convmtx._xp import frozen
from convmtx.boundary import NOTHING, ZERO
from convmtx.geometry import Axis, Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.recognition.entries import Entries
from convmtx.taps import kernel_of
from convmtx.typing import AnyArray, IntArray

#: Outputs whose rows are looked up, beyond which taps that only show in sums are not separated.
_MOST = 4096
#: Outputs times taps that are looked up.
_LARGEST = 1 << 22
#: Weight of entries that show one tap alone, so that they are preferred to those that show a sum of taps.
_ALONE = 1e3


@dataclass(frozen=True)
class TapEntries:
    """Entries of an axis that determine its taps: entry (outputs[j], inputs[j]) is row j of ``system`` times the taps.

    ``taps`` are those that are determined by them; the others are taken as zero. ``system`` is None if entry j is tap
    taps[j].
    """

    outputs: IntArray
    inputs: IntArray
    taps: IntArray
    system: AnyArray | None = None


def tap_entries(axis: Axis, place: float = 0.5) -> TapEntries:
    """Return entries that determine the taps of an axis, if possible inside, at a relative place between its ends."""
    first, last = axis.interior
    if last > first and axis.input_dilation == 1:
        output = first + min(int((last - first) * place), last - first - 1)
        taps = np.arange(axis.kernel)
        return TapEntries(np.full(axis.kernel, output), axis.read(np.array(output), taps), taps)
    if axis.boundary is ZERO:
        return _entries_of_line(axis)
    most = min(_MOST, max(_LARGEST // axis.kernel, 1))
    outputs = np.arange(min(axis.out, most))
    if axis.out > most:
        outputs = np.unique(np.linspace(0, axis.out - 1, most).astype(np.int64))
    reads = axis.read(outputs[:, None], np.arange(axis.kernel))
    rows, taps = np.nonzero(reads != NOTHING)
    places, owners, counts = np.unique(rows * axis.size + reads[rows, taps], return_inverse=True, return_counts=True)
    alone = counts[owners] == 1
    seen = np.unique(taps)
    shown, at = np.unique(taps[alone], return_index=True)
    if shown.size == seen.size:
        at = np.flatnonzero(alone)[at]
        return TapEntries(outputs[rows[at]], reads[rows[at], shown], shown)
    table = np.zeros((places.size, axis.kernel))
    np.add.at(table, (owners, taps), 1)
    return separate(table, outputs[places // axis.size], places % axis.size)


def _entries_of_line(axis: Axis) -> TapEntries:
    """Return an entry for each tap of an axis under zeros: the first output that reads an input through it.

    One of any ``input_dilation`` outputs in a row reads no zero between neighbours, if any does.
    """
    taps = np.arange(axis.kernel)
    starts = taps * axis.dilation - axis.lo
    first = np.maximum(-(starts // axis.stride), 0)[:, None] + np.arange(axis.input_dilation)
    at = first * axis.stride + starts[:, None]
    reads = (first < axis.out) & (at % axis.input_dilation == 0) & (at < axis.stretched)
    shown, chosen = reads.any(axis=1), reads.argmax(axis=1)
    outputs = first[taps, chosen][shown]
    return TapEntries(outputs, at[taps, chosen][shown] // axis.input_dilation, taps[shown])


def separate(table: AnyArray, outputs: IntArray, inputs: IntArray) -> TapEntries:
    """Return independent rows of a table of sums of taps, and taps that they determine."""
    from scipy.linalg import qr

    alone = np.count_nonzero(table, axis=1) == 1
    _, r, rows = qr((table * np.where(alone, _ALONE, 1.0)[:, None]).T, mode="economic", pivoting=True)
    sizes = np.abs(np.diag(r))
    rank = int(np.count_nonzero(sizes > 1e-9 * sizes.max(initial=1.0)))
    rows = np.sort(rows[:rank])
    _, _, taps = qr(table[rows], mode="economic", pivoting=True)
    taps = np.sort(taps[:rank])
    return TapEntries(outputs[rows], inputs[rows], taps, table[np.ix_(rows, taps)])


def read_kernel(entries: Entries, geometry: Geometry, places: tuple[float, ...]) -> ConvOperator:
    """Return the convolution of this geometry with the kernel that some entries of the matrix show.

    ``places`` say at which relative place of each axis windows are read. Groups are as many as the entries allow.
    """
    by_axis = [tap_entries(axis, place) for axis, place in zip(geometry.axes, places, strict=True)]
    grid = [np.arange(geometry.out_channels), *(np.unique(r.outputs) for r in by_axis)]
    listed = entries.list(list(np.ix_(*grid)))
    kept = np.ones(listed.values.size, bool)
    numbers = []
    for one, axis, o, i in zip(by_axis, geometry.axes, listed.outputs[1:], listed.inputs[1:], strict=True):
        flat = one.outputs * axis.size + one.inputs
        order = np.argsort(flat)
        at = np.minimum(np.searchsorted(flat[order], o * axis.size + i), max(flat.size - 1, 0))
        if not flat.size:
            kept[:] = False
            numbers.append(at)
            continue
        kept &= flat[order][at] == o * axis.size + i
        numbers.append(order[at])
    f, c = listed.outputs[0][kept], listed.inputs[0][kept]
    groups = count_groups(geometry, f, c)
    geometry = replace(geometry, groups=groups)
    per_c = geometry.channels_per_group[1]
    shape = geometry.out_channels, per_c, *(r.outputs.size for r in by_axis)
    shown = np.zeros(shape, listed.values.dtype)
    shown[(f, c % per_c, *(n[kept] for n in numbers))] = listed.values[kept]
    return operator_shown(geometry, by_axis, shown)


def operator_shown(geometry: Geometry, by_axis: list[TapEntries], shown: AnyArray) -> ConvOperator:
    """Return the convolution with the taps that entries (F, C/groups, entries1..entriesd) show."""
    geometry = replace(geometry, axes=tuple(map(_with_usual_pads, geometry.axes)))
    solved = _solve(shown, by_axis)
    taps = np.zeros((*shown.shape[:2], *(a.kernel for a in geometry.axes)), solved.dtype)
    taps[np.ix_(*map(range, shown.shape[:2]), *(r.taps for r in by_axis))] = solved
    return ConvOperator(geometry, frozen(kernel_of(geometry, taps)), "auto")


def _with_usual_pads(axis: Axis) -> Axis:
    """Return an axis with a pad behind that is equal to the one before, or else 0, if it has as many outputs so."""
    least = axis.hi - (axis.stretched + axis.lo + axis.hi - axis.span) % axis.stride
    likely = [hi for hi in (axis.lo, 0) if least <= hi < least + axis.stride]
    return replace(axis, hi=likely[0]) if likely else axis


def _solve(shown: AnyArray, by_axis: list[TapEntries]) -> AnyArray:
    """Return the taps from the entries that show them."""
    if all(one.system is None for one in by_axis):
        return shown
    dtype = shown.dtype
    taps = shown.astype(np.result_type(dtype, np.float64))
    for j, one in enumerate(by_axis):
        if one.system is not None:
            moved = np.moveaxis(taps, j + 2, 0)
            solved = np.linalg.solve(one.system, moved.reshape(moved.shape[0], -1)).reshape(moved.shape)
            taps = np.moveaxis(solved, 0, j + 2)
    if dtype.kind not in "iu":
        return taps.astype(dtype)
    whole = np.rint(taps)
    return whole.astype(dtype) if np.abs(whole - taps).max(initial=0) < 1e-6 else taps  # halves are kept as floats


def count_groups(geometry: Geometry, f: IntArray, c: IntArray) -> int:
    """Return the largest number of groups of channels that no entry joins."""
    shared = gcd(geometry.out_channels, geometry.in_channels)
    pairs = np.unique(f * geometry.in_channels + c)
    f, c = np.divmod(pairs, geometry.in_channels)
    for groups in range(shared, 1, -1):
        if shared % groups == 0 and np.array_equal(
            f // (geometry.out_channels // groups), c // (geometry.in_channels // groups)
        ):
            return groups
    return 1
