"""Curves of damped solutions with any regularizer, projected on solutions for a few dampings.

The solution for any damping is nearly a combination of those for a few: a rational function of the damping is known
from few values and derivatives. On their span, map and regularizer are small matrices, whose generalized singular
values and weights are a curve (a rational Krylov method: Ruhe, Linear Algebra Appl. 58, 1984). The span need not be
exact: what the projection leaves of ``|A x - b|^2 + d^2 |R x|^2`` is the square of the error of x, so that solutions
are few and inexact. Each begins at the projected one, and by how much it still improves says how much is known.

Degrees of freedom are the same for random signs z in place of b: ``z^H A H^-1 A^H z``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convmtx import costs
from convmtx.errors import UnsupportedError
from convmtx.solves.curves.curve import CLEAR, KNOWN, LEAST, POINTS, Curve, DampingChoice, Measure, Rule, choose_on
from convmtx.solves.curves.probes import with_probes
from convmtx.solves.methods.conjugate import Apply, ConjugateGradients, column, products
from convmtx.solves.methods.iterated import choose_preconditioner, seconds_of_step
from convmtx.solves.problem import Problem
from convmtx.solves.select import choose_direct, ranked
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

#: Ratio of a score to the least one, less 1, that is too little to tell both apart.
FLAT = 4 * KNOWN
#: Ratio of one damping to the next, where a curve is followed up or down.
STRIDE = 10.0
#: Ratio of a choice to the dampings beside it from which it is solved for itself.
APART = 1.25
#: Relative error of the first solution, of whose size nothing is known, in the norm of H.
FIRST = 1e-3
#: Times that a solution is improved, if it shows that the curve has to be known better than was thought.
TIMES = 4
#: Dampings that are solved for at most, and steps of conjugate gradients: as the limit of time allows, but from
#: `FEWEST` to `MOST`.
DAMPINGS, FEWEST, MOST = 40, 300, 10_000
#: A direct method is taken if it should take at most as long as so many steps.
DIRECT = 30
#: Arrays like all inputs and outputs that conjugate gradients keep, and solutions for which there has to be room.
VECTORS, SOLUTIONS = 6, 20
#: Error of a solution, relative to the right-hand side, that is rounding.
ROUNDING = 1e-12
#: Square of the sine of a direction that the regularizer leaves free.
FREE = 1e-12


class Projection:
    """The problem on the span of solutions for some dampings, of its own for each start.

    Vectors of the span are orthonormal for ``A^H A + d^2 R^H R`` with the damping d of the problem.
    """

    def __init__(self, problem: Problem, b: AnyArray, n_probes: int) -> None:
        self.problem, self.n_rhs, self.n_probes, self.steps = problem, len(b), n_probes, 0
        numbers = VECTORS * sum(problem.op.shape) + SOLUTIONS * problem.op.shape[1]
        starts = with_probes(problem, b, n_probes, numbers)
        self.starts, self.energies = starts, products(starts, starts)
        self.right = problem.adjoint(starts)
        self._vectors: list[AnyArray] = []
        dtype = self.right.dtype
        #: Gram matrices of images by the map, and by the damped regularizer, and inner products with right-hand sides.
        self._images = self._penalties = np.zeros((len(starts), 0, 0), dtype)
        self._inside = np.zeros((len(starts), 0), dtype)
        self._decompose()

    def solve(self, damp: float, most: int) -> tuple[bool, bool]:
        """Add the solutions for a damping; return whether they were known before, and whether they are now.

        At most so many steps are taken.
        """
        problem = replace(self.problem, damp=damp)

        def product(x: AnyArray) -> AnyArray:
            return problem.adjoint(problem.forward(x)) + problem.penalty(x)

        inverse, was_known = _near_inverse(problem, len(self.right)), None
        for _ in range(TIMES):
            run = ConjugateGradients(product, self.right - product(self._solutions(damp)), inverse)
            limits = self._limits(damp)
            while not (run.errors <= limits).all() and self.steps < most:
                run.step()
                self.steps += 1
                if not self._vectors:
                    limits = FIRST**2 * np.sum(run.decreases, axis=0)
            if was_known is None:
                was_known = bool((run.first_errors <= limits).all())
            self._add(run.x)
            if (run.errors <= self._limits(damp)).all():
                return was_known, True
            if self.steps >= most:
                break
        return False, False

    def _limits(self, damp: float) -> AnyArray:
        """Return the square of the error, in the norm of H, of each solution that is known.

        By it residuals and sizes are off at most, the latter times the damping. The degrees of freedom are off by the
        square itself.
        """
        (data, freedom), at = self.measures(), np.array([damp])
        lengths = data.squared_residuals(at)[0], damp**2 * data.squared_sizes(at)[0]
        limits = [KNOWN**2 * min(lengths) / self.n_rhs] * self.n_rhs
        if freedom is not None:
            limits += [KNOWN * max(self.problem.op.shape[0] - freedom.traces(at)[0], 0.0)] * self.n_probes
        return np.maximum(limits, ROUNDING**2 * self.energies)

    def _solutions(self, damp: float) -> AnyArray:
        """Return the projected solutions for a damping."""
        cosines, sines, turned, u = self._values
        y = u @ _quotients(turned, cosines + (damp / self.problem.damp) ** 2 * sines)[..., None]
        return self._combined(y[..., 0])

    def _combined(self, y: AnyArray) -> AnyArray:
        x = np.zeros_like(self.right)
        for numbers, vectors in zip(y.T, self._vectors, strict=True):
            x += column(numbers, vectors) * vectors
        return x

    def _add(self, vectors: AnyArray) -> None:
        """Add a vector to the span of each start."""
        problem = self.problem
        for _ in range(2):
            images = problem.adjoint(problem.forward(vectors)) + problem.penalty(vectors)
            vectors = vectors - self._combined(self._inner(images))
        image, penalty = problem.adjoint(problem.forward(vectors)), problem.penalty(vectors)
        size = np.sqrt(products(vectors, image + penalty))
        scale = column(_quotients(np.ones_like(size), size), vectors)
        vectors, image, penalty = vectors * scale, image * scale, penalty * scale
        self._vectors.append(vectors)
        self._images = _bordered(self._images, self._inner(image))
        self._penalties = _bordered(self._penalties, self._inner(penalty))
        self._inside = self._inner(self.right)
        self._decompose()

    def _inner(self, arrays: AnyArray) -> AnyArray:
        """Return inner products with the vectors, (m, number of vectors)."""
        flat = arrays.reshape(len(arrays), -1)
        pairs = [np.vecdot(vectors.reshape(flat.shape), flat) for vectors in self._vectors]
        return np.stack(pairs, axis=1) if pairs else np.zeros((len(flat), 0), flat.dtype)

    def _decompose(self) -> None:
        """Diagonalize the small matrices: cosines and sines squared, and right-hand sides beside them."""
        cosines, u = np.linalg.eigh(self._images)
        sines = np.einsum("mij,mik,mkj->mj", u.conj(), self._penalties, u).real
        turned = np.einsum("mij,mi->mj", u.conj(), self._inside)
        cosines, sines = np.maximum(cosines, 0), np.maximum(sines, 0)
        self._values = cosines, sines, turned, u
        is_seen = cosines > EPS * max(cosines.shape[1], 1)
        #: Squared lengths of right-hand sides along images of the vectors, and what is outside of these for the data.
        self._weights = np.where(is_seen, _quotients(np.abs(turned) ** 2, cosines), 0)
        nearest = self._combined((u @ np.where(is_seen, _quotients(turned, cosines), 0)[..., None])[..., 0])
        left = self.starts[: self.n_rhs] - self.problem.forward(nearest[: self.n_rhs])
        self._outside = float(products(left, left).sum())

    def measures(self) -> tuple[Measure, Measure | None]:
        """Return the data, and with probes the degrees of freedom, over generalized singular values."""
        cosines, sines, _, _ = self._values
        is_free, weights = sines <= FREE * cosines, self._weights
        values = np.sqrt(_quotients(cosines, sines)) * self.problem.damp
        parts = []
        for some in (slice(self.n_rhs), slice(self.n_rhs, None)):
            free = is_free[some]
            parts.append((values[some][~free], weights[some][~free], float(weights[some][free].sum())))
        (of_data, of_b, at_infinity), (of_signs, of_probes, at_infinity_too) = parts
        data = Measure(np.append(of_data, 0.0), np.append(of_b, self._outside), at_infinity)
        if not self.n_probes:
            return data, None
        return data, Measure(of_signs, of_probes / self.n_probes, at_infinity_too / self.n_probes)


class ProjectedCurve:
    """Curve that is known around a choice, by solutions for more and more dampings."""

    def __init__(self, problem: Problem, b: AnyArray, n_probes: int, rule: Rule, level: float, bar: Any) -> None:
        self.projection = Projection(problem, b, n_probes)
        self.rule, self.level, self.bar = rule, level, bar
        step = costs.PRECONDITIONED_STEP * seconds_of_step(problem) * (len(b) + n_probes)
        self._most = int(np.clip(costs.LONGEST_CURVE / step, FEWEST, MOST))
        #: Dampings that were solved for, ascending, with whether the curve was known there before.
        self._known: list[tuple[float, bool]] = []
        damp: float | None = problem.damp
        while damp is not None and len(self._known) < DAMPINGS and self._solve(damp):
            damp = problem.damp / STRIDE if len(self._known) == 1 else self._next()

    @property
    def steps(self) -> int:
        """Steps of conjugate gradients."""
        return self.projection.steps

    def choice(self) -> tuple[Curve, DampingChoice] | None:
        """Return the curve as far as it is known around the choice, with the choice; None if nothing is known."""
        if len(self._known) < 2:
            return None
        damp = self._choose(self._known[0][0], self._known[-1][0])[1].damp
        gaps = self._gaps()
        at = next((j for j, (_, high, _) in enumerate(gaps) if damp <= high), len(gaps) - 1)
        first, last = at, at
        while first > 0 and gaps[first - 1][2]:
            first -= 1
        while last < len(gaps) - 1 and gaps[last + 1][2]:
            last += 1
        curve, choice = self._choose(gaps[first][0], gaps[last][1])
        return curve, replace(choice, at_end=choice.at_end or self._is_flat(choice))

    def _is_flat(self, choice: DampingChoice) -> bool:
        """Whether the least damping is as good as the choice, as far as is known, so that a smaller one may be best."""
        is_validation = self.rule in ("gcv", "rgcv")
        return is_validation and bool(choice.scores[0] <= (1 + FLAT) * choice.scores.min())

    def _solve(self, damp: float) -> bool:
        before = self.steps
        was_known, is_known = self.projection.solve(damp, self._most)
        if self.bar is not None:
            self.bar.update(self.steps - before)
        if is_known:
            self._known = sorted([*self._known, (damp, was_known)])
        return is_known

    def _gaps(self) -> list[tuple[float, float, bool]]:
        """Return dampings side by side, and whether the curve between them is known: one of both was, by others."""
        pairs = zip(self._known, self._known[1:], strict=False)
        return [(low, high, was_known or is_too) for (low, was_known), (high, is_too) in pairs]

    def _choose(self, low: float, high: float) -> tuple[Curve, DampingChoice]:
        data, freedom = self.projection.measures()
        words = f"that {self.steps} steps make known"
        curve = Curve(
            data, freedom, self.projection.problem.op.shape[0], np.geomspace(low, high, POINTS),
            (f"the least {words}", f"the largest {words}"),
        )  # fmt: skip
        return curve, choose_on(curve, self.rule, self.level, is_least=False)

    def _next(self) -> float | None:
        """Return the damping to solve for next; None if what is not known cannot change the choice."""
        low, high = self._known[0][0], self._known[-1][0]
        choice = self._choose(low, high)[1]
        damp, scale = choice.damp, self.projection.problem.damp
        largest = max(scale, float(self.projection.measures()[0].values.max()))
        if damp >= high / CLEAR and high < largest:
            return min(high * STRIDE, largest)
        has_no_corner = self.rule == "lcurve" and choice.at_end
        if (damp <= CLEAR * low or has_no_corner) and low > LEAST * scale:
            return low / STRIDE
        reach = np.inf if self.rule == "lcurve" else CLEAR  # a corner is one beside all others
        for below, above, is_known in self._gaps():
            if is_known or above < damp / reach or below > damp * reach:
                continue
            is_inside = below * APART < damp < above / APART
            return damp if is_inside else float(np.sqrt(below * above))
        return None


def _near_inverse(problem: Problem, n_rhs: int) -> Apply | None:
    """Return what is near ``(A^H A + d^2 R^H R)^-1``: a direct method if one is quick, or a preconditioner."""
    limit = max(costs.QUICK_SOLVE, DIRECT * seconds_of_step(problem) * n_rhs)
    direct = choose_direct(ranked(problem, n_rhs), n_rhs, limit)
    if direct is not None:
        return direct.factors.normal
    try:
        return choose_preconditioner(problem).normal
    except (UnsupportedError, MemoryError):
        return None


def _bordered(matrices: AnyArray, last: AnyArray) -> AnyArray:
    """Return Hermitian matrices (m, k, k) with one row and column more."""
    bordered = np.pad(matrices, ((0, 0), (0, 1), (0, 1)))
    bordered[:, :, -1] = last
    bordered[:, -1, :] = last.conj()
    bordered[:, -1, -1] = last[:, -1].real
    return bordered


def _quotients(numbers: AnyArray, others: AnyArray) -> AnyArray:
    """Return quotients, 0 where the divisor is 0."""
    return np.divide(numbers, others, out=np.zeros_like(numbers), where=others > 0)
