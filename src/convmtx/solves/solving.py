"""Least squares with any map and any array: what is asked for, and in which library and type it comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, Literal

import numpy as np

from convmtx._xp import as_numpy, floating, is_numpy, is_traced, like, numeric, one_library, one_of_theirs
from convmtx._xp.gradients import constants
from convmtx.algebra import LinearMap
from convmtx.errors import ArgumentError, SolveError, sentence
from convmtx.geometry.resolve import flag, integer, one_of
from convmtx.operator import ConvOperator
from convmtx.solves import outcome
from convmtx.solves.differentiated import Dependence
from convmtx.solves.iterated import Callback
from convmtx.solves.lu import Singular
from convmtx.solves.outcome import Asked, Made, Outcome
from convmtx.solves.problem import Problem, checked
from convmtx.solves.solution import Factors, Solution
from convmtx.structure import small
from convmtx.typing import AnyArray, Array, ArrayLike

Method = Literal[
    "auto", "blocks", "kronecker", "lattices", "band", "sparse", "substitution", "dense", "lsmr", "preconditioned"
]
SINGLE = "float32", "complex64", "float16", "bfloat16"
METHODS: tuple[str, ...] = Method.__args__  # type: ignore[attr-defined]


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
        Where iterations end: by the tests of SciPy's lsmr with ``atol = btol = rtol``.
    maxiter : int, optional
        Iterations at most; without it as many as there are unknowns, but 10000 at most.
    x0 : array_like, optional
        Where iterations start, ``in_shape`` or with the batch; direct methods have no use for it.
    callback : callable, optional
        Called with x after each iteration (of a direct method, once). If it returns True or raises StopIteration, the
        solution so far is returned.
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
        none, or many. Of PyTorch and JAX x is differentiable, once, in b and in kernels, from the solution alone
        (`convmtx.solves.differentiated`); JAX may trace it.

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
    steps, turns to one where the steps go on for longer than that would have taken, and keeps the preconditioner only
    where the first 12 steps with and without it say that it pays. LSMR: Fong, Saunders, SIAM J. Sci. Comput. 33, 2011.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> blur = cm.conv([1.0, 3.0, 1.0], 1000, padding="same")
    >>> s = cm.solve(blur, blur(np.arange(1.0, 1001.0)))
    >>> s.x[:4].round(9), s.converged, s.method
    (array([1., 2., 3., 4.]), True, 'blocks (sine: 1000 of 1 x 1)')
    """
    call = "solve"
    one_of(call, "method", method, METHODS)
    asked = _asked(call, rtol, maxiter, callback, progress, throw)

    def solver(subject: LinearMap) -> Solver:
        problem, scale = scaled(checked(call, subject, damp, regularizer))
        return Solver(problem, scale, method)

    return _answered(op, b, x0, asked, throw, (damp, regularizer), solver)


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
        found = solver.ready("factorize")
        self.method, self.reason, self.condition = found.factors.method, found.reason, found.factors.condition

    def __repr__(self) -> str:
        return f"Factorization({self.method}, condition {self.condition:.3g}: {self.reason})"

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
        asked = _asked("solve", rtol, maxiter, callback, progress, throw)
        return _answered(self._op, b, x0, asked, throw, self._penalty, lambda _: self._solver)


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
    call = "factorize"
    one_of(call, "method", method, METHODS)
    problem, scale = scaled(checked(call, op, damp, regularizer))
    try:
        return Factorization(op, (damp, regularizer), Solver(problem, scale, method))
    except Singular as error:
        raise singular(call, error) from None


def singular(call: str, error: Singular) -> SolveError:
    """What was found when a matrix was factored."""
    got = f"op is singular or ill-conditioned (condition about {error.condition:.1e})"
    return SolveError(sentence(call, got, "Wanted a map of full rank", "Use method='auto', cm.pinv(op), or damp > 0"))


class Solver:
    """A problem whose map is divided by a scale, and factors for it where somebody asked for them."""

    def __init__(self, problem: Problem, scale: float, method: str, made: Made | None = None) -> None:
        self.problem, self.scale, self.method, self.made = problem, scale, method, made

    def ready(self, call: str) -> Made:
        """Factors that are made once."""
        if self.made is None:
            self.made = outcome.factors_for_many(call, self.problem, self.method)
        return self.made

    def solved(self, b: AnyArray, asked: Asked) -> Outcome:
        """With the factors if there are any."""
        if self.made is None:
            return outcome.solved(self.problem, b, self.method, asked)
        return outcome.used(self.made, b, asked)


def _asked(call: str, rtol: Any, maxiter: Any, callback: Any, progress: Any, throw: Any) -> Asked:
    if not isinstance(rtol, int | float | np.floating) or isinstance(rtol, bool) or not 0 < rtol < 1:
        raise ArgumentError(sentence(call, f"rtol={rtol!r}", "Wanted a number between 0 and 1", "Pass 1e-8, say"))
    if maxiter is not None:
        integer(call, "maxiter", maxiter, 1)
    if callback is not None and not callable(callback):
        got = f"callback is a {type(callback).__name__}"
        raise ArgumentError(sentence(call, got, "Wanted a function of the iterate", "Pass callback=print, say"))
    flag(call, "progress", progress)
    flag(call, "throw", throw)
    return Asked(call, float(rtol), maxiter, None, callback, progress)


def scaled(problem: Problem) -> tuple[Problem, float]:
    """The problem of the map divided by a power of two, and that power: squares of its entries are in range."""
    if not isinstance(problem.op, ConvOperator):
        return problem, 1.0
    scale = _unit(problem.op.kernel)
    if scale == 1:
        return problem, scale
    op = problem.op.with_kernel(problem.op.kernel / scale)
    return replace(problem, op=op, damp=problem.damp / scale), scale


def _unit(numbers: AnyArray) -> float:
    """1 for numbers of which squares and sums are in range, else a power of two near the largest."""
    unit = small.unit(numbers)
    return 1.0 if 1e-60 < unit < 1e60 else unit


def _answered(
    op: LinearMap,
    b: Any,
    x0: Any,
    asked: Asked,
    throw: bool,
    penalty: tuple[float, LinearMap | None],
    solver: Callable[[LinearMap], Solver],
) -> Solution:
    """The solution in the library and type of b and of the map."""
    call = asked.call
    if not isinstance(op, LinearMap):
        checked(call, op, 0, None)  # which says what is wrong
    right = shaped(call, "b", b, op.out_shape)
    one_library(call, op._of, right)
    batch = tuple(right.shape[: right.ndim - len(op.out_shape)])
    start = None if x0 is None else _start(call, x0, op, batch)
    made: list[tuple[LinearMap, Solver]] = []
    found: list[Outcome] = []

    def solver_of(subject: LinearMap) -> Solver:
        if not made or not _same(made[-1][0], subject):
            made.append((subject, solver(subject)))
        return made[-1][1]

    def computed(*numbers: AnyArray) -> list[AnyArray]:
        subject, b = dependence.subject(*numbers)
        flat = finite(call, "b", b).reshape(prod(batch), *op.out_shape)
        result = of_numbers(solver_of(subject), flat, start, asked)
        found.append(result)
        if throw and not result.converged.all():
            remedy = "Without throw=True x is the best so far"
            raise SolveError(sentence(call, result.reason, "Wanted a solution", remedy))
        told = (each.reshape(batch) for each in (result.residual, result.normal_residual, result.converged))
        return [result.x.reshape(batch + op.in_shape), *told]

    def factors(subject: LinearMap) -> tuple[Factors, float]:
        maker = solver_of(subject)
        return maker.ready(call).factors, maker.scale

    dependence = Dependence(call, op, *penalty, right, factors)
    numbers = dependence.numbers
    if not any(map(is_traced, numbers)):
        x, residual, normal, _ = computed(*(as_numpy(call, each) for each in numbers))
        result = found[-1]
        x = like(_typed(x, op, right), one_of_theirs([right, op._of]))
        singular = result.reason.startswith("singular")
        x = x if is_numpy(x) else dependence.attached(x, not penalty[0] and (singular or op.shape[0] < op.shape[1]))
        rest = (result.iterations, result.history, result.condition)
        return Solution(x, bool(result.converged.all()), result.method, result.reason, residual[()], normal[()], *rest)
    dtype = np.result_type(*(floating(each) for each in numbers if not is_numpy(each)))
    shapes = [batch + op.in_shape, batch, batch, batch]
    x, residual, normal, converged = constants(call, computed, numbers, shapes, dtype)
    x = dependence.attached(x, not penalty[0] and op.shape[0] < op.shape[1])
    told = "computed when the program runs"
    return Solution(x, converged > 0, told, told, residual, normal, 0, (), np.nan)


def _same(first: LinearMap, second: LinearMap) -> bool:
    """Whether these are one map, or convolutions of one kernel."""
    if first is second:
        return True
    if not (isinstance(first, ConvOperator) and isinstance(second, ConvOperator)):
        return False
    return np.array_equal(first.kernel, second.kernel)


def shaped(call: str, name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """A numeric array whose last axes are the wanted ones."""
    array = numeric(call, name, value)
    d = len(shape)
    if array.ndim < d or tuple(array.shape[array.ndim - d :]) != shape:
        wanted = f"Wanted (*batch, {', '.join(map(str, shape))})"
        remedy = (
            "A flattened array has to be reshaped" if tuple(array.shape) == (prod(shape),) else "Batch axes come first"
        )
        raise ArgumentError(sentence(call, f"{name} has shape {tuple(array.shape)}", wanted, remedy))
    return array


def finite(call: str, name: str, array: AnyArray) -> AnyArray:
    """An array of NumPy without inf and nan."""
    if not np.isfinite(array).all():
        raise ArgumentError(
            sentence(call, f"{name} holds inf or nan", "Wanted finite numbers", "Fill or mask them first")
        )
    return array


def _start(call: str, x0: Any, op: LinearMap, batch: tuple[int, ...]) -> AnyArray:
    array = finite(call, "x0", as_numpy(call, shaped(call, "x0", x0, op.in_shape)))
    try:
        array = np.broadcast_to(array, batch + op.in_shape)
    except ValueError:
        wanted = f"Wanted {batch + op.in_shape}, as b has"
        raise ArgumentError(
            sentence(call, f"x0 has shape {array.shape}", wanted, "Pass one start, or one for each")
        ) from None
    return array.reshape(-1, *op.in_shape)


def _typed(x: AnyArray, op: LinearMap, b: Array) -> AnyArray:
    """In single precision where both the map and b are."""
    single = all(str(each).rpartition(".")[2] in SINGLE for each in (op.dtype, b.dtype))
    return x.astype(np.complex64 if x.dtype.kind == "c" else np.float32) if single else x


def of_numbers(solver: Solver, b: AnyArray, x0: AnyArray | None, asked: Asked) -> Outcome:
    """Of (m, *out_shape), each divided by a power of two first, and its parts apart where they are complex and the map
    is real.
    """  # noqa: D205
    problem, scale, m = solver.problem, solver.scale, len(b)
    if not m:
        nothing = np.zeros(0)
        x = np.zeros((0, *problem.op.in_shape), np.result_type(b, problem.dtype))
        return Outcome(x, nothing, nothing, nothing == 0, "none", "an empty batch", 0, (), np.nan)
    apart = problem.dtype.kind != "c" and (b.dtype.kind == "c" or (x0 is not None and x0.dtype.kind == "c"))
    b = b.astype(np.result_type(b, problem.dtype) if not apart else np.complex128, copy=False)
    units = np.array([_unit(each) for each in b])
    back = units / scale

    def column(each: AnyArray) -> AnyArray:
        return each.reshape(-1, *(1 for _ in problem.op.in_shape))

    def whole(x: AnyArray) -> AnyArray:
        joined = x[:m] + 1j * x[m:] if apart else x
        return joined * column(back) if (back != 1).any() else joined

    if asked.callback is not None:
        callback = asked.callback
        asked = asked._replace(callback=lambda x: callback(whole(x)))
    if x0 is not None:
        x0 = x0 / column(back)
        asked = asked._replace(x0=np.concatenate([x0.real, x0.imag]) if apart else x0.astype(b.dtype))
    if (units != 1).any():
        b = b / units.reshape(-1, *(1 for _ in problem.op.out_shape))
    if apart:
        b = np.concatenate([b.real, b.imag])
    found = solver.solved(b, asked)
    if apart:
        residual, normal = (np.hypot(each[:m], each[m:]) for each in (found.residual, found.normal_residual))
        converged = found.converged[:m] & found.converged[m:]
    else:
        residual, normal, converged = found.residual, found.normal_residual, found.converged
    return found._replace(
        x=whole(found.x), residual=residual * units, normal_residual=normal * units * scale, converged=converged
    )
