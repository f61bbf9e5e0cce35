"""One axis after the other, where the kernel of every channel pair is an outer product of vectors.

The first axis makes an array for each pair of channel and filter, and the last adds them up; so it pays for few
channels and long kernels: ``k1 + k2`` multiply-adds instead of ``k1 * k2``. Those arrays are extra memory, as large
as the input times the filters; the images of a batch are taken one at a time where they would be many.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx.costs import Work, total
from convmtx.engines import direct
from convmtx.engines.parts import Part, mended
from convmtx.geometry import Axis
from convmtx.typing import AnyArray

#: Bytes of an array between two axes from which images are taken one at a time.
BETWEEN_BYTES = 1 << 26
#: Pairs of channel and filter in a group up to which factors are looked for.
MANY = 64


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd); the kernel must have factors."""
    if _of_one_axis(part):
        direct.correlate(part, x, y)
        return
    each = prod(part.kernel.shape[:3]) * prod(x.shape[3:]) * y.itemsize
    step = max(BETWEEN_BYTES // each, 1)
    with np.errstate(over="ignore", invalid="ignore"):  # of the direct engine they will be true
        for b in range(0, x.shape[0], step):
            _one_after_another(part, x[b : b + step], y[b : b + step])
    mended(part, x, y, direct.correlate)


def _one_after_another(part: Part, x: AnyArray, y: AnyArray) -> None:
    stages = _stages(part, y.dtype)
    assert stages is not None  # `work` was asked first
    groups, filters, channels, *_ = part.kernel.shape
    between = x.reshape(-1, groups * channels, 1, *x.shape[3:])
    for stage in stages[:-1]:
        sizes = tuple(axis.out for axis in stage.axes)
        result = np.empty((len(between), *stage.kernel.shape[:2], *sizes), y.dtype)
        direct.correlate(stage, between, result)
        if stage is stages[0]:  # (B, G*C, F, ...) to (B, G*F, C, ...)
            result = result.reshape(len(result), groups, channels, filters, *sizes).swapaxes(2, 3)
            result = result.reshape(len(result), groups * filters, channels, *sizes)
            between = result if len(stages) == 2 else result.reshape(len(result), -1, 1, *sizes)
        else:
            between = result
    between = between.reshape(len(between), groups * filters, channels, *between.shape[3:])
    direct.correlate(stages[-1], between, y.reshape(len(y), groups * filters, 1, *y.shape[3:]))


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work | None:
    """What filling a part takes; None where its kernel has no factors, or they are of no use."""
    _, filters, channels, *_ = part.kernel.shape
    if filters * channels > MANY or dtype == np.float16:
        return None
    if _of_one_axis(part):  # as phases of a strided map may be
        return direct.work(part, dtype, images)
    stages = _stages(part, dtype)
    return None if stages is None else total(direct.work(stage, dtype, images) for stage in stages)


def _of_one_axis(part: Part) -> bool:
    return sum(int(n) > 1 for n in part.kernel.shape[3:]) < 2


def factors(part: Part, dtype: np.dtype[Any]) -> tuple[AnyArray, ...] | None:
    """A vector (G, F, C, kj) for each axis with the kernel as their outer product; None without such.

    Every entry must be right to rounding in ``dtype``, that of the results; zeros must be zeros. The lines through
    the entry of largest magnitude must be those vectors, the first ones divided by that entry.
    """
    precision = np.empty(0, dtype).real.dtype
    kernel = part.kernel.astype(np.result_type(part.kernel, precision, np.float64), copy=False)
    *pairs, d = *kernel.shape[:3], kernel.ndim - 3
    sizes = kernel.shape[3:]
    flat = kernel.reshape(*pairs, -1)
    largest = np.abs(flat).argmax(axis=-1)
    peak = np.take_along_axis(flat, largest[..., None], -1)
    place = np.unravel_index(largest, sizes)
    found = []
    product = np.ones((*pairs, *(1,) * d), kernel.dtype)
    for j, size in enumerate(sizes):
        at = [np.broadcast_to(p[..., None], (*pairs, size)) for p in place]
        at[j] = np.broadcast_to(np.arange(size), (*pairs, size))
        line = np.take_along_axis(flat, np.ravel_multi_index(tuple(at), sizes), -1)
        if j < d - 1:
            line = np.divide(line, peak, out=np.zeros_like(line), where=peak != 0)
        found.append(line)
        product = product * line.reshape(*pairs, *(size if i == j else 1 for i in range(d)))
    tolerance = 4 * d * np.finfo(dtype).eps
    return tuple(found) if (np.abs(kernel - product) <= tolerance * np.abs(kernel)).all() else None


def _stages(part: Part, dtype: np.dtype[Any]) -> list[Part] | None:
    kept: list[Part] | None = part.keep(("stages", dtype), lambda: _make_stages(part, dtype))
    return kept


def _make_stages(part: Part, dtype: np.dtype[Any]) -> list[Part] | None:
    """One convolution for each axis, the first from channels to pairs, the last from pairs to filters."""
    found = factors(part, dtype)
    if found is None:
        return None
    groups, filters, channels, *_ = part.kernel.shape
    used = [j for j, axis in enumerate(part.axes) if axis != Axis(axis.size, 1)]
    stages = []
    for j in used:
        axes = tuple(
            axis if i == j else Axis(axis.out if i in used and i < j else axis.size, 1)
            for i, axis in enumerate(part.axes)
        )
        kernel = found[j]
        if j == used[0]:
            for i in set(range(len(part.axes))) - set(used):  # an axis that nothing happens along, but a factor
                kernel = kernel * found[i]
            kernel = kernel.transpose(0, 2, 1, 3).reshape(groups * channels, filters, 1, -1)
        elif j == used[-1]:
            kernel = kernel.reshape(groups * filters, 1, channels, -1)
        else:
            kernel = kernel.reshape(groups * filters * channels, 1, 1, -1)
        kernel = kernel.reshape(*kernel.shape[:3], *(-1 if i == j else 1 for i in range(len(part.axes))))
        stages.append(Part((), axes, kernel, channels_last=False))
    return stages
