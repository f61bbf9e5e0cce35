"""Matrices from files that are not trusted, as arrays of NumPy or in CSR, sound and without duplicates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from convmtx.cli import reading
from convmtx.cli.hdf5 import read_hdf5
from convmtx.cli.market import read_mtx
from convmtx.cli.matlab import read_mat
from convmtx.cli.report import CommandError
from convmtx.cli.source import Source

SUFFIXES = (".npz", ".npy", ".mtx", ".mat", ".h5", ".hdf5")


def read_matrix(source: Source) -> Any:
    """A dense array, of which a .npy file is mapped and not read, or a sparse one in CSR."""
    with source.parsing():
        found: Any = _READERS[source.suffix](source)
        if found.dtype.kind not in "iufc":
            raise source.no_numbers(found.dtype)
        return found if isinstance(found, np.ndarray) else _sound(source, found)


def _npy(source: Source) -> Any:
    with source.path.open("rb") as file:
        reading.check_header(source, file.read(reading.HEADER), source.size())
    return np.load(source.path, mmap_mode="r", allow_pickle=False)


def _npz(source: Source) -> Any:
    import zipfile

    import scipy.sparse

    with zipfile.ZipFile(source.path) as archive:
        found = reading.members(archive)
        if "format" not in found:
            return reading.npz(source)
        for name, info in found.items():  # the format is text, and whether it is an array may be a truth value
            kinds = "iu" if name in ("indices", "indptr", "row", "col", "offsets", "shape") else "iufcbSU"
            reading.check_member(source, archive, info, kinds)
    return scipy.sparse.load_npz(source.path)


def _sound(source: Source, matrix: Any) -> Any:
    """In CSR; indices are looked at first, for compiled code would follow them anywhere."""
    import scipy.sparse

    if len(matrix.shape) != 2:
        raise CommandError(f"{source.path} has shape {matrix.shape}", "Wanted a matrix", "Pass another file")
    source.fit([sum(matrix.shape)], 8)
    if matrix.format in ("csr", "csc", "bsr"):
        matrix.check_format(full_check=True)
    found = scipy.sparse.csr_array(matrix)
    found.sum_duplicates()
    return found


_READERS: dict[str, Callable[[Source], Any]] = {
    ".npy": _npy,
    ".npz": _npz,
    ".mtx": read_mtx,
    ".mat": partial(read_mat, sparse=True),
    ".h5": partial(read_hdf5, sparse=True),
    ".hdf5": partial(read_hdf5, sparse=True),
}
