"""Matrices as arrays of Dask, whose chunks are slabs of rows."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx._xp import is_numpy, library
from convmtx.arguments import as_list, integer
from convmtx.errors import ArgumentError, ArgumentTypeError, shown
from convmtx.extras import import_extra
from convmtx.forms import check_storable
from convmtx.typing import Order

if TYPE_CHECKING:
    from convmtx.maps.linear_map import LinearMap

#: Bytes of a slab, roughly, if nobody says how many rows it has: 64 MiB, which take some 0.1 s to build.
SLAB_BYTES = 1 << 26


def slabs(op: LinearMap, rows: Any, order: Order) -> Any:
    """Return the matrix as an array of Dask with a chunk for each slab of rows, in CSR."""
    if not is_numpy(op._reference_array):
        got = f"a map of {library(op._reference_array)}"
        raise ArgumentTypeError(got, "Expected numbers of NumPy", "Make it with NumPy's kernel")
    check_storable(op.dtype)
    array, base, graphs = (import_extra(f"dask.{name}", "dask") for name in ("array", "base", "highlevelgraph"))
    from scipy.sparse import csr_array

    sizes = _sizes(op, rows)
    name = f"rows-{base.tokenize(op, sizes, order)}"
    tasks: dict[Any, Any] = {f"map-{name}": op}
    for j, (first, size) in enumerate(zip(accumulate(sizes, initial=0), sizes, strict=False)):
        tasks[name, j, 0] = (slab, f"map-{name}", first, first + size, order)
    graph = graphs.HighLevelGraph.from_collections(name, tasks, dependencies=[])
    return array.Array(graph, name, (sizes, (op.shape[1],)), meta=csr_array((0, 0), dtype=op.dtype))


def slab(op: LinearMap, first: int, last: int, order: Order) -> Any:
    """Return the rows from ``first`` to before ``last``: what a task runs."""
    return op.to_sparse("csr", order, rows=slice(first, last))


def _sizes(op: LinearMap, rows: Any) -> tuple[int, ...]:
    """Return the number of rows of each slab."""
    count = op.shape[0]
    listed = None if rows is None else as_list("rows", rows)
    if listed is not None:
        sizes = tuple(integer("rows", size, 1) for size in listed)
        if sum(sizes) != count:
            got, expected = f"rows={shown(rows)}", f"Expected sizes of slabs whose sum is {count}, the number of rows"
            raise ArgumentError(got, expected, "Pass one number, the size of each slab")
        return sizes
    if rows is None:
        stored = op._count_stored()
        a_row = 1 + (op.shape[1] if stored is None else stored // max(count, 1))
        step = max(SLAB_BYTES // (a_row * (np.dtype(op.dtype).itemsize + 8)), 1)
    else:
        step = integer("rows", rows, 1)
    return tuple(min(step, count - first) for first in range(0, count, step))
