"""What becomes an array of NumPy's: measured before it is converted, for that may compute, read or list all of it."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError, ConvmtxError, shown
from convmtx.typing import AnyArray

#: Bytes up to which an array of a library that computes or reads it when it is needed (Dask, Zarr, h5py, xarray) is
#: converted without a word.
LAZY_BYTES = 1 << 26
#: Entries of lists in lists, and of ranges, up to which they are converted: 1 GiB of floats.
LISTED_ENTRIES = 1 << 27


def converted(name: str, value: Any) -> AnyArray:
    """Return a NumPy array of what is none, or refuse what is too much or cannot be read."""
    kind = type(value)
    if hasattr(kind, "matvec") or hasattr(kind, "nnz"):
        remedy = "Pass its dense matrix if that is meant, op.to_dense() or S.toarray()"
        raise ArgumentTypeError(f"{name} is a {kind.__name__}", "Wanted an array", remedy)
    try:
        measured(name, value)
        return np.asarray(value)
    except ConvmtxError:
        raise
    except Exception as error:  # a stranger's __array__ or __len__ raises what it likes
        why = str(error) or type(error).__name__
        got = f"{name} of type {kind.__name__} is no array ({why})"
        raise ArgumentTypeError(got, "Wanted a numeric array", "Pass an ndarray") from None


def measured(name: str, value: Any, most: int = LISTED_ENTRIES) -> None:
    """Refuse what would be listed, computed or read and is too much; nothing of it is looked at but its size."""
    entries, lazy = _amount(value)
    if lazy > LAZY_BYTES:
        kind = type(value)
        got = f"{name} is a {kind.__module__}.{kind.__qualname__} of {lazy >> 20} MiB"
        wanted = f"Wanted an array in memory: beyond {LAZY_BYTES >> 20} MiB nothing is computed or read unasked"
        whole = f"{name}.compute()" if hasattr(kind, "compute") else f"numpy.asarray({name})"
        raise ArgumentTypeError(got, wanted, f"Pass {whole}, or a part at a time, as with {name}[:100]")
    if entries > most:
        got = f"{name}={shown(value)} has {shown(entries)} entries"
        raise ArgumentError(got, f"Wanted at most {most}", "Pass an ndarray")


def _amount(value: Any) -> tuple[int, int]:
    """Entries of lists, and bytes of arrays that are not in memory, in a value and all that it lists."""
    level, entries, lazy = {id(value): (value, 1)}, 0, 0
    for _ in range(65):  # deeper lists are refused by NumPy
        below: dict[int, tuple[Any, int]] = {}
        for item, times in level.values():
            own: Any = type(item)
            role = _role(own)
            if role == "lazy":
                lazy += times * _bytes(item)
            elif role:
                entries += times * _length(item)
            kinds: set[Any] = set(map(type, item)) if role == "list" else set()
            if not (kinds := {kind for kind in kinds if _role(kind)}):
                continue
            for entry in item:
                if type(entry) in kinds:
                    before = below.get(id(entry), (entry, 0))[1]
                    below[id(entry)] = entry, before + times
        if not below or entries > LISTED_ENTRIES:
            break
        level = below
    return entries, lazy


@cache
def _role(kind: Hashable) -> str:
    """How NumPy reads values of a type: as a list, by its length, by ``__array__``, or, empty, in some quick way."""
    assert isinstance(kind, type)
    if issubclass(kind, list | tuple):
        return "list"
    if issubclass(kind, np.ndarray | np.generic | str | bytes | dict) or hasattr(kind, "__dlpack__"):
        return ""
    if hasattr(kind, "__array__"):
        return "lazy"
    return "sequence" if hasattr(kind, "__len__") and hasattr(kind, "__getitem__") else ""


def _length(item: Any) -> int:
    return max(item.stop - item.start, item.start - item.stop) // abs(item.step) if type(item) is range else len(item)


def _bytes(item: Any) -> int:
    try:
        size = prod(map(int, item.shape))
    except Exception:  # without a shape nobody knows before
        return 0
    return size * int(getattr(getattr(item, "dtype", None), "itemsize", 8))
