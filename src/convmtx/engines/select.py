"""Choose the engine that applies a NumPy array, and say why."""

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
    """Functions that fill the outputs of a part, and say how much work that is."""

    name: str
    correlate: Correlate
    #: Work for results of a type and a number of images; None for a part that the engine cannot fill.
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


#: Take another engine than the direct one only if it should be this many times as fast: the direct one rounds least.
MARGIN = 1.25


class Choice(NamedTuple):
    """An engine, the reason for it, and the work of each engine that can apply the map."""

    name: str
    correlate: Correlate
    reason: str
    works: dict[str, Work]


def select(name: EngineName, plan: Plan, dtype: np.dtype[Any], images: int) -> Choice:
    """Choose the engine for results of ``dtype`` of that many images; ``auto`` takes the one that should be fastest.

    PyTorch is a candidate only if it is imported already. The plan keeps the choice, beside the rates that it was made
    with: after `convmtx.tune` it is made anew.
    """
    key = (name, dtype, images, costs.rates())
    if key not in plan.choices:
        plan.choices[key] = _choose(name, plan, dtype, images)
    choice: Choice = plan.choices[key]
    return choice


def _choose(name: EngineName, plan: Plan, dtype: np.dtype[Any], images: int) -> Choice:
    if not plan.finite:
        reason = "the kernel contains inf or nan, which no padding may be multiplied with"
        return Choice("tapwise", tapwise.correlate, reason, {})
    if dtype.kind not in "fc":
        works = {"direct": _total_work(ENGINES["direct"], plan, dtype, images) or {}}
        return Choice("direct", direct.correlate, "integers are exact, and transforms round", works)
    if name == "torch" and find_spec("torch") is None:
        remedy = 'Install it, as with pip install "convmtx[torch]"'
        raise MissingExtraError("engine='torch'", "Expected the library torch", remedy)
    candidates = [engine for engine in ENGINES if engine != "torch" or name == "torch" or "torch" in sys.modules]
    all_works = {engine: _total_work(ENGINES[engine], plan, dtype, images) for engine in candidates}
    works = {engine: work for engine, work in all_works.items() if work is not None}
    if name == "auto":
        predicted = {engine: costs.seconds(work) for engine, work in works.items()}
        best = min(predicted, key=lambda engine: predicted[engine] * (1 if engine == "direct" else MARGIN))
        times = ", ".join(f"{engine} {seconds:.2g} s" for engine, seconds in predicted.items())
        return Choice(best, ENGINES[best].correlate, f"predicted to be fastest: {times}", works)
    if name not in works:
        got = f"engine={name!r} cannot apply this map in {dtype}"
        expected = (
            f"Expected an outer product for each of at most {separable.MAX_PAIRS} pairs of channels, no float16"
            if name == "separable"
            else "Expected float32 and at most three axes"
        )
        raise ArgumentError(got, expected, "Use engine='auto'")
    return Choice(name, ENGINES[name].correlate, "requested", works)


def _total_work(engine: Engine, plan: Plan, dtype: np.dtype[Any], images: int) -> Work | None:
    """Add the work of all parts; None if the engine cannot fill one of them."""
    works = [engine.work(part, dtype, images) for part in plan.parts if part.kernel.size]
    return None if None in works else costs.total(work for work in works if work is not None)
