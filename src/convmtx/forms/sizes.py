"""What each form weighs, in bytes, before any is made: Python integers from the geometry alone."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx._xp import itemsize
from convmtx.forms.layout import channel_leads, index_dtype
from convmtx.forms.view import embedded_shape
from convmtx.geometry import Geometry


def sizes(geometry: Geometry, dtype: Any) -> dict[str, int]:
    """Bytes of each form by name, largest first as a rule; ``dia`` is not among them, for it needs the diagonals."""
    item = itemsize(dtype)
    rows, columns = geometry.shape
    nnz = geometry.nnz
    index = np.dtype(index_dtype(nnz, rows, columns)).itemsize
    per_f, per_c = (1, 1) if channel_leads(geometry, "C") else geometry.channels_per_group  # of a block
    found = {
        "tensor": rows * columns * item,
        "dense": rows * columns * item,
        "coo": nnz * (item + 2 * index),
        "csr": nnz * (item + index) + (rows + 1) * index,
        "csc": nnz * (item + index) + (columns + 1) * index,
        "bsr": nnz * item + nnz // (per_f * per_c) * index + (rows // per_f + 1) * index,
        "view": prod(embedded_shape(geometry)) * item,
        "operator": prod(geometry.kernel_shape) * item,
    }
    if not geometry.toeplitz:
        del found["view"]
    return found


def working(geometry: Geometry, format: str) -> int:
    """Bytes that making a sparse form takes beside the form: row pointers twice, and what coordinates start from."""
    rows, columns = geometry.shape
    lines = columns if format == "csc" else rows
    pointers = 2 * 8 * lines
    if format == "coo":
        return pointers + 8 * rows
    if format == "csc" and geometry.T is None:  # converted from csr
        return pointers + geometry.nnz * 16
    return pointers
