"""Solves by iteration: LSMR, with a preconditioner where that earns its place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from convmtx.errors import UnsupportedError, sentence
from convmtx.operator import ConvOperator
from convmtx.solves.approximations import approximated
from convmtx.solves.lsmr import LSMR
from convmtx.solves.problem import Problem
from convmtx.solves.solution import Factors
from convmtx.typing import AnyArray

#: Steps after which rates are compared first, and last; and how much better a preconditioned one has to be: it costs
#: some 1.6 times as much, and its first steps promise too much where it is bad.
FIRST, LAST, BETTER = 6, 12, 2.0
#: Steps, and seconds of them, that have to be left for a preconditioner to be looked at.
MANY, SETUP = 30, 4e-3
#: Seconds of a step beside the map: in all and for each number.
STEP, NUMBER = 5e-5, 5e-9
#: How many times what a direct way should take is waited for.
PATIENCE = 3.3
#: Damping of the preconditioner where the problem has none, of the map's norm.
FLOOR = 1e-2
Callback = Callable[[AnyArray], Any]


class Run(NamedTuple):
    """What an iteration came to; ``words`` say why it ended before it converged."""

    x: AnyArray
    converged: AnyArray
    iterations: int
    history: tuple[float, ...]
    condition: float
    norm: float
    method: str
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
        self.marks: list[AnyArray] = []

    def step(self) -> None:
        """One step of all."""
        self.state.step()
        self.history.append(float((self.state.normal_residual / self.start).max(initial=0)))

    def done(self, rtol: float) -> AnyArray:
        """Which have converged, or are as exact as rounding lets them be."""
        return self.state.finished | self.state.converged(rtol)

    def mark(self) -> None:
        """Note how far the normal residuals are, truly and in the plain norm."""
        self.marks.append(self.problem.residuals(self.b, self.state.x)[1])

    @property
    def rate(self) -> float:
        """The logarithm by which the normal residuals fell between the marks, the worst of the batch."""
        first, last = (np.maximum(mark, np.finfo(float).tiny) for mark in self.marks)
        return float(np.log(first / last).min(initial=np.inf))

    def still(self, rtol: float) -> float:
        """Steps that are left at the rate of the last half, if not more."""
        half = len(self.history) // 2
        rate = np.log(self.history[half - 1] / max(self.history[-1], np.finfo(float).tiny)) / half
        return float(np.log(max(self.history[-1] / rtol, 1)) / max(rate, 1e-6))


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

    def run(
        self,
        b: AnyArray,
        rtol: float,
        maxiter: int,
        x0: AnyArray | None = None,
        callback: Callback | None = None,
        bar: Any = None,
        limit: float = np.inf,
    ) -> Run | None:
        """Iterate; None where it would take, or has taken, clearly more steps than ``limit``."""
        first = None if self.open else self.preconditioner
        now, plain, steps, words = Iteration(self.problem, b, x0, first), None, 0, ""
        while not now.done(rtol).all():
            if steps >= maxiter:
                words = f"{maxiter} iterations did not do"
                break
            if steps > PATIENCE * limit:
                return None
            now.step()
            steps += 1
            if bar is not None:
                bar.update(1)
            if callback is not None and _stopped(callback, now.state.x):
                words = "the callback asked to stop"
                break
            n = len(now.history)
            if n in (FIRST, LAST):
                now.mark()
            if n < LAST or n % LAST or (n // LAST) & (n // LAST - 1) or now.history[-1] <= np.sqrt(rtol):
                continue  # but for twice, four times, ... as many
            if n == LAST and plain is not None and plain.rate * BETTER > now.rate:
                now = plain
            left = now.still(rtol)
            if left > limit:
                return None
            worth = left > MANY and left * seconds_of_step(self.problem) > SETUP
            if n == LAST and plain is None and self.open and worth and self._found():
                now, plain = Iteration(self.problem, b, x0, self.preconditioner), now
        state = now.state
        norm = self.norm if now.preconditioner is not None else float(state.norm.max(initial=0))
        method = "LSMR" if now.preconditioner is None else f"LSMR, {now.preconditioner.method}"
        condition = float(state.condition.max(initial=1))
        return Run(state.x, now.done(rtol), steps, tuple(now.history), condition, norm, method, words)

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
        return self._exactly(self.problem, b)

    def _exactly(self, problem: Problem, b: AnyArray) -> AnyArray:
        found = self.run(b, 1e-12, limit_of(problem))
        assert found is not None  # there was no limit
        return found.x

    def normal(self, g: AnyArray) -> AnyArray:
        """``S^+ (S^+)^H g`` with the stacked map S: two problems of least squares."""
        stacked = Stacked(self.problem)
        damp = stacked.damp
        m = len(g)

        def forward(y: AnyArray) -> AnyArray:
            first = stacked.adjoint(y if not damp else y[:, :size].reshape(m, *shape))
            return first + damp * y[:, size:].reshape(first.shape) if damp else first

        def adjoint(x: AnyArray) -> AnyArray:
            y = stacked.forward(x)
            return np.concatenate([y.reshape(m, -1), damp * x.reshape(m, -1)], axis=1) if damp else y

        shape, size = self.problem.op.out_shape, self.problem.op.shape[0]
        u = _converged(LSMR(forward, adjoint, g), limit_of(self.problem))
        return _converged(LSMR(adjoint, forward, u), limit_of(self.problem))


def _converged(state: LSMR, maxiter: int) -> AnyArray:
    for _ in range(maxiter):
        if (state.finished | state.converged(1e-12)).all():
            break
        state.step()
    return state.x


def _stopped(callback: Callback, x: AnyArray) -> bool:
    try:
        return callback(x) is True
    except StopIteration:
        return True


def seconds_of_step(problem: Problem) -> float:
    """Predicted time of a step of LSMR for one right-hand side."""
    return STEP + NUMBER * sum(problem.op.shape) + 2 * problem.applied.seconds


def limit_of(problem: Problem) -> int:
    """Iterations where nobody says how many."""
    return max(min(max(problem.op.shape), 10_000), 100)


def preconditioner(problem: Problem) -> Factors:
    """The embedded circulant's inverse, damped where the problem is not."""
    op, damp = problem.op, problem.damp
    if not damp and op.shape[0] < op.shape[1]:
        got = "op has more inputs than outputs and damp is 0"
        raise UnsupportedError(sentence("solve", got, "It would not find the shortest solution", "Use method='lsmr'"))
    if not damp and isinstance(op, ConvOperator):
        near = approximated("solve", replace(problem, damp=1.0, regularizer=None), "embedded")
        damp = FLOOR * near.norm
    found = approximated("solve", replace(problem, damp=damp), "embedded")
    if found.missing:
        got = "the circulant is singular"
        raise UnsupportedError(sentence("solve", got, "Wanted a preconditioner with an inverse", "Use method='lsmr'"))
    return found
