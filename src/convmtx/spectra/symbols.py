"""The symbol of a convolution: the matrix that it multiplies each frequency by."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from convmtx import arguments, memory
from convmtx.arguments import as_list
from convmtx.errors import ArgumentError, door, shown
from convmtx.maps.convolution import ConvOperator
from convmtx.spectra.operands import convolution
from convmtx.structure import Blocks
from convmtx.structure.splits import fourier
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, PerAxis


@door("symbol")
def symbol(op: ConvOperator, grid: PerAxis, shift: float | Sequence[float] = 0.0) -> AnyArray:
    r"""Return the matrices by which a convolution multiplies the channels: one for each frequency.

    At the frequency w it is ``F(w) = sum_p K[p] exp(i w.(p t - lo))`` with dilation t and pads lo.

    Law, without input dilation: take the same kernel under wrap with ``padding="same"``, on an input of the grid's
    shape. The singular values of this map are those of ``symbol(op, grid)`` over all frequencies.

    Parameters
    ----------
    op : ConvOperator
        A convolution. Its boundary and its size do not matter.
    grid : int or tuple of int
        Number of positions around the circle along each axis, a multiple of stride and input dilation.
    shift : float or sequence of float
        Number of radians to add to the frequencies; one for all axes or one for each.

    Returns
    -------
    ndarray
        Array (\*frequencies, F, C), complex128, at the frequencies ``2 pi m / grid + shift``. A stride s joins the s
        frequencies that outputs cannot tell apart: there are ``grid / s`` of them, and C becomes ``C * s``. An input
        dilation does the same to F. Groups are blocks on the diagonal.

    Raises
    ------
    ValueError, TypeError
        If ``op`` is not a convolution, its kernel is not finite, or the grid is not a multiple of stride and input
        dilation.
    MemoryError
        If the array does not fit.

    Notes
    -----
    Cost: one sum over the taps of each axis for each frequency. Source: Sedghi, Gupta, Long, ICLR 2019, for stride 1.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.symbol(cm.conv([1.0, 2.0, 1.0], 8, padding="same"), 4)[:, 0, 0].real
    array([4., 2., 0., 2.])
    """
    operator, scale = convolution(op)
    geometry = operator.geometry
    sizes = arguments.per_axis("grid", grid, len(geometry.axes), 1)
    for n, axis in zip(sizes, geometry.axes, strict=True):
        if n % axis.stride or n % axis.input_dilation:
            got = f"grid={sizes} with stride {axis.stride} and input dilation {axis.input_dilation}"
            raise ArgumentError(got, "Expected multiples of both", "Choose another grid")
    shifts = _shifts(shift, len(sizes))
    entries = prod(sizes) * geometry.out_channels * geometry.in_channels
    memory.require("symbol", {"symbol": 16 * entries}, 16 * entries)
    circles = zip(geometry.axes, sizes, shifts, strict=True)
    splits = tuple(fourier(axis, n, radians, halved=False) for axis, n, radians in circles)
    blocks = Blocks(geometry, taps_of(geometry, operator.kernel), splits)
    matrices = blocks.matrices().reshape(geometry.groups, -1, blocks.rows, blocks.columns)
    whole = np.zeros((matrices.shape[1], geometry.groups, blocks.rows, geometry.groups, blocks.columns), complex)
    for g, of_group in enumerate(matrices):
        whole[:, g, :, g] = of_group
    whole.view(float)[...] *= scale
    counts = (split.times.size for split in splits)
    return whole.reshape(*counts, geometry.groups * blocks.rows, geometry.groups * blocks.columns)


def _shifts(shift: Any, d: int) -> list[float]:
    """Return the radians for each of d axes."""
    expected, remedy = f"a finite number, or {d} of them", "Pass radians"
    entries = as_list("shift", shift)
    entries = [shift] * d if entries is None else entries
    if len(entries) != d:
        raise ArgumentError(f"shift={shown(shift)}", f"Expected {expected}", remedy)
    return [arguments.number("shift", entry, expected, remedy) for entry in entries]
