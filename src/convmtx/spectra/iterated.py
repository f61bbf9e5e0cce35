"""Singular values of maps of which no structure is of use: the Lanczos process on the smaller Gram matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from convmtx import memory
from convmtx.algebra import LinearMap
from convmtx.operator import ConvOperator
from convmtx.progress import ticking
from convmtx.spectra.certified import EPS
from convmtx.spectra.lanczos import CHECK, Lanczos, require
from convmtx.structure import small
from convmtx.structure.subject import sparse
from convmtx.typing import AnyArray

#: Steps of inverse iteration at most.
STEPS_INVERSE = 30
#: Fractions of the norm below which an inverse tells no singular values apart.
FLOORS = 1e-6, 1e-11
#: Steps of it after which values are looked at.
LOOK = 3
#: Vectors in a block beyond those wanted: equal values at the end need them.
EXTRA = 3
Apply = Callable[[AnyArray], AnyArray]


class Triplets(NamedTuple):
    """Singular values, descending, their vectors (k, N) and (k, M), and how far each may be from an exact one."""

    values: AnyArray
    right: AnyArray
    left: AnyArray
    residuals: AnyArray
    steps: int


def scaled(op: LinearMap) -> tuple[LinearMap, float]:
    """The map divided by a power of two near its largest entry, so that its Gram matrix is in range; and that power."""
    if not isinstance(op, ConvOperator):
        return op, 1.0
    scale = small.unit(op.kernel)
    return op.with_kernel(op.kernel / scale), scale


def taller(op: LinearMap) -> LinearMap:
    """The map, or its adjoint where that has the smaller Gram matrix."""
    return op if op.shape[0] >= op.shape[1] else op.H


def gram_of(tall: LinearMap) -> Apply:
    """``v -> A^H A v``."""
    back = tall.H
    return lambda v: back.matvec(tall.matvec(v))


def _dtype(op: LinearMap) -> np.dtype[Any]:
    return np.dtype(np.result_type(op.dtype, np.float64))


def require_vectors(call: str, op: LinearMap) -> None:
    """Refuse maps of which not even some vectors fit into memory."""
    require(call, 2 * CHECK, min(op.shape), 16)


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
    tall = taller(op)
    process = Lanczos(gram_of(tall), tall.shape[1], _dtype(op))
    with ticking(call, progress, "singular values", maxiter) as bar:
        while True:
            steps = process.steps
            process.advance(CHECK)
            process.purge()
            if bar is not None:
                bar.update(process.steps - steps)
            values, coefficients, _ = process.ritz()
            above, below = process.bounds()
            low, high = float(np.sqrt(max(values[-1], 0))), min(ceiling, float(np.sqrt(above)))
            done = process.complete or process.steps in (steps, process.size)
            if high - low <= rtol * high or done or process.steps >= maxiter or not _fits(process):
                # How much the map stretches these two is true of them, whatever rounding did to the process.
                low, last = (_stretch(tall, v) for v in process.combined(coefficients[:, [-1, 0]]))
                return Bracket((low, max(low, high)), (float(np.sqrt(below)), last), process.steps)


def _stretch(op: LinearMap, v: AnyArray) -> float:
    return float(np.linalg.norm(op.matvec(v)) / np.linalg.norm(v))


def _fits(process: Lanczos) -> bool:
    """Whether the next steps' vectors can be held."""
    return 2 * CHECK * process.size * process.dtype.itemsize < memory.available()


def leading(
    gram: Apply, size: int, dtype: np.dtype[Any], k: int, rtol: float, maxiter: int, bar: Any = None
) -> tuple[AnyArray, int]:
    """Orthonormal vectors (k, size) of the k largest eigenvalues, and the steps that it took, ``maxiter`` at most.

    One start finds one vector of a multiple eigenvalue. So another process, orthogonal to what was found, has to fail
    to find anything larger before the search ends.
    """
    sure, values, best, total = np.zeros((0, size), dtype), np.zeros(0), np.zeros((0, size), dtype), 0
    for seed in range(2 + 2 * k):
        process = Lanczos(partial(_deflated, gram, sure), size, dtype, seed)
        _converge(process, k, values, rtol, maxiter - total, bar)
        total += process.steps
        ritz, coefficients, _ = process.ritz()
        if values.size == k and ritz[-1] <= values[-1] * (1 + rtol):
            break
        basis = np.linalg.qr(np.concatenate([sure, process.combined(coefficients[:, ::-1][:, :k])]).T)[0]
        images = np.stack([gram(v) for v in basis.T], axis=1)
        inner = basis.conj().T @ images
        values, vectors = np.linalg.eigh((inner + inner.conj().T) / 2)
        values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
        residuals = np.linalg.norm(images @ vectors - basis @ vectors * values, axis=0)
        small = residuals <= max(10 * rtol, 1e3 * EPS) * values[0]  # a mixture would hide what it is a mixture of
        best = (basis @ vectors).T
        values, sure = values[small], best[small]
        if total >= maxiter:
            break
    return best, total


def _deflated(gram: Apply, found: AnyArray, v: AnyArray) -> AnyArray:
    """The map on what is orthogonal to some vectors."""
    w = gram(v - (found.conj() @ v) @ found)
    rest: AnyArray = w - (found.conj() @ w) @ found
    return rest


def _converge(process: Lanczos, k: int, known: AnyArray, rtol: float, maxiter: int, bar: Any) -> None:
    """Until k Ritz values are exact, or, where k values are known, those that are larger than the last of them."""
    while process.steps < min(maxiter, process.size) and not process.complete and _fits(process):
        steps = process.steps
        process.advance(min(max(CHECK, k), maxiter - steps))
        if bar is not None:
            bar.update(process.steps - steps)
        ritz, _, residuals = process.ritz()
        if ritz.size >= k and (residuals[-k:] <= np.maximum(rtol * ritz[-k:], 8 * EPS * ritz[-1])).all():
            return
        if known.size == k:
            larger = max(int((ritz > known[-1]).sum()), 1)
            if (residuals[-larger:] <= rtol * ritz[-larger:]).all() or process.bounds()[0] <= known[-1]:
                return
        process.purge()


def triplets(call: str, op: LinearMap, k: int, rtol: float, maxiter: int, progress: bool) -> Triplets:
    """The k largest singular values and vectors, until every residual is below ``rtol`` of the largest."""
    tall = taller(op)
    with ticking(call, progress, "singular values", maxiter) as bar:
        right, steps = leading(gram_of(tall), tall.shape[1], _dtype(op), k, rtol, maxiter, bar)
    return _of(op, tall, refined(tall, right, k, steps))


def smallest(op: LinearMap, k: int, norm: float, first: _Inverse | None = None) -> Triplets:
    """The k smallest of min(M, N): what a block Krylov space of the inverse holds of the map itself.

    Values that are equal or lie close together are told apart by the block. A map that is nearly singular does no harm,
    for its inverse only points to where to look: values far below the norm are looked for once more, by an inverse of a
    lower floor, in whose rounding larger ones drown. ``first`` is the inverse of the first floor, if there is one.
    """
    tall = taller(op)
    columns = tall.shape[1]
    rng, width = np.random.default_rng(0), min(k + EXTRA, columns)
    space = Space(tall, np.linalg.qr(rng.standard_normal((columns, width)).astype(tall.dtype))[0])
    for floor in FLOORS:
        inverse = _inverse(tall, norm, floor) if first is None else first
        space.grow(inverse.solve, k, norm)
        first = None
        if space.values[-k:].min() > 100 * floor * norm:
            break
    values, right, left = space.values[-k:], space.basis @ space.inner[-k:].conj().T, space.left[:, -k:]
    residuals = np.linalg.norm(tall.rmatmat(left) - right * values, axis=0)
    return _of(op, tall, Triplets(values, right.T, left.T, residuals, space.steps))


class Space:
    """Orthonormal vectors, their images under a map, and what singular values and vectors they hold."""

    def __init__(self, tall: LinearMap, block: AnyArray) -> None:
        self.tall, self.basis, self.images, self.steps, self.width = tall, block, tall.matmat(block), 1, block.shape[1]
        self._decompose()

    def _decompose(self) -> None:
        self.left, self.values, self.inner = np.linalg.svd(self.images, full_matrices=False)

    def _beyond(self, block: AnyArray) -> AnyArray:
        """Orthonormal vectors beyond the basis from those of a block; random ones where the block holds nothing new."""
        block = block / np.maximum(np.linalg.norm(block, axis=0), np.finfo(float).tiny)
        block = block - self.basis @ (self.basis.conj().T @ block)
        known = np.linalg.norm(block, axis=0) < np.sqrt(EPS)
        block[:, known] = np.random.default_rng(self.steps).standard_normal((len(block), int(known.sum())))
        for _ in range(3):
            block = np.linalg.qr(block - self.basis @ (self.basis.conj().T @ block))[0]
        return block

    def grow(self, inverse: Apply, k: int, norm: float) -> None:
        """Apply the inverse to the last block, until the k smallest values stay as they are."""
        block = self.basis[:, -self.width :]
        for step in range(1, STEPS_INVERSE + 1):
            room = self.basis.shape[0] - self.basis.shape[1]
            if not room:
                return
            block = self._beyond(inverse(block))[:, :room]
            self.basis = np.concatenate([self.basis, block], axis=1)
            self.images = np.concatenate([self.images, self.tall.matmat(block)], axis=1)
            self.steps += 1
            if step % LOOK == 0 or room <= self.width or step == STEPS_INVERSE:
                before = self.values[-k:]
                self._decompose()
                if (np.abs(self.values[-k:] - before) <= 1e-11 * before + EPS * norm).all():
                    return


def last(op: LinearMap, norm: float) -> tuple[float, float]:
    """The smallest singular value from above, and from below by the random start of inverse iteration.

    From below there is nothing where rounding in the solves has the last word.
    """
    tall = taller(op)
    inverse = _inverse(tall, norm, FLOORS[0])
    above = float(smallest(op, 1, norm, inverse).values[0])
    if above < 100 * FLOORS[0] * norm:
        return above, 0.0
    process = Lanczos(inverse.solve, tall.shape[1], _dtype(op), seed=1)
    top = bound = np.inf
    while process.steps < min(10 * STEPS_INVERSE, process.size) and not process.complete:
        process.advance(CHECK)
        process.purge()
        top, bound = float(process.ritz()[0][-1]), process.bounds()[0] * (1 + 1e-6)
        if bound <= (1 + 1e-5) * top:
            break
    square = inverse.scale / bound - inverse.scale**2
    return above, min(float(np.sqrt(max(square, 0))), above)


class _Inverse(NamedTuple):
    """``v -> (A^H A / scale + scale I)^-1 v``."""

    solve: Apply
    scale: float


def _inverse(tall: LinearMap, norm: float, floor: float) -> _Inverse:
    """From a sparse factorisation of ``[[a I, A], [A^H, -a I]]``, with ``a = floor * norm``.

    Its condition is that of A, down to the floor, and not its square (Bjorck, BIT 7, 1967).
    """
    from scipy.sparse import block_array, csc_array, eye_array
    from scipy.sparse.linalg import splu

    rows, columns = tall.shape
    scale = floor * (norm or 1.0)
    matrix = sparse(tall).tocsc()
    augmented = block_array([[scale * eye_array(rows), matrix], [matrix.conj().T, -scale * eye_array(columns)]])
    factors = splu(csc_array(augmented))

    def solve(v: AnyArray) -> AnyArray:
        solution: AnyArray = factors.solve(np.concatenate([np.zeros((rows, *v.shape[1:]), v.dtype), v]))[rows:]
        return -solution

    return _Inverse(solve, scale)


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
