"""Inputs of an axis that can be probed together: combs of which every output reads at most one tooth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import gcd

import numpy as np

from convmtx.boundary import NOTHING, WRAP, ZERO
from convmtx.geometry.axis import Axis
from convmtx.typing import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Combs:
    """A colour for each input of an axis; the inputs of one colour are the teeth of a comb.

    Law: if output o reads input j, ``teeth[o, colours[j]] == j``. So the image of a comb shows, at each output, one
    entry of the matrix, and ``teeth`` has the column that it stands in.
    """

    #: Colour of each input.
    colours: IntArray
    #: Tooth that each output may read in each comb, -1 for none; one row if all outputs may read every input.
    teeth: IntArray

    @property
    def count(self) -> int:
        """Number of colours."""
        return self.teeth.shape[1]


def combs(axis: Axis) -> Combs:
    """Return the combs of an axis in closed form.

    Under zeros, inputs share an output only if they differ by ``m*d`` with ``|m| < k``, for k taps at distance d, at
    any stride and with any pads. Then ``(j // d) % k`` are valid colours. There are k of them, and an output that reads
    all its taps needs as many. With input dilation e, the same holds of every e-th tap.

    Under the rules that mirror or repeat an end, an output reads inputs of one interval, which is as long as its window
    or shorter. The colours are ``j % span``. Around a circle an interval of that length may cross the end, and teeth
    are to be span apart there too. So the circle is cut into ``size // span`` groups of nearly equal size, and colours
    count from the beginning of a group.
    """
    outputs = np.arange(axis.out)
    if axis.zero_outside:
        return _under_zeros(replace(axis, boundary=ZERO), outputs)
    if axis.boundary is WRAP:
        # The end of the stretched input is one position before its beginning, and not a whole input dilation.
        span = (axis.span - 2) // axis.input_dilation + 2
        colours = _around(axis.size, min(span, axis.size))
        starts = -(-((outputs * axis.stride - axis.lo) % axis.stretched) // axis.input_dilation)
    else:
        span = -(-axis.span // axis.input_dilation)
        colours = np.arange(axis.size) % span
        starts = np.minimum(axis.extent(outputs)[0], axis.size - span)
    if span >= axis.size:
        return alone(axis.size)
    return from_windows(colours, (starts[:, None] + np.arange(span)) % axis.size)


def alone(size: int) -> Combs:
    """Return combs of one tooth each, for outputs that may read every input."""
    return Combs(np.arange(size), np.arange(size)[None])


def from_windows(colours: IntArray, windows: IntArray) -> Combs:
    """Return the combs of these colours for outputs that read these inputs, one row an output; -1 stands for none."""
    teeth = np.full((len(windows), int(colours.max(initial=0)) + 1), NOTHING)
    is_input = (windows >= 0) & (windows < colours.size)
    inputs = windows[is_input]
    teeth[np.nonzero(is_input)[0], colours[inputs]] = inputs
    return Combs(colours, teeth)


def from_reads(reads: IntArray) -> Combs:
    """Return combs of few colours for any pattern (outputs, inputs) that is not zero where an output reads an input.

    Input after input gets the least colour that none before it has with which it shares an output. For windows that are
    intervals, these are as many colours as the longest has inputs.
    """
    size = reads.shape[1]
    shared = (reads.T.astype(np.float32) @ reads.astype(np.float32)) > 0
    colours = np.zeros(size, np.int64)
    for j in range(size):
        taken = np.zeros(j + 1, bool)
        taken[colours[:j][shared[j, :j]]] = True
        colours[j] = taken.argmin()
    return from_windows(colours, np.where(reads, np.arange(size), NOTHING))


def _under_zeros(axis: Axis, outputs: IntArray) -> Combs:
    """Return the combs of an axis that reads zeros outside."""
    first, counts, step = axis.reading(outputs)
    apart = axis.dilation // gcd(axis.dilation, axis.input_dilation)  # inputs from one that is read to the next
    starts = (outputs * axis.stride - axis.lo + first * axis.dilation) // axis.input_dilation
    taps = np.arange(max(min(-(-axis.kernel // step), -(-axis.size // apart)), 1))
    windows = np.where((taps < counts[:, None]), starts[:, None] + taps * apart, NOTHING)
    return from_windows(np.arange(axis.size) // apart % taps.size, windows)


def _around(size: int, span: int) -> IntArray:
    """Return colours of the inputs of a circle: any two of one colour are at least ``span`` apart."""
    groups = size // span
    group = (np.arange(size) * groups + groups - 1) // size
    begins = np.arange(groups) * size // groups
    return np.arange(size) - begins[group]
