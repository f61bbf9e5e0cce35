"""What is asked for: least squares with any map, once or for many right-hand sides."""

from __future__ import annotations

from typing import Any, Literal

from convmtx.arguments import flag, integer, number, one_of
from convmtx.errors import ArgumentError, SolveError, door
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.answered import answered
from convmtx.solves.iterated import Callback
from convmtx.solves.lu import Singular
from convmtx.solves.outcome import Asked, predicted_seconds
from convmtx.solves.problem import Problem, checked
from convmtx.solves.solution import Solution
from convmtx.solves.solver import Solver, scaled
from convmtx.typing import ArrayLike

Method = Literal[
    "auto", "blocks", "kronecker", "lattices", "band", "sparse", "substitution", "dense", "lsmr", "preconditioned"
]
METHODS: tuple[str, ...] = Method.__args__  # type: ignore[attr-defined]


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
    """Solve ``op(x) = b``: by least squares, of least norm, or with a penalty.

    Law: x minimizes ``norm(op(x) - b)**2 + damp**2 * norm(R(x))**2``, and of all that do it is the shortest. ``damp``
    is that of SciPy's lsmr; R is the identity unless ``regularizer`` is given.

    Parameters
    ----------
    op : LinearMap
        Any map, square or not; its numbers are taken in double precision.
    b : array_like
        One right-hand side or any batch, ``(*batch, *out_shape)``, finite, real or complex.
    damp : float
        Weight of the penalty, at least 0; `choose_damp` finds one.
    regularizer : LinearMap, optional
        R, with the inputs of ``op``; such as ``cm.conv`` of a Laplacian.
    method : str
        ``auto``: what should take the least time, and is told by ``Solution.method`` and ``reason``. By name, where it
        applies:

        ================= ==============================================================================================
        blocks            fast transforms and small matrices: wrap (channels, strides), symmetric boundary with
                          symmetric kernels, zeros with three symmetric taps; sub-lattices
        kronecker         singular vectors along each axis along which the kernel is an outer product
        lattices          a dilated kernel of the zero boundary, as problems without dilation
        band              LU of the matrix as a band; of an augmented one where it is not square, or is damped
        sparse            the same of the sparse matrix
        substitution      causal kernels, undamped
        dense             singular values of the matrix, or its inverse
        lsmr              LSMR, with nothing but the map
        preconditioned    LSMR with an embedded circulant as preconditioner; where ``op`` is singular and ``damp`` is 0,
                          the solution found is not the shortest
        ================= ==============================================================================================
    rtol : float
        Where iterations end: by the tests of SciPy's lsmr with ``atol = btol = rtol``. They bound residuals; x is
        within ``normal_residual / damp**2`` of the solution.
    maxiter : int, optional
        Iterations at most; without it as many as there are unknowns, but 1000 at least and 10000 at most.
    x0 : array_like, optional
        Where iterations start, ``in_shape`` or with the batch. It changes how soon they end, and not where: it is used
        if the solution is known to be the only one, that is with a ``damp`` of at least ``sqrt(rtol)`` of the norm of
        ``op`` and no regularizer, or if one tap outweighs the others. Else ``reason`` says that it is not, as
        iterations would keep what it has in the null space. Direct methods do not use it.
    callback : callable, optional
        Called after each iteration (of a direct method, once) with a copy of x as the solution has it. If it returns
        True or raises StopIteration, the solution so far is returned; other exceptions go through.
    progress : bool
        Show a bar while iterating (extra ``progress``).
    throw : bool
        Raise where not all converged, instead of saying so.

    Returns
    -------
    Solution
        ``x``, of the shape ``(*batch, *in_shape)`` and the array library of ``op`` and ``b``, in single precision where
        both are; ``converged``, ``method``, ``reason``, ``residual``, ``normal_residual``, ``iterations``, ``history``,
        ``condition``. With ``damp=0``, a map without full rank (singular values of at most ``max(M, N) * eps`` of the
        largest count as 0) gives the shortest least-squares solution and ``converged=False``, for ``op(x) = b`` has
        none, or many; iterations cannot always tell. Where a factorisation that was asked for by name finds the map
        singular, x is nan. Of PyTorch and JAX x is differentiable, once, in b and in kernels, from the solution alone
        (by the implicit function theorem); JAX may trace it, if ``op`` is a convolution.

    Raises
    ------
    ValueError, TypeError
        Where an argument is none of those, a number is not finite, or ``method`` does not apply.
    LinAlgError
        With ``throw``, where not all converged.
    MemoryError
        Where a method that was asked for by name does not fit.

    Notes
    -----
    Transforms cost O(N log N), and c^3 for each of N blocks of c channels; a band LU of half-width w, O(N w^2); a
    Kronecker product, O(n^3) for each axis. ``auto`` iterates where every direct method should take longer than 8
    steps, and turns to one where the steps go on for longer than that would have taken. Steps with a preconditioner and
    those without take turns, as the one or the other has less to do. LSMR: Fong, Saunders, SIAM J. Sci. Comput. 33,
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
    asked = _asked(rtol, maxiter, callback, progress, throw)

    def solver(subject: LinearMap) -> Solver:
        problem, scale = scaled(checked(subject, damp, regularizer))
        return Solver(problem, scale, method)

    return answered(op, b, x0, asked, throw, (damp, regularizer), solver)


class Factorization:
    """A problem of least squares made ready for any number of right-hand sides; `factorize` makes it.

    Attributes
    ----------
    method, reason : str
        How it solves, and why so.
    condition : float
        Condition number, exact or an estimate; ``nan`` where nothing is known.
    """

    def __init__(self, op: LinearMap, penalty: tuple[float, LinearMap | None], solver: Solver) -> None:
        self._op, self._penalty, self._solver = op, penalty, solver
        found = solver.ready()
        self.method, self.reason, self.condition = found.factors.method, found.reason, found.factors.condition

    def __reduce__(self) -> tuple[Any, ...]:
        problem, scale, method = self._solver.problem, self._solver.scale, self._solver.method
        return _again, (self._op, self._penalty, problem, scale, method)

    def __repr__(self) -> str:
        return f"Factorization({self.method}, condition {self.condition:.3g}: {self.reason})"

    @door("solve")
    def solve(
        self,
        b: ArrayLike,
        *,
        rtol: float = 1e-8,
        maxiter: int | None = None,
        x0: ArrayLike | None = None,
        callback: Callback | None = None,
        progress: bool = False,
        throw: bool = False,
    ) -> Solution:
        """As `convmtx.solve`, with what was made ready.

        Parameters
        ----------
        b : array_like
            Right-hand sides, ``(*batch, *out_shape)``.
        rtol, maxiter, x0, callback, progress, throw
            As for `convmtx.solve`.

        Returns
        -------
        Solution
            As of `convmtx.solve`.

        Raises
        ------
        ValueError, TypeError, LinAlgError
            As of `convmtx.solve`.
        """
        asked = _asked(rtol, maxiter, callback, progress, throw)
        return answered(self._op, b, x0, asked, throw, self._penalty, lambda _: self._solver)


@door("factorize")
def factorize(
    op: LinearMap, *, damp: float = 0.0, regularizer: LinearMap | None = None, method: Method = "auto"
) -> Factorization:
    """Make a problem ready for many right-hand sides.

    Parameters
    ----------
    op, damp, regularizer, method
        As for `solve`. ``auto`` takes a direct method even where that takes longer than a single iterative solve.

    Returns
    -------
    Factorization
        ``F.solve(b)`` gives what ``cm.solve(op, b)`` would, in a fraction of the time; ``F.method``, ``F.reason``,
        ``F.condition``.

    Raises
    ------
    ValueError, TypeError, MemoryError
        As for `solve`.
    LinAlgError
        Where ``method`` is a factorisation and finds the map singular.

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
    problem, scale = scaled(checked(op, damp, regularizer))
    try:
        return Factorization(op, (damp, regularizer), Solver(problem, scale, method))
    except Singular as error:
        raise singular(error) from None


def foreseen(
    op: LinearMap, n_rhs: int, damp: float, regularizer: LinearMap | None, rtol: float, maxiter: int | None
) -> float:
    """Seconds that `solve` should take at most for so many right-hand sides."""
    problem, _ = scaled(checked(op, damp, regularizer))
    return predicted_seconds(problem, n_rhs, rtol, maxiter)


def _again(op: LinearMap, penalty: Any, problem: Problem, scale: float, method: str) -> Factorization:
    """One that was pickled, made again: factors are not pickled."""
    return Factorization(op, penalty, Solver(problem, scale, method))


def singular(error: Singular) -> SolveError:
    """What was found when a matrix was factored."""
    got = f"op is singular or ill-conditioned (condition about {error.condition:.1e})"
    return SolveError(got, "Wanted a map of full rank", "Use method='auto', cm.pinv(op), or damp > 0")


def _asked(rtol: Any, maxiter: Any, callback: Any, progress: Any, throw: Any) -> Asked:
    rtol = number("rtol", rtol, "a number between 0 and 1", "Pass 1e-8, say", fits=lambda rtol: 0 < rtol < 1)
    if maxiter is not None:
        integer("maxiter", maxiter, 1)
    if callback is not None and not callable(callback):
        got = f"callback is a {type(callback).__name__}"
        raise ArgumentError(got, "Wanted a function of the iterate", "Pass callback=print, say")
    flag("progress", progress)
    flag("throw", throw)
    return Asked(rtol, maxiter, None, callback, progress)
