"""Conversion of other values to NumPy arrays. Their size is checked first: converting may compute or read all of it."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from math import prod
from typing import Any

import numpy as np

from convmtx.errors import ArgumentError, ArgumentTypeError, ConvmtxError, shown, with_article
from convmtx.typing import AnyArray

#: Largest size in bytes of an array that is computed or read on conversion (Dask, Zarr, h5py, xarray): 64 MiB, a
#: fraction of a second from a usual disk.
LAZY_BYTES = 1 << 26
#: Largest number of entries of nested lists and ranges that are converted: 1 GiB of floats.
LISTED_ENTRIES = 1 << 27


def convert(name: str, value: Any) -> AnyArray:
    """Return a value as a NumPy array; refuse one that is too large or cannot be read."""
    kind = type(value)
    if hasattr(kind, "matvec") or hasattr(kind, "nnz"):
        remedy = "Pass its dense matrix if that is meant, op.to_dense() or S.toarray()"
        raise ArgumentTypeError(f"{name} is {with_article(kind.__name__)}", "Expected an array", remedy)
    try:
        require_small(name, value)
        return np.asarray(value)
    except ConvmtxError:
        raise
    except Exception as error:  # the value's own __array__ or __len__ can raise anything
        why = str(error) or type(error).__name__
        got = f"{name} of type {kind.__name__} is not an array ({why})"
        raise ArgumentTypeError(got, "Expected a numeric array", "Pass an ndarray") from None


def require_small(name: str, value: Any, most: int = LISTED_ENTRIES) -> None:
    """Refuse a value that is too large to be listed, computed or read; only its size is looked at.

    ``most`` is the largest number of entries of lists.
    """
    entries, lazy = _count(value)
    if lazy > LAZY_BYTES:
        kind = type(value)
        got = f"{name} is a {kind.__module__}.{kind.__qualname__} of {lazy >> 20} MiB"
        expected = f"Expected an array in memory: beyond {LAZY_BYTES >> 20} MiB nothing is computed or read unasked"
        raise ArgumentTypeError(got, expected, _remedy(name, kind))
    if entries > most:
        got = f"{name}={shown(value)} has {shown(entries)} entries"
        raise ArgumentError(got, f"Expected at most {most}", "Pass an ndarray")


def _remedy(name: str, kind: type) -> str:
    """Return what to do with an array that is not in memory, by the library that it is of."""
    package = kind.__module__.partition(".")[0]
    if package in ("zarr", "h5py"):
        return f"Pass dask.array.from_array({name}), or apply the map from storage to storage with cm.run"
    if package == "xarray":
        return f"Pass {name}.data, or use cm.apply(op, {name}, dims)"
    whole = f"{name}.compute()" if hasattr(kind, "compute") else f"numpy.asarray({name})"
    return f"Pass {whole}, or a part at a time, as with {name}[:100]"


def _count(value: Any) -> tuple[int, int]:
    """Count the entries of lists, and the bytes of arrays that are not in memory, in a value and everything it lists.

    Lists are walked level by level. A list that occurs many times, as in ``[[0] * 10] * 1000``, is walked once and
    counted 1000 times.
    """
    level, entries, lazy = {id(value): (value, 1)}, 0, 0
    for _ in range(65):  # NumPy refuses lists that are nested deeper
        below: dict[int, tuple[Any, int]] = {}
        for item, times in level.values():
            kind: Any = type(item)
            role = _role(kind)
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
    """Return how NumPy reads values of a type: "list", "lazy" (by ``__array__``), "sequence", or "" if it is fast."""
    assert isinstance(kind, type)
    if issubclass(kind, list | tuple):
        return "list"
    if issubclass(kind, np.ndarray | np.generic | str | bytes | dict) or hasattr(kind, "__dlpack__"):
        return ""
    if hasattr(kind, "__array__"):
        return "lazy"
    return "sequence" if hasattr(kind, "__len__") and hasattr(kind, "__getitem__") else ""


def _length(item: Any) -> int:
    """Return the length of a sequence; of a range also if it is beyond 64 bits, for which ``len`` raises."""
    if type(item) is range:
        return max(item.stop - item.start, item.start - item.stop) // abs(item.step)
    return len(item)


def _bytes(item: Any) -> int:
    """Return the bytes of an array that is not in memory; 0 if it does not tell its shape."""
    try:
        size = prod(map(int, item.shape))
    except Exception:  # the value's own shape can raise anything
        return 0
    return size * int(getattr(getattr(item, "dtype", None), "itemsize", 8))
