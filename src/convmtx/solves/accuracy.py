"""Distance of solutions from the minimizers, bounded or estimated from residuals and the least singular value.

With ``H = A^H A + damp^2 R^H R`` and the normal residual ``g = A^H (b - A x) - damp^2 R^H R x``, x is off by
``H^-1 g``, at most ``|g| / mu`` where no eigenvalue of H is below mu. Without damping, x is also off by at most
``|b - A x| / mu**0.5``, for the part of the residual that stays at the minimizer is orthogonal to the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np

from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

#: Steps of a bidiagonalization, as a fraction of all, whose least Ritz value is compared with that of all steps.
EARLIER = 2 / 3
#: Roundings of a backward stable method, in units of eps.
ROUNDINGS = 8.0
#: Those of a normal residual that is computed, in the same units.
ROOM = 64
#: Least size that is divided by.
TINY = float(np.finfo(float).tiny)


class ErrorKind(StrEnum):
    """Kind of knowledge of the error of x, which is equal to its name in lower case."""

    BOUND = "bound"
    ESTIMATE = "estimate"
    UNKNOWN = "unknown"


class Lengths(NamedTuple):
    """Norms of solutions and of what they leave, (m,) each."""

    x: AnyArray
    #: ``|b - A x|``.
    residual: AnyArray
    #: ``|[b - A x; damp R x]|``.
    stacked: AnyArray
    #: ``|A^H (b - A x) - damp^2 R^H R x|``.
    normal: AnyArray


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Largest distance ``norm(x - minimizer)`` of each solution, (m,), nan where nothing is known of it."""

    error: AnyArray
    #: ``norm(x)`` of each.
    sizes: AnyArray
    kind: ErrorKind

    @property
    def relative(self) -> AnyArray:
        """Errors relative to the sizes of the solutions; an error of 0 is 0 relative to 0 too."""
        return np.where(self.error == 0, 0.0, self.error / np.maximum(self.sizes, TINY))

    def exceeds(self, xtol: float) -> AnyArray:
        """Return which errors are known to be above a tolerance, relative to the sizes of the solutions."""
        exceeds: AnyArray = self.error > xtol * self.sizes
        return exceeds


def unknown(count: int) -> Accuracy:
    """Return that nothing is known of so many solutions."""
    nothing = np.full(count, np.nan)
    return Accuracy(nothing, nothing, ErrorKind.UNKNOWN)


def error_from(normal: AnyArray, residual: AnyArray | None, mu: Any) -> AnyArray:
    """Return the largest error that goes with residuals, for a lower bound mu of the eigenvalues of H.

    ``residual`` is that of a problem without damping, or None.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = normal / mu
        if residual is not None:
            error = np.minimum(error, residual / np.sqrt(mu))
    return np.where((normal == 0) | (residual is not None and residual == 0), 0.0, error)


def error_of_direct(lengths: Lengths, norm: float, least: float) -> Accuracy:
    """Estimate the error of a direct method from the least singular value, as perturbation theory has it.

    ``norm`` is that of A, and ``least`` the least singular value of ``[A; damp R]``. A backward stable method solves a
    problem whose map is off by some eps (Higham, Accuracy and Stability, 20.1). To this comes what the normal residual
    shows beyond its own rounding.
    """
    if not 0 < least < np.inf:
        return unknown(len(lengths.x))
    beyond = np.maximum(lengths.normal - ROUNDINGS * EPS * norm * (lengths.stacked + norm * lengths.x), 0)
    with np.errstate(over="ignore"):
        error = error_of_rounding(lengths, norm, least) + beyond / least**2
    return Accuracy(error, lengths.x, ErrorKind.ESTIMATE)


def passes(lengths: Lengths, reach: AnyArray, norm: float, rtol: float, eps: float = EPS) -> AnyArray:
    """Return which solutions pass the tests of LSMR with true residuals and room for rounding.

    Residuals are relative to ``reach``.
    """
    room: AnyArray = lengths.normal <= norm * (rtol * lengths.stacked + ROOM * eps * reach)
    return (lengths.stacked <= rtol * reach) | room


def error_of_rounding(lengths: Lengths, norm: float, least: Any, eps: float = EPS) -> AnyArray:
    """Return how far solutions move if the map is off by some eps of its norm; ``least`` may differ between them.

    Residuals that are computed cannot show less, for they are rounded by as much. That x is 0 shows in its normal
    residual alone, which is ``A^H b`` then.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        error = np.divide(ROUNDINGS * eps * norm, least) * (lengths.x + np.divide(lengths.stacked, least))
    return np.where(lengths.x == 0, 0.0, error)


def least_eigenvalue(alphas: AnyArray, betas: AnyArray) -> float:
    """Estimate the least eigenvalue of ``A^H A`` on the space of a bidiagonalization, from below.

    The matrix has alphas on its diagonal and betas below, k of them after k steps; there is one alpha more. The least
    Ritz value falls towards the eigenvalue with every step. By as much as it fell over the last third of the steps it
    is taken to fall on, twice. In 368 runs that LSMR ended at 1e-6 or 1e-8, once was enough: none had an error above
    1e-3 and an estimate below. One step does not show how the value will fall, unless its vector is an eigenvector.
    """
    steps = len(betas)
    if not steps:
        return np.nan
    now = _least_ritz(alphas[:steps], betas)
    if steps == 1:
        return now if alphas[1] * betas[0] <= EPS**0.5 * now else 0.0
    earlier = int(EARLIER * steps)
    before = _least_ritz(alphas[:earlier], betas[:earlier])
    return now * (now / before) ** 2 if before > now > 0 else now


def _least_ritz(alphas: AnyArray, betas: AnyArray) -> float:
    """Return the least eigenvalue of ``B^T B`` for a bidiagonal B."""
    from scipy.linalg import eigvalsh_tridiagonal

    if len(alphas) == 1:
        return float(alphas[0] ** 2 + betas[0] ** 2)
    diagonal, beside = alphas**2 + betas**2, alphas[1:] * betas[:-1]
    least = eigvalsh_tridiagonal(diagonal, beside, select="i", select_range=(0, 0))
    return max(float(least[0]), 0.0)
