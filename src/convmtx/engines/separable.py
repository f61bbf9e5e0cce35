"""Apply one axis after the other, if the kernel of every channel pair is an outer product of vectors.

An output takes ``k1 + k2`` multiply-adds instead of ``k1 * k2``. The first axis makes an array for each pair of channel
and filter, and the last axis adds them up, so this pays for few channels and long kernels. These arrays are extra
memory, as large as the input times the filters. A batch is cut into smaller ones where they would be too large.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from convmtx import rates
from convmtx.costs import SEPARABLE_PAIRS, Work, seconds, total
from convmtx.engines import compiled, direct
from convmtx.engines.parts import Correlate, Part, mend
from convmtx.geometry import Axis
from convmtx.typing import AnyArray

#: Bytes of the arrays between two axes, for as many images as are taken together: 64 MiB. One image may have more.
BETWEEN_BYTES = 1 << 26
#: Calls of an engine that keeps its steps, which the steps of one axis take as long as: these are not kept.
STAGE = 8


def correlate(part: Part, x: AnyArray, y: AnyArray) -> None:
    """Fill y (B, G, F, o1..od) from x (B, G, C, n1..nd); the kernel must be an outer product."""
    if _has_one_axis(part):
        direct.correlate(part, x, y)
        return
    image_bytes = prod(part.kernel.shape[:3]) * prod(x.shape[3:]) * y.itemsize
    step = max(BETWEEN_BYTES // image_bytes, 1)
    # Images that overflow here are done again by the direct engine, which warns if their result overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        for b in range(0, x.shape[0], step):
            _one_after_another(part, x[b : b + step], y[b : b + step])
    mend(part, x, y, direct.correlate)


def _one_after_another(part: Part, x: AnyArray, y: AnyArray) -> None:
    stages = _stages(part, y.dtype)
    assert stages is not None  # the engine is chosen only if `work` is not None
    groups, filters, channels, *_ = part.kernel.shape
    between = x.reshape(-1, groups * channels, 1, *x.shape[3:])
    for stage in stages[:-1]:
        sizes = tuple(axis.out for axis in stage.axes)
        result = np.empty((len(between), *stage.kernel.shape[:2], *sizes), y.dtype)
        _correlate_stage(stage, between, result)
        if stage is stages[0]:  # (B, G*C, F, ...) to (B, G*F, C, ...)
            result = result.reshape(len(result), groups, channels, filters, *sizes).swapaxes(2, 3)
            result = result.reshape(len(result), groups * filters, channels, *sizes)
            between = result if len(stages) == 2 else result.reshape(len(result), -1, 1, *sizes)
        else:
            between = result
    between = between.reshape(len(between), groups * filters, channels, *between.shape[3:])
    _correlate_stage(stages[-1], between, y.reshape(len(y), groups * filters, 1, *y.shape[3:]))


def _correlate_stage(stage: Part, x: AnyArray, y: AnyArray) -> None:
    fill, _ = _fastest(stage, y.dtype, len(x))
    fill(stage, x, y)


def _fastest(stage: Part, dtype: np.dtype[Any], images: int) -> tuple[Correlate, Work]:
    """Choose between `direct` and `compiled` for a stage, and return the work."""

    def choose() -> tuple[Correlate, Work]:
        works = [(engine.correlate, engine.work(stage, dtype, images)) for engine in (direct, compiled)]
        able = [(fill, work) for fill, work in works if work is not None]
        return min(able, key=lambda pair: seconds(pair[1]))

    choice: tuple[Correlate, Work] = stage.keep(("stage", dtype, images, rates.current()), choose)
    return choice


def work(part: Part, dtype: np.dtype[Any], images: int) -> Work | None:
    """Work of filling a part; None if its kernel is not an outer product, or has too many channel pairs."""
    _, filters, channels, *_ = part.kernel.shape
    if filters * channels > SEPARABLE_PAIRS or dtype == np.float16:
        return None
    if _has_one_axis(part):  # as phases of a strided map may be
        return direct.work(part, dtype, images)
    stages = _stages(part, dtype)
    if stages is None:
        return None
    return total([{"call": STAGE * len(stages)}, *(_fastest(stage, dtype, images)[1] for stage in stages)])


def _has_one_axis(part: Part) -> bool:
    """Whether the kernel is longer than 1 along one axis at most."""
    return sum(int(n) > 1 for n in part.kernel.shape[3:]) < 2


def factors(part: Part, dtype: np.dtype[Any]) -> tuple[AnyArray, ...] | None:
    """Return a vector (G, F, C, kj) for each axis, with the kernel as their outer product; None if it is not one.

    The vectors must be the lines through the entry of largest magnitude, all but the last divided by that entry. For
    [[1, 2], [3, 6]] that is 6, and the lines are [2, 6] / 6 and [3, 6]. Every entry of their product must be right to
    rounding in ``dtype``, the type of the results, and zeros must be zeros.
    """
    precision = np.empty(0, dtype).real.dtype
    kernel = part.kernel.astype(np.result_type(part.kernel, precision, np.float64), copy=False)
    *pairs, d = *kernel.shape[:3], kernel.ndim - 3
    sizes = kernel.shape[3:]
    flat = kernel.reshape(*pairs, -1)
    largest = np.abs(flat).argmax(axis=-1)
    peak = np.take_along_axis(flat, largest[..., None], -1)
    place = np.unravel_index(largest, sizes)
    vectors = []
    product = np.ones((*pairs, *(1,) * d), kernel.dtype)
    for j, size in enumerate(sizes):
        at = [np.broadcast_to(p[..., None], (*pairs, size)) for p in place]
        at[j] = np.broadcast_to(np.arange(size), (*pairs, size))
        line = np.take_along_axis(flat, np.ravel_multi_index(tuple(at), sizes), -1)
        if j < d - 1:
            with np.errstate(over="ignore", invalid="ignore"):  # of subnormal complex numbers: then no factors
                line = np.divide(line, peak, out=np.zeros_like(line), where=peak != 0)
        vectors.append(line)
        with np.errstate(over="ignore", invalid="ignore"):
            product = product * line.reshape(*pairs, *(size if i == j else 1 for i in range(d)))
    tolerance = 4 * d * np.finfo(dtype).eps
    return tuple(vectors) if (np.abs(kernel - product) <= tolerance * np.abs(kernel)).all() else None


def _stages(part: Part, dtype: np.dtype[Any]) -> list[Part] | None:
    """Return the convolutions along single axes, kept with the part; None if the kernel is not an outer product."""
    kept: list[Part] | None = part.keep(("stages", dtype), lambda: build_stages(part, dtype))
    return kept


def build_stages(part: Part, dtype: np.dtype[Any]) -> list[Part] | None:
    """Build a convolution for each axis: the first goes from channels to pairs, the last from pairs to filters."""
    vectors = factors(part, dtype)
    if vectors is None:
        return None
    groups, filters, channels, *_ = part.kernel.shape
    used = [j for j, axis in enumerate(part.axes) if axis != Axis(axis.size, 1)]
    stages = []
    for j in used:
        axes = tuple(
            axis if i == j else Axis(axis.out if i in used and i < j else axis.size, 1)
            for i, axis in enumerate(part.axes)
        )
        kernel = vectors[j]
        if j == used[0]:
            for i in set(range(len(part.axes))) - set(used):  # an axis that nothing happens along, but a factor
                kernel = kernel * vectors[i]
            kernel = kernel.transpose(0, 2, 1, 3).reshape(groups * channels, filters, 1, -1)
        elif j == used[-1]:
            kernel = kernel.reshape(groups * filters, 1, channels, -1)
        else:
            kernel = kernel.reshape(groups * filters * channels, 1, 1, -1)
        kernel = kernel.reshape(*kernel.shape[:3], *(-1 if i == j else 1 for i in range(len(part.axes))))
        stages.append(Part((), axes, kernel, channels_last=False))
    return stages
