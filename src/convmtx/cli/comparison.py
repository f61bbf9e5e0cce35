"""A matrix from a file against the matrix of a convolution: where they differ, and which options would explain it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from convmtx.boundary import BY_NAME
from convmtx.cli.arguments import PADDINGS, build_convolution
from convmtx.errors import ConvmtxError
from convmtx.maps.convolution import ConvOperator
from convmtx.typing import AnyArray, IntArray, Order, RowsLike

#: Entries that are compared at a time: some 100 MB of coordinates and values.
_BLOCK = 2_000_000
#: Rows that are compared before all others when an explanation is tried: most explanations already fail there.
_PROBE = 32
#: Most options that an explanation changes. With more, almost any matrix could be explained by accident.
_CHANGES = 3


@dataclass(frozen=True)
class Difference:
    """Entries in which two matrices differ."""

    #: How many there are.
    count: int
    #: The largest absolute difference.
    largest: float
    #: Row, column, entry of the file and entry of the kernel's matrix, of the first in row-major order.
    first: tuple[int, int, Any, Any]


@dataclass(frozen=True)
class OtherOptions:
    """A matrix that may be the file's: with other options, and transposed or not."""

    options: dict[str, Any]
    is_transposed: bool
    #: The options that were changed, as they are written on the command line.
    changes: tuple[str, ...]

    def __str__(self) -> str:
        matrix = " ".join(["the matrix with", *self.changes]) if self.changes else "the matrix"
        return f"the transpose of {matrix}" if self.is_transposed else matrix


def compare(file: Any, op: ConvOperator, order: Order, tolerance: float) -> Difference | None:
    """Compare two matrices of one shape; return None if they are equal.

    Neither is made dense, and the convolution's is made a block of rows at a time.
    """
    count, largest, first = 0, 0.0, None
    width = op.shape[1] if isinstance(file, np.ndarray) else max(op.nnz, file.nnz) // op.shape[0] + 1
    step = max(_BLOCK // width, 1)
    for start in range(0, op.shape[0], step):
        stop = min(start + step, op.shape[0])
        rows, columns, theirs, ours = _differing_entries(file, op, order, slice(start, stop), tolerance)
        if not len(rows):
            continue
        if first is None:
            first = int(rows[0]) + start, int(columns[0]), theirs[0].item(), ours[0].item()
        count += len(rows)
        largest = float(np.maximum(largest, np.abs(_as_double(theirs) - _as_double(ours)).max()))
    return None if first is None else Difference(count, largest, first)


def _differing_entries(
    file: Any, op: ConvOperator, order: Order, rows: RowsLike, tolerance: float
) -> tuple[IntArray, IntArray, AnyArray, AnyArray]:
    """Return rows (counted among those selected) and columns of entries that differ, and both entries there."""
    from scipy.sparse import csr_array

    block = file[rows]
    theirs: Any = csr_array(block.astype(np.float32) if block.dtype == np.float16 else block)  # SciPy has no halves
    ours: Any = op.to_sparse("csr", order, rows)
    width = op.shape[1]
    # Positions in the flattened block: entry (2, 5) of a matrix with 30 columns is at 65.
    positions = [
        np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * width + matrix.indices
        for matrix in (theirs, ours)
    ]
    stored = np.union1d(*positions)
    with np.errstate(all="ignore"):
        a, b = np.zeros(len(stored), theirs.dtype), np.zeros(len(stored), compared_dtype(op.dtype, file.dtype))
        at = np.searchsorted(stored, positions[1])
        a[np.searchsorted(stored, positions[0])], b[at] = theirs.data, ours.data
        equal = (a == b) | (np.isnan(a) & np.isnan(b))
        # An entry of ours that became infinite in the file's type has overflowed: that is not a rounded number.
        equal[at] &= np.isfinite(b[at]) | ~np.isfinite(ours.data)
        differs = ~equal & ~(np.abs(_as_double(a) - _as_double(b)) <= tolerance)
    return stored[differs] // width, stored[differs] % width, a[differs], b[differs]


def compared_dtype(ours: np.dtype[Any], theirs: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type in which our entries are compared: that of a file of floats which has fewer digits, or ours."""
    if theirs.kind not in "fc" or (np.can_cast(ours, theirs) and not (ours.kind in "iu" and ours.itemsize == 8)):
        return ours
    return np.result_type(theirs, np.complex64) if ours.kind == "c" else theirs


def _as_double(values: AnyArray) -> AnyArray:
    """Return numbers in double precision."""
    return values.astype(complex if values.dtype.kind == "c" else float)


def explain_difference(file: Any, op: ConvOperator, options: dict[str, Any], tolerance: float) -> OtherOptions | None:
    """Return the smallest change of options with which the matrix equals the file's, or None if there is none."""
    transposed = file.T if isinstance(file, np.ndarray) else file.T.tocsr()
    for explanation in _explanations(op, options):
        matrix = transposed if explanation.is_transposed else file
        if _fits(matrix, explanation.options, tolerance):
            return explanation
    return None


def _fits(matrix: Any, options: dict[str, Any], tolerance: float) -> bool:
    """Return whether a matrix is that of the convolution with these options."""
    try:
        op = build_convolution(options["kernel"], options)
    except ConvmtxError:  # these options do not fit this kernel and input
        return False
    if tuple(matrix.shape) != op.shape:
        return False
    order = options.get("order", "C")
    probe = np.unique(np.linspace(0, op.shape[0] - 1, _PROBE).astype(int))
    if len(_differing_entries(matrix, op, order, probe, tolerance)[0]):
        return False
    return compare(matrix, op, order, tolerance) is None


def _explanations(op: ConvOperator, options: dict[str, Any]) -> Iterator[OtherOptions]:
    """Yield every change of up to `_CHANGES` options, those that change fewest first."""
    has_channels = op.kernel.ndim > len(op.in_shape)
    base = {**options, "kernel": op.kernel} | ({"groups": op.geometry.groups} if has_channels else {})
    base["flip"] = "flip" in options
    values: dict[str, tuple[Any, ...]] = {
        "flip": (True, False),
        "order": ("C", "F"),
        "transposed": (True,),
        "channels": ("last", "first") if has_channels else (),
        "padding": PADDINGS,
        "boundary": () if "transpose" in options else tuple(dict.fromkeys(rule.name for rule in BY_NAME.values())),
    }
    current = {"order": "C", "channels": "last", "padding": "valid", "boundary": "zero", **base}
    choices = [[None, *(value for value in tried if value != current.get(name))] for name, tried in values.items()]
    combinations = [
        {name: value for name, value in zip(values, choice, strict=True) if value is not None}
        for choice in product(*choices)
    ]
    for changes in sorted(combinations, key=len):
        if 0 < len(changes) <= _CHANGES:
            yield _explanation(base, changes)


def _explanation(base: dict[str, Any], changes: dict[str, Any]) -> OtherOptions:
    """Return the options with these changes."""
    is_transposed = changes.pop("transposed", False)
    options = base | changes
    if "channels" in changes:
        _move_channels(options)
    written = tuple(_write_option(name, value) for name, value in changes.items())
    return OtherOptions(options, is_transposed, written)


def _write_option(name: str, value: Any) -> str:
    """Return an option as it is written on the command line."""
    if name == "flip":
        return "--flip" if value else "no --flip"
    return f"--{name} {value}" + (" (and kernel and input rearranged accordingly)" if name == "channels" else "")


def _move_channels(options: dict[str, Any]) -> None:
    """Move the channels of kernel and input to the end that the options name; the convolution stays the same."""
    kernel, shape = options["kernel"], options["input"]
    if options["channels"] == "first":  # (*k, C, F) -> (F, C, *k)
        options["kernel"] = kernel.transpose(-1, -2, *range(kernel.ndim - 2))
        options["input"] = (shape[-1], *shape[:-1])
    else:  # (F, C, *k) -> (*k, C, F)
        options["kernel"] = kernel.transpose(*range(2, kernel.ndim), 1, 0)
        options["input"] = (*shape[1:], shape[0])
