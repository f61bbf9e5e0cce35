"""Apply maps to arrays of libraries other than NumPy, by that library and on its device.

PyTorch and JAX have convolutions. Any other library of the array API standard adds up one tap after another. Where
transforms or outer products are faster, they are written in the library's own operations (`traced`). Nothing here
writes into an array, and values are read only of arrays that have some, so the library can differentiate and trace
what is done.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

from convmtx import memory
from convmtx._xp import (
    as_numpy,
    cast,
    device_kind,
    floating,
    has_numbers,
    is_floating,
    is_half,
    is_numpy,
    itemsize,
    library,
    like,
    namespace,
    on_host,
    together,
    widen,
)
from convmtx.engines import pytorch, sharded, traced
from convmtx.engines.folding import fold
from convmtx.engines.parts import Part, inside
from convmtx.engines.select import factors_pay, select_traced
from convmtx.errors import ArgumentError
from convmtx.geometry import Axis, Geometry
from convmtx.taps import channels_back, channels_first, taps_of
from convmtx.typing import Array, EngineName


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
    return channels_back(geometry, _outputs(geometry, kernel, x, engine))


def _outputs(geometry: Geometry, kernel: Array, x: Array, engine: EngineName) -> Array:
    """Return the outputs (B, F, o1..od) of inputs (B, *in_shape)."""
    constant = kernel
    kernel, x = _in_one_type(kernel, x, engine)
    inputs = channels_first(geometry, x)
    stages = _stages(geometry, constant, inputs, inputs, engine)
    if stages is None:
        return _convolved(geometry, taps_of(geometry, kernel), inputs, engine)
    return _by_factors(geometry, stages, inputs)


def choose(geometry: Geometry, kernel: Array, engine: EngineName) -> tuple[str, str]:
    """Return the name of the engine that applies the map to one input of the kernel's type, and the reason."""
    name = library(kernel)
    _require_engine(engine, name)
    x = traced.Sizes((1, geometry.in_channels, *(a.size for a in geometry.axes)), kernel.dtype)
    taps = traced.Sizes(
        (geometry.out_channels, geometry.channels_per_group[1], *(a.kernel for a in geometry.axes)), x.dtype
    )
    if engine != "auto":
        return engine, "requested"
    axes, stages = _factors(geometry, kernel, x)
    device = device_kind(kernel)
    if stages is not None and factors_pay(axes, geometry.groups, stages, x, device, name):
        return "separable", "predicted to be fastest: the kernel is an outer product"
    if name == "jax" or (device == "gpu" and name in ("torch", "cupy")):
        without = "auto" if name == "jax" else "no direct"
        return select_traced(without, geometry.axes, geometry.groups, taps, x, device, name)[:2]
    return name, f"arrays of {name} are applied by {name} itself"


def apply_transposed(geometry: Geometry, kernel: Array, y: Array, engine: EngineName) -> Array:
    """Apply the transpose of a map whose transpose is not a convolution: (B, *out_shape) to (B, *in_shape).

    The map continues the input past its ends, and then applies a convolution that reads nothing outside. So its
    transpose applies the transposed convolution, and then adds each continued position to the input it was read from.

    `Plan.transposed` does the same to NumPy's arrays, but folds borders back inside memory that it writes to. A
    library that traces or differentiates cannot do that: here every input gathers the positions that it receives.
    """
    if library(y) == "jax" or library(kernel) == "jax":
        return _transposed_by_jax(geometry, kernel, y, engine)
    y = _in_one_type(kernel, y, engine)[1]
    mirrored = inside(geometry).T
    assert mirrored is not None  # an axis that reads nothing outside always has a transpose
    # Float16 is rounded once, when all are added.
    x = _outputs(mirrored, kernel, widen(y), engine)
    for j, axis in enumerate(geometry.axes):
        if not axis.zero_outside:
            x = fold(x, j + 2, axis)
    return cast(channels_back(geometry, x), y.dtype)


def _transposed_by_jax(geometry: Geometry, kernel: Array, y: Array, engine: EngineName) -> Array:
    """Apply the transpose of a map to arrays of JAX: its own product, or factor after factor backwards."""
    from convmtx.engines import xla

    constant = kernel
    kernel, y = _in_one_type(kernel, y, engine)
    y = channels_first(geometry, y)
    x = traced.Sizes((y.shape[0], geometry.in_channels, *(a.size for a in geometry.axes)), y.dtype)
    _require_room("an input", x, y)
    stages = _stages(geometry, constant, x, y, engine)
    if stages is None:
        x = xla.multiply("input", geometry.axes, geometry.groups, taps_of(geometry, kernel), y, engine)
    else:
        x = xla.transposed(partial(_by_factors, geometry, stages), x, y)
    return channels_back(geometry, x)


def _in_one_type(kernel: Array, x: Array, engine: EngineName) -> tuple[Array, Array]:
    """Return both in one library and of one type, if the requested engine is that library or "auto"."""
    kernel, x = together(kernel, x)
    _require_engine(engine, library(x))
    if library(x) == "jax":
        kernel = sharded.beside(kernel, x)
    dtype = namespace(x).result_type(kernel, x)
    return cast(kernel, dtype), cast(x, dtype)


def _require_engine(engine: EngineName, name: str) -> None:
    if engine not in ("auto", "direct", "fft", "separable", name):
        got = f"engine={engine!r} on an array of {name}"
        raise ArgumentError(got, f"Expected 'direct', 'fft', 'separable' or '{name}'", "Use engine='auto'")


def _convolved(geometry: Geometry, taps: Array, x: Array, engine: str) -> Array:
    """Apply taps to x of the same type: (B, C, n1..nd) to (B, F, o1..od)."""
    shape = (x.shape[0], geometry.out_channels, *(a.out for a in geometry.axes))
    _require_room("an output", traced.Sizes(shape, x.dtype), x)
    return _convolve_for(x, engine)(geometry.axes, geometry.groups, taps, x)


def _require_room(what: str, result: traced.Sizes, array: Array) -> None:
    """Require that a result fits in the memory beside an array."""
    size = prod(result.shape) * itemsize(result.dtype)
    if size > memory.LARGE and on_host(array):
        memory.require_result(f"{what} of shape {result.shape}", size, "Apply it to fewer or smaller inputs")


def _convolve_for(x: Array, engine: str) -> traced.Convolve:
    """Return the function that applies taps to arrays like x by an engine, or by the one that should be fastest."""
    if library(x) == "jax":
        from convmtx.engines import xla

        return partial(xla.convolve, engine=engine)
    return partial(_by_operations, engine=engine)


def _by_operations(axes: Sequence[Axis], groups: int, taps: Array, x: Array, engine: str) -> Array:
    """Apply taps by the operations of a library that does not compile programs."""
    name = library(x)
    own = _by_torch if name == "torch" and pytorch.can_convolve(x) else traced.tap_by_tap
    if engine == "direct":
        own = traced.tap_by_tap
    if not is_floating(x.dtype) or not traced.has_transforms(x) or 0 in (*x.shape, *taps.shape):
        return own(axes, groups, taps, x)
    if engine == "auto" and name in ("torch", "cupy") and device_kind(x) == "gpu" and has_numbers(x):
        # Taps that are added one after another call the device for each, so the choice is between the other two.
        engine = select_traced("no direct", axes, groups, taps, x, "gpu", name).name
    if engine != "fft":
        return own(axes, groups, taps, x)
    y = traced.fft(axes, groups, taps, x)
    is_finite = traced.is_finite(y)
    try:
        return y if is_finite else own(axes, groups, taps, x)
    except RuntimeError:  # PyTorch under vmap, which knows no numbers
        return namespace(x).where(is_finite, y, own(axes, groups, taps, x))


def _by_torch(axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Array:
    plain = list(axes)
    for j, axis in enumerate(axes):
        first, last = axis.reach
        # PyTorch cuts no more than there is.
        if not (axis.zero_outside and first < axis.stretched and last >= 0):
            x, plain[j] = traced.continued(axis, x, j + 2), axis.continued
    return pytorch.convolve(plain, groups, taps, x)


def _stages(geometry: Geometry, kernel: Array, x: Any, beside: Array, engine: EngineName) -> list[Part] | None:
    """Return a convolution for each axis; None if another engine is faster for inputs like x, or has been requested.

    The factors are computed from the numbers of the kernel. So one that is traced or differentiated has none. Inputs
    are of the library, and on the device, of the array ``beside``.
    """
    name, device = library(beside), device_kind(beside)
    if engine not in ("auto", "separable") or (engine == "auto" and name != "jax" and device == "cpu"):  # not measured
        return None
    axes, stages = _factors(geometry, kernel, x)
    if stages is None:
        if engine == "separable" and sum(axis.kernel > 1 for axis in axes) > 1 and 0 not in x.shape:
            got = f"engine='separable' cannot apply this map in {x.dtype}"
            expected = "Expected floating point and a constant kernel, an outer product for each pair of channels"
            raise ArgumentError(got, expected, "Use engine='auto'")
        return None
    if engine == "auto" and not factors_pay(axes, geometry.groups, stages, x, device, name):
        return None
    return stages


def _by_factors(geometry: Geometry, stages: Sequence[Part], x: Array) -> Array:
    """Apply one axis after the other: (B, C, n1..nd) to (B, F, o1..od)."""
    kernels = [cast(like(part.kernel, x), x.dtype) for part in stages]
    return traced.separable(stages, geometry.axes, kernels, x, _convolve_for(x, "auto"))


#: Stages of kernels that have been applied, for as long as the kernels live.
_STAGES: dict[Any, list[Part] | None] = {}


def _factors(geometry: Geometry, kernel: Array, x: Any) -> tuple[list[Axis], list[Part] | None]:
    """Return the axes of which borders and gaps have been filled, and the stages of a map; None without factors."""
    axes = [a if a.zero_outside and a.input_dilation == 1 else a.continued for a in geometry.axes]
    constant = has_numbers(kernel) and not getattr(kernel, "requires_grad", False)
    if not constant or not is_floating(x.dtype) or is_half(x.dtype) or 0 in x.shape:
        return axes, None
    dtype = floating(x)
    key = id(kernel), geometry, dtype
    if key not in _STAGES:
        _STAGES[key] = traced.stages(axes, geometry.groups, taps_of(geometry, as_numpy(kernel)), dtype)
        weakref.finalize(kernel, _STAGES.pop, key, None)
    return axes, _STAGES[key]
