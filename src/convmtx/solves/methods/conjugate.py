"""Conjugate gradients for normal equations, all right-hand sides at once, with an estimate of the error in energy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from convmtx.engines.products import inner_products, norms
from convmtx.typing import AnyArray

Apply = Callable[[AnyArray], AnyArray]

#: Steps whose decrease of the energy says how much is left.
DELAY = 4
#: Largest ratio of one decrease to the one before it that the estimate extrapolates.
SLOWEST = 0.99
TINIEST = float(np.finfo(float).tiny)


class ConjugateGradients:
    """Steps from zero towards ``H^-1 g`` for right-hand sides g, (m, *shape) (Hestenes, Stiefel 1952).

    ``product`` applies H, Hermitian and positive definite, and ``preconditioner`` what is near its inverse. The square
    of the error in the norm of H is what later steps decrease it by (Strakos, Tichy, ETNA 13, 2002). From the decrease
    of the last steps, and its ratio to that of those before, `errors` estimates what is left.
    """

    def __init__(self, product: Apply, g: AnyArray, preconditioner: Apply | None = None) -> None:
        self.product, self.preconditioner = product, preconditioner
        self.x = np.zeros_like(g)
        self._r = g.copy()
        self._p = self._z = self._preconditioned()
        self._square = products(self._r, self._z)
        #: Decrease of the squared error of each right-hand side by each step.
        self.decreases: list[AnyArray] = []

    def step(self) -> None:
        """Take one step with all right-hand sides; those without a residual stay."""
        image = self.product(self._p)
        size = _ratio(self._square, products(self._p, image))
        self.decreases.append(size * self._square)
        self.x += column(size, self.x) * self._p
        self._r -= column(size, image) * image
        self._z = self._preconditioned()
        square = products(self._r, self._z)
        self._p = self._z + column(_ratio(square, self._square), self._z) * self._p
        self._square = square

    @property
    def residuals(self) -> AnyArray:
        """Norms of what is left of the right-hand sides."""
        return norms(self._r)

    @property
    def errors(self) -> AnyArray:
        """Estimates of the squared error of each x in the norm of H; inf before there is one."""
        if len(self.decreases) < DELAY:
            return np.full(len(self.x), np.inf)
        last, before = self.decreases[-DELAY:], self.decreases[-2 * DELAY : -DELAY]
        now = np.sum(last, axis=0)
        ratio = np.minimum(_ratio(now, np.sum(before, axis=0)), SLOWEST) if len(before) == DELAY else np.zeros_like(now)
        estimates: AnyArray = now * np.maximum(ratio / (1 - ratio), last[-1] / np.maximum(now, TINIEST))
        return estimates

    @property
    def first_errors(self) -> AnyArray:
        """Estimates of the squared error of zero, where the steps began."""
        total: AnyArray = np.sum(self.decreases, axis=0) + self.errors
        return total

    def _preconditioned(self) -> AnyArray:
        return self._r.copy() if self.preconditioner is None else self.preconditioner(self._r)


def products(first: AnyArray, second: AnyArray) -> AnyArray:
    """Return the real part of the inner product of each pair of arrays."""
    return inner_products(_real(first), _real(second))


def _real(arrays: AnyArray) -> AnyArray:
    flat = np.ascontiguousarray(arrays).reshape(len(arrays), -1)
    return flat.view(flat.real.dtype) if flat.dtype.kind == "c" else flat


def _ratio(numbers: AnyArray, others: AnyArray) -> AnyArray:
    """Return quotients, 0 where the divisor is not above 0."""
    quotients: AnyArray = np.divide(numbers, others, out=np.zeros_like(numbers), where=others > TINIEST)
    return quotients


def column(numbers: AnyArray, arrays: AnyArray) -> AnyArray:
    """Return numbers, one for each array, so that they multiply arrays."""
    return numbers.reshape(-1, *(1 for _ in arrays.shape[1:]))
