"""Matrices to files of other programs."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.arguments import flag, one_of
from convmtx.engines.threads import threads
from convmtx.errors import ArgumentError, door
from convmtx.extras import import_extra
from convmtx.files import as_path, check_target
from convmtx.forms.layout import index_dtype
from convmtx.maps.base import check_order
from convmtx.maps.linear_map import LinearMap, require_numpy_map
from convmtx.storage.formats import hdf5, matlab, matrix_market, npy, petsc, zarr
from convmtx.storage.jobs import Jobs, run_jobs
from convmtx.storage.layouts import Layout
from convmtx.storage.slabs import Slabs, slabs_of, token
from convmtx.typing import Order, SparseFormat

#: Form of the matrix in a file of each suffix; .npz takes any sparse format.
FORMS = {
    ".npy": "dense", ".mtx": "coo", ".mat": "csc", ".h5": "csr", ".hdf5": "csr", ".petsc": "csr", ".zarr": "csr",
}  # fmt: skip
#: Suffixes of files that are written.
WRITTEN_SUFFIXES = (".npz", *FORMS)
#: Suffixes of files in which indices can have 32 or 64 bits.
_WITH_INDEX = (".zarr", ".h5", ".hdf5", ".petsc")
#: Most bytes of a variable in a .mat file, whose sizes are signed integers of 32 bits.
_MAT_LIMIT = (1 << 31) - 1


@door("save")
def save(
    op: LinearMap,
    path: str | os.PathLike[str],
    *,
    order: Order = "C",
    index: str | None = None,
    resume: bool = True,
    progress: bool = False,
    client: Any = None,
) -> None:
    """Write the matrix of a map to a file, slab by slab, in the format that the suffix names.

    Law: what `convmtx.load` returns equals ``op.to_sparse("csr", order)``. The file gets its name when it is complete,
    and equal calls write equal bytes.

    Parameters
    ----------
    op : LinearMap
        Any map with a NumPy kernel.
    path : str or path-like
        File to write; one of that name is replaced, but not a folder. ``.zarr`` is CSR as AnnData lays it out,
        compressed. ``.h5`` is the same in one file, and in its group ``WT`` PETSc reads the matrix and MATLAB its
        transpose. ``.petsc`` is the binary format of PETSc, with numbers of double precision, and ``.mtx`` is Matrix
        Market. ``.npz`` (SciPy), ``.npy`` (dense, NumPy) and ``.mat`` (MATLAB) are built in memory and written at once.
    order : {"C", "F"}
        Order in which inputs and outputs are flattened.
    index : {"int32", "int64"}, optional
        Type of indices in .zarr, .h5 and .petsc. The default is int32 if all indices fit, otherwise int64. PETSc reads
        the width with which it was built.
    resume : bool
        Whether to go on with what an earlier call with the same arguments has finished, also if its process was
        killed, and to keep what is finished if this call fails. It is kept in a hidden folder beside the file. With
        False, begin anew, and leave nothing behind after a failure.
    progress : bool
        Whether to draw a bar; needs the extra ``progress``.
    client : distributed.Client, optional
        Dask cluster that builds and writes the slabs; its workers have to see the same folder. By default threads of
        this process do.

    Raises
    ------
    ValueError
        If the format is unknown or cannot store such numbers, if the file cannot be written or there is no room for
        it, if an earlier call has begun to write another matrix under this name, or if the client is closed.
    TypeError
        If an argument has the wrong type, or the kernel is an array of another library.
    MemoryError
        If a matrix that is written at once does not fit in memory, or the row starts of a map that is not a
        convolution: 8 bytes a row.
    ImportError
        Without the extra ``files``, for .h5 and .zarr.

    Notes
    -----
    For a convolution, the place of every entry is known before the first one is built, so slabs are written in any
    order, and memory holds a few slabs of 64 MiB. Other maps that do not fit in memory are built twice: their entries
    are counted first. Takes the time of ``to_sparse`` and of writing the bytes.

    Examples
    --------
    >>> import tempfile, convmtx as cm
    >>> op = cm.conv([1.0, 2.0, 3.0], 6)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cm.save(op, folder + "/W.npz")
    ...     cm.load(folder + "/W.npz").nnz
    12
    """
    check_order(order)
    write_matrix(
        op, as_path(path, "W.h5"), order, index=index, resume=flag("resume", resume),
        progress=flag("progress", progress), client=client,
    )  # fmt: skip


def write_matrix(
    op: LinearMap,
    path: Path,
    order: Order,
    *,
    sparse_format: SparseFormat = "csr",
    index: str | None = None,
    resume: bool = False,
    progress: bool = False,
    client: Any = None,
) -> None:
    """Write a matrix as `save` does; ``sparse_format`` is that of a .npz file."""
    suffix, target = path.suffix.lower(), check_matrix_target(path)
    require_numpy_map(op)
    check_numbers(op.dtype, suffix, op._count_stored() or 0)
    identity: dict[str, Any] = {"order": order, "format": suffix}
    if suffix in _BUILDERS:
        slabs = slabs_of(op, order)
        kind = _index(index, suffix, slabs)
        layout = _BUILDERS[suffix](slabs, kind)
        identity.update(shape=slabs.shape, entries=slabs.nnz, index=kind.name, slab=slabs.height)
    else:
        if index is not None:
            raise _no_index(index, suffix)
        layout = _layout_at_once(op, suffix, order, sparse_format)
    if (name := token(op)) is None:  # nobody knows whether it is the map of an earlier call
        resume = False
    identity.update(map=name, dtype=op.dtype.name)

    def prepare(draft: Path) -> None:
        if suffix in _BUILDERS or layout.size <= memory.available():  # else an error will name the forms that fit
            require_space(target, layout.size)
        layout.prepare(draft)

    jobs = Jobs(identity, layout.count, prepare, layout.work, threads())
    run_jobs(target, jobs, "save", resume=resume, progress=progress, client=client)


_BUILDERS: dict[str, Callable[[Slabs, np.dtype[Any]], Layout]] = {
    ".zarr": zarr.layout, ".h5": hdf5.layout, ".hdf5": hdf5.layout, ".petsc": petsc.layout,
    ".mtx": matrix_market.layout,
}  # fmt: skip


def _layout_at_once(op: LinearMap, suffix: str, order: Order, sparse_format: SparseFormat) -> Layout:
    """Return how a file is written that is built in memory."""
    if suffix == ".npy":
        return npy.layout_npy(op, order)
    return matlab.layout(op, order) if suffix == ".mat" else npy.layout_npz(op, order, sparse_format)


def _index(index: str | None, suffix: str, slabs: Slabs) -> np.dtype[Any]:
    """Return the type of indices that was requested, or the smallest that can count all rows, columns and entries."""
    least = np.dtype(index_dtype(slabs.nnz, *slabs.shape))
    if index is None:
        return least
    kind = np.dtype(one_of("index", index, ("int32", "int64")))
    if suffix not in _WITH_INDEX:
        raise _no_index(index, suffix)
    if kind.itemsize < least.itemsize:
        got = f"index={index!r} for a matrix {slabs.shape[0]} x {slabs.shape[1]} with {slabs.nnz} entries"
        raise ArgumentError(got, "Indices of 32 bits are too small", 'Pass index="int64"')
    return kind


def _no_index(index: str, suffix: str) -> ArgumentError:
    """Return the error for a type of indices that would have no effect."""
    return ArgumentError(f"index={index!r} for a {suffix} file", f"It is for {', '.join(_WITH_INDEX)}", "Leave it out")


def check_matrix_target(path: Path) -> Path:
    """Return where a matrix can be written; a folder, such as zarr makes, is never replaced."""
    if path.suffix.lower() != ".zarr":
        return check_target(path, WRITTEN_SUFFIXES)
    import_extra("zarr", "files")
    if os.path.lexists(path):
        raise ArgumentError(f"{path} is there already", "A folder is not replaced", "Remove it or choose another name")
    return Path(os.path.realpath(path.parent)) / check_target(path, WRITTEN_SUFFIXES).name


def check_numbers(dtype: np.dtype[Any], suffix: str, nnz: int) -> None:
    """Refuse a type that the file cannot represent, and a variable that is too large for a .mat file."""
    reason = ""
    is_long = dtype.itemsize > (16 if dtype.kind == "c" else 8)
    if suffix != ".npy" and dtype == np.float16:
        reason = "SciPy has no sparse arrays of it"
    elif suffix in (".mtx", ".mat", ".petsc") and is_long:
        reason = f"{suffix} files have at most double precision"
    elif suffix in (".h5", ".hdf5", ".zarr") and is_long:
        reason = f"Other programs cannot read such numbers from {suffix} files"
    if reason:
        raise ArgumentError(f"a kernel of {dtype}", reason, "Cast it first, or use .npy")
    if suffix == ".mat" and nnz * 16 > _MAT_LIMIT:  # in CSC: a double and an index for each entry
        got = f"a matrix with {nnz} entries in a .mat file"
        raise ArgumentError(got, f"A variable there has at most {_MAT_LIMIT} bytes", "Use .h5, which MATLAB reads too")


def require_space(target: Path, size: int) -> None:
    """Refuse a file for which the disk has no room, or that is longer than a file may be."""
    with contextlib.suppress(OSError):
        disk = shutil.disk_usage(target.parent)
        free = disk.free if disk.total else size  # some file systems report sizes of zero
        room = min(free, _file_limit(size))
        if room < size:
            got = f"{target} cannot be written: it takes at least {memory.human(size)}"
            raise ArgumentError(got, f"There is room for {memory.human(room)}", "Use another folder, or a smaller map")


def _file_limit(default: int) -> int:
    """Return the most bytes that a file of this process may have, or ``default`` if there is no limit; Unix only."""
    try:
        import resource
    except ImportError:
        return default
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return default if limit == resource.RLIM_INFINITY else limit
