"""Engines for arrays of JAX, as one primitive: the three products of a convolution, linear in both arrays.

The derivatives of a product are the other two (`contractions`), and a batch of either array is a larger product. So JAX
differentiates to any order in both modes, batches and compiles it, and each product on the way is computed by the
engine that suits its own sizes. Arrays that are spread over devices stay where they are (`sharded`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import product
from math import prod
from typing import Any

from convmtx._xp import cast, widen
from convmtx.engines import sharded, traced
from convmtx.engines.contractions import OPERANDS, merge, shape_of, shared_letter, unmerge
from convmtx.engines.kernels import kernel_gradients
from convmtx.engines.select import select_traced
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.taps import swap_channels
from convmtx.typing import Array


def convolve(axes: Sequence[Axis], groups: int, taps: Array, x: Array, engine: str = "auto") -> Array:
    """Apply taps (F, C/groups, k1..kd) to x (B, C, n1..nd): outputs (B, F, o1..od)."""
    return multiply("output", axes, groups, taps, x, engine)


def multiply(
    wanted: str, axes: Sequence[Axis], groups: int, first: Array, second: Array, engine: str = "auto"
) -> Array:
    """Compute taps, inputs or outputs from the other two: see `contractions`."""
    first, second = _varying(first, second)
    return _primitive().bind(first, second, wanted=wanted, axes=tuple(axes), groups=groups, engine=engine)


def _varying(*arrays: Array) -> Sequence[Array]:
    """Return arrays that vary from device to device along the same axes of a mesh, as `jax.shard_map` asks for."""
    import jax

    if hasattr(jax.lax, "pcast"):
        vary: Any = partial(jax.lax.pcast, to="varying")
    elif hasattr(jax.lax, "pvary"):
        vary = jax.lax.pvary
    else:  # versions in which nothing has to vary
        return arrays
    types = [jax.typeof(array) for array in arrays]
    names = [kind.mat.varying if hasattr(kind, "mat") else kind.vma for kind in types]
    every = frozenset().union(*names)
    missing = [tuple(every - varies) for varies in names]
    return [vary(array, more) if more else array for array, more in zip(arrays, missing, strict=True)]


def transposed(function: Callable[[Array], Array], x: Any, y: Array) -> Array:
    """Apply the transpose of a linear function of arrays like x, which has a shape and a type, to y."""
    import jax

    (result,) = jax.linear_transpose(function, jax.ShapeDtypeStruct(x.shape, x.dtype))(y)  # type: ignore[no-untyped-call]
    return result


@cache
def _primitive() -> Any:
    """Return the primitive, defined on first use because its base class is JAX's."""
    import jax
    from jax._src import dispatch
    from jax.interpreters import ad, batching, mlir

    try:
        from jax.extend.core import Primitive
    except ImportError:  # its place in older versions
        from jax.core import Primitive  # type: ignore[no-redef,attr-defined]

    primitive: Any = Primitive("convmtx")
    compiled = jax.jit(primitive.bind, static_argnames=("wanted", "axes", "groups", "engine"))
    primitive.def_impl(compiled)
    primitive.def_abstract_eval(_shape)
    ad.defbilinear(primitive, partial(_transpose, 0), partial(_transpose, 1))  # type: ignore[no-untyped-call]
    batching.primitive_batchers[primitive] = _batch
    for device, platform in (("gpu", None), ("cpu", "cpu")):
        mlir.register_lowering(primitive, partial(_lower, device), platform=platform)
    # The lowering asks on which devices the program will run; JAX has no public word for it.
    dispatch.prim_requires_devices_during_lowering.add(primitive)
    return primitive


def _shape(first: Any, second: Any, *, wanted: str, axes: tuple[Axis, ...], groups: int, engine: str) -> Any:  # noqa: ARG001
    shape = shape_of(wanted, axes, groups, first.shape, second.shape)
    spec = sharded.spec_of(wanted, axes, groups, first, second, shape)
    return second.update(shape=shape, weak_type=False, **({} if spec is None else {"sharding": spec}))


def _lower(
    device: str, context: Any, *arrays: Any, wanted: str, axes: tuple[Axis, ...], groups: int, engine: str
) -> Any:
    """Return the program of the product; on several devices each computes its own part of it."""
    from jax.interpreters import mlir

    compute = partial(_compute, device, engine)
    whole = partial(compute, wanted, axes, groups)
    # Inside `jax.shard_map` arrays are those of one device already, and the context names no devices.
    if len(getattr(context.module_context.axis_context, "device_assignment", None) or ()) > 1:
        whole = partial(sharded.multiply, compute, wanted, axes, groups)
    return mlir.lower_fun(whole, multiple_results=False)(context, *arrays)


def _compute(
    device: str, engine: str, wanted: str, axes: Sequence[Axis], groups: int, first: Array, second: Array
) -> Array:
    """Compute the product on one device."""
    from jax import numpy

    shape = shape_of(wanted, axes, groups, first.shape, second.shape)
    if 0 in (*first.shape, *second.shape, *shape):
        return numpy.zeros(shape, second.dtype)
    if wanted == "output":
        return _outputs(device, engine, axes, groups, first, second)
    if wanted == "input":
        return _inputs(device, engine, axes, groups, first, second)
    geometry = Geometry(tuple(axes), first.shape[1], second.shape[1], groups, Layout.FIRST)

    def apply(g: Geometry, kernel: Array, inputs: Array) -> Array:
        return _outputs(device, "auto", g.axes, g.groups, kernel, inputs)

    return kernel_gradients(geometry, first, second[None], apply)[0]


def _outputs(device: str, engine: str, axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Array:
    """Apply the taps by the requested engine, or by the one that should be fastest on this device."""
    from jax import lax

    name = select_traced(engine, axes, groups, taps, x, device).name
    if name != "fft":
        return _ENGINES[name](axes, groups, taps, x)
    careful = _ENGINES[select_traced("no fft", axes, groups, taps, x, device).name]
    y = traced.fft(axes, groups, taps, x)
    return lax.cond(traced.is_finite(y), lambda: y, lambda: careful(axes, groups, taps, x))


def _inputs(device: str, engine: str, axes: Sequence[Axis], groups: int, taps: Array, y: Array) -> Array:
    """Apply the transposed map.

    The map continues the inputs past their ends, and then applies a convolution that reads nothing outside. So its
    transpose applies the transposed convolution, and then adds each continued position to the input it was read from.
    """
    inner = [a if a.transposed else a.continued for a in axes]
    folded = [j for j, axis in enumerate(axes) if inner[j] is not axis]
    dtype = y.dtype
    if folded:
        taps, y = widen(taps), widen(y)  # 16-bit floats are rounded once, when all are added
    mirrored = [axis.transposed for axis in inner]
    flipped = swap_channels(taps[(slice(None), slice(None), *(slice(None, None, -1),) * len(axes))], groups)
    x = _outputs(device, engine, mirrored, groups, flipped, y)  # type: ignore[arg-type]
    for j in folded:
        inputs = traced.Sizes((*x.shape[: j + 2], axes[j].size, *x.shape[j + 3 :]), x.dtype)
        x = transposed(lambda x, j=j: traced.continued(axes[j], x, j + 2), inputs, x)  # type: ignore[misc]
    return cast(x, dtype)


def _transpose(
    at: int, cotangent: Array, *arrays: Any, wanted: str, axes: tuple[Axis, ...], groups: int, engine: str
) -> Array:
    """Return the cotangent of one of the arrays: the product of the other one and of the cotangent of the result."""
    names = OPERANDS[wanted]
    known = {names[1 - at]: arrays[1 - at], wanted: cotangent}
    first, second = (known[name] for name in OPERANDS[names[at]])
    return sharded.placed(multiply(names[at], axes, groups, first, second, engine), arrays[at].aval)


def _batch(args: Any, dims: Any, *, wanted: str, axes: tuple[Axis, ...], groups: int, engine: str) -> Any:
    """Compute a batch of products as one larger product: see `shared_letter`."""
    from jax.numpy import moveaxis

    names = OPERANDS[wanted]
    batched = [name for name, dim in zip(names, dims, strict=True) if dim is not None]
    letter = shared_letter([*batched, wanted])
    arrays = list(args)
    for j, (name, dim) in enumerate(zip(names, dims, strict=True)):
        if dim is not None:
            count = args[j].shape[dim]
            arrays[j] = merge(name, moveaxis(args[j], dim, 0), groups, letter)
    first, second = arrays
    result = multiply(wanted, axes, groups * (count if letter == "g" else 1), first, second, engine)
    return unmerge(wanted, result, groups, letter, count), 0


def _direct(axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Array:
    """Add up products of taps and shifted inputs: many at a time in one loop over the outputs, which XLA fuses."""
    from jax import lax, numpy

    dtype, filters = x.dtype, taps.shape[0]
    taps, x = widen(taps), widen(x)
    x = _reached(axes, x)
    x = x.reshape(x.shape[0], groups, 1, -1, *x.shape[2:])
    taps = taps.reshape(1, groups, filters // groups, *taps.shape[1:])
    looped = traced.looped_axes(taps.shape[3:])  # channels are the first axis
    counts, fused = taps.shape[3 : 3 + looped], taps.shape[3 + looped :]
    # Along the channels windows have one position; along axis a, out positions, stride apart.
    steps, dilations = [1, *(a.stride for a in axes)], [1, *(a.dilation for a in axes)]
    outs = [1, *(a.out for a in axes)]
    lengths = [(out - 1) * step + 1 for out, step in zip(outs, steps, strict=True)]

    def add(turn: Any, total: Array) -> Array:
        places = numpy.unravel_index(turn, counts) if looped else ()
        window, factors = x, taps
        for j, place in enumerate(places, 3):
            window = lax.dynamic_slice_in_dim(window, place * dilations[j - 3], lengths[j - 3], j)
            factors = lax.dynamic_slice_in_dim(factors, place, 1, j)
        for tap in product(*map(range, fused)):
            starts = [0] * looped + [p * t for p, t in zip(tap, dilations[looped:], strict=True)]
            at = (slice(i, i + n, step) for i, n, step in zip(starts, lengths, steps, strict=True))
            factor = factors[(..., *(slice(p, p + 1) for p in tap))]
            total = total + factor * window[(slice(None),) * 3 + tuple(at)]
        return total

    zero = numpy.zeros((x.shape[0], groups, filters // groups, *outs), x.dtype)
    total = lax.fori_loop(0, prod(counts), add, zero) if looped else add(0, zero)
    return cast(total.reshape(x.shape[0], filters, *outs[1:]), dtype)


def _by_lax(axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Array:
    from jax import lax

    axes = list(axes)
    for j, axis in enumerate(axes):
        if not _is_plain(axis):
            x, axes[j] = traced.continued(axis, x, j + 2), axis.continued
    pads = [(a.lo, a.reach[1] + 1 - a.stretched) for a in axes]
    stretch, dilations = [a.input_dilation for a in axes], [a.dilation for a in axes]
    return lax.conv_general_dilated(
        x, taps, [a.stride for a in axes], pads, stretch, dilations, feature_group_count=groups
    )


def _reached(axes: Sequence[Axis], x: Array) -> Array:
    """Return all that the outputs reach over; zeros are padded, which XLA does in the loop that reads them."""
    from jax import lax

    pads = [(0, 0, 0)] * 2
    for j, axis in enumerate(axes, 2):
        if _is_plain(axis):
            pads.append((axis.lo, axis.reach[1] + 1 - axis.stretched, axis.input_dilation - 1))
        else:
            x = traced.continued(axis, x, j)
            pads.append((0, 0, 0))
    return lax.pad(x, x.dtype.type(0), pads)


def _is_plain(axis: Axis) -> bool:
    """Whether padding with zeros gives all that is reached; pads cut no more than there is."""
    first, last = axis.reach
    return axis.zero_outside and first < axis.stretched and last >= 0


#: What fills the outputs for each name of an engine. Products of transforms are not here: they need mending.
_ENGINES = {"direct": _direct, "jax": _by_lax}
