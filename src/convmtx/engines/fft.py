"""Apply maps by products of transforms: the cost hardly depends on the kernel's size.

Each axis is transformed whole, on a circle of its own size if its boundary wraps, or in overlapping pieces
(overlap-save) if it is long beside the kernel or its transform would not fit. The kernel's transform is kept for the
next call. Rounding is relative to the largest values of a piece: at worst about ``eps * log2(N) * |kernel|_2 * |x|_2``
for a transform of length N.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import product
from math import log2, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.boundary import WRAP
from convmtx.costs import Work
from convmtx.engines import direct
from convmtx.engines.parts import Part, mend, reach, wide
from convmtx.engines.threads import spread, threads
from convmtx.geometry import Axis
from convmtx.typing import AnyArray

#: Bytes of transforms that are held at a time: 256 MiB. Longer axes and larger batches are cut into pieces.
PIECE_BYTES = 1 << 28
#: Positions from which an axis is cut into pieces: transforms of more than 32768 leave the cache.
LONG = 1 << 15
#: Length of a piece in lengths of the kernel, at least: an eighth of each piece is read twice.
OVERLAP = 8
#: Calls that share the cost of the kernel's transform, which is kept: one call is charged a 16th of it.
CALLS = 16
#: Pairs of channel and filter from which each frequency has a matrix product of its own, rather than a sum of vectors.
GEMM_PAIRS = 64
#: Calls of an engine that keeps its steps, which one call of this engine takes as long as, beside its transforms.
CALL = 24
#: Lines of a transform along one axis from which several are transformed together.
TOGETHER = 4
#: Lines that are transformed together if one line is cut into pieces.
STACK = 32
#: Frequencies that a thread takes at a time.
FREQUENCIES = 512


class Line(NamedTuple):
    """Transform of one axis: its length, the inputs that it takes, and the pieces that the axis is cut into."""

    length: int
    #: First output of each piece; the range stops behind the last output of the axis.
    starts: range
    #: Inputs that a whole axis takes as they are, with zeros of the transform around; None if it is continued first.
    inputs: slice | None
    #: Place of tap 0 on the circle, so that output 0 is at position 0.
    shift: int

    def pieces(self, together: int) -> Iterator[slice]:
        """Iterate over the outputs of pieces: whole ones, at most so many together, and what is left behind them."""
        step, stop = self.starts.step, self.starts.stop
        whole = stop - stop % step
        yield from (slice(o, min(o + together * step, whole)) for o in range(0, whole, together * step))
        if whole < stop:
            yield slice(whole, stop)


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd), both of floating point.

    Values that are not finite would spread over a whole transform, so the direct engine fills images that have them.
    """
    # Images that overflow here are done again by the direct engine, which warns if their result overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        if y.dtype.kind == "c" and part.kernel.dtype.kind != "c":
            _transformed(part, x.real, y.real)
            _transformed(part, x.imag, y.imag)
        else:
            _transformed(part, x, y)
    mend(part, x, y, direct.correlate)


def lines(part: Part, itemsize: int) -> tuple[Line, ...]:
    """Plan the transform of each axis, the first in pieces if all of it would not fit."""
    planned = [plan_line(axis, LONG) for axis in part.axes]
    groups, filters, channels, *_ = part.kernel.shape
    held = 2 * itemsize * groups * (filters + channels + filters * channels) * prod(line.length for line in planned)
    if held > PIECE_BYTES:
        planned[0] = plan_line(part.axes[0], max(planned[0].length * PIECE_BYTES // held, 1))
    return tuple(planned)


@lru_cache(maxsize=512)
def plan_line(axis: Axis, long: int) -> Line:
    """Plan the transform of one axis, of at most about ``long`` positions."""
    first, last = axis.reach
    whole = range(0, axis.out, axis.out)
    if axis.boundary is WRAP and axis.reads_outside and axis.input_dilation == 1:
        if _good(axis.size) == axis.size <= long:
            return Line(axis.size, whole, slice(None), axis.lo)  # the boundary is the circle itself
    elif axis.zero_outside and axis.input_dilation == 1:
        lo, hi = max(first, 0), min(last, axis.size - 1)
        # On a shorter circle an output would read inputs around it: docs/how/engines.md has the two inequalities.
        length = max(hi + 1 - first, last + 1 - lo)
        if lo <= hi and length <= long:
            return Line(_good(length), whole, slice(lo, hi + 1), lo - first)
    length = _good(last + 1 - first)
    if length > long:
        length = min(length, _good(max(OVERLAP * axis.span, long // 2)))
    step = (length - axis.span) // axis.stride + 1
    return Line(length, range(0, axis.out, step), None, 0)


@lru_cache(maxsize=1024)
def _good(n: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(n, real=True))


def _transformed(part: Part, x: AnyArray, y: AnyArray) -> None:
    dtype = wide(y.dtype)
    plan = lines(part, dtype.itemsize)
    lengths = tuple(line.length for line in plan)
    spectrum = _spectrum(part, plan, dtype)
    groups, filters, channels, *_ = part.kernel.shape
    images = max(PIECE_BYTES // (2 * dtype.itemsize * groups * (filters + channels) * prod(lengths)), 1)
    together = STACK // (min(images, len(x)) * groups * max(filters, channels)) if len(plan) == 1 else 1
    for b in range(0, x.shape[0], images):
        for tile in product(*(line.pieces(max(together, 1)) for line in plan)):
            outputs = y[(slice(b, b + images), slice(None), slice(None), *tile)]
            pieces = x[b : b + images]
            for j, (line, axis, outs) in enumerate(zip(plan, part.axes, tile, strict=True)):
                if line.inputs is None:
                    pieces = reach([axis], pieces, [outs], 3 + j)
                else:
                    pieces = pieces[(slice(None),) * (3 + j) + (line.inputs,)]
            if outputs.shape[-1] > plan[-1].starts.step:
                pieces, outputs = _stacked(part.axes[0], plan[0].starts.step, pieces, outputs)
                tile = (slice(0, plan[0].starts.step),)
            result = _contract(part, _forward(pieces.astype(dtype, copy=False), lengths), spectrum)
            result = _backward(result, lengths, dtype)
            for j, (axis, outs) in enumerate(zip(part.axes, tile, strict=True)):
                at = np.arange(outs.stop - outs.start) * axis.stride
                if at[-1] < lengths[j]:
                    result = result[(slice(None),) * (3 + j) + (slice(0, int(at[-1]) + 1, axis.stride),)]
                else:  # more outputs than positions on the circle
                    result = result.take(at % lengths[j], 3 + j)
            outputs[...] = result.reshape(outputs.shape)


def _stacked(axis: Axis, step: int, x: AnyArray, y: AnyArray) -> tuple[AnyArray, AnyArray]:
    """Return the pieces of a line of x (B, G, C, m) as images (P*B, G, C, m'), and y as (P, B, G, F, outputs).

    A piece has ``step`` outputs, and reads some of the inputs of the next one.
    """
    pieces = y.shape[-1] // step
    shape, steps = (pieces, *x.shape[:3], (step - 1) * axis.stride + axis.span), x.strides
    views = np.lib.stride_tricks.as_strided(x, shape, (step * axis.stride * steps[3], *steps), writeable=False)
    return views.reshape(-1, *shape[2:]), np.moveaxis(y.reshape(*y.shape[:3], pieces, step), 3, 0)


def _spectrum(part: Part, plan: tuple[Line, ...], dtype: np.dtype[Any]) -> AnyArray:
    """Transform the kernel, with tap p at ``shift - p*t`` on the circle, and keep it.

    It is (G, F, C, w1..wd), or (G, w, F, C) if each frequency has a matrix product.
    """
    key = ("spectrum", dtype, *((line.length, line.shift) for line in plan))

    def transformed() -> AnyArray:
        placed = part.kernel.astype(dtype, copy=False)
        for j, (axis, line) in enumerate(zip(part.axes, plan, strict=True)):
            places = (line.shift - np.arange(axis.kernel) * axis.dilation) % line.length
            circle = np.zeros((*placed.shape[: 3 + j], line.length, *placed.shape[4 + j :]), dtype)
            target, taps = np.moveaxis(circle, 3 + j, 0), np.moveaxis(placed, 3 + j, 0)
            if axis.span <= line.length:
                target[places] = taps
            else:  # taps meet on the circle
                np.add.at(target, places, taps)
            placed = circle
        spectrum = _forward(placed, tuple(line.length for line in plan))
        if by_frequency(part):
            spectrum = np.moveaxis(spectrum.reshape(*spectrum.shape[:3], -1), 3, 1)
        return np.ascontiguousarray(spectrum)

    kept: AnyArray = part.keep(key, transformed)
    return kept


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work:
    """Work of filling a part."""
    groups, filters, channels, *_ = part.kernel.shape
    dtype = wide(dtype)
    plan = lines(part, dtype.itemsize)
    size = prod(line.length * len(line.starts) for line in plan)
    doublings = sum(log2(max(line.length, 2)) for line in plan)
    planes = 2 if dtype.kind == "c" else 1
    transforms = groups * planes * (images * (channels + filters) + filters * channels / (1 if part.once else CALLS))
    frequencies = groups * size * planes / 2
    products = images * frequencies * channels * filters
    channel_work = {"flop c16": 8 * products, "frequency": frequencies} if by_frequency(part) else {"product": products}
    real = "f4" if dtype.itemsize // planes <= 4 else "f8"
    # A few lines along the only axis are transformed one by one; many lines by the processor's vectors.
    pieces = prod(len(line.starts) for line in plan)
    lone = "lone " if len(part.axes) == 1 and images * groups * min(channels, filters) * pieces < TOGETHER else ""
    spectra = float(images * groups * (channels + filters) * size * dtype.itemsize)
    return {
        f"{lone}transform {real}": transforms * size * doublings,
        "byte": spectra,
        "tile": pieces,
        "call": CALL,
        **channel_work,
    }


def by_frequency(part: Part) -> bool:
    """Whether there are enough channels and filters for a matrix product at each frequency."""
    _, filters, channels, *_ = part.kernel.shape
    return int(filters * channels) >= GEMM_PAIRS


def _contract(part: Part, x: AnyArray, kernel: AnyArray) -> AnyArray:
    """Multiply by the kernel at each frequency and sum over channels: (B, G, C, w1..wd) to (B, G, F, w1..wd)."""
    if not by_frequency(part):
        total: AnyArray = x[:, :, None, 0] * kernel[:, :, 0]
        for c in range(1, x.shape[2]):
            total += x[:, :, None, c] * kernel[:, :, c]
        return total
    images, groups, _, *widths = x.shape
    inputs = x.reshape(*x.shape[:3], -1)
    result = np.empty((images, groups, kernel.shape[2], inputs.shape[-1]), x.dtype)

    def multiply(share: Iterable[slice]) -> None:
        for piece in share:
            columns = np.ascontiguousarray(inputs[..., piece].transpose(1, 3, 2, 0))
            result[..., piece] = (kernel[:, piece] @ columns).transpose(3, 0, 2, 1)

    pieces = [slice(w, w + FREQUENCIES) for w in range(0, inputs.shape[-1], FREQUENCIES)]
    spread(multiply, pieces, parallel=True)
    return result.reshape(images, groups, -1, *widths)


def _forward(a: AnyArray, lengths: tuple[int, ...]) -> AnyArray:
    from scipy import fft

    axes = tuple(range(a.ndim - len(lengths), a.ndim))
    transform: Any = fft.fftn if a.dtype.kind == "c" else fft.rfftn
    result: AnyArray = transform(a, lengths, axes, workers=_workers(a.size))
    return result


def _backward(a: AnyArray, lengths: tuple[int, ...], dtype: np.dtype[Any]) -> AnyArray:
    from scipy import fft

    axes = tuple(range(a.ndim - len(lengths), a.ndim))
    transform: Any = fft.ifftn if dtype.kind == "c" else fft.irfftn
    result: AnyArray = transform(a, lengths, axes, overwrite_x=True, workers=_workers(a.size))
    return result


def _workers(size: int) -> int:
    """Number of threads for a transform; pocketfft starts its own."""
    return threads() if size >= 1 << 15 else 1
