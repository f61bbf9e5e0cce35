"""Matrix Market files, read here: SciPy's reader follows damaged ones out of bounds.

Boisvert, Pozo, Remington, "The Matrix Market Exchange Formats", NISTIR 5935, 1996.
"""

from __future__ import annotations

from typing import Any, TextIO

import numpy as np

from convmtx.cli.source import Source
from convmtx.typing import AnyArray

_FIELDS = ("real", "double", "integer", "complex", "pattern")
_SYMMETRIES = ("general", "symmetric", "skew-symmetric", "hermitian")


def read_mtx(source: Source) -> Any:
    """A matrix by coordinates as an array of SciPy, or a dense one."""
    source.fit([source.size()], 8)  # a number takes two bytes at least, and grows to a double or two
    with source.path.open(encoding="latin1") as file:
        banner = file.readline(200).lower().split()
        if len(banner) != 5 or banner[:2] != ["%%matrixmarket", "matrix"] or banner[2] not in ("coordinate", "array"):
            raise ValueError("its first line is none of Matrix Market")
        _, _, layout, field, symmetry = banner
        if field not in _FIELDS or symmetry not in _SYMMETRIES:
            raise ValueError(f"{field} {symmetry} is not known")
        line = next(each for each in file if each.strip() and not each.startswith("%"))
        sizes = [int(each) for each in line.split()]
        if min(sizes) < 0:
            raise ValueError("a size below zero")
        if layout == "array":
            return _dense(source, file, sizes, field, symmetry)
        return _sparse(source, file, sizes, field, symmetry)


def _sparse(source: Source, file: TextIO, sizes: list[int], field: str, symmetry: str) -> Any:
    from scipy.sparse import coo_array

    rows, columns, count = sizes
    table = _table(source, file, count, field, 2)
    places = np.stack([table["r"], table["c"]]) - 1
    values = np.ones(count) if field == "pattern" else _numbers(table, field)
    if symmetry != "general":
        below = places[0] != places[1]
        values = np.concatenate([values, _mirrored(values[below], symmetry)])
        places = np.concatenate([places, places[::-1, below]], axis=1)
    return coo_array((values, tuple(places)), shape=(rows, columns))


def _dense(source: Source, file: TextIO, sizes: list[int], field: str, symmetry: str) -> AnyArray:
    rows, columns = sizes
    if symmetry == "general":
        return _numbers(_table(source, file, rows * columns, field, 0), field).reshape((rows, columns), order="F")
    diagonal = 0 if symmetry == "skew-symmetric" else 1
    values = _numbers(_table(source, file, rows * (rows - 1) // 2 + rows * diagonal, field, 0), field)
    if rows != columns:
        raise ValueError("a symmetric matrix that is not square")
    column, row = np.triu_indices(rows, 1 - diagonal)
    found = np.zeros((rows, columns), values.dtype)
    found[column, row] = _mirrored(values, symmetry)
    found[row, column] = values
    return found


def _table(source: Source, file: TextIO, count: int, field: str, indices: int) -> AnyArray:
    """Read ``count`` lines of numbers, and no more."""
    names = ["r", "c"][:indices] + {"complex": ["x", "y"], "pattern": []}.get(field, ["x"])
    if count * 2 * max(len(names), 1) > source.size() + 1:
        raise source.damaged(f"Its header tells of {count} entries, and {source.size()} bytes are there")
    kind = "i8" if field == "integer" else "f8"
    dtype = np.dtype([(name, "i8" if name in "rc" else kind) for name in names])
    found = np.loadtxt(file, dtype, comments="%", ndmin=1)
    if len(found) != count:
        raise source.damaged(f"Its header tells of {count} entries, and {len(found)} are there")
    return found


def _numbers(table: AnyArray, field: str) -> AnyArray:
    return np.asarray(table["x"] + 1j * table["y"] if field == "complex" else table["x"])


def _mirrored(values: AnyArray, symmetry: str) -> AnyArray:
    return {"symmetric": values, "skew-symmetric": -values, "hermitian": values.conj()}[symmetry]
