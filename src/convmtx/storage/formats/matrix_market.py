"""Matrix Market files, read here because SciPy's reader follows the indices of damaged files out of bounds.

They are written in columns of constant width, so that the place of every line is known before it is written.

Boisvert, Pozo, Remington, "The Matrix Market Exchange Formats", NISTIR 5935, 1996.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from convmtx.storage.layouts import Layout, SlabWriter, create
from convmtx.storage.slabs import Slabs
from convmtx.storage.source import Source
from convmtx.typing import AnyArray, IntArray

#: Types of numbers; SciPy adds one for numbers that are too large for the signed integers of others.
_FIELDS = ("real", "double", "integer", "unsigned-integer", "complex", "pattern")
#: Entries that are written at once: 16 MiB of text.
_BLOCK = 1 << 18
_SYMMETRIES = ("general", "symmetric", "skew-symmetric", "hermitian")


def read_mtx(source: Source) -> Any:
    """Read a matrix: a sparse array of SciPy if the file lists coordinates, else a dense array."""
    source.require_memory([source.size()], 8)  # a number takes at least two bytes, and one double or two in memory
    with source.path.open(encoding="latin1") as file:
        banner = file.readline(200).lower().split()
        if len(banner) != 5 or banner[:2] != ["%%matrixmarket", "matrix"] or banner[2] not in ("coordinate", "array"):
            raise ValueError("its first line is not one of Matrix Market")
        _, _, layout, field, symmetry = banner
        if field not in _FIELDS or symmetry not in _SYMMETRIES:
            raise ValueError(f"{field} {symmetry} is not known")
        line = next(line for line in file if line.strip() and not line.startswith("%"))
        sizes = [int(word) for word in line.split()]
        if min(sizes) < 0:
            raise ValueError("a size below zero")
        if layout == "array":
            return _read_dense(source, file, sizes, field, symmetry)
        return _read_sparse(source, file, sizes, field, symmetry)


def _read_sparse(source: Source, file: TextIO, sizes: list[int], field: str, symmetry: str) -> Any:
    """Read lines of row, column and value, and add the mirrored entries of a symmetric matrix."""
    from scipy.sparse import coo_array

    rows, columns, count = sizes
    table = _read_table(source, file, count, field, 2)
    coordinates = np.stack([table["r"], table["c"]]) - 1
    values = np.ones(count) if field == "pattern" else _values(table, field)
    if symmetry != "general":
        off_diagonal = coordinates[0] != coordinates[1]
        values = np.concatenate([values, _mirrored(values[off_diagonal], symmetry)])
        coordinates = np.concatenate([coordinates, coordinates[::-1, off_diagonal]], axis=1)
    return coo_array((values, tuple(coordinates)), shape=(rows, columns))


def _read_dense(source: Source, file: TextIO, sizes: list[int], field: str, symmetry: str) -> AnyArray:
    """Read a value a line, column by column: all of a general matrix, the lower triangle of a symmetric one."""
    rows, columns = sizes
    if symmetry == "general":
        values = _values(_read_table(source, file, rows * columns, field, 0), field)
        return values.reshape((rows, columns), order="F")
    diagonal = 0 if symmetry == "skew-symmetric" else 1
    values = _values(_read_table(source, file, rows * (rows - 1) // 2 + rows * diagonal, field, 0), field)
    if rows != columns:
        raise ValueError("a symmetric matrix that is not square")
    column, row = np.triu_indices(rows, 1 - diagonal)
    matrix = np.zeros((rows, columns), values.dtype)
    matrix[column, row] = _mirrored(values, symmetry)
    matrix[row, column] = values
    return matrix


def _read_table(source: Source, file: TextIO, count: int, field: str, indices: int) -> AnyArray:
    """Read ``count`` lines of numbers, and refuse a file that has fewer or more."""
    names = ["r", "c"][:indices] + {"complex": ["x", "y"], "pattern": []}.get(field, ["x"])
    # A number and what separates it from the next take at least two bytes.
    if count * 2 * max(len(names), 1) > source.size() + 1:
        raise source.damaged(f"Its header claims {count} entries, and the file has {source.size()} bytes")
    kind = {"integer": "i8", "unsigned-integer": "u8"}.get(field, "f8")
    dtype = np.dtype([(name, "i8" if name in "rc" else kind) for name in names])
    table = np.loadtxt(file, dtype, comments="%", ndmin=1)
    if len(table) != count:
        raise source.damaged(f"Its header claims {count} entries, and the file has {len(table)}")
    return table


def _values(table: AnyArray, field: str) -> AnyArray:
    """Return the values, which of a complex matrix stand in two columns."""
    return np.asarray(table["x"] + 1j * table["y"] if field == "complex" else table["x"])


def _mirrored(values: AnyArray, symmetry: str) -> AnyArray:
    """Return the entries above the diagonal for those below it."""
    return {"symmetric": values, "skew-symmetric": -values, "hermitian": values.conj()}[symmetry]


@dataclass(frozen=True)
class _Lines:
    """The columns of the lines: row, column and value, each with a blank or the end of the line behind it."""

    head: int
    row: int
    column: int
    value: int
    parts: int

    @property
    def length(self) -> int:
        """Bytes of a line."""
        return self.row + self.column + 2 + self.parts * (self.value + 1)

    def pieces(self, _draft: Path, rows: range, first: int, matrix: Any) -> Iterator[tuple[int, AnyArray]]:
        """Yield the lines of a slab, block by block: text is five times as long as the numbers."""
        numbers = np.repeat(np.arange(rows.start + 1, rows.stop + 1), np.diff(matrix.indptr))
        for start in range(0, matrix.nnz, _BLOCK):
            block = slice(start, start + _BLOCK)
            lines = self.text(numbers[block], matrix.indices[block].astype(np.int64) + 1, matrix.data[block])
            yield self.head + (first + start) * self.length, lines

    def text(self, rows: IntArray, columns: IntArray, values: AnyArray) -> AnyArray:
        """Return the lines of some entries, a line of characters for each; rows and columns count from 1."""
        lines = np.full((rows.size, self.length), ord(" "), np.uint8)
        lines[:, : self.row] = _digits(rows, self.row)
        at = self.row + 1
        lines[:, at : at + self.column] = _digits(columns, self.column)
        at += self.column + 1
        for part in (values.real, values.imag)[: self.parts]:
            lines[:, at : at + self.value] = _texts(part, self.value)
            at += self.value + 1
        lines[:, -1] = ord("\n")
        return lines


def layout(slabs: Slabs, _index: np.dtype[Any]) -> Layout:
    """Return how a matrix is written: every entry, also of a symmetric matrix. Numbers in text have no type."""
    kind = slabs.op.dtype.kind
    field = {"c": "complex", "f": "real"}.get(kind, "unsigned-integer" if slabs.op.dtype == np.uint64 else "integer")
    # The longest integer has 20 characters, the longest double 24, such as -2.2250738585072014e-308.
    width = 20 if kind in "iub" else 24
    sizes = (*slabs.shape, slabs.nnz)
    head = f"%%MatrixMarket matrix coordinate {field} general\n{' '.join(map(str, sizes))}\n".encode()
    rows, columns = (len(str(n)) for n in slabs.shape)
    lines = _Lines(len(head), rows, columns, width, 2 if kind == "c" else 1)
    size = len(head) + slabs.nnz * lines.length
    return Layout(slabs.count, partial(create, head=head, size=size), SlabWriter(slabs, lines), size)


def _digits(numbers: IntArray, width: int) -> AnyArray:
    """Return positive integers as decimal digits, in ``width`` characters each, blanks first."""
    text = np.full((width, numbers.size), ord(" "), np.uint8)
    left = numbers.astype(np.uint32 if width <= 9 else np.uint64)  # divided in a third of the time
    for at in reversed(range(width)):
        left, digit = np.divmod(left, left.dtype.type(10))
        text[at] = np.where((digit == 0) & (left == 0), ord(" "), digit + ord("0"))
    return text.T


def _texts(values: AnyArray, width: int) -> AnyArray:
    """Return numbers as the shortest decimals that tell them from other doubles, blanks behind.

    Those of single precision too: readers take every number for a double, and 0.1 is not the double of float32(0.1). A
    convolution has few different values, each of which is written once.
    """
    different, which = np.unique(values, return_inverse=True)
    different = different.astype(np.float64) if different.dtype.kind == "f" else different
    text = different.astype(f"S{width}")
    text = np.char.ljust(text, width) if text.size else text
    return text.view(np.uint8).reshape(-1, width)[which.reshape(-1)]
