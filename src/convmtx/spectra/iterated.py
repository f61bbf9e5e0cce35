"""Singular values of maps of which no structure is of use: the Lanczos process on the smaller Gram matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convmtx import memory
from convmtx.algebra import LinearMap
from convmtx.spectra.certified import EPS
from convmtx.spectra.lanczos import CHECK, Lanczos
from convmtx.spectra.progress import ticking
from convmtx.typing import AnyArray

#: Steps of inverse iteration at most, from one start.
STEPS_INVERSE = 200
#: Vectors more than are wanted, for what comes after them is what inverse iteration is slow to tell apart.
EXTRA = 4
Apply = Callable[[AnyArray], AnyArray]


class Triplets(NamedTuple):
    """Singular values, descending, their vectors (k, N) and (k, M), and how far each may be from an exact one."""

    values: AnyArray
    right: AnyArray
    left: AnyArray
    residuals: AnyArray
    steps: int


def gram_process(op: LinearMap, seed: int = 0) -> tuple[Lanczos, LinearMap]:
    """The process of ``A^H A``, and the map A: the one given, or its adjoint where that has the smaller Gram matrix."""
    tall = op if op.shape[0] >= op.shape[1] else op.H
    back = tall.H
    dtype = np.dtype(np.result_type(op.dtype, np.float64))
    return Lanczos(lambda v: back.matvec(tall.matvec(v)), tall.shape[1], dtype, seed), tall


class Bracket(NamedTuple):
    """The largest and the smallest of min(M, N) singular values, each from below and above, and the steps it took."""

    largest: tuple[float, float]
    smallest: tuple[float, float]
    steps: int


def bracket(call: str, op: LinearMap, ceiling: float, rtol: float, maxiter: int, progress: bool) -> Bracket:
    """Bounds of the largest singular value until they are as near as wanted, and of the smallest as they come.

    ``ceiling`` is an upper bound that is known already. The bounds that come from the random start are wrong with
    probability `FAILURE` at most.
    """
    process, _ = gram_process(op)
    with ticking(call, progress, "singular values", maxiter) as bar:
        while True:
            steps = process.steps
            process.advance(CHECK)
            process.purge()
            if bar is not None:
                bar.update(process.steps - steps)
            values = process.ritz()[0]
            above, below = process.bounds()
            low, high = float(np.sqrt(max(values[-1], 0))), min(ceiling, float(np.sqrt(above)))
            done = process.complete or process.steps in (steps, process.size)
            if high - low <= rtol * high or done or process.steps >= maxiter or not _fits(process):
                ends = float(np.sqrt(below)), float(np.sqrt(max(values[0], 0)))
                return Bracket((low, max(low, high)), ends, process.steps)


def _fits(process: Lanczos) -> bool:
    """Whether the next steps' vectors can be held."""
    return 2 * CHECK * process.size * process.dtype.itemsize < memory.available()


def leading(
    gram: Apply, size: int, dtype: np.dtype[Any], k: int, rtol: float, maxiter: int, bar: Any = None
) -> tuple[AnyArray, int]:
    """Orthonormal vectors (k, size) of the k largest eigenvalues, and the steps that it took.

    One start finds one vector of a multiple eigenvalue. So another process, orthogonal to what was found, has to fail
    to find anything larger before the search ends.
    """
    found = np.zeros((0, size), dtype)
    values = np.zeros(0)
    total = 0
    for seed in range(1 + k):

        def deflated(v: AnyArray, found: AnyArray = found) -> AnyArray:
            w = gram(v - (found.conj() @ v) @ found)
            rest: AnyArray = w - (found.conj() @ w) @ found
            return rest

        process = Lanczos(deflated, size, dtype, seed)
        while process.steps < min(maxiter, size) and not process.complete and _fits(process):
            steps = process.steps
            process.advance(max(CHECK, k))
            if bar is not None:
                bar.update(process.steps - steps)
            ritz, coefficients, residuals = process.ritz()
            if ritz.size >= k and (residuals[-k:] <= np.maximum(rtol * ritz[-k:], 8 * EPS * ritz[-1])).all():
                break
            if values.size == k and (process.bounds()[0] <= values[-1] or residuals[-1] <= rtol * ritz[-1]):
                break
            process.purge()
        total += process.steps
        ritz, coefficients, _ = process.ritz()
        if values.size == k and ritz[-1] <= values[-1] * (1 + rtol):
            break
        basis = np.linalg.qr(np.concatenate([found, process.combined(coefficients[:, ::-1][:, :k])]).T)[0]
        inner = basis.conj().T @ np.stack([gram(v) for v in basis.T], axis=1)
        values, vectors = np.linalg.eigh((inner + inner.conj().T) / 2)
        values, found = values[::-1][:k], (basis @ vectors[:, ::-1][:, :k]).T
    return found, total


def triplets(call: str, op: LinearMap, k: int, rtol: float, maxiter: int, progress: bool) -> Triplets:
    """The k largest singular values and vectors, until every residual is below ``rtol`` of the largest."""
    process, tall = gram_process(op)
    with ticking(call, progress, "singular values", maxiter) as bar:
        right, steps = leading(process.gram, process.size, process.dtype, k, rtol, maxiter, bar)
    return _of(op, tall, refined(tall, right, k, steps))


def smallest(op: LinearMap, k: int, norm: float) -> Triplets:
    """The k smallest of min(M, N), by inverse iteration.

    The Lanczos process tells clustered values apart, and rounds of subspace iteration after it put right what rounding
    did where the map is nearly singular.
    """
    process, tall = gram_process(op)
    inverse = _inverse(tall, norm).solve
    several = min(k + EXTRA, process.size)
    right, steps = leading(inverse, process.size, process.dtype, several, 1e-10, STEPS_INVERSE + several)
    for _ in range(2):
        right = np.linalg.qr(inverse(right.T))[0].T
    found = refined(tall, right, several, steps)
    values, residuals = found.values[-k:], found.residuals[-k:]
    return _of(op, tall, Triplets(values, found.right[-k:], found.left[-k:], residuals, steps))


def last(op: LinearMap, norm: float) -> tuple[float, float]:
    """The smallest singular value from above, and from below by the random start of inverse iteration.

    From below there is nothing where rounding in the solves has the last word.
    """
    above = float(smallest(op, 1, norm).values[0])
    if above < 1e-6 * norm:
        return above, 0.0
    process, tall = gram_process(op, seed=1)
    inverse = _inverse(tall, norm)
    process = Lanczos(inverse.solve, process.size, process.dtype, seed=1)
    while process.steps < min(STEPS_INVERSE, process.size) and not process.complete:
        process.advance(CHECK)
        process.purge()
        top = process.ritz()[0][-1]
        if process.bounds()[0] <= (1 + 1e-6) * top:
            break
    square = inverse.scale * (1 / (process.bounds()[0] * (1 + 1e-6)) - inverse.shift)
    return above, min(float(np.sqrt(max(square, 0))), above)


class _Inverse(NamedTuple):
    """``v -> (A^H A / scale + shift I)^-1 v``."""

    solve: Apply
    scale: float
    shift: float


def _inverse(tall: LinearMap, norm: float) -> _Inverse:
    """From a sparse factorisation of ``[[a I, A], [A^H, -d I]]``.

    With a far below the norm its condition is that of A and not its square (Bjorck, BIT 7, 1967); d keeps a singular A
    from a division by zero.
    """
    from scipy.sparse import block_array, csc_array, eye_array
    from scipy.sparse.linalg import splu

    rows, columns = tall.shape
    scale, shift = 1e-10 * (norm or 1.0), 1e-13 * (norm or 1.0)
    matrix: Any = tall.to_sparse("csc")
    augmented = block_array([[scale * eye_array(rows), matrix], [matrix.conj().T, -shift * eye_array(columns)]])
    factors = splu(csc_array(augmented))

    def solve(v: AnyArray) -> AnyArray:
        solution: AnyArray = factors.solve(np.concatenate([np.zeros((rows, *v.shape[1:]), v.dtype), v]))[rows:]
        return -solution

    return _Inverse(solve, scale, shift)


def refined(op: LinearMap, right: AnyArray, k: int, steps: int = 0) -> Triplets:
    """The best triplets that the span of some vectors (m, N) holds, real if the map is, with true residuals."""
    if op.dtype.kind != "c" and right.dtype.kind == "c":
        right = np.concatenate([right.real, right.imag])
    basis, sizes, _ = np.linalg.svd(right.T, full_matrices=False)
    basis = basis[:, sizes > 1e-6 * sizes[0]]
    left, values, inner = np.linalg.svd(op.matmat(basis), full_matrices=False)
    left, values, vectors = left[:, :k], values[:k], basis @ inner[:k].conj().T
    residuals = np.linalg.norm(op.rmatmat(left) - vectors * values, axis=0)
    return Triplets(values, vectors.T, left.T, residuals, steps)


def _of(op: LinearMap, tall: LinearMap, found: Triplets) -> Triplets:
    """Of the map, whose adjoint was decomposed where that is the taller."""
    return found if tall is op else found._replace(left=found.right, right=found.left)
