"""A matrix that was read against the matrix of a convolution: what differs, and how it may have been meant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from convmtx.cli.arguments import operator
from convmtx.errors import ConvmtxError
from convmtx.maps.convolution import ConvOperator
from convmtx.typing import AnyArray, IntArray, Order, RowsLike

#: Entries that are compared at a time, and rows that are looked at before all are.
_BLOCK, _PROBE = 2_000_000, 32
#: Options that differ at most from those asked for, for a reading to be told.
_CHANGES = 3


@dataclass
class Difference:
    """Entries that differ, counted; the first in row-major order, and the largest difference."""

    count: int = 0
    largest: float = 0.0
    #: Row, column, entry of the file, entry of the kernel's matrix.
    first: tuple[int, int, Any, Any] | None = None


def compared(file: Any, op: ConvOperator, order: Order, tolerance: float) -> Difference:
    """Every entry of two matrices of one shape, without making either dense or ours whole."""
    found = Difference()
    width = op.shape[1] if isinstance(file, np.ndarray) else max(op.nnz, file.nnz) // op.shape[0] + 1
    step = max(_BLOCK // width, 1)
    for start in range(0, op.shape[0], step):
        stop = min(start + step, op.shape[0])
        rows, columns, theirs, ours = _differing(file, op, order, slice(start, stop), tolerance)
        if not len(rows):
            continue
        if found.first is None:
            found.first = int(rows[0]) + start, int(columns[0]), theirs[0].item(), ours[0].item()
        found.count += len(rows)
        found.largest = float(np.maximum(found.largest, np.abs(_double(theirs) - _double(ours)).max()))
    return found


def _differing(
    file: Any, op: ConvOperator, order: Order, rows: RowsLike, tolerance: float
) -> tuple[IntArray, IntArray, AnyArray, AnyArray]:
    """Places among these rows where the entries differ, and both entries there."""
    from scipy.sparse import csr_array

    block = file[rows]
    theirs: Any = csr_array(block.astype(np.float32) if block.dtype == np.float16 else block)  # SciPy has no halves
    ours: Any = op.to_sparse("csr", order, rows)
    width = op.shape[1]
    places = [
        np.repeat(np.arange(each.shape[0]), np.diff(each.indptr)) * width + each.indices for each in (theirs, ours)
    ]
    every = np.union1d(*places)
    with np.errstate(all="ignore"):
        a, b = np.zeros(len(every), theirs.dtype), np.zeros(len(every), rounded(op.dtype, file.dtype))
        at = np.searchsorted(every, places[1])
        a[np.searchsorted(every, places[0])], b[at] = theirs.data, ours.data
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        same[at] &= np.isfinite(b[at]) | ~np.isfinite(ours.data)  # what has overflown is not rounded
        differ = ~same & ~(np.abs(_double(a) - _double(b)) <= tolerance)
    return every[differ] // width, every[differ] % width, a[differ], b[differ]


def rounded(ours: np.dtype[Any], theirs: np.dtype[Any]) -> np.dtype[Any]:
    """The type in which our entries are compared: that of a file of floats that has fewer digits."""
    if theirs.kind not in "fc" or (np.can_cast(ours, theirs) and not (ours.kind in "iu" and ours.itemsize == 8)):
        return ours
    return np.result_type(theirs, np.complex64) if ours.kind == "c" else theirs


def _double(values: AnyArray) -> AnyArray:
    return values.astype(complex if values.dtype.kind == "c" else float)


def reading(file: Any, op: ConvOperator, given: dict[str, Any], tolerance: float) -> str | None:
    """Other options, as few as possible, with which the matrix would be the file's; in words."""
    transposed = file.T if isinstance(file, np.ndarray) else file.T.tocsr()
    for names, turn, changed in _variants(op, given):
        try:
            other = operator(changed.pop("kernel"), changed)
        except ConvmtxError:
            continue
        matrix = transposed if turn else file
        if tuple(matrix.shape) != other.shape:
            continue
        order = changed.get("order", "C")
        probe = np.unique(np.linspace(0, other.shape[0] - 1, _PROBE).astype(int))
        if (
            len(_differing(matrix, other, order, probe, tolerance)[0])
            or compared(matrix, other, order, tolerance).count
        ):
            continue
        whole = f"the matrix with {' '.join(names)}" if names else "the matrix"
        return f"the transpose of {whole}" if turn else whole
    return None


def _variants(op: ConvOperator, given: dict[str, Any]) -> Iterator[tuple[list[str], bool, dict[str, Any]]]:
    """Changes of the options, the fewest first: how they are written, whether to transpose, and the options."""
    plain = op.kernel.ndim == len(op.in_shape)
    channels = given.get("channels", "last")
    base = {**given, "kernel": op.kernel} | ({} if plain else {"groups": op.geometry.groups})
    choices: dict[str, list[Any]] = {
        "flip": [None, not given.get("flip", False)],
        "order": [None, "C" if given.get("order") == "F" else "F"],
        "turn": [None, True],
        "channels": [None] if plain else [None, "last" if channels == "first" else "first"],
        "padding": [None, *(name for name in ("valid", "same", "same_lower", "full") if name != given.get("padding"))],
        "boundary": [None, *([] if "transpose" in given else ("zero", "wrap", "reflect", "symmetric", "edge"))],
    }
    every = [dict(zip(choices, each, strict=True)) for each in product(*choices.values())]
    counts = [sum(value is not None for value in each.values()) for each in every]
    for count, each in sorted(zip(counts, every, strict=True), key=lambda pair: pair[0]):
        if not 0 < count <= _CHANGES:
            continue
        wanted = {name: value for name, value in each.items() if value is not None}
        turn = wanted.pop("turn", False)
        names = [_written(name, value) for name, value in wanted.items()]
        changed = base | wanted
        if not changed.get("flip", True):
            del changed["flip"]
        if "channels" in wanted:
            _rearrange(changed, wanted["channels"] == "first")
        yield names, turn, changed


def _written(name: str, value: Any) -> str:
    if name == "flip":
        return "--flip" if value else "no --flip"
    return f"--{name} {value}" + (" (of a kernel and an input rearranged so)" if name == "channels" else "")


def _rearrange(changed: dict[str, Any], first: bool) -> None:
    """Move the channels of kernel and input to the other end; the convolution stays the same."""
    axes = list(range(changed["kernel"].ndim))
    shape = changed["input"]
    if first:
        changed["kernel"] = changed["kernel"].transpose(axes[-1], axes[-2], *axes[:-2])
        changed["input"] = (shape[-1], *shape[:-1])
    else:
        changed["kernel"] = changed["kernel"].transpose(*axes[2:], 1, 0)
        changed["input"] = (*shape[1:], shape[0])
