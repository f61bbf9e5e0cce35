"""Solves by iteration: LSMR, with a preconditioner where that earns its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from convmtx.errors import UnsupportedError
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.applied import LARGE
from convmtx.solves.approximations import approximated
from convmtx.solves.lsmr import LSMR
from convmtx.solves.problem import Problem, norms
from convmtx.solves.solution import Factors
from convmtx.structure.double import sparse
from convmtx.typing import AnyArray

#: Steps before the first look, and what a preconditioned step costs beside one without.
FIRST, DEARER = 12, 2.0
#: Steps, and seconds of them, that have to be left for a preconditioner to be looked at.
MANY, SETUP = 60, 2e-2
#: Seconds of a step beside the map: in all and for each number.
STEP, NUMBER = 5e-5, 5e-9
#: How many times what a direct way should take is waited for.
PATIENCE = 3.3
#: Damping of the preconditioner where the problem has none, of the map's norm.
FLOOR = 1e-2
#: Room for true residuals beside the estimates that iterations end by.
SLACK = 10
#: Tolerance where nobody asks for one.
EXACT = 1e-12
#: Steps of the power method for a norm of which no more than the size matters.
POWERS = 4
Callback = Callable[[AnyArray], Any]


class Run(NamedTuple):
    """What an iteration came to; ``words`` say why it ended before it converged."""

    x: AnyArray
    converged: AnyArray
    iterations: int
    history: tuple[float, ...]
    condition: float
    norm: float
    preconditioner: Factors | None
    words: str


class Stacked:
    """``[A; damp R]`` as functions of arrays, outputs flattened one behind the other where there are two."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.split = problem, problem.op.shape[0]

    def forward(self, x: AnyArray) -> AnyArray:
        problem = self.problem
        if problem.regularizer is None:
            return problem.forward(x)
        below = problem.damp * problem.regularizer(x)
        return np.concatenate([each.reshape(len(x), -1) for each in (problem.forward(x), below)], axis=1)

    def adjoint(self, y: AnyArray) -> AnyArray:
        problem = self.problem
        if problem.regularizer is None:
            return problem.adjoint(y)
        first = y[:, : self.split].reshape(-1, *problem.op.out_shape)
        below = y[:, self.split :].reshape(-1, *problem.regularizer.out_shape)
        return problem.adjoint(first) + problem.damp * problem.regularizer.H(below)

    def right(self, b: AnyArray) -> AnyArray:
        """The right-hand side of the stacked problem."""
        if self.problem.regularizer is None:
            return b
        return np.pad(b.reshape(len(b), -1), ((0, 0), (0, self.problem.regularizer.shape[0])))

    @property
    def damp(self) -> float:
        """What is left of the damping."""
        return self.problem.damp if self.problem.regularizer is None else 0.0


class Iteration:
    """One run of LSMR that can be looked at, and be given up."""

    def __init__(self, problem: Problem, b: AnyArray, x0: AnyArray | None, preconditioner: Factors | None) -> None:
        stacked = Stacked(problem)
        self.problem, self.b, self.preconditioner = problem, b, preconditioner
        apply = None if preconditioner is None else preconditioner.normal
        self.state = LSMR(stacked.forward, stacked.adjoint, stacked.right(b), x0, stacked.damp, apply)
        self.start = np.maximum(self.state.normal_residual, np.finfo(float).tiny)
        self.history: list[float] = []
        self.strict = 1.0

    def step(self) -> None:
        """One step of all."""
        self.state.step()
        self.history.append(float((self.state.normal_residual / self.start).max(initial=0)))

    def done(self, rtol: float) -> AnyArray:
        """Which have converged, or are as exact as rounding lets them be.

        A preconditioner's norms are others. Where those are small enough and the plain ones are not yet, a smaller
        tolerance is meant from then on: to start again would lose what the steps so far know of the map.
        """
        done = self.state.finished | self.state.converged(self.strict * rtol)
        if self.preconditioner is None or not done.all():
            return done
        x, norm = self.state.x, self.preconditioner.norm
        residuals = self.problem.residuals(self.b, x)
        done = self.state.finished | self.problem.accepted(self.b, x, *residuals, norm, SLACK * rtol)
        if not done.all():
            self.strict /= 4
        return done

    @property
    def due(self) -> bool:
        """Whether it is time for a look: after `FIRST` steps and twice, four times, ... as many."""
        times, rest = divmod(len(self.history), FIRST)
        return times > 0 and not rest and not times & (times - 1)

    def left(self, rtol: float) -> float:
        """What is left at the rate of the last half, if not more, in steps without a preconditioner."""
        half = len(self.history) // 2
        rate = np.log(self.history[half - 1] / max(self.history[-1], np.finfo(float).tiny)) / half
        steps = np.log(max(self.history[-1] / rtol, 1)) / max(rate, 1e-6)
        return float(steps) * (1.0 if self.preconditioner is None else DEARER)


class Iterative(Factors):
    """LSMR from any start to any tolerance."""

    def __init__(self, problem: Problem, preconditioned: bool | None) -> None:
        """``preconditioned`` is None where the first steps are to tell."""
        self.problem, self.norm, self.condition = problem, np.nan, np.nan
        self.preconditioner: Factors | None = preconditioner(problem) if preconditioned else None
        if self.preconditioner is not None:
            self.norm = self.preconditioner.norm
        # Without damping it would not find the shortest of several least-squares solutions.
        self.open = preconditioned is None and problem.damp > 0
        self.method = "LSMR" if self.preconditioner is None else f"LSMR, {self.preconditioner.method}"

    @cached_property
    def clearance(self) -> float:
        """The least singular value over the largest, as far as that is known from below at once."""
        stacked, x = Stacked(self.problem), np.random.default_rng(0).standard_normal((1, *self.problem.op.in_shape))
        for _ in range(POWERS):
            x = stacked.adjoint(stacked.forward(x / max(float(norms(x)[0]), np.finfo(float).tiny)))
        square = float(norms(x)[0]) + stacked.damp**2
        return max(stacked.damp, dominance(self.problem.op)) / square**0.5 if square else 0.0

    def start(self, x0: AnyArray | None, rtol: float) -> AnyArray | None:
        """``x0``, if iterations from anywhere end at the same solution.

        They keep what a start has in the null space, and beside small singular values what their tests let through: of
        x no more than ``sqrt(rtol)`` where the least singular value is ``sqrt(rtol)`` of the largest.
        """
        return x0 if x0 is not None and self.clearance >= rtol**0.5 else None

    def run(
        self,
        b: AnyArray,
        rtol: float,
        maxiter: int,
        x0: AnyArray | None = None,
        callback: Callback | None = None,
        bar: Any = None,
        limit: float = np.inf,
        before: Run | None = None,
    ) -> Run | None:
        """Iterate; None where it would take, or has taken, clearly more steps than ``limit``.

        With ``before``, go on as that ended.
        """
        looking = self.open and before is None
        first = None if looking else self.preconditioner if before is None else before.preconditioner
        now, other = Iteration(self.problem, b, x0, first), None
        steps, words = 0, ""
        while not now.done(rtol).all():
            if steps >= maxiter:
                words = "iterations ran out"
                break
            if steps > PATIENCE * limit:
                return None
            now.step()
            steps += 1
            if bar is not None:
                bar.update(1)
            if callback is not None and stopped(callback, now.state.x):
                words = "the callback asked to stop"
                break
            if now.due:
                if other is not None and other.left(rtol) < now.left(rtol):  # which waits, as it was left
                    now, other = other, now
                left = now.left(rtol)
                if left > limit:
                    return None
                worth = left > MANY and left * seconds_of_step(self.problem) > SETUP
                if looking and other is None and worth and self._found():
                    now, other = Iteration(self.problem, b, x0, self.preconditioner), now
        norm = self.norm if now.preconditioner is not None else float(now.state.norm.max(initial=0))
        condition = float(now.state.condition.max(initial=1))
        return Run(now.state.x, now.done(rtol), steps, tuple(now.history), condition, norm, now.preconditioner, words)

    def _found(self) -> bool:
        """Whether there is a preconditioner."""
        if self.preconditioner is None:
            try:
                self.preconditioner = preconditioner(self.problem)
            except (UnsupportedError, MemoryError):
                self.open = False
                return False
            self.norm = self.preconditioner.norm
        return True

    def solve(self, b: AnyArray) -> AnyArray:
        found = self.run(b, EXACT, limit_of(self.problem))
        assert found is not None  # there was no limit
        return found.x

    def normal(self, g: AnyArray) -> AnyArray:
        """The solution for ``[0; g / damp]`` of ``[A; damp I]``, or ``S^+ (S^+)^H g`` of another stacked map S."""
        problem, stacked = self.problem, Stacked(self.problem)
        if not stacked.damp:
            u = self._converged(LSMR(stacked.adjoint, stacked.forward, g))
            return self._converged(LSMR(stacked.forward, stacked.adjoint, u))
        damp, m, rows = problem.damp, len(g), problem.op.shape[0]

        def forward(x: AnyArray) -> AnyArray:
            return np.concatenate([problem.forward(x).reshape(m, -1), damp * x.reshape(m, -1)], axis=1)

        def adjoint(y: AnyArray) -> AnyArray:
            first = problem.adjoint(y[:, :rows].reshape(m, *problem.op.out_shape))
            return first + damp * y[:, rows:].reshape(first.shape)

        right = np.pad(g.reshape(m, -1) / damp, ((0, 0), (rows, 0)))
        apply = None if self.preconditioner is None else self.preconditioner.normal
        return self._converged(LSMR(forward, adjoint, right, preconditioner=apply))

    def _converged(self, state: LSMR) -> AnyArray:
        for _ in range(limit_of(self.problem)):
            if (state.finished | state.converged(EXACT)).all():
                break
            state.step()
        return state.x


def dominance(op: LinearMap) -> float:
    """A lower bound of the singular values: 0 unless in each column one entry, in a row of its own, outweighs others.

    Of these rows, divided by the phases of those entries, the Hermitian part's eigenvalues are in Gershgorin's circles,
    and no singular value of the rows, or of all, is below the least of them.
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


def stopped(callback: Callback, x: AnyArray) -> bool:
    """Whether a callback asks for the end."""
    try:
        asked = callback(x)
        return isinstance(asked, bool | np.bool_) and bool(asked)
    except StopIteration:
        return True


def seconds_of_step(problem: Problem) -> float:
    """Predicted time of a step of LSMR for one right-hand side."""
    return STEP + NUMBER * sum(problem.op.shape) + 2 * problem.applied.seconds


def limit_of(problem: Problem) -> int:
    """Iterations where nobody says how many."""
    return max(min(max(problem.op.shape), 10_000), 1000)


def preconditioner(problem: Problem) -> Factors:
    """The embedded circulant's inverse, damped where the problem is not."""
    op, damp = problem.op, problem.damp
    if not damp and op.shape[0] < op.shape[1]:
        got = "op has more inputs than outputs and damp is 0"
        raise UnsupportedError(got, "It would not find the shortest solution", "Use method='lsmr'")
    if not damp and isinstance(op, ConvOperator):
        near = approximated(replace(problem, damp=1.0, regularizer=None), "embedded")
        damp = FLOOR * near.norm
    found = approximated(replace(problem, damp=damp), "embedded")
    if found.missing:
        got = "the circulant is singular"
        raise UnsupportedError(got, "Wanted a preconditioner with an inverse", "Use method='lsmr'")
    return found
