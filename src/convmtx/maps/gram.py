"""Gram maps ``A^H W A``: their matrix in closed form for convolutions, exactly Hermitian."""

from __future__ import annotations

from functools import cached_property, reduce
from itertools import product
from math import prod
from operator import matmul
from typing import Any, TypeGuard

import numpy as np

from convmtx import forms
from convmtx._xp import conjugate, frozen, is_complex, is_numpy, numeric, require_together
from convmtx._xp.sparse import narrow, with_data
from convmtx.errors import ArgumentError, ArgumentTypeError, door
from convmtx.forms import row_array
from convmtx.geometry import Geometry, Layout
from convmtx.maps.combined import Product
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.gram_entries import (
    MOST_NUMBERS,
    band_of,
    entries_of_gram,
    gram_geometry,
    hermitian_blocks,
    kernels_of_gram,
    met_offsets,
    met_together,
)
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.local import LocalMap
from convmtx.maps.selection import Selection
from convmtx.taps import channels_first, kernel_of
from convmtx.typing import AnyArray, Array, ArrayLike, IntArray, Order, RowNumbers, Shape


class Gram(LinearMap):
    """``A^H W A`` of a map A, with real weights W on its outputs; W is the identity if they are None."""

    _takes_chunks = True

    def __init__(self, op: LinearMap, weights: Array | None) -> None:
        self.op, self.weights = op, weights

    @property
    def _takes_every_library(self) -> bool:
        return self.op._takes_every_library

    @property
    def _reference_array(self) -> Array:
        return self._factors._reference_array

    @property
    def in_shape(self) -> Shape:
        return self.op.in_shape

    @property
    def out_shape(self) -> Shape:
        return self.op.in_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._factors.dtype

    @cached_property
    def _weighted(self) -> LinearMap:
        """``W A``."""
        return self.op if self.weights is None else Diagonal(self.weights, self.op.out_shape) @ self.op

    @cached_property
    def _factors(self) -> LinearMap:
        """``A^H (W A)``, factor by factor."""
        return Product(self.op.H, self._weighted)

    def _apply(self, x: Array) -> Array:
        return self._factors._image(x)

    def _apply_transposed(self, y: Array) -> Array:
        return self._factors._transposed_image(y)

    @property
    def _convolution(self) -> ConvOperator | None:
        """A, if it is a convolution of numbers of NumPy, of which the matrix can be written in closed form."""
        return self.op if isinstance(self.op, ConvOperator) and is_numpy(self._reference_array) else None

    @cached_property
    def _closed(self) -> tuple[Geometry, AnyArray] | None:
        """Places of the different entries of the matrix, and these entries as a kernel; None if not in closed form.

        With weights every entry is another one.
        """
        op = self._convolution
        return None if op is None or self.weights is not None else entries_of_gram(op.geometry, op._taps)

    @cached_property
    def _local(self) -> tuple[LocalMap, LocalMap | None] | None:
        """The map with its own kernel at each input, and the map of ones where outputs read both; None if not known."""
        op = self._convolution
        if op is None:
            return None
        geometry = op.geometry
        if self.weights is not None and not np.isfinite(self.weights).all():
            return None  # nan times the zeros around a product of taps would be nan
        if any(not axis.zero_outside or axis.input_dilation > 1 for axis in geometry.axes):
            return None
        per_c = geometry.channels_per_group[1]
        if op._taps.size * per_c * prod(2 * axis.kernel - 1 for axis in geometry.axes) > MOST_NUMBERS:
            return None
        weights = np.ones(op.out_shape, op.dtype) if self.weights is None else self.weights
        weights = channels_first(geometry, weights[None])
        kernels = kernels_of_gram(geometry, op._taps, weights, self.dtype)
        band = band_of(geometry)
        meet = met_offsets(geometry)
        pattern = None
        if not meet.all():
            ones = np.broadcast_to(meet[:, None, None], (len(meet), geometry.in_channels, per_c, *meet.shape[1:]))
            pattern = _local(band, ones.astype(np.int8))
        return _local(band, kernels), pattern

    def __getstate__(self) -> dict[str, Any]:
        return {"op": self.op, "weights": self.weights, "_sealed": True}

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        if self._closed is not None:
            geometry, kernel = self._closed
            return forms.sparse_matrix(geometry, kernel, "csr", order, None if rows is None else row_array(rows))
        if rows is not None or self._local is None:  # a few rows need few of the kernels
            return _hermitian(self.op, self._weighted, order, rows)
        local, pattern = self._local
        matrix = local._sparse(order, None)
        return matrix if pattern is None else _where(matrix, pattern._sparse(order, None).data)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return self.T._sparse(order, rows)

    def _count_stored(self) -> int | None:
        op = self._convolution
        axes = None if op is None else met_together(op.geometry)
        return self.op._count_stored() if op is None or axes is None else gram_geometry(op.geometry, axes).nnz

    def conj(self) -> Gram:
        return Gram(self.op.conj(), self.weights)

    @property
    def T(self) -> Gram:
        return self.conj()

    @property
    def H(self) -> Gram:
        """The map itself."""
        return self

    def _in_double(self) -> LinearMap:
        return self._factors._in_double()

    def _magnitudes(self) -> LinearMap:
        return self._factors._magnitudes()

    def _count_roundings(self) -> float:
        return self._factors._count_roundings()


def _local(band: Geometry, kernels: AnyArray) -> LocalMap:
    """Return the map of kernels (P, C, C/groups, offsets)."""
    d = len(band.axes)
    if band.layout is Layout.PLAIN:
        kernels = kernels[:, 0, 0]
    elif band.layout is Layout.LAST:
        kernels = np.moveaxis(kernels, (2, 1), (d + 1, d + 2))
    return LocalMap(band, kernels, "output")


def _where(matrix: Any, is_kept: AnyArray) -> Any:
    """Return a sparse matrix with the entries that are kept."""
    kept = np.flatnonzero(is_kept)
    pointers = np.searchsorted(kept, matrix.indptr).astype(matrix.indptr.dtype)
    return type(matrix)((matrix.data[kept], matrix.indices[kept], pointers), shape=matrix.shape)


def _hermitian(op: LinearMap, weighted: LinearMap, order: Order, rows: RowNumbers | None) -> Any:
    """Return ``A^H (W A)`` by sparse matrices, or rows of it, exactly Hermitian.

    ``conj(a) * (w * b)`` and ``conj(conj(b) * (w * a))`` may differ by a rounding. So entries below the diagonal are
    those of ``(W A)^H A``, which are conjugates of those above to the last bit: their terms are, in the same order.
    """
    upper = _times_rows(op._sparse_transposed(order, rows), weighted, order)
    if not is_numpy(op._reference_array) or op is weighted:
        return upper
    lower = _times_rows(weighted._sparse_transposed(order, rows), op, order)
    numbers = np.arange(upper.shape[0]) if rows is None else row_array(rows)
    if upper.dtype.kind == "c":
        on_diagonal = upper.indices == np.repeat(numbers, np.diff(upper.indptr))
        upper.data[on_diagonal] = upper.data[on_diagonal].real
    # The products leave out what sums to zero, so the two may have different places.
    return _part(upper, numbers, np.greater_equal) + _part(lower, numbers, np.less)


def _part(matrix: Any, numbers: IntArray, is_kept: np.ufunc) -> Any:
    """Return the entries of these rows whose columns compare so with the number of the row."""
    return _where(matrix, is_kept(matrix.indices, np.repeat(numbers, np.diff(matrix.indptr))))


def _times_rows(columns: Any, op: LinearMap, order: Order) -> Any:
    """Return the conjugate of some columns, as rows, times a map, of which few rows take part."""
    conjugated = with_data(columns, conjugate(columns.data))
    if hasattr(conjugated, "sort_indices"):  # so that both halves add their terms in one order
        conjugated.sort_indices()
    few, taking_part = narrow(conjugated)
    result = few @ op._sparse(order, taking_part)
    if hasattr(result, "sort_indices"):
        result.sort_indices()
    return result


@door("gram")
def gram(op: Any, weights: ArrayLike | None = None) -> LinearMap:
    """Return the Gram map ``A^H W A``, with real weights W on the outputs of A.

    It is the matrix of the normal equations, and that of the objective of a quadratic program. The entry in row i and
    column i' is ``sum_o w[o] * conj(A[o, i]) * A[o, i']``. The sparse matrix is Hermitian to the last bit, and integers
    are exact unless they overflow.

    Parameters
    ----------
    op : LinearMap
        The map A, or what `aslinearmap` takes.
    weights : array_like, optional
        Real weights of the outputs, of shape ``op.out_shape``; all 1 by default.

    Returns
    -------
    LinearMap
        From arrays of ``op.in_shape`` to arrays of ``op.in_shape``, in the type of ``op`` and the weights together.
        Applying it applies A and its adjoint. It is a `ConvOperator` if the product is one and there are no weights,
        as under wrap. The sparse matrix of a convolution of a NumPy kernel is written in closed form. Without weights,
        its few different entries are computed from the products of taps. With weights, and zeros outside, the entries
        of an input are products of taps times the weights of the outputs that read it. Half of the entries is computed,
        and the other half is copied. For ``rows=`` with weights, and for other maps, sparse matrices are multiplied. A
        map of chosen outputs, as ``op[mask]``, is treated as ``op`` with weights 0 and 1, so entries of pixels that no
        known output reads can be stored zeros.

    Raises
    ------
    ValueError
        If the weights have another shape than ``op.out_shape``.
    TypeError
        If ``op`` is not a map, or if the weights are complex, not numbers, or of another array library.

    Examples
    --------
    The matrix of all squared differences of neighbours, and the same with weights:

    >>> import convmtx as cm
    >>> op = cm.conv([1, -1], 4)
    >>> cm.gram(op).to_dense()
    array([[ 1, -1,  0,  0],
           [-1,  2, -1,  0],
           [ 0, -1,  2, -1],
           [ 0,  0, -1,  1]])
    >>> cm.gram(op, [1, 0, 10]).to_dense()
    array([[  1,  -1,   0,   0],
           [ -1,   1,   0,   0],
           [  0,   0,  10, -10],
           [  0,   0, -10,  10]])
    """
    mapped = aslinearmap(op)
    if weights is None and not _selects(mapped):
        one = mapped.H @ mapped
        # Where a boundary folds taps, sums of three of them may differ from their mirrored sums by a rounding.
        if isinstance(one, ConvOperator) and not any(axis.may_fold for axis in one.geometry.axes):
            return _symmetric(one)
        return Gram(mapped, None)
    if weights is None:
        weights = np.ones(mapped.out_shape, mapped.dtype).real
    if isinstance(weights, np.ndarray) and weights.dtype.kind == "b":  # a mask
        weights = weights.astype(np.int8)
    array = numeric("weights", weights)
    if is_complex(array.dtype):
        raise ArgumentTypeError(f"weights of {array.dtype}", "Expected real numbers", "Use op.H @ cm.diagonal(w) @ op")
    if tuple(array.shape) != mapped.out_shape:
        got = f"weights have shape {tuple(array.shape)}"
        raise ArgumentError(got, f"Expected {mapped.out_shape}, the outputs", "Broadcast them first")
    require_together(mapped._reference_array, array)
    if _selects(mapped):  # weights of all outputs, which are 0 where none is selected
        chosen, *rest = mapped.factors
        if is_numpy(array):  # those of an output that is chosen twice are added, in the type of the result
            array = array.astype(np.result_type(array, np.empty(0, mapped.dtype).real), copy=False)
        return gram(reduce(matmul, rest), chosen._transposed_image(array[None])[0])
    return Gram(mapped, frozen(array, "weights"))


def _selects(op: LinearMap) -> TypeGuard[Product]:
    """Whether a map selects outputs of another one, of NumPy."""
    return isinstance(op, Product) and isinstance(op.factors[0], Selection) and is_numpy(op._reference_array)


def _symmetric(op: ConvOperator) -> ConvOperator:
    """Return a convolution that is Hermitian but for rounding with half of its taps copied from the other half."""
    if not is_numpy(op.kernel) or op.dtype.kind not in "fc":
        return op
    geometry, taps = op.geometry, op._taps.copy()
    d, groups = len(geometry.axes), geometry.groups
    per_c = geometry.channels_per_group[1]
    blocks = taps.reshape(groups, per_c, per_c, *taps.shape[2:])
    sizes, zero = taps.shape[2:], (0,) * d
    for m in product(*(range(-(k // 2), k // 2 + 1) for k in sizes)):
        at, back = (tuple(k // 2 + sign * n for n, k in zip(m, sizes, strict=True)) for sign in (1, -1))
        if m == zero:
            blocks[(..., *at)] = hermitian_blocks(blocks[(..., *at)])
        elif m > zero:
            blocks[(..., *back)] = blocks[(..., *at)].swapaxes(-1, -2).conj()
    return op.with_kernel(kernel_of(geometry, taps))
