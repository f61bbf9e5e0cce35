"""Sizes of all forms in bytes, from the geometry alone, before any of them is built."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import itemsize
from convmtx.forms.layout import block_shape, index_dtype
from convmtx.forms.row_ranges import Rows, cut_rows
from convmtx.forms.sparse import is_converted, transpose
from convmtx.forms.view import embedded_shape
from convmtx.geometry import Geometry
from convmtx.typing import Order


def sizes(geometry: Geometry, dtype: Any) -> dict[str, int]:
    """Return the bytes of each form by name, roughly largest first.

    ``dia`` is left out, because its size depends on how many diagonals the matrix has.
    """
    item = itemsize(dtype)
    rows, columns = geometry.shape
    bytes_by_form = {
        "tensor": rows * columns * item,
        "dense": rows * columns * item,
        **_stored(item, geometry.nnz, geometry.shape, block_shape(geometry, "C")),
        "view": prod(embedded_shape(geometry)) * item,
        "operator": prod(geometry.kernel_shape) * item,
    }
    if not geometry.toeplitz:
        del bytes_by_form["view"]
    return bytes_by_form


def size_of_rows(geometry: Geometry, dtype: Any, format: str, order: Order, rows: range) -> int:
    """Return the bytes of a range of rows in a sparse format; `can_cut` must be True for the range."""
    nnz = sum(piece.nnz for piece in cut_rows(geometry, order, rows))
    block = block_shape(geometry, order, rows)
    return _stored(itemsize(dtype), nnz, (len(rows), geometry.shape[1]), block)[format]


def size_of_pieces(pieces: list[Rows], dtype: Any, columns: int) -> int:
    """Return the bytes of pieces of rows as CSR."""
    count, nnz = sum(piece.size for piece in pieces), sum(piece.nnz for piece in pieces)
    return _stored(itemsize(dtype), nnz, (count, columns), (1, 1))["csr"]


def require_stored(format: str, nnz: int, shape: tuple[int, int], dtype: Any, copies: int = 1) -> None:
    """Refuse a sparse matrix with this number of stored entries if it, or this number of its copies, does not fit."""
    size = _stored(itemsize(dtype), nnz, shape, (1, 1))["csr" if format == "dia" else format]
    memory.require(format, {format: size}, (copies - 1) * size)


def _stored(item: int, nnz: int, shape: tuple[int, int], block: tuple[int, int]) -> dict[str, int]:
    """Return the bytes of each sparse form of a matrix of this shape and number of stored entries."""
    rows, columns = shape
    index = np.dtype(index_dtype(nnz, rows, columns)).itemsize
    return {
        "coo": nnz * (item + 2 * index),
        "csr": nnz * (item + index) + (rows + 1) * index,
        "csc": nnz * (item + index) + (columns + 1) * index,
        "bsr": nnz * item + nnz // prod(block) * index + (rows // block[0] + 1) * index,
    }


def working(geometry: Geometry, format: str, order: Order, rows: range | None = None) -> int:
    """Return the bytes that are needed while a sparse form is built, besides the form itself.

    They are two arrays of row pointers, the pointers that become coordinates, and a copy of the matrix if it is
    converted between CSR and CSC.
    """
    pieces = cut_rows(geometry, order, rows)
    count, nnz = sum(piece.size for piece in pieces), sum(piece.nnz for piece in pieces)
    pointers = 2 * 8 * (geometry.shape[1] if format == "csc" else count)
    if format == "coo":
        return pointers + 8 * count
    written = transpose(pieces) if format == "csc" else pieces
    return pointers + 16 * nnz if not written or is_converted(written) else pointers
