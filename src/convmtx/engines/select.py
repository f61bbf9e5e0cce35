"""The one function that chooses an engine, and says why."""

from __future__ import annotations

from collections.abc import Callable
from math import log2, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines import direct, fft, tapwise
from convmtx.engines.parts import Correlate, Part, Plan
from convmtx.typing import EngineName


class Cost(NamedTuple):
    """What an engine would do: multiply-adds or their equals, bytes it moves, seconds that should take."""

    flops: float
    bytes: float
    seconds: float


class Engine(NamedTuple):
    """A way to apply a part of a map, and what it would cost."""

    name: str
    correlate: Correlate
    cost: Callable[[Part, np.dtype[Any], int], Cost]


#: Seconds per unit on the machine of the last calibration (`benchmarks/calibrate.py`); only ratios matter.
GEMM = {"f4": 1.0e-11, "f8": 2.0e-11, "c8": 4.0e-11, "c16": 8.0e-11}  # a floating point operation of a wide GEMM
PLAIN = 1.0e-9  # a multiply-add without BLAS
COPIED = 1.0e-10  # a byte of windows gathered
TRANSFORMED = {4: 0.7e-9, 8: 1.0e-9}  # a position of a real transform, for each doubling of its length
TILE, CALL = 2.0e-5, 6.0e-5  # a tile, a transform


def _direct_cost(part: Part, dtype: np.dtype[Any], images: int) -> Cost:
    groups, filters, channels, *sizes = part.kernel.shape
    outputs = images * prod(a.out for a in part.axes)
    at, count = direct.together(part, dtype)
    window = channels * prod(sizes) // sizes[at] * direct.common_taps(part.axes[at], count)
    flops = 2.0 * outputs * groups * filters * window
    moved = outputs * groups * window / count * dtype.itemsize
    rows = filters * count
    unit = GEMM.get(f"{dtype.kind}{dtype.itemsize}")
    thin = max(direct.FULL_RATE / rows, 1.0)
    work = flops * (unit * thin if unit else PLAIN / 2)
    return Cost(flops, moved, work + moved * COPIED + TILE * (1 + moved / direct.TILE_BYTES))


def _fft_cost(part: Part, dtype: np.dtype[Any], images: int) -> Cost:
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
    moved = float(transforms * size * item * 4)
    return Cost(2.5 * transforms * size * doublings + products, moved, seconds + products * per_product + CALL * 2)


def _tapwise_cost(part: Part, dtype: np.dtype[Any], images: int) -> Cost:
    flops = 2.0 * images * part.kernel.size * prod(a.out for a in part.axes)
    return Cost(flops, flops * dtype.itemsize, flops * 2e-9)


TAPWISE = Engine("tapwise", tapwise.correlate, _tapwise_cost)
ENGINES = {
    "direct": Engine("direct", direct.correlate, _direct_cost),
    "fft": Engine("fft", fft.correlate, _fft_cost),
}


class Choice(NamedTuple):
    """An engine and the reason for it."""

    engine: Engine
    reason: str


def costs(plan: Plan, dtype: np.dtype[Any], images: int) -> dict[str, Cost]:
    """What each engine would take for ``images`` inputs, in results of ``dtype``."""
    found = {}
    for name, engine in ENGINES.items():
        if name == "fft" and dtype.kind not in "fc":
            continue
        each = [engine.cost(part, dtype, images) for part in plan.parts if part.kernel.size]
        found[name] = Cost(sum(c.flops for c in each), sum(c.bytes for c in each), sum(c.seconds for c in each))
    return found


def select(name: EngineName, plan: Plan, dtype: np.dtype[Any], images: int, *, finite: bool) -> Choice:
    """The engine for results of ``dtype`` of that many images; ``auto`` takes the one that should be fastest."""
    if not finite:
        return Choice(TAPWISE, "the kernel holds inf or nan, which no padding may be multiplied with")
    if dtype.kind not in "fc":
        return Choice(ENGINES["direct"], "integers are exact, and transforms round")
    if name != "auto":
        return Choice(ENGINES[name], "asked for")
    predicted = costs(plan, dtype, images)
    best = min(predicted, key=lambda each: predicted[each].seconds)
    told = ", ".join(f"{each} {cost.seconds:.2g} s" for each, cost in predicted.items())
    return Choice(ENGINES[best], f"should be fastest: {told}")
