"""Convolutions whose kernel varies: an own kernel at every position, or a few kernels that weights mix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

from convmtx import forms
from convmtx._xp import cast, frozen, is_numpy, like, namespace, numeric, promote, reshape
from convmtx._xp.sparse import Coordinates, times, with_data
from convmtx.arguments import one_of
from convmtx.errors import ArgumentError, door
from convmtx.forms import row_array
from convmtx.geometry import Geometry, Layout, Sums, resolve, sums
from convmtx.maps.double import double
from convmtx.maps.linear_map import LinearMap
from convmtx.taps import entries_of_each, swap_channels
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
    def _matrix_kept(self) -> Any:
        return self._sparse("C", None)

    @cached_property
    def _matrix_transposed_kept(self) -> Any:
        return self._sparse_transposed("C", None)

    # A matrix of tensors or of traced arrays belongs to the call that built it.

    @property
    def _matrix(self) -> Any:
        return self._matrix_kept if is_numpy(self.kernels) else self._sparse("C", None)

    @property
    def _matrix_transposed(self) -> Any:
        return self._matrix_transposed_kept if is_numpy(self.kernels) else self._sparse_transposed("C", None)

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
        if (wide := self._storable()) is not None:
            return wide._sparse(order, rows)
        if rows is None and is_numpy(self.kernels):
            return self._whole(order, transposed=False)
        wanted = np.arange(self.shape[0]) if rows is None else row_array(rows)
        return self._with_values(*forms.numbered(self._geometry, order, rows), wanted, order, self.per == "output")

    def _storable(self) -> LocalMap | None:
        """Return the map in float32 for kernels of float16, of which SciPy has no sparse arrays."""
        if not is_numpy(self.kernels) or self.dtype != np.float16:
            return None
        return LocalMap(self._geometry, forms.storable(self.kernels), self.per)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        if (wide := self._storable()) is not None:
            return wide._sparse_transposed(order, rows)
        if rows is None and is_numpy(self.kernels):
            return self._whole(order, transposed=True)
        wanted = np.arange(self.shape[1]) if rows is None else row_array(rows)
        numbers = forms.numbered(self._geometry, order, wanted, transposed=True)
        return self._with_values(*numbers, wanted, order, self.per == "input")

    def _whole(self, order: Order, transposed: bool) -> Any:
        """Return the matrix, or its transpose, of kernels of NumPy."""
        g = self._geometry
        entries = entries_of_each(g, self.kernels, [sums(axis) for axis in g.axes])
        if transposed:
            entries = np.moveaxis(swap_channels(np.moveaxis(entries, 0, -1), g.groups), -1, 0)
        entries = entries.reshape(*positions(g, self.per), *entries.shape[1:])
        return forms.varying_rows(g, entries, order, transposed, by_row=(self.per == "output") is not transposed)

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

    def _entrywise(self, function: Callable[[Array], Array]) -> LinearMap:
        if any(axis.may_fold for axis in self._geometry.axes):
            return super()._entrywise(function)
        return LocalMap(self._geometry, function(self.kernels), self.per)

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

    Law: ``y[o] = sum_p K[o, p] * x~[o*s - lo + p*t]`` with ``per="output"``, where ``K[o]`` is a kernel of `conv`. With
    ``per="input"``, the factor is ``K[i, p]`` instead, where i is the input that is read there. So each input spreads
    by its own kernel, as light does through a lens whose blur varies. If all kernels are equal, every form is equal to
    that of `conv` to the last bit.

    Parameters
    ----------
    K : array_like
        Kernels, of any numeric dtype and array library; copied. First come the spatial axes of the outputs
        (``per="output"``) or of the inputs (``per="input"``), then the axes of a kernel of `conv`: for images with
        channels last, ``(o1, o2, k1, k2, C/groups, F)``.
    input_shape : int or tuple of int
        Shape of one input, without batch.
    per : {"output", "input"}
        Whether a kernel belongs to an output, which gathers, or to an input, which spreads.
    stride, dilation, padding, boundary, input_dilation, groups, flip, channels
        Same as in `conv`.

    Returns
    -------
    LinearMap
        Between the shapes of `conv` with these options, with the pattern of its matrix. It holds K. The first call
        builds its sparse matrix, with an entry for each tap that reads, and keeps it; a call then costs one product
        with that matrix. Kernels of PyTorch and JAX get gradients, so every call builds theirs.

    Raises
    ------
    ValueError
        If an argument is invalid, or the first sizes of K are not those of the positions.
    TypeError
        If an argument is of the wrong type.
    FormTooLargeError
        If the sparse matrix does not fit in memory, when it is built. This is a MemoryError.

    References
    ----------
    Y. LeCun, "Generalization and network design strategies", Technical Report CRG-TR-89-4, University of Toronto
    (1989), compares layers with local kernels to layers with shared ones.

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
