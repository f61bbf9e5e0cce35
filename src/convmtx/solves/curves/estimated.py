"""Curves of damped solutions of any map, estimated by a Lanczos process that starts at the data and at random probes.

Residuals and sizes come from a bidiagonalization that starts at b (O'Leary, Simmons, SIAM J. Sci. Stat. Comput. 2,
1981; Chung, Nagy, O'Leary, ETNA 28, 2008), degrees of freedom from those that start at random signs (Hutchinson, Comm.
Stat. Simul. Comput. 19, 1990; Golub, von Matt, J. Comput. Graph. Stat. 6, 1997). All run as one batch. Two quadrature
rules, of which one is above and one below, say which dampings are known.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from convmtx import costs, memory
from convmtx.engines.products import norms
from convmtx.errors import ArgumentError
from convmtx.solves.curves.bidiagonal import Bidiagonalization, Rules
from convmtx.solves.curves.curve import POINTS, Curve, DampingChoice, Measure, Rule, dampings
from convmtx.solves.factors import Factors
from convmtx.solves.methods.iterated import seconds_of_step
from convmtx.solves.problem import Problem, estimate_norm
from convmtx.solves.result import Request
from convmtx.solves.select import choose_for_reuse
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

#: Number of random signs in all probes together, and of probes. The estimate of the degrees of freedom is off by about
#: ``sqrt(2 / PROBED)`` of the number of data, 0.8 %, at all dampings alike: dampings of pictures move by 1 or 2 %.
PROBED, MOST_PROBES = 1 << 15, 32
#: Difference of the two rules, relative to a squared residual or to what degrees of freedom are left, that is known.
KNOWN = 1e-3
#: Ratio of a choice to the ends of what is known, from which the curve beyond does not matter.
CLEAR = 2.0
#: Steps before the first choice, and the ratio of steps of one choice and the next. Without a regularizer a
#: curve takes from `FEWEST` to `MOST` steps, as the limit of time allows.
FIRST, RATIO, FEWEST, MOST = 20, 1.4, 100, 1000
#: Steps with a regularizer, before the first choice and before another reference is taken.
FIRST_SOLVES, MOST_SOLVES = 6, 24
#: Number of reference dampings, and the ratio of one to the next.
REFERENCES, LOWER = 6, 10.0
#: Tolerance of the solves of a regularized problem.
INNER = 1e-5
#: Arrays like all inputs and outputs that the process keeps.
VECTORS = 6
#: Distance of ``c^2`` from 1 that may be rounding: the regularizer leaves such directions free.
FREE = 1e-12


@dataclass(frozen=True, eq=False)
class Estimate:
    """Curve with the damping that was chosen, and the steps and probes that it comes from."""

    curve: Curve
    choice: DampingChoice
    steps: int
    probes: int


def estimate(problem: Problem, b: AnyArray, rule: Rule, level: float) -> Estimate:
    """Choose a damping for right-hand sides (m, *out_shape); ``level`` is the residual that the noise leaves.

    The damping of the problem is where numbers of a map and its regularizer are of one size.
    """
    _require_reached(problem, b)
    n_probes = _count_probes(problem) if rule == "gcv" else 0
    last = None
    for process, first, most in _processes(problem, b, n_probes):
        for part in _steps(process, first, most, 0.0 if problem.regularizer is None else problem.damp):
            if part is None:
                continue
            choice = part.choose(rule, level)
            last = Estimate(part.curve, choice, part.steps, n_probes)
            if part.settles(choice):
                return last
            if part.is_below(choice) and problem.regularizer is not None:
                break  # a lower reference makes known more than further steps
    if last is None:
        got = f"no damping is known after {MOST} steps"
        raise ArgumentError(got, "Expected a map whose adjoint is exact", "Check it, or compare a few dampings")
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


def _processes(problem: Problem, b: AnyArray, n_probes: int) -> Iterator[tuple[Process, int, int]]:
    """Yield a process with the steps before its first choice and in all; with a regularizer, one for each reference."""
    if problem.regularizer is None:
        seconds = seconds_of_step(problem) * (len(b) + n_probes)
        # Without rounding, as many steps as rows or columns would be all there are.
        most = min(int(np.clip(costs.LONGEST_CURVE / seconds, FEWEST, MOST)), 4 * min(problem.op.shape))
        yield Process(problem, b, n_probes), FIRST, most
        return
    for lower in range(REFERENCES):
        reference = replace(problem, damp=problem.damp * LOWER**-lower)
        yield Process(reference, b, n_probes), FIRST_SOLVES, MOST_SOLVES


def _steps(process: Process, first: int, most: int, scale: float) -> Iterator[Part | None]:
    """Yield the known part of the curve after some steps, again and again."""
    steps = first
    while process.run.steps < most:
        process.run.advance(min(steps, most) - process.run.steps)
        yield process.part(scale)
        steps = int(RATIO * steps) + 1


@dataclass(frozen=True, eq=False)
class Part:
    """Part of a curve that is known after some steps."""

    curve: Curve
    steps: int
    #: Whether all dampings below, and all above, of those that are tried are known.
    is_known_below: bool
    is_known_above: bool

    def choose(self, rule: Rule, level: float) -> DampingChoice:
        """Choose a damping, or the least that is known if the residual there is more than the noise leaves."""
        if rule == "discrepancy" and not self.is_known_below:
            scores = self.curve.residuals(self.curve.damps) - level
            if scores[0] > 0:
                return DampingChoice(float(self.curve.damps[0]), scores, True)
        return self.curve.choose(rule, level)

    def is_below(self, choice: DampingChoice) -> bool:
        """Whether a choice is the least damping that is known, so that the right one may be far below."""
        return not self.is_known_below and choice.damp <= self.curve.damps[1]

    def settles(self, choice: DampingChoice) -> bool:
        """Whether what is not known cannot change the choice: it is far enough away."""
        damps = self.curve.damps
        is_clear_below = self.is_known_below or choice.damp > CLEAR * damps[0]
        return is_clear_below and (self.is_known_above or choice.damp < damps[-1] / CLEAR)


class Process:
    """Bidiagonalization from data and probes, and the curve that its steps show.

    With a regularizer, inputs are measured by ``H = A^H A + d^2 R^H R`` for the damping d of the problem. There,
    directions that the regularizer leaves free are like others, and dampings around d are known after few steps. Up to
    d the two rules are bounds from both sides. Above d both are upper bounds, and have to agree with fewer steps too.
    """

    def __init__(self, problem: Problem, b: AnyArray, n_probes: int) -> None:
        self.problem, self.n_rhs, self.n_probes = problem, len(b), n_probes
        size = VECTORS * (len(b) + n_probes) * sum(problem.op.shape) * b.dtype.itemsize
        memory.require("vectors", {"vectors": size})
        shape = (n_probes, *problem.op.out_shape)
        signs = np.random.default_rng(0).integers(0, 2, shape) * 2.0 - 1.0
        self._factors: Factors | None = None
        if problem.regularizer is not None:
            self._factors = choose_for_reuse(problem, "auto").factors
        solve = None if self._factors is None else self._solve
        self.run = Bidiagonalization(problem.forward, problem.adjoint, np.concatenate([b, signs]), solve)

    def _solve(self, u: AnyArray) -> AnyArray:
        """Return ``H^-1 A^H u``."""
        assert self._factors is not None
        return self._factors.run(u, Request(INNER, xtol=1.0), "").x

    def part(self, scale: float) -> Part | None:
        """Return the part of the curve that is known so far; None if there is none."""
        steps = self.run.steps
        data, freedom = self._measures(self.run.rules(steps, with_zero=True))
        largest = float(data.values.max(initial=0))
        if not largest:
            return None
        tried = dampings(scale or largest, max(largest, scale))
        is_known = self._agree(data, freedom, self.run.rules(steps, with_zero=False), tried)
        if self.problem.regularizer is not None:
            earlier = self._agree(data, freedom, self.run.rules(int(steps / RATIO), with_zero=False), tried)
            is_known &= earlier | (tried <= self.problem.damp)
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
        values = rules.squares
        if self.problem.regularizer is not None:
            values = np.divide(values, 1 - values, out=np.full_like(values, np.inf), where=values < 1 - FREE)
        values = np.sqrt(values) * (1.0 if self.problem.regularizer is None else self.problem.damp)
        data = _measure(values[: self.n_rhs], rules.weights[: self.n_rhs])
        if not self.n_probes:
            return data, None
        return data, _measure(values[self.n_rhs :], rules.weights[self.n_rhs :] / self.n_probes)


def _measure(values: AnyArray, weights: AnyArray) -> Measure:
    is_finite = np.isfinite(values)
    return Measure(values[is_finite], weights[is_finite], float(weights[~is_finite].sum()))


def _longest_run(numbers: AnyArray) -> slice:
    """Return the slice of the longest run of consecutive ascending numbers."""
    starts = np.concatenate([[0], np.flatnonzero(np.diff(numbers) > 1) + 1, [len(numbers)]])
    longest = int(np.diff(starts).argmax())
    return slice(int(starts[longest]), int(starts[longest + 1]))
