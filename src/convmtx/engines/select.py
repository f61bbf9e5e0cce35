"""The one function that chooses an engine, and says why."""

from __future__ import annotations

from collections.abc import Callable
from math import log2, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines import direct, fft, tapwise
from convmtx.engines.parts import Correlate, Part, Plan
from convmtx.typing import EngineName


class Engine(NamedTuple):
    """A way to apply a part of a map."""

    name: str
    correlate: Correlate


#: Seconds per unit, not yet calibrated: guesses of the right size. Only their ratios matter.
GEMM = {"f4": 1.0e-11, "f8": 2.0e-11, "c8": 4.0e-11, "c16": 8.0e-11}  # a floating point operation of a wide GEMM
PLAIN = 1.0e-9  # a multiply-add without BLAS
COPIED = 1.0e-10  # a byte of windows gathered
TRANSFORMED = {4: 0.7e-9, 8: 1.0e-9}  # a position of a real transform, for each doubling of its length
TILE, CALL = 2.0e-5, 6.0e-5  # a tile, a transform


def _direct_seconds(part: Part, dtype: np.dtype[Any], images: int) -> float:
    groups, filters, channels, *sizes = part.kernel.shape
    outputs = images * prod(a.out for a in part.axes)
    at, count = direct.together(part, dtype)
    window = channels * prod(sizes) // sizes[at] * direct.common_taps(part.axes[at], count)
    flops = 2.0 * outputs * groups * filters * window
    moved = outputs * groups * window / count * dtype.itemsize
    rows = filters * count
    unit = GEMM.get(f"{dtype.kind}{dtype.itemsize}")  # float16 and long double have no BLAS
    thin = max(direct.FULL_RATE / rows, 1.0)
    work = flops * (unit * thin if unit else PLAIN / 2)
    return float(work + moved * COPIED + TILE * (1 + moved / direct.TILE_BYTES))


def _fft_seconds(part: Part, dtype: np.dtype[Any], images: int) -> float:
    groups, filters, channels, *_ = part.kernel.shape
    lines = fft.lines(part, dtype.itemsize)
    size = prod(line.length * len(line.pieces) for line in lines)
    doublings = sum(log2(max(line.length, 2)) for line in lines)
    parts = 2 if dtype.kind == "c" else 1
    item = dtype.itemsize // parts
    transforms = images * groups * (channels + filters) * parts
    seconds = transforms * size * doublings * TRANSFORMED.get(item, 2e-9) / 2
    products = 4.0 * images * groups * channels * filters * size * parts
    per_product = GEMM.get(f"c{2 * item}", 1e-10) if channels > 1 else 2.5e-10
    return float(seconds + products * per_product + CALL * 2)


TAPWISE = Engine("tapwise", tapwise.correlate)
ENGINES = {
    "direct": Engine("direct", direct.correlate),
    "fft": Engine("fft", fft.correlate),
}
SECONDS: dict[str, Callable[[Part, np.dtype[Any], int], float]] = {"direct": _direct_seconds, "fft": _fft_seconds}


class Choice(NamedTuple):
    """An engine and the reason for it."""

    engine: Engine
    reason: str


def select(name: EngineName, plan: Plan, dtype: np.dtype[Any], images: int, *, finite: bool) -> Choice:
    """The engine for results of ``dtype`` of that many images; ``auto`` takes the one that should be fastest."""
    if not finite:
        return Choice(TAPWISE, "the kernel holds inf or nan, which no padding may be multiplied with")
    if dtype.kind not in "fc":
        return Choice(ENGINES["direct"], "integers are exact, and transforms round")
    if name != "auto":
        return Choice(ENGINES[name], "asked for")
    parts = [part for part in plan.parts if part.kernel.size]
    predicted = {each: sum(cost(part, dtype, images) for part in parts) for each, cost in SECONDS.items()}
    best = min(predicted, key=predicted.__getitem__)
    told = ", ".join(f"{each} {seconds:.2g} s" for each, seconds in predicted.items())
    return Choice(ENGINES[best], f"should be fastest: {told}")
