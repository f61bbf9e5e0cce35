"""Convolutions whose kernel varies: an own kernel at every position, or a few kernels that weights mix."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

from convmtx import forms
from convmtx._xp import cast, frozen, is_numpy, like, namespace, numeric, promote, reshape
from convmtx._xp.sparse import Coordinates, times, with_data
from convmtx.arguments import one_of
from convmtx.boundary import NOTHING
from convmtx.errors import ArgumentError, door
from convmtx.forms import row_array
from convmtx.geometry import Geometry, Layout, Sums, resolve
from convmtx.maps.double import double
from convmtx.maps.linear_map import LinearMap
from convmtx.taps import entries_of_each
from convmtx.typing import Array, ArrayLike, Channels, IntArray, Order, PaddingLike, PerAxis, RowNumbers, Shape


class LocalMap(LinearMap):
    """Convolution with an own kernel for each output position, or for each input position, which it spreads.

    The kernel array is (P, *kernel), a kernel for each of the P positions in C order. The matrix has the pattern of the
    convolution, and entry (o, i) is that of the kernel at o, or at i.
    """

    _takes_every_library = True

    def __init__(self, geometry: Geometry, kernels: Array, per: str) -> None:
        self._geometry, self.kernels, self.per = geometry, kernels, per

    @property
    def _reference_array(self) -> Array:
        return self.kernels

    @property
    def geometry(self) -> Geometry:
        """Sizes and indices of the convolution, without values."""
        return self._geometry

    @cached_property
    def in_shape(self) -> Shape:
        """Shape of one input."""
        return self._geometry.in_shape

    @cached_property
    def out_shape(self) -> Shape:
        """Shape of one output."""
        return self._geometry.out_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.kernels.dtype

    @cached_property
    def nnz(self) -> int:
        """Number of stored entries of the sparse matrix, zeros of the kernels included."""
        return self._geometry.nnz

    @cached_property
    def _matrix(self) -> Any:
        return self._sparse("C", None)

    @cached_property
    def _matrix_transposed(self) -> Any:
        return self._matrix.T.tocsr()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_matrix")}

    def _apply(self, x: Array) -> Array:
        return cast(times(self._matrix, x, self.out_shape), promote(self.dtype, x.dtype))

    def _apply_transposed(self, y: Array) -> Array:
        return cast(times(self._matrix_transposed, y, self.in_shape), promote(self.dtype, y.dtype))

    def _positions(self, numbers: IntArray, shape: Shape, order: Order) -> IntArray:
        """Return the position, in C order, of each of these rows or columns."""
        layout = self._geometry.layout
        channel = {Layout.PLAIN: None, Layout.LAST: len(shape) - 1, Layout.FIRST: 0}[layout]
        places = np.unravel_index(numbers, shape, order)
        spatial = [place for a, place in enumerate(places) if a != channel]
        return np.ravel_multi_index(spatial, [n for a, n in enumerate(shape) if a != channel])

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        if is_numpy(self.kernels) and self.dtype == np.float16:
            return LocalMap(self._geometry, self.kernels.astype(np.float32), self.per)._sparse(order, rows)
        if rows is None and order == "C" and self.per == "output" and self._is_plain:
            return self._filled()
        wanted = np.arange(self.shape[0]) if rows is None else row_array(rows)
        return self._with_values(*forms.numbered(self._geometry, order, rows), wanted, order, self.per == "output")

    @property
    def _is_plain(self) -> bool:
        """Whether the kernels are NumPy's, and an output reads each input through one tap, in the order of the taps."""
        axes = self._geometry.axes
        return is_numpy(self.kernels) and all(axis.zero_outside and axis.input_dilation == 1 for axis in axes)

    def _filled(self) -> Any:
        """Return the matrix: row after row the taps that read an input, in the places of the convolution's entries."""
        g, d = self._geometry, len(self._geometry.axes)
        pattern = forms.sparse_matrix(g, np.broadcast_to(np.zeros((), np.int8), g.kernel_shape), "csr", "C", None)
        sizes = tuple(axis.out for axis in g.axes), tuple(axis.kernel for axis in g.axes)
        is_read = np.ones((1,) * (2 * d + 2), bool)  # (o1..od, F, C, k1..kd)
        for j, axis in enumerate(g.axes):
            shape = [1] * (2 * d + 2)
            shape[j], shape[d + 2 + j] = axis.out, axis.kernel
            is_read = is_read & (axis.table() != NOTHING).reshape(shape)
        taps = entries_of_each(g, self.kernels, [()] * d)
        taps = taps.reshape(*sizes[0], *taps.shape[1:3], *sizes[1])
        if g.layout is Layout.LAST:  # rows (o1..od, F) and columns (n1..nd, C)
            taps, is_read = (np.moveaxis(a, d + 1, -1) for a in (taps, is_read))
        elif g.layout is Layout.FIRST:  # rows (F, o1..od) and columns (C, n1..nd)
            taps, is_read = (np.moveaxis(a, d, 0) for a in (taps, is_read))
        values = taps.flatten() if is_read.all() else taps[np.broadcast_to(is_read, taps.shape)]
        return with_data(pattern, values)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        if rows is None:
            return super()._sparse_transposed(order, rows)
        numbers = forms.numbered(self._geometry, order, rows, transposed=True)
        return self._with_values(*numbers, row_array(rows), order, self.per == "input")

    def _with_values(self, numbers: Any, groups: tuple[Sums, ...], wanted: IntArray, order: Order, by_row: bool) -> Any:
        """Return entries in the places of their numbers, of the kernel at each row, or else at each column."""
        shape = self.out_shape if self.per == "output" else self.in_shape
        if by_row:
            places = np.repeat(self._positions(wanted, shape, order), np.diff(numbers.indptr))
        else:
            places = self._positions(numbers.indices, shape, order)
        kernels, size = self.kernels, prod(forms.entry_sizes(self._geometry, groups))
        if wanted.size < self.shape[0]:  # few kernels take part
            taking_part, places = np.unique(places, return_inverse=True)
            kernels = namespace(kernels).take(kernels, like(taking_part, kernels), axis=0)
        entries = reshape(entries_of_each(self._geometry, kernels, groups), (-1,))
        values = namespace(entries).take(entries, like(places * size + numbers.data, entries), axis=0)
        if is_numpy(values):
            return with_data(numbers, values)
        return Coordinates.compress(values, numbers.indices, numbers.indptr, numbers.shape[1])

    def _count_stored(self) -> int:
        return self._geometry.nnz

    def conj(self) -> LocalMap:
        return LocalMap(self._geometry, namespace(self.kernels).conj(self.kernels), self.per)

    def _in_double(self) -> LocalMap:
        return LocalMap(self._geometry, double(self.kernels, "the kernel"), self.per)

    def _peak(self) -> float:
        return float(np.abs(self.kernels).max(initial=0))

    def _magnitudes(self) -> LocalMap:
        return LocalMap(self._geometry, np.abs(self.kernels), self.per)

    def _count_roundings(self) -> float:
        return 1 + prod(self.kernels.shape[1:]) / self._geometry.out_channels


@door("local")
def local(
    K: ArrayLike,
    input_shape: PerAxis,
    *,
    per: str = "output",
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: PaddingLike = "valid",
    boundary: str | Sequence[str] = "zero",
    input_dilation: PerAxis = 1,
    groups: int = 1,
    flip: bool = False,
    channels: Channels | None = None,
) -> LocalMap:
    """Build a convolution with an own kernel at every position, also called locally connected or unshared.

    Law: ``y[o] = sum_p K[o, p] * x~[o*s - lo + p*t]`` with ``per="output"``, where ``K[o]`` is a kernel of
    `convmtx.conv`. With ``per="input"`` the kernel is that of the input which is read, ``K[i, p]``: so each input
    spreads by its own kernel, as through a lens whose blur varies. If all kernels are equal, every form is that of
    `conv` to the last bit.

    Parameters
    ----------
    K : array_like
        Kernels, in any array library: the sizes of the outputs along the spatial axes (``per="output"``), or those of
        the inputs (``per="input"``), and then the axes of a kernel of `conv`. It is copied.
    input_shape : tuple of int
        Shape of one input, without batch.
    per : {"output", "input"}
        Whether a kernel belongs to an output, which gathers, or to an input, which spreads.
    stride, dilation, padding, boundary, input_dilation, groups, flip, channels
        Same as in `conv`.

    Returns
    -------
    LinearMap
        It holds K. Applying it builds its sparse matrix once, with an entry for each tap that reads.

    Raises
    ------
    ValueError
        If an argument is invalid, or K has other leading sizes than there are positions.
    TypeError
        If an argument is of the wrong type.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.local([[1, 1], [2, 2], [3, 3]], 4).to_dense()
    array([[1, 1, 0, 0],
           [0, 2, 2, 0],
           [0, 0, 3, 3]])
    >>> cm.local([[1, 1], [2, 2], [3, 3], [4, 4]], 4, per="input").to_dense()
    array([[1, 2, 0, 0],
           [0, 2, 3, 0],
           [0, 0, 3, 4]])
    """
    array, kind = numeric("K", K), one_of("per", per, ("output", "input"))
    shape, sizes = tuple(array.shape), resolve.shape("input_shape", input_shape)
    build = partial(
        resolve.conv, input_shape=sizes, stride=stride, dilation=dilation, padding=padding, boundary=boundary,
        groups=groups, flip=flip, input_dilation=input_dilation,
    )  # fmt: skip
    d = len(sizes) if channels is None else len(sizes) - 1
    if channels is None and d > 1:
        # (o1, o2, k1, k2, C, F) on (n1, n2, C) has as many axes as (o1, o2, o3, k1, k2, k3) would have.
        try:
            is_plain = shape[:d] == positions(build(shape[d:], channels=None), kind)
        except ArgumentError:
            is_plain = False
        channels, d = (None, d) if is_plain else ("last", d - 1)
    geometry = build(shape[d:], channels=channels)
    expected = positions(geometry, kind)
    if shape[:d] != expected:
        got = f"K of shape {shape} with per={kind!r}"
        raise ArgumentError(got, f"Expected {expected} first, a kernel for each {kind}", "Broadcast it first")
    return LocalMap(geometry, frozen(reshape(array, (prod(expected), *shape[d:]))), kind)


def positions(geometry: Geometry, per: str) -> Shape:
    """Return the sizes of the outputs, or of the inputs, along the spatial axes."""
    return tuple(axis.out if per == "output" else axis.size for axis in geometry.axes)
