"""Extreme singular values by the Lanczos process, and what a random start makes certain of them.

The process is that of the Gram matrix ``G = A^H A`` (or ``A A^H``, where that is smaller), with selective
orthogonalisation: vectors are kept orthogonal to every Ritz vector that has converged, for only towards these is
orthogonality lost (Parlett, Scott, Math. Comp. 33, 1979).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.errors import FormTooLargeError, sentence
from convmtx.spectra.certified import EPS
from convmtx.typing import AnyArray

#: Probability that a bound from the random start vector is wrong. Below that, rounding would have the last word.
FAILURE = 1e-10
#: Steps after which Ritz values are looked at.
CHECK = 10
#: Of the largest eigenvalue, what a step leaves that is made orthogonal to all vectors.
SMALL = 1e-2


def require(call: str, count: int, size: int, item: int) -> None:
    """Refuse so many vectors if they do not fit into memory."""
    needed, free = count * size * item, memory.available()
    if needed > free:
        got = f"{count} vectors of {size} numbers take {memory.human(needed)}"
        remedy = "Use cm.norm_bound(op, 'sup') or cm.sup_norm, which do not depend on the size"
        raise FormTooLargeError(sentence(call, got, f"Available are {memory.human(free)}", remedy))


class Lanczos:
    """Lanczos vectors of a Hermitian positive semidefinite map of vectors, and the tridiagonal matrix they make."""

    def __init__(self, gram: Callable[[AnyArray], AnyArray], size: int, dtype: np.dtype[Any], seed: int = 0) -> None:
        """Start with a vector that is uniformly distributed on the sphere."""
        self.gram, self.size, self.dtype = gram, size, dtype
        rng = np.random.default_rng(seed)
        vector = rng.standard_normal(self.size).astype(self.dtype)
        if self.dtype.kind == "c":
            vector += 1j * rng.standard_normal(self.size)
        self.vectors = np.empty((2 * CHECK, size), dtype)  # rows, as many as there are steps and one
        self.vectors[0] = vector / np.linalg.norm(vector)
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        self.converged = np.empty((0, size), dtype)

    @property
    def steps(self) -> int:
        """How often the map was applied."""
        return len(self.diagonal)

    @property
    def complete(self) -> bool:
        """Whether the vectors span an invariant space: nothing is left to be found from this start."""
        return bool(self.beside) and self.beside[-1] <= self.size * EPS * max(self.diagonal, default=0.0)

    def advance(self, steps: int) -> None:
        """Make so many steps."""
        for _ in range(steps):
            if self.complete or self.steps == self.size:
                return
            if self.steps + 2 > len(self.vectors):
                more = len(self.vectors) // 2
                require("singular values", len(self.vectors) + more, self.size, self.dtype.itemsize)
                self.vectors = np.concatenate([self.vectors, np.empty((more, self.size), self.dtype)])
            v = self.vectors[self.steps]
            w = self.gram(v)
            a = float(np.vdot(v, w).real)
            w = w - a * v
            if self.beside:
                w -= self.beside[-1] * self.vectors[self.steps - 1]
            w -= np.vdot(v, w) * v
            if len(self.converged):
                w -= (self.converged.conj() @ w) @ self.converged
            b = float(np.linalg.norm(w))
            self.diagonal.append(a)
            if b <= SMALL * max(self.diagonal):  # rounding in it would be seen, and is orthogonal to no vector
                held = self.vectors[: self.steps]
                w -= (held.conj() @ w) @ held
                b = float(np.linalg.norm(w))
            self.beside.append(b)
            self.vectors[self.steps] = w / b if b else w

    def ritz(self) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Ritz values, ascending, their vectors in the Lanczos basis, and bounds on their residuals."""
        from scipy.linalg import eigh_tridiagonal

        values, vectors = eigh_tridiagonal(np.array(self.diagonal), np.array(self.beside[:-1]))
        return values, vectors, self.beside[-1] * np.abs(vectors[-1])

    def purge(self) -> None:
        """Find which Ritz vectors have converged, and keep what follows orthogonal to them."""
        values, vectors, residuals = self.ritz()
        good = np.flatnonzero(residuals <= np.sqrt(EPS) * values[-1])
        if good.size <= len(self.converged):  # those there are stay as good as they were
            return
        if good.size == self.steps:  # nothing is left of the last vector beyond them
            return
        self.converged = self.combined(vectors[:, good])
        for j in (self.steps - 1, self.steps):
            w = self.vectors[j] - (self.converged.conj() @ self.vectors[j]) @ self.converged
            size = np.linalg.norm(w)
            self.vectors[j] = w / size if size else w

    def combined(self, coefficients: AnyArray) -> AnyArray:
        """Combinations of Lanczos vectors, a row for each column of the coefficients."""
        combined: AnyArray = coefficients.T @ self.vectors[: self.steps]
        return combined

    def bounds(self) -> tuple[float, float]:
        """Upper bound of the largest eigenvalue and lower bound of the smallest, each wrong with `FAILURE` at most.

        With Ritz values t_j, ``p(x) = prod (x - t_j)`` and off-diagonal entries b_j, the process makes
        ``p(G) v = (prod b_j) v'``, v and v' the first and the last vector. So for an eigenvector q of eigenvalue x,
        ``|p(x)| |<q, v>| <= prod b_j``. A random v of n numbers has ``|<q, v>| < c`` with probability at most
        ``c sqrt(2 n / pi)`` if they are real and ``n c^2`` if complex (van Dorsselaer, Hochstenbach, van der Vorst,
        SIAM J. Matrix Anal. Appl. 22, 2000).
        """
        from scipy.optimize import brentq

        t = self.ritz()[0]
        n = self.size
        c = np.sqrt(FAILURE / n) if self.dtype.kind == "c" else FAILURE * np.sqrt(np.pi / (2 * n))
        right = float(np.sum(np.log(np.maximum(self.beside, np.finfo(float).tiny)))) - np.log(c)
        scale = max(float(t[-1]), np.finfo(float).tiny)

        def excess(distance: float, from_top: bool) -> float:
            x = t[-1] + distance if from_top else t[0] - distance
            return float(np.sum(np.log(np.maximum(np.abs(x - t), np.finfo(float).tiny)))) - right

        ends = []
        for from_top in (True, False):
            far = scale
            while excess(far, from_top) < 0:
                far *= 2
            if excess(scale * EPS, from_top) >= 0:
                distance = scale * EPS
            else:
                distance = brentq(excess, scale * EPS, far, args=(from_top,), xtol=scale * EPS, rtol=1e-6)
            ends.append(distance)
        return float(t[-1] + ends[0]), max(float(t[0] - ends[1]), 0.0)
