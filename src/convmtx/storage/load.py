"""Matrices from files that are not trusted."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError, door, shown
from convmtx.files import as_path
from convmtx.forms.layout import index_dtype
from convmtx.storage.formats.hdf5 import read_hdf5
from convmtx.storage.formats.matlab import read_mat
from convmtx.storage.formats.matrix_market import read_mtx
from convmtx.storage.formats.npy import map_npy, read_sparse
from convmtx.storage.formats.petsc import read_petsc
from convmtx.storage.formats.zarr import read_zarr
from convmtx.storage.source import Source

if TYPE_CHECKING:
    import scipy.sparse

_WHOLE: dict[str, Callable[..., Any]] = {
    ".npy": map_npy, ".npz": read_sparse, ".mtx": read_mtx, ".mat": partial(read_mat, matrices=True),
}  # fmt: skip
_BY_ROWS: dict[str, Callable[..., Any]] = {
    ".h5": partial(read_hdf5, matrices=True), ".hdf5": partial(read_hdf5, matrices=True),
    ".petsc": read_petsc, ".zarr": read_zarr,
}  # fmt: skip
#: Suffixes of files of matrices that are read.
READ_SUFFIXES = (".npz", ".npy", ".mtx", ".mat", *_BY_ROWS)


@door("load")
def load(path: str | os.PathLike[str], *, rows: slice | None = None) -> scipy.sparse.csr_array:
    """Read a matrix, or a range of its rows, from a file of any format that `convmtx.save` writes.

    Law: after ``save(op, path)``, ``load(path)`` equals ``op.to_sparse()``, and ``load(path, rows=s)`` equals
    ``op.to_sparse(rows=s)``, with indices of 32 bits where they fit. Formats of doubles alone (.petsc, .mat, .mtx)
    return float64 or complex128, and .mtx int64 for integers. Entries that are zero are stored, except in .npy and
    .mat.

    Parameters
    ----------
    path : str or path-like
        File of SciPy (.npz), NumPy (.npy, dense), Matrix Market (.mtx), MATLAB (.mat, the variable W), PETSc (.petsc),
        or of CSR as AnnData lays it out (.h5, .hdf5, .zarr).
    rows : slice, optional
        Consecutive rows to read, as ``slice(start, stop)``. Of .zarr, .h5, .hdf5 and .petsc no other entries are read.

    Returns
    -------
    scipy.sparse.csr_array
        Sorted, without duplicates.

    Raises
    ------
    ValueError
        If the file is damaged, truncated, not of the format that its suffix says, does not fit in memory, contains
        float16, of which SciPy has no sparse arrays, or if the suffix is unknown. Sizes are checked before memory is
        allocated, indices before they are followed, and nothing in a file is executed. HDF5 is read in a process of its
        own, because damaged files can crash its library.
    TypeError
        If an argument has the wrong type.
    OSError
        If the file cannot be opened.
    ImportError
        Without the extra ``files``, for .h5, .hdf5 and .zarr.

    Notes
    -----
    Takes the time to read the entries. Finding the rows of a .petsc file takes the lengths of all rows, 4 or 8 bytes
    each.

    Examples
    --------
    >>> import tempfile, convmtx as cm
    >>> op = cm.conv([1.0, 2.0, 3.0], 6)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cm.save(op, folder + "/W.petsc")
    ...     cm.load(folder + "/W.petsc", rows=slice(1, 3)).toarray()
    array([[0., 1., 2., 3., 0., 0.],
           [0., 0., 1., 2., 3., 0.]])
    """
    source = Source(as_path(path, "W.h5"), role="matrix")
    _check_rows(rows)
    if source.suffix not in READ_SUFFIXES:
        got = f"path has the suffix {source.suffix!r}"
        raise ArgumentError(got, f"Expected {' or '.join(READ_SUFFIXES)}", "Rename it")
    matrix = read_matrix(source, rows)
    if isinstance(matrix, np.ndarray):
        return _as_csr(source, matrix)
    return matrix


def _check_rows(rows: Any) -> None:
    """Refuse what is not a slice of consecutive rows, before a file is read."""
    with contextlib.suppress(TypeError, ValueError):  # of ends that are not integers, and of the step 0
        if rows is None or (isinstance(rows, slice) and range(0)[rows].step == 1):
            return
    remedy = "Pass for example rows=slice(0, 10)"
    raise ArgumentTypeError(f"rows={shown(rows)}", "Expected a slice of consecutive rows", remedy)


def read_matrix(source: Source, rows: slice | None = None) -> Any:
    """Read a matrix as a dense array, which of a .npy file is mapped into memory, or as a sound one in CSR."""
    from scipy.sparse import csr_array

    with source.parsing():
        if source.suffix in _BY_ROWS:
            matrix: Any = _BY_ROWS[source.suffix](source, rows=rows)
            if isinstance(matrix, tuple):
                data, indices, starts, shape = matrix
                matrix = csr_array((data, indices, starts), shape=shape)
        else:
            matrix = _WHOLE[source.suffix](source)
        if matrix.dtype.kind not in "iufc":
            raise source.not_numbers(matrix.dtype)
        if isinstance(matrix, np.ndarray):
            return matrix if rows is None else matrix[rows]
        matrix = _as_csr(source, matrix)
        return matrix if rows is None or source.suffix in _BY_ROWS else matrix[rows]


def _as_csr(source: Source, matrix: Any) -> Any:
    """Return a matrix in CSR without duplicates; indices are checked first, for compiled code would follow them."""
    import scipy.sparse

    if len(matrix.shape) != 2:
        raise ArgumentError(f"{source.path} has shape {matrix.shape}", "Expected a matrix", "Pass another file")
    if matrix.dtype == np.float16:
        remedy = "Read it by numpy.load" if source.suffix in (".npy", ".npz") else "Write it in single precision"
        raise ArgumentError(f"{source.path} contains float16", "SciPy has no sparse arrays of it", remedy)
    source.require_memory([sum(matrix.shape)], 8)
    if isinstance(matrix, np.ndarray):
        matrix = matrix.astype(matrix.dtype.newbyteorder("="), copy=False)
    elif matrix.format in ("csr", "csc", "bsr"):
        matrix.check_format(full_check=True)
    csr = scipy.sparse.csr_array(matrix)
    csr.sum_duplicates()
    kind = index_dtype(csr.nnz, *csr.shape)
    csr.indices, csr.indptr = csr.indices.astype(kind, copy=False), csr.indptr.astype(kind, copy=False)
    return csr
