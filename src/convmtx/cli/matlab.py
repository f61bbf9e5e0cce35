"""Arrays of MATLAB's files, read here: SciPy's reader follows damaged ones out of bounds.

Version 5 to 7 is described in "MAT-File Format" of MathWorks: elements of a tag (type and size) and data, some of them
compressed by zlib. Version 7.3 is HDF5.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.cli.hdf5 import read_hdf5
from convmtx.cli.report import CommandError
from convmtx.cli.source import Source
from convmtx.typing import AnyArray, Shape

#: NumPy's types of MATLAB's numeric classes by their numbers, and those of stored numbers.
_CLASSES = {
    6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8",
}  # fmt: skip
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_SPARSE, _MATRIX, _COMPRESSED = 5, 14, 15
#: Bytes of a variable that hold its class, shape and name, amply.
_HEAD = 4096


@dataclass(frozen=True)
class _Variable:
    kind: int
    shape: Shape
    name: str
    #: Stored numbers: the real and imaginary parts, behind the indices where it is sparse.
    parts: list[tuple[int, memoryview]]
    order: str

    def numbers(self, j: int) -> AnyArray:
        """One part."""
        kind, data = self.parts[j]
        return np.frombuffer(data, self.order + _STORED[kind])


def read_mat(source: Source, sparse: bool = False) -> Any:
    """The array asked for, or the only one; with ``sparse`` a sparse matrix too, and W before others."""
    with source.path.open("rb") as file:
        head = file.read(520)
    if b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:520]):
        return read_hdf5(source, sparse)
    if head[126:128] not in (b"IM", b"MI"):
        raise ValueError("it is of no version from 5 to 7.3")
    source.fit([source.size()], 1)
    content, order = memoryview(source.path.read_bytes()), "<" if head[126:128] == b"IM" else ">"
    kinds = {*_CLASSES, _SPARSE} if sparse else {*_CLASSES}
    found = dict(_heads(content, order))
    name = source.chosen_of([each for each, kind in found.items() if kind in kinds], list(found), sparse)
    variable = next(each for each in _whole(source, content, order, name) if each.name == name)
    return _array(variable)


def _heads(content: memoryview, order: str) -> Iterator[tuple[str, int]]:
    """Names and classes; of what is compressed nothing else is inflated."""
    for kind, data in _elements(content[128:], order):
        start = memoryview(zlib.decompressobj().decompress(data, _HEAD))[8:] if kind == _COMPRESSED else data[:_HEAD]
        if kind in (_COMPRESSED, _MATRIX) and len(start):
            variable = _variable(start, order, cut=True)
            yield variable.name, variable.kind


def _whole(source: Source, content: memoryview, order: str, name: str) -> Iterator[_Variable]:
    for kind, data in _elements(content[128:], order):
        if kind == _MATRIX and len(data):
            yield _variable(data, order)
        elif kind == _COMPRESSED:
            start = memoryview(zlib.decompressobj().decompress(data, _HEAD))
            if _variable(start[8:], order, cut=True).name != name:
                continue
            size = 8 + int(np.frombuffer(start[4:8], order + "u4")[0])
            if size > memory.available() // 4:
                got, wanted = f"{name} in {source.path} grows to {memory.human(size)}", "Wanted a quarter of the memory"
                raise CommandError(got, wanted, f"Use a smaller {source.what}")
            yield _variable(memoryview(zlib.decompressobj().decompress(data, size))[8:], order)


def _elements(data: memoryview, order: str, cut: bool = False) -> Iterator[tuple[int, memoryview]]:
    """Types and data; with ``cut`` what is incomplete at the end is left out, and else refused."""
    at = 0
    while at + 8 <= len(data):
        word, size = (int(each) for each in np.frombuffer(data[at : at + 8], order + "u4"))
        if word >> 16:  # up to four bytes stand where the size would
            kind, size, start, end = word & 0xFFFF, word >> 16, at + 4, at + 8
        else:
            kind, start = word, at + 8
            end = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > min(end, len(data)):
            if cut:
                return
            raise ValueError("an element is longer than what holds it")
        yield kind, data[start : start + size]
        at = end


def _variable(data: memoryview, order: str, cut: bool = False) -> _Variable:
    (_, flags), (_, sizes), (_, name), *parts = _elements(data, order, cut)
    kind = int(np.frombuffer(flags[:4], order + "u4")[0]) & 0xFF
    shape = tuple(int(n) for n in np.frombuffer(sizes, order + "i4"))
    if min(shape, default=0) < 0:
        raise ValueError("a size below zero")
    return _Variable(kind, shape, bytes(name).decode("latin1"), parts, order)


def _array(variable: _Variable) -> Any:
    first = 2 if variable.kind == _SPARSE else 0
    values = variable.numbers(first)
    if len(variable.parts) > first + 1:
        values = values + 1j * variable.numbers(first + 1)
    if variable.kind == _SPARSE:
        from scipy.sparse import csc_array

        indices, starts = variable.numbers(0), variable.numbers(1)
        count = int(starts[-1])  # room may be left behind the entries
        values = values.astype(complex if values.dtype.kind == "c" else float)
        rows, columns = variable.shape
        return csc_array((values[:count], indices[:count], starts), shape=(rows, columns))
    if len(values) != prod(variable.shape):
        raise ValueError(f"{len(values)} numbers for shape {variable.shape}")
    dtype = np.dtype(_CLASSES[variable.kind])
    if values.dtype.kind == "c":
        dtype = np.result_type(dtype, np.complex64)
    return values.astype(dtype).reshape(variable.shape, order="F")
