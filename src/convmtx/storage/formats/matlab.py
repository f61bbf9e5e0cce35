"""Arrays in MATLAB's files, read here because SciPy's reader follows the indices of damaged files out of bounds.

MathWorks describes versions 5 to 7 in "MAT-File Format": a file is a sequence of elements, each a tag (type and size)
and data, and an element can be compressed by zlib. Version 7.3 is HDF5.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, BinaryIO, cast

import numpy as np

from convmtx import memory
from convmtx.errors import ArgumentError
from convmtx.maps.linear_map import LinearMap
from convmtx.storage.formats.hdf5 import read_hdf5
from convmtx.storage.layouts import Layout, whole
from convmtx.storage.source import Source
from convmtx.typing import AnyArray, Order, Shape

#: NumPy's types by the number of MATLAB's class, and by the number of the type in which values are stored.
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
#: The class of sparse matrices, and the types of elements that are variables or compressed variables.
_SPARSE, _MATRIX, _COMPRESSED = 5, 14, 15
#: Bytes of a variable that are enough to read its class, shape and name: names have at most 63 letters.
_HEAD = 4096


@dataclass(frozen=True)
class _Variable:
    """A variable of a file: its class by number, its shape and name, and its numbers as they are stored."""

    kind: int
    shape: Shape
    name: str
    #: Types and bytes: real and imaginary part; of a sparse matrix after rows and starts of columns.
    parts: list[tuple[int, memoryview]]
    #: "<" or ">", the byte order of the file.
    order: str

    def numbers(self, part: int) -> AnyArray:
        """Return the numbers of one part."""
        kind, data = self.parts[part]
        return np.frombuffer(data, self.order + _STORED[kind])


def read_mat(source: Source, matrices: bool = False) -> Any:
    """Read the requested array, or the only one; with ``matrices`` also a sparse matrix, and W before others."""
    with source.path.open("rb") as file:
        head = file.read(520)
    if b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:520]):
        return read_hdf5(source, matrices)
    if head[126:128] not in (b"IM", b"MI"):
        raise ValueError("it is not of a version from 5 to 7.3")
    source.require_memory([source.size()], 1)
    content, order = memoryview(source.path.read_bytes()), "<" if head[126:128] == b"IM" else ">"
    classes = {*_CLASSES, _SPARSE} if matrices else {*_CLASSES}
    variables = dict(_classes_by_name(content, order))
    numeric = [name for name, kind in variables.items() if kind in classes]
    name = source.select_numeric(numeric, list(variables), matrices)
    variable = next(variable for variable in _variables(source, content, order, name) if variable.name == name)
    return _array(variable)


def _classes_by_name(content: memoryview, order: str) -> Iterator[tuple[str, int]]:
    """Yield the name and the class of each variable, inflating only the beginning of those that are compressed."""
    for kind, data in _elements(content[128:], order):
        start = memoryview(zlib.decompressobj().decompress(data, _HEAD))[8:] if kind == _COMPRESSED else data[:_HEAD]
        if kind in (_COMPRESSED, _MATRIX) and len(start):
            variable = _variable(start, order, is_cut=True)
            yield variable.name, variable.kind


def _variables(source: Source, content: memoryview, order: str, name: str) -> Iterator[_Variable]:
    """Yield whole variables; of compressed ones only those of this name, if they fit in memory."""
    for kind, data in _elements(content[128:], order):
        if kind == _MATRIX and len(data):
            yield _variable(data, order)
        elif kind == _COMPRESSED:
            start = memoryview(zlib.decompressobj().decompress(data, _HEAD))
            if _variable(start[8:], order, is_cut=True).name != name:
                continue
            size = 8 + int(np.frombuffer(start[4:8], order + "u4")[0])
            if size > memory.available() // 4:
                got, expected = (
                    f"{name} in {source.path} grows to {memory.human(size)}",
                    "Expected a quarter of the memory",
                )
                raise ArgumentError(got, expected, f"Use a smaller {source.role}")
            yield _variable(memoryview(zlib.decompressobj().decompress(data, size))[8:], order)


def _elements(data: memoryview, order: str, is_cut: bool = False) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and data of each element; an incomplete one is left out of data that is cut, and else refused."""
    at = 0
    while at + 8 <= len(data):
        word, size = (int(number) for number in np.frombuffer(data[at : at + 8], order + "u4"))
        # A small element has size and type in one word (2 bytes each), and at most 4 bytes of data after it. Any other
        # has a word for the type and one for the size, and data up to a multiple of 8 bytes, unless it is compressed.
        if word >> 16:
            kind, size, start, end = word & 0xFFFF, word >> 16, at + 4, at + 8
        else:
            kind, start = word, at + 8
            end = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > min(end, len(data)):
            if is_cut:
                return
            raise ValueError("an element is longer than what contains it")
        yield kind, data[start : start + size]
        at = end


def _variable(data: memoryview, order: str, is_cut: bool = False) -> _Variable:
    """Parse a variable: flags (the class is their lowest byte), shape, name and parts."""
    (_, flags), (_, sizes), (_, name), *parts = _elements(data, order, is_cut)
    kind = int(np.frombuffer(flags[:4], order + "u4")[0]) & 0xFF
    shape = tuple(int(n) for n in np.frombuffer(sizes, order + "i4"))
    if min(shape, default=0) < 0:
        raise ValueError("a size below zero")
    return _Variable(kind, shape, bytes(name).decode("latin1"), parts, order)


def _array(variable: _Variable) -> Any:
    """Return a variable as an array of NumPy, or a sparse one in CSC."""
    first = 2 if variable.kind == _SPARSE else 0
    values = variable.numbers(first)
    if len(variable.parts) > first + 1:
        values = values + 1j * variable.numbers(first + 1)
    if variable.kind == _SPARSE:
        from scipy.sparse import csc_array

        indices, starts = variable.numbers(0), variable.numbers(1)
        count = int(starts[-1])  # MATLAB can leave room after the entries
        values = values.astype(complex if values.dtype.kind == "c" else float)
        rows, columns = variable.shape
        return csc_array((values[:count], indices[:count], starts), shape=(rows, columns))
    if len(values) != prod(variable.shape):
        raise ValueError(f"{len(values)} numbers for shape {variable.shape}")
    dtype = np.dtype(_CLASSES[variable.kind])
    if values.dtype.kind == "c":
        dtype = np.result_type(dtype, np.complex64)
    return values.astype(dtype).reshape(variable.shape, order="F")


def layout(op: LinearMap, order: Order) -> Layout:
    """Return how the variable W is written for MATLAB."""
    return whole(partial(_write, op, order))


def _write(op: LinearMap, order: Order, file: BinaryIO) -> None:
    """Write the variable; refuse integers that doubles would round."""
    import scipy.io

    matrix: Any = op.to_sparse("csc", order)
    if matrix.dtype.kind in "iu" and ((matrix.data > 1 << 53) | (matrix.data < -(1 << 53))).any():
        got, expected = "entries above 2**53", "Sparse matrices of MATLAB contain doubles, which lose digits of them"
        raise ArgumentError(got, expected, "Use .npy")
    doubles = matrix.astype(complex if matrix.dtype.kind == "c" else float)
    doubles.eliminate_zeros()  # which MATLAB's sparse matrices must not store
    scipy.io.savemat(cast("Any", file), {"W": doubles}, do_compression=True)
