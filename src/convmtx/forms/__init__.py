"""Forms of the map as arrays: the dense matrix, the strided view, the sparse matrices, and the size of each.

Each function here first checks that the result fits in memory.
"""

from __future__ import annotations

from convmtx import memory
from convmtx._xp import is_numpy, library
from convmtx.errors import ArgumentTypeError
from convmtx.forms import libraries
from convmtx.forms.dense import dense
from convmtx.forms.formats import FORMATS, check_format, check_storable, convert, csr_of_rows, sparse_matrix, storable
from convmtx.forms.layout import by_columns, row_array
from convmtx.forms.libraries import by_coordinates
from convmtx.forms.numbers import entry_sizes, numbered, numbered_range
from convmtx.forms.offsets import entries_before, rows_of_entries
from convmtx.forms.row_numbers import row_indices
from convmtx.forms.sizes import require_stored, sizes
from convmtx.forms.varying import varying_rows
from convmtx.forms.view import view
from convmtx.forms.windows import windows
from convmtx.geometry import Geometry
from convmtx.taps import entries_of
from convmtx.typing import AnyArray, Order

__all__ = [
    "FORMATS",
    "by_coordinates",
    "check_format",
    "check_storable",
    "convert",
    "csr_of_rows",
    "dense_matrix",
    "entries_before",
    "entry_sizes",
    "numbered",
    "numbered_range",
    "require_stored",
    "row_array",
    "row_indices",
    "rows_of_entries",
    "sizes",
    "sparse_matrix",
    "storable",
    "tensor_view",
    "varying_rows",
    "windows",
]


def dense_matrix(geometry: Geometry, kernel: AnyArray, order: Order) -> AnyArray:
    """Return the (M, N) matrix, if it fits in memory."""
    known = sizes(geometry, kernel.dtype)
    memory.require("dense", known)
    with memory.refused_as("dense", known):
        if not is_numpy(kernel):
            return libraries.dense(geometry, entries_of(geometry, kernel), order)
        if (columns := by_columns(geometry.T)) is not None:
            return dense(columns, entries_of(columns, kernel), order, transposed=True)
        return dense(geometry, entries_of(geometry, kernel), order)


def tensor_view(geometry: Geometry, kernel: AnyArray) -> AnyArray:
    """Return the tensor as a strided view, if the array behind it fits in memory."""
    if not is_numpy(kernel):
        got = f"the kernel is of {library(kernel)}"
        expected = "Only NumPy has views with negative strides"
        raise ArgumentTypeError(got, expected, "Use to_tensor(), or a NumPy kernel")
    if geometry.toeplitz:
        memory.require("view", sizes(geometry, kernel.dtype))
    return view(geometry, kernel)
