"""Problems of least squares prepared for many right-hand sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from convmtx.arguments import integer, number, one_of
from convmtx.errors import door
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.calls import request_of, solve_arrays
from convmtx.solves.problem import Problem, problem_of
from convmtx.solves.result import Callback
from convmtx.solves.select import Solver, Solvers
from convmtx.solves.solution import Solution
from convmtx.solves.solve import METHODS, Method
from convmtx.solves.variance import Variance, variance_of
from convmtx.typing import ArrayLike


class Factorization:
    """A least-squares problem prepared for any number of right-hand sides; `factorize` returns it.

    Attributes
    ----------
    method, reason : str
        The method, and why it was chosen.
    condition : float
        Condition number, exact or an estimate; ``nan`` if nothing is known.
    """

    def __init__(self, problem: Problem, solver: Solver) -> None:
        self._problem, self._solver = problem, solver
        choice = solver.chosen()
        self.method, self.reason, self.condition = choice.factors.method, choice.reason, choice.factors.condition

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._problem, self._solver.method)

    def __repr__(self) -> str:
        return f"Factorization({self.method}, condition {self.condition:.3g}: {self.reason})"

    @door("solve")
    def solve(
        self,
        b: ArrayLike,
        *,
        rtol: float = 1e-8,
        xtol: float = 1e-3,
        maxiter: int | None = None,
        x0: ArrayLike | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        throw: bool = False,
    ) -> Solution:
        """Solve for right-hand sides, with the factors that are there.

        Parameters
        ----------
        b : array_like
            Right-hand sides, ``(*batch, *out_shape)``.
        rtol, xtol, maxiter, x0, callback, progress, throw
            As for `convmtx.solve`.

        Returns
        -------
        Solution
            As for `convmtx.solve`.

        Raises
        ------
        ValueError, TypeError, LinAlgError
            As for `convmtx.solve`.
        """
        request = request_of(rtol, xtol, maxiter, callback, progress, throw)
        return solve_arrays(self._problem, b, x0, request, Solvers(self._problem, self._solver.method, self._solver))

    @door("variance")
    def variance(self, noise: float = 1.0, *, probes: int = 64) -> Variance:
        """Return the variance of each entry of the solution, from noise in the data.

        Law: ``values == noise**2 * np.diag(np.linalg.pinv(A.H @ A + damp**2 * R.H @ R))``. Without damping this is the
        variance of the estimate x. With damping it is that of x given the data, if R(x) is as random as
        ``noise / damp``.

        Parameters
        ----------
        noise : float
            Standard deviation of the noise in an entry of the data (of its magnitude, if data are complex).
        probes : int
            Number of random vectors, at least 2, where the variance is estimated.

        Returns
        -------
        Variance
            ``values`` and ``standard_error``, both ``in_shape``. ``kind`` is "exact" where the map falls apart in
            orthonormal vectors along its axes, and for maps of up to 2000 unknowns. Elsewhere it is "estimate".

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid.

        Notes
        -----
        Cost: n products of n numbers for each axis and N unknowns; N solves for a small map; ``probes`` solves
        elsewhere. Bekas, Kokiopoulou, Saad, Appl. Numer. Math. 57, 2007.

        Examples
        --------
        >>> import numpy as np, convmtx as cm
        >>> op = cm.conv([1.0, 3.0, 1.0], 100, padding="same")
        >>> v = cm.factorize(op).variance(0.1)
        >>> np.allclose(v.values, 0.01 * np.diag(np.linalg.inv(op.to_dense().T @ op.to_dense())))
        True
        """
        remedy = "Pass the standard deviation in an entry of b"
        noise = number("noise", noise, "a finite number >= 0", remedy, fits=lambda noise: noise >= 0)
        integer("probes", probes, 2)
        variance = variance_of(self._solver.chosen().factors, probes)
        factor = (noise / self._solver.problem.scale) ** 2
        return replace(variance, values=factor * variance.values, standard_error=factor * variance.standard_error)


@door("factorize")
def factorize(
    op: LinearMap,
    *,
    damp: float = 0.0,
    regularizer: LinearMap | Sequence[LinearMap] | None = None,
    rcond: float | None = None,
    method: Method = "auto",
) -> Factorization:
    """Prepare a least-squares problem for many right-hand sides.

    Parameters
    ----------
    op, damp, regularizer, rcond, method
        As for `solve`. ``auto`` may take a direct method although a single solve would be faster by iteration.

    Returns
    -------
    Factorization
        ``F.solve(b)`` returns the same as ``cm.solve(op, b)``, up to rounding and ``rtol``. With a direct method it
        takes a fraction of the time. The fields are ``F.method``, ``F.reason`` and ``F.condition``.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As for `solve`.
    LinAlgError
        If ``method`` is a factorization and finds the map singular.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1.0, 3.0, 1.0], 100, padding="same")
    >>> F = cm.factorize(op)
    >>> x = np.cos(np.arange(200.0)).reshape(2, 100)
    >>> np.allclose(F.solve(op(x)).x, x)
    True
    """
    one_of("method", method, METHODS)
    problem = problem_of(op, damp, regularizer, rcond)
    return Factorization(problem, Solver(problem.prepare(), method))


def _restore(problem: Problem, method: str) -> Factorization:
    """Return a factorization that was pickled, computed again: factors are not pickled."""
    return Factorization(problem, Solver(problem.prepare(), method))
