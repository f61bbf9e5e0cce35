"""One run of LSMR for a problem: when it is done, how many steps are left, and how far x may be off."""

from __future__ import annotations

from functools import cached_property, partial

import numpy as np

from convmtx import costs
from convmtx.engines.products import norms
from convmtx.solves.accuracy import (
    Accuracy,
    ErrorKind,
    Lengths,
    error_from,
    error_of_rounding,
    least_eigenvalue,
    unknown,
)
from convmtx.solves.factors import Factors
from convmtx.solves.methods.lsmr import LSMR, lsmr
from convmtx.solves.problem import Problem, WithIdentity, right_side, stacked_map
from convmtx.typing import AnyArray

#: Steps before the first look at how many are left.
FIRST = 12
#: Factor by which true residuals may be larger than the estimates that iterations end by.
SLACK = 10
#: Factor by which the error of a random solution has to be below a tolerance: of N directions with equal shares, one
#: that is not met is an error of 1 / sqrt(N).
CLEAR = 10
#: Factor for what a preconditioner hides of the least eigenvalue: of 3,800 random problems, 7 had an error above that
#: from the Ritz values of preconditioned steps, 4 of them by up to this factor.
CAUTION = 10
#: Length of the image of a direction, relative to that of a random one, below which it is one that nothing decides.
UNSEEN = 1e-10


class Iteration:
    """One run of LSMR, which can be left and taken up again."""

    def __init__(self, problem: Problem, b: AnyArray, x0: AnyArray | None, preconditioner: Factors | None) -> None:
        self.problem, self.b, self.preconditioner = problem, b, preconditioner
        self._stacked = stacked = stacked_map(problem)
        apply = None if preconditioner is None else preconditioner.normal
        self._begin = partial(lsmr, stacked.forward, stacked.adjoint, damp=problem.ridge, preconditioner=apply)
        self.state = self._begin(right_side(problem, b), x0)
        self._first = np.maximum(self.state.normal_residual, np.finfo(float).tiny)
        #: The largest normal residual of the batch after each step, over that before the first.
        self.history: list[float] = []
        self._strictness = 1.0
        self._done = self.state.finished

    def step(self) -> None:
        """Take one step with all right-hand sides."""
        self.state.step()
        self.history.append(self.state.decrease(self._first))

    def is_done(self, rtol: float) -> bool:
        """Whether all right-hand sides have converged, or are as exact as rounding lets them be.

        A preconditioner's norms are other ones. If those are small enough and the plain ones are not yet, the tolerance
        is 4 times smaller from then on: to start again would lose what the steps so far know of the map.
        """
        if self.preconditioner is None:
            return self.state.is_done(rtol)
        self._done = self.state.finished | self.state.converged(self._strictness * rtol)
        if not self._done.all():
            return False
        x = self.state.x
        lengths = self.problem.lengths(x, *self.problem.residuals(self.b, x))
        accepted = self.problem.accepts(self.b, lengths, self.preconditioner.norm, SLACK * rtol)
        self._done = self.state.finished | accepted
        if not self._done.all():
            self._strictness /= 4
        return bool(self._done.all())

    def converged(self, rtol: float) -> AnyArray:
        """Return which right-hand sides are done, as the last call of `is_done` saw them."""
        return self._done if self.preconditioner else self.state.finished | self.state.converged(rtol)

    @property
    def norm(self) -> float:
        """Estimate of the norm of the map, or of the preconditioner's map."""
        return float(self.state.norm.max(initial=0)) if self.preconditioner is None else self.preconditioner.norm

    @property
    def is_due(self) -> bool:
        """Whether to look how many steps are left: after `FIRST` steps and twice, four times, ... as many."""
        times, rest = divmod(len(self.history), FIRST)
        return times > 0 and not rest and not times & (times - 1)

    def accuracy(self, lengths: Lengths, xtol: float, is_last: bool) -> Accuracy:
        """Return how far x may be from the minimizers: by the damping, or if that is not enough by the steps so far.

        Unless it ``is_last``, an error that is above the tolerance anyway is not compared with that of a random
        solution, which takes more steps than those so far.
        """
        problem, sizes, normal, ridge = self.problem, lengths.x, lengths.normal, self.problem.known_ridge
        undamped = None if problem.damp else lengths.residual
        rounding = partial(error_of_rounding, lengths, self.norm)
        bound = Accuracy(error_from(normal, undamped, ridge**2) + rounding(ridge), sizes, ErrorKind.BOUND)
        if not bound.exceeds(xtol).any():
            return bound
        error, least = self._largest_error(lengths)
        error = error + rounding(least)
        leaves_rows = problem.regularizer is not None or self.preconditioner is not None
        if problem.damp and leaves_rows and problem.op.shape[0] < problem.op.shape[1]:
            # What the map does not see at all, steps meet late: there the penalty alone decides. Plain steps from zero
            # stay among combinations of the rows of A, as the minimizer is.
            error = np.fmax(error, error_from(normal, None, problem.largest_penalty))
        if problem.regularizer is not None and (is_last or not (error > xtol * sizes).all()):
            error = np.fmax(error, CLEAR * self._error_of_witness(xtol / CLEAR) * sizes)
        is_known = len(self.history) > 0
        if not is_known:
            return unknown(len(sizes))
        return Accuracy(np.fmin(error, bound.error), sizes, ErrorKind.ESTIMATE)

    def _largest_error(self, lengths: Lengths) -> tuple[AnyArray, AnyArray]:
        """Estimate the errors of x from residuals and from the least eigenvalue that the steps have met.

        Return the root of that eigenvalue, too, for each right-hand side.
        """
        mu = np.array([self._least_eigenvalue(j) for j in range(len(lengths.x))])
        if self.problem.ridge:
            witness = _advance(self._witness, max(self.state.iterations, FIRST))
            mu = np.fmin(mu, least_eigenvalue(*witness.bidiagonal(0)))
        if self.preconditioner is None:
            return error_from(lengths.normal, None if self.problem.damp else lengths.residual, mu), np.sqrt(mu)
        # mu is that of P^(1/2) H P^(1/2), and H^-1 is P^(1/2) times the inverse of that times P^(1/2).
        p, g = self.preconditioner, self.problem.normal_residual(self.b, self.state.x)
        weighted = np.sqrt(np.abs(np.sum((g.conj() * p.normal(g)).reshape(len(g), -1), axis=1)))
        least = np.hypot(p.least(), p.problem.ridge)
        return CAUTION * error_from(weighted, None, mu * least), np.sqrt(mu) * least

    def _least_eigenvalue(self, j: int) -> float:
        """Estimate the least eigenvalue that the steps for one right-hand side have met."""
        return least_eigenvalue(*self.state.bidiagonal(j)) + self.state.damp**2

    def _begin_witness(self) -> LSMR:
        """Return the iteration from a random array, or with a regularizer that for the image of a random solution.

        b may have next to nothing in the direction of the least eigenvalue, such as one that lives at a border, and
        steps for b meet it late. A random array has some of every direction. It is one of inputs, for the image of one
        has nothing that A does not see. Plain steps from zero for a wide A stay among combinations of its rows, so
        there it is one of outputs.
        """
        if self.problem.regularizer is not None:
            return self._begin(self._stacked.forward(self._random))
        op, applied = self.problem.op, self.problem.applied
        maps, inside, outside = (applied.forward, applied.adjoint), op.in_shape, op.out_shape
        if self.preconditioner is None and op.shape[0] < op.shape[1]:
            maps, inside, outside = maps[::-1], outside, inside
        damped = WithIdentity(*maps, self.problem.ridge, outside)
        start = np.random.default_rng(1).standard_normal((1, *inside))
        apply = None if self.preconditioner is None else self.preconditioner.normal
        return lsmr(damped.forward, damped.adjoint, damped.below(start), preconditioner=apply)

    @cached_property
    def _random(self) -> AnyArray:
        return np.random.default_rng(0).standard_normal((1, *self.problem.op.in_shape))

    @cached_property
    def _witness(self) -> LSMR:
        """Iteration for the witness that has taken as many steps as that for b, after `_advance`."""
        return self._begin_witness()

    @cached_property
    def _later_witness(self) -> LSMR:
        """Iteration for the witness that has taken twice as many steps."""
        return self._begin_witness()

    def _error_of_witness(self, limit: float) -> float:
        """Return the relative error that the same steps leave of a random solution, if that is above a limit.

        What nothing decides, for neither the map nor the regularizer sees it, does not count: it is left after twice as
        many steps too, and then its image is 0 to rounding.
        """
        x, steps = self._random, self.state.iterations
        now = _advance(self._witness, steps).x
        size = float(norms(x)[0])
        if norms(now - x)[0] <= limit * size:
            return 0.0
        later = _advance(self._later_witness, 2 * steps + FIRST).x
        left = later - x
        (seen,), (image,) = (norms(self._stacked.forward(array)) for array in (left, x))
        error = float(norms(now - later)[0])
        if seen * size > UNSEEN * image * norms(left)[0]:
            error = max(error, float(norms(left)[0]))
        return error / size

    def steps_left(self, rtol: float) -> float:
        """Return the steps without a preconditioner that what is left should take, at the rate of the last half."""
        half = len(self.history) // 2
        rate = np.log(self.history[half - 1] / max(self.history[-1], np.finfo(float).tiny)) / half
        steps = np.log(max(self.history[-1] / rtol, 1)) / max(rate, 1e-6)
        return float(steps) * (1.0 if self.preconditioner is None else costs.PRECONDITIONED_STEP)


def _advance(state: LSMR, steps: int) -> LSMR:
    """Take steps until there are so many, or until rounding ends them."""
    while state.iterations < steps and not state.all_finished:
        state.step()
    return state
