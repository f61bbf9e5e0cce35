"""Convolutions with a fixed input as linear maps of the kernel: the class of what `kernel_operator` returns."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx import forms
from convmtx._xp import (
    cast,
    conjugate,
    counterpart,
    frozen,
    is_numpy,
    move_axes,
    namespace,
    numeric,
    promote,
    reshape,
    together,
    zeros_beside,
)
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentError, door
from convmtx.geometry import Geometry, Layout
from convmtx.maps.convolution import ConvOperator, require_made
from convmtx.maps.double import double
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.scalars import beside, divisor, multiplier
from convmtx.taps import channels_back, channels_first, taps_of
from convmtx.typing import Array, ArrayLike, EngineName, Order, RowNumbers, Shape


class KernelOperator(LinearMap):
    """A convolution with a fixed input as a linear map of its kernel.

    `convmtx.kernel_operator` returns it. Law: ``kernel_operator(x, K.shape, ...)(K) == conv(K, x.shape, ...)(x)``. The
    adjoint maps the gradient of a loss with respect to the outputs to its gradient with respect to the kernel.
    """

    _takes_every_library = True

    def __init__(self, geometry: Geometry, x: Array = None, batch: Shape = (), engine: EngineName = "auto") -> None:
        require_made("KernelOperator", geometry, x, "Use convmtx.kernel_operator, which makes one")
        self._geometry, self._x, self._batch, self._requested_engine = geometry, x, batch, engine

    @property
    def _reference_array(self) -> Array:
        return self._x

    @property
    def in_shape(self) -> Shape:
        """Shape of the kernel."""
        return self._geometry.kernel_shape

    @property
    def out_shape(self) -> Shape:
        """Batch axes of the input, then the shape of one output."""
        return self._batch + self._geometry.out_shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the input."""
        return self._x.dtype

    @property
    def input(self) -> Array:
        """The fixed input, batch axes first, read-only."""
        return self._x

    @door("with_input")
    def with_input(self, x: ArrayLike) -> KernelOperator:
        """Return the map of the same geometry with another input of the same shape, which is copied.

        Raises
        ------
        ValueError
            If the shape differs.
        TypeError
            If it is not a numeric array.
        """
        array = numeric("x", x)
        if tuple(array.shape) != tuple(self._x.shape):
            got, expected = f"x has shape {tuple(array.shape)}", f"Expected {tuple(self._x.shape)}"
            raise ArgumentError(got, expected, "Make a new map with convmtx.kernel_operator")
        return KernelOperator(self._geometry, frozen(array), self._batch, self._requested_engine)

    # Integers wrap around in the input, so in every form and application alike.

    @door("a * op")
    def __mul__(self, scalar: Any) -> KernelOperator:
        x, number = beside(self._x, multiplier(scalar, self._x, self.dtype))
        return self.with_input(x * number)

    @door("op / a")
    def __truediv__(self, scalar: Any) -> KernelOperator:
        x, number = beside(self._x, divisor(scalar, self._x, self.dtype))
        return self.with_input(x / number)

    def _negative(self, dtype: Any) -> KernelOperator:
        return self.with_input(-cast(self._x, counterpart(dtype, self._x)))

    @property
    def _holds_entries(self) -> bool:
        return True

    @cached_property
    def _inputs(self) -> Array:
        """The inputs in one batch with channels first, (N, C, n1..nd)."""
        return channels_first(self._geometry, reshape(self._x, (prod(self._batch), *self._geometry.in_shape)))

    def _apply(self, x: Array) -> Array:
        """Return the outputs of a batch of kernels, which become more filters of every group of one convolution."""
        g, count = self._geometry, x.shape[0]
        per_f, per_c = g.channels_per_group
        space, outs = tuple(a.kernel for a in g.axes), tuple(a.out for a in g.axes)
        xp = namespace(x)
        taps = xp.stack([taps_of(g, x[b, ...]) for b in range(count)], axis=0)
        taps = move_axes(reshape(taps, (count, g.groups, per_f, per_c, *space)), 1, 0, *range(2, 4 + len(space)))
        wide = replace(g, out_channels=count * g.out_channels, layout=Layout.FIRST, flip=False)
        y = ConvOperator(wide, reshape(taps, wide.kernel_shape), self._requested_engine)(self._inputs)
        samples = prod(self._batch)
        y = move_axes(reshape(y, (samples, g.groups, count, per_f, *outs)), 2, 0, 1, 3, *range(4, 4 + len(outs)))
        y = reshape(y, (count * samples, g.out_channels, *outs))
        return reshape(channels_back(g, y), (count, *self.out_shape))

    def _apply_transposed(self, y: Array) -> Array:
        """Return the transpose of ``y``, which is a convolution whose kernel is ``y``."""
        from convmtx.engines.kernels import kernel_gradients  # engines are imported when the first map is applied

        g, count, samples = self._geometry, y.shape[0], prod(self._batch)
        if not (samples and count):  # convolutions of no channels are refused
            first, second = together(self._x, y)
            return zeros_beside(first, (count, *self.in_shape), promote(first.dtype, second.dtype))

        def convolve(geometry: Geometry, kernel: Array, x: Array) -> Array:
            return ConvOperator(geometry, kernel, self._requested_engine)(x)

        x, y = reshape(self._x, (samples, *g.in_shape)), reshape(y, (count, samples, *g.out_shape))
        return kernel_gradients(g, x, y, convolve)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return self._csr_of_rows(order, range(self.shape[0]) if rows is None else rows, False)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return self._csr_of_rows(order, range(self.shape[1]) if rows is None else rows, True)

    def _csr_of_rows(self, order: Order, rows: RowNumbers, transposed: bool) -> Any:
        """Return these rows of the matrix or of its transpose."""
        if not is_numpy(self._x):
            numbers = np.arange(1, prod(self._x.shape) + 1).reshape(self._x.shape)
            numbered = KernelOperator(self._geometry, numbers, self._batch, "auto")
            return Coordinates.numbered(numbered._csr_of_rows(order, rows, transposed), self._x)
        from scipy.sparse import csr_array

        arrays = forms.windows(self._geometry, self._inputs, self._batch, order, rows, transposed)
        matrix = csr_array(arrays, shape=(len(rows), self.shape[0 if transposed else 1]))
        matrix.sort_indices()
        return matrix

    def conj(self) -> KernelOperator:
        """Return the map of the conjugated input."""
        return KernelOperator(self._geometry, conjugate(self._x), self._batch, self._requested_engine)

    def _in_double(self) -> KernelOperator:
        return self.with_input(double(self._x, "the input"))

    def _peak(self) -> float:
        return float(np.abs(self._x).max(initial=0))

    def _magnitudes(self) -> KernelOperator:
        return self.with_input(np.abs(self._x))

    def _count_roundings(self) -> float:
        return 1 + prod(self.in_shape)
