"""Engines in the operations of any array library: nothing reads a value or writes into an array.

So the library can differentiate, batch and trace them, and runs them on its own device. Every engine here takes axes,
groups, taps (F, C/groups, k1..kd) and inputs x (B, C, n1..nd) of one type, and returns outputs (B, F, o1..od). `fft`
spreads nan and inf over a whole transform; `is_finite` says whether its result has to be computed by another engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from math import log2, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx import costs
from convmtx._xp import cast, gather, is_complex, itemsize, move_axes, namespace, widen
from convmtx.boundary import NOTHING
from convmtx.costs import Work
from convmtx.engines import separable as numpys
from convmtx.engines.fft import GEMM_PAIRS, Line, plan_line
from convmtx.engines.folding import slices
from convmtx.engines.parts import Part
from convmtx.geometry import Axis
from convmtx.typing import AnyArray, Array, IntArray

#: A convolution: axes, groups, taps and inputs to outputs.
Convolve = Callable[[Sequence[Axis], int, Array, Array], Array]
#: Products that are added in one loop over the outputs, which a compiler makes of them. Longer sums compile slowly.
#: Over channels it loops if there are several, and more than the second number of products.
FUSED_TAPS, FUSED_CHANNELS = 64, 27
#: Filters of a group from which on XLA's own convolution in double precision takes 0.1 ns for a product, and not 0.5.
LANES = 32
#: Slices that are read instead of a gather: a border in parts is two or three.
MOST_SLICES = 16


def continued(axis: Axis, x: Array, at: int) -> Array:
    """Return all that the outputs reach over along axis ``at`` of x, with stuffed zeros and boundary."""
    first, last = axis.reach
    if (first, last) == (0, axis.size - 1) and axis.input_dilation == 1:
        return x
    return read(x, axis.source(np.arange(first, last + 1)), at)


def read(x: Array, places: IntArray, at: int) -> Array:
    """Return the entries at some places along axis ``at`` of x, zero at `NOTHING`: few slices of x, or a gather.

    XLA reads slices inside the loop that uses them, and their transposes are slices again. A 512 x 512 image continued
    by 4 and filtered by 9 + 9 taps took 0.2 ms with slices, and 3.4 ms with gathers.
    """
    if places.size == 0 or (places == NOTHING).any():
        return gather(x, places, at)
    runs = list(slices(np.arange(places.size), places))
    if len(runs) > MOST_SLICES:
        return gather(x, places, at)
    xp, pieces = namespace(x), []
    for positions, run in runs:
        count = len(range(*positions.indices(places.size)))
        inside = range(*run.indices(x.shape[at]))
        low, high = sorted((inside[0], inside[-1]))
        piece = x[(slice(None),) * at + (slice(low, high + 1, abs(inside.step)), ...)]
        if inside.step < 0:
            piece = xp.flip(piece, axis=at)
        if len(inside) < count:  # one entry for all
            piece = xp.broadcast_to(piece, (*x.shape[:at], count, *x.shape[at + 1 :]))
        pieces.append(piece)
    return xp.concat(pieces, axis=at) if len(pieces) > 1 else pieces[0]


def tap_by_tap(axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Array:
    """Add up one tap after another: channels times a matrix for each tap."""
    xp, dtype = namespace(x), x.dtype
    taps, x = widen(taps), widen(x)
    filters, per_c = taps.shape[0], taps.shape[1]
    for j, axis in enumerate(axes):
        x = continued(axis, x, j + 2)
    outputs = prod(a.out for a in axes)
    matrices = xp.reshape(taps, (groups, filters // groups, per_c, *taps.shape[2:]))
    total: Any = 0
    for tap in product(*(range(a.kernel) for a in axes)):
        at = (
            slice(p * a.dilation, p * a.dilation + (a.out - 1) * a.stride + 1, a.stride)
            for p, a in zip(tap, axes, strict=True)
        )
        inputs = xp.reshape(x[(slice(None), slice(None), *at)], (x.shape[0], groups, per_c, outputs))
        total = total + xp.matmul(matrices[(slice(None),) * 3 + tap], inputs)
    return cast(xp.reshape(total, (x.shape[0], filters, *(a.out for a in axes))), dtype)


def has_transforms(array: Array) -> bool:
    """Whether the library of an array has the transforms of the array API standard."""
    return hasattr(namespace(array), "fft")


def plan_lines(axes: Sequence[Axis]) -> tuple[Line, ...]:
    """Plan the transform of each axis, each in one piece."""
    planned = []
    for axis in axes:
        longest = max(axis.size, axis.stretched) + axis.reach[1] - axis.reach[0] + 1
        line = plan_line(axis, 2 * longest)
        if axis.span > line.length:  # taps would meet on the circle
            line = plan_line(axis.continued, 2 * longest)
            line = line._replace(inputs=None, shift=0)
        planned.append(line)
    return tuple(planned)


def fft(axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Array:
    """Multiply transforms. A value that is not finite makes all outputs that share its transform nan."""
    xp, dtype = namespace(x), x.dtype
    taps, x = widen(taps), widen(x)
    lines = plan_lines(axes)
    for j, (axis, line) in enumerate(zip(axes, lines, strict=True), 2):
        x = continued(axis, x, j) if line.inputs is None else x[(slice(None),) * j + (line.inputs,)]
    lengths, behind = [line.length for line in lines], list(range(-len(axes), 0))
    x = xp.reshape(x, (x.shape[0], groups, -1, *x.shape[2:]))
    taps = xp.reshape(taps, (groups, -1, *taps.shape[1:]))
    if is_complex(x.dtype):
        spectra, kernels = (xp.fft.fftn(a, s=lengths, axes=behind) for a in (x, _placed(axes, lines, taps)))
        y = xp.fft.ifftn(_contracted(spectra, kernels), s=lengths, axes=behind)
    else:
        spectra, kernels = (xp.fft.rfftn(a, s=lengths, axes=behind) for a in (x, _placed(axes, lines, taps)))
        y = xp.fft.irfftn(_contracted(spectra, kernels), s=lengths, axes=behind)
    y = xp.reshape(y, (y.shape[0], -1, *y.shape[3:]))
    for j, (axis, length) in enumerate(zip(axes, lengths, strict=True), 2):
        last = (axis.out - 1) * axis.stride
        if last < length:
            y = y[(slice(None),) * j + (slice(0, last + 1, axis.stride),)]
        else:  # more outputs than positions on the circle
            y = gather(y, np.arange(axis.out) * axis.stride % length, j)
    return cast(y, dtype)


def _placed(axes: Sequence[Axis], lines: Sequence[Line], taps: Array) -> Array:
    """Return taps (G, F, C, k1..kd) on the circle of each axis: tap p stands at ``shift - p*dilation``."""
    for j, (axis, line) in enumerate(zip(axes, lines, strict=True), 3):
        index = np.full(line.length, NOTHING)
        index[(line.shift - np.arange(axis.kernel) * axis.dilation) % line.length] = np.arange(axis.kernel)
        taps = gather(taps, index, j)
    return taps


def _contracted(spectra: Array, kernels: Array) -> Array:
    """Multiply at each frequency and sum over channels: (B, G, C, w1..wd) times (G, F, C, w1..wd)."""
    xp = namespace(spectra)
    filters, channels = kernels.shape[1:3]
    if filters * channels < GEMM_PAIRS:
        total = spectra[:, :, None, 0, ...] * kernels[None, :, :, 0, ...]
        for c in range(1, channels):
            total = total + spectra[:, :, None, c, ...] * kernels[None, :, :, c, ...]
        return total
    space = spectra.shape[3:]
    rows = move_axes(xp.reshape(spectra, (*spectra.shape[:3], -1)), 1, 3, 0, 2)  # (G, w, B, C)
    columns = move_axes(xp.reshape(kernels, (*kernels.shape[:3], -1)), 0, 3, 2, 1)  # (G, w, C, F)
    product = move_axes(xp.matmul(rows, columns), 2, 0, 3, 1)
    return xp.reshape(product, (*product.shape[:3], *space))


def is_finite(y: Array) -> Array:
    """Whether all entries are finite, as an array without axes."""
    xp = namespace(y)
    return xp.all(xp.isfinite(y))


def stages(axes: Sequence[Axis], groups: int, taps: AnyArray, dtype: np.dtype[Any]) -> list[Part] | None:
    """Return a convolution for each axis if taps of NumPy are outer products; None if not, or if there is one axis.

    Axes must have no input dilation.
    """
    kernel = taps.reshape(groups, -1, *taps.shape[1:])
    few = (
        kernel.shape[1] * kernel.shape[2] <= costs.SEPARABLE_PAIRS
        and np.count_nonzero(np.array(kernel.shape[3:]) > 1) > 1
    )
    if not few or taps.size == 0 or not np.isfinite(taps).all():
        return None
    return numpys.build_stages(Part((), tuple(axes), kernel, channels_last=False), dtype)


def separable(
    parts: Sequence[Part], axes: Sequence[Axis], kernels: Sequence[Array], x: Array, convolve: Convolve
) -> Array:
    """Apply one axis after the other; ``kernels`` are those of the parts, in the library and type of x.

    The first stage goes from C channels to C*F pairs, the last from pairs to F filters. Each stage continues its own
    axis past its ends.
    """
    xp = namespace(x)
    groups_channels, filters = parts[0].kernel.shape[:2]
    channels = parts[-1].kernel.shape[2]
    groups = groups_channels // channels
    along = [[a != Axis(a.size, 1) for a in part.axes] for part in parts]
    along[0] = [first or not any(rest) for first, *rest in zip(*along, strict=True)]
    for turn, (part, kernel, mine) in enumerate(zip(parts, kernels, along, strict=True)):
        stage = [axis if here else Axis(n, 1) for axis, here, n in zip(axes, mine, x.shape[2:], strict=True)]
        x = convolve(stage, part.kernel.shape[0], xp.reshape(kernel, (-1, *kernel.shape[2:])), x)
        if turn == 0:  # (B, G*C*F, ...) to (B, G*F*C, ...)
            space = x.shape[2:]
            x = xp.reshape(x, (x.shape[0], groups, channels, filters, *space))
            x = move_axes(x, 0, 1, 3, 2, *range(4, x.ndim))
            x = xp.reshape(x, (x.shape[0], groups * filters * channels, *space))
    return x


class Sizes(NamedTuple):
    """Shape and type of an array that need not exist."""

    shape: tuple[int, ...]
    dtype: Any


#: Axes, groups, and the sizes of taps and inputs.
Call = tuple[Sequence[Axis], int, Any, Any]


def sizes(axes: Sequence[Axis], groups: int, parts: Sequence[Part], x: Array) -> list[Call]:
    """Return the sizes of a convolution of x, and of each of its stages."""
    filters, channels, images = parts[0].kernel.shape[1], parts[-1].kernel.shape[2], x.shape[0]
    taps = groups * filters, channels, *(a.kernel for a in axes)
    calls: list[Call] = [(axes, groups, Sizes(taps, x.dtype), x)]
    for part in parts:
        rows, per_row, columns, *space = part.kernel.shape
        inputs = images, rows * columns, *(a.size for a in part.axes)
        calls.append((part.axes, rows, Sizes((rows * per_row, columns, *space), x.dtype), Sizes(inputs, x.dtype)))
    return calls


def looped_axes(sizes: Sequence[int]) -> int:
    """Number of leading axes, the first of them the channels, that a compiled program loops over.

    Of 3 channels and 7x7 taps it loops over the channels, and adds 49 products in each turn.
    """
    first = int(sizes[0] > 1 and prod(sizes) > FUSED_CHANNELS)
    return next(j for j in range(first, len(sizes) + 1) if prod(sizes[j:]) <= FUSED_TAPS)


def work_of_direct(axes: Sequence[Axis], _groups: int, taps: Array, x: Array) -> Work:
    """Work of adding up products of taps and shifted inputs in a compiled program."""
    outputs, products = _products(axes, taps, x)
    sizes = tuple(taps.shape[1:])
    turns = prod(sizes[: looped_axes(sizes)])
    planes = 4 if is_complex(x.dtype) else 1
    return {
        "term " + _real(x.dtype): planes * products, "passed byte": float(turns * outputs * itemsize(x.dtype)),
        "turn": turns, "call": 1,
    }  # fmt: skip


def work_of_fft(axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Work:
    """Work of multiplying transforms."""
    lengths = [line.length for line in plan_lines(axes)]
    size, doublings = prod(lengths), sum(log2(max(n, 2)) for n in lengths)
    planes = 2 if is_complex(x.dtype) else 1
    images, filters, channels = x.shape[0], taps.shape[0], taps.shape[1]
    transforms = images * (groups * channels + filters) + filters * channels
    return {
        "transform " + _real(x.dtype): planes * transforms * size * doublings,
        "product": planes * images * filters * channels * size / 2, "call": 3,
    }  # fmt: skip


def work_of_library(axes: Sequence[Axis], groups: int, taps: Array, x: Array) -> Work:
    """Work of the library's own convolution."""
    outputs, products = _products(axes, taps, x)
    filters = taps.shape[0] // groups
    planes = 4 if is_complex(x.dtype) else 1
    if _real(x.dtype) == "f4":
        return {
            "mult f4": planes * products, "patch": planes * products / filters, "window": outputs / filters, "call": 1,
        }  # fmt: skip
    # XLA copies no windows of double precision, but its loop over filters takes `LANES` at a time.
    return {"mult f8" if filters >= LANES else "narrow mult f8": planes * products, "call": 1}


def _products(axes: Sequence[Axis], taps: Array, x: Array) -> tuple[int, float]:
    """Number of outputs, and of products of a tap and an input."""
    outputs = x.shape[0] * taps.shape[0] * prod(a.out for a in axes)
    return outputs, float(outputs * prod(taps.shape[1:]))


def _real(dtype: Any) -> str:
    """Return "f4" for numbers of at most 32 bits in each plane, or else "f8"."""
    return "f8" if itemsize(dtype) > (8 if is_complex(dtype) else 4) else "f4"
