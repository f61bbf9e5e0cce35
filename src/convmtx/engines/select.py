"""The one function that chooses an engine, and says why."""

from __future__ import annotations

from collections.abc import Callable
from math import log2, prod
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines import direct, fft, rates, tapwise
from convmtx.engines.parts import Correlate, Part, Plan
from convmtx.typing import EngineName


class Engine(NamedTuple):
    """A way to apply a part of a map."""

    name: str
    correlate: Correlate


def _direct_seconds(part: Part, dtype: np.dtype[Any], images: int) -> float:
    return direct.fastest(part, dtype, images)[1]


def _fft_seconds(part: Part, dtype: np.dtype[Any], images: int) -> float:
    groups, filters, channels, *_ = part.kernel.shape
    lines = fft.lines(part, dtype.itemsize)
    size = prod(line.length * len(line.pieces) for line in lines)
    doublings = sum(log2(max(line.length, 2)) for line in lines)
    parts = 2 if dtype.kind == "c" else 1
    item = dtype.itemsize // parts
    transforms = images * groups * (channels + filters) * parts
    seconds = transforms * size * doublings * rates.TRANSFORM.get(item, 2e-9) / 2
    products = images * groups * channels * filters * size * parts / 2
    return float(seconds + products * rates.PRODUCT + rates.CALL * 3)


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
