"""Solves by iteration: LSMR, with a preconditioner if that is worth its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import Enum, auto
from functools import cached_property
from typing import Any

import numpy as np

from convmtx import costs, memory
from convmtx.engines.products import norms
from convmtx.errors import UnsupportedError
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.solves.factors import Factors
from convmtx.solves.methods.iteration import FIRST, SLACK, Iteration
from convmtx.solves.methods.lsmr import LSMR, lsmr
from convmtx.solves.methods.preconditioners import approximate
from convmtx.solves.methods.window_preconditioner import FLOOR, window_preconditioner
from convmtx.solves.problem import LARGE, Problem, WithIdentity, estimate_norm, stacked_map
from convmtx.solves.result import Request, Result, Verdict, asks_to_stop
from convmtx.structure.double import sparse
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

#: Steps that have to be left before a preconditioner is built.
MANY = 60
#: Give up iterating after this many times the predicted seconds of the best direct method.
PATIENCE = 3.3
#: Factor by which the tolerance of iterations becomes smaller while x is not exact enough.
FINER = 10.0
#: Tolerance of solves for which nobody requested one: inverses, gradients.
EXACT = 1e-12
#: Iterations if ``maxiter`` is not passed: as many as unknowns, but from this to that.
FEWEST, MOST = 1000, 10_000
#: Arrays like all inputs and outputs that iterations keep.
VECTORS = 6
#: What iterations cannot know: without damping, and with a preconditioner where x itself is not penalized.
UNMET = "; singular values that no step has met do not show"
NOT_SHORTEST = "; if some x is not seen at all, there is a shorter solution"


class Ending(Enum):
    """Why a search ended."""

    CONVERGED = auto()
    OUT_OF_STEPS = auto()
    STOPPED = auto()
    #: A direct method should be faster.
    SLOW = auto()


class Search:
    """Runs with and without a preconditioner that take turns: the one that has less to do goes on.

    ``limit`` is the number of steps in which a direct method would be done.
    """

    def __init__(
        self, factors: Iterative, b: AnyArray, request: Request, limit: float = np.inf, bar: Any = None
    ) -> None:
        self.factors, self.b, self.request, self.limit, self.bar = factors, b, request, limit, bar
        self.steps, self.rtol = 0, request.rtol
        #: Decrease of the normal residual by which the steps that are left are predicted.
        self.aim = request.rtol
        #: Decrease of the normal residual before the last restart.
        self.before: list[float] = []
        #: Whether a preconditioner may still be built.
        self.looks = factors.is_open
        first = None if self.looks else factors.preconditioner
        self.run = Iteration(factors.problem, b, request.x0, first)
        self.waiting: Iteration | None = None
        #: Which right-hand sides have converged.
        self.converged = np.zeros(len(b), bool)

    def advance(self, maxiter: int) -> Ending:
        """Take at most so many steps, until all right-hand sides have converged or the search is given up."""
        ending = self._advance(maxiter)
        self.converged = self.run.converged(self.rtol)
        return ending

    @property
    def history(self) -> list[float]:
        """The largest normal residual of the batch after each step, over that at the start."""
        before = self.before[-1] if self.before else 1.0
        return [*self.before, *(before * size for size in self.run.history)]

    def _advance(self, maxiter: int) -> Ending:
        request = self.request
        while not self.run.is_done(self.rtol):
            if self.steps >= maxiter:
                return Ending.OUT_OF_STEPS
            if self.steps > PATIENCE * self.limit:
                return Ending.SLOW
            self._step()
            if request.callback is not None and asks_to_stop(request.callback, self.run.state.x):
                self.run.is_done(self.rtol)
                return Ending.STOPPED
            if self.run.is_due and not self._has_time():
                return Ending.SLOW
        return Ending.CONVERGED

    def _step(self) -> None:
        self.run.step()
        self.steps += 1
        if self.bar is not None:
            self.bar.update(1)

    def _has_time(self) -> bool:
        """Choose the run that goes on; return whether it should end before a direct method would."""
        if self.waiting is not None and self.waiting.steps_left(self.aim) < self.run.steps_left(self.aim):
            self.run, self.waiting = self.waiting, self.run
        if self.run.steps_left(self.rtol) > self.limit:
            return False
        left = self.run.steps_left(self.aim)
        is_worth = left > MANY and left * seconds_of_step(self.factors.problem) > costs.PRECONDITIONER_SETUP
        if self.looks and self.waiting is None and is_worth and self.factors.build_preconditioner():
            new = Iteration(self.factors.problem, self.b, self.request.x0, self.factors.preconditioner)
            self.run, self.waiting = new, self.run
        return True

    def restart(self) -> None:
        """Begin again at the solution so far, with the preconditioner of the last run."""
        self.before, self.looks, self.waiting, self.aim = self.history, False, None, self.rtol
        self.run = Iteration(self.factors.problem, self.b, self.run.state.x, self.run.preconditioner)

    def tighten(self, excess: float) -> bool:
        """Go on to a smaller tolerance, for the error of x is so many times too large; return whether there is time.

        The error falls with the normal residual. How far that has to fall tells how many steps are left.
        """
        self.aim = max(self.run.history[-1] / excess, EPS) if self.run.history else EPS
        self.rtol /= FINER
        return len(self.run.history) < FIRST or self._has_time()


class Iterative(Factors):
    """LSMR, from any start to any tolerance.

    With ``preconditioned=None``, the first steps of a solve show whether a preconditioner is worth its time.
    """

    def __init__(self, problem: Problem, preconditioned: bool | None) -> None:
        self.problem, self.norm, self.condition, self.preconditioned = problem, np.nan, np.nan, preconditioned
        self.preconditioner: Factors | None = choose_preconditioner(problem) if preconditioned else None
        #: Whether a preconditioner may be built. Without damping it would lead to another solution than the shortest.
        self.is_open = preconditioned is None and (problem.damp > 0 or problem.known_ridge > 0)
        self.method = _method(self.preconditioner)

    @cached_property
    def clearance(self) -> float:
        """Lower bound of the least singular value over the largest, as far as one is known without iterating."""
        stacked, ridge = stacked_map(self.problem), self.problem.known_ridge
        norm = estimate_norm(stacked.forward, stacked.adjoint, self.problem.op.in_shape)
        size = float(np.hypot(norm, ridge))
        return max(ridge, dominance(self.problem.op)) / size if size else 0.0

    def accepts_start(self, rtol: float) -> bool:
        """Whether iterations from any start end at the same solution.

        They keep what a start has in the null space, and beside small singular values what their tests let through: of
        x no more than ``sqrt(rtol)`` where the least singular value is ``sqrt(rtol)`` of the largest.
        """
        return self.clearance >= rtol**0.5

    def build_preconditioner(self) -> bool:
        """Build the preconditioner, unless it is there; return whether there is one."""
        if self.preconditioner is None:
            try:
                self.preconditioner = choose_preconditioner(self.problem)
            except (UnsupportedError, MemoryError):
                self.is_open = False
                return False
        return True

    def run(self, b: AnyArray, request: Request, why: str) -> Result:
        result = self.run_within(b, request, why, np.inf)
        assert result is not None  # there was no limit
        return result

    def run_within(self, b: AnyArray, request: Request, why: str, limit: float) -> Result | None:
        """Iterate, again from the solution if rounding had misled the estimates.

        Return None if that would take, or has taken, clearly more steps than ``limit``.
        """
        problem, rtol = self.problem, request.rtol
        if problem.split is not None and self.preconditioner is None:
            above, below = problem.split_right_side(b)
            if below is None:
                return self._run_split(problem.split, b, above, request, why, limit)
        size = VECTORS * len(b) * sum(problem.op.shape) * problem.dtype.itemsize
        memory.require("vectors", {"vectors": size})
        maxiter = most_steps(problem) if request.maxiter is None else request.maxiter
        if request.x0 is not None and not self.accepts_start(rtol):
            why += "; x0 is not used, for it might change the solution"
            request = replace(request, x0=None)
        with show_progress(request.progress, "iterations", maxiter) as bar:
            search = Search(self, b, request, limit, bar)
            while True:
                steps = search.steps
                ending = search.advance(maxiter)
                if ending is Ending.SLOW:
                    return None
                run, x = search.run, search.run.state.x
                lengths = problem.lengths(x, *problem.residuals(b, x))
                accepted = problem.accepts(b, lengths, run.norm, SLACK * rtol)
                is_over = ending is not Ending.CONVERGED or search.steps >= maxiter
                is_last = is_over or run.state.all_finished or search.rtol <= EPS
                accuracy = run.accuracy(lengths, request.xtol, is_last)
                exceeds = accuracy.exceeds(request.xtol)
                if is_over or (accepted.all() and (not exceeds.any() or run.state.all_finished)):
                    break
                if accepted.all() and search.rtol > EPS:
                    excess = float((accuracy.relative / request.xtol)[exceeds].max())
                    if not search.tighten(excess):
                        return None
                elif search.steps > steps:
                    search.restart()
                else:
                    break
        why += "" if problem.damp else UNMET
        if run.preconditioner is not None and not problem.known_ridge:
            why += NOT_SHORTEST
        result = Result(
            x, lengths.residual, lengths.normal, accepted & search.converged, _method(run.preconditioner), why,
            accuracy, condition=float(run.state.condition.max(initial=1)), iterations=search.steps,
            history=tuple(search.history),
        )  # fmt: skip
        return judged(problem, result, ending, exceeds, lambda: norms(b) + run.norm * lengths.x, rtol)

    def _run_split(
        self, split: Problem, b: AnyArray, above: AnyArray, request: Request, why: str, limit: float
    ) -> Result | None:
        """Iterate for the first map of a stack, where the right-hand sides of the others are zero."""
        result = Iterative(split, self.preconditioned).run_within(above, request, why, limit)
        if result is None:
            return None
        residual, normal = self.problem.residuals(b, result.x)
        return replace(result, residual=residual, normal_residual=normal)

    def solve(self, b: AnyArray) -> AnyArray:
        search = Search(self, b, Request(EXACT))
        search.advance(most_steps(self.problem))
        return search.run.state.x

    def normal(self, g: AnyArray) -> AnyArray:
        """Return the solution for ``[0; g / damp]`` of ``[A; damp I]``, or ``S^+ (S^+)^H g`` of another stacked S."""
        problem = self.problem
        if not problem.ridge:
            stacked = stacked_map(problem)
            u = self._converged(lsmr(stacked.adjoint, stacked.forward, g))
            return self._converged(lsmr(stacked.forward, stacked.adjoint, u))
        damped = WithIdentity(problem.forward, problem.adjoint, problem.ridge, problem.op.out_shape)
        apply = None if self.preconditioner is None else self.preconditioner.normal
        right = damped.below(g / problem.ridge)
        return self._converged(lsmr(damped.forward, damped.adjoint, right, preconditioner=apply))

    def _converged(self, state: LSMR) -> AnyArray:
        for _ in range(most_steps(self.problem)):
            if state.is_done(EXACT):
                break
            state.step()
        return state.x


def judged(
    problem: Problem, result: Result, ending: Ending, exceeds: AnyArray, reach: Callable[[], AnyArray], rtol: float
) -> Result:
    """Return the result of iterations with its verdict, and with convergence withdrawn where x is not exact enough.

    Residuals are relative to ``reach``.
    """
    reached, result = result.converged, replace(result, converged=result.converged & ~exceeds)
    if ending is Ending.OUT_OF_STEPS:
        return replace(result, verdict=Verdict.OUT_OF_STEPS)
    if ending is Ending.STOPPED:
        return replace(result, verdict=Verdict.STOPPED)
    if not reached.all():
        return replace(result, verdict=Verdict.STALLED)
    if exceeds.any():
        return replace(result, verdict=Verdict.INEXACT)
    if problem.damp or problem.op.shape[0] > problem.op.shape[1]:
        return result
    leaves = result.residual > SLACK * rtol * reach()
    return replace(result, converged=~leaves, verdict=Verdict.OUT_OF_RANGE) if leaves.any() else result


def _method(preconditioner: Factors | None) -> str:
    return "LSMR" if preconditioner is None else f"LSMR, {preconditioner.method}"


def dominance(op: LinearMap) -> float:
    """Return a lower bound of the singular values: 0 unless in each column one entry outweighs others.

    These entries have to be in rows of their own. Of these rows, divided by the phases of those entries, the Hermitian
    part's eigenvalues are in Gershgorin's circles, and no singular value of the rows, or of all, is below the least of
    them.
    """
    if not isinstance(op, ConvOperator) or op.nnz > LARGE or op.shape[0] < op.shape[1]:
        return 0.0
    matrix = sparse(op)
    rows = abs(matrix).tocsc().argmax(axis=0).ravel()
    if np.unique(rows).size < rows.size:
        return 0.0
    chosen = matrix[rows]
    phases = np.sign(chosen.diagonal()).conj()
    chosen = chosen.multiply(phases[:, None]).tocsr()
    part = (chosen + chosen.conj().T) / 2
    diagonal = part.diagonal().real
    return max(float((2 * diagonal - abs(part).sum(axis=1).ravel()).min()), 0.0)


def seconds_of_step(problem: Problem) -> float:
    """Return the predicted seconds of a step of LSMR for one right-hand side."""
    return costs.lsmr_step_seconds(sum(problem.op.shape), problem.applied.seconds)


def most_steps(problem: Problem) -> int:
    """Return the number of iterations that are taken at most if ``maxiter`` is not passed."""
    return max(min(max(problem.op.shape), MOST), FEWEST)


def choose_preconditioner(problem: Problem) -> Factors:
    """Return the inverse of an embedded circulant, or of one of windows, damped if the problem is not."""
    if problem.split is not None:
        return choose_preconditioner(problem.split)
    op, damp = problem.op, problem.damp
    if not damp and op.shape[0] < op.shape[1]:
        got = "op has more inputs than outputs and damp is 0"
        raise UnsupportedError(got, "A preconditioner would not lead to the shortest solution", "Use method='lsmr'")
    if (of_windows := window_preconditioner(problem)) is not None:
        return of_windows
    if not damp:
        undamped = approximate(replace(problem, damp=1.0, regularizer=None), "embedded")
        damp = FLOOR * undamped.norm
    factors = approximate(replace(problem, damp=damp), "embedded")
    if factors.n_zero:
        got = "the circulant is singular"
        raise UnsupportedError(got, "Expected a preconditioner with an inverse", "Use method='lsmr'")
    return factors
