"""Rows of a map that a matrix lacks: left empty, or left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from convmtx.maps.convolution import ConvOperator
from convmtx.recognition.changes import Change, Kind
from convmtx.recognition.comparison import differing_rows
from convmtx.typing import IntArray

#: Rounding of a row's key, relative to the largest of all, that does not count.
_KEY_ROUNDING = 1e-9


def row_changes(A: Any, op: ConvOperator, rtol: float, atol: float) -> Iterator[Change]:
    """Yield the change that explains a matrix by rows that are empty or missing, if all others are those of the map."""
    if A.ndim != 2 or A.shape[1] != op.shape[1] or not 0 < A.shape[0] <= op.shape[0]:
        return
    if A.shape[0] < op.shape[0]:
        kind, missing = Kind.MISSING_ROWS, missing_rows(A, op)
        A = None if missing is None else with_empty_rows(A, missing, op.shape[0])
    else:
        kind, missing = Kind.EMPTY_ROWS, _empty(A)
    if missing is None or not 0 < missing.size < op.shape[0]:
        return
    differing = differing_rows(A, op, rtol, atol)
    if differing.size and np.isin(differing, missing).all():
        first = differing[0] if kind is Kind.EMPTY_ROWS else missing[0]
        output = tuple(int(j) for j in np.unravel_index(first, op.out_shape))
        yield Change(kind, (int(differing.size if kind is Kind.EMPTY_ROWS else missing.size), output))


def _empty(A: Any) -> IntArray:
    """Return the rows without a nonzero entry."""
    if isinstance(A, np.ndarray):
        return np.flatnonzero(~A.any(axis=1))
    before = np.concatenate([[0], np.cumsum(A.data != 0)])[A.indptr]
    return np.flatnonzero(before[1:] == before[:-1])


def missing_rows(A: Any, op: ConvOperator) -> IntArray | None:
    """Return the rows of a map that a matrix has to lack if it has all others, in order; None if it cannot.

    A row's key is its product with random numbers, which differs for different rows. The matrix's keys are looked for
    in those of the map, one after the other.
    """
    x = np.random.default_rng(0).standard_normal(op.shape[1])
    theirs, ours = A @ x, op.matvec(x)
    if not (np.isfinite(theirs).all() and np.isfinite(ours).all()):
        return None
    allowed = _KEY_ROUNDING * float(np.abs(ours).max())
    missing: list[int] = []
    row, keys = 0, theirs.tolist()
    for m, key in enumerate(ours.tolist()):
        if row < len(keys) and abs(keys[row] - key) <= allowed:
            row += 1
        else:
            missing.append(m)
        if len(missing) > op.shape[0] - A.shape[0]:
            return None
    return np.array(missing)


def with_empty_rows(A: Any, rows: IntArray, count: int) -> Any:
    """Return a matrix in CSR form with empty rows inserted, so that it has ``count`` rows and these are empty."""
    from scipy.sparse import csr_array

    A = csr_array(A)
    lengths = np.zeros(count, np.int64)
    lengths[np.setdiff1d(np.arange(count), rows)] = np.diff(A.indptr)
    pointers = np.concatenate([[0], np.cumsum(lengths)])
    return csr_array((A.data, A.indices, pointers), shape=(count, A.shape[1]))
