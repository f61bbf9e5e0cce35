r"""Bounds of how far rounding can move entries, norms and singular values of a map, in absolute numbers.

Rounding is relative to the magnitudes that are summed, not to their sum: if taps cancel, the sum may be nothing but
rounding. So every bound here is a number of roundings times eps times a norm of the *map of magnitudes*, whose entries
are sums of ``|tap|``. A backward stable decomposition adds roundings relative to the norm, which is no larger.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from convmtx.boundary import WRAP
from convmtx.geometry import Axis, Geometry
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.structure.blocks import Blocks
from convmtx.structure.precision import EPS
from convmtx.taps import taps_of
from convmtx.typing import AnyArray

#: Roundings of a decomposition: `FEW`, and `FOR_EACH` of a rounding for each row and column. LAPACK's ``bdsqr`` sets
#: numbers beside a bidiagonal matrix' diagonal to 0 if they are below 49 roundings, so multiples of the identity were
#: off by up to 97. All other measured errors are at most 8, or an eighth of the size for matrices of equal entries,
#: where rounding adds up most.
FEW, FOR_EACH = 128, 0.25
#: Roundings of a fast transform and its inverse, of any size that fits in memory.
TRANSFORM = 64
#: Largest error of a product that is below the range of floats.
SMALLEST = float(np.finfo(float).smallest_subnormal)


def magnitude(geometry: Geometry, taps: AnyArray) -> float:
    """Return an upper bound of the norm of the map of magnitudes, and of each of its blocks in other bases.

    It is Schur's test with sums over taps. A row contains each tap once, and a column contains a tap as often as
    outputs read the column's input through it.
    """
    sizes = np.abs(taps).reshape(geometry.groups, -1, *taps.shape[1:])
    space = tuple(range(3, sizes.ndim))
    row, column = sizes.sum(axis=(2, *space)).max(), sizes.sum(axis=(1, *space)).max()
    return float(np.sqrt(row) * np.sqrt(column) * np.sqrt(prod(_readers(axis) for axis in geometry.axes)))


def _readers(axis: Axis) -> int:
    """Return the largest number of outputs that read one input through one tap, or a bound of it."""
    if axis.zero_outside:
        return 1
    if axis.turn:
        return -(-axis.out // axis.turn) * (1 if axis.boundary is WRAP else 2)
    before = axis.lo // axis.stride + 1
    behind = axis.out - (axis.stretched + axis.lo - axis.span) // axis.stride
    return min(max(before, 0) + max(behind, 0) + 1, axis.out)


def of_decomposition(rows: int, columns: int) -> float:
    """Return the error of singular values, or of eigenvalues of a Hermitian matrix, in units of eps times the norm."""
    return FEW + FOR_EACH * (rows + columns) if min(rows, columns) > 1 else 2 + rows + columns


def of_entries(blocks: Blocks) -> float:
    """Return the error of blocks' entries in units of eps times the magnitudes that are summed."""
    return sum(split.source.roundings for split in blocks.splits)


def of_blocks(all_blocks: Iterable[Blocks], size: float) -> float:
    """Return the error of every singular value of these blocks; ``size`` is the `magnitude` of the map."""
    roundings = (of_entries(blocks) + of_decomposition(blocks.rows, blocks.columns) for blocks in all_blocks)
    return EPS * max(roundings, default=0.0) * size


def majorant(op: LinearMap) -> LinearMap:
    """Return the map of magnitudes of a map in double precision: its entries sum magnitudes, so nothing cancels."""
    return op._magnitudes()


def sums(op: LinearMap) -> tuple[AnyArray, AnyArray]:
    """Return upper bounds of the sums of each row and of each column of the map of magnitudes."""
    larger, rounded = majorant(op), 1 + EPS * of_matrix(op)
    rows, columns = larger.matvec(np.ones(op.shape[1])), larger.rmatvec(np.ones(op.shape[0]))
    return rounded * rows, rounded * columns


def size_of(op: LinearMap) -> float:
    """Return an upper bound of the norm of the map of magnitudes, for any map in double precision."""
    if isinstance(op, ConvOperator):
        return magnitude(op.geometry, taps_of(op.geometry, op.kernel))
    rows, columns = sums(op)
    return float(np.sqrt(rows.max(initial=0)) * np.sqrt(columns.max(initial=0)))


def of_matrix(op: LinearMap) -> float:
    """Return the error of the matrix entries, in units of eps times those of the map of magnitudes."""
    return op._count_roundings()


def of_entry(op: LinearMap, size: float) -> float:
    """Return the error of every entry of the matrix of any map, products below the range included."""
    return EPS * of_matrix(op) * size + SMALLEST


def of_dense(op: LinearMap, size: float) -> float:
    """Return the error of every singular value of the dense matrix of any map, products below the range included."""
    tiny = 0.0 if isinstance(op, ConvOperator) else max(op.shape) * SMALLEST
    return EPS * (of_matrix(op) + of_decomposition(*op.shape)) * size + tiny


def of_product(op: LinearMap, size: float) -> float:
    """Return the error of the length of a unit vector's image, by any engine."""
    return EPS * (of_matrix(op) + TRANSFORM) * size


def of_sum(op: LinearMap, size: float) -> float:
    """Return the error of the sum of a row, a column or the diagonal of any map, if magnitudes sum up to ``size``."""
    return EPS * (of_matrix(op) + max(op.shape)) * size + max(op.shape) * SMALLEST
