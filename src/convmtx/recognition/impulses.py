"""Convolutions recognized from a few images of a function, instead of from its whole matrix.

A convolution is a sum of Kronecker products, with one factor for each axis. Random weights along all other axes and
channels, of the inputs and of the outputs, therefore leave the map of one axis alone: a convolution with one channel,
whose taps are random sums of the kernel's. The images of a few neighbouring inputs in the middle show its geometry, and
the image of one random input shows its boundary. When all axes are known, impulses show the kernel, and random inputs
verify the map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from math import gcd, log2, prod

import numpy as np

from convmtx._xp import frozen
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.own_maps import eps_of
from convmtx.maps.units import BLOCK_BYTES
from convmtx.recognition.axes import BOUNDARIES, fit_axis
from convmtx.recognition.contractions import ROUNDING, AxisMatrix
from convmtx.recognition.folded import fit_short
from convmtx.recognition.functions import Box, random_arrays
from convmtx.recognition.kernels import TapEntries, count_groups, operator_shown, separate
from convmtx.taps import channels_back, channels_first
from convmtx.typing import AnyArray, IntArray

#: Neighbouring inputs whose images are compared first. Their number doubles while no step shows: a stride of s shows in
#: 2*s inputs at most.
_FIRST_RUN = 4
#: Most neighbouring inputs that are compared, for each axis: enough for strides up to 8. An axis that is not longer is
#: then known whole. With three axes, 32 each are within what is promised.
_LONGEST_RUNS = (16, 16, 32)
#: Inputs that are tried as places of impulses: each residue of the stride needs one.
_MOST_PLACES = 64
#: Outputs times taps of an axis whose taps are separated from sums of them.
_LARGEST_TABLE = 1 << 14
#: Rounding errors that images along one axis may differ by, in eps of the largest: a sum over the other axes has many,
#: of random signs.
_ROUNDINGS = 256


def from_impulses(box: Box, layout: Layout) -> ConvOperator | None:
    """Return the convolution that a function is, from about ``C_in * prod(stride) + 5*d`` applications.

    The two random inputs to which the box was applied verify it. If the function computes with integers, and they do
    not wrap around, one that differs from a convolution in a single matrix entry is never taken for it. Floats may
    differ by the rounding of sums of as many terms as a row of the matrix has.

    Parameters
    ----------
    box : Box
        Linear function.
    layout : Layout
        Position of the channel axis in inputs and outputs.

    Returns
    -------
    ConvOperator or None
        None if so few images do not show it, and the whole matrix is needed: the function is not a convolution, a long
        axis has no interior (the kernel is as long, or the pads are wider than half of it), or there are so few inputs
        that as many unit vectors cost no more: ``2 * (C_in + 2 * 3**d) + 8``.
    """
    (in_channels, sizes), (out_channels, outs) = layout.split(box.in_shape, 1), layout.split(box.out_shape, 1)
    if len(sizes) != len(outs) or prod(box.in_shape) <= 2 * (in_channels + 2 * 3 ** len(sizes)) + 8:
        return None
    axes, noise = [], 0.0
    for position in range(len(sizes)):
        line = _Line(box, position + (layout is Layout.FIRST))
        axis = _read_axis(line, _LONGEST_RUNS[min(len(sizes), 3) - 1])
        if axis is None:
            return None
        axes.append(axis)
        noise = max(noise, line.noise)
    op = _read_kernel(box, Geometry(tuple(axes), in_channels, out_channels, layout=layout), noise)
    if op is None:
        return None
    tolerance = eps_of(box.dtype) * max(op._count_roundings(), 8 * log2(prod(op.shape)))
    x, y = box.samples
    return op if _agree(op, x[:2], y[:2], tolerance) else None


class _Line:
    """A function along one axis alone: random weights are applied along all other axes and channels."""

    #: Magnitude, relative to the largest, up to which entries count as zero: that of the noise of transforms, or 0.
    noise = 0.0

    def __init__(self, box: Box, position: int) -> None:
        self.box, self.position = box, position
        self.size, self.outputs = box.in_shape[position], box.out_shape[position]
        ones = list(box.in_shape)
        ones[position] = 1
        self._in_weights = random_arrays(1, tuple(ones), box.in_dtype, seed=3 * position + 1)[0]
        self.dtype = self._in_weights.real.dtype
        others = prod(box.out_shape) // self.outputs
        self._out_weights = random_arrays(1, (others,), box.dtype, seed=3 * position + 2)[0]

    def __call__(self, x: AnyArray) -> AnyArray:
        """Return the images (B, outputs) of real inputs (B, size), or their real parts: weights are random."""
        shape = [len(x)] + [1] * len(self.box.in_shape)
        shape[self.position + 1] = self.size
        images = self.box(x.reshape(shape) * self._in_weights)
        images = np.moveaxis(images, self.position + 1, 1).reshape(len(x), self.outputs, -1)
        if images.dtype.kind in "fc":
            images = images.astype(np.result_type(images, np.float64))
        return (images @ self._out_weights).real

    @property
    def noises(self) -> tuple[float, ...]:
        """Values of `noise` that are tried."""
        return (0.0,) if self.box.is_exact else (0.0, _ROUNDINGS * eps_of(self.box.dtype))

    def units(self, places: list[int]) -> AnyArray:
        """Return the images of unit vectors, one in each row."""
        units = np.zeros((len(places), self.size), self.dtype)
        units[np.arange(len(places)), places] = 1
        return self(units)


def _read_axis(line: _Line, longest: int) -> Axis | None:
    """Return the axis of a function along one axis, or None if so many neighbours in its middle do not show one."""
    x = random_arrays(1, (line.size,), line.dtype, seed=3 * line.position + 3)
    y = line(x)
    middle, count = line.size // 2, _FIRST_RUN
    run, images = range(middle, middle), y[:0]
    while count <= longest and len(run) < line.size:
        longer = range(max(middle - count // 2, 0), min(middle + (count + 1) // 2, line.size))
        more = line.units([*range(longer.start, run.start), *range(run.stop, longer.stop)])
        ahead = run.start - longer.start
        run, images = longer, np.concatenate([more[:ahead], images, more[ahead:]])
        if len(run) == line.size:
            return _fit_whole(line, images)
        for axis, taps in _candidates(line, run, images):
            for rule in BOUNDARIES if axis.reads_outside else BOUNDARIES[:1]:
                bounded = replace(axis, boundary=rule)
                if _agree(ConvOperator(Geometry((bounded,)), frozen(taps)), x, y, line.noises[-1]):
                    return bounded
        count *= 2
    return None


def _candidates(line: _Line, run: range, images: AnyArray) -> Iterator[tuple[Axis, AnyArray]]:
    """Yield axes, under zeros, with their taps, that fit the images of a run of neighbouring inputs.

    If images move by e outputs after s inputs, output o reads input i through the tap at ``i*e - o*s``.
    """
    size = float(np.abs(images).max(initial=0))
    for noise in line.noises:
        line.noise = noise
        is_on = np.abs(images) > noise * size
        for step, moved in _moves(images, is_on, line.noises[-1] * size):
            inputs, outputs = np.nonzero(is_on)
            positions, where = np.unique((run.start + inputs) * moved - outputs * step, return_index=True)
            dilation = int(np.gcd.reduce(np.diff(positions))) or 1
            places = (positions - positions[0]) // dilation
            taps = np.zeros(places[-1] + 1, images.dtype)
            taps[places] = images[inputs, outputs][where]
            axis = Axis(line.size, len(taps), step, dilation, moved, lo=-int(positions[0]))
            yield axis.with_outputs(line.outputs), taps


def _moves(images: AnyArray, is_on: AnyArray, tolerance: float) -> Iterator[tuple[int, int]]:
    """Yield pairs (s, e) without common divisor: each image is the one of s inputs before, e outputs later."""
    first = is_on.argmax(axis=1)
    for step in range(1, len(images)):
        shown = np.flatnonzero(is_on[:-step].any(axis=1))
        moved = int(first[shown[0] + step] - first[shown[0]]) if shown.size else 0
        if moved < 1 or gcd(step, moved) > 1:
            continue
        expected = np.zeros_like(images[step:])
        expected[:, moved:] = images[:-step, :-moved]
        if np.abs(expected - images[step:]).max() <= tolerance:
            yield step, moved


def _fit_whole(line: _Line, images: AnyArray) -> Axis | None:
    """Return the axis that the images of all inputs show."""
    dense = images.T.astype(float)
    size = float(np.abs(dense).max(initial=0))
    for noise in line.noises:
        line.noise = noise
        o, i = np.nonzero(np.abs(dense) > noise * size)
        tolerance = size * max(ROUNDING, line.noises[-1])
        matrix = AxisMatrix(line.outputs, line.size, np.arange(line.outputs), o, i, dense[o, i], tolerance)
        fit = fit_axis(matrix)
        fit = (fit_short(matrix) or fit) if fit.wrong else fit
        if not fit.wrong:
            return fit.axis
    return None


def _read_kernel(box: Box, geometry: Geometry, noise: float) -> ConvOperator | None:
    """Return the convolution whose kernel the images of impulses show; None if those of a few do not."""
    by_axis = [one for axis in geometry.axes if (one := _read_by_inputs(axis))]
    if len(by_axis) < len(geometry.axes):
        return None
    shown = np.zeros((geometry.out_channels, geometry.in_channels, *(r.taps.size for r in by_axis)), box.dtype)
    impulses = list(product(range(geometry.in_channels), *(np.unique(r.inputs).tolist() for r in by_axis)))
    batch = max(BLOCK_BYTES // (box.dtype.itemsize * sum(geometry.shape)), 1)
    for start in range(0, len(impulses), batch):
        chunk = impulses[start : start + batch]
        x = np.zeros((len(chunk), geometry.in_channels, *(a.size for a in geometry.axes)), box.in_dtype)
        for b, impulse in enumerate(chunk):
            x[(b, *impulse)] = 1
        images = channels_first(geometry, box(channels_back(geometry, x)))
        for image, (channel, *places) in zip(images, chunk, strict=True):
            rows = [np.flatnonzero(r.inputs == place) for r, place in zip(by_axis, places, strict=True)]
            outputs = [r.outputs[at] for r, at in zip(by_axis, rows, strict=True)]
            shown[(slice(None), channel, *np.ix_(*rows))] = image[(slice(None), *np.ix_(*outputs))]
    shown[np.abs(shown) <= noise * np.abs(shown).max()] = 0
    geometry, shown = _grouped(geometry, shown)
    return operator_shown(geometry, by_axis, shown)


def _grouped(geometry: Geometry, shown: AnyArray) -> tuple[Geometry, AnyArray]:
    """Return the geometry with as many groups as entries (F, C, ...) show, and the entries (F, C/groups, ...)."""
    f, c = np.nonzero(shown.any(axis=tuple(range(2, shown.ndim))))
    geometry = replace(geometry, groups=count_groups(geometry, f, c))
    rows, columns = geometry.channels_per_group
    filters = np.arange(geometry.out_channels)[:, None]
    return geometry, shown[filters, filters // rows * columns + np.arange(columns)]


def _read_by_inputs(axis: Axis) -> TapEntries | None:
    """Return entries of an axis that determine its taps, of few inputs, from the middle outwards."""
    outwards = sorted(range(axis.size), key=lambda place: abs(place - axis.size // 2))[:_MOST_PLACES]
    taps, outputs, inputs = (np.zeros(0, np.int64) for _ in range(3))
    for place in outwards:
        more, where = _read_alone(axis, place)
        is_new = ~np.isin(more, taps)
        taps, outputs = np.append(taps, more[is_new]), np.append(outputs, where[is_new])
        inputs = np.append(inputs, np.full(is_new.sum(), place))
        if taps.size == axis.kernel:
            return TapEntries(outputs, inputs, taps)
    return _separated(axis, outwards) if axis.out * axis.kernel <= _LARGEST_TABLE else None


def _read_alone(axis: Axis, place: int) -> tuple[IntArray, IntArray]:
    """Return taps that read an input, and for each of them an output that reads it through this tap alone."""
    positions = np.arange(axis.kernel) * axis.dilation - axis.lo
    outputs, rest = np.divmod(place * axis.input_dilation - positions, axis.stride)
    taps = np.flatnonzero((rest == 0) & (outputs >= 0) & (outputs < axis.out))
    outputs = outputs[taps]
    is_alone = np.ones(taps.size, bool)
    if axis.may_fold:
        first, last = axis.interior
        outside = np.flatnonzero((outputs < first) | (outputs >= last))
        reads = axis.read(outputs[outside, None], np.arange(axis.kernel))
        is_alone[outside] = (reads == place).sum(axis=1) == 1
    return taps[is_alone], outputs[is_alone]


def _separated(axis: Axis, places: list[int]) -> TapEntries:
    """Return entries, some of them sums of taps, of as many of some inputs as determine all taps that outputs read."""
    reads = axis.table()
    counts = np.stack([reads == place for place in places]).astype(float)  # (places, outputs, taps)
    rank = np.linalg.matrix_rank(counts.reshape(-1, axis.kernel))
    most = len(places)
    for most in range(1, len(places) + 1):
        if np.linalg.matrix_rank(counts[:most].reshape(-1, axis.kernel)) == rank:
            break
    at, outputs = np.nonzero(counts[:most].any(axis=2))
    return separate(counts[at, outputs], outputs, np.array(places)[at])


def _agree(op: ConvOperator, x: AnyArray, y: AnyArray, tolerance: float) -> bool:
    """Return whether images are those of the map, up to a tolerance relative to the largest sum of magnitudes."""
    size = np.abs(op._magnitudes()(np.abs(x))).max() if tolerance else 0
    return bool(np.abs(op(x) - y).max() <= tolerance * size)
