"""Gram maps ``A^H W A``: their matrix in closed form for convolutions, exactly Hermitian."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np

from convmtx._xp import conjugate, frozen, is_complex, is_numpy, numeric, require_together
from convmtx._xp.sparse import narrow, with_data
from convmtx.errors import ArgumentError, ArgumentTypeError, door
from convmtx.forms import row_array
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.foreign import aslinearmap
from convmtx.maps.linear_map import LinearMap, Product
from convmtx.maps.local import LocalMap
from convmtx.taps import channels_first, kernel_of
from convmtx.typing import AnyArray, Array, ArrayLike, Order, RowNumbers, Shape

#: Numbers of the kernel of a closed form up to which it is built: 256 MiB of float64. With more channels, sparse
#: matrices are multiplied.
MOST_KERNEL = 1 << 25


class Gram(LinearMap):
    """``A^H W A`` of a map A, with real weights W on its outputs; W is the identity if they are None."""

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

    @cached_property
    def _local(self) -> tuple[LocalMap, LocalMap | None] | None:
        """The map with its own kernel at each input, and the map of ones where outputs read both; None if not known."""
        op = self.op
        if not isinstance(op, ConvOperator) or not is_numpy(self._reference_array):
            return None
        geometry = op.geometry
        if self.weights is not None and not np.isfinite(self.weights).all():
            return None  # nan times the zeros around a product of taps would be nan
        if any(not axis.zero_outside or axis.input_dilation > 1 for axis in geometry.axes):
            return None
        per_c = geometry.channels_per_group[1]
        if op._taps.size * per_c * prod(2 * axis.kernel - 1 for axis in geometry.axes) > MOST_KERNEL:
            return None
        weights = np.ones((1, *op.out_shape), op.dtype) if self.weights is None else self.weights[None]
        kernels = _kernels(geometry, op._taps, channels_first(geometry, weights), self.dtype)
        band = _band(geometry)
        meet = _meeting(geometry)
        pattern = None
        if not meet.all():
            ones = np.broadcast_to(meet[:, None, None], (len(meet), geometry.in_channels, per_c, *meet.shape[1:]))
            pattern = _local(band, ones.astype(np.int8))
        return _local(band, kernels), pattern

    def __getstate__(self) -> dict[str, Any]:
        return {"op": self.op, "weights": self.weights, "_sealed": True}

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        if self._local is None:
            return _hermitian(self.op, self._weighted, order, rows)
        local, pattern = self._local
        matrix = local._sparse(order, rows)
        return matrix if pattern is None else _where(matrix, pattern._sparse(order, rows).data)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return self.T._sparse(order, rows)

    def _count_stored(self) -> int | None:
        op = self.op
        is_closed = isinstance(op, ConvOperator) and all(
            axis.zero_outside and axis.input_dilation == 1 for axis in op.geometry.axes
        )
        return _band(op.geometry).nnz if is_closed else op._count_stored()

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


def _band(geometry: Geometry) -> Geometry:
    """Return the geometry of ``A^H W A``: offsets between taps, from ``-(k-1)*t`` to ``(k-1)*t`` along each axis."""
    axes = (
        Axis(a.size, 2 * a.kernel - 1, dilation=a.dilation, lo=a.span - 1).with_outputs(a.size) for a in geometry.axes
    )
    c = geometry.in_channels
    return Geometry(tuple(axes), c, c, geometry.groups, geometry.layout)


def _local(band: Geometry, kernels: AnyArray) -> LocalMap:
    """Return the map of kernels (P, C, C/groups, offsets)."""
    d = len(band.axes)
    if band.layout is Layout.PLAIN:
        kernels = kernels[:, 0, 0]
    elif band.layout is Layout.LAST:
        kernels = np.moveaxis(kernels, (2, 1), (d + 1, d + 2))
    return LocalMap(band, kernels, "output")


def _kernels(geometry: Geometry, taps: AnyArray, weights: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Return the entries ``(c, i), (c', i + m*t)`` for all offsets m: an array (P, C, C/groups, 2*k1 - 1..2*kd - 1).

    Entry ``(c, i), (c', i + m*t)`` is ``sum_o w_o conj(K[c, p]) K[c', p + m]`` over the outputs o that read i through a
    tap p. For each m this is the transpose of a convolution, applied to the weights; its taps are the products. Half of
    the offsets is computed, and the other half is copied, so the matrix is exactly Hermitian.
    """
    d, groups = len(geometry.axes), geometry.groups
    per_f, per_c = geometry.channels_per_group
    sizes = tuple(axis.kernel for axis in geometry.axes)
    shape = tuple(axis.size for axis in geometry.axes)
    zero = (0,) * d
    offsets = [m for m in product(*(range(1 - k, k) for k in sizes)) if m >= zero]
    taps = taps.astype(dtype, copy=False)
    products = np.zeros((groups * per_f, len(offsets), per_c, per_c, *sizes), dtype)
    for j, m in enumerate(offsets):
        here, there = _overlap(m, sizes)
        first, second = taps[(..., *here)].conj(), taps[(..., *there)]
        products[:, j][(..., *here)] = first[:, :, None] * second[:, None]
    count = groups * len(offsets) * per_c * per_c
    spread = Geometry(geometry.axes, count, geometry.out_channels, groups, Layout.FIRST)
    kernel = kernel_of(spread, products.reshape(groups * per_f, -1, *sizes))
    half = ConvOperator(spread, frozen(kernel), "auto")._transposed_image(weights)
    half = half.reshape(groups, len(offsets), per_c, per_c, *shape)
    # Offset after offset, so that each is written at once: (2*k1-1..2*kd-1, n1..nd, G, c, c').
    whole = np.zeros((*(2 * k - 1 for k in sizes), *shape, groups, per_c, per_c), dtype)
    by_offset = np.moveaxis(half, (1, 0, 2, 3), (0, d + 1, d + 2, d + 3))  # (offsets, n1..nd, G, c, c')
    for j, m in enumerate(offsets):
        at: tuple[Any, ...] = tuple(n + k - 1 for n, k in zip(m, sizes, strict=True))
        values = by_offset[j]
        if m == zero:
            values = _mirrored(values)
        whole[at] = values
        if m != zero:
            steps = [n * axis.dilation for n, axis in zip(m, geometry.axes, strict=True)]
            here, there = _overlap(steps, shape)
            if all(abs(s) < n for s, n in zip(steps, shape, strict=True)):
                back: tuple[Any, ...] = tuple(k - 1 - n for n, k in zip(m, sizes, strict=True))
                whole[(*back, *there)] = values[here].swapaxes(-1, -2).conj()
    by_place = np.moveaxis(whole, range(d), range(-d, 0))
    return by_place.reshape(prod(shape), groups * per_c, per_c, *by_place.shape[-d:])


def _overlap(shift: Sequence[int], shape: Shape) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the places of an array that a shift keeps inside, and the places where it takes them."""
    pairs = list(zip(shift, shape, strict=True))
    here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in pairs)
    return here, tuple(slice(max(0, s), n + min(0, s)) for s, n in pairs)


def _mirrored(blocks: AnyArray) -> AnyArray:
    """Return Hermitian blocks (..., c, c') from the entries on and above their diagonals."""
    upper = np.triu(blocks, 1)
    diagonal = np.einsum("...cc->...c", blocks).real
    result = upper + upper.swapaxes(-1, -2).conj()
    np.einsum("...cc->...c", result)[...] = diagonal
    return result


def _meeting(geometry: Geometry) -> AnyArray:
    """Return for each input i and offset m whether an output reads both i and ``i + m*t``: (P, offsets)."""
    d, whole = len(geometry.axes), np.ones((1,) * (2 * len(geometry.axes)), bool)
    for j, axis in enumerate(geometry.axes):
        table, k = axis.table(), axis.kernel
        meet = np.zeros((axis.size, 2 * k - 1), bool)
        for p, q in product(range(k), range(k)):
            both = (table[:, p] >= 0) & (table[:, q] >= 0)
            meet[table[both, p], q - p + k - 1] = True
        inside = np.arange(axis.size)[:, None] + (np.arange(2 * k - 1) - k + 1) * axis.dilation
        meet |= (inside < 0) | (inside >= axis.size)  # there is no such entry to leave out
        whole = whole & meet.reshape([axis.size if i == j else 2 * k - 1 if i == d + j else 1 for i in range(2 * d)])
    return whole.reshape(prod(axis.size for axis in geometry.axes), *whole.shape[d:])


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
    of_row = np.repeat(numbers, np.diff(upper.indptr))
    data = np.where(upper.indices >= of_row, upper.data, lower.data)
    data = np.where(upper.indices == of_row, data.real, data) if data.dtype.kind == "c" else data
    return with_data(upper, data.astype(upper.dtype))


def _times_rows(columns: Any, op: LinearMap, order: Order) -> Any:
    """Return the conjugate of some columns, as rows, times a map, of which few rows take part."""
    conjugated = with_data(columns, conjugate(columns.data))
    few, taking_part = narrow(conjugated)
    result = few @ op._sparse(order, taking_part)
    if hasattr(result, "sort_indices"):
        result.sort_indices()
    return result


@door("gram")
def gram(op: Any, weights: ArrayLike | None = None) -> LinearMap:
    """Return the Gram map ``A^H W A``, with real weights W on the outputs of A.

    It is the matrix of the normal equations, and of a quadratic program's objective. Its matrix is exactly Hermitian.

    Parameters
    ----------
    op : LinearMap
        The map A, or what `aslinearmap` takes.
    weights : array_like, optional
        Real weights of the outputs, of shape ``op.out_shape``; all 1 by default.

    Returns
    -------
    LinearMap
        From arrays of ``op.in_shape`` to such arrays. It is a `ConvOperator` where the product is one and there are no
        weights. The sparse matrix of a convolution of NumPy that reads zeros outside is written in closed form: an
        entry for an input and an offset is a convolution of the weights with the products of taps at that offset. For
        other maps the sparse matrices are multiplied.

    Raises
    ------
    ValueError
        If the weights have another shape.
    TypeError
        If they are complex.

    Examples
    --------
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
    if weights is None:
        product_ = mapped.H @ mapped
        return _symmetric(product_) if isinstance(product_, ConvOperator) else Gram(mapped, None)
    array = numeric("weights", weights)
    if is_complex(array.dtype):
        raise ArgumentTypeError(f"weights of {array.dtype}", "Expected real numbers", "Use op.H @ cm.diagonal(w) @ op")
    if tuple(array.shape) != mapped.out_shape:
        got = f"weights have shape {tuple(array.shape)}"
        raise ArgumentError(got, f"Expected {mapped.out_shape}, the outputs", "Broadcast them first")
    require_together(mapped._reference_array, array)
    return Gram(mapped, frozen(array, "weights"))


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
            blocks[(..., *at)] = _mirrored(blocks[(..., *at)])
        elif m > zero:
            blocks[(..., *back)] = blocks[(..., *at)].swapaxes(-1, -2).conj()
    return op.with_kernel(kernel_of(geometry, taps))
