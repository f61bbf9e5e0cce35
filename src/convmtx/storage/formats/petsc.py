"""Binary matrices of PETSc: a header, the length of each row, all columns, all values; everything big-endian.

The integers have 32 or 64 bits, as PETSc was built, and the header begins with 1211216 in that width. See "MatLoad" in
the manual of PETSc (Balay et al., PETSc/TAO Users Manual, ANL-21/39).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from convmtx.errors import ArgumentError
from convmtx.storage.layouts import Layout, SlabWriter, create
from convmtx.storage.slabs import Slabs
from convmtx.storage.source import Source
from convmtx.typing import AnyArray

_MAGIC = 1211216
#: Row lengths that are read at a time: 8 MiB of 64-bit integers.
_BLOCK = 1 << 20
#: Largest integer up to which doubles have all integers.
_EXACT = 1 << 53


@dataclass(frozen=True)
class _Places:
    """The places at which the sections of a file begin."""

    n_rows: int
    nnz: int
    integer: np.dtype[Any]
    scalar: np.dtype[Any]

    @property
    def lengths(self) -> int:
        return 4 * self.integer.itemsize

    @property
    def columns(self) -> int:
        return self.lengths + self.n_rows * self.integer.itemsize

    @property
    def values(self) -> int:
        return self.columns + self.nnz * self.integer.itemsize

    @property
    def end(self) -> int:
        return self.values + self.nnz * self.scalar.itemsize

    def pieces(self, _draft: Path, rows: range, first: int, matrix: Any) -> Iterator[tuple[int, AnyArray]]:
        """Yield lengths, columns and values of a slab."""
        if matrix.dtype.kind in "iu" and ((matrix.data > _EXACT) | (matrix.data < -_EXACT)).any():
            got = "entries above 2**53"
            raise ArgumentError(got, "PETSc has doubles, which lose digits of them", "Use .h5 or .zarr")
        i, s = self.integer, self.scalar
        yield self.lengths + rows.start * i.itemsize, np.diff(matrix.indptr).astype(i)
        yield self.columns + first * i.itemsize, matrix.indices.astype(i)
        yield self.values + first * s.itemsize, matrix.data.astype(s)


def layout(slabs: Slabs, index: np.dtype[Any]) -> Layout:
    """Return how a matrix is written, with integers of the type ``index``; all numbers become doubles."""
    scalar = np.dtype(">c16" if slabs.op.dtype.kind == "c" else ">f8")
    places = _Places(slabs.shape[0], slabs.nnz, index.newbyteorder(">"), scalar)
    header = np.array([_MAGIC, *slabs.shape, slabs.nnz], places.integer)
    prepare = partial(create, head=header.tobytes(), size=places.end)
    return Layout(slabs.count, prepare, SlabWriter(slabs, places), places.end)


def read_petsc(source: Source, rows: slice | None) -> tuple[AnyArray, AnyArray, AnyArray, tuple[int, int]]:
    """Return data, columns, row starts and the shape of all rows, or of some."""
    size = source.size()
    with source.path.open("rb") as file:
        head = file.read(32)
        kinds = [np.dtype(kind) for kind in (">i4", ">i8")]
        integer = next((k for k in kinds if head[: k.itemsize] == np.array(_MAGIC, k).tobytes()), None)
        if integer is None or len(head) < 4 * integer.itemsize:
            raise ValueError("it does not begin as matrices of PETSc do")
        n_rows, n_columns, nnz = (int(n) for n in np.frombuffer(head, integer, 4)[1:])
        if min(n_rows, n_columns, nnz) < 0:
            raise ValueError("a size below zero, as of matrices that are dense")
        left = size - (4 + n_rows + nnz) * integer.itemsize
        scalar = next((np.dtype(kind) for kind in (">f8", ">c16") if left == nnz * np.dtype(kind).itemsize), None)
        if scalar is None:
            claimed = f"Its header claims {n_rows} rows and {nnz} entries, and the file has {size} bytes"
            raise source.damaged(claimed)
        places = _Places(n_rows, nnz, integer, scalar)
        wanted = range(n_rows)[rows] if rows is not None else range(n_rows)
        source.require_memory([len(wanted)], 8)
        first, starts = _starts(source, file, places, wanted)
        count = int(starts[-1])
        source.require_memory([count], scalar.itemsize + 8)
        columns = _read(file, places.columns + first * integer.itemsize, integer, count)
        values = _read(file, places.values + first * scalar.itemsize, scalar, count)
    return values, columns, starts, (len(wanted), n_columns)


def _starts(source: Source, file: BinaryIO, places: _Places, wanted: range) -> tuple[int, AnyArray]:
    """Return the number of entries before the wanted rows, and where each of them starts among theirs.

    All lengths are read, block by block: they have to add up to the number of entries.
    """
    starts = np.zeros(len(wanted) + 1, np.int64)
    before = total = 0
    for row in range(0, places.n_rows, _BLOCK):
        place = places.lengths + row * places.integer.itemsize
        lengths = _read(file, place, places.integer, min(_BLOCK, places.n_rows - row)).astype(np.int64)
        if (lengths < 0).any() or (lengths > places.nnz).any():
            raise source.damaged("A row has fewer than no entries, or more than all")
        total += int(lengths.sum())
        before += int(lengths[: max(wanted.start - row, 0)].sum())
        start, stop = max(wanted.start, row), min(wanted.stop, row + lengths.size)
        if start < stop:
            starts[start - wanted.start + 1 : stop - wanted.start + 1] = lengths[start - row : stop - row]
    if total != places.nnz:
        raise source.damaged(f"Its rows have {total} entries, and its header claims {places.nnz}")
    return before, np.cumsum(starts)


def _read(file: BinaryIO, place: int, kind: np.dtype[Any], count: int) -> AnyArray:
    """Read numbers that stand at a place, in the machine's byte order."""
    file.seek(place, os.SEEK_SET)
    numbers = np.fromfile(file, kind, count)
    if numbers.size != count:
        raise ValueError("it became shorter while it was read")
    return numbers.astype(kind.newbyteorder("="))
