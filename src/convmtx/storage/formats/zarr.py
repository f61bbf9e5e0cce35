"""Matrices in Zarr as AnnData lays out CSR: a group of three arrays, of which every job writes whole chunks.

Chunks are ranges of entries, wherever rows begin, so all but the last have the same size. They are compressed by Zstd:
a convolution repeats its few values.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from convmtx.errors import ArgumentError
from convmtx.extras import import_extra
from convmtx.files import flush
from convmtx.storage.layouts import Layout
from convmtx.storage.slabs import SLAB_BYTES, Slabs
from convmtx.storage.source import Source
from convmtx.typing import AnyArray

#: Numbers in a chunk: 8 MiB of doubles, the least that a reader decompresses.
CHUNK = 1 << 20
#: Names of codecs that only move and compress bytes. Others, as of pickled objects, could run programs.
_CODECS = {"bytes", "blosc", "zstd", "gzip", "crc32c", "zlib", "lz4", "lzma", "bz2", "shuffle", "numcodecs.zstd"}
_NAMES = ("data", "indices", "indptr")


@dataclass(frozen=True)
class _ChunkWriter:
    """Job that writes chunks of entries, or, after all of these, chunks of row starts."""

    slabs: Slabs
    index: np.dtype[Any]
    #: Chunks in a job, and jobs of entries.
    chunks: int
    n_entry_jobs: int

    def __call__(self, draft: Path, number: int) -> None:
        """Write the chunks of a job, and wait until they are on the disk."""
        root = import_extra("zarr", "files").open_group(str(draft), mode="r+")
        step = self.chunks * CHUNK
        if number < self.n_entry_jobs:
            start, stop = number * step, min((number + 1) * step, self.slabs.nnz)
            data, indices = self.slabs.entries(start, stop, self.index)
            _write(draft, root["data"], start, data)
            _write(draft, root["indices"], start, indices)
            return
        start = (number - self.n_entry_jobs) * step
        stop = min(start + step, self.slabs.shape[0] + 1)
        _write(draft, root["indptr"], start, self.slabs.starts(range(start, stop - 1)).astype(self.index))


def _write(draft: Path, array: Any, start: int, values: AnyArray) -> None:
    """Write whole chunks, also those that are zero: a chunk that is missing is damage."""
    array.with_config({"write_empty_chunks": True})[start : start + values.size] = values
    folders = set()
    for number in range(start // CHUNK, -(-(start + values.size) // CHUNK)):
        chunk = draft / array.path / array.metadata.encode_chunk_key((number,))
        flush(chunk)
        folders.add(chunk.parent)
    for folder in folders:
        flush(folder)


def layout(slabs: Slabs, index: np.dtype[Any]) -> Layout:
    """Return how a matrix is written, with indices of the type ``index``."""
    import_extra("zarr", "files")
    # As many whole chunks as fit into half a slab: they are copied from one, and while they are compressed.
    chunks = max(SLAB_BYTES // 2 // (CHUNK * (slabs.op.dtype.itemsize + index.itemsize)), 1)
    entry_jobs, start_jobs = (-(-n // (chunks * CHUNK)) for n in (slabs.nnz, slabs.shape[0] + 1))
    prepare = partial(_prepare, shape=slabs.shape, nnz=slabs.nnz, dtype=slabs.op.dtype, index=index)
    work = _ChunkWriter(slabs, index, chunks, entry_jobs)
    return Layout(entry_jobs + start_jobs, prepare, work)


def _prepare(draft: Path, shape: tuple[int, int], nnz: int, dtype: np.dtype[Any], index: np.dtype[Any]) -> None:
    """Create the group and its arrays, without a chunk."""
    zarr = import_extra("zarr", "files")
    root = zarr.open_group(str(draft), mode="w-")
    root.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0", "shape": list(shape)})
    values = zarr.codecs.ZstdCodec(level=3)
    # Indices ascend, so that their higher bytes repeat only when each byte has a stretch of its own: 1 % and not 8 %.
    # Values repeat as a whole: 0.01 % and not 0.2 %.
    ascending = zarr.codecs.BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=index.itemsize)
    for name, size, kind in (("data", nnz, dtype), ("indices", nnz, index), ("indptr", shape[0] + 1, index)):
        codec = values if name == "data" else ascending
        root.create_array(name, shape=(size,), chunks=(CHUNK,), dtype=kind, compressors=codec)


def read_zarr(source: Source, rows: slice | None) -> tuple[AnyArray, AnyArray, AnyArray, tuple[int, int]]:
    """Return data, columns, row starts and the shape of all rows, or of some; other chunks are not read."""
    root = _open_group(source)
    n_rows, n_columns = (int(n) for n in root.attrs["shape"])
    data, indices, indptr = (root[name] for name in _NAMES)
    if indptr.shape != (n_rows + 1,) or data.ndim != 1 or data.shape != indices.shape:
        lengths = ", ".join(
            f"{array.shape} {name}" for name, array in zip(_NAMES, (data, indices, indptr), strict=True)
        )
        raise source.damaged(f"It claims {n_rows} rows, and has {lengths}")
    wanted = range(n_rows) if rows is None else range(n_rows)[rows]
    starts = _read(source, indptr, wanted.start, wanted.start + len(wanted) + 1, "iu").astype(np.int64)
    first, last = int(starts[0]), int(starts[-1])
    if not 0 <= first <= last <= data.shape[0] or (rows is None and (first, last) != (0, data.shape[0])):
        raise source.damaged(f"Its rows claim entries {first} to {last} of {data.shape[0]}")
    values = _read(source, data, first, last, "iufc")
    return values, _read(source, indices, first, last, "iu"), starts - first, (len(wanted), n_columns)


def _open_group(source: Source) -> Any:
    """Open the group of a matrix in CSR, whose arrays have known codecs; refuse other stores, and other files."""
    expected, remedy = "Expected a group of Zarr as convmtx.save or AnnData writes it", "Pass another path"
    new, group, array = (source.path / name for name in ("zarr.json", ".zgroup", ".zarray"))
    if not (new.exists() or group.exists() or array.exists()):
        raise ArgumentError(f"{source.path} is not a store of Zarr", expected, remedy)
    is_group = json.loads(new.read_text("utf-8"))["node_type"] == "group" if new.exists() else group.exists()
    # Consolidated metadata would be a second copy, which is not checked.
    open_group = partial(import_extra("zarr", "files").open_group, mode="r", use_consolidated=False)
    if not is_group or (root := open_group(str(source.path))).attrs.get("encoding-type") != "csr_matrix":
        raise ArgumentError(f"{source.path} is not a matrix in CSR", expected, remedy)
    for name in _NAMES:
        _check_codecs(source, source.path / name)
    return root


def _check_codecs(source: Source, folder: Path) -> None:
    """Refuse an array whose numbers would be decoded by anything but known codecs."""
    new, old = folder / "zarr.json", folder / ".zarray"
    if not (new.exists() or old.exists()):
        raise source.damaged(f"The array {folder.name} is missing")
    metadata = json.loads((new if new.exists() else old).read_text("utf-8"))
    if new.exists():
        names = [codec["name"] for codec in metadata["codecs"]]
    else:
        names = [codec["id"] for codec in (*(metadata["filters"] or ()), metadata["compressor"]) if codec]
    if unknown := [name for name in names if name not in _CODECS]:
        got = f"{source.path} has numbers in the code {unknown[0]}"
        raise ArgumentError(got, "Expected one that only compresses", "Write it again")


def _read(source: Source, array: Any, start: int, stop: int, kinds: str) -> AnyArray:
    """Read a range of an array, if it fits in memory and all of its chunks are there."""
    if array.dtype.kind not in kinds:
        raise source.not_numbers(array.dtype)
    size = array.chunks[0]
    source.require_memory([min(size, array.shape[0]) + stop - start], array.dtype.itemsize)
    for number in range(start // size, -(-stop // size)):
        path = source.path / array.path / array.metadata.encode_chunk_key((number,))
        if not path.is_file():
            raise source.damaged(f"{path.relative_to(source.path)} is missing")
    return np.asarray(array[start:stop])
