r"""Lower bounds of the norm by wave packets, for maps of any size: no array of the size of an input.

A packet is a wave that is largest in the middle of the array and ends before its borders:
``x[j] = v prod_i sin(a_i (j_i + 1)) exp(i w_i j_i)``, with ``a_i = pi / (m_i + 1)`` and ``0 <= j_i < m_i``, and the
channels v that the symbol at w stretches most. The outputs that read it have windows inside the array, so no boundary
rule matters. With ``b[p] = K[p] v exp(i w.p)`` and autocorrelations ``r`` of b and ``c`` of the sines,

``|A x|^2 / |x|^2 >= sum_d r(d) prod_i c_i(d_i)``, ``c(d) = ((m - d) cos(a d) + sin(a (d + 1)) / sin(a)) / (m + 1)``.

That is below the symbol's ``|F(w)|^2`` by a fraction of some ``(k / m)^2`` only: 1e-8 for 7 taps and 100,000 positions.

Strides and dilations couple neighbours: with blocks of them as channels, the map is one of stride 1. An axis of few
positions is one block. So are the first and the last positions of a longer one, if what the rule continues there may
make the norm larger than the symbol's. Packets are waves along the other axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from math import lcm, log2, prod
from typing import NamedTuple

import numpy as np

from convmtx.boundary import NOTHING, WRAP
from convmtx.geometry import Axis, Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.spectra.supremum import coarsest, slack_of, supremum
from convmtx.structure.precision import EPS
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, IntArray

#: Number of positions up to which an axis is one block.
_SHORT = 32
#: Largest size of the symbol of such blocks at one frequency: a decomposition of 256 x 256 takes some 20 ms.
_LARGEST = 1 << 16
#: Relative tolerance of the frequency at which packets along the ends are: what they miss is the square of it.
_ROUGH = 1e-3


class Folded(NamedTuple):
    """An axis as one of stride 1 from blocks of inputs to blocks of outputs."""

    #: Numbers of outputs and of inputs in a block.
    outputs: int
    inputs: int
    #: Number of blocks that an output block reads, one after another.
    kernel: int
    #: Tap, output in its block, input in its block and number of the block, for each tap of each output.
    places: tuple[IntArray, IntArray, IntArray, IntArray]
    #: Number of input blocks of which all readers are outputs inside the array, 0 if there are none.
    blocks: int
    #: Whether the one block is the whole axis, with its borders.
    is_whole: bool = False

    @property
    def nearness(self) -> float:
        """Fraction, roughly, of the symbol's square that a packet can miss along this axis."""
        return ((self.kernel - 1) / max(self.blocks, 1)) ** 2


def bulk(axis: Axis) -> Folded:
    """Return an axis as blocks; what lies between the inputs that its outputs read is left out."""
    coarse, (first, last) = coarsest(axis), axis.interior
    step = lcm(coarse.stride, coarse.input_dilation)
    outs, ins = step // coarse.stride, step // coarse.input_dilation
    inside = last - first
    if axis.input_dilation > 1:
        inside -= outs - 1  # so that the first output is one that begins a block
    elif axis.stride == 1:
        inside //= axis.dilation  # outputs that far apart read other inputs than those between them
    output, tap = np.divmod(np.arange(outs * axis.kernel), axis.kernel)
    position = output * coarse.stride - coarse.lo + tap * coarse.dilation
    read = np.flatnonzero(position % coarse.input_dilation == 0)
    block, place = np.divmod(position[read] // coarse.input_dilation, ins)
    least, most = (int(block.min()), int(block.max())) if read.size else (0, 0)
    kernel = most - least + 1
    places = (tap[read], output[read], place, block - least)
    return Folded(outs, ins, kernel, places, max(inside // outs - (kernel - 1), 0))


def whole(axis: Axis) -> Folded:
    """Return an axis of few positions as one block."""
    table = axis.table()
    output, tap = np.nonzero(table != NOTHING)
    return Folded(axis.out, axis.size, 1, (tap, output, table[output, tap], np.zeros_like(tap)), 1, True)


def ends(axis: Axis) -> Iterator[Axis]:
    """Yield the first and the last inputs of an axis with the outputs that read them alone, if the rule may fold there.

    They are submatrices: what such an output reads outside is one of these inputs.
    """
    first, last = axis.reach
    for beyond, is_first in ((-first, True), (last + 1 - axis.stretched, False)):
        size = -(-(max(beyond, 0) + 2 * axis.span) // axis.input_dilation) + 1
        if axis.zero_outside or axis.boundary is WRAP or beyond <= 0 or size >= axis.size:
            continue
        begin = 0 if is_first else (axis.size - size) * axis.input_dilation  # of the inputs, as stretched position
        skipped = 0 if is_first else max(-(-(axis.lo + begin) // axis.stride), 0)
        part = replace(axis, size=size, lo=axis.lo + begin - skipped * axis.stride)
        inside = (part.stretched - part.span + part.lo) // axis.stride + 1
        count = min(inside, axis.out) if is_first else axis.out - skipped
        if count > 0:
            yield part.with_outputs(count)


def folded_taps(taps: AnyArray, folded: Sequence[Folded]) -> AnyArray:
    """Return the taps (F*outputs, C/groups*inputs, kernel1..kerneld) of the map from blocks to blocks."""
    total = taps[:, None, :, None]  # (F, outputs, C/groups, inputs, k1..kd)
    for one in folded:
        lines = np.moveaxis(total, 4, -1)
        spread = np.zeros((*lines.shape[:-1], one.outputs, one.inputs, one.kernel), taps.dtype)
        for p in range(lines.shape[-1]):  # outputs read other inputs through another tap, or the same ones
            tap, output, place, block = (part[one.places[0] == p] for part in one.places)
            spread[..., output, place, block] += lines[..., tap]
        spread = np.moveaxis(spread, (-3, -2), (2, 5))
        f, many, outs, c, some, ins, *behind = spread.shape
        total = spread.reshape(f, many * outs, c, some * ins, *behind)
    f, outs, c, ins, *kernel = total.shape
    return total.reshape(f * outs, c * ins, *kernel)


def nearness(geometry: Geometry) -> float:
    """Return by what fraction, roughly, the norm of a packet is below the supremum of the symbol."""
    return sum(one.nearness for one in _along_axes(geometry))


def interval(op: ConvOperator, rtol: float) -> tuple[float, float]:
    """Return the norm of the best packet, and the supremum of the symbol to a relative tolerance, with rounding.

    The norm of the map is at least the first. It is at most the second if `is_bounded`.
    """
    geometry, taps = op.geometry, taps_of(op.geometry, op.kernel)
    usual = _along_axes(geometry)
    lower, upper = _packet(geometry, taps, usual, rtol)
    choices = [[one, *map(whole, ends(axis))] for one, axis in zip(usual, geometry.axes, strict=True)]
    for chosen in list(product(*choices))[1:]:
        if _numbers(geometry, chosen) <= _LARGEST:
            lower = max(lower, _packet(geometry, taps, chosen, _ROUGH)[0])
    return lower, upper


def is_bounded(geometry: Geometry) -> bool:
    """Whether the norm is at most the supremum: zeros outside, or a circle, along each axis that is not one block."""
    pairs = zip(geometry.axes, _along_axes(geometry), strict=True)
    return all(axis.zero_outside or axis.circular or one.is_whole for axis, one in pairs)


def borders_alone(op: ConvOperator) -> ConvOperator:
    """Return a map on a shorter input whose largest sums of rows and columns are the same, as are its numbers of reads.

    All windows inside are alike. So it is enough that the borders are far apart, and that the last window stands where
    it stood to the end of the input: sizes change by multiples of the stride.
    """
    axes = []
    for axis in op.geometry.axes:
        least = (abs(axis.lo) + abs(axis.hi) + 4 * axis.span) // axis.input_dilation + 2 * axis.stride
        size = least + (axis.size - least) % axis.stride
        axes.append(replace(axis, size=min(size, axis.size)))
    return ConvOperator(replace(op.geometry, axes=tuple(axes)), op.kernel, "auto")


def _along_axes(geometry: Geometry) -> list[Folded]:
    """Return each axis as blocks: as one block if it is short."""
    folded = [bulk(axis) for axis in geometry.axes]
    for j, axis in enumerate(geometry.axes):
        if max(axis.size, axis.out) <= _SHORT:
            with_block = [*folded[:j], whole(axis), *folded[j + 1 :]]
            folded = with_block if _numbers(geometry, with_block) <= _LARGEST else folded
    return folded


def _numbers(geometry: Geometry, folded: Sequence[Folded]) -> int:
    """Return the size of the symbol at one frequency."""
    return prod(geometry.channels_per_group) * prod(one.outputs * one.inputs for one in folded)


def _packet(geometry: Geometry, taps: AnyArray, folded: Sequence[Folded], rtol: float) -> tuple[float, float]:
    """Return the norm of the best packet from blocks to blocks, and the supremum of the symbol."""
    taps = folded_taps(taps, folded)
    axes = [Axis(one.kernel, one.kernel) for one in folded]
    top = supremum(taps, geometry.groups, axes, rtol)
    counts = [one.blocks for one in folded]
    if not all(counts):
        return 0.0, top.upper
    slack = slack_of(taps, geometry.groups, axes)
    images = (_image(of_group, top.at) for of_group in taps.reshape(geometry.groups, -1, *taps.shape[1:]))
    return max(max(_length(image, counts) for image in images) - slack, 0.0), top.upper


def _image(taps: AnyArray, w: AnyArray) -> AnyArray:
    """Return ``K[p] v exp(i w.p)``, (F, k1..kd), for the channels v that the symbol at w stretches most."""
    waves = taps.astype(complex)
    for j, radians in enumerate(w):
        wave = np.exp(1j * radians * np.arange(taps.shape[2 + j]))
        waves = waves * wave.reshape(-1, *(1,) * (taps.ndim - 3 - j))
    symbol = waves.sum(axis=tuple(range(2, taps.ndim)))
    v = np.linalg.svd(symbol, full_matrices=False)[2][0].conj()
    image: AnyArray = np.tensordot(v, waves, ([0], [1]))
    return image


def _length(image: AnyArray, counts: Sequence[int]) -> float:
    """Return how much longer a packet of so many blocks becomes; not more than it does without rounding."""
    from scipy import fft

    kernel, space = image.shape[1:], tuple(range(1, image.ndim))
    sizes = [fft.next_fast_len(2 * k - 1) for k in kernel]
    power = (np.abs(fft.fftn(image, sizes, space)) ** 2).sum(axis=0)
    correlation = fft.ifftn(power, overwrite_x=True)
    for j, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        apart = np.minimum(np.arange(size), size - np.arange(size))
        correlation = correlation * _sines(apart, count).reshape(-1, *(1,) * (len(sizes) - 1 - j))
    terms = np.linalg.norm(image.reshape(len(image), -1), axis=0).sum()
    slack = EPS * (32 + 16 * log2(prod(sizes))) * terms**2
    return float(np.sqrt(max(correlation.sum().real - slack, 0.0)))


def _sines(apart: AnyArray, count: int) -> AnyArray:
    """Return the autocorrelation of a half wave of the sine at ``count`` positions, 1 at distance 0."""
    a = np.pi / (count + 1)
    inside = ((count - apart) * np.cos(a * apart) + np.sin(a * (apart + 1)) / np.sin(a)) / (count + 1)
    return np.where(apart < count, inside, 0.0)
