"""Apply small maps by their sparse matrix, which is kept: a product costs a few microseconds beside its entries.

The matrix has an entry for each tap of each output that reads an input, also where a boundary folds several taps onto
one input. So it multiplies and adds what the definition does, in the order of the taps, and what is not finite reaches
the windows that read it.
"""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.costs import Work
from convmtx.engines.parts import Part
from convmtx.engines.threads import Memory, Step, scratch
from convmtx.typing import AnyArray

#: Entries of a matrix up to which it is kept: 768 KiB for float64, with an index of 4 bytes beside each entry.
MOST_ENTRIES = 1 << 16


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd)."""
    for step in prepare(part, x, y, scratch):
        step()


def prepare(part: Part, x: AnyArray, y: AnyArray, memory: Memory) -> list[Step]:
    """Return the steps that do what `correlate` does."""
    matrix = part.keep(("sparse", y.dtype), lambda: _matrix(part, y.dtype))
    if len(x) == 1 and x.dtype == y.dtype and x.flags.c_contiguous:
        return [partial(_multiply, matrix, x.reshape(-1), y)]
    columns = memory("columns", (matrix.shape[1], len(x)), y.dtype)
    copy = partial(np.copyto, columns.T.reshape(x.shape), x)
    return [copy, partial(_multiply, matrix, columns, y)]


def _multiply(matrix: Any, columns: AnyArray, y: AnyArray) -> None:
    y[...] = (matrix @ columns).T.reshape(y.shape)


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work | None:
    """Work of filling a part; None if its matrix is not small, and for float16, which SciPy does not multiply."""
    entries = part.kernel.size * prod(axis.out for axis in part.axes)
    if entries > MOST_ENTRIES or dtype == np.float16:
        return None
    groups, filters, channels, *_ = part.kernel.shape
    inputs, outputs = prod(axis.size for axis in part.axes), prod(axis.out for axis in part.axes)
    moved = float(images * groups * (channels * inputs + 2 * filters * outputs) * dtype.itemsize)
    planes = 2 if dtype.kind == "c" else 1
    return {"sparse entry": planes * images * entries, "byte": moved, "sparse call": 1}


def _matrix(part: Part, dtype: np.dtype[Any]) -> Any:
    """Return the matrix in CSR form: rows (G, F, o1..od), columns (G, C, n1..nd), an entry for each tap that reads."""
    from scipy.sparse import csr_array

    groups, filters, channels, *sizes = part.kernel.shape
    d, outs, inputs = len(part.axes), [axis.out for axis in part.axes], prod(axis.size for axis in part.axes)
    columns, is_read = np.zeros((1,) * 2 * d, np.int64), np.ones((1,) * 2 * d, bool)  # (o1..od, k1..kd) in the end
    for j, axis in enumerate(part.axes):
        table = axis.table().reshape([axis.out if i == j else axis.kernel if i == d + j else 1 for i in range(2 * d)])
        columns, is_read = columns * axis.size + table, is_read & (table != NOTHING)
    # The same windows stand in every channel: input i of channel c of group g is column (g*C + c) * inputs + i.
    starts = inputs * np.arange(groups * channels).reshape(groups, 1, *(1,) * d, channels, *(1,) * d)
    columns, is_read = (a.reshape(*outs, 1, *sizes) for a in (columns, is_read))
    shape = (groups, filters, *outs, channels, *sizes)
    stored = np.broadcast_to(is_read, shape)
    indices = np.broadcast_to(starts + columns, shape)[stored].astype(np.int32)
    values = np.broadcast_to(part.kernel.reshape(groups, filters, *(1,) * d, channels, *sizes), shape)[stored]
    rows = groups * filters * prod(outs)
    ends = np.concatenate([[0], np.cumsum(np.count_nonzero(stored.reshape(rows, -1), axis=1))]).astype(np.int32)
    return csr_array((values.astype(dtype), indices, ends), shape=(rows, groups * channels * inputs))
