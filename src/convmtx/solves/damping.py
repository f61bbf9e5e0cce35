"""Choice of the damping: by cross-validation, the corner of the L-curve, or the noise. Wiener's filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from convmtx._xp import as_numpy, numeric
from convmtx.arguments import number, one_of
from convmtx.costs import LONGEST_SPECTRUM
from convmtx.errors import ArgumentError, UnsupportedError, door, shown
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap
from convmtx.maps.wrapped import Transposed
from convmtx.solves.arrays import require_finite, require_room, require_shape
from convmtx.solves.by_blocks import BlockFactors, SpectralCandidate, by_dense
from convmtx.solves.coefficients import coefficients_of
from convmtx.solves.factorize import Factorization
from convmtx.solves.problem import Problem, problem_of
from convmtx.solves.scaling import comes_apart, parts
from convmtx.solves.select import Choice, Solver, candidates
from convmtx.solves.solve import solve
from convmtx.structure import find_blocks
from convmtx.structure.precision import EPS, unit_of
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, Array, ArrayLike

Rule = Literal["gcv", "lcurve", "discrepancy"]
#: Number of dampings that are tried, from the largest singular value down to `LEAST` of it.
POINTS, LEAST = 200, 1e-8
#: Fraction of the length of the L-curve that counts as an end of it.
END = 0.01
#: Why a rule chooses a damping.
WHY: dict[Rule, str] = {
    "gcv": "the least cross-validation",
    "lcurve": "the corner of the curve",
    "discrepancy": "the residual is as large as the noise",
}


@dataclass(frozen=True, eq=False)
class Damping:
    """A damping that was chosen, and the curve on which it lies.

    Attributes
    ----------
    damp : float
        The damping, for `solve`.
    rule : str
        The rule by which it was chosen.
    damps : ndarray
        All dampings that were tried, ascending.
    residuals, sizes : ndarray
        ``norm(b - op(x))`` and ``norm(x)`` of the solution for each damping. Together they are the L-curve.
    scores : ndarray
        Score of each damping by the rule: the function of generalized cross-validation (the least is best), the
        curvature of the L-curve (the largest is best), or the residual minus that of the noise (0 is best).
    at_end : bool
        Whether the choice is an end of the curve. If it is, do not trust it.
    reason : str
        Why this damping was chosen.
    """

    damp: float
    rule: str
    damps: AnyArray
    residuals: AnyArray
    sizes: AnyArray
    scores: AnyArray
    at_end: bool
    reason: str

    def __float__(self) -> float:
        return self.damp

    def __repr__(self) -> str:
        return f"Damping({self.damp:.4g} by {self.rule}: {self.reason})"


@door("choose_damp")
def choose_damp(op: LinearMap, b: ArrayLike, rule: Rule = "gcv", *, noise: float | None = None) -> Damping:
    """Choose the damping for data, for a map whose singular values are computed fast.

    Parameters
    ----------
    op : LinearMap
        A map that falls apart (methods ``blocks`` and ``kronecker`` of `solve`, diagonal maps and selections), or a
        small map of up to about 2500 unknowns; or what `aslinearmap` takes.
    b : array_like
        Data, ``(*batch, *out_shape)``. The whole batch gets one damping.
    rule : {"gcv", "lcurve", "discrepancy"}
        ``gcv``: generalized cross-validation, for white noise of unknown size. ``lcurve``: the corner of the curve of
        ``log norm(x)`` over ``log norm(b - op(x))``. ``discrepancy``: the residual is as large as the noise.
    noise : float
        Standard deviation of the noise in an entry of b (of its magnitude, if b is complex). Only for ``discrepancy``.

    Returns
    -------
    Damping
        `solve` takes it as it is, or ``r.damp``, or ``float(r)``; its curve can be plotted.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, everything is zero, no solution leaves a residual as large as the noise, or the
        singular values of ``op`` are not computed fast.

    Notes
    -----
    Golub, Heath, Wahba, Technometrics 21, 1979; Hansen, SIAM Review 34, 1992; Morozov, Soviet Math. Dokl. 7, 1966.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> rng = np.random.default_rng(0)
    >>> blur = cm.conv(np.ones(9) / 9, 200, padding="same", boundary="wrap")
    >>> x = np.repeat([0.0, 1.0, 0.0, 2.0], 50)
    >>> seen = blur(x) + 0.05 * rng.standard_normal(200)
    >>> damp = cm.choose_damp(blur, seen, "discrepancy", noise=0.05).damp
    >>> round(float(cm.solve(blur, seen, damp=damp).residual) / (0.05 * 200**0.5), 6)
    1.0
    """
    one_of("rule", rule, ("gcv", "lcurve", "discrepancy"))
    if (noise is None) is (rule == "discrepancy"):
        expected = "The discrepancy principle needs the noise, and the others do not take it"
        raise ArgumentError(f"rule={rule!r} with noise={shown(noise)}", expected, "Pass its standard deviation")
    problem = problem_of(op).prepare()
    right = require_finite("b", as_numpy(require_shape("b", b, problem.op.out_shape)))
    right = right.reshape(-1, *problem.op.out_shape)
    if not right.size:
        raise ArgumentError("b is an empty batch", "Expected data", "Pass at least one array")
    size, unit = right.size, unit_of(right)
    right = (right / unit).astype(np.result_type(right, problem.dtype, np.float64))
    if comes_apart(problem, right):  # residuals and sizes of the parts add up in squares
        right = parts(right)
    level = 0.0 if noise is None else _noise_level(noise, size) / unit
    curve = _curve(problem, right)
    choice = curve.choose(rule, level)
    scale, unit_of_scores = problem.scale, {"gcv": unit**2 if unit < 1e150 else np.inf, "discrepancy": unit}
    return Damping(
        choice.damp * scale, rule, curve.damps * scale, curve.residuals(curve.damps) * unit,
        curve.sizes(curve.damps) * unit / scale, choice.scores * unit_of_scores.get(rule, 1.0), choice.at_end,
        curve.reason(rule, choice),
    )  # fmt: skip


def _curve(problem: Problem, right: AnyArray) -> _Curve:
    """Return the curve of right-hand sides that are data of the map."""
    curve = _Curve(_spectral(problem), right)
    remedy = "Check the kernel and b"
    if not curve.values.any() or not right.any():
        raise ArgumentError("op or b is zero", "Expected something to solve", remedy)
    if not curve.is_reached:
        raise ArgumentError("b has no part in the range of op", "Expected something to solve", remedy)
    return curve


def _spectral(problem: Problem) -> BlockFactors:
    """Return factors with singular values and vectors, from which the solution for any damping follows."""
    problem = replace(problem, damp=1.0)
    # A transpose is solved by the factors of another map, so that its dense matrix alone has its own vectors.
    applicable = [by_dense(problem)] if isinstance(problem.op, Transposed) else candidates(problem)
    for candidate in applicable:
        is_quick = candidate.price.build <= LONGEST_SPECTRUM
        if isinstance(candidate, SpectralCandidate) and is_quick and candidate.fits:
            return candidate.make()
    got = f"op of {problem.op.shape[0]} x {problem.op.shape[1]} has no fast spectrum"
    remedy = "Use boundary='wrap' for choosing, or compare a few dampings"
    raise UnsupportedError(got, "Expected one by transforms, factors or a small matrix", remedy)


@dataclass(frozen=True, eq=False)
class _DampingChoice:
    """A damping on the curve, with the scores of all; ``at_end`` says that it is an end of the curve."""

    damp: float
    scores: AnyArray
    at_end: bool


class _Curve:
    """Residual and size of the solution for every damping, from one decomposition."""

    def __init__(self, factors: BlockFactors, b: AnyArray) -> None:
        self.values, self.times, self.energies = factors.spectrum(b)
        self.rows = factors.problem.op.shape[0]
        outside = float(np.vdot(b, b).real) - float(self.energies.sum())
        self.outside = 0.0 if factors.spans_outputs else max(outside, 0.0)

    @cached_property
    def damps(self) -> AnyArray:
        """Dampings that are tried, ascending."""
        return self.values.max() * np.geomspace(LEAST, 1, POINTS)

    def choose(self, rule: Rule, level: float) -> _DampingChoice:
        """Choose a damping; ``level`` is the residual that the noise leaves."""
        damps = self.damps
        if rule == "gcv":
            scores = self.validation(damps)
            at = int(scores.argmin())
            return _DampingChoice(_minimum(self.validation, damps, at), scores, at in (0, POINTS - 1))
        if rule == "lcurve":
            scores = self.curvature(damps)
            at, at_end = _corner(scores, _fractions_of_length(self.residuals(damps), self.sizes(damps)))
            return _DampingChoice(float(damps[at]), scores, at_end)
        damp = _crossing(self, damps, level)
        return _DampingChoice(damp, self.residuals(damps) - level, not damps[0] < damp < damps[-1])

    def reason(self, rule: Rule, choice: _DampingChoice) -> str:
        """Return why a damping was chosen, in words."""
        if not choice.at_end:
            return WHY[rule]
        is_least = choice.damp < self.damps[POINTS // 2]
        end = "the least that is tried" if is_least else "the largest that is tried, the norm of op"
        return f"{WHY[rule]}, but at an end of the curve: {end}"

    @property
    def is_reached(self) -> bool:
        """Whether more of b than rounding errors is in the range of the map."""
        inside = self.energies[self.values > EPS * self.rows * self.values.max()].sum()
        return bool(inside > EPS**2 * self.rows * (self.energies.sum() + self.outside))

    def _sums(self, damps: AnyArray, term: Callable[[AnyArray, float], AnyArray], weights: AnyArray) -> AnyArray:
        return np.array([term(self.values**2, damp**2) @ weights for damp in np.atleast_1d(damps)])

    def residuals(self, damps: AnyArray) -> AnyArray:
        """Return ``norm(b - op(x))`` for each damping."""
        return np.sqrt(self._sums(damps, lambda s, d: (d / (s + d)) ** 2, self.energies) + self.outside)

    def sizes(self, damps: AnyArray) -> AnyArray:
        """Return ``norm(x)`` for each damping."""
        return np.sqrt(self._sums(damps, lambda s, d: s / (s + d) ** 2, self.energies))

    def curvature(self, damps: AnyArray) -> AnyArray:
        """Return the curvature of ``log norm(x)`` over ``log norm(b - op(x))`` for each damping.

        It comes from derivatives in ``u = damp^2`` of ``X = sum s^2 e / (s^2 + u)^2`` and
        ``R = sum u^2 e / (s^2 + u)^2``, with e the energies: these sums do not cancel if u is small.
        """
        curvatures, largest = [], self.values.max()
        squares, e = (self.values / largest) ** 2, self.energies
        for u in (damps / largest) ** 2:
            h = 1 / (squares + u)
            x = (squares * h**2) @ e, -2 * (squares * h**3) @ e, 6 * (squares * h**4) @ e
            r = (
                (u**2 * h**2) @ e + self.outside,
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
        left = self.rows - self._sums(damps, lambda s, d: s / (s + d), self.times)
        scores: AnyArray = self.residuals(damps) ** 2 / np.maximum(left, EPS * self.rows) ** 2
        return scores


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


def _noise_level(noise: Any, count: int) -> float:
    """Return the norm of noise in so many entries."""
    remedy = "Pass its standard deviation in an entry of b"
    return number("noise", noise, "a finite number > 0", remedy, fits=lambda noise: noise > 0) * count**0.5


def _crossing(curve: _Curve, damps: AnyArray, level: float) -> float:
    """Return the damping whose residual is the level."""
    from scipy.optimize import brentq

    def above(t: float) -> float:
        return float(curve.residuals(np.exp(t))[0]) - level

    ends = np.log(damps[0]), np.log(damps[-1]) + 20
    if above(ends[0]) > 0 or above(ends[1]) < 0:
        residuals = curve.residuals(np.exp(ends))
        got = f"the noise makes a residual of {level / residuals[1]:.3g} of norm(b), and solutions leave more than "
        got += f"{residuals[0] / residuals[1]:.3g} and less than 1"
        raise ArgumentError(
            got, "Expected a residual between these two", "Check noise, the standard deviation in an entry"
        )
    return float(np.exp(brentq(above, *ends)))


@door("wiener")
def wiener(op: LinearMap, b: ArrayLike, snr: ArrayLike) -> Array:
    """Apply Wiener's filter: the linear estimate of x from ``b = op(x) + noise`` with the least mean square error.

    Law: with one number ``wiener(op, b, snr) == solve(op, b, damp=snr**-0.5).x``. On a circle each frequency of b is
    multiplied by ``conj(F) / (abs(F)**2 + 1 / snr)``, F the map's symbol there.

    Parameters
    ----------
    op : LinearMap
        If ``snr`` is a number, any map with any boundary. If ``snr`` is an array, a convolution under wrap with stride
        1 and as many outputs as inputs along each axis.
    b : array_like
        Data, ``(*batch, *out_shape)``.
    snr : float or array_like
        Power of the signal over that of the noise, above 0: one number for every entry of x, or one for each frequency,
        with the spatial shape of the input and in the order of `numpy.fft.fftn`.

    Returns
    -------
    array
        The estimate, ``(*batch, *in_shape)``, in the array library and type that `solve` returns.

    Raises
    ------
    ValueError, TypeError, MemoryError
        If an argument is invalid, or ``snr`` is an array and the map is not such a convolution.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1.0, 2.0, 1.0], 8, padding="same", boundary="wrap")
    >>> b, F, snr = np.arange(8.0), cm.symbol(op, 8)[:, 0, 0], 10.0
    >>> np.allclose(cm.wiener(op, b, snr), np.fft.ifft(F.conj() / (abs(F) ** 2 + 1 / snr) * np.fft.fft(b)))
    True
    """
    ratio = np.asarray(as_numpy(numeric("snr", snr)))
    require_room(f"snr of shape {ratio.shape}", ratio.size)
    if ratio.dtype.kind not in "iuf" or not np.isfinite(ratio).all() or not (ratio > 0).all():
        raise ArgumentError("snr is not a finite real number > 0", "Expected a ratio of powers", "For example 1e3")
    if not ratio.ndim:
        return solve(op, b, damp=float(1 / np.sqrt(ratio))).x
    problem = problem_of(op)
    prepared = problem.prepare()
    choice = Choice(_by_frequency(prepared, ratio * prepared.scale**2), "each frequency by itself")
    return Factorization(problem, Solver(prepared, "blocks", choice)).solve(b).x


def _by_frequency(problem: Problem, ratio: AnyArray) -> BlockFactors:
    """Return the factors of a circular convolution with a penalty for each frequency, ``1 / ratio``."""
    op = problem.op
    if isinstance(op, ConvOperator) and all(axis.circular for axis in op.geometry.axes):
        (blocks,) = find_blocks(op.geometry, taps_of(op.geometry, op.kernel))
        sizes = tuple(axis.size for axis in op.geometry.axes)
        if ratio.shape != sizes:
            got = f"snr has shape {ratio.shape}"
            raise ArgumentError(got, f"Expected {sizes}, as numpy.fft.fftn has", "Or pass one number")
        mirrored = np.roll(np.flip(ratio), 1, axis=tuple(range(ratio.ndim)))
        if problem.dtype.kind != "c" and not np.allclose(ratio, mirrored, rtol=1e-6):
            got = "snr differs between frequencies and their negatives"
            raise ArgumentError(got, "Expected equal ones, for the map is real", "Take the mean of both")
        kept = ratio[tuple(slice(split.times.size) for split in blocks.splits)].reshape(1, -1)
        of_blocks = np.repeat(kept, op.geometry.groups, axis=0).reshape(-1, 1, 1)
        penalties = np.eye(blocks.columns) / np.sqrt(of_blocks)
        method, coefficients = "Wiener filter by frequencies", coefficients_of(blocks, True)
        return BlockFactors(problem, method, [coefficients], [blocks.matrices()], [penalties])
    got = "snr is an array and op is not a circular convolution"
    remedy = "Use boundary='wrap' and padding='same', or one number"
    raise UnsupportedError(got, "Expected a map that multiplies frequencies", remedy)
