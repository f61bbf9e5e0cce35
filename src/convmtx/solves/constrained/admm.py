"""Alternating directions (ADMM) for sums of convex terms, with a lower bound of the objective from the multipliers."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from convmtx.solves.constrained.objectives import Objective
from convmtx.solves.constrained.terms import LeastSquares, length
from convmtx.solves.result import Verdict
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

#: Steps between looks at the gap, which take about as long as a step.
LOOK = 10
#: First steps, in which rho is changed, though convergence is proven for one that stays, and in which numbers are in
#: single precision, which takes half the time. Looks are in double precision.
FIRST = 300
#: Over-relaxation (Eckstein, Bertsekas, Math. Program. 55, 1992).
RELAXED = 1.6
#: Change of rho that is worth new factors, and the largest one, at once and in all.
WORTH, LARGEST, FARTHEST = 1.5, 10.0, 1e3


class Watch(Protocol):
    """Whoever watches a run and may stop it."""

    def __call__(self, run: Alternation) -> bool:
        """Return whether to stop."""


class Checkpoint(NamedTuple):
    """State of a run: what its images are to be, the multipliers over rho, and the steps until then.

    ``unit`` is that of the right-hand side, by which all of them are divided.
    """

    v: list[AnyArray]
    m: list[AnyArray]
    rhos: list[float]
    steps: int
    unit: float

    def fits(self, other: Checkpoint) -> bool:
        """Whether a run that stands at another checkpoint can go on here."""
        return self.unit == other.unit and [v.shape for v in self.v] == [v.shape for v in other.v]


class Alternation:
    """One run of ADMM for an objective.

    A step solves the least squares of all images, then takes the proximal point of each term. The multipliers
    ``y = rho m`` then are subgradients of the terms. They make a lower bound of the objective (`look`).
    """

    def __init__(
        self, objective: Objective, start: AnyArray | None, unit: float = 1.0, checkpoint: Checkpoint | None = None
    ) -> None:
        self.objective, self.rhos = objective, list(objective.rhos)
        #: The objective as steps compute it.
        self._stepped = objective.in_single()
        space, inputs = self._stepped.space, self._stepped.inputs
        self.x = inputs.within(
            np.zeros(objective.in_shape, space.dtype) if start is None else start.astype(space.dtype)
        )
        self._whole = inputs.extended(self.x)
        self._images = space.images(self._whole)
        #: What each image, and last X, is to be, and the multipliers over rho.
        self.v = [*self._images, self._whole]
        self.m = [np.zeros_like(v) for v in self.v]
        self._targets = self._fixed_targets()
        if start is None:
            self.v[0] = self._stepped.terms[0].proximal(self.v[0], EPS * self.rhos[0])
        #: Steps of this run, those of the runs that it goes on from, and what the right-hand side was divided by.
        self.steps, self._earlier, self.unit = 0, 0, unit
        if checkpoint is not None and checkpoint.fits(self.checkpoint):
            self.rhos, self._earlier = list(checkpoint.rhos), checkpoint.steps
            if self._earlier >= FIRST:
                self._go_on_in_double()
            dtype = self._stepped.space.dtype
            self.v, self.m = ([a.astype(dtype) for a in arrays] for arrays in (checkpoint.v, checkpoint.m))
        #: Halves of the objective and of the gap, where `look` was called last; the x and the gradient of the former.
        self.primal, self.gap, self._dual = np.inf, np.inf, -np.inf
        self.best = self.s = self.x
        #: Largest magnitude of x, and of solutions of steps, at any look.
        self.reach = 0.0
        self.least = objective.terms[0].value(np.zeros(()))
        #: Gap over the objective at each look.
        self.history: list[float] = []

    @property
    def checkpoint(self) -> Checkpoint:
        """State of the run, from which another can go on."""
        return Checkpoint(self.v, self.m, self.rhos, self._earlier + self.steps, self.unit)

    def _fixed_targets(self) -> list[AnyArray | None]:
        """Return the targets of terms that the step solves itself; None for those that are split off, and for X."""
        targets: list[AnyArray | None] = []
        for term, rho, image in zip(self._stepped.terms, self._stepped.fixed, self._images, strict=True):
            if rho is not None and isinstance(term, LeastSquares):
                targets.append(np.broadcast_to(term.b / rho**0.5, image.shape))
            else:
                targets.append(None)
        return [*targets, None]

    def _go_on_in_double(self) -> None:
        """Take further steps in double precision."""
        self._stepped = self.objective
        self._whole, *self._images = (a.astype(float) for a in (self._whole, *self._images))
        self.v, self.m = ([a.astype(float) for a in arrays] for arrays in (self.v, self.m))
        self._targets = self._fixed_targets()

    def advance(self, maxiter: int, tolerance: float, watch: Watch) -> Verdict:
        """Take steps until the gap is small enough; return how the run ended."""
        while True:
            if (self.steps and self.steps % LOOK == 0) or self.steps >= maxiter:
                self.look()
                if self.relative_gap <= tolerance:
                    return Verdict.SOLVED
            if self.steps >= maxiter:
                return Verdict.OUT_OF_STEPS
            self.step()
            if watch(self):
                self.look()
                return Verdict.SOLVED if self.relative_gap <= tolerance else Verdict.STOPPED

    @property
    def relative_gap(self) -> float:
        """Gap over the objective; over a little of that at x = 0 where data are fitted to rounding."""
        return self.gap / max(self.primal, EPS**0.5 * self.least, float(np.finfo(float).tiny))

    def step(self) -> None:
        """Solve the least squares of all images, and move each to the proximal point of its term."""
        if self._earlier + self.steps == FIRST:
            self._go_on_in_double()
        rhos = self.rhos
        targets = [
            v - m if target is None else target for v, m, target in zip(self.v, self.m, self._targets, strict=True)
        ]
        self._whole, self._images = self._stepped.space.solve(targets, rhos, self._whole)
        is_due = self.steps % LOOK == LOOK - 1 and self._earlier + self.steps < FIRST
        for j, value in enumerate([*self._images, self._whole]):
            if self._targets[j] is None:
                old = self.v[j]
                q = RELAXED * value
                q += (1 - RELAXED) * old
                q += self.m[j]
                self.v[j] = self._proximal(j, q)
                self.m[j] = np.subtract(q, self.v[j], out=q)
                if is_due:
                    self._balance(j, value, old)
        self.steps += 1

    def _proximal(self, j: int, q: AnyArray) -> AnyArray:
        objective = self._stepped
        if j < len(objective.terms):
            return objective.terms[j].proximal(q, self.rhos[j])
        self.x = objective.inputs.proximal(q, self.rhos[j])
        return objective.inputs.extended(self.x)

    def _balance(self, j: int, value: AnyArray, old: AnyArray) -> None:
        """Change rho so that both residuals, relative to what they are residuals of, become alike."""
        new, m = self.v[j], self.m[j]
        lengths = [length(a) for a in (value - new, value, new, new - old, m)]
        off, first, second, moved, size = lengths
        if not (off and moved and size):
            return
        factor = float(np.clip((off / max(first, second) * size / moved) ** 0.5, 1 / LARGEST, LARGEST))
        before = self.rhos[j] / self.objective.rhos[j]
        factor = float(np.clip(before * factor, 1 / FARTHEST, FARTHEST)) / before
        if not 1 / WORTH < factor < WORTH:
            self.rhos[j] *= factor
            self.m[j] = m / factor

    def look(self) -> None:
        """Compute the objective at x and its lower bound; keep the best of both."""
        objective, inputs = self.objective, self.objective.inputs
        x = inputs.within(self.x.astype(float))
        images = objective.space.images(inputs.extended(x))
        primal = objective.constant + inputs.value(x)
        primal += sum(term.value(image) for term, image in zip(objective.terms, images, strict=True))
        dual, ys = objective.constant, []
        for j, term in enumerate(objective.terms):
            v = self.v[j] if self._targets[j] is None else self._images[j]
            ys.append(term.subgradient(v, self.rhos[j] * self.m[j].astype(float)))
            dual -= term.conjugate(ys[j], v)
        s = inputs.folded(objective.space.adjoint(ys))
        self.reach = max(self.reach, *(float(np.abs(a).max(initial=0)) for a in (x, self._whole)))
        dual -= inputs.conjugate(s, x, primal, self.reach)
        if inputs.is_bounded:  # each lower bound then holds for all x
            dual = self._dual = max(self._dual, dual)
        if primal <= self.primal or not inputs.is_bounded:
            self.primal, self.best, self.s = primal, x, s
        self.gap = max(self.primal - dual, 0.0)
        self.history.append(self.relative_gap)
