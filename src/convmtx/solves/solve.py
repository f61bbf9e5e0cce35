"""Least squares with any map: the function `solve`, its `Solution`, and arrays of every library and batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np

from convmtx._xp import as_numpy, floating, is_numpy, is_traced, like, one_of_theirs, require_together
from convmtx._xp.gradients import constants
from convmtx.arguments import flag, integer, number, one_of
from convmtx.errors import ArgumentError, SolveError, door
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.arrays import in_single, require_finite, require_room, require_shape, require_start
from convmtx.solves.gradients import Dependence
from convmtx.solves.problem import Problem, problem_of
from convmtx.solves.result import Callback, Request, Result, View
from convmtx.solves.select import Solvers
from convmtx.typing import AnyArray, Array, ArrayLike

Method = Literal[
    "auto", "blocks", "kronecker", "lattices", "band", "sparse", "substitution", "dense", "lsmr", "preconditioned"
]
METHODS: tuple[str, ...] = Method.__args__  # type: ignore[attr-defined]


@dataclass(frozen=True, eq=False)
class Solution:
    """Result of `solve`, with how far it can be trusted.

    Attributes
    ----------
    x : array
        ``(*batch, *in_shape)``, in the array library of ``b`` and of the map.
    converged : bool
        Whether the minimum was reached for every array of the batch. If not, ``reason`` says why, and ``x`` is the best
        solution that was reached.
    method, reason : str
        The method, and why it was chosen; or what went wrong.
    residual : float or ndarray
        ``norm(b - op(x))``, of each array of the batch.
    normal_residual : float or ndarray
        ``norm(op.H(b - op(x)) - damp**2 * R.H(R(x)))``: 0 at the solution.
    iterations : int
        Number of steps, with and without a preconditioner if both were tried; 0 for direct methods.
    history : tuple of float
        Estimates of the normal residual after each step, divided by that at the start: the largest of the batch, in the
        iteration that ended. Empty for direct methods.
    condition : float
        Condition number of the map with its penalty, exact or an estimate; ``nan`` if nothing is known.
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


@door("solve")
def solve(
    op: LinearMap,
    b: ArrayLike,
    *,
    damp: float = 0.0,
    regularizer: LinearMap | None = None,
    method: Method = "auto",
    rtol: float = 1e-8,
    maxiter: int | None = None,
    x0: ArrayLike | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    throw: bool = False,
) -> Solution:
    """Solve ``op(x) = b`` by least squares, with the shortest solution or with a penalty.

    Law: x minimizes ``norm(op(x) - b)**2 + damp**2 * norm(R(x))**2``. If more than one x does, it is the shortest.
    ``damp`` is that of SciPy's lsmr; R is the identity unless ``regularizer`` is given.

    Parameters
    ----------
    op : LinearMap
        Any map, square or not. Its numbers are taken in double precision.
    b : array_like
        One right-hand side or any batch, ``(*batch, *out_shape)``, finite, real or complex.
    damp : float
        Weight of the penalty, at least 0; `choose_damp` finds one.
    regularizer : LinearMap, optional
        R, a map with the inputs of ``op``, for example ``cm.conv`` of a Laplacian.
    method : str
        ``auto`` takes the method that should be fastest; ``Solution.method`` and ``reason`` report it. By name:

        ================= ==============================================================================================
        blocks            fast transforms and small matrices: wrap (channels, strides), symmetric boundary with
                          symmetric kernels, zeros with three symmetric taps; sub-lattices
        kronecker         singular vectors along each axis along which the kernel is an outer product
        lattices          a dilated kernel of the zero boundary, as problems without dilation
        band              LU of the matrix as a band, or Cholesky factors along one axis with zeros around if it is
                          positive definite; if it is not square or is damped, LU of its augmented system
        sparse            LU of the sparse matrix; if it is not square or is damped, of its augmented system
        substitution      causal kernels, undamped
        dense             singular values of the matrix, or its inverse
        lsmr              LSMR, which needs nothing but the map
        preconditioned    LSMR with an embedded circulant as preconditioner; if ``op`` is singular and ``damp`` is 0,
                          its solution is not the shortest
        ================= ==============================================================================================
    rtol : float
        Tolerance of iterations, between 0 and 1: they stop by the tests of SciPy's lsmr with ``atol = btol = rtol``.
        These bound residuals; x is within ``normal_residual / damp**2`` of the solution.
    maxiter : int, optional
        Iterations at most. The default is the number of unknowns, but at least 1000 and at most 10000.
    x0 : array_like, optional
        Start of iterations, ``in_shape`` or with the batch. It changes when they stop, but not the solution: it is used
        only if the solution is known to be unique. That is so with a ``damp`` of at least ``sqrt(rtol)`` of the norm of
        ``op`` and no regularizer, or if one tap outweighs the others. Otherwise iterations would keep the part of x0 in
        the null space, and ``reason`` says that x0 is not used. Direct methods do not use it.
    callback : callable, optional
        Called after each iteration (of a direct method, once) with a copy of x. If it returns True or raises
        StopIteration, the solution so far is returned. Other exceptions pass through.
    progress : bool
        Show a bar while iterating (extra ``progress``).
    throw : bool
        Raise an error if not all right-hand sides converged.

    Returns
    -------
    Solution
        ``x``, of the shape ``(*batch, *in_shape)`` and the array library of ``op`` and ``b``, in single precision if
        both are; ``converged``, ``method``, ``reason``, ``residual``, ``normal_residual``, ``iterations``, ``history``,
        ``condition``.

        With ``damp=0``, a map without full rank gives the shortest least-squares solution and ``converged=False``, for
        ``op(x) = b`` has no solution, or more than one. Singular values count as 0 up to ``max(M, N) * eps`` of the
        largest; iterations cannot always tell. If a factorization that was requested by name finds the map singular, x
        is nan. With PyTorch and JAX, x has first derivatives in b and in kernels, from the solution alone (by the
        implicit function theorem). JAX may trace it, if ``op`` is a convolution.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, a number is not finite, or ``method`` does not apply.
    LinAlgError
        With ``throw``, if not all right-hand sides converged.
    MemoryError
        If a method that was requested by name does not fit in memory.

    Notes
    -----
    Transforms cost O(N log N), and c^3 for each of N blocks of c channels; a band LU of half-width w, O(N w^2); a
    Kronecker product, O(n^3) for each axis. ``auto`` iterates if every direct method should take longer than 8 steps,
    and changes to a direct method if the steps take longer than that should. Steps with a preconditioner and steps
    without one alternate: the iteration that has less to do goes on. LSMR: Fong, Saunders, SIAM J. Sci. Comput. 33,
    2011.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> blur = cm.conv([1.0, 3.0, 1.0], 1000, padding="same")
    >>> s = cm.solve(blur, blur(np.arange(1.0, 1001.0)))
    >>> s.x[:4].round(9), s.converged, s.method
    (array([1., 2., 3., 4.]), True, 'blocks (sine: 1000 of 1 x 1)')
    """
    one_of("method", method, METHODS)
    request = request_of(rtol, maxiter, callback, progress, throw)
    problem = problem_of(op, damp, regularizer)
    return solve_arrays(problem, b, x0, request, Solvers(problem, method))


def request_of(rtol: Any, maxiter: Any, callback: Any, progress: Any, throw: Any) -> Request:
    """Return the request of a caller's arguments, without the start, whose shape depends on b."""
    rtol = number("rtol", rtol, "a number between 0 and 1", "For example 1e-8", fits=lambda rtol: 0 < rtol < 1)
    if maxiter is not None:
        integer("maxiter", maxiter, 1)
    if callback is not None and not callable(callback):
        got = f"callback is a {type(callback).__name__}"
        raise ArgumentError(got, "Expected a function of the iterate", "For example callback=print")
    flag("progress", progress)
    flag("throw", throw)
    return Request(rtol, maxiter, None, callback, progress, throw)


def solve_arrays(problem: Problem, b: Any, x0: Any, request: Request, solvers: Solvers) -> Solution:
    """Solve the caller's problem for right-hand sides of any library."""
    call = _Call(problem, b, solvers)
    if x0 is not None:
        request = replace(request, x0=require_start(x0, problem.op, call.batch))
    if request.callback is not None:
        request = replace(request, callback=View(request.callback, call.copied))
    return call.solution(request)


class _Call:
    """Right-hand sides of a call, and the library, type and shape that its solution has."""

    def __init__(self, problem: Problem, b: Any, solvers: Solvers) -> None:
        op = problem.op
        right = require_shape("b", b, op.out_shape)
        self.theirs = [m._reference_array for m in (op, problem.regularizer) if isinstance(m, LinearMap)]
        for array in self.theirs:
            require_together(array, right)
            right = like(right, array)
        self.batch = tuple(right.shape[: right.ndim - len(op.out_shape)])
        self.shape = self.batch + op.in_shape
        require_room(f"a solution of shape {self.shape}", prod(self.shape))
        self.op, self.right, self.solvers = op, right, solvers
        self.is_damped = problem.damp > 0
        self.dependence = Dependence(problem, right, solvers)

    def outside(self, x: AnyArray) -> Array:
        """Return x, (m, *in_shape) of NumPy, as the caller has it."""
        return like(in_single(x.reshape(self.shape), self.op, self.right), one_of_theirs([self.right, *self.theirs]))

    def copied(self, x: AnyArray) -> Array:
        """Return a copy of x as the caller has it, for callbacks."""
        return self.outside(x.copy())

    def solution(self, request: Request) -> Solution:
        """Solve, or, while JAX traces, return arrays that are computed when the program runs."""
        numbers = self.dependence.numbers
        if any(map(is_traced, numbers)):
            return self._traced(request, *numbers)
        result = self._solve(request, *(as_numpy(array) for array in numbers))
        x = self.outside(result.x)
        if not is_numpy(x):
            x = self.dependence.attach(x, self._is_shortest(result.verdict.is_singular))
        residual, normal = (lengths.reshape(self.batch)[()] for lengths in (result.residual, result.normal_residual))
        return Solution(
            x, bool(result.converged.all()), result.method, result.reason, residual, normal, result.iterations,
            result.history, result.condition,
        )  # fmt: skip

    def _solve(self, request: Request, *numbers: AnyArray) -> Result:
        op, b = self.dependence.with_numbers(*numbers)
        flat = require_finite("b", b).reshape(prod(self.batch), *self.op.out_shape)
        result = self.solvers.of(op).solve(flat, request)
        if request.throw and not result.converged.all():
            raise SolveError(result.reason, "Expected a solution", "Without throw=True x is the best so far")
        return result

    def _is_shortest(self, is_singular: bool) -> bool:
        """Whether the solution is the shortest of many."""
        return not self.is_damped and (is_singular or self.op.shape[0] < self.op.shape[1])

    def _traced(self, request: Request, *numbers: Array) -> Solution:
        def computed(*numbers: AnyArray) -> list[AnyArray]:
            result = self._solve(request, *numbers)
            facts = (result.residual, result.normal_residual, result.converged)
            return [result.x.reshape(self.shape), *(lengths.reshape(self.batch) for lengths in facts)]

        dtype = np.result_type(*(floating(array) for array in numbers if not is_numpy(array)))
        shapes = [self.shape, self.batch, self.batch, self.batch]
        x, residual, normal, converged = constants(computed, numbers, shapes, dtype)
        x = self.dependence.attach(x, self._is_shortest(False))
        later = "computed when the program runs"
        return Solution(x, converged > 0, later, later, residual, normal, 0, (), np.nan)
