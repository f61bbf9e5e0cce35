"""Indices of arrays: what NumPy takes between brackets as places or steps, and the matrix that picks places."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import as_numpy, cast, is_numpy, like
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentError, shown
from convmtx.forms import storable
from convmtx.typing import Array, IntArray, Shape


def places_of(shape: Shape, key: Any) -> IntArray:
    """Return the places of the flattened array that an index of NumPy picks, in the shape of what it picks."""
    if hasattr(key, "__dlpack__") and not is_numpy(key):
        key = as_numpy(key)
    try:
        # Place numbers are sums of one number for each axis, whose arrays are views that take no memory.
        along = [np.broadcast_to(number, shape)[key] for number in np.ogrid[tuple(slice(n) for n in shape)]]
        size = 8 * prod(np.shape(along[0]))
        memory.require_result("the numbers of the entries that are picked", size, "Select fewer")
        return np.asarray(sum(part * prod(shape[a + 1 :]) for a, part in enumerate(along)))
    except (IndexError, TypeError, ValueError) as error:
        expected = f"Expected an index of an array of shape {shape}"
        raise ArgumentError(f"key={shown(key)} ({error})", expected, "Pass what x[key] takes") from None


def picking(columns: IntArray, width: int, array: Array) -> Any:
    """Return the sparse matrix, in an array's library and type, whose rows have a 1 in these columns."""
    from scipy.sparse import csr_array

    ones, pointers = np.ones(columns.size, np.int8), np.arange(columns.size + 1)
    if is_numpy(array):
        return csr_array((storable(ones.astype(array.dtype)), columns, pointers), shape=(columns.size, width))
    return Coordinates.compress(cast(like(ones, array), array.dtype), columns, pointers, width)


def steps_of(key: Any, shape: Shape) -> list[tuple[range, bool]] | None:
    """Return the positions that an index picks along each axis, and whether the axis is kept; None for other indices.

    They are those of integers and of slices that pick something, going forwards.
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    if not all(k is Ellipsis or isinstance(k, slice) or type(k) is int for k in keys) or keys.count(Ellipsis) > 1:
        return None
    rest = len(shape) - (len(keys) - keys.count(Ellipsis))
    if rest < 0:
        return None
    at = keys.index(Ellipsis) if Ellipsis in keys else len(keys)
    keys[at : at + 1] = [slice(None)] * rest
    picked = []
    for k, size in zip(keys, shape, strict=True):
        if isinstance(k, slice) and k.step == 0:
            return None
        if isinstance(k, slice):
            steps = range(*k.indices(size))
        elif -size <= k < size:
            steps = range(k % size, k % size + 1)
        else:
            return None
        if not steps or steps.step < 0:
            return None
        picked.append((steps, isinstance(k, slice)))
    return picked
