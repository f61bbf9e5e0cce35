"""The one function that chooses an engine, and says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines import direct, fft, rates, tapwise
from convmtx.engines.parts import Correlate, Part, Plan
from convmtx.engines.rates import Work
from convmtx.typing import EngineName


class Engine(NamedTuple):
    """A way to apply a part of a map."""

    name: str
    correlate: Correlate


def _direct_work(part: Part, dtype: np.dtype[Any], images: int) -> Work:
    return direct.work(part, direct.fastest(part, dtype, images)[0], dtype, images)


TAPWISE = Engine("tapwise", tapwise.correlate)
ENGINES = {
    "direct": Engine("direct", direct.correlate),
    "fft": Engine("fft", fft.correlate),
}
WORK: dict[str, Callable[[Part, np.dtype[Any], int], Work]] = {"direct": _direct_work, "fft": fft.work}


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
    predicted = {each: sum(rates.seconds(work(part, dtype, images)) for part in parts) for each, work in WORK.items()}
    best = min(predicted, key=predicted.__getitem__)
    told = ", ".join(f"{each} {seconds:.2g} s" for each, seconds in predicted.items())
    return Choice(ENGINES[best], f"should be fastest: {told}")
