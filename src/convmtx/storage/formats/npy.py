"""Arrays in NumPy's files: .npy, and .npz, which is a zip archive of them; SciPy stores sparse arrays as such."""

from __future__ import annotations

import zipfile
from functools import partial
from io import BytesIO
from math import prod
from typing import IO, Any, BinaryIO

import numpy as np

from convmtx.maps.linear_map import LinearMap
from convmtx.storage.layouts import Layout, whole
from convmtx.storage.source import Source
from convmtx.typing import AnyArray, Order, SparseFormat

#: Bytes of a file that are read to see its header: NumPy refuses headers of more than 10 000.
HEADER = 16_384


def read_npy(source: Source) -> AnyArray:
    """Read what `numpy.save` wrote."""
    with source.parsing(), source.path.open("rb") as file:
        check_header(source, file.read(HEADER), source.size())
        file.seek(0)
        return _read_array(file)


def map_npy(source: Source) -> AnyArray:
    """Map what `numpy.save` wrote into memory, without reading it."""
    with source.parsing(), source.path.open("rb") as file:
        check_header(source, file.read(HEADER), source.size())
        return np.load(source.path, mmap_mode="r", allow_pickle=False)


def read_npz(source: Source) -> AnyArray:
    """Read one array of what `numpy.savez` wrote."""
    with source.parsing(), zipfile.ZipFile(source.path) as archive:
        members = members_of(archive)
        info = members[source.select(members)]
        check_member(source, archive, info)
        with archive.open(info) as file:
            return _read_array(file)


def members_of(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the arrays of an .npz file by name."""
    return {info.filename[:-4]: info for info in archive.infolist() if info.filename.endswith(".npy")}


def check_member(source: Source, archive: zipfile.ZipFile, info: zipfile.ZipInfo, kinds: str = "iufc") -> None:
    """Refuse an array of an archive whose header claims what does not follow, or does not fit in memory."""
    with archive.open(info) as file:
        check_header(source, file.read(HEADER), info.file_size, kinds)


def check_header(source: Source, head: bytes, size: int, kinds: str = "iufc") -> None:
    """Refuse an array whose header claims another number of bytes than follow.

    ``size`` is that of header and array together; ``kinds`` are letters of NumPy's types.
    """
    if not head.startswith(np.lib.format.MAGIC_PREFIX):
        raise ValueError("it does not begin as such files do")
    start = BytesIO(head)
    version = np.lib.format.read_magic(start)
    if version not in ((1, 0), (2, 0)):  # 3.0 is only for structured arrays, whose fields have names
        reason = f"format version {version}"
        raise ValueError(reason)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(start)
    if dtype.kind not in kinds:
        raise source.not_numbers("objects" if dtype.hasobject else dtype)
    claimed, stored = prod(shape) * dtype.itemsize, size - start.tell()
    if claimed != stored or min(shape, default=0) < 0:
        raise source.damaged(f"Its header claims shape {shape}, {claimed} bytes, and {stored} follow")
    source.require_memory(shape, dtype.itemsize)


def _read_array(file: IO[bytes]) -> AnyArray:
    """Read an array whose header has been checked; never execute pickled objects."""
    array: AnyArray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def read_sparse(source: Source) -> Any:
    """Read a sparse matrix that SciPy wrote, or a dense array that NumPy wrote."""
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


def layout_npy(op: LinearMap, order: Order) -> Layout:
    """Return how the dense matrix is written for NumPy."""
    return whole(partial(_write_npy, op, order), op.shape[0] * op.shape[1] * op.dtype.itemsize)


def layout_npz(op: LinearMap, order: Order, sparse_format: SparseFormat) -> Layout:
    """Return how the matrix is written for SciPy; how long it becomes is not known before it is compressed."""
    return whole(partial(_write_npz, op, order, sparse_format))


def _write_npy(op: LinearMap, order: Order, file: BinaryIO) -> None:
    """Write the dense matrix."""
    np.save(file, op.to_dense(order), allow_pickle=False)


def _write_npz(op: LinearMap, order: Order, sparse_format: SparseFormat, file: BinaryIO) -> None:
    """Write a sparse array."""
    import scipy.sparse

    matrix: Any = op.to_sparse(sparse_format, order)
    scipy.sparse.save_npz(file, matrix)
