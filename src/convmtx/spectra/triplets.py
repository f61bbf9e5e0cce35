"""Singular triplets of any map: a record of some of them, and the best that a few vectors contain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.maps.linear_map import LinearMap
from convmtx.spectra.certified import Stop
from convmtx.spectra.lanczos import CHECK, require
from convmtx.typing import AnyArray

#: A Hermitian map of vectors.
Apply = Callable[[AnyArray], AnyArray]


@dataclass(frozen=True, eq=False)
class Triplets:
    """Singular values, descending, their vectors (k, N) and (k, M), and how far each may be from an exact one.

    ``stopped`` is what ended the search before the tolerance was met, or None. If it is not None, all other singular
    values are at most ``beyond``.
    """

    values: AnyArray
    right: AnyArray
    left: AnyArray
    residuals: AnyArray
    steps: int = 0
    stopped: Stop | None = None
    beyond: float = 0.0

    def of_adjoint(self) -> Triplets:
        """Return the triplets of the adjoint."""
        return replace(self, left=self.right, right=self.left)


def taller(op: LinearMap) -> LinearMap:
    """Return the map, or its adjoint if that has the smaller Gram matrix."""
    return op if op.shape[0] >= op.shape[1] else op.H


class Gram:
    """The map ``v -> A^H A v``."""

    def __init__(self, tall: LinearMap) -> None:
        self.op, self.adjoint = tall, tall.H

    def __call__(self, v: AnyArray) -> AnyArray:
        """Return the image of a vector."""
        return self.adjoint.matvec(self.op.matvec(v))


def dtype_of(op: LinearMap) -> np.dtype[Any]:
    """Return the double precision type of the map's vectors."""
    return np.dtype(np.result_type(op.dtype, np.float64))


def fits(op: LinearMap) -> bool:
    """Whether the first vectors of the Lanczos process fit in memory."""
    return 2 * CHECK * min(op.shape) * 16 <= memory.available()


def require_vectors(op: LinearMap) -> None:
    """Refuse maps of which even the first vectors do not fit in memory."""
    require(2 * CHECK, min(op.shape), 16)


def refine(op: LinearMap, right: AnyArray, k: int, steps: int = 0) -> Triplets:
    """Return the best k triplets in the span of vectors (m, N), real if the map is, with true residuals."""
    if op.dtype.kind != "c" and right.dtype.kind == "c":
        right = np.concatenate([right.real, right.imag])
    basis, sizes, _ = np.linalg.svd(right.T, full_matrices=False)
    basis = basis[:, sizes > 1e-6 * sizes[0]]
    left, values, inner = np.linalg.svd(op.matmat(basis), full_matrices=False)
    left, values, vectors = left[:, :k], values[:k], basis @ inner[:k].conj().T
    residuals = np.linalg.norm(op.rmatmat(left) - vectors * values, axis=0)
    return Triplets(values, vectors.T, left.T, residuals, steps)
