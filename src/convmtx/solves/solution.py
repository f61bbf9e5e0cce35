"""What a solve tells, and what every way to solve can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from convmtx.solves.problem import Problem
from convmtx.typing import AnyArray, Array


@dataclass(frozen=True, eq=False)
class Solution:
    """What `solve` found, and how far it can be trusted.

    Attributes
    ----------
    x : array
        ``(*batch, *in_shape)``, of the library of ``b`` and of the map.
    converged : bool
        Whether what was asked for was found, for every array of the batch. If not, ``reason`` says why, and ``x`` is
        the best there is.
    method, reason : str
        How it was solved, and why so; or what went wrong.
    residual : float or ndarray
        ``norm(b - op(x))``, of each array of the batch.
    normal_residual : float or ndarray
        ``norm(op.H(b - op(x)) - damp**2 * R.H(R(x)))``: 0 at the solution.
    iterations : int
        Steps taken, with and without a preconditioner where both were tried; 0 of direct methods.
    history : tuple of float
        Estimates of the normal residual after each step over that at the start, the largest of the batch, of the
        iteration that ended; empty of direct methods.
    condition : float
        The condition number of what was solved, exact or an estimate; ``nan`` where nothing is known.
    """

    x: Array
    converged: bool
    method: str
    reason: str
    residual: Any
    normal_residual: Any
    iterations: int
    history: tuple[float, ...]
    condition: float

    def __repr__(self) -> str:
        state = "converged" if self.converged else "NOT converged"
        steps = f", {self.iterations} iterations" if self.iterations else ""
        worst = float(np.max(self.residual, initial=0))
        return f"Solution({tuple(self.x.shape)}, {state} by {self.method}{steps}, residual {worst:.3g}: {self.reason})"


class Factors(ABC):
    """A problem made ready for many right-hand sides."""

    problem: Problem
    method: str
    #: Condition number of the (stacked) map, exact or an estimate.
    condition: float
    #: The norm of the map, exact or a bound of its size.
    norm: float
    #: How many of the min(M, N) singular values were taken as zero; none where damping makes up for them.
    missing: int = 0

    @abstractmethod
    def solve(self, b: AnyArray) -> AnyArray:
        """``x = H^+ A^H b`` with ``H = A^H A + damp^2 R^H R``: (m, *out_shape) to (m, *in_shape)."""

    @abstractmethod
    def normal(self, g: AnyArray) -> AnyArray:
        """``H^+ g``: (m, *in_shape) to itself."""

    def image(self, g: AnyArray) -> AnyArray:
        """``A H^+ g``, the adjoint of `solve`: (m, *in_shape) to (m, *out_shape)."""
        return self.problem.forward(self.normal(g))

    def conormal(self, g: AnyArray) -> AnyArray:
        """``(A A^H + damp^2)^+ g``, without a regularizer: (m, *out_shape) to itself."""
        inside = self.solve(g)
        if not self.problem.damp:
            return self.image(inside)
        return (g - self.problem.forward(inside)) / self.problem.damp**2

    def measured(self, b: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
        """The solutions with their residuals and normal residuals."""
        x = self.solve(b)
        return (x, *self.problem.residuals(b, x))
