"""Kernels fitted to samples of inputs and outputs, by least squares."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import (
    all_finite,
    cast,
    conjugate,
    gather,
    is_complex,
    itemsize,
    move_axes,
    namespace,
    numeric,
    reshape,
    together,
)
from convmtx._xp.gradients import in_double_precision
from convmtx.construct import kernel_operator
from convmtx.errors import ArgumentError, door
from convmtx.geometry import Geometry
from convmtx.taps import channels_first, kernel_of
from convmtx.typing import Array, ArrayLike, BoundaryLike, Channels, PaddingLike, PerAxis

#: Bytes of windows that `fit_kernel` factorizes at a time: large enough for BLAS, and small beside a picture's windows.
BLOCK_BYTES = 1 << 26


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
    """Return the kernel that maps ``x`` to ``y`` with the least squared error.

    If more than one kernel has the least error, return the one of least norm.

    Parameters
    ----------
    x, y : array_like
        Inputs ``(*batch, *input_shape)`` and outputs ``(*batch, *out_shape)``, of one array library.
    kernel_shape : tuple of int
        Shape of the kernel, written as for `conv`.
    input_shape : tuple of int, optional
        Shape of one input if ``x`` has batch axes before it.
    stride, dilation, padding, boundary, groups, flip, channels, input_dilation
        As for `conv`.

    Returns
    -------
    array
        The kernel, of shape ``kernel_shape``. It is computed in double precision and returned in the type of ``x``
        and ``y``, but in at least 32 bits.

    Raises
    ------
    ValueError, TypeError
        As for `conv`, and if the shapes of ``x`` and ``y`` do not fit together, or ``x`` or ``y`` contains inf or nan.
    MemoryError
        If the kernel has so many taps that the factorization does not fit in memory.

    Notes
    -----
    All filters of a group share one matrix of windows. Its QR factorization is computed from blocks of rows, one after
    the other, so that about 64 MiB of windows are in memory at a time. The factorization costs
    ``O(outputs * (C/groups * taps)^2)``. Singular values below ``eps * max(rows, columns)`` times the largest count as
    zero, with the eps of double precision for every type.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> x = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0])
    >>> cm.fit_kernel(x, cm.conv([1.0, -2.0], 6)(x), 2).round(12)
    array([ 1., -2.])
    """
    op = kernel_operator(
        x, kernel_shape, input_shape=input_shape, stride=stride, dilation=dilation, padding=padding,
        boundary=boundary, groups=groups, flip=flip, channels=channels, input_dilation=input_dilation,
    )  # fmt: skip
    inputs, outputs = together(op.input, numeric("y", y))
    if tuple(outputs.shape) != op.out_shape:
        got = f"y has shape {tuple(outputs.shape)}"
        raise ArgumentError(got, f"Expected {op.out_shape}, the outputs of x", "Check the options")
    if 0 in op.out_shape:
        raise ArgumentError("y is empty", "Expected at least one output", "Pass samples to fit to")
    for name, array in (("x", inputs), ("y", outputs)):
        if not all_finite(array):
            raise ArgumentError(f"{name} contains inf or nan", "Expected finite numbers", "Leave such samples out")
    g, dtype = op._geometry, _type_of_fit(inputs, outputs)
    xp = namespace(outputs)
    double = xp.complex128 if is_complex(dtype) else xp.float64

    def fit(x: Array, y: Array) -> Array:
        return kernel_of(g, cast(_least_squares(g, cast(x, double), cast(y, double)), dtype))

    return in_double_precision(fit, inputs, outputs)


def _type_of_fit(x: Array, y: Array) -> Any:
    """Return the type of the fitted kernel: that of both arrays, but of 32 to 64 bits for each real number."""
    xp = namespace(y)
    dtype = xp.result_type(x, y, 1.0) if xp is np else _floating(xp, x, y)
    if itemsize(dtype) < 4:  # half precision would lose what double precision computes
        return xp.empty(0, dtype=xp.float32).dtype
    if itemsize(dtype) > (16 if is_complex(dtype) else 8):  # nothing is computed beyond double precision
        return np.result_type(np.complex64 if is_complex(dtype) else 0, np.float64)
    return dtype


def _least_squares(g: Geometry, x: Array, y: Array) -> Array:
    """Return the taps (F, C/groups, k1..kd) of the kernel of minimum norm that fits, in double precision.

    In a smooth picture the windows of neighbouring taps differ little, less than rounding in single precision.
    """
    xp, size = namespace(y), itemsize(y.dtype)
    per_f, per_c = g.channels_per_group
    taps, outs = per_c * prod(a.kernel for a in g.axes), tuple(a.out for a in g.axes)
    x = channels_first(g, reshape(x, (-1, *g.in_shape)))
    y = reshape(channels_first(g, reshape(y, (-1, *g.out_shape))), (-1, g.groups, per_f, *outs))
    bytes_of_row = taps * g.groups * prod(outs[1:]) * size  # of all windows at one output of the first axis
    step = min(max(BLOCK_BYTES // bytes_of_row, 1), outs[0])
    needed = 3 * (step * bytes_of_row + size * g.groups * taps**2)
    remedy = "Fit fewer taps, or iterate: cm.solve(cm.kernel_operator(x, kernel_shape), y)"
    memory.require_result(f"factorizing windows of {taps} taps", needed, remedy)
    # The triangle R of the windows so far stands for all of them: R^H R is the sum of W^H W over their blocks W. So
    # the triangle of [R; W] takes in the next block.
    triangle, right = None, None
    for n in range(x.shape[0]):
        for o in range(0, outs[0], step):
            block = slice(o, min(o + step, outs[0]))
            rows = move_axes(_windows(g, x[n : n + 1, ...], block), *_groups_first(len(outs)))
            rows = reshape(rows, (g.groups, -1, taps))
            target = y[n, :, :, block, ...]
            target = reshape(move_axes(target, 0, *range(2, 2 + len(outs)), 1), (g.groups, -1, per_f))
            if triangle is not None:
                rows, target = xp.concat([triangle, rows], axis=1), xp.concat([right, target], axis=1)
            q, triangle = xp.linalg.qr(rows)
            right = xp.matmul(move_axes(conjugate(q), 0, 2, 1), target)
    rtol = max(x.shape[0] * prod(outs), taps) * float(np.finfo(float).eps)
    solution = xp.matmul(xp.linalg.pinv(triangle, rtol=rtol), right)
    return reshape(move_axes(solution, 0, 2, 1), (g.out_channels, per_c, *(a.kernel for a in g.axes)))


def _groups_first(d: int) -> tuple[int, ...]:
    """Return the order of axes that puts the groups of windows (N, G, outs, C/groups, taps) first."""
    return (1, 0, *range(2, 3 + 2 * d))


def _floating(xp: Any, *arrays: Array) -> Any:
    """Return the common type of arrays, or float64 if that is not a type of floats."""
    dtype = xp.result_type(*arrays)
    return dtype if xp.isdtype(dtype, ("real floating", "complex floating")) else xp.float64


def _windows(geometry: Geometry, x: Array, outputs: slice) -> Array:
    """Return what outputs read of x (N, C, n1..nd), as (N, G, o1..od, C/groups, k1..kd), for a slice of axis 0."""
    d = len(geometry.axes)
    for j, axis in enumerate(geometry.axes):
        x = gather(x, axis.table()[outputs] if j == 0 else axis.table(), 2 + 2 * j)
    x = move_axes(x, 0, 1, *range(2, 2 + 2 * d, 2), *range(3, 3 + 2 * d, 2))
    x = reshape(x, (x.shape[0], geometry.groups, x.shape[1] // geometry.groups, *x.shape[2:]))
    return move_axes(x, 0, 1, *range(3, 3 + d), 2, *range(3 + d, 3 + 2 * d))
