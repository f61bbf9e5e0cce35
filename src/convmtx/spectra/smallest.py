"""The k smallest singular triplets of maps without structure: inverse iteration on a sparse factorization."""

from __future__ import annotations

import numpy as np

from convmtx.maps.linear_map import LinearMap
from convmtx.spectra.certified import Stop
from convmtx.spectra.lanczos import CHECK, Lanczos
from convmtx.spectra.triplets import Apply, Triplets, dtype_of, taller
from convmtx.structure.augmented import AugmentedSystem
from convmtx.structure.double import sparse
from convmtx.structure.precision import EPS, TINY
from convmtx.typing import AnyArray

#: Largest number of steps of inverse iteration. `Stop.STEPS` names it.
STEPS = 30
#: Floors of inverses as fractions of the norm: singular values below one floor look alike to its inverse.
FLOORS = 1e-6, 1e-11
#: Number of steps after which values are compared with those before.
LOOK = 3
#: Number of vectors in a block beyond the k requested ones: equal values at the end need them.
EXTRA = 3


def smallest_triplets(op: LinearMap, k: int, norm: float, first: _Inverse | None = None) -> Triplets:
    """Return the k smallest of min(M, N) triplets in a block Krylov space of an inverse.

    A block of vectors tells apart values that are equal or close together. The inverse only points to where small
    values are, and the triplets come from the map itself, so a map that is nearly singular does no harm. If values are
    far below the norm, an inverse of a lower floor looks for them once more; in its rounding, larger ones drown.
    ``first`` is the inverse of the first floor, if it is computed already.
    """
    tall = taller(op)
    columns = tall.shape[1]
    rng, width = np.random.default_rng(0), min(k + EXTRA, columns)
    space = _Space(tall, np.linalg.qr(rng.standard_normal((columns, width)).astype(tall.dtype))[0])
    for floor in FLOORS:
        inverse = _Inverse(tall, norm, floor) if first is None else first
        settled = space.grow(inverse.solve, k, norm)
        first = None
        if space.values[-k:].min() > 100 * floor * norm:
            break
    values, right, left = space.values[-k:], space.basis @ space.inner[-k:].conj().T, space.left[:, -k:]
    residuals = np.linalg.norm(tall.rmatmat(left) - right * values, axis=0)
    stopped = None if settled else Stop.STEPS
    smallest = Triplets(values, right.T, left.T, residuals, space.steps, stopped)
    return smallest if tall is op else smallest.of_adjoint()


def bracket_smallest(op: LinearMap, norm: float) -> tuple[float, float]:
    """Return the smallest singular value from above, and from below by the random start of inverse iteration.

    The lower bound is 0 if rounding in the solves hides the value.
    """
    tall = taller(op)
    inverse = _Inverse(tall, norm, FLOORS[0])
    above = float(smallest_triplets(op, 1, norm, inverse).values[0])
    if above < 100 * FLOORS[0] * norm:
        return above, 0.0
    process = Lanczos(inverse.solve, tall.shape[1], dtype_of(op), seed=1)
    top = bound = np.inf
    while process.steps < 10 * STEPS and process.order < process.size:
        process.advance(CHECK)
        top, bound = float(process.ritz(process.order - 1, process.order - 1)[0][0]), process.bounds()[0] * (1 + 1e-6)
        if bound <= (1 + 1e-5) * top:
            break
    # An eigenvalue x of the inverse belongs to the squared singular value scale / x - scale^2.
    square = inverse.scale / bound - inverse.scale**2
    return above, min(float(np.sqrt(max(square, 0))), above)


class _Space:
    """Orthonormal vectors, their images under a map, and the singular triplets in their span."""

    def __init__(self, tall: LinearMap, block: AnyArray) -> None:
        self.tall, self.basis, self.images, self.steps, self.width = tall, block, tall.matmat(block), 1, block.shape[1]
        self._decompose()

    def _decompose(self) -> None:
        self.left, self.values, self.inner = np.linalg.svd(self.images, full_matrices=False)

    def _beyond(self, block: AnyArray) -> AnyArray:
        """Return orthonormal vectors outside the basis from a block; random ones if the block adds nothing new."""
        block = block / np.maximum(np.linalg.norm(block, axis=0), TINY)
        block = block - self.basis @ (self.basis.conj().T @ block)
        known = np.linalg.norm(block, axis=0) < np.sqrt(EPS)
        block[:, known] = np.random.default_rng(self.steps).standard_normal((len(block), int(known.sum())))
        for _ in range(3):
            block = np.linalg.qr(block - self.basis @ (self.basis.conj().T @ block))[0]
        return block

    def grow(self, inverse: Apply, k: int, norm: float) -> bool:
        """Apply the inverse to the last block until the k smallest values settle; return whether they do."""
        block = self.basis[:, -self.width :]
        for step in range(1, STEPS + 1):
            room = self.basis.shape[0] - self.basis.shape[1]
            if not room:
                return True
            block = self._beyond(inverse(block))[:, :room]
            self.basis = np.concatenate([self.basis, block], axis=1)
            self.images = np.concatenate([self.images, self.tall.matmat(block)], axis=1)
            self.steps += 1
            if step % LOOK == 0 or room <= self.width or step == STEPS:
                before = self.values[-k:]
                self._decompose()
                if (np.abs(self.values[-k:] - before) <= 1e-11 * before + EPS * norm).all():
                    return True
        return False


class _Inverse:
    """The map ``v -> (A^H A / a + a I)^-1 v``, by the augmented system of A with a and -a on its diagonal.

    Its condition is that of A, down to the floor ``a``, and not its square.
    """

    def __init__(self, tall: LinearMap, norm: float, floor: float) -> None:
        """Factorize the augmented system with ``a = floor * norm``."""
        self.scale = floor * (norm or 1.0)
        self._system = AugmentedSystem(sparse(tall), self.scale, -self.scale, band=False)

    def solve(self, v: AnyArray) -> AnyArray:
        """Return the image of a vector, or of columns."""
        images = self._system.x_for(np.atleast_2d(v.T)).T
        return -images.reshape(v.shape)
