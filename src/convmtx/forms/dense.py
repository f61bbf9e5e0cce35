"""Geometry and kernel to the dense matrix: zeros, and one strided write per run."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from convmtx.forms.layout import Strides, picked, strides
from convmtx.geometry import Geometry, Run, runs
from convmtx.typing import AnyArray, Order


def dense(geometry: Geometry, entries: AnyArray, order: Order, transposed: bool = False) -> AnyArray:
    """The (M, N) matrix of these entries (`entries_of`), or its transpose.

    What is no entry stays untouched zeros: no memory traffic.
    """
    matrix = np.zeros(geometry.shape[::-1] if transposed else geometry.shape, entries.dtype)
    row, column = (1, matrix.shape[1]) if transposed else (matrix.shape[1], 1)
    rows_at = strides(geometry, geometry.out_shape, order).times(row)
    columns_at = strides(geometry, geometry.in_shape, order).times(column)
    flat = matrix.reshape(-1)
    for chosen in product(*(runs(a) for a in geometry.axes)):
        if all(run.columns.size for run in chosen):
            _write(flat, geometry, chosen, picked(entries, chosen), rows_at, columns_at)
    return matrix


def _write(
    flat: AnyArray, geometry: Geometry, chosen: tuple[Run, ...], values: AnyArray, rows_at: Strides, columns_at: Strides
) -> None:
    """One rectangle of outputs. Moving one output on moves row and column by fixed amounts: a strided view."""
    per_f, per_c = geometry.channels_per_group
    groups = geometry.groups
    values = values.reshape(groups, per_f, per_c, *values.shape[2:])
    moves = [
        r * run.step + c * run.shift for run, r, c in zip(chosen, rows_at.spatial, columns_at.spatial, strict=True)
    ]
    group_move = per_f * rows_at.channel + per_c * columns_at.channel
    first = sum(r * run.start for run, r in zip(chosen, rows_at.spatial, strict=True))
    for pieces in product(*(run.segments() for run in chosen)):
        start = first + sum(p[2] * c for p, c in zip(pieces, columns_at.spatial, strict=True))
        shape = (*(run.count for run in chosen), groups, per_f, per_c, *(p[1] for p in pieces))
        jumps = (
            *moves, group_move, rows_at.channel, columns_at.channel,
            *(p[3] * c for p, c in zip(pieces, columns_at.spatial, strict=True)),
        )  # fmt: skip
        if prod(shape):
            target = np.lib.stride_tricks.as_strided(flat[start:], shape, [j * flat.itemsize for j in jumps])
            met: tuple[Any, ...] = (..., *(slice(p[0], p[0] + p[1]) for p in pieces))
            target[...] = values[met]
