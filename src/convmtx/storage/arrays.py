"""Arrays that are read box by box, wherever they are kept: in Zarr, HDF5, files of NumPy, or behind any slices."""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError, ConvmtxError, shown, with_article
from convmtx.extras import import_extra
from convmtx.typing import AnyArray, Shape

#: Kinds of numbers that maps take: signed and unsigned integers, floats and complex numbers.
_KINDS = "iufc"
#: Names of arrays that an error lists.
_LISTED = 5
_WHAT = "Expected a path of .zarr, .h5 or .npy, a zarr.Array, an h5py.Dataset or a numpy.memmap"


class StoredArray:
    """An array that is kept somewhere, of which boxes are read.

    Attributes
    ----------
    name : str
        What errors call it.
    shape, dtype
        As it is stored; boxes come in native byte order.
    chunks : tuple of int or None
        Shape of what is read and decoded at a time, if it is kept in chunks.
    folder : Path or None
        Folder or file that holds it, if it is on this file system.
    key : str or None
        Names it for other processes; None if it is known to this one alone.
    """

    def __init__(self, array: Any, name: str, reopen: Callable[[], Any] | None = None, folder: Path | None = None):
        self._array, self._reopen, self.name, self.folder = array, reopen, name, folder
        self.shape: Shape = tuple(int(n) for n in array.shape)
        self.dtype = np.dtype(array.dtype).newbyteorder("=")
        # Of a shard of Zarr a chunk can be read by itself.
        chunks = getattr(array, "chunks", None)
        self.chunks: Shape | None = tuple(map(int, chunks)) if chunks and isinstance(chunks[0], int) else None
        self.key = name if reopen is not None else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies in other processes open the file by themselves."""
        if self._reopen is None:
            return StoredArray, (self._array, self.name)
        return _reopened, (self.name, self._reopen, self.folder)

    @property
    def large_chunks(self) -> Shape | None:
        """Shape of what a program wrote at a time: shards of Zarr, or chunks."""
        shards: Shape | None = getattr(self._array, "shards", None)
        return shards or self.chunks

    @property
    def is_raw(self) -> bool:
        """Whether it is in Zarr and not compressed."""
        return getattr(self._array, "compressors", None) == ()

    @cached_property
    def is_mapped(self) -> bool:
        """Whether its chunks are files that hold the numbers as they are in memory.

        They are mapped into memory, so a strip is read without the rest of its chunk. Zarr reads whole chunks.
        """
        if self.folder is None or not self.is_raw:
            return False
        metadata = self._array.metadata
        if metadata.zarr_format == 2:
            return not metadata.filters and metadata.order == "C" and self._array.dtype.isnative
        codec = metadata.codecs[-1]
        if len(metadata.codecs) > 1 or type(codec).__name__ != "BytesCodec":
            return False
        return codec.endian is None or getattr(codec.endian, "value", codec.endian) == sys.byteorder

    def read(self, box: Sequence[slice]) -> AnyArray:
        """Return a box of the array; of one that is mapped, a box of one chunk."""
        with _reading(self.name):
            part = self._of_mapped_chunk(box) if self.is_mapped else self._array[tuple(box)]
            return np.asarray(part).astype(self.dtype, copy=False)

    def _of_mapped_chunk(self, box: Sequence[slice]) -> AnyArray:
        """Return a box of the file of a chunk, which has none if nothing was written to it."""
        assert self.folder is not None
        assert self.chunks is not None
        place = tuple(part.start // step for part, step in zip(box, self.chunks, strict=True))
        path = self.folder / self._array.metadata.encode_chunk_key(place)
        if not path.exists():
            return np.full([part.stop - part.start for part in box], self._array.fill_value, self.dtype)
        sides = zip(box, place, self.chunks, strict=True)
        inner = tuple(slice(part.start - j * step, part.stop - j * step) for part, j, step in sides)
        return np.memmap(path, self.dtype, "r", shape=self.chunks)[inner]


def stored_array(source: Any) -> StoredArray:
    """Return the array that an argument ``source`` names or is."""
    if isinstance(source, str | os.PathLike) and isinstance(os.fspath(source), str):
        array = _at_path(os.fspath(source))
    else:
        array = _given(source)
    if array.dtype.kind not in _KINDS or array.dtype.isbuiltin == 2:
        got, expected = f"source has dtype {array.dtype}", "Expected integers, floats or complex numbers"
        raise ArgumentTypeError(got, expected, "Store it as numbers of NumPy")
    return array


def _given(source: Any) -> StoredArray:
    """Return an array that is open already."""
    module = type(source).__module__.partition(".")[0]
    if module == "dask":
        raise ArgumentTypeError("source is an array of Dask", _WHAT, "Use op(source).to_zarr(target)")
    if module == "zarr":
        return _given_zarr(source)
    if not all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__")):
        got = f"source is {with_article(type(source).__name__)}"
        raise ArgumentTypeError(got, _WHAT, "Pass one of these")
    if module == "h5py":
        path = Path(os.path.realpath(source.file.filename))
        return StoredArray(source, f"{path}{source.name}", partial(_open_hdf5, path, source.name), path)
    if isinstance(source, np.memmap) and isinstance(source.base, mmap.mmap) and source.filename:
        path, order = Path(os.path.realpath(source.filename)), "C" if source.flags.c_contiguous else "F"
        reopen = partial(np.memmap, path, source.dtype, "r", source.offset, source.shape, order)
        return StoredArray(source, f"{path} from byte {source.offset}", reopen, path)
    return StoredArray(source, with_article(type(source).__name__))


def _given_zarr(array: Any) -> StoredArray:
    """Return an array of Zarr in any store."""
    if not hasattr(array, "shape"):
        raise ArgumentTypeError("source is a group of Zarr", "Expected one array", "Pass the array, as group['0']")
    root = getattr(array.store, "root", None)
    if isinstance(root, Path):
        path = Path(os.path.realpath(root / array.path))
        return StoredArray(array, str(path), partial(_open_zarr, str(path)), path)
    kept = StoredArray(array, str(array.store_path))
    if type(array.store).__name__ != "MemoryStore":
        kept.key = kept.name
    return kept


def _at_path(text: str) -> StoredArray:
    """Return the array at a path, or at an address that Zarr opens."""
    if "://" in text:
        return _given_zarr(_open_zarr(text))
    path = Path(os.path.realpath(text))
    if not path.exists():
        raise ArgumentError(f"source={shown(text)} does not exist", _WHAT, "Check the path")
    if path.suffix.lower() in (".h5", ".hdf5"):
        name = _only_dataset(path)
        return StoredArray(_open_hdf5(path, name), f"{path}{name}", partial(_open_hdf5, path, name), path)
    if path.suffix.lower() == ".npy":
        return StoredArray(_open_npy(path), str(path), partial(_open_npy, path), path)
    return StoredArray(_open_zarr(str(path)), str(path), partial(_open_zarr, str(path)), path)


def _reopened(name: str, reopen: Callable[[], Any], folder: Path | None) -> StoredArray:
    return StoredArray(reopen(), name, reopen, folder)


def _open_zarr(address: str) -> Any:
    """Open an array of Zarr, which refuses codecs that would unpickle, and so could run any program."""
    zarr = import_extra("zarr", "files")
    with _reading(address):
        node = zarr.open(address, mode="r")
    if not hasattr(node, "shape"):
        names = sorted(node.array_keys())
        listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
        got = f"{address} is a group of Zarr with {f'the arrays {listed}' if names else 'nothing in it that is one'}"
        raise ArgumentError(got, "Expected an array", f"Pass {address}/NAME" if names else "Pass another path")
    return node


def _open_hdf5(path: Path, name: str) -> Any:
    with _reading(str(path)):
        return import_extra("h5py", "files").File(path, "r")[name]


def _open_npy(path: Path) -> Any:
    """Map a file of NumPy into memory; objects, which would be unpickled, are refused."""
    with _reading(str(path)):
        return np.lib.format.open_memmap(path, mode="r")


def _only_dataset(path: Path) -> str:
    """Return the name of the one dataset of numbers in a file."""
    h5py, names = import_extra("h5py", "files"), []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape:
            names.append(f"/{name}")

    with _reading(str(path)), h5py.File(path, "r") as file:
        file.visititems(note)
    if len(names) == 1:
        return names[0]
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    got = f"{path} contains {listed or 'no dataset'}"
    raise ArgumentError(got, "Expected one dataset", 'Pass the dataset itself, h5py.File(...)["NAME"]')


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn errors of libraries that read, which can be of any kind, into one that names the array."""
    try:
        yield
    except (ConvmtxError, MemoryError):
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ArgumentError(f"{name} cannot be read", str(reason), "Check that it is what it should be") from error
