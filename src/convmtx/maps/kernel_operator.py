"""The other linear map: outputs as a linear function of the kernel, for a fixed input; and kernels fitted by it."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from convmtx import forms, memory
from convmtx._xp import (
    all_finite,
    cast,
    conjugate,
    counterpart,
    frozen,
    gather,
    is_complex,
    is_numpy,
    itemsize,
    moved,
    namespace,
    numeric,
    promoted,
    reshaped,
    together,
    zeros_beside,
)
from convmtx._xp.gradients import in_double_precision
from convmtx._xp.sparse import Coordinates
from convmtx.errors import ArgumentError, door
from convmtx.geometry import Geometry, Layout, resolve
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.scalars import beside, divisor, multiplier
from convmtx.taps import channels_back, channels_first, kernel_of, taps_of
from convmtx.typing import (
    Array,
    ArrayLike,
    BoundaryLike,
    Channels,
    EngineName,
    Order,
    PaddingLike,
    PerAxis,
    RowNumbers,
    Shape,
)

#: Bytes of windows that `fit_kernel` works on at a time.
BLOCK_BYTES = 1 << 26


class KernelOperator(LinearMap):
    """A convolution as a linear map of its kernel, for a fixed input.

    Made by `convmtx.kernel_operator`. Law: ``kernel_operator(x, K.shape, ...)(K) == conv(K, x.shape, ...)(x)``; the
    adjoint takes what a loss says of the outputs to what it says of the kernel.
    """

    def __init__(self, geometry: Geometry, x: Array, batch: Shape, engine: EngineName) -> None:
        vars(self).update(_geometry=geometry, _x=x, _batch=batch, _asked=engine)

    _geometry: Geometry
    _x: Array
    _batch: Shape
    _asked: EngineName

    @property
    def _of(self) -> Array:
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
        """The input as it was given, batch axes first."""
        return self._x

    @door("with_input")
    def with_input(self, x: ArrayLike) -> KernelOperator:
        """The same geometry with another input of the same shape, which is copied."""
        array = numeric("x", x)
        if tuple(array.shape) != tuple(self._x.shape):
            got, wanted = f"x has shape {tuple(array.shape)}", f"Wanted {tuple(self._x.shape)}"
            raise ArgumentError(got, wanted, "Make a new map with convmtx.kernel_operator")
        return KernelOperator(self._geometry, frozen(array), self._batch, self._asked)

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
        """(N, C, n1..nd)."""
        return channels_first(self._geometry, reshaped(self._x, (prod(self._batch), *self._geometry.in_shape)))

    def _apply(self, x: Array) -> Array:
        """All kernels at once, as more filters of every group."""
        g, count = self._geometry, x.shape[0]
        per_f, per_c = g.channels_per_group
        space, outs = tuple(a.kernel for a in g.axes), tuple(a.out for a in g.axes)
        xp = namespace(x)
        taps = xp.stack([taps_of(g, x[b, ...]) for b in range(count)], axis=0)
        taps = moved(reshaped(taps, (count, g.groups, per_f, per_c, *space)), 1, 0, *range(2, 4 + len(space)))
        wide = replace(g, out_channels=count * g.out_channels, layout=Layout.FIRST, flip=False)
        y = ConvOperator(wide, reshaped(taps, wide.kernel_shape), self._asked)(self._inputs)
        samples = prod(self._batch)
        y = moved(reshaped(y, (samples, g.groups, count, per_f, *outs)), 2, 0, 1, 3, *range(4, 4 + len(outs)))
        y = reshaped(y, (count * samples, g.out_channels, *outs))
        return reshaped(channels_back(g, y), (count, *self.out_shape))

    def _apply_transposed(self, y: Array) -> Array:
        """Tap p is met by ``sum over o of y[o] * x[o*s - lo + p*t]``: a convolution whose kernel is y."""
        g, count = self._geometry, y.shape[0]
        per_f, per_c = g.channels_per_group
        samples, d = prod(self._batch), len(g.axes)
        if not (samples and count):  # convolutions of no channels are refused
            first, second = together(self._x, y)
            return zeros_beside(first, (count, *self.in_shape), promoted(first.dtype, second.dtype))
        outs, space, sizes = (tuple(getattr(a, name) for a in g.axes) for name in ("out", "kernel", "size"))
        axes = tuple(
            replace(a, kernel=a.out, stride=a.dilation, dilation=a.stride, hi=_enough(a.kernel, a)) for a in g.axes
        )
        y = channels_first(g, reshaped(y, (-1, *g.out_shape)))
        y = reshaped(y, (count, samples, g.groups, per_f, *outs))
        kernel = reshaped(moved(y, 2, 0, 3, 1, *range(4, 4 + d)), (g.groups * count * per_f, samples, *outs))
        x = reshaped(self._inputs, (samples, g.groups, per_c, *sizes))
        x = reshaped(moved(x, 2, 1, 0, *range(3, 3 + d)), (per_c, g.groups * samples, *sizes))
        met = Geometry(axes, g.groups * samples, g.groups * count * per_f, g.groups, Layout.FIRST)
        taps = reshaped(ConvOperator(met, kernel, self._asked)(x), (per_c, g.groups, count, per_f, *space))
        taps = reshaped(moved(taps, 2, 1, 3, 0, *range(4, 4 + d)), (count, g.out_channels, per_c, *space))
        xp = namespace(taps)
        return xp.stack([kernel_of(g, taps[b, ...]) for b in range(count)], axis=0)

    def _sparse(self, order: Order, rows: RowNumbers | None) -> Any:
        return self._some_rows(order, range(self.shape[0]) if rows is None else rows, False)

    def _sparse_transposed(self, order: Order, rows: RowNumbers | None) -> Any:
        return self._some_rows(order, range(self.shape[1]) if rows is None else rows, True)

    def _some_rows(self, order: Order, rows: RowNumbers, transposed: bool) -> Any:
        if not is_numpy(self._x):
            numbers = np.arange(1, prod(self._x.shape) + 1).reshape(self._x.shape)
            ours = KernelOperator(self._geometry, numbers, self._batch, "auto")
            return Coordinates.numbered(ours._some_rows(order, rows, transposed), self._x)
        from scipy.sparse import csr_array

        arrays = forms.windows(self._geometry, self._inputs, self._batch, order, rows, transposed)
        matrix = csr_array(arrays, shape=(len(rows), self.shape[0 if transposed else 1]))
        matrix.sort_indices()
        return matrix

    def conj(self) -> KernelOperator:
        """The map of the conjugated input."""
        return KernelOperator(self._geometry, conjugate(self._x), self._batch, self._asked)


def _enough(count: int, axis: Any) -> int:
    """The pad at the end that gives ``count`` positions of all outputs together, one dilation apart."""
    span = (axis.out - 1) * axis.stride + 1
    return (count - 1) * axis.dilation + span - axis.stretched - axis.lo


def windows(geometry: Geometry, x: Array, first: slice = slice(None)) -> Array:
    """What each output reads of x (N, C, n1..nd): (N, G, o1..od, C/groups, k1..kd), of axis 0 the outputs ``first``."""
    d = len(geometry.axes)
    for j, axis in enumerate(geometry.axes):
        x = gather(x, axis.table()[first] if j == 0 else axis.table(), 2 + 2 * j)
    x = moved(x, 0, 1, *range(2, 2 + 2 * d, 2), *range(3, 3 + 2 * d, 2))
    x = reshaped(x, (x.shape[0], geometry.groups, x.shape[1] // geometry.groups, *x.shape[2:]))
    return moved(x, 0, 1, *range(3, 3 + d), 2, *range(3 + d, 3 + 2 * d))


@door("kernel_operator")
def kernel_operator(
    x: ArrayLike,
    kernel_shape: PerAxis,
    *,
    input_shape: PerAxis | None = None,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: PaddingLike = "valid",
    boundary: BoundaryLike = "zero",
    groups: int = 1,
    flip: bool = False,
    channels: Channels | None = None,
    input_dilation: PerAxis = 1,
    engine: EngineName = "auto",
) -> KernelOperator:
    """Convolution with a fixed input, as a linear map of the kernel: im2col as an operator, under any boundary.

    Law: ``kernel_operator(x, K.shape, ...)(K) == conv(K, x.shape, ...)(x)`` with the same options.

    Parameters
    ----------
    x : array_like
        The input, of any array library; copied.
    kernel_shape : tuple of int
        Shape of the kernels, written as for `conv`.
    input_shape : tuple of int, optional
        Shape of one input where ``x`` has batch axes before it; without it ``x`` is one input.
    stride, dilation, padding, boundary, groups, flip, channels, input_dilation, engine
        As for `conv`.

    Returns
    -------
    KernelOperator
        From arrays of ``kernel_shape`` to arrays of ``(*batch, *out_shape)``, with all forms, and the adjoint
        ``.H``, of which no form is needed: it is a convolution of ``x`` with its argument.

    Raises
    ------
    ValueError, TypeError
        As for `conv`.

    Examples
    --------
    >>> import convmtx as cm
    >>> cm.kernel_operator([1, 2, 3, 4], 2).to_dense()
    array([[1, 2],
           [2, 3],
           [3, 4]])
    """
    return _of_input(
        x, kernel_shape, input_shape, engine, stride=stride, dilation=dilation, padding=padding,
        boundary=boundary, groups=groups, flip=flip, channels=channels, input_dilation=input_dilation,
    )  # fmt: skip


def _of_input(
    x: ArrayLike, kernel_shape: PerAxis, input_shape: PerAxis | None, engine: EngineName, **options: Any
) -> KernelOperator:
    """The map of the kernel, made for ``call``, which its messages name."""
    array = numeric("x", x)
    given = tuple(array.shape) if input_shape is None else resolve.shape("input_shape", input_shape)
    geometry = resolve.conv(resolve.shape("kernel_shape", kernel_shape), given, **options)
    batch = _batch(array, geometry.in_shape)
    return KernelOperator(geometry, frozen(array, "input"), batch, resolve.engine(engine))


def _batch(x: Array, shape: Shape) -> Shape:
    at = x.ndim - len(shape)
    if at < 0 or tuple(x.shape[at:]) != shape:
        got = f"x has shape {tuple(x.shape)}"
        raise ArgumentError(got, f"Wanted (*batch, {', '.join(map(str, shape))})", "Check input_shape")
    return tuple(x.shape[:at])


@door("fit_kernel")
def fit_kernel(
    x: ArrayLike,
    y: ArrayLike,
    kernel_shape: PerAxis,
    *,
    input_shape: PerAxis | None = None,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: PaddingLike = "valid",
    boundary: BoundaryLike = "zero",
    groups: int = 1,
    flip: bool = False,
    channels: Channels | None = None,
    input_dilation: PerAxis = 1,
) -> Array:
    """The kernel that takes ``x`` to ``y`` best: least squares, of minimum norm where several do equally well.

    Parameters
    ----------
    x, y : array_like
        Inputs ``(*batch, *input_shape)`` and the outputs wanted, ``(*batch, *out_shape)``, of one array library.
    kernel_shape : tuple of int
        Shape of the kernel, written as for `conv`.
    input_shape : tuple of int, optional
        Shape of one input where ``x`` has batch axes before it.
    stride, dilation, padding, boundary, groups, flip, channels, input_dilation
        As for `conv`.

    Returns
    -------
    array
        The kernel, of shape ``kernel_shape``, computed in double precision and returned in that of ``x`` and ``y``,
        but in at least 32 bits.

    Raises
    ------
    ValueError, TypeError
        As for `conv`, and where the shapes of ``x`` and ``y`` do not belong together, or they hold NaN or infinities.
    MemoryError
        Where the kernel has so many taps that the factorisation does not fit.

    Notes
    -----
    All filters of a group share one matrix of windows. Its QR factorisation is made of blocks of rows, so no more
    than 64 MiB of windows exist at a time; cost ``O(outputs * (C/groups * taps)^2)``. Singular values below
    ``eps * max(rows, columns)`` of the largest count as zero, with the eps of double precision whatever the types.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> x = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    >>> cm.fit_kernel(x, cm.conv([1.0, -2.0], 6)(x), 2).round(12)
    array([ 1., -2.])
    """
    op = _of_input(
        x, kernel_shape, input_shape, "auto", stride=stride, dilation=dilation, padding=padding,
        boundary=boundary, groups=groups, flip=flip, channels=channels, input_dilation=input_dilation,
    )  # fmt: skip
    g = op._geometry
    inputs, wanted = together(op._x, numeric("y", y))
    if tuple(wanted.shape) != op.out_shape:
        got = f"y has shape {tuple(wanted.shape)}"
        raise ArgumentError(got, f"Wanted {op.out_shape}, the outputs of x", "Check the options")
    if 0 in op.out_shape:
        raise ArgumentError("y is empty", "Wanted at least one output", "Pass samples to fit to")
    for name, array in (("x", inputs), ("y", wanted)):
        if not all_finite(array):
            raise ArgumentError(f"{name} holds NaN or infinities", "Wanted finite numbers", "Leave such samples out")
    xp = namespace(wanted)
    dtype = xp.result_type(inputs, wanted, 1.0) if xp is np else _floating(xp, inputs, wanted)
    if itemsize(dtype) < 4:
        dtype = xp.empty(0, dtype=xp.float32).dtype  # half precision would lose what was fitted in double
    elif itemsize(dtype) > (16 if is_complex(dtype) else 8):
        dtype = np.result_type(np.complex64 if is_complex(dtype) else 0, np.float64)  # nothing is fitted beyond double
    double = xp.complex128 if is_complex(dtype) else xp.float64

    def fitted(x: Array, y: Array) -> Array:
        return kernel_of(g, cast(_least_squares(g, cast(x, double), cast(y, double)), dtype))

    return in_double_precision(fitted, inputs, wanted)


def _least_squares(g: Geometry, x: Array, y: Array) -> Array:
    """Taps (F, C/groups, k1..kd) of the shortest kernel that fits, all in double precision.

    In single precision rounding would drown what little of a smooth picture tells the taps apart.
    """
    xp, size = namespace(y), itemsize(y.dtype)
    per_f, per_c = g.channels_per_group
    taps, outs = per_c * prod(a.kernel for a in g.axes), tuple(a.out for a in g.axes)
    x = channels_first(g, reshaped(x, (-1, *g.in_shape)))
    y = reshaped(channels_first(g, reshaped(y, (-1, *g.out_shape))), (-1, g.groups, per_f, *outs))
    row = taps * g.groups * prod(outs[1:]) * size
    step = min(max(BLOCK_BYTES // row, 1), outs[0])
    needed = 3 * (step * row + size * g.groups * taps**2)
    remedy = "Fit fewer taps, or iterate: cm.solve(cm.kernel_operator(x, kernel_shape), y)"
    memory.require_result(f"factorizing windows of {taps} taps", needed, remedy)
    triangle, right = None, None
    for n in range(x.shape[0]):
        for o in range(0, outs[0], step):
            some = slice(o, min(o + step, outs[0]))
            rows = reshaped(moved(windows(g, x[n : n + 1, ...], some), *_rows_first(len(outs))), (g.groups, -1, taps))
            target = y[n, :, :, some, ...]
            target = reshaped(moved(target, 0, *range(2, 2 + len(outs)), 1), (g.groups, -1, per_f))
            if triangle is not None:
                rows, target = xp.concat([triangle, rows], axis=1), xp.concat([right, target], axis=1)
            q, triangle = xp.linalg.qr(rows)
            right = xp.matmul(moved(conjugate(q), 0, 2, 1), target)
    rtol = max(x.shape[0] * prod(outs), taps) * float(np.finfo(float).eps)
    solved = xp.matmul(xp.linalg.pinv(triangle, rtol=rtol), right)
    return reshaped(moved(solved, 0, 2, 1), (g.out_channels, per_c, *(a.kernel for a in g.axes)))


def _rows_first(d: int) -> tuple[int, ...]:
    """Windows (N, G, outs, C/groups, taps) with the group first."""
    return (1, 0, *range(2, 3 + 2 * d))


def _floating(xp: Any, *arrays: Array) -> Any:
    dtype = xp.result_type(*arrays)
    return dtype if xp.isdtype(dtype, ("real floating", "complex floating")) else xp.float64
