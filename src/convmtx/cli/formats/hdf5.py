"""Arrays and sparse matrices in HDF5 files, read in a child process.

The HDF5 library refuses most damaged files; some crash it or hang it, and about others it prints on stderr.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx import memory
from convmtx.cli.formats.sandbox import Answer, allow_time, read_in_sandbox
from convmtx.cli.formats.source import Source
from convmtx.cli.report import CommandError
from convmtx.extras import import_extra, require_installed
from convmtx.typing import AnyArray

#: MATLAB's numeric classes by name.
_CLASSES = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
#: Bytes of numbers for each byte of the file, at most: zlib packs zeros 1032 to 1, and nothing tighter.
_PACKING = 1040


def read_hdf5(source: Source, matrices: bool = False) -> Any:
    """Read an array as MATLAB 7.3 or others write it; with ``matrices`` also CSR as AnnData writes it, or MATLAB's."""
    require_installed("h5py", "files")
    facts, arrays = read_in_sandbox(source, parts_of, matrices)
    if facts["form"] == "full":
        return arrays[0]
    from scipy.sparse import csc_array, csr_array

    data, indices, starts = arrays
    build = {"csr": csr_array, "csc": csc_array}[facts["form"]]
    return build((data, indices, starts), shape=tuple(facts["shape"]))


def parts_of(source: Source, matrices: bool) -> Answer:
    """Return the form, the shape and the arrays of the requested member."""
    h5py = import_extra("h5py", "files")
    with h5py.File(source.path, locking=False) as file:
        if matrices and "encoding-type" in file.attrs:
            return _csr(source, file)
        kinds = (h5py.Dataset, h5py.Group) if matrices else h5py.Dataset
        inside = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        names = [name for name in inside if name[0] != "#" and isinstance(file[name], kinds)]
        node = file[source.select_numeric(names, names, matrices)]
        if isinstance(node, h5py.Dataset):
            return _full(source, node)
        return _csc(source, node) if "MATLAB_sparse" in node.attrs else _csr(source, node)


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


def _csr(source: Source, group: Any) -> Answer:
    """Return the parts of a matrix in CSR, as AnnData writes it."""
    if group.attrs.get("encoding-type") != "csr_matrix":
        raise source.not_numbers("a group that is not a matrix in CSR")
    parts = [_numbers(source, group[name]) for name in ("data", "indices", "indptr")]
    rows, columns = (int(n) for n in group.attrs["shape"])
    return {"form": "csr", "shape": (rows, columns)}, parts


def _csc(source: Source, group: Any) -> Answer:
    """Return the parts of a matrix in CSC, as MATLAB writes it."""
    values, rows, starts = (_numbers(source, group[name]) for name in ("data", "ir", "jc"))
    shape = int(group.attrs["MATLAB_sparse"]), len(starts) - 1
    return {"form": "csc", "shape": shape}, [values, rows.astype(np.int64), starts.astype(np.int64)]


def _numbers(source: Source, dataset: Any) -> AnyArray:
    """Return an array of numbers."""
    array = _stored(source, dataset)
    if array.dtype.kind not in "biufc":
        raise source.not_numbers(array.dtype)
    return array


def _stored(source: Source, dataset: Any) -> AnyArray:
    """Return the content of a dataset, if it lies in this file and fits in memory."""
    if dataset.is_virtual or dataset.external:
        got = f"{source.path} has its numbers in other files"
        raise CommandError(got, "Expected them inside", "Write it again")
    source.require_memory(dataset.shape or (), dataset.dtype.itemsize)
    claimed, stored = dataset.nbytes, source.size()
    if claimed > _PACKING * stored:
        raise source.damaged(f"It has {memory.human(stored)}, and claims {memory.human(claimed)} of numbers")
    allow_time(claimed)
    return np.asarray(dataset[()])
