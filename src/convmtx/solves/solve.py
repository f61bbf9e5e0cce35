"""Least squares with any map: the function `solve`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from os import PathLike
from typing import Any, Literal

import numpy as np

from convmtx._xp import as_numpy, is_chunked, reshape
from convmtx.arguments import number, one_of
from convmtx.errors import ArgumentError, door, shown
from convmtx.maps.linear_map import LinearMap
from convmtx.solves.accuracy import ErrorKind
from convmtx.solves.arrays import require_start
from convmtx.solves.borders import regularizer_of, scene_of
from convmtx.solves.calls import request_of, solve_arrays
from convmtx.solves.chunked import require_least_squares, solve_chunks
from convmtx.solves.constrained.objectives import PenaltyName
from convmtx.solves.constrained.solve import PENALTIES, Bounds, Constraints, are_open
from convmtx.solves.observed import weighted, weights_of
from convmtx.solves.problem import Problem, problem_of
from convmtx.solves.result import Callback, Verdict
from convmtx.solves.select import Solvers
from convmtx.solves.solution import Solution, joined
from convmtx.typing import Array, ArrayLike

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


@door("solve")
def solve(
    op: LinearMap,
    b: ArrayLike,
    *,
    damp: float = 0.0,
    regularizer: LinearMap | Sequence[LinearMap] | None = None,
    weights: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    border: Literal["free"] | None = None,
    bounds: Bounds | None = None,
    penalty: PenaltyName = "squares",
    rcond: float | None = None,
    method: Method = "auto",
    rtol: float = 1e-8,
    xtol: float = 1e-3,
    gtol: float = 1e-4,
    maxiter: int | None = None,
    x0: ArrayLike | None = None,
    callback: Callback | None = None,
    progress: bool = False,
    checkpoint: str | PathLike[str] | None = None,
    throw: bool = False,
) -> Solution:
    """Solve ``op(x) = b`` in the least-squares sense, with or without a penalty on x.

    Law: x minimizes ``norm(op(x) - b)**2 + damp**2 * norm(R(x))**2``. If more than one x does, it is the shortest.
    ``damp`` means the same as in SciPy's lsmr. R is the identity unless you pass a ``regularizer``. With ``weights``,
    the first term is ``sum(weights * abs(op(x) - b)**2)``. With ``bounds``, x is within them; with a ``penalty``, that
    is in the place of ``norm(R(x))**2``.

    Parameters
    ----------
    op : LinearMap
        Any map, square or not, or what `aslinearmap` takes: a matrix, a sparse array, an operator. Its numbers are
        taken in double precision.
    b : array_like
        One right-hand side or any batch, ``(*batch, *out_shape)``, finite, real or complex. Of a NumPy masked array,
        entries that are masked count as not measured. An array of Dask is solved for chunk by chunk: see Notes.
    damp : float
        Weight of the penalty, at least 0; `choose_damp` finds one.
    regularizer : LinearMap or list of LinearMap, optional
        R, a map with the inputs of ``op``, or what `aslinearmap` takes: for example ``cm.conv`` of a Laplacian. Of a
        list, all are penalized: ``norm(R1(x))**2 + norm(R2(x))**2 + ...``.
    weights : array_like, optional
        Weight of each output, at least 0: 1 over the variance of its noise. Outputs of weight 0 were not measured, and
        b may be nan there. The shape is ``out_shape``, or one that broadcasts to it, or that of b if the weights differ
        between the arrays of a batch.
    mask : array_like of bool, optional
        True where b was measured; shaped like ``weights``.
    border : {"free"}, optional
        What is known beyond the picture. By default it is what the boundary of ``op`` says. ``"free"``: nothing, the
        scene goes on there. Then x is the part inside the picture of the solution on a larger scene, which holds all
        that outputs read. ``op`` and the regularizer have to be convolutions, or a list of them.
    bounds : pair, optional
        Least and largest value of each entry of x: numbers, arrays of ``in_shape``, or None. ``bounds=(0, None)`` asks
        for x that is not negative. b has to be real.
    penalty : {"squares", "l1", "tv"}
        What ``damp**2`` weighs: ``norm(R(x))**2``, ``sum(abs(R(x)))``, or the isotropic total variation of x: the sum
        over all positions of the length of the vector of its differences along every spatial axis, which are 0 past
        the end.
    rcond : float, optional
        Singular values up to ``rcond`` times the largest count as 0 (truncated singular value decomposition). It needs
        a method that knows them: blocks, kronecker or dense. Not with ``damp``. The derivatives of x are those with
        respect to b.
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
                          that are selected (``op[mask]``) or weighted, or with a mean circulant, for a
                          `kernel_operator`; if ``op`` is singular and ``damp`` is 0, its solution is not the shortest
        ================= ==============================================================================================
    rtol : float
        Tolerance of iterations, between 0 and 1: they stop by the tests of SciPy's lsmr with ``atol = btol = rtol``.
        These tests bound residuals. What they leave of x is bounded by ``xtol``.
    xtol : float
        Largest ``norm(x - minimizer) / norm(x)`` of a solution that has converged, as far as ``Solution.error`` knows
        it. Iterations go on until both tolerances are met, and ``auto`` goes on to a direct method if they cannot and
        one fits.
    gtol : float
        With bounds or a penalty of its own: largest gap of a solution that has converged. ``rtol`` and ``xtol`` are not
        used then.
    maxiter : int, optional
        Largest number of iterations. The default is the number of rows or of columns of the matrix, whichever is
        larger, but at least 1000 and at most 10000.
    x0 : array_like or Solution, optional
        Where iterations start: an array of shape ``in_shape`` or ``(*batch, *in_shape)``, or what an earlier call
        returned. With bounds or a penalty of its own, a solution that was stopped has its multipliers too, and the run
        goes on as if it had not been stopped. For least squares only its x counts. A start changes the number of
        iterations, but not the solution. It is used only if the solution is known to be unique; if not, iterations
        would keep the part of x0 in the null space, and ``reason`` says that x0 is not used. The solution is known to
        be unique in two cases: x itself is penalized, with a ``damp`` of at least ``sqrt(rtol)`` times the norm of
        ``op``; or one tap of a kernel without channels is clearly larger than all others together. Direct methods do
        not use x0. With ``border="free"`` there is none.
    callback : callable, optional
        Function that is called with a copy of x after each iteration, or once after a direct method. With
        ``border="free"`` that is x of the larger scene. If it returns True or raises StopIteration, the solution so far
        is returned. Other exceptions reach the caller of `solve`.
    progress : bool
        Show a bar while iterating (extra ``progress``).
    checkpoint : str or path, optional
        With b of Dask, a folder of NumPy files that all workers can write. Vectors and numbers are saved there every
        minute, or less often if that would take more than a tenth of the time, and at the end. A call with the same
        arguments and the same folder goes on there, as if it had not been stopped; ``rtol``, ``xtol`` and ``maxiter``
        may be others. A checkpoint of another problem is refused.
    throw : bool
        Raise an error if not all right-hand sides converged.

    Returns
    -------
    Solution
        Its ``x`` has the shape ``(*batch, *in_shape)`` and the array library of ``op`` and ``b``. x is computed in
        double precision, and returned in single precision if both of them are. The other fields are ``converged``,
        ``method``, ``reason``, ``residual``, ``normal_residual``, ``error``, ``error_kind``, ``iterations``,
        ``history``, ``condition``, ``verdict``, ``gap`` and ``checkpoints``. With weights, residuals are those
        of the weighted problem.

        With ``damp=0`` and a map that is not of full rank, x is the shortest least-squares solution, and ``converged``
        is False as a warning: small changes of the kernel could change x completely. Singular values count as 0 if they
        are at most ``max(M, N) * eps`` times the largest; iterations cannot always detect this. If a factorization that
        was requested by name finds the map singular, x is nan.

        With PyTorch and JAX, x can be differentiated once with respect to b and the kernels, but not with bounds or a
        penalty other than squares: there, tensors that require grad are refused. The derivatives are computed from the
        solution (by the implicit function theorem), and not through the steps of the solver. JAX can trace `solve` if
        ``op`` is a convolution.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, a number is not finite, or ``method`` does not apply.
    LinAlgError
        With ``throw``, if not all right-hand sides converged; on chunks of Dask, if a step gives inf or nan.
    MemoryError
        If a method that was requested by name does not fit in memory.

    Notes
    -----
    A `vstack` of maps is solved as its first map with the others as the penalty: ``cm.vstack([op, l * R])`` with zeros
    below b is the same problem as ``damp=l, regularizer=R``, and takes the same method and as many iterations.

    If b is an array of Dask, so is x, and vectors are never flattened or gathered: they keep the chunks that the map
    and its adjoint give. LSMR takes the same steps as in memory, in single precision if the map and b are, and the
    numbers of the map and ``damp`` are from 1e-6 to 1e6. They have to be from 1e-60 to 1e60 in double precision, and so
    has the largest number of b; in single precision that is from 1e-20 to 1e20. Each step is one call of
    ``dask.persist``, by the active client or by threads, of as many tasks as the one before. It keeps five arrays, of
    the sizes of x and b; threads also keep those of the step before until it is done. b is read at the start, whenever
    residuals are checked, and to compare it with a checkpoint; if its chunks are not those of the map's outputs, a copy
    that has them is kept, and so it is with ``weights`` and ``mask``. ``weights``, ``mask`` and ``x0`` may be arrays of
    Dask too. Bounds, penalties other than squares, ``border``, ``rcond`` and other methods are refused, and no
    preconditioner is used. If x itself is penalized, ``error`` is a bound; with a ``regularizer`` alone it is unknown.
    The scheduler of a cluster remembers what vectors were computed from, back to the first step or to the last
    checkpoint: about 60 kB for each chunk and step.

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
    request = request_of(rtol, xtol, maxiter, callback, progress, throw)
    problem, window = problem_of(op, damp, regularizer, rcond), None
    is_constrained = penalty != "squares" or not are_open(bounds)
    if is_chunked(b):
        method = "auto" if method == "lsmr" else method
        require_least_squares(
            bounds=(bounds, None), penalty=(penalty, "squares"), border=(border, None), rcond=(rcond, None),
            method=(method, "auto"),
        )  # fmt: skip
        return solve_chunks(problem, b, weights, mask, x0.x if isinstance(x0, Solution) else x0, request, checkpoint)
    if checkpoint is not None:
        got, expected = "checkpoint with b in memory", "Expected b as an array of Dask, whose solves may take days"
        raise ArgumentError(got, expected, "Leave checkpoint out, or pass dask.array.from_array(b, chunks)")
    if is_constrained:
        _require_constrained(penalty, gtol, method, rcond)
    if border is not None:
        one_of("border", border, ("free",))
        problem, window = _on_scene(problem, x0, bounds)

    op = problem.op
    right, w = weights_of(op.out_shape, b, weights, mask)

    checkpoints = None
    if isinstance(x0, Solution):
        x0, checkpoints = x0.x, x0.checkpoints

    def solve_weighted(op: LinearMap, b: Array, start: Any, checkpoints: Any) -> Solution:
        observed = problem if op is problem.op else replace(problem, op=op)
        solvers = Constraints(observed, penalty, bounds, gtol) if is_constrained else Solvers(observed, method)
        own = request if checkpoints is None else replace(request, checkpoints=checkpoints)
        return solve_arrays(observed, b, start, own, solvers)

    if w is None:
        solution = solve_weighted(op, right, x0, checkpoints)
    elif w.ndim == len(op.out_shape):
        solution = solve_weighted(*weighted(op, right, w), x0, checkpoints)
    else:  # every array of the batch is a problem of its own
        batch = tuple(right.shape)[: right.ndim - len(op.out_shape)]
        pairs = zip(reshape(right, (-1, *op.out_shape)), reshape(w, (-1, *op.out_shape)), strict=True)
        starts = repeat(None) if x0 is None else require_start(x0, op, batch)
        kept = repeat(None) if checkpoints is None else ((checkpoint,) for checkpoint in checkpoints)
        problems = zip(pairs, starts, kept, strict=False)
        apart = [solve_weighted(*weighted(op, *pair), start, checkpoint) for pair, start, checkpoint in problems]
        solution = joined(apart, batch)
    return solution if window is None else _inside(solution, window, np.inf if is_constrained else request.xtol)


def _require_constrained(penalty: Any, gtol: Any, method: str, rcond: Any) -> None:
    one_of("penalty", penalty, PENALTIES)
    number("gtol", gtol, "a number > 0", "For example 1e-4", fits=lambda gtol: gtol > 0)
    for name, value, default in (("method", method, "auto"), ("rcond", rcond, None)):
        if value != default:
            got = f"{name}={shown(value)} with bounds or a penalty"
            raise ArgumentError(got, "Expected neither: constraints have one method", f"Leave {name} out")


def _on_scene(problem: Problem, x0: Any, bounds: Any) -> tuple[Problem, tuple[slice, ...]]:
    """Return the problem of the scene that goes on beyond the picture, and where the picture lies in it."""
    if x0 is not None:
        got = "x0 with border='free'"
        raise ArgumentError(got, "Expected no start, for iterations are on a larger scene", "Leave x0 out")
    if any(np.ndim(bound) for bound in bounds or ()):
        got = "bounds that are arrays with border='free'"
        raise ArgumentError(got, "Expected numbers, which hold for the whole scene", "Pass bounds=(0, None)")
    scene = scene_of(problem.op)
    regularizer = None if problem.regularizer is None else regularizer_of(scene, problem.regularizer)
    return replace(problem, op=scene.op, regularizer=regularizer), scene.window


def _inside(solution: Solution, window: tuple[slice, ...], xtol: float) -> Solution:
    """Return the part of a scene's solution in a window, where all of the scene's error may be."""
    x = solution.x[(..., *window)]
    if solution.error_kind is ErrorKind.UNKNOWN:
        return replace(solution, x=x)
    scene, part = (as_numpy(array).reshape(*solution.x.shape[: -len(window)], -1) for array in (solution.x, x))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.linalg.norm(scene, axis=-1) / np.linalg.norm(part, axis=-1)
    error = np.where(solution.error == 0, 0.0, solution.error * ratio)[()]
    inside = replace(solution, x=x, error=error)
    if not solution.converged or (error <= xtol).all():
        return inside
    reason = f"{solution.reason}; of x inside the picture, {error.max():.1e} may be error"
    return replace(inside, converged=False, reason=reason, verdict=Verdict.INEXACT)
