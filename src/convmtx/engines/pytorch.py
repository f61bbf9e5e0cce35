"""Apply maps by PyTorch's convolutions: to tensors, and to arrays of NumPy, which many channels make fast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import cast, widen
from convmtx.costs import Work, blas_type
from convmtx.engines import direct
from convmtx.engines.parts import MOST_SIZES, Part, PartSizes, Plan, finite, mend, reach, require_output
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.taps import channels_back, channels_first, kernel_of, swap_channels, taps_of
from convmtx.typing import AnyArray, Array

#: Bytes of the windows of an image from which PyTorch takes new memory for them in each call.
FRESH_BYTES = 1 << 24


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd), of one to three axes and a type that BLAS has."""
    import torch

    groups, filters, _, *sizes = part.kernel.shape

    def stored() -> Any:
        return torch.from_numpy(part.kernel.astype(y.dtype).reshape(groups * filters, -1, *sizes))

    kernel: Any = part.keep(("torch", y.dtype), stored)
    axes, reached = _continued(part.axes, x)
    with torch.no_grad():
        result: Any = _convolution(axes, groups, kernel, _tensor(_join_groups(reached), y.dtype))
    y[...] = result.numpy().reshape(y.shape)
    if not keeps_apart(y.dtype):
        mend(part, x, y, direct.correlate)


def apply(plan: Plan, x: AnyArray, dtype: np.dtype[Any]) -> AnyArray | None:
    """Apply a whole map to a batch in the memory that PyTorch returns; None if PyTorch cannot add its borders."""
    g = plan.geometry
    if not x.size:
        return None
    forward = _strided_forward(g)
    if forward is not None:
        return input_gradient(forward, taps_of(forward, kernel_of(g, plan.taps)), x, dtype)
    if not is_whole(g):
        return None
    import torch

    shape = (len(x), *g.out_shape)
    if prod(shape) * dtype.itemsize > memory.LARGE:
        require_output(shape, dtype)
    (part,) = plan.parts
    kernel: Any = part.keep(("torch whole", dtype), lambda: _tensor(plan.taps, dtype))
    with torch.no_grad():
        result: Any = _convolution(g.axes, g.groups, kernel, _tensor(channels_first(g, x), dtype))
    y: AnyArray = result.numpy().reshape(shape)
    if not keeps_apart(dtype) and not finite(y):
        for b in range(len(y)):
            if not finite(y[b]):
                y[b] = plan.forward(x[b : b + 1], direct.correlate, dtype)[0]
    return y


def applied_at_once(plan: Plan, dtype: np.dtype[Any]) -> Callable[[Any], Any] | None:
    """Return the function of tensors (B, *in_shape) that does what `apply` does, with nothing left to decide.

    It is None where `apply` returns None, or looks at the result.
    """
    if not (is_whole(plan.geometry) and keeps_apart(dtype)):
        return None
    (part,) = plan.parts
    kernel: Any = part.keep(("torch whole", dtype), lambda: _tensor(plan.taps, dtype))
    return convolve_at_once(plan.geometry, kernel)


def convolve_at_once(geometry: Geometry, taps: Array) -> Callable[[Any], Any]:
    """Return the function of tensors (B, *in_shape) that applies the taps of a whole map by one call of PyTorch.

    Between two calls of PyTorch, Python takes three times as long as elsewhere, because the caches have lost its code.
    """
    from torch.nn import functional

    convolution = getattr(functional, f"conv{len(geometry.axes)}d")
    options = (taps, None, *_options(geometry.axes), geometry.groups)
    if geometry.layout is Layout.PLAIN:
        return lambda x: convolution(x[:, None], *options)[:, 0]
    return lambda x: convolution(x, *options)


def input_gradient(geometry: Geometry, taps: AnyArray, y: AnyArray, dtype: np.dtype[Any]) -> AnyArray | None:
    """Apply the transpose of a map to a batch y (B, *out_shape), in real numbers; None if nan or inf may spread."""
    if dtype.kind == "c":
        return None
    import torch

    shape = (len(y), geometry.in_channels, *(a.size for a in geometry.axes))
    kernel = _tensor(taps, dtype)
    inputs = torch.empty(shape, dtype=kernel.dtype)  # its sizes alone are read
    outputs = _tensor(channels_first(geometry, y), dtype)
    gradient = _gradients(geometry.groups, geometry.axes, inputs, kernel, outputs, [True, False])[0].numpy()
    return gradient.reshape(len(y), *geometry.in_shape) if keeps_apart(dtype) or finite(gradient) else None


def kernel_gradient(geometry: Geometry, x: AnyArray, y: AnyArray, dtype: np.dtype[Any]) -> AnyArray | None:
    """Return the gradient in the kernel array of inputs and outputs that meet, (N, *in_shape) and (N, *out_shape).

    The result is None for complex numbers, which PyTorch's function does not take, and if it is not finite: PyTorch
    multiplies borders, so nan and inf may have reached other taps.
    """
    if dtype.kind == "c":
        return None
    import torch

    axes, reached = _continued(geometry.axes, channels_first(geometry, x)[:, None])
    shape = (geometry.out_channels, geometry.channels_per_group[1], *(a.kernel for a in axes))
    outputs = _tensor(channels_first(geometry, y), dtype)
    kernel = torch.empty(shape, dtype=outputs.dtype)  # its sizes alone are read
    inputs = _tensor(_join_groups(reached), dtype)
    gradient = _gradients(geometry.groups, axes, inputs, kernel, outputs, [False, True])[1].numpy()
    return np.ascontiguousarray(kernel_of(geometry, gradient)) if finite(gradient) else None


def both_gradients(geometry: Geometry, kernel: Array, x: Array, y: Array) -> tuple[Array, Array] | None:
    """Return what `kernel_gradient` and `input_gradient` return of a whole map, as tensors; None if one of them is.

    PyTorch computes both in two thirds of the time.
    """
    factors = channels_first(geometry, x), taps_of(geometry, kernel), channels_first(geometry, y)
    by_input, by_taps, _ = _gradients(geometry.groups, geometry.axes, *factors, [True, True])
    arrays = (by_taps,) if keeps_apart(by_taps.numpy().dtype) else (by_taps, by_input)
    if not all(finite(array.numpy()) for array in arrays):
        return None
    return kernel_of(geometry, by_taps), channels_back(geometry, by_input)


def keeps_apart(dtype: np.dtype[Any]) -> bool:
    """Whether PyTorch keeps nan and inf to the windows that read them, because it adds up the products of each window.

    NNPACK, which may take over float32 where oneDNN is off, transforms tiles of windows. Products of complex numbers
    are computed from sums of their parts.
    """
    import torch

    return dtype == np.float64 or (dtype == np.float32 and torch._C._has_mkldnn and torch._C._get_mkldnn_enabled())


def is_whole(geometry: Geometry) -> bool:
    """Whether PyTorch's convolution and its gradients are a whole map and its transpose."""
    return geometry.layout is not Layout.LAST and None not in _options(geometry.axes)[1]


@lru_cache(maxsize=MOST_SIZES)
def _strided_forward(geometry: Geometry) -> Geometry | None:
    """Return the whole map with strides that this one is the transpose of; None if there is none."""
    forward = geometry.T if any(axis.input_dilation > 1 for axis in geometry.axes) else None
    return forward if forward is not None and is_whole(forward) else None


def whole_part(plan: Plan) -> Part | None:
    """Return the part of a map that `apply` applies as a whole, or that of its transpose; None if it cannot."""
    forward = _strided_forward(plan.geometry)
    if forward is None:
        return plan.parts[0] if is_whole(plan.geometry) else None
    shape = (forward.groups, *forward.channels_per_group, *(axis.kernel for axis in forward.axes))
    return PartSizes(forward.axes, shape, plan.dtype, False, plan.once).build()


def is_unpadded(geometry: Geometry) -> bool:
    """Whether PyTorch's convolution is a whole map that reads no padding."""
    return is_whole(geometry) and len(geometry.axes) <= 3 and not any(_options(geometry.axes)[1])


def _gradients(groups: int, axes: Sequence[Axis], x: Any, kernel: Any, y: Any, mask: list[bool]) -> Any:
    """Return the gradients of a convolution in its inputs and in its taps, those that are requested."""
    import torch

    strides, pads, dilations = _options(tuple(axes))
    with torch.no_grad():
        return torch.ops.aten.convolution_backward(
            y, x, kernel, None, strides, pads, dilations, False, [0] * len(axes), groups, [*mask, False]
        )


def _continued(axes: Sequence[Axis], x: AnyArray) -> tuple[list[Axis], AnyArray]:
    """Return axes whose borders PyTorch can add, and x (B, G, C, n1..nd) with all other borders filled."""
    plain = []
    for j, axis in enumerate(axes):
        if _padding(axis) is None:
            x, axis = reach([axis], x, [slice(0, axis.out)], 3 + j), axis.continued
        plain.append(axis)
    return plain, x


def _tensor(x: AnyArray, dtype: np.dtype[Any]) -> Any:
    """Return an array as a tensor, in the same memory where PyTorch can read it."""
    import torch

    x = np.require(x, dtype, "W")
    # NumPy calls a flipped axis of one entry contiguous, and PyTorch refuses its stride all the same.
    return torch.from_numpy(x.copy() if min(x.strides, default=0) < 0 else x)


def _join_groups(x: AnyArray) -> AnyArray:
    """Return (B, G, C, n1..nd) as (B, G*C, n1..nd)."""
    return x.reshape(len(x), -1, *x.shape[3:])


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


def _convolution(axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Array:
    from torch.nn import functional

    convolution = getattr(functional, f"conv{len(axes)}d")
    return convolution(x, taps, None, *_options(tuple(axes)), groups)


@lru_cache(maxsize=MOST_SIZES)
def _options(axes: tuple[Axis, ...]) -> tuple[list[int], list[int | None], list[int]]:
    """Strides, zeros at each end, and dilations, as PyTorch takes them."""
    return [a.stride for a in axes], [_padding(a) for a in axes], [a.dilation for a in axes]


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work | None:
    """Work of filling a part; None for more than three axes, and for types that BLAS does not have.

    In float32, PyTorch computes eight filters at a time, however few there are. A gradient in the kernel is shared by
    pairs of channel and filter, and few pairs take as long as 40.
    """
    kind = blas_type(dtype)
    if len(part.axes) > 3 or not kind:
        return None
    groups, filters, channels, *sizes = part.kernel.shape
    outputs = images * groups * filters * prod(a.out for a in part.axes)
    flops = 2.0 * outputs * channels * prod(sizes)
    inputs = images * groups * channels * prod(a.size for a in part.axes)
    moved = float((inputs + outputs + part.kernel.size) * dtype.itemsize)
    work = {f"torch flop {kind}": flops, "byte": moved, "torch call": 1.0}
    if kind == "f4":
        lanes, used = (40, groups * filters * images) if part.once else (8, groups * filters)
        work["thin torch flop f4"] = flops * max(lanes / used - 1, 0)
    else:  # a matrix of windows is written and read, and then multiplied
        windows = flops / (2 * max(filters, 1)) * dtype.itemsize
        work["byte"] += 2 * windows
        # A part that is applied once is a gradient in the kernel, whose samples are channels here.
        if windows / max(channels if part.once else images, 1) > FRESH_BYTES:
            work["torch fresh byte"] = windows
    return work
