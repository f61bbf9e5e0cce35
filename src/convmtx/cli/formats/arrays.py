"""Arrays of numbers from files of every format, by suffix; pictures are read as point spread functions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convmtx.cli.formats.pictures import FORMATS, read_picture
from convmtx.cli.formats.tables import read_csv
from convmtx.cli.report import CommandError
from convmtx.extras import import_extra
from convmtx.storage import Source, read_mat, read_npy, read_npz
from convmtx.typing import AnyArray


def read_array(source: Source) -> AnyArray:
    """Read an array of numbers into memory, in the machine's byte order."""
    array = _READERS[source.suffix](source)
    if array.dtype.kind not in "iufc":
        raise source.not_numbers(array.dtype)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _read_mat(source: Source) -> AnyArray:
    """Read one array of a file of MATLAB."""
    with source.parsing():
        return np.asarray(read_mat(source))


def _read_safetensors(source: Source) -> AnyArray:
    """Read one tensor; the library checks that the file is as long as its header claims."""
    library = import_extra("safetensors", "files")
    with source.parsing(), library.safe_open(source.path, framework="numpy") as file:
        name = source.select(file.keys())
        part = file.get_slice(name)
        if part.get_dtype() == "BF16":
            return _read_bfloat16(source, name)
        source.require_memory(part.get_shape(), 8)
        return np.asarray(file.get_tensor(name))


def _read_bfloat16(source: Source, name: str) -> AnyArray:
    """Read numbers of bfloat16, which NumPy does not have, as float32: they are its upper 16 bits."""
    library = import_extra("safetensors", "files")
    source.require_memory([source.size()], 4)
    tensors = dict(library.deserialize(source.path.read_bytes()))
    shape, raw = tensors[name]["shape"], tensors[name]["data"]
    bits = np.frombuffer(bytes(raw), "<u2").astype(np.uint32) << 16
    return bits.view(np.float32).reshape(shape)


def _read_point_spread(source: Source) -> AnyArray:
    """Read a picture as a point spread function: grey, and divided by its sum."""
    values = read_picture(source).values
    grey = values @ [0.299, 0.587, 0.114] if values.ndim == 3 else values
    total = grey.sum()
    if not 0 < total < np.inf:
        raise CommandError(f"{source.path} has the sum {total}", "Expected a sum above 0", "Check it")
    return np.asarray(grey / total)


_READERS: dict[str, Callable[[Source], AnyArray]] = {
    ".npy": read_npy, ".npz": read_npz, ".csv": read_csv, ".mat": _read_mat, ".safetensors": _read_safetensors,
    **dict.fromkeys(FORMATS, _read_point_spread),
}  # fmt: skip
#: Suffixes of files that can be read.
SUFFIXES = tuple(_READERS)
