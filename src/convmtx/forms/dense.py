"""The dense matrix in NumPy: an array of zeros, and one strided write for each rectangle of outputs.

`libraries` builds the dense matrix for PyTorch and JAX: it calls this module for tensors on the CPU, and looks up every
entry where arrays cannot be written in place or have no numbers yet.
"""

from __future__ import annotations

from itertools import product
from math import prod
from operator import add, mul
from typing import Any

import numpy as np

from convmtx.forms.layout import Strides, pick, strides
from convmtx.geometry import Geometry, Run, runs
from convmtx.typing import AnyArray, Order


def dense(geometry: Geometry, entries: AnyArray, order: Order, transposed: bool = False) -> AnyArray:
    """Return the (M, N) matrix of these entries (`entries_of`), or its transpose.

    Zeros stay as they were allocated, and their memory is never written.
    """
    matrix = np.zeros(geometry.shape[::-1] if transposed else geometry.shape, entries.dtype)
    row, column = (1, matrix.shape[1]) if transposed else (matrix.shape[1], 1)
    row_steps = strides(geometry, geometry.out_shape, order).times(row)
    column_steps = strides(geometry, geometry.in_shape, order).times(column)
    flat = matrix.reshape(-1)
    for rectangle in product(*(runs(a) for a in geometry.axes)):
        if all(run.columns.size for run in rectangle):
            _write(flat, geometry, rectangle, pick(entries, rectangle), row_steps, column_steps)
    return matrix


def _write(
    flat: AnyArray,
    geometry: Geometry,
    rectangle: tuple[Run, ...],
    values: AnyArray,
    row_steps: Strides,
    column_steps: Strides,
) -> None:
    """Write the entries of one rectangle of outputs, a run along each axis.

    The next output is ``run.step`` rows below and ``run.shift`` columns to the right, in numbers of the flat matrix
    ``run.step*N + run.shift``. So all its entries are one strided view: with N = 10, rows 1 to 8 of a kernel of 3 taps
    start at 10 and have strides (11, 1).
    """
    per_f, per_c = geometry.channels_per_group
    groups = geometry.groups
    values = values.reshape(groups, per_f, per_c, *values.shape[2:])
    output_moves = [
        row * run.step + column * run.shift
        for run, row, column in zip(rectangle, row_steps.spatial, column_steps.spatial, strict=True)
    ]
    group_move = per_f * row_steps.channel + per_c * column_steps.channel
    first = sum(row * run.start for run, row in zip(rectangle, row_steps.spatial, strict=True))
    counts = [run.count for run in rectangle]
    for segments in product(*(run.segments() for run in rectangle)):
        slots, lengths, columns, steps = zip(*segments, strict=True)
        start = first + sum(map(mul, columns, column_steps.spatial))
        shape = (*counts, groups, per_f, per_c, *lengths)
        column_moves = map(mul, steps, column_steps.spatial)
        moves = (*output_moves, group_move, row_steps.channel, column_steps.channel, *column_moves)
        if prod(shape):
            target = np.lib.stride_tricks.as_strided(flat[start:], shape, [move * flat.itemsize for move in moves])
            segment: tuple[Any, ...] = (..., *map(slice, slots, map(add, slots, lengths)))
            target[...] = values[segment]
