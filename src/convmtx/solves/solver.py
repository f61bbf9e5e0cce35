"""A problem with the scale that keeps its numbers in range, and what was made ready for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from convmtx.maps.convolution import ConvOperator
from convmtx.solves import outcome
from convmtx.solves.outcome import Asked, Made, Outcome
from convmtx.solves.problem import Problem, norms
from convmtx.structure.precision import unit as unit_near
from convmtx.typing import AnyArray


class Solver:
    """A problem whose map is divided by a scale, and factors for it where somebody asked for them."""

    def __init__(self, problem: Problem, scale: float, method: str, made: Made | None = None) -> None:
        self.problem, self.scale, self.method, self.made = problem, scale, method, made

    def ready(self) -> Made:
        """Factors that are made once."""
        if self.made is None:
            self.made = outcome.factors_for_many(self.problem, self.method)
        return self.made

    def _solved(self, b: AnyArray, asked: Asked) -> Outcome:
        """With the factors if there are any."""
        if self.made is None:
            return outcome.solved(self.problem, b, self.method, asked)
        return outcome.used(self.made, b, asked)

    def answer(self, b: AnyArray, x0: AnyArray | None, asked: Asked) -> Outcome:
        """Of (m, *out_shape), each divided by a power of two; real and imaginary parts apart where the map is real."""
        problem, scale, m = self.problem, self.scale, len(b)
        if not m:
            nothing = np.zeros(0)
            x = np.zeros((0, *problem.op.in_shape), np.result_type(b, problem.dtype))
            return Outcome(x, nothing, nothing, nothing == 0, "none", "an empty batch", 0, (), np.nan)
        apart = comes_apart(problem, b) or (x0 is not None and comes_apart(problem, x0))
        b = b.astype(np.complex128 if apart else np.result_type(b, problem.dtype), copy=False)
        lengths = norms(b)  # one pass, where looking for the largest entry takes two
        units = np.ones(m)
        for j in np.flatnonzero((lengths < 1e-60) | (lengths > 1e60)):
            units[j] = unit_of(b[j])
        back = units / scale

        def column(each: AnyArray) -> AnyArray:
            return each.reshape(-1, *(1 for _ in problem.op.in_shape))

        def whole(x: AnyArray) -> AnyArray:
            joined = x[:m] + 1j * x[m:] if apart else x
            return joined * column(back) if (back != 1).any() else joined

        if asked.callback is not None:
            callback = asked.callback
            asked = asked._replace(callback=lambda x: callback(whole(x)))
        if x0 is not None:
            x0 = x0 / column(back)
            asked = asked._replace(x0=parts(x0) if apart else x0.astype(b.dtype))
        if (units != 1).any():
            b = b / units.reshape(-1, *(1 for _ in problem.op.out_shape))
        if apart:
            b = parts(b)
        if asked.x0 is not None:  # to what is zero no relative tolerance leads
            asked = asked._replace(x0=asked.x0 * column(np.asarray(b.reshape(len(b), -1).any(axis=1))))
        found = self._solved(b, asked)
        if apart:
            residual, normal = (np.hypot(each[:m], each[m:]) for each in (found.residual, found.normal_residual))
            converged = found.converged[:m] & found.converged[m:]
        else:
            residual, normal, converged = found.residual, found.normal_residual, found.converged
        return found._replace(
            x=whole(found.x), residual=residual * units, normal_residual=normal * units * scale, converged=converged
        )


def comes_apart(problem: Problem, b: AnyArray) -> bool:
    """Whether a complex batch is solved as its real and imaginary parts, because the problem is real."""
    return problem.dtype.kind != "c" and b.dtype.kind == "c"


def parts(b: AnyArray) -> AnyArray:
    """Real parts of a complex batch, then imaginary parts: a real batch twice as long."""
    return np.concatenate([b.real, b.imag])


def scaled(problem: Problem) -> tuple[Problem, float]:
    """The problem of the map divided by a power of two, and that power: squares of its entries are in range."""
    kernel = problem.op.kernel if isinstance(problem.op, ConvOperator) else np.ones(0)
    scale = unit_of(np.array([np.abs(kernel).max(initial=0), problem.damp]))
    if scale == 1:
        return problem, scale
    return replace(problem, op=problem.op / scale, damp=problem.damp / scale), scale


def unit_of(numbers: AnyArray) -> float:
    """1 for numbers of which squares and sums are in range, else a power of two near the largest."""
    unit = unit_near(numbers)
    return 1.0 if 1e-60 < unit < 1e60 else unit
