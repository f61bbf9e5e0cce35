"""What each form weighs, in bytes, before any is made: Python integers from the geometry alone."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx._xp import itemsize
from convmtx.forms.filled import cut_rows
from convmtx.forms.layout import block_shape, by_columns, index_dtype
from convmtx.forms.sparse import whole_columns
from convmtx.forms.view import embedded_shape
from convmtx.geometry import Geometry
from convmtx.typing import Order


def sizes(geometry: Geometry, dtype: Any) -> dict[str, int]:
    """Bytes of each form by name, largest first as a rule; ``dia`` is not among them, for it needs the diagonals."""
    item = itemsize(dtype)
    rows, columns = geometry.shape
    found = {
        "tensor": rows * columns * item,
        "dense": rows * columns * item,
        **_stored(geometry, item, geometry.nnz, rows, block_shape(geometry, "C")),
        "view": prod(embedded_shape(geometry)) * item,
        "operator": prod(geometry.kernel_shape) * item,
    }
    if not geometry.toeplitz:
        del found["view"]
    return found


def size_of_rows(geometry: Geometry, dtype: Any, format: str, order: Order, rows: range) -> int:
    """Bytes of a range of rows that `can_cut`, in a sparse format."""
    nnz = sum(piece.nnz for piece in cut_rows(geometry, order, rows))
    block = block_shape(geometry, order, rows)
    return _stored(geometry, itemsize(dtype), nnz, len(rows), block)[format]


def _stored(geometry: Geometry, item: int, nnz: int, rows: int, block: tuple[int, int]) -> dict[str, int]:
    """Bytes of each sparse form of so many rows and entries."""
    columns = geometry.shape[1]
    index = np.dtype(index_dtype(nnz, rows, columns)).itemsize
    return {
        "coo": nnz * (item + 2 * index),
        "csr": nnz * (item + index) + (rows + 1) * index,
        "csc": nnz * (item + index) + (columns + 1) * index,
        "bsr": nnz * item + nnz // prod(block) * index + (rows // block[0] + 1) * index,
    }


def working(geometry: Geometry, format: str, order: Order, rows: range | None = None) -> int:
    """Bytes that making a sparse form takes beside the form: row pointers twice, and what coordinates start from."""
    pieces = cut_rows(geometry, order, rows)
    count, nnz = sum(piece.size for piece in pieces), sum(piece.nnz for piece in pieces)
    pointers = 2 * 8 * (geometry.shape[1] if format == "csc" else count)
    if format == "coo":
        return pointers + 8 * count
    columns = whole_columns(pieces)
    turned = by_columns(columns.T if columns and format == "csc" else columns)
    if turned or (format == "csc" and columns is None):  # converted from the other of csr and csc
        return pointers + nnz * 16
    return pointers
