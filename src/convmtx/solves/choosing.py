"""How much damping: by cross-validation, by the corner of the L-curve, by the noise; and Wiener's filter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from convmtx._xp import as_numpy, numeric
from convmtx.arguments import number, one_of
from convmtx.errors import ArgumentError, UnsupportedError, door, shown
from convmtx.maps.convolution import ConvOperator
from convmtx.maps.linear_map import LinearMap, Transposed
from convmtx.solves import ways
from convmtx.solves.answered import finite, roomy, shaped
from convmtx.solves.by_blocks import BlockFactors, frame_of
from convmtx.solves.outcome import Made
from convmtx.solves.problem import EPS, Problem, checked
from convmtx.solves.solver import Solver, comes_apart, parts, scaled, unit_of
from convmtx.solves.solving import Factorization, solve
from convmtx.structure import decomposed
from convmtx.taps import taps_of
from convmtx.typing import AnyArray, Array, ArrayLike

Rule = Literal["gcv", "lcurve", "discrepancy"]
#: Dampings that are looked at, from the largest singular value down to `LEAST` of it.
POINTS, LEAST = 200, 1e-8
#: The part of the L-curve, by length, that is no more than an end of it.
END = 0.01
#: Ways that find singular values and vectors, and seconds that they may take.
SPECTRAL, LONGEST = ("blocks", "kronecker", "dense"), 60.0


@dataclass(frozen=True, eq=False)
class Damping:
    """A choice of damping, and the curve that it is a point of.

    Attributes
    ----------
    damp : float
        To be passed to `solve`.
    rule : str
        How it was chosen.
    damps : ndarray
        All dampings that were looked at, ascending.
    residuals, sizes : ndarray
        ``norm(b - op(x))`` and ``norm(x)`` of the solution for each: the L-curve.
    scores : ndarray
        What the rule looks at for each: the function of generalized cross-validation (least is best), the curvature of
        the L-curve (most is best), or the residual less what the noise makes (0 is best).
    at_end : bool
        Whether the choice is no more than an end of the curve, and should not be trusted.
    reason : str
        Why this damping.
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
    """How much damping suits data, where a fast spectrum tells all solutions at once.

    Parameters
    ----------
    op : LinearMap
        A map that falls apart (`solve`, methods ``blocks`` and ``kronecker``) or is small: up to some 2500 unknowns.
    b : array_like
        Data, ``(*batch, *out_shape)``; of a batch, one choice for all.
    rule : {"gcv", "lcurve", "discrepancy"}
        ``gcv``: generalized cross-validation, for white noise of unknown size. ``lcurve``: the corner of the curve of
        ``log norm(x)`` over ``log norm(b - op(x))``. ``discrepancy``: the residual is as large as the noise.
    noise : float
        Standard deviation of the noise in an entry of b (of a complex one, of its magnitude); for ``discrepancy``.

    Returns
    -------
    Damping
        ``r.damp``, or ``float(r)``, is what `solve` takes; the curve is there to be plotted.

    Raises
    ------
    ValueError, TypeError
        Where an argument is none of those, everything is zero, no solution leaves a residual like the noise's, or
        ``op`` has no fast spectrum.

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
        wanted = "The discrepancy principle needs the noise, and the others do not take it"
        raise ArgumentError(f"rule={rule!r} with noise={shown(noise)}", wanted, "Pass its standard deviation")
    problem, scale = scaled(checked(op, 0.0, None))
    right = finite("b", as_numpy(shaped("b", b, op.out_shape))).reshape(-1, *op.out_shape)
    if not right.size:
        raise ArgumentError("b is an empty batch", "Wanted data", "Pass at least one array")
    entries, unit = right.size, unit_of(right)
    right = (right / unit).astype(np.result_type(right, problem.dtype, np.float64))
    right = parts(right) if comes_apart(problem, right) else right  # whose residuals and sizes add up in squares
    curve = _Curve(_spectral(problem), right)
    if not curve.values.any() or not right.any():
        got = "op or b is zero"
        raise ArgumentError(got, "Wanted something to solve", "Check the kernel and b")
    if not curve.seen:
        got = "b has no part in the range of op"
        raise ArgumentError(got, "Wanted something to solve", "Check the kernel and b")
    damps = curve.values.max() * np.geomspace(LEAST, 1, POINTS)
    residuals, sizes = curve.residuals(damps), curve.sizes(damps)
    back = 1.0
    if rule == "gcv":
        scores, back = curve.validation(damps), unit**2 if unit < 1e150 else np.inf
        at = int(scores.argmin())
        chosen, at_end, reason = (
            _least(curve.validation, damps, at),
            at in (0, POINTS - 1),
            "the least cross-validation",
        )
    elif rule == "lcurve":
        scores, reason = curve.curvature(damps), "the corner of the curve"
        at, at_end = _summit(scores, _travelled(residuals, sizes))
        chosen = float(damps[at])
    else:
        level, back = _level(noise, entries) / unit, unit
        scores, reason = residuals - level, "the residual is as large as the noise"
        chosen = _crossing(curve, damps, level)
        at_end = not damps[0] < chosen < damps[-1]
    rest = damps * scale, residuals * unit, sizes * unit / scale, scores * back, at_end
    if at_end:
        end = "the least that is tried" if chosen < damps[POINTS // 2] else "the largest that is tried, the norm of op"
        reason += f", but at an end of the curve: {end}"
    return Damping(chosen * scale, rule, *rest, reason)


def _spectral(problem: Problem) -> BlockFactors:
    """Singular values and vectors, where these are to be had: what any damping makes of the problem."""
    problem = replace(problem, damp=1.0)
    transposed = isinstance(problem.op, Transposed)  # solved by what is made for the map that it is the transpose of
    for way in [ways.dense_way(problem)] if transposed else ways.ranked(problem, 1):
        if way.name in SPECTRAL and way.seconds[0] <= LONGEST and way.fits:
            found = way.make()
            assert isinstance(found, BlockFactors)
            return found
    got = f"op of {problem.op.shape[0]} x {problem.op.shape[1]} has no fast spectrum"
    remedy = "Use boundary='wrap' for choosing, or try several"
    raise UnsupportedError(got, "Wanted one by transforms, factors or a small matrix", remedy)


class _Curve:
    """Residual and size of the solution for every damping, from one decomposition."""

    def __init__(self, factors: BlockFactors, b: AnyArray) -> None:
        self.values, self.times, self.energies = factors.spectrum(b)
        self.rows = factors.problem.op.shape[0]
        outside = float(np.vdot(b, b).real) - float(self.energies.sum())
        self.outside = 0.0 if factors.spans_outputs else max(outside, 0.0)

    @property
    def seen(self) -> bool:
        """Whether b has more than rounding errors of what the map makes."""
        inside = self.energies[self.values > EPS * self.rows * self.values.max()].sum()
        return bool(inside > EPS**2 * self.rows * (self.energies.sum() + self.outside))

    def _sums(self, damps: AnyArray, term: Callable[[AnyArray, float], AnyArray], weights: AnyArray) -> AnyArray:
        return np.array([term(self.values**2, damp**2) @ weights for damp in np.atleast_1d(damps)])

    def residuals(self, damps: AnyArray) -> AnyArray:
        """``norm(b - op(x))``."""
        return np.sqrt(self._sums(damps, lambda s, d: (d / (s + d)) ** 2, self.energies) + self.outside)

    def sizes(self, damps: AnyArray) -> AnyArray:
        """``norm(x)``."""
        return np.sqrt(self._sums(damps, lambda s, d: s / (s + d) ** 2, self.energies))

    def curvature(self, damps: AnyArray) -> AnyArray:
        """Of ``log norm(x)`` over ``log norm(b - op(x))``.

        From derivatives in ``u = damp^2`` of ``X = sum s^2 e / (s^2 + u)^2`` and ``R = sum u^2 e / (s^2 + u)^2``, e the
        energies: sums that do not cancel where u is small.
        """
        found, largest = [], self.values.max()
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
            found.append((dr * ddx - ddr * dx) / max((dr**2 + dx**2) ** 1.5, np.finfo(float).tiny))
        return np.array(found)

    def validation(self, damps: AnyArray) -> AnyArray:
        """Residual squared over the square of the degrees of freedom that are left (Golub, Heath, Wahba 1979)."""
        left = self.rows - self._sums(damps, lambda s, d: s / (s + d), self.times)
        scores: AnyArray = self.residuals(damps) ** 2 / np.maximum(left, EPS * self.rows) ** 2
        return scores


def _travelled(residuals: AnyArray, sizes: AnyArray) -> AnyArray:
    """The part of the L-curve, by length, that lies before each of its points, from the least damping on."""
    logarithms = np.log(np.maximum([residuals, sizes], np.finfo(float).tiny))
    steps = np.hypot(*np.diff(logarithms))
    return np.concatenate([[0.0], np.cumsum(steps)]) / max(float(steps.sum()), np.finfo(float).tiny)


def _summit(scores: AnyArray, travelled: AnyArray) -> tuple[int, bool]:
    """The highest place with lower ones on both sides; where there is none, the highest, which is the curve's end.

    Below the least singular value damping changes nothing any more: all points there are the end, and however sharp
    the last bit of the curve turns is no corner.
    """
    inside = (scores[1:-1] >= scores[:-2]) & (scores[1:-1] > scores[2:]) & (scores[1:-1] > 0)
    inside &= (travelled[1:-1] >= END) & (travelled[1:-1] <= 1 - END)
    among = np.where(np.pad(inside, 1), scores, -np.inf) if inside.any() else scores
    return int(among.argmax()), not inside.any()


def _logarithmic(value: float, first: float, second: float) -> tuple[float, float]:
    """First and second derivative of half the logarithm."""
    return first / value / 2, (second / value - (first / value) ** 2) / 2


def _least(score: Callable[[AnyArray], AnyArray], damps: AnyArray, at: int) -> float:
    from scipy.optimize import minimize_scalar

    ends = np.log(damps[max(at - 1, 0)]), np.log(damps[min(at + 1, len(damps) - 1)])
    found = minimize_scalar(lambda t: float(score(np.exp(t))[0]), bounds=ends, method="bounded")
    return float(np.exp(found.x))


def _level(noise: Any, count: int) -> float:
    remedy = "Pass its standard deviation in an entry of b"
    return number("noise", noise, "a finite number > 0", remedy, fits=lambda noise: noise > 0) * count**0.5


def _crossing(curve: _Curve, damps: AnyArray, level: float) -> float:
    from scipy.optimize import brentq

    def above(t: float) -> float:
        return float(curve.residuals(np.exp(t))[0]) - level

    ends = np.log(damps[0]), np.log(damps[-1]) + 20
    if above(ends[0]) > 0 or above(ends[1]) < 0:
        residuals = curve.residuals(np.exp(ends))
        got = f"the noise makes a residual of {level / residuals[1]:.3g} of norm(b), and solutions leave more than "
        got += f"{residuals[0] / residuals[1]:.3g} and less than 1"
        raise ArgumentError(got, "Wanted a noise between", "Check noise, the standard deviation in an entry")
    return float(np.exp(brentq(above, *ends)))


@door("wiener")
def wiener(op: LinearMap, b: ArrayLike, snr: ArrayLike) -> Array:
    """Wiener's filter: the linear estimate of x from ``b = op(x) + noise`` with the least mean square error.

    Law: with one number ``wiener(op, b, snr) == solve(op, b, damp=snr**-0.5).x``. On a circle each frequency of b is
    multiplied with ``conj(F) / (abs(F)**2 + 1 / snr)``, F the map's symbol there.

    Parameters
    ----------
    op : LinearMap
        Any map, with any boundary, for one number; for an array a convolution once around the circle (wrap).
    b : array_like
        Data, ``(*batch, *out_shape)``.
    snr : float or array_like
        Power of the signal over that of the noise, above 0: of an entry of x, or for each frequency, of the spatial
        shape of the input and in the order of `numpy.fft.fftn`.

    Returns
    -------
    array
        The estimate, ``(*batch, *in_shape)``, as `solve` gives it.

    Raises
    ------
    ValueError, TypeError, MemoryError
        Where an argument is none of those, or ``snr`` is an array and the map does not multiply frequencies.

    Examples
    --------
    >>> import numpy as np, convmtx as cm
    >>> op = cm.conv([1.0, 2.0, 1.0], 8, padding="same", boundary="wrap")
    >>> b, F, snr = np.arange(8.0), cm.symbol(op, 8)[:, 0, 0], 10.0
    >>> np.allclose(cm.wiener(op, b, snr), np.fft.ifft(F.conj() / (abs(F) ** 2 + 1 / snr) * np.fft.fft(b)))
    True
    """
    ratio = np.asarray(as_numpy(numeric("snr", snr)))
    roomy(f"snr of shape {ratio.shape}", ratio.size)
    if ratio.dtype.kind not in "iuf" or not np.isfinite(ratio).all() or not (ratio > 0).all():
        raise ArgumentError("snr is no finite real number > 0", "Wanted a ratio of powers", "Pass 1e3, say")
    if not ratio.ndim:
        return solve(op, b, damp=float(1 / np.sqrt(ratio))).x
    problem, scale = scaled(checked(op, 0.0, None))
    made = Made(_by_frequency(problem, ratio * scale**2), "each frequency by itself")
    return Factorization(op, (0.0, None), Solver(problem, scale, "blocks", made)).solve(b).x


def _by_frequency(problem: Problem, ratio: AnyArray) -> BlockFactors:
    """With the penalty of each frequency, where these are blocks."""
    op = problem.op
    if isinstance(op, ConvOperator) and all(axis.circular for axis in op.geometry.axes):
        (blocks,) = decomposed(op.geometry, taps_of(op.geometry, op.kernel))
        sizes = tuple(axis.size for axis in op.geometry.axes)
        if ratio.shape != sizes:
            got = f"snr has shape {ratio.shape}"
            raise ArgumentError(got, f"Wanted {sizes}, as numpy.fft.fftn has", "Or pass one number")
        mirrored = np.roll(np.flip(ratio), 1, axis=tuple(range(ratio.ndim)))
        if problem.dtype.kind != "c" and not np.allclose(ratio, mirrored, rtol=1e-6):
            got = "snr differs between frequencies and their negatives"
            raise ArgumentError(got, "Wanted equal ones, for the map is real", "Take the mean of both")
        kept = ratio[tuple(slice(split.times.size) for split in blocks.splits)].reshape(1, -1)
        each = np.repeat(kept, op.geometry.groups, axis=0).reshape(-1, 1, 1)
        penalties = np.eye(blocks.columns) / np.sqrt(each)
        return BlockFactors(
            problem, "Wiener filter by frequencies", [frame_of(blocks, True)], [blocks.matrices()], [penalties]
        )
    got = "snr is an array and op no circular convolution"
    remedy = "Use boundary='wrap' and padding='same', or one number"
    raise UnsupportedError(got, "Wanted a map that multiplies frequencies", remedy)
