"""Arrays and sparse matrices of HDF5, read in a process of its own.

The library refuses most damaged files; some hang it or crash it, and of others it speaks on stderr.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from convmtx import memory
from convmtx.cli.apart import Answer, allow_time, read_apart
from convmtx.cli.report import CommandError
from convmtx.cli.source import Source
from convmtx.extras import needed, require_installed
from convmtx.typing import AnyArray

#: MATLAB's numeric classes by name.
_CLASSES = {"double", "single", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
#: Numbers that were written take at most so many times the bytes of their file, for zlib packs zeros so.
_PACKING = 1040


def read_hdf5(source: Source, sparse: bool = False) -> Any:
    """Read an array as MATLAB 7.3 or others write it; with ``sparse`` AnnData's CSR too, or MATLAB's matrix."""
    require_installed("h5py", "files")
    facts, arrays = read_apart(source, parts_of, sparse)
    if facts["form"] == "full":
        return arrays[0]
    from scipy.sparse import csc_array, csr_array

    data, indices, starts = arrays
    build = {"csr": csr_array, "csc": csc_array}[facts["form"]]
    return build((data, indices, starts), shape=tuple(facts["shape"]))


def parts_of(source: Source, sparse: bool) -> Answer:
    """Return the form, the shape and the arrays of the requested member."""
    h5py = needed("h5py", "files")
    with h5py.File(source.path, locking=False) as file:
        if sparse and "encoding-type" in file.attrs:
            return _csr(source, file)
        kinds = (h5py.Dataset, h5py.Group) if sparse else h5py.Dataset
        inside = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
        names = [name for name in inside if name[0] != "#" and isinstance(file[name], kinds)]
        node = file[source.chosen_of(names, names, sparse)]
        if isinstance(node, h5py.Dataset):
            return _full(source, node)
        return _csc(source, node) if "MATLAB_sparse" in node.attrs else _csr(source, node)


def _full(source: Source, data: Any) -> Answer:
    """Return an array; MATLAB, whose class is an attribute, writes columns as rows."""
    kind = data.attrs.get("MATLAB_class", b"")
    text = kind.decode() if isinstance(kind, bytes) else str(kind)
    if text and text not in _CLASSES:
        raise source.no_numbers(f"an array of class {text}")
    array = _stored(source, data)
    if array.dtype.names == ("real", "imag"):
        array = array["real"] + 1j * array["imag"]
    if array.dtype.kind not in "biufc":
        raise source.no_numbers(array.dtype)
    return {"form": "full"}, [array.T if text else array]


def _csr(source: Source, group: Any) -> Answer:
    if group.attrs.get("encoding-type") != "csr_matrix":
        raise source.no_numbers("a group that is no matrix in CSR")
    parts = [_numbers(source, group[name]) for name in ("data", "indices", "indptr")]
    rows, columns = (int(n) for n in group.attrs["shape"])
    return {"form": "csr", "shape": (rows, columns)}, parts


def _csc(source: Source, group: Any) -> Answer:
    values, rows, starts = (_numbers(source, group[name]) for name in ("data", "ir", "jc"))
    shape = int(group.attrs["MATLAB_sparse"]), len(starts) - 1
    return {"form": "csc", "shape": shape}, [values, rows.astype(np.int64), starts.astype(np.int64)]


def _numbers(source: Source, data: Any) -> AnyArray:
    array = _stored(source, data)
    if array.dtype.kind not in "biufc":
        raise source.no_numbers(array.dtype)
    return array


def _stored(source: Source, data: Any) -> AnyArray:
    """Return all numbers, if they lie in this file and fit."""
    if data.is_virtual or data.external:
        got = f"{source.path} has its numbers in other files"
        raise CommandError(got, "Wanted them inside", "Write it again")
    source.fit(data.shape or (), data.dtype.itemsize)
    size, held = data.nbytes, source.size()
    if size > _PACKING * held:
        raise source.damaged(f"It has {memory.human(held)}, and tells of {memory.human(size)} of numbers")
    allow_time(size)
    return np.asarray(data[()])
