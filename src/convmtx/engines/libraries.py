"""Apply maps to arrays of libraries other than NumPy, by that library and on its device.

PyTorch and JAX have convolutions. Any other library of the array API standard adds up one tap after another. Nothing
here reads a value or writes into an array, so the library can differentiate and trace what is done.
"""

from __future__ import annotations

import sys
from itertools import product
from math import prod
from typing import Any

import numpy as np

from convmtx import memory
from convmtx._xp import cast, gather, is_numpy, itemsize, library, namespace, on_host, together, widen
from convmtx.boundary import NOTHING
from convmtx.engines import pytorch
from convmtx.engines.parts import inside
from convmtx.errors import ArgumentError
from convmtx.geometry import Axis, Geometry
from convmtx.taps import channels_back, channels_first, kernel_of, taps_of
from convmtx.typing import Array, EngineName, IntArray


def shares_memory(kernel: Array, x: Array) -> bool:
    """Whether engines of NumPy can read the numbers of both, one of which is a tensor of PyTorch: see `tensors`.

    Both have to be in the main memory and of a type of NumPy. What PyTorch traces has no numbers, except under
    ``torch.compile``: there the graph is cut, and the engine is called when the program runs.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:
        return False
    for array in (kernel, x):
        if is_numpy(array):
            continue
        if type(array) not in (torch.Tensor, torch.nn.Parameter) or not array.is_cpu or array.dtype == torch.bfloat16:
            return False
    if torch.compiler.is_compiling():
        return not getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()
    # Modes see every operation of PyTorch: they trace it, count it, or replace tensors.
    return not (torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack())


def holds_numbers(kernel: Array) -> bool:
    """Whether engines of NumPy can read the kernel now: not while PyTorch transforms it."""
    if not shares_memory(kernel, kernel):
        return False
    torch: Any = sys.modules["torch"]
    return not (torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(kernel))


def apply(geometry: Geometry, kernel: Array, x: Array, engine: EngineName) -> Array:
    """Apply the map to a batch: x (B, *in_shape) to (B, *out_shape)."""
    kernel, x = _in_one_type(kernel, x, engine)
    return channels_back(geometry, _convolved(geometry, taps_of(geometry, kernel), channels_first(geometry, x)))


def apply_transposed(geometry: Geometry, kernel: Array, y: Array, engine: EngineName) -> Array:
    """Apply the transpose of a map whose transpose is not a convolution: (B, *out_shape) to (B, *in_shape).

    The map continues the input past its ends, and then applies a convolution that reads nothing outside. So its
    transpose applies the transposed convolution, and then adds each continued position to the input it was read from.

    `Plan.transposed` does the same to NumPy's arrays, but folds borders back inside memory that it writes to. A
    library that traces or differentiates cannot do that: here every input gathers the positions that it receives.
    """
    kernel, y = _in_one_type(kernel, y, engine)
    dtype = y.dtype
    kernel, y = widen(kernel), widen(y)  # float16 is rounded once, when all are added
    inner = inside(geometry)
    mirrored = inner.T
    assert mirrored is not None  # an axis that reads nothing outside always has a transpose
    taps = taps_of(mirrored, kernel_of(inner, taps_of(geometry, kernel)))
    x = _convolved(mirrored, taps, channels_first(geometry, y))
    for j, (axis, whole) in enumerate(zip(geometry.axes, inner.axes, strict=True)):
        if whole is not axis:
            x = sum(gather(x, places, j + 2) for places in _readers(axis))
    return cast(channels_back(geometry, x), dtype)


def _in_one_type(kernel: Array, x: Array, engine: EngineName) -> tuple[Array, Array]:
    """Return both in one library and of one type, if the requested engine is that library or "auto"."""
    kernel, x = together(kernel, x)
    if engine not in ("auto", library(x)):
        got = f"engine={engine!r} on an array of {library(x)}"
        expected = "It works on NumPy's arrays, and on PyTorch's tensors on the CPU of a type that NumPy has"
        raise ArgumentError(got, expected, "Use engine='auto', or pass NumPy arrays")
    dtype = namespace(x).result_type(kernel, x)
    return cast(kernel, dtype), cast(x, dtype)


def _readers(axis: Axis) -> list[IntArray]:
    """List the places of the continued axis that read each input, as arrays of one place for each input.

    If inputs 0, 1 and 2 are continued to 1 0 1 2 1 (reflect), the places of the input are 1, 0 and 3, then none, 2 and
    none, then none, 4 and none.
    """
    first, last = axis.reach
    source = axis.source(np.arange(first, last + 1))
    order = np.argsort(source, kind="stable")
    order = order[np.count_nonzero(source == NOTHING) :]
    counts = np.bincount(source[order], minlength=axis.size)
    starts = np.cumsum(counts) - counts
    arrays = []
    for turn in range(max(int(counts.max(initial=0)), 1)):  # once at least: inputs that nothing reads become zeros
        places = np.full(axis.size, NOTHING)
        places[counts > turn] = order[starts[counts > turn] + turn]
        arrays.append(places)
    return arrays


def _convolved(geometry: Geometry, taps: Array, x: Array) -> Array:
    """Apply taps to x of the same type: (B, C, n1..nd) to (B, F, o1..od)."""
    name = library(x)
    shape = (x.shape[0], geometry.out_channels, *(a.out for a in geometry.axes))
    size = prod(shape) * itemsize(x.dtype)
    if size > memory.LARGE and on_host(x):
        memory.require_result(f"an output of shape {shape}", size, "Apply it to fewer or smaller inputs")
    if name != "jax" and not (name == "torch" and pytorch.can_convolve(x)):
        return _tap_by_tap(geometry, taps, x)
    axes = []
    for j, axis in enumerate(geometry.axes):
        first, last = axis.reach
        plain = axis.zero_outside and first < axis.stretched and last >= 0  # libraries cut no more than there is
        axes.append(axis if plain else axis.continued)
        if not plain:
            x = continued(axis, x, j + 2)
    convolved = pytorch.convolve if name == "torch" else _by_lax
    return convolved(axes, geometry.groups, taps, x)


def continued(axis: Axis, x: Array, at: int) -> Array:
    """Return all that the outputs reach over along axis ``at`` of x, with stuffed zeros and boundary."""
    first, last = axis.reach
    return gather(x, axis.source(np.arange(first, last + 1)), at)


def _by_lax(axes: list[Axis], groups: int, taps: Array, x: Array) -> Array:
    from jax import lax

    pads = [(a.lo, a.reach[1] + 1 - a.stretched) for a in axes]
    stretch, dilations = [a.input_dilation for a in axes], [a.dilation for a in axes]
    return lax.conv_general_dilated(
        x, taps, [a.stride for a in axes], pads, stretch, dilations, feature_group_count=groups
    )


def _tap_by_tap(geometry: Geometry, taps: Array, x: Array) -> Array:
    xp, groups, dtype = namespace(x), geometry.groups, x.dtype
    taps, x = widen(taps), widen(x)
    per_f, per_c = geometry.channels_per_group
    for j, axis in enumerate(geometry.axes):
        x = continued(axis, x, j + 2)
    outputs = prod(a.out for a in geometry.axes)
    matrices = xp.reshape(taps, (groups, per_f, per_c, *taps.shape[2:]))
    total: Any = 0
    for tap in product(*(range(a.kernel) for a in geometry.axes)):
        at = (
            slice(p * a.dilation, p * a.dilation + (a.out - 1) * a.stride + 1, a.stride)
            for p, a in zip(tap, geometry.axes, strict=True)
        )
        inputs = xp.reshape(x[(slice(None), slice(None), *at)], (x.shape[0], groups, per_c, outputs))
        total = total + xp.matmul(matrices[(slice(None),) * 3 + tap], inputs)
    return cast(xp.reshape(total, (x.shape[0], geometry.out_channels, *(a.out for a in geometry.axes))), dtype)
