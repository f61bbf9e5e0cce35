"""The definition itself, one tap at a time: each reads the inputs that exist, and no padding is ever multiplied.

Slow, and right for kernels that hold inf or nan, where the zeros that other engines pad with would make
nan of them: inf * 0.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.engines.direct import by_group
from convmtx.geometry import Geometry
from convmtx.typing import AnyArray


def forward(geometry: Geometry, taps: AnyArray, x: AnyArray) -> AnyArray:
    """Apply to a batch: x (B, *in_shape) to (B, *out_shape)."""
    y = np.zeros((x.shape[0], *geometry.out_shape), np.result_type(taps, x))
    _add_up(geometry, taps, x, y, transposed=False)
    return y


def transposed(geometry: Geometry, taps: AnyArray, y: AnyArray) -> AnyArray:
    """Apply the transpose to a batch: y (B, *out_shape) to (B, *in_shape)."""
    x = np.zeros((y.shape[0], *geometry.in_shape), np.result_type(taps, y))
    _add_up(geometry, taps, x, y, transposed=True)
    return x


def _add_up(geometry: Geometry, taps: AnyArray, x: AnyArray, y: AnyArray, *, transposed: bool) -> None:
    per_f, per_c = geometry.channels_per_group
    kernel = np.moveaxis(taps.reshape(geometry.groups, per_f, per_c, -1), -1, 0)
    inputs = by_group(geometry, x, geometry.in_channels)
    outputs = by_group(geometry, y, geometry.out_channels)
    rows = [[np.flatnonzero(column != NOTHING) for column in a.table().T] for a in geometry.axes]
    columns = [[column[column != NOTHING] for column in a.table().T] for a in geometry.axes]
    for matrix, tap in zip(kernel, product(*(range(a.kernel) for a in geometry.axes)), strict=True):
        o: tuple[Any, ...] = (..., *np.ix_(*(rows[j][p] for j, p in enumerate(tap))))
        i: tuple[Any, ...] = (..., *np.ix_(*(columns[j][p] for j, p in enumerate(tap))))
        if transposed:  # several outputs may read one input through one tap, so the addition is unbuffered
            np.add.at(inputs, i, np.einsum("gfc,bgf...->bgc...", matrix, outputs[o]))
        else:
            outputs[o] += np.einsum("gfc,bgc...->bgf...", matrix, inputs[i])
