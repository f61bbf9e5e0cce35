"""Maps in NumPy's double precision, checked once, for spectra and solves."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from convmtx import memory
from convmtx.arguments import is_array
from convmtx.errors import ArgumentTypeError, with_article
from convmtx.geometry import Axis
from convmtx.maps.combined import Product
from convmtx.maps.double import double as double
from convmtx.maps.foreign import joined
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.wrapped import Transposed
from convmtx.typing import AnyArray, IntArray

#: Bytes for each output, input and tap of an axis: to count what is read, and to sort places into parts.
#: The second was measured as 59.
LISTED, SPLIT = 24, 64


def as_map(op: Any, name: str = "op") -> LinearMap:
    """Return a map, a matrix or an operator as a map; ``name`` is the argument in messages.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If it is not what `aslinearmap` takes.
    """
    if isinstance(op, LinearMap):
        return op
    is_affine = hasattr(op, "op") and hasattr(op, "offset")
    may_join = isinstance(op, list | tuple) or is_array(op) or hasattr(op, "matvec") or hasattr(op, "nnz")
    if is_affine or not (may_join or callable(op)):
        remedy = "Pass A.op, the linear part" if is_affine else "Make one, as with convmtx.conv"
        got = f"{name} is {with_article(type(op).__name__)}"
        raise ArgumentTypeError(got, "Expected a map of convmtx, a matrix or an operator", remedy)
    return joined(name, op)


def doubled(op: Any, name: str = "op") -> LinearMap:
    """Return what `as_map` returns with its numbers in float64 or complex128 of NumPy.

    Raises
    ------
    ArgumentTypeError, ArgumentError
        If it is not a map, or its numbers contain inf or nan. A map of a class of its own is checked when it is
        applied.
    """
    return as_map(op, name)._in_double()


def dense(op: LinearMap) -> AnyArray:
    """Return the matrix in double precision, after a check that there is memory to decompose it.

    The matrix of a map without numbers of its own, such as a permutation, stays one of integers.
    """
    rows, columns = op.shape
    memory.require("dense", {"dense": 16 * rows * columns}, 16 * rows * columns)
    matrix = np.asarray(op.to_dense())
    return matrix.astype(np.result_type(matrix, np.float64), copy=False)


def require_along(*axes: Axis, split: bool = False) -> None:
    """Refuse axes whose lists of inputs and outputs or of frequencies do not fit in memory.

    With ``split`` they are also sorted into parts that share no tap, which takes more.
    """
    size = 0
    for axis in axes:
        is_listed = split and axis.input_dilation > 1 and not axis.zero_outside
        taps = axis.out * axis.kernel if is_listed else axis.kernel
        size += (SPLIT if split else LISTED) * (axis.out + axis.size + taps)
    inputs, outputs = (_joined([getattr(axis, name) for axis in axes]) for name in ("size", "out"))
    what = f"listing {inputs} inputs and {outputs} outputs along an axis"
    memory.require_result(what, size, "Use a shorter input; cm.sup_norm does not depend on its size")


def _joined(sizes: list[int]) -> str:
    """Return sizes in words, equal ones once: 5 and 7."""
    return " and ".join(map(str, dict.fromkeys(sizes)))


def sparse(op: LinearMap) -> Any:
    """Return the matrix in double precision, in CSR form."""
    matrix: Any = op.to_sparse("csr")
    return matrix.astype(np.result_type(op.dtype, np.float64), copy=False)


def is_zero(op: LinearMap) -> bool:
    """Whether a map in double precision is zero: a convolution's kernel, or the image of an array of normal numbers."""
    return not op._peak()


def direct(op: LinearMap) -> LinearMap:
    """Return a map of the same singular values.

    It is the map that a transposed map transposes, and a product without permutations at its ends. Of other maps it is
    the map itself.
    """
    if isinstance(op, Transposed):
        return direct(op.op)
    before, core, after = without_permutations(op)
    return direct(core) if before or after else op


def without_permutations(op: LinearMap) -> tuple[list[LinearMap], LinearMap, list[LinearMap]]:
    """Return the permutations that are the first factors of a product, what is between, and those that are the last.

    A permutation is a square map of lone entries of magnitude 1. The first and the last factor that is none stay.
    """
    links = list(op._chain)
    before: list[LinearMap] = []
    after: list[LinearMap] = []
    while len(links) > 1 and is_permutation(links[0]):
        before.append(links.pop(0))
    while len(links) > 1 and is_permutation(links[-1]):
        after.insert(0, links.pop())
    if not (before or after):
        return [], op, []
    return before, Product(*links) if len(links) > 1 else links[0], after


def is_permutation(op: LinearMap) -> bool:
    """Whether a map in double precision moves the entries of an array, and perhaps turns their phases."""
    if op.shape[0] != op.shape[1] or not op._has_lone_entries:
        return False
    values = lone_entries(op).values
    return values.size == op.shape[0] and bool((np.abs(values) == 1).all())


class LoneEntries(NamedTuple):
    """Entries that are alone in their rows and columns: ``matrix[rows[j], columns[j]] == values[j]``, the rest 0."""

    rows: IntArray
    columns: IntArray
    values: AnyArray


def lone_entries(op: LinearMap) -> LoneEntries:
    """Return the entries of a map that has lone entries, in double precision."""
    matrix = sparse(op)
    return LoneEntries(np.flatnonzero(np.diff(matrix.indptr)), matrix.indices, matrix.data)


def size_of_multiple(op: LinearMap) -> float | None:
    """Return the magnitude of a in a multiple ``a * identity``; None for other maps."""
    if not op._has_lone_entries or op.shape[0] != op.shape[1]:
        return None
    entries = lone_entries(op)
    sizes = np.abs(entries.values)
    if sizes.size < op.shape[0] or not np.array_equal(entries.columns, entries.rows) or (sizes != sizes[0]).any():
        return None
    return float(sizes[0])
