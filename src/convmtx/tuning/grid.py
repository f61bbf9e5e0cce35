"""Choices of an engine on a grid of convolutions, under one set of rates and another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from convmtx import costs, rates
from convmtx.costs import Work
from convmtx.engines.parts import Plan
from convmtx.engines.prepared import Calls
from convmtx.engines.select import select
from convmtx.maps.convolution import ConvOperator
from convmtx.rates import Rates
from convmtx.taps import taps_of
from convmtx.tuning.clock import least_seconds
from convmtx.tuning.engines import EngineCase
from convmtx.typing import AnyArray, EngineName

#: Convolutions that no rate is fitted to.
GRID = tuple(
    replace(EngineCase(*shape), dtype=dtype, outer=outer)
    for shape, outer in (
        (((300,), (9,)), False), (((20_000,), (21,)), False), (((100_000,), (301,)), False),
        (((48, 48), (3, 3)), False), (((200, 200), (3, 3)), False), (((400, 400), (7, 7)), False),
        (((320, 320), (21, 21)), False), (((400, 400), (13, 13)), True), (((96, 96), (3, 3), 4, 8), False),
        (((40, 40), (3, 3), 32, 48), False), (((48, 48), (9, 9), 4, 4), False),
        (((32, 32), (3, 3), 48, 48, 48, 1, 4), False), (((20, 20, 20), (5, 5, 5)), False),
    )
    for dtype in ("f4", "f8")
)  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """Engines chosen before and after tuning for one convolution, with predicted and measured seconds."""

    case: str
    before: str
    after: str
    #: Predicted seconds of the engine before and after.
    predicted_before: float
    predicted_after: float
    #: Measured seconds of the engine before and after, and of the fastest engine.
    measured_before: float
    measured_after: float
    fastest: str
    measured_fastest: float

    @property
    def regret_before(self) -> float:
        """Time of the engine that was chosen before tuning, over that of the fastest one; 1 is best."""
        return self.measured_before / self.measured_fastest

    @property
    def regret_after(self) -> float:
        """Time of the engine that is chosen after tuning, over that of the fastest one; 1 is best."""
        return self.measured_after / self.measured_fastest


def compare_choices(case: EngineCase, before: Rates, after: Rates) -> Choice:
    """Time all engines for one convolution, and compare the choices under two sets of rates."""
    op, x = case.build()
    # An engine does the same under both rates if its work is the same; then it is one run.
    runs: dict[tuple[str, frozenset[Any]], Callable[[], Any]] = {}
    choices, keys = [], []
    for tried in (before, after):
        with rates.use(tried):
            plan = _plan(op)
            choice = select("auto", plan, x.dtype, len(x))
            choices.append((choice.engine.name, costs.seconds(choice.works[choice.engine.name])))
            keys.append((choice.engine.name, _amounts(choice.works[choice.engine.name])))
        for name, work in choice.works.items():
            runs.setdefault((name, _amounts(work)), partial(_apply, tried, Calls(plan, cast("EngineName", name)), x))
    seconds = dict(zip(runs, least_seconds(list(runs.values())), strict=True))
    times = {key: taken for key, taken in seconds.items() if taken is not None}
    fastest = min(times, key=lambda key: times[key])
    return Choice(
        str(case), choices[0][0], choices[1][0], choices[0][1], choices[1][1], times[keys[0]], times[keys[1]],
        fastest[0], times[fastest],
    )  # fmt: skip


def _plan(op: ConvOperator) -> Plan:
    """Return a plan that has kept nothing yet."""
    return Plan(op.geometry, taps_of(op.geometry, op.kernel))


def _amounts(work: Work) -> frozenset[Any]:
    return frozenset(work.items())


def _apply(tried: Rates, calls: Calls, x: AnyArray) -> None:
    """Apply a map by an engine, which chooses its tiles under these rates, as a call that is repeated."""
    with rates.use(tried):
        calls(x)
