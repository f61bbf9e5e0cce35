"""The tensor as a strided view of the kernel among zeros, in which no entry is copied."""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx._xp import widen
from convmtx.errors import NotToeplitzError
from convmtx.geometry import Axis, Geometry
from convmtx.taps import added, entries_of, taps_of
from convmtx.typing import AnyArray, IntArray, Shape


def view(geometry: Geometry, kernel: AnyArray) -> AnyArray:
    """Return the read-only tensor ``out_shape + in_shape``.

    Behind it is one array of about kernel + input size for each pair of filter and channel. Along an axis, entry (o, i)
    depends on ``i*e - o*s`` only. So the kernel is embedded once, from the least such difference to the greatest, and
    read backwards in o and forwards in i. With 3 inputs, 3 outputs, taps a b c and pads of 1, the array is 0 a b c 0:
    row 0 of the matrix is b c 0, from place 2 on, row 1 is a b c, from place 1, and row 2 is 0 a b, from place 0.
    """
    embedded = embed(geometry, kernel)
    step_f, step_c, *steps = embedded.strides
    axes = geometry.axes
    start = sum(step * (a.out - 1) * a.stride for step, a in zip(steps, axes, strict=True))
    output_strides = geometry.layout.join(step_f, tuple(-step * a.stride for step, a in zip(steps, axes, strict=True)))
    input_steps = tuple(step * a.input_dilation for step, a in zip(steps, axes, strict=True))
    input_strides = geometry.layout.join(step_c, input_steps)
    flat = embedded.transpose(*range(2, embedded.ndim), 0, 1).reshape(-1)[start // embedded.itemsize :]
    shape = geometry.out_shape + geometry.in_shape
    return np.lib.stride_tricks.as_strided(flat, shape, output_strides + input_strides, writeable=False)


def embedded_shape(geometry: Geometry) -> Shape:
    """Return the shape of the array behind the view: (filters, channels, lengths)."""
    return (geometry.out_channels, geometry.in_channels, *(_length(a) for a in geometry.axes))


def embed(geometry: Geometry, kernel: AnyArray) -> AnyArray:
    """Return the kernel among zeros, periodic along wrapped axes, with groups on the diagonal of the channels."""
    for j, axis in enumerate(geometry.axes):
        if not axis.toeplitz:
            raise NotToeplitzError(
                f"axis {j} has boundary {axis.boundary.name!r}",
                "Expected 'zero' or 'wrap': others fold taps onto border pixels, which no strided view can hold",
                "Use to_tensor()",
            )
    taps = taps_of(geometry, kernel)
    dtype = taps.dtype
    if any(not axis.zero_outside for axis in geometry.axes):
        taps = widen(taps)
        if taps.dtype != dtype:
            entries_of(geometry, kernel)  # refuses entries that the type does not hold
    channels, space = embedded_shape(geometry)[:2], embedded_shape(geometry)[2:]
    # Channels are the fastest axes: then the taps lie together, and few pages of the zeros are ever touched.
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
    """Return places as a slice, which is written faster; None if they are not evenly spaced."""
    if not places.size:
        return slice(0)
    step = int(places[1] - places[0]) if places.size > 1 else 1
    is_even = bool((np.diff(places) == step).all())
    return slice(int(places[0]), int(places[-1]) + 1, step) if is_even and step > 0 else None


def _length(axis: Axis) -> int:
    """Return the number of different values of ``i*e - o*s``, and those between them."""
    return (axis.size - 1) * axis.input_dilation + (axis.out - 1) * axis.stride + 1


def _spread(geometry: Geometry, axis: Axis, taps: AnyArray, at: int) -> tuple[AnyArray, IntArray]:
    """Return the taps along axis ``at``, and their places along the axis of the embedded array."""
    length = _length(axis)
    # The difference q = i*e - o*s has place q + (out-1)*s, from 0 on. Tap p is read where q = p*t - lo.
    place = np.arange(axis.kernel) * axis.dilation - axis.lo + (axis.out - 1) * axis.stride
    if not axis.zero_outside:
        # A circle: taps whose places differ by whole turns add up, and repeat in every turn. With 4 inputs, taps at
        # places 1 and 5 are one sum, at 1, 5, 9 and so on.
        residues, slots = np.unique(place % axis.stretched, return_inverse=True)
        turns = np.arange(0, length, axis.stretched)
        place = (residues + turns[:, None]).ravel()
        groups = [np.flatnonzero(slots == m) for m in range(residues.size)]
        taps = np.concatenate([added(geometry, taps, groups, at)] * turns.size, axis=at)
    kept = np.flatnonzero((place >= 0) & (place < length))
    return taps.take(kept, at), place[kept]
