"""Right-hand sides in range: magnitudes near 1, and real ones if the problem is real."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from convmtx.engines.products import norms
from convmtx.solves.arrays import require_finite
from convmtx.solves.problem import Problem
from convmtx.solves.result import Request, Result, Verdict, ViewCallback
from convmtx.structure.precision import unit_of
from convmtx.typing import AnyArray

#: Lengths of which squares and sums are far from overflow and underflow.
SHORT, LONG = 1e-60, 1e60
#: Unit of right-hand sides that are not divided.
UNIT = 1.0


class Batch:
    """Right-hand sides (m, *out_shape) as methods take them, and the way back; they must be finite.

    Each of extreme length is divided by a power of two. If the problem is real, real and imaginary parts are solved
    apart: ``values`` then has 2 m real right-hand sides.
    """

    def __init__(self, problem: Problem, b: AnyArray, x0: AnyArray | None = None) -> None:
        self.problem, self.count = problem, len(b)
        self.apart = comes_apart(problem, b) or (x0 is not None and comes_apart(problem, x0))
        b = b.astype(np.complex128 if self.apart else np.result_type(b, problem.dtype), copy=False)
        lengths = norms(b)  # one pass; to look for the largest entry, or for nan, takes another
        #: Powers of two, (m,), or the number 1.
        self.units: Any = UNIT
        #: The way back for solutions: numbers that broadcast with them.
        self._factors: Any = 1 / problem.scale
        if not all(SHORT <= length <= LONG for length in lengths.tolist()):
            require_finite("b", b)
            self.units = np.ones(len(b))
            for j in np.flatnonzero((lengths < SHORT) | (lengths > LONG)):
                self.units[j] = unit_of(b[j])
            self._factors = (self.units / problem.scale).reshape(-1, *(1 for _ in problem.op.in_shape))
            b = b / self.units.reshape(-1, *(1 for _ in problem.op.out_shape))
        self._is_scaled = problem.scale != 1 or self.units is not UNIT
        self.values = parts(b) if self.apart else b

    def request(self, request: Request) -> Request:
        """Return the request with its start scaled like the right-hand sides, and its callback shown the way back."""
        if request.callback is not None:
            request = replace(request, callback=ViewCallback(request.callback, self._unscaled))
        if request.x0 is None:
            return request
        x0 = request.x0 / self._factors
        x0 = parts(x0) if self.apart else x0.astype(self.values.dtype)
        # If b is zero, so is the solution, and no relative tolerance leads there from elsewhere.
        is_zero = ~self.values.reshape(len(self.values), -1).any(axis=1)
        x0[is_zero] = 0
        return replace(request, x0=x0)

    def _unscaled(self, x: AnyArray) -> AnyArray:
        if self.apart:
            x = x[: self.count] + 1j * x[self.count :]
        return x * self._factors if self._is_scaled else x

    def _join(self, lengths: AnyArray) -> AnyArray:
        """Return lengths of complex arrays from those of their real and imaginary parts."""
        return np.hypot(lengths[: self.count], lengths[self.count :]) if self.apart else lengths

    def result(self, result: Result) -> Result:
        """Return the result for the right-hand sides as they were."""
        if not (self._is_scaled or self.apart):
            return result
        converged, accuracy, by = result.converged, result.accuracy, self.units / self.problem.scale
        if self.apart:
            converged = converged[: self.count] & converged[self.count :]
        with np.errstate(over="ignore", invalid="ignore"):  # a map of 1e200 and b of 1e200 leave the range of floats
            x = self._unscaled(result.x)
            residual = self._join(result.residual) * self.units
            normal = self._join(result.normal_residual) * self.units * self.problem.scale
            error, sizes = self._join(accuracy.error) * by, self._join(accuracy.sizes) * by
        is_finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
        return replace(
            result,
            x=x,
            residual=residual,
            normal_residual=normal,
            accuracy=replace(accuracy, error=error, sizes=sizes),
            converged=converged & is_finite,
            verdict=Verdict.BEYOND_RANGE if (converged & ~is_finite).any() else result.verdict,
        )


def comes_apart(problem: Problem, b: AnyArray) -> bool:
    """Whether a complex batch is solved as its real and imaginary parts, because the problem is real."""
    return problem.dtype.kind != "c" and b.dtype.kind == "c"


def parts(b: AnyArray) -> AnyArray:
    """Return real parts of a complex batch, then imaginary parts: a real batch twice as long."""
    return np.concatenate([b.real, b.imag])
