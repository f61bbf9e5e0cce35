"""Rows that ``rows=`` requests: a slice, row numbers or a mask, as row numbers from 0 on."""

from __future__ import annotations

from array import array as buffer

import numpy as np

from convmtx._xp.arriving import LISTED_ENTRIES, require_small
from convmtx.errors import ArgumentTypeError, ConvmtxError, RowIndexError, shown
from convmtx.typing import IntArray, RowNumbers, RowsLike

#: Largest number of row numbers in a sequence that NumPy has to read one by one, at a second or two for these.
_MOST_ROWS_IN_SEQUENCE = 1 << 22


def row_indices(rows: RowsLike, count: int) -> RowNumbers:
    """Return row numbers from a slice, an array of row numbers (negative from the end) or a mask.

    They are a range if they ascend in equal steps.
    """
    expected = f"Expected a slice, a one-dimensional array of integers or a mask of {count} entries"
    remedy = "Pass for example rows=slice(0, 10)"
    try:
        if isinstance(rows, slice):
            return range(*rows.indices(count))
        if isinstance(rows, range):
            return _range(rows, count)
        is_fast = isinstance(rows, list | tuple | buffer)
        require_small("rows", rows, LISTED_ENTRIES if is_fast else _MOST_ROWS_IN_SEQUENCE)
        array = np.asarray(rows)
    except ConvmtxError:
        raise
    except Exception as error:  # the value's own __len__ or __getitem__ can raise anything
        raise ArgumentTypeError(f"rows={shown(rows)} ({error})", expected, remedy) from None
    if array.dtype == bool and array.shape == (count,):
        return _as_range(np.flatnonzero(array))
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ArgumentTypeError(f"rows of dtype {array.dtype} and shape {array.shape}", expected, remedy)
    if array.size:
        _check_rows(int(array.min()), int(array.max()), count)
    array = array.astype(np.int64)
    return _as_range(np.where(array < 0, array + count, array))


def _check_rows(least: int, most: int, count: int) -> None:
    """Refuse rows that the matrix does not have."""
    if least < -count or most >= count:
        expected = f"The matrix has rows 0 to {count - 1}, or {-count} to -1 from the end"
        bad = shown(most if most >= count else least)
        raise RowIndexError(f"row {bad}", expected, "Pass rows in that range")


def _range(rows: range, count: int) -> RowNumbers:
    """Return a range as row numbers from 0 on; it stays a range unless it goes from negative numbers to others."""
    if not rows:
        return range(0)
    least, most = sorted((rows[0], rows[-1]))
    _check_rows(least, most, count)
    if least >= 0:
        return rows
    if most < 0:
        return range(rows.start + count, rows.stop + count, rows.step)
    return _as_range(np.array(rows) % count)


def _as_range(rows: IntArray) -> RowNumbers:
    """Return rows that ascend in equal steps as a range, whose matrix is built faster; other rows unchanged."""
    if rows.size < 2 or rows[1] <= rows[0]:
        return rows
    step = int(rows[1] - rows[0])
    return range(int(rows[0]), int(rows[-1]) + 1, step) if (np.diff(rows) == step).all() else rows
