"""Compressed rows of the map from kernels to the outputs of one input, or of its transpose.

The entries of this matrix are numbers of the input; `row_lookup` has the matrix whose entries are taps.
"""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np

from convmtx import memory
from convmtx.boundary import NOTHING
from convmtx.forms.layout import index_dtype, row_array
from convmtx.forms.row_lookup import Digit, count, spread
from convmtx.geometry import Geometry, Layout, Lists
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers, Shape


def windows(
    geometry: Geometry, x: AnyArray, batch: Shape, order: Order, rows: RowNumbers, transposed: bool
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return data, indices, indptr of these rows; x is (N, C, n1..nd), with the samples of ``batch`` flattened to N."""
    memory.require("rows", {"rows": 8 * (3 + len(geometry.axes)) * len(rows)})
    look_up = _look_up_taps if transposed else _look_up_outputs
    digits, columns, numbers = look_up(geometry, batch, order, row_array(rows))
    pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(count(digits, columns.size))])
    total = int(pointers[-1])
    width = prod((*batch, *geometry.out_shape) if transposed else geometry.kernel_shape)
    index = index_dtype(total, len(rows), width)
    memory.require("rows", {"rows": total * (x.dtype.itemsize + np.dtype(index).itemsize)})
    data, indices, at = np.empty(total, x.dtype), np.empty(total, index), 0
    table, flat = _kernel_places(geometry, order), x.reshape(-1)
    for places, inputs in spread(digits, columns, numbers):
        span = slice(at, at + places.size)
        indices[span] = places if transposed else table[places]
        data[span] = flat[inputs]
        at = span.stop
    return data, indices, pointers.astype(index)


def _kernel_places(geometry: Geometry, order: Order) -> IntArray:
    """Return the place of each tap (F, C/groups, k1..kd) in the flattened kernel array."""
    shape = geometry.kernel_shape
    return taps_of(geometry, np.arange(prod(shape)).reshape(shape, order=order)).reshape(-1)


def _look_up_outputs(
    geometry: Geometry, batch: Shape, order: Order, rows: IntArray
) -> tuple[list[Digit], IntArray, IntArray]:
    """Look up rows that are outputs: for each output the taps that read an input, and which input they read.

    Return the lists of each axis, and the numbers of the first tap and of the first input of each row. Taps are
    numbered in the order (F, C/groups, k1..kd), inputs in the order (N, C, n1..nd).
    """
    sample, filters, outputs = _unravel(geometry, batch, order, rows)
    per_f, per_c = geometry.channels_per_group
    taps, inputs = (tuple(getattr(a, name) for a in geometry.axes) for name in ("kernel", "size"))
    channels = np.arange(geometry.in_channels)
    starts = np.arange(geometry.groups + 1) * per_c
    digits = [Digit(Lists(starts, channels % per_c * prod(taps), channels * prod(inputs)), filters // per_f)]
    for j, (axis, places) in enumerate(zip(geometry.axes, outputs, strict=True)):
        different, which = np.unique(places, return_inverse=True)
        table = axis.read(different[:, None], np.arange(axis.kernel))
        digits.append(Digit(_lists_of(table, prod(taps[j + 1 :]), prod(inputs[j + 1 :])), which))
    return digits, filters * (per_c * prod(taps)), sample * (geometry.in_channels * prod(inputs))


def _look_up_taps(
    geometry: Geometry, batch: Shape, order: Order, rows: IntArray
) -> tuple[list[Digit], IntArray, IntArray]:
    """Look up rows that are taps: for each tap the outputs that read an input through it, and which input they read.

    Return the lists of each axis (the samples of the batch are one more), and the numbers of the first output and of
    the first input of each row.
    """
    per_f, per_c = geometry.channels_per_group
    taps, inputs = (tuple(getattr(a, name) for a in geometry.axes) for name in ("kernel", "size"))
    place = np.argsort(_kernel_places(geometry, order))[rows]
    filters, channels, *tap_places = np.unravel_index(place, (geometry.out_channels, per_c, *taps))
    shape = (*batch, *geometry.out_shape)
    steps = [prod(shape[j + 1 :] if order == "C" else shape[:j]) for j in range(len(shape))]
    # One list holds the first output of every sample, ascending, beside the first input of that sample.
    along_batch = [np.arange(size) * step for size, step in zip(batch, steps, strict=False)]
    first_output = reduce(np.add.outer, along_batch, np.zeros((), np.int64)).reshape(-1)
    samples = np.argsort(first_output)
    inputs_per_sample = geometry.in_channels * prod(inputs)
    lists = Lists(np.array([0, samples.size]), first_output[samples], samples * inputs_per_sample)
    digits, output_steps = [Digit(lists, np.zeros_like(rows))], steps[len(batch) :]
    filter_step = 0
    if geometry.layout is not Layout.PLAIN:
        filter_step = output_steps.pop(-1 if geometry.layout is Layout.LAST else 0)
    for j, (axis, places) in enumerate(zip(geometry.axes, tap_places, strict=True)):
        different, which = np.unique(places, return_inverse=True)
        table = axis.read(np.arange(axis.out), different[:, None])
        digits.append(Digit(_lists_of(table, output_steps[j], prod(inputs[j + 1 :])), which))
    first_input = (filters // per_f * per_c + channels) * prod(inputs)
    return digits if order == "C" else digits[::-1], filters * filter_step, first_input


def _lists_of(table: IntArray, step: int, input_step: int) -> Lists:
    """Return for each row of a table the places where an input is read, with that input beside each."""
    lists, places = np.nonzero(table != NOTHING)
    starts = np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=len(table)))])
    return Lists(starts, places * step, table[lists, places] * input_step)


def _unravel(
    geometry: Geometry, batch: Shape, order: Order, rows: IntArray
) -> tuple[IntArray, IntArray, tuple[IntArray, ...]]:
    """Return the sample, the filter and the place along each axis of flattened outputs."""
    digits = np.unravel_index(rows, (*batch, *geometry.out_shape), order)
    sample, output = np.zeros_like(rows), digits[len(batch) :]
    for digit, size in zip(digits, batch, strict=False):
        sample = sample * size + digit
    if geometry.layout is Layout.PLAIN:
        return sample, np.zeros_like(rows), output
    if geometry.layout is Layout.LAST:
        return sample, output[-1], output[:-1]
    return sample, output[0], output[1:]
