"""The numbers of LSMR (Fong, Saunders, SIAM J. Sci. Comput. 33, 2011): plane rotations, estimates and tests.

They know nothing of vectors, which `lsmr` keeps in memory, and `chunked_lsmr` on chunks of Dask.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

#: Norms below this count as zero, for their squares are about to underflow.
FLOOR = 1e-150


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


class Updates(NamedTuple):
    """Factors of the vectors: ``hbar = factor * hbar + h``, ``x += factor * hbar`` and ``h = factor * h + v``."""

    hbar: Any
    solution: Any
    h: Any


class Recurrences(ABC):
    """A dozen numbers for each right-hand side, in arrays (m,), and what they say of the iterates so far.

    A class of vectors gives norms of new vectors, and is given the factors by which to update the others.
    """

    _hypot: Callable[[Any, Any], Any] = staticmethod(np.hypot)
    _sqrt: Callable[[Any], Any] = staticmethod(np.sqrt)
    _larger: Callable[[Any, Any], Any] = staticmethod(np.maximum)
    _smaller: Callable[[Any, Any], Any] = staticmethod(np.minimum)

    #: Relative distance of neighbouring numbers of the vectors.
    eps = EPS
    #: Weight of ``||x||`` in the rotations.
    damp: float
    #: Powers of two by which the right-hand sides were divided, (m, 1).
    scale: AnyArray
    #: Norms of b, and the sum of those that ``b - A x`` is made of: what its rounding is relative to.
    norm_b: Any
    terms: Any
    #: Norms of u and w as the class keeps them, and by how much h and hbar differ from those of the paper.
    sigma: Any
    tau: Any
    ratio: Any

    def _begin(self, alpha: Any, beta: Any, count: int) -> None:
        """Set the numbers before the first step, from norms of ``A^H u`` and of the right-hand side."""
        zero = beta - beta
        self.iterations = 0
        state = Rotations(*(value + zero for value in START))
        self.state = state._replace(alphabar=alpha + zero, zetabar=alpha * beta, betadd=beta + zero)
        self.square, self.highest, self.lowest = alpha * alpha, zero, zero + np.inf
        above = beta > FLOOR
        self.estimates = Estimates(beta * above, alpha * beta * (above & (alpha > FLOOR)), alpha + zero, zero + 1.0)
        #: The bidiagonal matrix so far: its diagonal, with one number more, and the numbers below it.
        self.alphas: list[Any] = [alpha + zero]
        self.betas: list[Any] = []
        #: Steps of each right-hand side before it was finished.
        self.steps = np.zeros(count, np.int64)
        self.finished = np.zeros(count, bool)
        self._finish((self.estimates.normal_residual == 0) | self._reached(self.eps, self.terms))

    @abstractmethod
    def _bidiagonalize(self) -> tuple[Any, Any]:
        """Return beta and alpha of the next ``beta u = A v - alpha u`` and ``alpha w = A^H u - beta w``."""

    @abstractmethod
    def _update(self, factors: Updates, before: Any) -> None:
        """Update hbar, the solution and h, where ``before`` was tau of the step before."""

    @abstractmethod
    def _reach(self) -> Any:
        """Return what residuals are relative to."""

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
        return self._reached(rtol, self._reach())

    def decrease(self, first: AnyArray) -> float:
        """Return the largest normal residual of the batch, each divided by its own in ``first``."""
        return float((self.normal_residual / first).max(initial=0))

    def step(self) -> None:
        """Take one step with the right-hand sides that are not finished, if there are any."""
        if self.all_finished:
            return
        self.iterations += 1
        before = self.tau
        beta, alpha = self._bidiagonalize()
        self.alphas.append(alpha)
        self.betas.append(beta)
        self.steps += ~self.finished
        factors, estimates = self._rotate(beta, alpha)
        self._update(factors, before)
        self._estimate(estimates)

    def _rotate(self, beta: Any, alpha: Any) -> tuple[Updates, Estimates]:
        """Rotate the next two numbers of the bidiagonal matrix away; return what follows for vectors and estimates."""
        hypot, s = self._hypot, self.state
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
        factors = Updates(-(thetabar / s.rho) * (rho / s.rhobar), zeta / rho / rhobar, -(thetanew / rho))
        return factors, Estimates(residual, abs(zetabar), self._sqrt(square), condition)

    def _reached(self, rtol: float, reach: Any) -> Any:
        """Return which have converged, if residuals are measured by ``reach``."""
        residual, normal_residual, norm, _ = self.estimates
        return (residual <= rtol * reach) | (normal_residual <= rtol * norm * residual)

    def _estimate(self, estimates: Estimates) -> None:
        """Renew the estimates, and finish those that rounding keeps from getting on."""
        self.estimates = self._unfinished(estimates)
        done = self._reached(self.eps, self.terms)
        if self._any(done):
            self._finish(done)

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
        current, harmless = (*self.state, self.sigma, self.tau, self.ratio), (*START, 1.0, 1.0, 1.0)
        for numbers, value in zip(current, harmless, strict=True):
            numbers[self.finished] = value
