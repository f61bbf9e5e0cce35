"""Least squares with right-hand sides on chunks of Dask: what arguments mean there, and the loop around the steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from convmtx._xp import is_chunked, is_numpy
from convmtx.errors import ArgumentError, SolveError, UnsupportedError, shown
from convmtx.extras import import_extra
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.solves.accuracy import (
    Accuracy,
    ErrorKind,
    Lengths,
    error_from,
    error_of_rounding,
    least_eigenvalue,
    passes,
    unknown,
)
from convmtx.solves.arrays import require_shape
from convmtx.solves.checkpoints import Checkpoint, as_folder
from convmtx.solves.methods.chunked_lsmr import ChunkedLSMR, Equations, by_chunks, expected_vectors, persist, same
from convmtx.solves.methods.iterated import FINER, UNMET, Ending, judged, most_steps
from convmtx.solves.methods.iteration import SLACK
from convmtx.solves.observed import chunked_roots
from convmtx.solves.problem import Problem
from convmtx.solves.result import Request, Result, asks_to_stop
from convmtx.solves.solution import Solution
from convmtx.structure.double import doubled
from convmtx.structure.precision import unit_of
from convmtx.typing import AnyArray, Array

#: Least size that is divided by.
TINY = float(np.finfo(float).tiny)
#: Numbers of maps from one over this to this allow single precision, where steps multiply two of them.
SINGLE = 1e6
#: Why iterations are taken.
WHY = "b is an array of Dask"


def require_least_squares(**options: tuple[Any, Any]) -> None:
    """Refuse options other than their defaults, from pairs of both: their methods need whole arrays in memory."""
    for name, (value, default) in options.items():
        if value is not default and value != default:
            got = f"{name}={shown(value)} with an array of Dask"
            expected = "Expected plain least squares: chunks are solved for by iterations alone"
            raise UnsupportedError(got, expected, f"Leave {name} out, or pass a part of b that fits in memory")


def solve_chunks(problem: Problem, b: Array, weights: Any, mask: Any, x0: Any, request: Request, path: Any) -> Solution:
    """Solve the caller's problem for right-hand sides of Dask, from the checkpoint at a path if there is one."""
    folder = None if path is None else as_folder(path)
    equations = equations_of(problem, b, weights, mask)
    run, why, start = _Run(problem, equations, request), WHY, None
    if folder is not None:
        run.checkpoint = Checkpoint(folder, _words(problem, equations, weights, mask))
    if x0 is not None and not problem.known_ridge:
        why += "; x0 is not used, for it might change the solution"
    elif x0 is not None:
        start = _start_of(x0, problem.op, equations)
    run.begin(start)
    result = run.result(why)
    if request.throw and not result.converged.all():
        raise SolveError(result.reason, "Expected a solution", "Without throw=True x is the best so far")
    residual, normal, error = (
        np.reshape(numbers, equations.batch)[()]
        for numbers in (result.residual, result.normal_residual, result.accuracy.relative)
    )
    return Solution(
        result.x, bool(result.converged.all()), result.method, result.reason, residual, normal, error,
        result.accuracy.kind, result.iterations, result.history, result.condition, result.verdict,
    )  # fmt: skip


def equations_of(problem: Problem, b: Array, weights: Any, mask: Any) -> Equations:
    """Return the problem as equations between arrays of Dask, in single precision if its maps and b are."""
    dask = import_extra("dask.array", "dask")
    b = require_shape("b", b, problem.op.out_shape, chunked=True)
    root, largest = chunked_roots(problem.op.out_shape, b, weights, mask)
    op, penalty, dtype = _in_one_type(problem, b, largest)
    batch = tuple(b.shape[: b.ndim - len(op.out_shape)])
    maps = op._stack if len(op._stack) > 1 else (op,)
    right: list[Any] = _parts(maps, b)
    roots: list[Any] = [1.0] * len(maps) if root is None else _parts(maps, root)
    chunks = maps[0].H(right[0].astype(dtype)).chunks  # type: ignore[attr-defined]
    like = dask.zeros(batch + op.in_shape, chunks=chunks, dtype=dtype)
    chunks = [one(like).chunks for one in maps]  # type: ignore[attr-defined]
    right = [part.astype(dtype) for part in right]
    if root is None:
        right = _in_chunks(right, chunks)
    else:
        roots = [part.astype(like.real.dtype) for part in roots]
        own = [sizes[b.ndim - root.ndim :] for sizes in chunks]
        both = _in_chunks([*right, *roots], [*chunks, *own])
        right, roots = both[: len(maps)], both[len(maps) :]
        right = [dask.map_blocks(_weighted, *pair, dtype=dtype) for pair in zip(right, roots, strict=True)]
    penalties = () if penalty is None else tuple((one, problem.damp) for one in penalty._stack)
    return Equations((*zip(maps, roots, strict=True), *penalties), tuple(right), batch, like)


def _in_chunks(arrays: list[Array], chunks: list[Any]) -> list[Array]:
    """Return arrays in some chunks; those in others are computed, once.

    Every graph that reads them would cut them again, and would join the cuts with its other tasks in its own way. A
    scheduler takes that for two recipes of one name.
    """
    pairs = list(zip(arrays, chunks, strict=True))
    cut = [by_chunks(same, array).rechunk(own) for array, own in pairs if array.chunks != own]
    computed = iter(persist(cut) if cut else ())
    return [array if array.chunks == own else next(computed) for array, own in pairs]


def _weighted(b: AnyArray, roots: AnyArray) -> AnyArray:
    """Return a chunk of b times roots of weights, 0 where they are 0, whatever b is there."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.where(roots > 0, b * roots, np.zeros((), b.dtype))


def _in_one_type(problem: Problem, b: Array, largest: AnyArray) -> tuple[LinearMap, LinearMap | None, np.dtype[Any]]:
    """Return map and regularizer of NumPy with the type of vectors.

    That is single precision if all of them and b have it, and if products of their numbers and of the largest roots of
    weights are in its range.
    """
    op = doubled(problem.op)
    penalty = problem.doubled_regularizer(op)
    second = 0.0 if penalty is None else penalty._peak()
    by = max(1.0, second) * problem.damp
    sizes = [max(op._peak() * root, by) for root in largest.flat]
    for scale in map(unit_of, np.reshape(sizes, (-1, 1))):
        if scale != 1:  # in memory they are scaled, with b, at the cost of another pass
            got, expected = (
                f"op or damp has numbers near {scale:.0e}",
                "Expected those from 1e-60 to 1e60 with b of Dask",
            )
            remedy = f"Divide both by {scale:.0e}"
            if (largest != 1).any():
                got, remedy = (
                    f"{got} times the roots of weights",
                    f"Divide weights by {scale**2:.0e}, and damp by {scale:.0e}",
                )
            raise ArgumentError(got, expected, remedy)
    own = [one for one in (problem.op, problem.regularizer) if one is not None]
    dtypes = [one.dtype if is_numpy(one._reference_array) else np.dtype(np.float64) for one in own]
    dtype = np.result_type(*dtypes, b.dtype, np.float32)
    peaks = [max(size, second) for size in sizes]
    if dtype in (np.float32, np.complex64) and all(not peak or 1 / SINGLE < peak < SINGLE for peak in peaks):
        return problem.op, problem.regularizer, dtype
    return op, penalty, np.dtype(np.complex128 if dtype.kind == "c" else np.float64)


def _parts(maps: Sequence[LinearMap], array: Array) -> list[Array]:
    """Return the outputs of each of some maps, in its shape, from those of their stack."""
    if len(maps) == 1:
        return [array]
    ends = accumulate((one.shape[0] for one in maps), initial=0)
    batch = array.shape[:-1]
    return [array[..., i:j].reshape(*batch, *one.out_shape) for one, (i, j) in zip(maps, pairwise(ends), strict=True)]


def _start_of(x0: Any, op: LinearMap, equations: Equations) -> Array:
    """Return a start of every array of the batch."""
    start, shape, like = require_shape("x0", x0, op.in_shape, chunked=True), equations.like.shape, equations.like
    dask = import_extra("dask.array", "dask")
    array = start if is_chunked(start) else dask.from_array(start)
    try:
        return by_chunks(same, dask.broadcast_to(array, shape).astype(like.dtype)).rechunk(like.chunks)
    except ValueError:
        got = f"x0 has shape {tuple(array.shape)}"
        raise ArgumentError(got, f"Expected {shape}, as b has", "Pass one start, or one for each") from None


def _words(problem: Problem, equations: Equations, weights: Any, mask: Any) -> dict[str, Any]:
    """Return what tells problems apart, by names of arguments; of b it is sums that are different for others."""
    base = import_extra("dask.base", "dask")
    dask = import_extra("dask.array", "dask")
    sums = []
    for part in equations.right:
        square = dask.map_blocks(_squared, part, dtype=np.float64).sum()
        # These differ if entries change places or signs, and their terms have one sign, so that rounding is small.
        shifted = dask.map_blocks(_squared, part, np.sqrt(square / max(part.size, 1)), dtype=np.float64)
        lines = (dask.arange(n, chunks=c) + 1.0 for n, c in zip(part.shape, part.chunks, strict=True))
        along = (line[(..., *(None,) * (part.ndim - 1 - k))] for k, line in enumerate(lines))
        sums += [square, *((shifted * line).sum() for line in along)]
    numbers = [float(number) for number in import_extra("dask", "dask").compute(*sums)]
    return {
        "op": base.tokenize(problem.op), "regularizer": base.tokenize(problem.regularizer), "damp": problem.damp,
        "weights or mask": [weights is not None, mask is not None], "b": [*equations.batch, *numbers],
    }  # fmt: skip


def _squared(chunk: AnyArray, shift: Any = 0.0) -> AnyArray:
    """Return the squared magnitudes of a chunk, in double precision; whoever starts refuses what is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        magnitudes: AnyArray = np.abs(chunk + np.asarray(shift, np.float64))
        return magnitudes**2


class _Run:
    """Steps until all right-hand sides have converged, with looks at true residuals in between."""

    def __init__(self, problem: Problem, equations: Equations, request: Request) -> None:
        self.problem, self.equations, self.request = problem, equations, request
        self.rtol, self.maxiter = request.rtol, request.maxiter or most_steps(problem)
        #: The largest normal residual of the batch after each step, over that at the start.
        self.history: list[float] = []
        self.checkpoint: Checkpoint | None = None
        self.is_saved = True

    def begin(self, x0: Array | None) -> None:
        """Begin at a start, or where the checkpoint is."""
        saved = None if self.checkpoint is None else self.checkpoint.load(expected_vectors(self.equations))
        if self.checkpoint is None or saved is None:
            self._start(x0, 1.0)
            return
        try:
            self.state = ChunkedLSMR.at(self.equations, *saved)
            self.first, self.before = saved.numbers["first"], float(saved.numbers["before"])
            self.history = saved.numbers["history"].tolist()
        except (KeyError, ValueError, TypeError) as error:
            raise self.checkpoint.damaged(error) from None

    def _start(self, x0: Array | None, before: float) -> None:
        self.state, self.before = ChunkedLSMR(self.equations, x0, self.problem.ridge), before
        self.first = np.maximum(self.state.normal_residual, TINY)

    def result(self, why: str) -> Result:
        """Return the solutions with what is known of them."""
        request, problem, ending = self.request, self.problem, Ending.CONVERGED
        with show_progress(request.progress, "iterations", self.maxiter) as bar:
            if bar is not None:
                bar.update(len(self.history))
            while True:
                steps = len(self.history)
                ending = self._advance(bar)
                state, lengths = self.state, self.state.lengths()
                norm = float(state.norm.max(initial=0))
                reach = state.norm_b + norm * lengths.x
                accepted = passes(lengths, reach, norm, SLACK * request.rtol, state.eps)
                accuracy = self._accuracy(lengths, norm)
                exceeds = accuracy.exceeds(request.xtol)
                is_over = ending is not Ending.CONVERGED or len(self.history) >= self.maxiter
                if is_over or (accepted.all() and (not exceeds.any() or state.all_finished)):
                    break
                if accepted.all() and self.rtol > state.eps:
                    self.rtol /= FINER
                elif len(self.history) > steps:
                    self._start(state.x, self.history[-1])
                else:
                    break
        self._save()
        (x,) = persist([state.x])
        result = Result(
            x, lengths.residual, lengths.normal, accepted & (state.finished | state.converged(self.rtol)), "LSMR",
            why if problem.damp else why + UNMET, accuracy, condition=float(state.condition.max(initial=1)),
            iterations=len(self.history), history=tuple(self.history),
        )  # fmt: skip
        return judged(problem, result, ending, exceeds, lambda: reach, request.rtol)

    def _advance(self, bar: Any) -> Ending:
        """Take steps until all right-hand sides have converged, or something else ends them."""
        callback = self.request.callback
        while not self.state.is_done(self.rtol):
            if len(self.history) >= self.maxiter:
                return Ending.OUT_OF_STEPS
            self.state.step()
            self.history.append(self.before * self.state.decrease(self.first))
            self.is_saved = False
            if bar is not None:
                bar.update(1)
            if self.checkpoint is not None and self.checkpoint.is_due:
                self._save()
            if callback is not None:
                self.state.settle()
                if asks_to_stop(callback, self.state.x):
                    return Ending.STOPPED
        return Ending.CONVERGED

    def _save(self) -> None:
        if self.checkpoint is not None and not self.is_saved:
            own = {"first": self.first, "before": np.array(self.before), "history": np.array(self.history)}
            self.state.settle()
            self.state.replace(self.checkpoint.save(self.state.vectors, {**self.state.numbers, **own}))
            self.is_saved = True

    def _accuracy(self, lengths: Lengths, norm: float) -> Accuracy:
        """Return how far x may be from the minimizers: by what is penalized of x itself, or else by the steps so far.

        With a regularizer alone, the steps do not show it: see `Iteration.accuracy`, whose random start would take as
        long as the solve.
        """
        problem, normal, eps = self.problem, lengths.normal, self.state.eps
        if ridge := problem.known_ridge:
            error = error_from(normal, None if problem.damp else lengths.residual, ridge**2)
            error = error + error_of_rounding(lengths, norm, ridge, eps)
            return Accuracy(error, lengths.x, ErrorKind.BOUND)
        if problem.damp or not self.history:
            return unknown(len(normal))
        mu = np.array([least_eigenvalue(*self.state.bidiagonal(j)) for j in range(len(normal))])
        error = error_from(normal, lengths.residual, mu) + error_of_rounding(lengths, norm, np.sqrt(mu), eps)
        return Accuracy(error, lengths.x, ErrorKind.ESTIMATE)
