"""Curves of damped solutions: residual, size and degrees of freedom for every damping, and rules that choose one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from convmtx.errors import ArgumentError
from convmtx.structure.precision import EPS
from convmtx.typing import AnyArray

Rule = Literal["gcv", "rgcv", "lcurve", "discrepancy"]
#: Weight of the plain function of cross-validation in the robust one. Of 18 pictures (three scenes, two blurs, noise of
#: 0.3 to 5 %), x was off by at most 1.08 times the least error with 0.02, 1.10 with 0.1, 1.37 with 0.5, 1.61 with 1.
ROBUST = 0.02
#: Number of dampings that are tried, from the largest singular value down to `LEAST` of it.
POINTS, LEAST = 200, 1e-8
#: Fraction of the length of the L-curve that counts as an end of it.
END = 0.01
#: Relative error of residuals, of sizes, and of the degrees of freedom that are left, up to which a curve is known.
KNOWN = 1e-3
#: Ratio of a choice to the ends of what is known, from which the curve beyond does not matter.
CLEAR = 2.0
#: Why a rule chooses a damping.
WHY: dict[Rule, str] = {
    "gcv": "the least cross-validation",
    "rgcv": "the least robust cross-validation",
    "lcurve": "the corner of the curve",
    "discrepancy": "the residual is as large as the noise",
}


@dataclass(frozen=True, eq=False)
class DampingChoice:
    """A damping on the curve, with the scores of all; ``at_end`` says that it is an end of the curve."""

    damp: float
    scores: AnyArray
    at_end: bool


@dataclass(frozen=True, eq=False)
class Measure:
    """Singular values with weights, over which functions of the damping are sums.

    With a regularizer these are generalized singular values ``|A x| / |R x|``. They are inf where R x is 0:
    ``at_infinity`` is the weight of all of these.
    """

    values: AnyArray
    weights: AnyArray
    at_infinity: float = 0.0

    def sums(self, damps: AnyArray, term: Callable[[AnyArray, float], AnyArray]) -> AnyArray:
        """Return the sum of weights times ``term(values**2, damp**2)`` for each damping."""
        squares = self.values**2
        return np.array([term(squares, damp**2) @ self.weights for damp in np.atleast_1d(damps)])

    def squared_residuals(self, damps: AnyArray) -> AnyArray:
        """Return ``norm(b - A x)**2`` for each damping, if the weights are squared lengths of b."""
        return self.sums(damps, lambda s, d: (d / (s + d)) ** 2)

    def squared_sizes(self, damps: AnyArray) -> AnyArray:
        """Return ``norm(R x)**2`` for each damping, if the weights are squared lengths of b."""
        return self.sums(damps, lambda s, d: s / (s + d) ** 2)

    def traces(self, damps: AnyArray) -> AnyArray:
        """Return the trace of ``A (A^H A + damp^2 R^H R)^-1 A^H``, if the weights count singular values."""
        return self.sums(damps, lambda s, d: s / (s + d)) + self.at_infinity

    def squared_traces(self, damps: AnyArray) -> AnyArray:
        """Return the trace of the square of that matrix."""
        return self.sums(damps, lambda s, d: (s / (s + d)) ** 2) + self.at_infinity

    @property
    def total(self) -> float:
        """Sum of all weights."""
        return float(self.weights.sum()) + self.at_infinity


@dataclass(frozen=True, eq=False)
class Curve:
    """Residual and size of the solution for every damping.

    ``data`` has the squared lengths of b along left singular vectors as weights, ``freedom`` the numbers of singular
    values; it may be None for rules that do not need it.
    """

    data: Measure
    freedom: Measure | None
    #: Number of data of one right-hand side.
    rows: int
    #: Dampings that are tried, ascending.
    damps: AnyArray
    #: Words for the ends of ``damps``.
    ends: tuple[str, str] = ("the least that is tried", "the largest that is tried, the norm of op")

    @property
    def is_reached(self) -> bool:
        """Whether more of b than rounding errors is in the range of the map."""
        values = self.data.values
        kept = values > EPS * self.rows * values.max(initial=0)
        inside = self.data.weights[kept].sum() + self.data.at_infinity
        return bool(inside > EPS**2 * self.rows * self.data.total)

    def choose(self, rule: Rule, level: float) -> DampingChoice:
        """Choose a damping; ``level`` is the residual that the noise leaves."""
        damps = self.damps
        if rule in ("gcv", "rgcv"):
            validation = self.validation if rule == "gcv" else self.robust_validation
            scores = validation(damps)
            at = int(scores.argmin())
            return DampingChoice(_minimum(validation, damps, at), scores, at in (0, len(damps) - 1))
        if rule == "lcurve":
            scores = self.curvature
            at, at_end = _corner(scores, _fractions_of_length(self.residuals(damps), self.sizes(damps)))
            return DampingChoice(float(damps[at]), scores, at_end)
        damp = _crossing(self, level)
        return DampingChoice(damp, self.residuals(damps) - level, not damps[0] < damp < damps[-1])

    def reason(self, rule: Rule, choice: DampingChoice) -> str:
        """Return why a damping was chosen, in words."""
        if not choice.at_end:
            return WHY[rule]
        least, largest = self.ends
        end = least if choice.damp < self.damps[len(self.damps) // 2] else largest
        return f"{WHY[rule]}, but at an end of the curve: {end}"

    def residuals(self, damps: AnyArray) -> AnyArray:
        """Return ``norm(b - op(x))`` for each damping."""
        return np.sqrt(self.data.squared_residuals(damps))

    def sizes(self, damps: AnyArray) -> AnyArray:
        """Return ``norm(R(x))`` for each damping."""
        return np.sqrt(self.data.squared_sizes(damps))

    @cached_property
    def curvature(self) -> AnyArray:
        """Curvature of ``log norm(R(x))`` over ``log norm(b - op(x))`` for each damping that is tried.

        It comes from derivatives in ``u = damp^2`` of ``X = sum s^2 e / (s^2 + u)^2`` and
        ``R = sum u^2 e / (s^2 + u)^2``, with e the weights: these sums do not cancel if u is small.
        """
        curvatures, largest = [], self.data.values.max()
        squares, e = (self.data.values / largest) ** 2, self.data.weights
        for u in (self.damps / largest) ** 2:
            h = 1 / (squares + u)
            x = (squares * h**2) @ e, -2 * (squares * h**3) @ e, 6 * (squares * h**4) @ e
            r = (
                (u**2 * h**2) @ e,
                2 * u * (squares * h**3) @ e,
                2 * (squares * (squares - 2 * u) * h**4) @ e,
            )
            (dx, ddx), (dr, ddr) = _logarithmic(*x), _logarithmic(*r)
            curvatures.append((dr * ddx - ddr * dx) / max((dr**2 + dx**2) ** 1.5, np.finfo(float).tiny))
        return np.array(curvatures)

    def validation(self, damps: AnyArray) -> AnyArray:
        """Return residuals squared over the square of the degrees of freedom that are left.

        Golub, Heath, Wahba, Technometrics 21, 1979.
        """
        assert self.freedom is not None  # the rule is gcv or rgcv
        left = np.maximum(self.rows - self.freedom.traces(damps), EPS * self.rows)
        scores: AnyArray = self.data.squared_residuals(damps) / left**2
        return scores

    def robust_validation(self, damps: AnyArray) -> AnyArray:
        """Return the function of cross-validation, made larger where the solution follows the noise.

        ``gamma + (1 - gamma) trace(F^2) / M`` times it, with F the map from b to ``A x`` (Lukas, Inverse Problems 22,
        2006).
        """
        assert self.freedom is not None
        share = self.freedom.squared_traces(damps) / self.rows
        scores: AnyArray = self.validation(damps) * (ROBUST + (1 - ROBUST) * share)
        return scores


def choose_on(curve: Curve, rule: Rule, level: float, *, is_least: bool) -> DampingChoice:
    """Choose a damping on a curve, or its least if the residual there is more than the noise leaves.

    ``is_least`` says that no smaller damping is tried.
    """
    if rule == "discrepancy" and not is_least:
        scores = curve.residuals(curve.damps) - level
        if scores[0] > 0:
            return DampingChoice(float(curve.damps[0]), scores, True)
    return curve.choose(rule, level)


def dampings(scale: float, largest: float) -> AnyArray:
    """Return the dampings that are tried for a map of this scale, up to it and to its largest singular value."""
    return np.geomspace(LEAST * scale, max(largest, scale), POINTS)


def _fractions_of_length(residuals: AnyArray, sizes: AnyArray) -> AnyArray:
    """Return the fraction of the L-curve's length that lies before each point, from the least damping on."""
    logarithms = np.log(np.maximum([residuals, sizes], np.finfo(float).tiny))
    steps = np.hypot(*np.diff(logarithms))
    return np.concatenate([[0.0], np.cumsum(steps)]) / max(float(steps.sum()), np.finfo(float).tiny)


def _corner(scores: AnyArray, travelled: AnyArray) -> tuple[int, bool]:
    """Return the point of the largest curvature with smaller ones on both sides, and whether it is only an end.

    Below the least singular value damping has no effect any more: all points there are the end of the curve. However
    sharp the curve turns in its last hundredth, that is not a corner. Without a corner, the largest curvature is taken.
    """
    inside = (scores[1:-1] >= scores[:-2]) & (scores[1:-1] > scores[2:]) & (scores[1:-1] > 0)
    inside &= (travelled[1:-1] >= END) & (travelled[1:-1] <= 1 - END)
    among = np.where(np.pad(inside, 1), scores, -np.inf) if inside.any() else scores
    return int(among.argmax()), not inside.any()


def _logarithmic(value: float, first: float, second: float) -> tuple[float, float]:
    """Return the first and second derivative of half the logarithm."""
    return first / value / 2, (second / value - (first / value) ** 2) / 2


def _minimum(score: Callable[[AnyArray], AnyArray], damps: AnyArray, at: int) -> float:
    """Return the damping of the least score near a point of the curve."""
    from scipy.optimize import minimize_scalar

    ends = np.log(damps[max(at - 1, 0)]), np.log(damps[min(at + 1, len(damps) - 1)])
    best = minimize_scalar(lambda t: float(score(np.exp(t))[0]), bounds=ends, method="bounded")
    return float(np.exp(best.x))


def _crossing(curve: Curve, level: float) -> float:
    """Return the damping whose residual is the level."""
    from scipy.optimize import brentq

    def above(t: float) -> float:
        return float(curve.residuals(np.exp(t))[0]) - level

    ends = np.log(curve.damps[0]), np.log(curve.damps[-1]) + 20
    if above(ends[0]) > 0 or above(ends[1]) < 0:
        residuals = curve.residuals(np.exp(ends))
        got = f"the noise makes a residual of {level / residuals[1]:.3g} of norm(b), and solutions leave more than "
        got += f"{residuals[0] / residuals[1]:.3g} and less than 1"
        raise ArgumentError(
            got, "Expected a residual between these two", "Check noise, the standard deviation in an entry"
        )
    return float(np.exp(brentq(above, *ends)))
