"""Matrices to files that other programs read."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO, cast

import numpy as np

from convmtx import memory
from convmtx.cli.report import CommandError
from convmtx.extras import needed
from convmtx.replacing import replacing, temporary_beside, writable
from convmtx.typing import AnyArray

SUFFIXES = (".npz", ".npy", ".mtx", ".mat", ".h5", ".hdf5", ".zarr")
#: What is built for a file; .npz takes any sparse format.
FORMS = {".npy": "dense", ".mtx": "coo", ".mat": "csc", ".h5": "csr", ".hdf5": "csr", ".zarr": "csr"}
#: Bytes of a variable in a .mat file, at most.
_MAT_MOST = (1 << 31) - 1
#: Seconds between looks at a thread that writes.
_GLANCE = 0.5
#: Bytes of a line of a .mtx file, at least: two places, a digit, two spaces and an end.
_LINE = 6


def target_of(path: Path) -> Path:
    """Return where a matrix can be written; a folder, such as zarr makes, is never replaced."""
    if path.suffix.lower() != ".zarr":
        return writable(path, SUFFIXES)
    needed("zarr", "files")
    if os.path.lexists(path):
        raise CommandError(f"{path} is there already", "A folder is not replaced", "Remove it or choose another name")
    return Path(os.path.realpath(path.parent)) / writable(path, SUFFIXES).name


def check_storable(dtype: np.dtype[Any], suffix: str, nnz: int) -> None:
    """Refuse what would be written wrong."""
    wanted = ""
    if suffix != ".npy" and dtype == np.float16:
        wanted = "SciPy has no sparse arrays of it"
    if suffix in (".mtx", ".mat") and dtype.itemsize > (16 if dtype.kind == "c" else 8):
        wanted = f"{suffix} files have double precision at most"
    if suffix in (".h5", ".hdf5", ".zarr") and dtype.itemsize > (16 if dtype.kind == "c" else 8):
        wanted = f"Other programs read no such numbers from {suffix} files"
    if wanted:
        raise CommandError(f"a kernel of {dtype}", wanted, "Cast it first, or use .npy")
    if suffix == ".mat" and nnz * 16 > _MAT_MOST:
        got = f"a matrix with {nnz} entries in a .mat file"
        raise CommandError(got, f"A variable there has at most {_MAT_MOST} bytes", "Use .h5, which MATLAB reads too")
    if suffix in (".h5", ".hdf5"):
        needed("h5py", "files")


def require_space(target: Path, suffix: str, sizes: Mapping[str, int], nnz: int) -> None:
    """Refuse a matrix for which the disk has no room, or that is longer than a file may be.

    ``sizes`` are bytes of the forms. Of files that are compressed nothing is known before they are written.
    """
    size = {".npy": sizes["dense"], ".mtx": nnz * _LINE, ".h5": sizes["csr"], ".hdf5": sizes["csr"]}.get(suffix, 0)
    if size > memory.available():
        return  # the form is refused, which names those that fit
    with contextlib.suppress(OSError):
        disk = shutil.disk_usage(target.parent)
        free = disk.free if disk.total else size  # some file systems say that all they have is zero
        room = min(free, _longest_file(size))
        if room < size:
            got = f"{target} cannot be written: it takes at least {memory.human(size)}"
            raise CommandError(got, f"There is room for {memory.human(room)}", "Use another folder, or a sparse format")


def _longest_file(otherwise: int) -> int:
    """Bytes that a file of this process may have, where the system limits them; Unix only."""
    try:
        import resource
    except ImportError:
        return otherwise
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return otherwise if limit == resource.RLIM_INFINITY else limit


def save(target: Path, matrix: Any, suffix: str) -> None:
    """Write a matrix, wholly or not at all."""
    if suffix == ".zarr":
        with _replacing_folder(target) as folder:
            _save_zarr(folder, matrix)
        return
    with replacing(target) as file:
        _WRITERS[suffix](file, matrix)


def _save_npy(file: BinaryIO, matrix: AnyArray) -> None:
    np.save(file, matrix, allow_pickle=False)


def _save_npz(file: BinaryIO, matrix: Any) -> None:
    import scipy.sparse

    scipy.sparse.save_npz(file, matrix)


def _save_mtx(file: BinaryIO, matrix: Any) -> None:
    import scipy.io

    # Every entry, also of a symmetric matrix: the file's nnz is the one that was explained.
    scipy.io.mmwrite(file, matrix, symmetry="general")


def _save_mat(file: BinaryIO, matrix: Any) -> None:
    import scipy.io

    if matrix.dtype.kind in "iu" and ((matrix.data > 1 << 53) | (matrix.data < -(1 << 53))).any():
        got, wanted = "entries above 2**53", "Sparse matrices of MATLAB are of doubles, which lose digits of them"
        raise CommandError(got, wanted, "Use .npy")
    doubles = matrix.astype(complex if matrix.dtype.kind == "c" else float)
    doubles.eliminate_zeros()  # MATLAB's sparse matrices store none
    scipy.io.savemat(cast("Any", file), {"W": doubles}, do_compression=True)


def _save_h5(file: BinaryIO, matrix: Any) -> None:
    h5py = needed("h5py", "files")
    try:
        with h5py.File(file.name, "w") as root:  # by name, for HDF5 reads what it writes
            _fill(root, matrix, root.__setitem__)
    except RuntimeError as error:  # closing failed, because writing had
        number = getattr(error.__context__, "errno", None) or errno.EIO
        raise OSError(number, os.strerror(number)) from None


def _save_zarr(folder: Path, matrix: Any) -> None:
    """Write in a thread of its own, which an interrupt does not reach, and which is waited for.

    Zarr itself writes in threads. Interrupted while waiting for them, it leaves them writing, into a folder that is
    being removed.
    """
    zarr = needed("zarr", "files")
    given_up = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            writing = pool.submit(_write_group, zarr, folder, matrix, given_up)
            while wait([writing], _GLANCE).not_done:  # not for ever: on Windows no interrupt would be heard
                pass
            writing.result()
        except BaseException:
            given_up.set()
            raise


def _write_group(zarr: Any, folder: Path, matrix: Any, given_up: Event) -> None:
    root = zarr.open_group(str(folder), mode="w")

    def put(name: str, values: AnyArray) -> None:
        array = root.create_array(name, shape=values.shape, dtype=values.dtype)
        # One chunk a call: of many at once, the others are still being written after one has failed.
        for start in range(0, values.size, array.chunks[0]):
            if given_up.is_set():
                return
            array[start : start + array.chunks[0]] = values[start : start + array.chunks[0]]

    _fill(root, matrix, put)


def _fill(root: Any, matrix: Any, put: Callable[[str, AnyArray], None]) -> None:
    """The layout of CSR that AnnData documents: three arrays, and attributes that say what they are."""
    root.attrs["encoding-type"], root.attrs["encoding-version"] = "csr_matrix", "0.1.0"
    root.attrs["shape"] = list(matrix.shape)
    for name in ("data", "indices", "indptr"):
        put(name, getattr(matrix, name))


_WRITERS = {
    ".npy": _save_npy, ".npz": _save_npz, ".mtx": _save_mtx, ".mat": _save_mat, ".h5": _save_h5, ".hdf5": _save_h5,
}  # fmt: skip


@contextlib.contextmanager
def _replacing_folder(target: Path) -> Iterator[Path]:
    """A new folder that gets its name once it is complete, and is gone if anything goes wrong."""
    temporary = temporary_beside(target)
    try:
        yield temporary
        temporary.rename(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            got, wanted = f"{target} cannot be written", error.strerror or str(error)
            raise CommandError(got, wanted, "Nothing was left there") from None
        raise


def weight(target: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if target.is_dir():
        return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return target.stat().st_size
