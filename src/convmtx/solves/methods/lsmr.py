"""Least squares by the LSMR recurrences (Fong, Saunders, SIAM J. Sci. Comput. 33, 2011), many right-hand sides at once.

A preconditioner is the inner product of the solution's space: the bidiagonalisation is that of ``A`` from the norm of
``P^-1`` to the plain one, and needs P alone, once an iteration (Arioli, SIAM J. Matrix Anal. Appl. 34, 2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from convmtx.engines.products import INNER_ONE_THREAD, inner_products
from convmtx.solves.methods.recurrences import FLOOR, Estimates, Recurrences, Updates
from convmtx.typing import AnyArray

#: Vectors with norms from the inverse of this to this are not scaled to 1, which saves a pass over them.
LOOSE = 2.0**90
Apply = Callable[[AnyArray], AnyArray]


class LSMR(Recurrences):
    """Iterates that minimize ``||Abar^H rbar||`` towards the least ``||rbar||^2 = ||b - A x||^2 + damp^2 ||x||^2``.

    ``forward`` maps (m, *in_shape) to (m, *out_shape), ``adjoint`` is its conjugate transpose, and ``preconditioner``
    a Hermitian positive definite P near ``(A^H A + damp^2 I)^-1``. With it norms of ``Abar^H rbar`` are those for P,
    and norms of Abar are from that for ``P^-1``. Right-hand sides that are solved as well as rounding lets them be are
    ``finished``, and stay as they are. From zero and without P, the solution found is that of least norm.
    Singular values may be from 1e-50 to 1e50.

    The numbers of the recurrences are arrays (m,) here; in `SingleLSMR`, which does the same for m = 1, they are
    floats. `lsmr` takes the one that fits.
    """

    def __init__(
        self,
        forward: Apply,
        adjoint: Apply,
        b: AnyArray,
        x0: AnyArray | None = None,
        damp: float = 0.0,
        preconditioner: Apply | None = None,
    ) -> None:
        """Apply the maps to what the first step needs."""
        self.forward, self.adjoint, self.preconditioner = forward, adjoint, preconditioner
        # Rotations would damp the distance from x0 in the norm of P^-1. Where that is not ||x||, rows damp * I do it.
        stacked = damp != 0 and (x0 is not None or preconditioner is not None)
        self.damp, self.rows = (0.0, float(damp)) if stacked else (float(damp), 0.0)
        self.outside = b.shape
        image = None if x0 is None else forward(x0)
        parts = [_flat(b if image is None else b - image)]
        if stacked and x0 is not None:
            parts.append(_flat(-damp * x0))
        largest = np.max([_largest(part) for part in (_flat(b), *parts)], axis=0)
        self.scale = np.ldexp(1.0, np.frexp(largest)[1] - 1)[:, None]
        parts = [part / self.scale for part in parts]
        self.norm_b = self.terms = self._norm(_flat(b) / self.scale)
        if image is not None:
            self.terms = self.norm_b + self._norm(_flat(image) / self.scale)
        beta = self._larger(self._norm(*parts), FLOOR)
        parts = [part / self._column(beta) for part in parts]
        w = adjoint(parts[0].reshape(b.shape))
        self.inside = w.shape
        dtype = np.result_type(parts[0], w, np.float64 if x0 is None else x0)
        w = np.array(_flat(w), dtype)
        if stacked and x0 is None:
            parts.append(np.zeros_like(w))
        self.u = [part.astype(dtype, copy=False) for part in parts]
        if stacked:
            w += damp * self.u[1]
        # u has the norm sigma, v and w, h and hbar are tau times those of the paper.
        zero = beta - beta
        self.w, self.v, self.sigma, self.ratio = w, w, zero + 1.0, zero + 1.0
        self.tau = alpha = self._preconditioned()
        self.h, self.hbar, self.spare = self.v.copy(), np.zeros_like(w), np.empty_like(w)
        self.solution = np.zeros_like(w) if x0 is None else (_flat(x0) / self.scale).astype(dtype)
        self._begin(alpha, beta, len(b))

    @property
    def x(self) -> AnyArray:
        """The iterates, (m, *in_shape)."""
        return (self.solution * self.scale).reshape(self.inside)

    def _reach(self) -> Any:
        return self.norm_b if self.preconditioner else self.norm_b + self.estimates.norm * self._norm(self.solution)

    def _update(self, factors: Updates, before: Any) -> None:
        column = self._column
        self.hbar *= column(factors.hbar * self.ratio)
        self.hbar += self.h
        self.solution += np.multiply(self.hbar, column(factors.solution / before), out=self.spare)
        self.ratio = self.tau / before
        self.h *= column(factors.h * self.ratio)
        self.h += self.v

    def _bidiagonalize(self) -> tuple[Any, Any]:
        tau = self.tau
        coefficient = self._column(-(tau / self.sigma) * (tau / self.sigma))
        for part in self.u:
            part *= coefficient
        self.u[0] += _flat(self.forward(self.v.reshape(self.inside)))
        if self.rows:
            self.u[1] += np.multiply(self.v, self.rows, out=self.spare)
        sigma = self._hold(self._larger(self._norm(*self.u), FLOOR))
        beta = sigma / tau
        if self._any((sigma < 1 / LOOSE) | (sigma > LOOSE)):
            for part in self.u:
                part /= self._column(sigma)
            sigma = sigma - sigma + 1.0
        self.w *= self._column(-beta * (sigma / tau))
        self.w += _flat(self.adjoint(self.u[0].reshape(self.outside)))
        if self.rows:
            self.w += np.multiply(self.u[1], self.rows, out=self.spare)
        self.sigma, self.tau = sigma, self._hold(self._preconditioned())
        return beta, self.tau / sigma

    def _preconditioned(self) -> Any:
        """Set ``v = P w``; return the norm of w for P."""
        if self.preconditioner is None:
            return self._larger(self._norm(self.w), FLOOR)
        v = _flat(self.preconditioner(self.w.reshape(self.inside)))
        self.v = v.astype(self.w.dtype, copy=False)
        square = self._numbers(inner_products(_real(self.w), _real(self.v)))
        return self._sqrt(self._larger(square, FLOOR * FLOOR))

    def _norm(self, *parts: AnyArray) -> Any:
        """Return norms of rows, or of rows in parts."""
        squares = [inner_products(part, part) for part in map(_real, parts)]
        return self._sqrt(self._numbers(sum(squares[1:], squares[0])))

    # What is left is done for arrays of numbers here, and for floats in SingleLSMR.

    def _numbers(self, squares: AnyArray) -> Any:
        """Return an array (m,) as the recurrences take it."""
        return squares

    def _column(self, numbers: Any) -> Any:
        """Return numbers so that they multiply rows."""
        return numbers[:, None]

    def _finish(self, done: Any) -> None:
        super()._finish(done)
        for vectors in (*self.u, self.w, self.h, self.hbar):
            vectors[self.finished] = 0
        if self.preconditioner:  # v may be its own array
            self.v = np.where(self.finished[:, None], 0, self.v)


class SingleLSMR(LSMR):
    """LSMR for one right-hand side: with arrays of one number, recurrences would take as long as all vectors."""

    _hypot = staticmethod(math.hypot)
    _sqrt = staticmethod(math.sqrt)
    _larger = staticmethod(max)
    _smaller = staticmethod(min)

    def is_done(self, rtol: float) -> bool:
        """Whether the right-hand side is finished, or passes a test of LSMR."""
        return self.all_finished or self._converged(rtol)

    def decrease(self, first: AnyArray) -> float:
        """Return the normal residual divided by ``first``."""
        return self.estimates.normal_residual * self._unit / first.item()

    @cached_property
    def _unit(self) -> float:
        return self.scale.item()

    def _norm(self, *parts: AnyArray) -> float:
        return math.sqrt(sum(map(_square, parts)))

    def _numbers(self, squares: AnyArray) -> float:
        return float(squares[0])

    def _column(self, numbers: float) -> float:
        return numbers

    def _any(self, flags: bool) -> bool:
        return flags

    def _hold(self, numbers: float) -> float:
        return numbers

    def _unfinished(self, estimates: Estimates) -> Estimates:
        return estimates

    def _finish(self, done: bool) -> None:
        self.finished |= done
        self.all_finished = bool(self.finished[0])


def lsmr(
    forward: Apply,
    adjoint: Apply,
    b: AnyArray,
    x0: AnyArray | None = None,
    damp: float = 0.0,
    preconditioner: Apply | None = None,
) -> LSMR:
    """Return the iteration before its first step; the arguments are those of `LSMR`."""
    kind = SingleLSMR if len(b) == 1 else LSMR
    return kind(forward, adjoint, b, x0, damp, preconditioner)


def _flat(x: AnyArray) -> AnyArray:
    """Return one contiguous row for each right-hand side."""
    return np.ascontiguousarray(x.reshape(len(x), math.prod(x.shape[1:])))


def _real(rows: AnyArray) -> AnyArray:
    """Return rows as real ones, of which inner products are the real part."""
    return rows.view(np.float64)


def _square(row: AnyArray) -> float:
    """Return the squared length of the only row of an array: a number costs less than an array of one."""
    if row.size <= INNER_ONE_THREAD:
        return float(np.vdot(row, row).real)
    real = _real(row)
    return float(inner_products(real, real)[0])


def _largest(rows: AnyArray) -> AnyArray:
    """Return the largest magnitudes of real and imaginary parts."""
    return np.abs(_real(rows)).max(axis=1, initial=0.0)
