"""Least squares with bounds on x, sums of magnitudes and total variation, by alternating directions (ADMM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.arguments import one_of
from convmtx.engines.products import norms
from convmtx.errors import ArgumentError
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.solves.accuracy import Accuracy, ErrorKind
from convmtx.solves.arrays import require_finite
from convmtx.solves.constrained.admm import Alternation
from convmtx.solves.constrained.objectives import Objectives, PenaltyName
from convmtx.solves.constrained.terms import length
from convmtx.solves.problem import NUMBER, Problem
from convmtx.solves.result import Callback, Request, Result, Verdict, asks_to_stop
from convmtx.solves.select import Solver, Solvers, empty_result
from convmtx.typing import AnyArray

PENALTIES: tuple[str, ...] = PenaltyName.__args__  # type: ignore[attr-defined]
#: Lower and upper bounds of x, numbers or arrays of its shape; None is an open end.
Bounds = tuple[Any, Any]

#: Steps if ``maxiter`` is not passed.
MOST = 2000
#: Arrays like an input that a run keeps.
VECTORS = 20


def constrained(
    problem: Problem,
    b: AnyArray,
    request: Request,
    penalty: PenaltyName,
    bounds: Bounds | None,
    tolerance: float,
) -> Result:
    """Minimize ``|A x - b|^2 + damp^2 P(R x)`` within bounds, for right-hand sides (m, *out_shape).

    P is ``norm(.)**2`` ("squares"), ``sum(abs(.))`` ("l1") or the isotropic total variation of x ("tv"). The problem
    is one that `Problem.prepare` returned; b and the bounds are those of the caller.

    `Result.gap` is the difference between the objective and a lower bound of all others, over the objective; a run has
    converged if it is at most ``tolerance``. The lower bound is the value of the dual problem. Where this is infinite
    because nothing bounds x, it is the lower bound of the objective at all points that differ from x nowhere by more
    than the largest magnitude of x; `Result.why` says so.

    The method is ADMM (Boyd, Parikh, Chu, Peleato, Eckstein, Found. Trends Mach. Learn. 3, 2011) with over-relaxation
    and rho of each term by its residuals (Wohlberg 2017).

    Raises
    ------
    ArgumentError
        If numbers are complex, a penalty has no damping, or no x is within the bounds.
    """
    one_of("penalty", penalty, PENALTIES)
    _require_real(problem, b)
    _require_weight(problem, penalty)
    low, high = _read_bounds(bounds, problem)
    memory.require("vectors", {"vectors": VECTORS * NUMBER * sum(problem.op.shape)})
    objectives = Objectives(problem, penalty)
    maxiter = MOST if request.maxiter is None else request.maxiter
    x = np.zeros((len(b), *problem.op.in_shape))
    runs: list[_Run] = []
    with show_progress(request.progress, "iterations", maxiter * len(b)) as bar:
        for j, right in enumerate(b):
            unit = float(np.abs(right).max(initial=0)) or 1.0
            factor = unit / problem.scale  # of x over the x of the run
            objective = objectives.objective(right / unit, low / factor, high / factor, unit)
            start = None if request.x0 is None else request.x0[j] / factor
            watch = _Watch(request.callback, x, j, factor, bar)
            checkpoints = request.checkpoints
            checkpoint = checkpoints[j] if checkpoints is not None and len(checkpoints) == len(b) else None
            run = Alternation(objective, start, unit, checkpoint)
            verdict = run.advance(maxiter, tolerance, watch)
            x[j] = np.clip(factor * run.best, low, high)
            runs.append(_Run(run, verdict))
            if watch.is_stopped:
                break
    return _result(problem, b, x, runs, objectives, tolerance)


def are_open(bounds: Any) -> bool:
    """Whether bounds bound nothing: None, or None at both ends."""
    is_pair = isinstance(bounds, tuple | list) and len(bounds) == 2
    return bounds is None or (is_pair and all(end is None for end in bounds))


class Constraints(Solvers):
    """Solvers of the caller's problem within bounds and with a penalty; to derivatives x is a constant."""

    differentiable = False

    def __init__(self, problem: Problem, penalty: PenaltyName, bounds: Bounds | None, tolerance: float) -> None:
        super().__init__(problem, "auto")
        self.penalty, self.bounds, self.tolerance = penalty, bounds, tolerance

    def _build(self, op: LinearMap) -> Solver:
        return _ConstrainedSolver(self.problem.for_map(op), self)


class _ConstrainedSolver(Solver):
    def __init__(self, problem: Problem, constraints: Constraints) -> None:
        super().__init__(problem, "auto")
        self.constraints = constraints

    def solve(self, b: AnyArray, request: Request) -> Result:
        """Solve for right-hand sides (m, *out_shape)."""
        if not len(b):
            return empty_result(self.problem, b)
        of = self.constraints
        return constrained(self.problem, require_finite("b", b), request, of.penalty, of.bounds, of.tolerance)


@dataclass(frozen=True, eq=False)
class _Run:
    """Run of one right-hand side, and how it ended."""

    run: Alternation
    verdict: Verdict

    @property
    def normal_residual(self) -> float:
        """Length of the gradient, without what bounds and sums of magnitudes balance: 0 at the solution."""
        run = self.run
        return run.unit * length(run.best - run.objective.inputs.moved(run.best, run.s))

    @property
    def error(self) -> float:
        """Bound of the error of x as the run has it, nan if none is known.

        With a ridge the gap is at least ``ridge / 2 * |x - solution|^2``.
        """
        ridge = self.run.objective.inputs.ridge
        return (2 * self.run.gap / ridge) ** 0.5 if ridge else np.nan


@dataclass(eq=False)
class _Watch:
    """Callback and bar of a batch, which are shown all right-hand sides after each step of one."""

    callback: Callback | None
    x: AnyArray
    index: int
    factor: float
    bar: Any
    is_stopped: bool = False

    def __call__(self, run: Alternation) -> bool:
        """Move the bar and call the callback; return whether it asks to stop."""
        if self.bar is not None:
            self.bar.update(1)
        if self.callback is not None:
            self.x[self.index] = self.factor * run.x
            self.is_stopped = asks_to_stop(self.callback, self.x)
        return self.is_stopped


def _result(
    problem: Problem, b: AnyArray, x: AnyArray, runs: list[_Run], objectives: Objectives, tolerance: float
) -> Result:
    """Return the solutions with what is known of them; right-hand sides after a stop have none."""
    missing = [np.inf] * (len(b) - len(runs))
    units = np.array([run.run.unit for run in runs] + [1.0] * len(missing))
    left = (b - problem.forward(x * problem.scale)) / units.reshape(-1, *(1 for _ in b.shape[1:]))
    gaps = np.array([run.run.relative_gap for run in runs] + missing)
    unsolved = [run.verdict for run in runs if run.verdict is not Verdict.SOLVED]
    return Result(
        x,
        residual=units * norms(left),
        normal_residual=problem.scale * np.array([run.normal_residual for run in runs] + missing),
        converged=gaps <= tolerance,
        method=f"alternating directions ({objectives.space.method})",
        why=_why(gaps, runs),
        accuracy=_accuracy(problem, x, runs, len(missing)),
        verdict=unsolved[0] if unsolved else Verdict.SOLVED,
        iterations=max((run.run.steps for run in runs), default=0),
        history=tuple(runs[-1].run.history) if runs else (),
        gap=gaps,
        checkpoints=(*(run.run.checkpoint for run in runs), *(None for _ in missing)) if unsolved or missing else None,
    )


def _accuracy(problem: Problem, x: AnyArray, runs: list[_Run], missing: int) -> Accuracy:
    """Return the bounds of the errors of x."""
    error = np.array([run.error * run.run.unit / problem.scale for run in runs] + [np.nan] * missing)
    return Accuracy(error, norms(x), ErrorKind.UNKNOWN if np.isnan(error).any() else ErrorKind.BOUND)


def _why(gaps: AnyArray, runs: list[_Run]) -> str:
    """Return the gap in words, and over which x it is certified."""
    is_everywhere = all(run.run.objective.inputs.is_bounded for run in runs)
    among = "all x" if is_everywhere else "all x that differ from it by at most the largest magnitude at each place"
    return (
        f"by the duality gap, the objective is at most {gaps.max(initial=0):.1e} of itself above the least of {among}"
    )


def _require_real(problem: Problem, b: AnyArray) -> None:
    if problem.dtype.kind == "c" or b.dtype.kind == "c":
        got = "complex numbers with bounds, penalty='l1' or penalty='tv'"
        raise ArgumentError(got, "Expected a real map and real b", "Solve for the real and imaginary parts of b")


def _require_weight(problem: Problem, penalty: str) -> None:
    if penalty == "tv" and problem.regularizer is not None:
        got = "penalty='tv' with a regularizer"
        raise ArgumentError(got, "The total variation is that of x", "Leave one of both out")
    if penalty != "squares" and not problem.damp:
        got = f"penalty={penalty!r} with damp=0"
        raise ArgumentError(got, "It would have no effect", "Pass damp > 0, or leave it out")


def _read_bounds(bounds: Bounds | None, problem: Problem) -> tuple[AnyArray, AnyArray]:
    """Return bounds as arrays that broadcast with x, infinite at open ends."""
    expected = "Expected a pair of numbers, or of arrays of in_shape, the lower one first"
    remedy = "For example bounds=(0, None)"
    try:
        pair = (None, None) if bounds is None else tuple(bounds)
        if len(pair) != 2:
            raise ArgumentError(f"bounds has {len(pair)} entries", expected, remedy)
        infinite = (-np.inf, np.inf)
        ends = [np.asarray(e if a is None else a, float) for a, e in zip(pair, infinite, strict=True)]
        low, high = ends
        np.broadcast_to(low, problem.op.in_shape), np.broadcast_to(high, problem.op.in_shape)
    except (TypeError, ValueError) as error:
        if isinstance(error, ArgumentError):
            raise
        raise ArgumentError("bounds that cannot be read", expected, remedy) from None
    if not (low <= high).all() or (low == np.inf).any() or (high == -np.inf).any():
        raise ArgumentError("bounds that no x is within", "Expected low <= high, without nan", remedy)
    return low, high
