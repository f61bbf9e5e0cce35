"""Least squares with any map: the function `solve`, its `Solution`, and arrays of every library and batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np

from convmtx._xp import as_numpy, floating, is_numpy, is_traced, like, one_of_theirs, require_together
from convmtx._xp.gradients import constants
from convmtx.arguments import flag, integer, number, one_of
from convmtx.errors import ArgumentError, SolveError, door, with_article
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.arrays import in_single, require_room, require_shape, require_start, without_extended
from convmtx.solves.gradients import Dependence
from convmtx.solves.problem import Problem, problem_of
from convmtx.solves.result import WORDS, Callback, Request, Result, Verdict, ViewCallback
from convmtx.solves.select import Solvers
from convmtx.typing import AnyArray, Array, ArrayLike

Method = Literal[
    "auto",
    "blocks",
    "kronecker",
    "lattices",
    "parts",
    "windows",
    "band",
    "sparse",
    "substitution",
    "dense",
    "lsmr",
    "preconditioned",
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
        Whether the minimum was reached for every array of the batch, and the solution can be trusted. If not,
        ``reason`` says why, and ``x`` is the best solution that was reached.
    method, reason : str
        The method, and why it was chosen. If ``converged`` is False, ``reason`` says what went wrong.
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
    verdict : str
        How the solve ended, for programs to compare: ``reason`` without numbers.

        ========================= ======================================================================================
        solved                    the minimum was reached
        singular                  singular values were taken as zero; b is in the range of the map
        singular and out of range singular values were taken as zero; b is not in the range of the map
        near singular             direct methods found the map singular, and iterations came near the shortest solution
        failed, failed damped     the factorization of the requested method failed, without or with ``damp``; x is nan
        rounded                   rounding errors of a direct method leave more than ``rtol`` allows
        stalled                   rounding errors keep iterations from reaching ``rtol``
        out of range              iterations ended at a residual, though the map is not tall
        out of steps              iterations reached ``maxiter``
        stopped                   the callback asked to stop
        unknown                   JAX solves when its program runs
        ========================= ======================================================================================
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
    verdict: Verdict

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
    """Solve ``op(x) = b`` in the least-squares sense, with or without a penalty on x.

    Law: x minimizes ``norm(op(x) - b)**2 + damp**2 * norm(R(x))**2``. If more than one x does, it is the shortest.
    ``damp`` means the same as in SciPy's lsmr. R is the identity unless you pass a ``regularizer``.

    Parameters
    ----------
    op : LinearMap
        Any map, square or not, or what `aslinearmap` takes: a matrix, a sparse array, an operator. Its numbers are
        taken in double precision.
    b : array_like
        One right-hand side or any batch, ``(*batch, *out_shape)``, finite, real or complex.
    damp : float
        Weight of the penalty, at least 0; `choose_damp` finds one.
    regularizer : LinearMap, optional
        R, a map with the inputs of ``op``, or what `aslinearmap` takes: for example ``cm.conv`` of a Laplacian, or a
        `vstack` of several.
    method : str
        ``auto`` takes the method that is predicted to be fastest. ``Solution.method`` and ``reason`` report it. You can
        also request a method by name:

        ================= ==============================================================================================
        blocks            fast transforms and small matrices: wrap (also with channels and strides), symmetric boundary
                          with symmetric kernels, zero boundary with three symmetric taps; sub-lattices
        kronecker         singular vectors of one axis after another, for kernels that are outer products of one vector
                          for each axis; `kron` of two maps, by solves of both or, with ``damp``, by their singular
                          vectors
        lattices          problems without dilation, for a dilated kernel under the zero boundary
        parts             maps made of maps, each solved by its own best method: `block_diag`, products of maps of full
                          rank, permutations of outputs and inputs; division for diagonal maps and selections
        windows           Cholesky or Levinson factors of the normal equations, refined, for a `kernel_operator`
        band              band LU of the matrix if it is square and ``damp`` is 0, else of the augmented system; for one
                          axis under the zero boundary, Cholesky factors if the matrix is positive definite
        sparse            sparse LU of the matrix if it is square and ``damp`` is 0, else of the augmented system
        substitution      substitution in a triangular matrix, for causal kernels without channels, if ``damp`` is 0
        dense             singular values of the matrix, or its inverse
        lsmr              LSMR, which needs only products with the map and its adjoint
        preconditioned    LSMR with an embedded circulant as preconditioner, for a convolution, or for outputs of one
                          that are selected (``op[mask]``) or weighted; if ``op`` is singular and ``damp`` is 0, its
                          solution is not the shortest
        ================= ==============================================================================================
    rtol : float
        Tolerance of iterations, between 0 and 1: they stop by the tests of SciPy's lsmr with ``atol = btol = rtol``.
        These tests bound residuals, not the error of x. With ``damp > 0`` and without a regularizer, x is within
        ``normal_residual / damp**2`` of the solution.
    maxiter : int, optional
        Largest number of iterations. The default is the number of rows or of columns of the matrix, whichever is
        larger, but at least 1000 and at most 10000.
    x0 : array_like, optional
        Where iterations start: an array of shape ``in_shape`` or ``(*batch, *in_shape)``. A start changes the number of
        iterations, but not the solution. It is used only if the solution is known to be unique; if not, iterations
        would keep the part of x0 in the null space, and ``reason`` says that x0 is not used. The solution is known to
        be unique in two cases: there is no regularizer and ``damp`` is at least ``sqrt(rtol)`` times the norm of
        ``op``; or one tap of a kernel without channels is clearly larger than all others together. Direct methods do
        not use x0.
    callback : callable, optional
        Function that is called with a copy of x after each iteration, or once after a direct method. If it returns True
        or raises StopIteration, the solution so far is returned. Other exceptions reach the caller of `solve`.
    progress : bool
        Show a bar while iterating (extra ``progress``).
    throw : bool
        Raise an error if not all right-hand sides converged.

    Returns
    -------
    Solution
        Its ``x`` has the shape ``(*batch, *in_shape)`` and the array library of ``op`` and ``b``. x is in single
        precision if both of them are. The other fields are ``converged``, ``method``, ``reason``, ``residual``,
        ``normal_residual``, ``iterations``, ``history`` and ``condition``.

        With ``damp=0`` and a map that is not of full rank, x is the shortest least-squares solution, and ``converged``
        is False as a warning: small changes of the kernel could change x completely. Singular values count as 0 if they
        are at most ``max(M, N) * eps`` times the largest; iterations cannot always detect this. If a factorization that
        was requested by name finds the map singular, x is nan.

        With PyTorch and JAX, x can be differentiated once with respect to b and the kernels. The derivatives are
        computed from the solution (by the implicit function theorem), and not through the steps of the solver. JAX can
        trace `solve` if ``op`` is a convolution.

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
    A `vstack` of maps is solved as its first map with the others as the penalty: ``cm.vstack([op, l * R])`` with zeros
    below b is the same problem as ``damp=l, regularizer=R``, and takes the same method and as many iterations.

    Cost, for N unknowns: O(N log N) for fast transforms, and c^3 for each block of c channels; O(N w^2) for a band LU
    of half-width w; O(n^3) for each axis of n positions of a Kronecker product.

    ``auto`` iterates if every direct method is predicted to take longer than 8 steps of LSMR. If the iteration then is
    predicted to take longer than the fastest direct method, ``auto`` changes to that method. With damping, two
    iterations, with and without a preconditioner, may run in turn. The one that is predicted to finish first continues.
    LSMR: Fong, Saunders, SIAM J. Sci. Comput. 33, 2011.

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
        got = f"callback is {with_article(type(callback).__name__)}"
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
        request = replace(request, callback=ViewCallback(request.callback, call.copied))
    return call.solution(request)


class _Call:
    """Right-hand sides of a call, and the library, type and shape that its solution has."""

    def __init__(self, problem: Problem, b: Any, solvers: Solvers) -> None:
        op = problem.op
        right = require_shape("b", b, op.out_shape)
        maps = [m for m in (op, problem.regularizer) if isinstance(m, LinearMap)]
        for one in maps:
            one._in_own_library("b", right)  # refuses an array that the map could not be differentiated with
        self.theirs = [one._reference_array for one in maps]
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
            result.history, result.condition, result.verdict,
        )  # fmt: skip

    def _solve(self, request: Request, *numbers: AnyArray) -> Result:
        op, b = self.dependence.with_numbers(*numbers)
        flat = without_extended(b).reshape(prod(self.batch), *self.op.out_shape)
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
        later = WORDS[Verdict.UNKNOWN]
        return Solution(x, converged > 0, later, later, residual, normal, 0, (), np.nan, Verdict.UNKNOWN)
