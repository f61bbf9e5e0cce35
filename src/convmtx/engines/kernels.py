"""Gradients in the kernel: the transpose of a convolution as a map of its kernel, which is a convolution too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from convmtx._xp import move_axes, namespace, reshape
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.taps import channels_first, kernel_of
from convmtx.typing import Array

#: Apply a map, given as its geometry and its kernel, to a batch of inputs.
Convolve = Callable[[Geometry, Array, Array], Array]


def kernel_gradients(geometry: Geometry, x: Array, y: Array, convolve: Convolve) -> Array:
    """Return the sums of products of inputs and outputs that meet in each tap, as kernel arrays.

    Tap p of a result is ``sum over o of y[o] * x[o*s - lo + p*t]``. That is a convolution of x whose kernel is ``y``,
    where stride and dilation trade places. Samples become its channels, and channels its samples.

    Parameters
    ----------
    geometry : Geometry
        The map from x to y.
    x : array
        Inputs, (N, *in_shape), with N at least 1.
    y : array
        Any number of arrays of outputs for these inputs, (count, N, *out_shape), with ``count`` at least 1.
    convolve : callable
        Applies the convolution.

    Returns
    -------
    array
        Kernel arrays, (count, *kernel_shape).
    """
    g, count, samples, d = geometry, y.shape[0], x.shape[0], len(geometry.axes)
    per_f, per_c = g.channels_per_group
    outs, space, sizes = (tuple(getattr(a, name) for a in g.axes) for name in ("out", "kernel", "size"))
    y = channels_first(g, reshape(y, (-1, *g.out_shape)))
    y = reshape(y, (count, samples, g.groups, per_f, *outs))
    kernel = reshape(move_axes(y, 2, 0, 3, 1, *range(4, 4 + d)), (g.groups * count * per_f, samples, *outs))
    x = reshape(channels_first(g, x), (samples, g.groups, per_c, *sizes))
    x = reshape(move_axes(x, 2, 1, 0, *range(3, 3 + d)), (per_c, g.groups * samples, *sizes))
    taps = reshape(convolve(swap_factors(g, count, samples), kernel, x), (per_c, g.groups, count, per_f, *space))
    taps = reshape(move_axes(taps, 2, 1, 3, 0, *range(4, 4 + d)), (count, g.out_channels, per_c, *space))
    return namespace(taps).stack([kernel_of(g, taps[b, ...]) for b in range(count)], axis=0)


def swap_factors(geometry: Geometry, count: int, samples: int) -> Geometry:
    """Return the convolution whose kernel is ``count`` arrays of outputs, and whose outputs are the taps of each."""
    axes = tuple(
        replace(a, kernel=a.out, stride=a.dilation, dilation=a.stride, hi=_pad_for(a.kernel, a)) for a in geometry.axes
    )
    groups, filters = geometry.groups, count * geometry.out_channels
    return Geometry(axes, groups * samples, filters, groups, Layout.FIRST)


def _pad_for(count: int, axis: Axis) -> int:
    """Return the pad at the end that gives ``count`` positions of all outputs together, one dilation apart."""
    span = (axis.out - 1) * axis.stride + 1
    return (count - 1) * axis.dilation + span - axis.stretched - axis.lo
