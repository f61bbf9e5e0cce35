"""Curves of damped solutions of any map, estimated by a Lanczos process that starts at the data and at random probes.

Residuals and sizes come from a bidiagonalization that starts at b (O'Leary, Simmons, SIAM J. Sci. Stat. Comput. 2,
1981; Chung, Nagy, O'Leary, ETNA 28, 2008), degrees of freedom from those that start at random signs (Hutchinson, Comm.
Stat. Simul. Comput. 19, 1990; Golub, von Matt, J. Comput. Graph. Stat. 6, 1997). All run as one batch. Two quadrature
rules, of which one is above and one below, say which dampings are known. With a regularizer, the curve is projected on
a few solutions instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convmtx import costs
from convmtx.engines.products import norms
from convmtx.errors import ArgumentError
from convmtx.solves.curves.bidiagonal import Bidiagonalization, Rules
from convmtx.solves.curves.curve import CLEAR, KNOWN, POINTS, Curve, DampingChoice, Measure, Rule, choose_on, dampings
from convmtx.solves.curves.probes import with_probes
from convmtx.solves.curves.projected import ProjectedCurve
from convmtx.solves.methods.iterated import seconds_of_step
from convmtx.solves.problem import Problem, estimate_norm
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

#: Number of random signs in all probes together, and of probes. The estimate of the degrees of freedom is off by about
#: ``sqrt(2 / PROBED)`` of the number of data, 0.8 %, at all dampings alike: dampings of pictures move by 1 or 2 %.
PROBED, MOST_PROBES = 1 << 15, 32
#: Steps before the first choice, and the ratio of steps of one choice and the next. A curve takes from `FEWEST` to
#: `MOST` steps, as the limit of time allows.
FIRST, RATIO, FEWEST, MOST = 20, 1.4, 100, 1000
#: Arrays like all inputs and outputs that the process keeps.
VECTORS = 6


@dataclass(frozen=True, eq=False)
class Estimate:
    """Curve with the damping that was chosen, and the steps and probes that it comes from."""

    curve: Curve
    choice: DampingChoice
    steps: int
    probes: int


def estimate(problem: Problem, b: AnyArray, rule: Rule, level: float, bar: Any = None) -> Estimate:
    """Choose a damping for right-hand sides (m, *out_shape); ``level`` is the residual that the noise leaves.

    The damping of the problem is where numbers of a map and its regularizer are of one size. A bar is moved by each
    step.
    """
    _require_reached(problem, b)
    n_probes = _count_probes(problem) if rule in ("gcv", "rgcv") else 0
    estimated = _bidiagonal if problem.regularizer is None else _projected
    result = estimated(problem, b, n_probes, rule, level, bar)
    if result is None:
        got = "no damping is known after all steps"
        raise ArgumentError(got, "Expected a map whose adjoint is exact", "Check it, or compare a few dampings")
    return result


def _projected(problem: Problem, b: AnyArray, n_probes: int, rule: Rule, level: float, bar: Any) -> Estimate | None:
    """Return the curve on the span of solutions for a few dampings, with the choice on it."""
    projected = ProjectedCurve(problem, b, n_probes, rule, level, bar)
    choice = projected.choice()
    return None if choice is None else Estimate(*choice, projected.steps, n_probes)


def _bidiagonal(problem: Problem, b: AnyArray, n_probes: int, rule: Rule, level: float, bar: Any) -> Estimate | None:
    """Return the curve that a bidiagonalization shows, with the choice on it."""
    process, last = Process(problem, b, n_probes), None
    seconds = seconds_of_step(problem) * (len(b) + n_probes)
    # Without rounding, as many steps as rows or columns would be all there are.
    most = min(int(np.clip(costs.LONGEST_CURVE / seconds, FEWEST, MOST)), 4 * min(problem.op.shape))
    steps = FIRST
    while process.run.steps < most:
        before = process.run.steps
        process.run.advance(min(steps, most) - before)
        if bar is not None:
            bar.update(process.run.steps - before)
        steps = int(RATIO * steps) + 1
        part = process.part()
        if part is None:
            continue
        choice = choose_on(part.curve, rule, level, is_least=part.is_known_below)
        last = Estimate(part.curve, choice, part.steps, n_probes)
        if part.settles(choice):
            break
    return last


def _count_probes(problem: Problem) -> int:
    """Return the number of probes; with a regularizer each takes solves, and there are fewer."""
    signs = PROBED if problem.regularizer is None else PROBED // 4
    return min(-(-signs // problem.op.shape[0]), MOST_PROBES)


def _require_reached(problem: Problem, b: AnyArray) -> None:
    """Raise if the map is zero, or no part of b is in its range."""
    remedy = "Check the kernel and b"
    norm = estimate_norm(problem.forward, problem.adjoint, problem.op.in_shape)
    if not norm or not b.any():
        raise ArgumentError("op or b is zero", "Expected something to solve", remedy)
    image, size = (float(np.linalg.norm(norms(arrays))) for arrays in (problem.adjoint(b), b))
    if image <= EPS * problem.op.shape[0] ** 0.5 * norm * size:
        raise ArgumentError("b has no part in the range of op", "Expected something to solve", remedy)


@dataclass(frozen=True, eq=False)
class Part:
    """Part of a curve that is known after some steps."""

    curve: Curve
    steps: int
    #: Whether all dampings below, and all above, of those that are tried are known.
    is_known_below: bool
    is_known_above: bool

    def settles(self, choice: DampingChoice) -> bool:
        """Whether what is not known cannot change the choice: it is far enough away."""
        damps = self.curve.damps
        is_clear_below = self.is_known_below or choice.damp > CLEAR * damps[0]
        return is_clear_below and (self.is_known_above or choice.damp < damps[-1] / CLEAR)


class Process:
    """Bidiagonalization from data and probes, and the curve that its steps show."""

    def __init__(self, problem: Problem, b: AnyArray, n_probes: int) -> None:
        self.problem, self.n_rhs, self.n_probes = problem, len(b), n_probes
        starts = with_probes(problem, b, n_probes, VECTORS * sum(problem.op.shape))
        self.run = Bidiagonalization(problem.forward, problem.adjoint, starts)

    def part(self) -> Part | None:
        """Return the part of the curve that is known so far; None if there is none."""
        steps = self.run.steps
        data, freedom = self._measures(self.run.rules(steps, with_zero=True))
        largest = float(data.values.max(initial=0))
        if not largest:
            return None
        tried = dampings(largest, largest)
        is_known = self._agree(data, freedom, self.run.rules(steps, with_zero=False), tried)
        known = np.flatnonzero(is_known)[_longest_run(np.flatnonzero(is_known))]
        if len(known) < 2:
            return None
        low, high = tried[known[[0, -1]]]
        below, above = known[0] == 0, known[-1] == POINTS - 1
        words = f"that {steps} steps make known"
        ends = Curve.ends[0] if below else f"the least {words}", Curve.ends[1] if above else f"the largest {words}"
        curve = Curve(data, freedom, self.problem.op.shape[0], np.geomspace(low, high, POINTS), ends)
        return Part(curve, steps, below, above)

    def _agree(self, data: Measure, freedom: Measure | None, rules: Rules, tried: AnyArray) -> AnyArray:
        """Return at which dampings other rules say the same."""
        other, other_freedom = self._measures(rules)
        pairs = [
            (data.squared_residuals(tried), other.squared_residuals(tried)),
            (data.squared_sizes(tried), other.squared_sizes(tried)),
        ]
        if freedom is not None and other_freedom is not None:
            rows = self.problem.op.shape[0]
            pairs.append((rows - freedom.traces(tried), rows - other_freedom.traces(tried)))
        return np.all([np.abs(first - second) <= KNOWN * first for first, second in pairs], axis=0)

    def _measures(self, rules: Rules) -> tuple[Measure, Measure | None]:
        values = np.sqrt(rules.squares)
        data = Measure(values[: self.n_rhs].reshape(-1), rules.weights[: self.n_rhs].reshape(-1))
        if not self.n_probes:
            return data, None
        return data, Measure(values[self.n_rhs :].reshape(-1), rules.weights[self.n_rhs :].reshape(-1) / self.n_probes)


def _longest_run(numbers: AnyArray) -> slice:
    """Return the slice of the longest run of consecutive ascending numbers."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(numbers) > 1) + 1, [len(numbers)]])
    longest = int(np.diff(starts).argmax())
    return slice(int(starts[longest]), int(starts[longest + 1]))
