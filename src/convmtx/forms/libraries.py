"""Forms in PyTorch, JAX and CuPy: every entry is taken from the kernel, so that gradients with respect to it exist.

These are twins of `dense` and `row_ranges`, for two reasons. Arrays of other libraries may not be writable in place.
And inside JAX's jit an array of the size of the matrix, computed by NumPy, would be stored in the program as a
constant. So for JAX the indices are computed in the traced program itself, from one small table for each axis.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np

import convmtx.forms.dense as numpy_forms
from convmtx import memory
from convmtx._xp import itemsize, library, like, move_axes, namespace, pytorch, reshape, scatter, summed_at
from convmtx._xp.sparse import Coordinates, build
from convmtx.forms.filling import compressed_arrays
from convmtx.forms.layout import index_dtype, strides
from convmtx.forms.row_lookup import compress
from convmtx.forms.row_ranges import Rows, can_cut, cut_rows
from convmtx.forms.sparse import entries_in_rows, transpose, transposed_pieces
from convmtx.geometry import Axis, Geometry, runs
from convmtx.taps import entries_of, swap_channels, wider
from convmtx.typing import AnyArray, Array, Order, RowNumbers, SparseFormat


class Table(NamedTuple):
    """Inputs and entry numbers that each output of an axis reads, ascending: two arrays (out, width).

    Outputs that read less than ``width`` inputs are filled up with -1.
    """

    columns: Any
    entries: Any


def table(axis: Axis, xp: Any) -> Table:
    """Return the table of an axis in integer arrays of ``xp``, in which runs are written out."""
    width = max(run.columns.size for run in runs(axis))
    places, columns, entries = [], [], []
    for run in runs(axis):
        step = xp.arange(run.count)[:, None]
        slots = np.arange(run.columns.size)
        places.append(xp.reshape((run.start + step * run.step) * width + slots, (-1,)))
        columns.append(xp.reshape(np.asarray(run.columns) + step * run.shift, (-1,)))
        entries.append(xp.reshape(np.asarray(run.entries) + 0 * step, (-1,)))
    at, shape = xp.concat(places), (axis.out, width)
    return Table(*(xp.reshape(scatter(shape, -1, at, xp.concat(part)), shape) for part in (columns, entries)))


def integers(array: Array) -> Any:
    """Return the module that computes indices for forms in this array's library: JAX's own for JAX, else NumPy."""
    return namespace(array) if library(array) == "jax" else np


def dense(geometry: Geometry, entries: Array, order: Order) -> Array:
    """Return the (M, N) matrix of these entries.

    Tensors that NumPy can read are written by `forms.dense`, with a gradient of their own.
    """
    if library(entries) == "torch":
        from convmtx._xp import pytorch

        if pytorch.able(entries):
            return pytorch.linear(
                lambda values: numpy_forms.dense(geometry, values, order),
                lambda gradient: _sum_by_entry(geometry, gradient, order, tuple(entries.shape)),
                entries,
            )
    return _look_up_every_place(geometry, entries, order)


def _sum_by_entry(geometry: Geometry, matrix: Array, order: Order, sizes: tuple[int, ...]) -> Array:
    """Return for each entry the sum of a matrix over the places where it stands: the transpose of `dense`."""
    numbers, columns, pointers = _numbers(sizes, cut_rows(geometry, order, None))
    rows = np.repeat(np.arange(geometry.shape[0]), np.diff(pointers))
    places = like(rows * geometry.shape[1] + columns, matrix)
    return reshape(summed_at(prod(sizes), like(numbers, matrix), matrix.reshape(-1)[places]), sizes)


def _look_up_every_place(geometry: Geometry, entries: Array, order: Order) -> Array:
    """Return the (M, N) matrix by look-up: along one axis after the other, for every pair (o, i) of places.

    The axis of entries becomes the two axes o and i. Pairs that no tap joins read a zero that is put behind the
    entries.
    """
    xp, xi = namespace(entries), integers(entries)
    tensor = wider(entries, geometry.groups, 1)
    d = len(geometry.axes)
    for j, axis in enumerate(geometry.axes):
        at = 2 + 2 * j
        zero_number = tensor.shape[at]
        zero = xp.zeros_like(tensor[(slice(None),) * at + (slice(0, 1), ...)])
        tensor = xp.concat([tensor, zero], axis=at)
        columns, numbers = table(axis, xi)
        rows = xi.arange(axis.out)[:, None] * axis.size
        # The table's -1 are written to one place more, which is cut off.
        end = axis.out * axis.size
        places = xi.where(columns < 0, end, rows + columns)
        lookup = scatter((end + 1,), zero_number, xi.reshape(places, (-1,)), xi.reshape(numbers, (-1,)))[:end]
        tensor = xp.take(tensor, like(lookup, entries), axis=at)
        tensor = xp.reshape(tensor, (*tensor.shape[:at], axis.out, axis.size, *tensor.shape[at + 1 :]))
    # The axes are now filter, channel, o1, i1, ..., od, id.
    outs = geometry.layout.join(0, tuple(range(2, 2 + 2 * d, 2)))
    ins = geometry.layout.join(1, tuple(range(3, 3 + 2 * d, 2)))
    if len(outs) == d:  # without channels
        tensor, outs, ins = tensor[0, 0, ...], tuple(a - 2 for a in outs), tuple(a - 2 for a in ins)
    if order == "F":
        outs, ins = outs[::-1], ins[::-1]
    return xp.reshape(move_axes(tensor, *outs, *ins), geometry.shape)


def coordinates(geometry: Geometry, order: Order, sizes: tuple[int, ...], xi: Any) -> tuple[Any, Any, Any]:
    """Return entry number, row and column of every stored entry, in row order, as integers of ``xi``.

    ``sizes`` is the shape of the entries. All entries are computed as one box whose axes are the outputs and the filter
    (slowest first), then the slots and the channel that each of them reads. Slots that are -1 in the table are left
    out. `filling.compressed_arrays` gives the same entries faster, where NumPy can fill arrays in place.
    """
    d = len(geometry.axes)
    per_f, per_c = geometry.channels_per_group
    row_step = strides(geometry, geometry.out_shape, order)
    column_step = strides(geometry, geometry.in_shape, order)
    dims = geometry.layout.join(d, tuple(range(d)))  # d stands for the channel
    dims = dims if order == "C" else dims[::-1]
    dims = dims if d in dims else (d, *dims)

    def along(values: Any, out: int | None, into: int | None) -> Any:
        """Reshape values (out, in) of one axis to the axes of the box, at these two axes."""
        shape = [1] * (2 * d + 2)
        for at, size in zip((out, into), values.shape, strict=True):
            if at is not None:
                shape[at] = size
        return xi.reshape(values, tuple(shape))

    at_out = {a: dims.index(a) for a in dims}
    at_in = {a: d + 1 + dims.index(a) for a in dims}
    dtype = index_dtype(geometry.nnz, *geometry.shape, prod(sizes))
    filters = xi.arange(geometry.out_channels, dtype=dtype)[:, None]
    channels = xi.arange(per_c, dtype=dtype)[None, :]
    row = along(filters, at_out[d], None) * row_step.channel
    column = along((filters // per_f * per_c + channels) * column_step.channel, at_out[d], at_in[d])
    number = along((filters * per_c + channels) * prod(sizes[2:]), at_out[d], at_in[d])
    is_stored: Any = True
    for j, axis in enumerate(geometry.axes):
        columns, entries = table(axis, xi)
        is_stored = is_stored & along(columns >= 0, at_out[j], at_in[j])
        row = row + along(xi.arange(axis.out, dtype=dtype)[:, None], at_out[j], None) * row_step.spatial[j]
        column = column + along(columns, at_out[j], at_in[j]) * column_step.spatial[j]
        number = number + along(entries, at_out[j], at_in[j]) * prod(sizes[3 + j :])
    box = np.broadcast_shapes(column.shape, is_stored.shape, row.shape)
    flat = [xi.reshape(xi.broadcast_to(part, box), (-1,)) for part in (number, row, column)]
    if prod(box) == geometry.nnz:
        return tuple(flat)
    stored = xi.reshape(xi.broadcast_to(is_stored, box), (-1,))
    options = {} if xi is np else {"size": geometry.nnz}  # JAX traces arrays of known size only
    kept = xi.nonzero(stored, **options)[0]
    return tuple(part[kept] for part in flat)


def sparse(geometry: Geometry, kernel: Array, format: SparseFormat, order: Order) -> Any:
    """Return the matrix as a sparse array of the kernel's library; its values keep the kernel's gradient."""
    if library(kernel) == "jax":
        entries = entries_of(geometry, kernel)
        xp, sizes = namespace(kernel), tuple(entries.shape)
        numbers, *places = coordinates(geometry, order, sizes, xp)
        return build(format, xp.take(xp.reshape(entries, (-1,)), numbers, axis=0), places, geometry.shape)
    pieces = cut_rows(geometry, order, None)
    if format == "csc" and library(kernel) == "torch":
        pieces = transpose(pieces)
    item = itemsize(kernel.dtype)
    memory.require("coo", {"coo": geometry.nnz * (item + 2 * 8)}, geometry.nnz * 2 * 8)
    values, *places = _compressed(geometry, kernel, pieces)
    return build(format, values, places, geometry.shape)


def _compressed(geometry: Geometry, kernel: Array, pieces: list[Rows]) -> tuple[Array, AnyArray, AnyArray]:
    """Return values in the kernel's library, and indices and pointers in NumPy, of all rows or columns.

    Values that nothing differentiates are filled by NumPy, and others are taken from the kernel by their numbers.
    """
    entries = entries_of(geometry, kernel)
    if pieces[0].transposed:
        entries = swap_channels(entries, geometry.groups)
    if library(kernel) == "torch" and pytorch.able(entries):
        return _filled(entries, pieces)
    numbers, *places = _numbers(tuple(entries.shape), pieces)
    return namespace(kernel).take(reshape(entries, (-1,)), like(numbers, kernel), axis=0), places[0], places[1]


def _numbers(sizes: tuple[int, ...], pieces: list[Rows]) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return the number of each entry, of entries of these sizes, and indices and pointers."""
    numbers = np.arange(prod(sizes)).reshape(sizes)
    return compressed_arrays(pieces, lambda _: numbers, np.dtype(np.int64), index=np.int64)


def _filled(entries: Array, pieces: list[Rows]) -> tuple[Array, AnyArray, AnyArray]:
    """Return values that NumPy fills, with a gradient of their own: the sum over the places of each entry."""
    sizes, places = tuple(entries.shape), list[AnyArray]()

    def fill(values: AnyArray) -> AnyArray:
        filled, *places[:] = compressed_arrays(pieces, lambda _: values, values.dtype, index=np.int64)
        return filled

    def sum_by_entry(gradient: Array) -> Array:
        numbers = like(_numbers(sizes, pieces)[0], gradient)
        return reshape(summed_at(prod(sizes), numbers, gradient), sizes)

    if pytorch.is_constant(entries):
        values = like(fill(entries.resolve_conj().resolve_neg().numpy()), entries)
    else:
        values = pytorch.linear(fill, sum_by_entry, entries)
    return values, places[0], places[1]


def by_coordinates(
    geometry: Geometry, kernel: Array, order: Order, wanted: RowNumbers | None, transposed: bool = False
) -> Coordinates:
    """Return all of the matrix, or some rows of it or of its transpose, with the pattern in NumPy.

    The values keep the kernel's gradient. The pattern comes from `row_ranges` or `row_lookup`, which fill an array with
    the numbers of the entries, and these are taken from the kernel.
    """
    if transposed:
        assert wanted is not None
        pieces = transposed_pieces(geometry, order, wanted)
    else:
        pieces = cut_rows(geometry, order, wanted) if can_cut(wanted, geometry, order) else None
    if pieces is None:
        assert wanted is not None
        arrays = compress(geometry, kernel, order, wanted, transposed)
        return Coordinates.compress(*arrays, geometry.shape[0 if transposed else 1])
    nnz = sum(rows.nnz for rows in pieces)
    form = "coo" if wanted is None else "rows"
    memory.require(form, {form: nnz * (itemsize(kernel.dtype) + 2 * 8)}, nnz * 2 * 8)
    parts: list[Array] = []

    def numbers(rows: Rows) -> AnyArray:
        entries = entries_in_rows(geometry, kernel, rows)
        first = sum(prod(part.shape) for part in parts)
        parts.append(reshape(entries, (-1,)))
        return np.arange(first, first + prod(entries.shape)).reshape(entries.shape)

    places, columns, pointers = compressed_arrays(pieces, numbers, np.dtype(np.int64))
    xp = namespace(kernel)
    values = xp.take(xp.concat(parts) if parts else reshape(kernel, (-1,)), like(places, kernel), axis=0)
    return Coordinates.compress(values, columns, pointers, geometry.shape[0 if transposed else 1])
