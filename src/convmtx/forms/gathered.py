"""Forms in libraries other than NumPy: every entry is taken from the kernel, so gradients are scatters.

Which entry goes where is worked out from the geometry: in NumPy, or while JAX traces in the traced program itself,
from one small table an axis, so that no array of the size of the matrix becomes part of it.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import numpy as np

import convmtx.forms.dense as written
from convmtx import memory
from convmtx._xp import itemsize, library, like, moved, namespace, reshaped, scattered
from convmtx._xp.sparse import Coordinates, made
from convmtx.forms.filled import Rows, can_cut, csr_arrays, cut_rows
from convmtx.forms.layout import index_dtype, strides
from convmtx.forms.listed import compressed
from convmtx.geometry import Axis, Geometry, runs
from convmtx.taps import entries_of, wider
from convmtx.typing import AnyArray, Array, Order, RowNumbers, SparseFormat


class Table(NamedTuple):
    """What each output of an axis reads, in ascending order: (out, most), less than `most` being made up with -1."""

    columns: Any
    entries: Any


def table(axis: Axis, xp: Any) -> Table:
    """The axis in integer arrays of ``xp``; runs of many outputs are written out there."""
    most = max(run.columns.size for run in runs(axis))
    places, columns, entries = [], [], []
    for run in runs(axis):
        step = xp.arange(run.count)[:, None]
        width = run.columns.size
        places.append(xp.reshape((run.start + step * run.step) * most + np.arange(width), (-1,)))
        columns.append(xp.reshape(np.asarray(run.columns) + step * run.shift, (-1,)))
        entries.append(xp.reshape(np.asarray(run.entries) + 0 * step, (-1,)))
    at, shape = xp.concat(places), (axis.out, most)
    return Table(*(xp.reshape(scattered(shape, -1, at, xp.concat(each)), shape) for each in (columns, entries)))


def integers(array: Array) -> Any:
    """The module that works out indices for forms of this array's library."""
    return namespace(array) if library(array) == "jax" else np


def dense(geometry: Geometry, entries: Array, order: Order) -> Array:
    """The (M, N) matrix of these entries."""
    if library(entries) == "torch":
        from convmtx._xp import pytorch

        if pytorch.able(entries):
            return pytorch.linear(
                lambda values: written.dense(geometry, values, order),
                lambda gradient: _collected(geometry, gradient, order, tuple(entries.shape)),
                entries,
            )
    return _looked_up(geometry, entries, order)


def _collected(geometry: Geometry, matrix: Array, order: Order, sizes: tuple[int, ...]) -> Array:
    """The transpose of `dense`, of tensors: for each entry the sum of what stands in its places."""
    pieces = cut_rows(geometry, order, None)
    numbers, columns, pointers = csr_arrays(pieces, lambda _: np.arange(prod(sizes)).reshape(sizes), np.dtype(np.int64))
    rows = np.repeat(np.arange(geometry.shape[0]), np.diff(pointers))
    places = like(rows * geometry.shape[1] + columns, matrix)
    zeros = matrix.new_zeros(prod(sizes))
    return zeros.index_add(0, like(numbers, matrix), matrix.reshape(-1)[places]).reshape(sizes)


def _looked_up(geometry: Geometry, entries: Array, order: Order) -> Array:
    """The (M, N) matrix: along one axis after the other, entry (o, i) is looked up."""
    xp, xi = namespace(entries), integers(entries)
    found = wider(entries, geometry.groups, 1)
    d = len(geometry.axes)
    for j, axis in enumerate(geometry.axes):
        at = 2 + 2 * j
        nothing = found.shape[at]  # the number of a zero put behind the entries
        zero = xp.zeros_like(found[(slice(None),) * at + (slice(0, 1), ...)])
        found = xp.concat([found, zero], axis=at)
        columns, numbers = table(axis, xi)
        rows = xi.arange(axis.out)[:, None] * axis.size
        beyond = axis.out * axis.size
        places = xi.where(columns < 0, beyond, rows + columns)
        lookup = scattered((beyond + 1,), nothing, xi.reshape(places, (-1,)), xi.reshape(numbers, (-1,)))[:beyond]
        found = xp.take(found, like(lookup, entries), axis=at)
        found = xp.reshape(found, (*found.shape[:at], axis.out, axis.size, *found.shape[at + 1 :]))
    outs = geometry.layout.join(0, tuple(range(2, 2 + 2 * d, 2)))
    ins = geometry.layout.join(1, tuple(range(3, 3 + 2 * d, 2)))
    if len(outs) == d:  # without channels
        found, outs, ins = found[0, 0, ...], tuple(a - 2 for a in outs), tuple(a - 2 for a in ins)
    if order == "F":
        outs, ins = outs[::-1], ins[::-1]
    return xp.reshape(moved(found, *outs, *ins), geometry.shape)


def coordinates(geometry: Geometry, order: Order, sizes: tuple[int, ...], xi: Any) -> tuple[Any, Any, Any]:
    """Number of the entry, row and column of every stored entry, in row order, as ``xi`` integers.

    ``sizes`` is the shape of the entries. A row holds a box of channels and table columns, and those that are -1
    are left out.
    """
    d = len(geometry.axes)
    per_f, per_c = geometry.channels_per_group
    row_step = strides(geometry, geometry.out_shape, order)
    column_step = strides(geometry, geometry.in_shape, order)
    dims = geometry.layout.join(d, tuple(range(d)))
    dims = dims if order == "C" else dims[::-1]
    dims = dims if d in dims else (d, *dims)

    def along(values: Any, out: int | None, into: int | None) -> Any:
        """Values (out, in) of one axis with the axes of the box: outputs, filter among them, then what each reads."""
        shape = [1] * (2 * d + 2)
        for where, size in zip((out, into), values.shape, strict=True):
            if where is not None:
                shape[where] = size
        return xi.reshape(values, tuple(shape))

    at_out = {a: dims.index(a) for a in dims}
    at_in = {a: d + 1 + dims.index(a) for a in dims}
    dtype = index_dtype(geometry.nnz, *geometry.shape, prod(sizes))
    filters = xi.arange(geometry.out_channels, dtype=dtype)[:, None]
    channels = xi.arange(per_c, dtype=dtype)[None, :]
    row = along(filters, at_out[d], None) * row_step.channel
    column = along((filters // per_f * per_c + channels) * column_step.channel, at_out[d], at_in[d])
    number = along((filters * per_c + channels) * prod(sizes[2:]), at_out[d], at_in[d])
    valid: Any = True
    for j, axis in enumerate(geometry.axes):
        columns, entries = table(axis, xi)
        valid = valid & along(columns >= 0, at_out[j], at_in[j])
        row = row + along(xi.arange(axis.out, dtype=dtype)[:, None], at_out[j], None) * row_step.spatial[j]
        column = column + along(columns, at_out[j], at_in[j]) * column_step.spatial[j]
        number = number + along(entries, at_out[j], at_in[j]) * prod(sizes[3 + j :])
    box = np.broadcast_shapes(column.shape, valid.shape, row.shape)
    flat = [xi.reshape(xi.broadcast_to(each, box), (-1,)) for each in (number, row, column)]
    if prod(box) == geometry.nnz:
        return tuple(flat)
    kept = xi.nonzero(xi.reshape(xi.broadcast_to(valid, box), (-1,)), **({} if xi is np else {"size": geometry.nnz}))[0]
    return tuple(each[kept] for each in flat)


def sparse(geometry: Geometry, kernel: Array, format: SparseFormat, order: Order) -> Any:
    """The matrix as a sparse array of the kernel's library, its values taken from the kernel."""
    if library(kernel) == "jax":
        entries = entries_of(geometry, kernel)
        xp, sizes = namespace(kernel), tuple(entries.shape)
        numbers, *places = coordinates(geometry, order, sizes, xp)
        return made(format, xp.take(xp.reshape(entries, (-1,)), numbers, axis=0), places, geometry.shape)
    return by_coordinates(geometry, kernel, order, None).made(format)


def by_coordinates(
    geometry: Geometry, kernel: Array, order: Order, wanted: RowNumbers | None, transposed: bool = False
) -> Coordinates:
    """Some rows of the matrix or of its transpose, or all of the matrix, with their pattern in NumPy."""
    if transposed or not can_cut(wanted, geometry, order):
        assert wanted is not None
        arrays = compressed(geometry, kernel, order, wanted, transposed)
        return Coordinates.compressed(*arrays, geometry.shape[0 if transposed else 1])
    pieces = cut_rows(geometry, order, wanted)
    nnz = sum(rows.nnz for rows in pieces)
    form = "coo" if wanted is None else "rows"
    memory.require(form, {form: nnz * (itemsize(kernel.dtype) + 2 * 8)}, nnz * 2 * 8)
    parts: list[Array] = []

    def numbers(rows: Rows) -> AnyArray:
        entries = entries_of(replace(geometry, axes=rows.geometry.axes), kernel, rows.filters)
        first = sum(prod(part.shape) for part in parts)
        parts.append(reshaped(entries, (-1,)))
        return np.arange(first, first + prod(entries.shape)).reshape(entries.shape)

    places, columns, pointers = csr_arrays(pieces, numbers, np.dtype(np.int64))
    xp = namespace(kernel)
    values = xp.take(xp.concat(parts) if parts else reshaped(kernel, (-1,)), like(places, kernel), axis=0)
    return Coordinates.compressed(values, columns, pointers, geometry.shape[1])
