"""Engines for arrays of JAX, as one primitive: linear in the taps and in the inputs.

Its derivatives are convolutions again. In the inputs it is the transposed map, in the taps a convolution of the inputs
with the outputs, and a batch of either is a larger convolution. So JAX differentiates to any order in both modes,
batches and compiles it, and each convolution on the way is applied by the engine that suits its own sizes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, partial
from itertools import product
from math import prod
from typing import Any

from convmtx._xp import cast, widen
from convmtx.engines import traced
from convmtx.engines.folding import fold
from convmtx.engines.kernels import kernel_gradients
from convmtx.engines.select import select_traced
from convmtx.geometry import Axis, Geometry, Layout
from convmtx.taps import swap_channels
from convmtx.typing import Array


def convolve(axes: Sequence[Axis], groups: int, taps: Array, x: Array, engine: str = "auto") -> Array:
    """Apply taps (F, C/groups, k1..kd) to x (B, C, n1..nd): outputs (B, F, o1..od)."""
    return _primitive().bind(taps, x, axes=tuple(axes), groups=groups, engine=engine)


@cache
def _primitive() -> Any:
    """Return the primitive, defined on first use because its base class is JAX's."""
    import jax
    from jax.interpreters import ad, batching, mlir

    try:
        from jax.extend.core import Primitive
    except ImportError:  # its place in older versions
        from jax.core import Primitive  # type: ignore[no-redef,attr-defined]

    primitive: Any = Primitive("convmtx")
    compiled = jax.jit(primitive.bind, static_argnames=("axes", "groups", "engine"))
    primitive.def_impl(compiled)
    primitive.def_abstract_eval(_shape)
    ad.defbilinear(primitive, _transpose_in_taps, _transpose_in_inputs)  # type: ignore[no-untyped-call]
    batching.primitive_batchers[primitive] = _batch
    for device, platform in (("gpu", None), ("cpu", "cpu")):
        lowering = mlir.lower_fun(partial(_compute, device), multiple_results=False)
        mlir.register_lowering(primitive, lowering, platform=platform)
    return primitive


def _shape(taps: Any, x: Any, *, axes: tuple[Axis, ...], groups: int, engine: str) -> Any:  # noqa: ARG001
    return x.update(shape=(x.shape[0], taps.shape[0], *(a.out for a in axes)), weak_type=False)


def _compute(device: str, taps: Array, x: Array, *, axes: tuple[Axis, ...], groups: int, engine: str) -> Array:
    """Apply the taps by the requested engine, or by the one that should be fastest on this device."""
    from jax import lax, numpy

    shape = (x.shape[0], taps.shape[0], *(a.out for a in axes))
    if 0 in (*x.shape, *taps.shape, *shape):
        return numpy.zeros(shape, x.dtype)
    name = select_traced(engine, axes, groups, taps, x, device).name
    if name != "fft":
        return _ENGINES[name](axes, groups, taps, x)
    careful = _ENGINES[select_traced("no fft", axes, groups, taps, x, device).name]
    y = traced.fft(axes, groups, taps, x)
    return lax.cond(traced.is_finite(y), lambda: y, lambda: careful(axes, groups, taps, x))


def _transpose_in_inputs(y: Array, taps: Array, _x: Any, *, axes: tuple[Axis, ...], groups: int, engine: str) -> Array:
    """Return the inputs that the transposed map gives for outputs y: see `libraries.apply_transposed`."""
    inner = [a if a.transposed else a.continued for a in axes]
    folded = [j for j, axis in enumerate(axes) if inner[j] is not axis]
    dtype = y.dtype
    if folded:
        taps, y = widen(taps), widen(y)  # 16-bit floats are rounded once, when all are added
    mirrored = [axis.transposed for axis in inner]
    flipped = swap_channels(taps[(slice(None), slice(None), *(slice(None, None, -1),) * len(axes))], groups)
    x = convolve(mirrored, groups, flipped, y, engine)  # type: ignore[arg-type]
    for j in folded:
        x = fold(x, j + 2, axes[j])
    return cast(x, dtype)


def _transpose_in_taps(y: Array, taps: Any, x: Array, *, axes: tuple[Axis, ...], groups: int, engine: str) -> Array:  # noqa: ARG001
    """Return the taps whose product with y is that of the outputs: inputs convolved with y."""
    from jax import numpy

    if 0 in (*x.shape, *y.shape):
        return numpy.zeros(taps.aval.shape, y.dtype)
    geometry = Geometry(axes, x.shape[1], y.shape[1], groups, Layout.FIRST)
    return kernel_gradients(geometry, x, y[None], lambda g, kernel, inputs: convolve(g.axes, g.groups, kernel, inputs))[
        0
    ]


def _batch(args: Any, dims: Any, *, axes: tuple[Axis, ...], groups: int, engine: str) -> Any:
    """Apply a batch of taps, of inputs or of both, as one convolution: V of them."""
    from jax import numpy

    taps, x = (a if dim is None else numpy.moveaxis(a, dim, 0) for a, dim in zip(args, dims, strict=True))
    run = partial(_primitive().bind, axes=axes, engine=engine)
    if dims[0] is None:  # more images
        y = run(taps, x.reshape(-1, *x.shape[2:]), groups=groups)
        return y.reshape(*x.shape[:2], *y.shape[1:]), 0
    batch, filters, *rest = taps.shape
    taps = taps.reshape(batch, groups, filters // groups, *rest)
    if dims[1] is None:  # more filters in each group
        y = run(taps.swapaxes(0, 1).reshape(batch * filters, *rest), x, groups=groups)
        y = y.reshape(y.shape[0], groups, batch, filters // groups, *y.shape[2:])
        y = numpy.moveaxis(y, 2, 0)
    else:  # more groups
        x = x.swapaxes(0, 1)
        x = x.reshape(x.shape[0], -1, *x.shape[3:])
        y = run(taps.reshape(batch * filters, *rest), x, groups=batch * groups)
        y = numpy.moveaxis(y.reshape(y.shape[0], batch, filters, *y.shape[2:]), 1, 0)
    return y.reshape(*y.shape[:2], filters, *(a.out for a in axes)), 0


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
