"""Methods in general: a `Candidate` has a price, and builds `Factors`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from convmtx import memory
from convmtx.costs import Price
from convmtx.engines.products import norms
from convmtx.solves.accuracy import Accuracy, Lengths, error_of_direct, unknown
from convmtx.solves.problem import Problem
from convmtx.solves.result import Request, Result, Verdict, asks_to_stop
from convmtx.typing import AnyArray

#: Fraction of the available memory that factors may take.
SHARE = 0.8


class Factors(ABC):
    """Problem prepared for many right-hand sides: all that is computed once. ``H = A^H A + damp^2 R^H R``."""

    problem: Problem
    method: str
    #: Condition number of A, stacked on ``damp R``; exact or an estimate, nan if nothing is known.
    condition: float
    #: Norm of A, exact or a bound of its size.
    norm: float
    #: Number of the min(M, N) singular values that were taken as zero; 0 if damping makes up for them.
    n_zero: int = 0

    @abstractmethod
    def solve(self, b: AnyArray) -> AnyArray:
        """Return ``x = H^+ A^H b``: (m, *out_shape) to (m, *in_shape)."""

    @abstractmethod
    def normal(self, g: AnyArray) -> AnyArray:
        """Return ``H^+ g``: (m, *in_shape) to itself."""

    def least(self) -> float:
        """Return the least singular value of an undamped A that is not taken as zero, exact or an estimate."""
        return self.norm / self.condition

    def image(self, g: AnyArray) -> AnyArray:
        """Return ``A H^+ g``, the adjoint of `solve`: (m, *in_shape) to (m, *out_shape)."""
        return self.problem.forward(self.normal(g))

    def conormal(self, g: AnyArray) -> AnyArray:
        """Return ``(A A^H + damp^2)^+ g``, without a regularizer: (m, *out_shape) to itself."""
        inside = self.solve(g)
        if not self.problem.damp:
            return self.image(inside)
        return (g - self.problem.forward(inside)) / self.problem.damp**2

    def solve_with_residuals(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Return the solutions, their residuals and their normal residuals."""
        x = self.solve(b)
        return (x, *self.problem.residuals(b, x))

    def accuracy(self, lengths: Lengths) -> Accuracy:
        """Estimate how far solutions are from the minimizers."""
        problem = self.problem
        least = math.hypot(self.norm, problem.ridge) / self.condition
        if self.n_zero:  # the shortest solution has nothing of those that were taken as zero
            least = self.least()
        return error_of_direct(lengths, self.norm, least)

    def run(self, b: AnyArray, request: Request, why: str) -> Result:
        """Return the solutions for a request, and what is known of them."""
        problem = self.problem
        x, residual, normal = self.solve_with_residuals(b)
        if request.callback is not None:
            asks_to_stop(request.callback, x)
        if problem.rcond is not None:
            return self._truncated(x, residual, normal, why)
        lengths = problem.lengths(x, residual, normal)
        converged = problem.accepts(b, lengths, self.norm, request.rtol)
        verdict = Verdict.SOLVED if converged.all() else Verdict.ROUNDED
        accuracy = self.accuracy(lengths)
        exceeds = accuracy.exceeds(request.xtol)
        if exceeds.any():
            verdict, converged = Verdict.ROUNDED, converged & ~exceeds
        if self.n_zero and not problem.damp:
            in_range = (residual <= request.rtol * norms(b)).all()
            verdict = Verdict.SINGULAR if in_range else Verdict.SINGULAR_AND_OUT_OF_RANGE
            converged = np.zeros_like(converged)
        return Result(
            x, residual, normal, converged, self.method, why, accuracy, verdict, self.condition,
            n_zero=self.n_zero, n_values=min(problem.op.shape), cutoff=problem.cutoff,
        )  # fmt: skip

    def _truncated(self, x: AnyArray, residual: AnyArray, normal: AnyArray, why: str) -> Result:
        """Return solutions without the singular values that were to be left out, for which residuals stay."""
        why += f"; {self.n_zero} of {min(self.problem.op.shape)} singular values count as 0"
        condition = self.norm / self.least() if self.norm else self.condition
        return Result(
            x, residual, normal, np.ones(len(x), bool), self.method, why, unknown(len(x)), condition=condition
        )


def fits_in_memory(n_bytes: float) -> bool:
    """Whether factors fit in memory; to look how much is available takes as long as a small solve."""
    return n_bytes <= memory.LARGE or n_bytes <= SHARE * memory.available()


@dataclass(frozen=True, eq=False)
class Candidate:
    """Direct method for a problem, before anything is built; `make` raises `Singular` if the map is singular."""

    name: str
    #: Why it applies.
    why: str
    price: Price
    make: Callable[[], Factors]
    #: Whether its factors take singular values up to ``Problem.rcond`` as zero.
    truncates: bool = False

    @property
    def fits(self) -> bool:
        """Whether it fits in memory."""
        return fits_in_memory(self.price.bytes)

    def transposed(self, problem: Problem) -> Candidate:
        """Return the candidate for a problem whose map is the transpose of this one's."""
        make = partial(_transposed, problem, self.make)
        return Candidate(self.name, self.why, self.price, make, self.truncates)


class TransposedFactors(Factors):
    """Factors of a transpose ``A^T``, by those of A: ``conj(A (A^H A + damp^2)^-1 conj(b))``."""

    def __init__(self, problem: Problem, factors: Factors) -> None:
        self.problem, self.factors = problem, factors
        self.method, self.n_zero = factors.method, factors.n_zero
        self.condition, self.norm = factors.condition, factors.norm

    def solve(self, b: AnyArray) -> AnyArray:
        return self.factors.image(b.conj()).conj()

    def normal(self, g: AnyArray) -> AnyArray:
        return self.factors.conormal(g.conj()).conj()

    def image(self, g: AnyArray) -> AnyArray:
        return self.factors.solve(g.conj()).conj()


def _transposed(problem: Problem, make: Callable[[], Factors]) -> Factors:
    return TransposedFactors(problem, make())
