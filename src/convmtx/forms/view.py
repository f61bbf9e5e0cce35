"""The tensor as a strided view of the zero-embedded kernel: no entry is copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import widened
from convmtx.errors import NotToeplitzError
from convmtx.geometry import Axis, Geometry
from convmtx.taps import added, entries_of, taps_of
from convmtx.typing import AnyArray, IntArray, Shape


def view(geometry: Geometry, kernel: AnyArray) -> AnyArray:
    """Read-only tensor ``out_shape + in_shape`` over one array of about kernel + input size per channel pair.

    Along an axis, entry (o, i) depends on ``i*e - o*s`` only; so the kernel is embedded once, from the
    least such difference to the greatest, and read backwards in o and forwards in i.
    """
    embedded = embed(geometry, kernel)
    size = embedded.itemsize
    step_f, step_c, *steps = embedded.strides
    start = sum(step * ((a.out - 1) * a.stride) for step, a in zip(steps, geometry.axes, strict=True))
    out = geometry.layout.join(step_f, tuple(-step * a.stride for step, a in zip(steps, geometry.axes, strict=True)))
    into = geometry.layout.join(
        step_c, tuple(step * a.input_dilation for step, a in zip(steps, geometry.axes, strict=True))
    )
    flat = embedded.transpose(*range(2, embedded.ndim), 0, 1).reshape(-1)[start // size :]
    shape = geometry.out_shape + geometry.in_shape
    return np.lib.stride_tricks.as_strided(flat, shape, out + into, writeable=False)


def embedded_shape(geometry: Geometry) -> Shape:
    """Shape of the array behind the view."""
    return (geometry.out_channels, geometry.in_channels, *(_length(a) for a in geometry.axes))


def embed(geometry: Geometry, kernel: AnyArray) -> AnyArray:
    """The kernel among zeros, periodic along wrapped axes, its groups on the channels' diagonal."""
    for j, axis in enumerate(geometry.axes):
        if not axis.toeplitz:
            raise NotToeplitzError(
                f"axis {j} has boundary {axis.boundary.name!r}",
                "Wanted 'zero' or 'wrap': others fold taps onto border pixels, which no strided view can hold",
                "Use to_tensor()",
            )
    taps = taps_of(geometry, kernel)
    dtype = taps.dtype
    if any(not axis.zero_outside for axis in geometry.axes):
        taps = widened(taps)
        if taps.dtype != dtype:
            entries_of(geometry, kernel)  # refuses entries that the type does not hold
    channels, space = embedded_shape(geometry)[:2], embedded_shape(geometry)[2:]
    # Channels inside: the taps lie together, and few pages of the zeros are ever touched.
    embedded = np.zeros((*space, *channels), dtype).transpose(len(space), len(space) + 1, *range(len(space)))
    per_f, per_c = geometry.channels_per_group
    places = []
    for j, axis in enumerate(geometry.axes):
        taps, place = _spread(geometry, axis, taps, j + 2)
        places.append(place)
    step_f, step_c, *steps = embedded.strides
    diagonal = np.lib.stride_tricks.as_strided(
        embedded,
        (geometry.groups, per_f, per_c, *embedded.shape[2:]),
        (per_f * step_f + per_c * step_c, step_f, step_c, *steps),
    )
    evenly = [_evenly(place) for place in places]
    at: tuple[Any, ...] = (..., *(evenly if None not in evenly else np.ix_(*places)))
    diagonal[at] = taps.reshape(geometry.groups, per_f, per_c, *taps.shape[2:])
    return embedded


def _evenly(places: IntArray) -> slice | None:
    """The places as a slice, which is written faster; None where they are not evenly spaced."""
    if not places.size:
        return slice(0)
    step = int(places[1] - places[0]) if places.size > 1 else 1
    even = bool((np.diff(places) == step).all())
    return slice(int(places[0]), int(places[-1]) + 1, step) if even and step > 0 else None


def _length(axis: Axis) -> int:
    return (axis.size - 1) * axis.input_dilation + (axis.out - 1) * axis.stride + 1


def _spread(geometry: Geometry, axis: Axis, taps: AnyArray, at: int) -> tuple[AnyArray, IntArray]:
    """Taps along axis ``at`` and the places in the embedded axis where they stand."""
    length = _length(axis)
    # Place of difference i*e - o*s = q is q + (out-1)*s; tap p is met where q = p*t - lo.
    place = np.arange(axis.kernel) * axis.dilation - axis.lo + (axis.out - 1) * axis.stride
    if not axis.zero_outside:  # wrap: taps whose places differ by whole turns add up, and repeat every turn
        residues, slots = np.unique(place % axis.stretched, return_inverse=True)
        turns = np.arange(0, length, axis.stretched)
        place = (residues + turns[:, None]).ravel()
        groups = [np.flatnonzero(slots == m) for m in range(residues.size)]
        taps = np.concatenate([added(geometry, taps, groups, at)] * turns.size, axis=at)
    kept = np.flatnonzero((place >= 0) & (place < length))
    return taps.take(kept, at), place[kept]
