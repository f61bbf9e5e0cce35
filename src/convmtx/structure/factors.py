"""Kernels that are outer products: the vector along one axis, and what is left."""

from __future__ import annotations

from math import prod

import numpy as np

from convmtx.typing import AnyArray


def separated(taps: AnyArray, axis: int) -> tuple[AnyArray | None, AnyArray]:
    """The vector along an axis and the taps of the others whose outer product the taps are, to rounding; or None."""
    vector, rest, values = nearest(taps, axis)
    if not values[0] or values[1:].sum() > 4 * np.finfo(float).eps * values[0] * prod(taps.shape) ** 0.5:
        return None, taps
    return vector, rest


def nearest(taps: AnyArray, axis: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """The vector along an axis and the taps of the others whose outer product is nearest; all singular values."""
    lines = np.moveaxis(taps, axis + 2, 0)
    u, s, v = np.linalg.svd(lines.reshape(len(lines), -1), full_matrices=False)
    return u[:, 0] * s[0], v[0].reshape(lines.shape[1:]), s
