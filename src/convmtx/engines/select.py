"""The one function that chooses an engine, and says why."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from convmtx import costs
from convmtx.costs import Work
from convmtx.engines import direct, fft, pytorch, separable, tapwise
from convmtx.engines.parts import Correlate, Part, Plan
from convmtx.errors import ArgumentError, MissingExtraError
from convmtx.typing import EngineName


class Engine(NamedTuple):
    """A way to apply a part of a map."""

    name: str
    correlate: Correlate
    #: What it takes for results of a type and a number of images; None for a part it cannot do.
    work: Callable[[Part, np.dtype[Any], int], Work | None]


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("direct", direct.correlate, direct.work),
        Engine("fft", fft.correlate, fft.work),
        Engine("separable", separable.correlate, separable.work),
        Engine("torch", pytorch.correlate, pytorch.work),
    )
}


#: How many times faster than the direct engine another must promise to be: the direct one rounds least.
MARGIN = 1.25


class Choice(NamedTuple):
    """An engine, the reason for it, and the work of each engine that can apply the map."""

    name: str
    correlate: Correlate
    reason: str
    works: dict[str, Work]


def select(name: EngineName, plan: Plan, dtype: np.dtype[Any], images: int) -> Choice:
    """The engine for results of ``dtype`` of that many images; ``auto`` takes the one that should be fastest.

    PyTorch is considered where it is imported already. The plan keeps the choice.
    """
    key = (name, dtype, images)
    if key not in plan.choices:
        plan.choices[key] = _selected(name, plan, dtype, images)
    choice: Choice = plan.choices[key]
    return choice


def _selected(name: EngineName, plan: Plan, dtype: np.dtype[Any], images: int) -> Choice:
    if not plan.finite:
        reason = "the kernel holds inf or nan, which no padding may be multiplied with"
        return Choice("tapwise", tapwise.correlate, reason, {})
    if dtype.kind not in "fc":
        works = {"direct": _together(ENGINES["direct"], plan, dtype, images) or {}}
        return Choice("direct", direct.correlate, "integers are exact, and transforms round", works)
    if name == "torch" and find_spec("torch") is None:
        remedy = 'Install it, as with pip install "convmtx[torch]"'
        raise MissingExtraError("engine='torch'", "Wanted the library torch", remedy)
    able = [each for each in ENGINES if each != "torch" or name == "torch" or "torch" in sys.modules]
    found = {each: _together(ENGINES[each], plan, dtype, images) for each in able}
    works = {each: work for each, work in found.items() if work is not None}
    if name == "auto":
        predicted = {each: costs.seconds(work) for each, work in works.items()}
        best = min(predicted, key=lambda each: predicted[each] * (1 if each == "direct" else MARGIN))
        told = ", ".join(f"{each} {seconds:.2g} s" for each, seconds in predicted.items())
        return Choice(best, ENGINES[best].correlate, f"should be fastest: {told}", works)
    if name not in works:
        got = f"engine={name!r} cannot apply this map in {dtype}"
        wanted = (
            f"Wanted an outer product for each of at most {separable.MANY} pairs of channels, no float16"
            if name == "separable"
            else "Wanted float32 and at most three axes"
        )
        raise ArgumentError(got, wanted, "Use engine='auto'")
    return Choice(name, ENGINES[name].correlate, "asked for", works)


def _together(engine: Engine, plan: Plan, dtype: np.dtype[Any], images: int) -> Work | None:
    works = [engine.work(part, dtype, images) for part in plan.parts if part.kernel.size]
    return None if None in works else costs.total(work for work in works if work is not None)
