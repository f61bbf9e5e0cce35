"""Terms of objectives with bounds, sums of magnitudes and total variation: values, proximal points, conjugates.

An objective is ``h(x) + sum of g(v)`` over terms g of images ``v = G x``. The proximal point of g at q is the v that
minimizes ``g(v) + rho/2 |v - q|^2``. The conjugate ``g*(y)`` is the largest ``<y, v> - g(v)``, and bounds the objective
from below: for all y with ``s = sum of G^H y``, it is at least ``-h*(-s) - sum of g*(y)`` (Rockafellar 1970).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from convmtx.engines.products import inner_products
from convmtx.maps.linear_map import LinearMap
from convmtx.typing import AnyArray


class Term(Protocol):
    """Convex function of the images of x under some maps."""

    def value(self, v: AnyArray) -> float:
        """Return ``g(v)``."""

    def proximal(self, q: AnyArray, rho: float) -> AnyArray:
        """Return the v that minimizes ``g(v) + rho/2 |v - q|^2``."""

    def subgradient(self, v: AnyArray, y: AnyArray) -> AnyArray:
        """Return a y at which the conjugate is finite, from v and the multiplier that belongs to it."""

    def conjugate(self, y: AnyArray, v: AnyArray) -> float:
        """Return ``g*(y)`` for a subgradient y at v."""

    def in_single(self) -> Term:
        """Return the term in single precision."""


@dataclass(frozen=True, eq=False)
class LeastSquares:
    """``|a v - b|^2 / 2`` with weights a, which are 0 where nothing was measured; b is 0 there."""

    a: AnyArray
    b: AnyArray

    @cached_property
    def _products(self) -> tuple[AnyArray, AnyArray]:
        return self.a * self.b, self.a**2

    def in_single(self) -> LeastSquares:
        """Return the term in single precision."""
        return LeastSquares(self.a.astype(np.float32), self.b.astype(np.float32))

    def residual(self, v: AnyArray) -> AnyArray:
        """Return ``a v - b``."""
        return self.a * v - self.b

    def value(self, v: AnyArray) -> float:
        """Return half the squared length of the residual."""
        r = self.residual(v)
        return dot(r, r) / 2

    def proximal(self, q: AnyArray, rho: float) -> AnyArray:
        """Return ``(a b + rho q) / (a^2 + rho)``, which is q where nothing was measured."""
        by, squares = self._products
        return (by + rho * q) / (squares + rho)

    def subgradient(self, v: AnyArray, y: AnyArray) -> AnyArray:  # noqa: ARG002 - the gradient has no rounding of y
        """Return the gradient ``a (a v - b)``."""
        return self.a * self.residual(v)

    def conjugate(self, y: AnyArray, v: AnyArray) -> float:  # noqa: ARG002 - y may be 0 / 0 times a
        """Return ``|r|^2 / 2 + <r, b>`` with r the residual, for which ``y = a r``."""
        r = self.residual(v)
        return dot(r, r) / 2 + float(np.sum(r * self.b))


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """``weight * sum(abs(a v))`` with a that is 0 where nothing counts, or its isotropic form.

    With ``grouped``, the values at one place of the first axis are one vector, and its length counts: total variation.
    """

    a: AnyArray
    weight: float
    grouped: bool = False

    def in_single(self) -> Magnitudes:
        """Return the term in single precision."""
        return replace(self, a=self.a.astype(np.float32))

    def _sizes(self, v: AnyArray) -> AnyArray:
        scaled = self.a * v
        return np.sqrt((scaled * scaled).sum(axis=0)) if self.grouped else np.abs(scaled)

    def value(self, v: AnyArray) -> float:
        """Return the weighted sum of magnitudes, or of lengths."""
        return self.weight * float(self._sizes(v).sum())

    def proximal(self, q: AnyArray, rho: float) -> AnyArray:
        """Return q with its magnitudes, or lengths, smaller by ``weight / rho``; q itself where nothing counts."""
        threshold = self.weight / rho
        if not self.grouped:
            limit = threshold * np.abs(self.a)
            return q - np.clip(q, -limit, limit)
        kept = 1 - threshold / np.maximum(self._sizes(q), threshold)
        return np.where(self.a != 0, kept * q, q)

    def subgradient(self, v: AnyArray, y: AnyArray) -> AnyArray:  # noqa: ARG002 - which v it belongs to is not needed
        """Return the multiplier, shortened where rounding made it longer than the weight."""
        if not self.grouped:
            limit = self.weight * np.abs(self.a)
            return np.clip(y, -limit, limit)
        y = np.where(self.a != 0, y, 0)
        lengths = np.sqrt((y * y).sum(axis=0))
        return y * (self.weight / np.maximum(lengths, self.weight))

    def conjugate(self, y: AnyArray, v: AnyArray) -> float:  # noqa: ARG002 - it is 0 for every subgradient
        """Return 0: no subgradient is longer than the weight."""
        return 0.0


@dataclass(frozen=True, eq=False)
class Inputs:
    """``h(x) = ridge/2 |x|^2 + weight * sum(abs(x))`` for ``low <= x <= high``, and how x is continued past its ends.

    ``extend`` is the map of the continuation, None for none. ``copies`` says how often it repeats each input. Where it
    puts zeros around x, ``window`` says where x stands between them.
    """

    low: AnyArray
    high: AnyArray
    ridge: float = 0.0
    weight: float = 0.0
    extend: LinearMap | None = None
    copies: AnyArray | float = 1.0
    window: tuple[slice, ...] | None = None

    def in_single(self) -> Inputs:
        """Return the function in single precision."""
        copies = np.asarray(self.copies, np.float32)
        return replace(self, low=self.low.astype(np.float32), high=self.high.astype(np.float32), copies=copies)

    def extended(self, x: AnyArray) -> AnyArray:
        """Return x continued."""
        if self.extend is None:
            return x
        if self.window is None:
            return self.extend._image(x[None])[0].astype(x.dtype, copy=False)
        whole = np.zeros(self.extend.out_shape, x.dtype)
        whole[self.window] = x
        return whole

    def folded(self, q: AnyArray) -> AnyArray:
        """Return the sums of what stands where an input is repeated."""
        if self.extend is None:
            return q
        if self.window is not None:
            return q[self.window]
        return self.extend._transposed_image(q[None])[0].astype(q.dtype, copy=False)

    def within(self, x: AnyArray) -> AnyArray:
        """Return the nearest array within the bounds; the memory of x may be written to."""
        for end, nearest in ((self.low, np.maximum), (self.high, np.minimum)):
            if end.ndim or np.isfinite(end):
                nearest(x, end, out=x)
        return x

    def value(self, x: AnyArray) -> float:
        """Return ``h(x)`` for x within the bounds."""
        return self.ridge / 2 * dot(x, x) + (self.weight * float(np.abs(x).sum()) if self.weight else 0.0)

    def proximal(self, q: AnyArray, rho: float) -> AnyArray:
        """Return the x that minimizes ``h(x) + rho/2 |extended(x) - q|^2``."""
        x = rho * self.folded(q)
        if self.weight:
            x = x - np.clip(x, -self.weight, self.weight)
        return self.within(x / (rho * self.copies + self.ridge))

    def moved(self, x: AnyArray, s: AnyArray) -> AnyArray:
        """Return x after a step of length 1 against the gradient s of the other terms; x itself at a minimum."""
        z = x - s
        if self.weight:
            z = z - np.clip(z, -self.weight, self.weight)
        return self.within(z / (1 + self.ridge))

    @cached_property
    def is_bounded(self) -> bool:
        """Whether `conjugate` holds for every x: there is a ridge, x has bounds on both sides, or magnitudes count."""
        has_zero = bool((self.low <= 0).all() and (self.high >= 0).all())
        return bool(
            self.ridge > 0
            or (np.isfinite(self.low).all() and np.isfinite(self.high).all())
            or (self.weight > 0 and has_zero)
        )

    def conjugate(self, s: AnyArray, x: AnyArray, objective: float, reach: float) -> float:
        """Return ``h*(-s)``, the largest ``<-s, z> - h(z)``.

        ``objective`` is that at x: where magnitudes count, no better z has a larger sum of magnitudes than
        ``objective / weight``. If `is_bounded` is False, z is at most ``reach`` from x at each place.
        """
        if self.ridge:
            z = -s
            if self.weight:
                z = z - np.clip(z, -self.weight, self.weight)
            z = self.within(z / self.ridge)
            return -dot(s, z) - self.value(z)
        low, high = self.low, self.high
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            if self.weight and self.is_bounded:
                excess = np.maximum(np.where(high > 0, -s, 0), np.where(low < 0, s, 0)) - self.weight
                return max(float(excess.max(initial=0)), 0.0) * objective / self.weight
            low, high = np.maximum(low, x - reach), np.minimum(high, x + reach)
        top = np.maximum(*(-s * z - self.weight * np.abs(z) for z in (low, high)))
        if self.weight:
            top = np.maximum(top, np.where((low <= 0) & (high >= 0), 0.0, -np.inf))
        return float(top.sum())


def dot(first: AnyArray, second: AnyArray) -> float:
    """Return the inner product of two real arrays; threads of BLAS would take longer to wake than this takes."""
    flat = (np.ascontiguousarray(array).reshape(1, -1) for array in (first, second))
    with np.errstate(over="ignore", invalid="ignore"):  # a bound of the objective may be infinite
        return float(inner_products(*flat)[0])


def length(array: AnyArray) -> float:
    """Return the 2-norm of a real array."""
    return dot(array, array) ** 0.5
