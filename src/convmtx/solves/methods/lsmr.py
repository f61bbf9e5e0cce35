"""Least squares by the LSMR recurrences (Fong, Saunders, SIAM J. Sci. Comput. 33, 2011), many right-hand sides at once.

A preconditioner is the inner product of the solution's space: the bidiagonalisation is that of ``A`` from the norm of
``P^-1`` to the plain one, and needs P alone, once an iteration (Arioli, SIAM J. Matrix Anal. Appl. 34, 2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from convmtx.engines.products import INNER_ONE_THREAD, inner_products
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

#: Norms below this count as zero, for their squares are about to underflow.
FLOOR = 1e-150
#: Vectors with norms from the inverse of this to this are not scaled to 1, which saves a pass over them.
LOOSE = 2.0**90
Apply = Callable[[AnyArray], AnyArray]


class Rotations(NamedTuple):
    """Numbers that the plane rotations leave to the next step; names are the paper's, rhod is its rho with two dots."""

    alphabar: Any
    zetabar: Any
    betadd: Any
    rho: Any
    rhobar: Any
    cbar: Any
    sbar: Any
    zeta: Any
    rhod: Any
    betad: Any
    tautilde: Any
    thetatilde: Any
    damped: Any


#: Before the first step of a system with b = 0.
START = Rotations(1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)


class Estimates(NamedTuple):
    """``||rbar||`` and ``||Abar^H rbar||``, scaled as b is, the Frobenius norm and the condition of Abar so far."""

    residual: Any
    normal_residual: Any
    norm: Any
    condition: Any


class LSMR:
    """Iterates that minimize ``||Abar^H rbar||`` towards the least ``||rbar||^2 = ||b - A x||^2 + damp^2 ||x||^2``.

    ``forward`` maps (m, *in_shape) to (m, *out_shape), ``adjoint`` is its conjugate transpose, and ``preconditioner``
    a Hermitian positive definite P near ``(A^H A + damp^2 I)^-1``. With it norms of ``Abar^H rbar`` are those for P,
    and norms of Abar are from that for ``P^-1``. Right-hand sides that are solved as well as rounding lets them be are
    ``finished``, and stay as they are. From zero and without P, the solution found is that of least norm.
    Singular values may be from 1e-50 to 1e50.

    The recurrences need a dozen numbers for each right-hand side. Here these are arrays (m,); in `SingleLSMR`, which
    does the same for m = 1, they are floats. `lsmr` takes the one that fits.
    """

    _hypot: Callable[[Any, Any], Any] = staticmethod(np.hypot)
    _sqrt: Callable[[Any], Any] = staticmethod(np.sqrt)
    _larger: Callable[[Any, Any], Any] = staticmethod(np.maximum)
    _smaller: Callable[[Any, Any], Any] = staticmethod(np.minimum)

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
        self.forward, self.adjoint, self.preconditioner, self.iterations = forward, adjoint, preconditioner, 0
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

        state = Rotations(*(value + zero for value in START))
        self.state = state._replace(alphabar=alpha + zero, zetabar=alpha * beta, betadd=beta + zero)
        self.square, self.highest, self.lowest = alpha * alpha, zero, zero + np.inf
        above = beta > FLOOR
        self.estimates = Estimates(beta * above, alpha * beta * (above & (alpha > FLOOR)), alpha + zero, zero + 1.0)
        #: The bidiagonal matrix so far: its diagonal, with one number more, and the numbers below it.
        self.alphas: list[Any] = [alpha + zero]
        self.betas: list[Any] = []
        #: Steps of each right-hand side before it was finished.
        self.steps = np.zeros(len(b), np.int64)
        self.finished = np.zeros(len(b), bool)
        self._finish((self.estimates.normal_residual == 0) | self._reached(EPS, self.terms))

    @property
    def x(self) -> AnyArray:
        """The iterates, (m, *in_shape)."""
        return (self.solution * self.scale).reshape(self.inside)

    @property
    def residual(self) -> AnyArray:
        """Estimates of ``||rbar||``."""
        return self.estimates.residual * self.scale[:, 0]

    @property
    def normal_residual(self) -> AnyArray:
        """Estimates of ``||Abar^H rbar||``."""
        return self.estimates.normal_residual * self.scale[:, 0]

    @property
    def norm(self) -> AnyArray:
        """Estimates of the Frobenius norm of Abar, from below."""
        return np.atleast_1d(self.estimates.norm)

    @property
    def condition(self) -> AnyArray:
        """Estimates of the condition of Abar, from below."""
        return np.atleast_1d(self.estimates.condition)

    def bidiagonal(self, j: int) -> tuple[AnyArray, AnyArray]:
        """Return diagonal and subdiagonal of the bidiagonal matrix of one right-hand side.

        The diagonal has one number more, which would be that of the next step.
        """
        steps = int(self.steps[j])
        alphas, betas = self.alphas[: steps + 1], self.betas[:steps]
        diagonal, below = (np.array([np.atleast_1d(entry)[j] for entry in numbers]) for numbers in (alphas, betas))
        return diagonal, below

    def converged(self, rtol: float) -> AnyArray:
        """Return which right-hand sides pass a test of LSMR.

        The tests are ``||rbar|| <= rtol (||b|| + ||A|| ||x||)`` and ``||Abar^H rbar|| <= rtol ||Abar|| ||rbar||``. With
        P, the norm of x would be that for ``P^-1``, of which nothing is known, and is left out.
        """
        return np.atleast_1d(self._converged(rtol))

    def is_done(self, rtol: float) -> bool:
        """Whether all right-hand sides are finished, or pass a test of LSMR."""
        return self.all_finished or bool((self.finished | self._converged(rtol)).all())

    def _converged(self, rtol: float) -> Any:
        """Return which right-hand sides pass a test, as the recurrences take flags."""
        reach = self.norm_b if self.preconditioner else self.norm_b + self.estimates.norm * self._norm(self.solution)
        return self._reached(rtol, reach)

    def decrease(self, first: AnyArray) -> float:
        """Return the largest normal residual of the batch, each divided by its own in ``first``."""
        return float((self.normal_residual / first).max(initial=0))

    def step(self) -> None:
        """Take one step with the right-hand sides that are not finished, if there are any."""
        if self.all_finished:
            return
        self.iterations += 1
        hypot, column, s, before = self._hypot, self._column, self.state, self.tau
        beta, alpha = self._bidiagonalize()
        self.alphas.append(alpha)
        self.betas.append(beta)
        self.steps += ~self.finished

        alphahat, betaacute, damped = s.alphabar, s.betadd, s.damped
        if self.damp:
            alphahat = hypot(s.alphabar, self.damp)
            betaacute = s.alphabar / alphahat * s.betadd
            betacheck = self.damp / alphahat * s.betadd
            damped = damped + betacheck * betacheck
        rho = hypot(alphahat, beta)
        cosine, sine = alphahat / rho, beta / rho
        thetanew = sine * alpha
        thetabar, rhotemp = s.sbar * rho, s.cbar * rho
        rhobar = hypot(rhotemp, thetanew)
        cbar, sbar = rhotemp / rhobar, thetanew / rhobar
        zeta, zetabar = cbar * s.zetabar, -sbar * s.zetabar

        self.hbar *= column(-(thetabar / s.rho) * (rho / s.rhobar) * self.ratio)
        self.hbar += self.h
        self.solution += np.multiply(self.hbar, column(zeta / rho / rhobar / before), out=self.spare)
        self.ratio = self.tau / before
        self.h *= column(-(thetanew / rho) * self.ratio)
        self.h += self.v

        rhotilde = hypot(s.rhod, thetabar)
        ctilde, stilde = s.rhod / rhotilde, thetabar / rhotilde
        thetatilde, rhod = stilde * rhobar, ctilde * rhobar
        betad = ctilde * (cosine * betaacute) - stilde * s.betad
        betadd = -sine * betaacute
        tautilde = (s.zeta - s.thetatilde * s.tautilde) / rhotilde
        misfit = betad - (zeta - thetatilde * tautilde) / rhod
        self.state = Rotations(
            cosine * alpha, zetabar, betadd, rho, rhobar, cbar, sbar, zeta, rhod, betad, tautilde, thetatilde, damped
        )
        square = self.square + beta * beta + self.damp * self.damp
        self.square = square + alpha * alpha
        condition = self._larger(self.highest, rhotemp) / self._smaller(self.lowest, rhotemp)
        self.highest, self.lowest = self._larger(self.highest, rhobar), self._smaller(self.lowest, rhobar)
        residual = self._sqrt(damped + misfit * misfit + betadd * betadd)
        self._estimate(Estimates(residual, abs(zetabar), self._sqrt(square), condition))

    def _bidiagonalize(self) -> tuple[Any, Any]:
        """Return beta and alpha of the next ``beta u = A v - alpha u`` and ``alpha w = A^H u - beta w``."""
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

    def _reached(self, rtol: float, reach: Any) -> Any:
        """Return which have converged, if residuals are measured by ``reach``."""
        residual, normal_residual, norm, _ = self.estimates
        return (residual <= rtol * reach) | (normal_residual <= rtol * norm * residual)

    def _estimate(self, estimates: Estimates) -> None:
        """Renew the estimates, and finish those that rounding keeps from getting on."""
        self.estimates = self._unfinished(estimates)
        done = self._reached(EPS, self.terms)
        if self._any(done):
            self._finish(done)

    # What is left is done for arrays of numbers here, and for floats in SingleLSMR.

    def _numbers(self, squares: AnyArray) -> Any:
        """Return an array (m,) as the recurrences take it."""
        return squares

    def _column(self, numbers: Any) -> Any:
        """Return numbers so that they multiply rows."""
        return numbers[:, None]

    def _any(self, flags: Any) -> bool:
        """Whether any right-hand side has a flag."""
        return bool(flags.any())

    def _hold(self, numbers: Any) -> Any:
        """Return the numbers with 1 for right-hand sides that are finished."""
        numbers[self.finished] = 1.0
        return numbers

    def _unfinished(self, estimates: Estimates) -> Estimates:
        """Return the new estimates, and the old ones of right-hand sides that are finished."""
        pairs = zip(self.estimates, estimates, strict=True)
        return Estimates(*(np.where(self.finished, old, new) for old, new in pairs))

    def _finish(self, done: Any) -> None:
        """Leave nothing to be done by further steps, whose numbers become those of a harmless system."""
        self.finished |= done
        self.all_finished = bool(self.finished.all())
        for vectors in (*self.u, self.w, self.h, self.hbar):
            vectors[self.finished] = 0
        if self.preconditioner:  # v may be its own array
            self.v = np.where(self.finished[:, None], 0, self.v)
        current, harmless = (*self.state, self.sigma, self.tau, self.ratio), (*START, 1.0, 1.0, 1.0)
        for numbers, value in zip(current, harmless, strict=True):
            numbers[self.finished] = value


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
