"""One problem, in double precision of NumPy, solved in one way or the other: the one function that chooses, and why."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from convmtx import memory
from convmtx.errors import ArgumentError, FormTooLargeError
from convmtx.progress import ticking
from convmtx.solves import ways
from convmtx.solves.iterated import PATIENCE, SLACK, Callback, Iterative, Run, limit_of, seconds_of_step, stopped
from convmtx.solves.lu import Singular
from convmtx.solves.problem import Problem, norms
from convmtx.solves.solution import Factors
from convmtx.solves.way import Way
from convmtx.typing import AnyArray

#: A direct way is taken where it should take no more than so many steps of LSMR, and made for many right-hand sides
#: where it should take no more than so many; how many these are is guessed.
STEPS, REUSED, MANY = 8, 2000, 10
#: Seconds that are not worth a thought, and those that a way may take where quicker ones found a map singular.
QUICK, LONGEST = 2e-3, 10.0
#: Arrays that iterations hold of inputs and outputs.
VECTORS = 6


class Asked(NamedTuple):
    """How a solve was asked for."""

    rtol: float
    maxiter: int | None
    x0: AnyArray | None
    callback: Callback | None
    progress: bool


class Outcome(NamedTuple):
    """What came of it, of each right-hand side where that differs."""

    x: AnyArray
    residual: AnyArray
    normal_residual: AnyArray
    converged: AnyArray
    method: str
    reason: str
    iterations: int
    history: tuple[float, ...]
    condition: float


class Made(NamedTuple):
    """Factors, and why these."""

    factors: Factors
    reason: str


def _named(problem: Problem, method: str, several: int) -> Made:
    """Factors by the method that was asked for."""
    if method in ("lsmr", "preconditioned"):
        return Made(Iterative(problem, method == "preconditioned"), "asked for")
    ranked = ways.ranked(problem, several)
    way = next((way for way in ranked if way.name == method), None)
    if way is None:
        names = sorted({way.name for way in ranked} | {"lsmr"})
        remedy = f"Use method='auto', or of {', '.join(names)}"
        raise ArgumentError(f"method={method!r}", "It does not apply to this problem", remedy)
    if not way.fits:
        got = f"method={method!r} takes {memory.human(int(way.bytes))}"
        wanted = f"Available are {memory.human(memory.available())}"
        raise FormTooLargeError(got, wanted, "Use method='auto'")
    return Made(way.make(), "asked for")


def _first(ranked: list[Way], several: int, limit: float = np.inf) -> Made | None:
    """The first of those within a time that fits into memory and does not turn out to be singular."""
    told = ""
    for way in ranked:
        if way.total(several) > limit:
            break
        if not way.fits:
            continue
        try:
            return Made(way.make(), told + way.why)
        except Singular as error:
            told = f"{way.name}: singular or ill-conditioned, condition about {error.condition:.1e}; so "
    return None


def factors_for_many(problem: Problem, method: str) -> Made:
    """Factors that are to be used again and again."""
    if method != "auto":
        return _named(problem, method, MANY)
    limit = max(QUICK, REUSED * seconds_of_step(problem))
    direct = _first(ways.ranked(problem, MANY), MANY, limit)
    return direct or Made(Iterative(problem, None), "direct ways would take longer")


def solved(problem: Problem, b: AnyArray, method: str, asked: Asked) -> Outcome:
    """Of (m, *out_shape)."""
    if method != "auto":
        try:
            return used(_named(problem, method, len(b)), b, asked)
        except Singular as error:
            return _failed(problem, b, method, error)
    ranked = ways.ranked(problem, len(b))
    quick = ranked[0].total(len(b)) <= QUICK
    steps = 0.0 if quick else seconds_of_step(problem) * len(b)
    direct = _first(ranked, len(b), max(QUICK, STEPS * steps))
    if direct is not None:
        return used(direct, b, asked)
    return _otherwise(problem, b, asked, ranked)


def predicted_seconds(problem: Problem, several: int, rtol: float, maxiter: int | None) -> float:
    """Seconds that ``auto`` should take at most, by the constants of the cost model."""
    direct = min((way.total(several) for way in ways.ranked(problem, several) if way.fits), default=np.inf)
    step = seconds_of_step(problem) * several
    if direct <= max(QUICK, STEPS * step):
        return direct
    steps = limit_of(problem) if maxiter is None else maxiter
    if clearance := Iterative(problem, None).clearance:  # the rate of convergence is that of conjugate gradients
        steps = min(steps, int(np.log(2 / rtol) / clearance / 2) + 1)
    return min(steps * step, PATIENCE * direct + direct)


def _otherwise(problem: Problem, b: AnyArray, asked: Asked, ranked: list[Way]) -> Outcome:
    """By iteration, unless it turns out that a direct way would take less time."""
    several = len(b)
    direct = next((way.total(several) for way in ranked if way.fits), np.inf)
    limit = direct / (seconds_of_step(problem) * several)
    outcome = _iterated(Made(Iterative(problem, None), "direct ways would take longer"), b, asked, limit)
    if outcome is not None:
        return outcome
    found = _first(ranked, several, max(10 * direct, LONGEST))
    if found is not None:
        return used(found._replace(reason=f"iterations would take longer; {found.reason}"), b, asked)
    outcome = _iterated(Made(Iterative(problem, None), "direct ways failed"), b, asked, np.inf)
    assert outcome is not None  # there was no limit
    if problem.damp or not outcome.converged.all():
        return outcome
    reason = "singular or ill-conditioned, say direct ways: x is near the least-squares solution of least norm"
    return outcome._replace(converged=~outcome.converged, reason=reason)


def used(found: Made, b: AnyArray, asked: Asked) -> Outcome:
    """A solve with factors that are there."""
    if isinstance(found.factors, Iterative):
        outcome = _iterated(found, b, asked, np.inf)
        assert outcome is not None  # there was no limit
        return outcome
    factors, reason = found
    x, residual, normal = factors.measured(b)
    if asked.callback is not None:
        stopped(asked.callback, x)
    converged = factors.problem.accepted(b, x, residual, normal, factors.norm, asked.rtol)
    if factors.missing and not factors.problem.damp:
        reason = _singular(factors, b, residual, asked.rtol)
        converged = np.zeros_like(converged)
    elif not converged.all():
        reason = f"ill-conditioned (condition about {factors.condition:.1e}): rounding leaves a larger normal residual"
    return Outcome(x, residual, normal, converged, factors.method, reason, 0, (), factors.condition)


def _singular(factors: Factors, b: AnyArray, residual: AnyArray, rtol: float) -> str:
    problem = factors.problem
    told = f"singular: {factors.missing} of {min(problem.op.shape)} singular values are taken as 0, "
    told += f"for they are at most {problem.cutoff:.1e} of the largest"
    if (residual > rtol * norms(b)).any():
        told += "; b is not in the range"
    return f"{told}; x is the least-squares solution of least norm"


def _failed(problem: Problem, b: AnyArray, method: str, error: Singular) -> Outcome:
    """No factors: nothing can be said of x."""
    x = np.full((len(b), *problem.op.in_shape), np.nan, np.result_type(b, problem.dtype))
    nothing = np.full(len(b), np.nan)
    reason = f"singular or ill-conditioned (condition about {error.condition:.1e}): "
    reason += "method='auto' finds a least-squares solution"
    if not problem.damp:
        reason += ", and damp > 0 makes it one that is well-conditioned"
    return Outcome(x, nothing, nothing, np.zeros(len(b), bool), method, reason, 0, (), error.condition)


def _iterated(found: Made, b: AnyArray, asked: Asked, limit: float) -> Outcome | None:
    """By LSMR, begun again where rounding had misled its estimates; None where a direct way would be faster."""
    factors = found.factors
    assert isinstance(factors, Iterative)
    problem = factors.problem
    size = VECTORS * len(b) * sum(problem.op.shape) * problem.dtype.itemsize
    memory.require("vectors", {"vectors": size})
    maxiter = limit_of(problem) if asked.maxiter is None else asked.maxiter
    x0, steps, run = factors.start(asked.x0, asked.rtol), 0, None
    reason = found.reason if x0 is asked.x0 else f"{found.reason}; x0 is not used, for it might change the solution"
    history: tuple[float, ...] = ()
    with ticking(asked.progress, "iterations", maxiter) as bar:
        while True:
            run = factors.run(b, asked.rtol, maxiter - steps, x0, asked.callback, bar, limit, run)
            if run is None:
                return None
            steps, since = steps + run.iterations, history[-1] if history else 1.0
            history += tuple(since * each for each in run.history)
            residual, normal = problem.residuals(b, run.x)
            accepted = problem.accepted(b, run.x, residual, normal, run.norm, SLACK * asked.rtol)
            if accepted.all() or not run.converged.all() or steps >= maxiter or run.iterations == 0:
                break
            x0 = run.x
    method = "LSMR" if run.preconditioner is None else f"LSMR, {run.preconditioner.method}"
    converged = accepted & run.converged
    outcome = Outcome(run.x, residual, normal, converged, method, reason, steps, history, run.condition)
    return _judged(problem, b, outcome, run, asked.rtol)


def _judged(problem: Problem, b: AnyArray, outcome: Outcome, run: Run, rtol: float) -> Outcome:
    """What is to be said of an iteration that came to an end."""
    condition = f"condition at least {run.condition:.1e}"
    if run.words:
        return outcome._replace(reason=f"{outcome.reason}; {run.words}")
    if not outcome.converged.all():
        reason = f"ill-conditioned ({condition}): rounding keeps the normal residual from falling"
        return outcome._replace(reason=reason)
    left = outcome.residual > 10 * rtol * (norms(b) + run.norm * norms(run.x))
    if problem.damp or problem.op.shape[0] > problem.op.shape[1] or not left.any():
        return outcome
    reason = (
        f"b is not in the range of op, or op is ill-conditioned ({condition}): x is near the least-squares solution; "
    )
    reason += "damp > 0 makes one that is well-conditioned"
    return outcome._replace(converged=~left, reason=reason)
