"""Arrays and sparse matrices in HDF5 files: read in a child process, and written at the places of their numbers.

The HDF5 library refuses most damaged files; some crash it or hang it, and about others it prints on stderr.

A matrix is written once and has three sets of names. ``data``, ``indices`` and ``indptr`` are the names of AnnData. In
the group ``WT``, ``data``, ``ir`` and ``jc`` are the same numbers. There MATLAB sees the transpose, column by column,
and PETSc, which takes the columns for rows, the matrix itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.errors import ArgumentError
from convmtx.extras import import_extra, require_installed
from convmtx.storage.layouts import Layout, SlabWriter
from convmtx.storage.sandbox import Answer, allow_time, read_in_sandbox
from convmtx.storage.slabs import Slabs
from convmtx.storage.source import Source
from convmtx.typing import AnyArray

#: MATLAB's numeric classes by name.
_CLASSES = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
#: Bytes of numbers for each byte of the file, at most: zlib packs zeros 1032 to 1, and nothing tighter.
_PACKING = 1040


@dataclass(frozen=True)
class _Places:
    """The numbers of three datasets, each of which is contiguous."""

    n_rows: int
    index: np.dtype[Any]

    def pieces(self, draft: Path, rows: range, first: int, matrix: Any) -> Iterator[tuple[int, AnyArray]]:
        """Yield data, columns and row starts of a slab; with the last slab also the end of the last row."""
        with import_extra("h5py", "files").File(draft, "r") as file:
            places = {name: file[name].id.get_offset() for name in ("data", "indices", "indptr")}
        if matrix.nnz:
            yield places["data"] + first * matrix.data.itemsize, matrix.data
            yield places["indices"] + first * self.index.itemsize, matrix.indices.astype(self.index, copy=False)
        starts = matrix.indptr if rows.stop == self.n_rows else matrix.indptr[:-1]
        yield places["indptr"] + rows.start * self.index.itemsize, starts.astype(self.index) + self.index.type(first)


def layout(slabs: Slabs, index: np.dtype[Any]) -> Layout:
    """Return how a matrix is written, with indices of the type ``index``."""
    import_extra("h5py", "files")
    prepare = partial(_prepare, shape=slabs.shape, nnz=slabs.nnz, dtype=slabs.op.dtype, index=index)
    size = slabs.nnz * (slabs.op.dtype.itemsize + index.itemsize) + (slabs.shape[0] + 1) * index.itemsize
    return Layout(slabs.count, prepare, SlabWriter(slabs, _Places(slabs.shape[0], index)), size)


def _prepare(draft: Path, shape: tuple[int, int], nnz: int, dtype: np.dtype[Any], index: np.dtype[Any]) -> None:
    """Create the file with its datasets, whose places are fixed and whose numbers are not written."""
    h5py = import_extra("h5py", "files")
    kept = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    kept.set_layout(h5py.h5d.CONTIGUOUS)
    kept.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    kept.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    kept.set_obj_track_times(False)  # equal matrices are equal bytes
    with h5py.File(draft, "x") as file:
        file.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": np.array(shape)})
        transpose = file.create_group("WT")
        transpose.attrs.update({"MATLAB_class": np.bytes_("double"), "MATLAB_sparse": np.int64(shape[1])})
        sizes = {"data": (nnz, dtype), "indices": (nnz, index), "indptr": (shape[0] + 1, index)}
        for (name, (size, kind)), other in zip(sizes.items(), ("data", "ir", "jc"), strict=True):
            space, stored = h5py.h5s.create_simple((size,)), h5py.h5t.py_create(kind, logical=True)
            h5py.h5d.create(file.id, name.encode(), stored, space, kept)
            transpose[other] = file[name]


def read_hdf5(source: Source, matrices: bool = False, rows: slice | None = None) -> Any:
    """Read an array as MATLAB 7.3 or others write it; with ``matrices`` also CSR as AnnData writes it, or MATLAB's.

    Of CSR only some rows are read, if ``rows`` says so.
    """
    require_installed("h5py", "files")
    wanted = None if rows is None else [rows.start, rows.stop]
    facts, arrays = read_in_sandbox(source, parts_of, matrices, wanted)
    if facts["form"] == "full":
        return arrays[0]
    from scipy.sparse import csc_array, csr_array

    data, indices, starts = arrays
    build = {"csr": csr_array, "csc": csc_array}[facts["form"]]
    return build((data, indices, starts), shape=tuple(facts["shape"]))


def parts_of(source: Source, matrices: bool, rows: list[int | None] | None = None) -> Answer:
    """Return the form, the shape and the arrays of the requested member."""
    h5py = import_extra("h5py", "files")
    with h5py.File(source.path, locking=False) as file:
        if matrices and "encoding-type" in file.attrs:
            return _csr(source, file, rows)
        kinds = (h5py.Dataset, h5py.Group) if matrices else h5py.Dataset
        inside = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        names = [name for name in inside if name[0] != "#" and isinstance(file[name], kinds)]
        node = file[source.select_numeric(names, names, matrices)]
        if isinstance(node, h5py.Dataset):
            return _full(source, node)
        return _csc(source, node) if "MATLAB_sparse" in node.attrs else _csr(source, node, rows)


def _full(source: Source, dataset: Any) -> Answer:
    """Return an array. MATLAB, which names a class in an attribute, writes the axes in reverse order."""
    kind = dataset.attrs.get("MATLAB_class", b"")
    text = kind.decode() if isinstance(kind, bytes) else str(kind)
    if text and text not in _CLASSES:
        raise source.not_numbers(f"an array of class {text}")
    array = _stored(source, dataset)
    if array.dtype.names == ("real", "imag"):
        array = array["real"] + 1j * array["imag"]
    if array.dtype.kind not in "biufc":
        raise source.not_numbers(array.dtype)
    return {"form": "full"}, [array.T if text else array]


def _csr(source: Source, group: Any, rows: list[int | None] | None) -> Answer:
    """Return the parts of a matrix in CSR, as AnnData writes it, or of a range of its rows."""
    if group.attrs.get("encoding-type") != "csr_matrix":
        raise source.not_numbers("a group that is not a matrix in CSR")
    n_rows, n_columns = (int(n) for n in group.attrs["shape"])
    if rows is None:
        parts = [_numbers(source, group[name]) for name in ("data", "indices", "indptr")]
        return {"form": "csr", "shape": (n_rows, n_columns)}, parts
    wanted = range(n_rows)[slice(*rows)]
    starts = _numbers(source, group["indptr"], slice(wanted.start, wanted.start + len(wanted) + 1)).astype(np.int64)
    if starts.size != len(wanted) + 1 or not 0 <= starts[0] <= starts[-1] <= group["data"].size:
        raise source.damaged(f"Its rows do not match its {group['data'].size} entries")
    entries = slice(int(starts[0]), int(starts[-1]))
    parts = [_numbers(source, group[name], entries) for name in ("data", "indices")]
    return {"form": "csr", "shape": (len(wanted), n_columns)}, [*parts, starts - starts[0]]


def _csc(source: Source, group: Any) -> Answer:
    """Return the parts of a matrix in CSC, as MATLAB writes it."""
    values, rows, starts = (_numbers(source, group[name]) for name in ("data", "ir", "jc"))
    shape = int(group.attrs["MATLAB_sparse"]), len(starts) - 1
    return {"form": "csc", "shape": shape}, [values, rows.astype(np.int64), starts.astype(np.int64)]


def _numbers(source: Source, dataset: Any, part: slice | None = None) -> AnyArray:
    """Return an array of numbers, or a part of one with a single axis."""
    array = _stored(source, dataset, part)
    if array.dtype.kind not in "biufc":
        raise source.not_numbers(array.dtype)
    return array


def _stored(source: Source, dataset: Any, part: slice | None = None) -> AnyArray:
    """Return the content of a dataset, or a part of it, if it lies in this file and fits in memory."""
    if dataset.is_virtual or dataset.external:
        got = f"{source.path} has its numbers in other files"
        raise ArgumentError(got, "Expected them inside", "Write it again")
    if part is not None and dataset.ndim != 1:
        raise source.damaged(f"An array of a matrix has {dataset.ndim} axes")
    shape = (dataset.shape or ()) if part is None else (max(part.stop - part.start, 0),)
    source.require_memory(shape, dataset.dtype.itemsize)
    claimed, stored = dataset.nbytes, source.size()
    if claimed > _PACKING * stored:
        raise source.damaged(f"It has {memory.human(stored)}, and claims {memory.human(claimed)} of numbers")
    allow_time(prod(shape) * dataset.dtype.itemsize)
    return np.asarray(dataset[() if part is None else part])
