"""Singular values of maps of which no structure is of use: the Lanczos process on the smaller Gram matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.progress import ticking
from convmtx.spectra.certified import EPS
from convmtx.spectra.lanczos import CHECK, Lanczos, require
from convmtx.structure import batched
from convmtx.structure.double import sparse
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
    """Singular values, descending, their vectors (k, N) and (k, M), and how far each may be from an exact one.

    ``stopped`` names what ended the search before the tolerance was met, or is empty; then no other value is above
    ``beyond``.
    """

    values: AnyArray
    right: AnyArray
    left: AnyArray
    residuals: AnyArray
    steps: int
    stopped: str = ""
    beyond: float = 0.0


def scaled(op: LinearMap) -> tuple[LinearMap, float]:
    """The map divided by a power of two near its largest entry, so that its Gram matrix is in range; and that power."""
    if not isinstance(op, ConvOperator):
        return op, 1.0
    scale = batched.unit(op.kernel)
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


def require_vectors(op: LinearMap) -> None:
    """Refuse maps of which not even some vectors fit into memory."""
    require(2 * CHECK, min(op.shape), 16)


class Bracket(NamedTuple):
    """The largest and the smallest of min(M, N) singular values, each from below and above, and the steps it took.

    ``stopped`` names what ended the steps before the tolerance was met: maxiter, memory or rounding; or it is empty.
    """

    largest: tuple[float, float]
    smallest: tuple[float, float]
    steps: int
    stopped: str


def bracket(op: LinearMap, ceiling: float, rtol: float, maxiter: int, progress: bool) -> Bracket:
    """Bounds of the largest singular value until they are as near as wanted, and of the smallest as they come.

    ``ceiling`` is an upper bound that is known already. The bounds that come from the random start are wrong with
    probability `FAILURE` at most.
    """
    tall = taller(op)
    process = Lanczos(gram_of(tall), tall.shape[1], _dtype(op))
    with ticking(progress, "singular values", maxiter) as bar:
        while True:
            _advance(process, CHECK, maxiter, bar)
            above, below = process.bounds()
            high = min(ceiling, float(np.sqrt(above)))
            (square,), first, _ = process.ritz(process.order - 1, process.order - 1)
            met = high - float(np.sqrt(max(square, 0))) <= rtol * high
            stopped = "" if met else _stopped(process, CHECK, maxiter)
            if met or stopped:
                # How much the map stretches these two is true of them, whatever rounding did to the process.
                coefficients = np.concatenate([first, process.ritz(0, 0)[1]], axis=1)
                low, last = (_stretch(tall, v) for v in process.combined(coefficients))
                return Bracket((low, max(low, high)), (float(np.sqrt(below)), last), process.steps, stopped)


def _stretch(op: LinearMap, v: AnyArray) -> float:
    return float(np.linalg.norm(op.matvec(v)) / np.linalg.norm(v))


def _advance(process: Lanczos, more: int, maxiter: int, bar: Any) -> None:
    """Make so many steps, but at most ``maxiter`` in all."""
    before = process.steps
    process.advance(min(more, maxiter - before))
    if bar is not None:
        bar.update(process.steps - before)


def _stopped(process: Lanczos, more: int, maxiter: int) -> str:
    """Name of what keeps a process from making so many more steps; nothing if they can be made."""
    if process.order == process.size:  # the vectors span everything
        return "rounding"
    if process.steps >= maxiter:
        return "maxiter"
    return "" if process.fits(more) else "memory"


class Leading(NamedTuple):
    """Orthonormal vectors (k, size) of the k largest eigenvalues, and the steps that the search took.

    ``stopped`` names what ended it early, or is empty; then the eigenvalues of other vectors are at most ``beyond``.
    """

    vectors: AnyArray
    steps: int
    stopped: str
    beyond: float


def leading(
    gram: Apply, size: int, dtype: np.dtype[Any], k: int, rtol: float, maxiter: int, bar: Any = None
) -> Leading:
    """Search for the k largest eigenvalues, each to a relative residual of ``rtol``.

    One start finds one vector of a multiple eigenvalue. So another process, orthogonal to what was found, has to fail
    to find anything larger before the search ends. There are at most ``maxiter`` steps, but at least k.
    """
    sure, values, best, total = np.zeros((0, size), dtype), np.zeros(0), np.zeros((0, size), dtype), 0
    for seed in count():
        process = Lanczos(partial(_deflated, gram, sure), size, dtype, seed)
        stopped = _converge(process, k, values, rtol, max(maxiter, k) - total, bar)
        total += process.steps
        ritz, coefficients, _ = process.ritz(max(process.order - k, 0), process.order - 1)
        if values.size == k and not stopped and ritz[-1] <= values[-1] * (1 + rtol) + _rounding(values[0]):
            break
        values, best, residuals = _rayleigh_ritz(gram, np.concatenate([best, process.combined(coefficients)]), k)
        small = residuals <= max(10 * rtol, 1e3 * EPS) * values[0]  # a mixture would hide what it is a mixture of
        values, sure = values[small], best[small]
        if stopped or total >= max(maxiter, k):
            return Leading(best, total, stopped or "maxiter", process.bounds()[0])
    return Leading(best, total, "", 0.0)


def _rounding(top: float) -> float:
    """Size up to which an eigenvalue may be rounding of 0, beside one of size ``top``."""
    return 1e3 * EPS * top


def _rayleigh_ritz(gram: Apply, vectors: AnyArray, k: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """The k largest eigenvalues that the span of some vectors holds, their vectors and the lengths of residuals."""
    basis = np.linalg.qr(vectors.T)[0]
    images = np.stack([gram(v) for v in basis.T], axis=1)
    inner = basis.conj().T @ images
    values, coefficients = np.linalg.eigh((inner + inner.conj().T) / 2)
    values, coefficients = values[::-1][:k], coefficients[:, ::-1][:, :k]
    best = basis @ coefficients
    return values, best.T, np.linalg.norm(images @ coefficients - best * values, axis=0)


def _deflated(gram: Apply, found: AnyArray, v: AnyArray) -> AnyArray:
    """The map on what is orthogonal to some vectors."""
    w = gram(v - (found.conj() @ v) @ found)
    rest: AnyArray = w - (found.conj() @ w) @ found
    return rest


def _converge(process: Lanczos, k: int, known: AnyArray, rtol: float, maxiter: int, bar: Any) -> str:
    """Go on until k Ritz values are exact, or, where k values are known, those that are larger than the last of them.

    Return the name of what stopped it before that.
    """
    more = max(CHECK, k)
    while True:
        _advance(process, more, maxiter, bar)
        ritz, _, residuals = process.ritz(max(process.order - k, 0), process.order - 1)
        good = residuals <= np.maximum(rtol * ritz, _rounding(max(ritz[-1], known.max(initial=0))))
        if ritz.size == k and good.all():
            return ""
        if known.size == k:
            larger = max(int((ritz > known[-1]).sum()), 1)
            if good[-larger:].all() or process.bounds()[0] <= known[-1]:
                return ""
        if stopped := _stopped(process, more, maxiter):
            return "" if stopped == "rounding" else stopped


def triplets(op: LinearMap, k: int, rtol: float, maxiter: int, progress: bool) -> Triplets:
    """The k largest singular values and vectors, until every residual is below ``rtol`` of the largest."""
    tall = taller(op)
    with ticking(progress, "singular values", maxiter) as bar:
        search = leading(gram_of(tall), tall.shape[1], _dtype(op), k, rtol, maxiter, bar)
    best = refined(tall, search.vectors, k, search.steps)
    return _of(op, tall, best._replace(stopped=search.stopped, beyond=float(np.sqrt(search.beyond))))


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
        settled = space.grow(inverse.solve, k, norm)
        first = None
        if space.values[-k:].min() > 100 * floor * norm:
            break
    values, right, left = space.values[-k:], space.basis @ space.inner[-k:].conj().T, space.left[:, -k:]
    residuals = np.linalg.norm(tall.rmatmat(left) - right * values, axis=0)
    stopped = "" if settled else f"{STEPS_INVERSE} steps"
    return _of(op, tall, Triplets(values, right.T, left.T, residuals, space.steps, stopped))


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

    def grow(self, inverse: Apply, k: int, norm: float) -> bool:
        """Apply the inverse to the last block, until the k smallest values stay as they are; whether they do."""
        block = self.basis[:, -self.width :]
        for step in range(1, STEPS_INVERSE + 1):
            room = self.basis.shape[0] - self.basis.shape[1]
            if not room:
                return True
            block = self._beyond(inverse(block))[:, :room]
            self.basis = np.concatenate([self.basis, block], axis=1)
            self.images = np.concatenate([self.images, self.tall.matmat(block)], axis=1)
            self.steps += 1
            if step % LOOK == 0 or room <= self.width or step == STEPS_INVERSE:
                before = self.values[-k:]
                self._decompose()
                if (np.abs(self.values[-k:] - before) <= 1e-11 * before + EPS * norm).all():
                    return True
        return False


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
    while process.steps < 10 * STEPS_INVERSE and process.order < process.size:
        process.advance(CHECK)
        top, bound = float(process.ritz(process.order - 1, process.order - 1)[0][0]), process.bounds()[0] * (1 + 1e-6)
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
