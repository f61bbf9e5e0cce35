"""Sums of arrays that come one after the other."""

from __future__ import annotations

from collections.abc import Iterable

from convmtx._xp import is_numpy, together
from convmtx.typing import Array


def added(arrays: Iterable[Array]) -> Array:
    """Return the sum of arrays, each of which is computed when it is added; NumPy's join the library of the others."""
    total, is_own = None, False
    for array in arrays:
        if total is None:
            total = array
        elif is_own and is_numpy(total) and is_numpy(array) and array.dtype == total.dtype:
            total += array
        else:
            total, array = together(total, array)
            total, is_own = total + array, True  # new memory, and not that of a term
    return total
