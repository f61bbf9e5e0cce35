"""The k largest singular triplets of maps without structure: Lanczos processes on the smaller Gram matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np

from convmtx.maps.linear_map import LinearMap
from convmtx.progress import show_progress
from convmtx.spectra.certified import Stop
from convmtx.spectra.lanczos import CHECK, Lanczos
from convmtx.spectra.triplets import Apply, Gram, Triplets, dtype_of, refine, taller
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray


def largest_triplets(op: LinearMap, k: int, rtol: float, maxiter: int, progress: bool) -> Triplets:
    """Return the k largest singular values and vectors, every residual below ``rtol`` of the largest value."""
    tall = taller(op)
    with show_progress(progress, "singular values", maxiter) as bar:
        search = find_leading(Gram(tall), tall.shape[1], dtype_of(op), k, rtol, maxiter, bar)
    best = refine(tall, search.vectors, k, search.steps)
    best = replace(best, stopped=search.stopped, beyond=float(np.sqrt(search.beyond)))
    return best if tall is op else best.of_adjoint()


@dataclass(frozen=True, eq=False)
class Leading:
    """Orthonormal vectors (k, size) of the k largest eigenvalues, and the number of steps of the search.

    ``stopped`` is what ended it early, or None. If it is not None, eigenvalues of other vectors are at most
    ``beyond``.
    """

    vectors: AnyArray
    steps: int
    stopped: Stop | None
    beyond: float


def find_leading(
    gram: Apply, size: int, dtype: np.dtype[Any], k: int, rtol: float, maxiter: int, bar: Any = None
) -> Leading:
    """Search for the k largest eigenvalues, each to a relative residual of ``rtol``.

    A process from one start finds one vector of a multiple eigenvalue: of 2, 2, 1 it finds 2 and 1. So the search ends
    only after another process, orthogonal to the vectors that are certain, finds nothing larger than the last of the k
    values. There are at most ``maxiter`` steps, but at least k.
    """
    certain, values = np.zeros((0, size), dtype), np.zeros(0)
    best, steps = np.zeros((0, size), dtype), 0
    for seed in count():
        process = Lanczos(_Deflated(gram, certain), size, dtype, seed)
        stopped = _converge(process, k, values, rtol, max(maxiter, k) - steps, bar)
        steps += process.steps
        ritz, coefficients, _ = process.ritz(max(process.order - k, 0), process.order - 1)
        if values.size == k and stopped is None and ritz[-1] <= values[-1] * (1 + rtol) + _rounding(values[0]):
            break
        values, best, residuals = _rayleigh_ritz(gram, np.concatenate([best, process.combine(coefficients)]), k)
        small = residuals <= max(10 * rtol, 1e3 * EPS) * values[0]  # a mixture of vectors would hide its parts
        values, certain = values[small], best[small]
        if stopped is not None or steps >= max(maxiter, k):
            return Leading(best, steps, stopped or Stop.MAXITER, process.bounds()[0])
    return Leading(best, steps, None, 0.0)


@dataclass(frozen=True, eq=False)
class _Deflated:
    """A Hermitian map on what is orthogonal to some vectors (m, size)."""

    gram: Apply
    vectors: AnyArray

    def __call__(self, v: AnyArray) -> AnyArray:
        """Return the image, with its parts along the vectors taken off before and after."""
        w = self.gram(v - (self.vectors.conj() @ v) @ self.vectors)
        rest: AnyArray = w - (self.vectors.conj() @ w) @ self.vectors
        return rest


def _rounding(top: float) -> float:
    """Return the size up to which an eigenvalue may be rounding of 0, beside one of size ``top``."""
    return 1e3 * EPS * top


def _rayleigh_ritz(gram: Apply, vectors: AnyArray, k: int) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return the k largest eigenvalues in the span of some vectors, their vectors and the lengths of residuals."""
    basis = np.linalg.qr(vectors.T)[0]
    images = np.stack([gram(v) for v in basis.T], axis=1)
    inner = basis.conj().T @ images
    values, coefficients = np.linalg.eigh((inner + inner.conj().T) / 2)
    values, coefficients = values[::-1][:k], coefficients[:, ::-1][:, :k]
    best = basis @ coefficients
    return values, best.T, np.linalg.norm(images @ coefficients - best * values, axis=0)


def _converge(process: Lanczos, k: int, known: AnyArray, rtol: float, maxiter: int, bar: Any) -> Stop | None:
    """Make steps until k Ritz values are exact, or, if k values are known, those larger than the last of them.

    Return what stopped it before that, or None.
    """
    more = max(CHECK, k)
    while True:
        process.advance_until(more, maxiter, bar)
        ritz, _, residuals = process.ritz(max(process.order - k, 0), process.order - 1)
        good = residuals <= np.maximum(rtol * ritz, _rounding(max(ritz[-1], known.max(initial=0))))
        if ritz.size == k and good.all():
            return None
        if known.size == k:
            larger = max(int((ritz > known[-1]).sum()), 1)
            if good[-larger:].all() or process.bounds()[0] <= known[-1]:
                return None
        obstacle = process.obstacle(more, maxiter)
        if obstacle is not None:
            return None if obstacle is Stop.ROUNDING else obstacle
