"""Matrices from and to files: read from those that are not trusted, written for other programs."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, cast

import numpy as np

from convmtx import memory
from convmtx.cli.formats.hdf5 import read_hdf5
from convmtx.cli.formats.matlab import read_mat
from convmtx.cli.formats.matrix_market import read_mtx
from convmtx.cli.formats.npy import check_member, map_npy, members_of, read_npz
from convmtx.cli.formats.source import Source
from convmtx.cli.report import CommandError
from convmtx.extras import import_extra
from convmtx.files import announce_complete, check_target, replace_file, temporary_path
from convmtx.typing import AnyArray

#: Suffixes of files that are read, and of those that are written: a .zarr folder is only written.
READ_SUFFIXES = (".npz", ".npy", ".mtx", ".mat", ".h5", ".hdf5")
WRITTEN_SUFFIXES = (*READ_SUFFIXES, ".zarr")
#: Form of a matrix that is built for a file; .npz takes any sparse format.
FORMS = {".npy": "dense", ".mtx": "coo", ".mat": "csc", ".h5": "csr", ".hdf5": "csr", ".zarr": "csr"}
#: Most bytes of a variable in a .mat file, whose sizes are signed integers of 32 bits.
_MAT_LIMIT = (1 << 31) - 1
#: Seconds between looks at a thread that writes: an interrupt on Windows is heard so much later.
_POLL = 0.5
#: Fewest bytes of a line of a .mtx file: row, column and value of a digit each, two spaces and the end of the line.
_LINE = 6


def read_matrix(source: Source) -> Any:
    """Read a matrix as a dense array, which of a .npy file is mapped into memory, or as a sound one in CSR."""
    with source.parsing():
        matrix: Any = _READERS[source.suffix](source)
        if matrix.dtype.kind not in "iufc":
            raise source.not_numbers(matrix.dtype)
        return matrix if isinstance(matrix, np.ndarray) else _as_csr(source, matrix)


def _load_npz(source: Source) -> Any:
    """Read a sparse matrix that SciPy wrote, or a dense array that NumPy wrote."""
    import zipfile

    import scipy.sparse

    with zipfile.ZipFile(source.path) as archive:
        members = members_of(archive)
        if "format" not in members:
            return read_npz(source)
        for name, info in members.items():
            # SciPy stores the format as text, and whether it is an array as a boolean.
            kinds = "iu" if name in ("indices", "indptr", "row", "col", "offsets", "shape") else "iufcbSU"
            check_member(source, archive, info, kinds)
    return scipy.sparse.load_npz(source.path)


def _as_csr(source: Source, matrix: Any) -> Any:
    """Return a matrix in CSR without duplicates; indices are checked first, for compiled code would follow them."""
    import scipy.sparse

    if len(matrix.shape) != 2:
        raise CommandError(f"{source.path} has shape {matrix.shape}", "Expected a matrix", "Pass another file")
    source.require_memory([sum(matrix.shape)], 8)
    if matrix.format in ("csr", "csc", "bsr"):
        matrix.check_format(full_check=True)
    csr = scipy.sparse.csr_array(matrix)
    csr.sum_duplicates()
    return csr


_READERS: dict[str, Callable[[Source], Any]] = {
    ".npy": map_npy,
    ".npz": _load_npz,
    ".mtx": read_mtx,
    ".mat": partial(read_mat, matrices=True),
    ".h5": partial(read_hdf5, matrices=True),
    ".hdf5": partial(read_hdf5, matrices=True),
}


def check_matrix_target(path: Path) -> Path:
    """Return where a matrix can be written; a folder, such as zarr makes, is never replaced."""
    if path.suffix.lower() != ".zarr":
        return check_target(path, WRITTEN_SUFFIXES)
    import_extra("zarr", "files")
    if os.path.lexists(path):
        raise CommandError(f"{path} is there already", "A folder is not replaced", "Remove it or choose another name")
    return Path(os.path.realpath(path.parent)) / check_target(path, WRITTEN_SUFFIXES).name


def check_storable(dtype: np.dtype[Any], suffix: str, nnz: int) -> None:
    """Refuse a type that the file cannot represent, and a variable that is too large for a .mat file."""
    reason = ""
    if suffix != ".npy" and dtype == np.float16:
        reason = "SciPy has no sparse arrays of it"
    if suffix in (".mtx", ".mat") and dtype.itemsize > (16 if dtype.kind == "c" else 8):
        reason = f"{suffix} files have at most double precision"
    if suffix in (".h5", ".hdf5", ".zarr") and dtype.itemsize > (16 if dtype.kind == "c" else 8):
        reason = f"Other programs cannot read such numbers from {suffix} files"
    if reason:
        raise CommandError(f"a kernel of {dtype}", reason, "Cast it first, or use .npy")
    if suffix == ".mat" and nnz * 16 > _MAT_LIMIT:  # in CSC: a double and an index for each entry
        got = f"a matrix with {nnz} entries in a .mat file"
        raise CommandError(got, f"A variable there has at most {_MAT_LIMIT} bytes", "Use .h5, which MATLAB reads too")
    if suffix in (".h5", ".hdf5"):
        import_extra("h5py", "files")


def require_space(target: Path, suffix: str, sizes: Mapping[str, int], nnz: int) -> None:
    """Refuse a matrix for which the disk has no room, or that is longer than a file may be.

    ``sizes`` are bytes of the forms. How long a compressed file becomes is not known before it is written.
    """
    size = {".npy": sizes["dense"], ".mtx": nnz * _LINE, ".h5": sizes["csr"], ".hdf5": sizes["csr"]}.get(suffix, 0)
    if size > memory.available():
        return  # building the form will be refused, by an error that names the forms that fit
    with contextlib.suppress(OSError):
        disk = shutil.disk_usage(target.parent)
        free = disk.free if disk.total else size  # some file systems report sizes of zero
        room = min(free, _file_limit(size))
        if room < size:
            got = f"{target} cannot be written: it takes at least {memory.human(size)}"
            raise CommandError(got, f"There is room for {memory.human(room)}", "Use another folder, or a sparse format")


def _file_limit(default: int) -> int:
    """Return the most bytes that a file of this process may have, or ``default`` if there is no limit; Unix only."""
    try:
        import resource
    except ImportError:
        return default
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return default if limit == resource.RLIM_INFINITY else limit


def write_matrix(target: Path, matrix: Any, suffix: str) -> None:
    """Write a matrix, wholly or not at all."""
    if suffix == ".zarr":
        with _new_folder(target) as folder:
            _write_zarr(folder, matrix)
        return
    with replace_file(target) as file:
        _WRITERS[suffix](file, matrix)


def _write_npy(file: BinaryIO, matrix: AnyArray) -> None:
    """Write a dense array for NumPy."""
    np.save(file, matrix, allow_pickle=False)


def _write_npz(file: BinaryIO, matrix: Any) -> None:
    """Write a sparse array for SciPy."""
    import scipy.sparse

    scipy.sparse.save_npz(file, matrix)


def _write_mtx(file: BinaryIO, matrix: Any) -> None:
    """Write coordinates for Matrix Market."""
    import scipy.io

    # "general" writes every entry, also of a symmetric matrix, so that the file's nnz is the one that was printed.
    scipy.io.mmwrite(file, matrix, symmetry="general")


def _write_mat(file: BinaryIO, matrix: Any) -> None:
    """Write the variable W for MATLAB; refuse integers that doubles would round."""
    import scipy.io

    if matrix.dtype.kind in "iu" and ((matrix.data > 1 << 53) | (matrix.data < -(1 << 53))).any():
        got, expected = "entries above 2**53", "Sparse matrices of MATLAB contain doubles, which lose digits of them"
        raise CommandError(got, expected, "Use .npy")
    doubles = matrix.astype(complex if matrix.dtype.kind == "c" else float)
    doubles.eliminate_zeros()  # which MATLAB's sparse matrices must not store
    scipy.io.savemat(cast("Any", file), {"W": doubles}, do_compression=True)


def _write_h5(file: BinaryIO, matrix: Any) -> None:
    """Write CSR as HDF5."""
    h5py = import_extra("h5py", "files")
    try:
        with h5py.File(file.name, "w") as root:  # by name, because HDF5 also reads the file while it writes
            _fill(root, matrix, root.__setitem__)
    except RuntimeError as error:  # closing the file failed, because writing to it had failed before
        number = getattr(error.__context__, "errno", None) or errno.EIO
        raise OSError(number, os.strerror(number)) from None


def _write_zarr(folder: Path, matrix: Any) -> None:
    """Write in a thread of its own, which an interrupt does not reach, and wait for it.

    Zarr itself writes in threads. If an interrupt stops it while it waits for them, they go on writing into a folder
    that is being removed.
    """
    zarr = import_extra("zarr", "files")
    given_up = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            writing = pool.submit(_write_group, zarr, folder, matrix, given_up)
            while wait([writing], _POLL).not_done:  # on Windows a wait without a limit would hear no interrupt
                pass
            writing.result()
        except BaseException:
            given_up.set()
            raise


def _write_group(zarr: Any, folder: Path, matrix: Any, given_up: Event) -> None:
    """Write the group chunk by chunk, until it is complete or the event is set."""
    root = zarr.open_group(str(folder), mode="w")

    def put(name: str, values: AnyArray) -> None:
        array = root.create_array(name, shape=values.shape, dtype=values.dtype)
        # One chunk a call: zarr writes several at once, and after one has failed it goes on writing the others.
        for start in range(0, values.size, array.chunks[0]):
            if given_up.is_set():
                return
            array[start : start + array.chunks[0]] = values[start : start + array.chunks[0]]

    _fill(root, matrix, put)


def _fill(root: Any, matrix: Any, put: Callable[[str, AnyArray], None]) -> None:
    """Write CSR in the layout that AnnData documents: three arrays, and attributes that say what they are."""
    root.attrs["encoding-type"], root.attrs["encoding-version"] = "csr_matrix", "0.1.0"
    root.attrs["shape"] = list(matrix.shape)
    for name in ("data", "indices", "indptr"):
        put(name, getattr(matrix, name))


_WRITERS = {
    ".npy": _write_npy,
    ".npz": _write_npz,
    ".mtx": _write_mtx,
    ".mat": _write_mat,
    ".h5": _write_h5,
    ".hdf5": _write_h5,
}


@contextlib.contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """Create a folder that gets its name once it is complete, and is removed if anything goes wrong."""
    temporary = temporary_path(target)
    try:
        yield temporary
        announce_complete()
        temporary.rename(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            got, expected = f"{target} cannot be written", error.strerror or str(error)
            raise CommandError(got, expected, "Nothing was left behind") from None
        raise


def size_of(target: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if target.is_dir():
        return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return target.stat().st_size
