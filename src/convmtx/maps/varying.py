"""Convolutions whose kernel is mixed from a few kernels, by weights that vary over the positions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from convmtx._xp import (
    cast,
    conjugate,
    frozen,
    move_axes,
    namespace,
    numeric,
    promote,
    require_together,
    reshape,
    together,
)
from convmtx.arguments import one_of
from convmtx.errors import ArgumentError, door
from convmtx.geometry import Geometry, Layout, resolve
from convmtx.maps.combined import Sum
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.diagonal import Diagonal
from convmtx.maps.double import double
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.local import LocalMap, positions
from convmtx.maps.wrapped import Transposed
from convmtx.typing import Array, ArrayLike, Channels, EngineName, Order, PaddingLike, PerAxis, RowNumbers


class Varying(Sum):
    """Sum of convolutions, each of a weighted input, or with weighted outputs."""

    def __init__(self, geometry: Geometry, kernels: Array, weights: Array, per: str, engine: EngineName) -> None:
        self.geometry, self.kernels, self.weights, self.per, self.engine = geometry, kernels, weights, per, engine
        super().__init__(*(self._weighted(r) for r in range(int(kernels.shape[0]))))

    def _weighted(self, r: int) -> LinearMap:
        """Return the convolution with kernel r, its inputs or outputs times the weights."""
        op = ConvOperator(self.geometry, frozen(self.kernels[r, ...]), self.engine)
        weights, layout = self.weights[r, ...], self.geometry.layout
        if layout is not Layout.PLAIN:
            weights = weights[..., None] if layout is Layout.LAST else weights[None, ...]
        if self.per == "input":
            return op @ Diagonal(weights, op.in_shape)
        return Diagonal(weights, op.out_shape) @ op

    def _count_stored(self) -> int:
        return self.geometry.nnz

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return self._mixed()._sparse(order, rows)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return self._mixed()._sparse_transposed(order, rows)

    def _mixed(self) -> LocalMap:
        """Return the map of the kernels that are mixed at each position."""
        weights, kernels = together(self.weights, self.kernels)
        dtype, count = promote(weights.dtype, kernels.dtype), kernels.shape[0]
        by_position = move_axes(reshape(cast(weights, dtype), (count, prod(weights.shape[1:]))), 1, 0)
        flat = reshape(cast(kernels, dtype), (count, prod(kernels.shape[1:])))
        mixed = reshape(namespace(flat).matmul(by_position, flat), (by_position.shape[0], *kernels.shape[1:]))
        return LocalMap(self.geometry, mixed, self.per)

    def conj(self) -> Varying:
        return Varying(self.geometry, conjugate(self.kernels), conjugate(self.weights), self.per, self.engine)

    @property
    def T(self) -> LinearMap:
        return Transposed(self)

    def _in_double(self) -> Varying:
        kernels, weights = double(self.kernels, "a kernel"), double(self.weights, "a weight")
        return Varying(self.geometry, kernels, weights, self.per, self.engine)


@door("varying")
def varying(
    kernels: ArrayLike,
    weights: ArrayLike,
    input_shape: PerAxis,
    *,
    per: str = "input",
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: PaddingLike = "valid",
    boundary: str | Sequence[str] = "zero",
    input_dilation: PerAxis = 1,
    groups: int = 1,
    flip: bool = False,
    channels: Channels | None = None,
    engine: EngineName = "auto",
) -> LinearMap:
    """Build a convolution whose kernel is a weighted sum of some kernels, with weights that vary over the positions.

    Law: ``op(x) == sum_r conv_r(w_r * x)`` with ``per="input"``. The kernel by which input i spreads is
    ``sum_r w_r[i] * K_r``, such as a point-spread function that is measured at R places and interpolated between them.
    Pass ``flip=True`` if the kernels are pictures of points. With ``per="output"`` the law is
    ``op(x) == sum_r w_r * conv_r(x)``, and the kernel by which an output gathers is mixed. These are different maps.
    The transpose of one is of the other kind.

    Parameters
    ----------
    kernels : array_like
        ``(R, *kernel)``: R kernels of `conv`, of any numeric dtype and array library; copied.
    weights : array_like
        ``(R, *spatial)``: a weight of each kernel at each position of the input (``per="input"``) or of the output
        (``per="output"``); all channels share it. They need not add up to 1.
    input_shape : int or tuple of int
        Shape of one input, without batch.
    per : {"input", "output"}
        Whether inputs or outputs are weighted.
    stride, dilation, padding, boundary, input_dilation, groups, flip, channels, engine
        Same as in `conv`.

    Returns
    -------
    LinearMap
        Between the shapes of `conv` with these options. Applying it applies R convolutions one after the other, and
        holds two outputs at a time. Its sparse matrix has the pattern of one of them: it is that of `local` with the
        kernels mixed at each position, so it is not larger for more kernels.

    Raises
    ------
    ValueError
        If an argument is invalid, or the weights are not of shape ``(R, *spatial)`` with R >= 1.
    TypeError
        If an argument is of the wrong type, or kernels and weights are of different array libraries.

    References
    ----------
    J. G. Nagy and D. P. O'Leary, "Restoring images degraded by spatially variant blur", SIAM Journal on Scientific
    Computing 19 (1998).

    Examples
    --------
    >>> import convmtx as cm
    >>> sharp, soft = [0, 1, 0], [1, 2, 1]
    >>> cm.varying([sharp, soft], [[1, 1, 0, 0], [0, 0, 1, 1]], 4, padding="same").to_dense()
    array([[1, 0, 0, 0],
           [0, 1, 1, 0],
           [0, 0, 2, 1],
           [0, 0, 1, 2]])
    """
    array, factors, kind = (
        numeric("kernels", kernels),
        numeric("weights", weights),
        one_of("per", per, ("input", "output")),
    )
    require_together(array, factors)
    geometry = resolve.conv(
        array.shape[1:], input_shape, stride=stride, dilation=dilation, padding=padding, boundary=boundary,
        groups=groups, flip=flip, channels=channels, input_dilation=input_dilation,
    )  # fmt: skip
    expected = (int(array.shape[0]), *positions(geometry, kind))
    if tuple(factors.shape) != expected or not expected[0]:
        got = f"weights of shape {tuple(factors.shape)} with {expected[0]} kernels and per={kind!r}"
        raise ArgumentError(got, f"Expected {expected}, and at least one kernel", "Broadcast them first")
    return Varying(geometry, frozen(array), frozen(factors, "weights"), kind, resolve.engine(engine))
