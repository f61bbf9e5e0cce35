"""Apply small maps by their sparse matrix, which is kept: a product costs a few microseconds beside its entries.

The matrix has an entry for each tap of each output that reads an input, also where a boundary folds several taps onto
one input. So it multiplies and adds what the definition does, in the order of the taps, and what is not finite reaches
the windows that read it.
"""

from __future__ import annotations

from math import prod
from typing import Any, cast

import numpy as np

from convmtx.boundary import NOTHING
from convmtx.costs import Work
from convmtx.engines.parts import Part, Plan
from convmtx.geometry import Layout
from convmtx.typing import AnyArray

#: Entries of a matrix up to which it is kept: 768 KiB for float64, with an index of 4 bytes beside each entry.
MOST_ENTRIES = 1 << 16
#: Inputs that an index of 4 bytes can number.
MOST_INPUTS = 1 << 31


class Product:
    """A whole map, or its transpose, for inputs of one type: a product with its sparse matrix into new memory."""

    def __init__(self, plan: Plan, transposed: bool, dtype: np.dtype[Any]) -> None:
        matrix = plan.keep(("sparse", dtype), lambda: _whole_matrix(plan, dtype))
        self._matrix, self._dtype = matrix.T if transposed else matrix, dtype
        self._out_shape = plan.geometry.in_shape if transposed else plan.geometry.out_shape
        #: Bytes for each call that is kept; the plan keeps the matrix, once for each type.
        self.bytes = 0

    def __call__(self, x: AnyArray) -> AnyArray:
        """Return the outputs of a batch."""
        y = np.ascontiguousarray(_multiply(self._matrix, x, self._dtype))
        return y.reshape(len(x), *self._out_shape)


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd)."""
    matrix = part.keep(("sparse", y.dtype), lambda: _matrix(part, y.dtype))
    y[...] = _multiply(matrix, x, y.dtype).reshape(y.shape)


def _multiply(matrix: Any, x: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Return the matrix times each image of a batch, flattened: a row for each. SciPy is quicker with one vector."""
    if len(x) == 1:
        return cast("AnyArray", matrix @ x.reshape(-1).astype(dtype, copy=False))[None]
    return cast("AnyArray", (matrix @ x.reshape(len(x), -1).T.astype(dtype, copy=False)).T)


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work | None:
    """Work of filling a part; None if its matrix is not small, and for float16, which SciPy does not multiply."""
    groups, filters, channels, *_ = part.kernel.shape
    outputs = groups * filters * prod(axis.out for axis in part.axes)
    inputs = groups * channels * prod(axis.size for axis in part.axes)
    entries = outputs * prod(part.kernel.shape[2:])
    if entries > MOST_ENTRIES or inputs > MOST_INPUTS or dtype == np.float16:
        return None
    moved = images * (inputs + outputs) * dtype.itemsize if images > 1 else 0
    planes = 2 if dtype.kind == "c" else 1
    return {"sparse entry": planes * images * entries, "byte": float(moved), "sparse call": 1}


def _whole_matrix(plan: Plan, dtype: np.dtype[Any]) -> Any:
    """Return the matrix of a map in CSR form."""
    from scipy.sparse import vstack

    last = plan.geometry.layout is Layout.LAST
    if len(plan.parts) == 1:
        return _matrix(plan.parts[0], dtype, last)
    numbers, rows, matrices = np.arange(prod(plan.geometry.out_shape)), [], []
    shape = (1, *plan.geometry.out_shape)
    for part, _, places in plan.split(np.empty((1, *plan.geometry.in_shape)), numbers.reshape(shape)):
        rows.append((np.moveaxis(places, (1, 2), (-2, -1)) if last else places).reshape(-1))
        matrices.append(_matrix(part, dtype, last))
    return vstack(matrices, "csr")[np.argsort(np.concatenate(rows))]


def _matrix(part: Part, dtype: np.dtype[Any], last: bool = False) -> Any:
    """Return the matrix of a part in CSR form, with an entry for each tap that reads, in the order of the taps.

    Rows are (G, F, o1..od) and columns (G, C, n1..nd), or with channels last (o1..od, G, F) and (n1..nd, G, C).
    """
    from scipy.sparse import csr_array

    groups, filters, channels, *sizes = part.kernel.shape
    d, outs, inputs = len(part.axes), [axis.out for axis in part.axes], prod(axis.size for axis in part.axes)
    rows, taps = groups * filters * prod(outs), channels * prod(sizes)
    if not taps:
        return csr_array((rows, groups * channels * inputs), dtype=dtype)
    # Input i of channel c of group g is column (g*C + c) * inputs + i, or i*G*C + g*C + c with channels last.
    step, channel_step = (groups * channels, 1) if last else (1, inputs)
    shape = (groups, filters, *outs, channels, *sizes)
    columns = channel_step * np.arange(groups * channels, dtype=np.int32)
    columns = columns.reshape(groups, 1, *(1,) * d, channels, *(1,) * d)
    is_read = np.ones((), bool)
    for j, axis in reversed(list(enumerate(part.axes))):
        table = axis.table().astype(np.int32)
        table = table.reshape(1, 1, *(1,) * j, axis.out, *(1,) * (d - 1), 1, axis.kernel, *(1,) * (d - 1 - j))
        columns = columns + step * table
        step *= axis.size
        if (table == NOTHING).any():
            is_read = is_read & (table != NOTHING)
    kernel = part.kernel.reshape(groups, filters, *(1,) * d, channels, *sizes)
    values, columns, stored = (np.broadcast_to(a, shape) for a in (kernel, columns, is_read))
    if last:
        values, columns, stored = (np.moveaxis(a, (0, 1), (d, d + 1)) for a in (values, columns, stored))
    if is_read.ndim:
        values, columns = values[stored], columns[stored]
        ends = np.concatenate([[0], np.cumsum(np.count_nonzero(stored.reshape(rows, taps), axis=1))])
    else:
        ends = taps * np.arange(rows + 1)
    entries = values.reshape(-1).astype(dtype), columns.reshape(-1), ends.astype(np.int32)
    return csr_array(entries, shape=(rows, groups * channels * inputs))
