"""Apply maps by PyTorch's convolutions: to tensors, and to arrays of NumPy, which many channels make fast."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx._xp import cast, widen
from convmtx.costs import Work, blas_type
from convmtx.engines import direct
from convmtx.engines.parts import Part, mend, reach
from convmtx.geometry import Axis
from convmtx.taps import swap_channels
from convmtx.typing import AnyArray, Array


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd), of one to three axes and a type that BLAS has."""
    import torch

    groups, filters, _, *sizes = part.kernel.shape

    def stored() -> Any:
        return torch.from_numpy(part.kernel.astype(y.dtype).reshape(groups * filters, -1, *sizes))

    kernel: Any = part.keep(("torch", y.dtype), stored)
    reached, axes = x, []
    for j, axis in enumerate(part.axes):
        if _padding(axis) is None:
            reached, axis = reach([axis], reached, [slice(0, axis.out)], 3 + j), axis.continued
        axes.append(axis)
    inputs = np.require(reached.reshape(len(x), -1, *reached.shape[3:]), y.dtype, "W")
    if min(inputs.strides) < 0:
        inputs = np.ascontiguousarray(inputs)
    with torch.no_grad():
        result: Any = _convolution(axes, groups, kernel, torch.from_numpy(inputs))
    y[...] = result.numpy().reshape(y.shape)
    mend(part, x, y, direct.correlate)


def can_convolve(x: Any) -> bool:
    """Whether PyTorch has a convolution for such a tensor (B, C, n1..nd): at most three axes, and not integers."""
    return bool(x.ndim <= 5 and (x.is_floating_point() or x.is_complex()))


def convolve(axes: list[Axis], groups: int, taps: Array, x: Array) -> Array:
    """Apply taps to a tensor (B, C, n1..nd) along axes with zeros outside; differentiable and traceable."""
    if any(axis.input_dilation > 1 for axis in axes):
        dtype = x.dtype
        if x.device.type == "cpu":  # where PyTorch adds float16 in float16
            taps, x = widen(taps), widen(x)
        return cast(_transposed(axes, groups, taps, x), dtype)
    ends = [(0, 0) if _padding(a) is not None else (a.lo, a.reach[1] + 1 - a.size) for a in axes]
    x = _padded(x, ends)
    axes = [axis.continued if end != (0, 0) else axis for axis, end in zip(axes, ends, strict=True)]
    return _convolution(axes, groups, taps, x)


def _padded(x: Array, ends: list[tuple[int, int]]) -> Array:
    """Add zeros before and after each spatial axis, or cut positions if a number is negative."""
    from torch.nn import functional

    flat = [size for end in reversed(ends) for size in end]  # the last axis comes first
    return functional.pad(x, flat) if any(flat) else x


def _transposed(axes: list[Axis], groups: int, taps: Array, x: Array) -> Array:
    """Apply taps to stretched inputs: PyTorch's transposed convolution, of which every s-th output is kept.

    Its output q is the sum over ``i*e - pad + p*t = q`` of input i and tap k-1-p; so pad is ``t*(k-1) - lo``.
    """
    from torch.nn import functional

    pads, more, ends = [], [], []
    for axis in axes:
        pad, length = axis.span - 1 - axis.lo, (axis.out - 1) * axis.stride + 1
        extra = length - (axis.stretched - 1 + axis.span - 2 * pad)
        fits = pad >= 0 and 0 <= extra < max(axis.input_dilation, axis.dilation)
        pads.append(pad if fits else 0)
        more.append(extra if fits else 0)
        ends.append((0, 0) if fits else (-pad, pad + length - (axis.stretched - 1 + axis.span)))
    convolution = getattr(functional, f"conv_transpose{len(axes)}d")
    kernel = swap_channels(taps.flip(*range(2, taps.ndim)), groups)
    stretch, dilations = [a.input_dilation for a in axes], [a.dilation for a in axes]
    y = _padded(convolution(x, kernel, None, stretch, pads, more, groups, dilations), ends)
    return y[(..., *(slice(None, None, axis.stride) for axis in axes))]


def _padding(axis: Axis) -> int | None:
    """Number of zeros at each end that give the axis its outputs; None if no equal numbers do."""
    whole = (axis.out - 1) * axis.stride + axis.span
    fits = axis.lo >= 0 and whole <= axis.size + 2 * axis.lo < whole + axis.stride
    return axis.lo if axis.zero_outside and axis.input_dilation == 1 and fits else None


def _convolution(axes: list[Axis], groups: int, taps: Array, x: Array) -> Array:
    from torch.nn import functional

    convolution = getattr(functional, f"conv{len(axes)}d")
    strides, dilations = [a.stride for a in axes], [a.dilation for a in axes]
    return convolution(x, taps, None, strides, [_padding(a) for a in axes], dilations, groups)


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work | None:
    """Work of filling a part; None for more than three axes, and for types that BLAS does not have."""
    kind = blas_type(dtype)
    if len(part.axes) > 3 or not kind:
        return None
    groups, filters, channels, *sizes = part.kernel.shape
    outputs = images * groups * filters * prod(a.out for a in part.axes)
    flops = 2.0 * outputs * channels * prod(sizes)
    inputs = images * groups * channels * prod(a.size for a in part.axes)
    thin = flops / (groups * filters)
    moved = float((inputs + outputs) * dtype.itemsize)
    return {f"torch flop {kind}": flops, f"thin torch flop {kind}": thin, "byte": moved, "torch call": 1}
