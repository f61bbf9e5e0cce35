"""The Lanczos process: extreme eigenvalues, and bounds of them that a random start makes certain.

It runs on the Gram matrix ``G = A^H A`` (or ``A A^H``, if that is smaller) with partial reorthogonalization (Simon,
Math. Comp. 42, 1984). A recurrence estimates the inner products of the vectors. Before these are large enough to spoil
the result, two vectors in a row are made orthogonal to all others, so the tridiagonal matrix is that of orthogonal
vectors, to rounding. If the true inner products refute an estimate, the process goes back to the last two vectors that
are orthogonal to all, and from there on makes every vector orthogonal to all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from convmtx import memory
from convmtx.engines.threads import one_numpy_thread
from convmtx.spectra.certified import Stop
from convmtx.structure.precision import EPS, TINY
from convmtx.typing import AnyArray

#: Probability that a bound from the random start vector is wrong. A smaller one would be below what rounding does.
FAILURE = 1e-10
#: Number of steps after which Ritz values are computed.
CHECK = 10
#: Inner product up to which vectors count as orthogonal. For the tridiagonal matrix the root of eps, 1.5e-8, would be
#: enough; but residuals of Ritz vectors may be as large as this, and they are to be below 1e-9.
SEMIORTHOGONAL = 1e-10
#: Ratio of an inner product to its estimate from which it refutes the estimate.
REFUTED = 100


def require(count: int, size: int, item: int) -> None:
    """Refuse to keep a number of vectors that does not fit in memory."""
    remedy = "Use cm.norm_bound(op, 'sup') or cm.sup_norm, which do not depend on the size"
    memory.require_result(f"keeping {count} vectors of {size} numbers", count * size * item, remedy)


@dataclass(frozen=True, eq=False)
class LanczosRun:
    """Ritz values of the steps from one random vector; ``left`` is the logarithm of the product of their remainders."""

    values: AnyArray
    left: float


class Lanczos:
    """Lanczos vectors of a Hermitian positive semidefinite map, and the tridiagonal matrix of the map in them.

    If the vectors span an invariant space, the process goes on from another random vector orthogonal to them, and the
    tridiagonal matrix has a 0 there. So it ends only when the vectors span everything.
    """

    def __init__(self, gram: Callable[[AnyArray], AnyArray], size: int, dtype: np.dtype[Any], seed: int = 0) -> None:
        self.gram, self.size, self.dtype = gram, size, dtype
        self.rng = np.random.default_rng(seed)
        self.vectors = np.empty((min(2 * CHECK, size), size), dtype)
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        self.finished: list[LanczosRun] = []
        #: Number of times that the map was applied.
        self.steps = 0
        #: Whether every vector is made orthogonal to all, without estimates.
        self.every = False
        self._start()

    @property
    def order(self) -> int:
        """Size of the tridiagonal matrix."""
        return len(self.diagonal)

    @property
    def noise(self) -> float:
        """Size of a step's remainder that may be nothing but rounding."""
        return 10 * EPS * self.size**0.5 * max(self.diagonal, default=0.0)

    def fits(self, steps: int) -> bool:
        """Whether the vectors of a number of further steps fit in memory."""
        rows = self._rows(steps)
        return rows == len(self.vectors) or rows * self.size * self.dtype.itemsize <= memory.available()

    def _rows(self, steps: int) -> int:
        """Return the number of vectors to make room for before a number of further steps; it grows by half."""
        rows = len(self.vectors)
        while rows < min(self.order + steps + 1, self.size):
            rows += rows // 2
        return rows

    def advance(self, steps: int) -> None:
        """Apply the map a number of times, or until the vectors span everything."""
        rows = self._rows(steps)
        if rows > len(self.vectors):
            require(rows, self.size, self.dtype.itemsize)
            more = np.empty((rows - len(self.vectors), self.size), self.dtype)
            self.vectors = np.concatenate([self.vectors, more])
        for _ in range(steps):
            if self.order == self.size:
                return
            self._step()

    def advance_until(self, steps: int, maxiter: int, bar: Any) -> None:
        """Make a number of further steps, but at most ``maxiter`` in all, and count them in a progress bar."""
        before = self.steps
        self.advance(min(steps, maxiter - before))
        if bar is not None:
            bar.update(self.steps - before)

    def obstacle(self, steps: int, maxiter: int) -> Stop | None:
        """Return what prevents a number of further steps; None if they can be made."""
        if self.order == self.size:
            return Stop.ROUNDING
        if self.steps >= maxiter:
            return Stop.MAXITER
        return None if self.fits(steps) else Stop.MEMORY

    def _start(self) -> None:
        """Go on from a random vector, uniform on the unit sphere of those orthogonal to all before."""
        vector = self.rng.standard_normal(self.size).astype(self.dtype)
        if self.dtype.kind == "c":
            vector += 1j * self.rng.standard_normal(self.size)
        for _ in range(3):
            vector -= self._along(vector) @ self.vectors[: self.order]
            vector /= np.linalg.norm(vector)
        self.vectors[self.order] = vector
        #: Numbers of the first vector of this run, and of the last that is orthogonal to all, as is the one before it.
        self.first = self.sound = self.order
        #: Whether the next vector too is made orthogonal to all, without an estimate.
        self.again = True
        self.before, self.products = np.zeros(self.order), np.append(np.full(self.order, EPS), 1)

    def _along(self, w: AnyArray) -> AnyArray:
        """Return the inner products of all vectors before with a vector."""
        products: AnyArray = (w.conj() @ self.vectors[: self.order].T).conj()
        return products

    def _step(self) -> None:
        """Apply the map to the last vector, and keep what is orthogonal to all before as the next."""
        v = self.vectors[self.order]
        w = self.gram(v)
        a = float(_inner(v, w).real)
        w = w - a * v
        if self.order > self.first:
            w -= self.beside[-1] * self.vectors[self.order - 1]
        w -= _inner(v, w) * v
        b = _length(w)
        self.steps += 1
        self.diagonal.append(a)
        products = np.zeros(self.order) if self.every else self._estimate(b)
        estimate = float(np.abs(products).max())
        if self.every or self.again or b <= self.noise or estimate > SEMIORTHOGONAL:
            largest, b = self._orthogonalise(w, b)
            if largest > REFUTED * max(estimate, SEMIORTHOGONAL) and not (self.every or self.again):
                del self.diagonal[self.sound :], self.beside[self.sound :]
                self.every = True
                return
            if self.again:
                self.sound = self.order
            self.again = not self.again
            products[:] = EPS
        if b <= self.noise or self.order == self.size:
            self._finish()
            return
        self.before, self.products = self.products, np.append(products, 1)
        self.beside.append(b)
        self.vectors[self.order] = w / b

    def _estimate(self, b: float) -> AnyArray:
        """Return estimates of the inner products of a step's remainder, of norm b, with all vectors before."""
        diagonal, beside, now = np.array(self.diagonal), np.array(self.beside), self.products
        ahead = (diagonal[:-1] - diagonal[-1]) * now[:-1] + beside * now[1:]
        if beside.size:
            ahead[1:] += beside[:-1] * now[:-2]
            ahead -= beside[-1] * self.before
        ahead += np.copysign(8 * EPS * max(self.diagonal), ahead)
        return np.append(ahead / max(b, TINY), EPS)

    def _orthogonalise(self, w: AnyArray, b: float) -> tuple[float, float]:
        """Remove from w, of norm b, its parts along the vectors before; return the largest over b, and the new norm."""
        largest = None
        with one_numpy_thread():
            while True:
                along = self._along(w)
                if largest is None:
                    largest = float(np.abs(along).max()) / max(b, TINY)
                w -= along @ self.vectors[: self.order]
                before, b = b, _length(w)
                if b > before / 2 or b <= self.noise:
                    return largest, b

    def _finish(self) -> None:
        """End a run, whose vectors span an invariant space, and start another unless they span everything."""
        left = float(np.log(np.maximum([*self.beside[self.first :], self.noise], TINY)).sum())
        self.finished.append(LanczosRun(self._values(self.first), left))
        self.beside.append(0.0)
        if self.order < self.size:
            self._start()

    def _values(self, first: int = 0) -> AnyArray:
        """Return the Ritz values, ascending, of the steps from ``first`` on."""
        from scipy.linalg import eigvalsh_tridiagonal

        values: AnyArray = eigvalsh_tridiagonal(self.diagonal[first:], self.beside[first : self.order - 1])
        return values

    def ritz(self, first: int, last: int) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Return Ritz values ``first`` to ``last`` from the smallest, their coefficients, and bounds of residuals."""
        from scipy.linalg import eigh_tridiagonal

        values, coefficients = eigh_tridiagonal(
            self.diagonal, self.beside[:-1], select="i", select_range=(first, last), lapack_driver="stemr"
        )
        return values, coefficients, self.beside[-1] * np.abs(coefficients[-1])

    def combine(self, coefficients: AnyArray) -> AnyArray:
        """Return combinations of Lanczos vectors, a row for each column of the coefficients."""
        combined: AnyArray = coefficients.T @ self.vectors[: self.order]
        return combined

    def bounds(self) -> tuple[float, float]:
        """Return an upper bound of the largest and a lower bound of the smallest eigenvalue.

        Each is wrong with probability of at most `FAILURE`. Let t_j be the Ritz values of a run, b_j the norms of its
        remainders and ``p(x) = prod (x - t_j)``. Then ``p(G) v = (prod b_j) v'`` for the first vector v and a unit
        vector v', so for an eigenvector q of eigenvalue x, ``|<q, v>| <= (prod b_j) / |p(x)|``.

        For a random v of n real numbers, ``|<q, v>| sqrt(2 n / pi)`` is below u with probability at most u; for complex
        numbers, ``n |<q, v>|^2`` is (van Dorsselaer, Hochstenbach, van der Vorst, SIAM J. Matrix Anal. Appl. 22, 2000).
        Runs are independent, so the sum of ``-log u`` over r runs has Gamma's distribution. The r-th run may fail with
        probability ``FAILURE / (r (r + 1))``, which adds up to `FAILURE`.
        """
        least = self._values()[0]
        beyond = self._distance(least, -1) if self.order < self.size else 0.0
        return self.highest()[1], max(float(least - beyond - self._slack), 0.0)

    def highest(self) -> tuple[float, float]:
        """Return the largest Ritz value, and the upper bound of the largest eigenvalue of `bounds`."""
        largest = self._values()[-1]
        beyond = self._distance(largest, +1) if self.order < self.size else 0.0
        return float(largest), float(largest + beyond + self._slack)

    @property
    def _slack(self) -> float:
        """Size of what the remainders of all runs may hide."""
        return self.noise * (1 + len(self.finished)) ** 0.5

    def _distance(self, end: float, direction: int) -> float:
        """Return the distance from a Ritz value beyond which there is no eigenvalue, in the direction +1 or -1."""
        from scipy.special import gammainccinv

        runs = list(self.finished)
        if self.order > self.first:
            left = float(np.log(np.maximum(self.beside[self.first :], TINY)).sum())
            runs.append(LanczosRun(self._values(self.first), left))
        count, n, power = len(runs), self.size, 2 if self.dtype.kind == "c" else 1
        known = np.log(n) if power == 2 else np.log(2 * n / np.pi) / 2
        required = float(gammainccinv(count, FAILURE / (count * (count + 1))))

        def excess(distance: float) -> float:
            """Return by how much an eigenvalue at this distance is less likely than required."""
            x = end + direction * distance
            sizes = (float(np.log(np.maximum(np.abs(x - run.values), TINY)).sum()) - run.left for run in runs)
            return sum(max(power * size - known, 0.0) for size in sizes) - required

        near = far = max(self.noise, TINY)
        while excess(far) < 0:
            near, far = far, 16 * far
        while far - near > 1e-3 * near:
            middle = (near + far) / 2
            near, far = (middle, far) if excess(middle) < 0 else (near, middle)
        return far


def _inner(u: AnyArray, v: AnyArray) -> Any:
    """Return the inner product of two vectors, by one thread.

    BLAS shares vectors of more than 10,000 numbers out to threads that wait for each other in a loop. Where other
    processes keep the cores busy, an inner product of 12,544 numbers took 5 ms, and the map's own product 0.5 ms.
    """
    return np.einsum("i,i->", u.conj() if u.dtype.kind == "c" else u, v)


def _length(v: AnyArray) -> float:
    """Return the 2-norm of a vector, by one thread."""
    parts = v.view(v.real.dtype)
    return float(np.sqrt(np.einsum("i,i->", parts, parts)))
