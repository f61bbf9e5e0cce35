"""Extreme singular values by the Lanczos process, and what a random start makes certain of them.

The process is that of the Gram matrix ``G = A^H A`` (or ``A A^H``, where that is smaller), with partial
reorthogonalisation (Simon, Math. Comp. 42, 1984): a recurrence estimates the inner products of the vectors, and before
these are seen in what is computed, two vectors in a row are made orthogonal to all. So the tridiagonal
matrix is that of orthogonal vectors, to rounding. Where the true inner products refute an estimate, the process goes
back to the last two vectors that are orthogonal to all, and from there on makes each vector orthogonal to all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convmtx import memory
from convmtx.spectra.certified import EPS
from convmtx.typing import AnyArray

#: Probability that a bound from the random start vector is wrong. Below that, rounding would have the last word.
FAILURE = 1e-10
#: Steps after which Ritz values are looked at.
CHECK = 10
#: Inner product up to which vectors count as orthogonal. The tridiagonal matrix is as exact as rounding allows up to
#: the root of machine precision, but residuals of Ritz vectors may be as large as this, and 1e-9 is wanted of them.
SEMIORTHOGONAL = 1e-10
#: An inner product this many times its estimate refutes it.
REFUTED = 100
TINY = float(np.finfo(float).tiny)


def require(count: int, size: int, item: int) -> None:
    """Refuse so many vectors if they do not fit into memory."""
    remedy = "Use cm.norm_bound(op, 'sup') or cm.sup_norm, which do not depend on the size"
    memory.require_result(f"keeping {count} vectors of {size} numbers", count * size * item, remedy)


class Run(NamedTuple):
    """Ritz values of the steps from one random vector, and the logarithm of the product of what each step left."""

    values: AnyArray
    left: float


class Lanczos:
    """Lanczos vectors of a Hermitian positive semidefinite map of vectors, and the tridiagonal matrix they make.

    Where the vectors span an invariant space the process goes on from another random vector, orthogonal to them, and
    the tridiagonal matrix has a 0 there. So it ends only where the vectors span everything.
    """

    def __init__(self, gram: Callable[[AnyArray], AnyArray], size: int, dtype: np.dtype[Any], seed: int = 0) -> None:
        self.gram, self.size, self.dtype = gram, size, dtype
        self.rng = np.random.default_rng(seed)
        self.vectors = np.empty((min(2 * CHECK, size), size), dtype)
        self.diagonal: list[float] = []
        self.beside: list[float] = []
        self.finished: list[Run] = []
        #: How often the map was applied.
        self.steps = 0
        #: Whether every vector is made orthogonal to all, whatever is estimated.
        self.every = False
        self._start()

    @property
    def order(self) -> int:
        """Size of the tridiagonal matrix."""
        return len(self.diagonal)

    @property
    def noise(self) -> float:
        """Size of what rounding may leave of a step; less counts as nothing."""
        return 10 * EPS * self.size**0.5 * max(self.diagonal, default=0.0)

    def fits(self, steps: int) -> bool:
        """Whether the vectors of so many more steps can be held."""
        rows = self._rows(steps)
        return rows == len(self.vectors) or rows * self.size * self.dtype.itemsize <= memory.available()

    def _rows(self, steps: int) -> int:
        """Number of vectors that there is room for before so many more steps; it grows by half."""
        rows = len(self.vectors)
        while rows < min(self.order + steps + 1, self.size):
            rows += rows // 2
        return rows

    def advance(self, steps: int) -> None:
        """Apply the map so many times, or until the vectors span everything."""
        rows = self._rows(steps)
        if rows > len(self.vectors):
            require(rows, self.size, self.dtype.itemsize)
            more = np.empty((rows - len(self.vectors), self.size), self.dtype)
            self.vectors = np.concatenate([self.vectors, more])
        for _ in range(steps):
            if self.order == self.size:
                return
            self._step()

    def _start(self) -> None:
        """Go on from a vector uniformly distributed on the sphere of all that are orthogonal to those before."""
        vector = self.rng.standard_normal(self.size).astype(self.dtype)
        if self.dtype.kind == "c":
            vector += 1j * self.rng.standard_normal(self.size)
        for _ in range(3):
            vector -= self._along(vector) @ self.vectors[: self.order]
            vector /= np.linalg.norm(vector)
        self.vectors[self.order] = vector
        #: The first vector of this run, and the last that is orthogonal to all before it, as is the one before.
        self.first = self.sound = self.order
        #: Whether the next vector too is made orthogonal to all, whatever is estimated.
        self.again = True
        self.before, self.products = np.zeros(self.order), np.append(np.full(self.order, EPS), 1)

    def _along(self, w: AnyArray) -> AnyArray:
        """Inner products of all vectors before with this one."""
        products: AnyArray = (w.conj() @ self.vectors[: self.order].T).conj()
        return products

    def _step(self) -> None:
        v = self.vectors[self.order]
        w = self.gram(v)
        a = float(np.vdot(v, w).real)
        w = w - a * v
        if self.order > self.first:
            w -= self.beside[-1] * self.vectors[self.order - 1]
        w -= np.vdot(v, w) * v
        b = float(np.linalg.norm(w))
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
        """Estimated inner products of what a step leaves, of norm b, with all vectors before."""
        diagonal, beside, now = np.array(self.diagonal), np.array(self.beside), self.products
        ahead = (diagonal[:-1] - diagonal[-1]) * now[:-1] + beside * now[1:]
        if beside.size:
            ahead[1:] += beside[:-1] * now[:-2]
            ahead -= beside[-1] * self.before
        ahead += np.copysign(8 * EPS * max(self.diagonal), ahead)
        return np.append(ahead / max(b, TINY), EPS)

    def _orthogonalise(self, w: AnyArray, b: float) -> tuple[float, float]:
        """Take from w, of norm b, its parts along the vectors before; return the largest over b, and the norm left."""
        largest = None
        while True:
            along = self._along(w)
            if largest is None:
                largest = float(np.abs(along).max()) / max(b, TINY)
            w -= along @ self.vectors[: self.order]
            before, b = b, float(np.linalg.norm(w))
            if b > before / 2 or b <= self.noise:
                return largest, b

    def _finish(self) -> None:
        """End a run, whose vectors span an invariant space, and start another if there is anything beyond."""
        left = float(np.log(np.maximum([*self.beside[self.first :], self.noise], TINY)).sum())
        self.finished.append(Run(self._values(self.first), left))
        self.beside.append(0.0)
        if self.order < self.size:
            self._start()

    def _values(self, first: int = 0) -> AnyArray:
        """Ritz values, ascending, of the steps from the first on."""
        from scipy.linalg import eigvalsh_tridiagonal

        values: AnyArray = eigvalsh_tridiagonal(self.diagonal[first:], self.beside[first : self.order - 1])
        return values

    def ritz(self, first: int, last: int) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Some Ritz values, counted from the smallest, their coefficients and bounds on their residuals."""
        from scipy.linalg import eigh_tridiagonal

        values, coefficients = eigh_tridiagonal(
            self.diagonal, self.beside[:-1], select="i", select_range=(first, last), lapack_driver="stemr"
        )
        return values, coefficients, self.beside[-1] * np.abs(coefficients[-1])

    def combined(self, coefficients: AnyArray) -> AnyArray:
        """Combinations of Lanczos vectors, a row for each column of the coefficients."""
        combined: AnyArray = coefficients.T @ self.vectors[: self.order]
        return combined

    def bounds(self) -> tuple[float, float]:
        """Upper bound of the largest eigenvalue and lower bound of the smallest, each wrong with `FAILURE` at most.

        With Ritz values t_j of a run, ``p(x) = prod (x - t_j)`` and b_j what each step left, ``p(G) v = (prod b_j) v'``
        for the first vector v and a unit vector v'. So for an eigenvector q of eigenvalue x,
        ``|<q, v>| <= (prod b_j) / |p(x)|``. For a random v of n numbers, ``|<q, v>| sqrt(2 n / pi)`` is below u with a
        probability of at most u, and so is ``n |<q, v>|^2`` if they are complex (van Dorsselaer, Hochstenbach, van der
        Vorst, SIAM J. Matrix Anal. Appl. 22, 2000). Runs are independent: the sum of ``-log u`` over r of them has
        Gamma's distribution. The r-th may fail in ``1 / (r (r + 1))`` of the cases.
        """
        t = self._values()
        slack = self.noise * (1 + len(self.finished)) ** 0.5
        ends = [0.0, 0.0]
        if self.order < self.size:
            ends = [self._distance(t[-1], +1), self._distance(t[0], -1)]
        return float(t[-1] + ends[0] + slack), max(float(t[0] - ends[1] - slack), 0.0)

    def _distance(self, end: float, direction: int) -> float:
        """Distance from a Ritz value beyond which there is no eigenvalue, in the direction +1 or -1."""
        from scipy.special import gammainccinv

        runs = list(self.finished)
        if self.order > self.first:
            left = float(np.log(np.maximum(self.beside[self.first :], TINY)).sum())
            runs.append(Run(self._values(self.first), left))
        count, n, power = len(runs), self.size, 2 if self.dtype.kind == "c" else 1
        known = np.log(n) if power == 2 else np.log(2 * n / np.pi) / 2
        wanted = float(gammainccinv(count, FAILURE / (count * (count + 1))))

        def excess(distance: float) -> float:
            """Unlikelihood of an eigenvalue there, beyond that which is wanted."""
            x = end + direction * distance
            sizes = (float(np.log(np.maximum(np.abs(x - run.values), TINY)).sum()) - run.left for run in runs)
            return sum(max(power * size - known, 0.0) for size in sizes) - wanted

        near = far = max(self.noise, TINY)
        while excess(far) < 0:
            near, far = far, 16 * far
        while far - near > 1e-3 * near:
            middle = (near + far) / 2
            near, far = (middle, far) if excess(middle) < 0 else (near, middle)
        return far
