"""Rows of the map from a kernel to the outputs of one input, or of its transpose: entries are numbers of that input."""

from __future__ import annotations

from functools import reduce
from math import prod

import numpy as np

from convmtx import memory
from convmtx.boundary import NOTHING
from convmtx.forms.layout import index_dtype, row_array
from convmtx.forms.listed import Digit, count, spread
from convmtx.geometry import Geometry, Layout, Lists
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, IntArray, Order, RowNumbers, Shape


def windows(
    geometry: Geometry, x: AnyArray, batch: Shape, order: Order, wanted: RowNumbers, transposed: bool
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return data, indices, indptr of these rows; x is (N, C, n1..nd), with the samples of ``batch`` flattened."""
    memory.require("rows", {"rows": 8 * (3 + len(geometry.axes)) * len(wanted)})
    look_up = _of_taps if transposed else _of_outputs
    digits, columns, numbers = look_up(geometry, batch, order, row_array(wanted))
    pointers = np.concatenate([np.zeros(1, np.int64), np.cumsum(count(digits, columns.size))])
    total = int(pointers[-1])
    width = prod((*batch, *geometry.out_shape) if transposed else geometry.kernel_shape)
    index = index_dtype(total, len(wanted), width)
    memory.require("rows", {"rows": total * (x.dtype.itemsize + np.dtype(index).itemsize)})
    data, indices, at = np.empty(total, x.dtype), np.empty(total, index), 0
    table, flat = _kernel_places(geometry, order), x.reshape(-1)
    for places, inputs in spread(digits, columns, numbers):
        here = slice(at, at + places.size)
        indices[here] = places if transposed else table[places]
        data[here] = flat[inputs]
        at = here.stop
    return data, indices, pointers.astype(index)


def _kernel_places(geometry: Geometry, order: Order) -> IntArray:
    """Place in the flattened kernel of each tap (F, C/groups, k1..kd)."""
    shape = geometry.kernel_shape
    return taps_of(geometry, np.arange(prod(shape)).reshape(shape, order=order)).reshape(-1)


def _of_outputs(
    geometry: Geometry, batch: Shape, order: Order, rows: IntArray
) -> tuple[list[Digit], IntArray, IntArray]:
    """Look up outputs: the taps that read an input, counted as (F, C/groups, k1..kd), and which input."""
    sample, filters, outputs = _unraveled(geometry, batch, order, rows)
    per_f, per_c = geometry.channels_per_group
    taps, inputs = (tuple(getattr(a, name) for a in geometry.axes) for name in ("kernel", "size"))
    channels = np.arange(geometry.in_channels)
    starts = np.arange(geometry.groups + 1) * per_c
    digits = [Digit(Lists(starts, channels % per_c * prod(taps), channels * prod(inputs)), filters // per_f)]
    for j, (axis, own) in enumerate(zip(geometry.axes, outputs, strict=True)):
        chosen, which = np.unique(own, return_inverse=True)
        table = axis.read(chosen[:, None], np.arange(axis.kernel))
        digits.append(Digit(_inside(table, prod(taps[j + 1 :]), prod(inputs[j + 1 :])), which))
    return digits, filters * (per_c * prod(taps)), sample * (geometry.in_channels * prod(inputs))


def _of_taps(geometry: Geometry, batch: Shape, order: Order, rows: IntArray) -> tuple[list[Digit], IntArray, IntArray]:
    """Look up taps: the outputs that read an input through them, and which input."""
    per_f, per_c = geometry.channels_per_group
    taps, inputs = (tuple(getattr(a, name) for a in geometry.axes) for name in ("kernel", "size"))
    place = np.argsort(_kernel_places(geometry, order))[rows]
    filters, channels, *own = np.unravel_index(place, (geometry.out_channels, per_c, *taps))
    shape = (*batch, *geometry.out_shape)
    steps = [prod(shape[j + 1 :] if order == "C" else shape[:j]) for j in range(len(shape))]
    along = [np.arange(size) * step for size, step in zip(batch, steps, strict=False)]
    first = reduce(np.add.outer, along, np.zeros((), np.int64)).reshape(-1)
    by_place = np.argsort(first)
    each = geometry.in_channels * prod(inputs)
    lists = Lists(np.array([0, first.size]), first[by_place], by_place * each)
    digits, spatial = [Digit(lists, np.zeros_like(rows))], steps[len(batch) :]
    step = 0
    if geometry.layout is not Layout.PLAIN:
        step = spatial.pop(-1 if geometry.layout is Layout.LAST else 0)
    for j, (axis, tap) in enumerate(zip(geometry.axes, own, strict=True)):
        chosen, which = np.unique(tap, return_inverse=True)
        table = axis.read(np.arange(axis.out), chosen[:, None])
        digits.append(Digit(_inside(table, spatial[j], prod(inputs[j + 1 :])), which))
    first_input = (filters // per_f * per_c + channels) * prod(inputs)
    return digits if order == "C" else digits[::-1], filters * step, first_input


def _inside(table: IntArray, step: int, input_step: int) -> Lists:
    """Return for each row of a table the places where an input is read, and that input."""
    lists, places = np.nonzero(table != NOTHING)
    starts = np.concatenate([[0], np.cumsum(np.bincount(lists, minlength=len(table)))])
    return Lists(starts, places * step, table[lists, places] * input_step)


def _unraveled(
    geometry: Geometry, batch: Shape, order: Order, rows: IntArray
) -> tuple[IntArray, IntArray, tuple[IntArray, ...]]:
    """Return sample, filter and place along each axis of flattened outputs."""
    digits = np.unravel_index(rows, (*batch, *geometry.out_shape), order)
    sample, own = np.zeros_like(rows), digits[len(batch) :]
    for part, size in zip(digits, batch, strict=False):
        sample = sample * size + part
    if geometry.layout is Layout.PLAIN:
        return sample, np.zeros_like(rows), own
    return (sample, own[-1], own[:-1]) if geometry.layout is Layout.LAST else (sample, own[0], own[1:])
